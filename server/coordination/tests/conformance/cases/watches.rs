//! Hints, and reading again.

use bytes::Bytes;
use slotkv_coordination::{Expect, Hint, Mode};

use crate::bed::{Bed, SHORT, hint, hint_of};

pub async fn create_set_and_delete_are_told_at_and_below_the_path(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    peer.create("/shards", Bytes::new(), Mode::Persistent).await.unwrap();
    let mut watch = peer.watch("/shards").await.unwrap();
    for path in ["/shards/0", "/shards/0/election/5"] {
        other.create(path, Bytes::new(), Mode::Persistent).await.unwrap();
        hint_of(&mut watch, path).await;
        other.set(path, "1".into(), Expect::Any).await.unwrap();
        hint_of(&mut watch, path).await;
    }
    other.delete("/shards/0/election/5", Expect::Any).await.unwrap();
    hint_of(&mut watch, "/shards/0/election/5").await;
    other.set("/shards", "1".into(), Expect::Any).await.unwrap();
    hint_of(&mut watch, "/shards").await;
}

pub async fn a_missing_node_can_be_watched(bed: Bed) {
    let peer = bed.peer().await;
    let mut watch = peer.watch("/cluster").await.unwrap();
    assert_eq!(peer.get("/cluster").await, Ok(None));
    bed.peer().await.create("/cluster", Bytes::new(), Mode::Persistent).await.unwrap();
    assert_eq!(hint(&mut watch).await, Some(Hint::Changed("/cluster".into())));
}

pub async fn a_watch_tells_again_and_again(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", Bytes::new(), Mode::Persistent).await.unwrap();
    let mut watch = peer.watch("/a").await.unwrap();
    for _ in 0..20 {
        peer.set("/a", Bytes::new(), Expect::Any).await.unwrap();
        assert_eq!(hint(&mut watch).await, Some(Hint::Changed("/a".into())));
    }
}

pub async fn neighbours_with_the_same_beginning_are_not_told(bed: Bed) {
    let peer = bed.peer().await;
    let mut watch = peer.watch("/a").await.unwrap();
    for path in ["/ab", "/b/a", "/a"] {
        peer.create(path, Bytes::new(), Mode::Persistent).await.unwrap();
    }
    assert_eq!(hint(&mut watch).await, Some(Hint::Changed("/a".into())));
}

pub async fn two_watches_on_one_path_both_tell(bed: Bed) {
    let peer = bed.peer().await;
    let mut first = peer.watch("/a").await.unwrap();
    let mut second = peer.watch("/a").await.unwrap();
    let mut above = peer.watch("/").await.unwrap();
    peer.create("/a", Bytes::new(), Mode::Persistent).await.unwrap();
    for watch in [&mut first, &mut second, &mut above] {
        hint_of(watch, "/a").await;
    }
    drop(first);
    peer.set("/a", Bytes::new(), Expect::Any).await.unwrap();
    hint_of(&mut second, "/a").await;
    hint_of(&mut above, "/a").await;
}

pub async fn a_path_can_be_watched_again_after_its_watch_was_dropped(bed: Bed) {
    let peer = bed.peer().await;
    peer.create("/a", Bytes::new(), Mode::Persistent).await.unwrap();
    for _ in 0..10 {
        drop(peer.watch("/a").await.unwrap());
        let elsewhere = peer.watch("/b").await.unwrap();
        let mut watch = peer.watch("/a").await.unwrap();
        peer.set("/a", Bytes::new(), Expect::Any).await.unwrap();
        assert_eq!(hint(&mut watch).await, Some(Hint::Changed("/a".into())));
        drop(elsewhere);
    }
}

pub async fn a_watch_ends_with_its_session(bed: Bed) {
    let closed = bed.peer().await;
    let expired = bed.peer_for(SHORT).await;
    let mut watches = [closed.watch("/").await.unwrap(), expired.watch("/").await.unwrap()];
    closed.close().await;
    expired.cut().await;
    for watch in &mut watches {
        while hint(watch).await.is_some() {}
        assert_eq!(hint(watch).await, None);
    }
}

pub async fn a_break_is_told_as_lost_and_later_changes_are_told(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    let mut watch = peer.watch("/a").await.unwrap();
    for number in 0..3 {
        peer.blink().await;
        while hint(&mut watch).await != Some(Hint::Lost) {}
        let path = format!("/a/{number}");
        other.create(&path, Bytes::new(), Mode::Persistent).await.unwrap();
        hint_of(&mut watch, &path).await;
    }
}

pub async fn a_change_during_a_break_is_found_by_reading_again(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer().await;
    other.create("/a", "old".into(), Mode::Persistent).await.unwrap();
    let mut watch = peer.watch("/a").await.unwrap();
    peer.cut().await;
    other.set("/a", "new".into(), Expect::Any).await.unwrap();
    peer.heal();
    while hint(&mut watch).await != Some(Hint::Lost) {}
    let node = peer.insist(|| peer.fresh("/a")).await.unwrap();
    assert_eq!(node.data, "new");
}

pub async fn the_end_of_another_session_is_told(bed: Bed) {
    let peer = bed.peer().await;
    let other = bed.peer_for(SHORT).await;
    other.create("/masters/1", Bytes::new(), Mode::Ephemeral).await.unwrap();
    let mut watch = peer.watch("/masters/1").await.unwrap();
    peer.sync("/").await.unwrap();
    other.cut().await;
    hint_of(&mut watch, "/masters/1").await;
    peer.until("/masters/1", |node| node.is_none()).await;
}
