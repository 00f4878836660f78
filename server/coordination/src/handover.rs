//! Handover: the registers about slots and their hand-overs. [`Slots`] is the only decision about who owns a slot; [`Mover`] says
//! that a leader looks after what moves, [`Holds`] what operators have cancelled.
//!
//! `/slots` has two formats. The first one has owners only, and is written for as long as no slot has moved and none is about
//! to; members that do not know of hand-overs can keep to that. The second one has tenures and hand-overs, too, and such
//! members refuse it by name. It counts slots, run by run, instead of naming them, so that 16,384 slots that
//! have all moved by themselves fit into one node.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use slotkv_migration::{Id, Outcome, Owner, Table, options::SLOT_COUNT_MAX};
use slotkv_proto::table::{ShardId, UNALLOCATED};

use crate::{
    Error,
    registers::{Register, as_json, check_format, decode_as, encode_as},
};

/// Most hand-overs that one table has.
pub const MIGRATIONS_MAX: usize = 256;
/// Most slots that a cluster has.
const SLOTS_MAX: usize = 16_384;

/// `/slots`: the only decision about ownership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Grows with every change.
    pub version: u64,
    /// Runs of (first slot, last slot, shard).
    pub owners: Vec<(u16, u16, ShardId)>,
    /// Runs of (first slot, last slot, tenure), of the slots that were ever handed over.
    pub tenures: Vec<(u16, u16, u64)>,
    /// Hand-overs that are planned and not closed.
    pub migrations: Vec<Migration>,
}

/// A hand-over, from its plan until both sides are done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// Names it for good: the version of the table that planned it.
    pub id: u64,
    /// Runs of (first slot, last slot).
    pub slots: Vec<(u16, u16)>,
    /// Who gives them.
    pub source: ShardId,
    /// Who gets them.
    pub target: ShardId,
    /// What came of it; `None`: it is in flight.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "outcome")]
    pub outcome: Option<Outcome>,
    /// The `loss_epoch` of source and target when it was planned. A shard of another one may have lost what it had said.
    pub loss_epochs: [u64; 2],
}

impl Slots {
    /// The table, by slot. Slots without an owner are [`UNALLOCATED`]'s; those behind the last owned one are left out.
    pub fn to_table(&self) -> Table {
        let count = self.owners.iter().map(|&(_, last, _)| usize::from(last) + 1).max().unwrap_or(0);
        let mut owners = vec![Owner { shard: UNALLOCATED, tenure: Id(0) }; count];
        for &(first, last, shard) in &self.owners {
            each(&mut owners, first, last, |owner| owner.shard = shard);
        }
        for &(first, last, tenure) in &self.tenures {
            each(&mut owners, first, last, |owner| owner.tenure = Id(tenure));
        }
        let migrations = self.migrations.iter().map(|migration| slotkv_migration::Migration {
            id: Id(migration.id),
            slots: slots_of(&migration.slots),
            source: migration.source,
            target: migration.target,
            outcome: migration.outcome,
        });
        Table { version: self.version, owners, migrations: migrations.collect() }
    }

    /// The register that says what `table` says. `loss_epoch` tells those of shards when a hand-over is planned; what hand-overs
    /// of `before` had then, they keep.
    pub fn of(table: &Table, before: &Slots, loss_epoch: impl Fn(ShardId) -> u64) -> Self {
        let known: BTreeMap<u64, [u64; 2]> =
            before.migrations.iter().map(|migration| (migration.id, migration.loss_epochs)).collect();
        let migrations = table.migrations.iter().map(|migration| Migration {
            id: migration.id.0,
            slots: runs_of(&migration.slots),
            source: migration.source,
            target: migration.target,
            outcome: migration.outcome,
            loss_epochs: match known.get(&migration.id.0) {
                Some(epochs) => *epochs,
                None => [loss_epoch(migration.source), loss_epoch(migration.target)],
            },
        });
        let shards = table.owners.iter().map(|owner| owner.shard);
        let tenures = table.owners.iter().map(|owner| owner.tenure.0);
        Self {
            version: table.version,
            owners: runs(shards, |shard| shard != UNALLOCATED),
            tenures: runs(tenures, |tenure| tenure != 0),
            migrations: migrations.collect(),
        }
    }

