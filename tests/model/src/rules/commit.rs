//! Rules 3, 7, 10: when a record is committed, and when its write is acknowledged.

use crate::configuration::{Ack, Configuration};
use crate::log::Index;
use crate::replica::{Incarnation, Name, all_names};
use crate::shard::Shard;
use crate::state::{Office, State, Wrong};
use crate::variant::Variant;

impl Shard {
    /// Rule 3: every configuration that the register may hold now: the one it held, and one whose
    /// compare-and-set was sent and has no known outcome. Either may be what the next election counts in.
    pub(crate) fn possible(&self, office: &Office) -> [Configuration; 2] {
        let held = office.configuration;
        let Some(pending) = office.pending else { return [held; 2] };
        if self.is(Variant::Union) {
            return [union(&held, &pending); 2];
        }
        if self.is(Variant::LeavesEarly) {
            return [pending; 2];
        }
        [held, pending]
    }

    /// Whether w members of a configuration hold everything up to `index`, by what they acked in this epoch
    /// from the data that counts.
    pub(crate) fn is_held(&self, office: &Office, configuration: &Configuration, index: Index) -> bool {
        let place =
            |incarnation: Incarnation| if self.is(Variant::BareNames) { 0 } else { incarnation as usize };
        let holds =
            |(name, incarnation): &(Name, Incarnation)| office.acked[*name][place(*incarnation)] >= index;
        configuration.members().filter(holds).count() >= configuration.holders_needed()
    }

    /// The highest index that the acks commit now.
    fn commit_index(&self, state: &State, office: &Office) -> Index {
        let Some(stream) = state.stream(office.epoch) else { return office.committed };
        // Rule 3: only a record of the own epoch is counted. An older one that w members hold can still lose
        // an election to a record of a later epoch that fewer hold (Raft's figure 8).
        let counts =
            |index: &Index| self.is(Variant::OlderByCount) || stream.log.at(*index).epoch == office.epoch;
        let held = |index: &Index| {
            self.possible(office).iter().all(|possible| self.is_held(office, possible, *index))
        };
        (office.committed + 1..=stream.log.len())
            .rev()
            .find(|index| counts(index) && held(index))
            .unwrap_or(office.committed)
    }

    pub(crate) fn may_commit(&self, state: &State, a: Name) -> bool {
        let office = state.replicas[a].office.as_ref();
        office.is_some_and(|office| self.commit_index(state, office) > office.committed)
    }

    /// Rule 7: the first commit is the BARRIER's (or a later record's), and with it go the records of earlier
    /// epochs. From then on a write that commits is acknowledged, if rule 10 lets it.
    pub(crate) fn commit(&self, state: &mut State, a: Name) {
        let Some(mut office) = state.replicas[a].office.clone() else { return };
        let Some(sent) = state.stream(office.epoch).map(|stream| stream.log) else { return };
        let before = office.committed;
        office.committed = self.commit_index(state, &office);
        let log = sent.cut_to(office.committed);
        let shared = log.shared_with(state.committed);
        if shared < log.len().min(state.committed.len()) {
            state.note(Wrong::CommitsDiffer);
        }
        if log.up_to_last_write().len() > state.committed.len() {
            state.committed = log.up_to_last_write();
        }
        let own = (before + 1..=log.len()).filter(|index| log.at(*index).epoch == office.epoch);
        let writes = own.filter(|index| log.at(*index).write.is_some()).count();
        if writes > 0 && self.acknowledges(&office) && self.register_is_thin(state, &office) {
            state.note(Wrong::ThinAck);
        }
        let synced = state.replicas[a].log.len();
        state.replicas[a].known = office.committed.min(synced);
        state.replicas[a].office = Some(office);
        all_names().for_each(|name| self.learn_committed(state, name));
    }

    /// Rule 10: if the ISR fell below `min_isr` after the append, the write's outcome is *unknown*.
    fn acknowledges(&self, office: &Office) -> bool {
        self.is(Variant::IgnoresMinIsr) || self.has_min_isr(office)
    }

    /// Whether every ISR that the register may hold has `min_isr` members.
    pub(crate) fn has_min_isr(&self, office: &Office) -> bool {
        self.possible(office).iter().all(|possible| possible.size() >= usize::from(self.bounds.min_isr))
    }

    /// What a user means by `min_isr`: while this primary reigns, the register's ISR at the moment of the
    /// acknowledgement.
    fn register_is_thin(&self, state: &State, office: &Office) -> bool {
        let reigns = state.register.epoch == office.epoch;
        reigns && state.register.configuration.size() < usize::from(self.bounds.min_isr)
    }
}

/// What a variant takes for the two configurations.
fn union(one: &Configuration, other: &Configuration) -> Configuration {
    let mut union = *one;
    for name in all_names() {
        union.isr[name] = one.isr[name].or(other.isr[name]);
    }
    if other.ack == Ack::All {
        union.ack = Ack::All;
    }
    union
}
