//! Movement: how far the leader's hand-overs are, for people. Belief only: what is true stands in `/slots`.

use std::collections::{BTreeMap, VecDeque};

use slotkv_migration::Outcome;
use slotkv_proto::table::ShardId;

use crate::plan::Move;

/// Ended hand-overs that are remembered.
pub const ENDED_MAX: usize = 64;
/// Pauses that are remembered, of the last hand-overs.
pub const PAUSES_MAX: usize = 4096;

/// How far the leader's hand-overs are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Movement {
    /// Version of the table that this is of.
    pub version: u64,
    /// The weights that it is planned by.
    pub weights: BTreeMap<ShardId, f64>,
    /// The number of the holds that it is planned by.
    pub holds: u64,
    /// Hand-overs that are not closed.
    pub open: Vec<OpenMove>,
    /// The last ones that were decided, newest last.
    pub ended: VecDeque<EndedMove>,
    /// What is still to move, hand-overs in flight included.
    pub left: Vec<Move>,
    /// Why some of it cannot move now.
    pub notices: Vec<String>,
    /// What this leader has moved.
    pub totals: Totals,
}

/// What a leader has moved since it took office.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Slots.
    pub slots: u64,
    /// Bytes that the sources have sent for them.
    pub bytes: u64,
    /// Hand-overs that were aborted.
    pub aborted: u64,
    /// For how long slots were served by nobody: by half of the hand-overs, in microseconds.
    pub pause_us_p50: u64,
    /// By 99 of 100.
    pub pause_us_p99: u64,
    /// By all.
    pub pause_us_max: u64,
}

/// A hand-over that is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenMove {
    /// Its name.
    pub id: u64,
    /// Who gives.
    pub source: ShardId,
    /// Who gets.
    pub target: ShardId,
    /// Runs of slots.
    pub slots: Vec<(u16, u16)>,
    /// planned, copying, sealed, imported, moved, aborted
    pub state: &'static str,
    /// Bytes that the source has sent.
    pub sent_bytes: u64,
    /// Bytes that are missing at the target.
    pub behind_bytes: u64,
    /// For how long this leader knows of it, in milliseconds.
    pub age_ms: u64,
    /// Whether it is to be aborted.
    pub is_cancelled: bool,
}

/// A hand-over that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedMove {
    /// Its name.
    pub id: u64,
    /// Who gave.
    pub source: ShardId,
    /// Who got, or should have.
    pub target: ShardId,
    /// How many slots.
    pub slots: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was aborted.
    pub why: String,
    /// Bytes that the source has sent.
    pub bytes: u64,
    /// For how long the slots were served by nobody, in microseconds; 0: not known.
    pub pause_us: u64,
    /// How often in a row these two have failed.
    pub failed_count: u32,
}

/// Keeps the ended ones and the totals.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub ended: VecDeque<EndedMove>,
    slots: u64,
    bytes: u64,
    aborted: u64,
    pauses: VecDeque<u64>,
}

impl History {
    /// One was decided.
    pub fn add(&mut self, ended: EndedMove) {
        match ended.outcome {
            Outcome::Moved => {
                self.slots += ended.slots;
                self.bytes += ended.bytes;
            }
            Outcome::Aborted => self.aborted += 1,
        }
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(ended);
    }

    /// What is known of it now that it is closed: a source that says more than before is believed.
    pub fn close(&mut self, id: u64, bytes: u64, pause_us: u64) {
        let Some(ended) = self.ended.iter_mut().rev().find(|ended| ended.id == id) else { return };
        if bytes > ended.bytes {
            if ended.outcome == Outcome::Moved {
                self.bytes += bytes - ended.bytes;
            }
            ended.bytes = bytes;
        }
        if pause_us > 0 {
            ended.pause_us = pause_us;
        }
        if ended.outcome == Outcome::Moved && ended.pause_us > 0 {
            if self.pauses.len() == PAUSES_MAX {
                self.pauses.pop_front();
            }
            self.pauses.push_back(ended.pause_us);
        }
    }

    pub fn totals(&self) -> Totals {
        let mut pauses: Vec<u64> = self.pauses.iter().copied().collect();
        pauses.sort_unstable();
        let at = |part: f64| {
            let place = (pauses.len() as f64 * part).ceil() as usize;
            pauses.get(place.saturating_sub(1)).copied().unwrap_or(0)
        };
        Totals {
            slots: self.slots,
            bytes: self.bytes,
            aborted: self.aborted,
            pause_us_p50: at(0.5),
            pause_us_p99: at(0.99),
            pause_us_max: at(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(id: u64, outcome: Outcome) -> EndedMove {
        EndedMove {
            id,
            source: 0,
            target: 1,
            slots: 16,
            outcome,
            why: String::new(),
            bytes: 10,
            pause_us: id * 10,
            failed_count: 0,
        }
    }

    #[test]
    fn totals_are_of_what_moved_and_bytes_that_are_told_late_count() {
        let mut history = History::default();
        for id in 1..=100 {
            history.add(ended(id, Outcome::Moved));
            history.close(id, 25, 0);
        }
        history.add(ended(101, Outcome::Aborted));
        history.close(101, 99, 7);
        let totals = history.totals();
        assert_eq!((totals.slots, totals.bytes, totals.aborted), (1600, 2500, 1));
        assert_eq!((totals.pause_us_p50, totals.pause_us_p99, totals.pause_us_max), (500, 990, 1000));
        assert_eq!((history.ended.len(), history.ended.back().unwrap().bytes), (ENDED_MAX, 99));
        assert_eq!(History::default().totals(), Totals::default());
    }
}
