//! What this worker may serve: one immutable view of the slot table and of what the shard's log says of hand-overs, from where
//! its shard stands (protocol.md rules 14 to 16). Requests read it; it is replaced whole.
//!
//! A slot is served if the table says that the shard owns it *in the tenure* which the log has. So a table that is old, a log
//! that lacks a hand-over, and a seal are each enough to refuse.

use std::{collections::BTreeSet, sync::Arc};

use slotkv_migration::{Bug, Id, Ledger, Mark, Owner, Table, bug};
use slotkv_proto::{Code, SlotTable, limits::SHARDS_MAX, table::ShardId, v1};

/// How a shard stands to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It serves it.
    Serves,
    /// It has sealed it, and somebody is about to decide who serves it.
    Sealed,
    /// It has nothing to say of it.
    Away,
}

/// The slot table as one shard's primary sees it.
#[derive(Clone, Debug)]
pub struct Ownership {
    table: Arc<SlotTable>,
    slots: Arc<Table>,
    /// `None`: what the log says is not known at the moment, and nothing is served.
    ledger: Option<Arc<Ledger>>,
    shard: ShardId,
    epoch: u64,
    stands: Arc<[Stands]>,
    has_sealed: bool,
    number: u64,
}

impl Ownership {
    /// The view of `shard`, led in `epoch`; 0 while it is not led by this process. `table` has the way to the shards, `slots` and
    /// `ledger` decide.
    pub fn new(
        table: Arc<SlotTable>,
        slots: Arc<Table>,
        ledger: Option<Arc<Ledger>>,
        shard: ShardId,
        epoch: u64,
    ) -> Self {
        let count = usize::from(table.slots().get());
        let stands: Arc<[Stands]> = match &ledger {
            Some(ledger) => stands(count, &slots, ledger, shard).into(),
            None => vec![Stands::Away; count].into(),
        };
        let has_sealed = stands.contains(&Stands::Sealed);
        Self { table, slots, ledger, shard, epoch, stands, has_sealed, number: 0 }
    }

    /// The same view of a shard that is led in another epoch.
    pub fn with_epoch(&self, epoch: u64) -> Self {
        Self { epoch, ..self.clone() }
    }

    /// The same shard by another table. Neither way goes back.
    pub fn with_table(&self, table: Arc<SlotTable>, slots: Arc<Table>) -> Self {
        if slots.version <= self.slots.version {
            return Self { table, ..self.clone() };
        }
        Self::new(table, slots, self.ledger.clone(), self.shard, self.epoch)
    }

    /// The same table by another log.
    pub fn with_ledger(&self, ledger: Option<Arc<Ledger>>) -> Self {
        Self::new(self.table.clone(), self.slots.clone(), ledger, self.shard, self.epoch)
    }

    /// The same, as the view of this number.
    pub fn numbered(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// Tells views apart: a later one has a greater number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The slot table.
    pub fn table(&self) -> &SlotTable {
        &self.table
    }

    /// The same, to be kept.
    pub fn shared_table(&self) -> Arc<SlotTable> {
        self.table.clone()
    }

    /// The same with tenures and hand-overs; it may be newer.
    pub fn slots_table(&self) -> &Arc<Table> {
        &self.slots
    }

    /// The epoch in which this process leads the shard.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How the shard stands to the slot.
    pub fn stands(&self, slot: u16) -> Stands {
        self.stands.get(usize::from(slot)).copied().unwrap_or(Stands::Away)
    }

    /// Whether the shard serves the slot.
    pub fn owns(&self, slot: u16) -> bool {
        self.stands(slot) == Stands::Serves
    }

    /// Whether requests for a slot are better kept waiting than refused.
    pub fn is_sealed(&self, slot: u16) -> bool {
        self.has_sealed && self.epoch > 0 && self.stands(slot) == Stands::Sealed
    }

    /// Whether some slot is sealed.
    pub fn has_sealed(&self) -> bool {
        self.has_sealed
    }

    /// The slots that the shard serves, ascending.
    pub fn slots(&self) -> impl Iterator<Item = u16> + '_ {
        let serves = |(_, stands): &(usize, &Stands)| **stands == Stands::Serves;
        self.stands.iter().enumerate().filter(serves).map(|(slot, _)| slot as u16)
    }

