//! Scans: items one by one, fetched page by page.

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use slotkv_facade::blocking::BlockingScan;
use slotkv_facade::nonblocking::{self, Next};

use crate::bridge::Bridge;
use crate::call::Call;
use crate::client::detached;
use crate::errors;
use crate::results::Item;
use crate::shape::{Shape, item};

/// The items of a scan, one by one.
#[pyclass(frozen, module = "slotkv")]
pub(crate) struct Scan(BlockingScan);

#[pymethods]
impl Scan {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Item>> {
        if let Some(item) = self.0.take() {
            return Ok(Some(Item::new(py, &item)));
        }
        let item = detached(py, |interrupt| self.0.next(interrupt))?;
        Ok(item.map(|item| Item::new(py, &item)))
    }

    /// Where the scan stands, behind the last item it gave: pass it to another scan of the same range, also in another
    /// process or language. None if it gave none and began at the beginning.
    #[getter]
    fn cursor<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let cursor = detached(py, |interrupt| self.0.cursor(interrupt))?;
        Ok(cursor.map(|cursor| PyBytes::new(py, &cursor)))
    }
}

impl Scan {
    pub(crate) fn new(scan: BlockingScan) -> Self {
        Self(scan)
    }
}

/// The items of a scan, for `async for`.
#[pyclass(frozen, module = "slotkv.aio", name = "Scan")]
pub(crate) struct AsyncScan {
    bridge: Py<Bridge>,
    scan: nonblocking::AsyncScan,
}

#[pymethods]
impl AsyncScan {
    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__(&self, py: Python<'_>) -> PyResult<Py<Call>> {
        let bridge = self.bridge.bind(py);
        let next = match self.scan.next() {
            Next::Item(next) => Some(next),
            Next::End => None,
            Next::Fetch(turn) => {
                let work = turn.work().map_err(|error| errors::exception(py, error))?;
                return Bridge::begin(bridge, Shape::Item(turn), |port, waiting| port.spawn(work, waiting));
            }
            Next::Busy => {
                let text = "the next item of this scan is being waited for already";
                return Err(PyRuntimeError::new_err(text));
            }
        };
        Py::new(py, Call::ended(bridge.clone().unbind(), py, item(py, next)))
    }

    /// Where the scan stands, behind the last item it gave: pass it to another scan of the same range, also in another
    /// process or language. None if it gave none and began at the beginning.
    #[getter]
    fn cursor<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let cursor = self.scan.cursor().map_err(|error| errors::exception(py, error))?;
        Ok(cursor.map(|cursor| PyBytes::new(py, &cursor)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.bridge)
    }
}

impl AsyncScan {
    pub(crate) fn new(bridge: Py<Bridge>, scan: nonblocking::AsyncScan) -> Self {
        Self { bridge, scan }
    }
}
