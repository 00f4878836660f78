//! Every operation against a good cluster, and what travels with it.

mod fake;

use std::{sync::Arc, time::Duration};

use fake::{Action, Fake};
use slotkv::{Answer, CallOptions, Code, Command, Condition, Delete, Options, Put};
use slotkv_proto::v1;

#[tokio::test(start_paused = true)]
async fn every_operation_says_what_it_did() {
    let fake = Fake::new(3);
    let client = fake.client().await;
    assert_eq!(client.get("k").await.unwrap(), None);
    assert!(!client.has("k").await.unwrap());
    let Put::Created { version } = client.put("k", "v").await.unwrap() else { panic!("not created") };
    let entry = client.get_entry("k").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.version), (&b"v"[..], version));
    assert!(client.has("k").await.unwrap());
    assert_eq!(client.put_if_absent("k", "w").await.unwrap(), Put::Unmet { version });
    let Put::Updated { version: newer } = client.update_if_present("k", "w").await.unwrap() else { panic!() };
    assert!(newer > version);
    assert_eq!(client.compare_and_set("k", "x", version).await.unwrap(), Put::Unmet { version: newer });
    assert!(client.compare_and_set("k", "x", newer).await.unwrap().done());
    assert_eq!(client.update_if_present("other", "w").await.unwrap(), Put::Unmet { version: 0 });
    assert!(matches!(client.delete_if_version("k", newer).await.unwrap(), Delete::Unmet { .. }));
    assert!(matches!(client.delete("k").await.unwrap(), Delete::Deleted { .. }));
    assert_eq!(client.delete("k").await.unwrap(), Delete::NotFound);
    assert_eq!(client.increment("n", 5).await.unwrap(), 5);
    assert_eq!(client.increment("n", -7).await.unwrap(), -2);
    client.put("n", i64::MAX.to_string()).await.unwrap();
    assert_eq!(client.increment("n", 1).await.unwrap_err().code, Code::Overflow);
    client.put("n", "x").await.unwrap();
    assert_eq!(client.increment("n", 1).await.unwrap_err().code, Code::NotANumber);
    let stats = client.stats();
    assert_eq!((stats.calls_ok, stats.calls_failed, stats.in_flight), (stats.calls - 2, 2, 0));
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn any_bytes_are_keys_and_values() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let keys: [&[u8]; 5] = [b"a b", b"/", b"\0", b"\xff\xfe", b"{}"];
    for key in keys {
        client.put(key, b"").await.unwrap();
        assert_eq!(client.get(key).await.unwrap().as_deref(), Some(&b""[..]));
        client.put(key, vec![0u8; 2 << 20]).await.unwrap();
        assert_eq!(client.get(key).await.unwrap().unwrap().len(), 2 << 20);
    }
}

#[tokio::test(start_paused = true)]
async fn many_keys_keep_their_order_and_have_a_result_each() {
    let fake = Fake::new(3);
    let client = fake.client().await;
    let pairs: Vec<_> = (0..5000).map(|n| (format!("key{n}"), format!("value{n}"))).collect();
    let put = client.put_many(pairs.clone()).await;
    assert!(put.iter().all(|put| matches!(put, Ok(Put::Created { .. }))));
    let broken = fake.keys_of(1, 1).remove(0);
    let bad = slotkv_proto::slot(broken.as_bytes(), fake.truth().slots());
    fake.store("w1:1", |store| store.left_out = vec![bad]);
    fake.script("w1:1", move |seen| match slotkv_proto::slot(&seen.request.key, fake_slots()) == bad {
        true => Action::Reply(fake::refused(Code::Damaged)),
        false => Action::Serve,
    });
    let got = client.get_many(pairs.iter().map(|(key, _)| key)).await;
    assert_eq!(got.len(), pairs.len());
    for ((key, value), got) in pairs.iter().zip(got) {
        match got {
            Ok(got) => assert_eq!(got.unwrap(), value.as_bytes()),
            Err(error) => {
                assert_eq!(error.code, Code::Damaged);
                assert_eq!(slotkv_proto::slot(key.as_bytes(), fake_slots()), bad);
            }
        }
    }
    fake.unscript("w1:1");
    fake.store("w1:1", |store| store.left_out.clear());
    let deleted = client.delete_many(["key1", "nowhere"]).await;
    assert!(matches!(deleted[..], [Ok(Delete::Deleted { .. }), Ok(Delete::NotFound)]));
    assert!(client.get_many(Vec::<String>::new()).await.is_empty());
    let got = client.get_many(["", "key2"]).await;
    assert_eq!(got[0].as_ref().unwrap_err().code, Code::InvalidArgument);
    assert!(got[1].is_ok());
}

