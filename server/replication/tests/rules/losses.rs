//! Rule 6 after unclean stops under `interval` durability, which take what was acked and not synced.

use slotkv_replication::{Ack, Ask, Body, Holding, Message};

use crate::shard::{NAMES, Shard, at, heartbeat, member};

/// Three replicas in sync with nine records each.
fn full(ack: Ack) -> (Shard, usize) {
    let mut shard = Shard::new(3, ack);
    let primary = shard.elect();
    shard.write(primary, 8);
    shard.run(300);
    (shard, primary)
}

#[test]
fn shard_of_which_all_lost_their_tails_goes_on_by_the_longest_rest() {
    for ack in [Ack::One, Ack::All] {
        let (mut shard, _) = full(ack);
        for (replica, count) in [(0, 3), (1, 1), (2, 5)] {
            shard.lose(replica, count);
        }
        (0..3).for_each(|replica| shard.start(replica));
        assert_eq!(shard.elect(), 1, "{ack:?}");
        assert_eq!(shard.logs[1][..8], (1..9).map(|index| at(1, index)).collect::<Vec<_>>());
        assert_eq!((shard.register.epoch, shard.register.loss_epoch), (2, 2));
        shard.run(1000);
        assert_eq!(shard.isr(), NAMES);
        assert_eq!((&shard.logs[0], &shard.logs[2]), (&shard.logs[1], &shard.logs[1]));
        assert!(shard.register.configuration.isr.iter().all(|copy| copy.inc.as_str() == "i1'"));
    }
}

#[test]
fn first_barrier_since_a_loss_is_told_whichever_epoch_writes_it() {
    let mut shard = Shard::new(1, Ack::One);
    shard.elect();
    assert!(!shard.get(0).began_with_loss());
    shard.write(0, 3);
    shard.lose(0, 2);
    shard.start(0);
    // The register comes to name it, and it ends before it knows.
    shard.holds_changes = true;
    shard.run(1000);
    let (_, target) = shard.last_change(0).unwrap();
    shard.crash(0);
    shard.reconnect();
    shard.coordinate(&Ask::CompareAndSet(target));
    let barriers = shard.logs[0].iter().filter(|position| position.epoch == 2).count();
    assert_eq!((shard.register.loss_epoch, barriers), (2, 0));
    shard.start(0);
    shard.elect();
    assert_eq!(shard.get(0).register().map(|register| (register.epoch, register.loss_epoch)), Some((3, 2)));
    assert!(shard.get(0).began_with_loss());
    shard.crash(0);
    shard.start(0);
    shard.elect();
    assert!(!shard.get(0).began_with_loss());
}

#[test]
fn single_copy_goes_on_by_its_rest() {
    let mut shard = Shard::new(1, Ack::One);
    shard.elect();
    shard.write(0, 3);
    shard.lose(0, 2);
    shard.start(0);
    shard.elect();
    assert_eq!(shard.logs[0], [at(1, 1), at(1, 2), at(2, 3)]);
    assert_eq!(shard.register.loss_epoch, 2);
    shard.crash(0);
    shard.start(0);
    shard.elect();
    assert_eq!(
        (shard.register.epoch, shard.register.loss_epoch),
        (3, 2),
        "a stop that loses nothing is no loss"
    );
}

#[test]
fn enough_whole_data_is_elected_whatever_the_rest_has() {
    let (mut shard, primary) = full(Ack::One);
    let (b, c) = ((primary + 1) % 3, (primary + 2) % 3);
    shard.lose(primary, 0);
    shard.start(primary);
    let next = shard.elect();
    assert!(next == b || next == c, "the longest log is not whole");
    assert_eq!(shard.register.loss_epoch, 0);
    shard.run(1500);
    assert_eq!(shard.isr(), NAMES);
}

