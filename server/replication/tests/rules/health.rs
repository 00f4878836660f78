//! Who gives its data up when the data of replicas differs or has rotted.

use slotkv_replication::{Ack, Body, Check, Message, Trouble};

use crate::shard::{NAMES, Shard};

const WELL: u64 = 7;
const OTHER: u64 = 8;

/// A shard with some records, and who leads it.
fn shard(count: usize) -> (Shard, usize) {
    let mut shard = Shard::new(count, Ack::One);
    let primary = shard.elect();
    shard.write(primary, 3);
    shard.run(1_500);
    (shard, primary)
}

/// The primary logs a CHECK; of the others too some come to these hashes.
fn check(shard: &mut Shard, primary: usize, hashes: &[(usize, u64)]) {
    assert!(shard.get(primary).is_check_due());
    shard.write(primary, 1);
    let (now_us, at) = (shard.now_us, shard.logs[primary][shard.logs[primary].len() - 1]);
    shard.get(primary).check_logged(now_us, at.index);
    for (replica, hash) in hashes {
        shard.get(*replica).checked(now_us, Check { at, hash: *hash });
    }
    shard.run(300);
}

/// A replica has read all of its rows, as it was asked to.
fn read(shard: &mut Shard, replica: usize) {
    let now_us = shard.now_us;
    let reading = shard.get(replica).reading().expect("it is asked to");
    shard.get(replica).has_read(now_us, reading);
    shard.run(300);
}

fn rot(shard: &mut Shard, replica: usize) {
    let now_us = shard.now_us;
    shard.get(replica).found_rotten(now_us);
    shard.run(300);
}

fn given_up(shard: &Shard) -> Vec<usize> {
    shard.discards.iter().map(|(replica, _)| *replica).collect()
}

/// What a replica that discards is started as.
fn begin_anew(shard: &mut Shard, replica: usize) {
    shard.crash(replica);
    shard.logs[replica].clear();
    shard.incs[replica] = "i2".into();
    shard.start(replica);
}

#[test]
fn check_is_due_only_with_others_to_compare_and_something_new() {
    let (mut alone, primary) = shard(1);
    alone.run(100_000);
    assert!(!alone.get(primary).is_check_due());
    let (mut shard, primary) = shard(3);
    let backup = (primary + 1) % 3;
    assert!(!shard.get(backup).is_check_due());
    check(&mut shard, primary, &[(0, WELL), (1, WELL), (2, WELL)]);
    shard.write(primary, 1);
    shard.run(58_000);
    assert!(!shard.get(primary).is_check_due(), "it comes in its time");
    shard.run(3_000);
    check(&mut shard, primary, &[(0, WELL), (1, WELL), (2, WELL)]);
    shard.run(100_000);
    assert!(!shard.get(primary).is_check_due(), "nothing is new");
    shard.crash(backup);
    shard.start(backup);
    shard.run(3_000);
    assert!(shard.get(primary).is_check_due(), "one has not said anything yet");
    assert_eq!((given_up(&shard), shard.isr()), (vec![], NAMES.to_vec()));
}

#[test]
fn backup_that_differs_from_two_is_removed_at_once_and_given_up_when_the_primary_has_read() {
    let (mut shard, primary) = shard(3);
    let (odd, other) = ((primary + 1) % 3, (primary + 2) % 3);
    check(&mut shard, primary, &[(primary, WELL), (odd, OTHER), (other, WELL)]);
    assert!(!shard.isr().contains(&NAMES[odd]));
    assert_eq!(given_up(&shard), []);
    shard.run(5_000);
    assert!(!shard.isr().contains(&NAMES[odd]), "it does not come back");
    read(&mut shard, primary);
    assert_eq!((given_up(&shard), shard.primary()), (vec![odd], Some(primary)));
    // A late message does not reach the data in its place.
    let give_up =
        shard.sent.iter().rev().find(
            |message| matches!(&message.body, Body::Heartbeat { order, .. } if order.give_up.is_some()),
        );
    let late: Message = give_up.cloned().unwrap();
    begin_anew(&mut shard, odd);
    shard.tell(odd, late);
    shard.run(2_000);
    assert_eq!((given_up(&shard), shard.isr()), (vec![odd], NAMES.to_vec()));
    assert_eq!(shard.get(primary).take_different(), 1);
    let is_part =
        |message: &&Message| matches!(message.body, Body::Part(_)) && message.to.as_str() == NAMES[odd];
    assert!(
        shard.sent.iter().any(|message| is_part(&message)),
        "the log could have made it, but not the same"
    );
}

#[test]
fn primary_that_differs_from_two_that_agree_is_the_one_that_is_given_up() {
    let (mut shard, odd) = shard(3);
    let others = [(odd + 1) % 3, (odd + 2) % 3];
    check(&mut shard, odd, &[(odd, OTHER), (others[0], WELL), (others[1], WELL)]);
    shard.run(1_000);
    let primary = shard.primary().unwrap();
    assert_ne!(primary, odd);
    assert_eq!(given_up(&shard), []);
    read(&mut shard, primary);
    assert_eq!((given_up(&shard), shard.primary()), (vec![odd], Some(primary)));
    assert!(shard.halts.is_empty());
}

