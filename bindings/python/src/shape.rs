//! What becomes of the reply of an asyncio call.

use std::sync::Arc;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use slotkv_facade::core::{Answer, CallOptions, Client as Core, Command};
use slotkv_facade::fork;
use slotkv_facade::port::Reply;

use crate::aio::Client;
use crate::bridge::Bridge;
use crate::operation::{Form, unexpected};
use crate::scan::ScanState;
use crate::view::ClusterStatus;

/// What becomes of a reply.
pub(crate) enum Shape {
    /// An object.
    Form(Form),
    /// A client.
    Client(Box<CallOptions>),
    /// The first item of a page.
    Item(Arc<ScanState>),
    /// Every item.
    Items(Arc<ScanState>),
    /// The state of the cluster.
    Status,
    /// Nothing.
    Closed,
}

/// A reply, rendered.
pub(crate) enum Rendered {
    /// The call has ended.
    Done(PyResult<Py<PyAny>>),
    /// It takes another operation.
    Again(Box<Again>),
}

/// The operation that a call goes on with.
pub(crate) struct Again {
    pub client: Core,
    pub command: Command,
    pub options: CallOptions,
    pub shape: Shape,
}

impl Shape {
    pub(crate) fn render(
        self,
        py: Python<'_>,
        bridge: &Bound<'_, Bridge>,
        reply: Reply,
    ) -> PyResult<Rendered> {
        let done = |value: PyResult<Py<PyAny>>| Ok(Rendered::Done(value));
        match (self, reply) {
            (Shape::Form(form), Reply::Answer(answer)) => done(form.render(py, answer)),
            (Shape::Item(scan), Reply::Answer(Answer::Page(page))) => {
                scan.fill(page);
                scan.next_or_again(py, Shape::Item(scan.clone()))
            }
            (Shape::Items(scan), Reply::Answer(Answer::Page(page))) => {
                scan.fill(page);
                scan.all_or_again(py, Shape::Items(scan.clone()))
            }
            (Shape::Client(options), Reply::Client(core)) => {
                let core = Arc::new(fork::Owned::new(core));
                let client = Client::new(bridge.clone().unbind(), core, *options);
                done(client.into_py_any(py))
            }
            (Shape::Status, Reply::Status(status)) => {
                done(ClusterStatus::new(py, *status).and_then(|status| status.into_py_any(py)))
            }
            (Shape::Closed, Reply::Closed) => done(Ok(py.None())),
            (_, reply) => Err(unexpected(py, &format!("{reply:?} as a reply"))),
        }
    }
}
