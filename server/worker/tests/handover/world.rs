//! Two shards, the table between them, and clients that write while slots move.

use slotkv_migration::{Id, Migration, Options, Outcome, Owner, Said, ShardId, Slot, Table};
use slotkv_proto::{
    seam::{Chance, SeededChance},
    v1::Reply,
};
use slotkv_worker::decide::{Change, Condition};

use crate::shard::{SLOTS, Shard, Spec, rows_of};

pub const MOVING: [Slot; 3] = [3, 4, 9];
/// Steps within which a hand-over ends.
const STEPS_MAX: usize = 5_000;

pub struct World {
    pub shards: [Shard; 2],
    pub table: Table,
    pub chance: SeededChance,
    /// The last sequence of each client.
    pub sequences: [u64; 4],
    /// What was answered, newest last.
    pub answered: Vec<(Spec, Reply)>,
    /// One in so many steps restarts a shard; 0: none.
    pub restarts: u64,
    pub values: u64,
    pub writes_per_step: u64,
}

/// The seeds of a test: so many, or as the environment says.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let from = number("SLOTKV_SEED_FROM").unwrap_or(0);
    from..from + number("SLOTKV_SEEDS").unwrap_or(count)
}

pub fn options() -> Options {
    Options {
        part_bytes_max: 1_000,
        flight_bytes_max: 3_000,
        seal_lag_bytes: 1_000,
        clean_count_max: 5,
        resend_us: 100_000,
        ..Options::default()
    }
}

impl World {
    pub async fn new(seed: u64, options: Options) -> Self {
        let owners = vec![Owner { shard: 0, tenure: Id(0) }; SLOTS.into()];
        let table = Table { version: 1, owners, migrations: vec![] };
        let source = Shard::new(0, seed, options.clone(), table.clone()).await;
        let target = Shard::new(1, seed + 1_000, options, table.clone()).await;
        Self {
            shards: [source, target],
            table,
            chance: SeededChance::new(seed),
            sequences: [0; 4],
            answered: Vec::new(),
            restarts: 0,
            values: 60,
            writes_per_step: 2,
        }
    }

    pub fn owner(&self, slot: Slot) -> usize {
        self.table.owners[usize::from(slot)].shard as usize
    }

    /// A write of some client, to a slot of which anybody serves it.
    pub async fn write(&mut self) {
        let slot = match self.chance.below(4) {
            0 => self.chance.below(SLOTS.into()) as Slot,
            _ => MOVING[self.chance.below(3) as usize],
        };
        let key = format!("key{}", self.chance.below(30));
        let value = vec![b'v'; self.chance.below(self.values) as usize];
        let (key, change) = match self.chance.below(9) {
            0 | 1 => (key, Change::Delete(Condition::Always)),
            2 => (key, Change::Expire(Condition::Present, 1 + self.chance.below(60))),
            3 | 4 => (format!("sum{}", self.chance.below(4)), Change::Increment(1)),
            _ => (
                key,
                Change::Put(value.into(), Condition::Always, self.chance.below(3) * self.chance.below(90)),
            ),
        };
        self.write_change(slot, key, change).await;
    }

    pub async fn write_change(&mut self, slot: Slot, key: String, change: Change) -> Option<Reply> {
        let owner = self.owner(slot);
        if !self.shards[owner].serves(slot) {
            return None;
        }
        let client = self.chance.below(4) as usize;
        self.sequences[client] += 1;
        let spec = Spec {
            client: [client as u8 + 1; 16],
            sequence: self.sequences[client],
            fence_index: self.shards[owner].replica.shown_index(),
            slot,
            key,
            change,
        };
        let reply = self.shards[owner].write(&spec.write(false)).await;
        assert!(!reply.replayed, "{spec:?} is new");
        self.answered.push((spec, reply.clone()));
        Some(reply)
    }

    /// Whoever asks again for what it was told is told the same.
    pub async fn repeat_last(&mut self, count: usize) {
        let last = self.answered.len().saturating_sub(count);
        for (spec, before) in self.answered.split_off(last) {
            let owner = self.owner(spec.slot);
            let is_open = spec.sequence + 8 >= self.sequences[usize::from(spec.client[0]) - 1];
            let is_effect = before.version > 0 && !matches!(spec.change, Change::Delete(_));
            if !self.shards[owner].serves(spec.slot) || !is_open || !is_effect {
                continue;
            }
            let again = self.shards[owner].write(&spec.write(true)).await;
            if again.replayed {
                let what = |reply: &Reply| (reply.code, reply.status, reply.version, reply.number);
                assert_eq!(what(&again), what(&before), "{spec:?}");
            } else {
                // One that changed nothing was not logged.
                assert_eq!(again.version, before.version, "{spec:?} is done twice");
            }
        }
    }

    pub async fn plan(&mut self, slots: &[Slot], source: ShardId, target: ShardId) -> Id {
        let id = Id(self.table.version + 1);
        let migration = Migration { id, slots: slots.to_vec(), source, target, outcome: None };
        self.table.migrations.push(migration);
        self.publish().await;
        id
    }

