//! The peer etcd 3: three members on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{self, Server};
use crate::{Outcome, cluster, project};

const MEMBERS: usize = 3;
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Three members with etcd's own timing: heartbeats of 100 ms, elections after 1 s.
pub struct Etcd {
    dir: PathBuf,
    /// For clients.
    ports: Vec<u16>,
    peer_ports: Vec<u16>,
    members: Vec<Server>,
}

impl Etcd {
    /// Starts them under a fresh folder `dir` and waits until all are healthy.
    pub fn start(dir: &Path) -> Outcome<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let mut ports = cluster::free_ports(2 * MEMBERS)?;
        let peer_ports = ports.split_off(MEMBERS);
        let mut etcd = Self { dir: dir.to_owned(), ports, peer_ports, members: Vec::new() };
        for at in 0..MEMBERS {
            let member = etcd.spawn(at)?;
            etcd.members.push(member);
        }
        let end = Instant::now() + READY_TIMEOUT;
        while !etcd.is_whole() {
            if Instant::now() > end {
                return Err("the members of etcd do not become healthy".into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(etcd)
    }

    fn spawn(&self, at: usize) -> Outcome<Server> {
        let (client, peer) = (url(self.ports[at]), url(self.peer_ports[at]));
        let members: Vec<String> =
            self.peer_ports.iter().enumerate().map(|(at, &port)| format!("m{at}={}", url(port))).collect();
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{at}"), "--data-dir"]).arg(self.dir.join(format!("m{at}")));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &members.join(","), "--initial-cluster-state", "new"]);
        command.args(["--logger", "zap", "--log-level", "error"]);
        let log = project::scratch().join(format!("logs/etcd-{at}.log"));
        Server::start(&format!("etcd m{at}"), &log, &mut command)
    }

    fn control(&self, members: &[usize], words: &[&str]) -> Option<String> {
        let addresses: Vec<String> =
            members.iter().map(|&at| format!("127.0.0.1:{}", self.ports[at])).collect();
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args([
            "--command-timeout",
            "2s",
            "--endpoints",
            &addresses.join(","),
        ]);
        command.args(words).stderr(Stdio::null());
        let out = process::tied(&mut command).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Id and leader's id, as a member sees them.
    fn seen(&self, at: usize) -> Option<(u64, u64)> {
        let text = self.control(&[at], &["endpoint", "status", "-w", "json"])?;
        let found: Value = serde_json::from_str(&text).ok()?;
        let status = &found[0]["Status"];
        Some((status["header"]["member_id"].as_u64()?, status["leader"].as_u64()?))
    }

    /// The member that leads.
    pub fn leader(&self) -> Option<usize> {
        (0..MEMBERS).find(|&at| self.seen(at).is_some_and(|(id, leader)| id == leader))
    }

    /// Whether all members take part.
    pub fn is_whole(&self) -> bool {
        (0..MEMBERS).all(|at| self.control(&[at], &["endpoint", "health"]).is_some())
    }

    /// `etcdctl move-leader` to the next member.
    pub fn hand_over(&self) -> Outcome<()> {
        let leader = self.leader().ok_or("etcd has no leader")?;
        let (next, _) = self.seen((leader + 1) % MEMBERS).ok_or("a member of etcd does not answer")?;
        let moved = self.control(&[leader], &["move-leader", &format!("{next:x}")]);
        moved.map(|_| ()).ok_or_else(|| "etcdctl move-leader failed".into())
    }

    /// SIGKILL.
    pub fn kill(&mut self, at: usize) -> Outcome<()> {
        self.members[at].kill()
    }

    /// Starts a killed member on its data.
    pub fn restart(&mut self, at: usize) -> Outcome<()> {
        self.members[at] = self.spawn(at)?;
        Ok(())
    }

    /// Process id of a member.
    pub fn pid(&self, at: usize) -> u32 {
        self.members[at].pid()
    }

    /// Process ids of the members.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().map(Server::pid).collect()
    }

    /// `host:port,...` of all members, the leader first.
    pub fn addresses(&self) -> String {
        let leader = self.leader().unwrap_or(0);
        let from_leader = (0..MEMBERS).map(|at| (leader + at) % MEMBERS);
        let addresses: Vec<String> = from_leader.map(|at| format!("127.0.0.1:{}", self.ports[at])).collect();
        addresses.join(",")
    }

    /// As `etcd --version` says.
    pub fn version() -> String {
        let out = process::output(Command::new("etcd").arg("--version")).unwrap_or_default();
        let text = String::from_utf8_lossy(&out).into_owned();
        text.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or("?").to_owned()
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
