//! The bridge between one event loop, asyncio's or trio's, and the runtime: one per loop, shared by its clients, with one
//! descriptor that the loop watches. Where it can be, the loop drives the runtime itself, within its turns; otherwise a
//! thread of the runtime's does. Loops that cannot watch descriptors are woken by `call_soon_threadsafe`. What is said of
//! loops here is asyncio's; `slotkv._trio` makes a run of trio look like one.
//!
//! A thread of the runtime's never touches the interpreter in the first cases, and only attaches to it to wake the loop in
//! the last. So an interpreter may end with any number of calls under way.

use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyWeakrefReference};
use slotkv_facade::core::Code;
use slotkv_facade::error::FacadeError;
use slotkv_facade::handle::Handle;
use slotkv_facade::lock::Mutex;
use slotkv_facade::port::{Completion, Port, Ring};
use slotkv_facade::signal::Callback;

use crate::call::Call;
use crate::shape::Shape;
use crate::{errors, logs, python};

/// A call of a host, as the port keeps it.
pub(crate) struct Waiting {
    pub call: Py<Call>,
    pub shape: Shape,
}

/// See the module's documentation.
#[pyclass(frozen, module = "slotkv._slotkv", weakref)]
pub(crate) struct Bridge {
    event_loop: Py<PyAny>,
    /// Makes a coroutine that waits for a call, where awaiting is not asyncio's.
    wait: Option<Py<PyAny>>,
    thread: ThreadId,
    port: Port<Waiting>,
    /// The descriptor in the loop's care.
    #[cfg(unix)]
    fd: Mutex<Option<std::os::fd::RawFd>>,
    /// Room for a batch, while no drain uses it.
    spare: Mutex<Vec<Completion<Waiting>>>,
}

impl Bridge {
    /// The bridge of the running loop, made if it has none.
    pub(crate) fn of_running_loop(py: Python<'_>) -> PyResult<Py<Self>> {
        static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let event_loop = RUNNING.import(py, "slotkv._loop", "running")?.call0()?;
        logs::start(py)?;
        let bridges = bridges(py)?;
        if let Ok(known) = bridges.get_item(&event_loop) {
            let known = known.call0()?;
            if let Ok(known) = known.cast_into::<Bridge>()
                && known.get().port.is_usable()
            {
                return Ok(known.unbind());
            }
        }
        forget_closed_loops(bridges)?;
        let bridge = Self::new(&event_loop)?;
        bridges.set_item(&event_loop, PyWeakrefReference::new(bridge.bind(py))?)?;
        Ok(bridge)
    }

    fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        let py = event_loop.py();
        #[cfg(unix)]
        if let Some(bridge) = Self::watched(event_loop)? {
            return Ok(bridge);
        }
        let this: Arc<OnceLock<Py<PyWeakrefReference>>> = Arc::default();
        let port = Port::new(Callback({
            let this = this.clone();
            move || wake_threadsafe(&this)
        }));
        let port = port.map_err(|error| errors::exception(py, error))?;
        let bridge = Py::new(py, Self::with(event_loop, port)?)?;
        this.set(PyWeakrefReference::new(bridge.bind(py))?.unbind()).ok();
        Ok(bridge)
    }

    /// A bridge by a descriptor; `None` if the loop does not watch descriptors.
    #[cfg(unix)]
    fn watched(event_loop: &Bound<'_, PyAny>) -> PyResult<Option<Py<Self>>> {
        let py = event_loop.py();
        let failed = |error| errors::exception(py, error);
        let (port, fd) = match Port::hosted().map_err(failed)? {
            Some(hosted) => hosted,
            None => {
                let signal = slotkv_facade::signal::Signal::new()?;
                let fd = signal.fd();
                (Port::new(signal).map_err(failed)?, fd)
            }
        };
        let bridge = Py::new(py, Self::with(event_loop, port)?)?;
        let watched =
            python::call(&event_loop.getattr(intern!(py, "add_reader"))?, (fd, turn(py)?, &bridge), None);
        match watched {
            Ok(_) => {}
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyNotImplementedError>(py) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        *bridge.get().fd.lock() = Some(fd);
        Ok(Some(bridge))
    }

    fn with(event_loop: &Bound<'_, PyAny>, port: Port<Waiting>) -> PyResult<Self> {
        let wait = event_loop.getattr_opt(intern!(event_loop.py(), "wait_for_call"))?;
        Ok(Self {
            event_loop: event_loop.clone().unbind(),
            wait: wait.map(Bound::unbind),
            thread: std::thread::current().id(),
            port,
            #[cfg(unix)]
            fd: Mutex::new(None),
            spare: Mutex::new(Vec::new()),
        })
    }

    /// What awaiting a call iterates over, where it is not the call itself.
    pub(crate) fn awaiting<'py>(&self, call: &Bound<'py, Call>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = call.py();
        let Some(wait) = &self.wait else { return Ok(None) };
        let coroutine = python::call(wait.bind(py), (call,), None)?;
        coroutine.call_method0(intern!(py, "__await__")).map(Some)
    }

    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.event_loop.bind(py)
    }

    /// Begins an operation: `begin` hands it to the port.
    pub(crate) fn submit(
        slf: &Bound<'_, Self>,
        shape: Shape,
        begin: impl FnOnce(&Port<Waiting>, Waiting) -> Result<(Handle, Ring), FacadeError>,
    ) -> PyResult<Py<Call>> {
        let py = slf.py();
        let this = slf.get();
        this.check_thread()?;
        let call = Py::new(py, Call::pending(slf.clone().unbind()))?;
        // Closing goes on, whether anybody waits for it or not.
        let is_given_up_with_call = !matches!(shape, Shape::Closed);
        let begun = begin(&this.port, Waiting { call: call.clone_ref(py), shape });
        let (handle, ring) = begun.map_err(|error| errors::exception(py, error))?;
        if is_given_up_with_call {
            call.get().set_handle(handle);
        }
        if ring == Ring::AtEndOfTurn {
            let ring = slf.getattr(intern!(py, "ring"))?;
            python::call(&this.event_loop.bind(py).getattr(intern!(py, "call_soon"))?, (ring,), None)?;
        }
        Ok(call)
    }

    /// Begins something that is no operation on keys.
    pub(crate) fn begin(
        slf: &Bound<'_, Self>,
        shape: Shape,
        begin: impl FnOnce(&Port<Waiting>, Waiting) -> Result<Handle, FacadeError>,
    ) -> PyResult<Py<Call>> {
        Self::submit(slf, shape, |port, waiting| Ok((begin(port, waiting)?, Ring::Done)))
    }

    pub(crate) fn cancel(&self, handle: Handle) -> Option<Waiting> {
        // Cancelling raises CancelledError in Python, whatever the outcome.
        self.port.cancel(handle).map(|(waiting, _)| waiting)
    }

    fn check_thread(&self) -> PyResult<()> {
        if std::thread::current().id() == self.thread {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(
            "an asynchronous client of slotkv is used from another thread than its event loop's",
        ))
    }

    /// Takes the bridge out of its loop and gives up what is under way.
    fn retire(&self, py: Python<'_>) {
        #[cfg(unix)]
        if let Some(fd) = self.fd.lock().take()
            // In a forked child the loop's selector is shared with the parent, which still needs the descriptor.
            && self.port.is_usable()
        {
            // A loop that is closed has forgotten it.
            self.event_loop.bind(py).call_method1(intern!(py, "remove_reader"), (fd,)).ok();
        }
        drop(self.port.abandon());
    }
}

