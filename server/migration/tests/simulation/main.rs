//! Source, target and leader of hand-overs together, over a network, a coordinator and logs that misbehave, by a seed. The README
//! beside this file says what for.

mod engine;
mod shard;
mod world;

use slotkv_migration::Bug;
use world::{Summary, World};

/// Seeds of the quick form.
const SEED_COUNT: u64 = 40;
/// In how many seeds a mistake is found.
const BUG_SEED_COUNT: u64 = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, bug: Option<Bug>) -> Result<Summary, String> {
    World::new(seed, bug).run()
}

#[test]
fn hand_overs_lose_nothing_and_end() {
    let from = number("SLOTKV_SEED_FROM").unwrap_or(0);
    let count = number("SLOTKV_SEEDS").unwrap_or(SEED_COUNT);
    let mut sum = Summary::default();
    for seed in from..from + count {
        match run(seed, None) {
            Ok(summary) => {
                sum.moved += summary.moved;
                sum.aborted += summary.aborted;
                sum.writes += summary.writes;
                sum.fail_overs += summary.fail_overs;
                sum.leaders += summary.leaders;
                sum.returned += summary.returned;
            }
            Err(failure) => panic!("seed {seed}: {failure}"),
        }
    }
    println!("{count} seeds: {sum:?}");
    assert!(
        sum.moved > 5 * count && sum.aborted > count && sum.returned > count,
        "too little happened: {sum:?}"
    );
}

#[test]
fn the_same_seed_is_the_same_history() {
    let [first, second] = [3, 3].map(|seed| run(seed, None).unwrap().digest);
    assert_eq!(first, second);
    assert_ne!(first, run(4, None).unwrap().digest);
}

#[test]
fn every_planted_bug_is_found() {
    let only = std::env::var("SLOTKV_BUG").ok();
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        if only.as_ref().is_some_and(|only| *only != format!("{bug:?}")) {
            continue;
        }
        let found =
            (0..BUG_SEED_COUNT).find_map(|seed| run(seed, Some(bug)).err().map(|failure| (seed, failure)));
        match found {
            Some((seed, failure)) => {
                let what = if only.is_some() { &failure } else { failure.lines().next().unwrap_or_default() };
                println!("| `{bug:?}` | {seed} | {what} |");
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found in {BUG_SEED_COUNT} seeds: {missed:?}");
}
