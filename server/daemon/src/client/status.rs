//! `admin status`: the cluster as a master sees it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use slotkv_proto::{table::UNALLOCATED, v1::StatusReply};

use super::{
    connect,
    output::{Output, Reading},
    table::Table,
    watch,
};
use crate::cli::{
    exit::{Exit, Failure},
    flags::StatusFlags,
};

/// `admin status`.
pub(crate) async fn status(flags: StatusFlags) -> Result<Exit, Failure> {
    let client = connect(&flags.client).await?;
    let mut output = Output::new();
    let outcome = watch::show(&flags, &mut output, async || client.status().await, shown).await;
    client.close().await;
    outcome?;
    output.end(Exit::Done)
}

fn shown(status: &StatusReply, as_json: bool, output: &mut Output) -> Reading {
    match as_json {
        true => output.line(&to_json(status).to_string()),
        false => output.bytes(to_text(status).as_bytes()),
    }
}

/// For people.
pub(crate) fn to_text(status: &StatusReply) -> String {
    let mut text = format!(
        "cluster {}  slots {}  table version {}  master epoch {}\n\n",
        status.cluster_id, status.slot_count, status.table_version, status.master_epoch
    );
    let mut masters = Table::new(&["master", "role"]);
    for master in &status.masters {
        masters.row([master.address.clone(), if master.leader { "leader" } else { "standby" }.to_owned()]);
    }
    text.push_str(&masters.text());
    let mut shards = Table::new(&[
        "shard",
        "state",
        "copies",
        "slots",
        "weight",
        "epoch",
        "primary",
        "isr",
        "ack",
        "min isr",
        "durability",
    ]);
    for shard in &status.shards {
        shards.row([
            shard.shard.to_string(),
            shard.state.clone(),
            format!("{}/{}", shard.isr.len(), shard.replicas),
            shard.slots.to_string(),
            shard.weight.to_string(),
            shard.epoch.to_string(),
            dash(&shard.primary),
            dash(&shard.isr.join(",")),
            dash(&shard.ack),
            shard.min_isr.to_string(),
            dash(&shard.durability),
        ]);
    }
    text.push('\n');
    text.push_str(&shards.text());
    for shard in status.shards.iter().filter(|shard| !shard.reason.is_empty()) {
        text.push_str(&format!("shard {}: {}: {}\n", shard.shard, shard.state, shard.reason));
    }
    for (shard, copy) in
        status.shards.iter().flat_map(|shard| shard.copies.iter().map(move |copy| (shard, copy)))
    {
        if !copy.trouble.is_empty() && copy.name != shard.primary {
            text.push_str(&format!("shard {}: {}: {}\n", shard.shard, copy.name, copy.trouble));
        }
    }
    let mut copies = Table::new(&["shard", "replica", "state", "since", "in isr", "zone", "address"]);
    for (shard, copy) in
        status.shards.iter().flat_map(|shard| shard.copies.iter().map(move |copy| (shard, copy)))
    {
        copies.row([
            shard.shard.to_string(),
            copy.name.clone(),
            copy.state.clone(),
            since(copy.since_ms, now_ms()),
            if copy.in_isr { "yes" } else { "no" }.to_owned(),
            dash(&copy.zone),
            dash(&copy.address),
        ]);
    }
    text.push('\n');
    text.push_str(&copies.text());
    let mut members = Table::new(&["member", "shard", "address", "live", "zone", "run"]);
    for member in &status.members {
        members.row([
            member.name.clone(),
            if member.shard == UNALLOCATED { "-".to_owned() } else { member.shard.to_string() },
            dash(&member.address),
            if member.live { "yes" } else { "no" }.to_owned(),
            dash(&member.zone),
            dash(&member.run),
        ]);
    }
    text.push('\n');
    text.push_str(&members.text());
    if !status.notices.is_empty() {
        text.push('\n');
    }
    for notice in &status.notices {
        text.push_str(notice);
        text.push('\n');
    }
    text
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}

