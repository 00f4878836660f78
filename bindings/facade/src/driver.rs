//! Blocking calls: the socket is driven by the thread that makes the call.
//!
//! A [`Driver`] owns a current-thread tokio runtime. Whoever calls [`Driver::run`] blocks on it; of several callers one
//! drives for all, and when it leaves another takes over. While nobody calls, a *keeper* thread drives, so that pings,
//! keep-alives and reconnects go on.
//!
//! Who drives:
//! - A caller counts itself in `callers` and then looks at `keeping`; the keeper sets `keeping` and then looks at
//!   `callers`. Both orders are sequentially consistent, so at least one sees the other: the keeper does not start, or
//!   the caller tells it to step aside.
//! - The keeper drives only after no call has begun or been under way for a whole [`GRACE_MS`]. A steady stream of calls
//!   thus costs no hand-over at all, and the keeper one look per grace. What pings lose by that is at most the grace,
//!   which is short beside their period of 300 ms.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use slotkv_proto::Code;
use tokio::sync::Notify;

use crate::error::FacadeError;
use crate::lock::Mutex;
use crate::{fork, log};

/// How long there must have been no call before the keeper drives.
pub const GRACE_MS: u64 = 50;
/// How often a call that takes long looks whether its host wants it to end.
pub const CADENCE_MS: u64 = 50;
/// Name of the keeper's thread.
pub const THREAD_NAME: &str = "slotkv-keeper";

/// What a driver has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// Calls made.
    pub calls: u64,
    /// Times the keeper began to drive.
    pub keeps: u64,
    /// Times a call told the keeper to step aside.
    pub interruptions: u64,
}

/// A runtime for one thread at a time. Only name look-ups have threads of its own.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, FacadeError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("slotkv-blocking")
        .build()
        .map_err(|error| FacadeError::new(Code::Unexpected, format!("cannot start a tokio runtime: {error}")))
}

/// A runtime that its callers drive.
pub struct Driver {
    shared: Arc<Shared>,
    keeper: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    /// `None` only while it is being dropped.
    runtime: Option<tokio::runtime::Runtime>,
    grace: Duration,
    callers: AtomicUsize,
    calls: AtomicU64,
    keeping: AtomicBool,
    aside: Notify,
    stopping: Mutex<bool>,
    stop: Condvar,
    keeps: AtomicU64,
    interruptions: AtomicU64,
}

impl Driver {
    /// A driver without a keeper: nothing moves between calls until [`Driver::keep`].
    pub fn new() -> Result<Self, FacadeError> {
        Self::with_grace(Duration::from_millis(GRACE_MS))
    }

    fn with_grace(grace: Duration) -> Result<Self, FacadeError> {
        let runtime = runtime()?;
        let shared = Arc::new(Shared {
            runtime: Some(runtime),
            grace,
            callers: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            keeping: AtomicBool::new(false),
            aside: Notify::new(),
            stopping: Mutex::new(false),
            stop: Condvar::new(),
            keeps: AtomicU64::new(0),
            interruptions: AtomicU64::new(0),
        });
        Ok(Self { shared, keeper: Mutex::new(None) })
    }

    /// Starts the keeper, once.
    pub fn keep(&self) -> Result<(), FacadeError> {
        let mut keeper = self.keeper.lock();
        if keeper.is_none() && !*self.shared.stopping.lock() {
            let shared = self.shared.clone();
            let spawned = std::thread::Builder::new().name(THREAD_NAME.into()).spawn(move || keep(&shared));
            *keeper = Some(spawned.map_err(|error| {
                FacadeError::new(Code::Unexpected, format!("cannot start the keeper's thread: {error}"))
            })?);
        }
        Ok(())
    }

