//! Which shard gets which slot. A [`Placement`] is a pure function of weights and present owners: the same arguments
//! give the same plan on every master. [`WeightedSlots`] gives each shard its share to the slot and moves as little
//! as that allows; [`Ring`] puts the shards on a consistent-hash ring, where a plan does not depend on what was before.

mod ring;
mod weighted;

use std::collections::BTreeMap;

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
