//! Redis Cluster that grows from two masters to three by `redis-cli --cluster reshard`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, process, project};

use super::super::redis_cluster::{NODE_TIMEOUT_MS_DEFAULT, RedisCluster, Shape};
use super::{Growing, Moved, What};

const SLOTS: u64 = 16_384;
/// Longest time of a move.
const MOVE_TIMEOUT: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What a server answers to a client that asks the wrong one.
const REDIRECTS: [&str; 3] = ["errorstat_MOVED:count=", "errorstat_ASK:count=", "errorstat_TRYAGAIN:count="];

/// The servers.
pub struct Redis {
    cluster: RedisCluster,
}

impl Redis {
    /// Two masters with all slots but one, and a third with that one: redis-rs (0.32.7 and 1.8.1) stands still for ever when
    /// two of its calls are redirected at once to a master of which it has not heard.
    pub fn start(dir: &Path) -> Outcome<Self> {
        let shape = Shape { replicas: 0, node_timeout_ms: NODE_TIMEOUT_MS_DEFAULT, is_append_only: true };
        Ok(Self { cluster: RedisCluster::start_two_of_three(dir, shape)? })
    }

    fn ask(&self, at: usize, words: &[&str]) -> String {
        self.cluster.ask(self.cluster.ports()[at], words)
    }

    fn id(&self, at: usize) -> String {
        self.ask(at, &["cluster", "myid"]).trim().to_owned()
    }

    fn keys(&self, at: usize) -> u64 {
        self.ask(at, &["dbsize"]).trim().parse().unwrap_or(0)
    }
}

impl Growing for Redis {
    fn name(&self) -> &'static str {
        "Redis Cluster"
    }

    fn client(&self) -> &'static str {
        "redis"
    }

    fn to(&self) -> String {
        self.cluster.ports()[..2].iter().map(u16::to_string).collect::<Vec<_>>().join(",")
    }

    fn pids(&self) -> Vec<u32> {
        self.cluster.pids()
    }

    fn owner(&self, key: &str) -> Option<usize> {
        self.cluster.leader(key)
    }

    fn redirects(&self) -> Option<u64> {
        let of = |at: usize| -> u64 {
            let stats = self.ask(at, &["info", "errorstats"]);
            let counts =
                stats.lines().filter_map(|line| REDIRECTS.iter().find_map(|name| line.strip_prefix(name)));
            counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum()
        };
        Some((0..3).map(of).sum())
    }

    fn shift(&mut self, what: What) -> Outcome<Moved> {
        let before = self.keys(2);
        let (from, slots) = match what {
            What::Third => (format!("{},{}", self.id(0), self.id(1)), SLOTS / 3 - 1),
            // It takes the first of a master's slots, and the heavy one is the first of all.
            What::HeavySlot => (self.id(0), 1),
        };
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "reshard", &format!("127.0.0.1:{}", self.cluster.ports()[0])]);
        command.args(["--cluster-from", &from, "--cluster-to", &self.id(2), "--cluster-yes"]);
        command.args(["--cluster-slots", &slots.to_string()]);
        let log = project::scratch().join("logs/redis-reshard.log");
        let file = std::fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let begun = Instant::now();
        let mut child = process::tied(&mut command).spawn()?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if begun.elapsed() > MOVE_TIMEOUT {
                let _ = child.kill().and_then(|()| child.wait());
                return Err(format!("redis-cli --cluster reshard takes more than {MOVE_TIMEOUT:?}").into());
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let length = begun.elapsed();
        if !status.success() {
            return Err(format!("redis-cli --cluster reshard: {status}; {}", process::tail(&log)).into());
        }
        let keys = self.keys(2).saturating_sub(before);
        Ok(Moved { length, keys, slots, pauses_ms: Vec::new(), hand_overs: slots })
    }
}
