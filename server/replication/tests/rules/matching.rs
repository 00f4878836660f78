//! Rule 8.

use slotkv_replication::{Ack, Body, Message, Standing};

use crate::shard::{Shard, at, heartbeat, member};

fn from_primary(epoch: u64, body: Body) -> Message {
    Message { from: member("a", "i1", "r9"), to: "b".into(), epoch, body }
}

/// A backup with a log, which follows `a` in epoch 9 and has asked.
fn asking(log: Vec<slotkv_replication::Position>) -> (Shard, u64) {
    let mut shard = Shard::with_logs(vec![vec![], log], 4, Ack::One);
    shard.replicas[0] = None;
    shard.tell(1, heartbeat("a", "b", 9, 1, 0));
    shard.tell(1, heartbeat("a", "b", 9, 2, 0));
    let nonce = nonce(&shard);
    (shard, nonce)
}

fn nonce(shard: &Shard) -> u64 {
    let asked = shard.sent.iter().rev().find_map(|message| match message.body {
        Body::Match { nonce, .. } => Some(nonce),
        _ => None,
    });
    asked.expect("it has asked")
}

fn end(nonce: u64, epoch: u64, index: u64) -> Message {
    from_primary(9, Body::End { nonce, end: Some(at(epoch, index)), begin: at(0, 0), loss_epoch: 0 })
}

#[test]
fn logs_are_cut_where_they_part_step_by_step() {
    // Ours: epoch 1 to 2, epoch 4 to 4. The primary's: epoch 1 to 3, epoch 3 to 5.
    let (mut shard, nonce_of_4) = asking(vec![at(1, 1), at(1, 2), at(4, 3), at(4, 4)]);
    shard.tell(1, end(nonce_of_4, 3, 5));
    assert_eq!(shard.logs[1].len(), 4, "no cut before it is known where");
    let nonce_of_1 = nonce(&shard);
    assert_ne!(nonce_of_1, nonce_of_4);
    shard.tell(1, end(nonce_of_1, 1, 3));
    assert_eq!(shard.logs[1], [at(1, 1), at(1, 2)]);
    assert!(shard.sent.iter().any(|message| message.body == Body::Matched { at: at(1, 2) }));
}

#[test]
fn match_is_told_only_once_the_cut_is_durable() {
    let (mut shard, nonce) = asking(vec![at(1, 1), at(1, 2)]);
    shard.stalled.insert(1);
    shard.tell(1, end(nonce, 1, 1));
    let told = |shard: &Shard| shard.sent.iter().any(|message| matches!(message.body, Body::Matched { .. }));
    assert!(!told(&shard));
    shard.resume(1);
    assert!(told(&shard));
}

#[test]
fn late_answer_to_an_earlier_question_is_not_taken() {
    let (mut shard, earlier) = asking(vec![at(9, 1), at(9, 2)]);
    // Asked again, after a while; the first answer was given when the primary had one record.
    shard.run(300);
    shard.tell(1, heartbeat("a", "b", 9, 3, 0));
    assert_ne!(nonce(&shard), earlier);
    shard.tell(1, end(earlier, 9, 1));
    assert_eq!(shard.logs[1].len(), 2);
    let later = nonce(&shard);
    shard.tell(1, end(later, 9, 2));
    assert_eq!(shard.get(1).status().standing, Standing::InSync);
}

#[test]
fn committed_records_are_never_cut() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.write(primary, 3);
    let backup = (primary + 1) % 3;
    shard.run(200);
    assert_eq!(shard.get(backup).commit_index(), 4);
    let to = crate::shard::NAMES[backup];
    let from = crate::shard::NAMES[(primary + 2) % 3];
    for sequence in 1..3 {
        shard.tell(backup, heartbeat(from, to, 9, sequence, 0));
    }
    let nonce = nonce(&shard);
    let body = Body::End { nonce, end: Some(at(1, 2)), begin: at(0, 0), loss_epoch: 0 };
    shard.tell(backup, Message { from: member(from, "i1", "r9"), to: to.into(), epoch: 9, body });
    assert_eq!(shard.halts.len(), 1);
    assert!(shard.halts[0].contains("committed"), "{:?}", shard.halts);
}

#[test]
fn records_out_of_order_doubled_or_missing_make_one_log() {
    let (mut shard, nonce) = asking(vec![at(1, 1)]);
    shard.tell(1, end(nonce, 1, 1));
    let append = |before, positions: &[slotkv_replication::Position]| {
        let record = |position: &slotkv_replication::Position| slotkv_replication::Record {
            position: *position,
            payload: Vec::new().into(),
        };
        from_primary(9, Body::Append { before, records: positions.iter().map(record).collect(), commit: 0 })
    };
    shard.tell(1, append(at(9, 3), &[at(9, 4)]));
    assert!(shard.sent.iter().any(|message| message.body == Body::Gap { last: 1 }));
    shard.tell(1, append(at(1, 1), &[at(9, 2), at(9, 3)]));
    shard.tell(1, append(at(1, 1), &[at(9, 2), at(9, 3)]));
    shard.tell(1, append(at(9, 2), &[at(9, 3), at(9, 4)]));
    assert_eq!(shard.logs[1], [at(1, 1), at(9, 2), at(9, 3), at(9, 4)]);
    assert_eq!(shard.sent.last().unwrap().body, Body::Held { durable: 4, synced: 4 });
}