    /// The hand-over of that name, while it is not closed.
    pub fn migration(&self, id: u64) -> Option<&Migration> {
        self.migrations.iter().find(|migration| migration.id == id)
    }

    /// Whether it says what the first format cannot.
    fn has_moves(&self) -> bool {
        !(self.tenures.is_empty() && self.migrations.is_empty())
    }

    fn validate_moves(&self) -> Result<(), String> {
        ascending(self.owners.iter().map(|&(first, last, _)| (first, last)), "owners")?;
        ascending(self.tenures.iter().map(|&(first, last, _)| (first, last)), "tenures")?;
        if self.migrations.len() > MIGRATIONS_MAX {
            return Err(format!("{} hand-overs, the limit is {MIGRATIONS_MAX}", self.migrations.len()));
        }
        let ids: BTreeSet<u64> = self.migrations.iter().map(|migration| migration.id).collect();
        if ids.len() < self.migrations.len() {
            return Err("a hand-over is in the table twice".into());
        }
        let tenures = self.tenures.iter().map(|&(_, _, tenure)| tenure);
        if let Some(number) = ids.iter().copied().chain(tenures).find(|number| *number > self.version) {
            return Err(format!("hand-over {number} in version {}", self.version));
        }
        let mut busy = BTreeSet::new();
        for migration in &self.migrations {
            migration.validate()?;
            for slot in slots_of(&migration.slots) {
                if !busy.insert(slot) {
                    return Err(format!("slot {slot} is in two hand-overs"));
                }
            }
        }
        Ok(())
    }
}

impl Migration {
    /// How many slots move.
    pub fn slot_count(&self) -> usize {
        self.slots.iter().map(|&(first, last)| usize::from(last.saturating_sub(first)) + 1).sum()
    }

    fn validate(&self) -> Result<(), String> {
        let id = self.id;
        ascending(self.slots.iter().copied(), &format!("the slots of hand-over {id}"))?;
        let count = self.slot_count();
        if count == 0 || count > SLOT_COUNT_MAX {
            return Err(format!("hand-over {id} has {count} slots, it may have 1 to {SLOT_COUNT_MAX}"));
        }
        match self.source == self.target {
            true => Err(format!("hand-over {id} is from shard {} to itself", self.source)),
            false => Ok(()),
        }
    }
}

/// What the first format has. It could name hand-overs, but no build ever did.
#[derive(Serialize, Deserialize)]
struct First {
    version: u64,
    owners: Vec<(u16, u16, ShardId)>,
    #[serde(skip_deserializing)]
    migrations: [(); 0],
}

/// What the second format has: counts of slots and who owns them, and in which tenure.
#[derive(Serialize, Deserialize)]
struct Second {
    version: u64,
    owners: Vec<(u16, Option<ShardId>)>,
    tenures: Vec<(u16, u64)>,
    migrations: Vec<Migration>,
}

impl Register for Slots {
    const FORMAT: u32 = 2;

    fn encode(&self) -> Result<Bytes, Error> {
        if !self.has_moves() {
            let (version, owners) = (self.version, self.owners.clone());
            return encode_as(1, &First { version, owners, migrations: [] });
        }
        self.validate_moves().map_err(Error::Invalid)?;
        let owners = counts(self.owners.iter().map(|&(first, last, shard)| (first, last, Some(shard))));
        let second = Second {
            version: self.version,
            owners,
            tenures: counts(self.tenures.iter().copied()),
            migrations: self.migrations.clone(),
        };
        encode_as(2, &second)
    }

