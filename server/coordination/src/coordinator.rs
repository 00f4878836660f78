//! The trait: a tree of nodes with bytes and versions, seen through sessions.
//!
//! What both implementations promise, and the conformance suite checks:
//! - Writes are linearizable. A node's version is 0 when created and counts its sets.
//! - A session's reads never go back and show its own writes; they may be older than another session's writes until
//!   [`Session::sync`].
//! - [`Session::multi`] is all or nothing.
//! - An operation on a session that is not [`SessionState::Connected`] fails at once and was not applied. An operation
//!   whose connection breaks under way ends in [`Error::Disconnected`], for writes with `unknown`; by then
//!   [`Session::state`] shows the break, or what came after it.
//! - An ephemeral node vanishes when its session is closed or expires: the coordinator decides that, the session's owner
//!   learns of it late. A session is never a lease.
//! - Watches are hints. They may be late, doubled or lost; after a break in the connection they say [`Hint::Lost`].
//!
//! [`Hint::Lost`]: crate::Hint::Lost

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::{Error, Watch};

/// Most bytes in one node.
pub const NODE_BYTES_MAX: usize = 512 << 10;
/// Most bytes in one [`Session::multi`], paths included.
pub const MULTI_BYTES_MAX: usize = 768 << 10;
/// Most operations in one [`Session::multi`].
pub const MULTI_OPS_MAX: usize = 512;
/// Shortest session timeout that is asked for.
pub const SESSION_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// Gives sessions.
#[async_trait]
pub trait Coordinator: Send + Sync + 'static {
    /// Opens a session, waiting at most `session_timeout` for the coordinator.
    async fn open(&self, session_timeout: Duration) -> Result<Arc<dyn Session>, Error>;

    /// What it is called in messages: `zk://h:p,h:p/path` or `embedded`.
    fn name(&self) -> String;
}

/// One process's view of the tree. Dropping it without [`close`](Session::close) ends it as a crash would: its ephemeral
/// nodes vanish one session timeout later at the latest.
#[async_trait]
pub trait Session: Send + Sync + 'static {
    /// Names the session; never used again for another one.
    fn id(&self) -> SessionId;

    /// The timeout that was agreed on.
    fn timeout(&self) -> Duration;

    /// The connection as this side sees it; `Expired` and `Closed` are final.
    fn state(&self) -> watch::Receiver<SessionState>;

    /// The node at `path`, if there is one.
    async fn get(&self, path: &str) -> Result<Option<Node>, Error>;

    /// Names of the children, sorted; none if the node does not exist.
    async fn children(&self, path: &str) -> Result<Vec<String>, Error>;

    /// Creates a node and, persistent and empty, the parents it lacks. Returns the path, which for sequential modes is
    /// `path` with ten digits that grow with every child ever created under the parent. A sequential path may end in `/`.
    async fn create(&self, path: &str, data: Bytes, mode: Mode) -> Result<String, Error>;

    /// Replaces a node's bytes and returns its new version.
    async fn set(&self, path: &str, data: Bytes, expect: Expect) -> Result<u64, Error>;

    /// Deletes a node without children.
    async fn delete(&self, path: &str, expect: Expect) -> Result<(), Error>;

    /// Does all operations or none, each seeing the ones before it. The error is that of the first one that failed.
    /// Parents that created nodes lack are made first and stay even if the operations fail.
    async fn multi(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, Error>;

    /// Makes later reads of this session at least as new as every write that was finished before this call.
    async fn sync(&self, path: &str) -> Result<(), Error>;

    /// Hints of changes at `path` and below it. The node need not exist.
    async fn watch(&self, path: &str) -> Result<Watch, Error>;

    /// Ends the session and deletes its ephemeral nodes; bounded, and never fails: what could not be said to the
    /// coordinator it finds out by the session's timeout.
    async fn close(&self);
}

impl fmt::Debug for dyn Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.id())
    }
}

/// Names a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// How a session stands, as far as its owner can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// In touch with the coordinator.
    Connected,
    /// Out of touch; the session may be over already without this side knowing.
    Disconnected,
    /// Over: the coordinator has expired it, or has had the time to.
    Expired,
    /// Over: this side closed it.
    Closed,
}

impl SessionState {
    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, SessionState::Expired | SessionState::Closed)
    }
}

/// A node as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its bytes.
    pub data: Bytes,
    /// How often it was set since it was created.
    pub version: u64,
    /// The session whose end deletes it; `None` if it is persistent.
    pub owner: Option<SessionId>,
}

