//! An operator has a shard go on with a copy that has missed a hand-over: what is lost is served empty, and anybody who looks is
//! told which slots that are.

use std::time::Duration;

use slotkv_coordination::{
    Expect, paths,
    registers::{MemberRecord, Register, ShardRegister},
};
use slotkv_worker::Options;
use tokio::time::{Instant, sleep};

mod common;
use common::shards::{Client, Cluster, PATIENCE};

const KEYS: usize = 200;
const MOVING: [u16; 3] = [2, 3, 7];
const TARGET: u32 = 1;

fn key(number: usize) -> String {
    format!("key-{number}")
}

/// The register of the target, once it is as it should be.
async fn register(cluster: &Cluster, is: impl Fn(&ShardRegister) -> bool) -> (u64, ShardRegister) {
    let (path, begun) = (paths::shard(TARGET), Instant::now());
    loop {
        let node = cluster.session.get(&path).await.unwrap().unwrap();
        let register = ShardRegister::decode(&path, &node.data).unwrap();
        if is(&register) {
            return (node.version, register);
        }
        assert!(begun.elapsed() < PATIENCE, "{register:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The incarnation of the data of a member that lives.
async fn inc_of(cluster: &Cluster, name: &str) -> String {
    for child in cluster.session.children(paths::MEMBERS).await.unwrap() {
        let path = format!("{}/{child}", paths::MEMBERS);
        let node = cluster.session.get(&path).await.unwrap().unwrap();
        let member = MemberRecord::decode(&path, &node.data).unwrap();
        if member.name == name {
            return member.inc;
        }
    }
    panic!("{name} does not live");
}

/// What every replica of the target that runs says is lost, once the primary names that many.
async fn lost(cluster: &Cluster, count: usize) -> Vec<u32> {
    let begun = Instant::now();
    loop {
        let at = cluster.primary(TARGET).await;
        let told = cluster.machines[at].shard().inspect().await.unwrap();
        if told.lost.len() == count {
            return told.lost;
        }
        assert!(begun.elapsed() < PATIENCE, "{told:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn found(client: &mut Client) -> Vec<usize> {
    let mut found = Vec::new();
    for number in 0..KEYS {
        if client.get(&key(number)).await.is_some() {
            found.push(number);
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn slots_that_an_operator_has_given_up_are_served_empty_and_named_by_whoever_holds_them() {
    // What the log says is kept beside the rows before long, and the log is cut.
    let cuts = |options: &mut Options| (options.segment_bytes, options.checkpoint_bytes) = (4096, 256);
    let mut cluster = Cluster::start(2, cuts).await;
    let mut client = cluster.client(1);
    for number in 0..KEYS {
        client.put(&key(number), "v").await;
    }
    register(&cluster, |register| register.isr.len() == 2).await;
    let primary = cluster.primary(TARGET).await;
    let backup = [2, 3].into_iter().find(|at| *at != primary).unwrap();
    let survivor = cluster.machines[backup].options.name.clone().unwrap();
    cluster.crash(backup);
    register(&cluster, |register| register.isr.len() == 1).await;
    let id = cluster.plan(MOVING.into(), 0, TARGET).await;
    cluster.closed(id).await;
    assert_eq!(found(&mut client).await.len(), KEYS);
    assert!(lost(&cluster, 0).await.is_empty(), "nothing is lost by a hand-over");

    cluster.crash(primary);
    cluster.run(backup).await;
    let recover = Some(format!("{survivor}/{}", inc_of(&cluster, &survivor).await));
    let (version, register) = register(&cluster, |_| true).await;
    let data = ShardRegister { recover, ..register }.encode().unwrap();
    cluster.session.set(&paths::shard(TARGET), data, Expect::Version(version)).await.unwrap();
    assert_eq!(cluster.primary(TARGET).await, backup);
    assert_eq!(lost(&cluster, MOVING.len()).await, MOVING.map(u32::from));
    let slots: Vec<u16> = (0..KEYS).map(|number| client.slot(&key(number))).collect();
    let stays: Vec<usize> = (0..KEYS).filter(|number| !MOVING.contains(&slots[*number])).collect();
    assert_eq!(found(&mut client).await, stays);
    client.put(&key(slots.iter().position(|slot| *slot == 3).unwrap()), "new").await;

    // It stands in the log: another process says the same, until the slots go away.
    cluster.crash(backup);
    cluster.run(backup).await;
    assert_eq!(lost(&cluster, MOVING.len()).await, MOVING.map(u32::from));
    let back = cluster.plan(vec![2, 7], TARGET, 0).await;
    cluster.closed(back).await;
    assert_eq!(lost(&cluster, 1).await, [3]);
    assert_eq!(found(&mut client).await.len(), stays.len() + 1);
}
