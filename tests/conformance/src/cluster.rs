//! A cluster of its own for each surface, so that versions are the same for all.

use std::{
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// Longest time until it serves.
const READY_MAX: Duration = Duration::from_secs(60);

/// A running `slotkv dev`. Dropped, its process is killed.
pub struct Cluster {
    child: Child,
    uri: String,
}

impl Cluster {
    /// Starts one on free ports; its log is our standard error.
    pub fn start(slotkv: &Path) -> io::Result<Self> {
        let mut command = Command::new(slotkv);
        command.args(["dev", "--port", "0", "--log", "error"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let mut cluster = Self { child, uri: String::new() };
        let stdout = stdout.ok_or_else(|| io::Error::other("no standard output"))?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        loop {
            let line =
                lines.recv_timeout(READY_MAX).map_err(|_| io::Error::other("slotkv dev is not ready"))?;
            if let Some(uri) = line.strip_prefix("ready ") {
                cluster.uri = uri.to_owned();
                return Ok(cluster);
            }
        }
    }

    /// Where it is.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It keeps nothing.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
