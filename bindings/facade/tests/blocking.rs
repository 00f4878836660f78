//! The blocking way.

mod fake;

use std::time::Duration;

use bytes::Bytes;
use fake::Fake;
use slotkv::{Answer, CallOptions, Code, Command, Condition, Item, Outcome, Range};
use slotkv_facade::blocking::{BlockingClient, BlockingScan};
use slotkv_facade::error::FacadeError;

/// Miri takes long for each.
const THREADS: i64 = if cfg!(miri) { 4 } else { 32 };
const CALLS_PER_THREAD: i64 = if cfg!(miri) { 3 } else { 50 };

fn patient() -> Result<(), FacadeError> {
    Ok(())
}

fn connect(fake: &Fake) -> BlockingClient {
    BlockingClient::connect("slotkv://fake:1", fake.settings(), patient).unwrap()
}

/// A client that this process has not connected yet, as in a forked child.
fn forked(fake: &Fake) -> BlockingClient {
    BlockingClient::unconnected("slotkv://fake:1", fake.settings())
}

fn increment(key: &'static str) -> Command {
    Command::Increment { key: Bytes::from_static(key.as_bytes()), delta: 1 }
}

fn get(key: &'static str) -> Command {
    Command::Get { key: Bytes::from_static(key.as_bytes()) }
}

#[test]
fn many_threads_share_a_client() {
    let client = connect(&Fake::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..CALLS_PER_THREAD {
                    client.call(increment("n"), CallOptions::default(), patient).unwrap();
                }
            });
        }
    });
    let sum = client.call(increment("n"), CallOptions::default(), patient);
    assert_eq!(sum, Ok(Answer::Number(THREADS * CALLS_PER_THREAD + 1)));
    client.close().unwrap();
}

#[test]
fn a_call_after_close_is_closed_and_closing_again_does_nothing() {
    let client = connect(&Fake::default());
    let other = client.clone();
    client.close().unwrap();
    client.close().unwrap();
    let error = other.call(get("a"), CallOptions::default(), patient).unwrap_err();
    assert_eq!(error.code, Code::Closed);
    assert!(other.is_closed());
}

#[test]
fn an_interrupted_call_is_cancelled_at_the_member_and_the_next_one_works() {
    let fake = Fake::default();
    let client = connect(&fake);
    let hold = Command::Put {
        key: Bytes::from_static(b"hold"),
        value: Bytes::new(),
        condition: Condition::Always,
        ttl: None,
    };
    let result = client.call(hold, CallOptions::default(), || Err(FacadeError::cancelled()));
    assert_eq!(result.unwrap_err().code, Code::Cancelled);
    client.call(increment("n"), CallOptions::default(), patient).unwrap();
    fake.wait_until(|fake| fake.cancels() == 1);
}

fn put(key: String) -> Command {
    Command::Put { key: key.into(), value: Bytes::new(), condition: Condition::Always, ttl: None }
}

/// A client of a cluster with a few keys, and a scan of them.
fn scanned(fake: &Fake, prefix: &'static str, count: usize) -> (BlockingClient, BlockingScan) {
    let client = connect(fake);
    for number in 0..count {
        client.call(put(format!("s{number:03}")), CallOptions::default(), patient).unwrap();
    }
    let range = Range { prefix: Bytes::from_static(prefix.as_bytes()), items_max: 10, ..Range::all() };
    let scan = client.scan(range, None, None, CallOptions::default());
    (client, scan)
}

fn keys(scan: &BlockingScan) -> Vec<Bytes> {
    std::iter::from_fn(|| scan.next(patient).unwrap()).map(|Item { key, .. }| key).collect()
}

#[test]
fn a_scan_gives_every_key_once_also_to_threads_that_share_it() {
    let (client, scan) = scanned(&Fake::default(), "s", 100);
    let mut seen: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| keys(&scan))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    seen.sort();
    assert_eq!(seen, (0..100).map(|number| format!("s{number:03}")).collect::<Vec<_>>());
    let dumped = client.dump(Range::all(), CallOptions::default(), patient).unwrap();
    assert_eq!(dumped.into_iter().map(|item| item.key).collect::<Vec<_>>(), seen);
}

#[test]
fn a_handler_that_interrupts_a_page_may_ask_for_the_cursor_and_is_refused_the_next_item() {
    let fake = Fake::default();
    let (client, scan) = scanned(&fake, "hold", 1);
    let mut refused = None;
    let result = scan.next(|| {
        assert_eq!(scan.cursor(patient), Ok(None));
        refused = scan.next(patient).err();
        client.call(increment("n"), CallOptions::default(), patient).unwrap();
        Err(FacadeError::cancelled())
    });
    assert_eq!(result.unwrap_err().code, Code::Cancelled);
    assert_eq!(refused.unwrap().code, Code::InvalidArgument);
    // The turn was given back.
    fake.release();
    assert!(
        scan.next(|| {
            fake.release();
            Ok(())
        })
        .unwrap()
        .is_none()
    );
}