#[pymethods]
impl Bridge {
    /// Ends the calls that have come to their end, and returns what waits for them: context, callback, call. Until
    /// `ring` is called, submissions wait for it.
    fn take<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let this = slf.get();
        let mut batch = std::mem::take(&mut *this.spare.lock());
        this.port.drain(&mut batch);
        let mut ended = Vec::with_capacity(batch.len());
        for (Waiting { call, shape }, result) in batch.drain(..) {
            let mut unseen = None;
            let result = match result {
                Ok(reply) => shape.render(py, slf, reply),
                Err(error) => {
                    // That a client was closed is no news.
                    unseen = (error.code != Code::Closed).then(|| error.to_string());
                    Err(errors::exception(py, error))
                }
            };
            for callback in call.get().finish(py, result, unseen) {
                ended.push((callback.context, callback.function, call.clone_ref(py)));
            }
        }
        *this.spare.lock() = batch;
        PyList::new(py, ended)
    }

    /// Sends off what was submitted since the last time. Called at the end of a turn in which there was anything.
    fn ring(&self) {
        self.port.ring();
    }

    /// The loop.
    #[getter(event_loop)]
    fn get_event_loop<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.event_loop.bind(py).clone()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Not the calls: the runtime's thread locks the port, too, so two passes could see different things.
        visit.call(&self.event_loop)?;
        visit.call(&self.wait)
    }
}

impl Bridge {
    /// How much was done in how many batches; for tests.
    pub(crate) fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.port.counters();
        let shown = PyDict::new(py);
        shown.set_item("submissions", counters.submissions)?;
        shown.set_item("rings", counters.rings)?;
        shown.set_item("completions", counters.completions.completions)?;
        shown.set_item("wakeups", counters.completions.wakeups)?;
        shown.set_item("drains", counters.completions.drains)?;
        Ok(shown)
    }
}

/// `slotkv._turn.turn`
fn turn(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static TURN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    TURN.import(py, "slotkv._turn", "turn")
}

/// Called from the runtime's thread.
fn wake_threadsafe(bridge: &OnceLock<Py<PyWeakrefReference>>) {
    Python::try_attach(|py| {
        let woken = || -> PyResult<()> {
            let Some(bridge) = bridge.get() else { return Ok(()) };
            let bridge = bridge.bind(py).call0()?;
            let Ok(bridge) = bridge.cast_into::<Bridge>() else { return Ok(()) };
            let event_loop = bridge.get().event_loop(py);
            let call_soon = event_loop.getattr(intern!(py, "call_soon_threadsafe"))?;
            python::call(&call_soon, (turn(py)?, &bridge), None)?;
            Ok(())
        };
        // A closed loop waits for nothing.
        woken().ok();
    });
}

/// Loop to a weak reference of its bridge. Loops that watch the descriptor keep their bridge alive, clients do, too;
/// the registry keeps neither.
fn bridges(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static BRIDGES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let bridges = BRIDGES.get_or_try_init(py, || {
        PyResult::Ok(py.import("weakref")?.getattr("WeakKeyDictionary")?.call0()?.unbind())
    })?;
    Ok(bridges.bind(py))
}

/// Lets go of calls that nobody can be told about any more.
fn forget_closed_loops(bridges: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = bridges.py();
    for pair in bridges.call_method0("items")?.try_iter()?.collect::<PyResult<Vec<_>>>()? {
        let (event_loop, bridge): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
        if event_loop.call_method0("is_closed")?.is_truthy()?
            && let Ok(bridge) = bridge.call0()?.cast_into::<Bridge>()
        {
            bridge.get().retire(py);
        }
    }
    Ok(())
}
