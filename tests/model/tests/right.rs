//! The rules as they are hold in every state within small bounds; the README has the figures for large ones.

use std::time::Duration;

use slotkv_model::bounds::Bounds;
use slotkv_model::check::{Effort, explore};
use slotkv_model::configuration::Ack;
use slotkv_model::shard::Shard;

fn holds(bounds: Bounds) {
    let effort = Effort { threads: 1, time_max: Duration::from_secs(300), progress: false, frugal: false };
    let verdict = explore(Shard::right(Bounds { symmetry: true, ..bounds }), &effort);
    println!("{verdict}");
    assert!(verdict.complete, "{verdict}");
    assert!(verdict.unreached.is_empty(), "the bounds are too narrow to show much: {verdict}");
}

fn small() -> Bounds {
    Bounds { writes: 1, epochs: 2, restarts: 1, changes: 1, ..Bounds::default() }
}

#[test]
fn restarts_and_reconfigurations_lose_nothing_with_ack_one() {
    holds(Bounds { dead_ends: true, ..small() });
}

#[test]
fn restarts_and_reconfigurations_lose_nothing_with_ack_all() {
    holds(Bounds { ack: Ack::All, dead_ends: true, ..small() });
}

#[test]
fn changes_of_ack_lose_nothing() {
    holds(Bounds { ack_changes: true, edits: 1, restarts: 0, ..small() });
}

#[test]
fn wiped_replicas_are_replaced_and_lose_nothing() {
    holds(Bounds { wipes: 1, changes: 2, restarts: 0, dead_ends: true, ..small() });
}

#[test]
fn three_elections_in_a_row_lose_nothing() {
    holds(Bounds { epochs: 4, restarts: 0, changes: 0, ..small() });
}

#[test]
fn leases_and_rounds_read_what_is_committed() {
    holds(Bounds { leases: true, rounds: true, ..small() });
}

#[test]
fn fail_back_loses_nothing_and_reads_what_is_committed() {
    holds(Bounds { leases: true, fail_backs: 1, changes: 0, dead_ends: true, ..small() });
}

#[test]
fn writes_are_acknowledged_by_min_isr_only() {
    holds(Bounds { min_isr: 2, changes: 2, restarts: 0, ..small() });
}

#[test]
fn elections_after_a_reconfiguration_lose_nothing() {
    holds(Bounds { epochs: 3, restarts: 0, ..small() });
}

#[test]
fn two_replicas_lose_nothing() {
    holds(Bounds { replicas: 2, isr: 2, wipes: 1, changes: 2, leases: true, dead_ends: true, ..small() });
}
