//! The one error type. It answers four questions: what happened ([`Error::code`]), may I retry ([`Error::retry`]), was
//! it applied ([`Error::outcome`]), and where ([`Error::member`]).

use std::sync::Arc;

pub use slotkv_proto::{Code, Retry};

use crate::WriteToken;

/// What slotkv's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whether an operation that did not succeed was applied. (That of one that succeeded is `Ok`.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Provably not applied, by none of its attempts.
    Failed,
    /// It may have been applied, or may yet be.
    Unknown,
}

impl Outcome {
    /// Lower-case name, as documentation and bindings show it.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
        }
    }
}

/// Why a call did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
#[non_exhaustive]
pub struct Error {
    /// Which kind, with a stable number and name.
    pub code: Code,
    /// Whether the operation was applied, all its attempts taken together.
    pub outcome: Outcome,
    /// What can be done now.
    pub retry: Retry,
    /// What was wrong, for people.
    pub message: String,
    /// `host:port` of the member that the error came from or that could not be reached, if one was asked.
    pub member: Option<String>,
    /// How often the operation was sent, or tried to be.
    pub attempts: u32,
    /// Of a write whose outcome is unknown: by it [`Client::outcome`](crate::Client::outcome) tells what came of it.
    pub token: Option<Arc<WriteToken>>,
    /// What the layers below said, the nearest first: an error with a source of its own, and so on.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of an operation that was not applied.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            outcome: Outcome::Failed,
            retry: code.retry(),
            message: message.into(),
            member: None,
            attempts: 0,
            token: None,
            source: None,
        }
    }

    /// See [`Error::token`](#structfield.token).
    pub fn token(&self) -> Option<&WriteToken> {
        self.token.as_deref()
    }

    /// An argument that cannot be.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }
}
