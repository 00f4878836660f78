//! A slotkv cluster as child processes: `slotkv dev`, or masters and workers of their own on a ZooKeeper.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::process::Server;
use crate::project::{self, Profile};
use crate::{Outcome, process};

/// Longest time from the start of a server to its ready line.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time from the last ready line to a table in which every slot has a primary.
const SERVING_TIMEOUT: Duration = Duration::from_secs(60);

/// Builds the `slotkv` binary and gives its path.
pub fn build(profile: Profile) -> Outcome<PathBuf> {
    let log = project::scratch().join("logs/cargo-slotkv.log");
    process::logged(
        "cargo build slotkv",
        &log,
        project::cargo()
            .arg("build")
            .args(project::SELECTION)
            .args(["--bin", "slotkv"])
            .args(profile.flags()),
    )?;
    Ok(profile.program("slotkv"))
}

/// `slotkv dev` on free ports.
pub struct Dev {
    server: Server,
    /// `slotkv://host:port` of its first master.
    pub uri: String,
}

impl Dev {
    /// Starts it with further arguments and waits until it serves.
    pub fn start(slotkv: &Path, name: &str, arguments: &[&str]) -> Outcome<Self> {
        Self::wait(Server::start(name, &log(name), Self::command(slotkv, arguments).args(arguments))?)
    }

    /// The same, but it goes on when xtask ends.
    pub fn start_detached(slotkv: &Path, name: &str, arguments: &[&str]) -> Outcome<Self> {
        Self::wait(Server::start_detached(
            name,
            &log(name),
            Self::command(slotkv, arguments).args(arguments),
        )?)
    }

    fn command(slotkv: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(slotkv);
        command.arg("dev");
        if !arguments.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        command
    }

    fn wait(mut server: Server) -> Outcome<Self> {
        let uri = server.await_line("ready ", READY_TIMEOUT)?;
        Ok(Self { server, uri })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// `host:port` of its first master.
    pub fn address(&self) -> &str {
        self.uri.strip_prefix("slotkv://").unwrap_or(&self.uri)
    }

    /// Where its log goes.
    pub fn log(&self) -> &Path {
        self.server.log()
    }

    /// SIGTERM; whether it left in an orderly way.
    pub fn stop(mut self) -> Outcome<bool> {
        self.server.stop()
    }

    /// Lets it run on.
    pub fn leave_running(self) {
        self.server.leave_running();
    }
}

/// One master and several workers, each a process, on a ZooKeeper.
pub struct Split {
    slotkv: PathBuf,
    coordinator: String,
    dir: PathBuf,
    worker_arguments: Vec<String>,
    master: Server,
    workers: Vec<Server>,
    /// `slotkv://host:port` of the master.
    pub uri: String,
}

impl Split {
    /// Starts a cluster of `shards` shards with one replica each under a fresh folder `dir` and waits until it serves.
    /// Worker `n` listens on `ports[n]`, so that it keeps its address over restarts.
    pub fn start(
        slotkv: &Path,
        coordinator: &str,
        dir: &Path,
        ports: &[u16],
        worker_arguments: &[&str],
    ) -> Outcome<Self> {
        fs::create_dir_all(dir)?;
        let mut master = Server::start(
            "master",
            &log("master"),
            Command::new(slotkv)
                .args(["master", "--listen", "127.0.0.1:0", "--coordinator", coordinator])
                .args(["--shards", &ports.len().to_string()]),
        )?;
        let uri = master.await_line("ready ", READY_TIMEOUT)?;
        let mut cluster = Self {
            slotkv: slotkv.to_owned(),
            coordinator: coordinator.to_owned(),
            dir: dir.to_owned(),
            worker_arguments: worker_arguments.iter().map(|&argument| argument.to_owned()).collect(),
            master,
            workers: Vec::new(),
            uri,
        };
        for (shard, &port) in ports.iter().enumerate() {
            let worker = cluster.spawn_worker(shard, port)?;
            cluster.workers.push(worker);
        }
        for worker in &mut cluster.workers {
            worker.await_line("ready ", READY_TIMEOUT)?;
        }
        cluster.wait_until_serving(ports.len())?;
        Ok(cluster)
    }

    fn spawn_worker(&self, shard: usize, port: u16) -> Outcome<Server> {
        let name = format!("worker-{shard}");
        Server::start(
            &name,
            &log(&name),
            Command::new(&self.slotkv)
                .args([
                    "worker",
                    "--listen",
                    &format!("127.0.0.1:{port}"),
                    "--coordinator",
                    &self.coordinator,
                ])
                .args(["--shard", &shard.to_string(), "--data"])
                .arg(self.dir.join(&name))
                .args(&self.worker_arguments),
        )
    }

    /// Kills a worker as a power cut would and starts it again on its data.
    pub fn crash_worker(&mut self, shard: usize, port: u16) -> Outcome<()> {
        self.workers[shard].kill()?;
        let mut worker = self.spawn_worker(shard, port)?;
        worker.await_line("ready ", READY_TIMEOUT)?;
        self.workers[shard] = worker;
        Ok(())
    }

    /// Process ids of master and workers.
    pub fn pids(&self) -> Vec<u32> {
        std::iter::once(&self.master).chain(&self.workers).map(Server::pid).collect()
    }

    /// Log of a worker.
    pub fn worker_log(&self, shard: usize) -> &Path {
        self.workers[shard].log()
    }

    /// Stops all, workers first; whether all left in an orderly way.
    pub fn stop(mut self) -> Outcome<bool> {
        let mut orderly = true;
        for server in self.workers.iter_mut().chain([&mut self.master]) {
            orderly &= server.stop()?;
        }
        Ok(orderly)
    }

    /// A key of every shard must answer: `count` looks at all of them.
    fn wait_until_serving(&self, shards: usize) -> Outcome<()> {
        let end = Instant::now() + SERVING_TIMEOUT;
        while !process::works(Command::new(&self.slotkv).args(["count", "--uri", &self.uri])) {
            if Instant::now() > end {
                return Err(
                    format!("{shards} shards do not serve after {} s", SERVING_TIMEOUT.as_secs()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// Ports that are free now, below those that the system gives to outgoing connections: a worker that is started again
/// finds its own still free.
pub fn free_ports(count: usize) -> Outcome<Vec<u16>> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const PORTS: u16 = 9_000;
    let start = std::process::id() as u16 % PORTS;
    let next = || FIRST + start.wrapping_add(NEXT.fetch_add(1, Relaxed)) % PORTS;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let found: Vec<u16> = (0..PORTS).map(|_| next()).filter(is_free).take(count).collect();
    if found.len() < count {
        return Err(format!("no {count} of {PORTS} ports are free").into());
    }
    Ok(found)
}

fn log(name: &str) -> PathBuf {
    project::scratch().join("logs").join(format!("{name}.log"))
}
