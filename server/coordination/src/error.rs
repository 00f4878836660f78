//! What can go wrong at the coordinator. The one question a writer must ask is [`Error::is_unknown`]: may the write have
//! been applied? Every other error says that it was not.

/// An error of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The node does not exist.
    #[error("no node {path}")]
    NoNode {
        /// Which node.
        path: String,
    },
    /// The node exists already.
    #[error("node {path} exists")]
    NodeExists {
        /// Which node.
        path: String,
    },
    /// The node's version is not the expected one.
    #[error("node {path} has another version than expected")]
    BadVersion {
        /// Which node.
        path: String,
    },
    /// The node has children and cannot be deleted.
    #[error("node {path} has children")]
    NotEmpty {
        /// Which node.
        path: String,
    },
    /// The parent is ephemeral and cannot have children.
    #[error("the parent of {path} is ephemeral")]
    NoChildrenForEphemerals {
        /// The node that was to be created.
        path: String,
    },
    /// There is no connection, or it broke before the answer came. The session may go on.
    #[error("{}", if *unknown { "the connection to the coordinator broke before the answer came; the write may have been applied" } else { "no connection to the coordinator" })]
    Disconnected {
        /// The operation was a write and may have been applied.
        unknown: bool,
    },
    /// The session is over; its ephemeral nodes are gone or going. The operation was not applied.
    #[error("the coordinator has expired the session")]
    Expired,
    /// The session was closed by this process. The operation was not applied.
    #[error("the coordinator's session is closed")]
    Closed,
    /// No session could be opened.
    #[error("no session with the coordinator {name}: {why}")]
    Unavailable {
        /// The coordinator, as [`Coordinator::name`](crate::Coordinator::name) has it.
        name: String,
        /// What was tried.
        why: String,
    },
    /// Past a limit.
    #[error("{what} has {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An argument that no coordinator takes.
    #[error("{0}")]
    Invalid(String),
    /// The coordinator does not let this process do that.
    #[error("the coordinator denies access to {path}")]
    Denied {
        /// Which node.
        path: String,
    },
    /// A register was written by a newer build.
    #[error("register {path} has format {format}; this build knows formats up to {known}")]
    NewerFormat {
        /// Which register.
        path: String,
        /// The format found.
        format: u32,
        /// The newest format this build reads.
        known: u32,
    },
    /// A register or a file holds something that cannot be.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The register or file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Another process holds the embedded coordinator's folder.
    #[error("the coordinator folder {path} is in use by another process")]
    Locked {
        /// Which folder.
        path: String,
    },
    /// The embedded coordinator could not write its file. The operation was not applied.
    #[error("cannot store the coordinator's state in {path}: {why}")]
    Storage {
        /// Which file.
        path: String,
        /// The system's error.
        why: String,
    },
    /// Something this build does not know; the write may have been applied.
    #[error("unexpected answer of the coordinator: {0}")]
    Unexpected(String),
}

impl Error {
    /// Whether a write that met this error may have been applied: read again before deciding anything.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Error::Disconnected { unknown: true } | Error::Unexpected(_))
    }

    /// Whether the session is over, so that only a new one can help.
    pub fn is_over(&self) -> bool {
        matches!(self, Error::Expired | Error::Closed)
    }

    /// Whether the same session may serve the same operation a little later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Error::Disconnected { .. } | Error::Unavailable { .. } | Error::Unexpected(_))
    }
}
