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
    /// The shard has all of its replicas.
    #[error(
        "shard {shard} has its {replicas} replica(s): {holder}; {name} cannot join it. Raise the number of replicas, or take another shard"
    )]
    Taken {
        /// Which shard.
        shard: ShardId,
        /// Who holds it.
        holder: String,
        /// Who asked.
        name: String,
        /// How many there shall be.
        replicas: u32,
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
