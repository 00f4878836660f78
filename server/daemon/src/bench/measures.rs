//! What a phase measures: latencies by kind of operation, errors by code, and what reads should not have found.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::plan::Operation;

/// Latencies are kept from 128 ns to a minute, to three digits; what is beyond counts as the bound.
const LATENCY_NS: (u64, u64) = (128, 60_000_000_000);

/// Counts and latencies of some operations.
#[derive(Clone, Debug)]
pub(crate) struct Measures {
    latencies: Vec<Histogram<u64>>,
    pub errors: BTreeMap<&'static str, u64>,
    /// Reads of a key that should be there.
    pub missing: u64,
    /// Reads whose value was not the key's.
    pub wrong: u64,
    /// Keys that scans brought.
    pub scanned: u64,
}

impl Measures {
    /// Nothing yet.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LATENCY_NS.0, LATENCY_NS.1, 3).expect("constant bounds");
        Self {
            latencies: vec![histogram; Operation::KINDS.len()],
            errors: BTreeMap::new(),
            missing: 0,
            wrong: 0,
            scanned: 0,
        }
    }

    /// An operation succeeded after so long.
    pub fn succeeded(&mut self, kind: usize, latency: Duration) {
        self.latencies[kind].saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// An operation failed.
    pub fn failed(&mut self, code: &'static str) {
        *self.errors.entry(code).or_default() += 1;
    }

    /// Takes what another part of the same phase has measured.
    pub fn add(&mut self, other: Measures) {
        for (own, other) in self.latencies.iter_mut().zip(other.latencies) {
            own.add(other).expect("equal bounds");
        }
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.missing += other.missing;
        self.wrong += other.wrong;
        self.scanned += other.scanned;
    }

    /// Operations that succeeded.
    pub fn operations(&self) -> u64 {
        self.latencies.iter().map(Histogram::len).sum()
    }

    /// Operations that failed, and reads that found something else than they should.
    pub fn faults(&self) -> u64 {
        self.errors.values().sum::<u64>() + self.missing + self.wrong
    }

    /// The latencies of every kind that occurred, and of all together if there were several.
    pub fn by_kind(&self) -> Vec<(&'static str, Histogram<u64>)> {
        let mut kinds: Vec<(&str, Histogram<u64>)> = Operation::KINDS
            .iter()
            .zip(&self.latencies)
            .filter(|(_, latencies)| !latencies.is_empty())
            .map(|(name, latencies)| (*name, latencies.clone()))
            .collect();
        if kinds.len() > 1 {
            let mut all = kinds[0].1.clone();
            for (_, latencies) in &kinds[1..] {
                all.add(latencies).expect("equal bounds");
            }
            kinds.push(("all", all));
        }
        kinds
    }
}

/// The figures of a histogram that are shown, in microseconds.
pub(crate) fn figures(latencies: &Histogram<u64>) -> [(&'static str, f64); 6] {
    let us = |ns: u64| (ns as f64 / 100.0).round() / 10.0;
    [
        ("mean", us(latencies.mean() as u64)),
        ("p50", us(latencies.value_at_quantile(0.5))),
        ("p90", us(latencies.value_at_quantile(0.9))),
        ("p99", us(latencies.value_at_quantile(0.99))),
        ("p99_9", us(latencies.value_at_quantile(0.999))),
        ("max", us(latencies.max())),
    ]
}

/// The latencies as JSON.
pub(crate) fn latencies_json(measures: &Measures) -> Value {
    let kinds = measures.by_kind().into_iter().map(|(name, latencies)| {
        let mut object = json!({ "count": latencies.len() });
        for (figure, us) in figures(&latencies) {
            object[figure] = json!(us);
        }
        (name.to_owned(), object)
    });
    Value::Object(kinds.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let mut one = Measures::new();
        one.succeeded(0, Duration::from_micros(10));
        one.failed("TIMEOUT");
        let mut two = Measures::new();
        two.succeeded(1, Duration::from_secs(3600));
        two.failed("TIMEOUT");
        two.missing = 1;
        one.add(two);
        assert_eq!((one.operations(), one.faults()), (2, 3));
        let kinds: Vec<&str> = one.by_kind().iter().map(|(name, _)| *name).collect();
        assert_eq!(kinds, ["read", "update", "all"]);
        let json = latencies_json(&one);
        assert_eq!(json["all"]["count"], 2);
        assert!((json["read"]["p50"].as_f64().unwrap() - 10.0).abs() < 0.3, "{json}");
        assert!(json["update"]["max"].as_f64().unwrap() < 61e6);
    }
}
