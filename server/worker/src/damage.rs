//! Damage: what a host does about rows that are not what they were.

use slotkv_replication::Standing;
use slotkv_storage::Error;

use crate::host::Host;

/// Between two looks at rows, and how many are looked at: a million rows take seven minutes.
pub(crate) const SCRUB_PAUSE_US: u64 = 100_000;
const SCRUB_ROWS: usize = 256;

impl Host {
    /// Looks at some rows now and then. A replica with rows that are not what was written is of no use to the others: a
    /// backup gives its data up and is copied anew, a primary hands the lead over first, if anybody can take it.
    pub(crate) async fn scrub_if_due(&mut self) -> Result<(), Error> {
        let now = self.now();
        if now < self.scrub_due_us {
            return Ok(());
        }
        self.scrub_due_us = now + SCRUB_PAUSE_US;
        let rotten = self.scrub.step(&self.replica, SCRUB_ROWS)?;
        let Some(first) = rotten.first() else { return Ok(()) };
        let (shard, slot) = (self.shard.id(), first.expected.slot);
        tracing::error!(
            shard,
            slot,
            expected = first.expected.count,
            found = first.found.count,
            "rows have rotted"
        );
        if self.machine.leads().is_some() {
            let _ = self.machine.wish_successor(now);
            return self.carry_out().await;
        }
        if self.machine.status().standing != Standing::InSync {
            return Ok(());
        }
        self.home.discard(&*self.chance).await?;
        let text = format!("rows of slot {slot} have rotted; the data is copied anew by the next start");
        Err(Error::Misfit(text))
    }
}
