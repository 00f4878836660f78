//! Rules 4 and 9.

use slotkv_replication::{Ack, Answer, Ask, Body, Health, Refusal, Register, Standing};

use crate::shard::{NAMES, Shard, member};

/// A primary whose change of the ISR was asked for and is not answered.
fn changing() -> (Shard, usize, u64, Register) {
    let mut shard = Shard::new(3, Ack::All);
    let primary = shard.elect();
    shard.run(300);
    shard.cut_off.insert(primary);
    shard.crash((primary + 1) % 3);
    shard.run(1500);
    let (id, target) = shard.last_change(primary).unwrap();
    assert_eq!(target.configuration.isr.len(), 2);
    (shard, primary, id, target)
}

#[test]
fn record_must_be_held_in_both_configurations_while_a_change_is_open() {
    let (mut shard, primary, id, target) = changing();
    let before = shard.get(primary).commit_index();
    shard.write(primary, 1);
    assert_eq!(
        shard.logs[(primary + 2) % 3].len() as u64,
        before + 1,
        "both of the new configuration hold it"
    );
    assert_eq!(shard.get(primary).commit_index(), before);
    let answer = shard.coordinate(&Ask::CompareAndSet(target));
    shard.answer(primary, id, answer);
    assert_eq!(shard.get(primary).commit_index(), before + 1);
}

#[test]
fn change_with_an_unknown_outcome_is_repeated_on_the_same_version() {
    let (mut shard, primary, id, target) = changing();
    shard.answer(primary, id, Answer::Unknown);
    shard.run(100);
    let (again, repeated) = shard.last_change(primary).unwrap();
    assert_ne!(again, id);
    assert_eq!(repeated, target);
    // The first attempt was done: the second conflicts, and the register tells.
    shard.coordinate(&Ask::CompareAndSet(target));
    shard.answer(primary, again, Answer::Conflict);
    shard.reconnect();
    shard.run(200);
    assert_eq!(shard.primary(), Some(primary), "nobody was deposed");
    shard.write(primary, 1);
    assert_eq!(shard.get(primary).commit_index(), shard.logs[primary].len() as u64);
}

/// A primary that was alone, and whose change to take another in was asked for and is not answered.
fn growing() -> (Shard, u64, Register) {
    let mut shard = Shard::new(2, Ack::One);
    shard.register.configuration.isr.truncate(1);
    shard.cut.insert((0, 1));
    assert_eq!(shard.elect(), 0);
    shard.run(300);
    shard.cut_off.insert(0);
    shard.cut.clear();
    shard.run(1500);
    let (id, target) = shard.last_change(0).unwrap();
    assert_eq!(target.configuration.isr.len(), 2);
    (shard, id, target)
}

#[test]
fn read_of_the_version_before_proves_nothing() {
    let (mut shard, id, _) = growing();
    shard.answer(0, id, Answer::Unknown);
    let (_, read, _) = shard.asked.iter().rev().find(|(_, _, ask)| *ask == Ask::Read).cloned().unwrap();
    let register = Answer::Register(shard.register.clone());
    shard.answer(0, read, register);
    shard.isolate(1);
    let before = shard.get(0).commit_index();
    shard.write(0, 1);
    assert_eq!(shard.get(0).commit_index(), before);
    shard.run(600);
    let now_us = shard.now_us;
    assert!(!shard.get(0).holds_lease(now_us), "the other may be in sync, and be elected");
}

#[test]
fn w_of_both_configurations_together_is_not_enough() {
    let mut shard = Shard::new(3, Ack::One);
    shard.register.configuration.isr.truncate(2);
    shard.cut.extend([(2, 0), (2, 1)]);
    let primary = shard.elect();
    assert_ne!(primary, 2);
    shard.run(300);
    shard.cut_off.insert(primary);
    shard.cut.clear();
    shard.run(1500);
    assert_eq!(shard.last_change(primary).unwrap().1.configuration.isr.len(), 3);
    // The newcomer holds it and the old member does not.
    shard.isolate(1 - primary);
    let before = shard.get(primary).commit_index();
    shard.write(primary, 1);
    assert_eq!(shard.logs[2].len() as u64, before + 1);
    assert_eq!(shard.get(primary).commit_index(), before);
}

#[test]
fn change_lost_to_an_operators_edit_is_repeated_and_deposes_nobody() {
    let (mut shard, primary, id, target) = changing();
    shard.register.version += 1;
    shard.register.min_isr = 2;
    let answer = shard.coordinate(&Ask::CompareAndSet(target));
    assert_eq!(answer, Answer::Conflict);
    shard.answer(primary, id, answer);
    shard.reconnect();
    shard.run(200);
    assert_eq!(shard.primary(), Some(primary));
    assert_eq!((shard.isr().len(), shard.register.min_isr, shard.register.epoch), (2, 2, 1));
}

