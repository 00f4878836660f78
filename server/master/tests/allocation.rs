//! Founding the cluster and giving out the slots: once, whatever happens to the masters meanwhile.

mod common;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{
    Masters, SESSION_TIMEOUT, eventually,
    meddler::{Fate, Meddler},
    options, run, shard,
};
use slotkv_coordination::{
    Expect, Mode,
    embedded::Misbehaviour,
    paths,
    registers::{Cluster, Register, ShardRegister},
};
use slotkv_master::{MasterOptions, admin};
use slotkv_proto::{
    SlotCount,
    seam::{Chance, SeededChance},
};
use tokio::time::sleep;

/// Long enough for a leader to have looked several times.
const A_WHILE: Duration = Duration::from_secs(15);

#[test]
fn slots_are_given_out_when_the_announced_shards_have_registered() {
    run(async {
        let masters = Masters::start(2, 3).await;
        for id in [4, 2] {
            masters.put_shard(id, &shard(1.0)).await;
        }
        sleep(A_WHILE).await;
        assert_eq!(masters.slots().await, None);
        let waiting = masters.view(1, |view| view.shards.len() == 2).await;
        let notices = admin::status(&waiting, &Default::default(), "").notices.join("\n");
        assert!(
            notices.contains("when 3 shards have registered and have a primary; so far 2 have"),
            "{notices}"
        );

        masters.put_shard(9, &shard(1.0)).await;
        for which in 0..2 {
            let view = masters.view(which, |view| view.slots.version > 0).await;
            assert_eq!(view.slots.version, 1);
            assert_eq!(view.slots.owners, [(0, 341, 2), (342, 682, 4), (683, 1023, 9)]);
            let table = view.table.as_ref().unwrap();
            assert_eq!((table.owner(0), table.owner(1023)), (Some(2), Some(9)));
            assert_eq!(table.routes().count(), 3);
        }
    });
}

#[test]
fn a_shard_without_a_primary_does_not_count_yet() {
    run(async {
        let masters = Masters::start(1, 2).await;
        masters.put_shard(0, &shard(1.0)).await;
        masters.put_shard(1, &ShardRegister { primary: None, ..shard(1.0) }).await;
        sleep(A_WHILE).await;
        assert_eq!(masters.slots().await, None);
        masters.put_shard(1, &shard(3.0)).await;
        let view = masters.view(0, |view| view.slots.version > 0).await;
        assert_eq!(view.slots.owners, [(0, 255, 0), (256, 1023, 1)]);
    });
}

#[test]
fn the_register_of_the_cluster_decides_and_not_a_later_masters_options() {
    run(async {
        let mut masters = Masters::start(1, 2).await;
        let (founded, _) = masters.cluster().await.unwrap();
        assert_eq!(founded.cluster_id.len(), 32);
        masters.add(MasterOptions {
            slot_count: SlotCount::new(16).unwrap(),
            placement: "ring".into(),
            ..options(1, 1)
        });
        masters.queue_is(2).await;
        masters.masters.remove(0).shutdown().await;
        masters.leads(0).await;
        masters.put_shard(0, &shard(1.0)).await;
        sleep(A_WHILE).await;
        assert_eq!(masters.slots().await, None, "two shards were announced when the cluster was founded");
        masters.put_shard(1, &shard(1.0)).await;
        let view = masters.view(0, |view| view.slots.version > 0).await;
        assert_eq!(view.slots.owners, [(0, 511, 0), (512, 1023, 1)]);
        assert_eq!(masters.cluster().await, Some((founded, 0)));
    });
}

#[test]
fn a_ring_is_a_placement_too_and_a_weight_that_it_does_not_take_is_told() {
    run(async {
        let mut masters = Masters::none().await;
        masters.add(MasterOptions { placement: "ring".into(), ..options(0, 2) });
        masters.put_shard(0, &shard(1.0)).await;
        masters.put_shard(1, &shard(17.0)).await;
        let mut standing = masters.masters[0].standing();
        let standing = standing.wait_for(|standing| standing.problem.is_some()).await.unwrap().clone();
        assert!(standing.leads());
        let view = masters.view(0, |view| view.cluster.is_some()).await;
        let notices = admin::status(&view, &standing, "").notices;
        let problem =
            "the slots cannot be given out: shard 1 has weight 17; a weight is a number from 0 to 16";
        assert!(notices.contains(&problem.to_owned()), "{notices:?}");

        masters.put_shard(1, &shard(2.0)).await;
        let view = masters.view(0, |view| view.slots.version > 0).await;
        let table = view.table.as_ref().unwrap();
        assert_eq!(table.slots_of(0) + table.slots_of(1), 1024);
        assert!(table.slots_of(1) > table.slots_of(0));
        assert!(view.slots.owners.len() > 2);
        let mut standing = masters.masters[0].standing();
        standing.wait_for(|standing| standing.problem.is_none()).await.unwrap();
    });
}

