//! The asynchronous way, as an event loop uses it.

mod fake;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use fake::Fake;
use slotkv::{Answer, CallOptions, Code, Command, Condition, Outcome, Range};
use slotkv_facade::error::FacadeError;
use slotkv_facade::nonblocking::{AsyncClient, AsyncScan, Next};
use slotkv_facade::port::{Completion, Port, RING_COUNT, Reply, Ring};
use slotkv_facade::signal::Callback;

/// Miri takes long for each.
const CALLS_PER_THREAD: usize = if cfg!(miri) { 5 } else { 100 };

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
    fn batch(&mut self, fake: &Fake, client: &AsyncClient, count: usize) {
        for number in 0..count {
            let key = format!("hold{number}");
            client.submit(&self.port, put(key), CallOptions::default(), number).unwrap();
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

    fn connect(&mut self, fake: &Fake) -> AsyncClient {
        AsyncClient::connect(&self.port, "slotkv://fake:1".into(), fake.settings(), 0).unwrap();
        match self.ended(1).remove(0) {
            (0, Ok(Reply::Client(client))) => *client,
            other => panic!("{other:?}"),
        }
    }
}

fn put(key: impl Into<Bytes>) -> Command {
    Command::Put { key: key.into(), value: Bytes::from_static(b"v"), condition: Condition::Always, ttl: None }
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
        let (_, ring) = client.submit(&host.port, put("a"), CallOptions::default(), 0).unwrap();
        assert_eq!(ring, Ring::Done);
        host.ended(1);
    }
    // After a batch the next turn waits for its end from the first call on.
    host.batch(&fake, &client, 2);
    let (_, ring) = client.submit(&host.port, put("a"), CallOptions::default(), 0).unwrap();
    assert_eq!(ring, Ring::AtEndOfTurn);
    host.port.ring();
    host.ended(1);
}

#[test]
fn what_is_submitted_while_a_batch_is_worked_through_waits_for_its_end() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    client.submit(&host.port, put("a"), CallOptions::default(), 0).unwrap();
    host.woken.recv().unwrap();
    let mut batch = Vec::new();
    host.port.drain(&mut batch);
    assert_eq!(batch.len(), 1);
    let before = host.port.counters();
    for number in 0..10 {
        let (_, ring) = client.submit(&host.port, put("a"), CallOptions::default(), number).unwrap();
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
        client.submit(&host.port, put("a"), CallOptions::default(), number).unwrap();
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
    let (call, ring) = client.submit(&host.port, put("hold"), CallOptions::default(), 7).unwrap();
    assert_eq!(ring, Ring::AtEndOfTurn);
    client.submit(&host.port, put("after"), CallOptions::default(), 8).unwrap();
    let (back, error) = host.port.cancel(call).unwrap();
    assert_eq!((back, error.code, error.outcome), (7, Code::Cancelled, Outcome::Failed));
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
    let (call, _) = client.submit(&host.port, put("hold"), CallOptions::default(), 7).unwrap();
    host.port.ring();
    fake.wait_until(|fake| fake.held() == 1);
    let (back, error) = host.port.cancel(call).unwrap();
    assert_eq!((back, error.code, error.outcome), (7, Code::Cancelled, Outcome::Unknown));
    fake.wait_until(|fake| fake.cancels() == 1);
    fake.release();
    client.submit(&host.port, put("after"), CallOptions::default(), 8).unwrap();
    host.port.ring();
    let ended = host.ended(1);
    assert_eq!((ended.len(), ended[0].0), (1, 8));
}

#[test]
fn errors_are_plain_and_say_what_happened() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    client.submit(&host.port, put(""), CallOptions::default(), 1).unwrap();
    host.port.ring();
    let (_, result) = host.ended(1).remove(0);
    let error = result.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument, "{error}");

    client.close(&host.port, 2).unwrap();
    assert!(matches!(host.ended(1).remove(0), (2, Ok(Reply::Closed))));
    client.submit(&host.port, put("a"), CallOptions::default(), 3).unwrap();
    host.port.ring();
    assert_eq!(host.ended(1).remove(0).1.unwrap_err().code, Code::Closed);
}

#[test]
fn a_read_given_up_was_not_applied_whether_it_was_sent_or_not() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    let get = Command::Get { key: Bytes::from_static(b"hold") };
    let (call, _) = client.submit(&host.port, get, CallOptions::default(), 7).unwrap();
    host.port.ring();
    fake.wait_until(|fake| fake.held() == 1);
    assert_eq!(host.port.cancel(call).unwrap().1.outcome, Outcome::Failed);
}

