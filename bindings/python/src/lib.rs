//! The extension module `slotkv._slotkv`: the facade in Python's idiom, and nothing else. What users see is in the
//! package `slotkv`, which re-exports it.
//!
//! Layout: [`client`] blocking · [`aio`] asyncio, with [`bridge`] one per event loop and [`call`] one per call ·
//! [`scan`] for both · [`operation`] what both ask of the core · [`arguments`] into Rust · [`results`], [`view`],
//! [`shape`], [`errors`] into Python · [`logs`] into `logging` · [`python`] calls of Python code.

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

#[pymodule(gil_used = false)]
mod _slotkv {
    use super::*;

    #[pymodule_export]
    use super::{_after_fork, _panic, _shutdown};
    #[pymodule_export]
    use crate::aio::begin_connect;
    #[pymodule_export]
    use crate::bridge::Bridge;
    #[pymodule_export]
    use crate::call::Call;
    #[pymodule_export]
    use crate::client::{Client, connect};
    #[pymodule_export]
    use crate::results::{Delete, Entry, Item, Put};
    #[pymodule_export]
    use crate::scan::Scan;
    #[pymodule_export]
    use crate::view::{ClusterStatus, Explain, MasterStatus, MemberStats, MemberStatus, ShardStatus, Stats};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        fork::install();
        quiet();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let py = module.py();
        // Under other names than their own, which the blocking ones have here.
        module.add("AsyncClient", py.get_type::<crate::aio::Client>())?;
        module.add("AsyncScan", py.get_type::<crate::scan::AsyncScan>())?;
        py.import("atexit")?.call_method1("register", (module.getattr("_shutdown")?,))?;
        let os = py.import("os")?;
        if os.hasattr("register_at_fork")? {
            let keywords = pyo3::types::PyDict::new(py);
            keywords.set_item("after_in_child", module.getattr("_after_fork")?)?;
            os.call_method("register_at_fork", (), Some(&keywords))?;
        }
        Ok(())
    }
}
