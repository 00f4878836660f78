//! A client never harms its host: a program per language that looks at its own process before and after. `tests/harmless`
//! has the programs; this runs them in an empty folder that must stay empty, and takes every word for a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::c::{self, Language, Linkage};
use crate::cluster::Dev;
use crate::node::Package;
use crate::project::{self, Profile};
use crate::venv::Venv;
use crate::{Outcome, process};

/// What makes programs talk.
const TALKATIVE: [(&str, &str); 4] =
    [("RUST_LOG", "trace"), ("RUST_BACKTRACE", "full"), ("SLOTKV_LOG", "trace"), ("LC_ALL", "C")];

/// Runs the program of every surface; how many.
pub fn suite(slotkv: &Path, venv: &Venv, node: &Package) -> Outcome<u64> {
    let cluster = Dev::start(slotkv, "dev-harmless", &[])?;
    let programs = programs(venv, node)?;
    for (name, command) in programs {
        run(name, command, &cluster.uri)?;
        println!("  {name}: ok");
    }
    cluster.stop()?;
    Ok(SURFACES)
}

const SURFACES: u64 = 4;

fn programs(venv: &Venv, node: &Package) -> Outcome<[(&'static str, Command); SURFACES as usize]> {
    let source = |name: &str| project::root().join("tests/harmless").join(name);
    let log = project::scratch().join("logs/cargo-harmless.log");
    let bin = ["--bin", "harmless-rust"];
    let mut build = project::cargo();
    process::logged(
        "cargo build harmless-rust",
        &log,
        build.arg("build").args(project::SELECTION).args(bin),
    )?;
    let installed = c::prepare()?;
    let program = c::compile(&installed, "gcc", Language::C, Linkage::Shared, &source("harmless.c"))?;
    let mut c = Command::new(program);
    installed.run(&mut c);
    let mut python = venv.python();
    python.arg(source("harmless.py"));
    let mut javascript = Command::new("node");
    javascript.arg(source("harmless.mjs")).arg(node.folder());
    let rust = Command::new(Profile::Debug.program("harmless-rust"));
    Ok([("rust", rust), ("c", c), ("python", python), ("node", javascript)])
}

fn run(name: &str, mut command: Command, uri: &str) -> Outcome<()> {
    let folder = Folder(std::env::temp_dir().join(format!("slotkv-harmless-{}", std::process::id())));
    fs::create_dir_all(&folder.0)?;
    command.arg(uri).current_dir(&folder.0).envs(TALKATIVE).stdin(Stdio::null());
    for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] {
        command.env(variable, &folder.0);
    }
    let out = process::tied(&mut command).output()?;
    let said = [out.stdout, out.stderr].concat();
    if !out.status.success() || !said.is_empty() {
        return Err(
            format!("{name}: {}, and it said:\n{}", out.status, String::from_utf8_lossy(&said)).into()
        );
    }
    let left: Vec<PathBuf> =
        fs::read_dir(&folder.0)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    if left.is_empty() { Ok(()) } else { Err(format!("{name} left {left:?}").into()) }
}

/// Removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
