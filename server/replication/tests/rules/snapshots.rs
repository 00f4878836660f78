//! Rule 8, where the log that would be needed is not there any more.

use slotkv_replication::{Ack, Body, Message, Part, Position, Standing};

use crate::shard::{MS, NAMES, Shard, at, heartbeat, member, pack};

/// A primary whose log begins behind record 6 of 9, and a backup in sync that was away.
fn behind() -> (Shard, usize, usize) {
    let mut shard = Shard::new(2, Ack::One);
    let primary = shard.elect();
    shard.run(200);
    shard.crash(1 - primary);
    shard.run(1500);
    shard.write(primary, 8);
    shard.get(primary).trimmed(6);
    assert_eq!(shard.get(primary).commit_index(), 9);
    shard.holds_loads = true;
    shard.start(1 - primary);
    (shard, primary, 1 - primary)
}

/// Hands in so many parts.
fn load(shard: &mut Shard, count: usize) {
    for _ in 0..count {
        shard.load(1);
        shard.settle();
    }
}

/// Lets time pass and hands in what is asked for meanwhile.
fn run_loading(shard: &mut Shard) {
    for _ in 0..8 {
        shard.run(100);
        load_all(shard);
    }
}

/// Hands in parts until nothing is asked for.
fn load_all(shard: &mut Shard) {
    while !shard.loads.is_empty() {
        load(shard, 1);
    }
}

fn parts(shard: &Shard) -> Vec<u64> {
    let number = |message: &Message| match &message.body {
        Body::Part(part) => Some(part.number),
        _ => None,
    };
    shard.sent.iter().filter_map(number).collect()
}

#[test]
fn replica_whose_records_are_gone_gets_a_snapshot_and_goes_on_by_the_log() {
    let (mut shard, primary, backup) = behind();
    shard.run(200);
    shard.write(primary, 1);
    shard.load(1);
    shard.settle();
    assert_eq!(shard.get(backup).status().standing, Standing::TakingSnapshot);
    load_all(&mut shard);
    assert_eq!(parts(&shard), (0..10).collect::<Vec<_>>());
    let history = shard.get(backup).history();
    assert_eq!((history.begin(), history.last()), (at(1, 10), at(1, 10)));
    assert_eq!(shard.get(backup).commit_index(), 10);
    assert_eq!(shard.closes, [1], "the engine's snapshot is let go");
    shard.run(300);
    assert_eq!(shard.isr().len(), 2);
    shard.write(primary, 1);
    assert_eq!(shard.logs[backup], shard.logs[primary]);
}

#[test]
fn log_behind_a_snapshot_that_is_being_sent_is_needed() {
    let (mut shard, primary, backup) = behind();
    shard.run(200);
    assert_eq!(shard.get(primary).needed_from_index(), 2);
    shard.load(1);
    shard.settle();
    assert_eq!(shard.get(primary).needed_from_index(), 10);
    // It is dropped all the same.
    shard.write(primary, 5);
    shard.get(primary).trimmed(12);
    load_all(&mut shard);
    shard.run(300);
    load_all(&mut shard);
    shard.run(300);
    assert_eq!(shard.logs[backup], shard.logs[primary]);
}

#[test]
fn snapshot_that_was_taken_and_could_not_be_installed_is_followed_by_another() {
    let (mut shard, primary, backup) = behind();
    shard.run(200);
    load(&mut shard, 8);
    shard.stalled.insert(backup);
    load_all(&mut shard);
    shard.resume_but(backup, 1);
    // All of it is taken, and the disk has no room for what is made of it.
    let now_us = shard.now_us;
    shard.get(backup).append_failed(now_us);
    shard.unfinished[backup].clear();
    shard.staged[backup].clear();
    shard.logs[backup].truncate(1);
    shard.resume(backup);
    run_loading(&mut shard);
    assert_eq!(shard.logs[backup], shard.logs[primary]);
    assert_eq!(shard.closes, [1, 2]);
}

