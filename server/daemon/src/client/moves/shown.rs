//! What moves, in text for people and in JSON for programs.

use indicatif::HumanBytes;
use serde_json::{Value, json};
use slotkv_proto::v1::{MigrationsReply, MoveStatus, OrderReply, SlotRun};

use crate::client::table::Table;

/// Ended hand-overs that are shown to people.
const ENDED_SHOWN: usize = 10;

/// What was ordered, for people.
pub(super) fn order_to_text(reply: &OrderReply) -> String {
    let mut text = String::new();
    if let (Some(from), Some(to)) = (reply.weight_from, reply.weight_to) {
        match from == to {
            true => text.push_str(&format!("the weight is {to} as before\n")),
            false => text.push_str(&format!("the weight was {from} and is {to} now\n")),
        }
    }
    if reply.resumed {
        text.push_str("what was cancelled goes on\n");
    }
    text.push_str(&moves_to_text(&reply.moves));
    text
}

/// The same for programs.
pub(super) fn order_to_json(reply: &OrderReply) -> Value {
    json!({
        "weight_from": reply.weight_from,
        "weight_to": reply.weight_to,
        "resumed": reply.resumed,
        "moves": moves_to_json(&reply.moves),
    })
}

/// What was cancelled.
pub(super) fn cancelled(ids: &[u64]) -> String {
    match ids {
        [] => "cancelled; no hand-over was open".to_owned(),
        ids => {
            let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
            format!("cancelled; to be aborted if not decided yet: hand-over {}", ids.join(", "))
        }
    }
}

/// How far hand-overs are, for people.
pub(super) fn to_text(reply: &MigrationsReply) -> String {
    let mut text = String::new();
    if !reply.open.is_empty() {
        let head = ["hand-over", "from", "to", "slots", "state", "sent", "behind", "for"];
        let mut table = Table::new(&head);
        for open in &reply.open {
            let state =
                if open.cancelled { format!("{}, cancelled", open.state) } else { open.state.clone() };
            table.row([
                open.id.to_string(),
                open.source.to_string(),
                open.target.to_string(),
                runs_to_text(&open.slots),
                state,
                HumanBytes(open.sent_bytes).to_string(),
                HumanBytes(open.behind_bytes).to_string(),
                format!("{:.1} s", open.age_ms as f64 / 1000.0),
            ]);
        }
        text.push_str(&table.text());
        text.push('\n');
    }
    text.push_str(&moves_to_text(&reply.left));
    let totals = reply.totals.unwrap_or_default();
    if totals.slots + totals.aborted > 0 {
        text.push_str(&format!(
            "moved by this leader: {} slots, {}; {} hand-overs aborted; pause p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms\n",
            totals.slots,
            HumanBytes(totals.bytes),
            totals.aborted,
            totals.pause_us_p50 as f64 / 1000.0,
            totals.pause_us_p99 as f64 / 1000.0,
            totals.pause_us_max as f64 / 1000.0,
        ));
    }
    for ended in reply.ended.iter().rev().take(ENDED_SHOWN).filter(|ended| !ended.moved) {
        text.push_str(&format!(
            "hand-over {} of {} slots from shard {} to shard {} was aborted: {}\n",
            ended.id, ended.slot_count, ended.source, ended.target, ended.why
        ));
    }
    for notice in &reply.notices {
        text.push_str(notice);
        text.push('\n');
    }
    text
}

