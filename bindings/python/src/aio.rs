//! The asyncio client.

use pyo3::IntoPyObjectExt;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use slotkv_facade::core::{CallOptions, Client as Core, Condition, Range, ReadLevel};
use slotkv_facade::nonblocking::AsyncClient;

use crate::arguments::{self, Key, Level, Seconds, Token, Value, call_options};
use crate::bridge::Bridge;
use crate::call::Call;
use crate::errors;
use crate::operation::{self, Operation};
use crate::scan::AsyncScan;
use crate::shape::Shape;
use crate::view::{Explain, Stats};

/// Begins to connect; the call's result is a client. `slotkv.aio.connect` is what programs use.
#[pyfunction]
#[pyo3(signature = (
    uri, *, namespace=None, deadline=None, connect_timeout=None, ping_interval=None, inflight_max=None,
    streams_per_member=None, client_name=None, zone=None
))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn begin_connect(
    py: Python<'_>,
    uri: String,
    namespace: Option<String>,
    deadline: Option<Seconds>,
    connect_timeout: Option<Seconds>,
    ping_interval: Option<Seconds>,
    inflight_max: Option<usize>,
    streams_per_member: Option<usize>,
    client_name: Option<String>,
    zone: Option<String>,
) -> PyResult<Py<Call>> {
    let settings = arguments::settings(
        namespace,
        deadline,
        connect_timeout,
        ping_interval,
        inflight_max,
        streams_per_member,
        client_name,
        zone,
    );
    let bridge = Bridge::of_running_loop(py)?;
    Bridge::begin(bridge.bind(py), Shape::Client, |port, waiting| {
        AsyncClient::connect(port, uri, settings, waiting)
    })
}

/// A connection to a cluster, for one asyncio event loop.
///
/// Made by `slotkv.aio.connect`. Its methods are those of `slotkv.Client`; each returns a `Call`, which has begun and is
/// awaited for the result. Keys and values are bytes-like, or str for its UTF-8; values come back as bytes. Errors
/// are those of `slotkv.errors`. Calls on keys take the first two of these keywords, and those that store something all:
///
/// - `deadline`: Time for the call with all its attempts, in seconds, at most 300; by default its client's.
/// - `traceparent`: W3C traceparent of the caller's span; by default its client's.
/// - `ttl`: Lifetime of the key, in seconds, at most 315360000 (ten years); by default it lives for ever.
///
/// >>> async def main():
/// ...     async with aio.connect(uri) as client:
/// ...         await client.put("greeting", "hello")
/// ...         return await asyncio.gather(client.get("greeting"), client.has("nothing"))
/// >>> asyncio.run(main())
/// [b'hello', False]
///
/// A client belongs to the event loop that it was made in, and to its thread. In a forked child it raises ForkedError.
/// It is closed by `close` or by the end of `async with`.
#[pyclass(frozen, module = "slotkv.aio", weakref)]
pub(crate) struct Client {
    bridge: Py<Bridge>,
    client: AsyncClient,
}

