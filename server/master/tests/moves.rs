//! What moves: a leader plans, decides and closes hand-overs, and the next one goes on with them. The two shards are played by the
//! tests, through their reports.

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    Masters, eventually,
    meddler::{Fate, Meddler},
    run, shard,
};
use slotkv_coordination::{
    Expect, Session, View, paths,
    registers::{self, Holds, Register, ShardRegister, Slots},
    report::{self, HandoverReport},
};
use slotkv_master::{
    MasterOptions, admin,
    placement::{Placement, Ring},
};
use slotkv_migration::{Outcome, Said};
use slotkv_proto::{
    Code, SlotCount,
    code::code_of,
    table::UNALLOCATED,
    v1::{self, admin_server::Admin, cancel_request::What},
};
use tokio::{task::JoinHandle, time::sleep};
use tonic::{Request, Status};

const SLOTS: u16 = 16;
/// Writes of a leader until the slots are given out: its place, its office, the cluster, the slots.
const WRITES_BEFORE: usize = 4;
/// Long enough for a leader to do whatever it would do.
const WHILE: Duration = Duration::from_secs(8);

fn options(number: usize) -> MasterOptions {
    MasterOptions { slot_count: SlotCount::new(u32::from(SLOTS)).unwrap(), ..common::options(number, 1) }
}

/// A cluster whose slots are all shard 0's.
async fn cluster() -> Masters {
    let mut masters = Masters::none().await;
    masters.put_shard(0, &shard(1.0)).await;
    masters.add(options(0));
    masters.view(0, |view| view.slots.version == 1).await;
    masters
}

async fn slots(masters: &Masters) -> Slots {
    masters.slots().await.unwrap().0
}

async fn version_is(masters: &Masters, version: u64) -> Slots {
    eventually(|| async { slots(masters).await.version >= version }).await;
    let slots = slots(masters).await;
    assert_eq!(slots.version, version, "{slots:?}");
    slots
}

fn counts(slots: &Slots) -> Vec<usize> {
    let owners = slots.to_table().owners;
    assert_eq!(owners.len(), usize::from(SLOTS), "every slot has an owner");
    (0..4).map(|shard| owners.iter().filter(|owner| owner.shard == shard).count()).collect()
}

/// What a side says, by an epoch.
fn word(slots: &Slots, id: u64, is_source: bool, epoch: u64, said: Said) -> HandoverReport {
    let migration = slots.migration(id).expect("it is open");
    let shard = if is_source { migration.source } else { migration.target };
    HandoverReport {
        shard,
        epoch,
        run: "r".into(),
        id,
        is_source,
        said,
        sent_bytes: if is_source { 0 } else { 1000 },
        behind_bytes: 0,
        pause_us: if is_source { 700 } else { 0 },
    }
}

async fn say(masters: &Masters, id: u64, is_source: bool, said: Said) {
    let report = word(&slots(masters).await, id, is_source, 1, said);
    assert!(report::write(&*masters.outside, &report).await.unwrap());
}

async fn done(masters: &Masters, id: u64) {
    say(masters, id, true, Said::Done).await;
    say(masters, id, false, Said::Done).await;
}

/// Plays both shards of every hand-over until it is dropped.
struct Players(JoinHandle<()>);

impl Players {
    fn new(masters: &Masters) -> Self {
        let session = masters.outside.clone();
        Self(tokio::spawn(async move {
            loop {
                play(&*session).await;
                sleep(Duration::from_millis(20)).await;
            }
        }))
    }
}

