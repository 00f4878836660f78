//! Slot rows and results after a restart are those from before it, wherever the checkpoint and the applied position lay.

use std::sync::Arc;

use bytes::Bytes;
use slotkv_proto::{
    SlotCount,
    seam::{Chance, SeededChance},
};
use slotkv_storage::{Effect, Engine, Error, Kind, LogRecord, MemoryEngine, Position, RowCache};
use slotkv_worker::{
    decide::{Change, Condition},
    outbox::Outbox,
    queue::Write,
    replica::{LOSS_GAP, Replica, Staged, barrier},
    retry::Ticket,
};

fn load(engine: &MemoryEngine) -> Replica {
    let engine: Arc<dyn Engine> = Arc::new(engine.clone());
    Replica::load(engine, Arc::new(RowCache::new(1 << 16)), SlotCount::new(16).unwrap()).unwrap()
}

fn write(chance: &SeededChance, sequence: u64) -> Write {
    let key = Bytes::from(format!("key{}", chance.below(40)));
    let change = match chance.below(4) {
        0 => Change::Delete(Condition::Always),
        _ => Change::Put(Bytes::from(vec![b'x'; chance.below(50) as usize]), Condition::Always),
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

#[test]
fn replay_gives_the_slot_rows_that_were_there_before_the_restart() {
    for seed in 0..50 {
        let chance = SeededChance::new(seed);
        let engine = MemoryEngine::recoverable(seed);
        let mut replica = load(&engine);
        let mut log: Vec<LogRecord> = Vec::new();
        for sequence in 1..=200 {
            let mut group = replica.begin(1_000 + sequence);
            let position = Position { epoch: 1, index: log.len() as u64 + 1 };
            if let Staged::Log(record, _) =
                replica.stage(&mut group, &write(&chance, sequence), position).unwrap()
            {
                log.push(record);
            }
            replica.apply(group).unwrap();
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
    assert_eq!(load(&engine).begin(7).time_ms(), 5_000);
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
