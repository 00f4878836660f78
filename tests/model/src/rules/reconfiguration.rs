//! Rule 4: how the primary changes isr and ack, and what it knows of the outcome.

use crate::configuration::Configuration;
use crate::replica::{Name, Names};
use crate::shard::Shard;
use crate::state::{Change, Office, Request, State};
use crate::variant::Variant;

impl Shard {
    /// One at a time; and a primary that has begun a fail-back changes nothing more.
    fn may_propose(
        &self,
        state: &State,
        a: Name,
        change: impl FnOnce(&Office) -> Option<Configuration>,
    ) -> bool {
        let office = state.replicas[a].office.as_ref();
        state.left.changes > 0
            && office.is_some_and(|office| {
                let free = office.pending.is_none() && !office.stopped;
                free && change(office).is_some_and(|wanted| self.is_ready(office, &wanted))
            })
    }

    /// Before the compare-and-set the new configuration's own w members hold all that may be committed: up to
    /// the commit index, or up to the BARRIER while that is not committed (the commit index says nothing yet
    /// about earlier epochs, the BARRIER comes after all of them).
    fn is_ready(&self, office: &Office, wanted: &Configuration) -> bool {
        let needed = match self.variant {
            Some(Variant::UnguardedChange) => return true,
            Some(Variant::GuardWithoutBarrier) => office.committed,
            _ => office.committed.max(office.barrier),
        };
        self.is_held(office, wanted, needed)
    }

    fn propose(&self, state: &mut State, a: Name, change: impl FnOnce(&Office) -> Configuration) {
        let Some(office) = &mut state.replicas[a].office else { return };
        let wanted = change(office);
        office.pending = Some(wanted);
        let request = Request { sender: a, expected: office.version, change: Change::Configuration(wanted) };
        state.left.changes -= 1;
        state.send(request);
    }

    /// The primary never removes itself. Several can be removed by one change, and must: with `ack=all` and
    /// two of three gone, none of them can be removed alone, since the other would have to hold the BARRIER
    /// first.
    pub(crate) fn may_remove(&self, state: &State, a: Name, gone: Names) -> bool {
        self.may_propose(state, a, |office| {
            if self.is(Variant::RemovesOneByOne) && gone.len() > 1 {
                return None;
            }
            let members = gone.iter().all(|name| name != a && office.configuration.names(name));
            members.then(|| office.configuration.without(gone))
        })
    }

    pub(crate) fn remove(&self, state: &mut State, a: Name, gone: Names) {
        self.propose(state, a, |office| office.configuration.without(gone));
    }

    /// Rule 7: the BARRIER is committed before the ISR grows.
    pub(crate) fn may_add(&self, state: &State, a: Name, b: Name) -> bool {
        let incarnation = state.replicas[b].incarnation;
        self.may_propose(state, a, |office| {
            let settled = office.is_settled() || self.is(Variant::GrowsBeforeBarrier);
            let wanted = settled && !office.configuration.names(b);
            wanted.then(|| office.configuration.with(b, incarnation))
        })
    }

    /// A member is added by the data it has now. Whatever it held before it was wiped is not meant.
    pub(crate) fn add(&self, state: &mut State, a: Name, b: Name) {
        let incarnation = state.replicas[b].incarnation;
        self.propose(state, a, |office| office.configuration.with(b, incarnation));
    }

    pub(crate) fn may_change_ack(&self, state: &State, a: Name) -> bool {
        self.bounds.ack_changes
            && self.may_propose(state, a, |office| Some(office.configuration.with_other_ack()))
    }

    pub(crate) fn change_ack(&self, state: &mut State, a: Name) {
        self.propose(state, a, |office| office.configuration.with_other_ack());
    }

    /// A compare-and-set on its way succeeds at any time while the version is the one it expects, even after
    /// its sender is gone. With any other version it fails, which changes nothing ([`State::tidy`] drops it).
    pub(crate) fn may_arrive(&self, state: &State, place: u8) -> bool {
        match &state.requests[usize::from(place)] {
            Some(Request { change: Change::Resign(..), .. }) => state.register.epoch < self.bounds.epochs,
            Some(_) => true,
            None => false,
        }
    }

    /// Rule 1: a new primary is a new epoch, whoever it is; another configuration is not.
    pub(crate) fn arrive(&self, state: &mut State, place: u8) {
        let Some(request) = state.requests[usize::from(place)].take() else { return };
        state.register.version += 1;
        match request.change {
            Change::Configuration(configuration) => state.register.configuration = configuration,
            Change::Resign(heir, run) => self.name_primary(state, heir, run),
        }
    }

    /// A read that shows the version the primary knows proves nothing: its compare-and-set may still arrive.
    /// So it repeats the same one, with the same expected version, which is one request here.
    pub(crate) fn may_reread(&self, state: &State, a: Name) -> bool {
        state.replicas[a].office.as_ref().is_some_and(|office| {
            let newer = office.version != state.register.version;
            newer || self.is(Variant::RereadProves) && office.pending.is_some()
        })
    }

    /// A newer version ends the doubt, for a compare-and-set that expects the old one can succeed no more; it
    /// shows whether this one did. An answer to the compare-and-set says the same and is no step of its own:
    /// it is a read of the register right after the arrival. Rule 1: if only other fields changed, the
    /// primary stays, and repeats what was lost on the new version.
    pub(crate) fn reread(&self, state: &mut State, a: Name) {
        let register = &state.register;
        let replica = &mut state.replicas[a];
        let Some(office) = &mut replica.office else { return };
        if register.epoch != office.epoch {
            replica.office = None;
            return;
        }
        office.pending = None;
        office.version = register.version;
        office.configuration = register.configuration;
    }

    /// An operator's edit moves the version and nothing that is modelled.
    pub(crate) fn may_edit(&self, state: &State) -> bool {
        state.left.edits > 0
    }

    pub(crate) fn edit(&self, state: &mut State) {
        state.left.edits -= 1;
        state.register.version += 1;
    }
}
