//! Weighted slots, the default placement.
//!
//! Invariants of a plan:
//! - Shard i owns floor or ceiling of `slots * weight_i / sum of weights`; the slots left over by rounding down go to
//!   the largest remainders (Hamilton's method), among equal ones to a shard that would otherwise have to give, then
//!   to the lower id.
//! - A slot moves only if its owner is past its quota or is no longer eligible, so no plan with these quotas moves fewer.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use slotkv_proto::table::{ShardId, UNALLOCATED};

use super::{Placement, PlacementError, eligible};

/// Each shard's share of the slots follows its weight, with the fewest moves that this allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct WeightedSlots;

/// A plan counts weights in steps of the highest weight's 2^40th part, so that quotas are exact and the same on every
/// machine.
const STEPS: f64 = (1u64 << 40) as f64;

impl WeightedSlots {
    /// Name in a cluster's register.
    pub const NAME: &'static str = "weighted";
    /// Weights are relative; any finite number will do.
    pub const WEIGHT_MAX: f64 = f64::MAX;
}

impl Placement for WeightedSlots {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn plan(
        &self,
        weights: &BTreeMap<ShardId, f64>,
        current: &[ShardId],
    ) -> Result<Vec<ShardId>, PlacementError> {
        let eligible = eligible(weights, Self::WEIGHT_MAX)?;
        let mut have: BTreeMap<ShardId, usize> = eligible.iter().map(|&(shard, _)| (shard, 0)).collect();
        for owner in current {
            if let Some(count) = have.get_mut(owner) {
                *count += 1;
            }
        }
        let quota = quotas(&eligible, &have, current.len());

        let mut owners = current.to_vec();
        let mut keeps = quota.clone();
        for owner in &mut owners {
            match keeps.get_mut(owner) {
                Some(left) if *left > 0 => *left -= 1,
                _ => *owner = UNALLOCATED,
            }
        }
        // What is left in `keeps` is what each shard still lacks; there are as many free slots.
        let mut takers = keeps.into_iter().flat_map(|(shard, lacks)| std::iter::repeat_n(shard, lacks));
        for owner in owners.iter_mut().filter(|owner| **owner == UNALLOCATED) {
            *owner = takers.next().unwrap_or(UNALLOCATED);
        }
        Ok(owners)
    }

    /// Shares are of the slots that are left, so that nobody gets less for what stays elsewhere.
    fn plan_around(
        &self,
        weights: &BTreeMap<ShardId, f64>,
        current: &[ShardId],
        fixed: &BTreeSet<ShardId>,
    ) -> Result<Vec<ShardId>, PlacementError> {
        let is_free = |owner: &&ShardId| !fixed.contains(*owner);
        let free: Vec<ShardId> = current.iter().filter(is_free).copied().collect();
        let mut planned = self.plan(weights, &free)?.into_iter();
        let next = |owner: &ShardId| match fixed.contains(owner) {
            true => *owner,
            false => planned.next().unwrap_or(*owner),
        };
        Ok(current.iter().map(next).collect())
    }
}

