//! The view that never goes back.

use std::sync::Arc;

use slotkv_coordination::{
    ClusterView, Expect, Mode, SessionState, View,
    membership::join,
    paths,
    registers::{
        Ack, Cluster, Durability, MasterEpoch, MasterRecord, Primary, Register, Replica, ShardRegister, Slots,
    },
};
use slotkv_proto::{SlotTable, table::UNALLOCATED};
use tokio::time::timeout;

use super::membership::member;
use crate::bed::{Bed, Peer, SHORT, WAIT_MAX};

fn cluster() -> Cluster {
    Cluster { cluster_id: "c1".into(), slot_count: 16, shards_announced: 1, placement: "weighted".into() }
}

fn shard(epoch: u64) -> ShardRegister {
    ShardRegister {
        epoch,
        primary: Some(Primary { name: "w1".into(), run: format!("r{epoch}"), address: "w1:7710".into() }),
        isr: vec![Replica {
            name: "w1".into(),
            inc: "i1".into(),
            run: format!("r{epoch}"),
            address: "w1:7710".into(),
        }],
        ack: Ack::All,
        min_isr: 1,
        replicas: 1,
        preferred: None,
        durability: Durability::Sync,
        weight: 1.0,
        loss_epoch: 0,
        recover: None,
    }
}

fn slots(version: u64, owner: u32) -> Slots {
    Slots { version, owners: vec![(0, 15, owner)], ..Slots::default() }
}

async fn create(peer: &Peer, path: &str, register: impl Register) {
    peer.create(path, register.encode().unwrap(), Mode::Persistent).await.unwrap();
}

async fn set(peer: &Peer, path: &str, register: impl Register) {
    peer.set(path, register.encode().unwrap(), Expect::Any).await.unwrap();
}

async fn until(view: &ClusterView, wanted: impl Fn(&View) -> bool) -> Arc<View> {
    let mut views = view.views();
    let reached = timeout(WAIT_MAX, views.wait_for(|view| wanted(view))).await;
    match reached {
        Ok(Ok(view)) => view.clone(),
        _ => panic!("the view stays at {:?}", view.current()),
    }
}

pub async fn a_view_follows_the_registers(bed: Bed) {
    let peer = bed.peer().await;
    let writer = bed.peer().await;
    let view = ClusterView::start(peer.session.clone());
    let empty = until(&view, |view| view.loaded).await;
    assert_eq!((&empty.cluster, &empty.table), (&None, &None));

    create(&writer, paths::CLUSTER, cluster()).await;
    create(&writer, &paths::shard(0), shard(1)).await;
    create(&writer, paths::SLOTS, slots(1, 0)).await;
    let filled = until(&view, |view| view.slots.version == 1 && view.shards.contains_key(&0)).await;
    let table = filled.table.as_ref().unwrap();
    assert_eq!((table.cluster_id(), table.version(), table.owner(7)), ("c1", 1, Some(0)));
    assert_eq!(table.route(0).unwrap().revision, 1);

    set(&writer, &paths::shard(0), shard(2)).await;
    set(&writer, paths::SLOTS, slots(2, 5)).await;
    let changed = until(&view, |view| {
        view.slots.version == 2 && view.shards.get(&0).is_some_and(|shard| shard.register.epoch == 2)
    })
    .await;
    let table = changed.table.as_ref().unwrap();
    assert_eq!((table.version(), table.owner(7)), (2, Some(5)));
    let route = table.route(0).unwrap();
    assert_eq!((route.epoch, route.revision), (2, 2));
    assert_eq!(route.primary.as_ref().unwrap().run, "r2");
}

pub async fn a_view_follows_members_and_the_leader(bed: Bed) {
    let peer = bed.peer().await;
    let masters = [bed.peer().await, bed.peer().await];
    let view = ClusterView::start(peer.session.clone());
    for (number, master) in masters.iter().enumerate() {
        let record = MasterRecord { address: format!("m{number}:7700") };
        master
            .create(&paths::master_prefix(), record.encode().unwrap(), Mode::EphemeralSequential)
            .await
            .unwrap();
    }
    create(&masters[0], paths::MASTER_EPOCH, MasterEpoch { epoch: 1 }).await;
    join(&*masters[0], &member("w1", "r1")).await.unwrap();
    let both = until(&view, |view| view.masters.len() == 2 && view.members.len() == 1).await;
    assert_eq!(both.masters, ["m0:7700", "m1:7700"]);
    assert_eq!(both.member("w1").unwrap().run, "r1");
    until(&view, |view| view.master_epoch == 1 && view.known.contains_key("w1")).await;

    masters[0].close().await;
    let one = until(&view, |view| view.masters.len() == 1 && view.members.is_empty()).await;
    assert_eq!(one.masters, ["m1:7700"]);
    assert!(!one.known["w1"].left);
}

