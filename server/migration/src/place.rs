//! Place: how far a copy has come.

use std::fmt;

use bytes::Bytes;

/// Names a hand-over for good: the version of the slot table that planned it. The tenure that it begins, from this hand-over of
/// its slots to the next one, has the same number; 0 is the tenure of the first allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Id(pub u64);

/// A record of a shard's log: its epoch and its index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position {
    /// Of the primary that appended it.
    pub epoch: u64,
    /// Its number in the log.
    pub index: u64,
}

impl Position {
    /// No record: logs begin with 1.
    pub const NONE: Self = Self { epoch: 0, index: 0 };
}

/// Up to which item a copy has come. Items are what the slots hold, in an order that source and target have in common: slot by
/// slot, the results of its clients first, then its rows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cursor {
    /// Nothing is copied.
    Start,
    /// This item and all before it are.
    Behind(Bytes),
    /// Everything is.
    End,
}

/// One attempt to copy, by the epoch of the source's primary that began it. A later one is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stream {
    /// Of the source.
    pub epoch: u64,
    /// Within the epoch.
    pub number: u64,
}

/// What a target holds: exactly the source's items up to `cursor`, as of the source's record `at`. Of what lies behind the
/// cursor nothing counts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// Which attempt.
    pub stream: Stream,
    /// Up to which item.
    pub cursor: Cursor,
    /// As of which record.
    pub at: Position,
}

impl Place {
    /// Whether a part may lead from `self` to `next`.
    pub fn precedes(&self, next: &Place) -> bool {
        let grows = self.cursor < next.cursor || self.at < next.at;
        self.stream == next.stream && self.cursor <= next.cursor && self.at <= next.at && grows
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
