//! Rules 1 and 2.

use slotkv_replication::{Ack, Ask, Body, Refusal};

use crate::shard::{NAMES, Shard, at, heartbeat};

#[test]
fn restarted_primary_does_not_resume_its_epoch() {
    let mut shard = Shard::new(1, Ack::One);
    assert_eq!(shard.elect(), 0);
    assert_eq!((shard.register.epoch, shard.get(0).leads()), (1, Some(1)));
    shard.crash(0);
    shard.start(0);
    assert_eq!(shard.get(0).leads(), None);
    shard.elect();
    assert_eq!((shard.register.epoch, shard.get(0).leads()), (2, Some(2)));
    assert_eq!(shard.logs[0], [at(1, 1), at(2, 2)]);
}

#[test]
fn primary_that_is_elected_again_in_the_same_process_takes_a_new_epoch() {
    let mut shard = Shard::new(1, Ack::One);
    shard.elect();
    shard.tell(0, heartbeat("b", "a", 7, 1, 0));
    assert_eq!(shard.stopped.len(), 1);
    assert_eq!(shard.get(0).leads(), None);
    assert_eq!(shard.promises[0].epoch, 7);
}

#[test]
fn lower_epoch_is_refused_with_the_promised_one() {
    let mut shard = Shard::new(2, Ack::One);
    shard.stalled.insert(1);
    shard.tell(1, heartbeat("c", "b", 4, 1, 0));
    shard.tell(1, heartbeat("a", "b", 3, 1, 0));
    let refused = |shard: &Shard| shard.sent.iter().filter(|message| message.body == Body::Refused).count();
    assert!(!shard.sent.iter().any(|message| matches!(message.body, Body::Alive { .. })));
    assert_eq!(refused(&shard), 0, "the promise that refuses is not durable yet");
    shard.resume(1);
    shard.tell(1, heartbeat("a", "b", 3, 2, 0));
    assert_eq!(refused(&shard), 1);
    let refusal = shard.sent.iter().find(|message| message.body == Body::Refused).unwrap();
    assert_eq!((refusal.epoch, refusal.to.as_str()), (4, "a"));
}

#[test]
fn primary_that_meets_a_higher_epoch_stops_at_once() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.isolate(primary);
    shard.write(primary, 1);
    let other = (primary + 1) % 3;
    let mut refusal = heartbeat(NAMES[other], NAMES[primary], 9, 1, 0);
    refusal.body = Body::Refused;
    shard.tell(primary, refusal);
    assert_eq!(shard.stopped.len(), 1);
    assert_eq!(shard.get(primary).may_write(), Err(Refusal::NotPrimary));
    assert_eq!(shard.promises[primary].epoch, shard.register.epoch, "to stop is not to promise");
}

#[test]
fn log_end_is_reported_only_after_the_promise_is_durable() {
    let mut shard = Shard::new(1, Ack::One);
    shard.stalled.insert(0);
    shard.run(200);
    let stands = |shard: &Shard| shard.asked.iter().any(|(_, _, ask)| matches!(ask, Ask::Stand(..)));
    assert!(!stands(&shard));
    shard.resume(0);
    shard.run(50);
    assert!(stands(&shard));
}
