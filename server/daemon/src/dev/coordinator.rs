//! The embedded coordinator on a thread of its own, so that its sessions are watched over when the thread of a killed
//! member is gone.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use slotkv_coordination::{Coordinator, Embedded, Error, Session};
use tokio::{runtime::Handle, sync::oneshot};

/// Opens every session on one thread.
#[derive(Clone)]
pub(super) struct Shared {
    embedded: Embedded,
    runtime: Handle,
    /// The thread ends with the last clone.
    _alive: Arc<oneshot::Sender<()>>,
}

impl Shared {
    /// Starts the thread.
    pub fn start(embedded: Embedded) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (alive, ended) = oneshot::channel();
        let handle = runtime.handle().clone();
        let run = move || {
            // Nothing is ever sent: it ends when the sender is dropped.
            let _ = runtime.block_on(ended);
        };
        std::thread::Builder::new().name("coordinator".into()).spawn(run)?;
        Ok(Self { embedded, runtime: handle, _alive: Arc::new(alive) })
    }

    /// The coordinator.
    pub fn embedded(&self) -> &Embedded {
        &self.embedded
    }
}

#[async_trait]
impl Coordinator for Shared {
    async fn open(&self, session_timeout: Duration) -> Result<Arc<dyn Session>, Error> {
        let embedded = self.embedded.clone();
        let opened = self.runtime.spawn(async move { embedded.open(session_timeout).await });
        opened.await.unwrap_or_else(|error| {
            Err(Error::Unavailable { name: self.name(), why: format!("its thread has ended: {error}") })
        })
    }

    fn name(&self) -> String {
        self.embedded.name()
    }
}
