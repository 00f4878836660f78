//! The end of the runtime. A file of its own: the runtime is the process's, and tests of one binary share a process.

mod fake;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use fake::Fake;
use slotkv::{CallOptions, Code, Command, Condition, Outcome};
use slotkv_facade::nonblocking::AsyncClient;
use slotkv_facade::port::{Port, Reply, Ring};
use slotkv_facade::runtime;
use slotkv_facade::signal::Callback;

const PATIENCE: Duration = Duration::from_secs(10);

fn put(key: &'static str) -> Command {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(b"v"));
    Command::Put { key, value, condition: Condition::Always, ttl: None }
}

#[test]
fn every_call_has_an_end_that_the_host_is_woken_for_and_nothing_is_kept() {
    let (wake, woken) = channel();
    let port = Port::new(Callback(move || {
        wake.send(()).ok();
    }));
    ends_everything(port.unwrap(), || {
        woken.recv_timeout(PATIENCE).expect("a wake-up");
        while woken.try_recv().is_ok() {}
    });
    // Miri cannot tell what an epoll instance watches.
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let (port, fd) = Port::hosted().unwrap().unwrap();
        ends_everything(port, || assert!(fake::is_readable(fd, PATIENCE), "a wake-up"));
    }
}

/// `wait` returns when the host has been woken since it last did.
fn ends_everything(port: Port<(&'static str, Arc<()>)>, wait: impl Fn()) {
    let fake = Fake::default();
    // Lives as long as the port keeps one of its calls.
    let kept = Arc::new(());
    let mut ended = Vec::new();
    AsyncClient::connect(&port, "slotkv://fake:1".into(), fake.settings(), ("connect", kept.clone()))
        .unwrap();
    while ended.is_empty() {
        wait();
        port.drain(&mut ended);
        port.ring();
    }
    let Some((_, Ok(Reply::Client(client)))) = ended.pop() else { panic!("not connected") };
    let submit = |command, name| {
        client.submit(&port, command, CallOptions::default(), (name, kept.clone())).unwrap().1
    };

    // From here on submissions wait for the host.
    submit(put("hold"), "sent");
    submit(Command::Get { key: Bytes::from_static(b"hold") }, "read");
    port.ring();
    fake.wait_until(|fake| fake.held() == 2);
    fake.silence(true);
    client.status(&port, ("status", kept.clone())).unwrap();
    fake.wait_until(|fake| fake.unanswered() > 0);
    assert_eq!(submit(put("a"), "not sent"), Ring::AtEndOfTurn);

    assert!(runtime::shutdown(PATIENCE));
    wait();
    port.drain(&mut ended);
    let mut ends: Vec<_> = ended
        .drain(..)
        .map(|((name, _), result)| {
            let error = result.unwrap_err();
            (name, error.code, error.outcome)
        })
        .collect();
    ends.sort_by_key(|end| end.0);
    assert_eq!(
        ends,
        [
            ("not sent", Code::Closed, Outcome::Failed),
            ("read", Code::Closed, Outcome::Failed),
            ("sent", Code::Closed, Outcome::Unknown),
            ("status", Code::Closed, Outcome::Failed),
        ]
    );
    // Neither a late ring nor a late end brings anything back.
    port.ring();
    let refused = client.submit(&port, put("a"), CallOptions::default(), ("late", kept.clone()));
    assert_eq!(refused.unwrap_err().code, Code::Closed);
    drop(client);
    port.drain(&mut ended);
    assert!(ended.is_empty(), "{ended:?}");
    drop(port);
    assert_eq!(Arc::strong_count(&kept), 1);
}