#[test]
fn shrink_waits_until_the_rest_holds_what_is_committed() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.run(300);
    let (b, c) = ((primary + 1) % 3, (primary + 2) % 3);
    shard.stalled.insert(c);
    shard.write(primary, 1);
    // What is committed is held by the primary and b. Without b, both that remain must hold it.
    shard.isolate(b);
    shard.run(1500);
    assert_eq!(shard.isr().len(), 3);
    shard.resume(c);
    shard.run(300);
    assert_eq!(shard.isr(), {
        let mut rest = [NAMES[primary], NAMES[c]];
        rest.sort_unstable();
        rest
    });
}

#[test]
fn replica_joins_once_it_holds_what_is_committed_and_a_full_isr_takes_no_more() {
    let mut shard = Shard::new(3, Ack::One);
    shard.register.configuration.isr.truncate(1);
    shard.register.replicas = 2;
    let primary = shard.elect();
    assert_eq!(primary, 0);
    shard.write(0, 10);
    shard.run(3000);
    assert_eq!(shard.isr().len(), 2);
    assert_eq!(shard.logs[1], shard.logs[0]);
    assert_eq!(shard.logs[2], shard.logs[0], "the spare has the data, too");
    let spare = (1..3).find(|replica| !shard.isr().contains(&NAMES[*replica])).unwrap();
    assert_eq!(shard.get(spare).status().standing, Standing::CatchingUp);
    shard.crash(3 - spare);
    shard.run(3000);
    assert_eq!(shard.isr(), ["a", NAMES[spare]], "it takes the place of the lost one");
}

#[test]
fn ack_is_changed_by_the_primary_once_enough_hold_what_is_committed() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.run(300);
    let c = (primary + 2) % 3;
    shard.stalled.insert(c);
    shard.write(primary, 1);
    let now_us = shard.now_us;
    shard.get(primary).wish_ack(now_us, Ack::All).unwrap();
    shard.run(100);
    assert_eq!(shard.register.configuration.ack, Ack::One);
    shard.resume(c);
    shard.run(100);
    assert_eq!(shard.register.configuration.ack, Ack::All);
}

#[test]
fn who_has_caught_up_after_long_is_taken_in_once() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.run(300);
    let b = (primary + 1) % 3;
    shard.stalled.insert(b);
    shard.write(primary, 1);
    shard.run(12_000);
    assert_eq!(shard.isr().len(), 2);
    let version = shard.register.version;
    shard.resume(b);
    shard.run(1_000);
    assert_eq!((shard.isr().len(), shard.register.version), (3, version + 1));
}

#[test]
fn wish_that_was_not_possible_for_long_is_forgotten() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.run(300);
    let b = (primary + 1) % 3;
    shard.stalled.insert(b);
    shard.write(primary, 1);
    let now_us = shard.now_us;
    shard.get(primary).wish_ack(now_us, Ack::All).unwrap();
    shard.get(primary).wish_primary(now_us, &NAMES[b].into()).unwrap();
    shard.run(6_500);
    shard.resume(b);
    shard.run(3_000);
    assert_eq!((shard.register.epoch, shard.primary()), (1, Some(primary)));
    assert_eq!(shard.register.configuration.ack, Ack::One);
}

#[test]
fn new_primary_does_not_wait_long_for_who_is_absent() {
    let mut shard = Shard::new(2, Ack::All);
    let primary = shard.elect();
    shard.run(300);
    shard.crash(primary);
    let crashed_us = shard.now_us;
    assert_eq!(shard.elect(), 1 - primary);
    let took_ms = (shard.now_us - crashed_us) / crate::shard::MS;
    assert!(took_ms < 1000, "{took_ms} ms");
}

#[test]
fn lead_goes_back_to_the_preferred_primary_with_everything() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let preferred = (primary + 1) % 3;
    shard.run(300);
    shard.register.version += 1;
    shard.register.preferred = Some(NAMES[preferred].into());
    shard.run(5000);
    assert_eq!(shard.primary(), Some(preferred));
    assert_eq!(shard.stopped[0].why, "handed the lead over");
    assert_eq!((shard.register.epoch, shard.isr().len()), (2, 3));
    assert_eq!(shard.logs[preferred], shard.logs[primary]);
}

