//! How a command ends: its exit code, and the one message that goes with it.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the answer is no: not found, or an unmet condition |
//! | 2 | a flag, a setting or an argument is wrong; nothing was done |
//! | 3 | failed, provably without effect; a server: it could not start or had to stop |
//! | 4 | the outcome is unknown: the write may have been applied |
//! | 5 | done in part: some lines of an import were refused, some operations of a bench failed, or a signal ended it; slots stopped moving, as another operator wanted something else; some members restarted and one did not; some masters did not tell, or some replicas could not be compared |
//! | 130, 143 | a second SIGINT or SIGTERM ended it at once |

use std::fmt::Display;

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Not found, or an unmet condition.
    No = 1,
    /// A flag, a setting or an argument is wrong.
    Usage = 2,
    /// Failed, provably without effect.
    Failed = 3,
    /// May have been applied.
    Unknown = 4,
    /// Done in part.
    Partly = 5,
}

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// One message for people, without a line end.
    pub message: String,
}

impl Failure {
    /// A flag, a setting or an argument is wrong.
    pub fn usage(message: impl Display) -> Self {
        Self { exit: Exit::Usage, message: message.to_string() }
    }

    /// Something failed without effect.
    pub fn failed(message: impl Display) -> Self {
        Self { exit: Exit::Failed, message: message.to_string() }
    }

    /// `what` could not be done because of `error`.
    pub fn io(what: impl Display, error: std::io::Error) -> Self {
        Self::failed(format_args!("{what}: {error}"))
    }
}
