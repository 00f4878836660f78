//! Calls from Rust into Python code.
//!
//! Up to Python 3.13 an interpreter that ends kills its other threads: the next time one of them asks for the interpreter,
//! in the middle of whatever Python code it runs, it unwinds by `pthread_exit`. Unwinding through Rust frames aborts the
//! process. So whatever may run Python code is called by [`call`], which parks a thread that is being killed, as Python
//! 3.14 does; and the way of most calls, from a completion to the task that waits for it, has no Rust frame below
//! Python's at all (`slotkv._turn`).

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Calls something that may run Python code.
pub(crate) fn call<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = arguments.into_pyobject(callable.py())?;
    let keywords = keywords.map_or(std::ptr::null_mut(), |keywords| keywords.as_ptr());
    let parked = ParkOnDrop;
    // SAFETY: the pointers are of live objects of the right types, or null where null stands for none; the interpreter
    // is attached. The result is a new reference, or null with an exception set.
    let result = unsafe { PyObject_Call(callable.as_ptr(), arguments.as_ptr(), keywords) };
    std::mem::forget(parked);
    // SAFETY: as above.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), result) }
}

unsafe extern "C-unwind" {
    /// The function of `pyo3::ffi`, which says there that it does not unwind.
    fn PyObject_Call(
        callable: *mut ffi::PyObject,
        arguments: *mut ffi::PyObject,
        keywords: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// Dropped only when the thread is being killed.
struct ParkOnDrop;

impl Drop for ParkOnDrop {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}
