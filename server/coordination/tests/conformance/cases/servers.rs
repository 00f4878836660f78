//! Servers that die, stand still and come back.

use bytes::Bytes;
use slotkv_coordination::{Expect, Mode, SessionState};

use crate::bed::{Bed, hint_of};

pub async fn a_killed_leader_costs_no_session_node_or_watch(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    let ids = (peer.id(), other.id());
    peer.create("/a", "before".into(), Mode::Persistent).await.unwrap();
    peer.create("/live", Bytes::new(), Mode::Ephemeral).await.unwrap();
    let mut watch = peer.watch("/a").await.unwrap();

    let down = bed.kill_leader().await;
    if bed.survives_a_server() {
        // The two that are left elect one and go on.
        let version = other.insist(|| set_at_least_once(&other, "/a", "without")).await;
        assert!(version >= 1);
        down.bring_back().await;
    } else {
        other.reach(SessionState::Disconnected).await;
        down.bring_back().await;
        other.insist(|| set_at_least_once(&other, "/a", "without")).await;
    }
    hint_of(&mut watch, "/a").await;
    let node = peer.insist(|| peer.fresh("/a")).await.unwrap();
    assert_eq!(node.data, "without");
    assert_eq!(peer.insist(|| peer.fresh("/live")).await.unwrap().owner, Some(peer.id()));
    other.insist(|| set_at_least_once(&other, "/a", "after")).await;
    hint_of(&mut watch, "/a").await;
    assert_eq!((peer.id(), other.id()), ids);
    assert_eq!(peer.state_now(), SessionState::Connected);
}

pub async fn a_paused_leader_is_survived(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", "before".into(), Mode::Persistent).await.unwrap();
    peer.create("/live", Bytes::new(), Mode::Ephemeral).await.unwrap();
    let down = bed.pause_leader().await;
    let resumed = if bed.survives_a_server() {
        peer.insist(|| set_at_least_once(&peer, "/a", "without")).await;
        down.bring_back().await;
        "without"
    } else {
        down.bring_back().await;
        "before"
    };
    assert_eq!(peer.insist(|| peer.fresh("/a")).await.unwrap().data, resumed);
    let version = peer.insist(|| set_at_least_once(&peer, "/a", "after")).await;
    assert!(version >= 1);
    assert_eq!(peer.insist(|| peer.fresh("/live")).await.unwrap().owner, Some(peer.id()));
}

pub async fn an_outage_of_all_servers_is_survived(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", "before".into(), Mode::Persistent).await.unwrap();
    peer.create("/live", Bytes::new(), Mode::Ephemeral).await.unwrap();
    let down = bed.kill_all().await;
    peer.reach(SessionState::Disconnected).await;
    assert!(peer.get("/a").await.is_err());
    down.bring_back().await;
    peer.reach(SessionState::Connected).await;
    let node = peer.insist(|| peer.fresh("/a")).await.unwrap();
    assert_eq!((node.data, node.version), ("before".into(), 0));
    assert_eq!(peer.insist(|| peer.fresh("/live")).await.unwrap().owner, Some(peer.id()));
}

/// Repeated over breaks, this may be applied more than once.
async fn set_at_least_once(
    peer: &crate::bed::Peer,
    path: &str,
    data: &'static str,
) -> Result<u64, slotkv_coordination::Error> {
    peer.set(path, data.into(), Expect::Any).await
}
