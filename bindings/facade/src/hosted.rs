//! A tokio runtime that a host's event loop drives: no thread stands between a call and its socket.
//!
//! The loop watches [`Hosted::fd`], which is readable when there is something to do, and then takes a [`Hosted::turn`]:
//! all that is ready runs, without waiting. A *keeper* thread drives instead
//!
//! - while the loop takes no turns, because nothing happens or because its program is busy, so that deadlines, pings and
//!   reconnects go on (a timer is late by twice [`GRACE_MS`] at most), and
//! - while so many calls are open that two threads are worth their hand-over ([`Hosted::balance`]).
//!
//! Who drives:
//! - A turn sets `turning` and then looks at `keeping`; the keeper sets `keeping` and then looks at `turning`. Both orders
//!   are sequentially consistent, so at least one sees the other: the keeper does not start, or the turn does nothing.
//! - The loop's descriptor is an epoll instance of ours. It watches the one that tokio waits on, but not while the keeper
//!   drives, and a signal, by which the keeper tells of completions and of having stepped aside.
//! - A turn ends when nothing is ready, or signals. What is ready and not done would make no descriptor readable.
//!
//! This takes the number of tasks that are ready, which tokio tells with `--cfg tokio_unstable`, and Linux, whose /proc
//! names what an epoll instance watches. Elsewhere there is no [`Hosted`], and ports go by the runtime's own thread.

use std::future::poll_fn;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use crate::driver::{self, THREAD_NAME};
use crate::lock::Mutex;
use crate::log;
use crate::signal::{Signal, Wake};

/// How long there must have been no turn before the keeper drives.
pub const GRACE_MS: u64 = 10;
/// From so many open calls on, the keeper drives beside the loop.
pub const BESIDE_COUNT: usize = 128;
/// Down from so many, the loop drives again.
pub const ALONE_COUNT: usize = 64;
/// Looks for new events in one turn. What is ready after so many waits for the next turn, so that a loop that is answered
/// without end has time for others, too.
const ROUNDS_MAX: u32 = 32;

/// See the module. Dropped, it ends; the keeper's thread soon after.
pub(crate) struct Hosted {
    shared: Arc<Shared>,
    keeper: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    /// `None` once it has been stopped. Whoever drives reads, and only the end writes.
    runtime: RwLock<Option<tokio::runtime::Runtime>>,
    handle: tokio::runtime::Handle,
    /// What tokio waits on.
    reactor: RawFd,
    /// What the loop watches.
    watched: OwnedFd,
    signal: Signal,
    /// The signal has been given and not yet been seen.
    is_signalled: AtomicBool,
    turning: AtomicBool,
    turns: AtomicU64,
    keeping: AtomicBool,
    /// The keeper is wanted beside the loop: for the calls that are open,
    is_beside: AtomicBool,
    /// or because the loop's thread drives another runtime, and can drive one only.
    is_foreign: AtomicBool,
    aside: Notify,
    is_stopping: Mutex<bool>,
    changed: Condvar,
}

impl Hosted {
    /// `None` where it cannot be.
    pub(crate) fn start() -> Option<Self> {
        let runtime = driver::runtime().ok()?;
        let reactor = reactor(&runtime)?;
        // SAFETY: a system call without pointers.
        let watched = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if watched < 0 {
            return None;
        }
        let shared = Arc::new(Shared {
            handle: runtime.handle().clone(),
            runtime: RwLock::new(Some(runtime)),
            reactor,
            // SAFETY: it was just made, and nobody else owns it.
            watched: unsafe { OwnedFd::from_raw_fd(watched) },
            signal: Signal::new().ok()?,
            is_signalled: AtomicBool::new(false),
            turning: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            keeping: AtomicBool::new(false),
            is_beside: AtomicBool::new(false),
            is_foreign: AtomicBool::new(false),
            aside: Notify::new(),
            is_stopping: Mutex::new(false),
            changed: Condvar::new(),
        });
        if !shared.watch(libc::EPOLL_CTL_ADD, shared.signal.fd())
            || !shared.watch(libc::EPOLL_CTL_ADD, reactor)
        {
            return None;
        }
        let own = shared.clone();
        let keeper = std::thread::Builder::new().name(THREAD_NAME.into()).spawn(move || own.keep()).ok()?;
        Some(Self { shared, keeper: Mutex::new(Some(keeper)) })
    }

