//! Who leads, when sessions expire, connections break and hints get lost.

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    Masters, SESSION_TIMEOUT, eventually,
    meddler::{Fate, Meddler},
    options, run,
};
use slotkv_coordination::{
    Coordinator, Expect, Mode,
    embedded::WriteFate,
    paths,
    registers::{MasterRecord, Register},
};
use slotkv_master::{Duty, Master, MasterOptions, OptionsError};
use slotkv_proto::{SlotCount, seam::SeededChance};
use tokio::time::sleep;

#[test]
fn of_three_masters_the_first_leads_and_the_others_stand_by() {
    run(async {
        let masters = Masters::start(3, 1).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(masters.leaders(), [0]);
        assert_eq!(masters.epoch().await, 1);
        for which in 0..3 {
            let view = masters.view(which, |view| view.masters.len() == 3 && view.master_epoch == 1).await;
            assert_eq!(view.masters, ["127.0.0.1:7700", "127.0.0.1:7701", "127.0.0.1:7702"]);
        }
        assert_eq!(masters.masters[1].standing().borrow().duty, Duty::Standby);
    });
}

#[test]
fn when_the_leaders_session_expires_the_next_leads_with_a_higher_epoch() {
    run(async {
        let masters = Masters::start(3, 1).await;
        for round in 0..6 {
            let leader = round % 3;
            let epoch = masters.leads(leader).await;
            assert_eq!(epoch, round as u64 + 1);
            masters.coordinator.faults().expire(masters.session_at(0).await);
            masters.stands_by(leader).await;
            masters.queue_is(3).await;
            assert_eq!(masters.leads((leader + 1) % 3).await, epoch + 1);
            assert_eq!(masters.leaders(), [(leader + 1) % 3]);
        }
    });
}

#[test]
fn a_leader_that_shuts_down_is_followed_at_once() {
    run(async {
        let mut masters = Masters::start(2, 1).await;
        let sessions = masters.coordinator.faults().sessions().len();
        masters.masters.remove(0).shutdown().await;
        assert_eq!(masters.coordinator.faults().sessions().len(), sessions - 1, "its session is closed");
        assert_eq!(masters.leads(0).await, 2);
    });
}

#[test]
fn a_leader_that_crashes_is_followed_when_its_session_has_expired() {
    run(async {
        let mut masters = Masters::start(2, 1).await;
        drop(masters.masters.remove(0));
        assert_eq!(masters.leads(0).await, 2);
        let view = masters.view(0, |view| view.master_epoch == 2 && view.masters.len() == 1).await;
        assert_eq!(view.masters, ["127.0.0.1:7701"]);
    });
}

#[test]
fn a_leader_cut_off_stops_leading_before_another_one_leads() {
    run(async {
        let masters = Masters::start(2, 1).await;
        let cut_off = masters.session_at(0).await;
        masters.coordinator.faults().partition(cut_off);
        masters.stands_by(0).await;
        assert_eq!(masters.leaders(), [0usize; 0], "nobody leads yet");
        assert!(
            masters.coordinator.faults().sessions().contains(&cut_off),
            "its session has not expired yet"
        );
        assert_eq!(masters.leads(1).await, 2);

        masters.coordinator.faults().heal(cut_off);
        masters.queue_is(2).await;
        sleep(Duration::from_secs(20)).await;
        assert_eq!(masters.leaders(), [1]);
        assert_eq!(masters.masters[0].standing().borrow().duty, Duty::Standby);
    });
}

#[test]
fn a_leader_that_comes_back_within_its_session_takes_office_again() {
    run(async {
        let masters = Masters::start(2, 1).await;
        let cut_off = masters.session_at(0).await;
        masters.coordinator.faults().partition(cut_off);
        masters.stands_by(0).await;
        masters.coordinator.faults().heal(cut_off);
        assert_eq!(masters.leads(0).await, 2);
        assert_eq!(masters.leaders(), [0]);
    });
}

