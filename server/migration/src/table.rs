//! Table: one version of `/slots`, the only decision about who owns a slot.

use crate::{Id, ShardId, Slot};

/// One version. It is read whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Grows by one with every change.
    pub version: u64,
    /// By slot.
    pub owners: Vec<Owner>,
    /// Hand-overs that are planned and not closed.
    pub migrations: Vec<Migration>,
}

/// Who owns a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The shard.
    pub shard: ShardId,
    /// Since which hand-over.
    pub tenure: Id,
}

/// A hand-over, from its plan until both sides are done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its name.
    pub id: Id,
    /// What moves, ascending.
    pub slots: Vec<Slot>,
    /// Who gives.
    pub source: ShardId,
    /// Who gets.
    pub target: ShardId,
    /// What came of it; `None`: it is in flight.
    pub outcome: Option<Outcome>,
}

/// What a hand-over comes to. Once it is in a table it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target owns the slots.
    Moved,
    /// The source keeps them.
    Aborted,
}

impl Table {
    /// Who owns the slot.
    pub fn owner(&self, slot: Slot) -> Option<Owner> {
        self.owners.get(usize::from(slot)).copied()
    }

    /// The hand-over of that name, while it is not closed.
    pub fn migration(&self, id: Id) -> Option<&Migration> {
        self.migrations.iter().find(|migration| migration.id == id)
    }

    /// The same, if it is not decided.
    pub fn in_flight(&self, id: Id) -> Option<&Migration> {
        self.migration(id).filter(|migration| migration.outcome.is_none())
    }

    /// The open hand-over of a slot.
    pub fn open(&self, slot: Slot) -> Option<&Migration> {
        self.migrations.iter().find(|migration| migration.slots.contains(&slot))
    }
}
