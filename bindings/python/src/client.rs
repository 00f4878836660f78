//! The blocking client. A call drives the socket on the thread that makes it, with the interpreter released.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use slotkv_facade::blocking::BlockingClient;
use slotkv_facade::core::{CallOptions, Condition, Range, ReadLevel};
use slotkv_facade::error::FacadeError;
use slotkv_facade::guard::guard;

use crate::arguments::{self, Key, Level, Seconds, Token, Value, call_options};
use crate::operation::{self, Operation};
use crate::results::Item;
use crate::scan::Scan;
use crate::view::{ClusterStatus, Explain, Stats};
use crate::{errors, logs};

/// Connects to a cluster and returns a client for blocking calls.
///
/// `uri` is `slotkv://host:port[,host:port...][/namespace][?option=value]` with masters or any members of the cluster.
/// All options are keywords, and times are in seconds; what the URI says of the same thing wins.
///
/// - `namespace`: Namespace of calls that name none; by default the URI's, or the one without a name.
/// - `deadline`: Time for a call that names none, with all its attempts. Default 5 s, at most 300 s.
/// - `connect_timeout`: Time for connecting, and for one connection to a member. Default 5 s, at most 300 s.
/// - `ping_interval`: How often the master is pinged. Default 0.3 s, at most 300 s.
/// - `inflight_max`: Calls open at once; further ones wait. Default 16384, at most 1048576.
/// - `streams_per_member`: Connections to each member, up to 16. Default 1.
/// - `client_name`: The client's name, for people. Default `python/<version>`.
/// - `zone`: Where the client stands: reads that backups may answer go to those of the same zone, if there are any.
///
/// >>> with slotkv.connect(uri, deadline=2.5) as client:
/// ...     client.has("nothing")
/// False
#[pyfunction]
#[pyo3(signature = (
    uri, *, namespace=None, deadline=None, connect_timeout=None, ping_interval=None, inflight_max=None,
    streams_per_member=None, client_name=None, zone=None
))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn connect(
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
) -> PyResult<Client> {
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
    logs::start(py)?;
    let client = detached(py, |interrupt| BlockingClient::connect(&uri, settings, interrupt))?;
    Ok(Client { client })
}