    /// Whether what was read of a slot while `before` held is what is served now: the slot may have gone and come back meanwhile.
    pub fn still_serves(&self, before: &Ownership, slot: u16) -> bool {
        self.owns(slot) && before.owns(slot) && self.owner(slot) == before.owner(slot)
    }

    fn owner(&self, slot: u16) -> Option<Owner> {
        self.slots.owner(slot).filter(|owner| (owner.shard as usize) < SHARDS_MAX)
    }

    /// Whether this worker is behind a client that knows `version`, and has to catch up before it answers.
    pub fn is_behind(&self, version: u64) -> bool {
        version > self.table.version()
    }

    /// Refuses a frame whose sender takes the shard for one of another epoch; 0 is a sender that does not know.
    pub fn check_epoch(&self, epoch: u64) -> Result<(), (Code, String)> {
        match epoch {
            0 => Ok(()),
            _ if epoch == self.epoch => Ok(()),
            _ if epoch < self.epoch => Err((
                Code::NotPrimary,
                format!("shard {} is in epoch {}, the request in {epoch}", self.shard, self.epoch),
            )),
            _ => Err((
                Code::Retry,
                format!("shard {} is in epoch {} here, the request in {epoch}", self.shard, self.epoch),
            )),
        }
    }

    /// Refuses a slot that is not served here. The caller has made sure that this view is not behind the request.
    pub fn check_slot(&self, slot: u16) -> Result<(), (Code, String)> {
        if self.owns(slot) {
            return Ok(());
        }
        match self.owner(slot) {
            Some(owner) if owner.shard == self.shard => {
                Err((Code::Retry, format!("slot {slot} is on its way to or from shard {}", self.shard)))
            }
            Some(owner) => Err((
                Code::Moved,
                format!("slot {slot} belongs to shard {} in version {}", owner.shard, self.slots.version),
            )),
            None => Err((Code::Retry, format!("slot {slot} has not been allocated yet"))),
        }
    }

    /// Shards that slots of this one are on their way to.
    fn heirs(&self) -> impl Iterator<Item = ShardId> + '_ {
        let open = self.slots.migrations.iter();
        open.filter(|migration| migration.source == self.shard).map(|migration| migration.target)
    }

    /// What a client at `version` that takes the shard for one of `epoch` lacks; `None` if nothing.
    pub fn correction(&self, version: u64, epoch: u64) -> Option<v1::TableDelta> {
        let known = self.table.route(self.shard).map_or(0, |route| route.epoch);
        let stale_epoch = epoch < self.epoch.max(known);
        if version >= self.table.version() && !stale_epoch {
            return None;
        }
        let owners: BTreeSet<ShardId> = self
            .table
            .delta_since(version, |_| u64::MAX)
            .ranges
            .iter()
            .map(|range| range.shard)
            .chain([self.shard])
            // Who is about to get slots of this shard: the client connects before it is needed.
            .chain(self.heirs())
            .collect();
        Some(self.table.delta_since(version, |shard| if owners.contains(&shard) { 0 } else { u64::MAX }))
    }
}

/// What [`Ledger::serves`] says of each slot, without a look at each.
fn stands(count: usize, slots: &Table, ledger: &Ledger, me: ShardId) -> Vec<Stands> {
    let is_known = slots.version >= ledger.version();
    let planted = bug::planted();
    let of = |owner: &Owner, mark: Mark| match mark {
        _ if planted == Some(Bug::ServesByTable) && owner.shard == me => Stands::Serves,
        Mark::Staging(id) if planted == Some(Bug::ServesStaged) && slots.in_flight(id).is_some() => {
            Stands::Serves
        }
        _ if owner.shard != me => Stands::Away,
        Mark::Sealed { .. } => Stands::Sealed,
        Mark::Held(tenure) if is_known && tenure == owner.tenure => Stands::Serves,
        _ => Stands::Away,
    };
    let owners = slots.owners.iter().take(count);
    let mut stands: Vec<Stands> = owners.map(|owner| of(owner, Mark::Held(Id(0)))).collect();
    stands.resize(count, Stands::Away);
    for (slot, mark) in ledger.marks() {
        if let (Some(stands), Some(owner)) = (stands.get_mut(usize::from(slot)), slots.owner(slot)) {
            *stands = of(&owner, mark);
        }
    }
    stands
}

