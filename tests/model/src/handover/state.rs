//! Everything there is at one moment: the table with all its versions, both shards, what they have told, and what was
//! committed by whoever served.

use std::fmt;

use super::book::{Book, Id, KEYS, Record, Version, Write};

/// One moment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct State {
    /// By version.
    pub tables: Vec<Table>,
    /// Compare-and-sets on the present version that may still arrive, whoever sent them.
    pub requests: Vec<Change>,
    /// Each shard.
    pub shards: [Shard; 2],
    /// By migration, what was told about it. It stays true, so it may be read at any later time.
    pub told: Vec<Told>,
    /// History: the last committed write of each key.
    pub truth: [Write; KEYS],
    /// How much may still happen.
    pub left: Left,
}

/// One version of `/slots`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Table {
    /// The shard that owns the slot.
    pub owner: u8,
    /// Since which hand-over.
    pub tenure: Id,
    /// The hand-over that is planned and not closed.
    pub open: Option<Open>,
}

/// A hand-over in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Open {
    /// Its id.
    pub id: Id,
    /// Who gives; the other gets.
    pub source: u8,
    /// What came of it.
    pub outcome: Option<Outcome>,
}

/// What a hand-over comes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// The target owns the slot.
    Moved,
    /// The source keeps it.
    Aborted,
}

/// What a leader changes in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Change {
    /// A hand-over to the shard that does not own the slot.
    Plan,
    /// It is decided.
    Decide(Outcome),
    /// Both sides are done with it.
    Close,
}

/// One shard.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Shard {
    /// Of what is committed.
    pub book: Book,
    /// What is appended and not committed.
    pub tail: Vec<Record>,
    /// The table that its primary knows.
    pub table: Version,
}

/// What was told about a migration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Told {
    /// Which.
    pub id: Id,
    /// The source to the target: it is sealed behind this record.
    pub sealed: Option<u8>,
    /// The target to the leader: it is imported.
    pub imported: bool,
    /// Each shard to the leader: nothing of it is left here to be done.
    pub done: [bool; 2],
}

/// How much may still happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Left {
    /// The next write's number.
    pub next_write: Write,
    /// Plans.
    pub plans: u8,
    /// Fail-overs of each shard.
    pub fail_overs: [u8; 2],
}

impl State {
    /// The version of the table in the coordinator.
    pub fn version(&self) -> Version {
        (self.tables.len() - 1) as Version
    }

    /// The table that a shard's primary knows.
    pub fn known(&self, shard: u8) -> &Table {
        &self.tables[usize::from(self.shards[usize::from(shard)].table)]
    }

    /// What was told about a migration.
    pub fn told(&self, id: Id) -> Option<&Told> {
        self.told.iter().find(|told| told.id == id)
    }

    /// The same, to add to.
    pub fn told_mut(&mut self, id: Id) -> Option<&mut Told> {
        self.told.iter_mut().find(|told| told.id == id)
    }
}

impl Table {
    /// The hand-over that is planned and not decided.
    pub fn in_flight(&self) -> Option<Open> {
        self.open.filter(|open| open.outcome.is_none())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} is {:?}, asked {:?}", self.version(), self.tables.last(), self.requests)?;
        for (name, shard) in self.shards.iter().enumerate() {
            let Book { mark, tenure, version, rows, .. } = &shard.book;
            write!(
                f,
                "; shard {name} at table {}: {mark:?} tenure {tenure} version {version} ",
                shard.table
            )?;
            write!(f, "rows {rows:?} tail {:?}", shard.tail)?;
        }
        write!(f, "; committed {:?}", self.truth)
    }
}
