//! Masters on a real ZooKeeper: what the embedded coordinator promises to be like.

mod common;

use std::{sync::Arc, time::Duration};

use common::{options, shard};
use slotkv_coordination::{Coordinator, Mode, ensemble::Ensemble, paths, registers::Register};
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
    let created = timeout(STEP_MAX, async {
        while outside.create(&paths::shard(7), late.encode().unwrap(), Mode::Persistent).await.is_err() {
            if outside.get(&paths::shard(7)).await.is_ok_and(|node| node.is_some()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    created.await.unwrap();
    assert!(either_leads(&second, &third).await >= 2);
    let mut views = second.view();
    let seen = views.wait_for(|view| view.shards.contains_key(&7) && view.connected);
    let view = timeout(STEP_MAX, seen).await.unwrap().unwrap().clone();
    assert_eq!(view.slots.version, 1, "nothing moves");
    second.shutdown().await;
    third.shutdown().await;
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