#[test]
fn many_calls_are_submitted_with_one_ring() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    host.batch(&fake, &client, 2);
    let before = host.port.counters();
    let mut begun = Vec::new();
    let calls = (0..10).map(|number| (put("a"), CallOptions::default(), number));
    assert_eq!(client.submit_many(&host.port, calls, &mut begun).unwrap(), Ring::AtEndOfTurn);
    host.port.ring();
    assert_eq!(host.ended(10).len(), 10);
    assert_eq!(begun.len(), 10);
    assert_eq!(host.port.counters().rings, before.rings + 1);
}

#[test]
fn a_shared_port_takes_calls_of_many_threads_and_rings_by_itself() {
    let fake = Fake::default();
    let (wake, woken) = channel();
    let port = Port::shared(Callback(move || {
        wake.send(()).ok();
    }));
    let mut host = Loop { port: port.unwrap(), woken };
    let client = host.connect(&fake);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (port, client) = (&host.port, &client);
            scope.spawn(move || {
                for number in 0..CALLS_PER_THREAD {
                    let host = thread * CALLS_PER_THREAD + number;
                    let (_, ring) = client.submit(port, put("a"), CallOptions::default(), host).unwrap();
                    assert_eq!(ring, Ring::Done);
                }
            });
        }
    });
    let count = 8 * CALLS_PER_THREAD;
    // It is drained without a ring ever being promised or kept.
    let mut ended = Vec::new();
    while ended.len() < count {
        host.woken.recv().unwrap();
        host.port.drain(&mut ended);
        let calls = [(put("b"), CallOptions::default(), 1000)];
        if ended.len() < count {
            assert_eq!(client.submit_many(&host.port, calls, &mut Vec::new()), Ok(Ring::Done));
        }
    }
    let mut hosts: Vec<_> = ended.iter().map(|(host, _)| *host).filter(|host| *host < 1000).collect();
    while hosts.len() < count {
        host.woken.recv().unwrap();
        ended.clear();
        host.port.drain(&mut ended);
        hosts.extend(ended.iter().map(|(host, _)| *host).filter(|host| *host < 1000));
    }
    hosts.sort_unstable();
    assert_eq!(hosts, (0..count).collect::<Vec<_>>());
    assert!(host.port.counters().completions.wakeups <= host.port.counters().completions.completions);
}

/// Takes a scan to its end.
fn items(host: &mut Loop, scan: &AsyncScan) -> Vec<Bytes> {
    let mut keys = Vec::new();
    loop {
        let item = match scan.next() {
            Next::Item(item) => Some(item),
            Next::End => None,
            Next::Busy => panic!("nobody else has a turn"),
            Next::Fetch(turn) => {
                host.port.spawn(turn.work().unwrap(), 0).unwrap();
                match host.ended(1).remove(0).1 {
                    Ok(Reply::Answer(Answer::Page(page))) => turn.finish(page),
                    other => panic!("{other:?}"),
                }
            }
        };
        match item {
            Some(item) => keys.push(item.key),
            None => return keys,
        }
    }
}

#[test]
fn a_scan_gives_every_key_once_and_a_turn_given_up_takes_nothing_with_it() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    let mut expected: Vec<_> = (0..50).map(|number| Bytes::from(format!("s{number:02}"))).collect();
    let puts = expected.iter().map(|key| (put(key.clone()), CallOptions::default(), 0));
    client.submit_many(&host.port, puts, &mut Vec::new()).unwrap();
    host.port.ring();
    host.ended(50);

    let scan = client.scan(Range::all().items_max(7), None, None, CallOptions::default());
    let Next::Fetch(turn) = scan.next() else { panic!("nothing is here") };
    assert!(matches!(scan.next(), Next::Busy));
    let call = host.port.spawn(turn.work().unwrap(), 9).unwrap();
    host.port.cancel(call).unwrap();
    drop(turn);
    let mut seen = items(&mut host, &scan);
    seen.sort();
    assert_eq!(seen, expected);

    client.dump(&host.port, Range::all(), CallOptions::default(), 3).unwrap();
    let Ok(Reply::Items(dumped)) = host.ended(1).remove(0).1 else { panic!("no items") };
    expected.sort();
    assert_eq!(dumped.into_iter().map(|item| item.key).collect::<Vec<_>>(), expected);
}

#[test]
fn asking_for_the_status_keeps_the_deadline_of_the_view() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    fake.silence(true);
    client.with_deadline(Duration::from_millis(20)).status(&host.port, 1).unwrap();
    let error = host.ended(1).remove(0).1.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Timeout, Outcome::Failed));
}

#[test]
fn an_abandoned_port_hands_every_object_back() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    for number in 0..10 {
        client.submit(&host.port, put("hold"), CallOptions::default(), number).unwrap();
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
