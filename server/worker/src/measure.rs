//! Measures: a replica in numbers, for those who watch it. They are looked up when somebody asks; nobody keeps them.

use slotkv_replication::Standing;
use tokio::sync::oneshot;

use crate::{
    host::{Host, Input},
    shard::Shard,
};

/// Every word of [`word`].
pub const STANDINGS: [&str; 9] = [
    "leader",
    "taking_office",
    "read_only",
    "handing_over",
    "in_sync",
    "catching_up",
    "taking_snapshot",
    "electing",
    "alone",
];

/// What only a replica's host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measures {
    /// The epoch that it has promised.
    pub epoch: u64,
    /// The last record of its log.
    pub last_index: u64,
    /// The last record that it knows to be committed.
    pub commit_index: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
}

/// How a replica stands, in one word and without numbers or names.
pub fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Leader => "leader",
        Standing::Beginning => "taking_office",
        Standing::ReadOnly { .. } => "read_only",
        Standing::Leaving { .. } => "handing_over",
        Standing::InSync => "in_sync",
        Standing::CatchingUp => "catching_up",
        Standing::TakingSnapshot => "taking_snapshot",
        Standing::Electing { .. } => "electing",
        Standing::Alone => "alone",
    }
}

impl Shard {
    /// Asks the host. It answers when it comes to it, and never once it has stopped.
    pub fn measure(&self) -> oneshot::Receiver<Measures> {
        let (told, measures) = oneshot::channel();
        let _ = self.inbox().send(Input::Measure(told));
        measures
    }
}

impl Host {
    pub(crate) fn measures(&self) -> Measures {
        let status = self.machine.status();
        Measures {
            epoch: status.epoch,
            last_index: self.log.last_index(),
            commit_index: status.commit_index,
            log_bytes: self.log.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_has_a_word_of_its_own() {
        let (have, need) = (1, 2);
        let standings = [
            Standing::Leader,
            Standing::Beginning,
            Standing::ReadOnly { have, need },
            Standing::Leaving { to: "other".into() },
            Standing::InSync,
            Standing::CatchingUp,
            Standing::TakingSnapshot,
            Standing::Electing { have, need },
            Standing::Alone,
        ];
        assert_eq!(standings.each_ref().map(word), STANDINGS);
    }
}