/// A connection to a cluster, for blocking calls from any number of threads.
///
/// Made by `slotkv.connect`. Keys and values are bytes-like, or str for its UTF-8; values come back as bytes. Errors
/// are those of `slotkv.errors`. Calls on keys take the first two of these keywords, and those that store something all:
///
/// - `deadline`: Time for the call with all its attempts, in seconds, at most 300; by default its client's.
/// - `traceparent`: W3C traceparent of the caller's span; by default its client's.
/// - `ttl`: Lifetime of the key, in seconds, at most 315360000 (ten years); by default it lives for ever.
///
/// >>> client.put("greeting", "hello").status
/// 'created'
/// >>> client.get("greeting")
/// b'hello'
/// >>> client.get("nothing") is None
/// True
///
/// In a forked child a client goes on with connections of its own. It is closed by `close`, by the end of `with`, or with
/// its last reference.
#[pyclass(frozen, module = "slotkv", weakref)]
pub(crate) struct Client {
    client: BlockingClient,
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
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::get(key), call_options(deadline, traceparent))
    }

    /// The value of a key with its version; None if it is absent.
    #[pyo3(signature = (key, *, deadline=None, traceparent=None))]
    fn get_entry(
        &self,
        py: Python<'_>,
        key: Key,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::get_entry(key), call_options(deadline, traceparent))
    }

    /// Whether a key exists.
    #[pyo3(signature = (key, *, deadline=None, traceparent=None))]
    fn has(
        &self,
        py: Python<'_>,
        key: Key,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::has(key), call_options(deadline, traceparent))
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
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::put(key, value, Condition::Always, ttl), call_options(deadline, traceparent))
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
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::put(key, value, Condition::Absent, ttl), call_options(deadline, traceparent))
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
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::put(key, value, Condition::Present, ttl), call_options(deadline, traceparent))
    }

    /// Stores a value if the key exists in `version`; otherwise the result is "unmet" with the key's version.
    ///
    /// >>> version = client.put("counter", "1").version
    /// >>> client.compare_and_set("counter", "2", version).status
    /// 'updated'
    /// >>> bool(client.compare_and_set("counter", "3", version))
    /// False
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
    ) -> PyResult<Py<PyAny>> {
        self.run(
            py,
            operation::put(key, value, Condition::Version(version), ttl),
            call_options(deadline, traceparent),
        )
    }

    /// Gives a key that exists a new lifetime, `ttl` seconds from now on; its value stays, its version grows. If there is no
    /// such key, the result is "unmet".
    ///
    /// >>> client.put("session", "Ada", ttl=1800).done, client.expire("session", 60).done
    /// (True, True)
    /// >>> 0 < client.get_entry("session").ttl <= 60
    /// True
    /// >>> client.persist("session").status, client.get_entry("session").ttl
    /// ('updated', None)
    #[pyo3(signature = (key, ttl, *, deadline=None, traceparent=None))]
    fn expire(
        &self,
        py: Python<'_>,
        key: Key,
        ttl: Seconds,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::expire(key, Some(ttl)), call_options(deadline, traceparent))
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
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::expire(key, None), call_options(deadline, traceparent))
    }

    /// Removes a key.
    #[pyo3(signature = (key, *, deadline=None, traceparent=None))]
    fn delete(
        &self,
        py: Python<'_>,
        key: Key,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::delete(key, Condition::Always), call_options(deadline, traceparent))
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
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::delete(key, Condition::Version(version)), call_options(deadline, traceparent))
    }

    /// Adds to a decimal number of 64 bits and returns the sum; an absent key counts as 0. NotANumberError and
    /// NumberOverflowError leave the value as it was.
    ///
    /// >>> client.increment("visits"), client.increment("visits", 41)
    /// (1, 42)
    #[pyo3(signature = (key, delta=1, *, deadline=None, traceparent=None))]
    fn increment(
        &self,
        py: Python<'_>,
        key: Key,
        delta: i64,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::increment(key, delta), call_options(deadline, traceparent))
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
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::outcome(token), call_options(deadline, traceparent))
    }

    /// The values of many keys, in their order. If a key fails, ManyError has the results of all of them; with
    /// `return_errors` the errors stand among the results instead.
    ///
    /// >>> [put.status for put in client.put_many({"a": "1", "b": "2"})]
    /// ['created', 'created']
    /// >>> client.get_many(["b", "nothing", "a"])
    /// [b'2', None, b'1']
    #[pyo3(signature = (keys, *, return_errors=false, deadline=None, traceparent=None))]
    fn get_many(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        return_errors: bool,
        deadline: Option<Seconds>,
        traceparent: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::get_many(keys, return_errors)?, call_options(deadline, traceparent))
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
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::put_many(pairs, ttl, return_errors)?, call_options(deadline, traceparent))
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
    ) -> PyResult<Py<PyAny>> {
        self.run(py, operation::delete_many(keys, return_errors)?, call_options(deadline, traceparent))
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
    ) -> PyResult<Py<PyAny>> {
        self.run(
            py,
            operation::count(arguments::range(prefix, start, end)),
            call_options(deadline, traceparent),
        )
    }

    /// Begins a scan of a range: an iterator over the keys that begin with `prefix`, from `start` on, below `end`, in slot
    /// order, or with `ordered` merged in key order, which costs more. With `keys_only` values are empty. `limit` ends the
    /// scan after so many items; `page_items` are fetched at a time (1000, at most 10000); `cursor`, from an earlier scan
    /// of the same range, goes on where that one stood. `deadline` is for each page.
    ///
    /// >>> puts = client.put_many((f"user:{number}", "") for number in range(100))
    /// >>> scan = client.scan("user:", ordered=True, limit=2)
    /// >>> [item.key for item in scan]
    /// [b'user:0', b'user:1']
    /// >>> next(client.scan("user:", ordered=True, cursor=scan.cursor)).key
    /// b'user:10'
    #[pyo3(signature = (
        prefix=None, *, start=None, end=None, ordered=false, keys_only=false, limit=None, page_items=0, cursor=None,
        deadline=None, traceparent=None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn scan(
        &self,
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
    ) -> Scan {
        let range =
            Range { ordered, keys_only, items_max: page_items, ..arguments::range(prefix, start, end) };
        let cursor = cursor.map(|Key(cursor)| cursor);
        Scan::new(self.client.scan(range, cursor, limit, call_options(deadline, traceparent)))
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
    ) -> PyResult<Vec<Py<Item>>> {
        let range = arguments::range(prefix, start, end);
        let items = detached(py, |interrupt| {
            self.client.dump(range, call_options(deadline, traceparent), interrupt)
        })?;
        items.iter().map(|item| Py::new(py, Item::new(py, item))).collect()
    }

    /// The slot of a key.
    fn slot(&self, py: Python<'_>, key: Key) -> PyResult<u16> {
        let core = detached(py, |interrupt| self.client.core(interrupt))?;
        Ok(core.slot(&key.0))
    }

    /// Where calls for a key go, and why.
    fn explain(&self, py: Python<'_>, key: Key) -> PyResult<Explain> {
        let core = detached(py, |interrupt| self.client.core(interrupt))?;
        Ok(Explain::new(py, core.explain(&key.0)))
    }

    /// What this client has done so far, and its state now.
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        let core = detached(py, |interrupt| self.client.core(interrupt))?;
        Stats::new(py, core.stats())
    }

    /// What a master says of the whole cluster.
    #[pyo3(signature = (*, deadline=None))]
    fn status(&self, py: Python<'_>, deadline: Option<Seconds>) -> PyResult<ClusterStatus> {
        let status = detached(py, |interrupt| match deadline {
            Some(Seconds(deadline)) => self.client.with_deadline(deadline).status(interrupt),
            None => self.client.status(interrupt),
        })?;
        ClusterStatus::new(py, status)
    }

    /// The same connections, for the keys of another namespace; "" is the one without a name.
    fn namespace(&self, py: Python<'_>, name: &str) -> PyResult<Client> {
        let client = detached(py, |interrupt| self.client.namespace(name, interrupt))?;
        Ok(Client { client })
    }

    /// The same connections, with another deadline for calls that name none, in seconds.
    fn with_deadline(&self, seconds: Seconds) -> Client {
        Client { client: self.client.with_deadline(seconds.0) }
    }

    /// The same connections, for calls that are part of a trace: a W3C traceparent travels with each of them.
    fn with_traceparent(&self, traceparent: String) -> Client {
        Client { client: self.client.with_traceparent(traceparent) }
    }

    /// The same connections, with another freshness of reads that name none: "linearizable", "session" (not older than what
    /// this client has written and read before) or "stale". All but the first are answered by any replica that is fresh enough.
    ///
    /// >>> client.put("greeting", "hello").status
    /// 'created'
    /// >>> client.with_read_level("session").get("greeting")
    /// b'hello'
    fn with_read_level(&self, level: Level) -> Client {
        Client { client: self.client.with_read_level(level.0) }
    }

    /// The same connections, for reads that may be older by so much, in seconds, and are answered by any replica that is fresh enough.
    fn with_staleness(&self, seconds: Seconds) -> Client {
        Client { client: self.client.with_read_level(ReadLevel::Bounded(seconds.0)) }
    }

    /// What the session has seen, as opaque bytes for another process or language.
    fn session_token<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let token = detached(py, |interrupt| self.client.session_token(interrupt))?;
        Ok(PyBytes::new(py, &token))
    }

    /// The same connections, for a session that goes on where a token stands: reads are of level "session" and never older than
    /// the token or than what this view has written and read. b"" begins a session that has seen nothing.
    fn with_session_token(&self, py: Python<'_>, token: Token) -> PyResult<Client> {
        let client =
            self.client.with_session_token(&token.0).map_err(|error| errors::exception(py, error))?;
        Ok(Client { client })
    }

    /// Ends the client and whatever shares its connections, in bounded time. Closing again does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| guard(|| self.client.close())).map_err(|error| errors::exception(py, error))
    }

    /// Whether the client was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.client.is_closed()
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exception_type, exception, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exception_type: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (exception_type, exception, traceback);
        self.close(py)
    }

    /// Who drove the sockets how often; for tests.
    fn _counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.client.counters();
        let shown = PyDict::new(py);
        shown.set_item("calls", counters.calls)?;
        shown.set_item("keeps", counters.keeps)?;
        shown.set_item("interruptions", counters.interruptions)?;
        Ok(shown)
    }
}

