//! The commands and their flags. Positional arguments are bytes as the system gives them; `layers.rs` adds variables
//! and the configuration file to every flag.

mod bulk;
mod client;
mod server;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use self::{bulk::*, client::*, server::*};

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
    /// Load a cluster, check everything that was written, and kill members meanwhile
    #[command(subcommand)]
    Drill(DrillVerb),
    /// Write the records of a JSON Lines file
    Import(ImportFlags),
    /// Read every record into a JSON Lines file
    Export(ExportFlags),
}

/// What operators see and do.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminVerb {
    /// Show masters, shards, their copies and members
    Status(StatusFlags),
    /// Hand the lead of a shard to another replica in sync
    Failover(FailoverFlags),
    /// Make a replica in sync the primary of its shard, now and whenever it can be
    Promote(PromoteFlags),
    /// Let a shard without a primary go on with one replica's data; what only others hold is lost
    Recover(RecoverFlags),
    /// Let a shard take its share of the slots (weight 1, if it is 0), and wait until it has it
    Add(ShardFlags),
    /// Move every slot of a shard to the others (weight 0), and wait until its members can be stopped
    Drain(ShardFlags),
    /// Change a shard's share of the slots, and wait until it has it
    Weight(WeightFlags),
    /// Let go on what was cancelled, and wait until every shard has its share
    Rebalance(RebalanceFlags),
    /// Stop moving slots: of one shard, or at all. Those that have moved stay where they are
    Cancel(CancelFlags),
    /// Show which slots move, and what is still to move
    Migrations(StatusFlags),
}

/// What is drilled.
#[derive(Debug, Subcommand)]
pub(crate) enum DrillVerb {
    /// One writer per shard, one operation after the other
    Sequential(DrillFlags),
    /// Several writers per shard at the same time
    Concurrent(DrillFlags),
    /// The same while a worker or the leading master is killed and started again, over and over
    Crazyloop(DrillFlags),
}
