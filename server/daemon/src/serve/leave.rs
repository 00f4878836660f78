//! A planned leave: what a worker with `--drain` does between the signal and its end.
//!
//! If other copies of its shard are in sync and enough, it may go at once. Else its shard gives its slots to others first, as
//! by `admin drain`. Before it looks it says that it is leaving, and copies that say so do not count: of two that are asked to
//! leave at the same time one at least sees the other.

use std::time::Duration;

use slotkv::Client;
use slotkv_proto::v1::{self, admin_client::AdminClient};
use tokio::time::{Instant, sleep};

use super::WorkerServer;
use crate::members::{self, explained};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// What was said reaches the masters' view within so long.
const TOLD_WAIT: Duration = Duration::from_secs(1);
/// A drain that comes no further for so long has failed.
const STILL_MAX: Duration = Duration::from_secs(60);
/// How long clients may take to learn where the slots are; whoever does not is told by others.
const CLIENTS_WAIT: Duration = Duration::from_secs(5);
/// How long a leader may be away.
const LEADER_WAIT: Duration = Duration::from_secs(30);

/// How far a drain is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Left {
    slots: u32,
    open: usize,
    bytes: u64,
}

/// Returns once nothing depends on this worker any more, or why it cannot leave.
pub(crate) async fn leave(server: &WorkerServer) -> Result<(), String> {
    let Some((shard, name, masters)) = server.place() else { return Ok(()) };
    let uri = format!("slotkv://{}", masters.join(","));
    server.announce_leave(true);
    let client = Client::connect(&uri).await.map_err(|error| explained(&error));
    let left = match &client {
        Ok(client) => drained(client, shard, &name).await,
        Err(why) => Err(format!("no master can be asked: {why}")),
    };
    if let Ok(client) = client {
        client.close().await;
    }
    if left.is_err() {
        server.announce_leave(false);
    }
    left
}

async fn drained(client: &Client, shard: u32, name: &str) -> Result<(), String> {
    let reasons = needed(client, shard, name).await?;
    if reasons.is_empty() {
        return Ok(());
    }
    tracing::info!(shard, why = reasons.join("; "), "gives its slots to other shards before it leaves");
    let until = Instant::now() + LEADER_WAIT;
    let order = members::ask_leader(client, until, async |mut admin: AdminClient<_>, hello| {
        admin.weight(v1::WeightRequest { hello: Some(hello), shard, weight: Some(0.0) }).await
    });
    order.await.map_err(|error| explained(&error))?;
    let (mut last, mut moved) = (None, Instant::now());
    loop {
        let (left, notices) = left(client, shard).await?;
        if left.slots == 0 && left.open == 0 {
            break;
        }
        if last != Some(left) {
            (last, moved) = (Some(left), Instant::now());
        }
        if moved.elapsed() >= STILL_MAX {
            let Left { slots, open, .. } = left;
            return Err(format!(
                "shard {shard} still has {slots} slots and {open} open hand-overs, and nothing has moved for {} s{notices}",
                STILL_MAX.as_secs()
            ));
        }
        sleep(PAUSE).await;
    }
    let until = Instant::now() + CLIENTS_WAIT;
    while Instant::now() < until && !needed(client, shard, name).await?.is_empty() {
        sleep(PAUSE).await;
    }
    tracing::info!(shard, "has given all of its slots to other shards");
    Ok(())
}

/// What depends on this worker, once the masters know that it is leaving.
async fn needed(client: &Client, shard: u32, name: &str) -> Result<Vec<String>, String> {
    let until = Instant::now() + TOLD_WAIT;
    loop {
        let status = client.status().await.map_err(|error| explained(&error))?;
        let copies =
            status.shards.iter().filter(|found| found.shard == shard).flat_map(|found| &found.copies);
        let is_known = copies.into_iter().any(|copy| copy.name == name && members::is_leaving(copy));
        if is_known || Instant::now() >= until {
            return members::reasons(client, &status, name).await.map_err(|error| explained(&error));
        }
        sleep(PAUSE).await;
    }
}

async fn left(client: &Client, shard: u32) -> Result<(Left, String), String> {
    let until = Instant::now() + LEADER_WAIT;
    let movements = members::ask_leader(client, until, async |mut admin: AdminClient<_>, hello| {
        admin.migrations(v1::MigrationsRequest { hello: Some(hello) }).await
    });
    let movements = movements.await.map_err(|error| explained(&error))?;
    if movements.held_all || movements.held_shards.contains(&shard) {
        return Err(format!("an operator has cancelled what moves from shard {shard}"));
    }
    if movements.weights.iter().any(|weighed| weighed.shard == shard && weighed.weight > 0.0) {
        return Err(format!("an operator has given shard {shard} a weight again"));
    }
    let status = client.status().await.map_err(|error| explained(&error))?;
    let slots = status.shards.iter().find(|found| found.shard == shard).map_or(0, |found| found.slots);
    let of_shard = |open: &&v1::MigrationStatus| open.source == shard || open.target == shard;
    let open: Vec<_> = movements.open.iter().filter(of_shard).collect();
    let bytes = open.iter().map(|open| open.sent_bytes).sum();
    let notices = movements.notices.iter().map(|notice| format!("; {notice}")).collect();
    Ok((Left { slots, open: open.len(), bytes }, notices))
}
