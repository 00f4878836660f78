//! The asynchronous way, as an event loop uses it that drives the runtime itself. Not under Miri, where nobody tells what
//! an epoll instance watches.
#![cfg(all(target_os = "linux", not(miri)))]

mod fake;

use std::collections::BTreeSet;
use std::os::raw::c_int;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fake::Fake;
use slotkv::{Answer, CallOptions, Code, Command};
use slotkv_facade::nonblocking::AsyncClient;
use slotkv_facade::port::{Completion, Port, Reply, Ring};

const PATIENCE: Duration = Duration::from_secs(30);
const KEEPER: &str = "slotkv-keeper";

/// An event loop that watches one descriptor.
struct Loop {
    port: Port<usize>,
    fd: c_int,
}

impl Loop {
    fn new() -> Self {
        let (port, fd) = Port::hosted().unwrap().expect("Linux can");
        Self { port, fd }
    }

    /// Takes turns until `count` calls have come to their end.
    fn ended(&mut self, count: usize) -> Vec<Completion<usize>> {
        let mut ended = Vec::new();
        while ended.len() < count {
            assert!(fake::is_readable(self.fd, PATIENCE), "{} of {count} calls", ended.len());
            self.port.drain(&mut ended);
            self.port.ring();
        }
        ended
    }

    fn connect(&mut self, fake: &Fake) -> AsyncClient {
        AsyncClient::connect(&self.port, "slotkv://fake:1".into(), fake.settings(), 0).unwrap();
        match self.ended(1).remove(0) {
            (0, Ok(Reply::Client(client))) => *client,
            other => panic!("{other:?}"),
        }
    }

    fn get(&self, client: &AsyncClient, key: &str, number: usize) -> Ring {
        let command = Command::Get { key: Bytes::copy_from_slice(key.as_bytes()) };
        client.submit(&self.port, command, CallOptions::default(), number).unwrap().1
    }
}

fn me() -> String {
    std::thread::current().name().unwrap().to_owned()
}

fn numbers(ended: &[Completion<usize>]) -> BTreeSet<usize> {
    for (_, result) in ended {
        assert!(matches!(result, Ok(Reply::Answer(Answer::Entry(None)))), "{result:?}");
    }
    ended.iter().map(|(number, _)| *number).collect()
}

#[test]
fn few_calls_are_driven_by_the_loop_alone() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    // The keeper may have come in between.
    host.get(&client, "a", 0);
    host.port.ring();
    host.ended(1);
    fake.drivers();
    for number in 0..1000 {
        host.get(&client, "a", number);
        host.port.ring();
        host.ended(1);
    }
    let drivers = fake.drivers();
    assert!(drivers.contains(&me()), "{drivers:?}");
}

#[test]
fn many_calls_are_driven_beside_the_loop_and_few_again_by_it() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    let mut open = 0;
    while fake.drivers() != BTreeSet::from([KEEPER.to_owned()]) {
        assert!(open < 100_000, "the keeper does not come");
        for _ in 0..100 {
            host.get(&client, "hold", open);
            open += 1;
        }
        host.port.ring();
        // As much as fits into a connection.
        fake.wait_until(|fake| fake.held() == open.min(4096));
        if open > 4096 - 100 {
            fake.release();
            host.ended(open);
            open = 0;
        }
    }
    fake.release();
    assert_eq!(numbers(&host.ended(open)).len(), open);

    let end = Instant::now() + PATIENCE;
    loop {
        fake.drivers();
        host.get(&client, "a", 0);
        host.port.ring();
        host.ended(1);
        if fake.drivers() == BTreeSet::from([me()]) {
            break;
        }
        assert!(Instant::now() < end, "the keeper does not step aside");
    }
}

#[test]
fn a_deadline_passes_while_the_loop_takes_no_turn() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    let command = Command::Get { key: Bytes::from_static(b"hold") };
    let options = CallOptions { deadline: Some(Duration::from_millis(50)), ..CallOptions::default() };
    client.submit(&host.port, command, options, 7).unwrap();
    host.port.ring();
    fake.wait_until(|fake| fake.held() == 1);
    // Timers make no descriptor readable: this is the keeper's doing.
    let mut ended = Vec::new();
    while ended.is_empty() {
        assert!(fake::is_readable(host.fd, PATIENCE));
        host.port.drain(&mut ended);
    }
    let (7, Err(error)) = &ended[0] else { panic!("{ended:?}") };
    assert_eq!(error.code, Code::Timeout);
}

#[test]
fn no_call_is_forgotten_whatever_the_loop_does_between_its_turns() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    let mut state = 1u64;
    let mut chance = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..300 {
        let count = [1, 2, 50, 100, 129, 300][chance(6) as usize];
        for number in 0..count {
            host.get(&client, "a", number);
            // In the middle of what it submits, at an instant when the keeper may be about to begin.
            if chance(100) == 0 {
                std::thread::sleep(Duration::from_micros(chance(22_000)));
            }
        }
        host.port.ring();
        if chance(4) == 0 {
            std::thread::sleep(Duration::from_micros(chance(22_000)));
        }
        let ended = host.ended(count);
        assert_eq!(numbers(&ended).len(), count, "round {round}");
    }
}

#[test]
fn a_loop_inside_another_runtime_is_served_by_the_keeper() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    other.block_on(async {
        let client = host.connect(&fake);
        for number in 0..10 {
            host.get(&client, "a", number);
        }
        host.port.ring();
        assert_eq!(numbers(&host.ended(10)).len(), 10);
        assert_eq!(fake.drivers(), BTreeSet::from([KEEPER.to_owned()]));
    });
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_member() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    let command = Command::Get { key: Bytes::from_static(b"hold") };
    let (call, _) = client.submit(&host.port, command, CallOptions::default(), 3).unwrap();
    host.port.ring();
    fake.wait_until(|fake| fake.held() == 1);
    let (number, error) = host.port.cancel(call).unwrap();
    assert_eq!((number, error.code), (3, Code::Cancelled));
    fake.wait_until(|fake| fake.cancels() == 1);
    fake.release();
    host.get(&client, "a", 4);
    host.port.ring();
    assert_eq!(numbers(&host.ended(1)), BTreeSet::from([4]), "the late answer is no completion");
}

#[test]
fn a_port_that_is_dropped_with_calls_open_leaves_no_thread_and_no_descriptor() {
    let fake = Fake::default();
    let mut host = Loop::new();
    let client = host.connect(&fake);
    for number in 0..10 {
        host.get(&client, "hold", number);
    }
    host.port.ring();
    fake.wait_until(|fake| fake.held() == 10);
    let fd = host.fd;
    assert_eq!(host.port.abandon().len(), 10);
    drop(client);
    drop(host);
    let end = Instant::now() + PATIENCE;
    let instance = format!("/proc/self/fd/{fd}");
    let is_ours = || std::fs::read_link(&instance).is_ok_and(|link| link.ends_with("[eventpoll]"));
    while is_ours() {
        assert!(Instant::now() < end, "the descriptor is still open");
        std::thread::sleep(Duration::from_millis(5));
    }
}
