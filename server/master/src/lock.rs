//! The leader lock: a queue of ephemeral sequential nodes under `/masters`, the first of which leads.
//!
//! Invariants:
//! - A session has at most one place: an unknown outcome of the create is settled by looking for a node that this
//!   session owns.
//! - A place waits for the one right before it only, so that the end of a leader wakes one standby.
//! - Who was first once stays first for as long as its place exists, for later places are behind it.

use std::time::Duration;

use bytes::Bytes;
use slotkv_coordination::{Error, Mode, Session, paths};

/// A hint may get lost; after so long a standby looks again by itself.
const REREAD_INTERVAL: Duration = Duration::from_secs(3);

/// Makes sure that the session has a place in the queue, and returns its path.
pub(crate) async fn stand(session: &dyn Session, record: Bytes) -> Result<String, Error> {
    session.sync(paths::MASTERS).await?;
    for place in places(session).await? {
        if session.get(&place).await?.is_some_and(|node| node.owner == Some(session.id())) {
            return Ok(place);
        }
    }
    session.create(&paths::master_prefix(), record, Mode::EphemeralSequential).await
}

/// How the wait for the lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// This place is the first.
    First,
    /// The place is gone, although the session is not: somebody has deleted it.
    Gone,
}

/// Waits until `place` is the first of the queue.
pub(crate) async fn wait_for_turn(session: &dyn Session, place: &str) -> Result<Turn, Error> {
    loop {
        session.sync(paths::MASTERS).await?;
        let queue = places(session).await?;
        let Some(position) = queue.iter().position(|other| other == place) else { return Ok(Turn::Gone) };
        let Some(before) = position.checked_sub(1).map(|before| &queue[before]) else {
            return Ok(Turn::First);
        };
        let mut watch = session.watch(before).await?;
        // It may have gone before the watch was set.
        if session.get(before).await?.is_none() {
            continue;
        }
        tokio::select! {
            biased;
            hint = watch.next() => if hint.is_none() { return Err(Error::Expired) },
            () = tokio::time::sleep(REREAD_INTERVAL) => {}
        }
    }
}

/// The queue, first place first.
async fn places(session: &dyn Session) -> Result<Vec<String>, Error> {
    let names = session.children(paths::MASTERS).await?;
    Ok(names.into_iter().map(|name| format!("{}{name}", paths::master_prefix())).collect())
}
