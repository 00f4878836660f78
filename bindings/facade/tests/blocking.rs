//! The blocking way.

mod fake;

use bytes::Bytes;
use fake::Fake;
use slotkv::{Answer, CallOptions, Code, Command, Condition};
use slotkv_facade::blocking::BlockingClient;
use slotkv_facade::error::FacadeError;

fn patient() -> Result<(), FacadeError> {
    Ok(())
}

fn connect(fake: &Fake) -> BlockingClient {
    let fake = fake.clone();
    BlockingClient::connect("slotkv://fake:1", move || fake.options(), patient).unwrap()
}

fn increment(key: &'static str) -> Command {
    Command::Increment { key: Bytes::from_static(key.as_bytes()), delta: 1 }
}

fn get(key: &'static str) -> Command {
    Command::Get { key: Bytes::from_static(key.as_bytes()) }
}

#[test]
fn thirty_two_threads_share_a_client() {
    let client = connect(&Fake::default());
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                for _ in 0..50 {
                    client.call(increment("n"), &CallOptions::default(), patient).unwrap();
                }
            });
        }
    });
    let sum = client.call(increment("n"), &CallOptions::default(), patient);
    assert_eq!(sum, Ok(Answer::Number(32 * 50 + 1)));
    client.close().unwrap();
}

#[test]
fn a_call_after_close_is_closed_and_closing_again_does_nothing() {
    let client = connect(&Fake::default());
    let other = client.clone();
    client.close().unwrap();
    client.close().unwrap();
    let error = other.call(get("a"), &CallOptions::default(), patient).unwrap_err();
    assert_eq!(error.code, Code::Closed);
    assert!(other.is_closed());
}

#[test]
fn an_interrupted_call_is_cancelled_at_the_member_and_the_next_one_works() {
    let fake = Fake::default();
    let client = connect(&fake);
    let hold =
        Command::Put { key: Bytes::from_static(b"hold"), value: Bytes::new(), condition: Condition::Always };
    let result = client.call(hold, &CallOptions::default(), || Err(FacadeError::cancelled()));
    assert_eq!(result.unwrap_err().code, Code::Cancelled);
    client.call(increment("n"), &CallOptions::default(), patient).unwrap();
    fake.wait_until(|fake| fake.cancels() == 1);
}

#[test]
fn a_uri_that_cannot_be_is_refused() {
    let fake = Fake::default();
    let options = move || fake.options();
    for uri in ["http://fake:1", "slotkv://", "slotkv://fake:1?colour=red", "slotkvs://fake:1"] {
        let error = BlockingClient::connect(uri, options.clone(), patient).err().unwrap();
        assert!(matches!(error.code, Code::InvalidArgument | Code::Unsupported), "{uri}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn a_client_goes_on_in_a_forked_child_with_a_client_id_of_its_own() {
    let fake = Fake::default();
    let client = connect(&fake);
    client.call(increment("n"), &CallOptions::default(), patient).unwrap();
    assert_eq!(fake.clients(), 1);
    // Several: whatever a fork catches the keeper in the middle of must not matter.
    for _ in 0..20 {
        // SAFETY: this test's thread is the only one the child has; it leaves without unwinding into the harness.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // The child's copy of the fake cluster is its own.
            let sum = client.call(increment("n"), &CallOptions::default(), patient);
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
    let sum = client.call(increment("n"), &CallOptions::default(), patient);
    assert_eq!(sum, Ok(Answer::Number(2)), "the parent's connection is as it was");
}