#[pymethods]
impl Client {
    /// The value of a key; None if it is absent.
    #[pyo3(signature = (key, *, deadline=None, traceparent=None))]
    fn get(
        &self,
        py: Python<'_>,
        key: Key,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::get(key), call_options(deadline, traceparent))
    }

    /// The value of a key with its version; None if it is absent.
    #[pyo3(signature = (key, *, deadline=None, traceparent=None))]
    fn get_entry(
        &self,
        py: Python<'_>,
        key: Key,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::get_entry(key), call_options(deadline, traceparent))
    }

    /// Whether a key exists.
    #[pyo3(signature = (key, *, deadline=None, traceparent=None))]
    fn has(
        &self,
        py: Python<'_>,
        key: Key,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::has(key), call_options(deadline, traceparent))
    }

    /// Stores a value. The key lives for ever, or for `ttl` seconds.
    #[pyo3(signature = (key, value, *, ttl=None, deadline=None, traceparent=None))]
    fn put(
        &self,
        py: Python<'_>,
        key: Key,
        value: Value,
        ttl: Option<Seconds>,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(
            py,
            operation::put(key, value, Condition::Always, ttl),
            call_options(deadline, traceparent),
        )
    }

    /// Stores a value if the key is absent; otherwise the result is "unmet" with the key's version.
    #[pyo3(signature = (key, value, *, ttl=None, deadline=None, traceparent=None))]
    fn put_if_absent(
        &self,
        py: Python<'_>,
        key: Key,
        value: Value,
        ttl: Option<Seconds>,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(
            py,
            operation::put(key, value, Condition::Absent, ttl),
            call_options(deadline, traceparent),
        )
    }

    /// Stores a value if the key exists; otherwise the result is "unmet".
    #[pyo3(signature = (key, value, *, ttl=None, deadline=None, traceparent=None))]
    fn update_if_present(
        &self,
        py: Python<'_>,
        key: Key,
        value: Value,
        ttl: Option<Seconds>,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(
            py,
            operation::put(key, value, Condition::Present, ttl),
            call_options(deadline, traceparent),
        )
    }

    /// Stores a value if the key exists in `version`; otherwise the result is "unmet" with the key's version.
    #[pyo3(signature = (key, value, version, *, ttl=None, deadline=None, traceparent=None))]
    fn compare_and_set(
        &self,
        py: Python<'_>,
        key: Key,
        value: Value,
        version: u64,
        ttl: Option<Seconds>,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(
            py,
            operation::put(key, value, Condition::Version(version), ttl),
            call_options(deadline, traceparent),
        )
    }

    /// Gives a key that exists a new lifetime, `ttl` seconds from now on; its value stays, its version grows. If there is no
    /// such key, the result is "unmet".
    #[pyo3(signature = (key, ttl, *, deadline=None, traceparent=None))]
    fn expire(
        &self,
        py: Python<'_>,
        key: Key,
        ttl: Seconds,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::expire(key, Some(ttl)), call_options(deadline, traceparent))
    }

    /// Lets a key that exists live for ever; its value stays, its version grows. If there is no such key, the result is
    /// "unmet".
    #[pyo3(signature = (key, *, deadline=None, traceparent=None))]
    fn persist(
        &self,
        py: Python<'_>,
        key: Key,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::expire(key, None), call_options(deadline, traceparent))
    }

    /// Removes a key.
    #[pyo3(signature = (key, *, deadline=None, traceparent=None))]
    fn delete(
        &self,
        py: Python<'_>,
        key: Key,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::delete(key, Condition::Always), call_options(deadline, traceparent))
    }

    /// Removes a key if it exists in `version`; otherwise the result is "unmet" with the key's version.
    #[pyo3(signature = (key, version, *, deadline=None, traceparent=None))]
    fn delete_if_version(
        &self,
        py: Python<'_>,
        key: Key,
        version: u64,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(
            py,
            operation::delete(key, Condition::Version(version)),
            call_options(deadline, traceparent),
        )
    }

    /// Adds to a decimal number of 64 bits; the result is the sum, an absent key counts as 0. NotANumberError and
    /// NumberOverflowError leave the value as it was.
    #[pyo3(signature = (key, delta=1, *, deadline=None, traceparent=None))]
    fn increment(
        &self,
        py: Python<'_>,
        key: Key,
        delta: i64,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::increment(key, delta), call_options(deadline, traceparent))
    }

    /// What came of a write whose outcome is unknown, by the `token` of its error. If it was not applied, it never will be. Results
    /// are kept for this for 60 s after the call has ended; later it may be "forgotten".
    #[pyo3(signature = (token, *, deadline=None, traceparent=None))]
    fn outcome(
        &self,
        py: Python<'_>,
        token: Token,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::outcome(token), call_options(deadline, traceparent))
    }

    /// The values of many keys, in their order. If a key fails, ManyError has the results of all of them; with
    /// `return_errors` the errors stand among the results instead.
    #[pyo3(signature = (keys, *, return_errors=false, deadline=None, traceparent=None))]
    fn get_many(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        return_errors: bool,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::get_many(keys, return_errors)?, call_options(deadline, traceparent))
    }

    /// Stores many values, given as a mapping or as pairs; each key has its own result, in their order. Errors are as
    /// in get_many.
    #[pyo3(signature = (pairs, *, ttl=None, return_errors=false, deadline=None, traceparent=None))]
    fn put_many(
        &self,
        py: Python<'_>,
        pairs: &Bound<'_, PyAny>,
        ttl: Option<Seconds>,
        return_errors: bool,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::put_many(pairs, ttl, return_errors)?, call_options(deadline, traceparent))
    }

    /// Removes many keys; each has its own result, in their order. Errors are as in get_many.
    #[pyo3(signature = (keys, *, return_errors=false, deadline=None, traceparent=None))]
    fn delete_many(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        return_errors: bool,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(py, operation::delete_many(keys, return_errors)?, call_options(deadline, traceparent))
    }

    /// How many keys a range has: those that begin with `prefix`, from `start` on, below `end`.
    #[pyo3(signature = (prefix=None, *, start=None, end=None, deadline=None, traceparent=None))]
    fn count(
        &self,
        py: Python<'_>,
        prefix: Option<Key>,
        start: Option<Key>,
        end: Option<Key>,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        self.begin(
            py,
            operation::count(arguments::range(prefix, start, end)),
            call_options(deadline, traceparent),
        )
    }

    /// Begins a scan of a range: an asynchronous iterator over the keys that begin with `prefix`, from `start` on, below
    /// `end`, in slot order, or with `ordered` merged in key order, which costs more. With `keys_only` values are empty.
    /// `limit` ends the scan after so many items; `page_items` are fetched at a time (1000, at most 10000); `cursor`, from
    /// an earlier scan of the same range, goes on where that one stood. `deadline` is for each page.
    #[pyo3(signature = (
        prefix=None, *, start=None, end=None, ordered=false, keys_only=false, limit=None, page_items=0, cursor=None,
        deadline=None, traceparent=None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn scan(
        &self,
        py: Python<'_>,
        prefix: Option<Key>,
        start: Option<Key>,
        end: Option<Key>,
        ordered: bool,
        keys_only: bool,
        limit: Option<u64>,
        page_items: u32,
        cursor: Option<Key>,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> AsyncScan {
        let range =
            Range { ordered, keys_only, items_max: page_items, ..arguments::range(prefix, start, end) };
        let cursor = cursor.map(|Key(cursor)| cursor);
        let scan = self.client.scan(range, cursor, limit, call_options(deadline, traceparent));
        AsyncScan::new(self.bridge.clone_ref(py), scan)
    }

    /// Every item of a range, in key order, as a list: those that begin with `prefix`, from `start` on, below `end`. For
    /// debugging: they have to fit into memory.
    #[pyo3(signature = (prefix=None, *, start=None, end=None, deadline=None, traceparent=None))]
    fn dump(
        &self,
        py: Python<'_>,
        prefix: Option<Key>,
        start: Option<Key>,
        end: Option<Key>,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<Call>> {
        let range = arguments::range(prefix, start, end);
        Bridge::begin(self.bridge.bind(py), Shape::Items, |port, waiting| {
            self.client.dump(port, range, call_options(deadline, traceparent), waiting)
        })
    }

    /// The slot of a key.
    fn slot(&self, py: Python<'_>, key: Key) -> PyResult<u16> {
        Ok(self.core(py)?.slot(&key.0))
    }

    /// Where calls for a key go, and why.
    fn explain(&self, py: Python<'_>, key: Key) -> PyResult<Explain> {
        Ok(Explain::new(py, self.core(py)?.explain(&key.0)))
    }

    /// What this client has done so far, and its state now.
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        Stats::new(py, self.core(py)?.stats())
    }

    /// What a master says of the whole cluster.
    #[pyo3(signature = (*, deadline=None))]
    fn status(&self, py: Python<'_>, deadline: Option<Seconds>) -> PyResult<Py<Call>> {
        Bridge::begin(self.bridge.bind(py), Shape::Status, |port, waiting| match deadline {
            Some(Seconds(deadline)) => self.client.with_deadline(deadline).status(port, waiting),
            None => self.client.status(port, waiting),
        })
    }

    /// The same connections, for the keys of another namespace; "" is the one without a name.
    fn namespace(&self, py: Python<'_>, name: &str) -> PyResult<Client> {
        let client = self.client.namespace(name).map_err(|error| errors::exception(py, error))?;
        Ok(self.view(py, client))
    }

    /// The same connections, with another deadline for calls that name none, in seconds.
    fn with_deadline(&self, py: Python<'_>, seconds: Seconds) -> Client {
        self.view(py, self.client.with_deadline(seconds.0))
    }

    /// The same connections, for calls that are part of a trace: a W3C traceparent travels with each of them.
    fn with_traceparent(&self, py: Python<'_>, traceparent: String) -> Client {
        self.view(py, self.client.with_traceparent(traceparent))
    }

    /// The same connections, with another freshness of reads that name none: "linearizable", "session" (not older than what
    /// this client has written and read before) or "stale". All but the first are answered by any replica that is fresh enough.
    fn with_read_level(&self, py: Python<'_>, level: Level) -> Client {
        self.view(py, self.client.with_read_level(level.0))
    }

    /// The same connections, for reads that may be older by so much, in seconds, and are answered by any replica that is fresh enough.
    fn with_staleness(&self, py: Python<'_>, seconds: Seconds) -> Client {
        self.view(py, self.client.with_read_level(ReadLevel::Bounded(seconds.0)))
    }

    /// What the session has seen, as opaque bytes for another process or language.
    fn session_token<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let token = self.client.session_token().map_err(|error| errors::exception(py, error))?;
        Ok(PyBytes::new(py, &token))
    }

    /// The same connections, for a session that goes on where a token stands: reads are of level "session" and never older than
    /// the token or than what this view has written and read. b"" begins a session that has seen nothing.
    fn with_session_token(&self, py: Python<'_>, token: Token) -> PyResult<Client> {
        let client =
            self.client.with_session_token(&token.0).map_err(|error| errors::exception(py, error))?;
        Ok(self.view(py, client))
    }

    /// Ends the client and whatever shares its connections, in bounded time. Closing again does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<Py<Call>> {
        Bridge::begin(self.bridge.bind(py), Shape::Closed, |port, waiting| self.client.close(port, waiting))
    }

    /// A call that has ended with this client.
    fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Call> {
        Ok(Call::ended(slf.get().bridge.clone_ref(slf.py()), slf.py(), slf.into_py_any(slf.py())))
    }

    #[pyo3(signature = (exception_type, exception, traceback, /))]
    fn __aexit__(
        &self,
        py: Python<'_>,
        exception_type: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<Py<Call>> {
        let _ = (exception_type, exception, traceback);
        self.close(py)
    }

    /// How much was done in how many batches, by all clients of this event loop; for tests.
    fn _counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.bridge.get().counters(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.bridge)
    }
}

impl Client {
    pub(crate) fn new(bridge: Py<Bridge>, client: AsyncClient) -> Self {
        Self { bridge, client }
    }

    fn begin(&self, py: Python<'_>, operation: Operation, options: CallOptions) -> PyResult<Py<Call>> {
        let Operation { command, form } = operation;
        Bridge::submit(self.bridge.bind(py), Shape::Form(form), |port, waiting| {
            self.client.submit(port, command, options, waiting)
        })
    }

    fn core(&self, py: Python<'_>) -> PyResult<&Core> {
        self.client.core().map_err(|error| errors::exception(py, error))
    }

    fn view(&self, py: Python<'_>, client: AsyncClient) -> Client {
        Client::new(self.bridge.clone_ref(py), client)
    }
}