pub async fn a_view_keeps_the_route_of_a_vanished_primary(bed: Bed) {
    let peer = bed.peer().await;
    let worker = bed.peer_for(SHORT).await;
    create(&worker, paths::CLUSTER, cluster()).await;
    create(&worker, &paths::shard(0), shard(1)).await;
    join(&*worker, &member("w1", "r1")).await.unwrap();
    let view = ClusterView::start(peer.session.clone());
    until(&view, |view| view.members.len() == 1 && view.shards.len() == 1).await;
    worker.cut().await;
    let without = until(&view, |view| view.members.is_empty()).await;
    let route = without.table.as_ref().unwrap().route(0).unwrap();
    assert_eq!(route.primary.as_ref().unwrap().address, "w1:7710");
}

pub async fn a_view_catches_up_after_a_break(bed: Bed) {
    let peer = bed.peer().await;
    let writer = bed.peer().await;
    create(&writer, paths::CLUSTER, cluster()).await;
    create(&writer, paths::SLOTS, slots(1, 0)).await;
    let view = ClusterView::start(peer.session.clone());
    until(&view, |view| view.slots.version == 1).await;
    peer.cut().await;
    until(&view, |view| !view.connected).await;
    set(&writer, paths::SLOTS, slots(2, 1)).await;
    assert_eq!(view.current().slots.version, 1);
    peer.heal();
    let caught_up = until(&view, |view| view.slots.version == 2).await;
    assert_eq!(caught_up.table.as_ref().unwrap().owner(0), Some(1));
    until(&view, |view| view.connected).await;
}

pub async fn a_view_goes_on_with_a_new_session_and_never_goes_back(bed: Bed) {
    let first = bed.peer_for(SHORT).await;
    let writer = bed.peer().await;
    create(&writer, paths::CLUSTER, cluster()).await;
    create(&writer, paths::SLOTS, slots(5, 0)).await;
    create(&writer, &paths::shard(0), shard(1)).await;
    set(&writer, &paths::shard(0), shard(4)).await;
    let view = ClusterView::start(first.session.clone());
    until(&view, |view| view.slots.version == 5 && view.shards.len() == 1).await;
    first.cut().await;
    first.reach(SessionState::Expired).await;
    // What no correct cluster does: registers that went back, as an old read would show them.
    set(&writer, paths::SLOTS, slots(3, 9)).await;
    writer.delete(&paths::shard(0), Expect::Any).await.unwrap();
    create(&writer, &paths::shard(0), shard(2)).await;
    let second = bed.peer().await;
    view.attach(second.session.clone());
    let after = view.refresh().await.unwrap();
    assert!(after.connected);
    assert_eq!(after.slots, slots(5, 0));
    assert_eq!((after.shards[&0].register.epoch, after.shards[&0].version), (4, 1));
    assert_eq!(after.table.as_ref().unwrap().version(), 5);
    set(&writer, paths::SLOTS, slots(6, 1)).await;
    until(&view, |view| view.slots.version == 6).await;
}

pub async fn a_refreshed_view_has_what_was_written_before(bed: Bed) {
    let peer = bed.peer().await;
    let writer = bed.peer().await;
    create(&writer, paths::CLUSTER, cluster()).await;
    create(&writer, paths::SLOTS, slots(1, 0)).await;
    create(&writer, &paths::shard(0), shard(1)).await;
    let view = ClusterView::start(peer.session.clone());
    for version in (2..22).step_by(2) {
        set(&writer, paths::SLOTS, slots(version, 0)).await;
        assert!(view.refresh_slots().await.unwrap().slots.version >= version);
        set(&writer, paths::SLOTS, slots(version + 1, 0)).await;
        set(&writer, &paths::shard(0), shard(version)).await;
        let (some, all) = tokio::join!(view.refresh_slots(), view.refresh());
        let (some, all) = (some.unwrap(), all.unwrap());
        assert!(some.slots.version > version && all.slots.version > version);
        assert!(all.shards[&0].register.epoch >= version);
    }
}

