//! Seeded runs of a whole cluster under faults. `SLOTKV_SIMULATION_SEEDS=1000` runs more of them, from
//! `SLOTKV_SIMULATION_FROM` on. A failing seed replays exactly.

use std::collections::BTreeMap;

use slotkv_replication::Bug;
use slotkv_tests::simulation::{Plan, Sabotage, run};

/// With so many seeds, every fault of [`FAULTS`] has happened.
const SEEDS: u64 = 40;
/// A sabotage must be found in so many seeds.
const SABOTAGED_SEEDS: u64 = 150;

/// As many for a stale read of a primary that was stopped.
const STALE_SEEDS: u64 = 60;

/// What the nemesis does, and what it comes to.
const FAULTS: [&str; 36] = [
    "a shard is added",
    "a shard is drained",
    "a weight is set",
    "clock jump",
    "connections break",
    "coordinator away",
    "coordinator away during a start",
    "disk full",
    "everything goes on",
    "everything heals",
    "failed sync",
    "failed write",
    "hand-over aborted",
    "hand-over moved",
    "hand-overs are cancelled",
    "kill",
    "lost hints",
    "master crash",
    "next write applied and not answered",
    "next write lost",
    "nothing comes from a worker",
    "nothing goes to a worker",
    "old reads",
    "one-way cut",
    "orderly restart",
    "pair cut",
    "pause",
    "power cut",
    "restart of a worker that nothing comes from",
    "session cut off",
    "session expires",
    "session expires unnoticed",
    "stopped by itself",
    "wish for another primary",
    "writes of unknown outcome",
    "writes on a broken connection",
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn no_acknowledged_write_is_lost_or_applied_twice_under_any_seed() {
    let from = number("SLOTKV_SIMULATION_FROM", 1);
    let seeds = number("SLOTKV_SIMULATION_SEEDS", SEEDS);
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut done, mut failed, mut unknown) = (0, 0, 0);
    for seed in from..from + seeds {
        let report = run(&Plan::new(seed));
        if let Err(why) = &report.verdict {
            panic!("seed {seed}: {why}\n{}", report.trace.join("\n"));
        }
        done += report.calls.0;
        failed += report.calls.1;
        unknown += report.calls.2;
        for (name, count) in report.faults {
            *faults.entry(name).or_default() += count;
        }
    }
    println!("{done} calls succeeded, {failed} failed, {unknown} ended unknown; {faults:#?}");
    assert!(done > 0 && unknown > 0, "the faults must reach the clients, and not all of them");
    if seeds >= SEEDS {
        let missing: Vec<_> =
            FAULTS.into_iter().filter(|name| faults.get(name).is_none_or(|&count| count == 0)).collect();
        assert!(missing.is_empty(), "{missing:?} never happened; {faults:#?}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    // Somebody's own RUSTFLAGS take the place of .cargo/config.toml's.
    if !cfg!(tokio_unstable) {
        panic!("build with --cfg tokio_unstable: tokio's own chance has to be seeded");
    }
    for seed in 1..=30 {
        let (first, second) = (run(&Plan::new(seed)), run(&Plan::new(seed)));
        assert_eq!(first.trace, second.trace);
        assert_eq!(first.fingerprint, second.fingerprint);
    }
}

/// A simulation that finds nothing might look for nothing.
fn is_found(sabotage: Sabotage) {
    for seed in 1..=SABOTAGED_SEEDS {
        let plan = Plan { interval_ms: None, sabotage: Some(sabotage), ..Plan::new(seed) };
        if let Err(why) = run(&plan).verdict {
            println!("seed {seed}: {why}");
            return;
        }
    }
    panic!("{sabotage:?} was not noticed in {SABOTAGED_SEEDS} seeds");
}

/// The first seed in which it shows that a lease is believed until its holder looks at it again.
fn first_stale_read(pauses: u64, seeds: u64) -> Option<u64> {
    (1..=seeds).find(|seed| {
        let (replicas, interval_ms, bug) = (3, None, Some(Bug::LeaseUntilLook));
        let plan = Plan { replicas, interval_ms, bug, pauses, ..Plan::new(*seed) };
        run(&plan).verdict.inspect_err(|why| println!("seed {seed}: {why}")).is_err()
    })
}

#[test]
fn stale_reads_of_a_primary_that_was_stopped_are_noticed() {
    let found = first_stale_read(100, STALE_SEEDS);
    assert!(found.is_some(), "not noticed in {STALE_SEEDS} seeds");
    assert_eq!(first_stale_read(0, STALE_SEEDS / 4), None, "nobody was stopped");
}

#[test]
fn writes_acknowledged_before_they_are_durable_are_noticed() {
    is_found(Sabotage::SyncLies);
}

#[test]
fn writes_applied_twice_because_their_results_were_forgotten_are_noticed() {
    is_found(Sabotage::ResultsForgotten);
}

#[test]
fn versions_given_twice_are_noticed() {
    is_found(Sabotage::VersionsReset);
}
