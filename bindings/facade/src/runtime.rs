//! The runtime for hosts with an event loop of their own: one thread, `slotkv-runtime`, that drives a current-thread
//! tokio runtime. It is started by the first use in a process, and again, fresh, by the first use in a forked child.
//! Loops that can drive one themselves have each their own ([`hosted`](crate::hosted)).
//!
//! A host thread never waits for this thread, and this thread never calls into the host other than by a
//! [`Wake`](crate::signal::Wake). Two tasks of a runtime are the facade's own: one takes submissions (a host rings once per
//! batch), the other gives wake-ups when everything that was ready has been done.

use std::future::Future;
use std::os::raw::c_int;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use once_cell::sync::OnceCell;
use slotkv_proto::Code;
use tokio::sync::Notify;

use crate::completion::Flush;
use crate::error::FacadeError;
use crate::hosted::Hosted;
use crate::lock::Mutex;
use crate::signal::Wake;
use crate::{driver, fork, log};

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
    desk: Arc<Desk>,
    is_stopped: AtomicBool,
    drive: Drive,
}

/// Who drives a runtime.
enum Drive {
    Thread { stop: Arc<Notify>, stopped: Mutex<Option<mpsc::Receiver<()>>> },
    Host(Hosted),
}

/// Where hosts hand over, and what the facade's own tasks have of a runtime, which owns them.
struct Desk {
    /// `None` once the runtime has ended: what stood there would keep this alive for ever.
    rung: Mutex<Option<Vec<Arc<dyn Host>>>>,
    bell: Notify,
    /// `None` once the runtime has ended.
    dirty: Mutex<Option<Vec<Arc<dyn Flush>>>>,
    flush: Notify,
    batches: AtomicU64,
    flushes: AtomicU64,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            rung: Mutex::new(Some(Vec::new())),
            bell: Notify::new(),
            dirty: Mutex::new(Some(Vec::new())),
            flush: Notify::new(),
            batches: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
        }
    }
}

/// The runtimes of one process; those of its ancestors are forgotten, with whatever their locks were doing.
struct Process {
    generation: u64,
    runtime: OnceCell<Runtime>,
    /// Those that hosts drive.
    hosted: Mutex<Vec<Weak<Shared>>>,
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());

impl Runtime {
    /// The runtime of this process, started if it does not run.
    pub fn get() -> Result<Runtime, FacadeError> {
        fork::install();
        process().runtime.get_or_try_init(Runtime::start).cloned()
    }

    fn start() -> Result<Runtime, FacadeError> {
        let runtime = driver::runtime()?;
        let (done, stopped) = mpsc::channel();
        let stop = Arc::new(Notify::new());
        let drive = Drive::Thread { stop: stop.clone(), stopped: Mutex::new(Some(stopped)) };
        let own = Runtime::new(runtime.handle().clone(), drive);
        let shared = own.shared.clone();
        std::thread::Builder::new()
            .name(THREAD_NAME.into())
            .spawn(move || {
                let _done = done;
                let _logs = log::capture();
                runtime.block_on(stop.notified());
                // Name look-ups run on threads that cannot be interrupted; they are left behind.
                runtime.shutdown_background();
                shared.stop_hosts();
            })
            .map_err(|error| {
                FacadeError::new(Code::Unexpected, format!("cannot start the runtime's thread: {error}"))
            })?;
        Ok(own)
    }

