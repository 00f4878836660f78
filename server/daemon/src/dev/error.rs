//! Why a `dev` cluster does not start.

use super::READY_MAX;
use crate::serve::{ListenError, ServeError};

/// Why a cluster does not start, or a member cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// An option that cannot be.
    #[error("{0}")]
    Option(String),
    /// The data folder cannot be used.
    #[error("data folder {path}: {why}")]
    Folder {
        /// Which folder or file.
        path: String,
        /// Why not.
        why: String,
    },
    /// The embedded coordinator does not start.
    #[error(transparent)]
    Coordinator(#[from] slotkv_coordination::Error),
    /// A member does not start.
    #[error("{member}: {source}")]
    Member {
        /// Which one.
        member: String,
        /// Why not.
        source: ServeError,
    },
    /// The metrics cannot be there.
    #[error("metrics: {0}")]
    Metrics(ListenError),
    /// The slots were not all served in time.
    #[error("not every slot is served after {READY_MAX:?}: {0}")]
    NotReady(String),
    /// There is no such member, or it is not in the state for this.
    #[error("{0}")]
    NoMember(String),
    /// The system refuses something.
    #[error(transparent)]
    System(std::io::Error),
}
