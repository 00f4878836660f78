//! The embedded coordinator: the same tree, sessions, watches and errors as ZooKeeper's, in this process. It backs
//! `slotkv dev`, the tests and the simulator, and through [`Faults`] it misbehaves as the real one does: sessions expire,
//! hints get lost, outcomes stay unknown, reads are old, the whole of it is away for a while.
//!
//! Time is tokio's, so that paused virtual time works. Left alone, a session never expires: only a fault, or a client side
//! that was dropped or partitioned for longer than the session timeout, ends it.
//!
//! [`Embedded::new`] keeps everything in memory; [`Embedded::open`] keeps the persistent nodes in a folder, on the disk
//! before a write is answered. Both are one coordinator per value: clones of it are the same one.

mod faults;
mod file;
mod server;
mod session;
mod tree;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

pub use self::faults::{Faults, Met, Misbehaviour, WriteFate};
use self::{
    file::Folder,
    server::Server,
    session::{EmbeddedSession, keep},
};
use crate::{
    Error,
    coordinator::{Coordinator, SESSION_TIMEOUT_MIN, Session},
};

/// A coordinator in this process.
#[derive(Clone, Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    server: Mutex<Server>,
    /// False while [`Faults::stop`] holds.
    running: watch::Sender<bool>,
}

impl Embedded {
    /// An empty one, in memory.
    pub fn new() -> Self {
        Self::with(Server::in_memory())
    }

    /// The one that the folder holds, or an empty one that it will hold. Ephemeral nodes of the process before are gone.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let (folder, saved) = Folder::open(dir.as_ref())?;
        Ok(Self::with(Server::in_folder(folder, saved)?))
    }

    /// How to make it misbehave.
    pub fn faults(&self) -> Faults {
        Faults::new(self.shared.clone())
    }

    fn with(server: Server) -> Self {
        Self { shared: Arc::new(Shared { server: Mutex::new(server), running: watch::Sender::new(true) }) }
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Coordinator for Embedded {
    async fn open(&self, session_timeout: Duration) -> Result<Arc<dyn Session>, Error> {
        let timeout = session_timeout.max(SESSION_TIMEOUT_MIN);
        let mut running = self.shared.running.subscribe();
        if tokio::time::timeout(timeout, running.wait_for(|running| *running)).await.is_err() {
            return Err(Error::Unavailable { name: self.name(), why: "it is stopped".into() });
        }
        let (session, wake) = EmbeddedSession::open(&self.shared, timeout, Instant::now());
        tokio::spawn(keep(Arc::downgrade(&self.shared), session.id(), wake));
        Ok(Arc::new(session))
    }

    fn name(&self) -> String {
        "embedded".into()
    }
}
