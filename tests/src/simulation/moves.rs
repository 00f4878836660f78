//! Moves: what became of hand-overs, as the slot table has had it. It is looked at after each write of a master, so no version
//! is missed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use parking_lot::Mutex;
use slotkv_coordination::{
    embedded::Faults,
    paths,
    registers::{Register, Slots},
};
use slotkv_migration::Outcome;
use slotkv_proto::table::ShardId;

/// Every hand-over of a run.
#[derive(Default)]
pub struct Moves(Mutex<State>);

#[derive(Default)]
struct State {
    last: Bytes,
    /// By id; `None`: it is not decided.
    seen: BTreeMap<u64, Option<Outcome>>,
    given: BTreeSet<(u16, ShardId)>,
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
        for moved in slots.migrations.iter().filter(|migration| migration.outcome == Some(Outcome::Moved)) {
            let slots = moved.slots.iter().flat_map(|(first, last)| *first..=*last);
            state.given.extend(slots.map(|slot| (slot, moved.source)));
        }
        state.last = data;
    }

    /// Whether a shard has ever given a slot away.
    pub fn has_given(&self, slot: u16, shard: ShardId) -> bool {
        self.0.lock().given.contains(&(slot, shard))
    }

    /// How many have moved slots, and how many were aborted.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.0.lock();
        let count = |outcome| state.seen.values().filter(|seen| **seen == Some(outcome)).count() as u64;
        (count(Outcome::Moved), count(Outcome::Aborted))
    }
}
