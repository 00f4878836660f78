//! Slot rows and results after a restart are those from before it, wherever the checkpoint and the applied position lay.

use std::{
    collections::BTreeSet,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use bytes::Bytes;
use slotkv_proto::{
    SlotCount,
    seam::{Chance, SeededChance},
};
use slotkv_storage::{
    Batch, Effect, Engine, Error, Kind, LogRecord, MemoryEngine, Position, Reader, Row, RowCache, keys,
};
use slotkv_worker::{
    decide::{Change, Condition},
    outbox::Outbox,
    queue::Write,
    replica::{LOSS_GAP, Replica, Staged, barrier},
    retry::Ticket,
    snapshot::{Receiver, Source},
};

fn load(engine: &MemoryEngine) -> Replica {
    let engine: Arc<dyn Engine> = Arc::new(engine.clone());
    Replica::load(engine, Arc::new(RowCache::new(1 << 16)), SlotCount::new(16).unwrap()).unwrap()
}

fn write(chance: &SeededChance, sequence: u64) -> Write {
    let key = Bytes::from(format!("key{}", chance.below(40)));
    let change = match chance.below(6) {
        0 => Change::Delete(Condition::Always),
        1 => Change::Expire(Condition::Present, chance.below(60)),
        2 => Change::Read(true),
        _ => {
            let value = Bytes::from(vec![b'x'; chance.below(50) as usize]);
            Change::Put(value, Condition::Always, chance.below(3) * chance.below(40))
        }
    };
    Write {
        id: sequence,
        slot: slotkv_proto::slot(&key, SlotCount::new(16).unwrap()),
        namespace: Arc::from(if chance.below(2) == 0 { "" } else { "ns" }),
        key,
        change,
        ticket: Ticket { client: [1; 16], sequence, oldest_open: sequence, fence_index: 0, repeated: false },
        expires: None,
        admitted_bytes: 0,
        outbox: Arc::new(Outbox::default()),
    }
}

/// What must be the same before and after.
fn sums(replica: &Replica) -> Vec<(u64, u64, u128, u64)> {
    (0..16)
        .map(|slot| replica.slot_row_of(slot))
        .map(|row| (row.count, row.bytes, row.digest, row.version_counter))
        .collect()
}

/// Every row that ends has its deadline, and nothing else has one.
fn check_deadlines(engine: &MemoryEngine) {
    let keys_of = |prefix: Bytes, each: &mut dyn FnMut(&[u8], &[u8])| {
        let end = keys::prefix_end(&prefix).unwrap();
        let bounds = (Bound::Included(&prefix[..]), Bound::Excluded(&end[..]));
        engine
            .scan(bounds, &mut |key, value| {
                each(key, value);
                ControlFlow::Continue(())
            })
            .unwrap();
    };
    let (mut ending, mut deadlines) = (BTreeSet::new(), BTreeSet::new());
    keys_of(keys::data_key_prefix(), &mut |key, value| {
        let (_, expires_ms, _) = Row::peek(value).unwrap();
        if expires_ms != 0 {
            ending.insert(keys::deadline_key(expires_ms, key));
        }
    });
    keys_of(keys::deadline_key_prefix(), &mut |key, _| {
        deadlines.insert(Bytes::copy_from_slice(key));
    });
    assert_eq!(ending, deadlines);
}

#[test]
fn replay_gives_the_slot_rows_that_were_there_before_the_restart() {
    for seed in 0..50 {
        let chance = SeededChance::new(seed);
        let engine = MemoryEngine::recoverable(seed);
        let mut replica = load(&engine);
        let mut log: Vec<LogRecord> = Vec::new();
        for sequence in 1..=200 {
            let mut group = replica.begin(1_000 + sequence);
            let mut position = Position { epoch: 1, index: log.len() as u64 };
            if chance.below(4) == 0 {
                log.extend(replica.stage_expiries(&mut group, &mut position, &|_| true).unwrap());
            }
            position.index += 1;
            if let Staged::Log(record, _) =
                replica.stage(&mut group, &write(&chance, sequence), position).unwrap()
            {
                log.push(record);
            }
            replica.apply(group).unwrap();
            check_deadlines(&engine);
            match chance.below(40) {
                0 => drop(replica.checkpoint_rows().unwrap()),
                1 => engine.persist().unwrap(),
                _ => {}
            }
        }
        let before = sums(&replica);
        drop(replica);
        engine.crash();

        let mut replica = load(&engine);
        let from = replica.checkpoint().index;
        let mut group = replica.begin(0);
        for (at, record) in log.iter().enumerate().skip(from as usize) {
            replica.stage_record(&mut group, Position { epoch: 1, index: at as u64 + 1 }, record).unwrap();
        }
        replica.apply(group).unwrap();
        assert_eq!(sums(&replica), before, "seed {seed}");
        check_deadlines(&engine);
        assert_eq!(replica.applied().index, log.len() as u64);

        replica.recount().unwrap();
        let recounted = sums(&replica);
        for (slot, (before, after)) in before.iter().zip(&recounted).enumerate() {
            assert_eq!(
                (before.0, before.1, before.2),
                (after.0, after.1, after.2),
                "seed {seed}, slot {slot}"
            );
            assert!(after.3 >= before.3, "seed {seed}: the version counter of slot {slot} went back");
        }
    }
}

#[test]
fn logged_time_comes_back_also_from_a_record_that_changed_no_row() {
    let engine = MemoryEngine::new();
    let mut replica = load(&engine);
    let mut group = replica.begin(5_000);
    replica.stage_record(&mut group, Position { epoch: 1, index: 1 }, &barrier(5_000, 0)).unwrap();
    replica.apply(group).unwrap();
    replica.checkpoint_rows().unwrap();
    let time_ms = load(&engine).begin(7).time_ms();
    assert!((5_000..100_000).contains(&time_ms), "{time_ms}");
}

#[test]
fn gap_raises_versions_and_the_shown_index_once_whatever_is_lost_then() {
    for seed in 0..50 {
        let engine = MemoryEngine::recoverable(seed);
        let mut replica = load(&engine);
        let chance = SeededChance::new(seed);
        let mut log: Vec<LogRecord> = Vec::new();
        let mut versions = Vec::new();
        for sequence in 1..=75 {
            let mut group = replica.begin(1_000 + sequence);
            let position = |log: &[LogRecord]| Position { epoch: 1, index: log.len() as u64 + 1 };
            // A write before and one behind it in the same group.
            for part in 0..2 {
                let write = write(&chance, 10 * sequence + part);
                if let Staged::Log(record, reply) = replica.stage(&mut group, &write, position(&log)).unwrap()
                {
                    versions.push(reply.version);
                    log.push(record);
                }
                if sequence % 20 == 0 && part == 0 {
                    let record = barrier(group.time_ms(), LOSS_GAP);
                    replica.stage_record(&mut group, position(&log), &record).unwrap();
                    log.push(record);
                }
            }
            replica.apply(group).unwrap();
            assert_eq!(replica.shown_index(), log.len() as u64 + sequence / 20 * LOSS_GAP);
            if chance.below(10) == 0 {
                engine.persist().unwrap();
            }
        }
        assert!(versions.iter().any(|version| *version > 3 * LOSS_GAP));
        let before = sums(&replica);
        drop(replica);
        engine.crash();
        let mut replica = load(&engine);
        for (from, upto) in [(replica.checkpoint().index, replica.applied().index), (0, log.len() as u64)] {
            let mut group = replica.begin(0);
            for index in from.max(replica.checkpoint().index) + 1..=upto {
                let record = &log[index as usize - 1];
                replica.stage_record(&mut group, Position { epoch: 1, index }, record).unwrap();
            }
            replica.apply(group).unwrap();
        }
        assert_eq!(sums(&replica), before, "seed {seed}");
        assert_eq!(replica.shown_index(), log.len() as u64 + 3 * LOSS_GAP, "seed {seed}");
    }
}

#[test]
fn no_number_is_given_again_by_data_that_missed_the_losses_of_others() {
    // Both have the same up to epoch 5. One goes on to epoch 7, is lost, and is ordered to lead in epoch 10; the other led
    // after a loss in epochs 8 and 9.
    let begin = |replica: &mut Replica, epoch: u64, gap: u64, index: u64| {
        let mut group = replica.begin(1_000);
        replica.stage_record(&mut group, Position { epoch, index }, &barrier(1_000, gap)).unwrap();
        replica.apply(group).unwrap();
    };
    let (mut lost, mut other) = (load(&MemoryEngine::new()), load(&MemoryEngine::new()));
    begin(&mut lost, 5, 0, 1);
    begin(&mut other, 5, 0, 1);
    begin(&mut lost, 7, 0, 2);
    for (epoch, index) in [(8, 2), (9, 3)] {
        let gap = other.gap(epoch, 0);
        begin(&mut other, epoch, gap, index);
    }
    let gap = lost.gap(10, 0);
    begin(&mut lost, 10, gap, 3);
    assert!(lost.shown_index() >= other.shown_index() + LOSS_GAP);
    assert!(lost.slot_row_of(0).version_counter >= other.slot_row_of(0).version_counter + LOSS_GAP);
    // What is logged and not applied counts, too.
    assert_eq!(lost.gap(12, LOSS_GAP), LOSS_GAP);
}

#[test]
fn a_record_that_changes_rows_without_their_slots_row_is_refused() {
    let replica = load(&MemoryEngine::new());
    let record = LogRecord {
        kind: Kind::Write as i32,
        effects: vec![Effect { key: Bytes::from("k"), ..Effect::default() }],
        ..barrier(0, 0)
    };
    let refused = replica.stage_record(&mut replica.begin(0), Position { epoch: 1, index: 1 }, &record);
    assert!(matches!(refused, Err(Error::Malformed { .. })), "{refused:?}");
}

#[test]
fn whatever_meets_a_row_whose_time_is_over_logs_that_before_it_answers() {
    for change in [
        Change::Read(true),
        Change::Delete(Condition::Always),
        Change::Put(Bytes::new(), Condition::Present, 0),
        Change::Expire(Condition::Present, 5),
    ] {
        let engine = MemoryEngine::new();
        let mut replica = load(&engine);
        let mut asked = |sequence: u64, wall_ms: u64, change: Change| {
            let ticket =
                Ticket { client: [1; 16], sequence, oldest_open: 1, fence_index: 0, repeated: false };
            let asked = Write { key: "k".into(), change, ticket, ..write(&SeededChance::new(1), 1) };
            let mut group = replica.begin(wall_ms);
            let staged = replica.stage(&mut group, &asked, Position { epoch: 1, index: sequence }).unwrap();
            replica.apply(group).unwrap();
            staged
        };
        asked(1, 1_000, Change::Put("v".into(), Condition::Always, 10));
        let told = format!("{change:?}");
        let Staged::Log(record, reply) = asked(2, 1_000_000, change) else {
            panic!("{told}: nothing is logged")
        };
        assert_eq!((record.effects.len(), record.effects[0].value.as_ref()), (1, None), "{told}");
        assert_eq!((reply.version, reply.value.len()), (0, 0), "{told}");
        assert_eq!((sums(&replica).iter().map(|row| row.0).sum::<u64>(), replica.applied().index), (0, 2));
        check_deadlines(&engine);
    }
}

#[test]
fn a_snapshot_brings_the_deadlines_of_its_rows_and_is_refused_with_others() {
    let engine = MemoryEngine::new();
    let mut replica = load(&engine);
    let chance = SeededChance::new(7);
    let mut group = replica.begin(1_000);
    for index in 1..=40 {
        let change = Change::Put("v".into(), Condition::Always, chance.below(3) * 500);
        let asked = Write { change, ..write(&chance, index) };
        replica.stage(&mut group, &asked, Position { epoch: 1, index }).unwrap();
    }
    replica.apply(group).unwrap();
    let mut sent = |change: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        change(&mut batch);
        engine.write(batch).unwrap();
        let mut source = Source::open(&mut replica, &engine).unwrap();
        let taken = MemoryEngine::new();
        let mut receiver = Receiver::new(Arc::new(taken.clone()));
        loop {
            let (part, is_last) = source.chunk(200)?;
            receiver.add(&part)?;
            if is_last {
                break;
            }
        }
        receiver.finish(source.at()).map(|_| taken)
    };
    let taken = sent(&|_| {}).unwrap();
    check_deadlines(&taken);
    let at_once = load(&taken).expiry_wait(0);
    assert!(at_once.is_some(), "the copy knows that rows end");

    let stray = keys::deadline_key(1_700, &keys::data_key(3, "", b"nobody"));
    assert!(sent(&|batch| batch.put(stray.clone(), Bytes::new())).is_err_and(|error| error.is_damage()));
    sent(&|batch| batch.delete(stray.clone())).unwrap();
    let begin = keys::deadline_key_prefix();
    let mut first = None;
    let visit = &mut |key: &[u8], _: &[u8]| {
        first = Some(Bytes::copy_from_slice(key));
        ControlFlow::Break(())
    };
    engine.scan((Bound::Included(&begin[..]), Bound::Unbounded), visit).unwrap();
    assert!(sent(&|batch| batch.delete(first.clone().unwrap())).is_err_and(|error| error.is_damage()));
}
