//! `admin status`: the cluster as a master sees it.

use serde_json::{Value, json};
use slotkv_proto::v1::StatusReply;

use super::{connect, failure, output::Output, table::Table};
use crate::cli::{
    exit::{Exit, Failure},
    flags::StatusFlags,
};

/// `admin status`.
pub(crate) async fn status(flags: StatusFlags) -> Result<Exit, Failure> {
    let client = connect(&flags.client).await?;
    let status = client.status().await.map_err(failure);
    client.close().await;
    let status = status?;
    let mut output = Output::new();
    match flags.client.json {
        true => output.line(&to_json(&status).to_string())?,
        false => output.bytes(to_text(&status).as_bytes())?,
    };
    output.end(Exit::Done)
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
    let mut members = Table::new(&["member", "shard", "address", "live", "zone", "run"]);
    for member in &status.members {
        members.row([
            member.name.clone(),
            member.shard.to_string(),
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
    use slotkv_proto::v1::{MasterStatus, MemberStatus, ShardStatus};

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
        for part in ["cluster c1", "127.0.0.1:7700  leader", "s1-a", "no", "slots do not move yet"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn programs_see_numbers_as_numbers() {
        let json = to_json(&status());
        assert_eq!(json["shards"][0]["slots"], 1024);
        assert_eq!(json["members"][0]["live"], false);
    }
}