/// The first leader's writes are: its place, the epoch, the cluster, the slots.
#[test]
fn a_write_of_unknown_outcome_or_the_end_of_its_leader_is_settled_by_whoever_leads_then() {
    let fates = [Fate::Applied, Fate::Lost, Fate::AppliedAndExpired, Fate::LostAndExpired];
    for (fate, write) in fates.into_iter().flat_map(|fate| (0..4).map(move |write| (fate, write))) {
        run(async move {
            let mut masters = Masters::none().await;
            for id in 0..3 {
                masters.put_shard(id, &shard(1.0)).await;
            }
            let meddler = Meddler::new(masters.coordinator.clone()).choose(write, fate);
            masters.add_on(Arc::new(meddler.clone()), options(0, 3));
            masters.add(options(1, 3));
            for which in 0..2 {
                let view = masters.view(which, |view| view.slots.version > 0).await;
                assert_eq!(view.slots.owners.len(), 3, "{fate:?} of write {write}");
            }
            sleep(A_WHILE).await;
            assert!(meddler.has_meddled(), "{fate:?} of write {write}");
            assert_eq!(masters.slots().await.unwrap().1, 0, "{fate:?} of write {write}");
            assert_eq!(masters.cluster().await.unwrap().1, 0, "{fate:?} of write {write}");
            masters.queue_is(2).await;
            assert_eq!(masters.leaders().len(), 1, "{fate:?} of write {write}");
        });
    }
}

#[test]
fn the_write_of_a_leader_that_was_replaced_meanwhile_is_refused() {
    run(async {
        let mut masters = Masters::none().await;
        masters.put_shard(0, &shard(1.0)).await;
        masters.put_shard(1, &shard(1.0)).await;
        let meddler = Meddler::new(masters.coordinator.clone()).choose(3, Fate::Held);
        masters.add_on(Arc::new(meddler.clone()), options(0, 2));
        masters.queue_is(1).await;
        masters.add(options(1, 2));
        masters.queue_is(2).await;
        meddler.held().await;

        // The slots are under way from the first leader, whose session lives on. The second one sees one shard only, so
        // that nothing but the epoch stands between those slots and the register.
        masters.put_shard(1, &ShardRegister { primary: None, ..shard(1.0) }).await;
        let queue = masters.outside.children(paths::MASTERS).await.unwrap();
        let first = format!("{}{}", paths::master_prefix(), queue[0]);
        masters.outside.delete(&first, Expect::Any).await.unwrap();
        assert_eq!(masters.leads(1).await, 2);
        assert_eq!(masters.slots().await, None);

        meddler.release();
        masters.stands_by(0).await;
        sleep(A_WHILE).await;
        assert_eq!(masters.slots().await, None);
        assert_eq!(masters.leaders(), [1]);

        masters.put_shard(1, &shard(1.0)).await;
        masters.view(0, |view| view.slots.version == 1).await;
    });
}

