//! Logs in a forked child. A file of its own: sinks are the process's, and so is tracing's lock.

#![cfg(unix)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use slotkv_facade::log::{Level, Sink, capture};
use slotkv_facade::signal::Callback;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber, span};

/// A child that hangs is ended after so many seconds.
const PATIENCE: u32 = 30;

static IS_SLOW: AtomicBool = AtomicBool::new(false);

/// Stays in the middle of being asked, where tracing holds its lock.
struct Slow(std::sync::Mutex<std::sync::mpsc::Sender<()>>);

impl Subscriber for Slow {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        if IS_SLOW.swap(false, Ordering::SeqCst) {
            self.0.lock().unwrap().send(()).unwrap();
            std::thread::sleep(Duration::from_secs(3600));
        }
        Interest::never()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn install() -> Sink {
    Sink::install(Level::Info, Callback(|| {})).unwrap()
}

#[test]
fn a_child_gets_its_own_logs_also_if_a_thread_of_the_parent_was_in_the_middle_of_tracing() {
    let (tell, told) = channel();
    let parent = install();
    let say = || {
        let guard = capture();
        tracing::info!(target: "slotkv::test", "it is known to tracing from the first time on");
        drop(guard);
    };
    say();
    assert_eq!(parent.drain().len(), 1);
    let _slow = Dispatch::new(Slow(std::sync::Mutex::new(tell)));
    IS_SLOW.store(true, Ordering::SeqCst);
    std::thread::spawn(tracing::callsite::rebuild_interest_cache);
    told.recv_timeout(Duration::from_secs(PATIENCE.into())).unwrap();

    // SAFETY: this test's thread is the only one the child has; it leaves without unwinding into the harness.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: a plain system call.
        unsafe { libc::alarm(PATIENCE) };
        let sink = install();
        say();
        let is_right = sink.drain().len() == 1 && !parent.is_usable() && parent.drain().is_empty();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if is_right { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
}
