//! A stopwatch for micro benchmarks: repeats a piece of work for a while and prints nanoseconds per operation.
//!
//! Micro benchmarks say where to look, not how fast slotkv is; for that, `cargo xtask bench` measures the whole way.

use std::time::{Duration, Instant};

/// How long each benchmark is repeated.
const LENGTH: Duration = Duration::from_millis(500);

/// Runs `work`, which does `operations` operations, again and again; prints the median round per operation.
pub fn measure(name: &str, operations: u64, mut work: impl FnMut()) {
    let end = Instant::now() + LENGTH;
    let mut rounds = Vec::new();
    while rounds.len() < 3 || Instant::now() < end {
        let start = Instant::now();
        work();
        rounds.push(start.elapsed());
    }
    rounds.sort_unstable();
    let median = rounds[rounds.len() / 2];
    let nanos = median.as_nanos() as f64 / operations as f64;
    println!("{name:<44} {nanos:>12.1} ns  ({} rounds)", rounds.len());
}
