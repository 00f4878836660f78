//! One call of the asyncio client: what `client.get(key)` returns.
//!
//! It is a future of its own kind. asyncio's has a wake-up hop per call: `set_result` schedules a handle, the loop runs
//! it, the task goes on. When a batch of completions is drained, a [`Call`] runs its callbacks directly, so that a batch
//! costs one turn of the loop, and cancelling one reaches the core without a callback per call. To asyncio it is a
//! future (`isfuture`), so `await`, `gather`, `wait_for`, `shield` and `TaskGroup` take it; it has a coroutine's methods
//! too, so `create_task` does. `asyncio.wait` alone does not: it refuses exactly what `create_task` asks for, by the same
//! question (`iscoroutine`).
//!
//! Invariants:
//! - The state is locked for moments only, never while Python code runs.
//! - Callbacks run once, on the loop's thread: directly in a turn (`slotkv._turn`), where no task is running, and through
//!   `call_soon` from everywhere else.

use pyo3::exceptions::{PyBaseException, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyType};
use slotkv_facade::handle::Handle;
use slotkv_facade::lock::Mutex;
use slotkv_facade::log::{self, Level};

use crate::bridge::Bridge;
use crate::python;

/// An operation under way: await it for its result.
///
/// The operation has begun when the object is there. Cancelling it, or the task that awaits it, gives the operation up:
/// what was not sent will not be, and the worker is told about the rest.
///
/// To asyncio it is a future and a coroutine at once: `gather`, `wait_for`, `shield`, `as_completed`, `create_task` and
/// `TaskGroup` take it. `asyncio.wait` refuses coroutines: give it `asyncio.create_task(call)`.
#[pyclass(frozen, module = "slotkv.aio", weakref, generic)]
pub(crate) struct Call {
    bridge: Py<Bridge>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Names the call at the port while it is pending.
    handle: Option<Handle>,
    callback: Option<Callback>,
    more_callbacks: Vec<Callback>,
    blocking: bool,
    /// The error, for the log, until somebody asks for the result. A text: when the call is dropped, no Python code may
    /// run.
    unseen: Option<String>,
}

enum Phase {
    Pending,
    Done(Py<PyAny>),
    /// As an object, which the garbage collector can visit: its traceback holds whoever has awaited it.
    Failed(Py<PyBaseException>),
    Cancelled(Option<Py<PyAny>>),
}

impl Phase {
    fn of(py: Python<'_>, result: PyResult<Py<PyAny>>) -> Self {
        match result {
            Ok(value) => Phase::Done(value),
            Err(error) => Phase::Failed(error.into_value(py)),
        }
    }
}

/// A function and the context to run it in.
pub(crate) struct Callback {
    pub function: Py<PyAny>,
    pub context: Py<PyAny>,
}

impl Call {
    pub(crate) fn pending(bridge: Py<Bridge>) -> Self {
        Self::in_phase(bridge, Phase::Pending)
    }

    /// A call whose end was known before it began.
    pub(crate) fn ended(bridge: Py<Bridge>, py: Python<'_>, result: PyResult<Py<PyAny>>) -> Self {
        Self::in_phase(bridge, Phase::of(py, result))
    }

    fn in_phase(bridge: Py<Bridge>, phase: Phase) -> Self {
        let state = State {
            phase,
            handle: None,
            callback: None,
            more_callbacks: Vec::new(),
            blocking: false,
            unseen: None,
        };
        Self { bridge, state: Mutex::new(state) }
    }

    /// Notes how the port knows the call; false if it has ended meanwhile.
    pub(crate) fn set_handle(&self, handle: Handle) -> bool {
        let mut state = self.state.lock();
        state.handle = Some(handle);
        matches!(state.phase, Phase::Pending)
    }

    /// Ends the call. The callbacks are the caller's to run; none if it had ended before. `unseen` is logged if nobody
    /// ever asks for the result.
    pub(crate) fn finish(
        &self,
        py: Python<'_>,
        result: PyResult<Py<PyAny>>,
        unseen: Option<String>,
    ) -> Callbacks {
        // Before the lock: making an exception runs Python code.
        let phase = Phase::of(py, result);
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Pending) {
            return Callbacks::default();
        }
        state.unseen = unseen;
        state.phase = phase;
        state.take_callbacks()
    }

    /// What an awaiting coroutine does next.
    fn step(slf: &Bound<'_, Self>) -> PyResult<Step> {
        match slf.get().outcome(slf.py()) {
            None => {
                slf.get().state.lock().blocking = true;
                Ok(Step::Wait(slf.clone().unbind()))
            }
            Some(result) => result.map(Step::Done),
        }
    }

    fn outcome(&self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        let mut state = self.state.lock();
        state.unseen = None;
        let cancelled = match &state.phase {
            Phase::Pending => return None,
            Phase::Done(value) => return Some(Ok(value.clone_ref(py))),
            Phase::Failed(error) => return Some(Err(PyErr::from_value(error.bind(py).clone().into_any()))),
            Phase::Cancelled(message) => message.as_ref().map(|message| message.clone_ref(py)),
        };
        drop(state);
        Some(Err(cancelled_error(py, cancelled)))
    }
}

