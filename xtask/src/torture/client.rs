//! The clients: programs of `tests/torture`, each on its host, that tell their operations in files.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::Tools;
use super::hosts::Host;
use crate::{Outcome, process, project};

/// Of the clients and their hosts.
pub const NAMES: [&str; 4] = ["rust", "python", "asyncio", "node"];
/// Longest time that a client may take to end the operations that it has begun; their deadlines are shorter.
const LEAVE_MAX: Duration = Duration::from_secs(60);

/// A client's process. Dropped, it is killed.
pub struct Client {
    name: &'static str,
    child: Child,
    /// Open as long as it is to go on.
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Client {
    /// Starts one of each language.
    pub fn all(tools: &Tools, hosts: &[Host], uri: &str, seed: u64, folder: &Path) -> Outcome<Vec<Self>> {
        let source = |name: &str| project::root().join("tests/torture").join(name);
        let mut clients = Vec::new();
        for ((number, name), host) in (1..).zip(NAMES).zip(hosts) {
            let mut command = match name {
                "rust" => Command::new(tools.programs.join("torture-rust")),
                "node" => {
                    let mut command = Command::new("node");
                    command.arg(source("torture.mjs")).arg(tools.node.folder());
                    command
                }
                _ => {
                    let mut command = tools.venv.python();
                    command.arg(source("torture.py")).arg(if name == "python" { "sync" } else { name });
                    command
                }
            };
            host.place(&mut command);
            command.args([uri, &seed.to_string(), &number.to_string()]);
            command.arg(folder.join(format!("{name}.ops")));
            let log = folder.join(format!("{name}.log"));
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log)?);
            let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
            let input = child.stdin.take();
            clients.push(Self { name, child, input, log });
        }
        Ok(clients)
    }

    /// Waits until it is connected.
    pub fn await_ready(&mut self) -> Outcome<()> {
        let stdout = self.child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        if line.trim() != "ready" {
            return Err(format!("{} is not ready; its log:\n{}", self.name, process::tail(&self.log)).into());
        }
        // Whatever else it says must not stop it.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Ok(())
    }

    /// It begins nothing new, ends what it has begun, and leaves. What was wrong with it, if anything.
    pub fn finish(mut self, mut meanwhile: impl FnMut() -> Outcome<()>) -> Outcome<Option<String>> {
        drop(self.input.take());
        let end = Instant::now() + LEAVE_MAX;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(None),
                Some(status) => {
                    let log = fs::read_to_string(&self.log).unwrap_or_default();
                    let last: Vec<&str> = log.lines().rev().take(3).collect();
                    return Ok(Some(format!(
                        "client {} ended with {status}: {}",
                        self.name,
                        last.join(" | ")
                    )));
                }
                None if Instant::now() > end => {
                    return Ok(Some(format!(
                        "client {} has not ended its operations within {} s",
                        self.name,
                        LEAVE_MAX.as_secs()
                    )));
                }
                None => meanwhile()?,
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has ended, or it does now.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
