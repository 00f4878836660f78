//! Flags of the servers.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;
use slotkv_coordination::registers::{Ack, Durability, REPLICAS_MAX};
use slotkv_master::placement;
use slotkv_proto::limits::SHARDS_MAX;

use crate::cli::sizes;

/// Flags that every server has.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerFlags {
    /// Host that others reach this server by, with or without a port [default: the one of --listen]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub advertise: Option<String>,
    /// After how long without a sign of life the coordinator takes a member for dead
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = sizes::duration)]
    pub session: Duration,
    /// Connections taken at the same time
    #[arg(long, value_name = "COUNT", default_value_t = slotkv_proto::limits::CONNECTIONS_MAX)]
    pub connections_max: usize,
    /// Port, of the loopback address unless said, at which Prometheus reads /metrics [default: none]
    #[arg(long, value_name = "[HOST:]PORT")]
    pub metrics: Option<String>,
    /// How long an orderly stop may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = sizes::duration)]
    pub shutdown: Duration,
}

/// Flags of `dev`.
#[derive(Args, Debug)]
pub(crate) struct DevFlags {
    /// Port of the first master; the others take the ports after it. 0: free ports
    #[arg(long, default_value_t = 7700)]
    pub port: u16,
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Shards
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub shards: u32,
    /// Workers of each shard: its copies, the primary's included
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=REPLICAS_MAX as i64))]
    pub replicas: u32,
    /// Which copies an acknowledged write is on: `all` that are in sync, or `one` beside the primary's [default: the shard's, at first all]
    #[arg(long, value_name = "all|one")]
    pub ack: Option<Ack>,
    /// Folder that keeps everything over restarts [default: a folder that is removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub cluster: ClusterFlags,
    #[command(flatten)]
    pub store: StoreFlags,
    #[command(flatten)]
    pub server: ServerFlags,
}

/// What is fixed when a cluster is created.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterFlags {
    /// Hash slots: a power of two up to 16384, fixed when the cluster is created
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    pub slots: u32,
}

/// How a worker stores.
#[derive(Args, Clone, Debug)]
pub(crate) struct StoreFlags {
    /// When an acknowledged write is on the disk: `sync` (before) or `interval(MS)` [default: the shard's, at first sync]
    #[arg(long)]
    pub durability: Option<Durability>,
    /// Memory of the row cache, per worker
    #[arg(long, value_name = "BYTES", default_value = "128MiB", value_parser = sizes::bytes)]
    pub cache_bytes: u64,
    /// Memory of the engine's block cache, per worker
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = sizes::bytes)]
    pub engine_cache_bytes: u64,
    /// How often the replicas of a shard compare what they hold, while anything is written
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = sizes::duration)]
    pub check_interval: Duration,
}

/// Flags of `master`.
#[derive(Args, Debug)]
pub(crate) struct MasterFlags {
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7700")]
    pub listen: String,
    /// Where members meet: zk://host:port[,host:port...][/path]
    #[arg(long, value_name = "URI")]
    pub coordinator: String,
    /// Shards to wait for before slots are allocated; holds when the cluster is created
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub shards: u32,
    /// How slots are placed: `weighted` or `ring`; holds when the cluster is created
    #[arg(long, default_value = placement::DEFAULT)]
    pub placement: String,
    #[command(flatten)]
    pub cluster: ClusterFlags,
    #[command(flatten)]
    pub server: ServerFlags,
}

/// Flags of `worker`.
#[derive(Args, Debug)]
pub(crate) struct WorkerFlags {
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7710")]
    pub listen: String,
    /// Where members meet: zk://host:port[,host:port...][/path]
    #[arg(long, value_name = "URI")]
    pub coordinator: String,
    /// Folder of the log and the engine
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Id of the shard [default: the one of the data folder, else a new one]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u32).range(..SHARDS_MAX as i64))]
    pub shard: Option<u32>,
    /// Name of this replica [default: the one of the data folder, else a new one]
    #[arg(long)]
    pub name: Option<String>,
    /// Copies that the shard shall have, the primary's included [default: the shard's, at first 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=REPLICAS_MAX as i64))]
    pub replicas: Option<u32>,
    /// Which copies an acknowledged write is on: `all` that are in sync, or `one` beside the primary's [default: the shard's, at first all]
    #[arg(long, value_name = "all|one")]
    pub ack: Option<Ack>,
    /// Take no writes while fewer copies are in sync [default: the shard's, at first half of the replicas, rounded up]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=REPLICAS_MAX as i64))]
    pub min_isr: Option<u32>,
    /// Belong to no shard; take the place of a replica that is lost, with a copy of its data
    #[arg(long, conflicts_with = "shard")]
    pub standby: bool,
    /// How long a replica must have been gone before its place is taken
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = sizes::duration)]
    pub standby_after: Duration,
    /// At SIGTERM or SIGINT: end only once nothing depends on this worker; give the shard's slots to others if no other copy is in sync
    #[arg(long)]
    pub drain: bool,
    /// Where this worker stands, as a rack or a data centre
    #[arg(long, default_value = "")]
    pub zone: String,
    /// Share of the slots, relative to the other shards; counts when the shard is made, later `admin weight` changes it [default: 1]
    #[arg(long, value_parser = sizes::weight)]
    pub weight: Option<f64>,
    /// Bytes of the log after which the engine is made durable and the log is cut
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = sizes::bytes)]
    pub checkpoint_bytes: u64,
    /// Bytes of the log that are kept for replicas that were away, which take a copy of all data instead if that is not enough; up to four times as many for one that is on its way back
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = sizes::bytes)]
    pub retain_bytes: u64,
    /// Bytes per second that are read to give slots to other shards, at most; while requests take long it is less, down to 1 MiB
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = sizes::rate)]
    pub move_rate: u64,
    #[command(flatten)]
    pub store: StoreFlags,
    /// Threads; one is the fastest for one connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    #[command(flatten)]
    pub server: ServerFlags,
}
