//! Order: what operators may want of the movement of slots. An order changes weights and holds, in the registers; the mover reads
//! them there, whoever leads then. Of two orders about one thing the later one holds, and each is told what it replaced.

use std::collections::{BTreeMap, BTreeSet};

use slotkv_coordination::{ClusterView, Error, View, membership::ATTEMPTS_MAX, registers::Holds};
use slotkv_proto::{Code, table::ShardId};

use crate::{
    office::{Office, OfficeError},
    plan::{self, Move},
    wish::Refusal,
};

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// This share of the slots for a shard; `None`: 1 if it has weight 0, else what it has.
    Weight {
        /// Whose.
        shard: ShardId,
        /// Relative to the others'.
        weight: Option<f64>,
    },
    /// What was cancelled shall go on.
    Rebalance {
        /// Only tell what would move.
        dry_run: bool,
    },
    /// No more of that.
    Cancel(Cancel),
}

/// What is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Everything.
    All,
    /// What comes from a shard, and what goes to it.
    Shard(ShardId),
    /// One hand-over; its slots are tried again later.
    One(u64),
}

/// What came of an order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// The weight before.
    pub from: Option<f64>,
    /// The weight now.
    pub to: Option<f64>,
    /// What has to move.
    pub moves: Vec<Move>,
    /// Hand-overs that are to be aborted.
    pub cancelled: Vec<u64>,
    /// Something was cancelled before, and goes on now.
    pub resumed: bool,
}

type Answer = Result<Done, Refusal>;

fn refuse<T>(code: Code, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, text: text.into() })
}

