//! A host sleeps until [`Replica::next_deadline_us`](slotkv_replication::Replica::next_deadline_us). That nothing is missed
//! in between is checked by the simulation, of every state it comes to.

use slotkv_replication::Ack;

use crate::shard::{MS, NAMES, Shard};

#[test]
fn hosts_that_sleep_elect_replicate_fail_over_and_take_back_as_fast() {
    let mut shard = Shard::new(3, Ack::One);
    shard.run_asleep(700);
    let primary = shard.primary().expect("one serves");
    shard.write(primary, 3);
    shard.crash(primary);
    shard.run_asleep(620);
    let next = shard.primary().expect("another serves");
    shard.run_asleep(1100);
    assert_eq!(shard.isr().len(), 2, "who is silent for a second is removed");
    shard.start(primary);
    shard.run_asleep(300);
    assert_eq!(shard.isr(), NAMES);
    assert_eq!(shard.logs[primary], shard.logs[next]);
}

#[test]
fn shard_at_rest_wakes_its_hosts_for_heartbeats_only() {
    let mut shard = Shard::new(3, Ack::One);
    shard.run_asleep(2000);
    let before = shard.tick_count;
    shard.run_asleep(9000);
    // Ten a second, and the register every three seconds by each.
    assert!(shard.tick_count - before <= 90 + 3 * 3 + 1, "{}", shard.tick_count - before);
}

#[test]
fn primary_sleeps_over_what_it_can_do_nothing_about() {
    let mut shard = Shard::new(2, Ack::All);
    let primary = shard.elect();
    shard.cut_off.insert(primary);
    shard.crash(1 - primary);
    // The other is lost long since, and cannot be removed while the coordinator does not answer.
    shard.run_asleep(5000);
    let now_us = shard.now_us;
    let deadline_us = shard.get(primary).next_deadline_us().unwrap();
    assert!(deadline_us > now_us && deadline_us <= now_us + 100 * MS);
}
