//! The operations as values: what the typed functions of [`Client`](crate::Client) are made of, and what bindings
//! submit.

use std::time::Duration;

use bytes::Bytes;

use crate::{Error, Range, Result, WriteOutcome, count::COUNTS_AT_ONCE_MAX, scan::RUNS_AT_ONCE_MAX};

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The value of a key. Answer: [`Answer::Entry`].
    Get {
        /// Its key.
        key: Bytes,
    },
    /// Whether a key exists. Answer: [`Answer::Has`].
    Has {
        /// Its key.
        key: Bytes,
    },
    /// Stores a value. Answer: [`Answer::Put`].
    Put {
        /// Its key.
        key: Bytes,
        /// Any bytes, none included.
        value: Bytes,
        /// What must hold.
        condition: Condition,
        /// Lifetime of the key, 1 ms to 10 years; `None`: it lives for ever.
        ttl: Option<Duration>,
    },
    /// Gives a key that exists a new lifetime; its value stays. Answer: [`Answer::Put`].
    Expire {
        /// Its key.
        key: Bytes,
        /// From now on, 1 ms to 10 years; `None`: it lives for ever.
        ttl: Option<Duration>,
    },
    /// Removes a key. Answer: [`Answer::Delete`].
    Delete {
        /// Its key.
        key: Bytes,
        /// What must hold; [`Condition::Absent`] makes no sense and is refused.
        condition: Condition,
    },
    /// Adds to a decimal i64; an absent key counts as 0; a lifetime stays as it is. Answer: [`Answer::Number`].
    Increment {
        /// Its key.
        key: Bytes,
        /// What to add.
        delta: i64,
    },
    /// What came of a write whose outcome is unknown. Answer: [`Answer::Outcome`].
    Outcome {
        /// The bytes of its [`WriteToken`](crate::WriteToken).
        token: Bytes,
    },
    /// How many keys a range has. Answer: [`Answer::Count`].
    Count {
        /// Which keys.
        range: Range,
    },
    /// The next page of a scan. Answer: [`Answer::Page`].
    ScanPage {
        /// Which keys.
        range: Range,
        /// From [`Page::cursor`]; `None` for the first page.
        cursor: Option<Bytes>,
    },
    /// Several operations on one key each, carried out in any order, each with its own result. Answer: [`Answer::Many`].
    Many {
        /// The operations.
        commands: Vec<Command>,
    },
}

impl Command {
    /// Whether it may change anything.
    pub fn may_write(&self) -> bool {
        match self {
            Command::Put { .. }
            | Command::Expire { .. }
            | Command::Delete { .. }
            | Command::Increment { .. } => true,
            Command::Get { .. }
            | Command::Has { .. }
            | Command::Outcome { .. }
            | Command::Count { .. }
            | Command::ScanPage { .. } => false,
            Command::Many { commands } => commands.iter().any(Command::may_write),
        }
    }

    /// Requests that it has open at once at most, and bytes of keys and values that it carries, in a cluster of so many
    /// shards.
    pub(crate) fn load(&self, shards: usize) -> (usize, usize) {
        match self {
            Command::Get { key }
            | Command::Has { key }
            | Command::Expire { key, .. }
            | Command::Delete { key, .. }
            | Command::Increment { key, .. } => (1, key.len()),
            Command::Put { key, value, .. } => (1, key.len() + value.len()),
            Command::Outcome { token } => (1, token.len()),
            Command::Count { .. } => (shards.clamp(1, COUNTS_AT_ONCE_MAX), 0),
            Command::ScanPage { range, .. } if range.ordered => (shards.clamp(1, RUNS_AT_ONCE_MAX), 0),
            Command::ScanPage { .. } => (1, 0),
            Command::Many { commands } => {
                let loads = commands.iter().map(|command| command.load(shards));
                loads.fold((1, 0), |sum, load| (sum.0 + load.0, sum.1 + load.1))
            }
        }
    }
}

/// What must hold for a write to take place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The key is absent.
    Absent,
    /// The key exists.
    Present,
    /// The key exists in this version.
    Version(u64),
}

/// What an operation that succeeded answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of Get; `None` if the key is absent. A small value may share memory with other replies that came with it.
    Entry(Option<Entry>),
    /// Of Has.
    Has(bool),
    /// Of Put and Expire.
    Put(Put),
    /// Of Delete.
    Delete(Delete),
    /// Of Increment: the new number.
    Number(i64),
    /// Of Outcome.
    Outcome(WriteOutcome),
    /// Of Count.
    Count(u64),
    /// Of ScanPage.
    Page(Page),
    /// Of Many, in the order of the operations.
    Many(Vec<Result<Answer, Error>>),
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        (self.code, self.outcome, &self.message) == (other.code, other.outcome, &other.message)
    }
}

impl Eq for Error {}

/// A value with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Grows with every write of the key, also over a deletion.
    pub version: u64,
    /// What is left of its lifetime; `None` if it lives for ever.
    pub ttl: Option<Duration>,
}

/// What a put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The key is new.
    Created {
        /// Its version.
        version: u64,
    },
    /// The key existed.
    Updated {
        /// Its new version.
        version: u64,
    },
    /// The condition did not hold; nothing was changed.
    Unmet {
        /// The key's version as it stands; 0 if the key is absent.
        version: u64,
    },
}

impl Put {
    /// Whether the value was stored.
    pub fn done(&self) -> bool {
        !matches!(self, Put::Unmet { .. })
    }

    /// The key's version after the operation; 0 if the key is absent.
    pub fn version(&self) -> u64 {
        match *self {
            Put::Created { version } | Put::Updated { version } | Put::Unmet { version } => version,
        }
    }
}

/// What a delete did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// The key is gone.
    Deleted {
        /// The version of the deletion.
        version: u64,
    },
    /// There was no such key.
    NotFound,
    /// The condition did not hold; nothing was changed.
    Unmet {
        /// The key's version as it stands; 0 if the key is absent.
        version: u64,
    },
}

/// A key of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Bytes,
    /// Its value; empty with `keys_only`.
    pub value: Bytes,
    /// Its version.
    pub version: u64,
    /// Its slot.
    pub slot: u16,
    /// What is left of its lifetime; `None` if it lives for ever.
    pub ttl: Option<Duration>,
}

/// Some items of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The items; may be none although there are more.
    pub items: Vec<Item>,
    /// Where the next page begins; `None` when the scan is complete.
    pub cursor: Option<Bytes>,
}
