//! Ledger: what a shard's log says about its hand-overs. Every replica folds the same records to the same ledger, keeps it
//! with what it has applied, and sends it along in its snapshots. A primary has a second one, with the records that are not
//! committed.
//!
//! A slot's mark says what the shard may do with it, and the table says whether it owns it: it serves a slot only if both
//! agree, on the *tenure* too. So an old table, a log that lacks the hand-over, and a seal each are enough to refuse.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    Bug, ShardId, Slot,
    place::{Cursor, Id, Place, Position},
    record::Record,
    table::Table,
};

/// How a shard stands to a slot. One that no record names is [`Mark::Held`] of tenure 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// Has what there is of this tenure.
    Held(Id),
    /// Has sealed it.
    Sealed {
        /// For this hand-over.
        id: Id,
        /// In this tenure.
        tenure: Id,
    },
    /// Stages it for this hand-over.
    Staging(Id),
    /// Deletes what it has of it.
    Cleaning(Id),
    /// Has nothing of it any more.
    Gone(Id),
}

impl Mark {
    fn is_of(self, of: Id) -> bool {
        match self {
            Mark::Held(id) => id == of && of > Id(0),
            Mark::Sealed { id, .. } | Mark::Staging(id) | Mark::Cleaning(id) | Mark::Gone(id) => id == of,
        }
    }
}

/// A hand-over that has left something here to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Work {
    /// Its slots.
    pub slots: Vec<Slot>,
    /// The table by which the last record was logged.
    pub version: u64,
    /// How far it has come.
    pub state: State,
}

/// How far a hand-over has come, here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Source: sealed by this record. The slots may be of different tenures.
    Sealed(Position),
    /// Target: this is held.
    Staging(Place),
    /// Target: everything is.
    Imported,
    /// Deleted up to here.
    Cleaning(Cursor),
}

/// What the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Shared by ledgers that have the same: most records change none.
    pub(crate) marks: Arc<BTreeMap<Slot, Mark>>,
    pub(crate) work: BTreeMap<Id, Work>,
    /// Slots that came here empty, see [`Ledger::lost`].
    pub(crate) lost: BTreeSet<Slot>,
    pub(crate) version: u64,
    pub(crate) last_index: u64,
}

impl Ledger {
    /// How the shard stands to a slot.
    pub fn mark(&self, slot: Slot) -> Mark {
        self.marks.get(&slot).copied().unwrap_or(Mark::Held(Id(0)))
    }

