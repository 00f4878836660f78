//! The commands and their flags. Positional arguments are bytes as the system gives them; `layers.rs` adds variables
//! and the configuration file to every flag.

use std::{ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use slotkv_coordination::registers::Durability;
use slotkv_master::placement;

use super::sizes;

/// A distributed key-value store: its servers, its shell and its tools.
#[derive(Debug, Parser)]
#[command(name = "slotkv", version, arg_required_else_help = true, args_override_self = true)]
#[command(
    after_help = "Every flag may also be given as a variable SLOTKV_<FLAG> or in the file of --config; the \
                        command line comes first, then the variable, then the file.\n\n\
                        Exit codes: 0 done, 1 not found or unmet, 2 wrong usage, 3 failed without effect, \
                        4 outcome unknown, 5 done in part."
)]
pub(crate) struct Cli {
    /// TOML file with values for flags
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What is logged to stderr, as `info` or `slotkv_worker=debug,warn` [default: info for servers, warn else]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a whole cluster in one process, for a laptop and for tests
    Dev(DevFlags),
    /// Run a master
    Master(MasterFlags),
    /// Run a worker: one replica of one shard
    Worker(WorkerFlags),
    /// Talk to the cluster at a prompt, or run a script of shell commands from stdin
    Shell(ShellFlags),
    /// Print the value of a key, byte for byte
    Get(GetFlags),
    /// Write a key
    Put(PutFlags),
    /// Delete a key
    Del(DelFlags),
    /// Tell whether a key exists
    Has(HasFlags),
    /// List keys and values
    Scan(ScanFlags),
    /// Count keys
    Count(CountFlags),
    /// List keys and values with slots and versions, for debugging
    Dump(ScanFlags),
    /// Tell the slot of a key, and who serves it
    Slot(SlotFlags),
    /// For operators
    #[command(subcommand)]
    Admin(AdminVerb),
    /// Measure throughput and latency with the YCSB workloads
    Bench(Box<BenchFlags>),
    /// Write the records of a JSON Lines file
    Import(ImportFlags),
    /// Read every record into a JSON Lines file
    Export(ExportFlags),
}

/// What operators see and do.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminVerb {
    /// Show masters, shards and members
    Status(StatusFlags),
}

/// How a command reaches the cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientFlags {
    /// Members of the cluster: slotkv://host:port[,host:port...][/namespace][?option=value]
    #[arg(long, default_value = "slotkv://127.0.0.1:7700")]
    pub uri: String,
    /// Namespace of the keys; stands above the one of the URI
    #[arg(long)]
    pub namespace: Option<String>,
    /// How long one operation may take, retries included
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub deadline_ms: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `get`.
#[derive(Args, Debug)]
pub(crate) struct GetFlags {
    /// Its bytes, or with --escaped text with escapes as \x00 and \n
    pub key: OsString,
    /// Read escapes in the key
    #[arg(short, long)]
    pub escaped: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `put`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["value", "value_file"]))]
pub(crate) struct PutFlags {
    /// Its bytes, or with --escaped text with escapes as \x00 and \n
    pub key: OsString,
    /// The value; `@-` reads it from stdin
    #[arg(allow_negative_numbers = true)]
    pub value: Option<OsString>,
    /// Read the value from a file
    #[arg(long, value_name = "FILE")]
    pub value_file: Option<PathBuf>,
    /// Only if the key does not exist
    #[arg(long, conflicts_with_all = ["if_present", "if_version"])]
    pub if_absent: bool,
    /// Only if the key exists
    #[arg(long, conflicts_with = "if_version")]
    pub if_present: bool,
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<u64>,
    /// Read escapes in key and value
    #[arg(short, long)]
    pub escaped: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `del`.
#[derive(Args, Debug)]
pub(crate) struct DelFlags {
    /// Its bytes, or with --escaped text with escapes as \x00 and \n
    pub key: OsString,
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<u64>,
    /// Read escapes in the key
    #[arg(short, long)]
    pub escaped: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `has`.
#[derive(Args, Debug)]
pub(crate) struct HasFlags {
    /// Its bytes, or with --escaped text with escapes as \x00 and \n
    pub key: OsString,
    /// Read escapes in the key
    #[arg(short, long)]
    pub escaped: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Which keys.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RangeFlags {
    /// Keys that begin so
    #[arg(long)]
    pub prefix: Option<OsString>,
    /// Keys from this one on
    #[arg(long, value_name = "KEY")]
    pub start: Option<OsString>,
    /// Keys before this one
    #[arg(long, value_name = "KEY")]
    pub end: Option<OsString>,
    /// Read escapes in prefix, start and end
    #[arg(short, long)]
    pub escaped: bool,
}

/// Flags of `scan` and `dump`.
#[derive(Args, Debug)]
pub(crate) struct ScanFlags {
    #[command(flatten)]
    pub range: RangeFlags,
    /// In key order instead of slot order
    #[arg(long)]
    pub ordered: bool,
    /// Stop after so many; the cursor to go on with is printed to stderr
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// Go on where an earlier scan stopped
    #[arg(long)]
    pub cursor: Option<String>,
    /// Without values
    #[arg(long)]
    pub keys_only: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `count`.
#[derive(Args, Debug)]
pub(crate) struct CountFlags {
    #[command(flatten)]
    pub range: RangeFlags,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `slot`.
#[derive(Args, Debug)]
pub(crate) struct SlotFlags {
    /// Its bytes, or with --escaped text with escapes as \x00 and \n
    pub key: OsString,
    /// Ask no cluster; it has so many slots
    #[arg(long, value_name = "COUNT")]
    pub slots: Option<u32>,
    /// Read escapes in the key
    #[arg(short, long)]
    pub escaped: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `admin status`.
#[derive(Args, Debug)]
pub(crate) struct StatusFlags {
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `shell`.
#[derive(Args, Debug)]
pub(crate) struct ShellFlags {
    /// History file [default: slotkv/history in the XDG state folder]
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// From a pipe: stop at the first command that fails, with its exit code
    #[arg(long)]
    pub stop_on_error: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

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
    /// Shards, each of one worker
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub shards: u32,
    /// Replicas of each shard
    #[arg(long, default_value_t = 1)]
    pub replicas: u32,
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
    #[arg(long, value_name = "ID")]
    pub shard: Option<u32>,
    /// Name of this replica [default: the one of the data folder, else made from the shard]
    #[arg(long)]
    pub name: Option<String>,
    /// Where this worker stands, as a rack or a data centre
    #[arg(long, default_value = "")]
    pub zone: String,
    /// Share of the slots, relative to the other shards [default: the shard's, at first 1]
    #[arg(long)]
    pub weight: Option<f64>,
    /// Bytes of the log after which the engine is made durable and the log is cut
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = sizes::bytes)]
    pub checkpoint_bytes: u64,
    #[command(flatten)]
    pub store: StoreFlags,
    /// Threads; one is the fastest for one connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    #[command(flatten)]
    pub server: ServerFlags,
}

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
