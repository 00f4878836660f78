//! The operator: has shards give their slots away and take them back, cancels what is under way, and goes on with it. Orders go to
//! the leading master, and may be lost with it.

use std::time::Duration;

use slotkv_coordination::{
    paths,
    registers::{Register, Slots},
};
use slotkv_master::order::{Cancel, Done, Order};
use slotkv_proto::table::ShardId;
use tokio::time::{sleep, timeout};

use super::world::World;

/// An order waits for so long at most, in milliseconds.
const PATIENCE_MS_MAX: u64 = 1_000;
/// Pause before an order that has to be carried out is given again.
const PAUSE: Duration = Duration::from_millis(200);

impl World {
    /// One order. What comes of it is not waited for.
    pub(super) async fn order(&mut self) {
        let shard = self.chosen(u64::from(self.plan.shards)) as ShardId;
        let (name, order) = match self.chosen(12) {
            0..4 => ("a shard is drained", Order::Weight { shard, weight: Some(0.0) }),
            4..7 => ("a shard is added", Order::Weight { shard, weight: None }),
            7..9 => {
                let weight = [0.5, 1.0, 3.0][self.chosen(3) as usize];
                ("a weight is set", Order::Weight { shard, weight: Some(weight) })
            }
            9 => ("everything goes on", Order::Rebalance { dry_run: false }),
            _ => ("hand-overs are cancelled", Order::Cancel(self.cancel(shard))),
        };
        let patience = Duration::from_millis(self.chosen(PATIENCE_MS_MAX));
        let answer = self.give(order, patience).await;
        self.count(name, format!("{order:?}: {answer:?}"));
    }

    fn cancel(&self, shard: ShardId) -> Cancel {
        let open: Vec<u64> = self.slots().migrations.iter().map(|migration| migration.id).collect();
        match self.chosen(4) {
            0 => Cancel::All,
            1 => Cancel::Shard(shard),
            _ if open.is_empty() => Cancel::One(0),
            _ => Cancel::One(open[self.chosen(open.len() as u64) as usize]),
        }
    }

    /// The slot table.
    pub(super) fn slots(&self) -> Slots {
        let data = self.coordinator.faults().look(paths::SLOTS);
        data.map(|data| Slots::decode(paths::SLOTS, &data).expect("a slot table")).unwrap_or_default()
    }

    async fn give(&self, order: Order, patience: Duration) -> Result<Done, String> {
        let mut masters = self.masters.iter().flatten();
        let leads = |master: &slotkv_master::Master| master.standing().borrow().leads();
        let Some((master, _)) = masters.find(|(master, _)| leads(master)) else {
            return Err("nobody leads".into());
        };
        let answer = timeout(patience, master.operator().order(order)).await;
        match answer {
            Ok(answer) => answer.map_err(|refusal| refusal.text),
            Err(_) => Err(format!("no answer within {patience:?}")),
        }
    }

    /// Has an order carried out, however often it has to be given. The caller bounds it.
    pub(super) async fn insist(&self, order: Order) {
        while self.give(order, Duration::from_secs(10)).await.is_err() {
            sleep(PAUSE).await;
        }
    }
}
