//! The blocking way: a [`BlockingClient`] whose calls drive the socket on the caller's own thread.
//!
//! Across a fork it goes on: the first call in the child connects anew, with a client id of its own. What the parent
//! had is neither used nor dropped there; the child keeps copies of the parent's sockets until it ends or execs.
//!
//! One thread of a process connects; others that need the connection wait for it in slices of [`CADENCE_MS`], between
//! which their hosts may interrupt them. A host that is asked whether to interrupt may run code that comes back here on
//! the same thread, as a handler of a signal does: it may make calls, and is refused where it would wait for itself.

mod scan;

use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Condvar, OnceLock};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slotkv::{Answer, CallOptions, Client, Code, Command, Item, Range, ReadLevel, Session};

pub use self::scan::BlockingScan;
use crate::driver::{CADENCE_MS, Driver, DriverCounters};
use crate::error::FacadeError;
use crate::fork;
use crate::lock::Mutex;
use crate::many;
use crate::scan::Scan;
use crate::settings::{self, Settings};

/// A client for blocking calls, from any number of threads. Clones share everything, views their connections.
#[derive(Clone)]
pub struct BlockingClient {
    shared: Arc<Shared>,
    /// What calls say unless they say it themselves.
    defaults: CallOptions,
}

struct Shared {
    uri: String,
    settings: Settings,
    is_closed: AtomicBool,
    /// Replaced, never freed, by the first use after a fork.
    life: AtomicPtr<Life>,
}

/// What one process has of a client.
struct Life {
    generation: u64,
    connected: OnceLock<Connected>,
    /// The thread that connects.
    connecting: Mutex<Option<ThreadId>>,
    changed: Condvar,
}

struct Connected {
    client: Client,
    driver: Driver,
}

