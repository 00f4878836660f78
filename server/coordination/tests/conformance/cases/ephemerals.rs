//! Nodes that vanish with their session.

use bytes::Bytes;
use slotkv_coordination::{Error, Expect, Mode, Op, SessionState};

use crate::bed::{Bed, SHORT};

pub async fn an_ephemeral_node_names_its_session(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    peer.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    assert_eq!(other.fresh("/a").await.unwrap().unwrap().owner, Some(peer.id()));
    assert_ne!(peer.id(), other.id());
}

pub async fn an_ephemeral_node_vanishes_on_close(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    peer.create("/live/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    peer.close().await;
    assert_eq!(peer.state_now(), SessionState::Closed);
    assert_eq!(other.fresh("/live/a").await, Ok(None));
    assert!(other.get("/live").await.unwrap().is_some());
}

pub async fn an_ephemeral_node_vanishes_after_its_session_was_dropped(bed: Bed) {
    let peer = bed.peer_for(SHORT).await;
    let other = bed.peer().await;
    peer.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    drop(peer);
    other.until("/a", |node| node.is_none()).await;
}

pub async fn an_ephemeral_node_has_no_children(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    for path in ["/a/b", "/a/b/c"] {
        let refused = peer.create(path, Bytes::new(), Mode::Persistent).await;
        assert_eq!(refused, Err(Error::NoChildrenForEphemerals { path: path.into() }));
    }
}

pub async fn closing_one_session_leaves_the_nodes_of_another(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    peer.create("/live/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    other.create("/live/b", Bytes::new(), Mode::Ephemeral).await.unwrap();
    peer.close().await;
    other.sync("/").await.unwrap();
    assert_eq!(other.children("/live").await.unwrap(), ["b"]);
}

pub async fn a_node_of_an_earlier_session_is_told_apart(bed: Bed) {
    let earlier = bed.peer_for(SHORT).await;
    earlier.create("/live/w1", "run 1".into(), Mode::Ephemeral).await.unwrap();
    earlier.cut().await;
    // The same process comes back in a new session and finds the node that its earlier one left behind.
    let later = bed.peer().await;
    if let Some(left) = later.fresh("/live/w1").await.unwrap() {
        assert_eq!(left.owner, Some(earlier.id()));
        assert_ne!(left.owner, Some(later.id()));
    }
    later.until("/live/w1", |node| node.is_none()).await;
    later.create("/live/w1", "run 1".into(), Mode::Ephemeral).await.unwrap();
    assert_eq!(later.fresh("/live/w1").await.unwrap().unwrap().owner, Some(later.id()));
}

pub async fn a_replaced_node_survives_the_expiry_of_its_first_session(bed: Bed) {
    let earlier = bed.peer_for(SHORT).await;
    earlier.create("/live/w1", Bytes::new(), Mode::Ephemeral).await.unwrap();
    earlier.create("/live/other", Bytes::new(), Mode::Ephemeral).await.unwrap();
    let later = bed.peer().await;
    let replace =
        vec![Op::delete("/live/w1", Expect::Version(0)), Op::create("/live/w1", "new", Mode::Ephemeral)];
    later.multi(replace).await.unwrap();
    earlier.cut().await;
    later.until("/live/other", |node| node.is_none()).await;
    let node = later.fresh("/live/w1").await.unwrap().unwrap();
    assert_eq!((node.data, node.owner), ("new".into(), Some(later.id())));
}

pub async fn the_lowest_of_three_candidates_leads_until_it_goes(bed: Bed) {
    let peers = [bed.peer_for(SHORT).await, bed.peer().await, bed.peer().await];
    let mut nodes = Vec::new();
    for peer in &peers {
        nodes.push(peer.create("/masters/", Bytes::new(), Mode::EphemeralSequential).await.unwrap());
    }
    let lowest = async || {
        peers[2].sync("/").await.unwrap();
        format!("/masters/{}", peers[2].children("/masters").await.unwrap()[0])
    };
    assert_eq!(lowest().await, nodes[0]);
    peers[0].cut().await;
    // Each watches only its predecessor.
    peers[1].until(&nodes[0], |node| node.is_none()).await;
    assert_eq!(lowest().await, nodes[1]);
    peers[1].close().await;
    assert_eq!(lowest().await, nodes[2]);
}
