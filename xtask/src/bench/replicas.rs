//! slotkv with replicas: masters and workers as processes of their own on a ZooKeeper; each can be killed, stopped and
//! started again on its data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{self, Server};
use crate::zookeeper::ZooKeeper;
use crate::{Outcome, cluster, project};

/// Longest time from the start of a server to its ready line, and of a cluster until all replicas are in sync.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// What is started.
#[derive(Clone, Debug)]
pub struct Shape {
    pub zookeepers: usize,
    pub masters: usize,
    pub shards: usize,
    pub replicas: usize,
    /// `sync` or `interval(MS)`.
    pub durability: &'static str,
    /// Further arguments of every worker.
    pub more: &'static [&'static str],
}

/// The cluster.
pub struct Replicas {
    slotkv: PathBuf,
    shape: Shape,
    dir: PathBuf,
    coordinator: String,
    workers: Vec<Worker>,
    masters: Vec<Server>,
    /// `slotkv://host:port,...` of the masters.
    pub uri: String,
    _zookeeper: ZooKeeper,
}

struct Worker {
    name: String,
    shard: usize,
    port: u16,
    server: Server,
}

impl Replicas {
    /// Starts it under a fresh folder `dir` and waits until all replicas of all shards are in sync.
    pub fn start(slotkv: &Path, dir: &Path, shape: &Shape) -> Outcome<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let zookeeper = ZooKeeper::start(shape.zookeepers)?;
        let mut cluster = Self {
            slotkv: slotkv.to_owned(),
            shape: shape.clone(),
            dir: dir.to_owned(),
            coordinator: format!("{}/bench", zookeeper.uri),
            workers: Vec::new(),
            masters: Vec::new(),
            uri: String::new(),
            _zookeeper: zookeeper,
        };
        cluster.start_masters()?;
        let ports = cluster::free_ports(shape.shards * shape.replicas)?;
        for (at, &port) in ports.iter().enumerate() {
            let (shard, replica) = (at / shape.replicas, at % shape.replicas);
            let name = format!("worker-{shard}-{replica}");
            let server = cluster.spawn(&name, shard, port, &[])?;
            cluster.workers.push(Worker { name, shard, port, server });
            // The first of a shard makes its register, with all the wishes that the others have, too.
            if replica == 0 {
                cluster.await_ready(at)?;
            }
        }
        let end = Instant::now() + READY_TIMEOUT;
        while !cluster.is_whole() {
            if Instant::now() > end {
                return Err(format!("not all replicas are in sync: {:?}", cluster.status()).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(cluster)
    }

    fn start_masters(&mut self) -> Outcome<()> {
        let mut addresses = Vec::new();
        for number in 0..self.shape.masters {
            let name = format!("bench-master-{number}");
            let mut command = Command::new(&self.slotkv);
            command.args(["master", "--listen", "127.0.0.1:0", "--coordinator", &self.coordinator]);
            command.args(["--shards", &self.shape.shards.to_string()]);
            let mut master = Server::start(&name, &log(&name), &mut command)?;
            let uri = master.await_line("ready ", READY_TIMEOUT)?;
            addresses.push(uri.trim_start_matches("slotkv://").to_owned());
            self.masters.push(master);
        }
        self.uri = format!("slotkv://{}", addresses.join(","));
        Ok(())
    }

    /// Starts the first worker of another shard, with further arguments, and waits until it is ready.
    pub fn join(&mut self, shard: usize, more: &[&str]) -> Outcome<()> {
        let port = *cluster::free_ports(1)?.first().ok_or("no port is free")?;
        let name = format!("worker-{shard}-0");
        let server = self.spawn(&name, shard, port, more)?;
        self.workers.push(Worker { name, shard, port, server });
        self.await_ready(self.workers.len() - 1)
    }

    fn spawn(&self, name: &str, shard: usize, port: u16, more: &[&str]) -> Outcome<Server> {
        let mut command = Command::new(&self.slotkv);
        command.args(["worker", "--listen", &format!("127.0.0.1:{port}"), "--name", name]);
        command.args(["--coordinator", &self.coordinator, "--shard", &shard.to_string()]);
        command.args(["--durability", self.shape.durability]).arg("--data").arg(self.dir.join(name));
        command.args(self.shape.more).args(more);
        if self.shape.replicas > 1 {
            command.args(["--replicas", &self.shape.replicas.to_string(), "--ack", "one"]);
        }
        Server::start(name, &log(&format!("bench-{name}")), &mut command)
    }

    fn await_ready(&mut self, at: usize) -> Outcome<()> {
        self.workers[at].server.await_line("ready ", READY_TIMEOUT)?;
        Ok(())
    }

    /// What the masters say; `None` while none answers.
    pub fn status(&self) -> Option<Value> {
        let mut command = Command::new(&self.slotkv);
        command.args(["admin", "status", "--json", "--uri", &self.uri]).stderr(std::process::Stdio::null());
        let out = process::tied(&mut command).output().ok()?;
        serde_json::from_slice(&out.stdout).ok()
    }

    /// The epoch of each shard.
    pub fn epochs(&self) -> Option<Vec<u64>> {
        let status = self.status()?;
        let shards = status["shards"].as_array()?;
        shards.iter().map(|shard| shard["epoch"].as_u64()).collect()
    }

    /// The worker that leads a shard.
    pub fn leader(&self, shard: usize) -> Option<usize> {
        let status = self.status()?;
        let found = status["shards"].as_array()?.iter().find(|found| found["shard"] == shard)?.clone();
        let primary = found["primary"].as_str()?;
        // With its run behind the name, or without.
        let is_it = |worker: &Worker| primary.split(['/', '@', ' ']).next() == Some(&worker.name);
        self.workers.iter().position(is_it)
    }

    /// A worker of a shard that does not lead it.
    pub fn backup(&self, shard: usize) -> Option<usize> {
        let leader = self.leader(shard)?;
        (0..self.workers.len()).rev().find(|&at| self.workers[at].shard == shard && at != leader)
    }

    /// Whether each shard has a primary and all its replicas in sync.
    pub fn is_whole(&self) -> bool {
        let Some(status) = self.status() else { return false };
        let Some(shards) = status["shards"].as_array() else { return false };
        shards.len() == self.shape.shards && shards.iter().all(|shard| self.is_shard_whole(shard))
    }

    fn is_shard_whole(&self, shard: &Value) -> bool {
        let in_sync = shard["isr"].as_array().map_or(0, Vec::len);
        let has_primary = shard["primary"].as_str().is_some_and(|primary| !primary.is_empty());
        // A shard of one has no in-sync set to wait for.
        has_primary && (in_sync >= self.shape.replicas || self.shape.replicas == 1)
    }

    /// Whether this `slotkv` has [`Replicas::hand_over`]'s verb.
    pub fn can_hand_over(&self) -> bool {
        process::works(Command::new(&self.slotkv).args(["admin", "failover", "--help"]))
    }

    /// `slotkv admin failover`.
    pub fn hand_over(&self, shard: usize) -> Outcome<()> {
        let mut command = Command::new(&self.slotkv);
        command.args(["admin", "failover", &shard.to_string(), "--uri", &self.uri]);
        process::output(&mut command)?;
        Ok(())
    }

    /// Kills a worker as a power cut of its process would.
    pub fn kill(&mut self, at: usize) -> Outcome<()> {
        self.workers[at].server.kill()
    }

    /// Starts a killed worker on its data, or on none.
    pub fn restart(&mut self, at: usize, with_data: bool) -> Outcome<()> {
        let Worker { name, shard, port, .. } = &self.workers[at];
        if !with_data {
            fs::remove_dir_all(self.dir.join(name))?;
        }
        let server = self.spawn(name, *shard, *port, &[])?;
        self.workers[at].server = server;
        Ok(())
    }

    /// Whether the data of a worker, which began with none, came as a snapshot.
    pub fn took_snapshot(&self, at: usize) -> bool {
        // The engine that it began with is gone.
        let dir = self.dir.join(&self.workers[at].name);
        dir.exists() && !dir.join("engine").exists()
    }

    /// Process id of a worker.
    pub fn pid(&self, at: usize) -> u32 {
        self.workers[at].server.pid()
    }

    /// Process ids of masters and workers.
    pub fn pids(&self) -> Vec<u32> {
        self.masters.iter().chain(self.workers.iter().map(|worker| &worker.server)).map(Server::pid).collect()
    }

    /// SIGTERM for all, workers first.
    pub fn stop(mut self) -> Outcome<()> {
        for worker in &mut self.workers {
            worker.server.stop()?;
        }
        for master in &mut self.masters {
            master.stop()?;
        }
        Ok(())
    }
}

fn log(name: &str) -> PathBuf {
    project::scratch().join("logs").join(format!("{name}.log"))
}