#[test]
fn a_standby_watches_the_place_before_its_own_and_no_other() {
    run(async {
        let mut masters = Masters::start(2, 1).await;
        let meddler = Meddler::new(masters.coordinator.clone());
        masters.add_on(Arc::new(meddler.clone()), options(2, 1));
        masters.queue_is(3).await;
        sleep(Duration::from_secs(10)).await;
        let queue = masters.outside.children(paths::MASTERS).await.unwrap();
        let places: Vec<_> = queue.iter().map(|name| format!("{}{name}", paths::master_prefix())).collect();
        let watched = || {
            let mut watched = meddler.watched();
            watched.retain(|path| path.starts_with(paths::MASTERS));
            watched.dedup();
            watched
        };
        assert_eq!(watched(), places[1..2], "the second waits for the first, the third for the second");
        masters.coordinator.faults().expire(masters.session_at(0).await);
        masters.leads(1).await;
        sleep(Duration::from_secs(10)).await;
        assert_eq!(watched(), places[1..2]);
        masters.coordinator.faults().expire(masters.session_at(0).await);
        assert_eq!(masters.leads(2).await, 3, "the first stands behind it now");
    });
}

#[test]
fn a_short_break_of_the_connection_changes_nothing() {
    run(async {
        let masters = Masters::start(2, 1).await;
        for _ in 0..5 {
            masters.coordinator.faults().disconnect(masters.session_at(0).await);
            sleep(Duration::from_secs(4)).await;
        }
        assert_eq!((masters.leaders(), masters.epoch().await), (vec![0], 1));
    });
}

#[test]
fn a_standby_takes_its_turn_although_every_hint_gets_lost() {
    run(async {
        let masters = Masters::start(2, 1).await;
        masters.coordinator.faults().lose_hints(u64::MAX);
        masters.coordinator.faults().expire(masters.session_at(0).await);
        assert_eq!(masters.leads(1).await, 2);
    });
}

#[test]
fn a_leader_that_was_not_told_of_its_end_finds_out_and_stands_at_the_end_of_the_queue() {
    run(async {
        let masters = Masters::start(2, 1).await;
        let session = masters.session_at(0).await;
        masters.coordinator.faults().expire_unnoticed(session);
        assert_eq!(masters.leads(1).await, 2);
        masters.stands_by(0).await;
        masters.queue_is(2).await;
        assert_eq!(masters.leaders(), [1]);
        assert_ne!(masters.session_at(1).await, session);
    });
}

#[test]
fn a_leader_whose_place_was_deleted_stands_again() {
    run(async {
        let masters = Masters::start(2, 1).await;
        let queue = masters.outside.children(paths::MASTERS).await.unwrap();
        let place = format!("{}{}", paths::master_prefix(), queue[0]);
        masters.outside.delete(&place, Expect::Any).await.unwrap();
        assert_eq!(masters.leads(1).await, 2);
        masters.stands_by(0).await;
        masters.queue_is(2).await;
        assert_eq!(masters.leaders(), [1]);
    });
}

#[test]
fn an_unknown_outcome_of_standing_leaves_one_place_per_master() {
    for fate in [WriteFate::Applied, WriteFate::Lost] {
        run(async move {
            let mut masters = Masters::start(1, 1).await;
            masters.coordinator.faults().next_write(None, fate);
            masters.add(options(1, 1));
            masters.queue_is(2).await;
            sleep(Duration::from_secs(30)).await;
            masters.queue_is(2).await;
            assert_eq!(masters.leaders(), [0], "{fate:?}");
        });
    }
}

#[test]
fn an_unknown_outcome_of_taking_office_costs_an_epoch_at_most() {
    for (fate, epoch) in [(WriteFate::Applied, 3), (WriteFate::Lost, 2)] {
        run(async move {
            let masters = Masters::start(2, 1).await;
            let next = masters.session_at(1).await;
            masters.coordinator.faults().next_write(Some(next), fate);
            masters.coordinator.faults().expire(masters.session_at(0).await);
            assert_eq!(masters.leads(1).await, epoch, "{fate:?}");
            assert_eq!(masters.epoch().await, epoch);
        });
    }
}

