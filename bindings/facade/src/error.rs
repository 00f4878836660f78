//! The one error that bindings translate: plain data, with the stable number and name of slotkv's table of codes. The
//! mapping from the core's errors is total; what has no code of its own is UNEXPECTED with its text.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
pub use slotkv::{Code, Outcome, Retry};
use slotkv_proto::Applied;

use crate::handle::HandleError;

/// Causes that an error names; deeper ones are left out.
pub const CAUSES_MAX: usize = 8;

/// What a call that did not succeed hands to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacadeError {
    /// Which kind; its number and name are stable.
    pub code: Code,
    /// Whether repeating the call can help.
    pub retry: Retry,
    /// Whether the operation was applied.
    pub outcome: Outcome,
    /// What was wrong, with its limit where there is one.
    pub message: String,
    /// The member that answered or was to answer last.
    pub member: Option<String>,
    /// How often the operation was sent or tried to be sent.
    pub attempts: u32,
    /// Of a write whose outcome is unknown: the bytes by which it can be asked for.
    pub token: Option<Bytes>,
    /// What the layers below said, the nearest first.
    pub causes: Vec<String>,
}

impl FacadeError {
    /// An error of the facade's own: no member, no attempt.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let outcome = match code.applied() {
            Applied::No => Outcome::Failed,
            Applied::Maybe => Outcome::Unknown,
        };
        Self {
            code,
            retry: code.retry(),
            outcome,
            message: message.into(),
            member: None,
            attempts: 0,
            token: None,
            causes: Vec::new(),
        }
    }

    /// The client was closed.
    pub fn closed() -> Self {
        Self::new(Code::Closed, "the client is closed")
    }

    /// The client belongs to the process that this one was forked from.
    pub fn forked() -> Self {
        Self::new(Code::Forked, "this client was made before a fork; make a new one in the child")
    }

    /// The caller gave the call up; a write may have been applied.
    pub fn cancelled() -> Self {
        Self::new(Code::Cancelled, "the call was cancelled")
    }

    /// The deadline passed before `what` was there; nothing was changed by it.
    pub fn timed_out(what: &str, deadline: Duration) -> Self {
        let message = format!("{what} was not there within {} ms", deadline.as_millis());
        Self::new(Code::Timeout, message).with_outcome(Outcome::Failed)
    }

    /// The same error with what is known of the outcome.
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Something that cannot be, unless the other side is newer than this one.
    pub fn unexpected(message: impl Into<String>) -> Self {
        Self::new(Code::Unexpected, message)
    }

    /// A panic was caught at an export.
    pub fn panicked(text: &str) -> Self {
        Self::new(Code::Unexpected, format!("slotkv panicked, please report it: {text}"))
    }

    /// The stable number.
    pub fn number(&self) -> u32 {
        self.code.number()
    }

    /// The stable upper-case name.
    pub fn name(&self) -> &'static str {
        self.code.name()
    }

    /// Whether the host may repeat the very same call without thinking: it was not applied and may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.outcome == Outcome::Failed && self.may_help()
    }

    /// Whether repeating it can help, and nobody has to think about it first.
    pub(crate) fn may_help(&self) -> bool {
        matches!(self.retry, Retry::Reroute | Retry::Backoff)
    }
}

impl fmt::Display for FacadeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name(), self.message)?;
        if let Some(member) = &self.member {
            write!(formatter, " (member {member}, attempt {})", self.attempts)?;
        }
        for cause in &self.causes {
            write!(formatter, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FacadeError {}

impl From<slotkv::Error> for FacadeError {
    fn from(error: slotkv::Error) -> Self {
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source.filter(|_| causes.len() < CAUSES_MAX) {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self {
            code: error.code,
            retry: error.retry,
            outcome: error.outcome,
            message: error.message,
            member: error.member,
            attempts: error.attempts,
            token: error.token.map(|token| token.bytes().clone()),
            causes,
        }
    }
}

impl From<HandleError> for FacadeError {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Closed => Self::new(Code::Closed, "the handle is closed"),
            HandleError::Wrong => Self::new(Code::InvalidArgument, "not a handle of this kind"),
            HandleError::Full => Self::new(Code::Overloaded, "the limit of open handles is reached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_core_keeps_its_answers_and_its_causes() {
        let mut error = slotkv::Error::new(Code::ConnectionLost, "the connection broke");
        error.outcome = Outcome::Unknown;
        error.member = Some("h:1".into());
        error.attempts = 2;
        error.source = Some(std::sync::Arc::new(std::io::Error::other("reset")));
        let error = FacadeError::from(error);
        assert_eq!(
            (error.name(), error.retry, error.outcome),
            ("CONNECTION_LOST", Retry::Ask, Outcome::Unknown)
        );
        assert_eq!(error.to_string(), "CONNECTION_LOST: the connection broke (member h:1, attempt 2): reset");
        assert!(!error.is_retryable());
    }

    #[test]
    fn every_code_maps_to_an_error_that_agrees_with_the_table() {
        for &code in Code::ALL {
            let error = FacadeError::new(code, "text");
            assert_eq!((error.number(), error.name()), (code.number(), code.name()));
            assert_eq!(error.outcome == Outcome::Failed, code.applied() == Applied::No);
            assert!(!error.is_retryable() || error.outcome == Outcome::Failed);
        }
    }
}
