//! Members that say what no good member says.

mod fake;

use std::time::Duration;

use fake::{Action, Fake, refused, route, welcome};
use slotkv::{Code, Outcome};
use slotkv_proto::v1;
use tokio::time::sleep;

fn refusal(code: u32) -> v1::ServerFrame {
    let refusal = v1::Refusal { code, message: "the fake refuses".into() };
    v1::ServerFrame { refusal: Some(refusal), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_ends_calls_if_no_retry_can_help() {
    for (code, expected) in [
        (Code::Denied.number(), Code::Denied),
        (Code::Unsupported.number(), Code::Unsupported),
        (4711, Code::Unexpected),
    ] {
        let fake = Fake::new(1);
        fake.welcome("w0:1", refusal(code));
        let client = fake.client().await;
        let error = client.put("k", "v").await.unwrap_err();
        assert_eq!((error.code, error.outcome), (expected, Outcome::Failed));
        assert!(error.message.contains("the fake refuses"), "{error}");
        assert_eq!(error.member.as_deref(), Some("w0:1"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_tried_again_if_a_retry_can_help() {
    for code in [Code::Overloaded, Code::ShuttingDown, Code::Retry] {
        let fake = Fake::new(1);
        fake.welcome("w0:1", refusal(code.number()));
        let client = fake.client().await;
        let call = {
            let client = client.clone();
            tokio::spawn(async move { client.put("k", "v").await })
        };
        sleep(Duration::from_secs(1)).await;
        assert!(!call.is_finished());
        fake.welcome("w0:1", welcome(0));
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn first_frames_that_are_no_welcome_are_refused() {
    let mut newer = welcome(0);
    newer.welcome.as_mut().unwrap().version = 2;
    let mut older = welcome(0);
    older.welcome.as_mut().unwrap().version = 0;
    for (frame, code, named) in [
        (v1::ServerFrame::default(), Code::Unexpected, "neither welcome nor refusal"),
        (newer, Code::Unsupported, "version 2"),
        (older, Code::Unsupported, "version 0"),
    ] {
        let fake = Fake::new(1);
        fake.welcome("w0:1", frame);
        let client = fake.client().await;
        let error = client.get("k").await.unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.contains(named), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_of_another_shard_at_the_address_gets_no_calls() {
    let fake = Fake::new(1);
    fake.welcome("w0:1", welcome(7));
    let client = fake.client().await.with_deadline(Duration::from_secs(1));
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::Failed));
    assert!(error.message.contains("serves shard 7, not 0"), "{error}");
    assert!(fake.log("w0:1").is_empty());
    assert!(client.stats().refreshes > 0);
    fake.welcome("w0:1", welcome(0));
    sleep(Duration::from_secs(2)).await;
    client.put("k", "v").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn replies_to_nothing_are_dropped_and_counted() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    let stray = |id| v1::Reply { id, status: v1::Status::Found as i32, ..Default::default() };
    fake.script_first("w0:1", {
        let frame = v1::ServerFrame {
            replies: [0, 1, 4095, 4096 << 20, u64::MAX].map(stray).into(),
            ..Default::default()
        };
        [Action::Frame(frame), Action::Serve]
    });
    let client = client.with_deadline(Duration::from_millis(500));
    assert_eq!(client.get("k").await.unwrap_err().code, Code::Timeout);
    assert_eq!(client.get("k").await.unwrap(), None);
    assert_eq!(client.stats().replies_late, 5);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_twice_answers_once() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.script("w0:1", |seen| {
        let reply =
            v1::Reply { id: seen.request.id, status: v1::Status::NotFound as i32, ..Default::default() };
        Action::Frame(v1::ServerFrame { replies: vec![reply.clone(), reply], ..Default::default() })
    });
    for _ in 0..10 {
        assert_eq!(client.get("k").await.unwrap(), None);
    }
    assert_eq!((client.stats().replies_late, client.stats().calls_ok), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn tables_that_cannot_be_are_ignored() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    let before = client.slot_table();
    let good = fake.delta();
    let bad = [
        v1::TableDelta { slot_count: 32, version: 9, ..good.clone() },
        v1::TableDelta {
            version: 9,
            ranges: vec![v1::SlotRange { first: 3, last: 99, shard: 0 }],
            ..good.clone()
        },
        v1::TableDelta { version: 9, cluster_id: String::new(), ..good.clone() },
        v1::TableDelta { version: 0, routes: vec![v1::Route::default()], ..good.clone() },
    ];
    fake.script_first("w0:1", bad.map(|delta| Action::Correct(refused(Code::Retry), delta)));
    client.put("k", "v").await.unwrap();
    assert_eq!(client.slot_table(), before);
}

#[tokio::test(start_paused = true)]
async fn a_delta_with_a_gap_makes_the_client_fetch_the_table() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    for version in 2..=5 {
        fake.change(|table| {
            table.set_route(route(1, version, version, Some("w1:1")));
        });
        fake.give(&[(1, (version % 2) as u32)]);
    }
    let gap = fake.truth().delta_since(4, |_| u64::MAX);
    fake.script_first("w0:1", [Action::Correct(refused(Code::Retry), gap)]);
    client.put(fake.key_of(0), "v").await.unwrap();
    fake.until(|| client.slot_table() == fake.truth()).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_member_ends_with_a_refusal_is_opened_again() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.script_first("w0:1", [Action::Frame(refusal(Code::ShuttingDown.number()))]);
    client.put("k", "v").await.unwrap();
    assert!(client.stats().members[0].last_error.contains("SHUTTING_DOWN"));
    assert_eq!(fake.log("w0:1").len(), 2);
}
