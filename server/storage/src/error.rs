//! What can go wrong in storage. Each message names the file or folder and what was expected of it.

use std::{io, path::PathBuf};

/// Why storage refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system failed an operation. Nothing was changed, unless the error is of a sync.
    #[error("cannot {action} {}", file.display())]
    Io {
        /// Which file or folder.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// No space left. What was written of the group has been taken back; the log goes on once there is space.
    #[error("no space left on the disk of {}", file.display())]
    DiskFull {
        /// The file that could not grow.
        file: PathBuf,
    },
    /// Bytes that had been stored are not what was stored. Never served, never repaired by guessing.
    #[error("{} is damaged at byte {offset}, record {index}: {why}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// The log index expected there; 0 where no record is concerned.
        index: u64,
        /// What was found.
        why: String,
    },
    /// Written by a newer release.
    #[error("{what} has format {found}; this release knows formats up to {known}")]
    NewerFormat {
        /// Which file, row or record.
        what: String,
        /// Its format number.
        found: u32,
        /// The highest format number known here.
        known: u32,
    },
    /// Data of another cluster, shard or incarnation.
    #[error("{} belongs to {what} {found}, not to {expected}", file.display())]
    Foreign {
        /// Which file.
        file: PathBuf,
        /// `cluster`, `shard` or `incarnation`.
        what: &'static str,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// Another process uses the folder.
    #[error("{} is in use by {}", folder.display(), holder(.pid))]
    Locked {
        /// Which folder.
        folder: PathBuf,
        /// The process that holds it, if it said so.
        pid: Option<u32>,
    },
    /// An earlier sync failed, or a failed write could not be undone; this object takes no more writes.
    #[error("{} takes no more writes since a write or sync failed: {why}", file.display())]
    Poisoned {
        /// Which file.
        file: PathBuf,
        /// What had failed.
        why: String,
    },
    /// A record past the limit.
    #[error("a log record of {bytes} bytes is larger than the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A call that does not fit the log: an index it does not hold, an epoch lower than its last.
    #[error("{0}")]
    Misfit(String),
    /// The engine failed or refused its files.
    #[error("engine in {} failed to {action}: {why}", folder.display())]
    Engine {
        /// Its folder.
        folder: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What it said.
        why: String,
    },
    /// The engine's files are not what was stored.
    #[error("the engine in {} is damaged: {why}", folder.display())]
    EngineDamaged {
        /// Its folder.
        folder: PathBuf,
        /// What was found.
        why: String,
    },
    /// A row or record that does not decode.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// Which kind of row or record.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl Error {
    /// Whether stored bytes are damaged: this replica's data must not be served, and not count for anything.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::EngineDamaged { .. } | Self::Malformed { .. })
    }

    /// Whether space has run out; the caller may go on once there is some.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }

    /// The error of an operation on a file; no space left becomes [`Error::DiskFull`].
    pub fn io(file: impl Into<PathBuf>, action: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { file: file.into() },
            _ => Self::Io { file: file.into(), action, source },
        }
    }
}
