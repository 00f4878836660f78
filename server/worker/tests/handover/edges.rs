//! What must be noticed: rows and results that are not what the source has. And what must be the same on whoever takes the log
//! up in the middle.

use bytes::Bytes;
use slotkv_migration::{Body, Message, Options, Outcome, Record, Said, ledger::Mark};
use slotkv_storage::{Batch, Engine, MemoryEngine, Row, keys};
use slotkv_worker::{
    replica::Replica,
    scrub::Scrub,
    snapshot::{Receiver, Source},
};

use crate::{
    shard::{facts, load, rows, rows_of},
    world::{MOVING, World, options},
};

const PART_HEAD_BYTES: usize = 5;
const OP_CLIENT: u8 = 4;
const OP_RESULT: u8 = 5;

/// The operations of a part, each as it lies there.
fn ops(part: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut ops) = (&part[PART_HEAD_BYTES..], Vec::new());
    while !rest.is_empty() {
        let length = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
        let (op, behind) = rest.split_at(9 + length(1) + length(5));
        ops.push(op);
        rest = behind;
    }
    ops
}

fn part_of(ops: &[&[u8]]) -> Bytes {
    let body = ops.concat();
    [&[1][..], &crc32c::crc32c(&body).to_le_bytes(), &body].concat().into()
}

/// Moves slots while every part is changed on its way; returns why it failed.
async fn move_changed(seed: u64, change: impl Fn(&Bytes) -> Bytes) -> Option<String> {
    let mut world = World::new(seed, options()).await;
    for _ in 0..200 {
        world.write().await;
    }
    world.writes_per_step = 1;
    let id = world.plan(&MOVING, 0, 1).await;
    for _ in 0..400 {
        for message in &mut world.shards[0].sent {
            let mut decoded = Message::from_bytes(message.clone()).unwrap();
            if let Body::Part { bytes, .. } = &mut decoded.body {
                *bytes = change(bytes);
            }
            *message = decoded.to_bytes();
        }
        world.step().await;
        let failed = world.shards[1].reports.iter().find_map(|report| match &report.said {
            Said::Failed(why) => Some(why.clone()),
            _ => None,
        });
        if failed.is_some() {
            // Nothing of it stays.
            world.decide(id, Outcome::Aborted).await;
            world.finish(id).await;
            world.shards[1].check_nothing_left(&MOVING);
            world.check();
            return failed;
        }
        if world.shards[1].has_said(id, &Said::Imported) {
            return None;
        }
    }
    Some(format!("it does not end; refused: {:?}", world.shards[1].refused.first()))
}

#[tokio::test]
async fn a_part_that_is_as_it_was_goes_through() {
    assert_eq!(move_changed(1, |part| part_of(&ops(part))).await, None);
}

#[tokio::test]
async fn a_missing_result_is_noticed_before_the_import() {
    let without = |part: &Bytes| {
        let kept: Vec<&[u8]> =
            ops(part).into_iter().filter(|op| ![OP_CLIENT, OP_RESULT].contains(&op[0])).collect();
        part_of(&kept)
    };
    let why = move_changed(1, without).await.expect("it was taken");
    assert!(why.contains("not what the source has"), "{why}");
}

#[tokio::test]
async fn a_part_with_a_bit_changed_on_the_way_is_not_logged() {
    let flip = |part: &Bytes| {
        let mut part = part.to_vec();
        let at = part.len() / 2;
        part[at] ^= 4;
        part.into()
    };
    let why = move_changed(1, flip).await.expect("it was taken");
    assert!(why.contains("checksum"), "{why}");
}

#[tokio::test]
async fn a_part_of_other_slots_or_another_range_is_not_logged() {
    let mut world = World::new(2, Options { part_bytes_max: 300, ..options() }).await;
    for _ in 0..200 {
        world.write().await;
    }
    world.plan(&MOVING, 0, 1).await;
    world.deliver(0).await;
    world.deliver(0).await;
    let part =
        world.shards[0].sent.iter().find_map(|message| match Message::from_bytes(message.clone()).unwrap() {
            Message { id, version, body: Body::Part { to, bytes, .. }, .. } => Some((id, version, to, bytes)),
            _ => None,
        });
    let (id, version, to, bytes) = part.expect("a part is on its way");
    let stage = |slots: &[u16], to: &slotkv_migration::Place, bytes: &Bytes| Record::Stage {
        id,
        version,
        slots: slots.to_vec(),
        to: to.clone(),
        bytes: bytes.clone(),
    };
    let target = &mut world.shards[1];
    let before = facts(&target.replica);
    let further = slotkv_migration::Place { cursor: slotkv_migration::Cursor::End, ..to.clone() };
    for record in
        [stage(&[5], &to, &bytes), stage(&MOVING, &further, &bytes), stage(&[3, 4, 99], &to, &bytes)]
    {
        assert!(target.handover(&record).await.is_err(), "{record:?}");
        assert_eq!(facts(&target.replica), before);
    }
    target.handover(&stage(&MOVING, &to, &bytes)).await.unwrap();
    assert!(facts(&target.replica) != before);
}

