//! What a fault is tried on: slotkv and its peers, each with callers that write to one primary.

use std::process::Command;

use crate::venv::Venv;
use crate::{Outcome, project};

use super::callers::Load;
use super::etcd::Etcd;
use super::redis_cluster::RedisCluster;
use super::replicas::Replicas;

/// The shard, and the key, that callers write to.
const SHARD: usize = 0;
const KEY: &str = "{caller}";

/// What callers are made of.
pub struct Tools {
    /// benches/src/bin/callers.rs
    pub rust: std::path::PathBuf,
    /// With the peers' clients, and with slotkv if that is looked at.
    pub venv: Venv,
}

impl Tools {
    fn rust(&self, client: &str, to: &str, callers: usize) -> Load {
        let mut command = Command::new(&self.rust);
        command.args([client, to]);
        Load { language: "Rust", command, callers }
    }

    fn python(&self, client: &str, to: &str, callers: usize) -> Load {
        let mut command = self.venv.python();
        command.arg(project::root().join("benches/python/callers.py")).args([client, to]);
        Load { language: "Python", command, callers }
    }

    fn node(&self, client: &str, to: &str, callers: usize) -> Load {
        let mut command = Command::new("node");
        command.arg(project::root().join("benches/node/callers.mjs")).args([client, to]);
        Load { language: "Node", command, callers }
    }
}

/// A replicated store of several processes.
pub trait Subject {
    /// Fifty callers.
    fn loads(&self, tools: &Tools) -> Vec<Load>;
    /// The server that takes the callers' writes.
    fn leader(&self) -> Option<usize>;
    /// Whether every copy is there again.
    fn is_whole(&self) -> bool;
    /// Process id of a server.
    fn pid(&self, at: usize) -> u32;
    /// SIGKILL.
    fn kill(&mut self, at: usize) -> Outcome<()>;
    /// Starts a killed server on its data.
    fn restart(&mut self, at: usize) -> Outcome<()>;
    /// Has another copy lead, in an orderly way.
    fn hand_over(&mut self, leader: usize) -> Outcome<()>;
    /// Whether it knows how.
    fn can_hand_over(&self) -> bool {
        true
    }
    /// Whether a server that led before its fault leads again by itself.
    fn fails_back(&self) -> bool {
        false
    }
}

impl Subject for Replicas {
    fn loads(&self, tools: &Tools) -> Vec<Load> {
        vec![
            tools.rust("slotkv", &self.uri, 17),
            tools.python("slotkv", &self.uri, 17),
            tools.node("slotkv", &self.uri, 16),
        ]
    }

    fn leader(&self) -> Option<usize> {
        Replicas::leader(self, SHARD)
    }

    fn is_whole(&self) -> bool {
        Replicas::is_whole(self)
    }

    fn pid(&self, at: usize) -> u32 {
        Replicas::pid(self, at)
    }

    fn kill(&mut self, at: usize) -> Outcome<()> {
        Replicas::kill(self, at)
    }

    fn restart(&mut self, at: usize) -> Outcome<()> {
        Replicas::restart(self, at, true)
    }

    fn hand_over(&mut self, _leader: usize) -> Outcome<()> {
        Replicas::hand_over(self, SHARD)
    }

    fn can_hand_over(&self) -> bool {
        Replicas::can_hand_over(self)
    }

    fn fails_back(&self) -> bool {
        true
    }
}

impl Subject for RedisCluster {
    fn loads(&self, tools: &Tools) -> Vec<Load> {
        let ports: Vec<String> = self.ports().iter().map(u16::to_string).collect();
        let ports = ports.join(",");
        vec![tools.python("redis", &ports, 25), tools.node("ioredis", &ports, 25)]
    }

    fn leader(&self) -> Option<usize> {
        RedisCluster::leader(self, KEY)
    }

    fn is_whole(&self) -> bool {
        RedisCluster::is_whole(self)
    }

    fn pid(&self, at: usize) -> u32 {
        RedisCluster::pid(self, at)
    }

    fn kill(&mut self, at: usize) -> Outcome<()> {
        RedisCluster::kill(self, at)
    }

    fn restart(&mut self, at: usize) -> Outcome<()> {
        RedisCluster::restart(self, at)
    }

    fn hand_over(&mut self, leader: usize) -> Outcome<()> {
        RedisCluster::hand_over(self, leader)
    }
}

impl Subject for Etcd {
    fn loads(&self, tools: &Tools) -> Vec<Load> {
        vec![tools.rust("etcd", &self.addresses(), 50)]
    }

    fn leader(&self) -> Option<usize> {
        Etcd::leader(self)
    }

    fn is_whole(&self) -> bool {
        Etcd::is_whole(self)
    }

    fn pid(&self, at: usize) -> u32 {
        Etcd::pid(self, at)
    }

    fn kill(&mut self, at: usize) -> Outcome<()> {
        Etcd::kill(self, at)
    }

    fn restart(&mut self, at: usize) -> Outcome<()> {
        Etcd::restart(self, at)
    }

    fn hand_over(&mut self, _leader: usize) -> Outcome<()> {
        Etcd::hand_over(self)
    }
}
