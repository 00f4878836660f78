//! `admin check`: whether the cluster is as it should be. Every slot has one owner, no hand-over has left anything, and the
//! replicas of a shard hold the same. Slots that are served empty since an operator has given up what was in them are named, too:
//! they are as they should be now.
//!
//! Replicas can be compared only if they have applied the same record, so while much is written it takes several looks; and what
//! is on its way is given time to arrive.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use slotkv::Client;
use slotkv_proto::{
    table::{ShardId, UNALLOCATED},
    v1::{
        self, HeldSlot, InspectReply, StatusReply, admin_client::AdminClient, held_slot::Hold,
        master_client::MasterClient, replication_client::ReplicationClient,
    },
};
use tokio::time::{Duration, Instant, sleep};

use super::{connect, failure, output::Output};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::CheckFlags,
    },
    members,
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Largest answer of a replica: it tells of 16384 slots at most.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What there is to see at one moment.
struct Look {
    status: StatusReply,
    movements: v1::MigrationsReply,
    /// By slot; [`UNALLOCATED`]: nobody.
    owners: Vec<ShardId>,
    /// By name.
    replicas: BTreeMap<String, InspectReply>,
    /// Replicas that did not answer, and why.
    silent: BTreeMap<String, String>,
}

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

impl Look {
    async fn take(client: &Client, until: Instant) -> Result<Self, Failure> {
        let status = client.status().await.map_err(failure)?;
        let movements = members::ask_leader(client, until, async |mut admin: AdminClient<_>, hello| {
            admin.migrations(v1::MigrationsRequest { hello: Some(hello) }).await
        });
        let movements = movements.await.map_err(failure)?;
        let owners = owners(client, &status).await?;
        let (mut replicas, mut silent) = (BTreeMap::new(), BTreeMap::new());
        for copy in status.shards.iter().flat_map(|shard| &shard.copies).filter(|copy| copy.live) {
            let ask = async |channel, hello| {
                let peers = ReplicationClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
                { peers }.inspect(v1::InspectRequest { hello: Some(hello) }).await
            };
            match members::at(client, &copy.address, ask).await {
                Ok(reply) => drop(replicas.insert(copy.name.clone(), reply)),
                Err(error) => drop(silent.insert(copy.name.clone(), error.to_string())),
            }
        }
        Ok(Self { status, movements, owners, replicas, silent })
    }

    /// Everything that is not as it should be.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let without: Vec<usize> =
            (0..self.owners.len()).filter(|&slot| self.owners[slot] == UNALLOCATED).collect();
        if !without.is_empty() {
            problems.push(format!("{} slots have no owner: {}", without.len(), listed(&without)));
        }
        for open in &self.movements.open {
            let v1::MigrationStatus { id, source, target, slot_count, state, .. } = open;
            problems.push(format!(
                "hand-over {id} of {slot_count} slots from shard {source} to shard {target} is {state}"
            ));
        }
        // Whoever has given its slots away may go.
        for shard in self.status.shards.iter().filter(|shard| shard.slots > 0) {
            if shard.primary.is_empty() {
                problems.push(format!("shard {} has no primary: {}", shard.shard, shard.reason));
            }
            for copy in shard.copies.iter().filter(|copy| copy.in_isr && !copy.live) {
                problems.push(format!("{} counts for shard {} and does not live", copy.name, shard.shard));
            }
            for copy in shard.copies.iter().filter(|copy| copy.live && !copy.trouble.is_empty()) {
                problems.push(format!("{}: {}", copy.name, copy.trouble));
            }
        }
        problems.extend(self.silent.iter().map(|(name, why)| format!("{name} cannot be asked: {why}")));
        self.replicas.values().for_each(|replica| problems.extend(self.of_replica(replica)));
        for (one, other) in self.pairs() {
            if let Some(problem) = self.compare(&one, &other) {
                problems.push(problem);
            }
        }
        problems
    }

    /// What a replica has that it should not, or lacks.
    fn of_replica(&self, replica: &InspectReply) -> Vec<String> {
        let mut slots: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for held in &replica.slots {
            let slot = held.slot as usize;
            let is_ours = self.owners.get(slot) == Some(&replica.shard);
            let wrong = match (held.hold(), is_ours) {
                (Hold::Sealed, _) => "are sealed",
                (Hold::Staging, _) => "are staged",
                (Hold::Cleaning, _) => "are being deleted",
                (Hold::Gone, true) => "belong to its shard and are gone",
                (Hold::Gone, false) if held.count > 0 => "are gone and have rows",
                (Hold::Held, false) if held.count > 0 => "belong to another shard and have rows here",
                _ => continue,
            };
            slots.entry(wrong).or_default().push(slot);
        }
        let text = |(wrong, slots): (&str, Vec<usize>)| {
            format!(
                "{} of shard {}: {} slots {wrong}: {}",
                replica.name,
                replica.shard,
                slots.len(),
                listed(&slots)
            )
        };
        slots.into_iter().map(text).collect()
    }

    /// By shard: its slots whose hand-over was lost, as its replicas say.
    fn lost(&self) -> BTreeMap<ShardId, BTreeSet<u32>> {
        let mut lost: BTreeMap<ShardId, BTreeSet<u32>> = BTreeMap::new();
        for replica in self.replicas.values().filter(|replica| !replica.lost.is_empty()) {
            lost.entry(replica.shard).or_default().extend(&replica.lost);
        }
        lost
    }

    /// Replicas of one shard, by two.
    fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for (at, one) in self.replicas.values().enumerate() {
            for other in self.replicas.values().skip(at + 1).filter(|other| other.shard == one.shard) {
                pairs.push((one.name.clone(), other.name.clone()));
            }
        }
        pairs
    }

    /// Whether two have applied the same record.
    fn is_comparable(&self, one: &str, other: &str) -> bool {
        let at = |name: &str| {
            let found = self.replicas.get(name);
            found.map(|replica| (replica.applied_epoch, replica.applied_index))
        };
        at(one).is_some() && at(one) == at(other)
    }

    fn compare(&self, one: &str, other: &str) -> Option<String> {
        if !self.is_comparable(one, other) {
            return None;
        }
        let slots = |name: &str| -> BTreeMap<usize, HeldSlot> {
            let found = self.replicas.get(name).map_or(&[][..], |replica| &replica.slots);
            found.iter().map(|held| (held.slot as usize, held.clone())).collect()
        };
        let (ours, theirs) = (slots(one), slots(other));
        let all: BTreeSet<usize> = ours.keys().chain(theirs.keys()).copied().collect();
        let different: Vec<usize> =
            all.into_iter().filter(|slot| ours.get(slot) != theirs.get(slot)).collect();
        (!different.is_empty())
            .then(|| format!("{one} and {other} differ in {} slots: {}", different.len(), listed(&different)))
    }
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

