//! Standby: a worker without a shard. It takes the place of a replica that has been gone for a while, and gets its data as
//! any new replica does.
//!
//! A shard *lacks* a replica while the copies in its ISR and the live members of it are fewer, by name, than its register
//! wants. One that died leaves the ISR as soon as a primary finds that it is away, so a shard without a primary lacks
//! none: a standby has no data that could help it.
//!
//! The place is taken by an exclusive ephemeral node ([`paths::claim`]), looked at again after it was made, and held until
//! the worker is a member of the shard. So of several standbys one takes a place.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use slotkv_coordination::{
    ClusterView, Error, Expect, Mode, Session, SessionState, View, membership, paths,
    registers::MemberRecord, view::ShardView,
};
use slotkv_proto::table::ShardId;
use tokio::time::{Instant, sleep_until};

use crate::error::StartError;

/// What a standby says of itself.
pub const STANDING: &str = "stands by";
/// Pause after a place was found to be claimed by another.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits, as a member without a shard, until a shard has lacked a replica for `after`, and claims the place. The claim ends
/// with the session, or by [`release`]. Calls `joined` once it is a member.
pub async fn place(
    session: &dyn Session,
    view: &ClusterView,
    member: &MemberRecord,
    after: Duration,
    joined: impl FnOnce(),
) -> Result<ShardId, StartError> {
    membership::join(session, member).await?;
    joined();
    tracing::info!(name = member.name, "stands by for the place of a lost replica");
    let mut views = view.views();
    let mut state = session.state();
    let mut since: BTreeMap<ShardId, Instant> = BTreeMap::new();
    let mut pause_until = Instant::now();
    loop {
        let now = Instant::now();
        let known = views.borrow_and_update().clone();
        let lacking: BTreeSet<ShardId> = match known.loaded && known.connected {
            true => known
                .shards
                .iter()
                .filter(|(id, shard)| lacks(&known, **id, shard))
                .map(|(id, _)| *id)
                .collect(),
            // Who lives is not known now, and a shard must be seen to lack a replica all the time.
            false => BTreeSet::new(),
        };
        since.retain(|shard, _| lacking.contains(shard));
        for shard in lacking {
            since.entry(shard).or_insert(now);
        }
        // The one that has waited for longest.
        let first = since.iter().min_by_key(|(_, since)| **since).map(|(shard, since)| (*shard, *since));
        let due = first.map(|(_, since)| (since + after).max(pause_until));
        if let Some((shard, _)) = first
            && due.is_some_and(|due| due <= now)
        {
            if claim(session, view, shard, member).await? {
                tracing::info!(shard, name = member.name, "takes the place of a lost replica");
                membership::leave(session, member).await?;
                return Ok(shard);
            }
            since.remove(&shard);
            pause_until = Instant::now() + PAUSE;
            continue;
        }
        tokio::select! {
            biased;
            _ = state.wait_for(|state| state.is_final()) => return Err(Error::Expired.into()),
            changed = views.changed() => changed.map_err(|_| Error::Closed)?,
            () = sleep_until(due.unwrap_or(now + Duration::from_secs(3600))) => {}
        }
    }
}

/// Gives a claim up: the worker is a member of the shard, or will not be.
pub async fn release(session: &dyn Session, shard: ShardId) {
    if let Err(error) = session.delete(&paths::claim(shard), Expect::Any).await {
        tracing::debug!(shard, %error, "the claim ends with the session");
    }
}

/// Whether a shard has fewer copies and live members than it wants.
fn lacks(view: &View, shard: ShardId, known: &ShardView) -> bool {
    let register = &known.register;
    let live = view.members.values().filter(|member| member.shard == Some(shard));
    let names: BTreeSet<&str> = live
        .map(|member| member.name.as_str())
        .chain(register.isr.iter().map(|copy| copy.name.as_str()))
        .collect();
    register.primary.is_some() && names.len() < register.replicas as usize
}

/// Whether the place is this worker's.
async fn claim(
    session: &dyn Session,
    view: &ClusterView,
    shard: ShardId,
    member: &MemberRecord,
) -> Result<bool, StartError> {
    let path = paths::claim(shard);
    match session.create(&path, Bytes::from(member.name.clone()), Mode::Ephemeral).await {
        Ok(_) => {}
        Err(Error::NodeExists { .. }) => return Ok(false),
        Err(error) if error.is_unknown() => {
            let mut state = session.state();
            let _ = state.wait_for(|state| *state != SessionState::Disconnected).await;
            session.sync(&path).await?;
            let owner = session.get(&path).await?.and_then(|node| node.owner);
            if owner != Some(session.id()) {
                return Ok(false);
            }
        }
        Err(error) => return Err(error.into()),
    }
    // Whoever held the claim before may be a member of the shard by now.
    let fresh = match view.refresh().await {
        Ok(fresh) => fresh,
        Err(error) => {
            release(session, shard).await;
            return Err(error.into());
        }
    };
    let is_open = fresh.shards.get(&shard).is_some_and(|known| lacks(&fresh, shard, known));
    if !is_open {
        release(session, shard).await;
    }
    Ok(is_open)
}