/// A table of slots that were never handed over, of one that says nothing of hand-overs: for tests.
pub fn without_hand_overs(table: &SlotTable) -> Table {
    let nobody = Owner { shard: ShardId::MAX, tenure: Id(0) };
    let owner = |slot| table.owner(slot).map_or(nobody, |shard| Owner { shard, tenure: Id(0) });
    Table {
        version: table.version(),
        owners: (0..table.slots().get()).map(owner).collect(),
        migrations: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use slotkv_migration::{Cursor, Migration, Place, Position, Record, Stream};
    use slotkv_proto::{
        SlotCount,
        table::{Member, Route},
    };

    use super::*;

    fn view() -> Ownership {
        let mut table = SlotTable::new("c", SlotCount::new(16).unwrap());
        table.set_owners(1, &[(0, 7, 0), (8, 14, 1)]).unwrap();
        table.set_owners(2, &[(0, 6, 0), (7, 14, 1)]).unwrap();
        for shard in 0..3 {
            let primary = Member {
                name: format!("w{shard}"),
                run: "r".into(),
                address: format!("127.0.0.1:{}", 7710 + shard),
            };
            table.set_route(Route { shard, epoch: 4, revision: 9, primary: Some(primary), backups: vec![] });
        }
        let slots = Arc::new(without_hand_overs(&table));
        Ownership::new(Arc::new(table), slots, Some(Arc::default()), 0, 4)
    }

    fn log(records: &[Record]) -> Arc<Ledger> {
        let mut ledger = Ledger::default();
        for (index, record) in (1..).zip(records) {
            ledger.apply(Position { epoch: 1, index }, record, None);
        }
        Arc::new(ledger)
    }

    #[test]
    fn a_slot_is_served_by_table_and_log_together_just_as_the_ledger_says() {
        let place = Place {
            stream: Stream { epoch: 1, number: 1 },
            cursor: Cursor::End,
            at: Position { epoch: 1, index: 9 },
        };
        let (id, other) = (Id(2), Id(1));
        let stage = |id, slots| Record::Stage { id, version: 2, slots, to: place.clone(), bytes: "".into() };
        let imported = |id| Record::Imported { id, version: 2, sealed_at: place.at, levels: "".into() };
        let ledgers = [
            log(&[]),
            log(&[Record::Seal { id, version: 2, slots: vec![1, 2] }]),
            log(&[stage(id, vec![3]), imported(id)]),
            log(&[stage(other, vec![4]), imported(other), stage(id, vec![3])]),
            log(&[Record::Seal { id: Id(3), version: 3, slots: vec![1] }]),
        ];
        let before = view();
        let mut slots = Table::clone(before.slots_table());
        for slot in [3, 4] {
            slots.owners[slot].tenure = Id(2);
        }
        slots.version = 2;
        for ledger in ledgers {
            let view = Ownership::new(
                Arc::new(SlotTable::clone(before.table())),
                Arc::new(slots.clone()),
                Some(ledger.clone()),
                0,
                4,
            );
            for slot in 0..16 {
                assert_eq!(view.owns(slot), ledger.serves(slot, &slots, 0, None), "{slot} {ledger:?}");
            }
        }
    }

    #[test]
    fn a_sealed_slot_is_worth_waiting_for_until_the_table_gives_it_away() {
        let sealed = view().with_ledger(Some(log(&[Record::Seal { id: Id(2), version: 2, slots: vec![1] }])));
        assert!(sealed.is_sealed(1) && !sealed.is_sealed(2) && !sealed.with_epoch(0).is_sealed(1));
        assert_eq!(sealed.check_slot(1).unwrap_err().0, Code::Retry);
        let mut slots = Table::clone(sealed.slots_table());
        (slots.version, slots.owners[1]) = (3, Owner { shard: 1, tenure: Id(2) });
        let moved = sealed.with_table(Arc::new(SlotTable::clone(sealed.table())), Arc::new(slots));
        assert!(!moved.is_sealed(1) && moved.owns(2));
        assert_eq!(moved.check_slot(1).unwrap_err().0, Code::Moved);
    }

    #[test]
    fn what_was_read_before_a_slot_went_and_came_back_does_not_count() {
        let before = view();
        let mut slots = Table::clone(before.slots_table());
        (slots.version, slots.owners[1].tenure) = (9, Id(9));
        let back = log(&[
            Record::Seal { id: Id(5), version: 5, slots: vec![1] },
            Record::Clean { id: Id(5), version: 6, slots: vec![1], upto: "".into(), is_last: true },
            Record::Stage {
                id: Id(9),
                version: 8,
                slots: vec![1],
                to: Place {
                    stream: Stream { epoch: 1, number: 1 },
                    cursor: Cursor::End,
                    at: Position { epoch: 1, index: 9 },
                },
                bytes: "".into(),
            },
            Record::Imported {
                id: Id(9),
                version: 8,
                sealed_at: Position { epoch: 1, index: 9 },
                levels: "".into(),
            },
        ]);
        let after = before
            .with_ledger(Some(back))
            .with_table(Arc::new(SlotTable::clone(before.table())), Arc::new(slots));
        assert!(after.owns(1) && !after.still_serves(&before, 1) && after.still_serves(&before, 2));
    }

    #[test]
    fn nothing_is_served_while_nobody_knows_what_the_log_says() {
        let unknown = view().with_ledger(None);
        assert_eq!(unknown.slots().count(), 0);
        assert_eq!(unknown.with_ledger(Some(Arc::default())).slots().count(), 7);
    }

    #[test]
    fn own_slots_are_served_and_others_name_their_owner() {
        let view = view();
        assert_eq!(view.check_slot(6), Ok(()));
        assert_eq!(view.check_slot(7).unwrap_err().0, Code::Moved);
        assert_eq!(view.check_slot(15).unwrap_err().0, Code::Retry);
        assert_eq!(view.slots().count(), 7);
    }

    #[test]
    fn an_older_epoch_is_refused_and_a_newer_one_asks_for_patience() {
        let view = view();
        assert_eq!(view.check_epoch(0), Ok(()));
        assert_eq!(view.check_epoch(4), Ok(()));
        assert_eq!(view.check_epoch(3).unwrap_err().0, Code::NotPrimary);
        assert_eq!(view.check_epoch(5).unwrap_err().0, Code::Retry);
    }

    #[test]
    fn a_correction_holds_what_changed_and_the_routes_it_needs() {
        let view = view();
        assert_eq!(view.correction(2, 4), None);
        let delta = view.correction(1, 4).unwrap();
        assert_eq!(delta.ranges, vec![v1::SlotRange { first: 7, last: 7, shard: 1 }]);
        assert_eq!(delta.routes.iter().map(|route| route.shard).collect::<Vec<_>>(), vec![0, 1]);
        let delta = view.correction(2, 3).unwrap();
        assert!(delta.ranges.is_empty());
        assert_eq!(delta.routes.len(), 1);
    }

    #[test]
    fn a_correction_has_the_way_to_whoever_is_about_to_get_slots_of_the_shard() {
        let before = view();
        let (mut table, mut slots) = (SlotTable::clone(before.table()), Table::clone(before.slots_table()));
        let open = |id, slot, source, target| Migration {
            id: Id(id),
            slots: vec![slot],
            source,
            target,
            outcome: None,
        };
        table.set_owners(3, &[(0, 6, 0), (7, 14, 1)]).unwrap();
        slots.version = 3;
        let routes = |migrations| {
            let slots = Table { migrations, ..slots.clone() };
            let delta = before.with_table(Arc::new(table.clone()), Arc::new(slots)).correction(2, 4).unwrap();
            assert!(delta.ranges.is_empty());
            delta.routes.iter().map(|route| route.shard).collect::<Vec<_>>()
        };
        assert_eq!(routes(vec![]), [0]);
        assert_eq!(routes(vec![open(3, 1, 0, 2)]), [0, 2]);
        assert_eq!(routes(vec![open(3, 7, 1, 2)]), [0], "what others give away is told by them");
    }
}