/// The owners as the leader has them.
async fn owners(client: &Client, status: &StatusReply) -> Result<Vec<ShardId>, Failure> {
    let leader = status.masters.iter().find(|master| master.leader);
    let leader = leader.ok_or_else(|| Failure::failed("no master leads now"))?;
    let ask = async |channel, hello| {
        let masters = MasterClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        { masters }.get_slot_table(v1::SlotTableRequest { hello: Some(hello), ..Default::default() }).await
    };
    let table = members::at(client, &leader.address, ask).await.map_err(failure)?;
    let mut owners = vec![UNALLOCATED; table.slot_count as usize];
    for v1::SlotRange { first, last, shard } in table.ranges {
        for slot in first..=last {
            if let Some(owner) = owners.get_mut(slot as usize) {
                *owner = shard;
            }
        }
    }
    Ok(owners)
}

/// The first few.
fn listed(slots: &[usize]) -> String {
    let first: Vec<String> = slots.iter().take(10).map(usize::to_string).collect();
    let more = if slots.len() > 10 { ", ..." } else { "" };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::{ReplicaStatus, ShardStatus};

    use super::*;

    fn held(slot: u32, count: u64, hold: Hold) -> HeldSlot {
        HeldSlot { slot, count, hold: hold.into(), ..HeldSlot::default() }
    }

    fn replica(name: &str, shard: u32, applied_index: u64, slots: Vec<HeldSlot>) -> (String, InspectReply) {
        (
            name.to_owned(),
            InspectReply { name: name.into(), shard, applied_index, slots, ..Default::default() },
        )
    }

    fn look(replicas: Vec<(String, InspectReply)>) -> Look {
        let copy = |name: &String| ReplicaStatus { name: name.clone(), live: true, ..Default::default() };
        let shard = ShardStatus {
            primary: "a".into(),
            copies: replicas.iter().map(|(name, _)| copy(name)).collect(),
            ..Default::default()
        };
        Look {
            status: StatusReply { shards: vec![shard], ..Default::default() },
            movements: v1::MigrationsReply::default(),
            owners: vec![0, 0, 1],
            replicas: replicas.into_iter().collect(),
            silent: BTreeMap::new(),
        }
    }

    #[test]
    fn a_cluster_as_it_should_be_has_no_problem() {
        let slots = || vec![held(0, 3, Hold::Held), held(2, 0, Hold::Gone)];
        let look = look(vec![replica("a", 0, 7, slots()), replica("b", 0, 7, slots())]);
        assert_eq!(look.problems(), Vec::<String>::new());
        let mut findings = Findings::default();
        findings.add(&look);
        assert_eq!((findings.exit(), findings.compared.len()), (Exit::Done, 1));
        assert!(findings.text().contains("3 slots have one owner each"));
    }

    #[test]
    fn what_a_hand_over_leaves_is_named() {
        for (slots, part) in [
            (vec![held(1, 0, Hold::Sealed)], "a of shard 0: 1 slots are sealed: 1"),
            (vec![held(2, 0, Hold::Staging)], "are staged: 2"),
            (vec![held(2, 1, Hold::Cleaning)], "are being deleted: 2"),
            (vec![held(0, 0, Hold::Gone)], "belong to its shard and are gone: 0"),
            (vec![held(2, 4, Hold::Held)], "belong to another shard and have rows here: 2"),
        ] {
            let problems = look(vec![replica("a", 0, 7, slots)]).problems();
            assert!(problems.len() == 1 && problems[0].contains(part), "{part}: {problems:?}");
        }
        let mut open = look(vec![]);
        open.movements.open.push(v1::MigrationStatus {
            id: 9,
            state: "copying".into(),
            ..Default::default()
        });
        open.owners[1] = UNALLOCATED;
        let problems = open.problems();
        assert!(
            problems[0].contains("1 slots have no owner: 1") && problems[1].contains("hand-over 9"),
            "{problems:?}"
        );
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
