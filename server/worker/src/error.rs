//! Why a worker does not start.

use slotkv_proto::table::ShardId;

/// Why a worker does not start. Nothing was served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The replica's folder cannot be used.
    #[error(transparent)]
    Storage(#[from] slotkv_storage::Error),
    /// The coordinator cannot be used.
    #[error(transparent)]
    Coordinator(#[from] slotkv_coordination::Error),
    /// The folder holds data of another cluster.
    #[error("the data folder belongs to cluster {found}, the coordinator to cluster {expected}")]
    WrongCluster {
        /// The folder's cluster id.
        found: String,
        /// The coordinator's cluster id.
        expected: String,
    },
    /// The folder holds another replica's data.
    #[error("the data folder holds {what} {found}, not {expected}")]
    OtherReplica {
        /// `shard` or `replica`.
        what: &'static str,
        /// Whose data it is.
        found: String,
        /// Whose was asked for.
        expected: String,
    },
    /// Another replica holds the shard.
    #[error(
        "shard {shard} is held by replica {holder}; {name} cannot join it, shards have one replica in this release"
    )]
    Taken {
        /// Which shard.
        shard: ShardId,
        /// Who holds it.
        holder: String,
        /// Who asked.
        name: String,
    },
    /// The shard's data is not in this folder.
    #[error(
        "the data of shard {shard} (replica {name}, incarnation {inc}) is not in this folder; start {name} on the folder that holds it"
    )]
    DataMissing {
        /// Which shard.
        shard: ShardId,
        /// Whose data.
        name: String,
        /// Which data.
        inc: String,
    },
    /// An option past its limit: written into a register it would be every member's trouble.
    #[error("{what} {found}; {limit}")]
    OutOfBounds {
        /// Which option.
        what: &'static str,
        /// What was asked for.
        found: String,
        /// What is allowed.
        limit: String,
    },
    /// An option or a state that does not fit.
    #[error("{0}")]
    Misfit(String),
}
