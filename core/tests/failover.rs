//! How soon calls go on when a shard gets another primary, and what comes of those that were on their way.

mod fake;

use std::time::Duration;

use fake::{Action, Fake, refused, route};
use slotkv::{Client, Code, Outcome, Put, Result};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// What an election takes, about.
const ELECTION: Duration = Duration::from_millis(700);

fn put(client: &Client, key: &'static str) -> JoinHandle<Result<Put>> {
    let client = client.clone();
    tokio::spawn(async move { client.put(key, "v").await })
}

/// Worker `w1:1` leads the only shard from now on, with the data of `w0:1`.
fn elect(fake: &Fake) {
    let data = fake.store("w0:1", |store| store.clone());
    fake.add_worker("w1:1", 0, data);
    fake.change(|table| {
        table.set_route(route(0, 2, 2, Some("w1:1")));
    });
}

#[tokio::test(start_paused = true)]
async fn calls_go_on_tens_of_milliseconds_after_the_next_primary_is_known() {
    for killed in [true, false] {
        let fake = Fake::new(1);
        let client = fake.client().await;
        client.put("k", "v").await.unwrap();
        match killed {
            true => fake.set_up("w0:1", false),
            false => fake.silence("w0:1", true),
        }
        let call = put(&client, "k");
        sleep(ELECTION).await;
        assert!(!call.is_finished());
        elect(&fake);
        let elected = Instant::now();
        call.await.unwrap().unwrap();
        assert!(elected.elapsed() < Duration::from_millis(100), "killed {killed}: {:?}", elected.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_at_a_primary_that_has_stopped_is_repeated_at_the_next_and_done_once() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    client.increment("n", 1).await.unwrap();
    // It carries the write out and does not answer any more.
    fake.silence("w0:1", true);
    let call = {
        let client = client.clone();
        tokio::spawn(async move { (client.increment("n", 1).await, client.get("n").await) })
    };
    fake.until(|| fake.log("w0:1").len() == 2).await;
    elect(&fake);
    let (sum, value) = call.await.unwrap();
    assert_eq!((sum.unwrap(), value.unwrap().unwrap()), (2, "2".into()));
    let request = fake.log("w1:1")[0].request.clone();
    assert!(request.repeated && request.sequence == 2);
    assert_eq!(fake.store("w1:1", |store| store.executed.clone()), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_refuses_until_it_may_lead_is_asked_every_few_milliseconds() {
    for code in [Code::NotPrimary, Code::Retry, Code::ReadOnly] {
        let fake = Fake::new(1);
        let client = fake.client().await;
        fake.script("w0:1", move |_| Action::Reply(refused(code)));
        let call = put(&client, "k");
        sleep(ELECTION).await;
        fake.unscript("w0:1");
        let before = Instant::now();
        call.await.unwrap().unwrap();
        assert!(before.elapsed() <= Duration::from_millis(40), "{code}: {:?}", before.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_stays_in_trouble_is_left_to_the_pings() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    fake.set_up("w0:1", false);
    let call = put(&client, fake.key_of(0).leak());
    sleep(Duration::from_secs(5)).await;
    let vigil = client.stats().refreshes;
    assert!((50..=110).contains(&vigil), "{vigil} fetches in 5 s");
    assert!(call.await.unwrap().is_err());
    sleep(Duration::from_secs(15)).await;
    let later = client.stats().refreshes - vigil;
    assert!(later < 40, "{later} fetches in 15 s");
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_a_write_is_asked_for() {
    let fake = Fake::new(1);
    let client = fake.client().await.namespace("app").unwrap().with_deadline(Duration::from_millis(300));
    client.get("n").await.unwrap();
    fake.silence("w0:1", true);
    let applied = client.increment("n", 4).await.unwrap_err();
    assert_eq!(applied.outcome, Outcome::Unknown);
    fake.silence("w0:1", false);
    fake.cut("w0:1");
    fake.script_first("w0:1", [Action::Hold]);
    let lost = client.put("k", "v").await.unwrap_err();
    // Another client asks: the token has what it needs.
    let other = fake.client().await;
    let token = |error: &slotkv::Error| error.token().unwrap().clone();
    let outcome = other.outcome(&token(&applied)).await.unwrap();
    assert_eq!((outcome.status, outcome.number), (slotkv::WriteStatus::Created, 4));
    assert!(outcome.applied());
    let outcome = other.outcome(&token(&lost)).await.unwrap();
    assert_eq!((outcome.status, outcome.applied()), (slotkv::WriteStatus::NotApplied, false));
    // The attempt that was on its way comes after that.
    fake.release("w0:1");
    assert_eq!(client.get("k").await.unwrap(), None);
    assert_eq!(client.outcome(&token(&lost)).await.unwrap(), outcome);
    fake.store("w0:1", |store| {
        store.set_index(99);
        store.forget();
    });
    let outcome = other.outcome(&token(&applied)).await.unwrap();
    assert_eq!(outcome.status, slotkv::WriteStatus::Forgotten);
}

#[tokio::test(start_paused = true)]
async fn results_that_may_be_asked_for_are_kept_for_a_while() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    let oldest_open = || fake.log("w0:1").last().unwrap().request.oldest_open;
    client.get("k").await.unwrap();
    fake.silence("w0:1", true);
    let error = client.with_deadline(Duration::from_millis(100)).put("k", "v").await.unwrap_err();
    let token = error.token().unwrap();
    fake.silence("w0:1", false);
    fake.cut("w0:1");
    client.put("other", "v").await.unwrap();
    client.put("other", "v").await.unwrap();
    assert_eq!(oldest_open(), 1);
    client.outcome(token).await.unwrap();
    client.put("other", "v").await.unwrap();
    assert_eq!(oldest_open(), 4, "it was told");
    fake.silence("w0:1", true);
    client.with_deadline(Duration::from_millis(100)).put("k", "v").await.unwrap_err();
    fake.silence("w0:1", false);
    fake.cut("w0:1");
    sleep(Duration::from_secs(61)).await;
    client.put("other", "v").await.unwrap();
    assert_eq!(oldest_open(), 6, "nobody asks any more");
}
