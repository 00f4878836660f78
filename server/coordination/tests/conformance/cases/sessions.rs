//! Sessions: breaks, expiry, and what follows.

use bytes::Bytes;
use slotkv_coordination::{Error, Expect, Mode, Op, Session, SessionState};

use crate::bed::{Bed, LONG, SHORT, WAIT_MAX};

pub async fn a_new_session_is_connected_and_has_its_own_id(bed: Bed) {
    let first = bed.peer().await;
    let second = bed.peer_for(SHORT).await;
    assert_eq!(first.state_now(), SessionState::Connected);
    assert_ne!(first.id(), second.id());
    assert_eq!((first.timeout(), second.timeout()), (LONG, SHORT));
}

pub async fn operations_without_connection_fail_and_are_never_applied(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    peer.create("/a", "before".into(), Mode::Persistent).await.unwrap();
    peer.cut().await;
    for failed in every_operation(&*peer).await {
        assert_eq!(failed, Err(Error::Disconnected { unknown: false }));
    }
    peer.heal();
    peer.reach(SessionState::Connected).await;
    peer.insist(|| peer.create("/last", Bytes::new(), Mode::Persistent)).await;
    other.sync("/").await.unwrap();
    assert_eq!(other.children("/").await.unwrap(), ["a", "last"]);
    assert_eq!(other.get("/a").await.unwrap().unwrap().data, "before");
}

pub async fn a_short_break_keeps_the_session_and_its_nodes(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    peer.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    let id = peer.id();
    peer.blink().await;
    assert_eq!(peer.id(), id);
    let node = peer.insist(|| peer.get("/a")).await.unwrap();
    assert_eq!(node.owner, Some(id));
    assert!(other.fresh("/a").await.unwrap().is_some());
}

pub async fn expiry_while_disconnected_is_learned_on_return(bed: Bed) {
    let peer = bed.peer_for(SHORT).await;
    let other = bed.peer().await;
    peer.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    peer.cut().await;
    other.until("/a", |node| node.is_none()).await;
    peer.heal();
    peer.reach(SessionState::Expired).await;
    assert_eq!(peer.get("/a").await, Err(Error::Expired));
}

pub async fn expiry_while_disconnected_is_assumed_without_return(bed: Bed) {
    let peer = bed.peer_for(SHORT).await;
    peer.cut().await;
    peer.reach(SessionState::Expired).await;
    assert_eq!(peer.get("/a").await, Err(Error::Expired));
    peer.heal();
    assert_eq!(peer.get("/a").await, Err(Error::Expired));
}

pub async fn nodes_of_a_cut_off_session_vanish_before_its_owner_knows(bed: Bed) {
    let peer = bed.peer_for(SHORT * 6).await;
    let other = bed.peer().await;
    peer.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    peer.cut().await;
    other.until("/a", |node| node.is_none()).await;
    // The owner waits longer than the coordinator, by 0.4 of the timeout: it may still hope for its session.
    assert_eq!(peer.state_now(), SessionState::Disconnected);
    assert_eq!(peer.get("/a").await, Err(Error::Disconnected { unknown: false }));
    peer.reach(SessionState::Expired).await;
}

pub async fn an_expired_session_refuses_everything(bed: Bed) {
    let peer = bed.peer_for(SHORT).await;
    peer.cut().await;
    peer.reach(SessionState::Expired).await;
    peer.heal();
    for failed in every_operation(&*peer).await {
        assert_eq!(failed, Err(Error::Expired));
    }
    assert!(Error::Expired.is_over());
}

pub async fn a_closed_session_refuses_everything_for_good(bed: Bed) {
    let peer = bed.peer().await;
    peer.close().await;
    for failed in every_operation(&*peer).await {
        assert_eq!(failed, Err(Error::Closed));
    }
    peer.close().await;
    assert_eq!(peer.state_now(), SessionState::Closed);
    let cut = bed.peer().await;
    cut.cut().await;
    cut.close().await;
    assert_eq!(cut.state_now(), SessionState::Closed);
}

pub async fn a_new_session_takes_over_after_expiry(bed: Bed) {
    let mut number = 0;
    let mut old = bed.peer_for(SHORT).await;
    for _ in 0..2 {
        let path = old.create("/masters/", Bytes::new(), Mode::EphemeralSequential).await.unwrap();
        let next: u64 = path["/masters/".len()..].parse().unwrap();
        assert!(next >= number, "{next} after {number}");
        number = next + 1;
        old.cut().await;
        old.reach(SessionState::Expired).await;
        let new = bed.peer_for(SHORT).await;
        assert_ne!(new.id(), old.id());
        new.until(&path, |node| node.is_none()).await;
        old = new;
    }
}

pub async fn an_unreachable_coordinator_is_named_in_bounded_time(bed: Bed) {
    let (coordinator, name) = bed.unreachable().await;
    let opening = tokio::time::timeout(WAIT_MAX, coordinator.open(SHORT)).await;
    let error = opening.expect("open took too long").expect_err("nobody is there");
    assert!(matches!(&error, Error::Unavailable { .. }) && error.to_string().contains(name), "{error}");
}

async fn every_operation(session: &dyn Session) -> Vec<Result<(), Error>> {
    vec![
        session.get("/a").await.map(drop),
        session.children("/a").await.map(drop),
        session.create("/created", Bytes::new(), Mode::Persistent).await.map(drop),
        session.set("/a", "late".into(), Expect::Any).await.map(drop),
        session.delete("/a", Expect::Any).await,
        session.multi(vec![Op::set("/a", "late", Expect::Any)]).await.map(drop),
        session.sync("/a").await,
        session.watch("/a").await.map(drop),
    ]
}
