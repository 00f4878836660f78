//! Seeded runs of a whole cluster under faults. `SLOTKV_SIMULATION_SEEDS=1000` runs more of them, from
//! `SLOTKV_SIMULATION_FROM` on; a failing seed replays exactly.

use slotkv_tests::simulation::{Plan, run};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn no_acknowledged_write_is_lost_or_applied_twice_under_any_seed() {
    let from = number("SLOTKV_SIMULATION_FROM", 1);
    let (mut done, mut failed, mut unknown) = (0, 0, 0);
    for seed in from..from + number("SLOTKV_SIMULATION_SEEDS", 40) {
        let report = run(&Plan::new(seed));
        if let Err(why) = &report.verdict {
            panic!("seed {seed}: {why}\n{}", report.trace.join("\n"));
        }
        done += report.calls.0;
        failed += report.calls.1;
        unknown += report.calls.2;
    }
    println!("{done} calls succeeded, {failed} failed, {unknown} ended unknown");
    assert!(done > 0 && unknown > 0, "the faults must reach the clients, and not all of them");
}

#[test]
fn a_seed_replays_exactly() {
    let (first, second) = (run(&Plan::new(7)), run(&Plan::new(7)));
    assert_eq!(first.trace, second.trace);
    assert_eq!(first.fingerprint, second.fingerprint);
}
