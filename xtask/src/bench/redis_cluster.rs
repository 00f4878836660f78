//! Redis servers in cluster mode: three masters with so many replicas each, as processes that can be killed, stopped and
//! started again.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{self, Server};
use crate::{Outcome, cluster, project};

/// Masters that slots are dealt out to.
pub const MASTERS: usize = 3;
/// Longest time until the servers answer, or a rewrite of the append-only file ends.
const READY_TIMEOUT: Duration = Duration::from_secs(180);

/// Redis gives a manual fail-over up after 5 s; then it can be asked for again.
const MANUAL_FAILOVER_TIMEOUT: Duration = Duration::from_secs(6);

/// What is started.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Of each master.
    pub replicas: usize,
    /// `cluster-node-timeout`.
    pub node_timeout_ms: u32,
    /// With an append-only file, synced every second.
    pub is_append_only: bool,
}

/// What Redis takes by itself.
pub const NODE_TIMEOUT_MS_DEFAULT: u32 = 15_000;

/// The servers.
pub struct RedisCluster {
    dir: PathBuf,
    shape: Shape,
    servers: Vec<Server>,
    ports: Vec<u16>,
    bus_ports: Vec<u16>,
}

impl RedisCluster {
    /// Starts it under a folder `dir` of its own and waits until slots and replicas are there.
    pub fn start(dir: &Path, shape: Shape) -> Outcome<Self> {
        let count = MASTERS * (1 + shape.replicas);
        let mut ports = cluster::free_ports(2 * count)?;
        let bus_ports = ports.split_off(count);
        let mut cluster = Self { dir: dir.to_owned(), shape, servers: Vec::new(), ports, bus_ports };
        for at in 0..count {
            let server = cluster.spawn(at)?;
            cluster.servers.push(server);
        }
        cluster.join()?;
        Ok(cluster)
    }

    /// Starts three masters, of which two share the slots and the third has a single one. `redis-cli --cluster create`
    /// wants slots for all.
    pub fn start_two_of_three(dir: &Path, shape: Shape) -> Outcome<Self> {
        let mut ports = cluster::free_ports(2 * MASTERS)?;
        let bus_ports = ports.split_off(MASTERS);
        let mut cluster = Self { dir: dir.to_owned(), shape, servers: Vec::new(), ports, bus_ports };
        for at in 0..MASTERS {
            let server = cluster.spawn(at)?;
            cluster.servers.push(server);
        }
        let addresses: Vec<String> = cluster.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        wait("Redis to listen", || addresses.iter().all(|address| TcpStream::connect(address).is_ok()))?;
        let ranges = [["0", "8191"], ["8192", "16382"], ["16383", "16383"]];
        for (&port, range) in cluster.ports.iter().zip(ranges) {
            cluster.order(port, &["cluster", "addslotsrange", range[0], range[1]])?;
        }
        let first = cluster.ports[0];
        for (at, (port, bus)) in cluster.ports.iter().zip(&cluster.bus_ports).enumerate() {
            // Two masters that both begin with epoch 0 may disagree on slots later.
            cluster.order(*port, &["cluster", "set-config-epoch", &(at + 1).to_string()])?;
            if *port != first {
                let (port, bus) = (port.to_string(), bus.to_string());
                cluster.order(first, &["cluster", "meet", "127.0.0.1", &port, &bus])?;
            }
        }
        let knows_all = |port: &u16| {
            cluster.ask(*port, &["cluster", "info"]).contains(&format!("cluster_known_nodes:{MASTERS}"))
        };
        wait("the Redis cluster", || cluster.ports.iter().all(knows_all) && cluster.is_whole())?;
        Ok(cluster)
    }

    fn order(&self, port: u16, words: &[&str]) -> Outcome<()> {
        let answer = self.ask(port, words);
        match answer.trim() {
            "OK" => Ok(()),
            _ => Err(format!("Redis on port {port}: {}: {answer:?}", words.join(" ")).into()),
        }
    }

    fn spawn(&self, at: usize) -> Outcome<Server> {
        let (port, bus) = (self.ports[at], self.bus_ports[at]);
        let home = self.dir.join(port.to_string());
        fs::create_dir_all(&home)?;
        let logs = project::scratch().join("logs");
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--cluster-port", &bus.to_string()]);
        command.args(["--bind", "127.0.0.1", "--cluster-enabled", "yes", "--save", ""]);
        command.args(["--appendonly", if self.shape.is_append_only { "yes" } else { "no" }]);
        command.args(["--cluster-node-timeout", &self.shape.node_timeout_ms.to_string()]);
        command.arg("--dir").arg(&home).arg("--logfile").arg(logs.join(format!("redis-{port}.out")));
        Server::start("redis-server", &logs.join(format!("redis-{port}.log")), &mut command)
    }

