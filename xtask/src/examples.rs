//! Runs the examples of every language, each against a cluster of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::c::{self, Language, Linkage};
use crate::cluster::{self, Dev, Split};
use crate::go::Go;
use crate::install_c::Installed;
use crate::kotlin;
use crate::node::Package;
use crate::process::{self, Server};
use crate::project::{self, Profile};
use crate::venv::Venv;
use crate::zookeeper::ZooKeeper;

/// The same in every language. `fail_over` is apart: somebody has to crash a worker meanwhile.
const NAMES: [&str; 4] = ["hello", "many", "scan", "compare_and_set"];
/// Where those for Node are.
const NODE_FOLDER: &str = "examples/node";
/// What the fail-over example prints when it is time to crash a worker.
const CRASH_PROMPT: &str = "crash a worker now";
/// What it prints when it is content.
const CONTENT: &str = "ok";
/// Longest run of one example.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Builds the Rust examples.
pub fn build() -> Outcome<()> {
    let log = project::scratch().join("logs/cargo-examples.log");
    process::logged(
        "cargo build examples",
        &log,
        project::cargo().arg("build").args(project::SELECTION).arg("--examples"),
    )
}

/// Every Rust example against `slotkv dev`; how many.
pub fn rust(slotkv: &Path) -> Outcome<u64> {
    build()?;
    let mut passed = 0;
    for name in NAMES {
        on_dev(slotkv, name, &mut Command::new(rust_program(name)))?;
        passed += 1;
    }
    Ok(passed)
}

/// Every Python example, sync and asyncio, against `slotkv dev`; how many.
pub fn python(slotkv: &Path, venv: &Venv) -> Outcome<u64> {
    let mut passed = 0;
    for name in NAMES {
        for variant in [name.to_owned(), format!("{name}_asyncio")] {
            on_dev(slotkv, &variant, venv.python().arg(python_script(&variant)))?;
            passed += 1;
        }
    }
    Ok(passed)
}

/// Every Node example against `slotkv dev`; how many.
pub fn node(slotkv: &Path, node: &Package) -> Outcome<u64> {
    node.link(&project::root().join(NODE_FOLDER))?;
    let mut passed = 0;
    for name in NAMES {
        on_dev(slotkv, &format!("{name} (Node)"), &mut node_script(node, name))?;
        passed += 1;
    }
    Ok(passed)
}

/// Every example in C and C++ against `slotkv dev`; how many.
pub fn c(slotkv: &Path) -> Outcome<u64> {
    let installed = c::prepare()?;
    let mut passed = 0;
    for name in NAMES {
        for folder in ["c", "cpp"] {
            on_dev(slotkv, &format!("{name} ({folder})"), &mut c_program(&installed, folder, name)?)?;
            passed += 1;
        }
    }
    Ok(passed)
}

/// Every Kotlin example against `slotkv dev`; how many.
pub fn kotlin(slotkv: &Path, kotlin: &kotlin::Package) -> Outcome<u64> {
    let mut passed = 0;
    for name in NAMES {
        on_dev(slotkv, &format!("{name} (Kotlin)"), &mut kotlin.program(name))?;
        passed += 1;
    }
    Ok(passed)
}

/// Every Go example against `slotkv dev`; how many.
pub fn go(slotkv: &Path, go: &Go) -> Outcome<u64> {
    let mut passed = 0;
    for name in NAMES {
        on_dev(slotkv, &format!("{name} (Go)"), &mut Command::new(go.example(name)?))?;
        passed += 1;
    }
    Ok(passed)
}

/// The fail-over examples: masters and workers as processes on ZooKeeper, and a worker is crashed in the middle;
/// how many.
pub fn fail_over(
    slotkv: &Path,
    venv: &Venv,
    node: &Package,
    kotlin: &kotlin::Package,
    go: &Go,
) -> Outcome<u64> {
    build()?;
    node.link(&project::root().join(NODE_FOLDER))?;
    let installed = c::prepare()?;
    let mut passed = 0;
    let zookeeper = ZooKeeper::start(1)?;
    let programs: [(&str, Command); 8] = [
        ("rust", Command::new(rust_program("fail_over"))),
        ("python", script(venv, "fail_over")),
        ("asyncio", script(venv, "fail_over_asyncio")),
        ("node", node_script(node, "fail_over")),
        ("kotlin", kotlin.program("fail_over")),
        ("c", c_program(&installed, "c", "fail_over")?),
        ("cpp", c_program(&installed, "cpp", "fail_over")?),
        ("go", Command::new(go.example("fail_over")?)),
    ];
    for (name, mut command) in programs {
        let dir = project::scratch().join("fail_over").join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        let ports = cluster::free_ports(3)?;
        let coordinator = format!("{}/{name}-{}", zookeeper.uri, std::process::id());
        let mut cluster = Split::start(slotkv, &coordinator, &dir, &ports, &[])?;
        let log = project::scratch().join(format!("logs/fail_over-{name}.log"));
        let mut example = Server::start(&format!("fail_over ({name})"), &log, command.arg(&cluster.uri))?;
        example.await_line(CRASH_PROMPT, TIMEOUT)?;
        cluster.crash_worker(0, ports[0])?;
        example.await_line(CONTENT, TIMEOUT)?;
        if !example.wait()?.success() {
            return Err(format!("fail_over ({name}) failed:\n{}", process::tail(&log)).into());
        }
        println!("  {name}: ok");
        cluster.stop()?;
        passed += 1;
    }
    Ok(passed)
}

fn on_dev(slotkv: &Path, name: &str, command: &mut Command) -> Outcome<()> {
    let cluster = Dev::start(slotkv, "dev-examples", &[])?;
    let out = process::tied(command.arg(&cluster.uri)).stdin(Stdio::null()).output()?;
    if !out.status.success() {
        return Err(format!(
            "example {name} failed ({}):\n{}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        )
        .into());
    }
    println!("  {name}: {}", String::from_utf8_lossy(&out.stdout).trim_end().lines().last().unwrap_or("ok"));
    Ok(())
}

fn rust_program(name: &str) -> PathBuf {
    Profile::Debug.program("examples").join(name)
}

/// An example in C or C++, compiled.
fn c_program(installed: &Installed, folder: &str, name: &str) -> Outcome<Command> {
    let (compiler, language) = if folder == "c" { ("gcc", Language::C) } else { ("g++", Language::Cpp) };
    let source = project::root().join("examples").join(folder).join(format!("{name}.{folder}"));
    let program = c::compile(installed, compiler, language, Linkage::Shared, &source)?;
    let mut command = Command::new(program);
    installed.run(&mut command);
    Ok(command)
}

fn python_script(name: &str) -> PathBuf {
    project::root().join("examples/python").join(format!("{name}.py"))
}

fn script(venv: &Venv, name: &str) -> Command {
    let mut command = venv.python();
    command.arg(python_script(name));
    command
}

fn node_script(node: &Package, name: &str) -> Command {
    node.script(&format!("{NODE_FOLDER}/{name}.mjs"))
}
