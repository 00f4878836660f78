//! The owner's side of an embedded session.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::watch, time::Instant};

use super::{Shared, server::Server};
use crate::{
    Error, Watch,
    coordinator::{Expect, Mode, Node, Op, OpResult, Session, SessionId, SessionState, validate_multi},
    paths,
};

#[derive(Debug)]
pub(super) struct EmbeddedSession {
    shared: Arc<Shared>,
    id: SessionId,
    timeout: Duration,
    state: watch::Receiver<SessionState>,
}

impl EmbeddedSession {
    pub fn open(shared: &Arc<Shared>, timeout: Duration, now: Instant) -> (Self, watch::Receiver<()>) {
        let mut server = shared.server.lock();
        server.tick(now);
        let (id, state, wake) = server.open(timeout);
        (Self { shared: shared.clone(), id, timeout, state }, wake)
    }

    /// Asks the coordinator. A session that it has forgotten says how it ended.
    fn ask<T>(&self, question: impl FnOnce(&mut Server, Instant) -> Result<T, Error>) -> Result<T, Error> {
        let ended = *self.state.borrow();
        match ended {
            SessionState::Expired => return Err(Error::Expired),
            SessionState::Closed => return Err(Error::Closed),
            SessionState::Connected | SessionState::Disconnected => {}
        }
        question(&mut self.shared.server.lock(), Instant::now())
    }

    fn write(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, Error> {
        validate_multi(&ops)?;
        self.ask(|server, now| server.write(self.id, &ops, now))
    }

    fn write_one(&self, op: Op) -> Result<OpResult, Error> {
        let mut results = self.write(vec![op])?;
        results.pop().ok_or_else(|| Error::Unexpected("a write without a result".into()))
    }
}

#[async_trait]
impl Session for EmbeddedSession {
    fn id(&self) -> SessionId {
        self.id
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    async fn get(&self, path: &str) -> Result<Option<Node>, Error> {
        paths::validate(path, false)?;
        Ok(self.ask(|server, now| server.read(self.id, now))?.get(path))
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        paths::validate(path, false)?;
        Ok(self.ask(|server, now| server.read(self.id, now))?.children(path))
    }

    async fn create(&self, path: &str, data: Bytes, mode: Mode) -> Result<String, Error> {
        match self.write_one(Op::create(path, data, mode))? {
            OpResult::Created(path) => Ok(path),
            other => Err(Error::Unexpected(format!("{other:?} for a create"))),
        }
    }

    async fn set(&self, path: &str, data: Bytes, expect: Expect) -> Result<u64, Error> {
        match self.write_one(Op::set(path, data, expect))? {
            OpResult::Set(version) => Ok(version),
            other => Err(Error::Unexpected(format!("{other:?} for a set"))),
        }
    }

    async fn delete(&self, path: &str, expect: Expect) -> Result<(), Error> {
        self.write_one(Op::delete(path, expect)).map(drop)
    }

    async fn multi(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, Error> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        self.write(ops)
    }

    async fn sync(&self, path: &str) -> Result<(), Error> {
        paths::validate(path, false)?;
        self.ask(|server, now| server.sync(self.id, now))
    }

    async fn watch(&self, path: &str) -> Result<Watch, Error> {
        paths::validate(path, false)?;
        self.ask(|server, now| server.watch(self.id, path, now))
    }

    async fn close(&self) {
        self.shared.server.lock().close(self.id, Instant::now());
    }
}

impl Drop for EmbeddedSession {
    fn drop(&mut self) {
        self.shared.server.lock().release(self.id, Instant::now());
    }
}

/// Does what falls due for one session, until the coordinator has forgotten it or is itself gone.
pub(super) async fn keep(shared: Weak<Shared>, id: SessionId, mut wake: watch::Receiver<()>) {
    loop {
        let deadline = {
            let Some(shared) = shared.upgrade() else { return };
            let mut server = shared.server.lock();
            server.tick(Instant::now());
            wake.mark_unchanged();
            match server.deadline(id) {
                Ok(deadline) => deadline,
                Err(()) => return,
            }
        };
        let due = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            woken = wake.changed() => if woken.is_err() { return },
            () = due => {}
        }
    }
}
