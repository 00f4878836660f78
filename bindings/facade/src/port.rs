//! The asynchronous way: a [`Port`] stands between one event loop of the host and the runtime.
//!
//! The loop's thread submits, the runtime works, the loop drains. Both ways go in batches: submissions of one turn of
//! the loop ring the runtime once, completions of one turn of the runtime wake the loop once.
//!
//! A host of many threads without turns has a port too, made by [`Port::shared`]: any of its threads submits and drains,
//! and the port rings by itself. What comes in while the runtime is busy is a batch.
//!
//! Invariants:
//! - A call is in `open` from its submission until it is drained or cancelled; its host object leaves the port exactly
//!   once. A completion whose call is not there any more is dropped: that is how late replies end.
//! - While `submissions` is not empty, a ring is under way: given, or promised by the host ([`Ring::AtEndOfTurn`]).
//! - Host objects are handed out on the host's threads only.
//! - Nothing of a host's or of the core's is dropped while a lock is held: it may come back here.
//! - Lock order: the completion queue, then `calls`.

use std::future::{Future, poll_fn};
use std::os::raw::c_int;
use std::pin::pin;
use std::sync::{Arc, MutexGuard, Weak};
use std::task::Poll;

use slotkv::{Answer, CallOptions, CancelHandle, Client, Command, Item, Outcome};

use crate::completion::{CompletionCounters, CompletionQueue, Flush};
use crate::error::FacadeError;
use crate::fork;
use crate::guard::guard;
use crate::handle::{Handle, Table};
use crate::lock::Mutex;
use crate::nonblocking::AsyncClient;
use crate::runtime::{Host, Runtime};
use crate::signal::Wake;

/// Calls that one port may have open; past it a call is refused as OVERLOADED.
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
    Client(Box<AsyncClient>),
    /// Of a dump.
    Items(Vec<Item>),
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
    has_turns: bool,
    calls: Mutex<Calls<H>>,
    done: Arc<CompletionQueue<Done>>,
    /// The second buffer of `done`, while no drain uses it.
    spare: Mutex<Vec<Done>>,
}

type Done = (Handle, Result<Reply, FacadeError>);

struct Calls<H> {
    open: Table<Open<H>>,
    submissions: Vec<Submission>,
    /// The runtime has ended; nothing is taken in any more.
    is_stopped: bool,
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
    may_write: bool,
}

impl<H> Open<H> {
    /// What is known of a call that is given up now.
    fn outcome(&self) -> Outcome {
        let was_sent = !matches!(self.cancel, Cancel::Waiting);
        if was_sent && self.may_write { Outcome::Unknown } else { Outcome::Failed }
    }
}

enum Cancel {
    /// The runtime has not taken it yet.
    Waiting,
    /// The runtime is handing it to the core.
    Taken,
    Call(CancelHandle),
    Task(tokio::task::AbortHandle),
    /// It has come to its end and waits to be drained.
    Ended,
}

