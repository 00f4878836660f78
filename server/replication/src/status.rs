//! Status: where a replica stands, for people.

use std::fmt;

use crate::{
    history::Position,
    member::{Member, Name},
};

/// Role and state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Leads and serves.
    Leader,
    /// Leads; the epoch's first record is not committed yet.
    Beginning,
    /// Leads, and takes no writes.
    ReadOnly {
        /// In sync.
        have: usize,
        /// Needed.
        need: usize,
    },
    /// Has stopped serving, to hand the lead over.
    Leaving {
        /// To whom.
        to: Name,
    },
    /// A backup that counts.
    InSync,
    /// A backup that does not count yet.
    CatchingUp,
    /// A backup that waits for a snapshot or installs one.
    TakingSnapshot,
    /// Without a primary; stands in an election.
    Electing {
        /// Reports seen.
        have: usize,
        /// Reports needed.
        need: usize,
    },
    /// Hears no primary, and cannot stand now.
    Alone,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Leader => f.write_str("leader"),
            Standing::Beginning => f.write_str("leader, taking office"),
            Standing::ReadOnly { have, need } => {
                write!(f, "leader, read-only: {have} copies in sync, {need} needed")
            }
            Standing::Leaving { to } => write!(f, "handing the lead to {to}"),
            Standing::InSync => f.write_str("in sync"),
            Standing::CatchingUp => f.write_str("catching up"),
            Standing::TakingSnapshot => f.write_str("catching up by a snapshot"),
            Standing::Electing { have, need } => {
                write!(f, "read-only: no primary, {have} of {need} replicas have reported")
            }
            Standing::Alone => f.write_str("read-only: hears no primary"),
        }
    }
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Status {
    /// Who.
    pub member: Member,
    /// Role and state.
    pub standing: Standing,
    /// Since when, on the clock of `now_us`.
    pub since_us: u64,
    /// The promised epoch.
    pub epoch: u64,
    /// Who leads it, if that is known.
    pub primary: Option<Name>,
    /// The last record.
    pub last: Position,
    /// The last durable record.
    pub durable_index: u64,
    /// The last record known to be committed.
    pub commit_index: u64,
}
