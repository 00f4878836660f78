//! Calls that pause before their next attempt, by the time at which they go on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use slotkv_proto::table::ShardId;
use tokio::time::Instant;

use crate::call::Call;

/// When a call goes on, and a number that makes it unique.
pub(crate) type Due = (Instant, u64);

/// See the module. Bounded by the gate: only open calls pause.
#[derive(Default)]
pub(crate) struct Delays {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: BTreeMap<Due, Delayed>,
    next: u64,
}

struct Delayed {
    call: Arc<Call>,
    /// The shard that it waits for, if a changed table may help it.
    by_route: Option<ShardId>,
}

impl Delays {
    /// Adds a call; its key, and whether it is the next one due.
    pub fn add(&self, call: Arc<Call>, at: Instant, by_route: Option<ShardId>) -> (Due, bool) {
        let mut state = self.lock();
        let due = (at, state.next);
        state.next += 1;
        state.calls.insert(due, Delayed { call, by_route });
        let first = state.calls.first_key_value().is_some_and(|(&first, _)| first == due);
        (due, first)
    }

    pub fn remove(&self, due: Due) {
        let removed = self.lock().calls.remove(&due);
        drop(removed);
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.lock().calls.first_key_value().map(|(due, _)| due.0)
    }

    /// Takes out the calls whose time has come.
    pub fn take_due(&self, now: Instant) -> Vec<Arc<Call>> {
        let mut state = self.lock();
        let later = state.calls.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut state.calls, later);
        due.into_values().map(|delayed| delayed.call).collect()
    }

    /// Takes out the calls that a changed table may help; with a shard, those that wait for it.
    pub fn take_by_route(&self, shard: Option<ShardId>) -> Vec<Arc<Call>> {
        let mut state = self.lock();
        let taken =
            |delayed: &Delayed| delayed.by_route.is_some() && (shard.is_none() || delayed.by_route == shard);
        let (taken, left) =
            std::mem::take(&mut state.calls).into_iter().partition(|(_, delayed)| taken(delayed));
        state.calls = left;
        let taken: BTreeMap<Due, Delayed> = taken;
        taken.into_values().map(|delayed| delayed.call).collect()
    }

    /// Takes out every call.
    pub fn take_all(&self) -> Vec<Arc<Call>> {
        let calls = std::mem::take(&mut self.lock().calls);
        calls.into_values().map(|delayed| delayed.call).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
