//! Several operations, all or none.

use bytes::Bytes;
use slotkv_coordination::{
    Error, Expect,
    Mode::{Persistent, PersistentSequential},
    Op, OpResult,
    coordinator::{MULTI_OPS_MAX, NODE_BYTES_MAX},
};

use crate::bed::Bed;

pub async fn all_steps_are_applied_and_reported(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/epoch", Bytes::new(), Persistent).await.unwrap();
    peer.create("/old", Bytes::new(), Persistent).await.unwrap();
    let results = peer
        .multi(vec![
            Op::check("/epoch", 0),
            Op::create("/new", "n", Persistent),
            Op::set("/epoch", "1", Expect::Version(0)),
            Op::delete("/old", Expect::Any),
        ])
        .await
        .unwrap();
    let expected = [OpResult::Checked, OpResult::Created("/new".into()), OpResult::Set(1), OpResult::Deleted];
    assert_eq!(results, expected);
    assert_eq!(peer.get("/epoch").await.unwrap().unwrap().data, "1");
    assert_eq!(peer.children("/").await.unwrap(), ["epoch", "new"]);
}

pub async fn a_failed_check_applies_nothing_and_names_its_path(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/epoch", Bytes::new(), Persistent).await.unwrap();
    peer.create("/slots", "old".into(), Persistent).await.unwrap();
    for steps in [
        vec![Op::set("/slots", "new", Expect::Any), Op::check("/epoch", 1)],
        vec![Op::check("/epoch", 1), Op::set("/slots", "new", Expect::Any)],
        vec![Op::delete("/slots", Expect::Any), Op::create("/x", "", Persistent), Op::check("/epoch", 1)],
    ] {
        assert_eq!(peer.multi(steps).await, Err(Error::BadVersion { path: "/epoch".into() }));
    }
    let slots = peer.get("/slots").await.unwrap().unwrap();
    assert_eq!((slots.data, slots.version), ("old".into(), 0));
    assert_eq!(peer.get("/x").await, Ok(None));
}

pub async fn a_check_of_a_missing_node_fails(bed: Bed) {
    let peer = bed.peer().await;
    let steps = vec![Op::create("/a", "", Persistent), Op::check("/epoch", 0)];
    assert_eq!(peer.multi(steps).await, Err(Error::NoNode { path: "/epoch".into() }));
    assert_eq!(peer.get("/a").await, Ok(None));
}

pub async fn a_step_sees_the_ones_before_it(bed: Bed) {
    let peer = bed.peer().await;
    let results = peer
        .multi(vec![
            Op::create("/a", "0", Persistent),
            Op::create("/a/b", "0", Persistent),
            Op::set("/a", "1", Expect::Version(0)),
            Op::check("/a", 1),
            Op::delete("/a/b", Expect::Version(0)),
            Op::delete("/a", Expect::Version(1)),
            Op::create("/a", "again", Persistent),
        ])
        .await
        .unwrap();
    assert_eq!(results[2], OpResult::Set(1));
    let node = peer.get("/a").await.unwrap().unwrap();
    assert_eq!((node.data, node.version), ("again".into(), 0));
}

pub async fn created_nodes_get_their_parents(bed: Bed) {
    let peer = bed.peer().await;
    let steps = vec![Op::create("/a/b/c", "", Persistent), Op::create("/d/e", "", Persistent)];
    peer.multi(steps).await.unwrap();
    assert_eq!(peer.children("/").await.unwrap(), ["a", "d"]);
    assert_eq!(peer.children("/a/b").await.unwrap(), ["c"]);
}

pub async fn a_sequential_create_reports_its_path(bed: Bed) {
    let peer = bed.peer().await;
    let first = peer.multi(vec![Op::create("/q/n-", "1", PersistentSequential)]).await.unwrap();
    let second = peer.multi(vec![Op::create("/q/n-", "2", PersistentSequential)]).await.unwrap();
    let (first, second) = (first[0].path().unwrap(), second[0].path().unwrap());
    assert!(first < second, "{first} {second}");
    assert_eq!(peer.get(second).await.unwrap().unwrap().data, "2");
}

pub async fn an_existing_node_fails_the_whole(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/cluster", "first".into(), Persistent).await.unwrap();
    let steps = vec![Op::create("/a", "", Persistent), Op::create("/cluster", "second", Persistent)];
    assert_eq!(peer.multi(steps).await, Err(Error::NodeExists { path: "/cluster".into() }));
    assert_eq!(peer.children("/").await.unwrap(), ["cluster"]);
}

pub async fn no_steps_do_nothing(bed: Bed) {
    assert_eq!(bed.peer().await.multi(vec![]).await, Ok(vec![]));
}

pub async fn too_many_or_too_large_steps_are_refused(bed: Bed) {
    let peer = bed.peer().await;
    let many = |count| (0..count).map(|number| Op::create(format!("/n{number}"), "", Persistent)).collect();
    let refused = peer.multi(many(MULTI_OPS_MAX + 1)).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    peer.multi(many(MULTI_OPS_MAX)).await.unwrap();
    let large = || Op::set("/n0", vec![0; NODE_BYTES_MAX], Expect::Any);
    let refused = peer.multi(vec![large(), large()]).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    peer.multi(vec![large()]).await.unwrap();
}

pub async fn a_deposed_leader_is_fenced_by_its_epoch(bed: Bed) {
    let old = bed.peer().await;
    let new = bed.peer().await;
    old.create("/master_epoch", "1".into(), Persistent).await.unwrap();
    old.create("/slots", "by 1".into(), Persistent).await.unwrap();
    // The new leader takes office while the old one is paused, believing in its session.
    new.sync("/").await.unwrap();
    let office = new.set("/master_epoch", "2".into(), Expect::Version(0)).await.unwrap();
    let late = vec![Op::check("/master_epoch", 0), Op::set("/slots", "by 1 again", Expect::Any)];
    assert_eq!(old.multi(late).await, Err(Error::BadVersion { path: "/master_epoch".into() }));
    let fenced = vec![Op::check("/master_epoch", office), Op::set("/slots", "by 2", Expect::Version(0))];
    new.multi(fenced).await.unwrap();
    assert_eq!(old.fresh("/slots").await.unwrap().unwrap().data, "by 2");
}