/// Writes down what is wanted, or says why not.
pub(crate) async fn carry_out(
    office: &Office,
    views: &ClusterView,
    order: &Order,
) -> Result<Answer, OfficeError> {
    let mut settled: Option<(Done, Change)> = None;
    for _ in 0..ATTEMPTS_MAX {
        let view = views.refresh().await?;
        let (done, change) = match settled.take() {
            Some(settled) => settled,
            None => match settle(&view, order) {
                Ok(settled) => settled,
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        match write(office, &view, &change).await {
            Ok(()) => {
                // So that whoever asks this master next is told by what was just written.
                let _ = views.refresh().await;
                return Ok(Ok(done));
            }
            Err(OfficeError::Coordinator(Error::BadVersion { .. } | Error::NodeExists { .. })) => {}
            Err(OfficeError::Coordinator(error)) if error.is_unknown() => {}
            Err(error) => return Err(error),
        }
        settled = Some((done, change));
    }
    let text = format!("the registers changed {ATTEMPTS_MAX} times; the order may have been written");
    Ok(refuse(Code::SteppedDown, text))
}

/// What changes in the registers.
#[derive(Clone, Debug, Default, PartialEq)]
struct Change {
    weight: Option<(ShardId, f64)>,
    hold: BTreeSet<ShardId>,
    free: BTreeSet<ShardId>,
    all: Option<bool>,
    abort: BTreeSet<u64>,
}

impl Change {
    /// The holds with it. What is closed is left out; `view` tells what is open.
    fn apply(&self, holds: &Holds, view: &View) -> Option<Holds> {
        let mut next = holds.clone();
        next.shards.extend(&self.hold);
        next.shards.retain(|shard| !self.free.contains(shard));
        if let Some(all) = self.all {
            next.all = all;
        }
        next.ids.extend(&self.abort);
        next.ids.retain(|id| view.slots.migration(*id).is_some());
        if next == *holds {
            return None;
        }
        next.number += 1;
        Some(next)
    }
}

/// Safe to repeat: of what was written already nothing changes any more.
async fn write(office: &Office, view: &View, change: &Change) -> Result<(), OfficeError> {
    if let Some((shard, weight)) = change.weight {
        let Some((mut register, version)) = office.shard(shard).await? else { return Ok(()) };
        if register.weight != weight {
            register.weight = weight;
            office.edit(shard, &register, version).await?;
        }
    }
    let (holds, version) = match office.holds().await? {
        Some((holds, version)) => (holds, Some(version)),
        None => (Holds::default(), None),
    };
    match change.apply(&holds, view) {
        Some(holds) => office.set_holds(&holds, version).await,
        None => Ok(()),
    }
}

fn settle(view: &View, order: &Order) -> Result<(Done, Change), Refusal> {
    match order {
        Order::Rebalance { dry_run: true } => {
            Ok((Done { moves: preview(view, None)?, ..Done::default() }, Change::default()))
        }
        Order::Weight { shard, weight } => settle_weight(view, *shard, *weight),
        Order::Rebalance { dry_run: false } => settle_rebalance(view),
        Order::Cancel(what) => settle_cancel(view, *what),
    }
}

fn settle_weight(view: &View, shard: ShardId, weight: Option<f64>) -> Result<(Done, Change), Refusal> {
    let Some(known) = view.shards.get(&shard) else {
        return refuse(Code::InvalidArgument, format!("there is no shard {shard}"));
    };
    let from = known.register.weight;
    let to = match weight {
        Some(weight) => weight,
        None if from == 0.0 => 1.0,
        None => from,
    };
    if !(to.is_finite() && to >= 0.0) {
        return refuse(
            Code::InvalidArgument,
            format!("weight {to}: a weight is a finite number of at least 0"),
        );
    }
    if to == 0.0 {
        check_drain(view, shard)?;
    }
    let moves = preview(view, Some((shard, to)))?;
    let holds = &view.holds;
    let resumed = holds.has_shard(shard);
    let change =
        Change { weight: Some((shard, to)), free: [shard].into(), all: Some(false), ..Change::default() };
    Ok((Done { from: Some(from), to: Some(to), moves, resumed, ..Done::default() }, change))
}

/// Whether there is anybody to take the slots of a shard.
fn check_drain(view: &View, shard: ShardId) -> Result<(), Refusal> {
    let takers: Vec<_> = view
        .shards
        .iter()
        .filter(|(other, known)| **other != shard && known.register.weight > 0.0)
        .filter(|(other, _)| !view.holds.shards.contains(other))
        .collect();
    if takers.is_empty() {
        let text =
            format!("shard {shard} is the last one with a weight above 0: its slots have nowhere to go");
        return refuse(Code::ReadOnly, text);
    }
    let why: Vec<String> = takers
        .iter()
        .map_while(|(other, known)| Some(format!("shard {other} {}", plan::cannot_take(&known.register)?)))
        .collect();
    match why.len() < takers.len() {
        true => Ok(()),
        false => refuse(Code::ReadOnly, format!("no other shard can take slots now: {}", why.join(", "))),
    }
}

fn settle_rebalance(view: &View) -> Result<(Done, Change), Refusal> {
    let moves = preview(view, None)?;
    let resumed = view.holds.all || !view.holds.shards.is_empty();
    let change = Change { free: view.holds.shards.clone(), all: Some(false), ..Change::default() };
    Ok((Done { moves, resumed, ..Done::default() }, change))
}

fn settle_cancel(view: &View, what: Cancel) -> Result<(Done, Change), Refusal> {
    let open = view.slots.migrations.iter().filter(|one| one.outcome.is_none());
    let is_meant = |id: u64, source: ShardId, target: ShardId| match what {
        Cancel::All => true,
        Cancel::Shard(shard) => source == shard || target == shard,
        Cancel::One(one) => one == id,
    };
    let meant = open.filter(|one| is_meant(one.id, one.source, one.target));
    let cancelled: Vec<u64> = meant.map(|one| one.id).collect();
    let change = match what {
        Cancel::All => Change { all: Some(true), ..Change::default() },
        Cancel::Shard(shard) if !view.shards.contains_key(&shard) => {
            return refuse(Code::InvalidArgument, format!("there is no shard {shard}"));
        }
        Cancel::Shard(shard) => Change { hold: [shard].into(), ..Change::default() },
        Cancel::One(id) => match view.slots.migration(id) {
            None => return refuse(Code::InvalidArgument, format!("no hand-over {id} is open")),
            Some(one) if one.outcome.is_some() => {
                let text = format!("hand-over {id} is decided: it can be moved back only by other weights");
                return refuse(Code::ReadOnly, text);
            }
            Some(_) => Change { abort: [id].into(), ..Change::default() },
        },
    };
    Ok((Done { cancelled, ..Done::default() }, change))
}

fn preview(view: &View, weight: Option<(ShardId, f64)>) -> Result<Vec<Move>, Refusal> {
    if view.slots.version == 0 {
        return Ok(Vec::new());
    }
    let weights: BTreeMap<ShardId, f64> = weight.into_iter().collect();
    plan::preview(view, &weights).or_else(|error| refuse(Code::InvalidArgument, error.to_string()))
}

#[cfg(test)]
mod tests {
    use slotkv_coordination::registers::{Migration, Slots};

    use super::*;

    #[test]
    fn holds_change_only_if_an_order_says_something_new() {
        let holds = Holds { number: 4, shards: [1].into(), ids: [7].into(), ..Holds::default() };
        let one = Migration {
            id: 7,
            slots: vec![(0, 0)],
            source: 0,
            target: 1,
            outcome: None,
            loss_epochs: [0, 0],
        };
        let slots = Slots { version: 8, migrations: vec![one], ..Slots::default() };
        let mut view = View { slots, ..View::default() };
        let hold = |shard| Change { hold: [shard].into(), ..Change::default() };
        assert_eq!(hold(1).apply(&holds, &view), None);
        let both = Holds { number: 5, shards: [1, 2].into(), ..holds.clone() };
        assert_eq!(hold(2).apply(&holds, &view), Some(both));
        let free = Change { free: [1].into(), all: Some(false), ..Change::default() };
        assert_eq!(free.apply(&holds, &view).unwrap().shards, [].into());
        // What is closed is forgotten.
        view.slots.migrations.clear();
        assert_eq!(hold(1).apply(&holds, &view).unwrap().ids, [].into());
    }
}
