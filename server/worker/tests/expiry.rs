//! Keys that end: when, for whom, and that they stay gone whatever clocks say.

mod common;

use std::{ops::ControlFlow, time::Duration};

use common::{Caller, Machine, get, get_many, increment, put, request};
use slotkv_proto::{
    Code, SlotCount,
    v1::{Condition, Operation, Range, Reply, Request, Status},
};
use slotkv_storage::keys;
use slotkv_worker::{Worker, expiry::EXPIRIES_PER_GROUP_MAX};
use tokio::time::sleep;

const HOUR_MS: i64 = 3_600_000;

fn own_keys(count: usize) -> Vec<String> {
    let slots = SlotCount::new(common::SLOTS).unwrap();
    let own = |key: &String| slotkv_proto::slot(key.as_bytes(), slots) != 15;
    (0..).map(|n| format!("key{n}")).filter(own).take(count).collect()
}

fn put_for(key: &str, ttl_ms: u64) -> Request {
    Request { ttl_ms, ..put(key, "v") }
}

fn expire(key: &str, ttl_ms: u64) -> Request {
    Request { ttl_ms, ..request(Operation::Expire, key) }
}

fn count() -> Request {
    let range = Range { slot_first: 0, slot_last: 14, ..Range::default() };
    Request { range: Some(range), ..request(Operation::Count, "") }
}

async fn pass(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// Rows in the engine that belong to users, those that are over and not yet gone among them, and deadlines.
fn rows(worker: &Worker) -> (usize, usize) {
    let in_engine = |prefix: &[u8]| {
        let end = keys::prefix_end(prefix).unwrap();
        let bounds = (std::ops::Bound::Included(prefix), std::ops::Bound::Excluded(&end[..]));
        let mut rows = 0;
        let visit = &mut |_: &[u8], _: &[u8]| {
            rows += 1;
            ControlFlow::Continue(())
        };
        worker.shard().rows().engine.scan(bounds, visit).unwrap();
        rows
    };
    (in_engine(&keys::data_key_prefix()), in_engine(&keys::deadline_key_prefix()))
}

#[tokio::test(start_paused = true)]
async fn a_key_is_there_until_its_time_is_over_and_not_a_moment_longer() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = &own_keys(1)[0];
    let created = caller.ask(put_for(key, 1_000)).await;
    pass(400).await;
    let found = caller.ask(get(key)).await;
    assert_eq!((found.status(), found.version, found.ttl_ms), (Status::Found, created.version, 600));
    assert_eq!(caller.ask(get_many(&[key])).await.found[0].ttl_ms, 600);
    pass(599).await;
    assert_eq!(caller.ask(get(key)).await.ttl_ms, 1);
    pass(1).await;
    // Each of them first, before anything has been logged.
    let replies = caller.ask_all(vec![get(key), request(Operation::Has, key), count()]).await;
    let told: Vec<_> = replies.iter().map(|reply| (reply.status(), reply.number)).collect();
    assert_eq!(told, [(Status::NotFound, 0), (Status::NotFound, 0), (Status::Counted, 0)]);
    assert_eq!(caller.ask(get_many(&[key])).await.found[0].status(), Status::NotFound);
    let again = caller.ask(put(key, "w")).await;
    assert_eq!(again.status(), Status::Created);
    assert!(again.version > created.version + 1, "the end of the key had a version of its own");
    assert_eq!(caller.ask(get(key)).await.ttl_ms, 0);
}