impl Cancel {
    fn cancel(self) {
        match self {
            Cancel::Waiting | Cancel::Taken | Cancel::Ended => {}
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

impl<H> Calls<H> {
    /// Why no call is taken in, if none is. Asked first, so that no host object is dropped under the lock.
    fn check(&self) -> Result<(), FacadeError> {
        if self.is_stopped {
            Err(FacadeError::closed())
        } else if self.open.is_full() {
            Err(overloaded())
        } else {
            Ok(())
        }
    }

    /// Takes a call in; not yet for the runtime.
    fn open(&mut self, host: H, may_write: bool) -> Result<Handle, FacadeError> {
        let open = Open { host, cancel: Cancel::Waiting, may_write };
        self.open.insert(open).map_err(|_| overloaded())
    }

    fn submit(
        &mut self,
        client: Client,
        command: Command,
        options: CallOptions,
        host: H,
    ) -> Result<Handle, FacadeError> {
        let call = self.open(host, command.may_write())?;
        self.submissions.push(Submission { call, client, command, options });
        self.submission_count += 1;
        Ok(call)
    }
}

impl<H: Send + 'static> Port<H> {
    /// A port for one thread whose work goes in turns, as an event loop's. The host is woken by `wake`.
    pub fn new(wake: impl Wake) -> Result<Self, FacadeError> {
        Self::with(wake, true)
    }

    /// A port for any number of threads, none of which has turns: it rings by itself.
    pub fn shared(wake: impl Wake) -> Result<Self, FacadeError> {
        Self::with(wake, false)
    }

    /// A port for one event loop that also drives the runtime, and the descriptor that the loop watches: whenever it is
    /// readable, the loop drains. The descriptor is the port's; a loop lets go of it before the port is dropped. `None`
    /// where that cannot be.
    pub fn hosted() -> Result<Option<(Self, c_int)>, FacadeError> {
        let Some((runtime, fd)) = Runtime::hosted() else { return Ok(None) };
        Ok(Some((Self::on(runtime.clone(), runtime, true)?, fd)))
    }

    fn with(wake: impl Wake, has_turns: bool) -> Result<Self, FacadeError> {
        Self::on(Runtime::get()?, wake, has_turns)
    }

    fn on(runtime: Runtime, wake: impl Wake, has_turns: bool) -> Result<Self, FacadeError> {
        let inner = Arc::new(Inner {
            runtime: runtime.clone(),
            has_turns,
            calls: Mutex::new(Calls {
                open: Table::new(KIND_CALL, OPEN_MAX),
                submissions: Vec::new(),
                is_stopped: false,
                promised: false,
                at_once: true,
                submission_count: 0,
                ring_count: 0,
            }),
            done: CompletionQueue::new(wake),
            spare: Mutex::new(Vec::new()),
        });
        let host: Weak<Inner<H>> = Arc::downgrade(&inner);
        runtime.register(host);
        // Stopped in between: it may not have been told.
        if runtime.is_stopped() {
            inner.stop();
        }
        Ok(Self(fork::Owned::new(inner)))
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
        let before = calls.submissions.len();
        calls.check()?;
        let call = calls.submit(client, command, options, host)?;
        Ok((call, inner.ring_for(calls, before)))
    }

    /// Begins several operations with one ring. What stands in `begun` afterwards has begun, in the order of `calls`,
    /// also if one further on is refused, which ends it with the errors of [`Port::submit`].
    pub fn submit_many(
        &self,
        client: &Client,
        calls: impl IntoIterator<Item = (Command, CallOptions, H)>,
        begun: &mut Vec<Handle>,
    ) -> Result<Ring, FacadeError> {
        let inner = self.inner()?;
        let new: Vec<_> = calls.into_iter().collect();
        let mut new = new.into_iter();
        let mut calls = inner.calls.lock();
        let before = calls.submissions.len();
        let refused = loop {
            if let Err(error) = calls.check() {
                break (new.len() > 0).then_some(error);
            }
            let Some((command, options, host)) = new.next() else { break None };
            begun.push(calls.submit(client.clone(), command, options, host)?);
        };
        let ring = inner.ring_for(calls, before);
        match refused {
            // A promise that the caller does not learn of would not be kept.
            Some(error) => {
                if ring == Ring::AtEndOfTurn {
                    self.ring();
                }
                Err(error)
            }
            None => Ok(ring),
        }
    }

    /// Keeps the promise of [`Ring::AtEndOfTurn`]. On a shared port there is none to keep.
    pub fn ring(&self) {
        let Some(inner) = self.0.get() else { return };
        let mut calls = inner.calls.lock();
        calls.promised = false;
        if let Some(hosted) = inner.runtime.driven_by_host() {
            hosted.balance(calls.open.len());
        }
        if !calls.submissions.is_empty() {
            calls.ring_count += 1;
            drop(calls);
            inner.hand_over();
        }
    }

    /// Begins something that is no operation on keys: connecting, closing, asking for the status.
    pub fn spawn<F>(&self, work: F, host: H) -> Result<Handle, FacadeError>
    where
        F: Future<Output = Result<Reply, FacadeError>> + Send + 'static,
    {
        let inner = self.inner()?;
        let call = {
            let mut calls = inner.calls.lock();
            calls.check()?;
            calls.open(host, false)?
        };
        let end = End { inner: inner.clone(), call: Some(call), may_write: false };
        let task = inner.runtime.spawn(async move {
            let mut work = pin!(work);
            let result = poll_fn(|cx| match guard(|| Ok(work.as_mut().poll(cx))) {
                Ok(poll) => poll,
                Err(panicked) => Poll::Ready(Err(panicked)),
            });
            end.reach(result.await);
        });
        if let Ok(open) = inner.calls.lock().open.get_mut(call)
            && !matches!(open.cancel, Cancel::Ended)
        {
            open.cancel = Cancel::Task(task.abort_handle());
        }
        Ok(call)
    }

    /// Gives a call up and hands its host object back, with the error to tell; `None` if it was drained or cancelled
    /// before. An operation that was not sent will not be; of one that was, the worker is told, and a late reply is
    /// dropped.
    pub fn cancel(&self, call: Handle) -> Option<(H, FacadeError)> {
        let open = self.0.get()?.calls.lock().open.remove(call).ok()?;
        let error = FacadeError::cancelled().with_outcome(open.outcome());
        open.cancel.cancel();
        Some((open.host, error))
    }

    /// Appends the calls that have come to their end to `batch`, oldest first. Called by the host whenever it is woken.
    /// A host with turns then calls [`Port::ring`] when it is through with them: until then, submissions wait for it.
    pub fn drain(&self, batch: &mut Vec<Completion<H>>) {
        let Some(inner) = self.0.get() else { return };
        if let Some(hosted) = inner.runtime.driven_by_host() {
            hosted.clear();
            hosted.turn(|| {});
        }
        let mut done = std::mem::take(&mut *inner.spare.lock());
        inner.done.drain(&mut done);
        let mut calls = inner.calls.lock();
        calls.at_once = done.len() <= 1;
        calls.promised = inner.has_turns;
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
        let (submissions, open) = {
            let mut calls = inner.calls.lock();
            (std::mem::take(&mut calls.submissions), calls.open.drain())
        };
        drop(submissions);
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
    FacadeError::new(slotkv::Code::Overloaded, format!("{OPEN_MAX} calls are open at once, the limit"))
}

impl<H: Send + 'static> Inner<H> {
    /// Has the runtime take what was submitted; at once, if it is this thread that drives it.
    fn hand_over(self: &Arc<Self>) {
        match self.runtime.driven_by_host() {
            Some(hosted) if hosted.turn(|| self.clone().run()) => {
                if !self.done.is_empty() {
                    hosted.wake();
                }
            }
            _ => self.runtime.ring(self.clone()),
        }
    }

    /// Rings, or says what the host has to do, after submissions were added to `before`.
    fn ring_for(self: &Arc<Self>, mut calls: MutexGuard<'_, Calls<H>>, before: usize) -> Ring {
        let count = calls.submissions.len();
        if count == before {
            return Ring::Done;
        }
        let is_first = before == 0;
        let is_due = match self.has_turns {
            false => is_first,
            true => {
                (before < RING_COUNT && count >= RING_COUNT) || (is_first && calls.at_once && !calls.promised)
            }
        };
        if is_due {
            calls.at_once = false;
            calls.ring_count += 1;
            drop(calls);
            self.hand_over();
            return Ring::Done;
        }
        if self.has_turns && is_first && !calls.promised {
            calls.promised = true;
            return Ring::AtEndOfTurn;
        }
        Ring::Done
    }
}

impl<H: Send + 'static> Host for Inner<H> {
    fn run(self: Arc<Self>) {
        let mut submissions = {
            let mut calls = self.calls.lock();
            let submissions = std::mem::take(&mut calls.submissions);
            calls.submissions.reserve(submissions.len());
            submissions
        };
        let cancelled: Vec<_> = {
            let mut calls = self.calls.lock();
            let mut taken = |submission: &mut Submission| {
                calls.open.get_mut(submission.call).map(|open| open.cancel = Cancel::Taken)
            };
            submissions.extract_if(.., |submission| taken(submission).is_err()).collect()
        };
        drop(cancelled);
        let mut handles = Vec::with_capacity(submissions.len());
        for Submission { call, client, command, options } in submissions {
            let end = End { inner: self.clone(), call: Some(call), may_write: command.may_write() };
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

    fn stop(&self) {
        let mut ended = Vec::new();
        let (submissions, cancels) = {
            let mut calls = self.calls.lock();
            calls.is_stopped = true;
            let mut cancels = Vec::new();
            for (call, open) in calls.open.entries_mut() {
                if matches!(open.cancel, Cancel::Ended) {
                    continue;
                }
                // One that has ended and was not flushed gets a second completion, which the first makes a late one.
                ended.push((call, Err(FacadeError::closed().with_outcome(open.outcome()))));
                cancels.push(std::mem::replace(&mut open.cancel, Cancel::Ended));
            }
            (std::mem::take(&mut calls.submissions), cancels)
        };
        for completion in ended {
            let _ = self.done.push(completion);
        }
        self.done.flush();
        drop((submissions, cancels));
    }
}

/// The end of one call. Dropped without having been reached, as when the runtime is shut down, it is CLOSED, and a write
/// may have been applied.
struct End<H: Send + 'static> {
    inner: Arc<Inner<H>>,
    call: Option<Handle>,
    may_write: bool,
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
                let outcome = if self.may_write { Outcome::Unknown } else { Outcome::Failed };
                FacadeError::closed().with_outcome(outcome)
            };
            self.inner.complete(call, Err(error));
        }
    }
}

impl<H: Send + 'static> Inner<H> {
    fn complete(self: &Arc<Self>, call: Handle, result: Result<Reply, FacadeError>) {
        // Of a cancelled call nobody wants to hear, and its host may be asleep for long; of one that was ended by the
        // runtime's end it has heard.
        if result.is_err() {
            match self.calls.lock().open.get(call) {
                Ok(open) if !matches!(open.cancel, Cancel::Ended) => {}
                _ => return,
            }
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
