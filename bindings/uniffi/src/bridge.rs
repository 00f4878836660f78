//! Calls as futures. What the host awaits waits for an end that comes out of the port.
//!
//! The runtime wakes once per batch, and one thread takes the whole batch and wakes the futures in it: a thread of the
//! library's own, or one that the host gives ([`Driver`]). Being told on a thread of the host's is cheaper where a foreign
//! thread has to introduce itself with each call, as with the JVM.
//!
//! Invariants:
//! - A call is given up if its future is dropped before its end was taken.
//! - The host's code runs on its own threads and the driver's, never on the runtime's, and under no lock.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Condvar, PoisonError};
use std::task::{Context, Poll, Waker};

use slotkv_facade::core::Code;
use slotkv_facade::error::FacadeError;
use slotkv_facade::fork;
use slotkv_facade::guard::{guard, quiet};
use slotkv_facade::handle::Handle;
use slotkv_facade::lock::Mutex;
use slotkv_facade::log::{self, Level};
use slotkv_facade::port::{Completion, Port, Reply};
use slotkv_facade::signal::Callback;

use crate::errors::SlotkvError;

/// Name of the library's own thread.
const THREAD_NAME: &str = "slotkv-driver";

/// The bridge of one process; those of its ancestors are forgotten.
pub struct Bridge {
    port: Port<Arc<Slot>>,
    bell: Arc<Bell>,
    /// Some thread takes the ends, or is about to.
    is_driven: AtomicBool,
}

static BRIDGE: AtomicPtr<fork::Owned<Bridge>> = AtomicPtr::new(std::ptr::null_mut());

/// Where the end of a call arrives.
#[derive(Default)]
pub struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    end: Option<Result<Reply, FacadeError>>,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Bell {
    is_rung: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.is_rung.lock() = true;
        self.rung.notify_one();
    }

    fn wait(&self) {
        let mut is_rung = self.is_rung.lock();
        while !std::mem::take(&mut *is_rung) {
            is_rung = self.rung.wait(is_rung).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Bridge {
    /// The bridge of this process, made by its first use.
    pub fn get() -> Result<&'static Bridge, FacadeError> {
        loop {
            let known = BRIDGE.load(Ordering::Acquire);
            // SAFETY: what was stored is never freed.
            if let Some(bridge) = unsafe { known.as_ref() }.and_then(fork::Owned::get) {
                return Ok(bridge);
            }
            let made = Box::into_raw(Box::new(fork::Owned::new(Bridge::new()?)));
            if BRIDGE.compare_exchange(known, made, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
            }
        }
    }

    fn new() -> Result<Self, FacadeError> {
        quiet();
        // Before the runtime: its thread looks once whether the process has ever had a sink of logs.
        drop(log::Sink::install(Level::Error, Callback(|| {}))?);
        let bell = Arc::new(Bell::default());
        let wake = bell.clone();
        let port = Port::shared(Callback(move || wake.ring()))?;
        Ok(Self { port, bell, is_driven: AtomicBool::new(false) })
    }

    /// The future of a call that `begin` hands to the port.
    pub fn begin(
        &'static self,
        begin: impl FnOnce(&Port<Arc<Slot>>, Arc<Slot>) -> Result<Handle, FacadeError>,
    ) -> Result<Call, FacadeError> {
        self.see_to_driver()?;
        let slot = Arc::new(Slot::default());
        let handle = guard(|| begin(&self.port, slot.clone()))?;
        Ok(Call { bridge: self, handle: Some(handle), slot })
    }

    fn see_to_driver(&'static self) -> Result<(), FacadeError> {
        if self.is_driven.load(Ordering::Relaxed) || self.is_driven.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let started = std::thread::Builder::new().name(THREAD_NAME.into()).spawn(|| self.drive());
        started.map(drop).map_err(|error| {
            self.is_driven.store(false, Ordering::SeqCst);
            FacadeError::new(Code::Unexpected, format!("cannot start the driver's thread: {error}"))
        })
    }

    fn drive(&self) -> ! {
        let mut ended: Vec<Completion<Arc<Slot>>> = Vec::new();
        let mut wakers = Vec::new();
        loop {
            self.bell.wait();
            self.port.drain(&mut ended);
            wakers.extend(ended.drain(..).filter_map(|(slot, end)| slot.end(end)));
            for waker in wakers.drain(..) {
                // What the host's side of a waker does must not end the wake-ups of all.
                guard(|| {
                    waker.wake();
                    Ok(())
                })
                .ok();
            }
        }
    }
}

impl Slot {
    /// Takes the end in; who is to be woken.
    fn end(&self, end: Result<Reply, FacadeError>) -> Option<Waker> {
        let mut state = self.0.lock();
        state.end = Some(end);
        state.waker.take()
    }
}

/// See the module.
pub struct Call {
    bridge: &'static Bridge,
    /// Until the end was taken.
    handle: Option<Handle>,
    slot: Arc<Slot>,
}

impl Future for Call {
    type Output = Result<Reply, FacadeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let end = {
            let mut state = self.slot.0.lock();
            match state.end.take() {
                Some(end) => end,
                None => {
                    // The one before is dropped behind the lock.
                    let before = state.waker.replace(context.waker().clone());
                    drop(state);
                    drop(before);
                    return Poll::Pending;
                }
            }
        };
        self.handle = None;
        Poll::Ready(end)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            drop(self.bridge.port.cancel(handle));
            // It holds on to the host's future, of which this is a part.
            let waker = self.slot.0.lock().waker.take();
            drop(waker);
        }
    }
}

/// A thread of the host's on which the ends of calls are told, in place of one of the library's own: made before the
/// first client, and run by that thread.
#[derive(uniffi::Object)]
pub struct Driver(&'static Bridge);

#[uniffi::export]
impl Driver {
    /// From now on, some thread is to `run` it.
    #[uniffi::constructor]
    pub fn new() -> Result<Arc<Self>, SlotkvError> {
        let bridge = guard(Bridge::get)?;
        bridge.is_driven.store(true, Ordering::SeqCst);
        Ok(Arc::new(Self(bridge)))
    }

    /// Wakes whoever awaits a call, for ever: does not return.
    pub fn run(&self) {
        self.0.drive()
    }
}

/// What was done in how many batches.
#[derive(uniffi::Record)]
pub struct Counters {
    /// Operations begun.
    pub submissions: u64,
    /// Times the runtime was rung for them.
    pub rings: u64,
    /// Ends that came.
    pub completions: u64,
    /// Times the driver was woken for them.
    pub wakeups: u64,
    /// Batches it has taken.
    pub drains: u64,
}

/// What was done in how many batches; for tests.
#[uniffi::export]
pub fn test_counters() -> Result<Counters, SlotkvError> {
    let counters = guard(Bridge::get)?.port.counters();
    Ok(Counters {
        submissions: counters.submissions,
        rings: counters.rings,
        completions: counters.completions.completions,
        wakeups: counters.completions.wakeups,
        drains: counters.completions.drains,
    })
}

/// Panics, here or on the runtime's thread; for tests.
#[uniffi::export]
pub async fn test_panic(in_runtime: bool) -> Result<(), SlotkvError> {
    let call = guard(|| {
        Bridge::get()?.begin(|port, slot| {
            assert!(in_runtime, "on purpose");
            port.spawn(async { panic!("on purpose") }, slot)
        })
    })?;
    Ok(call.await.map(drop)?)
}
