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
use crate::go::{self, Go};
use crate::nightly::Nightly;
use crate::node::Package;
use crate::project::{self, Profile, SELECTION};
use crate::table::Table;
use crate::venv::Venv;
use crate::{Outcome, c, conformance, documents, examples, kotlin, machine, process, wheel};

/// Set for every test program when `--long` is given.
const LONG_VARIABLE: &str = "SLOTKV_TEST_LONG";

/// Pinned, so that a suite fails when slotkv changes and not when a tool does.
const PYTHON_TOOLS: [&str; 8] = [
    "pytest==9.2.0",
    "pytest-timeout==2.4.0",
    "hypothesis==6.170.15",
    "uvloop==0.23.0",
    "trio==0.35.0",
    "anyio==4.16.0",
    "mypy==2.4.1",
    "pyright==1.1.414",
];

/// The version that the deny suite installs.
const CARGO_DENY: &str = "0.20.2";

/// Set to 1, tests that need ZooKeeper are skipped, and say so in a line that begins like this.
const SKIP_ZOOKEEPER: &str = "SLOTKV_SKIP_ZOOKEEPER";
const SKIPPED_LINE: &str = "SKIPPED, because ";

/// Why a suite is skipped that is run with `--long` only.
const LONG_ONLY: &str = "--long runs it, in minutes";

/// Longest run of one Python test; a hanging one fails with the stacks of all threads.
const PYTEST_TIMEOUT: &str = "--timeout=600";

struct Suite {
    name: &'static str,
    about: &'static str,
    run: fn(&Bench) -> Outcome<Tested>,
}

/// In the order in which they run: what fails fast comes first.
const SUITES: [Suite; 24] = [
    Suite { name: "fmt", about: "cargo fmt --check", run: fmt },
    Suite { name: "clippy", about: "cargo clippy, all targets, warnings denied", run: clippy },
    Suite { name: "deny", about: "cargo-deny, where it is installed or with --long", run: deny },
    Suite { name: "rust", about: "Rust unit, crate and whole-cluster tests, the simulation", run: rust },
    Suite {
        name: "model",
        about: "the replication rules in every small state, and that no mistake in them goes unnoticed",
        run: model,
    },
    Suite { name: "doctest", about: "examples in the Rust documentation", run: doctest },
    Suite { name: "zookeeper", about: "coordinator conformance on ZooKeeper x1 and x3", run: zookeeper },
    Suite { name: "python", about: "pytest, doctests among it, on the installed package", run: python },
    Suite {
        name: "c",
        about: "the C library and its C++ header: test programs, sanitizers, valgrind, a CMake project",
        run: c_library,
    },
    Suite { name: "types", about: "mypy --strict, pyright, stubtest", run: types },
    Suite {
        name: "wheel",
        about: "the wheel as it is published, in an empty environment of every CPython",
        run: wheel_everywhere,
    },
    Suite { name: "node", about: "node:test, tsc --strict, publint, the packed packages", run: node },
    Suite { name: "go", about: "gofmt, go vet, go test -race on examples/go", run: go_package },
    Suite {
        name: "kotlin",
        about: "the Kotlin package by Maven; UniFFI's Python module; its Swift one, if there is swiftc",
        run: kotlin_package,
    },
    Suite {
        name: "conformance",
        about: "the scenarios through the client of every language, compared",
        run: conform,
    },
    Suite {
        name: "harmless",
        about: "what a client does to its host: no handler, no file, no word",
        run: harmless,
    },
    Suite { name: "examples", about: "every example, in every language", run: all_examples },
    Suite {
        name: "fail-over",
        about: "the fail-over examples on ZooKeeper, a worker crashed",
        run: fail_over,
    },
    Suite {
        name: "soak",
        about: "clients of every language under restarts, in short: none grows",
        run: soak,
    },
    Suite {
        name: "torture",
        about: "clients in three languages while servers are killed, cut off and damaged, two minutes, and two while slots move; as root",
        run: tormented,
    },
    Suite { name: "docs", about: "code blocks of README and docs/", run: docs },
    Suite {
        name: "miri",
        about: "facade and C library under Miri, with --long, where rustup has it",
        run: miri,
    },
    Suite {
        name: "asan",
        about: "Python and Node under the sanitizer of addresses, with --long, where rustup has a nightly",
        run: asan,
    },
    Suite {
        name: "fuzz",
        about: "bytes from outside by libFuzzer, with --long, where rustup has a nightly",
        run: fuzz,
    },
];