#[test]
fn rests_wait_until_everybody_has_reported() {
    let (mut shard, primary) = full(Ack::One);
    let (b, c) = ((primary + 1) % 3, (primary + 2) % 3);
    shard.lose(primary, 4);
    shard.lose(b, 4);
    shard.crash(c);
    shard.start(primary);
    shard.start(b);
    shard.run(3000);
    // Whatever w = 2 of them held may be with the one that is away.
    assert_eq!((shard.primary(), shard.register.epoch), (None, 1));
    assert_eq!(shard.promises[b].epoch, 1, "nothing was promised in vain");
    shard.start(c);
    assert_eq!(shard.elect(), c);
    assert_eq!(shard.logs[c].len(), 10);
    assert_eq!(shard.register.loss_epoch, 2);
}

#[test]
fn who_wins_by_rests_is_the_whole_isr_until_others_have_caught_up() {
    let (mut shard, _) = full(Ack::One);
    for (replica, count) in [(0, 3), (1, 1), (2, 5)] {
        shard.lose(replica, count);
        shard.start(replica);
    }
    // What the winner has alone may not get lost with it.
    shard.loses = |message| matches!(message.body, Body::Append { .. });
    assert_eq!(shard.elect(), 1);
    shard.run(2000);
    assert_eq!(shard.isr(), ["b"]);
    shard.lose(1, 0);
    shard.run(2000);
    assert_eq!(shard.primary(), None, "nobody else is elected");
    shard.loses = |_| false;
    shard.start(1);
    assert_eq!(shard.elect(), 1);
    shard.run(1000);
    assert_eq!(shard.isr(), NAMES);
}

#[test]
fn earlier_report_of_data_that_was_whole_does_not_count_any_more() {
    let mut shard = Shard::new(1, Ack::One);
    shard.elect();
    shard.write(0, 3);
    shard.lose(0, 2);
    shard.asked.clear();
    shard.start(0);
    shard.cut_off.insert(0);
    for _ in 0..30 {
        shard.run(10);
        for (who, id, ask) in std::mem::take(&mut shard.asked) {
            let answer = shard.coordinate(&ask);
            if let slotkv_replication::Ask::Stand(epoch, report) = ask {
                // The node of the process before is made late, and lives on for a while.
                let earlier = slotkv_replication::Candidate {
                    member: member("a", "i1", "r1"),
                    last: at(1, 4),
                    remains_of: None,
                };
                assert_eq!(report.remains_of, Some("i1".into()));
                shard.candidates.get_mut(&epoch).unwrap().push(earlier);
            }
            shard.answer(who, id, answer);
        }
    }
    assert_eq!(shard.get(0).leads(), Some(2));
}

#[test]
fn other_data_is_no_rest() {
    let (mut shard, primary) = full(Ack::One);
    shard.incs[primary] = "i2".into();
    shard.crash(primary);
    shard.start(primary);
    let canvass = Message {
        from: member(NAMES[(primary + 1) % 3], "i1", "r8"),
        to: NAMES[primary].into(),
        epoch: 2,
        body: Body::Canvass { nonce: 1, inc: "i1".into() },
    };
    shard.tell(primary, canvass);
    let holds = shard.sent.iter().rev().find_map(|message| match message.body {
        Body::Canvassed { holds, .. } => Some(holds),
        _ => None,
    });
    assert_eq!(holds, Some(Holding::Nothing));
}

#[test]
fn member_is_dropped_only_once_the_rest_has_synced() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let (b, c) = ((primary + 1) % 3, (primary + 2) % 3);
    shard.run(300);
    let now_us = shard.now_us;
    (0..3).for_each(|replica| shard.get(replica).syncs_apart(now_us, true));
    shard.write(primary, 3);
    shard.isolate(b);
    shard.run(2000);
    assert_eq!(
        (shard.isr().len(), shard.syncs.contains(&primary), shard.syncs.contains(&c)),
        (3, true, true)
    );
    // What comes meanwhile is held by those who stay.
    let before = shard.get(primary).commit_index();
    shard.stalled.insert(c);
    shard.write(primary, 1);
    assert_eq!(shard.get(primary).commit_index(), before);
    shard.resume(c);
    assert_eq!(shard.get(primary).commit_index(), before + 1);
    shard.sync(primary);
    shard.run(200);
    assert_eq!(shard.isr().len(), 3);
    shard.sync(c);
    shard.run(200);
    assert_eq!(shard.isr().len(), 2);
}

