//! Lost: slots that the table gives to a shard whose log has nothing of that tenure. After an operator has had a shard go on with
//! data that missed IMPORTED, nobody else has them: the hand-over is closed, so its source has deleted what it had. Such a
//! shard takes them as they are left, empty, and says so; else nobody would ever serve them.
//!
//! What is older here is deleted first, and only then the slots are staged and imported, both out of nothing, by the records of
//! any hand-over. IMPORTED names no SEAL, so every replica's ledger has them as lost. Each record carries the version of the plan:
//! it is decided, so a primary that finds one of them alone goes on by deleting, and begins again. While the hand-over is in the
//! table its source may have everything, and nothing is done.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    Slot,
    ledger::Mark,
    party::Party,
    place::{Cursor, Id, Place, Position, Stream},
    ready::Regain,
    record::Record,
};

/// What a primary knows of slots that are lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost {
    /// Of which table and record the rest is.
    looked: (u64, u64),
    found: BTreeMap<Id, Vec<Slot>>,
    /// The host is asked for these.
    regaining: BTreeMap<Id, Vec<Slot>>,
    /// Their STAGE is asked to be appended; what the IMPORTED behind it says.
    importing: BTreeMap<Id, Bytes>,
}

impl Party {
    /// Goes on with what is lost.
    pub(crate) fn regain(&mut self) {
        // A shard that never lost anything has no such slots, or there is a mistake that must not cost data. And before what is
        // logged behind the loss is committed, numbers are those that somebody may have been told for others.
        if self.loss_index.is_none_or(|index| self.commit < index) {
            return;
        }
        let look = (self.table.version, self.appended.last_index());
        if self.lost.looked != look {
            self.lost.looked = look;
            self.lost.found = self.find_lost();
        }
        for (id, slots) in self.lost.found.clone() {
            self.regain_tenure(id, slots);
        }
    }

    /// Whether slots are lost and not regained, or may be. Their hand-over is closed, so nothing in the table says that there is
    /// something to be done; the host tells what is committed until there is not.
    pub fn may_have_lost(&self) -> bool {
        self.loss_index.is_some_and(|index| self.commit < index) || !self.lost.found.is_empty()
    }

    fn find_lost(&self) -> BTreeMap<Id, Vec<Slot>> {
        let mut found: BTreeMap<Id, Vec<Slot>> = BTreeMap::new();
        if self.table.version < self.appended.version() {
            return found;
        }
        for (slot, owner) in (0..).zip(&self.table.owners) {
            let has = match self.appended.mark(slot) {
                Mark::Held(tenure) | Mark::Sealed { tenure, .. } => tenure == owner.tenure,
                Mark::Staging(_) | Mark::Cleaning(_) | Mark::Gone(_) => false,
            };
            if owner.shard == self.me && owner.tenure > Id(0) && !has && self.table.open(slot).is_none() {
                found.entry(owner.tenure).or_default().push(slot);
            }
        }
        found
    }

    fn regain_tenure(&mut self, id: Id, slots: Vec<Slot>) {
        if self.is_at_work(id) || self.lost.regaining.contains_key(&id) {
            return;
        }
        let is_older = |slot: &Slot| matches!(self.appended.mark(*slot), Mark::Held(_));
        let older: Vec<Slot> = slots.iter().copied().filter(is_older).collect();
        if !older.is_empty() {
            // Of another tenure: it is deleted as whatever was given away is.
            return self.append(Record::Seal { id, version: id.0, slots: older });
        }
        if self.are_gone(&slots) {
            self.lost.regaining.insert(id, slots.clone());
            self.ready.regains.push(Regain { id, slots });
        }
    }

    /// A [`Regain`] is answered.
    pub fn regained(&mut self, now_us: u64, id: Id, bytes: Bytes, levels: Bytes) {
        self.input(now_us, |party| {
            let Some(slots) = party.lost.regaining.remove(&id) else { return };
            let is_same = party.lost.found.get(&id) == Some(&slots);
            if !is_same || party.is_at_work(id) || !party.are_gone(&slots) {
                return;
            }
            party.stream_count += 1;
            let stream = Stream { epoch: party.epoch, number: party.stream_count };
            let at = Position { epoch: party.epoch, index: party.commit };
            let to = Place { stream, cursor: Cursor::End, at };
            party.lost.importing.insert(id, levels);
            party.append(Record::Stage { id, version: id.0, slots, to, bytes });
        });
    }

    /// A STAGE is logged: if it was one out of nothing, the IMPORTED follows before anything else is concluded from it.
    pub(crate) fn import_regained(&mut self, id: Id) {
        if let Some(levels) = self.lost.importing.remove(&id) {
            self.append(Record::Imported { id, version: id.0, sealed_at: Position::NONE, levels });
        }
    }

    /// It is not.
    pub(crate) fn drop_regained(&mut self, id: Id) {
        self.lost.importing.remove(&id);
    }

    fn is_at_work(&self, id: Id) -> bool {
        self.asked.contains(&id) || self.appended.work().contains_key(&id) || self.is_in_tail(id)
    }

    fn are_gone(&self, slots: &[Slot]) -> bool {
        slots.iter().all(|slot| matches!(self.appended.mark(*slot), Mark::Gone(_)))
    }
}
