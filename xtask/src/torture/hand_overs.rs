//! What became of hand-overs, as `slotkv admin migrations --json` showed them from time to time: which are open, and which
//! the leader has decided of late.

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
    /// Takes in what is open now, and what the leader has decided.
    pub fn see(&mut self, migrations: &Value, now: Instant) {
        for open in migrations["open"].as_array().into_iter().flatten() {
            if let Some(id) = open["id"].as_u64() {
                self.seen(id, now).last = now;
            }
        }
        for ended in migrations["ended"].as_array().into_iter().flatten() {
            let Some(id) = ended["id"].as_u64() else { continue };
            let one = self.seen(id, now);
            if one.outcome.is_none() {
                let is_moved = ended["moved"].as_bool().unwrap_or(false);
                one.outcome = Some(if is_moved { Decided::Moved } else { Decided::Aborted });
                one.last = now;
            }
            let sealed_ms = ended["pause_us"].as_f64().unwrap_or(0.0) / 1000.0;
            one.sealed_ms = one.sealed_ms.max(sealed_ms);
        }
    }

    fn seen(&mut self, id: u64, now: Instant) -> &mut HandOver {
        let new = HandOver { first: now, last: now, outcome: None, sealed_ms: 0.0 };
        self.seen.entry(id).or_insert(new)
    }

    /// Why not everything is where it shall be, as far as a master tells.
    pub fn unsettled(migrations: &Value) -> Option<String> {
        let count = |name: &str| migrations[name].as_array().map(Vec::len);
        match (count("open"), count("left")) {
            (Some(0), Some(0)) if migrations["planned"] != false => None,
            (Some(open), Some(left)) => {
                Some(format!("{open} hand-overs are open, {left} to come: {migrations}"))
            }
            _ => Some(format!("no master tells of hand-overs: {migrations}")),
        }
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
        hand_overs.see(&json!({ "open": [{ "id": 4 }, { "id": 5 }], "ended": [] }), after(0));
        let ended = json!([{ "id": 4, "moved": true, "pause_us": 7500 }]);
        hand_overs.see(&json!({ "open": [], "ended": ended }), after(10));
        let ended = json!([{ "id": 4, "moved": true }, { "id": 9, "moved": false }]);
        hand_overs.see(&json!({ "open": [], "ended": ended }), after(20));
        let counts = hand_overs.counts(&[(after(5), after(6)), (after(15), after(16))]);
        let expected =
            Counts { planned: 3, moved: 1, aborted: 1, unseen: 1, under_fault: 1, sealed_ms_max: 7.5 };
        assert_eq!(counts, expected);
    }

    #[test]
    fn only_a_master_that_knows_of_nothing_is_settled() {
        assert_eq!(HandOvers::unsettled(&json!({ "open": [], "left": [] })), None);
        for other in [json!({ "open": [], "left": [1] }), json!({ "open": [1], "left": [] }), json!({})] {
            assert!(HandOvers::unsettled(&other).is_some(), "{other}");
        }
    }
}