impl Drop for Players {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn play(session: &dyn Session) {
    let Some(node) = session.get(paths::SLOTS).await.unwrap() else { return };
    let slots = Slots::decode(paths::SLOTS, &node.data).unwrap();
    for migration in &slots.migrations {
        let (source, target) = match migration.outcome {
            None => (Said::Sealed, Said::Imported),
            Some(_) => (Said::Done, Said::Done),
        };
        for (is_source, said) in [(true, source), (false, target)] {
            report::write(session, &word(&slots, migration.id, is_source, 1, said)).await.unwrap();
        }
    }
}

/// Waits until nothing is open and the shards own so many slots.
async fn settled(masters: &Masters, wanted: [usize; 4]) -> Slots {
    eventually(|| async {
        let slots = slots(masters).await;
        slots.migrations.is_empty() && counts(&slots) == wanted
    })
    .await;
    sleep(WHILE).await;
    let slots = slots(masters).await;
    assert_eq!((counts(&slots), slots.migrations.len()), (wanted.to_vec(), 0), "it stays so");
    eventually(|| async { masters.outside.children(paths::MIGRATIONS).await.unwrap().is_empty() }).await;
    slots
}

fn hello() -> Option<v1::Hello> {
    Some(v1::Hello { version_min: 1, version_max: 1, ..v1::Hello::default() })
}

async fn weight(masters: &Masters, shard: u32, weight: Option<f64>) -> Result<v1::OrderReply, Status> {
    let request = Request::new(v1::WeightRequest { hello: hello(), shard, weight });
    masters.admin(0).weight(request).await.map(|reply| reply.into_inner())
}

async fn cancel(masters: &Masters, what: Option<What>) -> Result<v1::OrderReply, Status> {
    let request = Request::new(v1::CancelRequest { hello: hello(), what });
    masters.admin(0).cancel(request).await.map(|reply| reply.into_inner())
}

async fn rebalance(masters: &Masters, dry_run: bool) -> v1::OrderReply {
    let request = Request::new(v1::RebalanceRequest { hello: hello(), dry_run });
    masters.admin(0).rebalance(request).await.unwrap().into_inner()
}

async fn migrations(masters: &Masters) -> v1::MigrationsReply {
    let request = Request::new(v1::MigrationsRequest { hello: hello() });
    masters.admin(0).migrations(request).await.unwrap().into_inner()
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.unwrap_err();
    (code_of(&status).unwrap(), status.message().to_owned())
}

#[test]
fn a_shard_that_joins_gets_its_share_by_a_plan_a_decision_and_a_close() {
    run(async {
        let masters = cluster().await;
        masters.put_shard(1, &shard(1.0)).await;
        let plan = version_is(&masters, 2).await;
        assert_eq!(counts(&plan), [16, 0, 0, 0]);
        let one = &plan.migrations[0];
        assert_eq!((one.id, one.source, one.target, one.slot_count()), (2, 0, 1, 8));
        assert_eq!((one.outcome, plan.migrations.len(), plan.tenures.len()), (None, 1, 0));

        say(&masters, 2, true, Said::Sealed).await;
        sleep(Duration::from_millis(500)).await;
        assert_eq!(migrations(&masters).await.open[0].state, "sealed");
        say(&masters, 2, false, Said::Imported).await;
        let decided = version_is(&masters, 3).await;
        assert_eq!(decided.migrations[0].outcome, Some(Outcome::Moved));
        assert_eq!((counts(&decided), &*decided.tenures), (vec![8, 8, 0, 0], &[(8, 15, 2)][..]));

        done(&masters, 2).await;
        let closed = settled(&masters, [8, 8, 0, 0]).await;
        assert_eq!((closed.version, closed.tenures), (4, vec![(8, 15, 2)]));
        let told = migrations(&masters).await;
        let (ended, totals) = (&told.ended[0], told.totals.unwrap());
        assert_eq!((ended.id, ended.moved, ended.slot_count, ended.pause_us), (2, true, 8, 700));
        assert_eq!((totals.slots, totals.bytes, totals.pause_us_max), (8, 1000, 700));
        assert!(told.planned && told.left.is_empty() && told.open.is_empty(), "{told:?}");
    });
}

#[test]
fn whatever_the_leader_had_done_when_it_died_the_next_one_goes_on() {
    for step in 0..5 {
        run(async move {
            let mut masters = cluster().await;
            masters.add(options(1));
            masters.queue_is(2).await;
            let die = async |masters: &Masters, at: usize| {
                if at == step {
                    masters.coordinator.faults().expire(masters.session_at(0).await);
                    masters.leads(1).await;
                }
            };
            die(&masters, 0).await;
            masters.put_shard(1, &shard(1.0)).await;
            version_is(&masters, 2).await;
            die(&masters, 1).await;
            say(&masters, 2, true, Said::Sealed).await;
            die(&masters, 2).await;
            say(&masters, 2, false, Said::Imported).await;
            let decided = version_is(&masters, 3).await;
            assert_eq!(decided.migrations[0].outcome, Some(Outcome::Moved), "died at {step}");
            die(&masters, 3).await;
            say(&masters, 2, true, Said::Done).await;
            die(&masters, 4).await;
            say(&masters, 2, false, Said::Done).await;
            assert_eq!(settled(&masters, [8, 8, 0, 0]).await.version, 4, "died at {step}");
        });
    }
}

#[test]
fn writes_of_unknown_outcome_are_settled_by_reading() {
    for fate in [Fate::Applied, Fate::Lost, Fate::AppliedAndExpired, Fate::LostAndExpired] {
        for write in WRITES_BEFORE..WRITES_BEFORE + 7 {
            run(async move {
                let mut masters = Masters::none().await;
                masters.put_shard(0, &shard(1.0)).await;
                let meddler = Meddler::new(masters.coordinator.clone()).choose(write, fate);
                masters.add_on(Arc::new(meddler.clone()), options(0));
                masters.view(0, |view| view.slots.version == 1).await;
                let _players = Players::new(&masters);
                masters.put_shard(1, &shard(1.0)).await;
                let slots = settled(&masters, [8, 8, 0, 0]).await;
                assert!(meddler.has_meddled(), "write {write}");
                // One plan, one decision, one close, whatever was told about them.
                assert_eq!(slots.version, 4, "write {write}, {fate:?}");
            });
        }
    }
}

#[test]
fn slots_do_not_go_to_or_from_a_shard_that_may_have_lost_what_it_said() {
    for lost in [0, 1] {
        run(async move {
            let masters = cluster().await;
            masters.put_shard(1, &shard(1.0)).await;
            version_is(&masters, 2).await;
            let epoch = 7;
            masters.put_shard(lost, &ShardRegister { epoch, loss_epoch: epoch, ..shard(1.0) }).await;
            say(&masters, 2, true, Said::Sealed).await;
            say(&masters, 2, false, Said::Imported).await;
            let decided = version_is(&masters, 3).await;
            assert_eq!(decided.migrations[0].outcome, Some(Outcome::Aborted));
            assert_eq!(counts(&decided), [16, 0, 0, 0]);
            eventually(|| async { !migrations(&masters).await.ended.is_empty() }).await;
            let why = &migrations(&masters).await.ended[0].why;
            assert_eq!(*why, format!("shard {lost} may have lost records since the plan"));
            // The next plan knows of it.
            done(&masters, 2).await;
            let again = version_is(&masters, 5).await;
            let mut expected = [0, 0];
            expected[lost as usize] = epoch;
            assert_eq!(again.migrations[0].loss_epochs, expected);
            let _players = Players::new(&masters);
            settled(&masters, [8, 8, 0, 0]).await;
        });
    }
}

#[test]
fn a_shard_that_joined_while_nobody_led_is_served() {
    run(async {
        let mut masters = cluster().await;
        masters.masters.clear();
        masters.queue_is(0).await;
        masters.put_shard(1, &shard(1.0)).await;
        let _players = Players::new(&masters);
        sleep(WHILE).await;
        assert_eq!(slots(&masters).await.version, 1);
        masters.add(options(0));
        settled(&masters, [8, 8, 0, 0]).await;
    });
}

#[test]
fn a_drain_moves_everything_away_and_add_brings_it_back() {
    run(async {
        let masters = cluster().await;
        let _players = Players::new(&masters);
        masters.put_shard(1, &shard(1.0)).await;
        masters.put_shard(2, &shard(1.0)).await;
        settled(&masters, [6, 5, 5, 0]).await;
        let reply = weight(&masters, 0, Some(0.0)).await.unwrap();
        assert_eq!((reply.weight_from, reply.weight_to, reply.resumed), (Some(1.0), Some(0.0), false));
        let moved: u32 = reply.moves.iter().map(|one| one.slots).sum();
        assert_eq!((moved, reply.moves.iter().all(|one| one.source == 0)), (6, true), "{reply:?}");
        settled(&masters, [0, 8, 8, 0]).await;
        let reply = weight(&masters, 0, None).await.unwrap();
        assert_eq!((reply.weight_from, reply.weight_to), (Some(0.0), Some(1.0)));
        let back = settled(&masters, [5, 6, 5, 0]).await;
        assert!(back.tenures.len() > 1);
        // What it has already is nothing to do.
        assert!(weight(&masters, 0, None).await.unwrap().moves.is_empty());
    });
}

#[test]
fn a_weight_moves_the_difference() {
    run(async {
        let masters = cluster().await;
        let _players = Players::new(&masters);
        masters.put_shard(1, &shard(1.0)).await;
        settled(&masters, [8, 8, 0, 0]).await;
        let reply = weight(&masters, 1, Some(3.0)).await.unwrap();
        assert_eq!(reply.moves, [v1::MoveStatus { source: 0, target: 1, slots: 4 }]);
        settled(&masters, [4, 12, 0, 0]).await;
    });
}

#[test]
fn orders_that_cannot_be_are_refused_by_name() {
    run(async {
        let masters = cluster().await;
        let _players = Players::new(&masters);
        let (code, text) = refusal(weight(&masters, 0, Some(0.0)).await);
        assert_eq!(code, Code::ReadOnly);
        assert!(text.contains("shard 0 is the last one with a weight above 0"), "{text}");
        let (code, text) = refusal(weight(&masters, 9, Some(1.0)).await);
        assert_eq!((code, text.contains("there is no shard 9")), (Code::InvalidArgument, true), "{text}");
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(refusal(weight(&masters, 0, Some(bad)).await).0, Code::InvalidArgument);
        }
        masters.put_shard(1, &ShardRegister { primary: None, ..shard(1.0) }).await;
        let (code, text) = refusal(weight(&masters, 0, Some(0.0)).await);
        assert_eq!(code, Code::ReadOnly);
        assert!(text.contains("no other shard can take slots now: shard 1 has no primary"), "{text}");
        let (code, text) = refusal(cancel(&masters, Some(What::Id(5))).await);
        assert_eq!((code, text.contains("no hand-over 5 is open")), (Code::InvalidArgument, true), "{text}");
        assert_eq!(refusal(cancel(&masters, Some(What::Shard(9))).await).0, Code::InvalidArgument);
        assert_eq!(slots(&masters).await.version, 1);
    });
}