#[test]
fn parts_that_are_not_taken_stay_within_bounds() {
    let (mut shard, primary, backup) = behind();
    shard.run(200);
    shard.stalled.insert(backup);
    load_all(&mut shard);
    // Two bytes each.
    assert_eq!(parts(&shard), [0, 1, 2]);
    shard.resume(backup);
    load_all(&mut shard);
    shard.run(300);
    assert_eq!(shard.logs[backup], shard.logs[primary]);
}

#[test]
fn lost_parts_are_sent_again() {
    let (mut shard, primary, backup) = behind();
    shard.run(200);
    shard.loses = |message| matches!(&message.body, Body::Part(part) if part.number < 2);
    load_all(&mut shard);
    shard.loses = |_| false;
    shard.run(300);
    load_all(&mut shard);
    shard.run(300);
    assert_eq!(shard.logs[backup], shard.logs[primary]);
    assert_eq!(shard.closes, [1], "it is the same snapshot");
}

#[test]
fn receiver_that_restarts_midway_gets_another_from_its_beginning() {
    let (mut shard, primary, backup) = behind();
    shard.run(200);
    load(&mut shard, 4);
    shard.crash(backup);
    shard.start(backup);
    shard.run(300);
    load_all(&mut shard);
    shard.run(300);
    assert_eq!(shard.logs[backup], shard.logs[primary]);
    assert_eq!(shard.closes, [1, 2]);
}

#[test]
fn receiver_that_has_lost_what_it_took_gets_another_from_its_beginning() {
    let (mut shard, primary, backup) = behind();
    shard.run(200);
    load(&mut shard, 4);
    let now_us = shard.now_us;
    shard.get(backup).append_failed(now_us);
    shard.settle();
    run_loading(&mut shard);
    assert_eq!(shard.logs[backup], shard.logs[primary]);
    assert_eq!(shard.closes, [1, 2]);
}

#[test]
fn next_primary_begins_anew() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let (b, c) = ((primary + 1) % 3, (primary + 2) % 3);
    shard.run(200);
    shard.crash(c);
    shard.run(1500);
    shard.write(primary, 8);
    shard.run(100);
    shard.get(primary).trimmed(6);
    shard.get(b).trimmed(6);
    shard.holds_loads = true;
    shard.start(c);
    shard.run(200);
    shard.load(2);
    shard.settle();
    shard.crash(primary);
    for _ in 0..30 {
        shard.run(100);
        load_all(&mut shard);
    }
    assert_eq!((shard.primary(), shard.logs[c].len()), (Some(b), 10));
    assert_eq!(shard.logs[c], shard.logs[b]);
}

#[test]
fn engine_that_cannot_be_read_is_tried_again_after_a_while() {
    let (mut shard, primary, backup) = behind();
    shard.run(200);
    let (_, load) = shard.loads.remove(0);
    let now_us = shard.now_us;
    shard.get(primary).loaded(now_us, load.snapshot, None);
    shard.settle();
    assert!(shard.loads.is_empty());
    assert_eq!(shard.closes, [load.snapshot]);
    shard.run(60);
    load_all(&mut shard);
    shard.run(300);
    assert_eq!(shard.logs[backup], shard.logs[primary]);
}

#[test]
fn snapshot_of_what_is_not_committed_halts_its_sender() {
    let (mut shard, primary, _) = behind();
    shard.run(200);
    let (_, load) = shard.loads.remove(0);
    shard.stalled.insert(primary);
    shard.write(primary, 1);
    let now_us = shard.now_us;
    let chunk = slotkv_replication::Chunk { at_index: 10, bytes: pack(&[]), is_last: true };
    shard.get(primary).loaded(now_us, load.snapshot, Some(chunk));
    shard.settle();
    assert!(shard.halts[0].contains("not committed"), "{:?}", shard.halts);
}