#[test]
fn who_waits_for_another_thread_s_page_can_be_interrupted_and_has_a_deadline() {
    let fake = Fake::default();
    let (client, _) = scanned(&fake, "hold", 0);
    let range = Range { prefix: Bytes::from_static(b"hold"), ..Range::all() };
    let scan = client.scan(range, None, None, CallOptions::default());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| scan.next(patient));
        fake.wait_until(|fake| fake.held() == 1);
        let result = scan.next(|| Err(FacadeError::cancelled()));
        assert_eq!(result.unwrap_err().code, Code::Cancelled);
        assert_eq!(fake.held(), 1, "it asked for no page of its own");
        fake.release();
        assert!(other.join().unwrap().unwrap().is_none());
    });
    let quick = CallOptions { deadline: Some(Duration::from_millis(500)), ..CallOptions::default() };
    let scan = client.scan(Range { prefix: Bytes::from_static(b"hold"), ..Range::all() }, None, None, quick);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| scan.next(patient));
        fake.wait_until(|fake| fake.held() == 1);
        for error in [scan.next(patient).unwrap_err(), other.join().unwrap().unwrap_err()] {
            assert_eq!((error.code, error.outcome), (Code::Timeout, Outcome::Failed));
        }
    });
}

#[test]
fn while_a_thread_connects_others_can_be_interrupted_and_the_same_is_refused() {
    let fake = Fake::default();
    let client = forked(&fake);
    fake.silence(true);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut asked = 0;
            client.call(increment("n"), CallOptions::default(), || {
                asked += 1;
                if asked == 1 {
                    // A handler on the thread that connects.
                    let again = client.call(increment("n"), CallOptions::default(), patient);
                    assert_eq!(again.unwrap_err().code, Code::Unavailable);
                }
                Ok(())
            })
        });
        fake.wait_until(|fake| fake.unanswered() > 0);
        let result = client.call(get("n"), CallOptions::default(), || Err(FacadeError::cancelled()));
        assert_eq!(result.unwrap_err().code, Code::Cancelled);
        let quick = client.with_deadline(Duration::from_millis(1));
        let error = quick.call(get("n"), CallOptions::default(), patient).unwrap_err();
        assert_eq!((error.code, error.outcome), (Code::Timeout, Outcome::Failed));
        fake.silence(false);
        assert_eq!(other.join().unwrap(), Ok(Answer::Number(1)));
    });
}

#[test]
fn a_close_during_a_connect_ends_it_and_a_closed_client_never_connects() {
    let fake = Fake::default();
    let client = forked(&fake);
    fake.silence(true);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| client.call(increment("n"), CallOptions::default(), patient));
        fake.wait_until(|fake| fake.unanswered() > 0);
        client.close().unwrap();
        assert_eq!(other.join().unwrap().unwrap_err().code, Code::Closed);
    });
    let before = fake.unanswered();
    assert_eq!(client.core(patient).err().unwrap().code, Code::Closed);
    assert_eq!(fake.unanswered(), before);
}

#[test]
fn asking_for_the_status_keeps_the_deadline_of_the_view() {
    let fake = Fake::default();
    let client = connect(&fake);
    fake.silence(true);
    let error = client.with_deadline(Duration::from_millis(20)).status(patient).unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Timeout, Outcome::Failed));
}

#[test]
fn the_traceparent_of_a_view_travels_with_its_calls() {
    let fake = Fake::default();
    let client = connect(&fake);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let view = client.with_traceparent(trace.into()).with_deadline(Duration::from_secs(9));
    view.call(increment("n"), CallOptions::default(), patient).unwrap();
    client.call(increment("n"), CallOptions::default(), patient).unwrap();
    assert_eq!(fake.traceparents(), [trace]);
}

#[test]
fn a_uri_that_cannot_be_is_refused() {
    let fake = Fake::default();
    for uri in ["http://fake:1", "slotkv://", "slotkv://fake:1?colour=red", "slotkvs://fake:1"] {
        let error = BlockingClient::connect(uri, fake.settings(), patient).err().unwrap();
        assert!(matches!(error.code, Code::InvalidArgument | Code::Unsupported), "{uri}: {error}");
    }
}

#[cfg(unix)]
#[test]
#[cfg_attr(miri, ignore = "Miri has no fork")]
fn a_client_goes_on_in_a_forked_child_with_a_client_id_of_its_own() {
    let fake = Fake::default();
    let client = connect(&fake);
    client.call(increment("n"), CallOptions::default(), patient).unwrap();
    assert_eq!(fake.clients(), 1);
    // Several: whatever a fork catches the keeper in the middle of must not matter.
    for _ in 0..20 {
        // SAFETY: this test's thread is the only one the child has; it leaves without unwinding into the harness.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // The child's copy of the fake cluster is its own.
            let sum = client.call(increment("n"), CallOptions::default(), patient);
            let is_new = fake.clients() == 2;
            drop(client);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if sum == Ok(Answer::Number(2)) && is_new { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
    }
    let sum = client.call(increment("n"), CallOptions::default(), patient);
    assert_eq!(sum, Ok(Answer::Number(2)), "the parent's connection is as it was");
}

#[test]
fn a_call_on_many_keys_of_a_closed_client_fails_by_the_key() {
    let client = connect(&Fake::default());
    client.close().unwrap();
    let commands = vec![get("a"), get("b")];
    let answer = client.call(Command::Many { commands }, CallOptions::default(), patient).unwrap();
    let Answer::Many(answers) = answer else { panic!("{answer:?}") };
    let codes: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap_err().code).collect();
    assert_eq!(codes, [Code::Closed; 2]);
}
