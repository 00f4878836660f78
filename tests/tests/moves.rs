//! What clients notice of slots that go from shard to shard: nothing.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use slotkv::{Client, Explain, PutOptions, Range, Scan};
use slotkv_daemon::dev::{Dev, DevOptions};
use slotkv_tests::{WAIT_MAX, load::Load, operator::Operator};

/// Keys that stay throughout, in many slots.
const KEYS: usize = 3000;
/// Slots of the cluster.
const SLOTS: u32 = 256;
/// Callers in a closed loop, where it is said how many.
const CALLERS: usize = 8;

async fn cluster() -> Dev {
    let options = DevOptions { masters: 1, shards: 3, slots: SLOTS, ..DevOptions::default() };
    Dev::start(options).await.unwrap()
}

fn key(number: usize) -> String {
    format!("stays/{number:05}")
}

async fn fill(client: &Client) {
    let mut puts = tokio::task::JoinSet::new();
    for number in 0..KEYS {
        let client = client.clone();
        puts.spawn(async move { client.put(key(number), format!("value {number}")).await.map(drop) });
        if puts.len() >= 256 {
            puts.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    while let Some(put) = puts.join_next().await {
        put.unwrap().unwrap();
    }
}

/// Every key that stays, once, in the order that was asked for.
async fn scanned(mut scan: Scan, is_ordered: bool) -> usize {
    let (mut found, mut last) = (BTreeSet::new(), Vec::new());
    while let Some(item) = scan.next().await {
        let item = item.unwrap();
        let number: usize = String::from_utf8_lossy(&item.key)["stays/".len()..].parse().unwrap();
        assert_eq!(item.value, format!("value {number}"));
        assert!(found.insert(number), "key {number} comes twice");
        assert!(!is_ordered || last < item.key.to_vec(), "{:?} comes behind {last:?}", item.key);
        last = item.key.to_vec();
    }
    assert_eq!(found.len(), KEYS, "keys are missing");
    found.len()
}

/// Scans, counts and batches, one after the other, until it is told to stop. How many.
async fn look(client: Client, stop: Arc<AtomicBool>) -> usize {
    let range = || Range::prefix("stays/").items_max(50);
    let mut looks = 0;
    while !stop.load(Relaxed) {
        scanned(client.scan(range()).unwrap(), false).await;
        scanned(client.scan(range().ordered()).unwrap(), true).await;
        assert_eq!(client.count(range()).await.unwrap(), KEYS as u64);
        let all = client.get_many((0..KEYS).map(key)).await;
        for (number, value) in all.into_iter().enumerate() {
            assert_eq!(value.unwrap().unwrap(), format!("value {number}"));
        }
        looks += 4;
    }
    looks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_and_no_scan_misses_or_doubles_a_key_while_slots_move() {
    let dev = cluster().await;
    let client = Client::connect(&dev.uri()).await.unwrap().with_deadline(WAIT_MAX);
    fill(&client).await;
    let stop = Arc::<AtomicBool>::default();
    let mut load = Load::start(&client, 8, Duration::from_millis(1));
    let looking = tokio::spawn(look(client.clone(), stop.clone()));
    let mut operator = Operator::at(&dev.master_addresses()[0]).await;
    for shard in 0..3 {
        operator.there_and_back(shard).await;
    }
    load.goes_on(100).await;
    stop.store(true, Relaxed);
    let looks = looking.await.unwrap();
    assert!(looks > 0);
    load.end(&client).await;
    scanned(client.scan(Range::prefix("stays/")).unwrap(), false).await;
    let (movements, stats) = (operator.movements().await, client.stats());
    let totals = movements.totals.unwrap();
    println!("{} slots moved, {looks} looks, {} redirects within the client", totals.slots, stats.redirects);
    assert!(totals.slots >= u64::from(SLOTS), "{totals:?}");
    client.close().await;
    dev.shutdown().await;
}

/// How the client would reach a key when it first takes the shard for its owner.
async fn first_seen_at(client: Client, shard: u32, keys: Vec<String>) -> Explain {
    loop {
        if let Some(seen) =
            keys.iter().map(|key| client.explain(key.as_bytes())).find(|seen| seen.shard == Some(shard))
        {
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_connected_to_a_new_owner_before_the_table_says_so() {
    let options = DevOptions { masters: 1, shards: 2, slots: SLOTS, ..DevOptions::default() };
    let mut dev = Dev::start(options).await.unwrap();
    let mut operator = Operator::at(&dev.master_addresses()[0]).await;
    operator.weigh(1, 0.0).await;
    operator.settled().await;
    // As a shard that joins: it is not there when the client connects, and has nothing that the client could ask it for.
    dev.stop_worker(1).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap().with_deadline(WAIT_MAX);
    fill(&client).await;
    let mut load = Load::start(&client, CALLERS, Duration::from_millis(1));
    load.goes_on(100).await;
    dev.restart_worker(1).await.unwrap();
    let (before, moved_before) = (client.stats(), operator.movements().await.totals.unwrap());
    let first = tokio::spawn(first_seen_at(client.clone(), 1, (0..64).map(key).collect()));
    operator.weigh(1, 1.0).await;
    let first = first.await.unwrap();
    assert!(first.connected, "{first:?}");
    operator.settled().await;
    load.goes_on(100).await;
    let (after, moved) = (client.stats(), operator.movements().await.totals.unwrap());
    let (redirects, slots) = (after.redirects - before.redirects, moved.slots - moved_before.slots);
    let asked: Vec<String> = load.keys().collect();
    let is_moved = |key: &String| client.explain(key.as_bytes()).shard == Some(1);
    let moved_keys = asked.iter().filter(|key| is_moved(key)).count();
    println!(
        "{slots} slots moved, {redirects} redirects within the client, {moved_keys} of {} keys moved",
        asked.len()
    );
    assert_eq!(slots, u64::from(SLOTS) / 2);
    // Only what was on its way when its slot was sealed is redirected: a key once, as it moves once.
    assert!(redirects <= moved_keys as u64, "{redirects} redirects, {moved_keys} keys moved");
    // Nobody has asked for these meanwhile: the first call for each goes to its owner at once.
    let idle: Vec<String> = (0..KEYS).map(key).collect();
    let moved_keys = idle.iter().filter(|key| is_moved(key)).count();
    assert!(moved_keys > KEYS / 3, "{moved_keys} keys moved");
    for value in client.get_many(idle).await {
        value.unwrap().unwrap();
    }
    load.end(&client).await;
    let last = client.stats();
    assert_eq!((last.redirects, last.calls_failed, last.calls_unknown), (after.redirects, 0, 0), "{last:?}");
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_goes_on_at_whoever_has_the_slot_by_then() {
    let dev = cluster().await;
    let client = Client::connect(&dev.uri()).await.unwrap().with_deadline(WAIT_MAX);
    fill(&client).await;
    let mut operator = Operator::at(&dev.master_addresses()[0]).await;
    let range = || Range::prefix("stays/").items_max(10);
    let (mut found, mut cursor) = (BTreeSet::new(), None::<Bytes>);
    for shard in [0, 1, 2] {
        let mut scan = match &cursor {
            None => client.scan(range()).unwrap(),
            Some(cursor) => client.scan_from(range(), cursor).unwrap(),
        };
        for _ in 0..KEYS / 4 {
            let item = scan.next().await.unwrap().unwrap();
            assert!(found.insert(item.key.clone()), "{:?} comes twice", item.key);
        }
        cursor = Some(scan.cursor());
        operator.weigh(shard, 0.0).await;
        operator.settled().await;
        operator.weigh(shard, 1.0).await;
        operator.settled().await;
    }
    let mut scan = client.scan_from(range(), &cursor.unwrap()).unwrap();
    while let Some(item) = scan.next().await {
        assert!(found.insert(item.unwrap().key), "a key comes twice");
    }
    assert_eq!(found.len(), KEYS);
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_reads_its_own_writes_and_a_lifetime_goes_on_wherever_the_slot_is() {
    let dev = cluster().await;
    let client = Client::connect(&dev.uri()).await.unwrap().with_deadline(WAIT_MAX);
    let session = client.with_session_token(b"").unwrap();
    let keys: Vec<String> = (0..64).map(|number| format!("of a session {number}")).collect();
    let lifetime = Duration::from_secs(3600);
    // These are written once, so what is left of their lifetimes only falls: one that began anew would show, as it would be that of
    // the first round at least.
    let once: Vec<String> = (0..64).map(|number| format!("written once {number}")).collect();
    for key in &once {
        session.put_with(key.clone(), "v", PutOptions::ttl(lifetime)).await.unwrap();
    }
    let mut left = lefts(&session, &once).await;
    let mut operator = Operator::at(&dev.master_addresses()[0]).await;
    for round in 0..3_u32 {
        for key in &keys {
            session.put_with(key.clone(), round.to_string(), PutOptions::ttl(lifetime)).await.unwrap();
        }
        let before: Vec<u64> = versions(&session, &keys).await;
        operator.weigh(round, 0.0).await;
        operator.settled().await;
        for key in &keys {
            let entry = session.get_entry(key.clone()).await.unwrap().unwrap();
            assert_eq!(entry.value, round.to_string());
            let left = entry.ttl.expect("it ends");
            assert!(left <= lifetime && left > lifetime / 2, "{left:?}");
        }
        let now = lefts(&session, &once).await;
        for ((key, now), before) in once.iter().zip(&now).zip(&left) {
            assert!(now < before, "{key}: {now:?} are left, and before its slot moved {before:?}");
        }
        left = now;
        assert_eq!(versions(&session, &keys).await, before, "a hand-over is no write");
        operator.weigh(round, 1.0).await;
        operator.settled().await;
    }
    client.close().await;
    dev.shutdown().await;
}

/// What is left of each key's lifetime.
async fn lefts(client: &Client, keys: &[String]) -> Vec<Duration> {
    let mut lefts = Vec::new();
    for key in keys {
        let entry = client.get_entry(key.clone()).await.unwrap().unwrap();
        lefts.push(entry.ttl.expect("it ends"));
    }
    lefts
}

async fn versions(client: &Client, keys: &[String]) -> Vec<u64> {
    let mut versions = Vec::new();
    for key in keys {
        versions.push(client.get_entry(key.clone()).await.unwrap().unwrap().version);
    }
    versions
}