#[test]
fn backup_tells_of_the_sync_that_covers_what_the_primary_waits_for() {
    let mut shard = Shard::new(3, Ack::All);
    let primary = shard.elect();
    let others = [(primary + 1) % 3, (primary + 2) % 3];
    shard.run(300);
    let now_us = shard.now_us;
    (0..3).for_each(|replica| shard.get(replica).syncs_apart(now_us, true));
    shard.write(primary, 1);
    let first = shard.get(primary).commit_index();
    shard.write(primary, 1);
    let last = shard.get(primary).commit_index();
    shard.get(primary).wish_settled(now_us, last);
    shard.sync(primary);
    assert!(others.iter().all(|other| shard.syncs.contains(other)));
    // A sync that was under way when they were asked covers less.
    for other in others {
        let ids = (1..100).find(|&id| {
            shard.get(other).synced(now_us, id);
            shard.get(other).history().synced() >= first
        });
        shard.settle();
        assert!(ids.is_some() && shard.get(other).history().synced() == first);
    }
    assert!(shard.get(primary).settled_index() < last);
    others.iter().for_each(|&other| shard.sync(other));
    assert_eq!(shard.get(primary).settled_index(), last, "without another heartbeat");
}

#[test]
fn winner_by_rests_syncs_what_others_may_have_had_longer() {
    let (mut shard, primary) = full(Ack::One);
    let (b, c) = ((primary + 1) % 3, (primary + 2) % 3);
    let now_us = shard.now_us;
    shard.get(c).syncs_apart(now_us, true);
    shard.write(primary, 1);
    shard.lose(primary, 4);
    shard.lose(b, 4);
    shard.start(primary);
    shard.start(b);
    shard.run(3000);
    assert_eq!((shard.primary(), shard.syncs.contains(&c)), (None, true));
    shard.sync(c);
    assert_eq!(shard.elect(), c);
    assert_eq!(shard.register.loss_epoch, 2);
}

#[test]
fn sync_of_records_that_were_cut_is_none_of_those_in_their_place() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.run(300);
    let now_us = shard.now_us;
    shard.get(primary).syncs_apart(now_us, true);
    shard.isolate(primary);
    shard.write(primary, 5);
    let next = (primary + 1) % 3;
    shard.run(3000);
    let leads = shard.primary().filter(|leads| *leads != primary).unwrap_or(next);
    shard.write(leads, 9);
    shard.cut.clear();
    shard.run(500);
    assert_eq!(shard.logs[primary], shard.logs[leads]);
    // A sync that began before the cut is reported late: the write of the five had the second id.
    let now_us = shard.now_us;
    shard.get(primary).synced(now_us, 3);
    let synced = shard.get(primary).history().synced();
    assert!(synced <= 1, "{synced}");
    shard.sync(primary);
    let history = shard.get(primary).history();
    assert_eq!(history.synced(), history.durable());
}

/// One of three with nine records is left, with fewer than the others had.
fn survivor() -> (Shard, usize) {
    let (mut shard, primary) = full(Ack::One);
    let survivor = (primary + 1) % 3;
    shard.isolate(survivor);
    shard.write(primary, 2);
    (0..3).filter(|other| *other != survivor).for_each(|other| shard.crash(other));
    shard.cut.clear();
    shard.run(3000);
    assert_eq!((shard.primary(), shard.register.epoch), (None, 1));
    (shard, survivor)
}

#[test]
fn survivor_takes_the_shard_by_order_and_who_knows_more_discards() {
    let (mut shard, survivor) = survivor();
    let now_us = shard.now_us;
    assert!(shard.get(survivor).order_takeover(now_us));
    assert_eq!(shard.elect(), survivor);
    assert!(shard.get(survivor).began_with_loss());
    assert_eq!((shard.register.epoch, shard.register.loss_epoch, shard.isr()), (2, 2, vec![NAMES[survivor]]));
    shard.write(survivor, 1);
    // One knows that what only it and another had was committed, and cannot forget it.
    let others = [(survivor + 1) % 3, (survivor + 2) % 3];
    others.iter().for_each(|other| shard.start(*other));
    shard.run(2000);
    assert_eq!(shard.halts, Vec::<String>::new());
    for other in others {
        if shard.discards.iter().any(|(who, _)| *who == other) {
            shard.crash(other);
            shard.logs[other].clear();
            shard.incs[other] = "i2".into();
            shard.start(other);
        }
    }
    shard.run(2000);
    assert_eq!(shard.isr(), NAMES);
    assert!(others.iter().all(|other| shard.logs[*other] == shard.logs[survivor]));
}

