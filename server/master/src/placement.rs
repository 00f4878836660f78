//! Which shard gets which slot. A [`Placement`] is a pure function of weights and present owners: the same arguments
//! give the same plan on every master. [`WeightedSlots`] gives each shard its share to the slot and moves as little
//! as that allows; [`Ring`] puts the shards on a consistent-hash ring, where a plan does not depend on what was before.

mod ring;
mod weighted;

use std::collections::{BTreeMap, BTreeSet};

use slotkv_proto::table::{ShardId, UNALLOCATED};

pub use ring::Ring;
pub use weighted::WeightedSlots;

/// The placement of a cluster whose creator names none.
pub const DEFAULT: &str = WeightedSlots::NAME;

/// A way to give slots to shards.
pub trait Placement: Send + Sync + 'static {
    /// The name under which a cluster's register remembers it.
    fn name(&self) -> &'static str;

    /// The new owner of each slot. `current` holds the present ones, [`UNALLOCATED`] where there is none; shards that
    /// `weights` does not name, or names with weight 0, own nothing afterwards.
    fn plan(
        &self,
        weights: &BTreeMap<ShardId, f64>,
        current: &[ShardId],
    ) -> Result<Vec<ShardId>, PlacementError>;

    /// The same while the slots of some shards, which `weights` does not name, stay where they are.
    fn plan_around(
        &self,
        weights: &BTreeMap<ShardId, f64>,
        current: &[ShardId],
        fixed: &BTreeSet<ShardId>,
    ) -> Result<Vec<ShardId>, PlacementError> {
        let mut owners = self.plan(weights, current)?;
        for (owner, present) in owners.iter_mut().zip(current).filter(|(_, present)| fixed.contains(*present))
        {
            *owner = *present;
        }
        Ok(owners)
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlacementError {
    /// Nobody to give slots to.
    #[error("no shard has a weight above 0")]
    NoShard,
    /// A weight that is no share of anything.
    #[error("shard {shard} has weight {weight}; a weight is a number from 0 to {max}")]
    Weight {
        /// Whose weight.
        shard: ShardId,
        /// The weight.
        weight: f64,
        /// The highest that this placement takes.
        max: f64,
    },
    /// A cluster's register names a placement of another release.
    #[error("no placement is called {0:?}; this build knows {weighted:?} and {ring:?}", weighted = WeightedSlots::NAME, ring = Ring::NAME)]
    Unknown(String),
}

/// The placement of that name.
pub fn by_name(name: &str) -> Result<Box<dyn Placement>, PlacementError> {
    match name {
        WeightedSlots::NAME => Ok(Box::new(WeightedSlots)),
        Ring::NAME => Ok(Box::new(Ring)),
        _ => Err(PlacementError::Unknown(name.to_owned())),
    }
}

/// Owners as a register holds them: runs of (first slot, last slot, shard), unallocated slots left out.
pub fn runs(owners: &[ShardId]) -> Vec<(u16, u16, ShardId)> {
    let mut runs: Vec<(u16, u16, ShardId)> = Vec::new();
    for (slot, &shard) in (0u16..).zip(owners) {
        match runs.last_mut() {
            _ if shard == UNALLOCATED => {}
            Some((_, last, owner)) if *owner == shard && *last + 1 == slot => *last = slot,
            _ => runs.push((slot, slot, shard)),
        }
    }
    runs
}

/// The shards that may own slots, once every weight is known to be a number from 0 to `max`.
fn eligible(weights: &BTreeMap<ShardId, f64>, max: f64) -> Result<Vec<(ShardId, f64)>, PlacementError> {
    for (&shard, &weight) in weights {
        if shard == UNALLOCATED || !(0.0..=max).contains(&weight) {
            return Err(PlacementError::Weight { shard, weight, max });
        }
    }
    let eligible: Vec<_> =
        weights.iter().map(|(&shard, &weight)| (shard, weight)).filter(|&(_, weight)| weight > 0.0).collect();
    if eligible.is_empty() { Err(PlacementError::NoShard) } else { Ok(eligible) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// For a plan of an optimised build; without optimisation a ring takes twenty times as long.
    const PLAN_MAX: Duration = Duration::from_millis(100);

    /// Slots that come to a shard, that it gives, and that move between others.
    fn moved(before: &[ShardId], after: &[ShardId], shard: ShardId) -> (usize, usize, usize) {
        let moves = before.iter().zip(after).filter(|(before, after)| before != after);
        let (mut to, mut from, mut other) = (0, 0, 0);
        for (before, after) in moves {
            match (*before == shard, *after == shard) {
                (_, true) => to += 1,
                (true, _) => from += 1,
                _ => other += 1,
            }
        }
        (to, from, other)
    }

    #[test]
    fn among_a_thousand_shards_only_what_must_move_moves() {
        static SLOTS: [ShardId; 16384] = [UNALLOCATED; 16384];
        for placement in [by_name(WeightedSlots::NAME).unwrap(), by_name(Ring::NAME).unwrap()] {
            let name = placement.name();
            let weights: BTreeMap<ShardId, f64> = (0..1000).map(|shard| (shard, 1.0)).collect();
            let plan = |weights: &BTreeMap<ShardId, f64>, current: &[ShardId]| {
                let begin = Instant::now();
                let owners = placement.plan(weights, current).unwrap();
                let duration = begin.elapsed();
                println!("{name}: {duration:?}");
                assert!(cfg!(debug_assertions) || duration < PLAN_MAX, "{name}: {duration:?}");
                owners
            };
            let first = plan(&weights, &SLOTS);

            let mut joined = weights.clone();
            joined.insert(1000, 1.0);
            let with = plan(&joined, &first);
            let (to, from, other) = moved(&first, &with, 1000);
            assert!((8..=32).contains(&to) && (from, other) == (0, 0), "{name}: {to} {from} {other}");

            // Weight 0 is a drain.
            let drained: BTreeMap<_, _> = joined
                .iter()
                .map(|(shard, weight)| (*shard, if *shard == 7 { 0.0 } else { *weight }))
                .collect();
            let without = plan(&drained, &with);
            let (to, from, other) = moved(&with, &without, 7);
            let had = with.iter().filter(|owner| **owner == 7).count();
            assert!(to == 0 && from == had && other == 0, "{name}: {to} {from} {other} of {had}");

            let mut heavier = drained.clone();
            heavier.insert(8, 3.0);
            let grown = plan(&heavier, &without);
            let (to, from, other) = moved(&without, &grown, 8);
            assert!(to >= 16 && from == 0, "{name}: {to} {from} {other}");
            assert!(other <= 1000 / 8, "{name}: {other} slots move for rounding alone");
        }
    }
}
