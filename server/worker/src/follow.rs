//! Follow: gives the shard every newer slot table, and the host what it may want to look at.
//!
//! The table comes from the coordinator. If a client has heard of a newer one and the coordinator does not answer, masters are
//! asked: they may have read it just before. Else the client's requests would be refused until the coordinator is back
//! (protocol.md rule 15), however little the newer table differs. The register says the same wherever it was read.

use std::{sync::Arc, time::Duration};

use slotkv_coordination::{
    ClusterView, View, paths,
    registers::{Register, Slots},
};
use slotkv_migration::Table;
use slotkv_proto::SlotTable;
use tokio::time::{sleep, timeout};

use crate::{
    host::Input,
    link::{Addresses, PeerTransport},
    migrations,
    registrar::Registrar,
    shard::Shard,
};

/// How long the coordinator has before masters are asked.
const COORDINATOR_WAIT: Duration = Duration::from_millis(50);
/// How long each master has.
const MASTER_WAIT: Duration = Duration::from_millis(200);
/// Masters that are asked, one after the other.
const MASTERS_MAX: usize = 8;

/// See the module. Ends with the view.
pub(crate) async fn follow(
    view: Arc<ClusterView>,
    shard: Arc<Shard>,
    registrar: Arc<Registrar>,
    addresses: Addresses,
    own: String,
    transport: Arc<dyn PeerTransport>,
) {
    let mut views = view.views();
    let mut wanted = shard.wanted_version();
    let mut newest = Newest::default();
    // What the leader did before this process looked says nothing of whether it lives.
    let mut beat = None;
    loop {
        let now = views.borrow_and_update().clone();
        if newest.take(&now.slots) {
            let table = newest.table.clone();
            let _ = shard.inbox().send(Input::Migration(migrations::Event::Slots(table)));
        }
        if let Some(table) = newest.routed(&now) {
            shard.set_table(table, newest.table.clone());
        }
        if now.loaded && beat.as_ref() != Some(&now.mover) {
            if beat.is_some() && now.mover.is_some() {
                let _ = shard.inbox().send(Input::Migration(migrations::Event::Heard));
            }
            beat = Some(now.mover);
        }
        for member in now.members.values() {
            if member.shard == Some(shard.id()) && member.name != own {
                addresses.set(&member.name, &member.address);
            }
        }
        if let Some(known) = now.shards.get(&shard.id())
            && registrar.newest().is_none_or(|(version, _)| known.version > version)
        {
            let _ = shard.inbox().send(Input::Hint);
        }
        tokio::select! {
            biased;
            changed = views.changed() => if changed.is_err() { return },
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let version = *wanted.borrow_and_update();
                if let Some(slots) = caught_up(&view, &now, version, &*transport).await
                    && newest.take(&slots)
                {
                    let table = newest.table.clone();
                    let _ = shard.inbox().send(Input::Migration(migrations::Event::Slots(table)));
                }
            }
        }
    }
}

/// The newest slots that are known, from wherever.
#[derive(Default)]
struct Newest {
    slots: Slots,
    table: Arc<Table>,
}

impl Newest {
    /// Whether they are newer.
    fn take(&mut self, slots: &Slots) -> bool {
        let is_newer = slots.version > self.slots.version;
        if is_newer {
            self.slots = slots.clone();
            self.table = Arc::new(slots.to_table());
        }
        is_newer
    }

    /// The slot table for clients: the view's, with the newest owners.
    fn routed(&self, view: &View) -> Option<Arc<SlotTable>> {
        let table = view.table.clone()?;
        if self.slots.version <= table.version() {
            return Some(table);
        }
        let mut next = SlotTable::clone(&table);
        match next.set_owners(self.slots.version, &self.slots.owners) {
            Ok(_) => Some(Arc::new(next)),
            Err(error) => {
                tracing::warn!(%error, "what a master tells of the slots cannot be used");
                Some(table)
            }
        }
    }
}

/// Has the view read the slots again. Returns what masters know of the slots, if they are faster.
async fn caught_up(
    view: &ClusterView,
    now: &View,
    version: u64,
    transport: &dyn PeerTransport,
) -> Option<Slots> {
    let by_masters = async {
        sleep(COORDINATOR_WAIT).await;
        let found = told_by_masters(now, version, transport).await;
        if found.is_none() {
            std::future::pending::<()>().await;
        }
        found
    };
    tokio::select! {
        biased;
        refreshed = view.refresh_slots() => {
            if let Err(error) = refreshed {
                tracing::debug!(%error, "cannot catch up with a client");
            }
            None
        }
        found = by_masters => found,
    }
}

/// Slots of that version or a newer one.
async fn told_by_masters(now: &View, version: u64, transport: &dyn PeerTransport) -> Option<Slots> {
    let cluster_id = &now.cluster.as_ref()?.cluster_id;
    for master in now.masters.iter().take(MASTERS_MAX) {
        let asked = transport.slots(master.clone(), cluster_id.clone());
        let Ok(Some(register)) = timeout(MASTER_WAIT, asked).await else { continue };
        match Slots::decode(paths::SLOTS, &register) {
            Ok(slots) if slots.version >= version => return Some(slots),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, master, "what a master tells of the slots cannot be used"),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use slotkv_coordination::registers::Cluster;

    use super::*;

    fn slots(version: u64, owner: u32) -> Slots {
        Slots { version, owners: vec![(0, 15, owner)], ..Slots::default() }
    }

    #[test]
    fn owners_that_a_master_told_stay_until_the_view_is_as_new() {
        let cluster = Cluster {
            cluster_id: "c".into(),
            slot_count: 16,
            shards_announced: 1,
            placement: "slots".into(),
        };
        let table = |version, owner| {
            let mut table = cluster.table().unwrap();
            table.set_owners(version, &[(0, 15, owner)]).unwrap();
            Arc::new(table)
        };
        let view = |version, owner| View {
            table: Some(table(version, owner)),
            slots: slots(version, owner),
            ..View::default()
        };
        let mut newest = Newest::default();
        assert!(newest.take(&slots(3, 0)) && newest.take(&slots(5, 1)) && !newest.take(&slots(4, 0)));
        let routed = newest.routed(&view(3, 0)).unwrap();
        assert_eq!((routed.version(), routed.owner(7)), (5, Some(1)));
        assert!(newest.take(&slots(6, 0)));
        let routed = newest.routed(&view(6, 0)).unwrap();
        assert_eq!((routed.version(), routed.owner(7)), (6, Some(0)));
    }
}