#[test]
fn of_two_operators_the_one_who_would_drain_the_last_shard_is_refused() {
    run(async {
        let masters = cluster().await;
        let _players = Players::new(&masters);
        masters.put_shard(1, &shard(1.0)).await;
        settled(&masters, [8, 8, 0, 0]).await;
        let (one, other) = tokio::join!(weight(&masters, 0, Some(0.0)), weight(&masters, 1, Some(0.0)));
        let (granted, refused) = if one.is_ok() { (one, other) } else { (other, one) };
        assert_eq!(granted.unwrap().weight_to, Some(0.0));
        let (code, text) = refusal(refused);
        assert_eq!((code, text.contains("is the last one")), (Code::ReadOnly, true), "{text}");
        // Of two about one shard the later one holds, and is told what it replaced.
        weight(&masters, 0, Some(2.0)).await.unwrap();
        assert_eq!(weight(&masters, 0, Some(1.0)).await.unwrap().weight_from, Some(2.0));
    });
}

#[test]
fn what_is_cancelled_stays_where_it_is_until_it_is_ordered_to_go_on() {
    run(async {
        let mut masters = cluster().await;
        masters.put_shard(1, &shard(1.0)).await;
        version_is(&masters, 2).await;
        let reply = cancel(&masters, Some(What::Shard(1))).await.unwrap();
        assert_eq!(reply.cancelled, [2]);
        let decided = version_is(&masters, 3).await;
        assert_eq!(decided.migrations[0].outcome, Some(Outcome::Aborted));
        let _players = Players::new(&masters);
        settled(&masters, [16, 0, 0, 0]).await;
        let told = migrations(&masters).await;
        assert_eq!((&*told.held_shards, told.held_all), (&[1][..], false));
        assert_eq!((told.ended[0].moved, told.ended[0].why.as_str()), (false, "it was cancelled"));
        // Whoever leads next keeps to it.
        masters.add(options(1));
        masters.queue_is(2).await;
        masters.coordinator.faults().expire(masters.session_at(0).await);
        masters.leads(1).await;
        settled(&masters, [16, 0, 0, 0]).await;
        masters.coordinator.faults().expire(masters.session_at(0).await);
        masters.leads(0).await;
        let reply = weight(&masters, 1, None).await.unwrap();
        assert!(reply.resumed && reply.moves.len() == 1, "{reply:?}");
        settled(&masters, [8, 8, 0, 0]).await;
        assert!(migrations(&masters).await.held_shards.is_empty());
    });
}

