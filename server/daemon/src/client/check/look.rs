//! Look: what the leader, the table of slots and every replica say at one moment, and what of it is not as it should be.
//!
//! A slot is served by table and log together (protocol.md rules 14 to 16), so that it has one owner is shown by both: the log of
//! the shard that the table names has it in the tenure which the table names, and no other log has it at all.

use std::collections::{BTreeMap, BTreeSet};

use slotkv::Client;
use slotkv_coordination::{
    paths,
    registers::{Register, Slots},
};
use slotkv_proto::{
    table::{ShardId, UNALLOCATED},
    v1::{
        self, HeldSlot, InspectReply, StatusReply, admin_client::AdminClient, held_slot::Hold,
        replication_client::ReplicationClient,
    },
};
use tokio::time::Instant;

use super::listed;
use crate::{cli::exit::Failure, client::failure, members};

/// Largest answer of a replica: it tells of 16384 slots at most.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Who owns a slot, as the leader has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// [`UNALLOCATED`]: nobody.
    pub shard: ShardId,
    /// Since which hand-over; 0: since the slots were given out.
    pub tenure: u64,
}

/// What there is to see at one moment.
pub(super) struct Look {
    pub status: StatusReply,
    pub movements: v1::MigrationsReply,
    /// By slot.
    pub owners: Vec<Owner>,
    /// By name.
    pub replicas: BTreeMap<String, InspectReply>,
    /// Replicas that did not answer, and why.
    pub silent: BTreeMap<String, String>,
}

impl Look {
    pub async fn take(client: &Client, until: Instant) -> Result<Self, Failure> {
        let status = client.status().await.map_err(failure)?;
        let movements = members::ask_leader(client, until, async |mut admin: AdminClient<_>, hello| {
            admin.migrations(v1::MigrationsRequest { hello: Some(hello) }).await
        });
        let movements = movements.await.map_err(failure)?;
        let owners = owners(client, until, status.slot_count as usize).await?;
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
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let without: Vec<usize> =
            (0..self.owners.len()).filter(|&slot| self.owners[slot].shard == UNALLOCATED).collect();
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
        let held: BTreeMap<usize, &HeldSlot> =
            replica.slots.iter().map(|held| (held.slot as usize, held)).collect();
        let is_behind = self.is_behind(replica);
        let mut slots: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let all: BTreeSet<usize> = held.keys().copied().chain(0..self.owners.len()).collect();
        for slot in all {
            let owner = self.owners.get(slot).filter(|owner| owner.shard == replica.shard);
            let wrong = match (held.get(&slot), owner) {
                (held, Some(owner)) if !is_behind => of_owner(held.copied(), owner.tenure),
                (None, _) => None,
                (Some(held), Some(_)) => unfinished(held.hold()),
                (Some(held), None) => of_other(held),
            };
            if let Some(wrong) = wrong {
                slots.entry(wrong).or_default().push(slot);
            }
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

    /// Whether it has not applied what the primary of its shard has. What it lacks is on its way; if that never arrives, the two
    /// are named as not compared.
    fn is_behind(&self, replica: &InspectReply) -> bool {
        let shard = self.status.shards.iter().find(|shard| shard.shard == replica.shard);
        let primary = shard.map_or("", |shard| &shard.primary);
        primary != replica.name
            && self.replicas.contains_key(primary)
            && !self.is_comparable(primary, &replica.name)
    }

    /// By shard: its slots whose hand-over was lost, as its replicas say.
    pub fn lost(&self) -> BTreeMap<ShardId, BTreeSet<u32>> {
        let mut lost: BTreeMap<ShardId, BTreeSet<u32>> = BTreeMap::new();
        for replica in self.replicas.values().filter(|replica| !replica.lost.is_empty()) {
            lost.entry(replica.shard).or_default().extend(&replica.lost);
        }
        lost
    }

    /// Replicas of one shard, by two.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for (at, one) in self.replicas.values().enumerate() {
            for other in self.replicas.values().skip(at + 1).filter(|other| other.shard == one.shard) {
                pairs.push((one.name.clone(), other.name.clone()));
            }
        }
        pairs
    }

