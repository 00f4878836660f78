//! The runtime for hosts with an event loop of their own: one thread, `slotkv-runtime`, that drives a current-thread
//! tokio runtime. It is started by the first use in a process, and again, fresh, by the first use in a forked child.
//!
//! A host thread never waits for this thread, and this thread never calls into the host other than by a
//! [`Wake`](crate::signal::Wake). Two tasks of it are the facade's own: one takes submissions (a host rings once per batch),
//! the other gives wake-ups when everything that was ready has been done.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use once_cell::sync::OnceCell;
use slotkv_proto::Code;
use tokio::sync::Notify;

use crate::completion::Flush;
use crate::error::FacadeError;
use crate::lock::Mutex;
use crate::{fork, log};

/// Name of the runtime's thread.
pub const THREAD_NAME: &str = "slotkv-runtime";
/// How long [`shutdown`] waits unless told.
pub const SHUTDOWN_MS: u64 = 2_000;

/// Who hands work to the runtime.
pub(crate) trait Host: Send + Sync + 'static {
    /// Takes what was handed over. Runs on the runtime's thread, inside the runtime.
    fn run(self: Arc<Self>);

    /// Ends what is under way and wakes the host a last time: the runtime has ended. Runs on the runtime's thread.
    fn stop(&self);
}

/// What the runtime has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeCounters {
    /// Batches of submissions taken.
    pub batches: u64,
    /// Times the hosts were looked at for a wake-up.
    pub flushes: u64,
}

/// The runtime of this process.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

struct Shared {
    handle: tokio::runtime::Handle,
    hosts: Mutex<Vec<Weak<dyn Host>>>,
    /// `None` once the runtime has ended: what stood there would keep this alive for ever.
    rung: Mutex<Option<Vec<Arc<dyn Host>>>>,
    bell: Notify,
    /// `None` once the runtime has ended.
    dirty: Mutex<Option<Vec<Arc<dyn Flush>>>>,
    flush: Notify,
    stop: Notify,
    is_stopped: AtomicBool,
    stopped: Mutex<Option<mpsc::Receiver<()>>>,
    batches: AtomicU64,
    flushes: AtomicU64,
}

/// The runtime of one process; those of its ancestors are forgotten, with whatever their locks were doing.
struct Process {
    generation: u64,
    runtime: OnceCell<Runtime>,
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());

impl Runtime {
    /// The runtime of this process, started if it does not run.
    pub fn get() -> Result<Runtime, FacadeError> {
        fork::install();
        process().runtime.get_or_try_init(Runtime::start).cloned()
    }

