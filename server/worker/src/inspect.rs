//! Inspect: what a replica holds of each slot, for those who look whether the cluster is as it should be.

use bytes::Bytes;
use slotkv_migration::Mark;
use slotkv_proto::v1::{HeldSlot, InspectReply, held_slot::Hold};
use tokio::sync::oneshot;

use crate::{
    host::{Host, Input},
    shard::Shard,
};

impl Shard {
    /// Asks the host. It answers when it comes to it, and never once it has stopped.
    pub fn inspect(&self) -> oneshot::Receiver<InspectReply> {
        let (told, inspected) = oneshot::channel();
        let _ = self.inbox().send(Input::Inspect(told));
        inspected
    }
}

impl Host {
    pub(crate) fn inspect(&self) -> InspectReply {
        let ledger = self.replica.ledger();
        let slots = (0..self.replica.slot_count()).filter_map(|slot| {
            let row = self.replica.slot_row_of(slot);
            let (hold, tenure) = match ledger.mark(slot) {
                Mark::Held(tenure) => (Hold::Held, tenure),
                Mark::Sealed { tenure, .. } => (Hold::Sealed, tenure),
                Mark::Staging(id) => (Hold::Staging, id),
                Mark::Cleaning(id) => (Hold::Cleaning, id),
                Mark::Gone(id) => (Hold::Gone, id),
            };
            let is_known = row.count > 0 || row.digest != 0 || hold != Hold::Held || tenure.0 > 0;
            is_known.then(|| HeldSlot {
                slot: slot.into(),
                count: row.count,
                digest: Bytes::copy_from_slice(&row.digest.to_le_bytes()),
                hold: hold.into(),
                tenure: tenure.0,
            })
        });
        let applied = self.replica.applied();
        InspectReply {
            name: self.process.name.clone(),
            shard: self.shard.id(),
            applied_epoch: applied.epoch,
            applied_index: applied.index,
            slots: slots.collect(),
            lost: ledger.lost().map(u32::from).collect(),
        }
    }
}
