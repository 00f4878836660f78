//! The slot table as a value: the owner of every slot and the route of every shard.
//!
//! Invariants:
//! - `version` only grows; a slot that has an owner keeps having one.
//! - The owner of a slot did not change in any version after `changed_at[slot]`, which never exceeds `version`. Where
//!   versions were passed over unseen, a slot may have moved and come back: then every slot counts as changed.
//! - A route is replaced only by one of a higher `revision` and an epoch that is not lower.
//! - Deltas compose: applying the deltas of any split of a history, each at least once and in order, gives the table
//!   that the whole history gives.

use std::collections::{BTreeMap, BTreeSet};

use crate::{limits::SHARDS_MAX, slot::SlotCount, v1};

/// Identifies a shard.
pub type ShardId = u32;

/// Owner of a slot that has not been allocated.
pub const UNALLOCATED: ShardId = u32::MAX;

/// A reachable process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Stable name of the replica.
    pub name: String,
    /// Process incarnation, new at every start.
    pub run: String,
    /// `host:port`.
    pub address: String,
}

/// How to reach one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which shard.
    pub shard: ShardId,
    /// Increases with every change of the primary.
    pub epoch: u64,
    /// Increases with every change of the shard's register.
    pub revision: u64,
    /// Who answers writes and linearizable reads; `None` while nobody does.
    pub primary: Option<Member>,
    /// The other replicas in the ISR.
    pub backups: Vec<Member>,
}

/// Why a delta was refused. The table is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The delta belongs to another cluster.
    #[error("the table belongs to cluster {ours}, the delta to cluster {theirs}")]
    WrongCluster {
        /// The table's cluster id.
        ours: String,
        /// The delta's cluster id.
        theirs: String,
    },
    /// The delta starts behind what the table knows; ask for an older start.
    #[error("the table is at version {ours}, the delta starts at {from}")]
    Gap {
        /// The table's version.
        ours: u64,
        /// Where the delta starts.
        from: u64,
    },
    /// The delta names slots or counts that cannot be.
    #[error("malformed delta: {0}")]
    Malformed(String),
}

/// The owner of every slot, the route of every shard, and the version of the ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotTable {
    cluster_id: String,
    slots: SlotCount,
    version: u64,
    owners: Vec<ShardId>,
    changed_at: Vec<u64>,
    routes: BTreeMap<ShardId, Route>,
}

impl SlotTable {
    /// A table in which nothing is allocated, at version 0.
    pub fn new(cluster_id: impl Into<String>, slots: SlotCount) -> Self {
        let count = usize::from(slots.get());
        Self {
            cluster_id: cluster_id.into(),
            slots,
            version: 0,
            owners: vec![UNALLOCATED; count],
            changed_at: vec![0; count],
            routes: BTreeMap::new(),
        }
    }

    /// The table of a delta that starts at version 0.
    pub fn from_delta(delta: &v1::TableDelta) -> Result<Self, TableError> {
        let slots = SlotCount::new(delta.slot_count)
            .ok_or_else(|| TableError::Malformed(format!("{} slots", delta.slot_count)))?;
        let mut table = Self::new(delta.cluster_id.clone(), slots);
        table.apply(delta)?;
        Ok(table)
    }

    /// Which cluster.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// How many slots.
    pub fn slots(&self) -> SlotCount {
        self.slots
    }

    /// Version of the ownership.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The owner of a slot; `None` while it is unallocated.
    pub fn owner(&self, slot: u16) -> Option<ShardId> {
        self.owners.get(usize::from(slot)).copied().filter(|&shard| shard != UNALLOCATED)
    }

    /// The slot of a key.
    pub fn slot(&self, key: &[u8]) -> u16 {
        crate::slot::slot(key, self.slots)
    }

    /// The route of a shard.
    pub fn route(&self, shard: ShardId) -> Option<&Route> {
        self.routes.get(&shard)
    }

