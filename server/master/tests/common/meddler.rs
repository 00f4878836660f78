//! A coordinator in front of the embedded one that does something to one chosen write of its sessions, and remembers
//! which nodes they watch.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use slotkv_coordination::{
    Coordinator, Embedded, Error, Expect, Mode, Node, Op, OpResult, Session, SessionId, SessionState, Watch,
};
use tokio::sync::watch;

/// What happens to the chosen write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is applied, and its author is not told.
    Applied,
    /// It gets lost, and its author is not told.
    Lost,
    /// As `Applied`, and the session expires.
    AppliedAndExpired,
    /// As `Lost`, and the session expires.
    LostAndExpired,
    /// It is under way until [`Meddler::release`].
    Held,
}

#[derive(Clone)]
pub struct Meddler {
    inner: Embedded,
    plan: Arc<Mutex<Plan>>,
    held: watch::Sender<bool>,
    released: watch::Sender<bool>,
}

#[derive(Default)]
struct Plan {
    writes: usize,
    chosen: Option<(usize, Fate)>,
    watched: Vec<String>,
}

impl Meddler {
    pub fn new(inner: Embedded) -> Self {
        Self {
            inner,
            plan: Arc::default(),
            held: watch::Sender::new(false),
            released: watch::Sender::new(false),
        }
    }

    /// Chooses the write of this number, from 0.
    pub fn choose(self, write: usize, fate: Fate) -> Self {
        self.plan.lock().unwrap().chosen = Some((write, fate));
        self
    }

    /// Waits until the chosen write is under way.
    pub async fn held(&self) {
        self.held.subscribe().wait_for(|&held| held).await.unwrap();
    }

    /// Lets the chosen write go on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Paths that were watched so far.
    pub fn watched(&self) -> Vec<String> {
        self.plan.lock().unwrap().watched.clone()
    }

    /// Whether the chosen write has been met.
    pub fn has_meddled(&self) -> bool {
        let plan = self.plan.lock().unwrap();
        plan.chosen.is_some_and(|(chosen, _)| plan.writes > chosen)
    }

    fn next_fate(&self) -> Option<Fate> {
        let mut plan = self.plan.lock().unwrap();
        let number = plan.writes;
        plan.writes += 1;
        plan.chosen.filter(|&(chosen, _)| chosen == number).map(|(_, fate)| fate)
    }
}

#[tonic::async_trait]
impl Coordinator for Meddler {
    async fn open(&self, session_timeout: Duration) -> Result<Arc<dyn Session>, Error> {
        let inner = self.inner.open(session_timeout).await?;
        Ok(Arc::new(Meddled { inner, meddler: self.clone() }))
    }

    fn name(&self) -> String {
        "meddler".into()
    }
}

struct Meddled {
    inner: Arc<dyn Session>,
    meddler: Meddler,
}

impl Meddled {
    async fn write<T>(&self, write: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        let unknown = Err(Error::Disconnected { unknown: true });
        let fate = self.meddler.next_fate();
        match fate {
            None => return write.await,
            Some(Fate::Held) => {
                self.meddler.held.send_replace(true);
                let mut released = self.meddler.released.subscribe();
                released.wait_for(|&released| released).await.unwrap();
                return write.await;
            }
            Some(Fate::Applied | Fate::AppliedAndExpired) => drop(write.await?),
            Some(Fate::Lost | Fate::LostAndExpired) => {}
        }
        if matches!(fate, Some(Fate::AppliedAndExpired | Fate::LostAndExpired)) {
            self.meddler.inner.faults().expire(self.id());
        }
        unknown
    }
}

#[tonic::async_trait]
impl Session for Meddled {
    fn id(&self) -> SessionId {
        self.inner.id()
    }

    fn timeout(&self) -> Duration {
        self.inner.timeout()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.inner.state()
    }

    async fn get(&self, path: &str) -> Result<Option<Node>, Error> {
        self.inner.get(path).await
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        self.inner.children(path).await
    }

    async fn create(&self, path: &str, data: Bytes, mode: Mode) -> Result<String, Error> {
        self.write(self.inner.create(path, data, mode)).await
    }

    async fn set(&self, path: &str, data: Bytes, expect: Expect) -> Result<u64, Error> {
        self.write(self.inner.set(path, data, expect)).await
    }

    async fn delete(&self, path: &str, expect: Expect) -> Result<(), Error> {
        self.write(self.inner.delete(path, expect)).await
    }

    async fn multi(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, Error> {
        self.write(self.inner.multi(ops)).await
    }

    async fn sync(&self, path: &str) -> Result<(), Error> {
        self.inner.sync(path).await
    }

    async fn watch(&self, path: &str) -> Result<Watch, Error> {
        self.meddler.plan.lock().unwrap().watched.push(path.to_owned());
        self.inner.watch(path).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
