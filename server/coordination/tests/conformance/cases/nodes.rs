//! Nodes, their versions and their limits.

use bytes::Bytes;
use slotkv_coordination::{Error, Expect, Mode::Persistent, SessionState, coordinator::NODE_BYTES_MAX};

use crate::bed::Bed;

pub async fn a_created_node_is_read_back_at_version_zero(bed: Bed) {
    let peer = bed.peer().await;
    assert_eq!(peer.create("/a", "one".into(), Persistent).await.unwrap(), "/a");
    let node = peer.get("/a").await.unwrap().unwrap();
    assert_eq!((node.data, node.version, node.owner), ("one".into(), 0, None));
}

pub async fn a_missing_node_reads_as_none_without_children(bed: Bed) {
    let peer = bed.peer().await;
    assert_eq!(peer.get("/none/at/all").await, Ok(None));
    assert_eq!(peer.children("/none").await, Ok(vec![]));
    assert_eq!(peer.children("/").await, Ok(vec![]));
}

pub async fn create_makes_missing_parents_persistent_and_empty(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a/b/c", "leaf".into(), Persistent).await.unwrap();
    let parent = peer.get("/a/b").await.unwrap().unwrap();
    assert_eq!((parent.data.len(), parent.version, parent.owner), (0, 0, None));
    assert_eq!(peer.children("/").await.unwrap(), ["a"]);
    peer.create("/a/b/d", "leaf".into(), Persistent).await.unwrap();
    assert_eq!(peer.children("/a/b").await.unwrap(), ["c", "d"]);
}

pub async fn creating_an_existing_node_is_refused(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", "one".into(), Persistent).await.unwrap();
    let refused = peer.create("/a", "two".into(), Persistent).await;
    assert_eq!(refused, Err(Error::NodeExists { path: "/a".into() }));
    assert_eq!(peer.get("/a").await.unwrap().unwrap().data, "one");
}

pub async fn set_counts_versions(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", Bytes::new(), Persistent).await.unwrap();
    assert_eq!(peer.set("/a", "1".into(), Expect::Version(0)).await, Ok(1));
    assert_eq!(peer.set("/a", "2".into(), Expect::Any).await, Ok(2));
    assert_eq!(peer.set("/a", "3".into(), Expect::Version(2)).await, Ok(3));
    let node = peer.get("/a").await.unwrap().unwrap();
    assert_eq!((node.data, node.version), ("3".into(), 3));
}

pub async fn set_of_a_missing_node_is_refused(bed: Bed) {
    let peer = bed.peer().await;
    for expect in [Expect::Any, Expect::Version(0)] {
        let refused = peer.set("/a", Bytes::new(), expect).await;
        assert_eq!(refused, Err(Error::NoNode { path: "/a".into() }));
    }
}

pub async fn set_with_an_old_version_is_refused_and_changes_nothing(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", "0".into(), Persistent).await.unwrap();
    peer.set("/a", "1".into(), Expect::Any).await.unwrap();
    let refused = peer.set("/a", "2".into(), Expect::Version(0)).await;
    assert_eq!(refused, Err(Error::BadVersion { path: "/a".into() }));
    let node = peer.get("/a").await.unwrap().unwrap();
    assert_eq!((node.data, node.version), ("1".into(), 1));
}

pub async fn a_version_that_cannot_be_is_refused(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", "0".into(), Persistent).await.unwrap();
    for version in [7, u64::from(u32::MAX) + 1, u64::MAX] {
        let refused = peer.set("/a", "1".into(), Expect::Version(version)).await;
        assert_eq!(refused, Err(Error::BadVersion { path: "/a".into() }), "{version}");
    }
    assert_eq!(peer.get("/a").await.unwrap().unwrap().version, 0);
}

pub async fn delete_with_an_old_version_is_refused(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", "0".into(), Persistent).await.unwrap();
    peer.set("/a", "1".into(), Expect::Any).await.unwrap();
    let refused = peer.delete("/a", Expect::Version(0)).await;
    assert_eq!(refused, Err(Error::BadVersion { path: "/a".into() }));
    peer.delete("/a", Expect::Version(1)).await.unwrap();
    assert_eq!(peer.get("/a").await, Ok(None));
}

pub async fn deleting_a_missing_node_is_refused(bed: Bed) {
    let peer = bed.peer().await;
    assert_eq!(peer.delete("/a", Expect::Any).await, Err(Error::NoNode { path: "/a".into() }));
}

pub async fn a_node_with_children_is_not_deleted(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a/b", Bytes::new(), Persistent).await.unwrap();
    assert_eq!(peer.delete("/a", Expect::Any).await, Err(Error::NotEmpty { path: "/a".into() }));
    peer.delete("/a/b", Expect::Any).await.unwrap();
    peer.delete("/a", Expect::Any).await.unwrap();
}

