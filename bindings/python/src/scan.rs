//! Scans: items one by one, fetched page by page.

use std::sync::{Arc, MutexGuard};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use slotkv_facade::blocking::BlockingClient;
use slotkv_facade::core::{Answer, CallOptions, Client as Core, Command};
use slotkv_facade::error::FacadeError;
use slotkv_facade::lock::Mutex;
use slotkv_facade::{fork, scan};

use crate::bridge::Bridge;
use crate::call::Call;
use crate::client::detached;
use crate::errors;
use crate::results::Item;
use crate::shape::{Again, Rendered, Shape};

/// The items of a scan, one by one.
#[pyclass(frozen, module = "slotkv")]
pub(crate) struct Scan {
    client: BlockingClient,
    options: CallOptions,
    scan: Mutex<scan::Scan>,
    /// The process that made it.
    generation: u64,
}

#[pymethods]
impl Scan {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    pub(crate) fn __next__(&self, py: Python<'_>) -> PyResult<Option<Item>> {
        if let Some(mut scan) = self.scan.try_lock()
            && let Some(item) = scan.take()
        {
            return Ok(Some(Item::new(py, &item)));
        }
        let item = detached(py, |mut interrupt| {
            // Held over the call: threads that share a scan take turns.
            let mut scan = self.lock()?;
            loop {
                if let Some(item) = scan.take() {
                    return Ok(Some(item));
                }
                let Some(command) = scan.command() else { return Ok(None) };
                match self.client.call(command, &self.options, &mut interrupt)? {
                    Answer::Page(page) => scan.fill(page),
                    other => {
                        return Err(FacadeError::unexpected(format!("{other:?} as the answer for a page")));
                    }
                }
            }
        })?;
        Ok(item.map(|item| Item::new(py, &item)))
    }

    /// Where the scan stands, behind the last item it gave: pass it to another scan of the same range, also in another
    /// process or language. None if it gave none and began at the beginning.
    #[getter]
    fn cursor<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let cursor = detached(py, |interrupt| {
            let core = self.client.core(interrupt)?;
            Ok(self.lock()?.cursor(core, &self.options))
        })?;
        Ok(cursor.map(|cursor| PyBytes::new(py, &cursor)))
    }
}

impl Scan {
    pub(crate) fn new(client: BlockingClient, options: CallOptions, scan: scan::Scan) -> Self {
        Self { client, options, scan: Mutex::new(scan), generation: fork::generation() }
    }

    /// In a forked child, a lock that another thread held goes on being held, by nobody.
    fn lock(&self) -> Result<MutexGuard<'_, scan::Scan>, FacadeError> {
        if self.generation == fork::generation() {
            Ok(self.scan.lock())
        } else {
            self.scan.try_lock().ok_or_else(FacadeError::forked)
        }
    }
}

/// The items of a scan, for `async for`.
#[pyclass(frozen, module = "slotkv.aio", name = "Scan")]
pub(crate) struct AsyncScan {
    bridge: Py<Bridge>,
    state: Arc<ScanState>,
}

/// What a scan and its calls share.
pub(crate) struct ScanState {
    core: Arc<fork::Owned<Core>>,
    options: CallOptions,
    scan: Mutex<scan::Scan>,
}

#[pymethods]
impl AsyncScan {
    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__(&self, py: Python<'_>) -> PyResult<Py<Call>> {
        // Else two calls would bring the same page.
        if Arc::strong_count(&self.state) > 1 {
            return Err(PyRuntimeError::new_err("the next item of this scan is being waited for already"));
        }
        let rendered = self.state.next_or_again(py, Shape::Item(self.state.clone()))?;
        begin(self.bridge.bind(py), rendered)
    }

    /// Where the scan stands, behind the last item it gave: pass it to another scan of the same range, also in another
    /// process or language. None if it gave none and began at the beginning.
    #[getter]
    fn cursor<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let core = self.state.core(py)?;
        let cursor = self.state.scan.lock().cursor(core, &self.state.options);
        Ok(cursor.map(|cursor| PyBytes::new(py, &cursor)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.bridge)
    }
}

impl AsyncScan {
    pub(crate) fn new(bridge: Py<Bridge>, state: Arc<ScanState>) -> Self {
        Self { bridge, state }
    }
}

impl ScanState {
    pub(crate) fn new(core: Arc<fork::Owned<Core>>, options: CallOptions, scan: scan::Scan) -> Arc<Self> {
        Arc::new(Self { core, options, scan: Mutex::new(scan) })
    }

    /// Takes a page in.
    pub(crate) fn fill(&self, page: slotkv_facade::core::Page) {
        self.scan.lock().fill(page);
    }

    fn core(&self, py: Python<'_>) -> PyResult<&Core> {
        self.core.get().ok_or_else(|| errors::exception(py, FacadeError::forked()))
    }

    pub(crate) fn next_or_again(&self, py: Python<'_>, shape: Shape) -> PyResult<Rendered> {
        let (item, command) = {
            let mut scan = self.scan.lock();
            match scan.take() {
                Some(item) => (Some(item), None),
                None => (None, scan.command()),
            }
        };
        match (item, command) {
            (Some(item), _) => Ok(Rendered::Done(Item::new(py, &item).into_py_any(py))),
            (None, Some(command)) => self.again(py, command, shape),
            (None, None) => Ok(Rendered::Done(Err(PyStopAsyncIteration::new_err(())))),
        }
    }

    pub(crate) fn all_or_again(&self, py: Python<'_>, shape: Shape) -> PyResult<Rendered> {
        let command = self.scan.lock().command();
        if let Some(command) = command {
            return self.again(py, command, shape);
        }
        let items = std::iter::from_fn(|| self.scan.lock().take());
        let items = items.map(|item| Py::new(py, Item::new(py, &item))).collect::<PyResult<Vec<_>>>();
        Ok(Rendered::Done(items.and_then(|items| items.into_py_any(py))))
    }

    fn again(&self, py: Python<'_>, command: Command, shape: Shape) -> PyResult<Rendered> {
        let client = self.core(py)?.clone();
        Ok(Rendered::Again(Box::new(Again { client, command, options: self.options.clone(), shape })))
    }
}

/// A call that begins with what was rendered without a reply.
pub(crate) fn begin(bridge: &Bound<'_, Bridge>, rendered: Rendered) -> PyResult<Py<Call>> {
    match rendered {
        Rendered::Again(again) => {
            Bridge::submit(bridge, &again.client, again.command, again.options, again.shape)
        }
        Rendered::Done(result) => Py::new(bridge.py(), Call::ended(bridge.clone().unbind(), result)),
    }
}