    fn join(&self) -> Outcome<()> {
        let addresses: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        wait("Redis to listen", || addresses.iter().all(|address| TcpStream::connect(address).is_ok()))?;
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(&addresses);
        create.args(["--cluster-replicas", &self.shape.replicas.to_string(), "--cluster-yes"]);
        let log = project::scratch().join("logs/redis-create.log");
        process::logged("redis-cli --cluster create", &log, &mut create)?;
        wait("the Redis cluster", || self.is_whole())
    }

    /// Whether every server finds the cluster good and every replica has its master.
    pub fn is_whole(&self) -> bool {
        let mut replicas = 0;
        let are_good = self.ports.iter().all(|&port| {
            let replication = self.ask(port, &["info", "replication"]);
            let is_linked = replication.contains("master_link_status:up");
            replicas += usize::from(is_linked);
            (is_linked || replication.contains("role:master"))
                && self.ask(port, &["cluster", "info"]).contains("cluster_state:ok")
        });
        are_good && replicas == MASTERS * self.shape.replicas
    }

    /// The server that owns the slot of a key, as it says itself.
    pub fn leader(&self, key: &str) -> Option<usize> {
        let slot: u32 = self.ask(self.ports[0], &["cluster", "keyslot", key]).trim().parse().ok()?;
        (0..self.ports.len()).find(|&at| {
            let nodes = self.ask(self.ports[at], &["cluster", "nodes"]);
            nodes.lines().any(|line| owns(line, slot))
        })
    }

    /// `CLUSTER FAILOVER` by a replica of a master.
    pub fn hand_over(&self, master: usize) -> Outcome<()> {
        let of = format!("master_port:{}\r", self.ports[master]);
        let is_replica = |&&port: &&u16| self.ask(port, &["info", "replication"]).contains(&of);
        let replica = self.ports.iter().find(is_replica).ok_or("a Redis master has no replica")?;
        let end = Instant::now() + READY_TIMEOUT;
        while Instant::now() < end {
            let answer = self.ask(*replica, &["cluster", "failover"]);
            let again = Instant::now() + MANUAL_FAILOVER_TIMEOUT;
            while Instant::now() < again {
                if self.ask(*replica, &["info", "replication"]).contains("role:master") {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            eprintln!(
                "a Redis replica does not lead after cluster failover, which answered {:?}",
                answer.trim()
            );
        }
        Err(format!("waited {} s for the Redis replica to lead", READY_TIMEOUT.as_secs()).into())
    }

    /// SIGKILL.
    pub fn kill(&mut self, at: usize) -> Outcome<()> {
        self.servers[at].kill()
    }

    /// Starts a killed server on its data.
    pub fn restart(&mut self, at: usize) -> Outcome<()> {
        self.servers[at] = self.spawn(at)?;
        Ok(())
    }

    /// Process id of a server.
    pub fn pid(&self, at: usize) -> u32 {
        self.servers[at].pid()
    }

    /// Process ids of the servers.
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    /// Ports of the servers; the first are those that began as masters, in the order of their slots.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// What a server answers to a command.
    pub fn ask(&self, port: u16, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let out = process::tied(command.args(["-p", &port.to_string()]).args(words)).output();
        out.map(|out| String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
            .unwrap_or_default()
    }

    /// The version of `redis-server`.
    pub fn version() -> String {
        let out = process::output(Command::new("redis-server").arg("--version")).unwrap_or_default();
        let text = String::from_utf8_lossy(&out).into_owned();
        text.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("?").to_owned()
    }
}

/// Whether a line of `CLUSTER NODES` is that of the server that was asked, as the master of a slot.
fn owns(line: &str, slot: u32) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_master = words.get(2).is_some_and(|&flags| flags.contains("myself") && flags.contains("master"));
    let holds = |range: &&str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().is_ok_and(|first: u32| first <= slot)
            && last.parse().is_ok_and(|last: u32| slot <= last)
    };
    is_master && words.iter().skip(8).any(holds)
}

/// Polls until it is so.
pub fn wait(what: &str, mut ready: impl FnMut() -> bool) -> Outcome<()> {
    let end = Instant::now() + READY_TIMEOUT;
    while !ready() {
        if Instant::now() > end {
            return Err(format!("waited {} s for {what}", READY_TIMEOUT.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_asked_master_owns_its_slots() {
        let line = "07c3 127.0.0.1:30004@31004 myself,master - 0 1426238317239 4 connected 0-5460 7000";
        assert!(owns(line, 0) && owns(line, 5460) && owns(line, 7000));
        assert!(!owns(line, 5461));
        assert!(!owns(&line.replace("myself,", ""), 0));
        assert!(!owns(&line.replace("master", "slave"), 0));
    }
}
