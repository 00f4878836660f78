//! The error that UniFFI knows.

use std::fmt;

use slotkv_facade::core;
use slotkv_facade::error::FacadeError;

/// Why a call did not succeed.
#[derive(Debug, Clone, uniffi::Error)]
pub enum SlotkvError {
    /// What happened, may I retry, was it applied.
    Failed {
        /// The answers.
        failure: Failure,
    },
}

/// What an error is made of.
#[derive(Debug, Clone, uniffi::Record)]
pub struct Failure {
    /// The stable number of the kind.
    pub code: u32,
    /// The stable upper-case name of the kind.
    pub kind: String,
    /// What can be done.
    pub retry: Retry,
    /// Whether the very same call may simply be repeated: it was not applied, and may succeed later.
    pub retryable: bool,
    /// Whether the operation was applied.
    pub outcome: Outcome,
    /// What was wrong, for people.
    pub text: String,
    /// host:port of the member that the error came from or that could not be reached, if one was asked.
    pub member: Option<String>,
    /// How often the operation was sent, or tried to be.
    pub attempts: u32,
    /// What the layers below said, the nearest first.
    pub causes: Vec<String>,
    /// Of a write whose outcome is unknown: by it `outcome` tells what came of it.
    #[uniffi(default = None)]
    pub token: Option<Vec<u8>>,
}

/// What can be done after an error.
#[derive(Debug, Clone, Copy, uniffi::Enum)]
pub enum Retry {
    /// It will fail again.
    Never,
    /// Repeat it at once: it goes elsewhere.
    Reroute,
    /// Repeat it after a pause.
    Backoff,
    /// Whoever made the call has to decide.
    Ask,
}

/// Whether an operation that failed was applied.
#[derive(Debug, Clone, Copy, uniffi::Enum)]
pub enum Outcome {
    /// Provably not.
    Failed,
    /// It may have been.
    Unknown,
}

impl From<FacadeError> for Failure {
    fn from(error: FacadeError) -> Self {
        Self {
            code: error.number(),
            kind: error.name().to_owned(),
            retry: match error.retry {
                core::Retry::Never => Retry::Never,
                core::Retry::Reroute => Retry::Reroute,
                core::Retry::Backoff => Retry::Backoff,
                core::Retry::Ask => Retry::Ask,
            },
            retryable: error.is_retryable(),
            outcome: match error.outcome {
                core::Outcome::Failed => Outcome::Failed,
                core::Outcome::Unknown => Outcome::Unknown,
            },
            text: error.message,
            member: error.member,
            attempts: error.attempts,
            causes: error.causes,
            token: error.token.map(Into::into),
        }
    }
}

impl From<FacadeError> for SlotkvError {
    fn from(error: FacadeError) -> Self {
        SlotkvError::Failed { failure: error.into() }
    }
}

impl fmt::Display for SlotkvError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SlotkvError::Failed { failure } = self;
        write!(formatter, "{}: {}", failure.kind, failure.text)
    }
}

impl std::error::Error for SlotkvError {}
