//! Rule 16 holds in every state within small bounds, and every mistake in it is found.

use std::time::Duration;

use slotkv_model::check::{Effort, explore};
use slotkv_model::handover::mistake::Mistake;
use slotkv_model::handover::rules::{Bounds, Handover};

const EFFORT: Effort =
    Effort { threads: 1, time_max: Duration::from_secs(120), progress: false, frugal: false };

fn holds(rules: Handover) {
    let verdict = explore(rules, &EFFORT);
    println!("{verdict}");
    assert!(verdict.complete, "{verdict}");
    assert!(verdict.unreached.is_empty(), "the bounds are too narrow to show much: {verdict}");
}

#[test]
fn one_hand_over_with_fail_overs_of_both_sides_loses_nothing() {
    holds(Handover::right(Bounds { writes: 2, plans: 1, fail_overs: [1, 1], tail: 1, ends: true }));
}

#[test]
fn a_slot_that_goes_there_and_back_loses_nothing() {
    holds(Handover::right(Bounds { writes: 1, plans: 2, fail_overs: [1, 0], tail: 1, ends: true }));
}

#[test]
fn every_mistake_is_refuted() {
    for mistake in Mistake::ALL {
        let refutation = mistake.refutation();
        let verdict = explore(Handover::wrong(mistake, refutation.bounds), &EFFORT);
        println!("{}: {}\n{verdict}", refutation.name, refutation.about);
        let example = verdict.refuted.expect(refutation.name);
        assert_eq!(example.property, refutation.breaks, "{}", refutation.name);
    }
}

/// What is refuted is the mistake, not the bounds.
#[test]
fn the_bounds_of_every_mistake_hold_without_it() {
    for mistake in Mistake::ALL {
        let refutation = mistake.refutation();
        let verdict = explore(Handover::right(refutation.bounds), &EFFORT);
        println!("{} {verdict}", refutation.name);
        assert!(verdict.complete, "{}: {verdict}", refutation.name);
    }
}