#[test]
fn order_is_void_while_a_primary_is_heard_and_forgotten_after_a_while() {
    let (mut shard, primary) = full(Ack::One);
    let now_us = shard.now_us;
    assert!(!shard.get(primary).order_takeover(now_us));
    assert!(!shard.get((primary + 1) % 3).order_takeover(now_us));
    let (mut shard, survivor) = survivor();
    shard.cut_off.insert(survivor);
    shard.run(500);
    let now_us = shard.now_us;
    assert!(shard.get(survivor).order_takeover(now_us));
    shard.run(7000);
    shard.reconnect();
    shard.run(3000);
    assert_eq!((shard.primary(), shard.register.epoch), (None, 1));
}

#[test]
fn order_gives_way_to_enough_reports() {
    let (mut shard, primary) = full(Ack::One);
    shard.crash(primary);
    shard.run(1100);
    for replica in [(primary + 1) % 3, (primary + 2) % 3] {
        let now_us = shard.now_us;
        if shard.primary().is_none() {
            shard.get(replica).order_takeover(now_us);
        }
    }
    shard.elect();
    assert_eq!(shard.register.loss_epoch, 0);
}

/// Tells a backup, which holds nine committed records of epoch 1, that epoch 1 ends at record 7 in the log of who leads epoch 9.
fn told_an_earlier_end(loss_epoch: u64) -> Shard {
    let (mut shard, primary) = full(Ack::One);
    let backup = (primary + 1) % 3;
    shard.crash(primary);
    shard.crash((primary + 2) % 3);
    let from = NAMES[(primary + 2) % 3];
    for sequence in 1..3 {
        shard.tell(backup, heartbeat(from, NAMES[backup], 9, sequence, 0));
    }
    let nonce = shard.sent.iter().rev().find_map(|message| match message.body {
        Body::Match { nonce, .. } => Some(nonce),
        _ => None,
    });
    let body = Body::End { nonce: nonce.unwrap(), end: Some(at(1, 7)), begin: at(0, 0), loss_epoch };
    let message = Message { from: member(from, "i1", "r9"), to: NAMES[backup].into(), epoch: 9, body };
    shard.tell(backup, message);
    shard
}

#[test]
fn replica_that_holds_what_the_shard_has_lost_discards_its_data() {
    let shard = told_an_earlier_end(5);
    assert_eq!((shard.discards.len(), shard.halts.len()), (1, 0));
    assert!(shard.discards[0].1.contains("epoch 5 began without it"), "{:?}", shard.discards);
}

#[test]
fn committed_records_that_no_loss_explains_halt() {
    for loss_epoch in [0, 1] {
        let shard = told_an_earlier_end(loss_epoch);
        assert_eq!((shard.discards.len(), shard.halts.len()), (0, 1));
    }
}

#[test]
fn replica_that_discarded_its_data_gets_the_shards() {
    let (mut shard, _) = full(Ack::One);
    shard.lose(0, 3);
    shard.lose(1, 3);
    // It was not asked: it did not count.
    shard.register.configuration.isr.retain(|copy| copy.name.as_str() != "c");
    shard.register.version += 1;
    shard.isolate(2);
    shard.start(0);
    shard.start(1);
    let primary = shard.elect();
    assert!(primary < 2 && shard.logs[primary].len() < 9);
    shard.cut.clear();
    shard.run(1500);
    assert_eq!(shard.discards.len(), 1);
    shard.crash(2);
    shard.logs[2].clear();
    shard.incs[2] = "i2".into();
    shard.start(2);
    shard.run(1500);
    assert_eq!(shard.isr(), NAMES);
    assert_eq!(shard.logs[2], shard.logs[primary]);
}
