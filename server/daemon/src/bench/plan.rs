//! The operations of a run, by workload and distribution (Cooper et al.: "Benchmarking cloud serving systems with YCSB",
//! SoCC 2010). Several plans share a data set: plan `part` of `parts` inserts every `parts`-th index behind it.

use super::{
    chance::{Chance, mix},
    zipfian::Zipfian,
};
use crate::cli::flags::{DistributionName, WorkloadName};

/// Draws for a key that exists, after which any that exists is taken. At least about half of the draws hit one.
const DRAWS_MAX: u32 = 64;

/// One operation on the key of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Get the key.
    Read(u64),
    /// Put a key that exists.
    Update(u64),
    /// Put a key that does not exist yet; tell [`Plan::inserted`] when it is acknowledged.
    Insert(u64),
    /// Scan so many keys in key order from this one on.
    Scan(u64, u32),
    /// Get the key, then put it.
    ReadModifyWrite(u64),
}

impl Operation {
    /// Every kind, in the order of [`Operation::kind`].
    pub const KINDS: [&'static str; 5] = ["read", "update", "insert", "scan", "read-modify-write"];

    /// Which of [`Operation::KINDS`].
    pub fn kind(self) -> usize {
        match self {
            Operation::Read(_) => 0,
            Operation::Update(_) => 1,
            Operation::Insert(_) => 2,
            Operation::Scan(..) => 3,
            Operation::ReadModifyWrite(_) => 4,
        }
    }
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanOptions {
    /// Mix of operations.
    pub workload: WorkloadName,
    /// `None`: the workload's own.
    pub distribution: Option<DistributionName>,
    /// Indexes below this one exist.
    pub records: u64,
    /// How many operations will be taken, about.
    pub operations: u64,
    /// Longest scan.
    pub scan_max: u32,
    /// The same seed makes the same operations.
    pub seed: u64,
    /// Which of the plans, from 0.
    pub part: u64,
    /// How many plans there are.
    pub parts: u64,
}

/// An endless sequence of operations.
#[derive(Debug)]
pub(crate) struct Plan {
    options: PlanOptions,
    distribution: DistributionName,
    chance: Chance,
    zipfian: Zipfian,
    /// Places that favourites are spread over: those of the data set and of the inserts to come. Fixed, since with another
    /// number of places every favourite would be another key.
    places: u64,
    issued: u64,
    /// Own inserts that were acknowledged, oldest first; the others may not be asked for.
    acknowledged: Vec<u64>,
}

impl Plan {
    /// The plan of `options`.
    pub fn new(options: PlanOptions) -> Self {
        let distribution = options.distribution.unwrap_or(match options.workload {
            WorkloadName::D => DistributionName::Latest,
            WorkloadName::Get | WorkloadName::Put => DistributionName::Uniform,
            _ => DistributionName::Zipfian,
        });
        let inserts = match options.workload {
            // A part in twenty, and as many again for chance. No more than records, so that most places are taken.
            WorkloadName::D | WorkloadName::E => (options.operations / 10).min(options.records),
            _ => 0,
        };
        let places = options.records.saturating_add(inserts);
        let ranks = if distribution == DistributionName::Zipfian { places } else { options.records };
        Self {
            options,
            distribution,
            chance: Chance::new(mix(options.seed).wrapping_add(options.part)),
            zipfian: Zipfian::new(ranks),
            places,
            issued: 0,
            acknowledged: Vec::new(),
        }
    }

    /// The distribution in use.
    pub fn distribution(&self) -> DistributionName {
        self.distribution
    }

    /// The next operation.
    pub fn next(&mut self) -> Operation {
        let percent = self.chance.below(100);
        match self.options.workload {
            WorkloadName::A if percent < 50 => Operation::Update(self.choose()),
            WorkloadName::B if percent < 5 => Operation::Update(self.choose()),
            WorkloadName::D | WorkloadName::E if percent < 5 => self.insert(),
            WorkloadName::E => {
                let count = 1 + self.chance.below(u64::from(self.options.scan_max)) as u32;
                Operation::Scan(self.choose(), count)
            }
            WorkloadName::F if percent < 50 => Operation::ReadModifyWrite(self.choose()),
            WorkloadName::Put => Operation::Update(self.choose()),
            _ => Operation::Read(self.choose()),
        }
    }

    /// The key of this index was inserted.
    pub fn inserted(&mut self, index: u64) {
        self.acknowledged.push(index);
        if self.distribution == DistributionName::Latest {
            self.zipfian.grow_to(self.known());
        }
    }

    fn insert(&mut self) -> Operation {
        let index = self.options.records + self.options.part + self.issued * self.options.parts;
        self.issued += 1;
        Operation::Insert(index)
    }

    /// How many keys may be asked for.
    fn known(&self) -> u64 {
        self.options.records + self.acknowledged.len() as u64
    }

    fn choose(&mut self) -> u64 {
        match self.distribution {
            DistributionName::Uniform => self.choose_any(),
            // Scrambled, so that the favourites are spread over slots and shards.
            DistributionName::Zipfian => {
                for _ in 0..DRAWS_MAX {
                    let place = mix(self.zipfian.next(&mut self.chance)) % self.places;
                    if place < self.known() {
                        return self.at(place);
                    }
                }
                self.choose_any()
            }
            DistributionName::Latest => {
                let rank = self.zipfian.next(&mut self.chance);
                self.at(self.known() - 1 - rank)
            }
        }
    }

    fn choose_any(&mut self) -> u64 {
        let place = self.chance.below(self.known());
        self.at(place)
    }

    /// The index at a place: first the data set, then the own inserts.
    fn at(&self, place: u64) -> u64 {
        match place.checked_sub(self.options.records) {
            None => place,
            Some(own) => self.acknowledged[own as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(workload: WorkloadName, distribution: Option<DistributionName>) -> Plan {
        Plan::new(PlanOptions {
            workload,
            distribution,
            records: 1000,
            operations: 20_000,
            scan_max: 100,
            seed: 3,
            part: 1,
            parts: 2,
        })
    }

    fn shares(workload: WorkloadName) -> [u32; 5] {
        let mut plan = plan(workload, None);
        let mut shares = [0; 5];
        for _ in 0..100_000 {
            shares[plan.next().kind()] += 1;
        }
        shares.map(|count| (count + 500) / 1000)
    }

    #[test]
    fn mixes_are_those_of_ycsb() {
        assert_eq!(shares(WorkloadName::A), [50, 50, 0, 0, 0]);
        assert_eq!(shares(WorkloadName::B), [95, 5, 0, 0, 0]);
        assert_eq!(shares(WorkloadName::C), [100, 0, 0, 0, 0]);
        assert_eq!(shares(WorkloadName::D), [95, 0, 5, 0, 0]);
        assert_eq!(shares(WorkloadName::E), [0, 0, 5, 95, 0]);
        assert_eq!(shares(WorkloadName::F), [50, 0, 0, 0, 50]);
        assert_eq!(shares(WorkloadName::Get), [100, 0, 0, 0, 0]);
        assert_eq!(shares(WorkloadName::Put), [0, 100, 0, 0, 0]);
    }

    #[test]
    fn the_same_seed_makes_the_same_operations() {
        let run = |seed| {
            let mut plan = plan(WorkloadName::E, None);
            plan.chance = Chance::new(seed);
            (0..1000).map(|_| plan.next()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn inserts_of_different_parts_never_meet() {
        let indexes = |part| {
            let options = PlanOptions { part, ..plan(WorkloadName::D, None).options };
            let mut plan = Plan::new(options);
            std::iter::from_fn(move || Some(plan.next()))
                .filter_map(|operation| match operation {
                    Operation::Insert(index) => Some(index),
                    _ => None,
                })
                .take(100)
                .collect::<Vec<_>>()
        };
        let (zero, one) = (indexes(0), indexes(1));
        assert!(zero.iter().all(|index| index % 2 == 0 && *index >= 1000 && !one.contains(index)));
    }

    #[test]
    fn only_what_exists_is_asked_for() {
        for distribution in [DistributionName::Uniform, DistributionName::Zipfian, DistributionName::Latest] {
            let mut plan = plan(WorkloadName::D, Some(distribution));
            let mut exists: std::collections::HashSet<u64> = (0..1000).collect();
            for step in 0..20_000 {
                match plan.next() {
                    Operation::Insert(index) if step % 3 == 0 => {
                        exists.insert(index);
                        plan.inserted(index);
                    }
                    Operation::Insert(_) => {}
                    Operation::Read(index) => assert!(exists.contains(&index), "{distribution:?} {index}"),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn favourites_stay_while_keys_are_inserted() {
        let mut plan = plan(WorkloadName::D, Some(DistributionName::Zipfian));
        let favourites = |plan: &mut Plan| {
            let mut counts = std::collections::HashMap::<u64, u32>::new();
            (0..100_000).for_each(|_| *counts.entry(plan.choose()).or_default() += 1);
            let mut keys: Vec<u64> = counts.keys().copied().filter(|key| *key < 1000).collect();
            keys.sort_by_key(|key| std::cmp::Reverse(counts[key]));
            keys.truncate(3);
            keys
        };
        let before = favourites(&mut plan);
        (0..777).for_each(|own| plan.inserted(1001 + 2 * own));
        assert_eq!(favourites(&mut plan), before);
    }

    #[test]
    fn the_latest_distribution_favours_the_last_insert() {
        let mut plan = plan(WorkloadName::D, None);
        plan.inserted(5001);
        let hits = (0..1000).filter(|_| plan.choose() == 5001).count();
        assert!(hits > 100, "{hits}");
    }
}
