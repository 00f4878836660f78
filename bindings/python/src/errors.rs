//! Errors on their way into Python: the class belongs to the code, and lives in `slotkv.errors`.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use slotkv_facade::error::FacadeError;

use crate::python;

/// The exception for an error. Whatever goes wrong in making it is the exception instead.
pub(crate) fn exception(py: Python<'_>, error: impl Into<FacadeError>) -> PyErr {
    instance(py, error.into()).map_or_else(|problem| problem, PyErr::from_value)
}

/// The exception as an object.
pub(crate) fn instance(py: Python<'_>, error: FacadeError) -> PyResult<Bound<'_, PyAny>> {
    let class = classes(py)?.as_any().get_item(error.number())?;
    python::call(&class, (&error.message,), Some(&fields(py, &error)?))
}

/// The exception for a call on many keys that failed as `failure` says: raised from its first error, with every key's
/// result.
pub(crate) fn many(
    py: Python<'_>,
    failure: FacadeError,
    first: &Py<PyAny>,
    results: Vec<Py<PyAny>>,
) -> PyErr {
    let made = || {
        let class = module(py)?.getattr(intern!(py, "ManyError"))?;
        let fields = fields(py, &failure)?;
        fields.set_item(intern!(py, "results"), results)?;
        let error = python::call(&class, (&failure.message,), Some(&fields))?;
        error.setattr(intern!(py, "__cause__"), first)?;
        Ok(error)
    };
    made().map_or_else(|problem| problem, PyErr::from_value)
}

fn fields<'py>(py: Python<'py>, error: &FacadeError) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item(intern!(py, "code"), error.number())?;
    fields.set_item(intern!(py, "kind"), error.name())?;
    fields.set_item(intern!(py, "retry"), error.retry.name())?;
    fields.set_item(intern!(py, "retryable"), error.is_retryable())?;
    fields.set_item(intern!(py, "outcome"), error.outcome.name())?;
    fields.set_item(intern!(py, "member"), &error.member)?;
    fields.set_item(intern!(py, "attempts"), error.attempts)?;
    fields.set_item(intern!(py, "token"), error.token.as_ref().map(|token| PyBytes::new(py, token)))?;
    fields.set_item(intern!(py, "causes"), PyTuple::new(py, &error.causes)?)?;
    Ok(fields)
}

fn classes(py: Python<'_>) -> PyResult<&Bound<'_, PyDict>> {
    static CLASSES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let classes = CLASSES.get_or_try_init(py, || {
        PyResult::Ok(module(py)?.getattr(intern!(py, "CLASSES"))?.cast_into::<PyDict>()?.unbind())
    })?;
    Ok(classes.bind(py))
}

fn module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "slotkv.errors"))
}