#[test]
fn a_shard_that_cannot_be_used_keeps_nobody_else_waiting_and_is_told() {
    run(async {
        let masters = Masters::start(1, 2).await;
        let good = String::from_utf8(shard(1.0).encode().unwrap().to_vec()).unwrap();
        let useless = [
            ("0", good.replace("\"weight\":1.0", "\"weight\":null")),
            ("1", r#"{"format":9}"#.to_owned()),
            ("4294967295", good.clone()),
            ("4096", good),
        ];
        for (name, data) in useless {
            let path = format!("{}/{name}", paths::SHARDS);
            masters.outside.create(&path, data.into(), Mode::Persistent).await.unwrap();
        }
        masters.put_shard(2, &shard(1.0)).await;
        sleep(A_WHILE).await;
        assert_eq!(masters.slots().await, None, "two were announced, one can be used");
        masters.put_shard(3, &shard(1.0)).await;
        let view = masters.view(0, |view| view.slots.version > 0).await;
        assert_eq!(view.slots.owners, [(0, 511, 2), (512, 1023, 3)]);
        let standing = masters.masters[0].standing().borrow().clone();
        assert_eq!(standing.problem, None);
        let notices = admin::status(&view, &standing, "").notices.join("\n");
        for name in ["0", "1", "4096", "4294967295"] {
            assert!(notices.contains(&format!("register /shards/{name} cannot be used: ")), "{notices}");
        }
    });
}

#[test]
fn registers_of_a_newer_format_are_told_and_left_alone() {
    run(async {
        let mut masters = Masters::none().await;
        let newer = r#"{"format":7,"cluster":"of tomorrow"}"#;
        masters.outside.create(paths::CLUSTER, newer.into(), Mode::Persistent).await.unwrap();
        masters.put_shard(0, &shard(1.0)).await;
        masters.add(options(0, 1));
        let mut standing = masters.masters[0].standing();
        let standing = standing.wait_for(|standing| standing.problem.is_some()).await.unwrap().clone();
        assert_eq!(
            standing.problem.unwrap(),
            "register /cluster has format 7; this build knows formats up to 1"
        );
        sleep(A_WHILE).await;
        assert_eq!(masters.outside.get(paths::CLUSTER).await.unwrap().unwrap().data, newer);
        assert_eq!(masters.slots().await, None);
    });
}

#[test]
fn shards_may_register_before_any_master_starts() {
    run(async {
        let mut masters = Masters::none().await;
        for id in 0..3 {
            masters.put_shard(id, &shard(1.0)).await;
        }
        for number in 0..3 {
            masters.add(options(number, 3));
        }
        for which in 0..3 {
            masters.view(which, |view| view.slots.version == 1).await;
        }
        assert_eq!(masters.leaders().len(), 1);
    });
}

/// Whatever the seed: one cluster, one allocation, epochs that only grow, and never two masters that each may write.
#[test]
fn slots_are_given_out_exactly_once_although_leaders_change_in_the_middle() {
    for seed in 0..200 {
        run(rough_start(seed));
    }
}

async fn rough_start(seed: u64) {
    let chance = Arc::new(SeededChance::new(seed));
    let mut masters = Masters::none().await;
    let faults = masters.coordinator.faults();
    let misbehaviour = Misbehaviour { chance: chance.clone(), unknown: 150, broken: 100, lost_hints: 300 };

    let mut events: Vec<u64> = (0..3).chain(10..14).chain(20..32).collect();
    for at in (1..events.len()).rev() {
        events.swap(at, chance.below(at as u64 + 1) as usize);
    }
    let mut seen = Seen::default();
    for event in events {
        // Only the masters are to meet the faults, not the writes from outside.
        faults.misbehave(None);
        match event {
            0..10 => masters.add(options(event as usize, 4)),
            10..20 => masters.put_shard(event as u32, &shard(1.0 + event as f64 % 3.0)).await,
            _ => {
                let sessions: Vec<_> =
                    faults.sessions().into_iter().filter(|&id| id != masters.outside.id()).collect();
                if !sessions.is_empty() {
                    let victim = sessions[chance.below(sessions.len() as u64) as usize];
                    match chance.below(4) {
                        0 => faults.expire(victim),
                        1 => faults.expire_unnoticed(victim),
                        2 => faults.partition(victim),
                        _ => faults.heal(victim),
                    }
                }
            }
        }
        faults.misbehave(Some(misbehaviour.clone()));
        for _ in 0..20 {
            sleep(Duration::from_millis(chance.below(100))).await;
            seen.look(&masters, seed).await;
        }
    }
    faults.misbehave(None);
    faults.sessions().into_iter().for_each(|id| faults.heal(id));
    eventually(|| async { masters.slots().await.is_some() && masters.leaders().len() == 1 }).await;
    sleep(4 * SESSION_TIMEOUT).await;
    seen.look(&masters, seed).await;
    masters.queue_is(3).await;
    assert_eq!(masters.leaders().len(), 1, "seed {seed}");
    let (slots, _) = masters.slots().await.unwrap();
    for which in 0..3 {
        let view = masters.view(which, |view| view.connected && view.slots.version == 1).await;
        assert_eq!(view.slots, slots, "seed {seed}");
    }
}

/// What was seen so far, for comparison with what is seen next.
#[derive(Default)]
struct Seen {
    cluster: Option<Cluster>,
    owners: Option<Vec<(u16, u16, u32)>>,
    epoch: u64,
    led: BTreeSet<(u64, usize)>,
}

impl Seen {
    async fn look(&mut self, masters: &Masters, seed: u64) {
        let cluster = masters.cluster().await;
        if let Some((cluster, node_version)) = cluster {
            assert_eq!(node_version, 0, "seed {seed}: /cluster was written twice");
            assert_eq!(self.cluster.get_or_insert(cluster.clone()), &cluster, "seed {seed}");
        } else {
            assert_eq!(self.cluster, None, "seed {seed}");
        }
        let slots = masters.slots().await;
        if let Some((slots, node_version)) = slots {
            assert_eq!((slots.version, node_version), (1, 0), "seed {seed}: /slots was written twice");
            assert_eq!(self.owners.get_or_insert(slots.owners.clone()), &slots.owners, "seed {seed}");
        } else {
            assert_eq!(self.owners, None, "seed {seed}");
        }
        let epoch = masters.epoch().await;
        assert!(epoch >= self.epoch, "seed {seed}");
        self.epoch = epoch;
        for (which, master) in masters.masters.iter().enumerate() {
            let standing = master.standing().borrow().clone();
            if standing.leads() {
                assert!(standing.epoch <= epoch, "seed {seed}");
                self.led.insert((standing.epoch, which));
            }
        }
        let epochs: BTreeSet<u64> = self.led.iter().map(|led| led.0).collect();
        assert_eq!(epochs.len(), self.led.len(), "seed {seed}: two masters led in one epoch: {:?}", self.led);
    }
}
