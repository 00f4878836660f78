//! The one task that writes the snapshot.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use slotkv_proto::{SlotTable, TableError, table::Route};

use super::{
    Routing,
    snapshot::{GATE_NOBODY, Primary, Shard, Snapshot},
};
use crate::{call::Call, connection::Lane};

impl Routing {
    /// Applies what is learned until the client stops.
    pub(super) async fn write(self: Arc<Self>) {
        while self.until_stopped(self.news.notified()).await.is_some() {
            let deltas = mem::take(&mut *self.inbox());
            let mut table = None;
            let mut changed = false;
            for delta in &deltas {
                let table = table.get_or_insert_with(|| self.load().table.clone());
                match table.apply(delta) {
                    Ok(newer) => changed |= newer,
                    Err(TableError::WrongCluster { ours, theirs }) => {
                        self.setup.context.counters.wrong_cluster.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!("ignored a slot table of cluster {theirs:?}; this is {ours:?}");
                    }
                    Err(error @ TableError::Gap { .. }) => {
                        tracing::debug!("{error}");
                        self.want_refresh();
                    }
                    Err(error) => tracing::warn!("ignored part of a slot table: {error}"),
                }
            }
            if let Some(table) = table.filter(|_| changed) {
                self.publish(table);
            }
            if let Some(observer) = self.setup.observer.upgrade() {
                observer.settled(changed);
            }
        }
    }

    /// Replaces the snapshot. Connections to members that stay are kept; those to new ones are made at once, before the
    /// first request; the others end when they are idle, and what they had not sent comes back.
    pub(super) fn publish(&self, table: SlotTable) {
        let old = self.snapshot();
        let mut lanes_left: BTreeMap<u64, Arc<Lane>> =
            old.lanes().map(|(_, lane)| (lane.number, lane.clone())).collect();
        let mut gates = old.shards.len() as u32;
        let mut shards = Vec::new();
        for route in table.routes() {
            let known = old.shard_by_id(route.shard);
            let gate = known.map_or_else(
                || {
                    gates += 1;
                    GATE_NOBODY + gates
                },
                |shard| shard.gate,
            );
            let applied = known.map(|shard| shard.applied.clone()).unwrap_or_default();
            let primary = self.primary(route, known.and_then(|shard| shard.primary.as_ref()), &applied);
            for lane in primary.iter().flat_map(|primary| &primary.lanes) {
                lanes_left.remove(&lane.number);
                lane.stamp(table.version(), route.epoch);
            }
            shards.push(Arc::new(Shard { id: route.shard, epoch: route.epoch, gate, applied, primary }));
        }
        tracing::debug!(version = table.version(), shards = shards.len(), "slot table");
        {
            // Before the snapshot lets them go: who stops the client finds every lane here or there.
            let mut retired = self.retired();
            retired.retain(|lane| lane.strong_count() > 0);
            retired.extend(lanes_left.values().map(Arc::downgrade));
        }
        self.snapshot.store(Arc::new(Snapshot::new(table, shards, self.setup.clock.wall_ms())));
        if *self.stop.borrow() {
            // The client stopped meanwhile and has not seen the new connections.
            self.stop_lanes();
        }

        let returned: Vec<Arc<Call>> = lanes_left.values().flat_map(|lane| lane.retire()).collect();
        if let Some(observer) = self.setup.observer.upgrade().filter(|_| !returned.is_empty()) {
            observer.returned(returned);
        }
    }

    /// The route's primary with its connections: those of `known` if it is the same process.
    fn primary(&self, route: &Route, known: Option<&Primary>, applied: &Arc<AtomicU64>) -> Option<Primary> {
        let member = route.primary.as_ref()?;
        let lanes = match known.filter(|known| known.member == *member) {
            Some(known) => known.lanes.clone(),
            None => (0..self.setup.streams_per_member.max(1))
                .map(|_| self.make_lane(route.shard, member.clone(), applied.clone()))
                .collect(),
        };
        Some(Primary { member: member.clone(), lanes })
    }
}
