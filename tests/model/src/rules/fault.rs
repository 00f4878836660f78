//! What happens to processes and disks. A pause needs no step: whoever does nothing is paused.

use crate::replica::{Incarnation, Name};
use crate::rules::lease::SILENT_TICKS;
use crate::shard::Shard;
use crate::state::State;
use crate::variant::Variant;

impl Shard {
    pub(crate) fn may_restart(&self, state: &State, _b: Name) -> bool {
        state.left.restarts > 0
    }

    /// What was synced stays: the log and the promise. Rule 5: the process no longer knows what it granted,
    /// so it is silent for as long as it may have promised.
    pub(crate) fn restart(&self, state: &mut State, b: Name) {
        state.left.restarts -= 1;
        let unsynced_promise =
            self.is(Variant::ReportsBeforePromise) && state.replicas[b].promised > state.register.epoch;
        let replica = &mut state.replicas[b];
        replica.run += 1;
        replica.follows = 0;
        replica.office = None;
        let silent = self.bounds.leases && !self.is(Variant::ForgetsLease);
        replica.silent_ticks = if silent { SILENT_TICKS } else { 0 };
        if unsynced_promise {
            replica.promised = replica.log.last_epoch();
        }
    }

    pub(crate) fn may_wipe(&self, state: &State, b: Name) -> bool {
        state.left.wipes > 0 && state.replicas[b].incarnation == Incarnation::First
    }

    /// Nothing stays, not even the promise. The new incarnation is in no ISR, so what it does counts nowhere
    /// until a primary adds it.
    pub(crate) fn wipe(&self, state: &mut State, b: Name) {
        state.left.wipes -= 1;
        let replica = &mut state.replicas[b];
        replica.run += 1;
        replica.follows = 0;
        replica.office = None;
        replica.silent_ticks = 0;
        replica.log = Default::default();
        replica.promised = 0;
        replica.known = 0;
        replica.incarnation = Incarnation::Second;
    }
}
