//! Writes whose outcome their author does not learn.

use bytes::Bytes;
use slotkv_coordination::{Error, Expect, Mode, Op, SessionState, embedded::WriteFate};

use crate::bed::{Bed, Peer};

const UNKNOWN: Error = Error::Disconnected { unknown: true };
const FATES: [WriteFate; 2] = [WriteFate::Applied, WriteFate::Lost];

async fn back(peer: &Peer) {
    peer.reach(SessionState::Connected).await;
}

pub async fn a_write_whose_answer_is_lost_is_unknown_and_applied(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    peer.create("/a", "old".into(), Mode::Persistent).await.unwrap();
    peer.next_write(WriteFate::Applied);
    let outcome = peer.set("/a", "new".into(), Expect::Version(0)).await;
    assert_eq!(outcome, Err(UNKNOWN));
    assert!(UNKNOWN.is_unknown());
    let node = other.fresh("/a").await.unwrap().unwrap();
    assert_eq!((node.data, node.version), ("new".into(), 1));
    // The session goes on.
    let id = peer.id();
    back(&peer).await;
    assert_eq!(peer.insist(|| peer.get("/a")).await.unwrap().version, 1);
    assert_eq!(peer.id(), id);
}

pub async fn a_write_that_is_lost_is_unknown_and_not_applied(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    peer.create("/a", "old".into(), Mode::Persistent).await.unwrap();
    peer.next_write(WriteFate::Lost);
    assert_eq!(peer.set("/a", "new".into(), Expect::Version(0)).await, Err(UNKNOWN));
    back(&peer).await;
    let node = peer.insist(|| peer.fresh("/a")).await.unwrap();
    assert_eq!((node.data, node.version), ("old".into(), 0));
    assert_eq!(other.fresh("/a").await.unwrap().unwrap().version, 0);
}

pub async fn a_repeated_compare_and_set_finds_out_what_happened(bed: Bed) {
    let peer = bed.peer().await;
    for (fate, repeated) in [(WriteFate::Applied, Err(())), (WriteFate::Lost, Ok(1))] {
        let path = format!("/{fate:?}");
        peer.create(&path, "old".into(), Mode::Persistent).await.unwrap();
        peer.next_write(fate);
        assert_eq!(peer.set(&path, "new".into(), Expect::Version(0)).await, Err(UNKNOWN));
        back(&peer).await;
        // The same compare-and-set with the same version cannot be applied twice.
        let again = peer.set(&path, "new".into(), Expect::Version(0)).await;
        assert_eq!(
            again.map_err(|error| assert_eq!(error, Error::BadVersion { path: path.clone() })),
            repeated
        );
        let node = peer.get(&path).await.unwrap().unwrap();
        assert_eq!((node.data, node.version), ("new".into(), 1));
    }
}

pub async fn an_unknown_sequential_node_is_found_by_its_owner(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    other.create("/masters/", "other".into(), Mode::EphemeralSequential).await.unwrap();
    for (fate, expected) in [(WriteFate::Lost, 0), (WriteFate::Applied, 1)] {
        peer.next_write(fate);
        let outcome = peer.create("/masters/", "me".into(), Mode::EphemeralSequential).await;
        assert_eq!(outcome, Err(UNKNOWN));
        back(&peer).await;
        peer.insist(|| peer.sync("/")).await;
        let mut mine = 0;
        for name in peer.children("/masters").await.unwrap() {
            let node = peer.get(&format!("/masters/{name}")).await.unwrap().unwrap();
            mine += usize::from(node.owner == Some(peer.id()));
        }
        assert_eq!(mine, expected, "{fate:?}");
    }
}

pub async fn an_unknown_multi_is_all_or_nothing(bed: Bed) {
    let peer = bed.peer().await;
    for fate in FATES {
        let root = format!("/{fate:?}");
        peer.create(&root, Bytes::new(), Mode::Persistent).await.unwrap();
        peer.next_write(fate);
        let steps = vec![
            Op::set(root.clone(), "1", Expect::Version(0)),
            Op::create(format!("{root}/a"), "", Mode::Persistent),
            Op::create(format!("{root}/b"), "", Mode::Ephemeral),
        ];
        assert_eq!(peer.multi(steps).await, Err(UNKNOWN));
        back(&peer).await;
        let version = peer.insist(|| peer.fresh(&root)).await.unwrap().version;
        let children = peer.children(&root).await.unwrap();
        match fate {
            WriteFate::Applied => assert_eq!((version, children.len()), (1, 2)),
            WriteFate::Lost => assert_eq!((version, children.len()), (0, 0)),
        }
    }
}

pub async fn an_unknown_create_of_an_ephemeral_node_is_settled_by_its_owner(bed: Bed) {
    let peer = bed.peer().await;
    for fate in FATES {
        let path = format!("/members/{fate:?}");
        peer.create("/members/x", Bytes::new(), Mode::Persistent).await.ok();
        peer.next_write(fate);
        assert_eq!(peer.create(&path, Bytes::new(), Mode::Ephemeral).await, Err(UNKNOWN));
        back(&peer).await;
        match peer.insist(|| peer.fresh(&path)).await {
            Some(node) => assert_eq!((node.owner, fate), (Some(peer.id()), WriteFate::Applied)),
            None => {
                assert_eq!(fate, WriteFate::Lost);
                peer.create(&path, Bytes::new(), Mode::Ephemeral).await.unwrap();
            }
        }
    }
}