/// How many keys each request about many had that a worker saw.
fn groups(fake: &Fake, address: &str) -> Vec<usize> {
    let log = fake.log(address);
    log.iter().map(|seen| fake::store::keys_of(&seen.request).len()).filter(|&keys| keys > 0).collect()
}

#[tokio::test(start_paused = true)]
async fn reads_of_a_shard_travel_together_up_to_a_bound() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let pairs: Vec<_> = (0..1000).map(|n| (format!("key{n}"), format!("value{n}"))).collect();
    client.put_many(pairs.clone()).await;
    let got = client.get_many(pairs[..100].iter().map(|(key, _)| key)).await;
    assert!(pairs.iter().zip(got).all(|((_, value), got)| got.unwrap().unwrap() == value.as_bytes()));
    for address in ["w0:1", "w1:1"] {
        assert!(matches!(groups(&fake, address)[..], [keys] if keys > 10), "{:?}", groups(&fake, address));
    }
    client.get_many(pairs.iter().map(|(key, _)| key)).await.into_iter().for_each(|got| assert!(got.is_ok()));
    let sent = [groups(&fake, "w0:1"), groups(&fake, "w1:1")].concat();
    assert_eq!(sent.iter().sum::<usize>(), 1100);
    assert_eq!((client.stats().calls, client.stats().calls_ok), (2100, 2100));
    assert_eq!(sent.iter().max(), Some(&slotkv_proto::limits::GET_MANY_KEYS_MAX));
    assert!(sent.len() <= 2 + 2 * 5, "{sent:?}");

    // One alone, and long ones, do not.
    client.get_many(["key1"]).await.remove(0).unwrap();
    let long = (0..40).map(|n| format!("{{{}}}{n}{}", fake.key_of(0), "k".repeat(32_000)));
    let before = groups(&fake, "w0:1").len() + groups(&fake, "w1:1").len();
    assert!(client.get_many(long).await.into_iter().all(|got| got == Ok(None)));
    let after = [groups(&fake, "w0:1"), groups(&fake, "w1:1")].concat();
    assert_eq!(after.len() - before, 2, "40 keys of 32 KB in requests of up to 1 MiB");
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_left_out_are_asked_for_again() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let keys = fake.keys_of(0, 100);
    let pairs = keys.iter().map(|key| (key, format!("value of {key}")));
    client.put_many(pairs).await.into_iter().for_each(|put| assert!(put.is_ok()));
    // A frame's worth at a time.
    fake.store("w0:1", |store| store.found_max = Some(30));
    let got = client.get_many(&keys).await;
    assert!(keys.iter().zip(got).all(|(key, got)| got.unwrap().unwrap() == format!("value of {key}")));
    assert_eq!(groups(&fake, "w0:1"), [100, 70, 40, 10]);

    // A slot that has gone to another shard, which the client hears of when it asks for such a key alone.
    let slot = slotkv_proto::slot(keys[0].as_bytes(), fake_slots());
    let moved = fake.store("w0:1", |store| {
        store.found_max = None;
        store.left_out.push(slot);
        store.take_slot(slot)
    });
    fake.store("w1:1", |store| store.absorb(moved));
    fake.give(&[(slot, 1)]);
    let delta = fake.delta();
    fake.script("w0:1", move |seen| match seen.request.operation() {
        v1::Operation::Get => Action::Correct(fake::refused(Code::Moved), delta.clone()),
        _ => Action::Serve,
    });
    let got = client.get_many(&keys).await;
    assert!(keys.iter().zip(got).all(|(key, got)| got.unwrap().unwrap() == format!("value of {key}")));
    assert_eq!(client.stats().calls_failed, 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_no_key_or_about_too_many_is_an_error_of_each() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    for found in [0, 4] {
        let found = vec![v1::Found { status: v1::Status::NotFound.into(), ..Default::default() }; found];
        let reply = v1::Reply { status: v1::Status::Found.into(), found, ..Default::default() };
        fake.script("w0:1", move |_| Action::Reply(reply.clone()));
        let got = client.get_many(["a", "b", "c"]).await;
        assert_eq!(got.len(), 3);
        assert!(got.into_iter().all(|got| got.unwrap_err().code == Code::Unexpected));
    }
}