    fn start() -> Result<Runtime, FacadeError> {
        let failed = |what: &str, error: std::io::Error| {
            FacadeError::new(Code::Unexpected, format!("cannot start {what}: {error}"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("slotkv-blocking")
            .build()
            .map_err(|error| failed("a tokio runtime", error))?;
        let (done, stopped) = mpsc::channel();
        let shared = Arc::new(Shared {
            handle: runtime.handle().clone(),
            hosts: Mutex::new(Vec::new()),
            rung: Mutex::new(Some(Vec::new())),
            bell: Notify::new(),
            dirty: Mutex::new(Some(Vec::new())),
            flush: Notify::new(),
            stop: Notify::new(),
            is_stopped: AtomicBool::new(false),
            stopped: Mutex::new(Some(stopped)),
            batches: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
        });
        let own = Runtime { shared: shared.clone() };
        std::thread::Builder::new()
            .name(THREAD_NAME.into())
            .spawn(move || {
                let _done = done;
                let _logs = log::capture();
                runtime.spawn(take_submissions(own.clone()));
                runtime.spawn(give_wakeups(own.clone()));
                runtime.block_on(own.shared.stop.notified());
                // Name look-ups run on threads that cannot be interrupted; they are left behind.
                runtime.shutdown_background();
                own.shared.stop_hosts();
            })
            .map_err(|error| failed("the runtime's thread", error))?;
        Ok(Runtime { shared })
    }

    /// Starts a task.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.handle.spawn(future)
    }

    /// Has `host` told when the runtime ends.
    pub(crate) fn register(&self, host: Weak<dyn Host>) {
        let mut hosts = self.shared.hosts.lock();
        hosts.retain(|known| known.strong_count() > 0);
        hosts.push(host);
    }

    /// Has the runtime's thread take what `host` hands over. Called by hosts, once per batch.
    pub(crate) fn ring(&self, host: Arc<dyn Host>) {
        if let Some(rung) = &mut *self.shared.rung.lock() {
            rung.push(host);
        }
        self.shared.bell.notify_one();
    }

    /// Whether it was shut down.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.is_stopped.load(Ordering::Acquire)
    }

    /// Has `host` flushed as soon as the tasks that are ready now have run; at once if there are none any more.
    pub(crate) fn flush_later(&self, host: Arc<dyn Flush>) {
        match &mut *self.shared.dirty.lock() {
            Some(dirty) => dirty.push(host),
            None => return host.flush(),
        }
        self.shared.flush.notify_one();
    }

    /// What this runtime has done so far.
    pub fn counters(&self) -> RuntimeCounters {
        RuntimeCounters {
            batches: self.shared.batches.load(Ordering::Relaxed),
            flushes: self.shared.flushes.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    /// The runtime has ended, and its tasks with it.
    fn stop_hosts(&self) {
        // In this order: what is handed over from now on is refused by its host, which learns of the end below.
        drop(self.rung.lock().take());
        drop(self.dirty.lock().take());
        let hosts = std::mem::take(&mut *self.hosts.lock());
        for host in hosts {
            if let Some(host) = host.upgrade() {
                host.stop();
            }
        }
    }
}

async fn take_submissions(runtime: Runtime) {
    let mut rung = Vec::new();
    loop {
        runtime.shared.bell.notified().await;
        let Some(()) = runtime.shared.rung.lock().as_mut().map(|new| std::mem::swap(new, &mut rung)) else {
            return;
        };
        for host in rung.drain(..) {
            runtime.shared.batches.fetch_add(1, Ordering::Relaxed);
            host.run();
        }
    }
}

async fn give_wakeups(runtime: Runtime) {
    let mut dirty = Vec::new();
    loop {
        runtime.shared.flush.notified().await;
        runtime.shared.flushes.fetch_add(1, Ordering::Relaxed);
        let Some(()) = runtime.shared.dirty.lock().as_mut().map(|new| std::mem::swap(new, &mut dirty)) else {
            return;
        };
        for host in dirty.drain(..) {
            host.flush();
        }
    }
}

fn process() -> &'static Process {
    let generation = fork::generation();
    loop {
        let known = PROCESS.load(Ordering::Acquire);
        // SAFETY: what is stored here was leaked from a box and is never freed.
        if let Some(process) = unsafe { known.as_ref() }.filter(|known| known.generation == generation) {
            return process;
        }
        let fresh = Box::into_raw(Box::new(Process { generation, runtime: OnceCell::new() }));
        match PROCESS.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // The old one stays leaked: its locks may be held by threads that this process does not have.
            Ok(_) => continue,
            // SAFETY: nobody has seen `fresh`.
            Err(_) => drop(unsafe { Box::from_raw(fresh) }),
        }
    }
}

/// Stops the runtime of this process, if it runs, and waits for its thread up to `bound`. Calls that were under way end
/// as CLOSED, for which hosts are woken a last time. The next use starts a fresh runtime. True if the thread has ended.
pub fn shutdown(bound: Duration) -> bool {
    let generation = fork::generation();
    let known = PROCESS.load(Ordering::Acquire);
    // SAFETY: what is stored here was leaked from a box and is never freed.
    let Some(process) = unsafe { known.as_ref() }.filter(|known| known.generation == generation) else {
        return true;
    };
    let Some(runtime) = process.runtime.get() else { return true };
    let fresh = Box::into_raw(Box::new(Process { generation, runtime: OnceCell::new() }));
    if PROCESS.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: nobody has seen `fresh`.
        drop(unsafe { Box::from_raw(fresh) });
    }
    runtime.shared.is_stopped.store(true, Ordering::Release);
    runtime.shared.stop.notify_one();
    let stopped = runtime.shared.stopped.lock().take();
    match stopped {
        Some(stopped) => !matches!(stopped.recv_timeout(bound), Err(mpsc::RecvTimeoutError::Timeout)),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    // One test: the runtime is the process's, and tests of one binary share a process.
    #[test]
    fn the_runtime_starts_lazily_stops_in_time_and_starts_afresh() {
        let runtime = Runtime::get().unwrap();
        let (tell, told) = channel();
        runtime.spawn({
            let tell = tell.clone();
            async move {
                tell.send(std::thread::current().name().map(String::from)).ok();
                std::future::pending::<()>().await;
            }
        });
        assert_eq!(told.recv().unwrap().as_deref(), Some(THREAD_NAME));
        assert!(shutdown(Duration::from_secs(10)), "a pending task does not keep the thread");
        assert!(shutdown(Duration::from_secs(10)), "nothing runs: nothing to wait for");

        let again = Runtime::get().unwrap();
        assert!(!Arc::ptr_eq(&again.shared, &runtime.shared));
        again.spawn(async move { tell.send(None).ok() });
        assert_eq!(told.recv().unwrap(), None);
    }
}
