//! Flags of the commands that are clients.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;
use slotkv_proto::limits::SHARDS_MAX;

use crate::cli::sizes;

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
    /// Let the key end after this time, as 500ms, 30s, 15m, 12h or 30d
    #[arg(long, value_name = "DURATION", value_parser = sizes::duration)]
    pub ttl: Option<Duration>,
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
    /// Show it again and again; with --json or into a pipe whenever it has changed
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `admin failover`.
#[derive(Args, Debug)]
pub(crate) struct FailoverFlags {
    /// Id of the shard
    #[arg(value_parser = clap::value_parser!(u32).range(..SHARDS_MAX as i64))]
    pub shard: u32,
    /// How long to wait until the other replica leads
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = sizes::duration)]
    pub wait: Duration,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `admin promote`.
#[derive(Args, Debug)]
pub(crate) struct PromoteFlags {
    /// Name of the replica
    pub name: String,
    /// How long to wait until it leads
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = sizes::duration)]
    pub wait: Duration,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `admin recover`.
#[derive(Args, Debug)]
pub(crate) struct RecoverFlags {
    /// Id of the shard
    #[arg(value_parser = clap::value_parser!(u32).range(..SHARDS_MAX as i64))]
    pub shard: u32,
    /// Name of the replica that goes on
    pub name: String,
    /// Acknowledged writes that only other replicas hold are given up. Make sure first that none of those runs
    #[arg(long, required = true)]
    pub lose_writes: bool,
    /// How long to wait until it leads
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = sizes::duration)]
    pub wait: Duration,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// How long a command that moves slots waits.
#[derive(Args, Clone, Debug)]
pub(crate) struct MoveFlags {
    /// How long to wait until everything has moved; it goes on after that
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = sizes::duration)]
    pub wait: Duration,
    /// Only write it down
    #[arg(long, conflicts_with = "wait")]
    pub no_wait: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// Flags of `admin add` and `admin drain`.
#[derive(Args, Debug)]
pub(crate) struct ShardFlags {
    /// Id of the shard
    #[arg(value_parser = clap::value_parser!(u32).range(..SHARDS_MAX as i64))]
    pub shard: u32,
    #[command(flatten)]
    pub moves: MoveFlags,
}

/// Flags of `admin weight`.
#[derive(Args, Debug)]
pub(crate) struct WeightFlags {
    /// Id of the shard
    #[arg(value_parser = clap::value_parser!(u32).range(..SHARDS_MAX as i64))]
    pub shard: u32,
    /// Relative to the other shards' weights; 0 is a drain
    #[arg(value_parser = sizes::weight)]
    pub weight: f64,
    #[command(flatten)]
    pub moves: MoveFlags,
}

/// Flags of `admin rebalance`.
#[derive(Args, Debug)]
pub(crate) struct RebalanceFlags {
    /// Only tell what would move
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub moves: MoveFlags,
}

/// Flags of `admin cancel`.
#[derive(Args, Debug)]
pub(crate) struct CancelFlags {
    /// Id of the shard whose moves are cancelled; without it all are
    #[arg(value_parser = clap::value_parser!(u32).range(..SHARDS_MAX as i64))]
    pub shard: Option<u32>,
    /// Abort one hand-over, as `admin migrations` numbers them; its slots are tried again later
    #[arg(long, value_name = "ID", conflicts_with = "shard")]
    pub id: Option<u64>,
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