    fn decode(path: &str, data: &[u8]) -> Result<Self, Error> {
        let damaged = |why: String| Error::Damaged { path: path.into(), why };
        if check_format(path, data, Self::FORMAT)? < 2 {
            let First { version, owners, .. } = decode_as(path, data)?;
            return Ok(Self { version, owners, ..Self::default() });
        }
        let second: Second = decode_as(path, data)?;
        let owners = uncounted(&second.owners).map_err(damaged)?;
        let owners = owners.into_iter().filter_map(|(first, last, shard)| Some((first, last, shard?)));
        let tenures = uncounted(&second.tenures).map_err(damaged)?;
        let slots = Self {
            version: second.version,
            owners: owners.collect(),
            tenures: tenures.into_iter().filter(|&(_, _, tenure)| tenure != 0).collect(),
            migrations: second.migrations,
        };
        slots.validate_moves().map_err(damaged)?;
        Ok(slots)
    }
}

/// `/mover`: a leader that looks after hand-overs beats while some are open. Sources seal only while they hear it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mover {
    /// Its master epoch.
    pub epoch: u64,
    /// Grows with each beat of this epoch.
    pub beat: u64,
}

impl Register for Mover {
    const FORMAT: u32 = 1;
    as_json!();
}

/// `/holds`: what operators have cancelled. Nothing is planned for that until they say that it shall go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Grows with each change.
    pub number: u64,
    /// Nothing moves at all.
    pub all: bool,
    /// Shards that neither give nor get.
    pub shards: BTreeSet<ShardId>,
    /// Hand-overs that are to be aborted, if they are not decided yet. The same slots may be tried again.
    pub ids: BTreeSet<u64>,
}

impl Register for Holds {
    const FORMAT: u32 = 1;
    as_json!();
}

impl Holds {
    /// Whether a shard neither gives nor gets.
    pub fn has_shard(&self, shard: ShardId) -> bool {
        self.all || self.shards.contains(&shard)
    }

    /// Whether a hand-over is to be aborted.
    pub fn has(&self, id: u64, source: ShardId, target: ShardId) -> bool {
        self.ids.contains(&id) || self.has_shard(source) || self.has_shard(target)
    }
}

/// Runs of (first slot, last slot) of ascending slots.
pub fn runs_of(slots: &[u16]) -> Vec<(u16, u16)> {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for &slot in slots {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(slot) => *last = slot,
            _ => runs.push((slot, slot)),
        }
    }
    runs
}

/// The slots of runs.
pub fn slots_of(runs: &[(u16, u16)]) -> Vec<u16> {
    runs.iter().flat_map(|&(first, last)| first..=last).collect()
}

fn each(owners: &mut [Owner], first: u16, last: u16, change: impl Fn(&mut Owner)) {
    let run = owners.iter_mut().skip(usize::from(first));
    run.take((usize::from(last) + 1).saturating_sub(usize::from(first))).for_each(change);
}

/// Runs of slots of the same value, as far as it counts.
fn runs<T: Copy + PartialEq>(
    values: impl Iterator<Item = T>,
    counts: impl Fn(T) -> bool,
) -> Vec<(u16, u16, T)> {
    let mut runs: Vec<(u16, u16, T)> = Vec::new();
    for (slot, value) in (0u16..).zip(values).filter(|(_, value)| counts(*value)) {
        match runs.last_mut() {
            Some((_, last, same)) if *same == value && last.checked_add(1) == Some(slot) => *last = slot,
            _ => runs.push((slot, slot, value)),
        }
    }
    runs
}

/// The same runs as counts of slots; what lies between them is nobody's.
fn counts<T: Copy + Default>(runs: impl Iterator<Item = (u16, u16, T)>) -> Vec<(u16, T)> {
    let mut counts = Vec::new();
    let mut next = 0u16;
    for (first, last, value) in runs {
        if first > next {
            counts.push((first - next, T::default()));
        }
        counts.push((last.saturating_sub(first).saturating_add(1), value));
        next = last.saturating_add(1);
    }
    counts
}

