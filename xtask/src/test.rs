//! `cargo xtask test`: every suite, one table at the end.
//!
//! All cargo commands name the same packages and features ([`project::SELECTION`]), so that each dependency is compiled
//! once for all of them.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::cluster;
use crate::project::{self, Profile, SELECTION};
use crate::table::Table;
use crate::venv::Venv;
use crate::{Outcome, documents, examples, machine, process};

/// Set for every test program when `--long` is given.
const LONG_VARIABLE: &str = "SLOTKV_TEST_LONG";

/// Pinned, so that a suite fails when slotkv changes and not when a tool does.
const PYTHON_TOOLS: [&str; 6] = [
    "pytest==9.2.0",
    "pytest-timeout==2.4.0",
    "hypothesis==6.170.15",
    "uvloop==0.23.0",
    "mypy==2.4.1",
    "pyright==1.1.414",
];

/// Longest run of one Python test; a hanging one fails with the stacks of all threads.
const PYTEST_TIMEOUT: &str = "--timeout=600";

struct Suite {
    name: &'static str,
    about: &'static str,
    run: fn(&Bench) -> Outcome<Tested>,
}

/// In the order in which they run: what fails fast comes first.
const SUITES: [Suite; 11] = [
    Suite { name: "fmt", about: "cargo fmt --check", run: fmt },
    Suite { name: "clippy", about: "cargo clippy, all targets, warnings denied", run: clippy },
    Suite { name: "deny", about: "cargo-deny, where it is installed", run: deny },
    Suite { name: "rust", about: "Rust unit, crate and whole-cluster tests, the simulation", run: rust },
    Suite { name: "doctest", about: "examples in the Rust documentation", run: doctest },
    Suite { name: "zookeeper", about: "coordinator conformance on ZooKeeper x1 and x3", run: zookeeper },
    Suite { name: "python", about: "pytest, doctests among it, on the installed package", run: python },
    Suite { name: "types", about: "mypy --strict, pyright, stubtest", run: types },
    Suite { name: "examples", about: "every example, Rust and Python", run: all_examples },
    Suite {
        name: "fail-over",
        about: "the fail-over examples on ZooKeeper, a worker crashed",
        run: fail_over,
    },
    Suite { name: "docs", about: "code blocks of README and docs/", run: docs },
];

/// What suites share.
struct Bench {
    long: bool,
    slotkv: OnceCell<PathBuf>,
    venv: OnceCell<Venv>,
}

/// How a suite ended when nothing failed.
enum Tested {
    /// All well; so many single tests, if the suite counts them.
    Passed(Option<u64>),
    /// Not run, and why.
    Skipped(&'static str),
}

/// Exits with success only if no suite failed.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let mut bench = Bench { long: false, slotkv: OnceCell::new(), venv: OnceCell::new() };
    let mut wanted: Vec<&Suite> = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--long" => bench.long = true,
            "--list" => {
                for suite in &SUITES {
                    println!("{:<10} {}", suite.name, suite.about);
                }
                return Ok(true);
            }
            name => {
                let suite = SUITES.iter().find(|suite| suite.name == name);
                wanted.push(
                    suite.ok_or_else(|| format!("no suite {name:?}; `cargo xtask test --list` has them"))?,
                );
            }
        }
    }
    if wanted.is_empty() {
        wanted.extend(&SUITES);
    }

    let mut table = Table::new(&["suite", "result", "tests", "seconds"]);
    let (mut passed, mut failed) = (0, 0);
    for suite in wanted {
        eprintln!("\n== {}: {}", suite.name, suite.about);
        let start = Instant::now();
        let (result, tests) = match (suite.run)(&bench) {
            Ok(Tested::Passed(tests)) => {
                passed += 1;
                ("passed".to_owned(), tests.map_or(String::new(), |tests| tests.to_string()))
            }
            Ok(Tested::Skipped(why)) => (format!("skipped: {why}"), String::new()),
            Err(error) => {
                eprintln!("{error}");
                failed += 1;
                ("FAILED".to_owned(), String::new())
            }
        };
        table.row([suite.name.to_owned(), result, tests, format!("{:.0}", start.elapsed().as_secs_f64())]);
    }
    println!("\n{}\n{passed} passed, {failed} failed", table.text());
    Ok(failed == 0)
}

impl Bench {
    /// Runs a command as (part of) a suite; its whole output is kept.
    fn step(&self, name: &str, command: &mut Command) -> Outcome<PathBuf> {
        if self.long {
            command.env(LONG_VARIABLE, "1");
        }
        let log = project::scratch().join(format!("logs/test-{}.log", name.replace(' ', "-")));
        process::logged(name, &log, command)?;
        Ok(log)
    }

    /// `cargo` on the packages under test.
    fn cargo(&self, verb: &str) -> Command {
        let mut command = project::cargo();
        command.arg(verb).args(SELECTION);
        command
    }

    /// The binary, built once.
    fn slotkv(&self) -> Outcome<&Path> {
        if self.slotkv.get().is_none() {
            let _ = self.slotkv.set(cluster::build(Profile::Debug)?);
        }
        Ok(self.slotkv.get().ok_or("no binary")?)
    }