    /// Drives `future` to its end on this thread.
    ///
    /// `interrupt` is asked every [`CADENCE_MS`] of a call that takes that long, outside the runtime; an error ends the
    /// call, and `future` is dropped.
    pub fn run<F: Future>(
        &self,
        future: F,
        mut interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<F::Output, FacadeError> {
        let _caller = self.shared.enter();
        let _logs = log::capture();
        // `interrupt` may run a signal handler of the host, which may fork.
        let mut future = pin!(fork::Owned::new(future));
        loop {
            let future = future.as_mut().project().ok_or_else(FacadeError::forked)?;
            let slice = async { tokio::time::timeout(Duration::from_millis(CADENCE_MS), future).await };
            match self.shared.runtime().block_on(slice) {
                Ok(output) => return Ok(output),
                Err(_) => interrupt()?,
            }
        }
    }

    /// Lets `future` run whenever somebody drives.
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.shared.runtime().spawn(future);
    }

    /// Ends the keeper and waits for it. Calls under way go on.
    pub fn stop(&self) {
        self.shared.stop();
        if let Some(keeper) = self.keeper.lock().take() {
            // A keeper that panicked has ended, too.
            keeper.join().ok();
        }
    }

    /// What the driver has done so far.
    pub fn counters(&self) -> DriverCounters {
        DriverCounters {
            calls: self.shared.calls.load(Ordering::Relaxed),
            keeps: self.shared.keeps.load(Ordering::Relaxed),
            interruptions: self.shared.interruptions.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Driver {
    /// Ends the keeper without waiting for it: it may be a garbage collector that drops us.
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn runtime(&self) -> &tokio::runtime::Runtime {
        self.runtime.as_ref().expect("the runtime lives as long as `Shared`")
    }

    fn enter(&self) -> Caller<'_> {
        self.callers.fetch_add(1, Ordering::SeqCst);
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.keeping.load(Ordering::SeqCst) {
            self.interruptions.fetch_add(1, Ordering::Relaxed);
            self.aside.notify_one();
        }
        Caller(self)
    }

    fn stop(&self) {
        *self.stopping.lock() = true;
        self.stop.notify_all();
        self.aside.notify_one();
    }

    /// Waits until there was no call for a whole grace; false if the driver is stopping.
    fn wait_for_quiet(&self) -> bool {
        let mut stopping = self.stopping.lock();
        loop {
            let seen = self.calls.load(Ordering::SeqCst);
            if !*stopping {
                let waited = self.stop.wait_timeout(stopping, self.grace);
                stopping = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if *stopping {
                return false;
            }
            if self.callers.load(Ordering::SeqCst) == 0 && self.calls.load(Ordering::SeqCst) == seen {
                return true;
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait for name look-ups, which cannot be interrupted.
            runtime.shutdown_background();
        }
    }
}

struct Caller<'a>(&'a Shared);

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.0.callers.fetch_sub(1, Ordering::SeqCst);
    }
}

fn keep(shared: &Shared) {
    let _logs = log::capture();
    while shared.wait_for_quiet() {
        shared.keeping.store(true, Ordering::SeqCst);
        if shared.callers.load(Ordering::SeqCst) == 0 {
            shared.keeps.fetch_add(1, Ordering::Relaxed);
            shared.runtime().block_on(shared.aside.notified());
        }
        shared.keeping.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(1);
    /// Miri takes long for each.
    const CALLS: u64 = if cfg!(miri) { 20 } else { 2000 };
    const THREADS: u64 = if cfg!(miri) { 4 } else { 32 };
    const CALLS_PER_THREAD: u64 = if cfg!(miri) { 3 } else { 20 };

    fn patient() -> Result<(), FacadeError> {
        Ok(())
    }

    /// An echo server on a thread of its own, and its address.
    fn echo() -> std::net::SocketAddr {
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let mut bytes = [0; 64];
                        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                            stream.write_all(&bytes[..count]).await.unwrap();
                        }
                    });
                }
            });
        });
        told.recv().unwrap()
    }

    async fn round_trips(address: std::net::SocketAddr, count: u64) -> u64 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut sum = 0;
        for number in 0..count {
            stream.write_u64(number).await.unwrap();
            sum += stream.read_u64().await.unwrap();
        }
        sum
    }

    /// Waits until the keeper drives.
    fn wait_for_keeper(driver: &Driver) {
        let (tell, told) = channel();
        driver.spawn(async move { tell.send(()).unwrap() });
        told.recv().unwrap();
    }

    #[test]
    fn a_steady_stream_of_calls_is_never_handed_over() {
        let driver = Driver::with_grace(LONG).unwrap();
        driver.keep().unwrap();
        let address = echo();
        let mut stream = driver.run(TcpStream::connect(address), patient).unwrap().unwrap();
        for number in 0..CALLS {
            let call = async {
                stream.write_u64(number).await.unwrap();
                stream.read_u64().await.unwrap()
            };
            assert_eq!(driver.run(call, patient), Ok(number));
        }
        assert_eq!(driver.counters(), DriverCounters { calls: CALLS + 1, keeps: 0, interruptions: 0 });
        driver.stop();
    }

    #[test]
    fn timers_go_on_while_nobody_calls() {
        let driver = Driver::with_grace(SHORT).unwrap();
        driver.keep().unwrap();
        let (tell, told) = channel();
        driver.spawn(async move {
            let mut ticks = tokio::time::interval(SHORT);
            loop {
                ticks.tick().await;
                tell.send(()).ok();
            }
        });
        for _ in 0..5 {
            told.recv().unwrap();
        }
        assert!(driver.counters().keeps >= 1);
        driver.stop();
    }

    #[test]
    fn a_call_that_arrives_while_the_keeper_drives_gets_through() {
        let driver = Driver::with_grace(SHORT).unwrap();
        driver.keep().unwrap();
        let address = echo();
        for round in 1..=20 {
            wait_for_keeper(&driver);
            assert_eq!(driver.run(round_trips(address, 10), patient), Ok(45));
            assert!(driver.counters().interruptions >= round);
        }
        driver.stop();
    }

    #[test]
    fn many_threads_drive_one_another() {
        for grace in [SHORT, LONG] {
            let driver = Driver::with_grace(grace).unwrap();
            driver.keep().unwrap();
            let address = echo();
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        for count in 1..=CALLS_PER_THREAD {
                            let sum = driver.run(round_trips(address, count), patient);
                            assert_eq!(sum, Ok(count * (count - 1) / 2));
                        }
                    });
                }
            });
            assert_eq!(driver.counters().calls, THREADS * CALLS_PER_THREAD);
            driver.stop();
        }
    }

    #[test]
    fn a_long_call_ends_when_its_host_wants_it_to() {
        let driver = Driver::with_grace(LONG).unwrap();
        let mut asked = 0;
        let result = driver.run(std::future::pending::<()>(), || {
            asked += 1;
            if asked == 3 { Err(FacadeError::cancelled()) } else { Ok(()) }
        });
        assert_eq!(result, Err(FacadeError::cancelled()));
        assert_eq!(driver.run(async { 7 }, patient), Ok(7), "the driver is as good as before");
    }

    #[test]
    fn stopping_ends_the_keeper_and_lets_calls_end() {
        let driver = Arc::new(Driver::with_grace(SHORT).unwrap());
        driver.keep().unwrap();
        let (tell, told) = channel();
        let (release, released) = tokio::sync::oneshot::channel();
        let caller = std::thread::spawn({
            let driver = driver.clone();
            move || {
                let call = async {
                    tell.send(()).unwrap();
                    released.await.unwrap()
                };
                driver.run(call, patient)
            }
        });
        told.recv().unwrap();
        driver.stop();
        driver.stop();
        release.send(5).unwrap();
        assert_eq!(caller.join().unwrap(), Ok(5));
        driver.keep().unwrap();
        assert!(driver.keeper.lock().is_none(), "a stopped driver gets no new keeper");
    }
}