    /// How it stands to those that a record names, ascending.
    pub fn marks(&self) -> impl Iterator<Item = (Slot, Mark)> + '_ {
        self.marks.iter().map(|(slot, mark)| (*slot, *mark))
    }

    /// Hand-overs that have left something to be done.
    pub fn work(&self) -> &BTreeMap<Id, Work> {
        &self.work
    }

    /// Slots whose hand-over was lost, ascending: what was in them is gone, and they are served empty since. Until they go away.
    pub fn lost(&self) -> impl Iterator<Item = Slot> + '_ {
        self.lost.iter().copied()
    }

    /// No older table is taken.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The last record of any hand-over.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// Whether a shard serves a slot by this log and that table.
    pub fn serves(&self, slot: Slot, table: &Table, me: ShardId, bug: Option<Bug>) -> bool {
        let Some(owner) = table.owner(slot) else { return false };
        let mark = self.mark(slot);
        if bug == Some(Bug::ServesByTable) {
            return owner.shard == me;
        }
        if bug == Some(Bug::ServesStaged)
            && let Mark::Staging(id) = mark
        {
            return table.in_flight(id).is_some();
        }
        owner.shard == me && table.version >= self.version && mark == Mark::Held(owner.tenure)
    }

    /// Whether staging of a slot may begin: nothing is there, or it has begun for this very hand-over.
    pub fn may_stage(&self, slot: Slot, id: Id, bug: Option<Bug>) -> bool {
        match self.mark(slot) {
            Mark::Held(tenure) => tenure == Id(0),
            Mark::Gone(_) => true,
            Mark::Staging(of) => of == id,
            Mark::Sealed { .. } | Mark::Cleaning(_) => relies_on_leader(bug),
        }
    }

    /// Takes the next record. Returns the slots to which it applies; in those the host carries it out.
    pub fn apply(&mut self, at: Position, record: &Record, bug: Option<Bug>) -> Vec<Slot> {
        self.version = self.version.max(record.version());
        self.last_index = at.index;
        let (id, version) = (record.id(), record.version());
        match record {
            Record::Seal { slots, .. } => {
                let tenures: Vec<Id> = slots.iter().filter_map(|slot| self.held(*slot)).collect();
                if tenures.len() < slots.len() {
                    return Vec::new();
                }
                for (slot, tenure) in slots.iter().zip(tenures) {
                    self.set_mark(*slot, Some(Mark::Sealed { id, tenure }));
                }
                self.set(id, slots, version, State::Sealed(at));
                self.forget_tenures();
                slots.clone()
            }
            Record::Unseal { .. } => {
                let slots = self.slots_of(id, |mark| matches!(mark, Mark::Sealed { .. }));
                for slot in &slots {
                    if let Mark::Sealed { tenure, .. } = self.mark(*slot) {
                        self.set_mark(*slot, Some(Mark::Held(tenure)));
                    }
                }
                self.work.remove(&id);
                slots
            }
            Record::Stage { slots, to, .. } => {
                if !slots.iter().all(|slot| self.may_stage(*slot, id, bug)) {
                    return Vec::new();
                }
                slots.iter().for_each(|slot| self.set_mark(*slot, Some(Mark::Staging(id))));
                self.set(id, slots, version, State::Staging(to.clone()));
                slots.clone()
            }
            Record::Imported { sealed_at, .. } => {
                let slots = self.slots_of(id, |mark| matches!(mark, Mark::Staging(_)));
                slots.iter().for_each(|slot| self.set_mark(*slot, Some(Mark::Held(id))));
                if *sealed_at == Position::NONE {
                    self.lost.extend(&slots);
                }
                if let Some(work) = self.work.get_mut(&id) {
                    (work.version, work.state) = (version, State::Imported);
                }
                slots
            }
            Record::Clean { slots, upto, is_last, .. } => {
                let late = relies_on_leader(bug);
                let found = |slot: &&Slot| late || self.mark(**slot).is_of(id);
                let slots: Vec<Slot> = slots.iter().filter(found).copied().collect();
                let mark = match is_last {
                    // The mark stays: it is what refuses an old table.
                    true if bug != Some(Bug::CleanErasesSeal) => Some(Mark::Gone(id)),
                    true => None,
                    false => Some(Mark::Cleaning(id)),
                };
                slots.iter().for_each(|slot| self.set_mark(*slot, mark));
                if mark.is_none() {
                    self.version = 0;
                }
                if *is_last {
                    self.work.remove(&id);
                } else if let Some(work) = self.work.get_mut(&id) {
                    (work.version, work.state) = (version, State::Cleaning(Cursor::Behind(upto.clone())));
                }
                slots
            }
        }
    }

    fn set_mark(&mut self, slot: Slot, mark: Option<Mark>) {
        if self.marks.get(&slot).copied() == mark {
            return;
        }
        if !matches!(mark, Some(Mark::Held(_) | Mark::Sealed { .. })) {
            self.lost.remove(&slot);
        }
        let marks = Arc::make_mut(&mut self.marks);
        match mark {
            Some(mark) => marks.insert(slot, mark),
            None => marks.remove(&slot),
        };
    }

    /// Whether this has the same marks, as far as can be told at once.
    pub fn shares_marks(&self, other: &Ledger) -> bool {
        Arc::ptr_eq(&self.marks, &other.marks)
    }

    fn set(&mut self, id: Id, slots: &[Slot], version: u64, state: State) {
        self.work.insert(id, Work { slots: slots.to_vec(), version, state });
    }

    fn held(&self, slot: Slot) -> Option<Id> {
        match self.mark(slot) {
            Mark::Held(tenure) => Some(tenure),
            _ => None,
        }
    }

    fn slots_of(&self, id: Id, is: impl Fn(Mark) -> bool) -> Vec<Slot> {
        let slots = self.marks.iter().filter(|(_, mark)| mark.is_of(id) && is(**mark));
        slots.map(|(slot, _)| *slot).collect()
    }

    /// An import of which no slot is held any more leaves nothing to be done.
    fn forget_tenures(&mut self) {
        let marks = &self.marks;
        self.work.retain(|id, work| {
            work.state != State::Imported
                || work.slots.iter().any(|slot| marks.get(slot) == Some(&Mark::Held(*id)))
        });
    }

    /// What of a ledger is wrong in itself.
    pub fn violation(&self) -> Option<String> {
        for (slot, mark) in &*self.marks {
            let (id, is_known) = match *mark {
                Mark::Sealed { id, .. } => {
                    (id, matches!(self.work.get(&id), Some(Work { state: State::Sealed(_), .. })))
                }
                Mark::Staging(id) => {
                    (id, matches!(self.work.get(&id), Some(Work { state: State::Staging(_), .. })))
                }
                Mark::Cleaning(id) => {
                    (id, matches!(self.work.get(&id), Some(Work { state: State::Cleaning(_), .. })))
                }
                Mark::Held(id) | Mark::Gone(id) => (id, true),
            };
            if !is_known {
                return Some(format!("every mark has its work: slot {slot} is {mark:?} for {id}"));
            }
        }
        None
    }
}

/// A shard that leaves to the leader what its own marks are for.
fn relies_on_leader(bug: Option<Bug>) -> bool {
    matches!(bug, Some(Bug::CleansLate | Bug::PlansWhileOpen))
}
