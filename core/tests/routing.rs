//! Where calls go when the cluster changes under the client.

mod fake;

use std::{sync::Arc, time::Duration};

use fake::{Action, Fake, refused, route};
use slotkv::{CallOptions, Client, Code, Command, Options, Outcome};
use slotkv_proto::{SlotCount, SlotTable, v1};
use tokio::time::{Instant, sleep};

/// Gives the slot of `key` to another shard and its data to that shard's worker.
fn move_slot(fake: &Fake, key: &str, from: u32, to: u32) {
    let slot = fake.truth().slot(key.as_bytes());
    fake.give(&[(slot, to)]);
    let data = fake.store(&format!("w{from}:1"), |store| store.take_slot(slot));
    fake.store(&format!("w{to}:1"), |store| store.absorb(data));
}

/// The worker refuses what the truth gives to others, with the correction.
fn refuse_moved(fake: &Arc<Fake>, address: &'static str, shard: u32) {
    let truth = Arc::downgrade(fake);
    let slots = fake.truth().slots();
    let table = std::sync::Mutex::new(fake.truth());
    fake.script(address, move |seen| {
        let _ = &truth;
        let table = table.lock().unwrap();
        if table.owner(slotkv_proto::slot(&seen.request.key, slots)) == Some(shard) {
            Action::Serve
        } else {
            Action::Correct(refused(Code::Moved), table.full())
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_moved_slot_costs_one_round_trip_and_no_pause() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let key = fake.key_of(0);
    client.put(&key, "v").await.unwrap();
    let fetches = fake.asked("m0:1").1 + fake.asked("m1:1").1;
    move_slot(&fake, &key, 0, 1);
    refuse_moved(&fake, "w0:1", 0);
    let before = Instant::now();
    assert_eq!(client.get(&key).await.unwrap().unwrap(), "v");
    assert_eq!(Instant::now(), before, "nothing waited for a timer");
    let stats = client.stats();
    assert_eq!((stats.redirects, stats.retries, stats.table_version), (1, 0, 2));
    assert_eq!(fake.log("w0:1").len(), 2);
    assert_eq!(fake.log("w1:1").len(), 1);
    assert_eq!(fake.log("w1:1")[0].table_version, 2);
    assert_eq!(fake.asked("m0:1").1 + fake.asked("m1:1").1, fetches, "no master was asked");
    client.get(&key).await.unwrap();
    assert_eq!(fake.log("w0:1").len(), 2, "the table stays corrected");
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_moved_to_a_shard_never_heard_of_costs_one_round_trip_too() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let key = fake.key_of(0);
    client.put(&key, "v").await.unwrap();
    let fetches = fake.asked("m0:1").1 + fake.asked("m1:1").1;
    fake.add_worker("w2:1", 2, fake::Store::default());
    fake.change(|table| {
        table.set_route(route(2, 1, 1, Some("w2:1")));
    });
    move_slot(&fake, &key, 0, 2);
    refuse_moved(&fake, "w0:1", 0);
    let before = Instant::now();
    client.put(&key, "w").await.unwrap();
    assert_eq!(Instant::now(), before, "nothing waited for a timer");
    assert_eq!((client.stats().redirects, client.stats().retries), (1, 0));
    assert_eq!((fake.log("w0:1").len(), fake.log("w2:1").len(), fake.opened("w2:1")), (2, 1, 1));
    assert_eq!(fake.asked("m0:1").1 + fake.asked("m1:1").1, fetches, "no master was asked");
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_batch_that_have_moved_are_asked_for_at_their_new_owner_at_once() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let keys = fake.keys_of(0, 2);
    for key in &keys {
        client.put(key, "v").await.unwrap();
    }
    keys.iter().for_each(|key| move_slot(&fake, key, 0, 1));
    // A worker leaves out what it does not own, and says in the same frame whose that is.
    let (delta, fetches) = (fake.delta(), fake.asked("m0:1").1 + fake.asked("m1:1").1);
    let left_out = v1::Reply {
        status: v1::Status::Found.into(),
        found: vec![v1::Found::default(); keys.len()],
        ..v1::Reply::default()
    };
    fake.script("w0:1", move |_| Action::Correct(left_out.clone(), delta.clone()));
    let before = Instant::now();
    for found in client.get_many(&keys).await {
        assert_eq!(found.unwrap().unwrap(), "v");
    }
    assert_eq!(Instant::now(), before, "nothing waited for a timer");
    assert_eq!((fake.log("w0:1").len(), fake.log("w1:1").len()), (2 + 1, 2));
    assert_eq!(fake.asked("m0:1").1 + fake.asked("m1:1").1, fetches, "no master was asked");
}

#[tokio::test(start_paused = true)]
async fn a_new_primary_in_the_refusal_is_gone_to_at_once() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let key = fake.key_of(0);
    client.put(&key, "v").await.unwrap();
    let data = fake.store("w0:1", |store| store.clone());
    fake.add_worker("w0b:1", 0, data);
    fake.change(|table| {
        table.set_route(route(0, 2, 2, Some("w0b:1")));
    });
    let delta = fake.delta();
    fake.script("w0:1", move |_| Action::Correct(refused(Code::NotPrimary), delta.clone()));
    let before = Instant::now();
    assert_eq!(client.get(&key).await.unwrap().unwrap(), "v");
    assert_eq!(Instant::now(), before);
    assert_eq!(fake.log("w0b:1")[0].epoch, 2);
    assert_eq!(client.explain(key.as_bytes()).address.as_deref(), Some("w0b:1"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_correction_makes_the_client_ask_a_master() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let key = fake.key_of(0);
    client.put(&key, "v").await.unwrap();
    move_slot(&fake, &key, 0, 1);
    fake.script("w0:1", |_| Action::Reply(refused(Code::Moved)));
    assert_eq!(client.get(&key).await.unwrap().unwrap(), "v");
    assert!(client.stats().refreshes > 0);
}

#[tokio::test(start_paused = true)]
async fn members_that_send_a_call_in_circles_are_not_followed_for_ever() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let key = fake.key_of(0);
    let slot = fake.truth().slot(key.as_bytes());
    // Both say that the other has it, in ever newer tables.
    let version = Arc::new(std::sync::atomic::AtomicU64::new(2));
    for (address, other) in [("w0:1", 1), ("w1:1", 0)] {
        let mut table = fake.truth();
        let version = version.clone();
        fake.script(address, move |_| {
            let version = version.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            fake::give(&mut table, version, &[(slot, other)]);
            Action::Correct(refused(Code::Moved), table.full())
        });
    }
    let error = client.put(&key, "v").await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Moved, Outcome::Failed));
    assert!(error.attempts > 8 && error.attempts < 500, "{} attempts", error.attempts);
}

#[tokio::test(start_paused = true)]
async fn a_stale_master_never_overwrites_a_newer_table() {
    let fake = Fake::new(2);
    let old = fake.truth();
    let client = fake.client().await;
    let key = fake.key_of(0);
    move_slot(&fake, &key, 0, 1);
    fake.change(|table| {
        table.set_route(route(1, 3, 7, Some("w1:1")));
    });
    refuse_moved(&fake, "w0:1", 0);
    for master in ["m0:1", "m1:1"] {
        fake.freeze_master(master, Some(old.clone()));
    }
    client.put(&key, "v").await.unwrap();
    let newest = client.slot_table();
    assert_eq!((newest.version(), newest.route(1).unwrap().epoch), (2, 3));
    let fetches = client.stats().refreshes;
    fake.cut("w0:1");
    fake.until(|| client.stats().refreshes > fetches).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(client.slot_table(), newest);
    client.get(&key).await.unwrap();
    assert_eq!(client.stats().redirects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_tells_of_news_fetches_the_table_once_and_connects_ahead() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    client.get("k").await.unwrap();
    fake.add_worker("w2:1", 2, fake::Store::default());
    fake.change(|table| {
        table.set_route(route(2, 1, 1, Some("w2:1")));
    });
    fake.give(&[(3, 2), (4, 2)]);
    fake.until(|| client.slot_table().version() == 2).await;
    fake.until(|| client.stats().members.iter().all(|member| member.connected)).await;
    assert_eq!(fake.opened("w2:1"), 1, "connected before the first request");
    assert!(fake.log("w2:1").is_empty());
    sleep(Duration::from_secs(10)).await;
    assert_eq!(client.stats().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_without_a_route_share_few_fetches() {
    let fake = Fake::new(1);
    fake.change(|table| *table = SlotTable::new(fake::CLUSTER, SlotCount::new(16).unwrap()));
    let client = fake.client().await;
    let keys: Vec<_> = (0..1000).map(|n| format!("key{n}")).collect();
    let calls = {
        let client = client.clone();
        tokio::spawn(async move { client.get_many(keys).await })
    };
    sleep(Duration::from_secs(2)).await;
    assert!(!calls.is_finished());
    assert!(client.stats().refreshes <= 2000 / 50, "{} fetches in 2 s", client.stats().refreshes);
    // The cluster has come up.
    fake.change(|table| {
        table.set_route(route(0, 1, 1, Some("w0:1")));
        table.set_owners(1, &[(0, 15, 0)]).unwrap();
    });
    assert!(calls.await.unwrap().iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_never_comes_up_is_named_when_the_deadline_passes() {
    let fake = Fake::new(1);
    fake.change(|table| {
        *table = SlotTable::new(fake::CLUSTER, SlotCount::new(16).unwrap());
        table.set_route(route(0, 1, 1, None));
        table.set_owners(1, &[(0, 7, 0)]).unwrap();
    });
    let client = fake.client().await;
    let truth = fake.truth();
    for n in 0..20 {
        let key = format!("key{n}");
        let error = client.with_deadline(Duration::from_millis(300)).put(&key, "v").await.unwrap_err();
        assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::Failed));
        let named =
            if truth.owner(truth.slot(key.as_bytes())).is_some() { "no primary" } else { "not allocated" };
        assert!(error.message.contains(named), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_go_on_for_minutes_with_every_master_down() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    client.put("k", "0").await.unwrap();
    fake.set_up("m0:1", false);
    fake.set_up("m1:1", false);
    let end = Instant::now() + Duration::from_secs(300);
    while Instant::now() < end {
        client.increment("n", 1).await.unwrap();
        assert!(client.get("k").await.unwrap().is_some());
        sleep(Duration::from_millis(500)).await;
    }
    let stats = client.stats();
    assert!(stats.pings_failed > 100, "{stats:?}");
    assert_eq!((stats.calls_failed, stats.calls_unknown), (0, 0));
    fake.set_up("m1:1", true);
    let pings = fake.asked("m1:1").0;
    fake.until(|| fake.asked("m1:1").0 > pings + 3).await;
}

#[tokio::test(start_paused = true)]
async fn workers_tell_the_table_while_every_master_is_down() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let key = fake.key_of(0);
    client.put(&key, "v").await.unwrap();
    fake.set_up("m0:1", false);
    fake.set_up("m1:1", false);
    let data = fake.store("w0:1", |store| store.clone());
    fake.add_worker("w0b:1", 0, data);
    fake.change(|table| {
        table.set_route(route(0, 2, 2, Some("w0b:1")));
    });
    fake.set_up("w0:1", false);
    assert_eq!(client.get(&key).await.unwrap().unwrap(), "v");
    assert_eq!(client.explain(key.as_bytes()).address.as_deref(), Some("w0b:1"));
}

#[tokio::test(start_paused = true)]
async fn when_the_good_master_hangs_another_is_found_and_remembered() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.until(|| fake.asked("m0:1").0 + fake.asked("m1:1").0 > 3).await;
    let (good, other) =
        if fake.asked("m0:1").0 > fake.asked("m1:1").0 { ("m0:1", "m1:1") } else { ("m1:1", "m0:1") };
    assert!(fake.asked(other).0 <= 1, "only the good one is pinged");
    fake.hang_master(good, true);
    let pings = fake.asked(other).0;
    fake.until(|| fake.asked(other).0 > pings + 10).await;
    fake.hang_master(good, false);
    let pings = fake.asked(good).0;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(fake.asked(good).0, pings);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_made_again_and_the_call_goes_on() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let key = fake.key_of(0);
    client.put(&key, "v").await.unwrap();
    for round in 1..=5 {
        fake.cut("w0:1");
        assert_eq!(client.get(&key).await.unwrap().unwrap(), "v");
        assert_eq!(client.stats().connections_lost, round);
    }
    assert!(fake.opened("w0:1") >= 6);
    assert_eq!(client.stats().members[0].last_error, "cut");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_back_within_the_deadline_is_waited_for() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    client.put("k", "v").await.unwrap();
    fake.set_up("w0:1", false);
    let call = {
        let client = client.clone();
        tokio::spawn(async move { client.increment("n", 1).await })
    };
    sleep(Duration::from_secs(3)).await;
    assert!(!call.is_finished());
    fake.set_up("w0:1", true);
    assert_eq!(call.await.unwrap().unwrap(), 1);

    fake.set_up("w0:1", false);
    let error = client.put("k", "w").await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::Failed));
    assert_eq!(error.member.as_deref(), Some("w0:1"));
    let opened = fake.opened("w0:1");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(fake.opened("w0:1"), opened);
}

#[tokio::test(start_paused = true)]
async fn a_dead_member_does_not_slow_the_others() {
    let fake = Fake::new(3);
    let client = fake.client_with(|options| Options { inflight_max: 1000, ..options }).await;
    let (dead, alive) = (fake.keys_of(0, 5000), fake.keys_of(1, 500));
    fake.script("w0:1", |_| Action::Hold);
    for key in dead {
        let command = Command::Get { key: key.into() };
        let _ = client.submit(command, CallOptions::default(), |_| {});
    }
    let before = Instant::now();
    for _ in 0..10 {
        let got = client.get_many(&alive).await;
        for got in got {
            got.unwrap();
        }
    }
    assert_eq!(Instant::now(), before);
    assert_eq!(fake.held("w0:1"), 500);
    let dead = fake.keys_of(0, alive.len());
    let mixed = dead.iter().zip(&alive).flat_map(|(dead, alive)| [dead, alive]);
    let got = client.with_deadline(Duration::from_millis(200)).get_many(mixed).await;
    for pair in got.chunks(2) {
        assert_eq!(pair[0].as_ref().unwrap_err().code, Code::Timeout);
        assert_eq!(pair[1], Ok(None));
    }
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_a_dead_shard_do_not_hold_up_those_of_living_ones() {
    let fake = Fake::new(3);
    let client = fake.client().await;
    fake.script("w0:1", |_| Action::Hold);
    // Those of the dead one come first.
    let mut keys = fake.keys_of(0, 3000);
    keys.extend((0..2000).map(|n| format!("key{n}")));
    let truth = fake.truth();
    let is_dead = |key: &String| truth.owner(truth.slot(key.as_bytes())) == Some(0);
    let living = keys.iter().filter(|key| !is_dead(key)).count();
    let call = {
        let (client, keys) = (client.clone(), keys.clone());
        tokio::spawn(async move { client.put_many(keys.into_iter().map(|key| (key, "v"))).await })
    };
    sleep(Duration::from_millis(50)).await;
    let served = fake.log("w1:1").len() + fake.log("w2:1").len();
    assert_eq!(served, living, "before any deadline passes");
    let sent = fake.log("w0:1").len();
    assert_eq!(sent, 1024 / 3, "the part of one shard");
    let put = call.await.unwrap();
    assert_eq!(put.len(), keys.len());
    let mut unknown = 0;
    for (key, put) in keys.iter().zip(put) {
        match put {
            Ok(_) => assert!(!is_dead(key)),
            Err(error) => {
                assert!(is_dead(key));
                assert_eq!(error.code, Code::Timeout);
                unknown += usize::from(error.outcome == Outcome::Unknown);
            }
        }
    }
    assert_eq!(unknown, sent, "what was not sent has failed");
    assert_eq!(fake.log("w0:1").len(), sent, "nothing is sent after the deadline");
}

#[tokio::test(start_paused = true)]
async fn two_dead_shards_of_three_leave_room_to_the_third() {
    let fake = Fake::new(3);
    let client = fake.client_with(|options| Options { inflight_max: 100, ..options }).await;
    for (shard, address) in [(0, "w0:1"), (1, "w1:1")] {
        fake.script(address, |_| Action::Hold);
        for key in fake.keys_of(shard, 200) {
            let command = Command::Get { key: key.into() };
            let _ = client.submit(command, CallOptions::default(), |_| {});
        }
    }
    let before = Instant::now();
    assert!(client.get_many(fake.keys_of(2, 200)).await.iter().all(Result::is_ok));
    assert_eq!(Instant::now(), before);
}

#[tokio::test(start_paused = true)]
async fn members_of_another_cluster_are_not_believed() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    client.put("k", "v").await.unwrap();
    for master in ["m0:1", "m1:1"] {
        fake.rename_cluster_of_master(master, "another");
    }
    sleep(Duration::from_secs(3)).await;
    assert!(client.stats().wrong_cluster > 0);
    assert_eq!(client.get("k").await.unwrap().unwrap(), "v");

    let key = fake.key_of(0);
    let mut other = fake::welcome(0);
    other.welcome.as_mut().unwrap().cluster_id = "another".into();
    fake.welcome("w0:1", other);
    fake.cut("w0:1");
    let error = client.put(&key, "v").await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::WrongCluster, Outcome::Failed));
    assert!(error.message.contains("another") && error.message.contains(fake::CLUSTER), "{error}");

    let mut delta = fake.delta();
    delta.cluster_id = "another".into();
    delta.version = 99;
    fake.script("w1:1", move |_| {
        Action::Correct(slotkv_proto::v1::Reply { status: 2, ..Default::default() }, delta.clone())
    });
    client.get(fake.key_of(1)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(client.slot_table().version(), 1);
}

#[tokio::test(start_paused = true)]
async fn any_member_may_be_named_to_connect() {
    let fake = Fake::new(2);
    let client = fake.connect("slotkv://w1:1", |options| options).await.unwrap();
    client.put("k", "v").await.unwrap();
    fake.until(|| fake.asked("m0:1").0 + fake.asked("m1:1").0 > 0).await;

    fake.hang_master("m0:1", true);
    fake.set_up("m1:1", false);
    let client = fake.connect("slotkv://m0:1,m1:1,w0:1", |options| options).await.unwrap();
    client.get("k").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_any_member_connect_names_each_and_why() {
    let fake = Fake::new(1);
    fake.set_up("m1:1", false);
    fake.hang_master("m0:1", true);
    let error = fake.connect("slotkv://m0:1,m1:1,nowhere:9", |options| options).await.unwrap_err();
    assert_eq!(error.code, Code::NoMaster);
    for named in ["m0:1: no answer", "m1:1: connection refused", "nowhere:9", "5000 ms"] {
        assert!(error.message.contains(named), "{error}");
    }
    fake.set_up("m1:1", true);
    let client: Client = fake.connect("slotkv://m1:1", |options| options).await.unwrap();
    fake.set_up("m1:1", false);
    let error = client.status().await.unwrap_err();
    assert_eq!(error.code, Code::NoMaster);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_welcomes_and_hangs_up_is_tried_ever_more_seldom() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    client.put("k", "v").await.unwrap();
    let opened = fake.opened("w0:1");
    fake.hang_up("w0:1");
    sleep(Duration::from_secs(20)).await;
    let opened = fake.opened("w0:1") - opened;
    assert!((10..=60).contains(&opened), "{opened} connections in 20 s");
}

#[tokio::test(start_paused = true)]
async fn fetches_are_spread_over_the_masters_and_ask_one_at_a_time() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.until(|| fake.asked("m0:1").0 + fake.asked("m1:1").0 > 0).await;
    let fetches = || (fake.asked("m0:1").1, fake.asked("m1:1").1);
    let (before, refreshes) = (fetches(), client.stats().refreshes);
    for round in 1..=40 {
        fake.cut("w0:1");
        client.put("k", "v").await.unwrap();
        fake.until(|| client.stats().refreshes >= refreshes + round).await;
    }
    let asked = (fetches().0 - before.0, fetches().1 - before.1);
    assert!(asked.0 >= 5 && asked.1 >= 5, "{asked:?}");
    assert_eq!(asked.0 + asked.1, client.stats().refreshes - refreshes);

    // Whoever hangs is not waited for.
    fake.hang_master("m0:1", true);
    for _ in 0..10 {
        fake.until(|| client.stats().members[0].connected).await;
        let (refreshes, begun) = (client.stats().refreshes, Instant::now());
        fake.cut("w0:1");
        fake.until(|| client.stats().refreshes > refreshes).await;
        assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_master_of_another_protocol_version_is_not_believed() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.set_version_of_master("m0:1", 2);
    fake.set_version_of_master("m1:1", 0);
    fake.change(|table| {
        table.set_route(route(0, 1, 2, Some("w0:1")));
    });
    sleep(Duration::from_secs(3)).await;
    let stats = client.stats();
    assert_eq!((stats.route_revisions, stats.wrong_cluster), (1, 0), "its news are no news");
    assert!(stats.wrong_version >= 10 && stats.pings_failed >= 5, "{stats:?}");
    fake.set_version_of_master("m1:1", 1);
    fake.until(|| client.stats().route_revisions == 2).await;
}

#[tokio::test(start_paused = true)]
async fn the_status_is_asked_for_within_the_deadline_of_the_call() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    let options = |deadline| CallOptions { deadline: Some(deadline), ..CallOptions::default() };
    let status = client.status_with(&options(Duration::MAX)).await.unwrap();
    assert_eq!(status.cluster_id, fake::CLUSTER);
    fake.hang_master("m0:1", true);
    fake.hang_master("m1:1", true);
    let begun = Instant::now();
    let error = client.status_with(&options(Duration::from_millis(70))).await.unwrap_err();
    assert_eq!((error.code, begun.elapsed().as_millis()), (Code::Timeout, 70));
}
