//! Standbys on an embedded coordinator, in virtual time: which places they take, when, and how many of them.

use std::{sync::Arc, time::Duration};

use slotkv_coordination::{
    ClusterView, Coordinator, Embedded, Expect, Mode, Session, membership, paths,
    registers::{Ack, Cluster, Durability, MemberRecord, Primary, Register, Replica, Role, ShardRegister},
};
use slotkv_worker::{StartError, standby};
use tokio::{task::JoinHandle, time::Instant};

const AFTER: Duration = Duration::from_secs(10);

struct Bed {
    embedded: Embedded,
    outside: Arc<dyn Session>,
}

fn member(name: &str, shard: Option<u32>) -> MemberRecord {
    MemberRecord {
        name: name.into(),
        run: format!("{name}-run"),
        inc: String::new(),
        role: Role::Worker,
        address: format!("{name}:7710"),
        shard,
        zone: String::new(),
        standing: String::new(),
        since_ms: 0,
        health: Default::default(),
    }
}

/// Of three replicas, those named are in sync.
fn shard(isr: &[&str]) -> ShardRegister {
    let replica = |name: &&str| Replica {
        name: (*name).into(),
        inc: "i".into(),
        run: format!("{name}-run"),
        address: format!("{name}:7710"),
    };
    let primary = Primary { name: isr[0].into(), run: "r".into(), address: "a:1".into() };
    ShardRegister {
        epoch: 1,
        primary: Some(primary),
        isr: isr.iter().map(replica).collect(),
        ack: Ack::One,
        min_isr: 1,
        replicas: 3,
        preferred: None,
        durability: Durability::Sync,
        weight: 1.0,
        loss_epoch: 0,
        recover: None,
    }
}

impl Bed {
    /// Shard 4 with w1, w2 and w3 live and in sync.
    async fn new() -> Self {
        let embedded = Embedded::new();
        let outside = embedded.open(Duration::from_secs(3600)).await.unwrap();
        let cluster = Cluster {
            cluster_id: "c".into(),
            slot_count: 16,
            shards_announced: 1,
            placement: "weighted".into(),
        };
        outside.create(paths::CLUSTER, cluster.encode().unwrap(), Mode::Persistent).await.unwrap();
        let data = shard(&["w1", "w2", "w3"]).encode().unwrap();
        outside.create(&paths::shard(4), data, Mode::Persistent).await.unwrap();
        for name in ["w1", "w2", "w3"] {
            membership::join(&*outside, &member(name, Some(4))).await.unwrap();
        }
        Self { embedded, outside }
    }

    async fn put(&self, register: ShardRegister) {
        self.outside.set(&paths::shard(4), register.encode().unwrap(), Expect::Any).await.unwrap();
    }

    /// w3 dies, and the primary finds that it is away.
    async fn lose_w3(&self) {
        self.outside.delete(&paths::member("w3", "w3-run"), Expect::Any).await.unwrap();
        self.put(shard(&["w1", "w2"])).await;
    }

    /// A standby, with its session for as long as it waits.
    async fn stand_by(&self, name: &str) -> JoinHandle<(Result<u32, StartError>, Arc<dyn Session>)> {
        let session = self.embedded.open(Duration::from_secs(60)).await.unwrap();
        let record = member(name, None);
        let node = paths::member(name, &record.run);
        let task = tokio::spawn(async move {
            let view = ClusterView::start(session.clone());
            (standby::place(&*session, &view, &record, AFTER, || ()).await, session)
        });
        while self.outside.get(&node).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        task
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_the_place_of_a_replica_that_has_been_gone_for_long() {
    let bed = Bed::new().await;
    let standing = bed.stand_by("s1").await;
    tokio::time::sleep(AFTER * 5).await;
    assert!(!standing.is_finished(), "nobody was lost");
    bed.lose_w3().await;
    let begun = Instant::now();
    let (placed, session) = standing.await.unwrap();
    assert_eq!(placed.unwrap(), 4);
    let took = begun.elapsed();
    assert!(took >= AFTER && took < AFTER + Duration::from_secs(1), "{took:?}");
    assert_eq!(&bed.outside.get(&paths::claim(4)).await.unwrap().unwrap().data[..], b"s1");
    standby::release(&*session, 4).await;
    assert_eq!(bed.outside.get(&paths::claim(4)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_comes_back_in_time_keeps_its_place() {
    let bed = Bed::new().await;
    let standing = bed.stand_by("s1").await;
    for _ in 0..3 {
        bed.lose_w3().await;
        tokio::time::sleep(AFTER * 3 / 4).await;
        membership::join(&*bed.outside, &member("w3", Some(4))).await.unwrap();
        tokio::time::sleep(AFTER / 2).await;
    }
    assert!(!standing.is_finished());
    standing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_shard_without_a_primary_and_one_that_still_counts_its_dead_have_no_place() {
    let bed = Bed::new().await;
    let standing = bed.stand_by("s1").await;
    bed.outside.delete(&paths::member("w3", "w3-run"), Expect::Any).await.unwrap();
    tokio::time::sleep(AFTER * 2).await;
    bed.put(ShardRegister { primary: None, ..shard(&["w1", "w2"]) }).await;
    tokio::time::sleep(AFTER * 2).await;
    assert!(!standing.is_finished());
    bed.put(shard(&["w1", "w2"])).await;
    assert_eq!(standing.await.unwrap().0.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn of_two_standbys_one_takes_the_place_and_the_other_the_next() {
    let bed = Bed::new().await;
    let mut first = bed.stand_by("s1").await;
    let mut second = bed.stand_by("s2").await;
    bed.lose_w3().await;
    let ((placed, session), other, name) = tokio::select! {
        done = &mut first => (done.unwrap(), second, "s1"),
        done = &mut second => (done.unwrap(), first, "s2"),
    };
    assert_eq!(placed.unwrap(), 4);
    tokio::time::sleep(AFTER * 2).await;
    assert!(!other.is_finished(), "the place is claimed");
    membership::join(&*session, &member(name, Some(4))).await.unwrap();
    standby::release(&*session, 4).await;
    tokio::time::sleep(AFTER * 2).await;
    assert!(!other.is_finished(), "the place is taken");
    // Whoever took it dies, too.
    session.close().await;
    assert_eq!(other.await.unwrap().0.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_standby_whose_session_is_over_says_so() {
    let bed = Bed::new().await;
    let standing = bed.stand_by("s1").await;
    let session = bed.outside.get(&paths::member("s1", "s1-run")).await.unwrap().unwrap().owner.unwrap();
    bed.embedded.faults().expire(session);
    let error = standing.await.unwrap().0.unwrap_err();
    assert!(matches!(&error, StartError::Coordinator(error) if error.is_over()), "{error}");
}
