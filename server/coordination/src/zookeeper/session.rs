//! One ZooKeeper session.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle, time::timeout};
use zookeeper_client as zk;

use super::{PERSISTENT, error, watches::Watches};
use crate::{
    Error, Watch,
    coordinator::{Expect, Mode, Node, Op, OpResult, Session, SessionId, SessionState, validate_multi},
    paths,
};

/// Longest wait of [`Session::close`] for the ensemble.
pub const CLOSE_MAX: Duration = Duration::from_secs(2);
/// How often a create is tried again after its parents were made; each try can find others deleted meanwhile.
const PARENTS_ATTEMPTS_MAX: usize = 16;

/// A node that never exists. Its deletion fails, but as a transaction of its own: when the answer comes, the server has applied
/// everything before it. ZooKeeper's own sync does less: on the leader it is a plain read, which may come before a write that
/// a follower has acknowledged, and nowhere is it safe when the leader changes (ZOOKEEPER-1675).
const BARRIER: &str = "/sync-barrier";

/// The crate's client while the session is not closed: closing means dropping every clone.
pub(super) type Slot = Arc<Mutex<Option<zk::Client>>>;

pub(super) struct ZooKeeperSession {
    client: Slot,
    id: SessionId,
    timeout: Duration,
    state: Arc<watch::Sender<SessionState>>,
    watches: Watches,
    follower: AbortHandle,
}

impl ZooKeeperSession {
    pub fn new(client: zk::Client) -> Self {
        let mut watcher = client.state_watcher();
        let state = Arc::new(watch::Sender::new(translate(watcher.peek_state())));
        let id = SessionId(client.session_id().0 as u64);
        let timeout = client.session_timeout();
        let follower = {
            let state = state.clone();
            tokio::spawn(async move {
                while !state.borrow().is_final() {
                    watcher.changed().await;
                    enter(&state, || translate(watcher.peek_state()));
                }
            })
        };
        let client = Slot::new(Mutex::new(Some(client)));
        let watches = Watches::new(client.clone());
        Self { client, id, timeout, state, watches, follower: follower.abort_handle() }
    }

    /// The client, if a request that is made now goes out now.
    fn connected(&self) -> Result<zk::Client, Error> {
        let client = self.client.lock().clone().ok_or(Error::Closed)?;
        match translate(client.state()) {
            SessionState::Connected => Ok(client),
            SessionState::Disconnected => Err(Error::Disconnected { unknown: false }),
            SessionState::Expired => Err(Error::Expired),
            SessionState::Closed => Err(Error::Closed),
        }
    }

    /// The answer to a request. The crate ends requests when the connection breaks; this bounds the rest.
    async fn answer<T, E: From<zk::Error>>(
        &self,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let answer =
            timeout(self.timeout * 2, request).await.unwrap_or_else(|_| Err(zk::Error::Timeout.into()));
        if let (Err(_), Some(client)) = (&answer, &*self.client.lock()) {
            // Whoever gets the error shall not find the state of before it.
            enter(&self.state, || translate(client.state()));
        }
        answer
    }

    /// Makes the parents that `path` lacks.
    async fn make_parents(&self, client: &zk::Client, path: &str) -> Result<(), Error> {
        match paths::parent(path) {
            None | Some("/") => Ok(()),
            // Whatever becomes of the parents, the node itself was not created.
            Some(parent) => self
                .answer(client.mkdir(parent, &PERSISTENT))
                .await
                .map_err(|failed| error(path, failed, false)),
        }
    }

    async fn try_multi(&self, client: &zk::Client, ops: &[Op]) -> Result<Vec<OpResult>, (usize, zk::Error)> {
        let mut writer = client.new_multi_writer();
        for (index, op) in ops.iter().enumerate() {
            add(&mut writer, op).map_err(|error| (index, error))?;
        }
        match self.answer(writer.commit()).await {
            Ok(results) => Ok(results.into_iter().map(result).collect()),
            Err(zk::MultiWriteError::OperationFailed { index, source }) => Err((index, source)),
            Err(zk::MultiWriteError::RequestFailed { source }) => Err((0, source)),
        }
    }
}