/// A backup with one record that was told, in epoch 9, that the log begins behind 3.7.
fn waiting() -> Shard {
    let mut shard = Shard::with_logs(vec![vec![], vec![at(1, 1)]], 4, Ack::One);
    shard.replicas[0] = None;
    shard.tell(1, heartbeat("a", "b", 9, 1, 0));
    shard.tell(1, heartbeat("a", "b", 9, 2, 0));
    let nonce = shard.sent.iter().rev().find_map(|message| match message.body {
        Body::Match { nonce, .. } => Some(nonce),
        _ => None,
    });
    tell(&mut shard, 9, Body::End { nonce: nonce.unwrap(), end: None, begin: at(3, 7), loss_epoch: 0 });
    assert_eq!(shard.get(1).status().standing, Standing::TakingSnapshot);
    shard
}

fn tell(shard: &mut Shard, epoch: u64, body: Body) {
    shard.tell(1, Message { from: member("a", "i1", "r9"), to: "b".into(), epoch, body });
}

fn part(snapshot: u64, at: Position, number: u64, log: &[Position], is_last: bool) -> Body {
    Body::Part(Part { snapshot, at, number, is_last, bytes: pack(log) })
}

fn taken(shard: &Shard) -> Option<(u64, u64)> {
    shard.sent.iter().rev().find_map(|message| match message.body {
        Body::Taken { snapshot, count } => Some((snapshot, count)),
        _ => None,
    })
}

#[test]
fn snapshot_must_join_the_primarys_log() {
    let mut shard = waiting();
    tell(&mut shard, 9, part(1, at(3, 6), 0, &[at(3, 6)], true));
    tell(&mut shard, 8, part(2, at(3, 8), 0, &[at(3, 8)], true));
    tell(&mut shard, 9, part(3, at(10, 8), 0, &[at(10, 8)], true));
    assert_eq!(shard.logs[1], [at(1, 1)], "one from before the log, one of an old epoch, one of a later");
    tell(&mut shard, 9, part(4, at(3, 8), 0, &[at(3, 8)], true));
    assert_eq!(shard.get(1).history().last(), at(3, 8));
    assert_eq!(shard.get(1).commit_index(), 8);
    assert!(
        shard.sent.iter().any(|message| matches!(message.body, Body::Match { of_epoch: 3, .. })),
        "and it is matched again"
    );
}

#[test]
fn parts_of_two_snapshots_are_not_mixed() {
    let mut shard = waiting();
    tell(&mut shard, 9, part(1, at(3, 8), 0, &[at(1, 1)], false));
    tell(&mut shard, 9, part(2, at(3, 9), 1, &[at(3, 9)], true));
    assert_eq!(taken(&shard), Some((2, 0)));
    tell(&mut shard, 9, part(2, at(3, 9), 0, &[at(1, 2)], false));
    tell(&mut shard, 9, part(1, at(3, 8), 1, &[at(3, 8)], true));
    tell(&mut shard, 9, part(1, at(3, 8), 0, &[at(1, 1)], false));
    tell(&mut shard, 9, part(2, at(3, 9), 1, &[at(3, 9)], true));
    assert_eq!(shard.logs[1], [at(1, 2), at(3, 9)], "the later one, and nothing of the earlier");
}

#[test]
fn parts_that_come_doubled_or_out_of_order_are_taken_once_and_in_order() {
    let mut shard = waiting();
    for number in [1, 0, 0, 2, 1, 1, 2] {
        let log = [at(3, 6 + number)];
        tell(&mut shard, 9, part(1, at(3, 8), number, &log, number == 2));
    }
    assert_eq!(shard.logs[1], [at(3, 6), at(3, 7), at(3, 8)]);
}

#[test]
fn receiver_that_hears_no_more_of_a_snapshot_asks_again() {
    let mut shard = waiting();
    tell(&mut shard, 9, part(1, at(3, 8), 0, &[at(3, 7)], false));
    let asked = |shard: &Shard| {
        shard.sent.iter().filter(|message| matches!(message.body, Body::Match { .. })).count()
    };
    let before = asked(&shard);
    for sequence in 3..15 {
        shard.now_us += 100 * MS;
        shard.tell(1, heartbeat("a", NAMES[1], 9, sequence, 0));
    }
    assert!(asked(&shard) > before);
}
