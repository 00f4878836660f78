//! Whole hand-overs, with everything that goes on meanwhile.

use slotkv_migration::{Options, Outcome, Said};

use crate::{
    shard::rows_of,
    world::{MOVING, World, options, seeds},
};

#[tokio::test]
async fn slots_move_whole_while_clients_write_delete_count_and_repeat() {
    for seed in seeds(12) {
        let part_bytes_max = [1, 300, 5_000, 1 << 20][seed as usize % 4];
        let options = Options { part_bytes_max, ..options() };
        let mut world = World::new(seed, options).await;
        for _ in 0..200 {
            world.write().await;
        }
        world.hand_over(&MOVING, 0, 1).await;
        assert!(!rows_of(&world.shards[1].engine, &MOVING).is_empty());
        assert!(
            world.shards[0].largest_part <= part_bytes_max.max(1_000),
            "{}",
            world.shards[0].largest_part
        );
        for _ in 0..50 {
            world.step().await;
        }
        world.check();
    }
}

#[tokio::test]
async fn either_side_may_stop_between_any_two_records() {
    for seed in seeds(30) {
        let mut world = World::new(seed, options()).await;
        for _ in 0..100 {
            world.write().await;
        }
        world.restarts = 3 + seed % 5 * 5;
        world.writes_per_step = seed % 3;
        world.hand_over(&MOVING, 0, 1).await;
        for _ in 0..20 {
            world.step().await;
        }
        world.check();
    }
}

#[tokio::test]
async fn slots_that_come_back_have_what_was_written_meanwhile_and_nothing_that_was_deleted() {
    for seed in seeds(6) {
        let mut world = World::new(seed, options()).await;
        world.restarts = if seed < 3 { 0 } else { 12 };
        for _ in 0..100 {
            world.write().await;
        }
        for round in 0..2 {
            world.hand_over(&MOVING, 0, 1).await;
            for _ in 0..30 {
                world.step().await;
            }
            let shown = world.shards[1].replica.shown_index();
            let before = world.shards[1].replica.slot_row_of(3).version_counter;
            world.hand_over(&MOVING, 1, 0).await;
            let source = &world.shards[0].replica;
            assert!(source.shown_index() >= shown && source.slot_row_of(3).version_counter >= before);
            for _ in 0..30 {
                world.step().await;
            }
            assert!(round > 0 || !rows_of(&world.shards[0].engine, &MOVING).is_empty());
        }
        world.check();
    }
}

#[tokio::test]
async fn two_hand_overs_at_once_do_not_touch_each_other() {
    let mut world = World::new(3, options()).await;
    for _ in 0..200 {
        world.write().await;
    }
    let first = world.plan(&[3, 9], 0, 1).await;
    let second = world.plan(&[4, 5, 10], 0, 1).await;
    world.until_imported(first).await;
    world.decide(first, Outcome::Moved).await;
    world.until_imported(second).await;
    world.decide(second, Outcome::Aborted).await;
    world.finish(first).await;
    world.finish(second).await;
    world.shards[1].check_nothing_left(&[4, 5, 10]);
    world.shards[0].check_nothing_left(&[3, 9]);
    assert!(world.shards[0].serves(4) && world.shards[1].serves(9));
    world.check();
}

#[tokio::test]
async fn an_aborted_hand_over_leaves_nothing_at_the_target_and_all_at_the_source() {
    for seed in seeds(10) {
        let mut world = World::new(seed, options()).await;
        world.restarts = if seed % 2 == 0 { 0 } else { 20 };
        for _ in 0..200 {
            world.write().await;
        }
        let id = world.plan(&MOVING, 0, 1).await;
        for _ in 0..seed % 10 * 3 {
            world.step().await;
        }
        world.decide(id, Outcome::Aborted).await;
        world.finish(id).await;
        world.shards[1].check_nothing_left(&MOVING);
        for slot in MOVING {
            assert!(world.shards[0].serves(slot));
        }
        let answered = world.answered.len();
        world.repeat_last(answered).await;
        world.check();
        // And the next one works.
        world.hand_over(&MOVING, 0, 1).await;
    }
}

#[tokio::test]
async fn a_new_stream_replaces_what_an_older_one_has_staged() {
    for seed in seeds(8) {
        let mut world = World::new(seed, options()).await;
        for _ in 0..200 {
            world.write().await;
        }
        let id = world.plan(&MOVING, 0, 1).await;
        world.writes_per_step = 6;
        for round in 0..4 {
            for _ in 0..round {
                world.step().await;
            }
            world.shards[0].is_gone_next = true;
        }
        world.until_imported(id).await;
        assert!(world.shards[0].gone > 0);
        world.decide(id, Outcome::Moved).await;
        world.finish(id).await;
        world.check();
    }
}

#[tokio::test]
async fn a_source_whose_log_has_been_cut_begins_anew() {
    let mut world = World::new(5, options()).await;
    world.values = 300;
    for _ in 0..600 {
        world.write().await;
    }
    let id = world.plan(&MOVING, 0, 1).await;
    // Nothing arrives for a while.
    for _ in 0..4 {
        world.step().await;
    }
    assert_eq!(world.shards[0].gone, 0);
    world.shards[0].sent.clear();
    for _ in 0..200 {
        world.write().await;
    }
    world.shards[0].checkpoint();
    let upto = world.shards[0].last().index;
    drop(world.shards[0].log.truncate_front(upto).await.unwrap());
    world.until_imported(id).await;
    assert!(world.shards[0].gone > 0, "the log held what the target lacked");
    assert!(world.shards[0].has_said(id, &Said::Sealed));
    world.decide(id, Outcome::Moved).await;
    world.finish(id).await;
    world.check();
}
