//! What a `dev` cluster is told.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use slotkv_coordination::registers::{Ack, Durability, REPLICAS_MAX};
use slotkv_proto::{SlotCount, limits::CONNECTIONS_MAX};

use super::{DevError, MEMBERS_MAX};

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// Port of the first master; the other members take the ports after it. 0: free ports. Default 0.
    pub port: u16,
    /// Address to listen on. Default 127.0.0.1.
    pub listen: IpAddr,
    /// Host that members tell others; `None`: the address they listen on.
    pub advertise: Option<String>,
    /// Masters. Default 2.
    pub masters: usize,
    /// Shards. Default 3.
    pub shards: usize,
    /// Workers of each shard, the copies of its data. Default 1.
    pub replicas: usize,
    /// How many of the copies in sync a write waits for; `None`: as the cluster has it, at first all.
    pub ack: Option<Ack>,
    /// Hash slots. Default 1024.
    pub slots: u32,
    /// Folder that keeps everything over restarts; `None`: a temporary one.
    pub data: Option<PathBuf>,
    /// When an acknowledged write is on the disk; `None`: as the cluster has it, at first `sync`.
    pub durability: Option<Durability>,
    /// Memory of each worker's row cache.
    pub cache_bytes: usize,
    /// Memory of each worker's block cache.
    pub engine_cache_bytes: u64,
    /// After how long the coordinator takes a killed member for dead. Default 5 s.
    pub session_timeout: Duration,
    /// How often the replicas of a shard compare what they hold, while anything is written. Default 60 s.
    pub check_interval: Duration,
    /// Connections that each member takes.
    pub connections_max: usize,
    /// Where Prometheus reads the metrics of all members: `host:port`, or a port of the loopback address. Default: nowhere.
    pub metrics: Option<String>,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self {
            port: 0,
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertise: None,
            masters: 2,
            shards: 3,
            replicas: 1,
            ack: None,
            slots: 1024,
            data: None,
            durability: None,
            cache_bytes: 64 << 20,
            engine_cache_bytes: 32 << 20,
            session_timeout: Duration::from_secs(5),
            check_interval: Duration::from_secs(60),
            connections_max: CONNECTIONS_MAX,
            metrics: None,
        }
    }
}

impl DevOptions {
    /// How many workers there are: the copies of every shard.
    pub fn workers(&self) -> usize {
        self.shards * self.replicas
    }

    /// Refuses what cannot be.
    pub(super) fn check(&self) -> Result<(), DevError> {
        let refuse = |why: String| Err(DevError::Option(why));
        if SlotCount::new(self.slots).is_none() {
            return refuse(format!("{} slots: wants a power of two up to 16384", self.slots));
        }
        if self.shards == 0 || self.shards > MEMBERS_MAX || self.shards > self.slots as usize {
            return refuse(format!(
                "{} shards: wants 1 to {MEMBERS_MAX}, and not more than slots",
                self.shards
            ));
        }
        if self.masters == 0 || self.masters > MEMBERS_MAX {
            return refuse(format!("{} masters: wants 1 to {MEMBERS_MAX}", self.masters));
        }
        if self.replicas == 0 || self.replicas > REPLICAS_MAX as usize {
            return refuse(format!("{} replicas: a shard has 1 to {REPLICAS_MAX}", self.replicas));
        }
        if self.workers() > MEMBERS_MAX {
            return refuse(format!(
                "{} shards of {} replicas: wants at most {MEMBERS_MAX} workers",
                self.shards, self.replicas
            ));
        }
        let members = self.masters + self.workers();
        if self.port != 0 && usize::from(self.port) + members - 1 > usize::from(u16::MAX) {
            return refuse(format!("port {}: there are not {members} ports from there on", self.port));
        }
        Ok(())
    }
}
