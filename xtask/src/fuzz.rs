//! `cargo xtask fuzz`: bytes from outside and sequences of C calls, made up by libFuzzer under the sanitizer of addresses,
//! where rustup has a nightly toolchain. `tests/fuzz` has the targets and a few inputs to begin with; what is found on the
//! way is kept in the target folder, and with `--keep` what reaches code that nothing in the tree has reached goes there.

use std::fs;
use std::path::PathBuf;

use crate::nightly::Nightly;
use crate::table::{Table, thousands};
use crate::{Outcome, machine, process, project};

/// The version that is installed.
const CARGO_FUZZ: &str = "0.13.2";
/// A line of libFuzzer's last words.
const RUNS: &str = "stat::number_of_executed_units:";
/// Largest piece of memory that an input, which has a few thousand bytes, may make anybody ask for.
const PIECE_MB_MAX: u64 = 64;
/// Longest time for one input, on a machine that is busy.
const INPUT_S_MAX: u64 = 30;
/// Bytes of an input that goes into the tree.
const KEPT_BYTES_MAX: u64 = 1024;

/// The verb.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let (mut minutes, mut wanted, mut keep) = (1, Vec::new(), false);
    let known = targets()?;
    let usage =
        || format!("usage: cargo xtask fuzz [--minutes N] [--keep] [--target {}]...", known.join(" | "));
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--minutes" => {
                let number = rest.next().and_then(|value| value.parse().ok()).filter(|&number| number > 0);
                minutes = number.ok_or("--minutes wants a number")?;
            }
            "--keep" => keep = true,
            "--target" => {
                let name = rest.next().filter(|name| known.contains(name)).ok_or_else(usage)?;
                wanted.push(name.clone());
            }
            _ => return Err(usage().into()),
        }
    }
    let nightly = nightly().ok_or("rustup has no nightly toolchain")?;
    fuzz(&nightly, if wanted.is_empty() { &known } else { &wanted }, minutes * 60, keep)?;
    Ok(true)
}

/// The toolchain, if there is one.
pub fn nightly() -> Option<Nightly> {
    Nightly::with(&["rust-std"])
}

/// Each target for half a minute; how many.
pub fn suite(nightly: &Nightly) -> Outcome<u64> {
    let targets = targets()?;
    fuzz(nightly, &targets, 30, false)?;
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

fn fuzz(nightly: &Nightly, targets: &[String], seconds: u64, keep: bool) -> Outcome<()> {
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
    let mut table = Table::new(&["target", "runs", "edges", "features", "kept"]);
    for target in targets {
        let (found, failures) = (scratch.join("corpus").join(target), scratch.join("failures").join(target));
        fs::create_dir_all(&found)?;
        fs::create_dir_all(&failures)?;
        let tree = folder().join("corpus").join(target);
        let mut command = cargo_fuzz("run");
        command.arg(target).arg(&found).arg(&tree).arg("--");
        command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        command.arg(format!("-malloc_limit_mb={PIECE_MB_MAX}")).arg(format!("-timeout={INPUT_S_MAX}"));
        command.arg(format!("-artifact_prefix={}/", failures.display()));
        process::logged(&format!("cargo fuzz run {target}"), &log(target), &mut command)?;
        let text = fs::read_to_string(log(target))?;
        let (edges, features) = reached(&text)?;
        if keep {
            let mut command = cargo_fuzz("run");
            command.arg(target).arg(&tree).arg(&found).args(["--", "-merge=1", "-use_counters=0"]);
            command.arg(format!("-max_len={KEPT_BYTES_MAX}"));
            process::logged(&format!("keep what {target} found"), &log("keep"), &mut command)?;
        }
        let kept = fs::read_dir(&tree)?.count() as u64;
        let [runs, edges, features, kept] = [runs(&text)?, edges, features, kept].map(thousands);
        table.row([target.clone(), runs, edges, features, kept]);
    }
    println!("{}", table.text());
    Ok(())
}

fn log(name: &str) -> PathBuf {
    project::scratch().join(format!("logs/fuzz-{name}.log"))
}

fn runs(text: &str) -> Outcome<u64> {
    let runs = text.lines().find_map(|line| line.strip_prefix(RUNS)?.trim().parse().ok());
    Ok(runs.ok_or("libFuzzer did not say how much it ran")?)
}

/// Edges of the code that were reached, and how often they were, in classes.
fn reached(text: &str) -> Outcome<(u64, u64)> {
    let reached = text.lines().rev().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let behind = |name| words.iter().skip_while(|&&word| word != name).nth(1)?.parse().ok();
        Some((behind("cov:")?, behind("ft:")?))
    });
    Ok(reached.ok_or("libFuzzer did not say what it reached")?)
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
