//! The asynchronous way, as an event loop uses it.

mod fake;

use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use fake::Fake;
use slotkv::{Answer, CallOptions, Client, Code, Command, Condition};
use slotkv_facade::error::FacadeError;
use slotkv_facade::port::{Completion, Port, RING_COUNT, Reply, Ring};
use slotkv_facade::signal::Callback;

/// An event loop that does nothing but wait for wake-ups.
struct Loop {
    port: Port<usize>,
    woken: Receiver<()>,
}

impl Loop {
    fn new() -> Self {
        let (wake, woken) = channel();
        let port = Port::new(Callback(move || {
            wake.send(()).ok();
        }));
        Self { port: port.unwrap(), woken }
    }

    /// Takes turns until `count` calls have come to their end.
    fn ended(&mut self, count: usize) -> Vec<Completion<usize>> {
        let mut ended = Vec::new();
        while ended.len() < count {
            self.woken.recv().unwrap();
            self.port.drain(&mut ended);
            self.port.ring();
        }
        ended
    }

    /// Makes calls in one turn, has them answered in one frame and drains them.
    fn batch(&mut self, fake: &Fake, client: &Client, count: usize) {
        for number in 0..count {
            let key = format!("hold{number}");
            self.port.submit(client, put(key), CallOptions::default(), number).unwrap();
        }
        self.port.ring();
        fake.wait_until(|fake| fake.held() == count);
        fake.release();
        let mut ended = self.ended(count);
        ended.sort_by_key(|(host, _)| *host);
        for (number, (host, result)) in ended.into_iter().enumerate() {
            assert_eq!(host, number);
            assert!(matches!(result, Ok(Reply::Answer(Answer::Put(_)))), "{result:?}");
        }
    }

    fn connect(&mut self, fake: &Fake) -> Client {
        let options = fake.options();
        let work = async { Ok(Reply::Client(Client::connect_with("slotkv://fake:1", options).await?)) };
        self.port.spawn(work, 0).unwrap();
        match self.ended(1).remove(0) {
            (0, Ok(Reply::Client(client))) => client,
            other => panic!("{other:?}"),
        }
    }
}

fn put(key: impl Into<Bytes>) -> Command {
    Command::Put { key: key.into(), value: Bytes::from_static(b"v"), condition: Condition::Always }
}

#[test]
fn a_turn_of_the_host_rings_once_and_a_batch_of_completions_wakes_once() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    host.batch(&fake, &client, 2);

    let before = host.port.counters();
    host.batch(&fake, &client, 50);
    let after = host.port.counters();
    assert_eq!(after.submissions - before.submissions, 50);
    assert_eq!(after.rings - before.rings, 1);
    assert_eq!(after.completions.wakeups - before.completions.wakeups, 1);
    assert_eq!(after.completions.completions - before.completions.completions, 50);
}

#[test]
fn one_call_at_a_time_rings_at_once() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    for _ in 0..3 {
        let (_, ring) = host.port.submit(&client, put("a"), CallOptions::default(), 0).unwrap();
        assert_eq!(ring, Ring::Done);
        host.ended(1);
    }
    // After a batch the next turn waits for its end from the first call on.
    host.batch(&fake, &client, 2);
    let (_, ring) = host.port.submit(&client, put("a"), CallOptions::default(), 0).unwrap();
    assert_eq!(ring, Ring::AtEndOfTurn);
    host.port.ring();
    host.ended(1);
}

#[test]
fn what_is_submitted_while_a_batch_is_worked_through_waits_for_its_end() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    host.port.submit(&client, put("a"), CallOptions::default(), 0).unwrap();
    host.woken.recv().unwrap();
    let mut batch = Vec::new();
    host.port.drain(&mut batch);
    assert_eq!(batch.len(), 1);
    let before = host.port.counters();
    for number in 0..10 {
        let (_, ring) = host.port.submit(&client, put("a"), CallOptions::default(), number).unwrap();
        assert_eq!(ring, Ring::Done);
    }
    assert_eq!(host.port.counters().rings, before.rings);
    host.port.ring();
    assert_eq!(host.ended(10).len(), 10);
    assert_eq!(host.port.counters().rings, before.rings + 1);
}