pub async fn a_register_of_a_newer_format_is_a_problem_and_changes_nothing(bed: Bed) {
    let peer = bed.peer().await;
    let writer = bed.peer().await;
    create(&writer, paths::CLUSTER, cluster()).await;
    create(&writer, paths::SLOTS, slots(1, 0)).await;
    let view = ClusterView::start(peer.session.clone());
    until(&view, |view| view.slots.version == 1).await;
    for (path, data) in [(paths::SLOTS, r#"{"format":99}"#), (paths::CLUSTER, "{")] {
        writer.set(path, data.into(), Expect::Any).await.unwrap();
    }
    let troubled = until(&view, |view| view.problems.len() == 2).await;
    assert!(troubled.problems[paths::SLOTS].contains("format 99"), "{:?}", troubled.problems);
    assert_eq!((&troubled.slots, &troubled.cluster), (&slots(1, 0), &Some(cluster())));
    set(&writer, paths::CLUSTER, Cluster { cluster_id: "c2".into(), ..cluster() }).await;
    set(&writer, paths::SLOTS, slots(2, 0)).await;
    let after = until(&view, |view| view.slots.version == 2).await;
    assert_eq!(after.table.as_ref().unwrap().cluster_id(), "c1");
    until(&view, |view| view.problems.get(paths::CLUSTER).is_some_and(|why| why.contains("c2"))).await;
}

/// Neither a weight that nobody can read nor an id that no table takes keeps the other shards out of the view, and the table
/// that is published is one that clients take.
pub async fn a_shard_that_cannot_be_used_is_a_problem_of_its_own(bed: Bed) {
    let peer = bed.peer().await;
    let writer = bed.peer().await;
    create(&writer, paths::CLUSTER, cluster()).await;
    create(&writer, paths::SLOTS, slots(1, 0)).await;
    for id in [0, 4095, 4096, UNALLOCATED] {
        create(&writer, &paths::shard(id), shard(1)).await;
    }
    let good = String::from_utf8(shard(1).encode().unwrap().to_vec()).unwrap();
    let weightless = good.replace("\"weight\":1.0", "\"weight\":null");
    assert_ne!(weightless, good);
    writer.create(&paths::shard(1), weightless.into(), Mode::Persistent).await.unwrap();
    writer.create("/shards/01", good.clone().into(), Mode::Persistent).await.unwrap();

    let view = ClusterView::start(peer.session.clone());
    let troubled = until(&view, |view| view.loaded && view.problems.len() == 4).await;
    let unused: Vec<&str> = troubled.problems.keys().map(String::as_str).collect();
    assert_eq!(unused, ["/shards/01", "/shards/1", "/shards/4096", "/shards/4294967295"]);
    let whole = SlotTable::from_delta(&troubled.table.as_ref().unwrap().full()).unwrap();
    assert_eq!(whole.routes().map(|route| route.shard).collect::<Vec<_>>(), [0, 4095]);

    set(&writer, &paths::shard(0), shard(2)).await;
    set(&writer, &paths::shard(1), shard(1)).await;
    let repaired = until(&view, |view| view.shards.contains_key(&1)).await;
    assert!(!repaired.problems.contains_key("/shards/1"));
    until(&view, |view| view.shards[&0].register.epoch == 2).await;
}

/// A backup that restarts elsewhere is a new state of the register, with a revision of its own; one that comes or goes is
/// none.
pub async fn the_same_revision_is_the_same_route_whoever_lives(bed: Bed) {
    let peer = bed.peer().await;
    let writer = bed.peer().await;
    let backup = |run: &str, address: &str| Replica {
        name: "w2".into(),
        inc: "i1".into(),
        run: run.into(),
        address: address.into(),
    };
    let with = |backup| {
        let mut register = shard(1);
        register.isr.push(backup);
        register
    };
    create(&writer, paths::CLUSTER, cluster()).await;
    create(&writer, &paths::shard(0), with(backup("r1", "w2:7710"))).await;
    let view = ClusterView::start(peer.session.clone());
    let alone = until(&view, |view| view.shards.len() == 1).await;
    let first = alone.table.as_ref().unwrap().route(0).unwrap().clone();
    assert_eq!((first.revision, first.backups[0].address.as_str()), (1, "w2:7710"));

    join(&*writer, &member("w2", "r2")).await.unwrap();
    let joined = until(&view, |view| view.members.len() == 1).await;
    assert_eq!(joined.table.as_ref().unwrap().route(0), Some(&first));

    set(&writer, &paths::shard(0), with(backup("r2", "elsewhere:7710"))).await;
    let moved = until(&view, |view| view.shards[&0].version == 1).await;
    let second = moved.table.as_ref().unwrap().route(0).unwrap();
    assert_eq!((second.revision, second.backups[0].address.as_str()), (2, "elsewhere:7710"));

    // A client that knew the first route learns the second one, in whichever order it hears of them.
    let mut client = SlotTable::from_delta(&alone.table.as_ref().unwrap().full()).unwrap();
    assert_eq!(client.apply(&moved.table.as_ref().unwrap().full()), Ok(true));
    assert_eq!(client.apply(&alone.table.as_ref().unwrap().full()), Ok(false));
    assert_eq!(client.route(0), Some(second));
}
