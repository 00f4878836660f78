//! The asynchronous way: a [`Port`] stands between one event loop of the host and the runtime.
//!
//! The loop's thread submits, the runtime works, the loop drains. Both ways go in batches: submissions of one turn of
//! the loop ring the runtime once, completions of one turn of the runtime wake the loop once.
//!
//! Invariants:
//! - A call is in `open` from its submission until it is drained or cancelled; its host object leaves the port exactly
//!   once. A completion whose call is not there any more is dropped: that is how late replies end.
//! - While `submissions` is not empty, a ring is under way: given, or promised by the host ([`Ring::AtEndOfTurn`]).
//! - Host objects are handed out on the loop's thread only.
//! - Lock order: the completion queue, then `calls`.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use slotkv::{Answer, CallOptions, CancelHandle, Client, Command};

use crate::completion::{CompletionCounters, CompletionQueue, Flush};
use crate::error::FacadeError;
use crate::fork;
use crate::guard::guard;
use crate::handle::{Handle, Table};
use crate::lock::Mutex;
use crate::runtime::{Batch, Runtime};
use crate::signal::Wake;

/// Calls that one event loop may have open; past it a call is refused as OVERLOADED.
pub const OPEN_MAX: usize = 1 << 20;
/// So many submissions ring the runtime without waiting for the end of the turn, so that it works beside the host.
pub const RING_COUNT: usize = 64;

/// Kind of the handles of calls.
const KIND_CALL: u8 = 1;

/// What a host has to do after it has submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Nothing.
    Done,
    /// Call [`Port::ring`] once, when it has nothing more to submit in this turn.
    AtEndOfTurn,
}

/// What a call that succeeded brings.
#[derive(Debug)]
pub enum Reply {
    /// Of an operation.
    Answer(Answer),
    /// Of connecting.
    Client(Client),
    /// Of asking a master for the cluster's state.
    Status(Box<slotkv_proto::v1::StatusReply>),
    /// Of closing.
    Closed,
}

/// A call that came to its end.
pub type Completion<H> = (H, Result<Reply, FacadeError>);

/// What a port has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Calls submitted.
    pub submissions: u64,
    /// Times the runtime was rung for them.
    pub rings: u64,
    /// Completions, and the wake-ups they cost the host.
    pub completions: CompletionCounters,
}

/// The facade's side of one event loop. `H` is the host's object for a call: a future, a promise, a callback.
pub struct Port<H: Send + 'static>(fork::Owned<Arc<Inner<H>>>);

struct Inner<H> {
    runtime: Runtime,
    calls: Mutex<Calls<H>>,
    done: Arc<CompletionQueue<Done>>,
    /// The second buffer of `done`, while no drain uses it.
    spare: Mutex<Vec<Done>>,
}

type Done = (Handle, Result<Reply, FacadeError>);

struct Calls<H> {
    open: Table<Open<H>>,
    submissions: Vec<Submission>,
    /// The host has promised to ring at the end of its turn.
    promised: bool,
    /// The next submission rings at once: the host seems to make one call at a time, and waiting for the end of the
    /// turn would only cost it time.
    at_once: bool,
    submission_count: u64,
    ring_count: u64,
}

struct Open<H> {
    host: H,
    cancel: Cancel,
}

enum Cancel {
    /// The runtime has not taken it yet.
    Waiting,
    Call(CancelHandle),
    Task(tokio::task::AbortHandle),
    /// It has come to its end and waits to be drained.
    Ended,
}

impl Cancel {
    fn cancel(self) {
        match self {
            Cancel::Waiting | Cancel::Ended => {}
            Cancel::Call(handle) => handle.cancel(),
            Cancel::Task(task) => task.abort(),
        }
    }
}

struct Submission {
    call: Handle,
    client: Client,
    command: Command,
    options: CallOptions,
}

