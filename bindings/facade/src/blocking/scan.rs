//! Blocking scans, which threads may share: each item goes to one of them.
//!
//! No lock is held while a page is fetched. The thread that fetches says so; others wait for it in slices of
//! [`CADENCE_MS`], and the place of the scan can be asked for meanwhile.

use std::sync::{Condvar, MutexGuard};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slotkv::{Answer, CallOptions, Code, Item};

use super::BlockingClient;
use crate::driver::CADENCE_MS;
use crate::error::FacadeError;
use crate::fork;
use crate::lock::Mutex;
use crate::scan::Scan;

/// A scan under way.
pub struct BlockingScan {
    client: BlockingClient,
    options: CallOptions,
    state: Mutex<State>,
    fetched: Condvar,
    /// The process that made it.
    generation: u64,
}

struct State {
    scan: Scan,
    fetcher: Option<Fetcher>,
}

/// The thread that fetches a page; of a forked child's parent it is nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fetcher {
    generation: u64,
    thread: ThreadId,
}

impl BlockingScan {
    pub(super) fn new(client: BlockingClient, options: CallOptions, scan: Scan) -> Self {
        let state = Mutex::new(State { scan, fetcher: None });
        Self { client, options, state, fetched: Condvar::new(), generation: fork::generation() }
    }

    /// The next item, if it is here and nobody is in the way.
    pub fn take(&self) -> Option<Item> {
        self.state.try_lock()?.scan.take()
    }

    /// The next item; `None` behind the last one. After an error the same place is tried again.
    ///
    /// Errors: INVALID_ARGUMENT in a handler that interrupts this very scan's fetch of a page, on the same thread.
    pub fn next(
        &self,
        mut interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<Option<Item>, FacadeError> {
        let begun = Instant::now();
        loop {
            let me = Fetcher { generation: fork::generation(), thread: std::thread::current().id() };
            let mut state = self.lock()?;
            if let Some(item) = state.scan.take() {
                return Ok(Some(item));
            }
            let Some(command) = state.scan.command() else { return Ok(None) };
            match state.fetcher.filter(|fetcher| fetcher.generation == me.generation) {
                None => {}
                Some(fetcher) if fetcher == me => {
                    let message = "the next item of this scan is being waited for by this thread";
                    return Err(FacadeError::new(Code::InvalidArgument, message));
                }
                Some(_) => {
                    let slice = Duration::from_millis(CADENCE_MS);
                    drop(self.fetched.wait_timeout(state, slice));
                    interrupt()?;
                    let deadline = match self.options.deadline {
                        Some(deadline) => deadline,
                        None => self.client.core(&mut interrupt)?.deadline(),
                    };
                    if begun.elapsed() > deadline {
                        return Err(FacadeError::timed_out("the next item", deadline));
                    }
                    continue;
                }
            }
            state.fetcher = Some(me);
            drop(state);
            let turn = Turn(self, me);
            match self.client.call(command, self.options.clone(), &mut interrupt)? {
                Answer::Page(page) => self.lock()?.scan.fill(page),
                other => {
                    return Err(FacadeError::unexpected(format!("{other:?} as the answer for a page")));
                }
            }
            drop(turn);
        }
    }

    /// Where the scan stands: behind the last item that was taken. `None` while none was and the scan began at the
    /// beginning.
    pub fn cursor(
        &self,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<Option<Bytes>, FacadeError> {
        let core = self.client.core(interrupt)?;
        Ok(self.lock()?.scan.cursor(core, &self.options))
    }

    /// In a forked child, a lock that another thread held goes on being held, by nobody.
    fn lock(&self) -> Result<MutexGuard<'_, State>, FacadeError> {
        if self.generation == fork::generation() {
            Ok(self.state.lock())
        } else {
            self.state.try_lock().ok_or_else(FacadeError::forked)
        }
    }
}

/// A thread's turn to fetch.
struct Turn<'a>(&'a BlockingScan, Fetcher);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.lock()
            && state.fetcher == Some(self.1)
        {
            state.fetcher = None;
            drop(state);
            self.0.fetched.notify_all();
        }
    }
}