#[test]
fn everything_is_cancelled_and_a_rebalance_lets_it_go_on() {
    run(async {
        let masters = cluster().await;
        let _players = Players::new(&masters);
        assert!(cancel(&masters, None).await.unwrap().cancelled.is_empty());
        masters.put_shard(1, &shard(1.0)).await;
        settled(&masters, [16, 0, 0, 0]).await;
        let view = masters.view(0, |view| view.holds.all).await;
        let status = admin::status(&view, &Default::default(), "");
        assert!(status.notices.contains(&admin::ALL_HELD.to_owned()), "{:?}", status.notices);
        let moves = [v1::MoveStatus { source: 0, target: 1, slots: 8 }];
        let dry = rebalance(&masters, true).await;
        assert_eq!((&*dry.moves, dry.resumed), (&moves[..], false));
        settled(&masters, [16, 0, 0, 0]).await;
        let reply = rebalance(&masters, false).await;
        assert_eq!((&*reply.moves, reply.resumed), (&moves[..], true));
        settled(&masters, [8, 8, 0, 0]).await;
    });
}

#[test]
fn one_hand_over_is_cancelled_and_its_slots_are_tried_again() {
    run(async {
        let masters = cluster().await;
        masters.put_shard(1, &shard(1.0)).await;
        version_is(&masters, 2).await;
        assert_eq!(cancel(&masters, Some(What::Id(2))).await.unwrap().cancelled, [2]);
        version_is(&masters, 3).await;
        let (code, text) = refusal(cancel(&masters, Some(What::Id(2))).await);
        assert_eq!((code, text.contains("hand-over 2 is decided")), (Code::ReadOnly, true), "{text}");
        let _players = Players::new(&masters);
        settled(&masters, [8, 8, 0, 0]).await;
    });
}

