//! Reads that backups may answer.

mod fake;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fake::{Action, Fake, refused, replicated};
use slotkv::{CallOptions, Client, Code, Command, Range, ReadLevel};
use slotkv_proto::{table::Member, v1};
use tokio::time::{Instant, sleep};

const REPLICAS: [&str; 3] = ["w0:1", "b1:1", "b2:1"];

/// A shard of a primary and two backups that hold `k`.
async fn cluster() -> (Arc<Fake>, Client) {
    let fake = Fake::new(1);
    fake.store("w0:1", |store| store.put("k", "v"));
    let data = fake.store("w0:1", |store| store.clone());
    for backup in &REPLICAS[1..] {
        fake.add_worker(backup, 0, data.clone());
    }
    fake.change(|table| {
        table.set_route(replicated(0, 1, 2, Some("w0:1"), &REPLICAS[1..]));
    });
    let client = fake.client().await;
    (fake, client)
}

fn asked(fake: &Fake) -> [usize; 3] {
    REPLICAS.map(|address| fake.log(address).len())
}

#[tokio::test(start_paused = true)]
async fn reads_of_every_kind_go_to_any_replica_and_linearizable_ones_to_the_primary() {
    let (fake, client) = cluster().await;
    for _ in 0..20 {
        client.get("k").await.unwrap();
    }
    assert_eq!(asked(&fake), [20, 0, 0]);
    assert_eq!(fake.opened("b1:1"), 0, "who wants no backup connects to none");
    let stale = client.with_read_level(ReadLevel::Stale);
    for _ in 0..60 {
        assert_eq!(stale.get("k").await.unwrap().unwrap(), "v");
    }
    assert!(stale.has("k").await.unwrap());
    assert_eq!(stale.count(Range::all()).await.unwrap(), 1);
    assert_eq!(stale.dump(Range::all()).await.unwrap().len(), 1);
    for result in stale.get_many(vec!["k"; 300]).await {
        assert_eq!(result.unwrap().unwrap(), "v");
    }
    assert!(asked(&fake).iter().all(|&asked| asked > 5), "{:?}", asked(&fake));
    let seen: Vec<_> = REPLICAS.iter().flat_map(|address| fake.log(address)).skip(20).collect();
    assert!(seen.iter().all(|seen| seen.request.read_level() == v1::ReadLevel::Stale));
    let operations: BTreeSet<_> = seen.iter().map(|seen| seen.request.operation).collect();
    assert_eq!(operations.len(), 5);
    stale.put("k", "w").await.unwrap();
    assert_eq!(fake.store("w0:1", |store| store.value("k")).unwrap(), "w");
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_is_not_fresh_enough_sends_the_read_to_the_primary() {
    let (fake, client) = cluster().await;
    for backup in &REPLICAS[1..] {
        fake.script(backup, |_| Action::Reply(refused(Code::Retry)));
    }
    let bounded = client.with_read_level(ReadLevel::Bounded(Duration::from_millis(70)));
    let before = Instant::now();
    for _ in 0..20 {
        assert_eq!(bounded.get("k").await.unwrap().unwrap(), "v");
    }
    assert_eq!(before.elapsed(), Duration::ZERO, "nothing pauses for it");
    let refused = fake.log("b1:1").len() + fake.log("b2:1").len();
    assert!(refused > 5);
    assert_eq!(client.stats().redirects, refused as u64);
    let request = fake.log("b1:1")[0].request.clone();
    assert_eq!((request.read_level(), request.staleness_ms), (v1::ReadLevel::Bounded, 70));
    let levels = fake.log("w0:1").into_iter().map(|seen| seen.request.read_level());
    assert_eq!(levels.filter(|&level| level == v1::ReadLevel::Linearizable).count(), refused);
}

/// The welcome of a worker in a zone.
fn welcome_of_zone(zone: &str) -> v1::ServerFrame {
    let member = v1::Member { zone: zone.into(), ..v1::Member::default() };
    let mut frame = fake::welcome(0);
    frame.welcome.as_mut().unwrap().member = Some(member);
    frame
}

/// A client in a zone that is connected to every replica.
async fn connected(fake: &Arc<Fake>, zone: &str) -> Client {
    let client = fake.connect(&format!("slotkv://m0:1?zone={zone}"), |options| options).await.unwrap();
    client.with_read_level(ReadLevel::Stale).get("k").await.unwrap();
    fake.until(|| client.stats().members.iter().filter(|member| member.connected).count() == 3).await;
    client
}

/// What the last request of a session at any replica asks for: epoch and index.
fn token(fake: &Fake, address: &str) -> Option<(u64, u64)> {
    let request = fake.log(address).last()?.request.clone();
    let token = request.session_token;
    assert_eq!((token.len(), token[0]), (17, 1));
    let number = |at: usize| u64::from_le_bytes(token[at..at + 8].try_into().unwrap());
    Some((number(1), number(9)))
}

#[tokio::test(start_paused = true)]
async fn a_session_asks_for_what_it_has_seen() {
    let (fake, _) = cluster().await;
    fake.welcome("b1:1", welcome_of_zone("here"));
    let client = connected(&fake, "here").await;
    // The backup of the client's zone answers all of them.
    let ask = async |client: &Client| {
        client.get("k").await.unwrap();
        token(&fake, "b1:1").unwrap().1
    };
    let session = client.with_read_level(ReadLevel::Session);
    client.put("k", "w").await.unwrap();
    let index = fake.store("w0:1", |store| store.index());
    assert_eq!(ask(&session).await, index, "of all views of the client");
    let own = client.with_session_token(b"").unwrap();
    assert_eq!(ask(&own).await, 0, "a session of its own has seen nothing");
    own.put("k", "x").await.unwrap();
    assert_eq!(ask(&own).await, index + 1);
    client.put("k", "y").await.unwrap();
    assert_eq!(ask(&own).await, index + 1, "what others write is not its own");
    let elsewhere = connected(&fake, "here").await.with_session_token(&own.session_token()).unwrap();
    assert_eq!(ask(&elsewhere).await, index + 1);
    let options = CallOptions { read_level: Some(ReadLevel::Linearizable), ..CallOptions::default() };
    elsewhere.call(Command::Get { key: "k".into() }, &options).await.unwrap();
    assert_eq!(ask(&elsewhere).await, index + 2, "any reply counts");
}

#[tokio::test(start_paused = true)]
async fn replicas_that_are_gone_or_say_nothing_are_left_for_others() {
    let (fake, client) = cluster().await;
    let stale = client.with_read_level(ReadLevel::Stale);
    for _ in 0..20 {
        stale.get("k").await.unwrap();
    }
    fake.set_up("b1:1", false);
    fake.set_up("w0:1", false);
    let before = Instant::now();
    for _ in 0..200 {
        assert_eq!(stale.get("k").await.unwrap().unwrap(), "v");
    }
    assert!(before.elapsed() < Duration::from_millis(20), "{:?}", before.elapsed());
    fake.set_up("w0:1", true);
    fake.set_up("b1:1", true);
    sleep(Duration::from_secs(3)).await;
    fake.silence("b1:1", true);
    let before = Instant::now();
    for _ in 0..200 {
        stale.get("k").await.unwrap();
    }
    assert!(before.elapsed() < Duration::from_millis(1500), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn replicas_of_the_clients_zone_are_preferred() {
    let (fake, _) = cluster().await;
    fake.welcome("b1:1", welcome_of_zone("north"));
    fake.welcome("b2:1", welcome_of_zone("south"));
    let client = connected(&fake, "south").await;
    let stale = client.with_read_level(ReadLevel::Stale);
    let before = asked(&fake);
    for _ in 0..50 {
        stale.get("k").await.unwrap();
    }
    assert_eq!(asked(&fake), [before[0], before[1], before[2] + 50]);
    fake.set_up("b2:1", false);
    for _ in 0..50 {
        stale.get("k").await.unwrap();
    }
    assert!(asked(&fake)[1] > before[1], "others will do when there is none");
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_becomes_primary_keeps_its_connection() {
    let (fake, client) = cluster().await;
    let stale = client.with_read_level(ReadLevel::Stale);
    for _ in 0..20 {
        stale.get("k").await.unwrap();
    }
    let before = fake.opened("b1:1");
    let b1 = fake.truth().route(0).unwrap().backups[0].clone();
    fake.set_up("w0:1", false);
    fake.change(|table| {
        let backups = vec![Member { address: "w0:1".into(), ..b1.clone() }];
        table.set_route(slotkv_proto::table::Route {
            shard: 0,
            epoch: 2,
            revision: 3,
            primary: Some(b1),
            backups,
        });
    });
    client.put("k", "w").await.unwrap();
    assert_eq!(client.explain(b"k").address.as_deref(), Some("b1:1"));
    assert_eq!((before, fake.opened("b1:1")), (1, 1));
}