fn uncounted<T: Copy>(counts: &[(u16, T)]) -> Result<Vec<(u16, u16, T)>, String> {
    let mut next = 0usize;
    let mut runs = Vec::with_capacity(counts.len());
    for &(count, value) in counts {
        let first = next;
        next += usize::from(count);
        if count == 0 || next > SLOTS_MAX {
            return Err(format!("a run of {count} slots from slot {first} on"));
        }
        runs.push((first as u16, (next - 1) as u16, value));
    }
    Ok(runs)
}

fn ascending(runs: impl Iterator<Item = (u16, u16)>, what: &str) -> Result<(), String> {
    let mut next = 0usize;
    for (first, last) in runs {
        if usize::from(first) < next || last < first || usize::from(last) >= SLOTS_MAX {
            return Err(format!("{what}: slots {first} to {last} are out of order"));
        }
        next = usize::from(last) + 1;
    }
    Ok(())
}

mod outcome {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use slotkv_migration::Outcome;

    pub fn serialize<S: Serializer>(outcome: &Option<Outcome>, serializer: S) -> Result<S::Ok, S::Error> {
        match outcome {
            Some(Outcome::Moved) => serializer.serialize_str("moved"),
            Some(Outcome::Aborted) => serializer.serialize_str("aborted"),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Outcome>, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None => Ok(None),
            Some("moved") => Ok(Some(Outcome::Moved)),
            Some("aborted") => Ok(Some(Outcome::Aborted)),
            Some(other) => Err(D::Error::custom(format!("a hand-over is moved or aborted, not {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::NODE_BYTES_MAX;

    fn migration() -> Migration {
        Migration {
            id: 9,
            slots: vec![(0, 3), (8, 8)],
            source: 0,
            target: 1,
            outcome: None,
            loss_epochs: [0, 4],
        }
    }

    fn slots() -> Slots {
        Slots {
            version: 11,
            owners: vec![(0, 511, 0), (520, 1023, 1)],
            tenures: vec![(4, 7, 3), (520, 530, 6)],
            migrations: vec![
                migration(),
                Migration { id: 10, slots: vec![(9, 9)], outcome: Some(Outcome::Moved), ..migration() },
                Migration { id: 11, slots: vec![(10, 10)], outcome: Some(Outcome::Aborted), ..migration() },
            ],
        }
    }

    /// As written by this release. Never edit a line: a later build must still read it.
    #[test]
    fn registers_of_hand_overs_are_the_golden_ones_both_ways() {
        fn check<R: Register + PartialEq + std::fmt::Debug>(register: R, golden: &str) {
            assert_eq!(String::from_utf8_lossy(&register.encode().unwrap()), golden);
            assert_eq!(R::decode("/x", golden.as_bytes()).unwrap(), register);
        }
        let golden: Vec<&str> = include_str!("../golden/handover-1.jsonl").lines().collect();
        let still = Slots { version: 2, owners: vec![(0, 511, 0), (512, 1023, 1)], ..Slots::default() };
        check(still.clone(), golden[0]);
        check(slots(), golden[1]);
        check(Mover { epoch: 3, beat: 17 }, golden[2]);
        check(Holds { number: 2, all: false, shards: [1, 4].into(), ids: [9].into() }, golden[3]);
        // The hand-over that release 0.1 could have written, and did not, decides nothing.
        let first = include_str!("../golden/registers-1.jsonl").lines().nth(6).unwrap();
        assert_eq!(Slots::decode("/slots", first.as_bytes()).unwrap(), still);
    }

    #[test]
    fn what_a_member_without_hand_overs_cannot_keep_to_has_a_format_of_its_own() {
        let format = |slots: &Slots| check_format("/slots", &slots.encode().unwrap(), 2).unwrap();
        assert_eq!(format(&Slots { tenures: vec![], migrations: vec![], ..slots() }), 1);
        assert_eq!(format(&Slots { migrations: vec![], ..slots() }), 2);
        assert_eq!(format(&Slots { tenures: vec![], ..slots() }), 2);
        let newer = Slots::decode("/slots", br#"{"format":3,"owners":"?"}"#).unwrap_err();
        assert_eq!(newer, Error::NewerFormat { path: "/slots".into(), format: 3, known: 2 });
    }

    #[test]
    fn a_table_is_the_same_after_it_was_a_register() {
        let table = slots().to_table();
        assert_eq!(table.owners.len(), 1024);
        assert_eq!(table.owners[5], Owner { shard: 0, tenure: Id(3) });
        assert_eq!(table.owners[515], Owner { shard: UNALLOCATED, tenure: Id(0) });
        assert_eq!(table.migrations[0].slots, [0, 1, 2, 3, 8]);
        assert_eq!(Slots::of(&table, &slots(), |_| 99), slots());
        // A hand-over that is new has the loss epochs of now.
        let new = Slots::of(&table, &Slots::default(), |shard| u64::from(shard) + 5);
        assert_eq!(new.migrations[0].loss_epochs, [5, 6]);
    }

    #[test]
    fn the_most_scattered_table_fits_into_a_node() {
        let version = 9_999_999_999;
        let every = |slot: u16| (slot, slot);
        let slots = Slots {
            version,
            owners: (0..16_384).map(|slot| (slot, slot, 3000 + u32::from(slot % 2))).collect(),
            tenures: (0..16_384).map(|slot| (slot, slot, version - u64::from(slot))).collect(),
            migrations: (0..8u16)
                .map(|number| Migration {
                    id: version - u64::from(number),
                    slots: (0..256).map(|slot| every(number * 512 + slot * 2)).collect(),
                    ..migration()
                })
                .collect(),
        };
        let data = slots.encode().unwrap();
        assert!(data.len() < NODE_BYTES_MAX, "{} bytes", data.len());
        assert_eq!(Slots::decode("/slots", &data).unwrap(), slots);
    }

    #[test]
    fn tables_that_cannot_be_are_neither_written_nor_read() {
        let with = |migration: Migration| Slots { migrations: vec![migration], ..slots() };
        let many = |count: u16| with(Migration { slots: vec![(0, count - 1)], ..migration() });
        assert!(many(SLOT_COUNT_MAX as u16).encode().is_ok());
        for (slots, why) in [
            (many(SLOT_COUNT_MAX as u16 + 1), "257 slots"),
            (with(Migration { slots: vec![], ..migration() }), "0 slots"),
            (with(Migration { slots: vec![(3, 2)], ..migration() }), "out of order"),
            (with(Migration { target: 0, ..migration() }), "to itself"),
            (with(Migration { id: 12, ..migration() }), "hand-over 12 in version 11"),
            (Slots { migrations: vec![migration(), migration()], ..slots() }, "twice"),
            (
                Slots { migrations: vec![migration(), Migration { id: 10, ..migration() }], ..slots() },
                "slot 0 is in two",
            ),
            (Slots { tenures: vec![(9, 9, 1), (3, 3, 2)], ..slots() }, "out of order"),
            (Slots { owners: vec![(0, 16_384, 1)], ..slots() }, "out of order"),
        ] {
            let error = slots.encode().unwrap_err();
            assert!(matches!(&error, Error::Invalid(text) if text.contains(why)), "{error} is not {why}");
        }
        let written = String::from_utf8(slots().encode().unwrap().to_vec()).unwrap();
        for (this, that) in
            [("\"aborted\"", "\"maybe\""), ("\"target\":1", "\"target\":0"), ("[4,3]", "[0,3]")]
        {
            let data = written.replace(this, that);
            assert_ne!(data, written, "{this}");
            let error = Slots::decode("/slots", data.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{this}: {error}");
        }
    }
}
