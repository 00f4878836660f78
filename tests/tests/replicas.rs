//! What a client has of a shard's replicas: reads that backups answer, calls that outlive their primary, and what came of writes
//! whose answer was lost.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use slotkv::{Client, Code, Options, Outcome, ReadLevel, WriteStatus};
use slotkv_daemon::dev::{Dev, DevOptions};
use slotkv_tests::{WAIT_MAX, proxy::Through, until};

async fn cluster() -> Dev {
    let options = DevOptions { masters: 1, shards: 1, replicas: 3, ..DevOptions::default() };
    Dev::start(options).await.unwrap()
}

/// Waits until the two others are in sync.
async fn in_sync(client: &Client) {
    let backups = async || client.explain(b"k").backups.len() == 2;
    until("two backups are in sync", backups).await;
}

/// Which of the dev cluster's workers leads the shard.
fn primary(dev: &Dev, client: &Client) -> usize {
    let address = client.explain(b"k").address;
    let found = dev.worker_addresses().iter().position(|worker| Some(worker) == address.as_ref());
    found.expect("the shard has a primary")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_never_reads_what_is_older_than_its_own_writes() {
    let dev = cluster().await;
    let client = Client::connect(&dev.uri()).await.unwrap().with_deadline(WAIT_MAX);
    in_sync(&client).await;
    let session = client.with_session_token(b"").unwrap();
    for number in 0..200 {
        session.put("k", number.to_string()).await.unwrap();
        assert_eq!(session.get("k").await.unwrap().unwrap(), number.to_string());
        // Another process goes on with the session.
        let other = client.with_session_token(&session.session_token()).unwrap();
        assert_eq!(other.get_many(["k"]).await.remove(0).unwrap().unwrap(), number.to_string());
        assert_eq!(other.count(slotkv::Range::all()).await.unwrap(), 1);
    }
    let stats = client.stats();
    assert_eq!(stats.members.len(), 3, "replicas answer: {:?}", stats.members);
    // What has been quiet for a while is fresh everywhere.
    let stale = client.with_read_level(ReadLevel::Stale);
    until("every replica has the last write", async || {
        let mut values = Vec::new();
        for _ in 0..20 {
            values.push(stale.get("k").await.unwrap().unwrap());
        }
        values.iter().all(|value| value == "199")
    })
    .await;
    let bounded = client.with_read_level(ReadLevel::Bounded(Duration::from_secs(60)));
    assert_eq!(bounded.get("k").await.unwrap().unwrap(), "199");
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_at_the_next_primary_and_every_write_is_done_once() {
    let mut dev = cluster().await;
    let client = Client::connect(&dev.uri()).await.unwrap().with_deadline(WAIT_MAX);
    in_sync(&client).await;
    client.increment("n", 1).await.unwrap();
    let adding = {
        let client = client.clone();
        tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            for sum in 2..=2000 {
                let before = Instant::now();
                assert_eq!(client.increment("n", 1).await.unwrap(), sum);
                longest = longest.max(before.elapsed());
            }
            longest
        })
    };
    until("it adds", async || client.get("n").await.unwrap().unwrap().len() > 1).await;
    dev.kill_worker(primary(&dev, &client)).await.unwrap();
    let longest = adding.await.unwrap();
    println!("the longest of 2000 increments took {longest:?}");
    assert_eq!(client.get("n").await.unwrap().unwrap(), "2000");
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_too_few_copies_writes_are_refused_at_once_with_why_and_until_when_and_reads_go_on() {
    let mut dev = cluster().await;
    let client = Client::connect(&dev.uri()).await.unwrap().with_deadline(WAIT_MAX);
    in_sync(&client).await;
    client.put("k", "v").await.unwrap();
    let lead = primary(&dev, &client);
    let backups: Vec<usize> = (0..3).filter(|worker| *worker != lead).collect();
    for backup in &backups {
        dev.kill_worker(*backup).await.unwrap();
    }
    let impatient = client.with_deadline(Duration::from_secs(2));
    // What was taken before the backups were missed may be there later.
    let tried = Cell::new(0);
    until("a write is refused for want of copies", async || {
        tried.set(tried.get() + 1);
        let Err(error) = impatient.put(format!("refused-{}", tried.get()), "v").await else { return false };
        if error.code != Code::ReadOnly {
            return false;
        }
        let why = "has 1 copies in sync and takes writes with 2, once more have caught up";
        assert!(error.message.contains(why), "{error}");
        // Each of the answers came at once, for there were many within the call's time.
        assert!(error.attempts >= 4, "{error:?}");
        error.outcome == Outcome::Failed
    })
    .await;
    assert_eq!(client.get("k").await.unwrap().unwrap(), "v");
    assert_eq!(client.get(format!("refused-{}", tried.get())).await.unwrap(), None);
    until("the status says so", async || {
        let shard = client.status().await.unwrap().shards.remove(0);
        shard.state == "read-only" && shard.reason == "1 copies in sync, 2 needed"
    })
    .await;

    dev.restart_worker(backups[0]).await.unwrap();
    client.put("taken", "v").await.unwrap();
    until("the status says that, too", async || {
        let shard = client.status().await.unwrap().shards.remove(0);
        shard.state == "leader" && shard.reason == "2 of 3 copies in sync"
    })
    .await;
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outcome_of_a_write_whose_answer_was_lost_can_be_asked_for() {
    let dev = cluster().await;
    let members = dev.master_addresses().into_iter().chain(dev.worker_addresses());
    let links = Arc::new(Through::start(members).await.unwrap());
    let options = Options { transport: links.clone(), ..Options::default() };
    let cut = Client::connect_with(&dev.uri(), options).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap().with_deadline(WAIT_MAX);
    in_sync(&client).await;
    cut.with_deadline(WAIT_MAX).put("k", "first").await.unwrap();
    let address = cut.explain(b"k").address.expect("the shard has a primary");
    links.link(&address).silence_present();
    let error = cut.with_deadline(Duration::from_millis(200)).put("k", "second").await.unwrap_err();
    assert_eq!(error.outcome, Outcome::Unknown);
    let token = error.token().expect("an unknown outcome has a token");
    let outcome = client.outcome(token).await.unwrap();
    let value = client.get("k").await.unwrap().unwrap();
    match outcome.status {
        WriteStatus::Updated => assert_eq!(value, "second"),
        WriteStatus::NotApplied => assert_eq!(value, "first"),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.outcome(token).await.unwrap(), outcome, "it is settled");
    cut.close().await;
    client.close().await;
    dev.shutdown().await;
}