enum Step {
    Wait(Py<Call>),
    Done(Py<PyAny>),
}

/// Ends an iteration with a value: for `__next__`, which then returns none. It is what raising a StopIteration does, but
/// with a value like bytes older interpreters need not make an exception of it.
fn stop_with(value: &Bound<'_, PyAny>) {
    // SAFETY: both are live objects, and the interpreter is attached.
    unsafe {
        let is_plain = value.is_exact_instance_of::<PyBytes>() || value.is_none();
        if is_plain {
            pyo3::ffi::PyErr_SetObject(pyo3::ffi::PyExc_StopIteration, value.as_ptr());
        } else {
            PyStopIteration::new_err((value.clone().unbind(),)).restore(value.py());
        }
    }
}

impl State {
    fn take_callbacks(&mut self) -> Callbacks {
        self.handle = None;
        Callbacks { first: self.callback.take(), more: std::mem::take(&mut self.more_callbacks) }
    }
}

/// Callbacks of a call that has ended.
#[derive(Default)]
pub(crate) struct Callbacks {
    first: Option<Callback>,
    more: Vec<Callback>,
}

impl Callbacks {
    /// Has the loop run them in its next turn.
    pub(crate) fn schedule(self, event_loop: &Bound<'_, PyAny>, call: &Bound<'_, Call>) -> PyResult<()> {
        for callback in self {
            schedule(event_loop, call, &callback.function, callback.context.bind(call.py()))?;
        }
        Ok(())
    }
}

impl IntoIterator for Callbacks {
    type Item = Callback;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Callback>, std::vec::IntoIter<Callback>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

fn schedule(
    event_loop: &Bound<'_, PyAny>,
    call: &Bound<'_, Call>,
    function: &Py<PyAny>,
    context: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = call.py();
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "context"), context)?;
    python::call(&event_loop.getattr(intern!(py, "call_soon"))?, (function, call), Some(&keywords))?;
    Ok(())
}

