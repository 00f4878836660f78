//! `slot KEY`: the slot of a key, by itself or with who serves it.

use std::time::Duration;

use serde_json::json;
use slotkv::Explain;
use slotkv_proto::{SlotCount, slot as hashing};

use super::{bytes_of, connect, output::Output};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::SlotFlags,
    },
    text::quote,
};

/// How long the primary is tried before the answer says that it is not reached.
const REACH_WAIT: Duration = Duration::from_secs(1);

/// `slot KEY`.
pub(crate) async fn slot(flags: SlotFlags) -> Result<Exit, Failure> {
    let key = bytes_of(&flags.key, flags.escaped)?;
    let mut output = Output::new();
    if let Some(count) = flags.slots {
        let slots = SlotCount::new(count).ok_or_else(|| {
            Failure::usage(format_args!("--slots {count}: wants a power of two up to 16384"))
        })?;
        let (slot, hash_slot) = (hashing::slot(&key, slots), hashing::hash_slot(&key));
        let tag = hashing::hash_tag(&key).map(<[u8]>::to_vec);
        match flags.client.json {
            true => output
                .line(&json!({ "slot": slot, "slot_count": count, "hash_slot": hash_slot }).to_string())?,
            false => output.bytes(about(slot, slots.get(), hash_slot, &tag).as_bytes())?,
        };
        return output.end(Exit::Done);
    }
    let client = connect(&flags.client).await?;
    // So that the answer tells whether the primary can be reached.
    let _ = client.with_deadline(REACH_WAIT).has(&key).await;
    let explain = client.explain(&key);
    client.close().await;
    match flags.client.json {
        true => output.line(&to_json(&explain).to_string())?,
        false => output.bytes(to_text(&explain).as_bytes())?,
    };
    output.end(Exit::Done)
}

fn about(slot: u16, slots: u16, hash_slot: u16, tag: &Option<Vec<u8>>) -> String {
    let mut text = format!("slot       {slot} of {slots} (Redis Cluster: {hash_slot} of 16384)\n");
    if let Some(tag) = tag {
        text.push_str(&format!("hash tag   {}\n", quote(tag)));
    }
    text
}

/// For people.
pub(crate) fn to_text(explain: &Explain) -> String {
    let mut text = about(explain.slot, explain.slot_count, explain.hash_slot, &explain.tag);
    let mut fact = |name: &str, value: String| text.push_str(&format!("{name:<10} {value}\n"));
    match explain.shard {
        Some(shard) => fact("shard", format!("{shard}, epoch {}", explain.epoch)),
        None => fact("shard", "none: the slot is not allocated yet".to_owned()),
    }
    match (&explain.primary, &explain.address) {
        (Some(primary), Some(address)) => {
            let state = if explain.connected { "connected" } else { "not connected" };
            fact("primary", format!("{primary} at {address}, {state}, {} in flight", explain.in_flight));
        }
        _ => fact("primary", "none at the moment".to_owned()),
    }
    if !explain.backups.is_empty() {
        fact("backups", explain.backups.join(", "));
    }
    if !explain.last_error.is_empty() {
        fact("last error", explain.last_error.clone());
    }
    fact("table", format!("version {} of cluster {}", explain.table_version, explain.cluster_id));
    text
}

fn to_json(explain: &Explain) -> serde_json::Value {
    json!({
        "slot": explain.slot,
        "slot_count": explain.slot_count,
        "hash_slot": explain.hash_slot,
        "cluster_id": explain.cluster_id,
        "shard": explain.shard,
        "epoch": explain.epoch,
        "table_version": explain.table_version,
        "primary": explain.primary,
        "address": explain.address,
        "backups": explain.backups,
        "connected": explain.connected,
        "last_error": explain.last_error,
    })
}
