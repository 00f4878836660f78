//! The extension module `slotkv._slotkv`: the facade in Python's idiom, and nothing else. What users see is in the
//! package `slotkv`, which re-exports it.
//!
//! Layout: [`client`] blocking · [`aio`] asyncio, with [`bridge`] one per event loop and [`call`] one per call ·
//! [`scan`] for both · [`operation`] what both ask of the core · [`arguments`] into Rust · [`results`], [`view`],
//! [`shape`], [`errors`] into Python · [`logs`] into `logging` · [`python`] calls of Python code.

// Methods take the options of a call one by one, as Python has them.
#![allow(clippy::too_many_arguments)]

mod aio;
mod arguments;
mod bridge;
mod call;
mod client;
mod errors;
mod logs;
mod operation;
mod python;
mod record;
mod results;
mod scan;
mod shape;
mod view;

use std::time::Duration;

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use slotkv_facade::guard::{guard, quiet};
use slotkv_facade::{fork, runtime};

/// Ends what runs in the background, before the interpreter goes: registered with `atexit`.
#[pyfunction]
fn _shutdown(py: Python<'_>) {
    py.detach(|| {
        runtime::shutdown(Duration::from_millis(runtime::SHUTDOWN_MS));
        logs::stop();
    });
}

/// Called in a forked child: logs need a thread of its own there.
#[pyfunction]
fn _after_fork(py: Python<'_>) -> PyResult<()> {
    logs::start(py)
}

/// Panics; for tests.
#[pyfunction]
fn _panic(py: Python<'_>) -> PyResult<()> {
    guard::<()>(|| panic!("on purpose")).map_err(|error| errors::exception(py, error))
}

/// Refuses all interpreters of a process but its main one: a thread of ours that asks for the interpreter gets that one,
/// and objects of another would meet its own. Python itself refuses from 3.12 on, where an interpreter has a lock of its
/// own.
fn check_interpreter(_: Python<'_>) -> PyResult<()> {
    // SAFETY: the interpreter is attached, as the token shows.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err("slotkv does not support subinterpreters: import it in the main interpreter"))
}

#[pymodule(gil_used = false)]
fn _slotkv(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // Before anything is made: classes are made once in a process.
    check_interpreter(py)?;
    fork::install();
    quiet();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(client::connect, module)?)?;
    module.add_function(wrap_pyfunction!(aio::begin_connect, module)?)?;
    module.add_class::<client::Client>()?;
    module.add_class::<scan::Scan>()?;
    // Under other names than their own, which the blocking ones have here.
    module.add("AsyncClient", py.get_type::<aio::Client>())?;
    module.add("AsyncScan", py.get_type::<scan::AsyncScan>())?;
    module.add_class::<bridge::Bridge>()?;
    module.add_class::<call::Call>()?;
    module.add_class::<results::Put>()?;
    module.add_class::<results::Delete>()?;
    module.add_class::<results::Entry>()?;
    module.add_class::<results::WriteOutcome>()?;
    module.add_class::<results::Item>()?;
    module.add_class::<view::Explain>()?;
    module.add_class::<view::Stats>()?;
    module.add_class::<view::MemberStats>()?;
    module.add_class::<view::ClusterStatus>()?;
    module.add_class::<view::MasterStatus>()?;
    module.add_class::<view::ShardStatus>()?;
    module.add_class::<view::ReplicaStatus>()?;
    module.add_class::<view::MemberStatus>()?;
    module.add_function(wrap_pyfunction!(_shutdown, module)?)?;
    module.add_function(wrap_pyfunction!(_after_fork, module)?)?;
    module.add_function(wrap_pyfunction!(_panic, module)?)?;
    py.import("atexit")?.call_method1("register", (module.getattr("_shutdown")?,))?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let keywords = pyo3::types::PyDict::new(py);
        keywords.set_item("after_in_child", module.getattr("_after_fork")?)?;
        os.call_method("register_at_fork", (), Some(&keywords))?;
    }
    Ok(())
}