#[pymethods]
impl Call {
    /// Gives the operation up. False if it has ended.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let py = slf.py();
        let this = slf.get();
        let (handle, callbacks) = {
            let mut state = this.state.lock();
            if !matches!(state.phase, Phase::Pending) {
                return Ok(false);
            }
            state.phase = Phase::Cancelled(msg);
            (state.handle.take(), state.take_callbacks())
        };
        let bridge = this.bridge.get();
        if let Some(handle) = handle {
            bridge.cancel(handle);
        }
        callbacks.schedule(bridge.event_loop(py), slf)?;
        Ok(true)
    }

    /// Whether the call was cancelled.
    fn cancelled(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Cancelled(_))
    }

    /// Whether the call has ended, in whatever way.
    fn done(&self) -> bool {
        !matches!(self.state.lock().phase, Phase::Pending)
    }

    /// The result; raises the call's error, CancelledError, or InvalidStateError while it is pending.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.outcome(py).unwrap_or_else(|| Err(not_done(py)))
    }

    /// The call's error, None if it succeeded; raises CancelledError, or InvalidStateError while it is pending.
    fn exception(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let is_cancelled = self.cancelled();
        match self.outcome(py) {
            None => Err(not_done(py)),
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) if is_cancelled => Err(error),
            Some(Err(error)) => Ok(Some(error.into_value(py).into_any())),
        }
    }

    /// Has `fn` called with this object when the call has ended.
    #[pyo3(signature = (r#fn, /, *, context=None))]
    fn add_done_callback(slf: &Bound<'_, Self>, r#fn: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let py = slf.py();
        let context = match context {
            Some(context) => context,
            None => copy_context(py)?,
        };
        let this = slf.get();
        {
            let mut state = this.state.lock();
            if matches!(state.phase, Phase::Pending) {
                let callback = Callback { function: r#fn, context };
                if state.callback.is_none() && state.more_callbacks.is_empty() {
                    state.callback = Some(callback);
                } else {
                    state.more_callbacks.push(callback);
                }
                return Ok(());
            }
        }
        schedule(this.bridge.get().event_loop(py), slf, &r#fn, context.bind(py))
    }

    /// Takes a callback back, and returns how many times it had been added.
    #[pyo3(signature = (r#fn, /))]
    fn remove_done_callback(&self, py: Python<'_>, r#fn: &Bound<'_, PyAny>) -> PyResult<usize> {
        let added = {
            let mut state = self.state.lock();
            Callbacks { first: state.callback.take(), more: std::mem::take(&mut state.more_callbacks) }
        };
        // Comparing runs Python code, so it is done outside of the lock.
        let mut kept = Vec::new();
        let mut removed = 0;
        for callback in added {
            if callback.function.bind(py).eq(r#fn)? {
                removed += 1;
            } else {
                kept.push(callback);
            }
        }
        self.state.lock().more_callbacks.extend(kept);
        Ok(removed)
    }

    /// The event loop that the call belongs to.
    fn get_loop<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.bridge.get().event_loop(py).clone()
    }

    #[getter(_asyncio_future_blocking)]
    fn is_blocking(&self) -> bool {
        self.state.lock().blocking
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.state.lock().blocking = blocking;
    }

    /// `asyncio.gather` asks a cancelled future for these two.
    fn _make_cancelled_error(&self, py: Python<'_>) -> Py<PyAny> {
        cancelled_error(py, self.cancel_message(py)).into_value(py).into_any()
    }

    #[getter(_cancel_message)]
    fn cancel_message(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        match &self.state.lock().phase {
            Phase::Cancelled(Some(message)) => Some(message.clone_ref(py)),
            _ => None,
        }
    }

    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let awaiting = slf.get().bridge.get().awaiting(slf)?;
        Ok(awaiting.unwrap_or_else(|| slf.clone().into_any()))
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Option<Py<Self>>> {
        match Self::step(slf)? {
            Step::Wait(call) => Ok(Some(call)),
            Step::Done(value) => {
                stop_with(value.bind(slf.py()));
                Ok(None)
            }
        }
    }

    /// Goes on, as a coroutine does: a task that is made of this object calls it.
    #[pyo3(signature = (value, /))]
    fn send(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        let _ = value;
        match Self::step(slf)? {
            Step::Wait(call) => Ok(call),
            // In a tuple, so that a value that is a tuple stays one.
            Step::Done(value) => Err(PyStopIteration::new_err((value,))),
        }
    }

    /// Raises what it is given, as a coroutine does that does not catch it.
    #[pyo3(signature = (typ, val=None, tb=None, /))]
    fn throw(
        &self,
        typ: &Bound<'_, PyAny>,
        val: Option<&Bound<'_, PyAny>>,
        tb: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let value = match (typ.cast::<PyType>(), val) {
            (Err(_), _) => typ.clone(),
            (Ok(_), Some(value)) if value.is_instance(typ)? => value.clone(),
            (Ok(class), Some(value)) => class.call1((value,))?,
            (Ok(class), None) => class.call0()?,
        };
        if let Some(tb) = tb {
            value.setattr(intern!(typ.py(), "__traceback__"), tb)?;
        }
        Err(PyErr::from_value(value))
    }

    /// What a coroutine does when it is thrown away: gives the operation up.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::cancel(slf, None).map(|_| ())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let state = self.state.lock();
        let word = match &state.phase {
            Phase::Pending => "pending",
            Phase::Cancelled(_) => "cancelled",
            Phase::Done(_) => "done",
            Phase::Failed(error) => {
                let error = error.bind(py).clone();
                drop(state);
                return Ok(format!("<slotkv.aio.Call failed {}>", error.repr()?));
            }
        };
        Ok(format!("<slotkv.aio.Call {word}>"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.bridge)?;
        // Held by whoever triggered the collection, if at all; then the references count as held from outside.
        let Some(state) = self.state.try_lock() else { return Ok(()) };
        match &state.phase {
            Phase::Done(value) => visit.call(value)?,
            Phase::Failed(error) => visit.call(error)?,
            Phase::Cancelled(message) => visit.call(message)?,
            Phase::Pending => {}
        }
        for callback in state.callback.iter().chain(&state.more_callbacks) {
            visit.call(&callback.function)?;
            visit.call(&callback.context)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let cleared = self.state.try_lock().map(|mut state| {
            let has_ended = !matches!(state.phase, Phase::Pending);
            // Nobody is left to ask for it.
            let ended = has_ended.then(|| std::mem::replace(&mut state.phase, Phase::Cancelled(None)));
            (ended, state.take_callbacks())
        });
        drop(cleared);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(error) = self.state.get_mut().unseen.take() {
            let text = format!("a call failed and nobody asked for its result: {error}");
            log::emit(Level::Error, "slotkv::aio", &text);
        }
    }
}

fn not_done(py: Python<'_>) -> PyErr {
    match asyncio_class(py, &INVALID_STATE, "InvalidStateError")
        .and_then(|class| class.call1(("the call is pending",)))
    {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

fn cancelled_error(py: Python<'_>, message: Option<Py<PyAny>>) -> PyErr {
    let made = asyncio_class(py, &CANCELLED, "CancelledError").and_then(|class| match message {
        Some(message) => class.call1((message,)),
        None => class.call0(),
    });
    made.map_or_else(|error| error, PyErr::from_value)
}

static INVALID_STATE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static CANCELLED: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn asyncio_class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    cell.import(py, "asyncio", name)
}

fn copy_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(COPY.import(py, "contextvars", "copy_context")?.call0()?.unbind())
}
