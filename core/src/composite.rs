//! Operations that take more than one request: many keys, counts, pages of scans.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use slotkv_proto::Code;
use tokio::{runtime, task::AbortHandle};

use crate::{Answer, Client, Command, Error, Outcome, Result, scan::Pages};

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
                Ok(Answer::Many(self.many(commands.into_iter(), traceparent, Ok).await))
            }
            single => Err(Error::invalid(format!("{single:?} takes one request"))),
        }
    }
}

/// Requests that submitted operations of more than one request may take together; further ones get OVERLOADED. One that
/// takes more by itself is carried out alone.
pub(crate) const COMPOSITES_COUNT_MAX: usize = 65_536;
/// Bytes of keys and values of such operations.
pub(crate) const COMPOSITES_BYTES_MAX: usize = 128 << 20;

/// The submitted operations of more than one request that are under way.
#[derive(Default)]
pub(crate) struct Composites(Mutex<(usize, usize)>);

/// What one of them counts for, until it is dropped.
pub(crate) struct Counted {
    of: Arc<Composites>,
    count: usize,
    bytes: usize,
}

impl Composites {
    /// Lets one in that takes so many requests with so many bytes.
    pub fn admit(self: &Arc<Self>, count: usize, bytes: usize) -> Result<Counted> {
        let mut open = self.lock();
        let (all_count, all_bytes) = (open.0 + count, open.1 + bytes);
        if open.0 > 0 && (all_count > COMPOSITES_COUNT_MAX || all_bytes > COMPOSITES_BYTES_MAX) {
            let message = format!("submitted operations take {} requests already, as many as may", open.0);
            return Err(Error::new(Code::Overloaded, message));
        }
        *open = (all_count, all_bytes);
        Ok(Counted { of: self.clone(), count, bytes })
    }

    fn lock(&self) -> MutexGuard<'_, (usize, usize)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.of.lock();
        *open = (open.0 - self.count, open.1 - self.bytes);
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
        counted: Counted,
        callback: Callback,
        work: impl Future<Output = Result<Answer>> + Send + 'static,
    ) -> Self {
        let outcome = if may_write { Outcome::Unknown } else { Outcome::Failed };
        let callback = Arc::new(Mutex::new(Some(callback)));
        let unfinished = Unfinished { callback: callback.clone(), outcome };
        let task = runtime.spawn(async move {
            let result = work.await;
            drop(counted);
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