    /// Whether two have applied the same record.
    pub fn is_comparable(&self, one: &str, other: &str) -> bool {
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

/// What is wrong with a slot of the replica's own shard, which has it in this tenure. `None` of `held`: there is no row of it, and
/// the log says nothing of it, as is right for an empty one that was never handed over.
fn of_owner(held: Option<&HeldSlot>, tenure: u64) -> Option<&'static str> {
    match held {
        None if tenure == 0 => None,
        None => Some("belong to its shard by a hand-over that its log does not have"),
        Some(held) => match held.hold() {
            Hold::Held if held.tenure == tenure => None,
            Hold::Held => Some("belong to its shard by another hand-over than its log says"),
            Hold::Gone => Some("belong to its shard and are gone"),
            hold => unfinished(hold),
        },
    }
}

/// What is wrong with a slot of another shard of which there is something here, be it a sentence of the log.
fn of_other(held: &HeldSlot) -> Option<&'static str> {
    match held.hold() {
        Hold::Held => Some("belong to another shard and are held here"),
        Hold::Gone => (held.count > 0).then_some("are gone and have rows"),
        hold => unfinished(hold),
    }
}

fn unfinished(hold: Hold) -> Option<&'static str> {
    match hold {
        Hold::Sealed => Some("are sealed"),
        Hold::Staging => Some("are staged"),
        Hold::Cleaning => Some("are being deleted"),
        Hold::Held | Hold::Gone => None,
    }
}

/// The owners as the leader has them.
async fn owners(client: &Client, until: Instant, slot_count: usize) -> Result<Vec<Owner>, Failure> {
    let register = members::ask_leader(client, until, async |mut admin: AdminClient<_>, hello| {
        admin.slots(v1::SlotsRequest { hello: Some(hello) }).await
    });
    let register = register.await.map_err(failure)?.register;
    let slots = Slots::decode(paths::SLOTS, &register).map_err(Failure::failed)?;
    Ok(by_slot(&slots, slot_count))
}

fn by_slot(slots: &Slots, slot_count: usize) -> Vec<Owner> {
    let table = slots.to_table().owners;
    let mut owners: Vec<Owner> =
        table.iter().map(|owner| Owner { shard: owner.shard, tenure: owner.tenure.0 }).collect();
    owners.resize(slot_count, Owner { shard: UNALLOCATED, tenure: 0 });
    owners
}

#[cfg(test)]
pub(super) mod tests {
    use slotkv_proto::v1::{ReplicaStatus, ShardStatus};

    use super::*;

    pub fn held(slot: u32, count: u64, hold: Hold) -> HeldSlot {
        HeldSlot { slot, count, hold: hold.into(), ..HeldSlot::default() }
    }

    fn since(tenure: u64, held: HeldSlot) -> HeldSlot {
        HeldSlot { tenure, ..held }
    }

    pub fn replica(
        name: &str,
        shard: u32,
        applied_index: u64,
        slots: Vec<HeldSlot>,
    ) -> (String, InspectReply) {
        (
            name.to_owned(),
            InspectReply { name: name.into(), shard, applied_index, slots, ..Default::default() },
        )
    }

    /// Three slots that were never handed over: 0 and 1 are of shard 0, which `a` leads, 2 is of shard 1, which `z` leads.
    pub fn look(replicas: Vec<(String, InspectReply)>) -> Look {
        let status = |shard: ShardId, primary: &str| {
            let copies = replicas.iter().filter(|(_, reply)| reply.shard == shard);
            let copy = |(name, _): &(String, InspectReply)| ReplicaStatus {
                name: name.clone(),
                live: true,
                ..Default::default()
            };
            let copies = copies.map(copy).collect();
            ShardStatus { shard, slots: 1, primary: primary.into(), copies, ..Default::default() }
        };
        Look {
            status: StatusReply { shards: vec![status(0, "a"), status(1, "z")], ..Default::default() },
            movements: v1::MigrationsReply::default(),
            owners: [0, 0, 1].map(|shard| Owner { shard, tenure: 0 }).to_vec(),
            replicas: replicas.into_iter().collect(),
            silent: BTreeMap::new(),
        }
    }

    #[test]
    fn a_cluster_as_it_should_be_has_no_problem() {
        let slots = || vec![held(0, 3, Hold::Held), since(8, held(2, 0, Hold::Gone))];
        let mut look = look(vec![
            replica("a", 0, 7, slots()),
            replica("b", 0, 7, slots()),
            replica("z", 1, 4, vec![since(8, held(2, 0, Hold::Held))]),
        ]);
        look.owners[2].tenure = 8;
        assert_eq!(look.problems(), Vec::<String>::new());
    }

