//! Ready: what the host is to do, and the words in which it answers.

use bytes::Bytes;

use crate::{
    history::Position,
    member::{Inc, Member, Name},
    message::{Message, Part, Record},
    register::Register,
    vow::Promise,
};

/// Everything that came up since the last time. In which order it is carried out stands in the [crate's
/// documentation](crate#what-a-host-must-keep-to).
#[derive(Clone, Debug, Default)]
pub struct Ready {
    /// To be sent.
    pub messages: Vec<Message>,
    /// To be done and reported in this order, by [`Replica::written`](crate::Replica::written).
    pub writes: Vec<(u64, Write)>,
    /// To be answered by [`Replica::answered`](crate::Replica::answered).
    pub asks: Vec<(u64, Ask)>,
    /// To be handed in by [`Replica::fetched`](crate::Replica::fetched).
    pub fetches: Vec<Fetch>,
    /// Under `interval` durability: others wait until what was reported here is synced. It is to be synced now, and reported
    /// by [`Replica::synced`](crate::Replica::synced).
    pub sync: bool,
    /// The commit index has moved.
    pub commit: Option<Commit>,
    /// Reads that a round has confirmed; the value that was read before it was asked for holds.
    pub reads: Vec<u64>,
    /// Reads that this replica cannot confirm any more; they may be repeated elsewhere.
    pub reads_refused: Vec<u64>,
    /// Parts of snapshots, to be handed in by [`Replica::loaded`](crate::Replica::loaded).
    pub loads: Vec<Load>,
    /// Snapshots of which no more will be asked for.
    pub closes: Vec<u64>,
    /// This process leads the epoch; it serves once [`Replica::is_serving`](crate::Replica::is_serving).
    pub took_office: Option<u64>,
    /// It does not any more: writes that are not acknowledged end as *unknown*.
    pub stopped: Option<Stopped>,
    /// The data here holds what the shard has lost: it is to be dropped, and a replica to begin anew with none, under a new
    /// [`Inc`]. Until then this one does nothing more.
    pub discard: Option<String>,
    /// What must never be was found: the process is to end, and to say this.
    pub halt: Option<String>,
}

impl Ready {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.writes.is_empty()
            && self.asks.is_empty()
            && self.fetches.is_empty()
            && !self.sync
            && self.commit.is_none()
            && self.reads.is_empty()
            && self.reads_refused.is_empty()
            && self.loads.is_empty()
            && self.closes.is_empty()
            && self.took_office.is_none()
            && self.stopped.is_none()
            && self.discard.is_none()
            && self.halt.is_none()
    }
}

/// Something to make durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Append these records to the log.
    Append(Vec<Record>),
    /// Append a BARRIER of this epoch at this index.
    Barrier(Position),
    /// Drop everything behind this index from the log. Once it is reported it is synced, with everything before it, under
    /// `interval` durability, too: what was cut would win an election with its higher epoch if it were there again.
    Cut(u64),
    /// Add a part to the snapshot that is being received, beside the data. Number 0 begins one, whatever is left of
    /// another. It need not be synced.
    Part(Part),
    /// Put the received snapshot in the place of engine and log, at once or not at all; the log begins behind this record.
    Install(Position),
    /// Replace the stored promise.
    Promise(Promise),
}

/// A question to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Sync and read the register.
    Read,
    /// Write the register if its version is the one given.
    CompareAndSet(Register),
    /// Make an ephemeral sequential node in the election of an epoch.
    Stand(u64, Candidate),
    /// Sync and read the candidates of an epoch, in the order of their nodes.
    Candidates(u64),
}

/// What a candidate reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub member: Member,
    /// Its last durable record.
    pub last: Position,
    /// The data by which the register names it, if its own is only what an unclean stop left of that.
    pub remains_of: Option<Inc>,
}

/// What came of an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The register as it was read.
    Register(Register),
    /// It was written and has this version now.
    Written(u64),
    /// It had another version.
    Conflict,
    /// The node was made.
    Standing,
    /// Those that were found.
    Candidates(Vec<Candidate>),
    /// It may or may not have been done.
    Unknown,
}

/// Records that a backup lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// For whom.
    pub to: Name,
    /// The first.
    pub from_index: u64,
    /// The last.
    pub upto_index: u64,
    /// Payload bytes that may be exceeded by a single record only.
    pub bytes_max: usize,
}

/// A part of a snapshot that a backup needs. The first time a snapshot is named, the host begins one of what is applied
/// here, which stays as it is until it is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Which.
    pub snapshot: u64,
    /// For whom.
    pub to: Name,
    /// Bytes that may be exceeded by a single row only.
    pub bytes_max: usize,
}

/// What a [`Load`] is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The last record that the snapshot holds, the same in all of its chunks.
    pub at_index: u64,
    /// Whatever the receiving host makes an engine of.
    pub bytes: Bytes,
    /// Whether the snapshot is whole now.
    pub is_last: bool,
}

/// Up to where records are to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The last committed record.
    pub index: u64,
    /// Whether clients may be told `ok`; if not, too few copies are in sync, and their writes end as *unknown* (rule 10).
    pub acknowledges: bool,
}

/// A primary that does not lead any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The epoch it led.
    pub epoch: u64,
    /// Why, for people.
    pub why: &'static str,
}

/// Why nothing may be written or read here now. It is certain that nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another replica leads, or none.
    NotPrimary,
    /// This one is about to: the epoch's first record is not committed yet.
    Beginning,
    /// This one is handing the lead to another.
    Leaving {
        /// To whom.
        to: Name,
    },
    /// Too few copies are in sync.
    ReadOnly {
        /// In sync.
        have: usize,
        /// Needed.
        need: usize,
    },
    /// Too much waits already.
    Busy,
}
