//! `cargo xtask zookeeper`, and the same ensemble as a child of other verbs. Starting and stopping ZooKeeper exists
//! once, in slotkv-coordination; this only runs its program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::Server;
use crate::{Outcome, machine, process, project};

/// Three servers are up within seconds; a loaded machine gets this long.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// `cargo xtask zookeeper [--servers N] [--dir D]`: in the foreground until Ctrl-C.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let mut servers = "3".to_owned();
    let mut dir = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--servers" => servers = rest.next().ok_or("--servers wants 1 or 3")?.clone(),
            "--dir" => dir = Some(rest.next().ok_or("--dir wants a folder")?.clone()),
            other => return Err(format!("zookeeper does not take {other:?}").into()),
        }
    }
    if !matches!(servers.as_str(), "1" | "3") {
        return Err(format!("--servers wants 1 or 3, not {servers:?}").into());
    }
    if let Some(dir) = &dir {
        std::fs::create_dir_all(dir)?;
    }
    let program = build()?;
    let mut command = command(&program, &servers, dir.as_deref().map(Path::new));
    process::run(&mut command)?;
    Ok(true)
}

/// A ZooKeeper that runs beside xtask.
pub struct ZooKeeper {
    _server: Server,
    /// `zk://host:port,...`
    pub uri: String,
}

impl ZooKeeper {
    /// Starts `servers` servers (1 or 3) in a folder of their own and waits until they serve.
    pub fn start(servers: usize) -> Outcome<Self> {
        let program = build()?;
        let log = project::scratch().join("logs/zookeeper.log");
        let mut server =
            Server::start("zookeeper", &log, &mut command(&program, &servers.to_string(), None))?;
        let uri = server.await_line("ready ", READY_TIMEOUT)?;
        Ok(Self { _server: server, uri })
    }
}

fn build() -> Outcome<PathBuf> {
    machine::install(&[machine::JAVA, machine::ZOOKEEPER])?;
    let log = project::scratch().join("logs/cargo-zookeeper.log");
    process::logged(
        "cargo build zookeeper",
        &log,
        project::cargo().arg("build").args(project::SELECTION).args(["--bin", "slotkv-zookeeper"]),
    )?;
    Ok(project::target().join("debug/slotkv-zookeeper"))
}

fn command(program: &Path, servers: &str, dir: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command.arg(servers);
    if let Some(dir) = dir {
        // Where its temporary folder is made.
        command.env("TMPDIR", dir);
    }
    command
}
