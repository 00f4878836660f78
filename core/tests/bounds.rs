//! Cancel, close, and every bound: nothing leaks, nothing hangs, nobody harms others.

mod fake;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use fake::{Action, Fake, refused};
use slotkv::{Answer, CallOptions, Client, Code, Command, Condition, Error, Options, Outcome, Range};
use slotkv_proto::v1;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

fn get(key: &str) -> Command {
    Command::Get { key: key.to_owned().into() }
}

fn put(key: &str, bytes: usize) -> Command {
    Command::Put {
        key: key.to_owned().into(),
        value: vec![0; bytes].into(),
        condition: Condition::Always,
        ttl: None,
    }
}

fn submit(
    client: &Client,
    command: Command,
) -> (slotkv::CancelHandle, oneshot::Receiver<Result<Answer, Error>>) {
    let (send, answer) = oneshot::channel();
    let handle = client.submit(command, CallOptions::default(), |answer| {
        let _ = send.send(answer);
    });
    (handle, answer)
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_cancelled_at_the_worker_and_its_late_reply_dropped() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.script_first("w0:1", [Action::Hold]);
    assert!(timeout(Duration::from_millis(50), client.get("k")).await.is_err());
    assert_eq!(client.stats().in_flight, 0);
    let id = fake.log("w0:1")[0].request.id;
    fake.until(|| fake.cancels("w0:1") == [id]).await;
    fake.release("w0:1");
    fake.until(|| client.stats().replies_late == 1).await;
    client.put("k", "v").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap(), "v");
    let stats = client.stats();
    assert_eq!((stats.calls_cancelled, stats.calls_failed, stats.calls_ok), (1, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_submission_is_answered_once_with_its_outcome() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.script("w0:1", |_| Action::Hold);
    for (command, outcome) in [(put("k", 1), Outcome::Unknown), (get("k"), Outcome::Failed)] {
        let (handle, answer) = submit(&client, command);
        let held = fake.held("w0:1");
        fake.until(|| fake.held("w0:1") > held).await;
        handle.cancel();
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!((error.code, error.outcome), (Code::Cancelled, outcome));
        handle.cancel();
    }
    fake.release("w0:1");
    fake.unscript("w0:1");
    let (handle, answer) = submit(&client, get("k"));
    assert!(answer.await.unwrap().is_ok());
    handle.cancel();
    assert_eq!(client.stats().calls_cancelled, 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_cancelled_wherever_it_is() {
    let fake = Fake::new(1);
    let client = fake.client_with(|options| Options { inflight_max: 2, ..options }).await;
    // Pausing, then waiting for the connection, then waiting for room in the client.
    fake.script_first("w0:1", [Action::Reply(v1::Reply { retry_after_ms: 5000, ..refused(Code::Retry) })]);
    let pausing = submit(&client, put("a", 1));
    fake.until(|| fake.log("w0:1").len() == 1).await;
    fake.silence("w0:1", true);
    fake.cut("w0:1");
    fake.until(|| !client.stats().members[0].connected).await;
    let parked = submit(&client, put("b", 1));
    let gated = submit(&client, put("c", 1));
    assert_eq!(
        (client.stats().in_flight, client.stats().waiting, client.stats().members[0].waiting),
        (2, 1, 1)
    );
    for (handle, answer) in [gated, parked, pausing] {
        handle.cancel();
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!((error.code, error.outcome), (Code::Cancelled, Outcome::Failed));
    }
    let stats = client.stats();
    assert_eq!((stats.in_flight, stats.waiting, stats.members[0].waiting), (0, 0, 0));
    fake.silence("w0:1", false);
    fake.cut("w0:1");
    client.put("k", "v").await.unwrap();
    assert_eq!(fake.log("w0:1").len(), 2, "none of the cancelled ones was sent");
}

#[tokio::test(start_paused = true)]
async fn calls_past_the_clients_bound_wait_for_room() {
    let fake = Fake::new(1);
    let client = fake.client_with(|options| Options { inflight_max: 4, ..options }).await;
    fake.script("w0:1", |_| Action::Hold);
    let answers: Vec<_> = (0..10).map(|n| submit(&client, put(&format!("k{n}"), 1)).1).collect();
    for round in 1..=3 {
        fake.until(|| fake.held("w0:1") == (10 - 4 * (round - 1)).min(4)).await;
        assert_eq!(client.stats().in_flight, fake.held("w0:1") as u64);
        fake.release("w0:1");
        fake.until(|| fake.log("w0:1").len() == (4 * (round + 1)).min(10)).await;
    }
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    let order: Vec<_> = fake.log("w0:1").iter().map(|seen| seen.request.key.clone()).collect();
    assert_eq!(
        order,
        (0..10).map(|n| Bytes::from(format!("k{n}"))).collect::<Vec<_>>(),
        "first come first served"
    );
}

#[tokio::test(start_paused = true)]
async fn requests_past_the_members_bound_wait_on_the_connection() {
    let fake = Fake::new(1);
    let mut welcome = fake::welcome(0);
    welcome.welcome.as_mut().unwrap().limits =
        Some(v1::Limits { inflight_count_max: 3, ..Default::default() });
    fake.welcome("w0:1", welcome);
    let client = fake.client().await;
    fake.script("w0:1", |_| Action::Hold);
    let answers: Vec<_> = (0..8).map(|n| submit(&client, put(&format!("k{n}"), 1))).collect();
    fake.until(|| fake.held("w0:1") == 3).await;
    let member = client.stats().members.remove(0);
    assert_eq!((member.in_flight, member.waiting), (3, 5));
    // The worker still owes a reply for a cancelled request, so its room is not given away.
    answers[0].0.cancel();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(fake.held("w0:1"), 3);
    fake.unscript("w0:1");
    fake.release("w0:1");
    for (n, (_, answer)) in answers.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap().is_ok(), n > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn submissions_past_the_bound_of_the_queue_are_refused() {
    let fake = Fake::new(1);
    let client = fake.client_with(|options| Options { inflight_max: 1, ..options }).await;
    fake.script("w0:1", |_| Action::Hold);
    let overloaded = Arc::new(AtomicUsize::new(0));
    for n in 0..65_536 + 1 + 10 {
        let overloaded = overloaded.clone();
        let _ = client.submit(get(&format!("k{n}")), CallOptions::default(), move |answer| {
            overloaded.fetch_add(
                usize::from(answer.is_err_and(|error| error.code == Code::Overloaded)),
                Ordering::Relaxed,
            );
        });
    }
    assert_eq!(overloaded.load(Ordering::Relaxed), 10);
    assert_eq!(client.stats().waiting, 65_536);
    // All of them end by their deadline.
    sleep(Duration::from_secs(6)).await;
    let stats = client.stats();
    assert_eq!((stats.in_flight, stats.waiting, stats.calls_failed), (0, 0, stats.calls));
    let (_, answer) = submit(&client, put("k", 1));
    drop(answer);
}

#[tokio::test(start_paused = true)]
async fn large_requests_travel_in_frames_of_their_own() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    let pairs =
        (0..40).map(|n| (format!("k{n}"), vec![b'x'; if n % 10 == 0 { 16 << 20 } else { 300 << 10 }]));
    for put in client.put_many(pairs).await {
        put.unwrap();
    }
    for bytes in fake.frames("w0:1") {
        assert!(bytes < 20 << 20 && !(17 << 16..16 << 20).contains(&bytes), "a frame of {bytes} bytes");
        assert!(bytes < (16 << 20) + (64 << 10), "a frame of {bytes} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_members_frames_cannot_hold_is_refused_and_others_go_on() {
    let fake = Fake::new(1);
    let mut welcome = fake::welcome(0);
    welcome.welcome.as_mut().unwrap().limits =
        Some(v1::Limits { frame_bytes_max: 1 << 20, ..Default::default() });
    fake.welcome("w0:1", welcome);
    let client = fake.client().await;
    // Parked first, then sent directly.
    for _ in 0..2 {
        let error = client.put("k", vec![0; 2 << 20]).await.unwrap_err();
        assert_eq!((error.code, error.outcome), (Code::TooLarge, Outcome::Failed));
        client.put("k", "v").await.unwrap();
    }
    assert_eq!(client.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_accepts_and_says_nothing_is_left_and_tried_again() {
    let fake = Fake::new(1);
    let client = fake.client().await.with_deadline(Duration::from_secs(1));
    client.put("k", "v").await.unwrap();
    let opened = fake.opened("w0:1");
    fake.silence("w0:1", true);
    for _ in 0..6 {
        assert_eq!(client.get("k").await.unwrap_err().code, Code::Timeout);
    }
    assert!(fake.opened("w0:1") > opened, "the silent connection was given up");
    fake.silence("w0:1", false);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(client.get("k").await.unwrap().unwrap(), "v");
}

#[tokio::test(start_paused = true)]
async fn short_deadlines_do_not_break_a_connection_that_was_idle() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    client.put("k", "v").await.unwrap();
    sleep(Duration::from_secs(100)).await;
    fake.script_first("w0:1", [Action::Hold]);
    let error = client.with_deadline(Duration::from_millis(20)).get("k").await.unwrap_err();
    assert_eq!(error.code, Code::Timeout);
    client.get("k").await.unwrap();
    assert_eq!(client.stats().connections_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn deadlines_come_in_their_order_whatever_was_asked_first() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.script("w0:1", |_| Action::Hold);
    let begun = Instant::now();
    let deadlines = [4000u64, 10, 500, 20, 3000, 15];
    let calls: Vec<_> = deadlines
        .map(|ms| {
            let client = client.with_deadline(Duration::from_millis(ms));
            tokio::spawn(async move {
                let error = client.get("k").await.unwrap_err();
                (error.code, begun.elapsed().as_millis() as u64)
            })
        })
        .into();
    for (ms, call) in deadlines.into_iter().zip(calls) {
        let (code, took) = call.await.unwrap();
        assert_eq!(code, Code::Timeout);
        assert!((ms..=ms + 20).contains(&took), "{ms} took {took}");
    }
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_open_calls_and_refuses_new_ones() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.script("w0:1", |_| Action::Hold);
    let (_, answer) = submit(&client, put("k", 1));
    fake.until(|| fake.held("w0:1") == 1).await;
    let closing = {
        let client = client.clone();
        tokio::spawn(async move { client.close().await })
    };
    sleep(Duration::from_millis(100)).await;
    assert_eq!(client.get("k").await.unwrap_err().code, Code::Closed);
    assert!(!closing.is_finished());
    fake.release("w0:1");
    answer.await.unwrap().unwrap();
    closing.await.unwrap();
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn close_ends_what_does_not_end_by_itself() {
    let fake = Fake::new(1);
    let client = fake.client_with(|options| Options { inflight_max: 1, ..options }).await;
    fake.script("w0:1", |_| Action::Hold);
    let (_, sent) = submit(&client, put("k", 1));
    let (_, waiting) = submit(&client, put("k", 1));
    fake.until(|| fake.held("w0:1") == 1).await;
    let begun = Instant::now();
    client.close().await;
    assert!(begun.elapsed() < Duration::from_secs(4));
    let sent = sent.await.unwrap().unwrap_err();
    assert_eq!((sent.code, sent.outcome), (Code::Closed, Outcome::Unknown));
    let waiting = waiting.await.unwrap().unwrap_err();
    assert_eq!((waiting.code, waiting.outcome), (Code::Closed, Outcome::Failed));
    assert_eq!((client.stats().in_flight, client.stats().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_last_clone_that_goes_ends_calls_and_tasks() {
    let fake = Fake::new(2);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let client = fake.client().await;
    fake.script("w0:1", |_| Action::Hold);
    let (_, answer) = submit(&client, put(&fake.key_of(0), 1));
    let view = client.namespace("other").unwrap();
    drop(client);
    view.get(fake.key_of(1)).await.unwrap();
    drop(view);
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Closed, Outcome::Unknown));
    fake.until(|| tasks() == before).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_ends_what_it_took_from_a_former_primary_to_the_next() {
    for close in [false, true] {
        let fake = Fake::new(1);
        let client = fake.client().await;
        fake.script("w0:1", |_| Action::Hold);
        let answers = [put("k", 1), get("k")].map(|command| {
            let (handle, answer) = submit(&client, command);
            drop(handle);
            answer
        });
        fake.until(|| fake.held("w0:1") == 2).await;
        fake.add_worker("w1:1", 0, fake::Store::default());
        fake.script("w1:1", |_| Action::Hold);
        fake.change(|table| {
            table.set_route(fake::route(0, 2, 2, Some("w1:1")));
        });
        fake.until(|| fake.held("w1:1") == 2).await;
        if close {
            client.close().await;
        }
        drop(client);
        for (answer, outcome) in answers.into_iter().zip([Outcome::Unknown, Outcome::Failed]) {
            let answer = timeout(Duration::from_secs(1), answer).await.unwrap();
            let error = answer.expect("the callback was dropped").unwrap_err();
            assert_eq!((error.code, error.outcome), (Code::Closed, outcome));
        }
    }
}

#[test]
fn a_runtime_that_goes_first_ends_every_call() {
    let fake = Fake::new(1);
    let (send, answers) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let client = fake.client().await;
        fake.script("w0:1", |_| Action::Hold);
        let all = Command::Count { range: slotkv::Range::all() };
        for command in [put("k", 1), get("k"), all] {
            let send = send.clone();
            let _ = client.submit(command, CallOptions::default(), move |answer| send.send(answer).unwrap());
        }
        fake.until(|| fake.held("w0:1") == 3).await;
        client
    });
    drop(runtime);
    for _ in 0..3 {
        let error = answers.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err();
        assert_eq!(error.code, Code::Closed);
    }
    let _ = client.submit(get("k"), CallOptions::default(), move |answer| send.send(answer).unwrap());
    assert_eq!(answers.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err().code, Code::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_panics_harms_nobody() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    for command in [get("k"), Command::Count { range: slotkv::Range::all() }] {
        let _ = client.submit(command, CallOptions::default(), |_| panic!("in the callback, on purpose"));
        sleep(Duration::from_millis(10)).await;
    }
    let (_, answer) = submit(&client, get("k"));
    answer.await.unwrap().unwrap();
    assert_eq!(client.stats().connections_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn composite_operations_can_be_cancelled_and_submitted() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    client.put("k", "v").await.unwrap();
    let (_, answer) = submit(&client, Command::Count { range: slotkv::Range::all() });
    assert_eq!(answer.await.unwrap().unwrap(), Answer::Count(1));
    let commands = vec![get("k"), put("", 1), Command::Count { range: slotkv::Range::all() }];
    let (_, answer) = submit(&client, Command::Many { commands });
    let Ok(Answer::Many(results)) = answer.await.unwrap() else { panic!("no results") };
    assert!(matches!(&results[0], Ok(Answer::Entry(Some(entry))) if entry.value == "v"));
    assert!(results[1..].iter().all(|result| result.as_ref().unwrap_err().code == Code::InvalidArgument));

    fake.script("w0:1", |_| Action::Hold);
    fake.script("w1:1", |_| Action::Hold);
    for (command, outcome) in [
        (Command::Count { range: slotkv::Range::all() }, Outcome::Failed),
        (Command::Many { commands: vec![put("k", 1)] }, Outcome::Unknown),
    ] {
        let (handle, answer) = submit(&client, command);
        sleep(Duration::from_millis(10)).await;
        handle.cancel();
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!((error.code, error.outcome), (Code::Cancelled, outcome));
    }
    fake.until(|| client.stats().in_flight == 0).await;
}

#[test]
fn every_call_ends_once_whenever_the_client_goes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for round in 0..150u64 {
            let fake = Fake::new(2);
            for address in ["w0:1", "w1:1"] {
                let (mut count, delta) = (round, fake.delta());
                fake.script(address, move |_| {
                    count += 1;
                    match count % 7 {
                        0 => Action::Reply(refused(Code::Retry)),
                        1 => Action::Correct(refused(Code::Moved), delta.clone()),
                        2 => Action::Hold,
                        3 if count % 3 == 0 => Action::Cut,
                        _ => Action::Serve,
                    }
                });
            }
            let client = fake.client_with(|options| Options { inflight_max: 64, ..options }).await;
            let (send, answers) = mpsc::channel();
            let mut handles = Vec::new();
            for n in 0..300 {
                let send = send.clone();
                let command = if n % 2 == 0 { put(&format!("k{n}"), 8) } else { get(&format!("k{n}")) };
                handles.push(client.submit(command, CallOptions::default(), move |_| send.send(n).unwrap()));
                if n % 50 == round % 50 {
                    tokio::task::yield_now().await;
                }
            }
            for handle in handles.iter().step_by(5) {
                handle.cancel();
            }
            if round % 2 == 0 {
                sleep(Duration::from_millis(round % 5)).await;
            }
            drop(client);
            drop(send);
            let mut ended = tokio::task::spawn_blocking(move || {
                let mut ended = Vec::new();
                while let Ok(n) = answers.recv_timeout(Duration::from_secs(10)) {
                    ended.push(n);
                }
                ended
            })
            .await
            .unwrap();
            ended.sort_unstable();
            assert_eq!(ended, (0..300).collect::<Vec<_>>(), "round {round}");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_left_is_not_sent() {
    let fake = Fake::new(1);
    let client = fake.client().await;
    fake.until(|| client.stats().members[0].connected).await;
    let options = CallOptions { deadline: Some(Duration::ZERO), ..CallOptions::default() };
    let many = Command::Many { commands: vec![put("a", 1), get("b")] };
    let Ok(Answer::Many(results)) = client.call(many, &options).await else { panic!("no results") };
    let mut errors: Vec<_> = results.into_iter().map(Result::unwrap_err).collect();
    errors.push(client.call(put("k", 1), &options).await.unwrap_err());
    errors.push(client.with_deadline(Duration::ZERO).get("k").await.unwrap_err());
    errors.push(client.with_deadline(Duration::ZERO).count(Range::all()).await.unwrap_err());
    let (send, answer) = oneshot::channel();
    let _ = client.submit(put("k", 1), options, |answer| send.send(answer).unwrap());
    errors.push(answer.await.unwrap().unwrap_err());
    for error in errors {
        assert_eq!(
            (error.code, error.outcome, error.attempts),
            (Code::Timeout, Outcome::Failed, 0),
            "{error}"
        );
    }
    sleep(Duration::from_millis(50)).await;
    assert!(fake.log("w0:1").is_empty());
    let stats = client.stats();
    assert_eq!((stats.calls, stats.calls_failed, stats.in_flight), (6, 6, 0));
}

#[tokio::test(start_paused = true)]
async fn the_longest_of_all_deadlines_is_cut_and_panics_nowhere() {
    let fake = Fake::new(2);
    let client = fake.client().await.with_deadline(Duration::MAX);
    client.put("k", "v").await.unwrap();
    assert!(client.get_many(["k", "l"]).await.iter().all(Result::is_ok));
    assert_eq!(client.count(Range::all()).await.unwrap(), 1);
    for range in [Range::all(), Range::all().ordered()] {
        assert_eq!(client.scan(range).unwrap().next().await.unwrap().unwrap().key, "k");
    }
    client.status().await.unwrap();
    let options = CallOptions { deadline: Some(Duration::MAX), ..CallOptions::default() };
    for command in
        [get("k"), Command::Count { range: Range::all() }, Command::Many { commands: vec![get("k")] }]
    {
        client.call(command, &options).await.unwrap();
    }
    let longest = fake.log("w0:1").iter().chain(&fake.log("w1:1")).map(|seen| seen.request.deadline_ms).max();
    assert_eq!(longest, Some(slotkv::DEADLINE_MS_MAX));
}

#[tokio::test(start_paused = true)]
async fn submitted_operations_of_many_requests_are_bounded_together() {
    let fake = Fake::new(2);
    let client = fake.client().await;
    for address in ["w0:1", "w1:1"] {
        fake.script(address, |_| Action::Hold);
    }
    let many = |count: usize| Command::Many { commands: (0..count).map(|n| get(&format!("k{n}"))).collect() };
    // One that is too large by itself goes alone.
    let mut first = submit(&client, many(70_000));
    for command in [many(1), Command::Count { range: Range::all() }] {
        let error = submit(&client, command).1.await.unwrap().unwrap_err();
        assert_eq!((error.code, error.outcome), (Code::Overloaded, Outcome::Failed));
    }
    assert!(first.1.try_recv().is_err());
    first.0.cancel();
    first.1.await.unwrap().unwrap_err();
    sleep(Duration::from_millis(10)).await;

    let open: Vec<_> = (0..65_536 / 1000).map(|_| submit(&client, many(999))).collect();
    let large = submit(&client, Command::Many { commands: vec![put("k", 16 << 20); 9] });
    let error = large.1.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Overloaded, Outcome::Failed));
    let error = submit(&client, many(999)).1.await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::Overloaded);
    for address in ["w0:1", "w1:1"] {
        fake.unscript(address);
        fake.release(address);
    }
    for (_, answer) in open {
        answer.await.unwrap().unwrap();
    }
    submit(&client, many(1)).1.await.unwrap().unwrap();
}
