//! The bridge between one environment, which is Node's main thread or one of its workers, and the runtime.
//!
//! Where the environment's event loop can drive the runtime, it watches the runtime's descriptor ([`Poll`]). Elsewhere the
//! runtime has a thread of its own, which wakes the environment once per batch, by one call of a ThreadsafeFunction whose
//! queue has room for one: whoever finds it full knows that the environment will look anyway. Either way the environment
//! then takes all ends at once.
//!
//! Invariants:
//! - The environment is kept alive while a call is open, and only then: a process ends without `close`.
//! - The port holds numbers, not JavaScript objects. When the environment ends, its calls are given up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use napi::bindgen_prelude::{Either, Function, Unknown};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Result, Status, sys};
use napi_derive::napi;
use slotkv_facade::error::FacadeError;
use slotkv_facade::guard::{guard, quiet};
use slotkv_facade::handle::Handle;
use slotkv_facade::nonblocking::{AsyncClient, Turn};
use slotkv_facade::port::{Completion, Port, Ring};
use slotkv_facade::signal::Callback;

use crate::arguments::Settings;
use crate::batch::{Batch, Object};
use crate::errors::Failure;
use crate::logs::Logs;
use crate::poll::Poll;

/// Does not keep the environment alive by itself, and has room for one call.
pub type WakeUp = ThreadsafeFunction<(), Unknown<'static>, (), Status, false, true, 1>;

/// A call as the port keeps it.
pub struct Waiting {
    /// The number that `lib/` knows it by.
    pub call: u32,
    /// For the page of a scan.
    pub turn: Option<Turn>,
}

/// What beginning a call gives: what is to be done ([`BEGUN`] or [`RING`]), or why it has not begun.
pub type Begun = Either<u32, Failure>;
/// Nothing is to be done.
pub const BEGUN: u32 = 0;
/// `ring` is to be called at the end of the turn.
pub const RING: u32 = 1;

/// Clones are the same bridge.
#[derive(Clone)]
pub struct Bridge(Rc<Inner>);

struct Inner {
    /// Watches the port's descriptor, and is dropped before it.
    poll: Option<Poll>,
    port: Port<Waiting>,
    /// What the port calls the calls, by their numbers.
    handles: RefCell<Vec<Option<Handle>>>,
    open_count: Cell<usize>,
    /// Room for a batch.
    spare: RefCell<Vec<Completion<Waiting>>>,
    wake_up: Arc<WakeUp>,
    env: sys::napi_env,
    logs: Logs,
}

impl Bridge {
    /// Begins an operation: `begin` hands it to the port.
    pub fn submit(
        &self,
        call: u32,
        begin: impl FnOnce(&Port<Waiting>, Waiting) -> std::result::Result<(Handle, Ring), FacadeError>,
    ) -> Begun {
        self.begin_with(Waiting { call, turn: None }, begin)
    }

    /// Begins something that is no operation on keys.
    pub fn begin(
        &self,
        waiting: Waiting,
        begin: impl FnOnce(&Port<Waiting>, Waiting) -> std::result::Result<Handle, FacadeError>,
    ) -> Begun {
        self.begin_with(waiting, |port, waiting| Ok((begin(port, waiting)?, Ring::Done)))
    }

    fn begin_with(
        &self,
        waiting: Waiting,
        begin: impl FnOnce(&Port<Waiting>, Waiting) -> std::result::Result<(Handle, Ring), FacadeError>,
    ) -> Begun {
        let call = waiting.call as usize;
        match guard(|| begin(&self.0.port, waiting)) {
            Ok((handle, ring)) => {
                let mut handles = self.0.handles.borrow_mut();
                if handles.len() <= call {
                    handles.resize(call + 1, None);
                }
                handles[call] = Some(handle);
                self.opened();
                Either::A(if ring == Ring::AtEndOfTurn { RING } else { BEGUN })
            }
            Err(error) => Either::B(error.into()),
        }
    }

    fn opened(&self) {
        let count = self.0.open_count.get();
        self.0.open_count.set(count + 1);
        if count == 0 {
            self.keep_alive(true);
        }
    }

    fn ended(&self, count: usize) {
        let left = self.0.open_count.get().saturating_sub(count);
        self.0.open_count.set(left);
        if count > 0 && left == 0 {
            self.keep_alive(false);
        }
    }

    /// Whether the environment goes on although its JavaScript has nothing to do.
    fn keep_alive(&self, is_wanted: bool) {
        if let Some(poll) = &self.0.poll {
            return poll.keep_alive(is_wanted);
        }
        let change =
            if is_wanted { sys::napi_ref_threadsafe_function } else { sys::napi_unref_threadsafe_function };
        // SAFETY: on the environment's own thread, which is not told to end before its JavaScript has; so both are live.
        // That it fails is not among its documented ends.
        unsafe { change(self.0.env, self.0.wake_up.raw()) };
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.port.abandon());
    }
}