#[test]
fn primary_that_differs_and_cannot_hand_over_says_so_and_tells_nobody_to_give_up() {
    let (mut shard, odd) = shard(3);
    // The coordinator takes no change.
    shard.holds_changes = true;
    let others = [(odd + 1) % 3, (odd + 2) % 3];
    check(&mut shard, odd, &[(odd, OTHER), (others[0], WELL), (others[1], WELL)]);
    assert!(shard.get(odd).reading().is_none());
    assert_eq!(given_up(&shard), []);
    shard.reconnect();
    shard.run(3_000);
    let primary = shard.primary().unwrap();
    assert_ne!(primary, odd, "by an election, if not by a hand-over");
}

#[test]
fn of_two_that_differ_the_primary_keeps_its_data_if_no_rows_have_rotted() {
    let (mut shard, primary) = shard(2);
    check(&mut shard, primary, &[(primary, WELL), (1 - primary, OTHER)]);
    assert_eq!(shard.get(primary).trouble(), Some(Trouble::Reading));
    shard.run(5_000);
    assert_eq!((given_up(&shard), shard.isr().len()), (vec![], 2), "nobody knows yet");
    read(&mut shard, 1 - primary);
    assert_eq!(given_up(&shard), []);
    read(&mut shard, primary);
    assert_eq!((given_up(&shard), shard.primary()), (vec![1 - primary], Some(primary)));
    assert_eq!(shard.isr(), [NAMES[primary]]);
}

#[test]
fn of_two_that_differ_the_one_whose_rows_are_well_keeps_its_data() {
    let (mut shard, odd) = shard(2);
    check(&mut shard, odd, &[(odd, OTHER), (1 - odd, WELL)]);
    rot(&mut shard, odd);
    shard.run(2_000);
    assert_eq!(shard.primary(), Some(odd), "the other has not read its rows");
    assert_eq!(shard.get(odd).trouble(), Some(Trouble::RottenAlone));
    read(&mut shard, 1 - odd);
    shard.run(1_000);
    assert_eq!((given_up(&shard), shard.primary()), (vec![], Some(1 - odd)));
    read(&mut shard, 1 - odd);
    assert_eq!((given_up(&shard), shard.primary()), (vec![odd], Some(1 - odd)));
}

#[test]
fn of_two_that_have_rotted_neither_gives_its_data_up() {
    for differ in [true, false] {
        let (mut shard, primary) = shard(2);
        let other = if differ { OTHER } else { WELL };
        check(&mut shard, primary, &[(primary, WELL), (1 - primary, other)]);
        rot(&mut shard, 1 - primary);
        assert_eq!(shard.get(1 - primary).trouble(), Some(Trouble::Rotten));
        rot(&mut shard, primary);
        shard.run(5_000);
        assert_eq!((given_up(&shard), shard.primary(), shard.isr().len()), (vec![], Some(primary), 2));
        assert_eq!(shard.get(primary).trouble(), Some(Trouble::RottenAlone));
    }
}

#[test]
fn rotten_primary_hands_over_and_is_given_up_by_the_next_which_reads_first() {
    let (mut shard, odd) = shard(3);
    rot(&mut shard, odd);
    shard.run(1_000);
    let primary = shard.primary().unwrap();
    assert_ne!(primary, odd);
    assert_eq!(shard.get(odd).trouble(), Some(Trouble::Rotten));
    assert_eq!(given_up(&shard), []);
    read(&mut shard, primary);
    assert_eq!((given_up(&shard), shard.primary()), (vec![odd], Some(primary)));
}

#[test]
fn copy_that_is_not_in_sync_does_not_come_in_with_other_data() {
    let (mut shard, primary) = shard(3);
    let away = (primary + 1) % 3;
    shard.isolate(away);
    shard.run(3_000);
    assert!(!shard.isr().contains(&NAMES[away]));
    check(&mut shard, primary, &[(primary, WELL), ((primary + 2) % 3, WELL), (away, OTHER)]);
    shard.cut.clear();
    shard.run(3_000);
    let at = shard.logs[away][shard.logs[away].len() - 1];
    assert_eq!(at.index, shard.logs[primary].len() as u64);
    read(&mut shard, primary);
    assert_eq!((given_up(&shard), shard.isr().len()), (vec![away], 2));
}

#[test]
fn one_that_never_says_anything_is_waited_for_no_longer_than_two_seconds() {
    let (mut shard, primary) = shard(3);
    let odd = (primary + 1) % 3;
    check(&mut shard, primary, &[(primary, WELL), (odd, OTHER)]);
    shard.run(1_000);
    assert_eq!(shard.get(primary).reading(), None);
    shard.run(1_500);
    read(&mut shard, primary);
    assert_eq!(given_up(&shard), [odd]);
}
