//! Fetching the table: one fetch at a time, jittered, off the way of requests.

use std::{sync::Arc, time::Duration};

use slotkv_proto::{Code, v1};
use tokio::time::sleep;

use super::{Routing, masters::ask_widening};
use crate::stats::count;

/// A fetch begins at a random time within so long, so that the clients of a cluster do not all ask at once.
pub(crate) const REFRESH_JITTER_MS: u64 = 20;
/// Least time between two fetches, in milliseconds.
pub(crate) const REFRESH_SPACING_MS: u64 = 50;
/// Longest pause after fetches that nobody answered, in milliseconds; it doubles up to this.
pub(crate) const REFRESH_PAUSE_MS_MAX: u64 = 2_000;
/// How long one member may take to answer, in milliseconds.
pub(crate) const REFRESH_TIMEOUT_MS: u64 = 1_000;
/// Members that one fetch asks before it gives up.
pub(crate) const REFRESH_ASKED_MAX: usize = 64;

impl Routing {
    /// Fetches the table whenever that is wanted, until the client stops.
    pub(super) async fn refresh(self: Arc<Self>) {
        let mut failures = 0;
        while self.until_stopped(self.wanted.notified()).await.is_some() {
            let jitter = self.setup.context.chance.below(REFRESH_JITTER_MS + 1);
            if self.until_stopped(sleep(Duration::from_millis(jitter))).await.is_none() {
                return;
            }
            let Some(delta) = self.until_stopped(self.fetch()).await else { return };
            count(&self.setup.context.counters.refreshes);
            let pause = match delta {
                Some(delta) => {
                    failures = 0;
                    self.learn(Some(delta));
                    REFRESH_SPACING_MS
                }
                None => {
                    count(&self.setup.context.counters.refreshes_failed);
                    failures += 1;
                    let longest = (REFRESH_SPACING_MS << failures.min(10)).min(REFRESH_PAUSE_MS_MAX);
                    self.want_refresh();
                    longest / 2 + self.setup.context.chance.below(longest / 2 + 1)
                }
            };
            if self.until_stopped(sleep(Duration::from_millis(pause))).await.is_none() {
                return;
            }
        }
    }

    /// The changes since the present table, of a random master, or else of whoever answers first: workers, too, know the
    /// table.
    async fn fetch(&self) -> Option<v1::TableDelta> {
        let snapshot = self.snapshot();
        let context = &self.setup.context;
        let request = v1::SlotTableRequest {
            hello: Some(context.hello()),
            since_version: snapshot.table.version(),
            known_routes: snapshot
                .table
                .routes()
                .map(|route| v1::KnownRoute { shard: route.shard, revision: route.revision })
                .collect(),
        };
        let members = snapshot.shards.iter().filter_map(|shard| shard.primary.as_ref());
        let members: Vec<String> = members.map(|primary| primary.member.address.clone()).collect();
        let mut order = self.masters().at_random(&members, context.chance.as_ref());
        order.truncate(REFRESH_ASKED_MAX);
        let timeout = Duration::from_millis(REFRESH_TIMEOUT_MS);
        let ask = |address: String| {
            let request = request.clone();
            async move {
                match context.transport.slot_table(&address, request).await {
                    Ok(delta) if delta.cluster_id == context.cluster_id => return Some(delta),
                    Err(error) if error.code != Code::WrongCluster => return None,
                    Ok(_) | Err(_) => count(&context.counters.wrong_cluster),
                }
                None
            }
        };
        ask_widening(order, timeout, ask).await.map(|(_, delta)| delta)
    }
}
