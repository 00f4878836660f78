//! Mistakes of hand-overs, planted one at a time in whole clusters: each must be noticed. The quick form plants those that show at the first
//! seeds; `SLOTKV_BUGS=N` plants all of them in up to N seeds each from `SLOTKV_SEED_FROM` (1) on, and says after which one each was seen, and how.
//! `SLOTKV_BUG=Name` plants one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use slotkv_migration::Bug;
use slotkv_tests::simulation::{Plan, run};

/// Seeds of the quick form.
const SEEDS: u64 = 12;
/// What the simulator of `server/migration` finds, and whole clusters seldom: only the long form plants them, and it is no failure if they are
/// missed.
const FOUND_ELSEWHERE: [Bug; 4] =
    [Bug::SealUncommitted, Bug::ImportedUncommitted, Bug::UnsealsByOlderTable, Bug::TakesAnyPart];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// What is wrong in a run with this mistake.
fn seen(seed: u64, bug: Option<Bug>) -> Option<String> {
    let plan = Plan { mistake: bug, ..Plan::of_mistakes(seed) };
    match catch_unwind(AssertUnwindSafe(|| run(&plan))) {
        Ok(report) => report.verdict.err().map(|why| format!("{why}\n{}", report.trace.join("\n"))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Some(format!("a panic: {}", text.unwrap_or_default()))
        }
    }
}

#[test]
fn a_planted_mistake_is_noticed_in_whole_clusters() {
    let (from, all) = (number("SLOTKV_SEED_FROM").unwrap_or(1), number("SLOTKV_BUGS"));
    let only = std::env::var("SLOTKV_BUG").ok();
    let seeds = all.unwrap_or(SEEDS);
    let bugs = match (&only, all) {
        (None, None) => Bug::ALL.into_iter().filter(|bug| !FOUND_ELSEWHERE.contains(bug)).collect(),
        _ => Bug::ALL.to_vec(),
    };
    let mut missed = Vec::new();
    for bug in bugs.into_iter().filter(|bug| only.as_ref().is_none_or(|only| *only == format!("{bug:?}"))) {
        match (from..from + seeds).find_map(|seed| Some((seed, seen(seed, Some(bug))?))) {
            Some((seed, why)) => println!("{bug:?}: seed {seed}, {}", why.lines().next().unwrap_or_default()),
            None => {
                println!("{bug:?}: not in {seeds} seeds");
                missed.extend((!FOUND_ELSEWHERE.contains(&bug)).then_some(bug));
            }
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

#[test]
fn without_a_mistake_the_same_clusters_are_in_order() {
    let from = number("SLOTKV_SEED_FROM").unwrap_or(1);
    for seed in from..from + number("SLOTKV_BUGS").unwrap_or(SEEDS) / 2 {
        if let Some(why) = seen(seed, None) {
            panic!("seed {seed}: {why}");
        }
    }
}
