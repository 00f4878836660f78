//! What may be lost: an import that was applied and did not last, and a log whose engine is ahead of it.

use slotkv_migration::{Mark, Outcome};
use slotkv_storage::{Engine, Position};
use slotkv_worker::replica::{LOSS_GAP, barrier};

use crate::{
    shard::{load, rows_of},
    world::{MOVING, World, options},
};

#[tokio::test]
async fn after_a_loss_the_shown_index_goes_above_what_a_lost_import_has_shown() {
    let mut world = World::new(1, options()).await;
    // The source has been through losses, and is far ahead.
    for epoch in [20, 30] {
        let source = &mut world.shards[0];
        source.epoch = epoch;
        let gap = source.replica.gap(epoch, 0);
        let record = barrier(1_000, gap);
        source.log.append(epoch, &[record.to_bytes()]).unwrap();
        for replica in [&mut source.replica, &mut source.twin] {
            let mut group = replica.begin_logged();
            let at = Position { epoch, index: source.log.last_index() };
            replica.stage_record(&mut group, at, &record).unwrap();
            replica.apply(group).unwrap();
        }
    }
    for _ in 0..100 {
        world.write().await;
    }
    let shown = world.shards[0].replica.shown_index();
    assert!(shown > 30 * LOSS_GAP && world.shards[1].replica.shown_index() < LOSS_GAP);
    let id = world.plan(&MOVING, 0, 1).await;
    world.until("the first part", |world| !world.shards[1].replica.ledger().work().is_empty()).await;
    let held = world.shards[1].last().index;
    assert!(world.shards[1].replica.shown_index() < LOSS_GAP, "staging shows nothing yet");
    world.until_imported(id).await;
    let lost = world.shards[1].replica.shown_index();
    assert!(lost >= shown);
    // Somebody who has only the first part goes on, in the next epoch.
    let mut other = load(&slotkv_storage::MemoryEngine::new());
    other.apply_log(&world.shards[1].log, 1, held).unwrap();
    assert!(other.shown_index() < LOSS_GAP);
    let mut group = other.begin_logged();
    let gap = other.gap(3, 0);
    other.stage_record(&mut group, Position { epoch: 3, index: held + 1 }, &barrier(1_000, gap)).unwrap();
    other.apply(group).unwrap();
    assert!(other.shown_index() > lost, "{} is shown again", other.shown_index());
    assert!(other.shown_index() > 3 * LOSS_GAP);
}

#[tokio::test]
async fn who_missed_a_hand_over_goes_on_above_it_by_the_sum_of_epochs() {
    let mut world = World::new(1, options()).await;
    // The source has been through a loss in epoch 30; the target, in epoch 1, through none.
    let source = &mut world.shards[0];
    source.epoch = 30;
    let record = barrier(1_000, source.replica.gap(30 + 1, 0));
    source.log.append(30, &[record.to_bytes()]).unwrap();
    for replica in [&mut source.replica, &mut source.twin] {
        let mut group = replica.begin_logged();
        let at = Position { epoch: 30, index: source.log.last_index() };
        replica.stage_record(&mut group, at, &record).unwrap();
        replica.apply(group).unwrap();
    }
    let held = world.shards[1].last().index;
    let id = world.plan(&MOVING, 0, 1).await;
    world.until_imported(id).await;
    let told = world.shards[1].replica.shown_index();
    // Somebody who has nothing of it is ordered to lead, in the target's epoch 2.
    let mut other = load(&slotkv_storage::MemoryEngine::new());
    other.apply_log(&world.shards[1].log, 1, held).unwrap();
    let mut group = other.begin_logged();
    let gap = other.gap(30 + 2, 0);
    other.stage_record(&mut group, Position { epoch: 2, index: held + 1 }, &barrier(1_000, gap)).unwrap();
    other.apply(group).unwrap();
    assert!(other.shown_index() > told, "{} after {told}", other.shown_index());
    for slot in MOVING {
        let version = |replica: &slotkv_worker::replica::Replica| replica.slot_row_of(slot).version_counter;
        assert!(version(&other) > version(&world.shards[1].replica), "slot {slot}");
    }
}

#[tokio::test]
async fn slots_whose_hand_over_was_lost_are_served_again_empty_and_their_numbers_go_on() {
    // Of the hand-over the target has nothing, or the first part; or the slots were here before, and went.
    for case in 0..3 {
        let mut world = World::new(case, options()).await;
        for _ in 0..100 {
            world.write().await;
        }
        let mut held = world.shards[1].last().index;
        if case == 2 {
            world.hand_over(&MOVING, 0, 1).await;
            held = world.shards[1].last().index;
            world.hand_over(&MOVING, 1, 0).await;
        }
        let id = world.plan(&MOVING, 0, 1).await;
        if case == 1 {
            world.until("a part", |world| !world.shards[1].replica.ledger().work().is_empty()).await;
            held = world.shards[1].last().index;
        }
        world.until_imported(id).await;
        world.decide(id, Outcome::Moved).await;
        for _ in 0..50 {
            world.write().await;
        }
        let told = world.shards[1].replica.shown_index();
        let versions = MOVING.map(|slot| world.shards[1].replica.slot_row_of(slot).version_counter);
        let table = world.table.clone();
        world.shards[1].recover(table, held, 9).await;
        assert!(MOVING.iter().all(|slot| !world.shards[1].serves(*slot)), "the source may have everything");
        world.finish(id).await;
        world.until("they are served", |world| MOVING.iter().all(|slot| world.shards[1].serves(*slot))).await;
        let target = &world.shards[1];
        assert!(target.replica.shown_index() > told);
        assert!(target.replica.ledger().lost().eq(MOVING), "case {case}: {:?}", target.replica.ledger());
        for (slot, before) in MOVING.into_iter().zip(versions) {
            assert_eq!(target.replica.ledger().mark(slot), Mark::Held(id), "case {case}");
            assert_eq!(rows_of(&target.engine, &[slot]), []);
            let row = target.replica.slot_row_of(slot);
            assert!(row.count == 0 && row.bytes == 0 && row.version_counter > before, "case {case}: {row:?}");
        }
        let change =
            slotkv_worker::decide::Change::Put("v".into(), slotkv_worker::decide::Condition::Always, 0);
        let reply = world.write_change(MOVING[0], "key".into(), change).await.unwrap();
        assert!(reply.version > versions[0]);
        world.check();
    }
}

#[tokio::test]
async fn an_engine_that_has_lost_its_log_still_knows_what_was_handed_over() {
    for stage in 0..3 {
        let mut world = World::new(2, options()).await;
        for _ in 0..150 {
            world.write().await;
        }
        world.shards.iter_mut().for_each(|shard| shard.checkpoint());
        let id = world.plan(&MOVING, 0, 1).await;
        world.until_imported(id).await;
        if stage > 0 {
            world.decide(id, Outcome::Moved).await;
        }
        if stage > 1 {
            world.finish(id).await;
        }
        for shard in &mut world.shards {
            shard.engine.persist().unwrap();
            let mut replica = load(&shard.engine);
            assert!(replica.checkpoint() < replica.applied());
            let (shown, marks) = (shard.replica.shown_index(), shard.replica.ledger().clone());
            replica.recount().unwrap();
            assert!(replica.shown_index() >= shown);
            for slot in MOVING {
                assert_eq!(replica.ledger().mark(slot), marks.mark(slot), "stage {stage}");
                assert!(replica.ledger().mark(slot) != Mark::Held(slotkv_migration::Id(0)));
                assert_eq!(replica.slot_row_of(slot).count, rows_of(&shard.engine, &[slot]).len() as u64);
            }
        }
    }
}