fn fake_slots() -> slotkv_proto::SlotCount {
    slotkv_proto::SlotCount::new(16).unwrap()
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_apart() {
    let fake = Fake::new(1);
    let client = fake.connect("slotkv://m0:1/app", |options| options).await.unwrap();
    let other = client.namespace("other").unwrap();
    let nameless = client.namespace("").unwrap();
    client.put("k", "app").await.unwrap();
    other.put("k", "other").await.unwrap();
    assert_eq!(nameless.get("k").await.unwrap(), None);
    assert_eq!(client.get("k").await.unwrap().unwrap(), "app");
    let back = other.namespace("app").unwrap();
    assert_eq!(back.get("k").await.unwrap().unwrap(), "app");
    assert_eq!(client.namespace_name(), "app");
    let options = CallOptions { namespace: Some("other".into()), ..CallOptions::default() };
    let answer = client.call(Command::Get { key: "k".into() }, &options).await.unwrap();
    assert!(matches!(answer, Answer::Entry(Some(entry)) if entry.value == "other"));
    assert_eq!(fake.hellos("w0:1")[0].namespace, "app");
    assert_eq!(fake.log("w0:1")[0].request.namespace, None, "the stream's namespace is not repeated");
    assert_eq!(client.namespace(&"n".repeat(129)).unwrap_err().code, Code::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn deadline_traceparent_table_version_and_epoch_travel() {
    let fake = Fake::new(1);
    fake.change(|table| {
        table.set_route(fake::route(0, 5, 9, Some("w0:1")));
    });
    let client = fake.client().await;
    let options = CallOptions {
        deadline: Some(Duration::from_millis(1234)),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        ..CallOptions::default()
    };
    client.call(Command::Has { key: "k".into() }, &options).await.unwrap();
    let seen = &fake.log("w0:1")[0];
    assert_eq!((seen.table_version, seen.epoch), (1, 5));
    assert!((1..=1235).contains(&seen.request.deadline_ms), "{}", seen.request.deadline_ms);
    assert_eq!(Some(&seen.request.traceparent), options.traceparent.as_ref());
    let hello = &fake.hellos("w0:1")[0];
    assert_eq!((hello.client_id.len(), &hello.cluster_id[..]), (16, fake::CLUSTER));
    assert_eq!(hello.client_name, concat!("rust/", env!("CARGO_PKG_VERSION")));
}

#[tokio::test(start_paused = true)]
async fn the_traceparent_travels_with_every_request_of_every_operation() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let options = CallOptions { traceparent: Some(traceparent.into()), ..CallOptions::default() };
    let get = |key: String| Command::Get { key: key.into() };
    let range = slotkv::Range::all();
    for command in [
        get("k".into()),
        Command::Count { range: range.clone() },
        Command::ScanPage { range: range.clone(), cursor: None },
        Command::ScanPage { range: range.ordered(), cursor: None },
        Command::Many { commands: vec![get(fake.key_of(0)), get(fake.key_of(1))] },
    ] {
        let (send, answer) = tokio::sync::oneshot::channel();
        let _ = client.submit(command, options.clone(), |answer| send.send(answer).unwrap());
        answer.await.unwrap().unwrap();
    }
    let seen = [fake.log("w0:1"), fake.log("w1:1")].concat();
    assert!(seen.len() >= 8);
    assert!(seen.iter().all(|seen| seen.request.traceparent == traceparent));
}

#[tokio::test(start_paused = true)]
async fn submitted_calls_are_answered_once_without_being_polled() {
    let fake = Fake::new(3);
    let client = fake.client().await;
    let (send, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..1000u64 {
        let send = send.clone();
        let command = Command::Put {
            key: format!("key{n}").into(),
            value: n.to_string().into(),
            condition: Condition::Absent,
            ttl: None,
        };
        let _ = client.submit(command, CallOptions::default(), move |answer| send.send((n, answer)).unwrap());
    }
    drop(send);
    let mut seen = std::collections::BTreeSet::new();
    while let Some((n, answer)) = answers.recv().await {
        assert!(matches!(answer, Ok(Answer::Put(Put::Created { .. }))), "{answer:?}");
        assert!(seen.insert(n));
    }
    assert_eq!(seen.len(), 1000);
    let frames: usize = (0..3).map(|shard| fake.frames(&format!("w{shard}:1")).len()).sum();
    assert!(frames < 50, "requests that are submitted together travel together: {frames} frames");
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_are_refused_before_anything_is_sent() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    assert_eq!(client.get("").await.unwrap_err().code, Code::InvalidArgument);
    assert_eq!(client.get(vec![0u8; 40_000]).await.unwrap_err().code, Code::TooLarge);
    let error = client.put("k", vec![0u8; (16 << 20) + 1]).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::TooLarge, slotkv::Outcome::Failed));
    let command = Command::Delete { key: "k".into(), condition: Condition::Absent };
    let (send, answer) = tokio::sync::oneshot::channel();
    let _ = client.submit(command, CallOptions::default(), |answer| send.send(answer).unwrap());
    assert_eq!(answer.await.unwrap().unwrap_err().code, Code::InvalidArgument);
    assert!(fake.log("w0:1").is_empty());

    for options in [
        Options { inflight_max: 0, ..Options::default() },
        Options { deadline: Duration::ZERO, ..Options::default() },
        Options { streams_per_member: 1000, ..Options::default() },
        Options { client_name: "n".repeat(300), ..Options::default() },
    ] {
        let options = Options { transport: fake.clone(), ..options };
        let error = slotkv::Client::connect_with("slotkv://m0:1", options).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
    }
}

#[tokio::test(start_paused = true)]
async fn codes_and_answers_that_nobody_knows_are_typed_errors() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    let newer = v1::Reply { code: 4711, message: "from the future".into(), ..Default::default() };
    let odd = v1::Reply { status: 99, ..Default::default() };
    fake.script_first("w0:1", [newer.clone(), newer, odd.clone(), odd].map(Action::Reply));
    for (write, named) in [(false, "4711"), (true, "4711"), (false, "99"), (true, "99")] {
        let error =
            if write { client.put("k", "v").await.unwrap_err() } else { client.get("k").await.unwrap_err() };
        assert_eq!(error.code, Code::Unexpected);
        assert!(error.message.contains(named), "{error}");
        let outcome = if write { slotkv::Outcome::Unknown } else { slotkv::Outcome::Failed };
        assert_eq!(error.outcome, outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn explain_and_stats_tell_where_calls_go() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    let key = fake.key_of(1);
    client.get(&key).await.unwrap();
    let explain = client.explain(key.as_bytes());
    assert_eq!((explain.shard, explain.epoch, explain.table_version), (Some(1), 1, 1));
    assert_eq!(explain.address.as_deref(), Some("w1:1"));
    assert!(explain.connected);
    assert_eq!(explain.slot, client.slot(key.as_bytes()));
    assert_eq!(client.explain(b"a{tag}").tag.as_deref(), Some(&b"tag"[..]));
    let stats = client.stats();
    assert_eq!((stats.calls, stats.calls_ok, stats.connects, stats.table_version), (1, 1, 2, 1));
    assert_eq!(stats.members.len(), 2);
    assert_eq!(client.status().await.unwrap().cluster_id, fake::CLUSTER);
    assert_eq!(client.cluster_id(), fake::CLUSTER);
}

#[tokio::test(start_paused = true)]
async fn several_streams_to_a_member_share_the_load() {
    let fake = Fake::new(1);
    let client = fake.client_with(|options| Options { streams_per_member: 4, ..options }).await;
    let keys = fake.keys_of(0, 100);
    assert!(client.get_many(&keys).await.iter().all(Result::is_ok));
    assert_eq!(fake.opened("w0:1"), 4);
    let client = Arc::new(client);
    assert_eq!(client.stats().members.len(), 4);
}
