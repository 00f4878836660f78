//! Ready: what the host of a shard is to do, and the words in which it answers.

use bytes::Bytes;

use crate::{
    Slot,
    message::Message,
    place::{Cursor, Id, Place, Position},
    record::Record,
};

/// Everything that came up since the last time.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    /// To be appended to the log, in this order and before the next input; each is answered by
    /// [`Party::logged`](crate::Party::logged) or [`Party::dropped`](crate::Party::dropped).
    pub appends: Vec<Record>,
    /// To be sent. What cannot be sent is dropped.
    pub messages: Vec<Message>,
    /// To be answered by [`Party::read`](crate::Party::read).
    pub reads: Vec<Read>,
    /// To be answered by [`Party::tallied`](crate::Party::tallied).
    pub tallies: Vec<Tally>,
    /// To be answered by [`Party::swept`](crate::Party::swept).
    pub sweeps: Vec<Sweep>,
    /// To be answered by [`Party::regained`](crate::Party::regained).
    pub regains: Vec<Regain>,
    /// To be told to the leader, through the coordinator. The last one about a hand-over counts.
    pub reports: Vec<Report>,
    /// Somebody knows a newer table: it is to be read.
    pub refresh: bool,
}

/// A part that a target lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Of which hand-over.
    pub id: Id,
    /// Of which slots.
    pub slots: Vec<Slot>,
    /// What the target holds; `None`: nothing, and the host chooses the record that the stream begins behind.
    pub from: Option<Place>,
    /// No later records, for they are not committed.
    pub upto_index: u64,
    /// Whether items may be read, too. Records may always: they are as many as clients write, and what is not read of them
    /// only becomes more.
    pub with_items: bool,
    /// May be exceeded by a single item or record only.
    pub bytes_max: usize,
}

/// What a [`Read`] is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// What leads to the next place: records behind the present one as far as they concern items up to the cursor; or, where
    /// the items are read as of this very record, further items; or both, in this order.
    Part {
        /// Up to which item.
        cursor: Cursor,
        /// As of which record. It is committed.
        at: Position,
        /// What the target's host applies.
        bytes: Bytes,
        /// Of these, what the items take.
        item_bytes: usize,
        /// Bytes of the log behind it, as far as they may concern the slots.
        behind: u64,
    },
    /// Nothing can be read now.
    Later,
    /// The log does not hold the record, or not what comes behind it.
    Gone,
}

/// What slots amount to: counts, digests of rows and of results, version counters; source and target make the same bytes of the
/// same items. And what the shard's own counters stand at, which a target will not stay behind: its shown index, its logged
/// time, the slots' forgotten indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Of which hand-over.
    pub id: Id,
    /// Of which slots.
    pub slots: Vec<Slot>,
}

/// A piece to be deleted next: the host says which is its last item, and deletes nothing before the CLEAN is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Of which hand-over.
    pub id: Id,
    /// Of which slots.
    pub slots: Vec<Slot>,
    /// Behind which item.
    pub after: Cursor,
    /// Items.
    pub count_max: usize,
}

/// Slots that are lost, to be taken empty. The host answers with a part that replaces all their items by none, and with levels that
/// nothing that was ever told is above: the shown index, for the slots' versions too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regain {
    /// Their tenure.
    pub id: Id,
    /// Which.
    pub slots: Vec<Slot>,
}

/// What a shard tells the leader about a hand-over. It stays true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub id: Id,
    /// As its source; else as its target.
    pub is_source: bool,
    /// What.
    pub said: Said,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Source: so many bytes were sent, so many are missing.
    Copying {
        /// By this primary.
        sent_bytes: u64,
        /// As far as it knows.
        behind_bytes: u64,
    },
    /// Source: sealed, for good.
    Sealed,
    /// Target: everything is here, for good.
    Imported,
    /// It cannot be done.
    Failed(String),
    /// Decided, and nothing is left to be done here.
    Done,
}
