//! A bench's result, for people and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::measures::{Measures, figures, latencies_json};
use crate::{cli::flags::BenchFlags, client::table::Table};

/// What one phase, `load` or `run`, came to.
#[derive(Debug)]
pub(crate) struct Phase {
    pub name: &'static str,
    pub measures: Measures,
    pub took: Duration,
    /// CPU time of this process, in the measured part.
    pub cpu: Duration,
    /// The signal that ended it early.
    pub stopped_by: Option<&'static str>,
}

impl Phase {
    fn rate(&self) -> f64 {
        self.measures.operations() as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.measures.operations() as f64).max(1.0)
    }

    fn json(&self) -> Value {
        let measures = &self.measures;
        json!({
            "operations": measures.operations(),
            "seconds": self.took.as_secs_f64(),
            "ops_per_second": self.rate().round(),
            "client_cpu_us_per_operation": (self.cpu_us() * 100.0).round() / 100.0,
            "latency_us": latencies_json(measures),
            "errors": measures.errors,
            "missing": measures.missing,
            "wrong": measures.wrong,
            "scanned_keys": measures.scanned,
            "stopped_by": self.stopped_by,
        })
    }

    fn text(&self) -> String {
        let measures = &self.measures;
        let mut text = format!(
            "{}: {} operations in {:.2} s: {:.0} per second, {:.2} us of this process's CPU each\n",
            self.name,
            measures.operations(),
            self.took.as_secs_f64(),
            self.rate(),
            self.cpu_us()
        );
        let mut table = Table::new(&["latency us", "count", "mean", "p50", "p90", "p99", "p99.9", "max"]);
        for (name, latencies) in measures.by_kind() {
            let cells = figures(&latencies).map(|(_, us)| format!("{us:.1}"));
            table.row([name.to_owned(), latencies.len().to_string()].into_iter().chain(cells));
        }
        text.push_str(&table.text());
        if measures.scanned > 0 {
            text.push_str(&format!("keys scanned: {}\n", measures.scanned));
        }
        for (code, count) in &measures.errors {
            text.push_str(&format!("errors: {code} {count}\n"));
        }
        if measures.missing + measures.wrong > 0 {
            text.push_str(&format!(
                "reads: {} not found, {} with a wrong value\n",
                measures.missing, measures.wrong
            ));
        }
        text
    }
}

/// Everything as one JSON object.
pub(crate) fn to_json(flags: &BenchFlags, distribution: &str, phases: &[Phase]) -> Value {
    let named = phases.iter().map(|phase| (phase.name.to_owned(), phase.json()));
    json!({
        "slotkv_bench": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "command": std::env::args().collect::<Vec<_>>(),
        "workload": format!("{:?}", flags.workload).to_lowercase(),
        "distribution": distribution,
        "records": flags.records,
        "key_bytes": flags.key_bytes,
        "value_bytes": flags.value_bytes,
        "in_flight": flags.in_flight,
        "loop": if flags.rate.is_some() { "open" } else { "closed" },
        "rate": flags.rate,
        "threads": flags.threads,
        "runtime": format!("{:?}", flags.runtime).to_lowercase(),
        "seed": flags.seed,
        "phases": Value::Object(named.collect()),
    })
}

/// The same for people.
pub(crate) fn to_text(phases: &[Phase]) -> String {
    phases.iter().map(Phase::text).collect::<Vec<_>>().join("\n")
}
