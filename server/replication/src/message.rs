//! Message: what replicas of a shard tell each other. Any message may be lost, doubled, late or out of order.

use std::fmt;

use bytes::Bytes;

use crate::{
    check::{Health, Order},
    history::Position,
    member::{Inc, Member, Name},
};

/// One record on its way.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Epoch and index.
    pub position: Position,
    /// Not looked into.
    pub payload: Bytes,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.position)
    }
}

/// A part of a snapshot on its way.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// Which snapshot, by a number that its sender does not give twice.
    pub snapshot: u64,
    /// The last record that the snapshot holds.
    pub at: Position,
    /// 0 for the first.
    pub number: u64,
    /// Whether it is whole with this part.
    pub is_last: bool,
    /// Not looked into.
    pub bytes: Bytes,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = if self.is_last { ", the last" } else { "" };
        let Self { snapshot, at, number, bytes, .. } = self;
        write!(f, "part {number} of snapshot {snapshot} at {at}, {} bytes{last}", bytes.len())
    }
}

/// An envelope. That both ends are of the same cluster and shard is the host's to check, when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says so: name, data and process.
    pub from: Member,
    /// For whom.
    pub to: Name,
    /// The epoch it is about: that of the primary which sends it or is answered; in a refusal the promised one.
    pub epoch: u64,
    /// What.
    pub body: Body,
}

/// What a replica has of the data that a configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It is that data.
    All,
    /// What an unclean stop left of it: all but a tail that was not synced.
    Remains,
    /// Other data.
    Nothing,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Primary: I lead this epoch.
    Heartbeat {
        /// Counts up; a read asks for answers to a later one than it has seen sent.
        sequence: u64,
        /// The primary's clock, to be repeated in the answer: its lease counts from here.
        sent_us: u64,
        /// Everything up to this index is committed.
        commit: u64,
        /// Whether the receiver's data is in the primary's configuration.
        counted: bool,
        /// Whether the primary takes the receiver's log for matched.
        streaming: bool,
        /// The receiver is asked to sync up to this record and to say so; 0: it is not.
        sync_index: u64,
        /// The last stamp that the receiver answered with, if the sender holds its lease as it sends this; else 0.
        echo: u64,
        /// What is to be done about the receiver's data.
        order: Order,
    },
    /// Backup: I have promised no higher epoch when I got this heartbeat.
    Alive {
        /// Of the heartbeat.
        sequence: u64,
        /// Of the heartbeat.
        sent_us: u64,
        /// For how long from receipt none will be promised; 0: no such promise.
        lease_us: u64,
        /// Up to this index your log outlives an unclean stop here; 0 while the logs are not known to agree.
        synced: u64,
        /// What the next heartbeat is to repeat, so that the backup knows how old that at most is.
        stamp: u64,
        /// How the data is.
        health: Health,
    },
    /// Backup: the register names you, and I hear nothing of you.
    Join,
    /// Backup: where does this epoch end in your log? Rule 8.
    Match {
        /// Names the question. An answer to an earlier question must not be taken for this one's: the end of the
        /// primary's own epoch grows, and a cut at an old end would take back what was acked.
        nonce: u64,
        /// The last epoch of the backup's log, then the one before.
        of_epoch: u64,
    },
    /// Primary: the last record of that epoch or of the one before; `None`: the log begins later, take a snapshot.
    End {
        /// Of the question.
        nonce: u64,
        /// Where it ends.
        end: Option<Position>,
        /// The record before the first of the primary's log.
        begin: Position,
        /// [`Register::loss_epoch`](crate::Register::loss_epoch), as the primary knows it.
        loss_epoch: u64,
    },
    /// Backup: up to this record my log is yours, durably, and it ends there.
    Matched {
        /// The last record.
        at: Position,
    },
    /// Primary: records that follow one another.
    Append {
        /// The record before the first.
        before: Position,
        /// At least one.
        records: Vec<Record>,
        /// Everything up to this index is committed.
        commit: u64,
    },
    /// Primary, when there are no records to say it with: everything up to this index is committed.
    Committed {
        /// The last committed record.
        commit: u64,
    },
    /// Backup: up to this index your log is on my disk.
    Held {
        /// The last durable record.
        durable: u64,
        /// Up to here it outlives an unclean stop, too.
        synced: u64,
    },
    /// Backup: records are missing behind this one.
    Gap {
        /// The last record.
        last: u64,
    },
    /// Primary: a part of a snapshot, for a replica that cannot be joined to the log.
    Part(Part),
    /// Backup: so many parts of a snapshot are written here; 0, too, if nothing is known of it.
    Taken {
        /// Which.
        snapshot: u64,
        /// How many.
        count: u64,
    },
    /// I have promised the epoch of this message, which is higher than yours.
    Refused,
    /// Pre-vote: may the epoch of this message begin, as far as you know?
    Canvass {
        /// Names the question.
        nonce: u64,
        /// The data by which the register names the receiver.
        inc: Inc,
    },
    /// To a pre-vote.
    Canvassed {
        /// Of the question.
        nonce: u64,
        /// Not before so long: a promise to a primary still holds. 0: as far as I know it may.
        wait_us: u64,
        /// What the sender has of the data that was asked about.
        holds: Holding,
    },
    /// Primary that has resigned to the receiver: look at the register.
    Yielded,
}
