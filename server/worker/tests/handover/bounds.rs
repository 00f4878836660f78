//! Large items, many clients, and rows that end while they are hidden.

use slotkv_migration::{Options, Outcome, Slot};
use slotkv_worker::{
    decide::{Change, Condition},
    retry::CLIENTS_PER_SLOT_MAX,
};

use crate::{
    shard::{Spec, rows_of},
    world::{MOVING, World, options},
};

fn put(bytes: usize, lifetime_ms: u64) -> Change {
    Change::Put(vec![b'x'; bytes].into(), Condition::Always, lifetime_ms)
}

#[tokio::test]
async fn items_larger_than_a_part_go_by_themselves() {
    let mut world = World::new(1, Options { part_bytes_max: 64 << 10, ..Options::default() }).await;
    for slot in MOVING {
        for key in 0..3 {
            world.write_change(slot, format!("large{key}"), put(1 << 20, 0)).await;
            world.write_change(slot, format!("small{key}"), put(100, 0)).await;
        }
    }
    world.values = 10;
    let id = world.plan(&MOVING, 0, 1).await;
    for key in 0..3 {
        world.step().await;
        world.write_change(4, format!("large{key}"), put(1 << 20, 0)).await;
    }
    world.until_imported(id).await;
    assert!(world.shards[0].largest_part < (1 << 20) + (130 << 10), "{}", world.shards[0].largest_part);
    assert!(
        rows_of(&world.shards[1].engine, &MOVING).iter().filter(|(_, row)| row.len() > 1 << 20).count() == 9
    );
    world.decide(id, Outcome::Moved).await;
    world.finish(id).await;
    world.check();
}

/// The write of one of many clients.
fn of_client(number: u16, sequence: u64, fence_index: u64, slot: Slot) -> Spec {
    let mut client = [9; 16];
    client[..2].copy_from_slice(&number.to_be_bytes());
    Spec {
        client,
        sequence,
        fence_index,
        slot,
        key: format!("key{}", number % 40),
        change: Change::Increment(1),
    }
}

#[tokio::test]
async fn the_results_of_more_clients_than_a_slot_keeps_come_along_as_far_as_they_are_kept() {
    for seed in 0..3 {
        let mut world = World::new(seed, options()).await;
        world.writes_per_step = 0;
        let clients = CLIENTS_PER_SLOT_MAX as u16 + 60;
        let mut told = Vec::new();
        let id = match seed {
            0 => None,
            _ => Some(world.plan(&MOVING, 0, 1).await),
        };
        for number in 0..clients {
            for sequence in 1..=2 {
                let fence_index = world.shards[0].replica.shown_index();
                let spec = of_client(number, sequence, fence_index, 4);
                let reply = world.shards[0].write(&spec.write(false)).await;
                told.push((spec, reply));
            }
            // The copy goes on meanwhile. What is written here asks nobody, so nothing may be sealed yet.
            world.shards[0].hears = false;
            if seed == 2 && number % 16 == 0 {
                world.step().await;
            }
        }
        let id = match id {
            Some(id) => id,
            None => world.plan(&MOVING, 0, 1).await,
        };
        world.shards[0].hears = true;
        world.until_imported(id).await;
        world.decide(id, Outcome::Moved).await;
        let shown = world.shards[1].replica.shown_index();
        let mut forgotten = 0;
        for (spec, before) in told {
            let again = world.shards[1].write(&spec.write(true)).await;
            match again.replayed {
                true => assert_eq!((again.number, again.version), (before.number, before.version)),
                // It says that it does not know.
                false => {
                    assert_eq!(again.code, slotkv_proto::Code::Indeterminate.number(), "{spec:?}: {again:?}");
                    forgotten += 1;
                }
            }
        }
        assert!((1..=2 * 60).contains(&forgotten), "{forgotten}");
        // A write that is new is done, whatever was forgotten.
        let fresh = world.shards[1].write(&of_client(7, 900, shown, 4).write(false)).await;
        assert_eq!(fresh.code, 0);
        world.check();
    }
}

#[tokio::test]
async fn rows_of_staged_slots_end_after_the_switch_and_hold_up_nobody_before() {
    let mut world = World::new(3, Options { part_bytes_max: 4_000, ..options() }).await;
    world.writes_per_step = 0;
    for key in 0..5_000 {
        world.write_change(4, format!("short{key}"), put(3, 20_000)).await;
    }
    let id = world.plan(&[3, 4], 0, 1).await;
    // The target's own, of a slot that it has got before.
    world.until_imported(id).await;
    world.decide(id, Outcome::Moved).await;
    world.finish(id).await;
    let back = world.plan(&[4], 1, 0).await;
    world.write_change(3, "mine".into(), put(3, 20_000)).await;
    world.until_imported(back).await;
    let hidden = rows_of(&world.shards[0].engine, &[4]).len();
    assert!(hidden > 4_000, "{hidden} rows are hidden");
    // Shard 1 has sealed slot 4, and shard 0 has it staged: neither lets its rows end, and slot 3's row ends at once.
    for shard in &mut world.shards {
        shard.wall_ms += 200_000;
        shard.tick(0).await;
    }
    let mut ended = [0, 0];
    for _ in 0..4 {
        for (at, ended) in ended.iter_mut().enumerate() {
            *ended += world.shards[at].expire().await;
        }
    }
    assert_eq!(ended, [0, 1], "only the row of slot 3 ends");
    assert_eq!(rows_of(&world.shards[0].engine, &[4]).len(), hidden);
    assert_eq!(
        world.shards[0].replica.expiry_wait(world.shards[0].wall_ms).map(|wait| wait.as_millis() > 0),
        Some(true)
    );
    world.decide(back, Outcome::Moved).await;
    for _ in 0..20 {
        world.shards[0].wall_ms += 1_001;
        world.shards[0].expire().await;
    }
    assert_eq!(rows_of(&world.shards[0].engine, &[4]), []);
    world.finish(back).await;
    world.check();
}
