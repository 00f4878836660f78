//! What requests read: the slot table with the connections to go to, immutable and replaced as a whole.

use std::sync::Arc;

use slotkv_proto::{
    SlotTable,
    table::{Member, ShardId},
};

use super::backups::Backup;
use crate::{connection::Lane, session::Heard};

/// Share of the client's room that calls to slots without an owner count to.
pub(crate) const GATE_NOBODY: u32 = 0;

const NOBODY: u32 = u32::MAX;

/// See the module.
pub(crate) struct Snapshot {
    pub table: SlotTable,
    /// By wall clock, for display.
    pub learned_ms: u64,
    /// By shard id.
    pub shards: Vec<Arc<Shard>>,
    /// Index into `shards` by slot.
    owners: Vec<u32>,
}

/// A shard as it is reached now.
pub(crate) struct Shard {
    pub id: ShardId,
    pub epoch: u64,
    /// Share of the client's room that its calls count to; the same for the life of the client.
    pub gate: u32,
    /// The newest that its members have told of.
    pub heard: Arc<Heard>,
    pub primary: Option<Primary>,
    pub backups: Vec<Arc<Backup>>,
}

/// Who answers for a shard.
pub(crate) struct Primary {
    pub member: Member,
    /// At least one.
    pub lanes: Vec<Arc<Lane>>,
}

impl Primary {
    /// The same slot always takes the same connection.
    pub fn lane(&self, slot: u16) -> &Arc<Lane> {
        &self.lanes[usize::from(slot) % self.lanes.len()]
    }
}

/// Why a call cannot be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unroutable {
    /// Nobody owns the slot.
    Unallocated(u16),
    /// The shard has no primary.
    NoPrimary(ShardId),
    /// The slots of the call have more than one owner.
    Split,
}

impl Snapshot {
    /// A snapshot of `table` with these shards, in the order of their ids.
    pub fn new(table: SlotTable, shards: Vec<Arc<Shard>>, learned_ms: u64) -> Self {
        let index = |shard| shards.binary_search_by_key(&shard, |shard: &Arc<Shard>| shard.id);
        let owners = (0..table.slots().get())
            .map(|slot| table.owner(slot).and_then(|shard| index(shard).ok()).map_or(NOBODY, |i| i as u32))
            .collect();
        Self { table, learned_ms, shards, owners }
    }

    /// The owner of a slot, if it has a register.
    pub fn shard(&self, slot: u16) -> Option<&Arc<Shard>> {
        let index = *self.owners.get(usize::from(slot))?;
        self.shards.get(index as usize)
    }

    /// The shard of an id.
    pub fn shard_by_id(&self, id: ShardId) -> Option<&Arc<Shard>> {
        self.shards.binary_search_by_key(&id, |shard| shard.id).ok().map(|index| &self.shards[index])
    }

    /// Share of the client's room that calls to a slot count to.
    pub fn gate(&self, slot: u16) -> u32 {
        self.shard(slot).map_or(GATE_NOBODY, |shard| shard.gate)
    }

    /// Where a call to these slots goes.
    pub fn route(&self, slots: (u16, u16)) -> Result<(&Shard, &Arc<Lane>), Unroutable> {
        let shard = self.owner(slots)?;
        let primary = shard.primary.as_ref().ok_or(Unroutable::NoPrimary(shard.id))?;
        Ok((shard, primary.lane(slots.0)))
    }

    /// The shard that owns all of these slots.
    pub fn owner(&self, (first, last): (u16, u16)) -> Result<&Shard, Unroutable> {
        let shard = self.shard(first).ok_or(Unroutable::Unallocated(first))?;
        if first != last && self.run_end(first) < last {
            return Err(Unroutable::Split);
        }
        Ok(shard)
    }

    /// The last slot of the run of slots from `first` on that have the same owner.
    pub fn run_end(&self, first: u16) -> u16 {
        let owner = self.owners.get(usize::from(first));
        let same = self.owners[usize::from(first)..].iter().take_while(|&other| Some(other) == owner).count();
        first + (same.max(1) as u16 - 1)
    }

    /// Every connection with its shard; those to backups only if they are used.
    pub fn lanes(&self) -> Vec<(&Arc<Shard>, Arc<Lane>)> {
        let lanes = self.shards.iter().flat_map(|shard| {
            let primary = shard.primary.iter().flat_map(|primary| primary.lanes.iter().cloned());
            let backups = shard.backups.iter().filter_map(|backup| backup.known());
            primary.chain(backups).map(move |lane| (shard, lane))
        });
        lanes.collect()
    }
}