    /// For the loop: readable when a turn has something to do.
    pub(crate) fn fd(&self) -> RawFd {
        self.shared.watched.as_raw_fd()
    }

    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        &self.shared.handle
    }

    /// What the descriptor told so far has been seen. The loop calls this before its turn.
    pub(crate) fn clear(&self) {
        if self.shared.is_signalled.load(Ordering::SeqCst) {
            self.shared.signal.clear();
            // In this order: a signal that comes in between is for what this turn is yet to see.
            self.shared.is_signalled.store(false, Ordering::SeqCst);
        }
    }

    /// Runs `first` inside the runtime, and then all that is ready. False, and nothing was done, if the keeper drives.
    /// Called by the loop's thread.
    pub(crate) fn turn(&self, first: impl FnOnce()) -> bool {
        let shared = &*self.shared;
        if tokio::runtime::Handle::try_current().is_ok() {
            if !shared.is_foreign.swap(true, Ordering::SeqCst) {
                shared.call_keeper();
            }
            return false;
        }
        shared.is_foreign.store(false, Ordering::SeqCst);
        shared.turns.fetch_add(1, Ordering::SeqCst);
        shared.turning.store(true, Ordering::SeqCst);
        let may_drive = !shared.keeping.load(Ordering::SeqCst);
        if may_drive {
            let _logs = log::capture();
            shared.run(first);
        }
        shared.turning.store(false, Ordering::SeqCst);
        if !may_drive && !shared.is_keeper_wanted() {
            shared.aside.notify_one();
        }
        may_drive
    }

    /// Decides who drives, with so many calls open.
    pub(crate) fn balance(&self, open: usize) {
        let shared = &*self.shared;
        if open >= BESIDE_COUNT {
            if !shared.is_beside.swap(true, Ordering::SeqCst) {
                shared.call_keeper();
            }
        } else if open <= ALONE_COUNT {
            // The loop's next turn sends it away.
            shared.is_beside.store(false, Ordering::SeqCst);
        }
    }

    /// Has the loop take a turn, unless it is in one.
    pub(crate) fn wake(&self) {
        if !self.shared.turning.load(Ordering::SeqCst) {
            self.shared.signal();
        }
    }

    /// Ends the keeper, waits for it, and drops all tasks.
    pub(crate) fn stop(&self) {
        self.shared.stop();
        if let Some(keeper) = self.keeper.lock().take() {
            // A keeper that panicked has ended, too.
            keeper.join().ok();
        }
        let runtime = self.shared.runtime.write().unwrap_or_else(PoisonError::into_inner).take();
        end(runtime);
    }
}