    /// Every route, by shard.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values()
    }

    /// Sum of the routes' revisions, as far as a u64 goes. Of two tables whose routes are ordered, the sums are ordered
    /// alike.
    pub fn route_revisions(&self) -> u64 {
        self.routes.values().fold(0, |sum, route| sum.saturating_add(route.revision))
    }

    /// Number of slots that `shard` owns.
    pub fn slots_of(&self, shard: ShardId) -> usize {
        self.owners.iter().filter(|&&owner| owner == shard).count()
    }

    /// Takes a newer ownership: runs of (first slot, last slot, shard); slots not named stay unallocated.
    /// Returns false, with the table unchanged, if `version` is not newer.
    pub fn set_owners(&mut self, version: u64, runs: &[(u16, u16, ShardId)]) -> Result<bool, TableError> {
        let unseen = version.saturating_sub(self.version) > 1;
        self.set_owners_that_moved(version, runs, |_| unseen)
    }

    /// The same, for who knows which slots may have moved since this table's version, whether they came back or not. One whose
    /// owner is another now has moved in any case.
    pub fn set_owners_that_moved(
        &mut self,
        version: u64,
        runs: &[(u16, u16, ShardId)],
        has_moved: impl Fn(u16) -> bool,
    ) -> Result<bool, TableError> {
        if version <= self.version {
            return Ok(false);
        }
        let runs = runs.iter().map(|&(first, last, shard)| (u32::from(first), u32::from(last), shard));
        let owners = spread(runs, self.owners.len())?;
        for (slot, (&old, &new)) in self.owners.iter().zip(&owners).enumerate() {
            if old != UNALLOCATED && new == UNALLOCATED {
                return Err(TableError::Malformed(format!(
                    "slot {slot} of shard {old} has no owner any more"
                )));
            }
        }
        for (slot, (old, new)) in self.owners.iter().zip(&owners).enumerate() {
            if old != new || has_moved(slot as u16) {
                self.changed_at[slot] = version;
            }
        }
        self.owners = owners;
        self.version = version;
        Ok(true)
    }

    /// Takes a route if its revision is newer than the known one's and its epoch is not older. Returns whether it was
    /// taken.
    pub fn set_route(&mut self, route: Route) -> bool {
        match self.routes.get(&route.shard) {
            Some(known) if known.revision >= route.revision || known.epoch > route.epoch => false,
            _ => {
                self.routes.insert(route.shard, route);
                true
            }
        }
    }

    /// The ownership as runs of (first slot, last slot, shard), unallocated slots left out.
    pub fn owner_runs(&self) -> Vec<(u16, u16, ShardId)> {
        runs(&self.owners, |_| true)
    }

    /// The changes since `version`, and every route whose revision is above the one `known` tells for its shard.
    pub fn delta_since(&self, version: u64, known: impl Fn(ShardId) -> u64) -> v1::TableDelta {
        let ranges = if version < self.version {
            runs(&self.owners, |slot| version == 0 || self.changed_at[slot] > version)
        } else {
            Vec::new()
        };
        v1::TableDelta {
            cluster_id: self.cluster_id.clone(),
            slot_count: u32::from(self.slots.get()),
            from_version: version.min(self.version),
            version: self.version,
            ranges: ranges
                .into_iter()
                .map(|(first, last, shard)| v1::SlotRange {
                    first: u32::from(first),
                    last: u32::from(last),
                    shard,
                })
                .collect(),
            routes: self
                .routes
                .values()
                .filter(|route| route.revision > known(route.shard))
                .map(v1::Route::from)
                .collect(),
        }
    }

    /// The whole table.
    pub fn full(&self) -> v1::TableDelta {
        self.delta_since(0, |_| 0)
    }

    /// Takes what is newer in `delta`; older parts are ignored. Returns whether anything was.
    pub fn apply(&mut self, delta: &v1::TableDelta) -> Result<bool, TableError> {
        if delta.cluster_id != self.cluster_id {
            return Err(TableError::WrongCluster {
                ours: self.cluster_id.clone(),
                theirs: delta.cluster_id.clone(),
            });
        }
        if delta.slot_count != u32::from(self.slots.get()) {
            return Err(TableError::Malformed(format!(
                "{} slots in a cluster of {}",
                delta.slot_count,
                self.slots.get()
            )));
        }
        if delta.from_version > delta.version {
            return Err(TableError::Malformed(format!(
                "from version {} to version {}",
                delta.from_version, delta.version
            )));
        }
        let routes = delta.routes.len().max(self.routes_with(delta));
        if routes > SHARDS_MAX {
            return Err(TableError::Malformed(format!(
                "{routes} routes; there are at most {SHARDS_MAX} shards"
            )));
        }
        let ranges = delta.ranges.iter().map(|range| (range.first, range.last, range.shard));
        let named = spread(ranges, self.owners.len())?;
        let routes = delta.routes.iter().map(Route::try_from).collect::<Result<Vec<_>, _>>()?;
        if delta.from_version > self.version {
            return Err(TableError::Gap { ours: self.version, from: delta.from_version });
        }

        let mut changed = false;
        if delta.version > self.version {
            for (slot, shard) in named.into_iter().enumerate() {
                if shard != UNALLOCATED {
                    self.owners[slot] = shard;
                    self.changed_at[slot] = delta.version;
                }
            }
            self.version = delta.version;
            changed = true;
        }
        for route in routes {
            changed |= self.set_route(route);
        }
        Ok(changed)
    }

    /// How many routes there would be with those of `delta`.
    fn routes_with(&self, delta: &v1::TableDelta) -> usize {
        let shards = delta.routes.iter().map(|route| route.shard);
        let new: BTreeSet<_> = shards.filter(|shard| !self.routes.contains_key(shard)).collect();
        self.routes.len() + new.len()
    }
}

