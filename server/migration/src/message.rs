//! Message: what source and target say to each other. Messages may be lost, doubled, late and out of order; each holds for
//! itself.

use bytes::Bytes;

use crate::{
    ShardId,
    place::{Id, Place, Position, Stream},
};

/// From one shard's primary to another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Of which hand-over.
    pub id: Id,
    /// Who says so.
    pub from: ShardId,
    /// To whom.
    pub to: ShardId,
    /// The table that the sender knows.
    pub version: u64,
    /// What.
    pub body: Body,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Source: what do you hold?
    Offer,
    /// Source: what leads from one place to the next; from nowhere, as the first of a stream.
    Part {
        /// From where.
        from: Option<Place>,
        /// Where it leads.
        to: Place,
        /// Items and records.
        bytes: Bytes,
    },
    /// Source: behind this record nothing comes any more, and this is what the slots amount to there.
    Sealed {
        /// Of this stream.
        stream: Stream,
        /// The SEAL.
        at: Position,
        /// Compared byte by byte.
        tally: Bytes,
        /// What the source's counters stand at.
        levels: Bytes,
    },
    /// Target: what I hold.
    Holds {
        /// With what is appended: the next part is to lead from here.
        next: Option<Place>,
        /// Of that, committed.
        held: Option<Place>,
        /// No items for so long: clients ask here, too. Records may come.
        rest_us: u64,
    },
}
