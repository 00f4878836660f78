//! Rule 5, and reads.

use slotkv_replication::{Ack, Body, Health, Refusal};

use crate::shard::{MS, NAMES, Shard, heartbeat};

#[test]
fn backup_knows_how_old_what_it_has_applied_may_be() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let backup = (primary + 1) % 3;
    shard.write(primary, 4);
    shard.run(1000);
    let (now_us, commit) = (shard.now_us, shard.get(backup).commit_index());
    let fresh_us = shard.get(backup).fresh_as_of_us(commit).unwrap();
    assert!(now_us - fresh_us <= 250 * MS, "{} ms", (now_us - fresh_us) / MS);
    assert_eq!(shard.get(primary).fresh_as_of_us(commit), Some(now_us));
    assert_eq!(shard.get(backup).fresh_as_of_us(0), None, "nothing is applied");
    // Nothing of what the primary says without its lease counts.
    shard.loses = |message| matches!(message.body, Body::Alive { .. });
    shard.run(400);
    let known_us = shard.get(backup).fresh_as_of_us(commit);
    assert!(known_us >= Some(fresh_us));
    shard.run(400);
    assert_eq!(shard.get(backup).fresh_as_of_us(commit), known_us);
}

#[test]
fn lease_counts_from_when_the_heartbeat_was_sent() {
    let mut shard = Shard::new(2, Ack::One);
    let primary = shard.elect();
    shard.run(200);
    shard.isolate(primary);
    let sent = |shard: &Shard| {
        let answered = shard.sent.iter().rev().find_map(|message| match message.body {
            Body::Alive { sent_us, lease_us, .. } if lease_us > 0 => Some(sent_us),
            _ => None,
        });
        answered.expect("a grant was given")
    };
    let until_us = shard.get(primary).lease_until_us();
    assert_eq!(until_us, sent(&shard) + 495 * MS - 10 * MS);
    assert!(shard.get(primary).holds_lease(until_us - 1));
    assert!(!shard.get(primary).holds_lease(until_us));
}

#[test]
fn grant_that_arrives_late_is_worth_less() {
    let mut shard = Shard::new(2, Ack::One);
    let primary = shard.elect();
    shard.run(200);
    let grant = shard.sent.iter().rev().find(|message| matches!(message.body, Body::Alive { .. })).cloned();
    let until_us = shard.get(primary).lease_until_us();
    shard.isolate(primary);
    shard.run(300);
    shard.tell(primary, grant.unwrap());
    assert_eq!(shard.get(primary).lease_until_us(), until_us);
}

#[test]
fn answer_to_a_heartbeat_that_was_never_sent_confirms_nothing() {
    let mut shard = Shard::new(2, Ack::One);
    let primary = shard.elect();
    shard.run(200);
    shard.isolate(primary);
    let until_us = shard.get(primary).lease_until_us();
    let grant = shard.sent.iter().rev().find(|message| matches!(message.body, Body::Alive { .. })).cloned();
    let grant = grant.expect("a grant was given");
    let later_us = shard.now_us + 500 * MS;
    for (sequence, sent_us) in [(1000, shard.now_us), (1, later_us)] {
        let body = Body::Alive {
            sequence,
            sent_us,
            lease_us: 500 * MS,
            synced: 0,
            stamp: 0,
            health: Health::default(),
        };
        shard.tell(primary, slotkv_replication::Message { body, ..grant.clone() });
    }
    assert_eq!(shard.get(primary).lease_until_us(), until_us);
    let now_us = shard.now_us;
    shard.get(primary).confirm_read(now_us, 7).unwrap();
    shard.settle();
    assert!(shard.reads.is_empty());
}

#[test]
fn one_grant_of_two_is_enough_with_ack_one_and_both_are_needed_with_ack_all() {
    for (ack, holds) in [(Ack::One, true), (Ack::All, false)] {
        let mut shard = Shard::new(3, ack);
        let primary = shard.elect();
        shard.isolate((primary + 1) % 3);
        shard.run(600);
        let now_us = shard.now_us;
        assert_eq!(shard.get(primary).holds_lease(now_us), holds, "{ack:?}");
    }
}

#[test]
fn read_without_a_lease_is_confirmed_by_one_round() {
    let mut shard = Shard::new(2, Ack::One);
    let primary = shard.elect();
    shard.isolate(primary);
    // So that it is not elected meanwhile.
    shard.cut_off.insert(1 - primary);
    shard.run(550);
    let now_us = shard.now_us;
    assert!(!shard.get(primary).holds_lease(now_us));
    shard.get(primary).confirm_read(now_us, 7).unwrap();
    shard.settle();
    assert!(shard.reads.is_empty());
    shard.cut.clear();
    // An answer to a heartbeat from before the read is no answer to it.
    let (epoch, run) = (shard.get(primary).leads().unwrap(), "r2");
    let late =
        Body::Alive { sequence: 1, sent_us: 1, lease_us: 0, synced: 0, stamp: 0, health: Health::default() };
    let mut message = heartbeat(NAMES[1 - primary], NAMES[primary], epoch, 1, 0);
    message.from = crate::shard::member(NAMES[1 - primary], "i1", run);
    message.body = late;
    shard.tell(primary, message);
    assert!(shard.reads.is_empty());
    shard.run(150);
    assert_eq!(shard.reads, [7]);
}

#[test]
fn single_copy_reads_without_anybody() {
    let mut shard = Shard::new(1, Ack::All);
    shard.elect();
    shard.run(5000);
    let now_us = shard.now_us;
    assert!(shard.get(0).holds_lease(now_us));
    assert_eq!(shard.promises[0].lease_us, 0, "it has granted nothing, so it need not wait after a restart");
}

#[test]
fn restarted_backup_promises_nothing_new_for_the_longest_lease_it_may_have_granted() {
    let mut shard = Shard::new(2, Ack::One);
    let primary = shard.elect();
    let backup = 1 - primary;
    shard.run(200);
    let (epoch, granted_us) = (shard.register.epoch, shard.now_us);
    shard.isolate(primary);
    shard.crash(backup);
    shard.start(backup);
    while shard.promises[backup].epoch == epoch {
        shard.run(10);
    }
    assert!(shard.now_us >= granted_us + 500 * MS);
    assert!(shard.get(primary).lease_until_us() < shard.now_us);
}

#[test]
fn elected_primary_is_obeyed_at_once() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let (b, c) = ((primary + 1) % 3, (primary + 2) % 3);
    shard.run(200);
    let epoch = shard.register.epoch + 1;
    shard.isolate(primary);
    shard.tell(b, heartbeat(NAMES[c], NAMES[b], epoch, 1, 0));
    assert_eq!(shard.promises[b].epoch, epoch);
}

#[test]
fn who_does_not_lead_confirms_nothing() {
    let mut shard = Shard::new(2, Ack::One);
    let backup = 1 - shard.elect();
    let now_us = shard.now_us;
    assert_eq!(shard.get(backup).confirm_read(now_us, 1), Err(Refusal::NotPrimary));
    assert!(!shard.get(backup).holds_lease(now_us));
}
