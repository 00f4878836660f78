//! Several replicas on a network, disks, clocks and a coordinator that one seed makes fail. After every step the
//! invariants are checked ([`truth`]); at the end everything heals, and the shard must serve again within a bound.
//!
//! `SLOTKV_SEEDS=N` and `SLOTKV_SEED_FROM=S` choose what runs; a failing seed is run again with a trace. `SLOTKV_SEED=S`
//! runs one, with the bug that `SLOTKV_BUG` names, if any. With `SLOTKV_BUGS=N` every bug, or the one that
//! `SLOTKV_BUG` names, is looked for in N seeds and the table printed.

mod coordinator;
mod disk;
mod host;
mod truth;
mod world;

use slotkv_replication::Bug;
use world::{Failure, Summary, World};

/// Seeds of the short run, which is CI's.
const SEED_COUNT: u64 = 2_000;
/// Seeds in which the short run must find each of [`QUICK_BUGS`].
const BUG_SEED_COUNT: u64 = 300;

/// Found soon enough to be looked for in every run; README.md says after how many seeds each is.
const QUICK_BUGS: [Bug; 27] = [
    Bug::ResumesEpoch,
    Bug::SkipsBarrier,
    Bug::RepeatsVersion,
    Bug::ReportsMissing,
    Bug::LowestElected,
    Bug::AppliesUnmatched,
    Bug::GrowsUnguarded,
    Bug::CutsToCommit,
    Bug::StreamsUnmatched,
    Bug::LeaseFromReceipt,
    Bug::EchoesUnleased,
    Bug::ObeysLower,
    Bug::BareNames,
    Bug::AcksUnsynced,
    Bug::CountsPendingOnly,
    Bug::ForgetsLease,
    Bug::IsrOfReporters,
    Bug::LosesByQuorum,
    Bug::LosesWithIsr,
    Bug::ShrinksUnsynced,
    Bug::KeepsInc,
    Bug::IgnoresOwnGrant,
    Bug::MixesSnapshots,
    Bug::WinsUnsynced,
    Bug::UnionQuorum,
    Bug::ReadProvesFailure,
    Bug::TakesOldEnd,
];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

fn run(seed: u64, bug: Option<Bug>, traced: bool) -> Result<Summary, Failure> {
    World::new(seed, bug, traced).run()
}

/// What a planted bug does wrong in a seed; that it takes long, or that a deadline is missed, is not enough.
fn wrong(seed: u64, bug: Bug) -> Option<Failure> {
    let of_time = ["not whole again", "not taken by order", "a tick before", "ticks do not move"];
    let is_of_time = |what: &str| of_time.iter().any(|begin| what.starts_with(begin));
    run(seed, Some(bug), false).err().filter(|failure| !is_of_time(&failure.what))
}

/// Runs a failed seed again, with its trace.
fn explain(seed: u64, bug: Option<Bug>, failure: &Failure) -> String {
    match run(seed, bug, true) {
        Ok(_) => format!("seed {seed}: {failure}\nand then not again: the run does not replay"),
        Err(again) => {
            let lines = again.trace.join("\n");
            let replays = if again.what == failure.what { "" } else { " (does not replay)" };
            format!("seed {seed}{replays}\n{lines}\n{again}\nagain: SLOTKV_SEED={seed}")
        }
    }
}

#[test]
fn no_acknowledged_write_is_lost_whatever_fails() {
    if let Some(seed) = number("SLOTKV_SEED") {
        let bug = std::env::var("SLOTKV_BUG").ok();
        let bug =
            Bug::ALL.into_iter().find(|known| bug.as_ref().is_some_and(|bug| *bug == format!("{known:?}")));
        match World::new(seed, bug, true).run() {
            Ok(summary) => println!("seed {seed}: {summary:?}"),
            Err(failure) => panic!("{}", explain(seed, bug, &failure)),
        }
        return;
    }
    let from = number("SLOTKV_SEED_FROM").unwrap_or(0);
    let count = number("SLOTKV_SEEDS").unwrap_or(SEED_COUNT);
    let mut sum = Summary::default();
    let mut failed = 0;
    for seed in from..from + count {
        match run(seed, None, false) {
            Ok(summary) => {
                if number("SLOTKV_GO_ON").is_some_and(|ms| ms > 1 && summary.recovery_ms_max > ms) {
                    println!("seed {seed}: recovered after {} ms", summary.recovery_ms_max);
                }
                sum.add(&summary);
            }
            Err(failure) if number("SLOTKV_GO_ON").is_some() => {
                println!("seed {seed}: {failure}");
                failed += 1;
            }
            Err(failure) => panic!("{}", explain(seed, None, &failure)),
        }
    }
    println!("{count} seeds from {from}: {sum:?}");
    assert_eq!(failed, 0);
    assert!(sum.acknowledged > count * 20, "hardly any write was acknowledged: {sum:?}");
    assert!(sum.bounded_reads > count && sum.orders > 0, "{sum:?}");
    assert!(sum.leased_reads > 0 && sum.confirmed_reads > 0 && sum.epochs > count, "{sum:?}");
}

#[test]
fn a_seed_replays_exactly() {
    let (first, second) = (run(7, None, true), run(7, None, true));
    assert_eq!(first.map(|summary| summary.digest).ok(), second.map(|summary| summary.digest).ok());
}

#[test]
fn primary_keeps_the_lead_while_disks_are_slow_and_messages_get_lost() {
    for seed in 0..20 {
        let summary =
            World::new(seed, None, false).calm().run().unwrap_or_else(|failure| panic!("{failure}"));
        // The first one, and the preferred one if that is another.
        assert!(summary.epochs <= 2 && summary.hand_backs + 1 == summary.epochs, "seed {seed}: {summary:?}");
    }
}

#[test]
fn planted_bugs_are_found() {
    if let Some(count) = number("SLOTKV_BUGS") {
        return all_bugs(count);
    }
    for bug in QUICK_BUGS {
        let found = (0..BUG_SEED_COUNT).find(|seed| wrong(*seed, bug).is_some());
        println!("{bug:?}: seed {found:?}");
        assert!(found.is_some(), "{bug:?} was not found in {BUG_SEED_COUNT} seeds");
    }
}

fn all_bugs(count: u64) {
    let mut missed = Vec::new();
    let only = std::env::var("SLOTKV_BUG").ok();
    let chosen = |bug: &Bug| only.as_ref().is_none_or(|only| *only == format!("{bug:?}"));
    for bug in Bug::ALL.into_iter().filter(chosen) {
        let from = number("SLOTKV_SEED_FROM").unwrap_or(0);
        match (from..from + count).find_map(|seed| wrong(seed, bug).map(|failure| (seed, failure))) {
            Some((seed, failure)) => println!("{bug:?}: seed {seed}, {}", failure.what),
            None => {
                println!("{bug:?}: not in {count} seeds");
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not found in {count} seeds: {missed:?}");
}
