//! Consistent hashing (Karger et al., 1997) with virtual nodes in proportion to the weight.
//!
//! Invariants:
//! - The points of a shard depend on its id and its weight alone, and a slot's place on the slot alone. So a shard
//!   that joins or grows only takes slots, and one that leaves or shrinks only gives; nothing moves between others.
//! - The plan does not depend on the present owners.

use std::collections::BTreeMap;

use slotkv_proto::table::ShardId;

use super::{Placement, PlacementError, eligible};

/// Each slot goes to the shard whose point follows it on the ring. Shares follow the weights only roughly, which is the
/// price of never moving a slot between two shards that stay: among shards of weight 1 the standard deviation of a share
/// is about a tenth of it, and of hundreds of shares single ones are off by four tenths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring;

/// Points of a shard of weight 1.
const POINTS_PER_WEIGHT: f64 = 128.0;

impl Ring {
    /// Name in a cluster's register.
    pub const NAME: &'static str = "ring";
    /// Highest weight: points per shard are bounded, and weights are not relative here.
    pub const WEIGHT_MAX: f64 = 16.0;
}

impl Placement for Ring {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn plan(
        &self,
        weights: &BTreeMap<ShardId, f64>,
        current: &[ShardId],
    ) -> Result<Vec<ShardId>, PlacementError> {
        let mut points: Vec<(u64, ShardId)> = Vec::new();
        for (shard, weight) in eligible(weights, Self::WEIGHT_MAX)? {
            let count = (weight * POINTS_PER_WEIGHT).round().max(1.0) as u64;
            points.extend((0..count).map(|number| (point(shard, number), shard)));
        }
        points.sort_unstable();

        // Slots lie on the ring at equal distances and in order, so that the runs of a plan stay long.
        let distance = (1u128 << 64) / current.len().max(1) as u128;
        let owner = |slot: usize| {
            let place = (slot as u128 * distance) as u64;
            points[points.partition_point(|&(at, _)| at < place) % points.len()].1
        };
        Ok((0..current.len()).map(owner).collect())
    }
}

/// Where a shard's point lies: two rounds of SplitMix64's finaliser, so that neighbouring ids and numbers scatter.
fn point(shard: ShardId, number: u64) -> u64 {
    mix(mix(u64::from(shard)) ^ number)
}

fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use slotkv_proto::table::UNALLOCATED;

    use super::*;

    const SLOTS: [ShardId; 1024] = [UNALLOCATED; 1024];

    fn plan(weights: &BTreeMap<ShardId, f64>) -> Vec<ShardId> {
        Ring.plan(weights, &SLOTS).unwrap()
    }

    fn any_weights() -> impl Strategy<Value = BTreeMap<ShardId, f64>> {
        prop::collection::btree_map(0..1000u32, (1u32..64).prop_map(|weight| f64::from(weight) / 4.0), 1..10)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_join_moves_only_to_the_joiner_and_a_leave_only_from_the_leaver(
            weights in any_weights(), weight in 1u32..64,
        ) {
            let mut more = weights.clone();
            more.insert(5000, f64::from(weight) / 4.0);
            let (without, with) = (plan(&weights), plan(&more));
            for (without, with) in without.iter().zip(&with) {
                prop_assert!(with == without || *with == 5000);
            }
        }

        #[test]
        fn a_shard_that_grows_only_takes_and_one_that_shrinks_only_gives(
            weights in any_weights(), which in any::<prop::sample::Index>(), by in 1.0f64..4.0,
        ) {
            let shard = *which.get(&weights.keys().copied().collect::<Vec<_>>());
            let mut grown = weights.clone();
            grown.insert(shard, (weights[&shard] * by).min(Ring::WEIGHT_MAX));
            for (small, large) in plan(&weights).iter().zip(&plan(&grown)) {
                prop_assert!(large == small || *large == shard);
            }
        }

        #[test]
        fn a_plan_depends_on_the_weights_alone(weights in any_weights(), owner in 0..1000u32) {
            let first = plan(&weights);
            prop_assert_eq!(&Ring.plan(&weights, &first).unwrap(), &first);
            prop_assert_eq!(&Ring.plan(&weights, &[owner; 1024]).unwrap(), &first);
            prop_assert!(first.iter().all(|owner| weights.contains_key(owner)));
        }
    }

    #[test]
    fn shares_follow_the_weights_roughly() {
        let weights: BTreeMap<_, _> = [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0)].into();
        let owners = Ring.plan(&weights, &[UNALLOCATED; 16384]).unwrap();
        for (&shard, weight) in &weights {
            let share = owners.iter().filter(|&&owner| owner == shard).count() as f64 / 16384.0;
            let exact = weight / 8.0;
            assert!((share / exact - 1.0).abs() < 0.3, "shard {shard}: {share} of {exact}");
        }
    }

    #[test]
    fn shares_of_equals_deviate_by_a_tenth_as_a_rule() {
        let (mut squares, mut largest, mut count) = (0.0, 0.0f64, 0.0);
        for shards in 2..40u32 {
            let weights: BTreeMap<_, _> = (0..shards).map(|shard| (shard, 1.0)).collect();
            let owners = Ring.plan(&weights, &[UNALLOCATED; 16384]).unwrap();
            for shard in 0..shards {
                let slots = owners.iter().filter(|&&owner| owner == shard).count() as f64;
                let off: f64 = slots * f64::from(shards) / 16384.0 - 1.0;
                (squares, largest, count) = (squares + off * off, largest.max(off.abs()), count + 1.0);
            }
        }
        let deviation = f64::sqrt(squares / count);
        assert!((0.05..0.11).contains(&deviation) && largest < 0.45, "{deviation}, at most {largest}");
    }

    #[test]
    fn every_slot_count_has_a_plan() {
        for bits in 0..=14 {
            let owners = Ring.plan(&[(4, 1.0)].into(), &vec![UNALLOCATED; 1 << bits]).unwrap();
            assert!(owners.iter().all(|&owner| owner == 4));
        }
    }

    #[test]
    fn a_plan_of_this_release_is_a_plan_of_every_release() {
        let owners = Ring.plan(&[(0, 1.0), (1, 1.0), (2, 1.0)].into(), &[UNALLOCATED; 32]).unwrap();
        assert_eq!(owners, GOLDEN);
    }

    #[test]
    fn weights_that_cannot_be_are_refused() {
        for weight in [-1.0, f64::NAN, 16.1] {
            let error = Ring.plan(&[(7, weight)].into(), &SLOTS).unwrap_err();
            assert!(matches!(error, PlacementError::Weight { shard: 7, .. }), "{error}");
        }
        assert_eq!(Ring.plan(&[(7, 0.0)].into(), &SLOTS), Err(PlacementError::NoShard));
    }

    const GOLDEN: [ShardId; 32] =
        [2, 1, 2, 0, 1, 2, 2, 0, 1, 2, 1, 0, 2, 0, 0, 1, 0, 2, 0, 2, 1, 2, 0, 2, 2, 0, 1, 1, 2, 0, 2, 2];
}