/// What kind of node to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Stays until deleted.
    Persistent,
    /// Vanishes with the session.
    Ephemeral,
    /// Stays; its name gets a growing number.
    PersistentSequential,
    /// Vanishes with the session; its name gets a growing number.
    EphemeralSequential,
}

impl Mode {
    /// Whether the node vanishes with the session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, Mode::Ephemeral | Mode::EphemeralSequential)
    }

    /// Whether the name gets a number.
    pub fn is_sequential(self) -> bool {
        matches!(self, Mode::PersistentSequential | Mode::EphemeralSequential)
    }
}

/// Which version a node must have for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any.
    Any,
    /// Just this one.
    Version(u64),
}

/// One step of [`Session::multi`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Fails unless the node has this version.
    Check {
        /// Which node.
        path: String,
        /// The version it must have.
        version: u64,
    },
    /// See [`Session::create`].
    Create {
        /// The path, for sequential modes without its number.
        path: String,
        /// The bytes.
        data: Bytes,
        /// The kind of node.
        mode: Mode,
    },
    /// See [`Session::set`].
    Set {
        /// Which node.
        path: String,
        /// The bytes.
        data: Bytes,
        /// The version it must have.
        expect: Expect,
    },
    /// See [`Session::delete`].
    Delete {
        /// Which node.
        path: String,
        /// The version it must have.
        expect: Expect,
    },
}

impl Op {
    /// A step that fails unless the node has this version.
    pub fn check(path: impl Into<String>, version: u64) -> Self {
        Op::Check { path: path.into(), version }
    }

    /// A step that creates a node.
    pub fn create(path: impl Into<String>, data: impl Into<Bytes>, mode: Mode) -> Self {
        Op::Create { path: path.into(), data: data.into(), mode }
    }

    /// A step that replaces a node's bytes.
    pub fn set(path: impl Into<String>, data: impl Into<Bytes>, expect: Expect) -> Self {
        Op::Set { path: path.into(), data: data.into(), expect }
    }

    /// A step that deletes a node.
    pub fn delete(path: impl Into<String>, expect: Expect) -> Self {
        Op::Delete { path: path.into(), expect }
    }

    /// The node it is about.
    pub fn path(&self) -> &str {
        match self {
            Op::Check { path, .. }
            | Op::Create { path, .. }
            | Op::Set { path, .. }
            | Op::Delete { path, .. } => path,
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Op::Create { data, .. } | Op::Set { data, .. } => data,
            Op::Check { .. } | Op::Delete { .. } => &[],
        }
    }

    /// Refuses what no coordinator takes, before anything is sent.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let sequential = matches!(self, Op::Create { mode, .. } if mode.is_sequential());
        crate::paths::validate(self.path(), sequential)?;
        if matches!(self, Op::Create { .. } | Op::Delete { .. }) && self.path() == "/" {
            return Err(Error::Invalid("the root node can be neither created nor deleted".into()));
        }
        if self.data().len() > NODE_BYTES_MAX {
            return Err(Error::TooLarge {
                what: format!("node {}", self.path()),
                bytes: self.data().len(),
                max: NODE_BYTES_MAX,
            });
        }
        Ok(())
    }
}

/// Refuses operations that no coordinator takes, before anything is sent.
pub(crate) fn validate_multi(ops: &[Op]) -> Result<(), Error> {
    if ops.len() > MULTI_OPS_MAX {
        return Err(Error::Invalid(format!(
            "{} operations at once, the limit is {MULTI_OPS_MAX}",
            ops.len()
        )));
    }
    let mut bytes = 0;
    for op in ops {
        op.validate()?;
        bytes += op.path().len() + op.data().len();
    }
    if bytes > MULTI_BYTES_MAX {
        return Err(Error::TooLarge { what: "a multi".into(), bytes, max: MULTI_BYTES_MAX });
    }
    Ok(())
}

/// What one step of [`Session::multi`] gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// The version was as expected.
    Checked,
    /// The path of the created node.
    Created(String),
    /// The node's new version.
    Set(u64),
    /// The node is gone.
    Deleted,
}

impl OpResult {
    /// The new version, if the step was a set.
    pub fn version(&self) -> Option<u64> {
        match self {
            OpResult::Set(version) => Some(*version),
            _ => None,
        }
    }

    /// The path, if the step was a create.
    pub fn path(&self) -> Option<&str> {
        match self {
            OpResult::Created(path) => Some(path),
            _ => None,
        }
    }
}