#[tokio::test]
async fn a_row_that_has_rotted_at_the_source_is_noticed_before_the_import() {
    let mut world = World::new(4, options()).await;
    for _ in 0..200 {
        world.write().await;
    }
    world.writes_per_step = 0;
    let (key, row) = rows_of(&world.shards[0].engine, &[4]).remove(0);
    let row = Row::decode(row).unwrap();
    let mut batch = Batch::new();
    batch.put(key, Row { value: Bytes::from_static(b"rotten"), ..row }.encode());
    world.shards[0].engine.write(batch).unwrap();
    let id = world.plan(&MOVING, 0, 1).await;
    world
        .until("a failure", |world| {
            world.shards[1].reports.iter().any(|report| matches!(report.said, Said::Failed(_)))
        })
        .await;
    assert!(!world.shards[1].has_said(id, &Said::Imported));
}

#[tokio::test]
async fn a_new_replica_takes_a_snapshot_in_the_middle_of_staging_and_goes_on() {
    for seed in 0..20 {
        let mut world = World::new(seed, options()).await;
        for _ in 0..150 {
            world.write().await;
        }
        let id = world.plan(&MOVING, 0, 1).await;
        for _ in 0..seed {
            world.step().await;
        }
        let mut others = Vec::new();
        for shard in &mut world.shards {
            let mut source = Source::open(&mut shard.replica, &shard.engine).unwrap();
            let engine = MemoryEngine::new();
            let mut receiver = Receiver::new(std::sync::Arc::new(engine.clone()));
            loop {
                let (part, is_last) = source.chunk(700).unwrap();
                receiver.add(&part).unwrap();
                if is_last {
                    break;
                }
            }
            receiver.finish(source.at()).unwrap();
            let replica = load(&engine);
            assert_eq!(facts(&replica), facts(&shard.replica));
            others.push(replica);
        }
        world.until_imported(id).await;
        world.decide(id, Outcome::Moved).await;
        world.finish(id).await;
        for (shard, mut other) in world.shards.iter().zip(others) {
            let from = other.applied().index + 1;
            other.apply_log(&shard.log, from, shard.last().index).unwrap();
            assert_eq!(facts(&other), facts(&shard.replica));
        }
    }
}

#[tokio::test]
async fn replicas_that_applied_the_same_log_in_other_groups_hold_the_same_rows_to_the_byte() {
    let mut world = World::new(7, options()).await;
    for _ in 0..150 {
        world.write().await;
    }
    world.hand_over(&MOVING, 0, 1).await;
    world.hand_over(&MOVING[..2], 1, 0).await;
    for shard in &mut world.shards {
        // All of it in a few groups.
        let engine = MemoryEngine::new();
        let mut other = load(&engine);
        other.apply_log(&shard.log, 1, shard.last().index).unwrap();
        assert_eq!(facts(&other), facts(&shard.twin));
        shard.replica.checkpoint_rows().unwrap();
        other.checkpoint_rows().unwrap();
        let names = |engine: &MemoryEngine| rows(engine, &[]);
        assert_eq!(names(&engine), names(&shard.engine));
        assert!(!rows(&engine, &keys::meta_key("ledger")).is_empty());
    }
}

/// Slots of one pass.
fn passed(mut scrub: Scrub, replica: &Replica) -> usize {
    while scrub.counts().passes == 0 {
        assert!(scrub.step(replica, 50).unwrap().is_empty());
    }
    scrub.counts().slots as usize
}

#[tokio::test]
async fn scrub_leaves_out_slots_that_a_hand_over_is_filling() {
    let mut world = World::new(7, Options { part_bytes_max: 300, ..options() }).await;
    for _ in 0..150 {
        world.write().await;
    }
    let id = world.plan(&MOVING, 0, 1).await;
    world.until("a part", |world| !rows_of(&world.shards[1].engine, &MOVING).is_empty()).await;
    let [source, target] = world.shards.each_ref().map(|shard| &shard.replica);
    let all = usize::from(target.slot_count());
    assert!(MOVING.iter().all(|slot| matches!(target.ledger().mark(*slot), Mark::Staging(_))));
    assert_eq!(passed(Scrub::of_what_stays(), target), all - MOVING.len());
    assert_eq!((passed(Scrub::default(), target), passed(Scrub::of_what_stays(), source)), (all, all));
    world.until_imported(id).await;
    world.decide(id, Outcome::Moved).await;
    world.finish(id).await;
    for shard in &world.shards {
        assert_eq!(passed(Scrub::of_what_stays(), &shard.replica), all);
    }
}
