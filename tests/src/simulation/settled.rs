//! Settled: what must hold once every shard weighs the same again and nothing is in the way: every hand-over is closed, each slot
//! has one owner, its replicas hold the same, and nobody else holds anything of it.

use std::{collections::BTreeMap, time::Duration};

use slotkv_coordination::registers::Slots;
use slotkv_master::order::Order;
use slotkv_proto::{
    table::ShardId,
    v1::{HeldSlot, InspectReply, held_slot::Hold},
};
use tokio::time::{sleep, timeout};

use super::{machine::Machine, world::World};

/// Within this time after everything was healed.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

impl World {
    /// Gives every shard its weight back, and waits until all is where it belongs. Returns how many rows there are.
    pub(super) async fn settle(&mut self) -> Result<u64, String> {
        let mut why = "operators are not heard".to_owned();
        let settling = timeout(SETTLE_MAX, async {
            for shard in 0..self.plan.shards {
                self.insist(Order::Weight { shard, weight: Some(1.0) }).await;
            }
            self.insist(Order::Rebalance { dry_run: false }).await;
            loop {
                self.revive().await?;
                match self.held().await {
                    Ok(rows) => return Ok(rows),
                    Err(not) => why = not,
                }
                sleep(LOOK_PAUSE).await;
            }
        });
        let settled = settling.await;
        settled.unwrap_or_else(|_| {
            Err(format!("not settled within {SETTLE_MAX:?}: {why}; {:?}; {}", self.slots(), self.leaders()))
        })
    }

    /// What each master knows of the movement of slots.
    fn leaders(&self) -> String {
        let running = self.masters.iter().flatten().map(|(master, _)| {
            format!("{:?} and {:?}", *master.standing().borrow(), *master.movement().borrow())
        });
        running.collect::<Vec<_>>().join("; ")
    }

    /// How many rows the owners hold, if everything is where it belongs.
    async fn held(&self) -> Result<u64, String> {
        let slots = self.slots();
        self.check_closed(&slots)?;
        let owners = owners(&slots);
        let mut rows = 0;
        for shard in 0..self.plan.shards {
            let held = self.held_by(shard).await?;
            for (&slot, &(owner, tenure)) in &owners {
                let known = held.get(&slot);
                match owner == shard {
                    true => rows += check_owned(slot, tenure, known)?,
                    false => check_foreign(slot, known, self.moves.has_given(slot, shard))?,
                }
            }
        }
        Ok(rows)
    }

    fn check_closed(&self, slots: &Slots) -> Result<(), String> {
        if let Some(open) = slots.migrations.first() {
            return Err(format!("{open:?} is open"));
        }
        let leading = self.masters.iter().flatten().map(|(master, _)| master);
        let leading = leading.filter(|master| master.standing().borrow().leads());
        let Some(movement) = leading.map(|master| master.movement().borrow().clone()).next() else {
            return Err("nobody leads".into());
        };
        if movement.version != slots.version {
            return Err(format!("the leader knows version {} of {}", movement.version, slots.version));
        }
        if movement.weights.len() != self.plan.shards as usize
            || movement.weights.values().any(|it| *it != 1.0)
        {
            return Err(format!("the leader knows the weights {:?}", movement.weights));
        }
        match movement.left.is_empty() {
            true => Ok(()),
            false => Err(format!("{:?} is left, {:?}", movement.left, movement.notices)),
        }
    }

    /// What each replica of a shard holds, by slot; they must not differ.
    async fn held_by(&self, shard: ShardId) -> Result<BTreeMap<u16, HeldSlot>, String> {
        let mut first: Option<InspectReply> = None;
        for machine in self.machines.iter().filter(|machine| machine.shard() == shard) {
            let reply = inspect(machine).await?;
            let Some(first) = &first else {
                first = Some(reply);
                continue;
            };
            let of = |reply: &InspectReply| (reply.applied_epoch, reply.applied_index, reply.slots.clone());
            if of(first) != of(&reply) {
                return Err(format!("replicas differ: {first:?} and {reply:?}"));
            }
        }
        let slots = first.map(|reply| reply.slots).unwrap_or_default();
        Ok(slots.into_iter().map(|held| (held.slot as u16, held)).collect())
    }
}

/// What a machine's replica holds.
pub(super) async fn inspect(machine: &Machine) -> Result<InspectReply, String> {
    let Some(worker) = &machine.worker else { return Err(format!("{} does not run", machine.name())) };
    match timeout(LOOK_PAUSE, worker.shard().inspect()).await {
        Ok(Ok(reply)) => Ok(reply),
        _ => Err(format!("{} does not say what it holds", machine.name())),
    }
}

fn owners(slots: &Slots) -> BTreeMap<u16, (ShardId, u64)> {
    let table = slots.to_table();
    (0..).zip(&table.owners).map(|(slot, owner)| (slot, (owner.shard, owner.tenure.0))).collect()
}

fn check_owned(slot: u16, tenure: u64, held: Option<&HeldSlot>) -> Result<u64, String> {
    match held {
        None if tenure == 0 => Ok(0),
        Some(held) if held.hold() == Hold::Held && held.tenure == tenure => Ok(held.count),
        _ => Err(format!("slot {slot} is owned in tenure {tenure}, and its owner says {held:?}")),
    }
}

/// Who has given a slot away remembers it: that is what refuses an old table.
fn check_foreign(slot: u16, held: Option<&HeldSlot>, has_given: bool) -> Result<(), String> {
    match held {
        None if has_given => Err(format!("slot {slot} is another's, and who gave it has forgotten it")),
        None => Ok(()),
        Some(held) if held.hold() == Hold::Gone && held.count == 0 => Ok(()),
        Some(held) => Err(format!("slot {slot} is another's, and here is {held:?}")),
    }
}