/// What suites share.
struct Bench {
    long: bool,
    slotkv: OnceCell<PathBuf>,
    venv: OnceCell<Venv>,
    node: OnceCell<Package>,
    kotlin: OnceCell<kotlin::Package>,
    go: OnceCell<Go>,
}

/// How a suite ended when nothing failed.
enum Tested {
    /// All well; the suite counts no single tests.
    Passed,
    /// So many single tests passed, and so many of them said that they skip what they are for.
    Counted { tests: u64, skipped: u64 },
    /// Not run, and why.
    Skipped(&'static str),
}

/// Exits with success only if no suite failed.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let mut bench = Bench {
        long: false,
        slotkv: OnceCell::new(),
        venv: OnceCell::new(),
        node: OnceCell::new(),
        kotlin: OnceCell::new(),
        go: OnceCell::new(),
    };
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
        let outcome = (suite.run)(&bench);
        let (verdict, result, tests) = judged(&outcome);
        match verdict {
            Some(true) => passed += 1,
            Some(false) => failed += 1,
            None => {}
        }
        if let Err(error) = outcome {
            eprintln!("{error}");
        }
        table.row([suite.name.to_owned(), result, tests, format!("{:.0}", start.elapsed().as_secs_f64())]);
    }
    println!("\n{}\n{passed} passed, {failed} failed", table.text());
    Ok(failed == 0)
}

/// Whether a suite passed or failed, if it ran, and how the table says it.
fn judged(outcome: &Outcome<Tested>) -> (Option<bool>, String, String) {
    match outcome {
        Ok(Tested::Passed) => (Some(true), "passed".to_owned(), String::new()),
        // As after a mistake in a filter: nothing was shown.
        Ok(Tested::Counted { tests: 0, .. }) => {
            (Some(false), "FAILED: no test ran".to_owned(), "0".to_owned())
        }
        Ok(Tested::Counted { tests, skipped: 0 }) => (Some(true), "passed".to_owned(), tests.to_string()),
        Ok(Tested::Counted { tests, skipped }) => {
            (Some(true), format!("passed, {skipped} skipped"), tests.to_string())
        }
        Ok(Tested::Skipped(why)) => (None, format!("skipped: {why}"), String::new()),
        Err(_) => (Some(false), "FAILED".to_owned(), String::new()),
    }
}

impl Tested {
    fn count(tests: u64) -> Self {
        Tested::Counted { tests, skipped: 0 }
    }
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

    /// The Node package in a debug build, made once.
    fn node(&self) -> Outcome<&Package> {
        if self.node.get().is_none() {
            let _ = self.node.set(Package::build(Profile::Debug)?);
        }
        Ok(self.node.get().ok_or("no Node package")?)
    }

    /// The Kotlin package in a debug build, made once.
    fn kotlin(&self) -> Outcome<&kotlin::Package> {
        if self.kotlin.get().is_none() {
            let _ = self.kotlin.set(kotlin::Package::build(Profile::Debug)?);
        }
        Ok(self.kotlin.get().ok_or("no Kotlin package")?)
    }

    /// Go with the C library, made once.
    fn go(&self) -> Outcome<&Go> {
        if self.go.get().is_none() {
            let _ = self.go.set(go::prepare(c::prepare()?)?);
        }
        Ok(self.go.get().ok_or("no Go")?)
    }
}

fn fmt(bench: &Bench) -> Outcome<Tested> {
    machine::install_rust("fmt", "rustfmt")?;
    bench.step("fmt", project::cargo().args(["fmt", "--all", "--check", "--", "--color", "never"]))?;
    Ok(Tested::Passed)
}

fn clippy(bench: &Bench) -> Outcome<Tested> {
    machine::install_rust("clippy", "clippy")?;
    let strict = ["--all-targets", "--", "-D", "warnings"];
    bench.step("clippy", bench.cargo("clippy").args(strict))?;
    let model = ["clippy", "--package", "slotkv-model"];
    bench.step("clippy model", project::cargo().args(model).args(strict))?;
    if bench.long {
        let benches = ["clippy", "--package", "slotkv-benches"];
        bench.step("clippy benches", project::cargo().args(benches).args(strict))?;
    }
    Ok(Tested::Passed)
}

