//! Serving: whoever serves a slot must be the one that the table at the coordinator gives it to. It is looked at from outside,
//! all the time: what two shards serve at once shows even where no client happens to ask both.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use slotkv_coordination::{
    embedded::Faults,
    paths,
    registers::{Register, Slots},
};
use slotkv_migration::{Step, failpoint};
use slotkv_worker::shard::Shard;
use tokio::time::sleep;

use super::net::Net;

/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// What was seen of a run.
#[derive(Default)]
pub struct Serving {
    wrong: Mutex<Option<String>>,
}

impl Serving {
    /// Looks until something is wrong, or the run is over.
    pub async fn look_on(self: Arc<Self>, net: Arc<Net>, coordinator: Faults) {
        let mut table = (bytes::Bytes::new(), slotkv_migration::Table::default());
        loop {
            sleep(LOOK_PAUSE).await;
            let Some(data) = coordinator.look(paths::SLOTS) else { continue };
            if data != table.0 {
                let slots = Slots::decode(paths::SLOTS, &data).expect("a slot table");
                table = (data, slots.to_table());
            }
            if let Some(wrong) = net.shards().iter().find_map(|shard| wrong(shard, &table.1)) {
                self.wrong.lock().get_or_insert(wrong);
                return;
            }
        }
    }

    /// What was seen.
    pub fn verdict(&self) -> Result<(), String> {
        self.wrong.lock().clone().map_or(Ok(()), Err)
    }
}

/// What this process serves though it is another's.
fn wrong(shard: &Shard, table: &slotkv_migration::Table) -> Option<String> {
    let view = shard.ownership();
    if view.epoch() == 0 || !shard.holds_lease(view.epoch()) || shard.check_serving().is_err() {
        return None;
    }
    let slot = view.slots().find(|slot| table.owner(*slot).is_none_or(|owner| owner.shard != shard.id()))?;
    let (name, version) = (&shard.member().name, view.slots_table().version);
    let (owner, now) = (table.owner(slot), table.version);
    Some(format!("{name} serves slot {slot} by version {version}; in version {now} it is with {owner:?}"))
}

/// Whenever a source seals, what clients have asked is not answered: they ask again, and somebody else. To be ended by `failpoint::tell(None)`.
pub fn break_links_at_seals(net: Arc<Net>) {
    failpoint::tell(Some(Box::new(move |step, _| {
        if step == Step::SealAppended {
            net.break_client_links();
        }
    })));
}