/// How far hand-overs are, for programs.
pub(super) fn to_json(reply: &MigrationsReply) -> Value {
    let totals = reply.totals.unwrap_or_default();
    let run = |run: &SlotRun| json!([run.first, run.last]);
    json!({
        "table_version": reply.table_version,
        "master_epoch": reply.master_epoch,
        "planned": reply.planned,
        "open": reply.open.iter().map(|open| json!({
            "id": open.id,
            "source": open.source,
            "target": open.target,
            "slots": open.slots.iter().map(run).collect::<Vec<_>>(),
            "slot_count": open.slot_count,
            "state": open.state,
            "sent_bytes": open.sent_bytes,
            "behind_bytes": open.behind_bytes,
            "age_ms": open.age_ms,
            "cancelled": open.cancelled,
        })).collect::<Vec<_>>(),
        "ended": reply.ended.iter().map(|ended| json!({
            "id": ended.id,
            "source": ended.source,
            "target": ended.target,
            "slot_count": ended.slot_count,
            "moved": ended.moved,
            "why": ended.why,
            "bytes": ended.bytes,
            "pause_us": ended.pause_us,
            "failed_count": ended.failed_count,
        })).collect::<Vec<_>>(),
        "left": moves_to_json(&reply.left),
        "notices": reply.notices,
        "held_all": reply.held_all,
        "held_shards": reply.held_shards,
        "weights": reply.weights.iter().map(|one| json!({
            "shard": one.shard,
            "weight": one.weight,
        })).collect::<Vec<_>>(),
        "totals": {
            "slots": totals.slots,
            "bytes": totals.bytes,
            "aborted": totals.aborted,
            "pause_us_p50": totals.pause_us_p50,
            "pause_us_p99": totals.pause_us_p99,
            "pause_us_max": totals.pause_us_max,
        },
    })
}

fn moves_to_json(moves: &[MoveStatus]) -> Value {
    let one = |one: &MoveStatus| json!({ "source": one.source, "target": one.target, "slots": one.slots });
    moves.iter().map(one).collect()
}

fn moves_to_text(moves: &[MoveStatus]) -> String {
    if moves.is_empty() {
        return "nothing is to move\n".to_owned();
    }
    let mut table = Table::new(&["from shard", "to shard", "slots to move"]);
    for one in moves {
        table.row([one.source.to_string(), one.target.to_string(), one.slots.to_string()]);
    }
    table.text()
}

fn runs_to_text(runs: &[SlotRun]) -> String {
    let text = runs.iter().map(|run| match run.first == run.last {
        true => run.first.to_string(),
        false => format!("{}-{}", run.first, run.last),
    });
    text.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::{EndedMigration, MigrationStatus, MovementTotals};

    use super::*;

    #[test]
    fn what_moves_and_what_failed_is_shown_to_people() {
        let reply = MigrationsReply {
            open: vec![MigrationStatus {
                id: 7,
                source: 0,
                target: 2,
                slots: vec![SlotRun { first: 3, last: 5 }, SlotRun { first: 9, last: 9 }],
                state: "copying".into(),
                sent_bytes: 2048,
                age_ms: 1500,
                cancelled: true,
                ..MigrationStatus::default()
            }],
            left: vec![MoveStatus { source: 0, target: 2, slots: 40 }],
            ended: vec![EndedMigration {
                id: 4,
                slot_count: 8,
                why: "it was cancelled".into(),
                ..Default::default()
            }],
            totals: Some(MovementTotals { slots: 8, bytes: 1024, pause_us_p99: 2500, ..Default::default() }),
            notices: vec!["shard 3 has no primary: 2 slots wait for it".into()],
            ..MigrationsReply::default()
        };
        let text = to_text(&reply);
        for part in [
            "3-5,9",
            "copying, cancelled",
            "2.00 KiB",
            "1.5 s",
            "p99 2.5 ms",
            "hand-over 4 of 8 slots from shard 0 to shard 0 was aborted: it was cancelled",
            "2 slots wait for it",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(to_text(&MigrationsReply::default()), "nothing is to move\n");
        let json = to_json(&reply);
        assert_eq!((&json["open"][0]["slots"][0], &json["left"][0]["slots"]), (&json!([3, 5]), &json!(40)));
    }

    #[test]
    fn an_order_tells_what_it_replaced() {
        let reply =
            OrderReply { weight_from: Some(2.0), weight_to: Some(0.0), resumed: true, ..Default::default() };
        let expected = "the weight was 2 and is 0 now\nwhat was cancelled goes on\nnothing is to move\n";
        assert_eq!(order_to_text(&reply), expected);
        assert_eq!(cancelled(&[4, 7]), "cancelled; to be aborted if not decided yet: hand-over 4, 7");
    }
}