#[test]
fn a_place_that_was_deleted_gives_no_right_to_take_office() {
    run(async {
        let mut masters = Masters::none().await;
        // Its writes are: its place, the epoch.
        let meddler = Meddler::new(masters.coordinator.clone()).choose(1, Fate::Held);
        masters.add_on(Arc::new(meddler.clone()), options(0, 1));
        meddler.held().await;
        let queue = masters.outside.children(paths::MASTERS).await.unwrap();
        let place = format!("{}{}", paths::master_prefix(), queue[0]);
        masters.outside.delete(&place, Expect::Any).await.unwrap();
        meddler.release();
        assert_eq!(masters.leads(0).await, 1, "the first attempt was refused");
        masters.queue_is(1).await;
    });
}

#[test]
fn without_the_coordinator_nobody_leads_and_everybody_serves_what_was_known() {
    run(async {
        let mut masters = Masters::start(2, 1).await;
        let known = masters.view(1, |view| view.table.is_some()).await;
        masters.coordinator.faults().stop();
        masters.stands_by(0).await;
        sleep(10 * SESSION_TIMEOUT).await;
        assert!(masters.leaders().is_empty());
        for which in 0..2 {
            let view = masters.masters[which].view().borrow().clone();
            assert_eq!(view.table, known.table);
            assert!(!view.connected);
        }
        masters.coordinator.faults().start();
        masters.outside = masters.coordinator.open(SESSION_TIMEOUT).await.unwrap();
        eventually(|| async { masters.leaders().len() == 1 }).await;
        masters.queue_is(2).await;
        assert!(masters.epoch().await > 1);
    });
}

#[test]
fn masters_may_start_before_their_coordinator() {
    run(async {
        let mut masters = Masters::none().await;
        masters.coordinator.faults().stop();
        masters.add(options(0, 1));
        masters.add(options(1, 1));
        let mut standing = masters.masters[0].standing();
        let waiting = standing.wait_for(|standing| standing.problem.is_some()).await.unwrap().clone();
        assert_eq!(waiting.duty, Duty::Away);
        masters.coordinator.faults().start();
        eventually(|| async { masters.leaders().len() == 1 }).await;
    });
}

#[test]
fn the_place_of_an_earlier_process_at_the_same_address_is_not_taken_for_ours() {
    run(async {
        let mut masters = Masters::none().await;
        let before = masters.coordinator.open(SESSION_TIMEOUT).await.unwrap();
        let record = MasterRecord { address: "127.0.0.1:7700".into() };
        before
            .create(&paths::master_prefix(), record.encode().unwrap(), Mode::EphemeralSequential)
            .await
            .unwrap();
        masters.add(options(0, 1));
        masters.queue_is(2).await;
        assert!(masters.leaders().is_empty());
        before.close().await;
        assert_eq!(masters.leads(0).await, 1);
    });
}

#[test]
fn options_that_no_master_can_start_with_are_refused_by_name() {
    run(async {
        let start = |options: MasterOptions| {
            let coordinator = Arc::new(slotkv_coordination::Embedded::new());
            Master::start(options, coordinator, Arc::new(SeededChance::new(0))).map(drop).unwrap_err()
        };
        assert_eq!(start(options(0, 0)), OptionsError::Shards(0));
        assert_eq!(start(options(0, 4097)), OptionsError::Shards(4097));
        assert_eq!(start(MasterOptions::new("", 1)), OptionsError::Advertise(String::new()));
        let mut unknown = options(0, 1);
        unknown.placement = "best".into();
        assert!(start(unknown).to_string().contains("no placement is called \"best\""));
        let short = MasterOptions { session_timeout: Duration::ZERO, ..options(0, 1) };
        assert_eq!(start(short), OptionsError::SessionTimeout(Duration::ZERO));
        let fine = MasterOptions { slot_count: SlotCount::new(16384).unwrap(), ..options(0, 4096) };
        drop(Master::start(
            fine,
            Arc::new(slotkv_coordination::Embedded::new()),
            Arc::new(SeededChance::new(0)),
        ));
    });
}
