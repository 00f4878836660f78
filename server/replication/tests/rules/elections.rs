//! Rule 6.

use slotkv_replication::{Ack, Ask, Body, Candidate, Standing};

use crate::shard::{NAMES, Shard, at};

#[test]
fn highest_log_wins() {
    let logs = vec![vec![at(1, 1), at(1, 2), at(1, 3)], vec![at(1, 1), at(2, 2)], vec![at(1, 1)]];
    let mut shard = Shard::with_logs(logs, 2, Ack::All);
    let primary = shard.elect();
    // With ack = all one report is enough, so whoever stood first may have won; but never by a lower log than one seen.
    let reports = &shard.candidates[&3];
    let best = reports.iter().max_by_key(|report| report.last).unwrap();
    assert!(reports.len() == 1 || best.member.name.as_str() == NAMES[primary]);
    let mut shard = Shard::with_logs(
        vec![vec![at(1, 1), at(1, 2), at(1, 3)], vec![at(1, 1), at(2, 2)], vec![at(1, 1)]],
        2,
        Ack::One,
    );
    shard.isolate(2);
    shard.cut_off.insert(2);
    assert_eq!(shard.elect(), 1, "epoch before index");
    shard.cut.clear();
    shard.reconnect();
    shard.run(1000);
    assert_eq!(shard.logs[0], shard.logs[1]);
    assert_eq!(shard.logs[2], shard.logs[1]);
}

#[test]
fn of_equal_logs_the_first_registered_wins() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    assert_eq!(shard.candidates[&1][0].member.name.as_str(), NAMES[primary]);
}

#[test]
fn isr_stays_as_it_was_until_rule_4_changes_it() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.run(300);
    shard.crash(primary);
    let next = shard.elect();
    assert_ne!(next, primary);
    assert_eq!(shard.isr(), NAMES);
    shard.run(1500);
    assert_eq!(shard.isr().len(), 2);
}

#[test]
fn fail_over_takes_little_more_than_a_lease() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    shard.run(300);
    shard.crash(primary);
    let crashed_us = shard.now_us;
    shard.elect();
    let took_ms = (shard.now_us - crashed_us) / crate::shard::MS;
    assert!((400..=620).contains(&took_ms), "{took_ms} ms");
}

#[test]
fn too_few_reports_leave_the_shard_without_a_primary() {
    let mut shard = Shard::new(3, Ack::One);
    shard.crash(1);
    shard.crash(2);
    shard.run(3000);
    assert_eq!((shard.primary(), shard.register.epoch), (None, 0));
    assert_eq!(shard.promises[0].epoch, 0, "nothing was promised in vain");
    shard.start(2);
    shard.elect();
}

#[test]
fn candidate_that_does_not_act_is_passed_over() {
    let mut shard = Shard::with_logs(vec![vec![], vec![], vec![at(1, 1)]], 1, Ack::One);
    shard.run(20);
    shard.crash(2);
    // Its report stays until its session ends.
    let member = crate::shard::member("c", "i1", "r3");
    let report = Candidate { member, last: at(1, 1), remains_of: None };
    shard.candidates.entry(2).or_default().insert(0, report);
    let primary = shard.elect();
    assert_ne!(primary, 2);
}

#[test]
fn report_of_other_data_does_not_count() {
    let mut shard = Shard::new(3, Ack::One);
    shard.crash(1);
    shard.crash(2);
    let report =
        |inc| Candidate { member: crate::shard::member("b", inc, "r2"), last: at(0, 0), remains_of: None };
    shard.loses = |message| matches!(message.body, Body::Canvass { .. });
    shard.candidates.entry(1).or_default().push(report("i2"));
    shard.run(1000);
    assert_eq!(shard.primary(), None);
}

#[test]
fn late_report_of_an_earlier_process_does_not_hide_the_present_one() {
    let mut shard = Shard::new(1, Ack::One);
    shard.cut_off.insert(0);
    for _ in 0..20 {
        shard.run(10);
        for (who, id, ask) in std::mem::take(&mut shard.asked) {
            let answer = shard.coordinate(&ask);
            if let Ask::Stand(epoch, report) = ask {
                let member = crate::shard::member("a", "i1", "r0");
                shard.candidates.get_mut(&epoch).unwrap().push(Candidate { member, ..report });
            }
            shard.answer(who, id, answer);
        }
    }
    assert_eq!(shard.get(0).leads(), Some(1));
}

#[test]
fn live_promise_stops_a_pre_vote() {
    let mut shard = Shard::new(3, Ack::One);
    let primary = shard.elect();
    let (b, epoch) = ((primary + 1) % 3, shard.register.epoch);
    shard.run(200);
    // It hears nothing from the primary, which the other does.
    shard.cut.insert((primary, b));
    shard.run(3000);
    assert_eq!(shard.register.epoch, epoch, "nobody was disturbed");
    assert_eq!(shard.promises[b].epoch, epoch);
    assert!(shard.sent.iter().any(|message| matches!(message.body, Body::Canvass { .. })));
    assert_eq!(shard.get(b).status().standing, Standing::Alone);
}

#[test]
fn election_whose_outcome_is_unknown_is_found_in_the_register() {
    let mut shard = Shard::new(1, Ack::One);
    shard.cut_off.insert(0);
    while shard.last_change(0).is_none() {
        shard.run(10);
        let Some((who, id, ask)) = shard.asked.last().cloned() else { continue };
        if !matches!(ask, Ask::CompareAndSet(_)) {
            let answer = shard.coordinate(&ask);
            shard.answer(who, id, answer);
        }
    }
    // It is done, and nobody says so.
    let (id, target) = shard.last_change(0).unwrap();
    shard.coordinate(&Ask::CompareAndSet(target));
    shard.answer(0, id, slotkv_replication::Answer::Unknown);
    assert_eq!(shard.get(0).leads(), None);
    let (who, id, ask) = shard.asked.last().cloned().unwrap();
    assert_eq!(ask, Ask::Read);
    let answer = shard.coordinate(&ask);
    shard.answer(who, id, answer);
    assert_eq!(shard.get(0).leads(), Some(1));
}
