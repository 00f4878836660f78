//! Rules 3, 7 and 10.

use slotkv_replication::{Ack, Body, Refusal, Standing};

use crate::shard::{NAMES, Shard, at, heartbeat};

#[test]
fn record_is_committed_once_w_disks_hold_it() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let (b, c) = ((primary + 1) % 3, (primary + 2) % 3);
    shard.stalled.extend([b, c]);
    let before = shard.get(primary).commit_index();
    shard.write(primary, 1);
    assert_eq!(shard.get(primary).commit_index(), before);
    assert_eq!(shard.logs[b].len() as u64, before + 1, "it is written there, and not synced");
    shard.resume(b);
    assert_eq!(shard.get(primary).commit_index(), before + 1);
}

#[test]
fn commit_is_told_by_the_records_that_follow_and_by_a_message_of_its_own_if_none_do() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let backups = [(primary + 1) % 3, (primary + 2) % 3];
    let before = shard.get(primary).commit_index();
    shard.has_more = true;
    shard.sent.clear();
    shard.write(primary, 1);
    assert_eq!(shard.get(primary).commit_index(), before + 1);
    for backup in backups {
        assert_eq!(shard.get(backup).commit_index(), before);
    }
    shard.write(primary, 1);
    for backup in backups {
        assert_eq!(shard.get(backup).commit_index(), before + 1);
    }
    let told = |shard: &Shard| {
        shard.sent.iter().filter(|message| matches!(message.body, Body::Committed { .. })).count()
    };
    assert_eq!(told(&shard), 0);
    shard.has_more = false;
    shard.settle();
    for backup in backups {
        assert_eq!(shard.get(backup).commit_index(), before + 2);
    }
    assert_eq!(told(&shard), 2);
}

#[test]
fn ack_all_waits_for_all() {
    let mut shard = Shard::new(3, Ack::All);
    let primary = shard.elect();
    let (b, c) = ((primary + 1) % 3, (primary + 2) % 3);
    shard.stalled.extend([b, c]);
    let before = shard.get(primary).commit_index();
    shard.write(primary, 1);
    shard.resume(b);
    assert_eq!(shard.get(primary).commit_index(), before);
    shard.resume(c);
    assert_eq!(shard.get(primary).commit_index(), before + 1);
}

#[test]
fn record_of_an_earlier_epoch_is_committed_with_the_barrier_and_not_by_count() {
    let mut shard = Shard::with_logs(vec![vec![at(1, 1)], vec![at(1, 1)]], 1, Ack::One);
    // The backup gets no further than the old record, which both then hold.
    shard.loses = |message| matches!(message.body, Body::Append { .. });
    shard.run(400);
    let primary = (0..2).find(|replica| shard.get(*replica).leads().is_some()).expect("one leads");
    assert!(shard.sent.iter().any(|message| message.body == Body::Matched { at: at(1, 1) }));
    assert_eq!(shard.get(primary).commit_index(), 0);
    assert_eq!(shard.get(primary).status().standing, Standing::Beginning);
    assert_eq!(shard.get(primary).may_write(), Err(Refusal::Beginning));
    let now_us = shard.now_us;
    assert_eq!(shard.get(primary).confirm_read(now_us, 1), Err(Refusal::Beginning));
    assert!(!shard.get(primary).holds_lease(now_us));
    shard.loses = |_| false;
    shard.run(400);
    assert_eq!(shard.get(primary).commit_index(), 2);
    assert_eq!(shard.primary(), Some(primary));
}

#[test]
fn commit_index_counts_at_a_backup_only_as_far_as_its_log_is_matched() {
    let mut shard = Shard::with_logs(vec![vec![], vec![at(1, 1), at(1, 2)]], 1, Ack::One);
    shard.isolate(1);
    shard.tell(1, heartbeat("a", "b", 2, 1, 2));
    shard.tell(1, heartbeat("a", "b", 2, 2, 2));
    assert_eq!(shard.get(1).commit_index(), 0);
}

#[test]
fn primary_commits_no_further_than_its_own_disk() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let before = shard.get(primary).commit_index();
    shard.stalled.insert(primary);
    shard.write(primary, 1);
    assert_eq!(shard.logs[(primary + 1) % 3].len() as u64, before + 1);
    assert_eq!(shard.get(primary).commit_index(), before);
}

#[test]
fn writes_are_refused_below_min_isr_and_taken_again_above() {
    let mut shard = Shard::new(2, Ack::One);
    shard.register.min_isr = 2;
    let primary = shard.elect();
    let other = 1 - primary;
    shard.write(primary, 1);
    assert!(shard.commits.iter().any(|commit| commit.0 == primary && commit.2));
    shard.crash(other);
    shard.run(1500);
    assert_eq!(shard.isr(), [NAMES[primary]]);
    assert_eq!(shard.get(primary).may_write(), Err(Refusal::ReadOnly { have: 1, need: 2 }));
    assert!(shard.get(primary).may_write_internal().is_ok(), "the shard's own records are exempt");
    assert_eq!(shard.get(primary).status().standing, Standing::ReadOnly { have: 1, need: 2 });
    let now_us = shard.now_us;
    assert!(shard.get(primary).holds_lease(now_us), "reads go on");
    shard.start(other);
    shard.run(1500);
    assert_eq!(shard.isr().len(), 2);
    assert!(shard.get(primary).may_write().is_ok());
}

#[test]
fn write_that_commits_after_the_isr_fell_is_not_acknowledged() {
    let mut shard = Shard::new(2, Ack::One);
    shard.register.min_isr = 2;
    let primary = shard.elect();
    shard.crash(1 - primary);
    shard.write(primary, 1);
    shard.commits.clear();
    shard.run(1500);
    let commits: Vec<_> = shard.commits.iter().filter(|commit| commit.0 == primary).collect();
    assert!(!commits.is_empty() && commits.iter().all(|commit| !commit.2), "{commits:?}");
}

#[test]
fn too_many_uncommitted_records_are_refused() {
    let mut shard = Shard::new(2, Ack::One);
    let primary = shard.elect();
    shard.stalled.insert(1 - primary);
    shard.write(primary, 65_536);
    assert_eq!(shard.get(primary).may_write(), Err(Refusal::Busy));
    shard.resume(1 - primary);
    assert!(shard.get(primary).may_write().is_ok());
}
