//! Replicas that hold the same have the same digests, and a row that rotted is found by its slot.

mod common;

use common::data::{Data, rows, slots};
use slotkv_storage::{Batch, Log, LogRecord, MemoryEngines, Position, Row, SimDisk, keys};
use slotkv_worker::{
    replica::{LOSS_GAP, Replica},
    scrub::{Rotten, Scrub},
};

async fn written(seed: u64, writes: u64) -> Data {
    let mut data = Data::open(&SimDisk::new(seed), &MemoryEngines::recoverable(seed), seed).await.unwrap();
    for number in 1..=writes {
        data.write(1, number, true).await.unwrap();
    }
    data
}

/// One pass, which goes on while rows are written if there are any.
async fn pass(scrub: &mut Scrub, data: &mut Data, rows_max: usize, mut writes: u64) -> Vec<Rotten> {
    let passes = scrub.counts().passes;
    let mut found = Vec::new();
    while scrub.counts().passes == passes {
        let before = scrub.counts();
        found.extend(scrub.step(&data.replica, rows_max).unwrap());
        let after = scrub.counts();
        assert!(after.rows - before.rows <= rows_max as u64 && after.slots - before.slots <= rows_max as u64);
        if writes > 0 {
            writes -= 1;
            data.write(1, 10_000 + writes, true).await.unwrap();
        }
    }
    found
}

#[tokio::test]
async fn digests_are_those_of_every_replica_that_has_applied_the_same() {
    let mut data = written(1, 300).await;
    let mut other = written(2, 300).await;
    assert_eq!(data.replica.digests(), other.replica.digests());
    let (at, parts) = data.parts(1_000);
    let mut third = written(3, 7).await;
    third.install(at, &parts).await.unwrap();
    assert_eq!(data.replica.digests(), third.replica.digests());
    let count: u64 = data.replica.digests().iter().map(|slot| slot.count).sum();
    assert!(count > 0 && count == data.contents().1.len() as u64);
    // A gap changes no row.
    data.barrier(2, LOSS_GAP).await.unwrap();
    assert_eq!(data.replica.digests(), other.replica.digests());
    let before = data.replica.digests();
    for number in 301..=310 {
        other.write(1, number, true).await.unwrap();
    }
    assert_ne!(before, other.replica.digests());
}

/// Applies records of a log by groups of so many.
fn follow(replica: &mut Replica, log: &Log, per_group: usize) {
    let mut group = replica.begin_logged();
    let mut count = 0;
    let mut records = Vec::new();
    while (records.len() as u64) < log.last_index() {
        records.extend(log.read(records.len() as u64 + 1, 1 << 20).unwrap());
    }
    for record in records {
        let position = Position { epoch: record.epoch, index: record.index };
        replica.stage_record(&mut group, position, &LogRecord::from_bytes(record.payload).unwrap()).unwrap();
        count += 1;
        if count % per_group == 0 || group.ends_with_check() {
            replica.apply(group).unwrap();
            group = replica.begin_logged();
        }
    }
    replica.apply(group).unwrap();
}

#[tokio::test]
async fn check_gives_the_same_hash_to_all_that_have_applied_it_and_another_to_who_holds_another_row() {
    let mut data = written(1, 200).await;
    let at = Position { epoch: 1, index: data.log.last_index() + 1 };
    let mut group = data.replica.begin(5_000);
    let record = data.replica.stage_check(&mut group, at);
    assert_eq!((record.effects.len(), group.ends_with_check()), (0, true));
    data.log.append(1, &[record.to_bytes()]).unwrap();
    data.replica.apply(group).unwrap();
    let checked = data.replica.take_check();
    assert_eq!(checked.map(|(position, _)| position), Some(at));
    assert_eq!(data.replica.take_check(), None, "it is told once");
    data.write(1, 999, true).await.unwrap();
    for per_group in [1, 7, 1_000] {
        let mut other = Data::open(&SimDisk::new(7), &MemoryEngines::recoverable(7), 7).await.unwrap();
        follow(&mut other.replica, &data.log, per_group);
        assert_eq!(other.replica.applied().index, data.log.last_index());
        assert_eq!(other.replica.take_check(), checked, "groups of {per_group}");
    }
    // One whose last write is missing.
    let mut odd = written(9, 199).await;
    let mut group = odd.replica.begin(5_000);
    odd.replica.stage_check(&mut group, at);
    odd.replica.apply(group).unwrap();
    assert_ne!(odd.replica.take_check().map(|(_, hash)| hash), checked.map(|(_, hash)| hash));
}

#[tokio::test]
async fn rows_that_are_as_they_were_pass_whatever_is_written_meanwhile() {
    for rows_max in [1, 2, 7, 1_000] {
        let mut data = written(1, 300).await;
        let mut scrub = Scrub::default();
        for round in 1..=3 {
            let found = pass(&mut scrub, &mut data, rows_max, 40).await;
            assert!(found.is_empty(), "{found:?}");
            let counts = scrub.counts();
            assert_eq!((counts.passes, counts.slots), (round, round * u64::from(slots().get())));
            assert!(counts.rows >= round * 20);
        }
    }
}

#[tokio::test]
async fn row_that_was_changed_or_lost_is_found_by_its_slot_and_counted() {
    let mut data = written(1, 300).await;
    let prefix = keys::data_key_prefix();
    let users = rows(&*data.engine).into_iter().filter(|(key, _)| key.starts_with(&prefix));
    let mut scrub = Scrub::default();
    let mut rotten = 0;
    for (key, row) in users.collect::<Vec<_>>() {
        let slot = keys::DataKey::decode(&key).unwrap().slot;
        let whole = Row::decode(row.clone()).unwrap();
        let mut bits = whole.value.to_vec();
        if let Some(byte) = bits.first_mut() {
            *byte ^= 1;
        }
        let flipped = Row { value: bits.into(), ..whole.clone() };
        let older = Row { version: whole.version - 1, ..whole.clone() };
        for changed in [Some(flipped), Some(older), None] {
            if changed.as_ref() == Some(&whole) {
                continue;
            }
            let mut batch = Batch::new();
            match changed {
                Some(row) => batch.put(key.clone(), row.encode()),
                None => batch.delete(key.clone()),
            }
            data.engine.write(batch).unwrap();
            let found = pass(&mut scrub, &mut data, 3, 0).await;
            let [Rotten { expected, found }] = found[..] else { panic!("{found:?}") };
            assert_eq!((expected.slot, found.slot), (slot, slot));
            assert_ne!(expected, found);
            rotten += 1;
            assert_eq!(scrub.counts().rotten, rotten);
        }
        let mut batch = Batch::new();
        batch.put(key, row);
        data.engine.write(batch).unwrap();
    }
    assert!(rotten > 30, "{rotten}");
    assert!(pass(&mut scrub, &mut data, 3, 0).await.is_empty());
}