/// The owner that each slot is given by runs of (first slot, last slot, shard), which must not overlap.
fn spread(runs: impl Iterator<Item = (u32, u32, ShardId)>, count: usize) -> Result<Vec<ShardId>, TableError> {
    let mut owners = vec![UNALLOCATED; count];
    for (first, last, shard) in runs {
        let run = owners
            .get_mut(first as usize..=last as usize)
            .filter(|run| !run.is_empty())
            .ok_or_else(|| TableError::Malformed(format!("slots {first} to {last} of {count}")))?;
        if shard == UNALLOCATED {
            return Err(TableError::Malformed(format!("slots {first} to {last} are given to nobody")));
        }
        if run.iter().any(|&owner| owner != UNALLOCATED) {
            return Err(TableError::Malformed(format!("slots {first} to {last} are given away twice")));
        }
        run.fill(shard);
    }
    Ok(owners)
}

fn runs(owners: &[ShardId], wanted: impl Fn(usize) -> bool) -> Vec<(u16, u16, ShardId)> {
    let mut runs: Vec<(u16, u16, ShardId)> = Vec::new();
    for (slot, &shard) in owners.iter().enumerate() {
        if shard == UNALLOCATED || !wanted(slot) {
            continue;
        }
        let slot = slot as u16;
        match runs.last_mut() {
            Some((_, last, owner)) if *owner == shard && *last + 1 == slot => *last = slot,
            _ => runs.push((slot, slot, shard)),
        }
    }
    runs
}

impl From<&Member> for v1::Member {
    fn from(member: &Member) -> Self {
        v1::Member {
            name: member.name.clone(),
            run: member.run.clone(),
            address: member.address.clone(),
            zone: String::new(),
        }
    }
}

impl From<&v1::Member> for Member {
    fn from(member: &v1::Member) -> Self {
        Member { name: member.name.clone(), run: member.run.clone(), address: member.address.clone() }
    }
}

impl From<&Route> for v1::Route {
    fn from(route: &Route) -> Self {
        v1::Route {
            shard: route.shard,
            epoch: route.epoch,
            revision: route.revision,
            primary: route.primary.as_ref().map(v1::Member::from),
            backups: route.backups.iter().map(v1::Member::from).collect(),
        }
    }
}

impl TryFrom<&v1::Route> for Route {
    type Error = TableError;

    fn try_from(route: &v1::Route) -> Result<Self, TableError> {
        if route.shard == UNALLOCATED || route.revision == 0 {
            return Err(TableError::Malformed(format!(
                "route of shard {} with revision {}",
                route.shard, route.revision
            )));
        }
        Ok(Route {
            shard: route.shard,
            epoch: route.epoch,
            revision: route.revision,
            primary: route.primary.as_ref().map(Member::from),
            backups: route.backups.iter().map(Member::from).collect(),
        })
    }
}
