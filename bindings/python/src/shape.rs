//! What becomes of the reply of an asyncio call.

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use slotkv_facade::core::{self, Answer};
use slotkv_facade::nonblocking::Turn;
use slotkv_facade::port::Reply;

use crate::aio::Client;
use crate::bridge::Bridge;
use crate::operation::{Form, unexpected};
use crate::results::Item;
use crate::view::ClusterStatus;

/// What becomes of a reply.
pub(crate) enum Shape {
    /// An object.
    Form(Form),
    /// A client.
    Client,
    /// The first item of a page.
    Item(Turn),
    /// A list of items.
    Items,
    /// The state of the cluster.
    Status,
    /// Nothing.
    Closed,
}

impl Shape {
    pub(crate) fn render(
        self,
        py: Python<'_>,
        bridge: &Bound<'_, Bridge>,
        reply: Reply,
    ) -> PyResult<Py<PyAny>> {
        match (self, reply) {
            (Shape::Form(form), Reply::Answer(answer)) => form.render(py, answer),
            (Shape::Item(turn), Reply::Answer(Answer::Page(page))) => item(py, turn.finish(page)),
            (Shape::Items, Reply::Items(items)) => items
                .iter()
                .map(|item| Py::new(py, Item::new(py, item)))
                .collect::<PyResult<Vec<_>>>()?
                .into_py_any(py),
            (Shape::Client, Reply::Client(client)) => {
                Client::new(bridge.clone().unbind(), *client).into_py_any(py)
            }
            (Shape::Status, Reply::Status(status)) => ClusterStatus::new(py, *status)?.into_py_any(py),
            (Shape::Closed, Reply::Closed) => Ok(py.None()),
            (_, reply) => Err(unexpected(py, &format!("{reply:?} as a reply"))),
        }
    }
}

/// What `__anext__` gives.
pub(crate) fn item(py: Python<'_>, item: Option<core::Item>) -> PyResult<Py<PyAny>> {
    match item {
        Some(item) => Item::new(py, &item).into_py_any(py),
        None => Err(PyStopAsyncIteration::new_err(())),
    }
}