fn deny(bench: &Bench) -> Outcome<Tested> {
    let tools = project::scratch().join("tools");
    let own = tools.join("bin/cargo-deny");
    let installed = process::works(project::cargo().args(["deny", "--version"]));
    if !installed && !own.exists() {
        if !bench.long {
            return Ok(Tested::Skipped("cargo-deny is not installed; --long does it, in minutes"));
        }
        let what = ["install", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"];
        bench.step("install cargo-deny", project::cargo().args(what).arg(&tools))?;
    }
    let mut command = if installed { project::cargo() } else { Command::new(own) };
    if installed {
        command.arg("deny");
    }
    command.args(["check", "licenses", "bans", "sources"]).current_dir(project::root());
    bench.step("deny", &mut command)?;
    Ok(Tested::Passed)
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
    cargo_count(&log)
}

fn model(bench: &Bench) -> Outcome<Tested> {
    let log = bench.step("model", project::cargo().args(["test", "--package", "slotkv-model"]))?;
    cargo_count(&log)
}

fn doctest(bench: &Bench) -> Outcome<Tested> {
    let log = bench.step("doctest", bench.cargo("test").args(["--doc", "--no-fail-fast"]))?;
    cargo_count(&log)
}

fn zookeeper(bench: &Bench) -> Outcome<Tested> {
    if std::env::var_os(SKIP_ZOOKEEPER).is_some_and(|value| value == "1") {
        return Ok(Tested::Skipped("SLOTKV_SKIP_ZOOKEEPER=1"));
    }
    machine::install(&[machine::JAVA, machine::ZOOKEEPER])?;
    let log = bench
        .step("zookeeper", bench.cargo("test").args(["--tests", "--no-fail-fast", "--", "zookeeper"]))?;
    cargo_count(&log)
}

fn python(bench: &Bench) -> Outcome<Tested> {
    // Checks of memory are left out where it is missing.
    machine::install(&[machine::VALGRIND])?;
    let slotkv = bench.slotkv()?;
    let venv = bench.venv()?;
    let log = bench.step(
        "pytest",
        venv.python()
            .args(["-m", "pytest", "-v", "-p", "no:cacheprovider", PYTEST_TIMEOUT, "python/tests"])
            .env("SLOTKV_BIN", slotkv),
    )?;
    Ok(Tested::count(pytest_count(&log)?))
}

fn c_library(bench: &Bench) -> Outcome<Tested> {
    Ok(Tested::count(c::suite(bench.slotkv()?, bench.long)?))
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
    Ok(Tested::Passed)
}

fn wheel_everywhere(bench: &Bench) -> Outcome<Tested> {
    Ok(Tested::count(wheel::suite(bench.slotkv()?, bench.long)?))
}

fn node(bench: &Bench) -> Outcome<Tested> {
    let slotkv = bench.slotkv()?;
    let package = bench.node()?;
    let log = bench.step("npm test", package.npm().arg("test").env("SLOTKV_BIN", slotkv))?;
    Ok(Tested::count(node_count(&log)?))
}

fn go_package(bench: &Bench) -> Outcome<Tested> {
    Ok(Tested::count(bench.go()?.suite(bench.slotkv()?)?))
}

fn kotlin_package(bench: &Bench) -> Outcome<Tested> {
    let slotkv = bench.slotkv()?;
    let (package, tests) = kotlin::Package::build_and_test(slotkv)?;
    let _ = bench.kotlin.set(package);
    let (checks, skipped) = kotlin::other_languages(slotkv, bench.venv()?)?;
    Ok(Tested::Counted { tests: tests + checks, skipped })
}

fn conform(bench: &Bench) -> Outcome<Tested> {
    let count = conformance::suite(bench.slotkv()?, bench.venv()?, bench.node()?, bench.kotlin()?)?;
    Ok(Tested::count(count))
}

fn harmless(bench: &Bench) -> Outcome<Tested> {
    Ok(Tested::count(crate::harmless::suite(bench.slotkv()?, bench.venv()?, bench.node()?)?))
}

fn all_examples(bench: &Bench) -> Outcome<Tested> {
    let slotkv = bench.slotkv()?;
    let venv = bench.venv()?;
    let rust = examples::rust(slotkv)?;
    let python = examples::python(slotkv, venv)?;
    let node = examples::node(slotkv, bench.node()?)?;
    let c = examples::c(slotkv)?;
    let go = examples::go(slotkv, bench.go()?)?;
    let kotlin = examples::kotlin(slotkv, bench.kotlin()?)?;
    Ok(Tested::count(rust + python + node + c + go + kotlin))
}

fn fail_over(bench: &Bench) -> Outcome<Tested> {
    let (slotkv, venv, node) = (bench.slotkv()?, bench.venv()?, bench.node()?);
    Ok(Tested::count(examples::fail_over(slotkv, venv, node, bench.kotlin()?, bench.go()?)?))
}

fn soak(bench: &Bench) -> Outcome<Tested> {
    Ok(Tested::count(crate::soak::suite(bench.slotkv()?, bench.venv()?, bench.node()?)?))
}

fn tormented(bench: &Bench) -> Outcome<Tested> {
    if crate::torture::is_possible().is_err() {
        return Ok(Tested::Skipped("it wants root, and namespaces of its own"));
    }
    Ok(Tested::count(crate::torture::suite(bench.slotkv()?, bench.venv()?, bench.node()?)?))
}

fn docs(bench: &Bench) -> Outcome<Tested> {
    let (slotkv, venv, node) = (bench.slotkv()?, bench.venv()?, bench.node()?);
    Ok(Tested::count(documents::run(slotkv, venv, node, bench.kotlin()?, bench.go()?)?))
}

fn miri(bench: &Bench) -> Outcome<Tested> {
    if !bench.long {
        return Ok(Tested::Skipped(LONG_ONLY));
    }
    match Nightly::with(&["miri", "rust-src"]) {
        Some(nightly) => cargo_count(&nightly.miri()?),
        None => Ok(Tested::Skipped("rustup has no nightly toolchain with miri and rust-src")),
    }
}

fn asan(bench: &Bench) -> Outcome<Tested> {
    if !bench.long {
        return Ok(Tested::Skipped(LONG_ONLY));
    }
    let Some(nightly) = Nightly::with(&["rust-std"]) else {
        return Ok(Tested::Skipped("rustup has no nightly toolchain"));
    };
    let (slotkv, venv, node) = (bench.slotkv()?, bench.venv()?, bench.node()?);
    let sanitized = nightly.sanitize()?;
    let python = pytest_count(&sanitized.python(slotkv, venv)?)?;
    Ok(Tested::count(python + node_count(&sanitized.node(slotkv, node)?)?))
}

fn fuzz(bench: &Bench) -> Outcome<Tested> {
    if !bench.long {
        return Ok(Tested::Skipped(LONG_ONLY));
    }
    match crate::fuzz::nightly() {
        Some(nightly) => Ok(Tested::count(crate::fuzz::suite(&nightly)?)),
        None => Ok(Tested::Skipped("rustup has no nightly toolchain")),
    }
}

/// Sum over "test result: ok. N passed", and the tests among them that skip what they are for.
fn cargo_count(log: &Path) -> Outcome<Tested> {
    Ok(count(&fs::read_to_string(log)?))
}

fn count(text: &str) -> Tested {
    let passed = |line: &str| number_before(line.strip_prefix("test result:")?, " passed");
    Tested::Counted {
        tests: text.lines().filter_map(passed).sum(),
        skipped: text.lines().filter(|line| line.starts_with(SKIPPED_LINE)).count() as u64,
    }
}

/// "12 passed, 1 skipped in 3.4s"
fn pytest_count(log: &Path) -> Outcome<u64> {
    let text = fs::read_to_string(log)?;
    Ok(text.lines().rev().find_map(|line| number_before(line, " passed")).unwrap_or(0))
}

/// "# pass 12"
fn node_count(log: &Path) -> Outcome<u64> {
    let text = fs::read_to_string(log)?;
    let pass = |line: &str| line.strip_prefix("# pass ")?.trim().parse().ok();
    Ok(text.lines().rev().find_map(pass).unwrap_or(0))
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

    #[test]
    fn a_suite_without_tests_fails_and_skipped_ones_are_seen() {
        let judged = |text: &str| judged(&Ok(count(text)));
        let (verdict, result, _) = judged("test result: ok. 0 passed; 0 failed; 5 filtered out\n");
        assert_eq!((verdict, &*result), (Some(false), "FAILED: no test ran"));
        let text =
            "test a ... ok\ntest result: ok. 2 passed; 0 failed\ntest result: ok. 3 passed; 0 failed\n";
        assert_eq!(judged(text), (Some(true), "passed".to_owned(), "5".to_owned()));
        let text = format!("\n{SKIPPED_LINE}{SKIP_ZOOKEEPER}=1: something\n{text}");
        assert_eq!(judged(&text), (Some(true), "passed, 1 skipped".to_owned(), "5".to_owned()));
    }
}
