//! What operations bring.

use std::time::Duration;

use slotkv_facade::core::{self, Answer};
use slotkv_facade::error::FacadeError;
use slotkv_facade::many;

use crate::errors::Failure;

/// A value with its version.
#[derive(uniffi::Record)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// Grows with every write of the key, also over a deletion.
    pub version: u64,
    /// What is left of its lifetime, in milliseconds; none if it lives for ever.
    pub ttl_ms: Option<u64>,
}

/// What a put did.
#[derive(uniffi::Record)]
pub struct Put {
    /// What it was.
    pub status: PutStatus,
    /// The key's version after the operation; 0 if the key is absent.
    pub version: u64,
    /// Whether the value was stored.
    pub done: bool,
}

/// What a put was.
#[derive(uniffi::Enum)]
pub enum PutStatus {
    /// The key is new.
    Created,
    /// The key was there.
    Updated,
    /// The condition did not hold, and nothing was changed.
    Unmet,
}

/// What a delete did.
#[derive(uniffi::Record)]
pub struct Delete {
    /// What it was.
    pub status: DeleteStatus,
    /// The version of the deletion; with `Unmet` the key's version as it stands; else 0.
    pub version: u64,
    /// Whether the key was removed.
    pub done: bool,
}

/// What a delete was.
#[derive(uniffi::Enum)]
pub enum DeleteStatus {
    /// The key is gone.
    Deleted,
    /// There was none.
    NotFound,
    /// The condition did not hold, and nothing was changed.
    Unmet,
}

/// What came of a write whose outcome was unknown.
#[derive(uniffi::Record)]
pub struct WriteOutcome {
    /// What it was.
    pub status: WriteStatus,
    /// The key's version as the write told it; 0 if it told none.
    pub version: u64,
    /// The sum, if it was an increment.
    pub number: i64,
    /// Whether the write changed something.
    pub applied: bool,
}

/// What a write was.
#[derive(uniffi::Enum)]
pub enum WriteStatus {
    /// It was applied: the key was new.
    Created,
    /// It was applied: the key was there.
    Updated,
    /// It was applied: the key is gone.
    Deleted,
    /// It was carried out and found no key to delete.
    NotFound,
    /// It was carried out and its condition did not hold.
    Unmet,
    /// It was not applied and never will be.
    NotApplied,
    /// Nobody knows any more.
    Forgotten,
}

/// A key of a scan.
#[derive(uniffi::Record)]
pub struct Item {
    /// The key.
    pub key: Vec<u8>,
    /// Its value; empty if only keys were asked for.
    pub value: Vec<u8>,
    /// Its version.
    pub version: u64,
    /// Its slot.
    pub slot: u16,
    /// What is left of its lifetime, in milliseconds; none if it lives for ever.
    pub ttl_ms: Option<u64>,
}

/// The result of one key of `get_many`.
#[derive(uniffi::Enum)]
pub enum ValueResult {
    /// The value, if the key exists.
    Value {
        /// The value.
        value: Option<Vec<u8>>,
    },
    /// The key failed.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// What `get_many` brings.
#[derive(uniffi::Record)]
pub struct Values {
    /// The result of every key, in their order.
    pub results: Vec<ValueResult>,
    /// The error of all, if some failed.
    pub failure: Option<Failure>,
}

/// The result of one key of `put_many`.
#[derive(uniffi::Enum)]
pub enum PutResult {
    /// What the put did.
    Done {
        /// What it did.
        put: Put,
    },
    /// The key failed.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// What `put_many` brings.
#[derive(uniffi::Record)]
pub struct Puts {
    /// The result of every key, in their order.
    pub results: Vec<PutResult>,
    /// The error of all, if some failed.
    pub failure: Option<Failure>,
}

/// The result of one key of `delete_many`.
#[derive(uniffi::Enum)]
pub enum DeleteResult {
    /// What the delete did.
    Done {
        /// What it did.
        delete: Delete,
    },
    /// The key failed.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// What `delete_many` brings.
#[derive(uniffi::Record)]
pub struct Deletes {
    /// The result of every key, in their order.
    pub results: Vec<DeleteResult>,
    /// The error of all, if some failed.
    pub failure: Option<Failure>,
}

impl From<core::Entry> for Entry {
    fn from(entry: core::Entry) -> Self {
        Self { value: entry.value.into(), version: entry.version, ttl_ms: entry.ttl.map(ms_of) }
    }
}

impl From<core::Put> for Put {
    fn from(put: core::Put) -> Self {
        let status = match put {
            core::Put::Created { .. } => PutStatus::Created,
            core::Put::Updated { .. } => PutStatus::Updated,
            core::Put::Unmet { .. } => PutStatus::Unmet,
        };
        Self { version: put.version(), done: !matches!(status, PutStatus::Unmet), status }
    }
}

impl From<core::Delete> for Delete {
    fn from(delete: core::Delete) -> Self {
        let (status, version) = match delete {
            core::Delete::Deleted { version } => (DeleteStatus::Deleted, version),
            core::Delete::NotFound => (DeleteStatus::NotFound, 0),
            core::Delete::Unmet { version } => (DeleteStatus::Unmet, version),
        };
        Self { version, done: matches!(status, DeleteStatus::Deleted), status }
    }
}

impl From<core::WriteOutcome> for WriteOutcome {
    fn from(outcome: core::WriteOutcome) -> Self {
        let status = match outcome.status {
            core::WriteStatus::Created => WriteStatus::Created,
            core::WriteStatus::Updated => WriteStatus::Updated,
            core::WriteStatus::Deleted => WriteStatus::Deleted,
            core::WriteStatus::NotFound => WriteStatus::NotFound,
            core::WriteStatus::Unmet => WriteStatus::Unmet,
            core::WriteStatus::NotApplied => WriteStatus::NotApplied,
            core::WriteStatus::Forgotten => WriteStatus::Forgotten,
        };
        Self { status, version: outcome.version, number: outcome.number, applied: outcome.applied() }
    }
}

impl From<core::Item> for Item {
    fn from(item: core::Item) -> Self {
        Self {
            key: item.key.into(),
            value: item.value.into(),
            version: item.version,
            slot: item.slot,
            ttl_ms: item.ttl.map(ms_of),
        }
    }
}

fn ms_of(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// The results of a call on many keys, and the error of all; `one` takes an answer apart, `failed` an error.
pub fn many<T>(
    answers: Vec<core::Result<Answer>>,
    one: impl Fn(Answer) -> Result<T, FacadeError>,
    failed: impl Fn(Failure) -> T,
) -> Result<(Vec<T>, Option<Failure>), FacadeError> {
    let failure = many::failure(&answers).map(Failure::from);
    let result = |answer: core::Result<Answer>| match answer {
        Ok(answer) => one(answer),
        Err(error) => Ok(failed(FacadeError::from(error).into())),
    };
    let results = answers.into_iter().map(result).collect::<Result<_, _>>()?;
    Ok((results, failure))
}

/// An answer that is none to the question.
pub fn strange(answer: impl std::fmt::Debug) -> FacadeError {
    FacadeError::unexpected(format!("{answer:?} as an answer"))
}