/// How many of `slots` each shard is to own; the sum is `slots`.
fn quotas(
    eligible: &[(ShardId, f64)],
    have: &BTreeMap<ShardId, usize>,
    slots: usize,
) -> BTreeMap<ShardId, usize> {
    let highest = eligible.iter().map(|&(_, weight)| weight).fold(0.0, f64::max);
    let steps = |weight: f64| ((weight / highest * STEPS).round() as u128).max(1);
    let total: u128 = eligible.iter().map(|&(_, weight)| steps(weight)).sum();

    let mut quota = BTreeMap::new();
    let mut remainders = Vec::with_capacity(eligible.len());
    for &(shard, weight) in eligible {
        let share = slots as u128 * steps(weight);
        let floor = (share / total) as usize;
        quota.insert(shard, floor);
        remainders.push((Reverse(share % total), Reverse(have[&shard] > floor), shard));
    }
    remainders.sort_unstable();
    let left_over = slots - quota.values().sum::<usize>();
    for (_, _, shard) in remainders.into_iter().take(left_over) {
        *quota.entry(shard).or_default() += 1;
    }
    quota
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::placement::runs;

    fn weights(pairs: &[(ShardId, f64)]) -> BTreeMap<ShardId, f64> {
        pairs.iter().copied().collect()
    }

    fn count(owners: &[ShardId]) -> BTreeMap<ShardId, usize> {
        owners.iter().fold(BTreeMap::new(), |mut counts, &owner| {
            *counts.entry(owner).or_default() += 1;
            counts
        })
    }

    fn moved(before: &[ShardId], after: &[ShardId]) -> usize {
        before.iter().zip(after).filter(|(before, after)| before != after).count()
    }

    fn any_weights() -> impl Strategy<Value = BTreeMap<ShardId, f64>> {
        let weight = prop_oneof![
            4 => (1u32..20).prop_map(f64::from),
            1 => Just(0.0),
            1 => 0.0f64..1e-3,
            1 => any::<f64>().prop_map(f64::abs).prop_filter("finite", |weight| weight.is_finite()),
        ];
        prop::collection::btree_map(0..12u32, weight, 1..12)
            .prop_filter("somebody", |weights| weights.values().any(|&weight| weight > 0.0))
    }

    fn any_owners() -> impl Strategy<Value = Vec<ShardId>> {
        (0u32..=9).prop_flat_map(|bits| {
            prop::collection::vec(prop_oneof![9 => 0..16u32, 1 => Just(UNALLOCATED)], 1usize << bits)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_plan_gives_each_shard_its_rounded_share(weights in any_weights(), current in any_owners()) {
            let plan = WeightedSlots.plan(&weights, &current).unwrap();
            prop_assert_eq!(plan.len(), current.len());
            let counts = count(&plan);
            let highest = weights.values().fold(0.0, |a, &b| f64::max(a, b));
            let total: f64 = weights.values().map(|weight| weight / highest).sum();
            for (shard, slots) in &counts {
                let weight = *weights.get(shard).expect("an owner has a weight");
                prop_assert!(weight > 0.0);
                let exact = current.len() as f64 * (weight / highest) / total;
                prop_assert!((*slots as f64 - exact).abs() < 1.0 + 1e-6, "{} slots for {}", slots, exact);
            }
            for (shard, weight) in &weights {
                let exact = current.len() as f64 * (weight / highest) / total;
                prop_assert!(counts.contains_key(shard) || exact < 1.0 + 1e-6);
            }
        }

        #[test]
        fn no_more_slots_move_than_the_quotas_demand(weights in any_weights(), current in any_owners()) {
            let plan = WeightedSlots.plan(&weights, &current).unwrap();
            let (before, after) = (count(&current), count(&plan));
            let demanded: usize = before
                .iter()
                .map(|(shard, had)| had.saturating_sub(after.get(shard).copied().unwrap_or(0)))
                .sum();
            prop_assert_eq!(moved(&current, &plan), demanded);
        }

        #[test]
        fn a_plan_is_final_and_the_same_every_time(weights in any_weights(), current in any_owners()) {
            let plan = WeightedSlots.plan(&weights, &current).unwrap();
            prop_assert_eq!(&WeightedSlots.plan(&weights, &current).unwrap(), &plan);
            prop_assert_eq!(&WeightedSlots.plan(&weights, &plan).unwrap(), &plan);
        }

        #[test]
        fn among_equals_a_join_moves_only_to_the_joiner_and_a_leave_only_from_the_leaver(
            shards in 1u32..40, bits in 0u32..12,
        ) {
            let equals = |count: u32| (0..count).map(|shard| (shard, 1.0)).collect::<BTreeMap<_, _>>();
            let before = WeightedSlots.plan(&equals(shards), &vec![UNALLOCATED; 1 << bits]).unwrap();
            let joined = WeightedSlots.plan(&equals(shards + 1), &before).unwrap();
            let left = WeightedSlots.plan(&equals(shards), &joined).unwrap();
            for slot in 0..before.len() {
                prop_assert!(joined[slot] == before[slot] || joined[slot] == shards);
                prop_assert!(left[slot] == joined[slot] || joined[slot] == shards);
            }
        }
    }

    #[test]
    fn a_first_allocation_is_one_run_per_shard() {
        let plan =
            WeightedSlots.plan(&weights(&[(0, 1.0), (1, 1.0), (2, 1.0)]), &[UNALLOCATED; 1024]).unwrap();
        assert_eq!(runs(&plan), [(0, 341, 0), (342, 682, 1), (683, 1023, 2)]);
    }

    #[test]
    fn weights_count_by_their_ratio_only() {
        let small = WeightedSlots.plan(&weights(&[(3, 1e-300), (5, 3e-300)]), &[UNALLOCATED; 16]).unwrap();
        let large = WeightedSlots.plan(&weights(&[(3, 1e300), (5, 3e300)]), &[UNALLOCATED; 16]).unwrap();
        assert_eq!(runs(&small), [(0, 3, 3), (4, 15, 5)]);
        assert_eq!(small, large);
    }

    #[test]
    fn a_slot_left_over_by_rounding_stays_where_it_is() {
        let third = [[1u32; 6].as_slice(), &[2; 5], &[3; 5]].concat();
        let equal = weights(&[(1, 1.0), (2, 1.0), (3, 1.0)]);
        assert_eq!(WeightedSlots.plan(&equal, &third).unwrap(), third);
        let third = [[1u32; 5].as_slice(), &[2; 5], &[3; 6]].concat();
        assert_eq!(WeightedSlots.plan(&equal, &third).unwrap(), third);
    }

    #[test]
    fn with_more_shards_than_slots_some_own_nothing() {
        let many: BTreeMap<_, _> = (0..8).map(|shard| (shard, 1.0)).collect();
        assert_eq!(WeightedSlots.plan(&many, &[UNALLOCATED; 4]).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn weights_that_are_no_share_are_refused_by_name() {
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            let error =
                WeightedSlots.plan(&weights(&[(0, 1.0), (7, weight)]), &[UNALLOCATED; 4]).unwrap_err();
            assert!(matches!(error, PlacementError::Weight { shard: 7, .. }), "{error}");
        }
        assert_eq!(WeightedSlots.plan(&weights(&[(0, 0.0)]), &[0; 4]), Err(PlacementError::NoShard));
        assert_eq!(WeightedSlots.plan(&weights(&[]), &[0; 4]), Err(PlacementError::NoShard));
    }
}
