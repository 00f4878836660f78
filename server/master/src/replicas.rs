//! Replicas: how the copies of a shard stand, for people. What a live replica says of itself stands in its member node; of
//! the others only the register and the list of known members tell.

use std::collections::BTreeSet;

use slotkv_coordination::{
    View,
    registers::{MemberRecord, Primary, ShardRegister},
};
use slotkv_proto::{table::ShardId, v1};

/// What a replica says that leads; "leader, read-only: …" begins so, too.
const LEADS: &str = "leader";
/// What a primary says that is handing its shard to another.
const LEAVES: &str = "handing the lead";
/// What a replica says that takes no writes, before the reason.
const READ_ONLY: &str = "read-only: ";

/// Every state of a shard.
pub const SHARD_STATES: [&str; 7] = [
    "no primary",
    "primary not live",
    "read-only",
    "failing over",
    "taking office",
    "waiting for slots",
    "leader",
];

/// How a shard stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardState {
    pub state: &'static str,
    /// Why it is not as it should be; may be empty.
    pub reason: String,
}

/// The primary, if it says that it is one, or has not said anything yet. The register names the last one for as long as
/// there is no other, and a process that stopped leading lives on.
pub(crate) fn leading<'a>(view: &'a View, register: &ShardRegister) -> Option<&'a MemberRecord> {
    let live = process(view, register.primary.as_ref()?)?;
    let says = live.standing.as_str();
    (says.is_empty() || says.starts_with(LEADS) || says.starts_with(LEAVES)).then_some(live)
}

/// The process of a primary, if it is in touch with the coordinator.
pub(crate) fn process<'a>(view: &'a View, primary: &Primary) -> Option<&'a MemberRecord> {
    view.members.values().find(|live| live.name == primary.name && live.run == primary.run)
}

/// How a shard with so many slots stands.
pub(crate) fn shard_state(view: &View, shard: ShardId, register: &ShardRegister, slots: u32) -> ShardState {
    let state = |state, reason: String| {
        debug_assert!(SHARD_STATES.contains(&state), "{state}");
        ShardState { state, reason }
    };
    let in_sync = register.isr.len();
    let needed = register.min_isr as usize;
    let Some(primary) = &register.primary else {
        return state("no primary", reason_of_replicas(view, shard));
    };
    let Some(live) = process(view, primary) else {
        return state("primary not live", reason_of_replicas(view, shard));
    };
    let says = live.standing.as_str();
    if let Some((_, reason)) = says.split_once(READ_ONLY) {
        return state("read-only", reason.to_owned());
    }
    if in_sync < needed {
        return state("read-only", format!("{in_sync} copies in sync, {needed} needed"));
    }
    if says.starts_with(LEAVES) {
        return state("failing over", says.to_owned());
    }
    if leading(view, register).is_none() {
        // It runs, and the register still names it, but it does not lead any more.
        return state("read-only", format!("{} does not lead any more", primary.name));
    }
    if says.starts_with(LEADS) && says.contains("taking office") {
        return state("taking office", String::new());
    }
    if slots == 0 {
        let drained = if register.weight == 0.0 { "it has weight 0" } else { "" };
        return state("waiting for slots", drained.to_owned());
    }
    let wanted = register.replicas as usize;
    let lacking = (in_sync < wanted).then(|| format!("{in_sync} of {wanted} copies in sync"));
    let trouble = (!live.health.trouble.is_empty()).then(|| live.health.trouble.clone());
    state("leader", lacking.into_iter().chain(trouble).collect::<Vec<_>>().join("; "))
}

/// What the replicas that live say of why there is no primary.
fn reason_of_replicas(view: &View, shard: ShardId) -> String {
    let live = view.members.values().filter(|member| member.shard == Some(shard));
    let reasons = live.filter_map(|member| member.standing.split_once(READ_ONLY));
    reasons.map(|(_, reason)| reason.to_owned()).max().unwrap_or_default()
}

/// Every copy of a shard that is in sync, lives or was ever seen.
pub(crate) fn copies(view: &View, shard: ShardId, register: &ShardRegister) -> Vec<v1::ReplicaStatus> {
    let of_shard = |member: &&MemberRecord| member.shard == Some(shard);
    let known = view.known.values().map(|known| &known.member);
    let members = view.members.values().chain(known).filter(of_shard);
    let in_sync = register.isr.iter().map(|replica| replica.name.as_str());
    let names: BTreeSet<&str> = members.map(|member| member.name.as_str()).chain(in_sync).collect();
    names.into_iter().map(|name| copy(view, shard, register, name)).collect()
}

fn copy(view: &View, shard: ShardId, register: &ShardRegister, name: &str) -> v1::ReplicaStatus {
    let entry = register.isr.iter().find(|replica| replica.name == name);
    let live = view.member(name).filter(|member| member.shard == Some(shard));
    let known = view.known.get(name);
    let last = live.or(known.map(|known| &known.member));
    let counts = |member: &MemberRecord| entry.is_some_and(|entry| entry.inc == member.inc);
    let state = match live {
        Some(live) if !live.standing.is_empty() => live.standing.clone(),
        // A process of a build that says nothing of itself, or that has just begun.
        Some(live) if register.primary.as_ref().is_some_and(|primary| primary.run == live.run) => {
            "leader".to_owned()
        }
        Some(live) if counts(live) => "in sync".to_owned(),
        Some(_) => "catching up".to_owned(),
        None if known.is_some_and(|known| known.left) => "left".to_owned(),
        None => "gone".to_owned(),
    };
    let health = live.map(|live| live.health.clone()).unwrap_or_default();
    v1::ReplicaStatus {
        name: name.to_owned(),
        state,
        since_ms: live.map_or(0, |live| live.since_ms),
        live: live.is_some(),
        in_isr: live.map_or(entry.is_some(), counts),
        address: last
            .map(|member| &member.address)
            .or(entry.map(|entry| &entry.address))
            .cloned()
            .unwrap_or_default(),
        zone: last.map_or_else(String::new, |member| member.zone.clone()),
        trouble: health.trouble,
        checks: health.checks,
        different: health.different,
        rotten_slots: health.rotten_slots,
        copies_begun: health.copies_begun,
        copies_installed: health.copies_installed,
        restarts: health.restarts,
    }
}