impl BlockingClient {
    /// Connects to the cluster of `uri`. `interrupt` as [`Driver::run`] says.
    pub fn connect(
        uri: &str,
        settings: Settings,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<Self, FacadeError> {
        let client = Self::unconnected(uri, settings);
        let connected = client.shared.connected(None, interrupt)?;
        if let Some(name) = &client.defaults.namespace {
            // The core knows which names may be.
            connected.client.namespace(name)?;
        }
        Ok(client)
    }

    /// A client that its first call connects, as the first call in a forked child does.
    pub fn unconnected(uri: &str, settings: Settings) -> Self {
        let defaults = settings.defaults();
        let shared = Arc::new(Shared {
            uri: uri.into(),
            settings,
            is_closed: AtomicBool::new(false),
            life: AtomicPtr::new(std::ptr::null_mut()),
        });
        Self { shared, defaults }
    }

    /// Carries out an operation. `options` are what it says differently from its client.
    pub fn call(
        &self,
        command: Command,
        options: CallOptions,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<Answer, FacadeError> {
        if self.is_closed()
            && let Command::Many { commands } = &command
        {
            return Ok(many::closed(commands.len()));
        }
        let options = settings::over(options, &self.defaults);
        self.run(options.deadline, |client| async move { client.call(command, &options).await }, interrupt)
    }

    /// A scan of `range`, from its beginning or from the place of a cursor, that ends after `items_max` items. `options`
    /// are for each page.
    pub fn scan(
        &self,
        range: Range,
        cursor: Option<Bytes>,
        items_max: Option<u64>,
        options: CallOptions,
    ) -> BlockingScan {
        let options = settings::over(options, &self.defaults);
        BlockingScan::new(self.clone(), options, Scan::new(range, cursor, items_max))
    }

    /// Every item of `range`, in key order. It has to fit into memory.
    pub fn dump(
        &self,
        range: Range,
        options: CallOptions,
        mut interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<Vec<Item>, FacadeError> {
        let scan = self.scan(Range { ordered: true, ..range }, None, None, options);
        let mut items = Vec::new();
        while let Some(item) = scan.next(&mut interrupt)? {
            items.push(item);
        }
        Ok(items)
    }

    /// Asks a master for the cluster's state.
    pub fn status(
        &self,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<slotkv_proto::v1::StatusReply, FacadeError> {
        let deadline = self.defaults.deadline;
        self.run(deadline, |client| async move { Ok(status(client, deadline).await) }, interrupt)?
    }

    /// The core's client, for what needs no waiting.
    pub fn core(&self, interrupt: impl FnMut() -> Result<(), FacadeError>) -> Result<&Client, FacadeError> {
        Ok(&self.shared.connected(self.defaults.deadline, interrupt)?.client)
    }

    /// The same connections, for the keys of another namespace; empty for the one without a name.
    pub fn namespace(
        &self,
        name: &str,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<Self, FacadeError> {
        // The core knows which names may be.
        self.core(interrupt)?.namespace(name)?;
        Ok(self.with(CallOptions { namespace: Some(name.into()), ..CallOptions::default() }))
    }

    /// The same connections, with another deadline for calls that name none.
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        self.with(CallOptions { deadline: Some(deadline), ..CallOptions::default() })
    }

    /// The same connections, with a W3C traceparent for calls that name none.
    pub fn with_traceparent(&self, traceparent: String) -> Self {
        self.with(CallOptions { traceparent: Some(traceparent), ..CallOptions::default() })
    }

    /// The same connections, with another freshness of reads that name none.
    pub fn with_read_level(&self, level: ReadLevel) -> Self {
        self.with(CallOptions { read_level: Some(level), ..CallOptions::default() })
    }

    /// The same connections, for a session that goes on where the token stands; of no bytes, one that has seen nothing.
    pub fn with_session_token(&self, token: &[u8]) -> Result<Self, FacadeError> {
        let session = Some(Session::from_token(token)?);
        Ok(self.with(CallOptions { session, read_level: Some(ReadLevel::Session), ..CallOptions::default() }))
    }

    /// What the session has seen, as opaque bytes.
    pub fn session_token(
        &self,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<Bytes, FacadeError> {
        Ok(match &self.defaults.session {
            Some(session) => session.token(),
            None => self.core(interrupt)?.session_token(),
        })
    }

    /// Ends open calls and the client's threads, in bounded time. Later calls are CLOSED; closing again does nothing.
    pub fn close(&self) -> Result<(), FacadeError> {
        if self.shared.is_closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        // A thread that connects at this moment closes what it gets.
        self.shared.present().map_or(Ok(()), Connected::close)
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Who drove how often, in this process.
    pub fn counters(&self) -> DriverCounters {
        self.shared.present().map_or_else(DriverCounters::default, |connected| connected.driver.counters())
    }

    fn with(&self, options: CallOptions) -> Self {
        Self { shared: self.shared.clone(), defaults: settings::over(options, &self.defaults) }
    }

    fn run<'a, T, F>(
        &'a self,
        deadline: Option<Duration>,
        begin: impl FnOnce(&'a Client) -> F,
        mut interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<T, FacadeError>
    where
        F: Future<Output = slotkv::Result<T>>,
    {
        if self.is_closed() {
            return Err(FacadeError::closed());
        }
        let connected = self.shared.connected(deadline, &mut interrupt)?;
        connected.driver.run(begin(&connected.client), interrupt)?.map_err(FacadeError::from)
    }
}

/// The cluster's state within `deadline`, if there is one.
pub(crate) async fn status(
    client: &Client,
    deadline: Option<Duration>,
) -> Result<slotkv_proto::v1::StatusReply, FacadeError> {
    Ok(client.status_with(&CallOptions { deadline, ..CallOptions::default() }).await?)
}

impl Connected {
    fn close(&self) -> Result<(), FacadeError> {
        let closed = self.driver.run(self.client.close(), || Ok(()));
        self.driver.stop();
        closed
    }
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// What this process has, if it has connected.
    fn present(&self) -> Option<&Connected> {
        // SAFETY: a life is freed only when `self` is dropped.
        unsafe { self.life.load(Ordering::Acquire).as_ref() }
            .filter(|life| life.generation == fork::generation())?
            .connected
            .get()
    }

    /// What this process has; it connects, for at most `deadline`, if it has not yet.
    fn connected(
        &self,
        deadline: Option<Duration>,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<&Connected, FacadeError> {
        match self.present() {
            Some(connected) => Ok(connected),
            None => self.connect_once(deadline, interrupt),
        }
    }

    fn connect_once(
        &self,
        deadline: Option<Duration>,
        mut interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<&Connected, FacadeError> {
        let begun = Instant::now();
        let mut ask = || {
            if self.is_closed() {
                return Err(FacadeError::closed());
            }
            match deadline {
                Some(deadline) if begun.elapsed() > deadline => {
                    Err(FacadeError::timed_out("the connection", deadline))
                }
                _ => interrupt(),
            }
        };
        let life = self.life();
        let me = std::thread::current().id();
        loop {
            if self.is_closed() {
                return Err(FacadeError::closed());
            }
            let mut connecting = life.connecting.lock();
            if let Some(connected) = life.connected.get() {
                return Ok(connected);
            }
            match *connecting {
                None => {
                    *connecting = Some(me);
                    break;
                }
                Some(thread) if thread == me => {
                    return Err(FacadeError::new(
                        Code::Unavailable,
                        "the client is being connected by this thread",
                    ));
                }
                Some(_) => {
                    let slice = Duration::from_millis(CADENCE_MS);
                    drop(life.changed.wait_timeout(connecting, slice));
                }
            }
            ask()?;
            // In a child, the lock may be held by a thread that it does not have.
            if life.generation != fork::generation() {
                return Err(FacadeError::forked());
            }
        }
        let turn = Turn(life);
        let fresh = self.connect(&mut ask)?;
        // Nobody else has a turn.
        let connected = life.connected.get_or_init(|| fresh);
        drop(turn);
        if self.is_closed() {
            connected.close()?;
            return Err(FacadeError::closed());
        }
        Ok(connected)
    }

    fn life(&self) -> &Life {
        fork::install();
        let generation = fork::generation();
        loop {
            let known = self.life.load(Ordering::Acquire);
            // SAFETY: as in `present`.
            if let Some(life) = unsafe { known.as_ref() }.filter(|life| life.generation == generation) {
                return life;
            }
            let fresh = Life {
                generation,
                connected: OnceLock::new(),
                connecting: Mutex::default(),
                changed: Condvar::new(),
            };
            let fresh = Box::into_raw(Box::new(fresh));
            // The parent's life stays leaked: its locks may be held by threads that this process does not have.
            if self.life.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: nobody has seen `fresh`.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }

    fn connect(&self, interrupt: impl FnMut() -> Result<(), FacadeError>) -> Result<Connected, FacadeError> {
        // A child that is forked by `interrupt` must not take the parent's sockets down.
        let driver = fork::Owned::new(Driver::new()?);
        let connecting = Client::connect_with(&self.uri, self.settings.options());
        let client = driver.get().ok_or_else(FacadeError::forked)?.run(connecting, interrupt)??;
        let driver = driver.into_inner().ok_or_else(FacadeError::forked)?;
        driver.keep()?;
        Ok(Connected { client, driver })
    }
}

/// A thread's turn to connect.
struct Turn<'a>(&'a Life);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.0.generation == fork::generation() {
            *self.0.connecting.lock() = None;
            self.0.changed.notify_all();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let life = *self.life.get_mut();
        // SAFETY: the last reference is gone, so nobody else reads the life.
        if let Some(known) = unsafe { life.as_ref() }
            && known.generation == fork::generation()
        {
            drop(unsafe { Box::from_raw(life) });
        }
    }
}