#[test]
fn who_hands_the_lead_over_serves_nothing_even_if_the_outcome_is_unknown() {
    let mut shard = Shard::new(2, Ack::One);
    let primary = shard.elect();
    let other = 1 - primary;
    shard.run(300);
    shard.holds_changes = true;
    let now_us = shard.now_us;
    shard.get(primary).wish_primary(now_us, &NAMES[other].into()).unwrap();
    shard.run(50);
    let (id, target) = shard.last_change(primary).unwrap();
    assert_eq!((target.epoch, target.primary.unwrap().0.as_str()), (2, NAMES[other]));
    shard.answer(primary, id, Answer::Unknown);
    let now_us = shard.now_us;
    assert_eq!(shard.get(primary).may_write(), Err(Refusal::Leaving { to: NAMES[other].into() }));
    assert!(!shard.get(primary).holds_lease(now_us));
    assert!(shard.get(primary).confirm_read(now_us, 1).is_err());
    shard.run(2000);
    assert_eq!(shard.get(primary).leads(), None, "after a while the shard elects somebody");
    shard.reconnect();
    shard.run(3000);
    assert!(shard.primary().is_some());
}

#[test]
fn nobody_stops_serving_to_hand_over_what_cannot_be_written() {
    let mut shard = Shard::new(2, Ack::One);
    let primary = shard.elect();
    shard.run(300);
    shard.cut_off.insert(primary);
    let now_us = shard.now_us;
    shard.get(primary).wish_primary(now_us, &NAMES[1 - primary].into()).unwrap();
    shard.run(5000);
    assert_eq!(shard.primary(), Some(primary));
    shard.reconnect();
    shard.run(500);
    assert_eq!(shard.primary(), Some(1 - primary));
}

#[test]
fn member_that_was_removed_while_it_stood_is_taken_along_into_a_new_epoch() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let b = (primary + 1) % 3;
    shard.run(300);
    // It hears nobody, and has promised the next epoch when it is removed.
    shard.isolate(b);
    shard.crash(b);
    shard.run(1500);
    assert_eq!(shard.isr().len(), 2);
    shard.promises[b].epoch = 2;
    shard.start(b);
    shard.cut.clear();
    shard.write(primary, 1);
    shard.run(3000);
    assert_eq!((shard.register.epoch, shard.primary()), (2, Some(primary)), "the same one leads");
    assert_eq!(shard.isr().len(), 3);
    assert_eq!(shard.stopped.len(), 1);
    assert_eq!(shard.stopped[0].why, "goes on in a new epoch");
}

#[test]
fn process_that_ends_hands_over_within_milliseconds() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.run(300);
    let now_us = shard.now_us;
    let heir = shard.get(primary).wish_successor(now_us).unwrap();
    shard.run(50);
    assert_eq!(shard.primary().map(|primary| NAMES[primary]), Some(heir.as_str()));
}

#[test]
fn who_gives_up_is_not_elected_again_while_others_can_be() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.run(300);
    let now_us = shard.now_us;
    shard.get(primary).give_up(now_us, "the disk does not finish");
    shard.settle();
    assert_eq!(shard.primary(), None);
    assert_ne!(shard.elect(), primary);
}

#[test]
fn lead_is_handed_over_only_once_the_other_holds_everything() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let other = (primary + 1) % 3;
    shard.run(300);
    let now_us = shard.now_us;
    shard.get(primary).wish_primary(now_us, &NAMES[other].into()).unwrap();
    shard.stalled.insert(other);
    shard.write(primary, 1);
    shard.run(100);
    assert_eq!(shard.get(primary).status().standing, Standing::Leaving { to: NAMES[other].into() });
    assert_eq!(shard.register.epoch, 1);
    shard.resume(other);
    shard.run(100);
    assert_eq!((shard.register.epoch, shard.primary()), (2, Some(other)));
}

#[test]
fn ack_of_other_data_does_not_count() {
    let mut shard = Shard::new(2, Ack::One);
    let primary = shard.elect();
    let (backup, epoch) = (1 - primary, shard.register.epoch);
    shard.isolate(backup);
    shard.holds_changes = true;
    let before = shard.get(primary).commit_index();
    shard.write(primary, 1);
    let message = |inc, body| slotkv_replication::Message {
        from: member(NAMES[backup], inc, "r7"),
        to: NAMES[primary].into(),
        epoch,
        body,
    };
    let held = Body::Held { durable: before + 1, synced: 0 };
    shard.tell(primary, message("i2", held.clone()));
    // It is what now answers heartbeats; and yet the configuration does not name it.
    let sequence = shard.sent.iter().rev().find_map(|message| match message.body {
        Body::Heartbeat { sequence, .. } => Some(sequence),
        _ => None,
    });
    let sequence = sequence.expect("a heartbeat was sent");
    shard.tell(
        primary,
        message(
            "i2",
            Body::Alive {
                sequence,
                sent_us: 1,
                lease_us: 500_000,
                synced: 0,
                stamp: 0,
                health: Health::default(),
            },
        ),
    );
    shard.tell(primary, message("i2", Body::Matched { at: crate::shard::at(1, 1) }));
    shard.tell(primary, message("i2", held.clone()));
    assert_eq!(shard.get(primary).commit_index(), before);
}
