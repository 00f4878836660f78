//! `cargo xtask fuzz`: bytes from outside, made up by libFuzzer, where rustup has a nightly toolchain. `tests/fuzz` has the
//! targets and a few inputs to begin with; what is found on the way is kept in the target folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::nightly::Nightly;
use crate::table::{Table, thousands};
use crate::{Outcome, machine, process, project};

/// The version that is installed.
const CARGO_FUZZ: &str = "0.13.2";
/// A line of libFuzzer's last words.
const RUNS: &str = "stat::number_of_executed_units:";

/// The verb.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let (mut minutes, mut wanted) = (1, Vec::new());
    let known = targets()?;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--minutes" => {
                let number = rest.next().and_then(|value| value.parse().ok()).filter(|&number| number > 0);
                minutes = number.ok_or("--minutes wants a number")?;
            }
            name if known.iter().any(|target| target == name) => wanted.push(name.to_owned()),
            _ => {
                let names = known.join(" | ");
                return Err(format!("usage: cargo xtask fuzz [--minutes N] [{names}]...").into());
            }
        }
    }
    let nightly = nightly().ok_or("rustup has no nightly toolchain")?;
    fuzz(&nightly, if wanted.is_empty() { &known } else { &wanted }, minutes * 60)?;
    Ok(true)
}

/// The toolchain, if there is one.
pub fn nightly() -> Option<Nightly> {
    Nightly::with(&["rust-std"])
}

/// Each target for half a minute; how many.
pub fn suite(nightly: &Nightly) -> Outcome<u64> {
    let targets = targets()?;
    fuzz(nightly, &targets, 30)?;
    Ok(targets.len() as u64)
}

fn folder() -> PathBuf {
    project::root().join("tests/fuzz")
}

fn targets() -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder().join("targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|stem| Some(stem.to_str()?.to_owned())));
    }
    names.sort();
    Ok(names)
}

fn fuzz(nightly: &Nightly, targets: &[String], seconds: u64) -> Outcome<()> {
    machine::install(&[machine::GXX])?;
    let tools = installed()?;
    let scratch = project::scratch().join("fuzz");
    let built = project::target().join("fuzz");
    let path = std::env::var("PATH").unwrap_or_default();
    let cargo_fuzz = |verb: &str| {
        let mut command = nightly.cargo(&built);
        command.env("PATH", format!("{}:{path}", tools.display())).args(["fuzz", verb, "--fuzz-dir"]);
        command.arg(folder()).arg("--target-dir").arg(&built);
        command
    };
    process::logged("cargo fuzz build", &log("build"), &mut cargo_fuzz("build"))?;
    let mut table = Table::new(&["target", "runs"]);
    for target in targets {
        let (found, failures) = (scratch.join("corpus").join(target), scratch.join("failures").join(target));
        fs::create_dir_all(&found)?;
        fs::create_dir_all(&failures)?;
        let mut command = cargo_fuzz("run");
        command.arg(target).arg(&found).arg(folder().join("corpus").join(target)).arg("--");
        command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        command.arg(format!("-artifact_prefix={}/", failures.display()));
        process::logged(&format!("cargo fuzz run {target}"), &log(target), &mut command)?;
        table.row([target.clone(), thousands(runs(&log(target))?)]);
    }
    println!("{}", table.text());
    Ok(())
}

fn log(name: &str) -> PathBuf {
    project::scratch().join(format!("logs/fuzz-{name}.log"))
}

fn runs(log: &Path) -> Outcome<u64> {
    let text = fs::read_to_string(log)?;
    let runs = text.lines().find_map(|line| line.strip_prefix(RUNS)?.trim().parse().ok());
    Ok(runs.ok_or("libFuzzer did not say how much it ran")?)
}

/// Installs cargo-fuzz for the project, if it is not there; the folder of its program.
fn installed() -> Outcome<PathBuf> {
    let tools = project::scratch().join("tools");
    if !tools.join("bin/cargo-fuzz").exists() {
        let mut command = project::cargo();
        command.args(["install", "--locked", "cargo-fuzz", "--version", CARGO_FUZZ, "--root"]).arg(&tools);
        process::logged("install cargo-fuzz", &log("install"), &mut command)?;
    }
    Ok(tools.join("bin"))
}