impl<H: Send + 'static> Port<H> {
    /// A port whose host is woken by `wake`.
    pub fn new(wake: impl Wake) -> Result<Self, FacadeError> {
        let inner = Inner {
            runtime: Runtime::get()?,
            calls: Mutex::new(Calls {
                open: Table::new(KIND_CALL, OPEN_MAX),
                submissions: Vec::new(),
                promised: false,
                at_once: true,
                submission_count: 0,
                ring_count: 0,
            }),
            done: CompletionQueue::new(wake),
            spare: Mutex::new(Vec::new()),
        };
        Ok(Self(fork::Owned::new(Arc::new(inner))))
    }

    /// Begins an operation. Its end comes out of [`Port::drain`] with `host`, unless it is cancelled before.
    ///
    /// Errors: CLOSED once the runtime was shut down, FORKED in a child, OVERLOADED past [`OPEN_MAX`]; then `host` is
    /// dropped.
    pub fn submit(
        &self,
        client: &Client,
        command: Command,
        options: CallOptions,
        host: H,
    ) -> Result<(Handle, Ring), FacadeError> {
        let inner = self.inner()?;
        let client = client.clone();
        let mut calls = inner.calls.lock();
        let call = calls.open.insert(Open { host, cancel: Cancel::Waiting }).map_err(|_| overloaded())?;
        calls.submissions.push(Submission { call, client, command, options });
        calls.submission_count += 1;
        let is_first = calls.submissions.len() == 1;
        if calls.submissions.len() == RING_COUNT || (is_first && calls.at_once && !calls.promised) {
            calls.at_once = false;
            calls.ring_count += 1;
            drop(calls);
            inner.runtime.ring(inner.clone());
            return Ok((call, Ring::Done));
        }
        if is_first && !calls.promised {
            calls.promised = true;
            return Ok((call, Ring::AtEndOfTurn));
        }
        Ok((call, Ring::Done))
    }

    /// Keeps the promise of [`Ring::AtEndOfTurn`].
    pub fn ring(&self) {
        let Some(inner) = self.0.get() else { return };
        let mut calls = inner.calls.lock();
        calls.promised = false;
        if !calls.submissions.is_empty() {
            calls.ring_count += 1;
            drop(calls);
            inner.runtime.ring(inner.clone());
        }
    }

    /// Begins something that is no operation on keys: connecting, closing, asking for the status.
    pub fn spawn<F>(&self, work: F, host: H) -> Result<Handle, FacadeError>
    where
        F: Future<Output = Result<Reply, FacadeError>> + Send + 'static,
    {
        let inner = self.inner()?;
        let call = {
            let open = Open { host, cancel: Cancel::Waiting };
            inner.calls.lock().open.insert(open).map_err(|_| overloaded())?
        };
        let end = End { inner: inner.clone(), call: Some(call) };
        let task = inner.runtime.spawn(async move {
            let mut work = pin!(work);
            let result = poll_fn(|cx| match guard(|| Ok(work.as_mut().poll(cx))) {
                Ok(poll) => poll,
                Err(panicked) => Poll::Ready(Err(panicked)),
            });
            end.reach(result.await);
        });
        if let Ok(open) = inner.calls.lock().open.get_mut(call) {
            open.cancel = Cancel::Task(task.abort_handle());
        }
        Ok(call)
    }

    /// Gives a call up and hands its host object back; `None` if it was drained or cancelled before. An operation that
    /// was not sent will not be; of one that was, the worker is told, and a late reply is dropped.
    pub fn cancel(&self, call: Handle) -> Option<H> {
        let open = self.0.get()?.calls.lock().open.remove(call).ok()?;
        open.cancel.cancel();
        Some(open.host)
    }

    /// Appends the calls that have come to their end to `batch`, oldest first. Called by the host whenever it is woken.
    /// It then calls [`Port::ring`] when it is through with them: until then, submissions wait for it.
    pub fn drain(&self, batch: &mut Vec<Completion<H>>) {
        let Some(inner) = self.0.get() else { return };
        let mut done = std::mem::take(&mut *inner.spare.lock());
        inner.done.drain(&mut done);
        let mut calls = inner.calls.lock();
        calls.at_once = done.len() <= 1;
        calls.promised = true;
        batch.reserve(done.len());
        for (call, result) in done.drain(..) {
            if let Ok(open) = calls.open.remove(call) {
                batch.push((open.host, result));
            }
        }
        drop(calls);
        *inner.spare.lock() = done;
    }

    /// Gives every open call up and hands the host objects back.
    pub fn abandon(&self) -> Vec<H> {
        let Some(inner) = self.0.get() else { return Vec::new() };
        let open = {
            let mut calls = inner.calls.lock();
            calls.submissions.clear();
            calls.open.drain()
        };
        open.into_iter()
            .map(|open| {
                open.cancel.cancel();
                open.host
            })
            .collect()
    }

    /// Whether calls can be made: not in a forked child, and not once the runtime was shut down.
    pub fn is_usable(&self) -> bool {
        self.inner().is_ok()
    }

    /// What the port has done so far.
    pub fn counters(&self) -> PortCounters {
        let Some(inner) = self.0.get() else { return PortCounters::default() };
        let calls = inner.calls.lock();
        PortCounters {
            submissions: calls.submission_count,
            rings: calls.ring_count,
            completions: inner.done.counters(),
        }
    }

    fn inner(&self) -> Result<&Arc<Inner<H>>, FacadeError> {
        let inner = self.0.get().ok_or_else(FacadeError::forked)?;
        if inner.runtime.is_stopped() { Err(FacadeError::closed()) } else { Ok(inner) }
    }
}

