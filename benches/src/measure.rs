//! What a load took: time, CPU of this process, latency percentiles. benches/python/measure.py prints the same.

use crate::clock;

/// Starts when it is made.
pub struct Measure {
    start_us: u64,
    cpu_us: u64,
}

impl Measure {
    /// From now on.
    pub fn start() -> Self {
        Self { start_us: clock::now_us(), cpu_us: clock::cpu_us() }
    }

    /// One line of JSON; a latency for each operation.
    pub fn report(self, mut latencies_us: Vec<u64>) -> String {
        let seconds = (clock::now_us() - self.start_us) as f64 / 1e6;
        let cpu = (clock::cpu_us() - self.cpu_us) as f64 / 1e6;
        latencies_us.sort_unstable();
        let count = latencies_us.len();
        let at = |hundredths: usize| latencies_us.get(count * hundredths / 100).copied().unwrap_or(0);
        format!(
            r#"{{"operations": {count}, "seconds": {seconds}, "client_cpu_seconds": {cpu}, "p50_us": {}, "p99_us": {}}}"#,
            at(50),
            at(99),
        )
    }
}