    /// The problems of a cluster whose slot 2 has gone to shard 1 by hand-over 8, where shard 0 and shard 1 say this of it.
    fn problems(zero: Option<HeldSlot>, one: Option<HeldSlot>) -> Vec<String> {
        let own = held(0, 3, Hold::Held);
        let zero = vec![own].into_iter().chain(zero).collect();
        let mut look = look(vec![replica("a", 0, 7, zero), replica("z", 1, 4, one.into_iter().collect())]);
        look.owners[2].tenure = 8;
        look.problems()
    }

    #[test]
    fn a_slot_that_nobody_serves_is_named() {
        let gone = || Some(since(8, held(2, 0, Hold::Gone)));
        let here = |tenure, hold| Some(since(tenure, held(2, 0, hold)));
        assert_eq!(problems(gone(), here(8, Hold::Held)), Vec::<String>::new());
        for (one, part) in [
            (None, "1 slots belong to its shard by a hand-over that its log does not have: 2"),
            (here(5, Hold::Held), "1 slots belong to its shard by another hand-over than its log says: 2"),
            (here(9, Hold::Held), "1 slots belong to its shard by another hand-over than its log says: 2"),
            (here(5, Hold::Gone), "1 slots belong to its shard and are gone: 2"),
            (here(8, Hold::Staging), "1 slots are staged: 2"),
            (here(9, Hold::Sealed), "1 slots are sealed: 2"),
        ] {
            assert_eq!(problems(gone(), one), [format!("z of shard 1: {part}")]);
        }
    }

    #[test]
    fn a_second_holder_is_named_though_its_slot_is_empty() {
        let right = || Some(since(8, held(2, 0, Hold::Held)));
        for (zero, part) in [
            (since(5, held(2, 0, Hold::Held)), "belong to another shard and are held here"),
            (held(2, 4, Hold::Held), "belong to another shard and are held here"),
            (since(8, held(2, 1, Hold::Gone)), "are gone and have rows"),
            (since(9, held(2, 0, Hold::Staging)), "are staged"),
        ] {
            assert_eq!(problems(Some(zero), right()), [format!("a of shard 0: 1 slots {part}: 2")]);
        }
    }

    #[test]
    fn what_a_copy_lacks_counts_once_it_has_applied_what_the_primary_has() {
        let at = |index| {
            let slots = vec![since(8, held(0, 0, Hold::Held))];
            let mut look = look(vec![replica("a", 0, 7, slots), replica("b", 0, index, vec![])]);
            look.owners[0].tenure = 8;
            look.problems()
        };
        assert_eq!(at(6), Vec::<String>::new());
        let problems = at(7);
        assert!(problems[0].starts_with("b of shard 0: 1 slots belong to its shard by a"), "{problems:?}");
        assert!(problems[1].contains("a and b differ in 1 slots: 0"), "{problems:?}");
    }

    #[test]
    fn what_a_hand_over_leaves_is_named() {
        for (slots, part) in [
            (vec![held(1, 0, Hold::Sealed)], "a of shard 0: 1 slots are sealed: 1"),
            (vec![held(2, 0, Hold::Staging)], "are staged: 2"),
            (vec![held(2, 1, Hold::Cleaning)], "are being deleted: 2"),
            (vec![held(0, 0, Hold::Gone)], "belong to its shard and are gone: 0"),
            (vec![held(7, 4, Hold::Held)], "belong to another shard and are held here: 7"),
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
        open.owners[1].shard = UNALLOCATED;
        let problems = open.problems();
        assert!(
            problems[0].contains("1 slots have no owner: 1") && problems[1].contains("hand-over 9"),
            "{problems:?}"
        );
    }

    #[test]
    fn the_register_says_who_owns_each_slot_and_since_when() {
        let slots = Slots {
            version: 9,
            owners: vec![(0, 1, 0), (3, 3, 1)],
            tenures: vec![(1, 1, 8)],
            ..Slots::default()
        };
        let owners: Vec<_> =
            by_slot(&slots, 6).into_iter().map(|owner| (owner.shard, owner.tenure)).collect();
        let nobody = (UNALLOCATED, 0);
        assert_eq!(owners, [(0, 0), (0, 8), nobody, (1, 0), nobody, nobody]);
    }
}
