//! The coordinator that is a ZooKeeper ensemble (3.8 or newer), by the crate `zookeeper-client`.
//!
//! What this layer adds to the crate, learned from its source and from tests:
//! - A request made while the connection is away would wait in the crate and be applied much later; here it fails at once.
//! - The crate forgets recursive watches when it reconnects; here they are set anew and say [`Hint::Lost`](crate::Hint::Lost).
//! - A request in flight when the session ends may have been applied; here its outcome is unknown, and only requests that
//!   were never sent meet [`Error::Expired`].
//! - ZooKeeper's sync is no barrier, not even under one leader (a test shows it); here a sync is a transaction.
//! - The crate reports expiry 1.4 session timeouts after the last contact, later than the ensemble decides it.

mod session;
mod watches;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use zookeeper_client as zk;

use self::session::ZooKeeperSession;
use crate::{
    Error,
    coordinator::{Coordinator, SESSION_TIMEOUT_MIN, Session},
    uri::Address,
};

/// A server that says nothing for so long, or for 2/5 of the session timeout if that is less, is left for another.
pub const SILENCE_MAX: Duration = Duration::from_secs(4);

/// A ZooKeeper ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeper {
    address: Address,
}

impl ZooKeeper {
    /// The ensemble at `host:port[,host:port...][/root]`. Nothing is contacted yet; the root node is made by the first
    /// session.
    pub fn new(servers: &str) -> Result<Self, Error> {
        Ok(Self::at(Address::parse_servers(servers)?))
    }

    /// The ensemble at an address.
    pub fn at(address: Address) -> Self {
        Self { address }
    }

    async fn connect(&self, session_timeout: Duration) -> Result<zk::Client, zk::Error> {
        let connector = zk::Client::connector()
            .with_session_timeout(session_timeout)
            .with_connection_timeout(SILENCE_MAX.min(session_timeout * 2 / 5));
        let client = connector.connect(&self.address.servers()).await?;
        if self.address.root == "/" {
            return Ok(client);
        }
        client.mkdir(&self.address.root, &PERSISTENT).await?;
        client
            .chroot(self.address.root.clone())
            .map_err(|_| zk::Error::UnexpectedError(format!("root {} was refused", self.address.root)))
    }
}

const PERSISTENT: zk::CreateOptions<'static> = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all());

#[async_trait]
impl Coordinator for ZooKeeper {
    async fn open(&self, session_timeout: Duration) -> Result<Arc<dyn Session>, Error> {
        let session_timeout = session_timeout.max(SESSION_TIMEOUT_MIN);
        let unavailable = |why: String| Error::Unavailable { name: self.name(), why };
        match tokio::time::timeout(session_timeout, self.connect(session_timeout)).await {
            Ok(Ok(client)) => Ok(Arc::new(ZooKeeperSession::new(client))),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable(format!("no server answered within {session_timeout:?}"))),
        }
    }

    fn name(&self) -> String {
        self.address.to_string()
    }
}

/// The crate's error for an operation at `path`; `write` if it may have been applied when its answer is missing.
fn error(path: &str, error: zk::Error, write: bool) -> Error {
    let path = path.to_owned();
    match error {
        zk::Error::NoNode => Error::NoNode { path },
        zk::Error::NodeExists => Error::NodeExists { path },
        zk::Error::BadVersion => Error::BadVersion { path },
        zk::Error::NotEmpty => Error::NotEmpty { path },
        zk::Error::NoChildrenForEphemerals => Error::NoChildrenForEphemerals { path },
        zk::Error::NoAuth | zk::Error::InvalidAcl | zk::Error::AuthFailed | zk::Error::QuotaExceeded => {
            Error::Denied { path }
        }
        zk::Error::BadArguments(why) => Error::Invalid(format!("{path}: {why}")),
        zk::Error::SessionMoved | zk::Error::NotReadOnly | zk::Error::Throttled => {
            Error::Disconnected { unknown: false }
        }
        zk::Error::ConnectionLoss
        | zk::Error::Timeout
        | zk::Error::SessionExpired
        | zk::Error::ClientClosed => Error::Disconnected { unknown: write },
        other => Error::Unexpected(format!("{path}: {other}")),
    }
}
