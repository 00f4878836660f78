//! Operations that take more than one request: many keys, counts, pages of scans.

use std::{
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use slotkv_proto::Code;
use tokio::{runtime, task::AbortHandle, time::Instant};

use crate::{
    Answer, Client, Command, Error, Outcome, Result,
    policy::Waiting,
    scan::Pages,
    wire::{self, Parsed},
};

/// Requests of one operation on many keys that are open at once.
pub(crate) const MANY_OPEN_MAX: usize = 1024;

impl Client {
    /// Carries out an operation that takes more than one request, within this client's deadline.
    pub(crate) async fn composite(&self, command: Command, traceparent: &str) -> Result<Answer> {
        match command {
            Command::Count { range } => self.count_keys(range, traceparent).await.map(Answer::Count),
            Command::ScanPage { range, cursor } => {
                let mut pages = Pages::new(self.clone(), range, cursor.as_deref(), traceparent)?;
                pages.page().await.map(Answer::Page)
            }
            Command::Many { commands } => {
                Ok(Answer::Many(self.many_of(commands.into_iter(), traceparent, Ok).await))
            }
            single => Err(Error::invalid(format!("{single:?} takes one request"))),
        }
    }

    /// Carries out operations on one key each; results in their order.
    pub(crate) async fn many<T>(
        &self,
        commands: impl Iterator<Item = Command>,
        read: impl Fn(Answer) -> Result<T>,
    ) -> Vec<Result<T>> {
        self.many_of(commands, "", read).await
    }

    async fn many_of<T>(
        &self,
        commands: impl Iterator<Item = Command>,
        traceparent: &str,
        read: impl Fn(Answer) -> Result<T>,
    ) -> Vec<Result<T>> {
        enum Begun {
            Sent(slotkv_proto::v1::Operation, Waiting),
            Refused(Error),
        }
        let end = Instant::now() + self.deadline();
        let namespace_bytes = self.namespace_name().len();
        let mut results = Vec::with_capacity(commands.size_hint().0.min(1 << 20));
        // The oldest is awaited while the others go on; they need nobody to drive them.
        let mut open: VecDeque<Begun> = VecDeque::new();
        let mut commands = commands.fuse();
        loop {
            while open.len() < MANY_OPEN_MAX
                && let Some(command) = commands.next()
            {
                open.push_back(match wire::parse(command, namespace_bytes) {
                    Ok(Parsed::Single(request)) => {
                        let left = end.saturating_duration_since(Instant::now());
                        Begun::Sent(request.operation(), self.send(request, left, traceparent))
                    }
                    Ok(Parsed::Composite(_)) => {
                        Begun::Refused(Error::invalid("an operation among many is one on a single key"))
                    }
                    Err(error) => Begun::Refused(error),
                });
            }
            let reply = match open.pop_front() {
                None => return results,
                Some(Begun::Refused(error)) => Err(error),
                Some(Begun::Sent(operation, waiting)) => {
                    waiting.await.and_then(|reply| wire::answer(operation, reply))
                }
            };
            results.push(reply.and_then(&read));
        }
    }
}

type Callback = Box<dyn FnOnce(Result<Answer>) + Send>;

/// A task that carries out a submitted operation of more than one request.
pub(crate) struct CompositeTask {
    task: AbortHandle,
    callback: Arc<Mutex<Option<Callback>>>,
    outcome: Outcome,
}

impl CompositeTask {
    pub fn spawn(
        runtime: &runtime::Handle,
        may_write: bool,
        callback: Callback,
        work: impl Future<Output = Result<Answer>> + Send + 'static,
    ) -> Self {
        let outcome = if may_write { Outcome::Unknown } else { Outcome::Failed };
        let callback = Arc::new(Mutex::new(Some(callback)));
        let unfinished = Unfinished { callback: callback.clone(), outcome };
        let task = runtime.spawn(async move {
            let result = work.await;
            give(&unfinished.callback, result);
        });
        Self { task: task.abort_handle(), callback, outcome }
    }

    pub fn cancel(&self) {
        self.task.abort();
        let error = Error::new(Code::Cancelled, "the caller cancelled the call").with_outcome(self.outcome);
        give(&self.callback, Err(error));
    }
}

/// Calls the callback when the task ends without a result, as when its runtime is shut down.
struct Unfinished {
    callback: Arc<Mutex<Option<Callback>>>,
    outcome: Outcome,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let error = Error::new(Code::Closed, "the client was closed").with_outcome(self.outcome);
        give(&self.callback, Err(error));
    }
}

fn give(callback: &Mutex<Option<Callback>>, result: Result<Answer>) {
    let callback = callback.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(callback) = callback
        && catch_unwind(AssertUnwindSafe(|| callback(result))).is_err()
    {
        tracing::error!("the callback of a call panicked");
    }
}
