//! What became of hand-overs, as `slotkv admin migrations --json` showed them from time to time.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

/// When something went wrong, and until when.
pub type Span = (Instant, Instant);

/// All that were seen, by id.
#[derive(Debug, Default)]
pub struct HandOvers {
    seen: BTreeMap<u64, HandOver>,
}

#[derive(Debug)]
struct HandOver {
    first: Instant,
    last: Instant,
    outcome: Option<Decided>,
    /// The longest that its slots were sealed, as its source reports it.
    sealed_ms: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decided {
    Moved,
    Aborted,
}

/// Counts for the report.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Counts {
    pub planned: usize,
    pub moved: usize,
    pub aborted: usize,
    /// Those that were gone before anybody saw what was decided.
    pub unseen: usize,
    /// Those in whose time a fault was in force.
    pub under_fault: usize,
    pub sealed_ms_max: f64,
}

impl HandOvers {
    /// Takes in what is open now.
    pub fn see(&mut self, migrations: &Value, now: Instant) {
        for migration in Self::listed(migrations).into_iter().flatten() {
            let Some(id) = migration["id"].as_u64() else { continue };
            let new = HandOver { first: now, last: now, outcome: None, sealed_ms: 0.0 };
            let one = self.seen.entry(id).or_insert(new);
            one.last = now;
            one.outcome = match migration["outcome"].as_str() {
                Some("moved") => Some(Decided::Moved),
                Some("aborted") => Some(Decided::Aborted),
                _ => one.outcome,
            };
            let sealed_ms = migration["sealed_ms"].as_f64().unwrap_or(0.0);
            one.sealed_ms = one.sealed_ms.max(sealed_ms);
        }
    }

    /// How many are open; `None`: that is not told.
    pub fn open_in(migrations: &Value) -> Option<usize> {
        Self::listed(migrations).map(Vec::len)
    }

    fn listed(migrations: &Value) -> Option<&Vec<Value>> {
        migrations["migrations"].as_array()
    }

    /// Counts them; `faults` are the times in which a fault was in force.
    pub fn counts(&self, faults: &[Span]) -> Counts {
        let mut counts = Counts { planned: self.seen.len(), ..Counts::default() };
        for one in self.seen.values() {
            match one.outcome {
                Some(Decided::Moved) => counts.moved += 1,
                Some(Decided::Aborted) => counts.aborted += 1,
                None => counts.unseen += 1,
            }
            let meets = |(begin, end): &Span| *begin <= one.last && *end >= one.first;
            counts.under_fault += usize::from(faults.iter().any(meets));
            counts.sealed_ms_max = counts.sealed_ms_max.max(one.sealed_ms);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_hand_over_counts_once_with_its_last_outcome_and_the_faults_that_met_it() {
        let at = |seconds: u64| Instant::now() + Duration::from_secs(1000 + seconds);
        let begin = at(0);
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut hand_overs = HandOvers::default();
        let list = |of: Value| json!({ "migrations": of });
        hand_overs.see(&list(json!([{ "id": 4, "outcome": null, "sealed_ms": 7.5 }, { "id": 5 }])), after(0));
        hand_overs.see(&list(json!([{ "id": 4, "outcome": "moved", "sealed_ms": 3.0 }])), after(10));
        hand_overs.see(&list(json!([{ "id": 9, "outcome": "aborted" }])), after(20));
        let counts = hand_overs.counts(&[(after(5), after(6)), (after(30), after(31))]);
        let expected =
            Counts { planned: 3, moved: 1, aborted: 1, unseen: 1, under_fault: 1, sealed_ms_max: 7.5 };
        assert_eq!(counts, expected);
        assert_eq!(HandOvers::open_in(&list(json!([]))), Some(0));
        assert_eq!(HandOvers::open_in(&json!({ "error": "no master" })), None);
    }
}
