//! The one task that writes the snapshot.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, atomic::Ordering},
};

use slotkv_proto::{
    SlotTable, TableError,
    table::{Member, Route},
};

use super::{
    Routing,
    backups::Backup,
    snapshot::{GATE_NOBODY, Primary, Shard, Snapshot},
};
use crate::{call::Call, connection::Lane, session::Heard};

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

    /// Replaces the snapshot. Connections to members that stay are kept; those to new primaries are made at once, before the
    /// first request; the others end. What they had not sent comes back, and so does what was not answered: a member that does
    /// not lead the shard any more may never answer, as when it has stopped.
    pub(super) fn publish(&self, table: SlotTable) {
        let old = self.snapshot();
        let mut lanes_left: BTreeMap<u64, Arc<Lane>> =
            old.lanes().into_iter().map(|(_, lane)| (lane.number, lane)).collect();
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
            let heard = known.map(|shard| shard.heard.clone()).unwrap_or_default();
            let primary = self.primary(route, known.map(Arc::as_ref), &heard);
            let backups = backups(route, known.map(Arc::as_ref));
            shards.push(Arc::new(Shard {
                id: route.shard,
                epoch: route.epoch,
                gate,
                heard,
                primary,
                backups,
            }));
        }
        let kept = |backup: &Arc<Backup>| {
            shards.iter().flat_map(|shard| &shard.backups).any(|kept| Arc::ptr_eq(kept, backup))
        };
        for backup in old.shards.iter().flat_map(|shard| &shard.backups).filter(|backup| !kept(backup)) {
            lanes_left.extend(backup.leave().map(|lane| (lane.number, lane)));
        }
        tracing::debug!(version = table.version(), shards = shards.len(), "slot table");
        let version = table.version();
        let snapshot = Snapshot::new(table, shards, self.setup.clock.wall_ms());
        for (shard, lane) in snapshot.lanes() {
            lanes_left.remove(&lane.number);
            lane.stamp(version, shard.epoch);
        }
        {
            // Before the snapshot lets them go: who stops the client finds every lane here or there.
            let mut retired = self.retired();
            retired.retain(|lane| lane.strong_count() > 0);
            retired.extend(lanes_left.values().map(Arc::downgrade));
        }
        self.snapshot.store(Arc::new(snapshot));
        if *self.stop.borrow() {
            // The client stopped meanwhile and has not seen the new connections.
            self.stop_lanes();
        }

        let returned: Vec<Arc<Call>> = lanes_left.values().flat_map(Lane::retire).collect();
        if let Some(observer) = self.setup.observer.upgrade().filter(|_| !returned.is_empty()) {
            observer.returned(returned);
        }
    }

    /// The route's primary with its connections: those that the process had as primary, or as backup.
    fn primary(&self, route: &Route, known: Option<&Shard>, heard: &Arc<Heard>) -> Option<Primary> {
        let member = route.primary.as_ref()?;
        let same = known.and_then(|known| known.primary.as_ref()).filter(|primary| primary.member == *member);
        let mut lanes = same.map_or_else(Vec::new, |primary| primary.lanes.clone());
        if lanes.is_empty() {
            let backups = known.map_or(&[][..], |known| &known.backups);
            lanes.extend(backups.iter().find(|backup| backup.member == *member).and_then(|b| b.leave()));
        }
        while lanes.len() < self.setup.streams_per_member.max(1) {
            lanes.push(self.make_lane(route.shard, member.clone(), heard.clone()));
        }
        Some(Primary { member: member.clone(), lanes })
    }
}

/// The route's backups: those of `known` that are the same processes, with their connections.
fn backups(route: &Route, known: Option<&Shard>) -> Vec<Arc<Backup>> {
    let known = known.map_or(&[][..], |known| &known.backups);
    let same = |member: &Member| known.iter().find(|backup| backup.member == *member).cloned();
    let is_primary = |member: &Member| route.primary.as_ref() == Some(member);
    let members = route.backups.iter().filter(|member| !is_primary(member));
    members.map(|member| same(member).unwrap_or_else(|| Arc::new(Backup::new(member.clone())))).collect()
}