impl Drop for Hosted {
    /// Ends the keeper without waiting for it: it may be a garbage collector that drops us.
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn runtime(&self) -> RwLockReadGuard<'_, Option<tokio::runtime::Runtime>> {
        self.runtime.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, first: impl FnOnce()) {
        let runtime = self.runtime();
        let Some(runtime) = &*runtime else { return };
        let metrics = runtime.metrics();
        let mut first = Some(first);
        let mut rounds = 0;
        let is_done = runtime.block_on(poll_fn(|cx| {
            if let Some(first) = first.take() {
                first();
            } else if metrics.worker_local_queue_depth(0) == 0 && metrics.global_queue_depth() == 0 {
                return Poll::Ready(true);
            } else if rounds == ROUNDS_MAX {
                return Poll::Ready(false);
            }
            rounds += 1;
            // Polled again when what is ready has run and new events have been looked for.
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        if !is_done {
            self.signal();
        }
    }

    fn is_keeper_wanted(&self) -> bool {
        self.is_beside.load(Ordering::SeqCst) || self.is_foreign.load(Ordering::SeqCst)
    }

    fn call_keeper(&self) {
        let _stopping = self.is_stopping.lock();
        self.changed.notify_one();
    }

    fn signal(&self) {
        if !self.is_signalled.swap(true, Ordering::SeqCst) {
            self.signal.wake();
        }
    }

    /// Adds a descriptor to those that make the loop's readable, or takes it out.
    fn watch(&self, operation: libc::c_int, fd: RawFd) -> bool {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: `event` is live for the call.
        unsafe { libc::epoll_ctl(self.watched.as_raw_fd(), operation, fd, &mut event) == 0 }
    }

    fn stop(&self) {
        *self.is_stopping.lock() = true;
        self.changed.notify_all();
        self.aside.notify_one();
    }

    fn keep(&self) {
        let _logs = log::capture();
        while self.wait_until_wanted() {
            self.keeping.store(true, Ordering::SeqCst);
            if !self.turning.load(Ordering::SeqCst) {
                self.watch(libc::EPOLL_CTL_DEL, self.reactor);
                if let Some(runtime) = &*self.runtime() {
                    runtime.block_on(self.aside.notified());
                }
                self.watch(libc::EPOLL_CTL_ADD, self.reactor);
            }
            self.keeping.store(false, Ordering::SeqCst);
            // Tasks may be ready that no descriptor tells of.
            self.signal();
        }
    }

    /// Waits until the keeper is wanted beside the loop, or no turn has begun for a whole grace; false if the end has
    /// come.
    fn wait_until_wanted(&self) -> bool {
        let mut is_stopping: MutexGuard<'_, bool> = self.is_stopping.lock();
        loop {
            let seen = self.turns.load(Ordering::SeqCst);
            if *is_stopping {
                return false;
            }
            // A turn that is under way has the runtime; it is short.
            let is_free = !self.turning.load(Ordering::SeqCst);
            if is_free && self.is_keeper_wanted() {
                return true;
            }
            let wait = Duration::from_millis(if is_free { GRACE_MS } else { 1 });
            let waited = self.changed.wait_timeout(is_stopping, wait);
            is_stopping = waited.unwrap_or_else(PoisonError::into_inner).0;
            if is_free && !*is_stopping && self.turns.load(Ordering::SeqCst) == seen {
                return true;
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        end(self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Does not wait for name look-ups, which cannot be interrupted.
fn end(runtime: Option<tokio::runtime::Runtime>) {
    if let Some(runtime) = runtime {
        runtime.shutdown_background();
    }
}

/// The epoll instance that a runtime waits on. Tokio does not name it, but the kernel says which descriptors each
/// watches: it is one that watches a descriptor of ours, and becomes readable with it.
fn reactor(runtime: &tokio::runtime::Runtime) -> Option<RawFd> {
    let (mark, mut other) = UnixStream::pair().ok()?;
    mark.set_nonblocking(true).ok()?;
    let number = mark.as_raw_fd().to_string();
    let _entered = runtime.enter();
    let watched = tokio::net::UnixStream::from_std(mark).ok()?;
    other.write_all(b"!").ok()?;
    let found = std::fs::read_dir("/proc/self/fdinfo").ok()?.flatten().find_map(|entry| {
        let fd: RawFd = entry.file_name().to_str()?.parse().ok()?;
        // Those of other threads may be closed meanwhile. There may be thousands, and the names are the quicker to read.
        let kind = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        if !kind.as_os_str().as_encoded_bytes().ends_with(b"[eventpoll]") {
            return None;
        }
        let text = std::fs::read_to_string(entry.path()).ok()?;
        let mut all = text.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next());
        (all.any(|other| other == number) && is_readable(fd)).then_some(fd)
    });
    drop(watched);
    found
}

fn is_readable(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, live for the call, no wait.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
}
