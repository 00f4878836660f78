//! Masters on a real ZooKeeper: what the embedded coordinator promises to be like.

mod common;

use std::{sync::Arc, time::Duration};

use common::{options, shard};
use slotkv_coordination::{
    Coordinator, Error, Expect, Mode, Session,
    ensemble::Ensemble,
    paths,
    registers::{MasterEpoch, MasterRecord, Register, Slots},
};
use slotkv_master::{Master, MasterOptions};
use slotkv_proto::seam::SystemChance;
use tokio::time::timeout;

/// A step that takes longer hangs.
const STEP_MAX: Duration = Duration::from_secs(60);

#[tokio::test]
async fn masters_found_a_cluster_give_out_its_slots_and_follow_each_other_on_zookeeper() {
    if Ensemble::skips("masters on ZooKeeper") {
        return;
    }
    let ensemble = Ensemble::start(3).await.unwrap();
    let start = |number: usize| {
        let coordinator: Arc<dyn Coordinator> =
            slotkv_coordination::uri::parse(&ensemble.uri("/masters-test")).unwrap();
        let options = MasterOptions { session_timeout: Duration::from_secs(4), ..options(number, 2) };
        Master::start(options, coordinator, Arc::new(SystemChance)).unwrap()
    };
    let first = start(0);
    assert_eq!(leads(&first).await, 1);
    let (second, third) = (start(1), start(2));

    let uri = ensemble.uri("/masters-test");
    let outside = slotkv_coordination::uri::parse(&uri).unwrap().open(Duration::from_secs(4)).await.unwrap();
    for id in 0..2 {
        outside.create(&paths::shard(id), shard(1.0).encode().unwrap(), Mode::Persistent).await.unwrap();
    }
    for master in [&first, &second, &third] {
        let mut views = master.view();
        let allocated = views.wait_for(|view| view.slots.version > 0 && view.masters.len() == 3);
        let view = timeout(STEP_MAX, allocated).await.unwrap().unwrap().clone();
        assert_eq!(view.slots.owners, [(0, 511, 0), (512, 1023, 1)]);
        assert_eq!(view.masters[0], "127.0.0.1:7700");
    }

    first.shutdown().await;
    assert_eq!(either_leads(&second, &third).await, 2);

    // The masters and their leader's office outlive the death of the ensemble's leader, or are renewed after it.
    ensemble.kill(ensemble.leader().await.unwrap());
    let late = shard(1.0);
    until("the ensemble takes writes again", async || {
        let created = outside.create(&paths::shard(7), late.encode().unwrap(), Mode::Persistent).await;
        created.is_ok() || outside.get(&paths::shard(7)).await.is_ok_and(|node| node.is_some())
    })
    .await;
    let mut leader = None;
    until("the first of the queue leads, in the epoch that the register names", async || {
        leader = registered(&*outside).await.filter(|(address, epoch)| {
            let masters = [("127.0.0.1:7701", &second), ("127.0.0.1:7702", &third)];
            masters.into_iter().any(|(own, master)| {
                let standing = master.standing().borrow().clone();
                own == address && standing.leads() && standing.epoch == *epoch
            })
        });
        leader.is_some()
    })
    .await;
    assert!(leader.clone().unwrap().1 >= 2, "{leader:?}");

    // And it can write, which only the master of that epoch can: slots that are taken away are given out again.
    until("the slots are gone", async || match outside.delete(paths::SLOTS, Expect::Any).await {
        Ok(()) | Err(Error::NoNode { .. }) => true,
        Err(_) => false,
    })
    .await;
    let mut given = None;
    until("the leader has written", async || {
        given = outside.get(paths::SLOTS).await.ok().flatten();
        given.is_some()
    })
    .await;
    let given = Slots::decode(paths::SLOTS, &given.unwrap().data).unwrap();
    assert_eq!(given.owners.iter().map(|run| run.2).collect::<Vec<_>>(), [0, 1, 7]);

    let mut views = second.view();
    // Before the slots were taken away the leader may have planned to move some to the late shard, and goes on with that.
    let has_slots = |shard: u32, slots: &Slots| slots.owners.iter().any(|run| run.2 == shard);
    let seen = views.wait_for(|view| has_slots(7, &view.slots) && view.connected);
    let view = timeout(STEP_MAX, seen).await.unwrap().unwrap().clone();
    // Nobody serves here, so whatever is planned, nothing moves.
    assert_eq!(view.slots.owners, given.owners);
    second.shutdown().await;
    third.shutdown().await;
}

/// Address of the first of the queue, and the master epoch, if one read of each goes well.
async fn registered(outside: &dyn Session) -> Option<(String, u64)> {
    outside.sync("/").await.ok()?;
    let first = outside.children(paths::MASTERS).await.ok()?.into_iter().next()?;
    let place = format!("{}{first}", paths::master_prefix());
    let record = outside.get(&place).await.ok()??;
    let epoch = outside.get(paths::MASTER_EPOCH).await.ok()??;
    let epoch = MasterEpoch::decode(paths::MASTER_EPOCH, &epoch.data).ok()?.epoch;
    Some((MasterRecord::decode(&place, &record.data).ok()?.address, epoch))
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let waited = timeout(STEP_MAX, async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within {STEP_MAX:?}: {what}");
}

async fn leads(master: &Master) -> u64 {
    let mut standing = master.standing();
    timeout(STEP_MAX, standing.wait_for(|standing| standing.leads())).await.unwrap().unwrap().epoch
}

async fn either_leads(one: &Master, other: &Master) -> u64 {
    tokio::select! {
        biased;
        epoch = leads(one) => epoch,
        epoch = leads(other) => epoch,
    }
}
