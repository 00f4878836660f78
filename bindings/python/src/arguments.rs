//! Arguments out of Python. Keys and values are bytes-like or `str`, which stands for its UTF-8.

use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString};
use slotkv_facade::core::{CallOptions, Range, ReadLevel};
use slotkv_facade::settings::Settings;

/// Longest time that can be asked for, in seconds; the core has its own, shorter limits with errors that name them.
const SECONDS_MAX: f64 = 1e9;

/// A key, or another piece of bytes that is named in errors as a key.
pub(crate) struct Key(pub Bytes);

/// A value.
pub(crate) struct Value(pub Bytes);

impl<'a, 'py> FromPyObject<'a, 'py> for Key {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        copy(&object, "a key").map(Key)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Value {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        copy(&object, "a value").map(Value)
    }
}

/// A token.
pub(crate) struct Token(pub Bytes);

impl<'a, 'py> FromPyObject<'a, 'py> for Token {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        copy(&object, "a token").map(Token)
    }
}

/// How fresh reads are, by its word.
pub(crate) struct Level(pub ReadLevel);

impl<'a, 'py> FromPyObject<'a, 'py> for Level {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.extract::<&str>()? {
            "linearizable" => Ok(Level(ReadLevel::Linearizable)),
            "session" => Ok(Level(ReadLevel::Session)),
            "stale" => Ok(Level(ReadLevel::Stale)),
            other => Err(PyValueError::new_err(format!(
                "{other:?} is no read level; there are \"linearizable\", \"session\" and \"stale\""
            ))),
        }
    }
}

fn copy(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Bytes> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Bytes::copy_from_slice(text.to_str()?.as_bytes()));
    }
    if let Ok(array) = object.cast::<PyByteArray>() {
        return Ok(Bytes::from(array.to_vec()));
    }
    // The buffer protocol itself is not in the stable ABI of Python 3.10; memoryview is.
    let view = match PyMemoryView::from(object) {
        Ok(view) => view,
        Err(error) if error.is_instance_of::<PyTypeError>(object.py()) => {
            let name = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("{what} is bytes-like or str, not {name}")));
        }
        // Of an object that has bytes but does not give them, as a memoryview that was released.
        Err(error) => return Err(error),
    };
    let bytes = view.call_method0(intern!(object.py(), "tobytes"))?.cast_into::<PyBytes>()?;
    Ok(Bytes::copy_from_slice(bytes.as_bytes()))
}

/// Seconds, as an int or a float.
#[derive(Clone, Copy)]
pub(crate) struct Seconds(pub Duration);

impl<'a, 'py> FromPyObject<'a, 'py> for Seconds {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let seconds: f64 = object.extract()?;
        if seconds > 0.0 && seconds <= SECONDS_MAX {
            Ok(Seconds(Duration::from_secs_f64(seconds)))
        } else {
            Err(PyValueError::new_err(format!("{seconds} is no time in seconds; it must be above 0")))
        }
    }
}

/// What one call says differently from its client.
pub(crate) fn call_options(deadline: Option<Seconds>, traceparent: Option<String>) -> CallOptions {
    CallOptions {
        deadline: deadline.map(|Seconds(deadline)| deadline),
        traceparent,
        ..CallOptions::default()
    }
}

/// The keyword arguments of `connect`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn settings(
    namespace: Option<String>,
    deadline: Option<Seconds>,
    connect_timeout: Option<Seconds>,
    ping_interval: Option<Seconds>,
    inflight_max: Option<usize>,
    streams_per_member: Option<usize>,
    client_name: Option<String>,
    zone: Option<String>,
) -> Settings {
    let time = |seconds: Option<Seconds>| seconds.map(|Seconds(time)| time);
    Settings {
        namespace,
        deadline: time(deadline),
        connect_timeout: time(connect_timeout),
        ping_interval: time(ping_interval),
        inflight_max,
        streams_per_member,
        client_name,
        zone,
        ..Settings::new(concat!("python/", env!("CARGO_PKG_VERSION")))
    }
}

/// The arguments that select keys.
pub(crate) fn range(prefix: Option<Key>, start: Option<Key>, end: Option<Key>) -> Range {
    let bytes = |key: Option<Key>| key.map(|Key(bytes)| bytes).unwrap_or_default();
    Range { prefix: bytes(prefix), start: bytes(start), end: bytes(end), ..Range::all() }
}