pub async fn children_are_sorted_and_direct_ones_only(bed: Bed) {
    let peer = bed.peer().await;
    for path in ["/a/z", "/a/b/c", "/a/10", "/a/9", "/ab/x", "/a/b-"] {
        peer.create(path, Bytes::new(), Persistent).await.unwrap();
    }
    assert_eq!(peer.children("/a").await.unwrap(), ["10", "9", "b", "b-", "z"]);
    assert_eq!(peer.children("/").await.unwrap(), ["a", "ab"]);
    assert_eq!(peer.children("/a/z").await.unwrap(), Vec::<String>::new());
}

pub async fn a_recreated_node_starts_at_version_zero(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", Bytes::new(), Persistent).await.unwrap();
    peer.set("/a", "1".into(), Expect::Any).await.unwrap();
    peer.delete("/a", Expect::Any).await.unwrap();
    peer.create("/a", Bytes::new(), Persistent).await.unwrap();
    assert_eq!(peer.get("/a").await.unwrap().unwrap().version, 0);
}

pub async fn empty_and_binary_bytes_survive(bed: Bed) {
    let peer = bed.peer().await;
    let all: Bytes = (0..=255u8).collect::<Vec<u8>>().into();
    peer.create("/binary", all.clone(), Persistent).await.unwrap();
    peer.create("/empty", Bytes::new(), Persistent).await.unwrap();
    assert_eq!(peer.get("/binary").await.unwrap().unwrap().data, all);
    assert_eq!(peer.get("/empty").await.unwrap().unwrap().data, Bytes::new());
}

pub async fn a_node_at_the_limit_is_kept_and_past_it_refused(bed: Bed) {
    let peer = bed.peer().await;
    let most = Bytes::from(vec![7; NODE_BYTES_MAX]);
    peer.create("/a", most.clone(), Persistent).await.unwrap();
    assert_eq!(peer.get("/a").await.unwrap().unwrap().data, most);
    let more = Bytes::from(vec![7; NODE_BYTES_MAX + 1]);
    let refusals = [
        peer.set("/a", more.clone(), Expect::Any).await.map(drop),
        peer.create("/b", more, Persistent).await.map(drop),
    ];
    for refused in refusals {
        assert!(matches!(refused, Err(Error::TooLarge { max: NODE_BYTES_MAX, .. })), "{refused:?}");
    }
    assert_eq!(peer.state_now(), SessionState::Connected);
    assert_eq!(peer.get("/b").await, Ok(None));
}

pub async fn malformed_paths_are_refused(bed: Bed) {
    let peer = bed.peer().await;
    for path in ["", "a", "/a/", "//", "/a//b", "/a/../b", "/a b", "/\u{1f600}"] {
        let refusals = [
            peer.create(path, Bytes::new(), Persistent).await.map(drop),
            peer.set(path, Bytes::new(), Expect::Any).await.map(drop),
            peer.delete(path, Expect::Any).await,
            peer.get(path).await.map(drop),
            peer.children(path).await.map(drop),
            peer.watch(path).await.map(drop),
            peer.sync(path).await,
        ];
        for refused in refusals {
            assert!(matches!(refused, Err(Error::Invalid(_))), "{path:?}: {refused:?}");
        }
    }
    let root = peer.delete("/", Expect::Any).await;
    assert!(matches!(root, Err(Error::Invalid(_))), "{root:?}");
    assert_eq!(peer.state_now(), SessionState::Connected);
}

pub async fn of_racing_writers_on_one_version_one_wins(bed: Bed) {
    let first = bed.peer().await;
    let second = bed.peer().await;
    first.create("/a", Bytes::new(), Persistent).await.unwrap();
    second.sync("/a").await.unwrap();
    let writes = (0..20).map(|number| {
        let peer = if number % 2 == 0 { &first } else { &second };
        peer.set("/a", number.to_string().into(), Expect::Version(0))
    });
    let outcomes = futures_util::future::join_all(writes).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(1)).count(), 1, "{outcomes:?}");
    let lost = Err(Error::BadVersion { path: "/a".into() });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == lost).count(), 19, "{outcomes:?}");
    let winner = outcomes.iter().position(Result::is_ok).unwrap();
    assert_eq!(first.fresh("/a").await.unwrap().unwrap().data, winner.to_string());
}

/// With several servers the sessions are on different ones, the leader among them: ZooKeeper's own sync is not enough.
pub async fn writes_of_others_are_seen_after_sync(bed: Bed) {
    let mut peers = Vec::new();
    for _ in 0..6 {
        peers.push(bed.peer().await);
    }
    peers[0].create("/a", Bytes::new(), Persistent).await.unwrap();
    for version in 1..=300 {
        let writer = version as usize % peers.len();
        peers[writer].insist(|| peers[writer].sync("/a")).await;
        peers[writer].set("/a", Bytes::new(), Expect::Any).await.unwrap();
        let reads = peers.iter().map(|reader| reader.fresh("/a"));
        for (index, read) in futures_util::future::join_all(reads).await.into_iter().enumerate() {
            assert_eq!(read.unwrap().unwrap().version, version, "written by {writer}, read by {index}");
        }
    }
}