/// What a bridge has done so far.
#[napi(object, object_from_js = false)]
pub struct Counters {
    pub submissions: f64,
    pub rings: f64,
    pub completions: f64,
    pub wakeups: f64,
    pub drains: f64,
}

/// A bridge as `lib/bridge.js` sees it.
#[napi(js_name = "Bridge")]
pub struct NativeBridge(Bridge);

#[napi]
impl NativeBridge {
    /// `on_wake` is called when there is something to take.
    #[napi(constructor)]
    pub fn new(env: Env, on_wake: Function<'_, (), Unknown<'static>>) -> Result<Self> {
        quiet();
        let wake_up =
            on_wake.build_threadsafe_function::<()>().weak::<true>().max_queue_size::<1>().build()?;
        let wake_up = Arc::new(wake_up);
        let wake = |wake_up: &Arc<WakeUp>| {
            let wake_up = wake_up.clone();
            Callback(move || {
                // Full: a wake-up is under way. Closing: nobody waits any more.
                wake_up.call((), ThreadsafeFunctionCallMode::NonBlocking);
            })
        };
        let made = guard(|| {
            // Before the runtime: its thread looks once whether anybody wants logs.
            let logs = Logs::new()?;
            if let Some((port, fd)) = Port::hosted()?
                && let Some(poll) = Poll::start(&env, fd, &on_wake)
            {
                return Ok((logs, port, Some(poll)));
            }
            Ok((logs, Port::new(wake(&wake_up))?, None))
        });
        let (logs, port, poll) =
            made.map_err(|error| napi::Error::new(Status::GenericFailure, error.to_string()))?;
        let bridge = Bridge(Rc::new(Inner {
            poll,
            port,
            handles: RefCell::default(),
            open_count: Cell::new(0),
            spare: RefCell::default(),
            wake_up,
            env: env.raw(),
            logs,
        }));
        // The environment may end before the garbage collector comes by.
        env.add_env_cleanup_hook(Rc::downgrade(&bridge.0), |bridge| {
            if let Some(bridge) = bridge.upgrade() {
                if let Some(poll) = &bridge.poll {
                    poll.stop();
                }
                drop(bridge.port.abandon());
                bridge.logs.stop();
            }
        })?;
        Ok(Self(bridge))
    }

    /// Begins to connect.
    #[napi]
    pub fn connect(&self, call: u32, uri: String, settings: Settings) -> Begun {
        self.0.begin(Waiting { call, turn: None }, |port, waiting| {
            AsyncClient::connect(port, uri, settings.into(), waiting)
        })
    }

    /// The ends of calls since the last time, as [`Batch`] has them. `ring` is to be called when JavaScript is through
    /// with them; until then submissions wait.
    #[napi]
    pub fn drain(&self) -> Vec<Object> {
        let inner = &self.0.0;
        let mut ended = inner.spare.take();
        inner.port.drain(&mut ended);
        self.0.ended(ended.len());
        let mut batch = Batch::default();
        for (waiting, result) in ended.drain(..) {
            batch.push(&self.0, waiting, result);
        }
        inner.spare.replace(ended);
        batch.finish()
    }

    /// Sends off what was submitted since the last time.
    #[napi]
    pub fn ring(&self) {
        self.0.0.port.ring();
    }

    /// Gives a call up. True if it had not come to its end; then it will not come out of `drain`.
    #[napi]
    pub fn cancel(&self, call: u32) -> bool {
        let handle = self.0.0.handles.borrow_mut().get_mut(call as usize).and_then(Option::take);
        let cancelled = handle.and_then(|handle| self.0.0.port.cancel(handle));
        if cancelled.is_some() {
            self.0.ended(1);
        }
        cancelled.is_some()
    }

    /// What was done in how many batches; for tests.
    #[napi]
    pub fn counters(&self) -> Counters {
        let counters = self.0.0.port.counters();
        Counters {
            submissions: counters.submissions as f64,
            rings: counters.rings as f64,
            completions: counters.completions.completions as f64,
            wakeups: counters.completions.wakeups as f64,
            drains: counters.completions.drains as f64,
        }
    }

    /// Panics, here or on the runtime's thread; for tests.
    #[napi]
    pub fn panic(&self, call: u32, in_runtime: bool) -> Begun {
        self.0.begin(Waiting { call, turn: None }, |port, waiting| {
            assert!(in_runtime, "on purpose");
            port.spawn(async { panic!("on purpose") }, waiting)
        })
    }

    /// Has records up to a level kept for `take_logs`, and the environment woken for them; no level: none.
    #[napi]
    pub fn set_log_level(&self, level: Option<u32>) -> Option<Failure> {
        let wake_up = self.0.0.wake_up.clone();
        let wake = move || {
            wake_up.call((), ThreadsafeFunctionCallMode::NonBlocking);
        };
        guard(|| self.0.0.logs.set_level(level, Callback(wake))).err().map(Failure::from)
    }

    /// The records that wait.
    #[napi]
    pub fn take_logs(&self) -> Vec<crate::logs::Record> {
        self.0.0.logs.take()
    }
}
