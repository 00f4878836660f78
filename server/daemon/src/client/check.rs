//! `admin check`: whether the cluster is as it should be. Every slot has one owner, which the table and the logs of the replicas
//! have to say alike; no hand-over has left anything, and the replicas of a shard hold the same. Slots that are served empty since
//! an operator has given up what was in them are named, too: they are as they should be now.
//!
//! Replicas can be compared only if they have applied the same record, so while much is written it takes several looks; and what
//! is on its way is given time to arrive.

mod look;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use slotkv_proto::table::ShardId;
use tokio::time::{Duration, Instant, sleep};

use self::look::Look;
use super::{connect, output::Output};
use crate::cli::{
    exit::{Exit, Failure},
    flags::CheckFlags,
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// What was found over all looks.
#[derive(Default)]
struct Findings {
    /// Of the last look.
    problems: Vec<String>,
    /// Pairs of replicas that were at the same record at some look, and those that never were.
    compared: BTreeSet<(String, String)>,
    pairs: BTreeSet<(String, String)>,
    slots: usize,
    replicas: usize,
    looks: usize,
    /// By shard: slots that are served empty since their hand-over was lost. Nothing is wrong with them now.
    lost: BTreeMap<ShardId, BTreeSet<u32>>,
}

/// `admin check`.
pub(crate) async fn check(flags: CheckFlags) -> Result<Exit, Failure> {
    let client = connect(&flags.client).await?;
    let until = Instant::now() + flags.wait;
    let mut findings = Findings::default();
    let outcome = loop {
        match Look::take(&client, until).await {
            Ok(look) => findings.add(&look),
            Err(failure) => break Err(failure),
        }
        if findings.is_settled() || Instant::now() >= until {
            break Ok(());
        }
        sleep(PAUSE).await;
    };
    client.close().await;
    outcome?;
    let mut output = Output::new();
    match flags.client.json {
        true => output.line(&findings.json().to_string())?,
        false => output.bytes(findings.text().as_bytes())?,
    };
    output.end(findings.exit())
}

impl Findings {
    fn add(&mut self, look: &Look) {
        self.looks += 1;
        (self.problems, self.lost) = (look.problems(), look.lost());
        (self.slots, self.replicas) = (look.owners.len(), look.replicas.len());
        self.pairs = look.pairs().into_iter().collect();
        let compared = self.pairs.iter().filter(|(one, other)| look.is_comparable(one, other));
        self.compared.extend(compared.cloned().collect::<Vec<_>>());
    }

    /// Nothing is wrong, and everything was compared.
    fn is_settled(&self) -> bool {
        self.problems.is_empty() && self.left().next().is_none()
    }

    fn left(&self) -> impl Iterator<Item = &(String, String)> {
        self.pairs.difference(&self.compared)
    }

    fn exit(&self) -> Exit {
        match (self.problems.is_empty(), self.left().next()) {
            (false, _) => Exit::No,
            (true, Some(_)) => Exit::Partly,
            (true, None) => Exit::Done,
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&format!("{problem}\n"));
        }
        for (one, other) in self.left() {
            text.push_str(&format!("{one} and {other} were never at the same record: not compared\n"));
        }
        for (shard, slots) in &self.lost {
            let slots: Vec<usize> = slots.iter().map(|slot| *slot as usize).collect();
            text.push_str(&format!(
                "shard {shard}: what was in {} slots was lost with their hand-over, they are served empty since: {}\n",
                slots.len(),
                listed(&slots)
            ));
        }
        if self.is_settled() {
            text.push_str(&format!(
                "{} slots have one owner each, nothing is left of a hand-over, {} replicas hold what they should\n",
                self.slots, self.replicas
            ));
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "right": self.is_settled(),
            "problems": self.problems,
            "not_compared": self.left().map(|(one, other)| [one, other]).collect::<Vec<_>>(),
            "lost": self.lost.iter().map(|(shard, slots)| json!({ "shard": shard, "slots": slots })).collect::<Vec<_>>(),
            "slots": self.slots,
            "replicas": self.replicas,
            "looks": self.looks,
        })
    }
}

/// The first few.
fn listed(slots: &[usize]) -> String {
    let first: Vec<String> = slots.iter().take(10).map(usize::to_string).collect();
    let more = if slots.len() > 10 { ", ..." } else { "" };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::held_slot::Hold;

    use super::{
        look::tests::{held, look, replica},
        *,
    };

    #[test]
    fn a_cluster_as_it_should_be_is_told_so() {
        let slots = || vec![held(0, 3, Hold::Held), held(2, 0, Hold::Gone)];
        let mut findings = Findings::default();
        findings.add(&look(vec![replica("a", 0, 7, slots()), replica("b", 0, 7, slots())]));
        assert_eq!((findings.exit(), findings.compared.len()), (Exit::Done, 1));
        assert!(findings.text().contains("3 slots have one owner each"));
    }

    #[test]
    fn slots_that_were_lost_are_named_and_are_no_problem() {
        let slots = || vec![held(0, 0, Hold::Held), held(1, 0, Hold::Held)];
        let mut look = look(vec![replica("a", 0, 7, slots()), replica("b", 0, 7, slots())]);
        let mut findings = Findings::default();
        findings.add(&look);
        assert!(!findings.text().contains("lost") && findings.json()["lost"] == json!([]));
        look.replicas.get_mut("b").unwrap().lost = vec![0, 1];
        findings.add(&look);
        assert_eq!(findings.exit(), Exit::Done);
        let text = findings.text();
        assert!(text.starts_with("shard 0: what was in 2 slots was lost"), "{text}");
        assert!(text.contains("served empty since: 0, 1\n3 slots have one owner each"), "{text}");
        assert_eq!(findings.json()["lost"], json!([{ "shard": 0, "slots": [0, 1] }]));
    }

    #[test]
    fn replicas_are_compared_once_they_have_applied_the_same_record() {
        let at = |index, count| {
            vec![
                replica("a", 0, 7, vec![held(0, 3, Hold::Held)]),
                replica("b", 0, index, vec![held(0, count, Hold::Held)]),
            ]
        };
        let mut findings = Findings::default();
        findings.add(&look(at(6, 2)));
        assert_eq!(findings.exit(), Exit::Partly);
        findings.add(&look(at(7, 2)));
        assert_eq!(findings.exit(), Exit::No);
        assert!(findings.text().contains("a and b differ in 1 slots: 0"), "{}", findings.text());
        findings.add(&look(at(7, 3)));
        findings.add(&look(at(8, 4)));
        assert_eq!(findings.exit(), Exit::Done);
    }
}