#[tokio::test(start_paused = true)]
async fn writes_find_a_key_absent_whose_time_is_over() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let keys = own_keys(6);
    for key in &keys {
        caller.ask(Request { value: "7".into(), ..put_for(key, 50) }).await;
    }
    pass(50).await;
    let with = |condition: Condition, key: &str| Request { condition: condition as i32, ..put(key, "w") };
    let replies: Vec<Reply> = caller
        .ask_all(vec![
            with(Condition::Absent, &keys[0]),
            with(Condition::Present, &keys[1]),
            request(Operation::Delete, &keys[2]),
            increment(&keys[3], 1, 1),
            expire(&keys[4], 1_000),
            with(Condition::Version, &keys[5]),
        ])
        .await;
    let told: Vec<_> = replies.iter().map(|reply| (reply.status(), reply.number)).collect();
    let expected = [
        (Status::Created, 0),
        (Status::Unmet, 0),
        (Status::NotFound, 0),
        (Status::Created, 1),
        (Status::Unmet, 0),
        (Status::Created, 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(rows(&worker), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn an_expire_changes_the_lifetime_and_leaves_the_value() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = &own_keys(1)[0];
    let created = caller.ask(put_for(key, 100)).await;
    let prolonged = caller.ask(expire(key, 5_000)).await;
    assert_eq!(prolonged.status(), Status::Updated);
    assert!(prolonged.version > created.version);
    pass(4_999).await;
    assert_eq!((&caller.ask(get(key)).await.value[..], rows(&worker)), (&b"v"[..], (1, 1)));
    caller.ask(expire(key, 0)).await;
    pass(60_000).await;
    let found = caller.ask(get(key)).await;
    assert_eq!((&found.value[..], found.ttl_ms, rows(&worker)), (&b"v"[..], 0, (1, 0)));
    let other = Request { condition: Condition::Version as i32, version: 1, ..expire(key, 1) };
    let unmet = caller.ask(other).await;
    assert_eq!((unmet.status(), unmet.version), (Status::Unmet, found.version));
    let too_long = Request { ttl_ms: u64::MAX, ..put(key, "v") };
    assert_eq!(Code::from_wire(caller.ask(too_long).await.code), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_goes_by_itself_in_groups_of_bounded_size() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let keys = own_keys(2 * EXPIRIES_PER_GROUP_MAX + 100);
    caller.ask_all(keys.iter().map(|key| put_for(key, 1_000)).collect()).await;
    caller.ask_all(keys[..10].iter().map(|key| put_for(key, 90_000)).collect()).await;
    caller.ask_all(keys[10..20].iter().map(|key| put(key, "stays")).collect()).await;
    assert_eq!(rows(&worker), (keys.len(), keys.len() - 10));
    let before = worker.shard().applied_index();
    pass(1_001).await;
    let left = rows(&worker).0;
    assert!(left < keys.len() && left > 20, "{left} rows are left after one group");
    assert_eq!(caller.ask(count()).await.number, 20, "readers do not wait for the rest");
    pass(1_000).await;
    assert_eq!(rows(&worker), (20, 10));
    assert_eq!(worker.shard().applied_index() - before, keys.len() as u64 - 20);
    pass(90_000).await;
    assert_eq!(rows(&worker), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn deadlines_survive_a_crash() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let keys = own_keys(2);
    caller.ask(put_for(&keys[0], 10_000)).await;
    caller.ask(put_for(&keys[1], 20_000)).await;
    drop(caller);
    machine.crash(worker);
    pass(12_000).await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 2).await;
    assert_eq!(caller.ask(get(&keys[0])).await.status(), Status::NotFound);
    assert_eq!(caller.ask(get(&keys[1])).await.ttl_ms, 8_000);
    pass(8_000).await;
    pass(20).await;
    assert_eq!(rows(&worker), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_answered_as_gone_stays_gone_when_the_clock_is_set_back() {
    for reads in [true, false] {
        let machine = Machine::new().await;
        let worker = machine.start().await;
        let mut caller = Caller::new(&worker, 1).await;
        let key = &own_keys(1)[0];
        caller.ask(put_for(key, 1_000)).await;
        machine.wall.set_by(2_000);
        // Nothing but this question can have let the key end, for no time passes.
        let asked = if reads { get(key) } else { request(Operation::Delete, key) };
        assert_eq!(caller.ask(asked).await.status(), Status::NotFound);
        machine.wall.set_by(-HOUR_MS);
        assert_eq!(caller.ask(get(key)).await.status(), Status::NotFound);
        drop(caller);
        machine.crash(worker);
        let worker = machine.start().await;
        let mut caller = Caller::new(&worker, 2).await;
        assert_eq!(caller.ask(get(key)).await.status(), Status::NotFound, "resurrected");
        let absent = Request { condition: Condition::Absent as i32, ..put(key, "w") };
        assert_eq!(caller.ask(absent).await.status(), Status::Created);
    }
}

#[tokio::test(start_paused = true)]
async fn lifetimes_go_on_at_their_pace_while_the_wall_clock_is_behind() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let keys = own_keys(2);
    caller.ask(put_for(&keys[0], 1_000)).await;
    machine.wall.set_by(-2 * HOUR_MS);
    caller.ask(put_for(&keys[1], 2_000)).await;
    pass(999).await;
    assert_eq!(caller.ask(get(&keys[0])).await.ttl_ms, 1);
    pass(1).await;
    assert_eq!(caller.ask(get(&keys[0])).await.status(), Status::NotFound);
    assert_eq!(caller.ask(get(&keys[1])).await.ttl_ms, 1_000);
    pass(1_000).await;
    assert_eq!(caller.ask(get(&keys[1])).await.status(), Status::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_hours_ahead_lets_keys_end_early_once_and_new_lifetimes_are_right() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let keys = own_keys(2);
    caller.ask(put_for(&keys[0], HOUR_MS as u64)).await;
    machine.wall.set_by(3 * HOUR_MS);
    assert_eq!(caller.ask(get(&keys[0])).await.status(), Status::NotFound);
    caller.ask(put_for(&keys[1], 1_000)).await;
    machine.wall.set_by(-3 * HOUR_MS);
    drop(caller);
    machine.crash(worker);
    // The next process goes by a clock that is three hours behind what was logged.
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 2).await;
    let left_ms = caller.ask(get(&keys[1])).await.ttl_ms;
    assert!((1..=1_000).contains(&left_ms), "{left_ms}");
    pass(left_ms).await;
    assert_eq!(caller.ask(get(&keys[1])).await.status(), Status::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_write_has_its_stored_result_although_its_key_has_ended() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = &own_keys(1)[0];
    let write = Request { sequence: 1, oldest_open: 1, ..put_for(key, 100) };
    let first = caller.ask(write.clone()).await;
    pass(200).await;
    let again = caller.ask(Request { repeated: true, ..write }).await;
    assert_eq!((again.status(), again.version, again.replayed), (Status::Created, first.version, true));
    assert_eq!(caller.ask(get(key)).await.status(), Status::NotFound);
}