    /// One that a single event loop drives, and the descriptor for the loop to watch; `None` where that cannot be.
    pub(crate) fn hosted() -> Option<(Runtime, c_int)> {
        fork::install();
        let hosted = Hosted::start()?;
        let fd = hosted.fd();
        let own = Runtime::new(hosted.handle().clone(), Drive::Host(hosted));
        let mut all = process().hosted.lock();
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&own.shared));
        Some((own, fd))
    }

    fn new(handle: tokio::runtime::Handle, drive: Drive) -> Self {
        let desk = Arc::new(Desk::default());
        handle.spawn(take_submissions(desk.clone()));
        handle.spawn(give_wakeups(desk.clone()));
        let (hosts, is_stopped) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        Self { shared: Arc::new(Shared { handle, hosts, desk, is_stopped, drive }) }
    }

    /// What its host drives it by; `None` if it has a thread of its own.
    pub(crate) fn driven_by_host(&self) -> Option<&Hosted> {
        match &self.shared.drive {
            Drive::Host(hosted) if !self.is_stopped() => Some(hosted),
            Drive::Host(_) | Drive::Thread { .. } => None,
        }
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
        if let Some(rung) = &mut *self.shared.desk.rung.lock() {
            rung.push(host);
        }
        self.shared.desk.bell.notify_one();
    }

    /// Whether it was shut down.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.is_stopped.load(Ordering::Acquire)
    }

    /// Has `host` flushed as soon as the tasks that are ready now have run; at once if there are none any more.
    pub(crate) fn flush_later(&self, host: Arc<dyn Flush>) {
        match &mut *self.shared.desk.dirty.lock() {
            Some(dirty) => dirty.push(host),
            None => return host.flush(),
        }
        self.shared.desk.flush.notify_one();
    }

    /// What this runtime has done so far.
    pub fn counters(&self) -> RuntimeCounters {
        RuntimeCounters {
            batches: self.shared.desk.batches.load(Ordering::Relaxed),
            flushes: self.shared.desk.flushes.load(Ordering::Relaxed),
        }
    }
}

impl Process {
    fn new(generation: u64) -> Self {
        Self { generation, runtime: OnceCell::new(), hosted: Mutex::new(Vec::new()) }
    }
}

impl Shared {
    /// True if the thread has ended, if there is one.
    fn shut_down(&self, bound: Duration) -> bool {
        self.is_stopped.store(true, Ordering::Release);
        match &self.drive {
            Drive::Thread { stop, stopped } => {
                stop.notify_one();
                match stopped.lock().take() {
                    Some(stopped) => {
                        !matches!(stopped.recv_timeout(bound), Err(mpsc::RecvTimeoutError::Timeout))
                    }
                    None => true,
                }
            }
            Drive::Host(hosted) => {
                hosted.stop();
                self.stop_hosts();
                true
            }
        }
    }

    /// The runtime has ended, and its tasks with it.
    fn stop_hosts(&self) {
        // In this order: what is handed over from now on is refused by its host, which learns of the end below.
        drop(self.desk.rung.lock().take());
        drop(self.desk.dirty.lock().take());
        let hosts = std::mem::take(&mut *self.hosts.lock());
        for host in hosts {
            if let Some(host) = host.upgrade() {
                host.stop();
            }
        }
    }
}

/// Has the host of a runtime that it drives itself take a turn.
impl Wake for Runtime {
    fn wake(&self) {
        match &self.shared.drive {
            Drive::Thread { .. } => {}
            Drive::Host(hosted) => hosted.wake(),
        }
    }
}

async fn take_submissions(desk: Arc<Desk>) {
    let mut rung = Vec::new();
    loop {
        desk.bell.notified().await;
        let Some(()) = desk.rung.lock().as_mut().map(|new| std::mem::swap(new, &mut rung)) else {
            return;
        };
        for host in rung.drain(..) {
            desk.batches.fetch_add(1, Ordering::Relaxed);
            host.run();
        }
    }
}

async fn give_wakeups(desk: Arc<Desk>) {
    let mut dirty = Vec::new();
    loop {
        desk.flush.notified().await;
        desk.flushes.fetch_add(1, Ordering::Relaxed);
        let Some(()) = desk.dirty.lock().as_mut().map(|new| std::mem::swap(new, &mut dirty)) else {
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
        let fresh = Box::into_raw(Box::new(Process::new(generation)));
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
    let fresh = Box::into_raw(Box::new(Process::new(generation)));
    if PROCESS.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: nobody has seen `fresh`.
        drop(unsafe { Box::from_raw(fresh) });
    }
    let hosted = std::mem::take(&mut *process.hosted.lock());
    for shared in hosted.iter().filter_map(Weak::upgrade) {
        shared.shut_down(bound);
    }
    process.runtime.get().is_none_or(|runtime| runtime.shared.shut_down(bound))
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
