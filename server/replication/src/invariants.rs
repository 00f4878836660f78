//! Invariants: what must hold of one replica after every step. Tests call [`Replica::violation`]; what concerns several
//! replicas is theirs to check.

use crate::{
    bug::Bug,
    options::{PEER_COUNT_MAX, READ_COUNT_MAX, WRITE_COUNT_MAX},
    replica::{Replica, Role},
};

impl Replica {
    /// The first invariant that does not hold, by name.
    pub fn violation(&self) -> Option<&'static str> {
        let checks: [(&'static str, bool); 8] = [
            ("log_is_in_order", self.history.is_in_order()),
            ("commit_is_in_the_log", self.commit_is_in_the_log()),
            ("promise_never_goes_back", self.promise_never_goes_back()),
            ("primary_holds_its_epoch", self.primary_holds_its_epoch()),
            ("counted_records_are_in_the_log", self.counted_records_are_in_the_log()),
            ("configurations_differ_by_one_change", self.configurations_differ_by_one_change()),
            ("who_leaves_serves_nothing", self.who_leaves_serves_nothing()),
            ("queues_are_bounded", self.queues_are_bounded()),
        ];
        checks.into_iter().find(|(_, holds)| !holds).map(|(name, _)| name)
    }

    fn commit_is_in_the_log(&self) -> bool {
        self.history.begin().index <= self.commit && self.commit <= self.history.last().index
    }

    fn promise_never_goes_back(&self) -> bool {
        self.vow.kept.epoch <= self.vow.made.epoch && self.vow.kept.lease_us <= self.vow.made.lease_us
    }

    /// A primary has promised its epoch, durably, and nothing higher; its records begin with the barrier.
    fn primary_holds_its_epoch(&self) -> bool {
        let Role::Primary(primary) = &self.role else { return true };
        self.vow.keeps(primary.epoch)
            && self.history.last().epoch == primary.epoch
            && self.office_epoch == primary.epoch
            && primary.confirmed.epoch == primary.epoch
    }

    fn counted_records_are_in_the_log(&self) -> bool {
        let Role::Primary(primary) = &self.role else { return true };
        primary.peers.values().all(|peer| peer.held <= self.history.last().index)
    }

    /// Rule 4: one change at a time, on the version that is known.
    fn configurations_differ_by_one_change(&self) -> bool {
        let Role::Primary(primary) = &self.role else { return true };
        primary
            .pending
            .as_ref()
            .is_none_or(|target| target.version == primary.confirmed.version && target.epoch == primary.epoch)
    }

    /// Rule 9.
    fn who_leaves_serves_nothing(&self) -> bool {
        let Role::Primary(primary) = &self.role else { return true };
        primary.leaving.is_none()
            || (!self.is_serving() && !self.holds_lease(self.now_us))
            || self.options.has(Bug::ReadsWhileLeaving)
    }

    fn queues_are_bounded(&self) -> bool {
        // A promise, a cut and an installation may come on top of a full queue of appends.
        let writes = self.unreported.len() <= WRITE_COUNT_MAX + 8 || self.leads().is_some();
        let Role::Primary(primary) = &self.role else { return writes };
        let flights = primary.peers.values().all(|peer| peer.flight_count() <= self.options.flight_count_max);
        writes && flights && primary.peers.len() <= PEER_COUNT_MAX && primary.reads.len() <= READ_COUNT_MAX
    }
}
