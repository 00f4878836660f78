//! `cargo xtask bench instructions`: how many instructions a GET costs each client, as callgrind counts them.
//!
//! Counts do not depend on what else the machine does, so a later change that makes a client dearer is seen where a rate
//! would hide it. benches/instructions.json has those that were recorded; `--record` writes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::cluster::Dev;
use crate::table::{Table, thousands};
use crate::{Outcome, machine, process, project};

use super::Setting;

/// Operations of the two runs whose difference is taken: what a program costs without any falls out.
const OPERATIONS: [u64; 2] = [2_000, 6_000];
/// The loads run this part of their operations before they measure.
const WARM_UP_PART: u64 = 20;
/// Keys that exist.
const RECORDS: u64 = 10_000;
/// More than what was recorded by this part is too much.
const DEARER_PART_MAX: f64 = 0.10;

/// Whether no client has become dearer.
pub fn run(setting: &Setting, is_record: bool) -> Outcome<bool> {
    machine::install(&[machine::VALGRIND])?;
    let cluster = Dev::start(&setting.slotkv, "dev-instructions", &["--shards", "3"])?;
    let fill = |command: &mut Command| process::output(command).map(drop);
    fill(bench(setting, &cluster, 500, RECORDS).arg("--load-only"))?;

    let known = recorded()?;
    let mut table = Table::new(&["client", "instructions per GET", "recorded", "change"]);
    let (mut found, mut is_good) = (BTreeMap::new(), true);
    for (name, command) in CLIENTS {
        let spinner = process::spinner(name);
        let [few, many] = OPERATIONS;
        let difference = count(&mut command(setting, &cluster, many))?
            .saturating_sub(count(&mut command(setting, &cluster, few))?);
        spinner.finish_and_clear();
        let operations = (many - few) + (many - few) / WARM_UP_PART;
        let each = difference / operations;
        let before = known.get(name).copied();
        let change = before.map(|before| each as f64 / before as f64 - 1.0);
        is_good &= change.is_none_or(|change| change <= DEARER_PART_MAX);
        table.row([
            name.to_owned(),
            thousands(each),
            before.map_or("-".to_owned(), thousands),
            change.map_or("-".to_owned(), |change| format!("{:+.1} %", change * 100.0)),
        ]);
        found.insert(name.to_owned(), each);
    }
    println!("\n{}", table.text());
    if is_record {
        fs::write(file(), serde_json::to_string_pretty(&found)? + "\n")?;
        eprintln!("wrote {}", file().display());
        return Ok(true);
    }
    if !is_good {
        eprintln!("a client costs more than {:.0} % more than recorded", DEARER_PART_MAX * 100.0);
    }
    Ok(is_good)
}

type Program = fn(&Setting, &Dev, u64) -> Command;

/// The clients that are counted, and a load of so many operations.
const CLIENTS: [(&str, Program); 7] = [
    ("Rust, 50 in flight", |setting, cluster, operations| {
        let mut command = bench(setting, cluster, 50, RECORDS);
        command.args(["--run-only", "--operations", &(operations + operations / WARM_UP_PART).to_string()]);
        command
    }),
    ("C, callbacks, 50 in flight", |setting, cluster, operations| c(setting, cluster, operations, 50)),
    ("C, 1 in flight", |setting, cluster, operations| c(setting, cluster, operations, 1)),
    ("Python sync, 1 in flight", |setting, cluster, operations| {
        python(setting, cluster, "sync_load.py", operations, 1)
    }),
    ("Python asyncio, 50 in flight", |setting, cluster, operations| {
        python(setting, cluster, "asyncio_load.py", operations, 50)
    }),
    ("Node, 1 in flight", |setting, cluster, operations| node(setting, cluster, operations, 1)),
    ("Node, 50 in flight", |setting, cluster, operations| node(setting, cluster, operations, 50)),
];

fn bench(setting: &Setting, cluster: &Dev, in_flight: u32, records: u64) -> Command {
    let mut command = Command::new(&setting.slotkv);
    command.args(["bench", "--json", "--uri", &cluster.uri, "--workload", "get", "--key-bytes", "16"]);
    command.args(["--records", &records.to_string(), "--in-flight", &in_flight.to_string()]);
    command.args(["--value-bytes", "100"]);
    command
}

fn c(setting: &Setting, cluster: &Dev, operations: u64, in_flight: u32) -> Command {
    let mut command = Command::new(&setting.c_load);
    command.args([&cluster.uri, &operations.to_string(), &RECORDS.to_string(), &in_flight.to_string()]);
    setting.c.run(&mut command);
    command
}

fn python(setting: &Setting, cluster: &Dev, script: &str, operations: u64, at_once: u32) -> Command {
    let mut command = setting.venv.python();
    command.arg(format!("benches/python/{script}"));
    command.args(["slotkv", &cluster.uri, "get", &operations.to_string(), &RECORDS.to_string()]);
    command.arg(at_once.to_string());
    command
}

fn node(setting: &Setting, cluster: &Dev, operations: u64, in_flight: u32) -> Command {
    let mut command = setting.node.script("benches/node/load.mjs");
    command.args(["slotkv", &cluster.uri, "get", &operations.to_string(), &RECORDS.to_string()]);
    command.arg(in_flight.to_string());
    command
}

/// Instructions of a program and its threads.
fn count(program: &mut Command) -> Outcome<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=no"]);
    // Node writes the code that it runs.
    command.arg("--smc-check=all-non-file").arg(program.get_program()).args(program.get_args());
    command.current_dir(project::root());
    for (name, value) in program.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let out = process::tied(&mut command).output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() {
        return Err(format!("{}: {}\n{said}", process::shown(&command), out.status).into());
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.ok_or_else(|| format!("callgrind counted nothing:\n{said}").into())
}

fn file() -> PathBuf {
    project::root().join("benches/instructions.json")
}

fn recorded() -> Outcome<BTreeMap<String, u64>> {
    match fs::read_to_string(file()) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}
