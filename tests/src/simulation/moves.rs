//! Moves: what became of hand-overs, as the slot table has had it. It is looked at after each write of a master, so no version
//! is missed.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use slotkv_coordination::{
    embedded::Faults,
    paths,
    registers::{Register, Slots},
};
use slotkv_migration::Outcome;

/// Every hand-over of a run.
#[derive(Default)]
pub struct Moves(Mutex<State>);

#[derive(Default)]
struct State {
    last: Bytes,
    /// By id; `None`: it is not decided.
    seen: BTreeMap<u64, Option<Outcome>>,
}

impl Moves {
    /// Takes what the coordinator has now.
    pub fn look(&self, coordinator: &Faults) {
        let Some(data) = coordinator.look(paths::SLOTS) else { return };
        let mut state = self.0.lock();
        if state.last == data {
            return;
        }
        let slots = Slots::decode(paths::SLOTS, &data).expect("a slot table");
        state.seen.extend(slots.migrations.iter().map(|migration| (migration.id, migration.outcome)));
        state.last = data;
    }

    /// How many have moved slots, and how many were aborted.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.0.lock();
        let count = |outcome| state.seen.values().filter(|seen| **seen == Some(outcome)).count() as u64;
        (count(Outcome::Moved), count(Outcome::Aborted))
    }
}