/// For how long, by the clocks of this machine and the other's.
fn since(since_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(since_ms) / 1000;
    match seconds {
        _ if since_ms == 0 => "-".to_owned(),
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn dash(cell: &str) -> String {
    if cell.is_empty() { "-".to_owned() } else { cell.to_owned() }
}

/// For programs.
pub(crate) fn to_json(status: &StatusReply) -> Value {
    json!({
        "cluster_id": status.cluster_id,
        "slot_count": status.slot_count,
        "table_version": status.table_version,
        "master_epoch": status.master_epoch,
        "shards_announced": status.shards_announced,
        "masters": status.masters.iter().map(|master| json!({
            "address": master.address,
            "leader": master.leader,
        })).collect::<Vec<_>>(),
        "shards": status.shards.iter().map(|shard| json!({
            "shard": shard.shard,
            "epoch": shard.epoch,
            "state": shard.state,
            "primary": shard.primary,
            "isr": shard.isr,
            "ack": shard.ack,
            "min_isr": shard.min_isr,
            "durability": shard.durability,
            "weight": shard.weight,
            "slots": shard.slots,
            "replicas": shard.replicas,
            "preferred": shard.preferred,
            "reason": shard.reason,
            "loss_epoch": shard.loss_epoch,
            "recover": shard.recover,
            "copies": shard.copies.iter().map(|copy| json!({
                "name": copy.name,
                "state": copy.state,
                "since_ms": copy.since_ms,
                "live": copy.live,
                "in_isr": copy.in_isr,
                "address": copy.address,
                "zone": copy.zone,
                "trouble": copy.trouble,
                "checks": copy.checks,
                "different": copy.different,
                "rotten_slots": copy.rotten_slots,
                "copies_begun": copy.copies_begun,
                "copies_installed": copy.copies_installed,
                "restarts": copy.restarts,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "members": status.members.iter().map(|member| json!({
            "name": member.name,
            "run": member.run,
            "address": member.address,
            "shard": member.shard,
            "live": member.live,
            "zone": member.zone,
        })).collect::<Vec<_>>(),
        "notices": status.notices,
    })
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::{MasterStatus, MemberStatus, ReplicaStatus, ShardStatus};

    use super::*;

    fn status() -> StatusReply {
        StatusReply {
            cluster_id: "c1".into(),
            slot_count: 1024,
            masters: vec![MasterStatus { address: "127.0.0.1:7700".into(), leader: true }],
            shards: vec![ShardStatus {
                shard: 1,
                state: "leader".into(),
                weight: 1.0,
                slots: 1024,
                replicas: 3,
                reason: "1 of 3 copies in sync".into(),
                copies: vec![ReplicaStatus {
                    name: "s1-b".into(),
                    state: "catching up".into(),
                    trouble: "rows have rotted".into(),
                    checks: 3,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            members: vec![MemberStatus { name: "s1-a".into(), live: false, ..Default::default() }],
            notices: vec!["slots do not move yet".into()],
            ..Default::default()
        }
    }

    #[test]
    fn people_see_every_part_and_the_notices() {
        let text = to_text(&status());
        for part in [
            "cluster c1",
            "127.0.0.1:7700  leader",
            "s1-a",
            "no",
            "slots do not move yet",
            "1 of 3 copies in sync",
            "s1-b     catching up",
            "shard 1: s1-b: rows have rotted",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn programs_see_numbers_as_numbers() {
        let json = to_json(&status());
        assert_eq!(json["shards"][0]["slots"], 1024);
        assert_eq!(json["members"][0]["live"], false);
        assert_eq!(json["shards"][0]["copies"][0]["since_ms"], 0);
        assert_eq!(json["shards"][0]["copies"][0]["checks"], 3);
    }

    #[test]
    fn how_long_is_told_in_the_largest_unit_that_says_something() {
        let told = |seconds: u64| since(1000, 1000 + seconds * 1000);
        assert_eq!(
            [0, 119, 120, 7199, 7200, 172_800].map(told),
            ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]
        );
        assert_eq!((since(0, 5000), since(9000, 5000)), ("-".to_owned(), "0 s".to_owned()));
    }
}
