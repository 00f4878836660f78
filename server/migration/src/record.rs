//! Record: what the logs of source and target get. Each is committed and replayed as any other record of its shard, so a
//! fail-over finds in its log how far a hand-over had come.

use bytes::Bytes;

use crate::{
    Slot,
    place::{Id, Place, Position},
};

/// A record of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Source: neither reads nor writes nor expiry from here on, committed or not.
    Seal {
        /// Of which hand-over.
        id: Id,
        /// The table by which.
        version: u64,
        /// What is sealed.
        slots: Vec<Slot>,
    },
    /// Source: it stays here, and is served again.
    Unseal {
        /// Of which hand-over.
        id: Id,
        /// The table by which.
        version: u64,
    },
    /// Target: items and records, hidden until IMPORTED and the switch. The range between the cursors of the place before
    /// and this one is *replaced*, so that what an earlier stream left there goes.
    Stage {
        /// Of which hand-over.
        id: Id,
        /// The table by which.
        version: u64,
        /// What is staged.
        slots: Vec<Slot>,
        /// What is held with this record.
        to: Place,
        /// What the source's host made and this one's applies.
        bytes: Bytes,
    },
    /// Target: everything is here. Whoever applies it raises the shard's shown index, its logged time and each slot's
    /// counter to `levels`, if they are lower.
    Imported {
        /// Of which hand-over.
        id: Id,
        /// The table by which.
        version: u64,
        /// The source's SEAL; [`Position::NONE`] if there was none, since what is imported is what was lost: nothing.
        sealed_at: Position,
        /// What the source's counters stood at, there or later.
        levels: Bytes,
    },
    /// What is here for this hand-over is deleted, piece by piece; with the last piece the slots' rows, results and
    /// counters too.
    Clean {
        /// Of which hand-over.
        id: Id,
        /// The table by which.
        version: u64,
        /// Of which slots. Those that have come to something else since are left alone.
        slots: Vec<Slot>,
        /// The last item that goes; empty with the last piece.
        upto: Bytes,
        /// Nothing is left.
        is_last: bool,
    },
}

impl Record {
    /// Of which hand-over.
    pub fn id(&self) -> Id {
        match self {
            Record::Seal { id, .. }
            | Record::Unseal { id, .. }
            | Record::Stage { id, .. }
            | Record::Imported { id, .. }
            | Record::Clean { id, .. } => *id,
        }
    }

    /// The table by which it was logged. Whoever has this record takes no older one.
    pub fn version(&self) -> u64 {
        match self {
            Record::Seal { version, .. }
            | Record::Unseal { version, .. }
            | Record::Stage { version, .. }
            | Record::Imported { version, .. }
            | Record::Clean { version, .. } => *version,
        }
    }
}
