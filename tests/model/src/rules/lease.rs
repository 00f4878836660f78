//! Rule 5: leases, reads under them, and reads by a round.
//!
//! The clock ticks for all at once. A backup is silent for two ticks from receipt; the primary counts one,
//! from the send time of the heartbeat, here the moment of receipt at the earliest. The tick between stands
//! for all that rule 5 takes off: drift and margin. A grant that comes late or not at all is one that the
//! primary believes less, so it needs no step.

use crate::configuration::Configuration;
use crate::log::Index;
use crate::replica::{Name, Names};
use crate::shard::Shard;
use crate::state::{Office, State};
use crate::variant::Variant;

/// For how long a backup promises no epoch to an election: L.
pub(crate) const SILENT_TICKS: u8 = 2;

impl Shard {
    /// A backup that follows grants; one that is not in the ISR need not, since its lease would not count.
    pub(crate) fn may_grant(&self, state: &State, b: Name) -> bool {
        let replica = &state.replicas[b];
        let Some(stream) = state.stream(replica.follows) else { return false };
        let office = state.office_in(stream.primary, replica.follows);
        self.bounds.leases
            && office.is_some_and(|office| self.possible(office).iter().any(|possible| possible.names(b)))
    }

    pub(crate) fn grant(&self, state: &mut State, b: Name) {
        let replica = &mut state.replicas[b];
        replica.silent_ticks = SILENT_TICKS;
        let (epoch, incarnation) = (replica.follows, replica.incarnation);
        let Some(primary) = state.stream(epoch).map(|stream| stream.primary) else { return };
        if let Some(office) = &mut state.replicas[primary].office {
            office.leased[b][incarnation as usize] = true;
        }
    }

    pub(crate) fn may_tick(&self, state: &State) -> bool {
        state.replicas.0.iter().any(|replica| replica.silent_ticks > 0)
    }

    /// The primaries' leases end a tick before the backups' promises.
    pub(crate) fn tick(&self, state: &mut State) {
        for replica in &mut state.replicas.0 {
            replica.silent_ticks = replica.silent_ticks.saturating_sub(1);
            if let Some(office) = &mut replica.office {
                office.leased = Default::default();
            }
        }
    }

    /// The lease is held while the grants of w - 1 backups are good in every configuration that the register
    /// may hold: with the primary they are w, and share a member with every election.
    pub(crate) fn holds_lease(&self, a: Name, office: &Office) -> bool {
        let granted = |configuration: &Configuration| {
            let backups = configuration.members().filter(|(name, _)| *name != a);
            let good = backups.filter(|(name, incarnation)| office.leased[*name][*incarnation as usize]);
            good.count() + 1 >= configuration.holders_needed()
        };
        if self.is(Variant::LeaseOfOneConfiguration) {
            return granted(&office.configuration);
        }
        self.possible(office).iter().all(granted)
    }

    /// Rules 7 and 9: who may answer reads at all: a primary whose BARRIER is committed and that has not
    /// begun a fail-back.
    fn answers_reads(&self, office: &Office) -> bool {
        let settled = office.is_settled() || self.is(Variant::NoBarrier);
        settled && (!office.stopped || self.is(Variant::FailBackReads))
    }

    /// Whether a read that `a` answers under its lease now would miss a committed write. The value is read
    /// first and the lease checked *then*: a good lease says that nobody else has committed until now, hence
    /// not before the value was read either.
    pub(crate) fn reads_stale(&self, state: &State, a: Name) -> bool {
        let Some(office) = &state.replicas[a].office else { return false };
        let lease =
            if self.is(Variant::ChecksLeaseFirst) { office.checked } else { self.holds_lease(a, office) };
        self.bounds.leases && self.answers_reads(office) && lease && self.lacks_committed(state, office)
    }

    /// What a reader would see: the writes up to the primary's commit index.
    fn lacks_committed(&self, state: &State, office: &Office) -> bool {
        office.committed < state.committed.len()
    }

    /// Only the wrong order needs a step of its own.
    pub(crate) fn may_check_lease(&self, state: &State, a: Name) -> bool {
        let office = state.replicas[a].office.as_ref();
        self.is(Variant::ChecksLeaseFirst)
            && office.is_some_and(|office| !office.checked && self.holds_lease(a, office))
    }

    pub(crate) fn check_lease(&self, state: &mut State, a: Name) {
        if let Some(office) = &mut state.replicas[a].office {
            office.checked = true;
        }
    }

    /// Without the lease a read is confirmed by one round, begun after the value was read. Only a read that
    /// already misses something is followed: it must not be confirmed.
    pub(crate) fn may_begin_round(&self, state: &State, a: Name) -> bool {
        let office = state.replicas[a].office.as_ref();
        self.bounds.rounds
            && office.is_some_and(|office| {
                office.round.is_none() && self.answers_reads(office) && self.lacks_committed(state, office)
            })
    }

    pub(crate) fn begin_round(&self, state: &mut State, a: Name) {
        if let Some(office) = &mut state.replicas[a].office {
            office.round = Some(Names::default());
        }
    }

    /// A backup confirms that it follows this primary and has promised nothing higher, now and not earlier.
    pub(crate) fn may_confirm(&self, state: &State, b: Name, a: Name) -> bool {
        let Some(office) = &state.replicas[a].office else { return false };
        let replica = &state.replicas[b];
        let asked = office.round.is_some_and(|confirmed| !confirmed.contains(b));
        let counts =
            self.possible(office).iter().any(|possible| possible.isr[b] == Some(replica.incarnation));
        asked && counts && replica.follows == office.epoch
    }

    pub(crate) fn confirm(&self, state: &mut State, b: Name, a: Name) {
        if let Some(round) = state.replicas[a].office.as_mut().and_then(|office| office.round.as_mut()) {
            round.insert(b);
        }
    }

    /// Whether a round that was begun is confirmed by w members, the primary included, of every configuration
    /// that the register may hold.
    pub(crate) fn round_confirmed(&self, office: &Office) -> bool {
        let Some(round) = office.round else { return false };
        let old_acks = self.is(Variant::OldAcksConfirm);
        let acked = |name: Name| {
            old_acks && office.acked[name].iter().any(|index: &Index| *index >= office.committed)
        };
        self.possible(office).iter().all(|possible| {
            let confirmed =
                possible.members().filter(|(name, _)| round.contains(*name) || acked(*name)).count();
            confirmed + usize::from(!old_acks) >= possible.holders_needed()
        })
    }
}