    /// The environment with the package as pip installs it from `./python`, in a debug build, made once.
    fn venv(&self) -> Outcome<&Venv> {
        if self.venv.get().is_none() {
            let venv = Venv::with("test", &PYTHON_TOOLS)?;
            venv.install_slotkv(&["--profile", "dev"])?;
            let _ = self.venv.set(venv);
        }
        Ok(self.venv.get().ok_or("no environment")?)
    }
}

fn fmt(bench: &Bench) -> Outcome<Tested> {
    bench.step("fmt", project::cargo().args(["fmt", "--all", "--check", "--", "--color", "never"]))?;
    Ok(Tested::Passed(None))
}

fn clippy(bench: &Bench) -> Outcome<Tested> {
    bench.step("clippy", bench.cargo("clippy").args(["--all-targets", "--", "-D", "warnings"]))?;
    Ok(Tested::Passed(None))
}

fn deny(bench: &Bench) -> Outcome<Tested> {
    if !process::works(project::cargo().args(["deny", "--version"])) {
        return Ok(Tested::Skipped("cargo-deny is not installed"));
    }
    bench.step("deny", project::cargo().args(["deny", "check", "licenses", "bans", "sources"]))?;
    Ok(Tested::Passed(None))
}

fn rust(bench: &Bench) -> Outcome<Tested> {
    machine::install(&[machine::JAVA, machine::ZOOKEEPER])?;
    let log = bench.step(
        "rust",
        bench.cargo("test").args([
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
            "--",
            "--skip",
            "zookeeper",
        ]),
    )?;
    Ok(Tested::Passed(Some(cargo_count(&log)?)))
}

fn doctest(bench: &Bench) -> Outcome<Tested> {
    let log = bench.step("doctest", bench.cargo("test").args(["--doc", "--no-fail-fast"]))?;
    Ok(Tested::Passed(Some(cargo_count(&log)?)))
}

fn zookeeper(bench: &Bench) -> Outcome<Tested> {
    machine::install(&[machine::JAVA, machine::ZOOKEEPER])?;
    let log = bench
        .step("zookeeper", bench.cargo("test").args(["--tests", "--no-fail-fast", "--", "zookeeper"]))?;
    Ok(Tested::Passed(Some(cargo_count(&log)?)))
}

fn python(bench: &Bench) -> Outcome<Tested> {
    let slotkv = bench.slotkv()?;
    let venv = bench.venv()?;
    let log = bench.step(
        "pytest",
        venv.python()
            .args(["-m", "pytest", "-v", "-p", "no:cacheprovider", PYTEST_TIMEOUT, "python/tests"])
            .env("SLOTKV_BIN", slotkv),
    )?;
    Ok(Tested::Passed(Some(pytest_count(&log)?)))
}

fn types(bench: &Bench) -> Outcome<Tested> {
    let venv = bench.venv()?;
    let scripts = ["examples/python", "xtask/demo"];
    let package = project::root().join("python");
    bench.step("mypy", venv.python().args(["-m", "mypy"]).current_dir(&package))?;
    for folder in scripts {
        let name = format!("mypy {}", folder.replace('/', "-"));
        bench.step(
            &name,
            venv.python().args(["-m", "mypy", "--strict", "."]).current_dir(project::root().join(folder)),
        )?;
    }
    let interpreter = venv.bin().join("python");
    let pyright = || {
        let mut command = venv.program("pyright");
        command.arg("--pythonpath").arg(&interpreter);
        command
    };
    bench.step("pyright", pyright().current_dir(&package))?;
    bench.step("pyright examples", pyright().args(scripts))?;
    bench.step(
        "stubtest",
        venv.python().args(["-m", "mypy.stubtest", "slotkv"]).current_dir(project::scratch()),
    )?;
    Ok(Tested::Passed(None))
}

fn all_examples(bench: &Bench) -> Outcome<Tested> {
    let slotkv = bench.slotkv()?;
    let venv = bench.venv()?;
    let rust = examples::rust(slotkv)?;
    let python = examples::python(slotkv, venv)?;
    Ok(Tested::Passed(Some(rust + python)))
}

fn fail_over(bench: &Bench) -> Outcome<Tested> {
    Ok(Tested::Passed(Some(examples::fail_over(bench.slotkv()?, bench.venv()?)?)))
}

fn docs(bench: &Bench) -> Outcome<Tested> {
    Ok(Tested::Passed(Some(documents::run(bench.slotkv()?, bench.venv()?)?)))
}

/// Sum over "test result: ok. N passed".
fn cargo_count(log: &Path) -> Outcome<u64> {
    let text = fs::read_to_string(log)?;
    Ok(text.lines().filter_map(|line| number_before(line.strip_prefix("test result:")?, " passed")).sum())
}

/// "12 passed, 1 skipped in 3.4s"
fn pytest_count(log: &Path) -> Outcome<u64> {
    let text = fs::read_to_string(log)?;
    Ok(text.lines().rev().find_map(|line| number_before(line, " passed")).unwrap_or(0))
}

fn number_before(line: &str, word: &str) -> Option<u64> {
    line[..line.find(word)?].split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_the_summary_lines() {
        assert_eq!(number_before(" ok. 12 passed; 0 failed; 3 ignored", " passed"), Some(12));
        assert_eq!(number_before("123 passed, 2 skipped in 4.5s", " passed"), Some(123));
        assert_eq!(number_before("nothing", " passed"), None);
    }
}
