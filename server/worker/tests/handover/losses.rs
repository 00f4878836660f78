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
