//! The vigil over shards in trouble: a shard without a primary, or whose primary cannot be reached or says nothing although
//! replies are owed, probably gets another one soon. Until then the table is fetched again and again, so that the shard's
//! calls go on as soon as somebody knows where.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use slotkv_proto::table::ShardId;
use tokio::time::{Instant, sleep};

use super::Routing;

/// How often the table is fetched while a shard is in trouble, in milliseconds; with jitter.
pub(crate) const VIGIL_MS: u64 = 40;
/// For so long after the trouble of a shard began, in milliseconds. Then its end is left to pings.
pub(crate) const VIGIL_MS_MAX: u64 = 5_000;
/// When a shard is in trouble for longer, another vigil over it begins after so long, in milliseconds.
const REST_MS: u64 = 30_000;
/// A member that owes replies and says nothing for so long may have stopped, in milliseconds.
pub(crate) const QUIET_MS: u64 = 100;

impl Routing {
    /// Begins a vigil if there is none.
    pub fn trouble(&self) {
        self.troubled.notify_one();
    }

    /// Keeps the vigils until the client stops.
    pub(super) async fn keep_vigil(self: Arc<Self>) {
        let mut since: BTreeMap<ShardId, (u64, Instant)> = BTreeMap::new();
        while self.until_stopped(self.troubled.notified()).await.is_some() {
            since.retain(|_, (_, begun)| begun.elapsed() < Duration::from_millis(REST_MS));
            loop {
                let pause = VIGIL_MS / 2 + self.setup.context.chance.below(VIGIL_MS + 1);
                if self.until_stopped(sleep(Duration::from_millis(pause))).await.is_none() {
                    return;
                }
                let now = Instant::now();
                self.recall_reads(now);
                let troubled = self.troubled_shards(now);
                since.retain(|shard, (epoch, _)| troubled.get(shard) == Some(epoch));
                let mut hopeful = false;
                for (shard, epoch) in troubled {
                    let (_, begun) = since.entry(shard).or_insert((epoch, now));
                    hopeful |= now - *begun < Duration::from_millis(VIGIL_MS_MAX);
                }
                if !hopeful {
                    break;
                }
                self.want_refresh();
            }
        }
    }

    /// Begins a vigil if a member owes replies and says nothing.
    pub(super) fn look_for_quiet(&self) {
        let now = Instant::now();
        if self.load().lanes().iter().any(|(_, lane)| lane.is_quiet(now)) {
            self.trouble();
        }
    }

    /// The shards in trouble with their epochs.
    fn troubled_shards(&self, now: Instant) -> BTreeMap<ShardId, u64> {
        let snapshot = self.load();
        let troubled = snapshot.shards.iter().filter(|shard| match &shard.primary {
            None => true,
            Some(primary) => primary.lanes.iter().any(|lane| lane.is_failing() || lane.is_quiet(now)),
        });
        troubled.map(|shard| (shard.id, shard.epoch)).collect()
    }

    /// Takes reads that another replica may answer away from members that say nothing.
    fn recall_reads(&self, now: Instant) {
        for (_, lane) in self.load().lanes() {
            if lane.is_quiet(now) {
                lane.recall_reads();
            }
        }
    }
}