fn overloaded() -> FacadeError {
    FacadeError::new(
        slotkv::Code::Overloaded,
        format!("{OPEN_MAX} calls of this event loop are open, the limit"),
    )
}

impl<H: Send + 'static> Batch for Inner<H> {
    fn run(self: Arc<Self>) {
        let mut submissions = {
            let mut calls = self.calls.lock();
            let submissions = std::mem::take(&mut calls.submissions);
            calls.submissions.reserve(submissions.len());
            submissions
        };
        submissions.retain({
            let calls = self.calls.lock();
            move |submission| calls.open.get(submission.call).is_ok()
        });
        let mut handles = Vec::with_capacity(submissions.len());
        for Submission { call, client, command, options } in submissions {
            let end = End { inner: self.clone(), call: Some(call) };
            let begun = guard(|| {
                Ok(client.submit(command, options, move |result| {
                    end.reach(result.map(Reply::Answer).map_err(FacadeError::from))
                }))
            });
            // A panic has dropped `end`, which ended the call.
            handles.extend(begun.ok().map(|handle| (call, handle)));
        }
        let mut late = Vec::new();
        let mut calls = self.calls.lock();
        for (call, handle) in handles {
            match calls.open.get_mut(call) {
                Ok(open) => open.cancel = Cancel::Call(handle),
                // Cancelled between the check above and now, or at its end already.
                Err(_) => late.push(handle),
            }
        }
        drop(calls);
        for handle in late {
            handle.cancel();
        }
    }
}

/// The end of one call. Dropped without having been reached, as when the runtime is shut down, it is CLOSED.
struct End<H: Send + 'static> {
    inner: Arc<Inner<H>>,
    call: Option<Handle>,
}

impl<H: Send + 'static> End<H> {
    fn reach(mut self, result: Result<Reply, FacadeError>) {
        if let Some(call) = self.call.take() {
            self.inner.complete(call, result);
        }
    }
}

impl<H: Send + 'static> Drop for End<H> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            let error = if std::thread::panicking() {
                FacadeError::panicked("while the call was begun")
            } else {
                FacadeError::closed()
            };
            self.inner.complete(call, Err(error));
        }
    }
}

impl<H: Send + 'static> Inner<H> {
    fn complete(self: &Arc<Self>, call: Handle, result: Result<Reply, FacadeError>) {
        // Of a cancelled call nobody wants to hear, and its host may be asleep for long.
        if result.is_err() && self.calls.lock().open.get(call).is_err() {
            return;
        }
        if self.done.push((call, result)) {
            self.runtime.flush_later(self.clone());
        }
    }
}

impl<H: Send + 'static> Flush for Inner<H> {
    fn flush(&self) {
        // What calls that have ended hold is freed here, where it was made, and not by the host's busy thread.
        let mut ended = Vec::new();
        self.done.look(|done| {
            let mut calls = self.calls.lock();
            ended.extend(done.iter().filter_map(|(call, _)| {
                let open = calls.open.get_mut(*call).ok()?;
                Some(std::mem::replace(&mut open.cancel, Cancel::Ended))
            }));
        });
        self.done.flush();
    }
}
