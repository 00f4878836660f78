//! Flags of the commands that move many records.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use slotkv_coordination::registers::{Ack, Durability, REPLICAS_MAX};

use super::client::{ClientFlags, RangeFlags};
use crate::cli::sizes;

/// Flags of `import`.
#[derive(Args, Debug)]
pub(crate) struct ImportFlags {
    /// JSON Lines; `-` is stdin
    pub file: PathBuf,
    /// Keep the state in this file, and go on from it if it exists
    #[arg(long, value_name = "STATE")]
    pub resume: Option<PathBuf>,
    /// Records on their way at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub in_flight: u32,
    /// Stop after so many refused lines
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub refused_max: u64,
    /// How long to repeat a record while the cluster does not take it
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = sizes::duration)]
    pub patience: Duration,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `export`.
#[derive(Args, Debug)]
pub(crate) struct ExportFlags {
    /// Where to write; `-` is stdout
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Keep the state in this file, and go on from it if it exists
    #[arg(long, value_name = "STATE")]
    pub resume: Option<PathBuf>,
    #[command(flatten)]
    pub range: RangeFlags,
    /// In key order instead of slot order
    #[arg(long)]
    pub ordered: bool,
    /// How long to repeat a page while the cluster does not give it
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = sizes::duration)]
    pub patience: Duration,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `bench`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchFlags {
    /// YCSB's a to f, or only get or put
    #[arg(long, default_value = "b", ignore_case = true)]
    pub workload: WorkloadName,
    /// Which keys are asked for [default: the workload's; uniform for get and put]
    #[arg(long)]
    pub distribution: Option<DistributionName>,
    /// Keys in the data set
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub records: u64,
    /// Operations to run
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    pub operations: u64,
    /// Stop after so long, even if operations are left
    #[arg(long, value_name = "DURATION", value_parser = sizes::duration)]
    pub time: Option<Duration>,
    /// Run so long before anything is measured
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = sizes::duration)]
    pub warm_up: Duration,
    /// Bytes of a key
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = clap::value_parser!(u32).range(12..=4096))]
    pub key_bytes: u32,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value = "100", value_parser = sizes::bytes)]
    pub value_bytes: u64,
    /// Operations on their way at the same time, over all threads
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub in_flight: u32,
    /// Open loop: so many operations per second, latency counted from when each was due [default: closed loop]
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Longest scan of workload e
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub scan_max: u32,
    /// Threads of this program
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: u32,
    /// `current`: a runtime and a client per thread; `multi`: one of each over all threads
    #[arg(long, default_value = "current")]
    pub runtime: RuntimeName,
    /// The same seed makes the same operations
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the data set and stop
    #[arg(long, conflicts_with = "run_only")]
    pub load_only: bool,
    /// The data set is there already
    #[arg(long)]
    pub run_only: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// A mix of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkloadName {
    /// Half reads, half updates
    A,
    /// 95 % reads, 5 % updates
    B,
    /// Reads
    C,
    /// 95 % reads of what was inserted last, 5 % inserts
    D,
    /// 95 % short scans, 5 % inserts
    E,
    /// Half reads, half read-modify-writes
    F,
    /// Reads, uniform
    Get,
    /// Updates, uniform
    Put,
}

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DistributionName {
    /// Every key alike
    Uniform,
    /// Few keys often, spread over the key space
    Zipfian,
    /// The last inserted often
    Latest,
}

/// How the bench's threads share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeName {
    /// A runtime and a client per thread
    Current,
    /// One runtime and one client
    Multi,
}

/// Flags of the drills.
#[derive(Args, Clone, Debug)]
pub(crate) struct DrillFlags {
    /// Drill this cluster, and kill nobody in it [default: a `dev` cluster of the drill's own]
    #[arg(long)]
    pub uri: Option<String>,
    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// The same seed makes the same choices
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Shards of the own cluster
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub shards: u32,
    /// Copies of each shard of the own cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=REPLICAS_MAX as i64))]
    pub replicas: u32,
    /// Which copies an acknowledged write is on, in the own cluster
    #[arg(long, value_name = "all|one", default_value = "one")]
    pub ack: Option<Ack>,
    /// When an acknowledged write is on the disk, in the own cluster
    #[arg(long)]
    pub durability: Option<Durability>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
