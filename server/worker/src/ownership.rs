//! What this worker may serve: one immutable view of the slot table from where its shard stands (protocol.md rules 14
//! and 15). Requests read it; one task replaces it whole.

use std::{collections::BTreeSet, sync::Arc};

use slotkv_proto::{Code, SlotTable, table::ShardId, v1};

/// The slot table as one shard's primary sees it.
#[derive(Clone, Debug)]
pub struct Ownership {
    table: Arc<SlotTable>,
    shard: ShardId,
    epoch: u64,
    mine: Vec<bool>,
}

impl Ownership {
    /// The view of `shard`, led in `epoch`; 0 while it is not led by this process.
    pub fn new(table: Arc<SlotTable>, shard: ShardId, epoch: u64) -> Self {
        let mine = (0..table.slots().get()).map(|slot| table.owner(slot) == Some(shard)).collect();
        Self { table, shard, epoch, mine }
    }

    /// The same view of a shard that is led in another epoch.
    pub fn with_epoch(&self, epoch: u64) -> Self {
        Self { epoch, ..self.clone() }
    }

    /// The slot table.
    pub fn table(&self) -> &SlotTable {
        &self.table
    }

    /// The epoch in which this process leads the shard.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the shard owns the slot.
    pub fn owns(&self, slot: u16) -> bool {
        self.mine.get(usize::from(slot)).copied().unwrap_or(false)
    }

    /// The slots that the shard owns, ascending.
    pub fn slots(&self) -> impl Iterator<Item = u16> + '_ {
        self.mine.iter().enumerate().filter(|(_, mine)| **mine).map(|(slot, _)| slot as u16)
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

    /// Refuses a slot of another shard. The caller has made sure that this view is not behind the request.
    pub fn check_slot(&self, slot: u16) -> Result<(), (Code, String)> {
        if self.owns(slot) {
            return Ok(());
        }
        match self.table.owner(slot) {
            Some(owner) => Err((
                Code::Moved,
                format!("slot {slot} belongs to shard {owner} in version {}", self.table.version()),
            )),
            None => Err((Code::Retry, format!("slot {slot} has not been allocated yet"))),
        }
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
            .collect();
        Some(self.table.delta_since(version, |shard| if owners.contains(&shard) { 0 } else { u64::MAX }))
    }
}

#[cfg(test)]
mod tests {
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
        Ownership::new(Arc::new(table), 0, 4)
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
}