    pub async fn publish(&mut self) {
        self.table.version += 1;
        for shard in &mut self.shards {
            shard.table(&self.table).await;
        }
    }

    pub async fn decide(&mut self, id: Id, outcome: Outcome) {
        let found = self.table.migrations.iter_mut().find(|migration| migration.id == id).unwrap();
        found.outcome = Some(outcome);
        let (slots, target) = (found.slots.clone(), found.target);
        if outcome == Outcome::Moved {
            for slot in slots {
                self.table.owners[usize::from(slot)] = Owner { shard: target, tenure: id };
            }
        }
        self.publish().await;
    }

    pub async fn close(&mut self, id: Id) {
        self.table.migrations.retain(|migration| migration.id != id);
        self.publish().await;
    }

    /// Messages go over, most of them.
    pub async fn deliver(&mut self, lost_of_ten: u64) {
        for from in 0..2 {
            for message in std::mem::take(&mut self.shards[from].sent) {
                if self.chance.below(10) >= lost_of_ten {
                    self.shards[1 - from].step(message).await;
                }
            }
        }
    }

    pub async fn step(&mut self) {
        for _ in 0..self.writes_per_step {
            self.write().await;
        }
        if self.chance.below(8) == 0 {
            self.repeat_last(6).await;
        }
        for at in 0..2 {
            self.shards[at].wall_ms += 1 + self.chance.below(4);
            if self.chance.below(4) == 0 {
                self.shards[at].expire().await;
            }
            if self.chance.below(30) == 0 {
                self.shards[at].checkpoint();
            }
            if self.restarts > 0 && self.chance.below(self.restarts) == 0 {
                self.shards[at].restart(self.table.clone()).await;
            }
            self.shards[at].tick(20_000).await;
        }
        let lost = if self.restarts > 0 { 1 } else { 0 };
        self.deliver(lost).await;
    }

    pub async fn until(&mut self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        for _ in 0..STEPS_MAX {
            if is(self) {
                return;
            }
            self.step().await;
        }
        let [source, target] = &self.shards;
        panic!(
            "{what} does not come: {:?} {:?} {:?} {:?}",
            source.reports.last(),
            target.reports.last(),
            source.replica.ledger().work(),
            target.replica.ledger().work()
        );
    }

    /// Until the target has all of it, with what the source has at that time.
    pub async fn until_imported(&mut self, id: Id) {
        let (source, target) = self.sides(id);
        self.until("the import", |world| {
            world.shards[target].has_said(id, &Said::Imported)
                && world.shards[source].has_said(id, &Said::Sealed)
        })
        .await;
        let slots = self.slots(id);
        let [from, to] = [source, target].map(|at| &self.shards[at]);
        assert_eq!(rows_of(&from.engine, &slots), rows_of(&to.engine, &slots));
        assert_eq!(from.replica.tally(&slots).0, to.replica.tally(&slots).0);
        assert!(to.replica.shown_index() >= from.replica.shown_index() - self.behind(source));
        for slot in &slots {
            let (before, after) = (from.replica.slot_row_of(*slot), to.replica.slot_row_of(*slot));
            assert!(after.version_counter >= before.version_counter, "slot {slot}");
            assert!(after.logged_time_ms >= before.logged_time_ms, "slot {slot}");
            assert!(!from.serves(*slot) && !to.serves(*slot));
        }
    }

    /// By how many records the source may have gone on since it said what it has.
    fn behind(&self, source: usize) -> u64 {
        self.shards[source].last().index
    }

    pub fn sides(&self, id: Id) -> (usize, usize) {
        let migration = self.table.migration(id).unwrap();
        (migration.source as usize, migration.target as usize)
    }

    pub fn slots(&self, id: Id) -> Vec<Slot> {
        self.table.migration(id).unwrap().slots.clone()
    }

    /// Until both sides are done, and the plan is closed.
    pub async fn finish(&mut self, id: Id) {
        self.until("the end", |world| world.shards.iter().all(|shard| shard.has_said(id, &Said::Done))).await;
        self.close(id).await;
    }

    /// Moves slots, from the plan to the end.
    pub async fn hand_over(&mut self, slots: &[Slot], source: ShardId, target: ShardId) -> Id {
        let id = self.plan(slots, source, target).await;
        self.until_imported(id).await;
        self.decide(id, Outcome::Moved).await;
        let answered = self.answered.len();
        self.repeat_last(answered).await;
        self.finish(id).await;
        self.shards[source as usize].check_nothing_left(slots);
        for slot in slots {
            assert!(
                self.shards[target as usize].serves(*slot) && !self.shards[source as usize].serves(*slot)
            );
        }
        self.check();
        id
    }

    pub fn check(&self) {
        self.shards.iter().for_each(Shard::check_twin);
    }
}