impl Client {
    fn run(&self, py: Python<'_>, operation: Operation, options: CallOptions) -> PyResult<Py<PyAny>> {
        let Operation { command, form } = operation;
        let answer = detached(py, |interrupt| self.client.call(command, options, interrupt))?;
        form.render(py, answer)
    }
}

/// Asked now and then during a call that takes long.
pub(crate) type Interrupt<'a> = &'a mut dyn FnMut() -> Result<(), FacadeError>;

/// Runs `body` with the interpreter released. Signals are looked after meanwhile: what their handler raises, as
/// KeyboardInterrupt, ends the call and is raised instead of its error.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    body: impl FnOnce(Interrupt<'_>) -> Result<T, FacadeError> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let result = py.detach(|| {
        let mut interrupt = || {
            // No interpreter any more: nobody waits for this call.
            let signals = Python::try_attach(|py| py.check_signals());
            match signals {
                Some(Ok(())) => Ok(()),
                Some(Err(error)) => {
                    raised = Some(error);
                    Err(FacadeError::cancelled())
                }
                None => Err(FacadeError::cancelled()),
            }
        };
        guard(|| body(&mut interrupt))
    });
    match (result, raised) {
        (_, Some(raised)) => Err(raised),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(errors::exception(py, error)),
    }
}
