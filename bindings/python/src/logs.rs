//! slotkv's logs on their way into Python's `logging`, to the logger "slotkv" and its children.
//!
//! Records wait in the facade's bounded queue. A thread, `slotkv-logs`, which the first record of a process starts,
//! takes the interpreter and hands them over; so no call is ever interrupted by a logging handler, and the interpreter
//! is not touched while nothing is logged. It ends with the interpreter, by `stop`.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use slotkv_facade::fork;
use slotkv_facade::lock::Mutex;
use slotkv_facade::log::{Level, Record, Sink};
use slotkv_facade::signal::Callback;

use crate::{errors, python};

/// Name of the thread.
const THREAD_NAME: &str = "slotkv-logs";
/// How long `stop` waits for the thread, which may be inside a handler.
const STOP_MS: u64 = 1_000;

/// What the thread waits for.
#[derive(Default)]
struct Pump {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_running: bool,
    has_records: bool,
    is_stopping: bool,
}

/// A process's sink, and who empties it.
struct Logs {
    pump: Arc<Pump>,
    sink: Sink,
}

static LOGS: AtomicPtr<fork::Owned<Logs>> = AtomicPtr::new(std::ptr::null_mut());

fn logs() -> Option<&'static Logs> {
    // SAFETY: what is stored here was leaked from a box and is never freed.
    unsafe { LOGS.load(Ordering::Acquire).as_ref() }?.get()
}

/// Sees to it that logs arrive, at the level that the logger has now. Called whenever a client is made.
pub(crate) fn start(py: Python<'_>) -> PyResult<()> {
    let level = level(py)?;
    if let Some(logs) = logs() {
        logs.sink.set_level(level);
        return Ok(());
    }
    let known = LOGS.load(Ordering::Acquire);
    let pump = Arc::new(Pump::default());
    let sink = Sink::install(
        level,
        Callback({
            let pump = pump.clone();
            move || pump.wake()
        }),
    );
    let sink = sink.map_err(|error| errors::exception(py, error))?;
    // Leaked once per process.
    let fresh = Box::into_raw(Box::new(fork::Owned::new(Logs { pump, sink })));
    if LOGS.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: nobody has seen `fresh`.
        drop(unsafe { Box::from_raw(fresh) });
    }
    Ok(())
}

/// Ends the thread, for a bounded time. Without the interpreter: the thread may need it to end.
pub(crate) fn stop() {
    let Some(Logs { pump, .. }) = logs() else { return };
    let mut state = pump.state.lock();
    state.is_stopping = true;
    pump.changed.notify_all();
    let ended =
        pump.changed.wait_timeout_while(state, Duration::from_millis(STOP_MS), |state| state.is_running);
    drop(ended);
}

/// The most detailed level that the logger "slotkv" asks for; INFO at least, so that a level set later finds something.
fn level(py: Python<'_>) -> PyResult<Level> {
    let level: i64 = logger(py, "slotkv")?.call_method0(intern!(py, "getEffectiveLevel"))?.extract()?;
    Ok(match level {
        ..10 => Level::Trace,
        10..20 => Level::Debug,
        _ => Level::Info,
    })
}

fn logger<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    python::call(&py.import(intern!(py, "logging"))?.getattr(intern!(py, "getLogger"))?, (name,), None)
}

impl Pump {
    fn wake(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.has_records = true;
        if state.is_stopping {
            return;
        }
        if state.is_running {
            self.changed.notify_all();
            return;
        }
        let pump = self.clone();
        // Without a thread the records wait for the next one that can be started.
        state.is_running =
            std::thread::Builder::new().name(THREAD_NAME.into()).spawn(move || pump.run()).is_ok();
    }

    fn run(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.has_records && !state.is_stopping {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.has_records = false;
            let is_last = state.is_stopping;
            drop(state);
            // What was logged before the end is still told, if there is an interpreter to tell.
            let told = Python::try_attach(|py| {
                let records = logs().map(|logs| logs.sink.drain()).unwrap_or_default();
                records.iter().for_each(|record| tell(py, record));
            });
            if is_last || told.is_none() {
                break;
            }
        }
        self.state.lock().is_running = false;
        self.changed.notify_all();
    }
}

/// A handler that fails is reported as Python reports what nobody catches.
fn tell(py: Python<'_>, record: &Record) {
    let level = match record.level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug => 10,
        Level::Trace => 5,
    };
    let told = logger(py, &record.target.replace("::", ".")).and_then(|logger| {
        if record.dropped_before > 0 {
            let lost = format!("{} records were dropped, the queue was full", record.dropped_before);
            python::call(&logger.getattr(intern!(py, "log"))?, (30, lost), None)?;
        }
        // As an argument, so that no percent sign in it is taken for a format.
        python::call(&logger.getattr(intern!(py, "log"))?, (level, "%s", &record.message), None)
    });
    if let Err(error) = told {
        error.write_unraisable(py, None);
    }
}