#[test]
fn a_turn_of_very_many_calls_does_not_wait_for_its_end() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    host.batch(&fake, &client, 2);
    for number in 0..RING_COUNT {
        host.port.submit(&client, put("a"), CallOptions::default(), number).unwrap();
    }
    // Nobody keeps the promise yet.
    assert_eq!(host.ended(RING_COUNT).len(), RING_COUNT);
}

#[test]
fn a_call_cancelled_before_its_turn_ends_is_never_sent() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    host.batch(&fake, &client, 2);
    let (call, ring) = host.port.submit(&client, put("hold"), CallOptions::default(), 7).unwrap();
    assert_eq!(ring, Ring::AtEndOfTurn);
    host.port.submit(&client, put("after"), CallOptions::default(), 8).unwrap();
    assert_eq!(host.port.cancel(call), Some(7));
    assert_eq!(host.port.cancel(call), None, "its object comes back once");
    host.port.ring();
    assert_eq!(host.ended(1)[0].0, 8);
    assert_eq!((fake.held(), fake.cancels()), (0, 0));
}

#[test]
fn a_call_cancelled_later_reaches_the_member_and_its_late_reply_nobody() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    let (call, _) = host.port.submit(&client, put("hold"), CallOptions::default(), 7).unwrap();
    host.port.ring();
    fake.wait_until(|fake| fake.held() == 1);
    assert_eq!(host.port.cancel(call), Some(7));
    fake.wait_until(|fake| fake.cancels() == 1);
    fake.release();
    host.port.submit(&client, put("after"), CallOptions::default(), 8).unwrap();
    host.port.ring();
    let ended = host.ended(1);
    assert_eq!((ended.len(), ended[0].0), (1, 8));
}

#[test]
fn errors_are_plain_and_say_what_happened() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    host.port.submit(&client, put(""), CallOptions::default(), 1).unwrap();
    host.port.ring();
    let (_, result) = host.ended(1).remove(0);
    let error = result.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument, "{error}");

    let closing = client.clone();
    let close = async move {
        closing.close().await;
        Ok(Reply::Closed)
    };
    host.port.spawn(close, 2).unwrap();
    assert!(matches!(host.ended(1).remove(0), (2, Ok(Reply::Closed))));
    host.port.submit(&client, put("a"), CallOptions::default(), 3).unwrap();
    host.port.ring();
    assert_eq!(host.ended(1).remove(0).1.unwrap_err().code, Code::Closed);
}

#[test]
fn an_abandoned_port_hands_every_object_back() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    for number in 0..10 {
        host.port.submit(&client, put("hold"), CallOptions::default(), number).unwrap();
    }
    host.port.ring();
    fake.wait_until(|fake| fake.held() == 10);
    let mut back = host.port.abandon();
    back.sort_unstable();
    assert_eq!(back, (0..10).collect::<Vec<_>>());
    fake.wait_until(|fake| fake.cancels() == 10);
    assert!(host.port.abandon().is_empty());
}

#[test]
fn work_that_panics_is_an_error_with_its_text_and_hurts_no_other() {
    let mut host = Loop::new();
    let work = async { if true { panic!("in the work") } else { Err(FacadeError::cancelled()) } };
    host.port.spawn(work, 1).unwrap();
    let (call, result) = host.ended(1).remove(0);
    let error = result.unwrap_err();
    assert_eq!((call, error.code), (1, Code::Unexpected));
    assert!(error.message.contains("in the work"), "{error}");
    host.port.spawn(async { Ok(Reply::Closed) }, 2).unwrap();
    assert!(matches!(host.ended(1).remove(0), (2, Ok(Reply::Closed))));
}