#[test]
fn a_shard_is_given_nothing_while_too_few_of_its_copies_are_in_sync() {
    run(async {
        let masters = cluster().await;
        let _players = Players::new(&masters);
        let lacking = ShardRegister { replicas: 2, min_isr: 2, ..shard(1.0) };
        masters.put_shard(1, &lacking).await;
        settled(&masters, [16, 0, 0, 0]).await;
        masters.put_shard(1, &ShardRegister { min_isr: 1, ..lacking.clone() }).await;
        settled(&masters, [8, 8, 0, 0]).await;
        masters.put_shard(1, &lacking).await;
        weight(&masters, 1, Some(3.0)).await.unwrap();
        settled(&masters, [8, 8, 0, 0]).await;
        let told = migrations(&masters).await;
        assert_eq!(told.left, [v1::MoveStatus { source: 0, target: 1, slots: 4 }]);
        let expected = "shard 1 has 1 of 2 needed copies in sync: 4 slots wait for it";
        assert_eq!(told.notices, [expected]);
    });
}

#[test]
fn a_fail_over_moves_nothing() {
    run(async {
        let masters = cluster().await;
        let _players = Players::new(&masters);
        masters.put_shard(1, &shard(1.0)).await;
        let before = settled(&masters, [8, 8, 0, 0]).await;
        masters.put_shard(1, &ShardRegister { epoch: 2, primary: None, ..shard(1.0) }).await;
        settled(&masters, [8, 8, 0, 0]).await;
        masters.put_shard(1, &ShardRegister { epoch: 3, ..shard(1.0) }).await;
        assert_eq!(settled(&masters, [8, 8, 0, 0]).await, before);
    });
}

#[test]
fn a_failure_is_told_and_tried_again() {
    run(async {
        let masters = cluster().await;
        masters.put_shard(1, &shard(1.0)).await;
        version_is(&masters, 2).await;
        say(&masters, 2, false, Said::Failed("the disk is full".into())).await;
        let decided = version_is(&masters, 3).await;
        assert_eq!(decided.migrations[0].outcome, Some(Outcome::Aborted));
        done(&masters, 2).await;
        let again = version_is(&masters, 5).await;
        assert_eq!((again.migrations[0].id, again.migrations[0].slot_count()), (5, 8));
        let ended = migrations(&masters).await.ended[0].clone();
        assert_eq!((ended.why.as_str(), ended.failed_count), ("the disk is full", 1));
        let _players = Players::new(&masters);
        settled(&masters, [8, 8, 0, 0]).await;
    });
}

#[test]
fn what_comes_no_further_is_given_up_by_the_leader() {
    run(async {
        let masters = cluster().await;
        masters.put_shard(1, &shard(1.0)).await;
        version_is(&masters, 2).await;
        let decided = version_is(&masters, 3).await;
        assert_eq!(decided.migrations[0].outcome, Some(Outcome::Aborted));
        assert_eq!(migrations(&masters).await.ended[0].why, "it came no further");
    });
}

