//! Joining, leaving, crashing, and shard ids.

use slotkv_coordination::{
    Error, Expect, Mode,
    membership::{allocate_shard_id, join, leave},
    paths,
    registers::{KnownMember, MemberRecord, Register, Role, ShardIds},
};

use crate::bed::{Bed, Peer, SHORT};

pub fn member(name: &str, run: &str) -> MemberRecord {
    MemberRecord {
        name: name.into(),
        run: run.into(),
        inc: "i1".into(),
        role: Role::Worker,
        address: format!("{name}:7710"),
        shard: Some(0),
        zone: String::new(),
        standing: String::new(),
        since_ms: 0,
        health: Default::default(),
    }
}

async fn known(peer: &Peer, name: &str) -> KnownMember {
    let path = paths::known(name);
    KnownMember::decode(&path, &peer.fresh(&path).await.unwrap().unwrap().data).unwrap()
}

pub async fn a_member_that_joined_is_live_and_known(bed: Bed) {
    let peer = bed.peer().await;
    let member = member("w1", "r1");
    join(&*peer, &member).await.unwrap();
    join(&*peer, &member).await.unwrap();
    let path = paths::member("w1", "r1");
    let node = peer.get(&path).await.unwrap().unwrap();
    assert_eq!(node.owner, Some(peer.id()));
    assert_eq!(MemberRecord::decode(&path, &node.data).unwrap(), member);
    assert_eq!(known(&peer, "w1").await, KnownMember { member, left: false });
}

pub async fn a_member_that_left_is_known_to_have_left(bed: Bed) {
    let peer = bed.peer().await;
    let member = member("w1", "r1");
    join(&*peer, &member).await.unwrap();
    leave(&*peer, &member).await.unwrap();
    leave(&*peer, &member).await.unwrap();
    assert_eq!(peer.get(&paths::member("w1", "r1")).await, Ok(None));
    assert!(known(&peer, "w1").await.left);
}

pub async fn a_member_that_crashed_is_known_and_not_live(bed: Bed) {
    let peer = bed.peer_for(SHORT).await;
    let other = bed.peer().await;
    join(&*peer, &member("w1", "r1")).await.unwrap();
    peer.cut().await;
    other.until(&paths::member("w1", "r1"), |node| node.is_none()).await;
    assert!(!known(&other, "w1").await.left);
}

pub async fn a_member_joins_again_in_a_new_session(bed: Bed) {
    let earlier = bed.peer_for(SHORT).await;
    let witness = bed.peer_for(SHORT).await;
    join(&*earlier, &member("w1", "r1")).await.unwrap();
    earlier.create("/witness", "".into(), slotkv_coordination::Mode::Ephemeral).await.unwrap();
    drop(witness);
    earlier.cut().await;
    let later = bed.peer().await;
    join(&*later, &member("w1", "r1")).await.unwrap();
    later.until("/witness", |node| node.is_none()).await;
    let node = later.fresh(&paths::member("w1", "r1")).await.unwrap().unwrap();
    assert_eq!(node.owner, Some(later.id()));
}

pub async fn a_late_leave_does_not_touch_the_next_process(bed: Bed) {
    let first = bed.peer().await;
    let second = bed.peer().await;
    join(&*first, &member("w1", "r1")).await.unwrap();
    join(&*second, &member("w1", "r2")).await.unwrap();
    leave(&*first, &member("w1", "r1")).await.unwrap();
    let known = known(&second, "w1").await;
    assert_eq!((known.member.run.as_str(), known.left), ("r2", false));
    assert!(second.get(&paths::member("w1", "r2")).await.unwrap().is_some());
}

pub async fn shard_ids_are_given_once(bed: Bed) {
    let peers = [bed.peer().await, bed.peer().await];
    // One that an operator gave by hand is not given again.
    peers[0].create(&paths::shard(2), "{}".into(), slotkv_coordination::Mode::Persistent).await.unwrap();
    let takes = (0..6).map(|number| allocate_shard_id(&*peers[number % 2]));
    let mut ids: Vec<u32> =
        futures_util::future::join_all(takes).await.into_iter().map(Result::unwrap).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 3, 4, 5, 6]);
}

pub async fn shard_ids_end_at_the_limit(bed: Bed) {
    let peer = bed.peer().await;
    let last = ShardIds { next: 4095 }.encode().unwrap();
    peer.create(paths::SHARD_IDS, last, Mode::Persistent).await.unwrap();
    assert_eq!(allocate_shard_id(&*peer).await, Ok(4095));
    for next in [4096, u32::MAX - 1, u32::MAX] {
        peer.set(paths::SHARD_IDS, ShardIds { next }.encode().unwrap(), Expect::Any).await.unwrap();
        let error = allocate_shard_id(&*peer).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid(why) if why.contains("at most 4096")), "{next}: {error}");
        let node = peer.fresh(paths::SHARD_IDS).await.unwrap().unwrap();
        assert_eq!(ShardIds::decode(paths::SHARD_IDS, &node.data), Ok(ShardIds { next }));
    }
}
