//! Writes are applied at most once, and errors say whether they were.

mod fake;

use std::time::Duration;

use fake::{Action, Fake, Store, refused, route};
use slotkv::{Code, Outcome, Put, Retry};
use slotkv_proto::{
    seam::{Chance, SeededChance},
    v1,
};

/// Sequence and fence of each request that the worker saw.
fn numbers(fake: &Fake, address: &str) -> Vec<(u64, u64)> {
    fake.log(address).iter().map(|seen| (seen.request.sequence, seen.request.fence_index)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_reply_was_lost_is_sent_again_as_the_same_and_applied_once() {
    let fake = Fake::new(1);
    fake.store("w0:1", |store| store.set_index(40));
    let client = fake.client().await;
    client.get("k").await.unwrap();
    fake.script_first("w0:1", [Action::ServeThenCut]);
    assert_eq!(client.increment("n", 1).await.unwrap(), 1);
    assert_eq!(fake.store("w0:1", |store| store.executed.clone()), [1]);
    assert_eq!(numbers(&fake, "w0:1")[1..], [(1, 40), (1, 40)]);
    assert_eq!(client.stats().retries, 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_lost_on_the_way_is_carried_out_by_the_next_attempt() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.script_first("w0:1", [Action::Cut, Action::Cut]);
    assert!(matches!(client.put("k", "v").await.unwrap(), Put::Created { .. }));
    assert_eq!(numbers(&fake, "w0:1"), [(1, 0); 3]);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_pass_are_retried_with_the_same_number() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    let codes =
        [Code::Retry, Code::ReadOnly, Code::Overloaded, Code::ShuttingDown, Code::SteppedDown, Code::Timeout];
    fake.script_first("w0:1", codes.map(|code| Action::Reply(refused(code))));
    client.put("k", "v").await.unwrap();
    assert_eq!(numbers(&fake, "w0:1"), [(1, 0); 7]);
    assert_eq!(fake.store("w0:1", |store| store.executed.len()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_is_indeterminate_goes_again_as_a_new_write() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.store("w0:1", |store| {
        store.set_index(10);
        store.forget();
    });
    assert!(matches!(client.put("k", "v").await.unwrap(), Put::Created { .. }));
    assert_eq!(numbers(&fake, "w0:1"), [(1, 0), (2, 10)]);
    assert_eq!(fake.store("w0:1", |store| store.executed.clone()), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_attempt_that_becomes_indeterminate_is_unknown() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    let mut first = true;
    fake.script("w0:1", move |_| match std::mem::take(&mut first) {
        true => Action::ServeThenCut,
        false => Action::Reply(refused(Code::Indeterminate)),
    });
    let error = client.increment("n", 1).await.unwrap_err();
    assert_eq!((error.code, error.outcome, error.retry), (Code::Indeterminate, Outcome::Unknown, Retry::Ask));
    assert_eq!(error.attempts, 2);
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("CONNECTION_LOST"));
    assert_eq!(client.stats().calls_unknown, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_only_refused_has_failed_and_what_was_ever_lost_is_unknown() {
    let fake = Fake::new(1);
    let client = fake.client().await.with_deadline(Duration::from_millis(500));
    fake.script("w0:1", |_| Action::Reply(refused(Code::ReadOnly)));
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!((error.code, error.outcome, error.retry), (Code::ReadOnly, Outcome::Failed, Retry::Backoff));
    assert_eq!(error.member.as_deref(), Some("w0:1"));
    assert!(error.attempts > 1 && error.message.contains("deadline"), "{error}");

    let mut first = true;
    fake.script("w0:1", move |_| match std::mem::take(&mut first) {
        true => Action::Cut,
        false => Action::Reply(refused(Code::ReadOnly)),
    });
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!((error.code, error.outcome, error.retry), (Code::ReadOnly, Outcome::Unknown, Retry::Ask));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_unknown_for_a_write_and_failed_for_a_read() {
    let fake = Fake::new(1);
    let client = fake.client().await.with_deadline(Duration::from_millis(200));
    fake.script("w0:1", |_| Action::Hold);
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!((error.code, error.outcome, error.retry), (Code::Timeout, Outcome::Unknown, Retry::Ask));
    let error = client.get("k").await.unwrap_err();
    assert_eq!((error.code, error.outcome, error.retry), (Code::Timeout, Outcome::Failed, Retry::Backoff));
    let ids: Vec<_> = fake.log("w0:1").iter().map(|seen| seen.request.id).collect();
    fake.until(|| fake.cancels("w0:1") == ids).await;
    assert_eq!(client.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_never_left_has_failed() {
    let fake = Fake::new(1);
    fake.silence("w0:1", true);
    let client = fake.client().await.with_deadline(Duration::from_millis(200));
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Timeout, Outcome::Failed));
    assert!(error.message.contains("waiting for a connection to w0:1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn number_and_fence_survive_a_fail_over() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    client.put("k", "v").await.unwrap();
    fake.script("w0:1", |_| Action::ServeThenCut);
    let call = {
        let client = client.clone();
        tokio::spawn(async move { client.increment("n", 1).await })
    };
    fake.until(|| fake.log("w0:1").len() == 2).await;
    fake.set_up("w0:1", false);
    let mut data = fake.store("w0:1", |store| store.clone());
    data.set_index(100);
    fake.add_worker("w1:1", 0, data);
    fake.change(|table| {
        table.set_route(route(0, 2, 2, Some("w1:1")));
    });
    assert_eq!(call.await.unwrap().unwrap(), 1);
    assert_eq!(numbers(&fake, "w1:1"), numbers(&fake, "w0:1")[1..2]);
    assert_eq!(fake.store("w1:1", |store| store.executed.clone()), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_only_refused_takes_the_fence_of_the_shard_that_it_moves_to() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let (key, other) = (fake.key_of(0), fake.key_of(1));
    fake.store("w0:1", |store| store.set_index(500));
    fake.store("w1:1", |store| {
        store.set_index(20);
        store.forget();
    });
    client.get(&key).await.unwrap();
    client.get(&other).await.unwrap();
    let slot = fake.truth().slot(key.as_bytes());
    fake.give(&[(slot, 1)]);
    let delta = fake.delta();
    fake.script("w0:1", move |_| Action::Correct(refused(Code::Moved), delta.clone()));
    client.put(&key, "v").await.unwrap();
    assert_eq!(numbers(&fake, "w0:1")[1], (1, 500));
    assert_eq!(numbers(&fake, "w1:1")[1], (1, 20));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_may_have_been_applied_takes_no_fence_to_another_shard() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let key = fake.key_of(0);
    fake.store("w0:1", |store| store.set_index(500));
    client.get(&key).await.unwrap();
    let slot = fake.truth().slot(key.as_bytes());
    fake.script_first("w0:1", [Action::ServeThenCut]);
    let call = {
        let (client, key) = (client.clone(), key.clone());
        tokio::spawn(async move { client.increment(key, 1).await })
    };
    fake.until(|| fake.log("w0:1").len() == 2).await;
    // The slot moves, and the other shard, whose log is shorter, has forgotten the result.
    fake.give(&[(slot, 1)]);
    let data = fake.store("w0:1", |store| store.take_slot(slot));
    fake.store("w1:1", |store| {
        store.absorb(data);
        store.set_index(20);
        store.forget();
    });
    let delta = fake.delta();
    fake.script("w0:1", move |_| Action::Correct(refused(Code::Moved), delta.clone()));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Indeterminate, Outcome::Unknown));
    assert_eq!(numbers(&fake, "w1:1"), [(1, 0)]);
    assert_eq!(fake.store("w1:1", |store| store.value(&key)).unwrap(), "1", "not done twice");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_open_write_holds_the_mark() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.script_first("w0:1", [Action::Hold]);
    let held = {
        let client = client.clone();
        tokio::spawn(async move { client.put("held", "v").await })
    };
    fake.until(|| fake.held("w0:1") == 1).await;
    client.put("a", "v").await.unwrap();
    client.put("b", "v").await.unwrap();
    fake.release("w0:1");
    held.await.unwrap().unwrap();
    client.put("c", "v").await.unwrap();
    let marks: Vec<_> =
        fake.log("w0:1").iter().map(|seen| (seen.request.sequence, seen.request.oldest_open)).collect();
    assert_eq!(marks, [(1, 1), (2, 1), (3, 1), (4, 4)]);
}

#[tokio::test(start_paused = true)]
async fn increments_come_out_exact_whatever_breaks() {
    for seed in 0..20 {
        let fake = Fake::new(2);
        let client = fake.client().await.with_deadline(Duration::from_secs(120));
        for address in ["w0:1", "w1:1"] {
            let chance = SeededChance::new(seed);
            fake.script(address, move |_| match chance.below(12) {
                0 => Action::Cut,
                1 => Action::ServeThenCut,
                2 => Action::Reply(refused(Code::Retry)),
                3 => Action::Reply(refused(Code::SteppedDown)),
                4 => Action::Reply(v1::Reply { retry_after_ms: 30, ..refused(Code::Overloaded) }),
                _ => Action::Serve,
            });
        }
        let calls: Vec<_> = (0..200)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move { client.increment(format!("n{}", n % 10), 1).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        fake.unscript("w0:1");
        fake.unscript("w1:1");
        for n in 0..10 {
            assert_eq!(client.get(format!("n{n}")).await.unwrap().unwrap(), "20", "seed {seed}");
        }
        let executed = |store: &mut Store| store.executed.len();
        assert_eq!(fake.store("w0:1", executed) + fake.store("w1:1", executed), 200);
        assert_eq!(client.stats().in_flight, 0);
    }
}