#[test]
fn a_leader_beats_while_something_is_open_and_only_then() {
    run(async {
        let masters = cluster().await;
        let mover = async || {
            let node = masters.outside.get(paths::MOVER).await.unwrap()?;
            Some(registers::Mover::decode(paths::MOVER, &node.data).unwrap())
        };
        sleep(WHILE).await;
        assert_eq!(mover().await, None);
        masters.put_shard(1, &shard(1.0)).await;
        version_is(&masters, 2).await;
        eventually(async || mover().await.is_some()).await;
        let first = mover().await.unwrap();
        assert_eq!(first.epoch, 1);
        eventually(async || mover().await.is_some_and(|mover| mover.beat >= first.beat + 4)).await;
        masters.view(0, |view: &View| view.mover.is_some_and(|mover| mover > first)).await;
        let players = Players::new(&masters);
        settled(&masters, [8, 8, 0, 0]).await;
        drop(players);
        let last = mover().await;
        sleep(WHILE).await;
        assert_eq!(mover().await, last);
    });
}

#[test]
fn words_of_a_shard_without_a_part_in_it_and_of_an_earlier_primary_do_not_count() {
    run(async {
        let masters = cluster().await;
        masters.put_shard(1, &shard(1.0)).await;
        let plan = version_is(&masters, 2).await;
        let stranger = HandoverReport { shard: 5, ..word(&plan, 2, false, 9, Said::Imported) };
        report::write(&*masters.outside, &stranger).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(slots(&masters).await.version, 2);
        masters.outside.delete(&stranger.path(), Expect::Any).await.unwrap();
        let copying = Said::Copying { sent_bytes: 1, behind_bytes: 1 };
        report::write(&*masters.outside, &word(&plan, 2, false, 4, copying)).await.unwrap();
        let late = word(&plan, 2, false, 3, Said::Imported);
        assert!(!report::write(&*masters.outside, &late).await.unwrap());
        sleep(Duration::from_secs(2)).await;
        assert_eq!(slots(&masters).await.version, 2);
        let later = |said| word(&plan, 2, false, 4, said);
        report::write(&*masters.outside, &later(Said::Imported)).await.unwrap();
        version_is(&masters, 3).await;
        report::write(&*masters.outside, &later(Said::Done)).await.unwrap();
        say(&masters, 2, true, Said::Done).await;
        settled(&masters, [8, 8, 0, 0]).await;
        // One that comes when all is over is swept away.
        report::write(&*masters.outside, &late).await.unwrap();
        eventually(|| async { masters.outside.children(paths::MIGRATIONS).await.unwrap().is_empty() }).await;
    });
}

#[test]
fn a_ring_moves_slots_to_where_it_has_them() {
    run(async {
        let mut masters = Masters::none().await;
        masters.put_shard(0, &shard(1.0)).await;
        masters.add(MasterOptions { placement: Ring::NAME.into(), ..options(0) });
        masters.view(0, |view| view.slots.version == 1).await;
        let _players = Players::new(&masters);
        masters.put_shard(1, &shard(2.0)).await;
        masters.put_shard(2, &shard(1.0)).await;
        let weights = [(0, 1.0), (1, 2.0), (2, 1.0)].into();
        let expected = Ring.plan(&weights, &[UNALLOCATED; SLOTS as usize]).unwrap();
        eventually(|| async {
            let slots = slots(&masters).await;
            let owners: Vec<u32> = slots.to_table().owners.iter().map(|owner| owner.shard).collect();
            slots.migrations.is_empty() && owners == expected
        })
        .await;
        let (code, text) = refusal(weight(&masters, 1, Some(Ring::WEIGHT_MAX + 1.0)).await);
        assert_eq!(code, Code::InvalidArgument, "{text}");
    });
}

#[test]
fn holds_that_cannot_be_read_are_told_and_change_nothing() {
    run(async {
        let masters = cluster().await;
        let data = Holds::default().encode().unwrap();
        let newer = String::from_utf8(data.to_vec()).unwrap().replace("\"format\":1", "\"format\":2");
        let mode = slotkv_coordination::Mode::Persistent;
        masters.outside.create(paths::HOLDS, newer.into_bytes().into(), mode).await.unwrap();
        let view = masters.view(0, |view| view.problems.contains_key(paths::HOLDS)).await;
        assert!(!view.holds.all && view.holds.number == 0);
    });
}
