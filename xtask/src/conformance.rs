//! `cargo xtask conformance`: the scenarios and a seeded program through the client of every language, compared;
//! the program also while workers are killed and connections are cut.

use std::path::Path;
use std::process::Command;

use crate::c::{self, Language, Linkage};
use crate::kotlin;
use crate::node::Package;
use crate::project::{self, Profile};
use crate::venv::Venv;
use crate::zookeeper::ZooKeeper;
use crate::{Outcome, cluster, process};

/// The seed where none is given, as in the test suite.
const SEED_DEFAULT: &str = "1";
/// The crate of the drivers.
const PACKAGE: &str = "slotkv-conformance";

/// Workers that are killed under each surface's program.
const KILLS_DEFAULT: &str = "3";

/// Exits with success only if every surface answers as expected, and all alike.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let (mut seed, mut kills) = (SEED_DEFAULT, KILLS_DEFAULT);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let place = match argument.as_str() {
            "--seed" => &mut seed,
            "--kills" => &mut kills,
            _ => return Err("usage: cargo xtask conformance [--seed S] [--kills N]".into()),
        };
        *place = rest.next().ok_or_else(|| format!("{argument} wants a number"))?;
    }
    let slotkv = cluster::build(Profile::Debug)?;
    let venv = Venv::with("conformance", &[])?;
    venv.install_slotkv(&["--profile", "dev"])?;
    let node = Package::build(Profile::Debug)?;
    let kotlin = kotlin::Package::build(Profile::Debug)?;
    let zookeeper = ZooKeeper::start(1)?;
    process::run(&mut command(&slotkv, &venv, &node, &kotlin, &[seed, &zookeeper.uri, kills])?)?;
    Ok(true)
}

/// The same as a suite; how many surfaces.
pub fn suite(slotkv: &Path, venv: &Venv, node: &Package, kotlin: &kotlin::Package) -> Outcome<u64> {
    let zookeeper = ZooKeeper::start(1)?;
    let how = [SEED_DEFAULT, &zookeeper.uri, KILLS_DEFAULT];
    let mut command = command(slotkv, venv, node, kotlin, &how)?;
    let log = project::scratch().join("logs/conformance.log");
    process::logged("conformance", &log, &mut command)?;
    Ok(SURFACES.len() as u64)
}

const SURFACES: [&str; 9] =
    ["rust", "facade", "facade-async", "python", "asyncio", "node", "c", "c-queue", "kotlin"];

fn command(
    slotkv: &Path,
    venv: &Venv,
    node: &Package,
    kotlin: &kotlin::Package,
    how: &[&str; 3],
) -> Outcome<Command> {
    let log = project::scratch().join("logs/cargo-conformance.log");
    process::logged(
        "cargo build conformance",
        &log,
        project::cargo().arg("build").args(project::SELECTION).args([
            "--bin",
            PACKAGE,
            "--bin",
            "conform-rust",
            "--bin",
            "conform-facade",
        ]),
    )?;
    let installed = c::prepare()?;
    let source = project::root().join("tests/conformance/c/conform.c");
    let c = c::compile(&installed, "gcc", Language::C, Linkage::Shared, &source)?;
    let mut command = Command::new(Profile::Debug.program(PACKAGE));
    command.arg(slotkv).arg(project::root().join("tests/scenarios")).args(how);
    for surface in SURFACES {
        command.arg(format!("{surface}={}", program(surface, venv, node, kotlin, &c)));
    }
    installed.run(&mut command);
    Ok(command)
}

/// A driver with its arguments, as the run takes it.
fn program(surface: &str, venv: &Venv, node: &Package, kotlin: &kotlin::Package, c: &Path) -> String {
    let python = |mode: &str| {
        let script = project::root().join("tests/conformance/python/conform.py");
        format!("{},{},{mode}", venv.bin().join("python").display(), script.display())
    };
    match surface {
        "python" => python("sync"),
        "asyncio" => python("asyncio"),
        "node" => {
            let script = project::root().join("tests/conformance/node/conform.mjs");
            format!("node,{},{}", script.display(), node.folder().display())
        }
        "kotlin" => format!("java,-cp,{},{}", kotlin.class_path(&[]), kotlin::main_class("conform")),
        "c" => format!("{},calls", c.display()),
        "c-queue" => format!("{},queue", c.display()),
        "facade" => format!("{},blocking", Profile::Debug.program("conform-facade").display()),
        "facade-async" => format!("{},nonblocking", Profile::Debug.program("conform-facade").display()),
        _ => Profile::Debug.program(&format!("conform-{surface}")).display().to_string(),
    }
}
