//! The blocking way: a [`BlockingClient`] whose calls drive the socket on the caller's own thread.
//!
//! Across a fork it goes on: the first call in the child connects anew, with a client id of its own. What the parent
//! had is neither used nor dropped there; the child keeps copies of the parent's sockets until it ends or execs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use once_cell::sync::OnceCell;
use slotkv::{Answer, CallOptions, Client, Command, Options};

use crate::driver::{Driver, DriverCounters};
use crate::error::FacadeError;
use crate::fork;

/// A client for blocking calls, from any number of threads. Clones share everything.
#[derive(Clone)]
pub struct BlockingClient(Arc<Shared>);

struct Shared {
    uri: String,
    /// Options of a life: what they hold, as a transport with its connections, belongs to one process.
    options: Box<dyn Fn() -> Options + Send + Sync>,
    is_closed: AtomicBool,
    /// Replaced, never freed, by the first use after a fork.
    life: AtomicPtr<Life>,
}

/// What one process has of a client.
struct Life {
    generation: u64,
    connected: OnceCell<Connected>,
}

struct Connected {
    client: Client,
    driver: Driver,
}

impl BlockingClient {
    /// Connects to the cluster of `uri`. `options` is asked once per process that uses the client, `interrupt` as
    /// [`Driver::run`] says.
    pub fn connect(
        uri: &str,
        options: impl Fn() -> Options + Send + Sync + 'static,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<Self, FacadeError> {
        let shared = Shared {
            uri: uri.into(),
            options: Box::new(options),
            is_closed: AtomicBool::new(false),
            life: AtomicPtr::new(std::ptr::null_mut()),
        };
        shared.connected(interrupt)?;
        Ok(Self(Arc::new(shared)))
    }

    /// Carries out an operation.
    pub fn call(
        &self,
        command: Command,
        options: &CallOptions,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<Answer, FacadeError> {
        self.run(|client| async move { client.call(command, options).await }, interrupt)
    }

    /// Asks a master for the cluster's state.
    pub fn status(
        &self,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<slotkv_proto::v1::StatusReply, FacadeError> {
        self.run(|client| async move { client.status().await }, interrupt)
    }

    /// The core's client, for what needs no waiting.
    pub fn core(&self, interrupt: impl FnMut() -> Result<(), FacadeError>) -> Result<&Client, FacadeError> {
        Ok(&self.0.connected(interrupt)?.client)
    }

    /// Ends open calls and the client's threads, in bounded time. Later calls are CLOSED; closing again does nothing.
    pub fn close(&self) -> Result<(), FacadeError> {
        if self.0.is_closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let Some(connected) = self.0.present() else { return Ok(()) };
        let closed = connected.driver.run(connected.client.close(), || Ok(()));
        connected.driver.stop();
        closed
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed.load(Ordering::SeqCst)
    }

    /// Who drove how often, in this process.
    pub fn counters(&self) -> DriverCounters {
        self.0.present().map_or_else(DriverCounters::default, |connected| connected.driver.counters())
    }

    fn run<'a, T, F>(
        &'a self,
        begin: impl FnOnce(&'a Client) -> F,
        mut interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<T, FacadeError>
    where
        F: Future<Output = slotkv::Result<T>>,
    {
        if self.is_closed() {
            return Err(FacadeError::closed());
        }
        let connected = self.0.connected(&mut interrupt)?;
        connected.driver.run(begin(&connected.client), interrupt)?.map_err(FacadeError::from)
    }
}

impl Shared {
    /// What this process has, if it has connected.
    fn present(&self) -> Option<&Connected> {
        // SAFETY: a life is freed only when `self` is dropped.
        unsafe { self.life.load(Ordering::Acquire).as_ref() }
            .filter(|life| life.generation == fork::generation())?
            .connected
            .get()
    }

    fn connected(
        &self,
        interrupt: impl FnMut() -> Result<(), FacadeError>,
    ) -> Result<&Connected, FacadeError> {
        match self.present() {
            Some(connected) => Ok(connected),
            None => self.life().connected.get_or_try_init(|| self.connect(interrupt)),
        }
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
            let fresh = Box::into_raw(Box::new(Life { generation, connected: OnceCell::new() }));
            // The parent's life stays leaked: its locks may be held by threads that this process does not have.
            if self.life.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: nobody has seen `fresh`.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }

    fn connect(&self, interrupt: impl FnMut() -> Result<(), FacadeError>) -> Result<Connected, FacadeError> {
        let driver = Driver::new()?;
        let client = driver.run(Client::connect_with(&self.uri, (self.options)()), interrupt)??;
        driver.keep()?;
        Ok(Connected { client, driver })
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