#[async_trait]
impl Session for ZooKeeperSession {
    fn id(&self) -> SessionId {
        self.id
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    async fn get(&self, path: &str) -> Result<Option<Node>, Error> {
        paths::validate(path, false)?;
        let client = self.connected()?;
        match self.answer(client.get_data(path)).await {
            Ok((data, stat)) => Ok(Some(Node {
                data: data.into(),
                version: version(&stat),
                owner: (stat.ephemeral_owner != 0).then_some(SessionId(stat.ephemeral_owner as u64)),
            })),
            Err(zk::Error::NoNode) => Ok(None),
            Err(failed) => Err(error(path, failed, false)),
        }
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        paths::validate(path, false)?;
        let client = self.connected()?;
        match self.answer(client.list_children(path)).await {
            Ok(mut names) => {
                // ZooKeeper's own node is no part of the tree.
                names.retain(|name| path != "/" || name != "zookeeper");
                names.sort_unstable();
                Ok(names)
            }
            Err(zk::Error::NoNode) => Ok(Vec::new()),
            Err(failed) => Err(error(path, failed, false)),
        }
    }

    async fn create(&self, path: &str, data: Bytes, mode: Mode) -> Result<String, Error> {
        Op::create(path, data.clone(), mode).validate()?;
        let client = self.connected()?;
        let options = options(mode);
        for _ in 0..PARENTS_ATTEMPTS_MAX {
            match self.answer(client.create(path, &data, &options)).await {
                Ok((_, sequence)) if mode.is_sequential() => return Ok(format!("{path}{sequence}")),
                Ok(_) => return Ok(path.to_owned()),
                Err(zk::Error::NoNode) => self.make_parents(&client, path).await?,
                Err(failed) => return Err(error(path, failed, true)),
            }
        }
        Err(Error::NoNode { path: path.to_owned() })
    }

    async fn set(&self, path: &str, data: Bytes, expect: Expect) -> Result<u64, Error> {
        let op = Op::set(path, data, expect);
        match self.multi(vec![op]).await?.pop() {
            Some(OpResult::Set(version)) => Ok(version),
            other => Err(Error::Unexpected(format!("{other:?} for a set of {path}"))),
        }
    }

    async fn delete(&self, path: &str, expect: Expect) -> Result<(), Error> {
        self.multi(vec![Op::delete(path, expect)]).await.map(drop)
    }

    async fn multi(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, Error> {
        validate_multi(&ops)?;
        let client = self.connected()?;
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        for _ in 0..ops.len() + PARENTS_ATTEMPTS_MAX {
            let (index, failed) = match self.try_multi(&client, &ops).await {
                Ok(results) => return Ok(results),
                Err(failed) => failed,
            };
            match (&ops[index], failed) {
                (Op::Create { path, .. }, zk::Error::NoNode) => self.make_parents(&client, path).await?,
                (op, failed) => return Err(error(op.path(), failed, true)),
            }
        }
        Err(Error::Unexpected(format!("the parents of {} vanish again and again", ops[0].path())))
    }

    async fn sync(&self, path: &str) -> Result<(), Error> {
        paths::validate(path, false)?;
        let client = self.connected()?;
        match self.answer(client.delete(BARRIER, None)).await {
            Ok(()) | Err(zk::Error::NoNode) => Ok(()),
            Err(failed) => Err(error(path, failed, false)),
        }
    }

    async fn watch(&self, path: &str) -> Result<Watch, Error> {
        paths::validate(path, false)?;
        let client = self.connected()?;
        self.answer(self.watches.subscribe(&client, path)).await.map_err(|failed| error(path, failed, false))
    }

    async fn close(&self) {
        self.watches.end();
        // The crate closes the session once every clone of the client is gone; requests under way hold one each.
        drop(self.client.lock().take());
        let mut state = self.state.subscribe();
        let _ = timeout(CLOSE_MAX.min(self.timeout), state.wait_for(|state| state.is_final())).await;
        enter(&self.state, || SessionState::Closed);
    }
}

impl Drop for ZooKeeperSession {
    fn drop(&mut self) {
        self.watches.end();
        self.follower.abort();
    }
}

/// Final states stay. `next` is asked under the lock, so that no older answer comes last.
fn enter(state: &watch::Sender<SessionState>, next: impl FnOnce() -> SessionState) {
    state.send_if_modified(|state| {
        if state.is_final() {
            return false;
        }
        let next = next();
        std::mem::replace(state, next) != next
    });
}

fn translate(state: zk::SessionState) -> SessionState {
    match state {
        zk::SessionState::SyncConnected | zk::SessionState::ConnectedReadOnly => SessionState::Connected,
        zk::SessionState::Disconnected => SessionState::Disconnected,
        zk::SessionState::Expired | zk::SessionState::AuthFailed => SessionState::Expired,
        zk::SessionState::Closed => SessionState::Closed,
    }
}

fn options(mode: Mode) -> zk::CreateOptions<'static> {
    let mode = match mode {
        Mode::Persistent => zk::CreateMode::Persistent,
        Mode::Ephemeral => zk::CreateMode::Ephemeral,
        Mode::PersistentSequential => zk::CreateMode::PersistentSequential,
        Mode::EphemeralSequential => zk::CreateMode::EphemeralSequential,
    };
    mode.with_acls(zk::Acls::anyone_all())
}

fn version(stat: &zk::Stat) -> u64 {
    u64::from(stat.version as u32)
}

/// ZooKeeper counts in 32 bits; no node has a version beyond them.
fn expected(version: u64) -> Result<i32, zk::Error> {
    u32::try_from(version).map(|version| version as i32).map_err(|_| zk::Error::BadVersion)
}

fn add(writer: &mut zk::MultiWriter<'_>, op: &Op) -> Result<(), zk::Error> {
    let version = |expect: &Expect| match expect {
        Expect::Any => Ok(None),
        Expect::Version(version) => expected(*version).map(Some),
    };
    match op {
        Op::Check { path, version } => writer.add_check_version(path, expected(*version)?),
        Op::Create { path, data, mode } => writer.add_create(path, data, &options(*mode)),
        Op::Set { path, data, expect } => writer.add_set_data(path, data, version(expect)?),
        Op::Delete { path, expect } => writer.add_delete(path, version(expect)?),
    }
}

fn result(result: zk::MultiWriteResult) -> OpResult {
    match result {
        zk::MultiWriteResult::Create { path, .. } => OpResult::Created(path),
        zk::MultiWriteResult::SetData { stat } => OpResult::Set(version(&stat)),
        zk::MultiWriteResult::Delete => OpResult::Deleted,
        _ => OpResult::Checked,
    }
}
