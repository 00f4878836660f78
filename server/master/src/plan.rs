//! Plan: who is to own each slot. The placement says it by the shards' weights; what cannot move now stays until it can.
//!
//! Invariants:
//! - A shard that owns slots counts with its weight, whether it has a primary or not: a fail-over changes no plan. One that owns
//!   none counts once it could take some.
//! - A slot is wanted elsewhere only if its shard has a primary, and the other one a primary and enough copies in sync.
//! - Shards that operators hold neither give nor get; the others share what is left.
//! - Hand-overs in flight count as done, so that a plan which changes meanwhile does not take them back for rounding alone.

use std::collections::{BTreeMap, BTreeSet};

use slotkv_coordination::{
    View,
    registers::{Holds, ShardRegister, Slots},
};
use slotkv_migration::{Outcome, Table};
use slotkv_proto::table::{ShardId, UNALLOCATED};

use crate::placement::{self, PlacementError};

/// Slots that go from one shard to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Who gives.
    pub source: ShardId,
    /// Who gets.
    pub target: ShardId,
    /// How many.
    pub slots: usize,
}

/// Who is to own each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By slot, in the end.
    pub goal: Vec<ShardId>,
    /// By slot, for now: what cannot move stays.
    pub now: Vec<ShardId>,
    /// Why some cannot, and how many slots wait for that.
    pub waiting: BTreeMap<String, usize>,
}

/// Plans, and keeps the plan for as long as what it is made of stays the same.
#[derive(Debug, Default)]
pub struct Planner {
    /// Shards that could take slots once.
    seen: BTreeSet<ShardId>,
    made: Option<(Basis, Result<Vec<ShardId>, PlacementError>)>,
}

/// What a plan is made of, but for the present owners.
#[derive(Clone, Debug, PartialEq)]
struct Basis {
    placement: String,
    weights: BTreeMap<ShardId, f64>,
    fixed: BTreeSet<ShardId>,
    slots: usize,
}

impl Planner {
    /// What is wanted by the shards of this view, of a table that may be newer.
    pub fn wanted(&mut self, view: &View, table: &Table, holds: &Holds) -> Result<Wanted, PlacementError> {
        let Some(cluster) = &view.cluster else { return Ok(Wanted::default()) };
        let current = bound_for(table);
        let basis = self.basis(view, &cluster.placement, &current, holds);
        if self.made.as_ref().is_none_or(|(made_of, _)| *made_of != basis) {
            let goal = make(&basis, &current);
            self.made = Some((basis, goal));
        }
        let goal = match &self.made {
            Some((_, goal)) => goal.clone()?,
            None => current,
        };
        let (now, waiting) = possible(view, table, &goal);
        Ok(Wanted { goal, now, waiting })
    }

    fn basis(&mut self, view: &View, placement: &str, current: &[ShardId], holds: &Holds) -> Basis {
        let owning: BTreeSet<ShardId> = current.iter().copied().collect();
        let ready = view.shards.iter().filter(|(_, known)| cannot_take(&known.register).is_none());
        self.seen.extend(ready.map(|(shard, _)| *shard));
        let counts = |shard: &ShardId| owning.contains(shard) || self.seen.contains(shard);
        let shards = view.shards.iter().filter(|(shard, _)| counts(shard));
        let (held, free): (Vec<_>, Vec<_>) = shards.partition(|(shard, _)| holds.has_shard(**shard));
        // A shard whose register cannot be read keeps what it has.
        let unknown = owning.iter().filter(|shard| !view.shards.contains_key(shard)).copied();
        Basis {
            placement: placement.to_owned(),
            weights: free.into_iter().map(|(shard, known)| (*shard, known.register.weight)).collect(),
            fixed: held.into_iter().map(|(shard, _)| *shard).chain(unknown).collect(),
            slots: current.len(),
        }
    }
}

/// What would move if operators held nothing, by these weights in the place of some shards' own.
pub fn preview(view: &View, weights: &BTreeMap<ShardId, f64>) -> Result<Vec<Move>, PlacementError> {
    let mut view = view.clone();
    for (shard, weight) in weights {
        if let Some(known) = view.shards.get_mut(shard) {
            known.register.weight = *weight;
        }
    }
    let table = view.slots.to_table();
    let wanted = Planner::default().wanted(&view, &table, &Holds::default())?;
    Ok(moves(&bound_for(&table), &wanted.goal))
}

/// What has to move so that the goal is reached, hand-overs in flight included.
pub fn left(slots: &Slots, goal: &[ShardId]) -> Vec<Move> {
    let owners: Vec<ShardId> = slots.to_table().owners.iter().map(|owner| owner.shard).collect();
    moves(&owners, goal)
}

/// The weight of every shard.
pub fn weights(view: &View) -> BTreeMap<ShardId, f64> {
    view.shards.iter().map(|(shard, known)| (*shard, known.register.weight)).collect()
}

/// Why a shard can take no slots now.
pub fn cannot_take(register: &ShardRegister) -> Option<String> {
    let (in_sync, needed) = (register.isr.len(), register.min_isr as usize);
    match register.primary {
        None => Some("has no primary".to_owned()),
        Some(_) if in_sync < needed => Some(format!("has {in_sync} of {needed} needed copies in sync")),
        Some(_) => None,
    }
}

/// Who owns each slot once what is in flight has moved.
fn bound_for(table: &Table) -> Vec<ShardId> {
    let mut owners: Vec<ShardId> = table.owners.iter().map(|owner| owner.shard).collect();
    for migration in table.migrations.iter().filter(|migration| migration.outcome != Some(Outcome::Aborted)) {
        for slot in &migration.slots {
            if let Some(owner) = owners.get_mut(usize::from(*slot)) {
                *owner = migration.target;
            }
        }
    }
    owners
}

fn make(basis: &Basis, current: &[ShardId]) -> Result<Vec<ShardId>, PlacementError> {
    if basis.weights.is_empty() {
        return Ok(current.to_vec());
    }
    placement::by_name(&basis.placement)?.plan_around(&basis.weights, current, &basis.fixed)
}

/// The goal, but for what cannot move now; and why it cannot.
fn possible(view: &View, table: &Table, goal: &[ShardId]) -> (Vec<ShardId>, BTreeMap<String, usize>) {
    let no_source: BTreeMap<ShardId, String> = view
        .shards
        .iter()
        .filter(|(_, known)| known.register.primary.is_none())
        .map(|(shard, _)| (*shard, format!("shard {shard} has no primary")))
        .collect();
    let no_target: BTreeMap<ShardId, String> = view
        .shards
        .iter()
        .filter_map(|(shard, known)| Some((*shard, cannot_take(&known.register)?)))
        .map(|(shard, why)| (shard, format!("shard {shard} {why}")))
        .collect();
    let mut waiting: BTreeMap<String, usize> = BTreeMap::new();
    let now = table.owners.iter().zip(goal).map(|(owner, &wanted)| {
        let source = owner.shard;
        if source == wanted || source == UNALLOCATED || wanted == UNALLOCATED {
            return source;
        }
        match no_source.get(&source).or_else(|| no_target.get(&wanted)) {
            Some(why) => {
                match waiting.get_mut(why) {
                    Some(count) => *count += 1,
                    None => drop(waiting.insert(why.clone(), 1)),
                }
                source
            }
            None => wanted,
        }
    });
    (now.collect(), waiting)
}

fn moves(owners: &[ShardId], goal: &[ShardId]) -> Vec<Move> {
    let mut counts: BTreeMap<(ShardId, ShardId), usize> = BTreeMap::new();
    for (&source, &target) in owners.iter().zip(goal).filter(|(source, target)| source != target) {
        *counts.entry((source, target)).or_default() += 1;
    }
    counts.into_iter().map(|((source, target), slots)| Move { source, target, slots }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use slotkv_coordination::{
        registers::{Cluster, MemberRecord, Primary, Replica, Role},
        view::ShardView,
    };
    use slotkv_migration::{Id, Migration};

    use super::*;

    fn register(weight: f64) -> ShardRegister {
        let replica = Replica { name: "w".into(), inc: "i".into(), run: "r".into(), address: "a:1".into() };
        ShardRegister {
            epoch: 1,
            primary: Some(Primary { name: "w".into(), run: "r".into(), address: "a:1".into() }),
            isr: vec![replica],
            ack: Default::default(),
            min_isr: 1,
            replicas: 1,
            preferred: None,
            durability: Default::default(),
            weight,
            loss_epoch: 0,
            recover: None,
        }
    }

    fn view(placement: &str, slot_count: u32, weights: &[f64]) -> View {
        let cluster_id = "c".to_owned();
        let placement = placement.to_owned();
        let mut view = View {
            cluster: Some(Cluster { cluster_id, slot_count, shards_announced: 1, placement }),
            slots: Slots { version: 1, owners: vec![(0, slot_count as u16 - 1, 0)], ..Slots::default() },
            ..View::default()
        };
        for (shard, weight) in (0..).zip(weights) {
            view.shards.insert(shard, ShardView { register: register(*weight), version: 0 });
        }
        view
    }

    fn wanted(planner: &mut Planner, view: &View) -> Wanted {
        planner.wanted(view, &view.slots.to_table(), &view.holds).unwrap()
    }

    fn counts(owners: &[ShardId], shards: u32) -> Vec<usize> {
        (0..shards).map(|shard| owners.iter().filter(|owner| **owner == shard).count()).collect()
    }

    #[test]
    fn a_shard_that_loses_its_primary_keeps_its_share_and_waits() {
        let mut planner = Planner::default();
        let mut view = view("weighted", 12, &[1.0, 1.0, 1.0]);
        let before = wanted(&mut planner, &view);
        assert_eq!(counts(&before.now, 3), [4, 4, 4]);
        view.shards.get_mut(&1).unwrap().register.primary = None;
        let without = wanted(&mut planner, &view);
        assert_eq!(without.goal, before.goal);
        assert_eq!(counts(&without.now, 3), [8, 0, 4]);
        assert_eq!(without.waiting, [("shard 1 has no primary".to_owned(), 4)].into());
        // A source without one keeps everything.
        view.shards.get_mut(&0).unwrap().register.primary = None;
        assert_eq!(counts(&wanted(&mut planner, &view).now, 3), [12, 0, 0]);
    }

    #[test]
    fn a_shard_below_min_isr_gets_nothing_and_one_that_never_could_does_not_count() {
        let mut planner = Planner::default();
        let mut view = view("weighted", 12, &[1.0, 1.0, 1.0]);
        let lacking = &mut view.shards.get_mut(&2).unwrap().register;
        (lacking.min_isr, lacking.replicas) = (2, 2);
        assert_eq!(counts(&wanted(&mut planner, &view).goal, 3), [6, 6, 0]);
        view.shards.get_mut(&2).unwrap().register.min_isr = 1;
        assert_eq!(counts(&wanted(&mut planner, &view).goal, 3), [4, 4, 4]);
        view.shards.get_mut(&2).unwrap().register.min_isr = 2;
        let now = wanted(&mut planner, &view);
        assert_eq!((counts(&now.goal, 3), counts(&now.now, 3)), (vec![4, 4, 4], vec![8, 4, 0]));
        assert!(now.waiting.contains_key("shard 2 has 1 of 2 needed copies in sync"), "{:?}", now.waiting);
    }

    #[test]
    fn held_shards_neither_give_nor_get_and_the_others_share_what_is_left() {
        for placement in ["weighted", "ring"] {
            let mut view = view(placement, 64, &[1.0, 1.0, 1.0]);
            view.slots.owners = vec![(0, 31, 0), (32, 63, 1)];
            view.holds.shards = [1].into();
            let held = wanted(&mut Planner::default(), &view);
            assert!(held.now[32..].iter().all(|owner| *owner == 1), "{placement}");
            assert!(held.now[..32].iter().all(|owner| *owner != 1), "{placement}");
            let [zero, _, two] = counts(&held.now, 3)[..] else { unreachable!() };
            assert!(zero > 0 && two > 0 && (placement == "ring" || zero == two), "{placement}: {zero} {two}");
            view.holds.all = true;
            assert_eq!(counts(&wanted(&mut Planner::default(), &view).now, 3), [32, 32, 0]);
        }
    }

    #[test]
    fn hand_overs_in_flight_count_as_done_in_a_plan_that_changes() {
        let mut view = view("weighted", 8, &[1.0, 1.0]);
        let mut table = view.slots.to_table();
        table.version = 2;
        let (id, slots) = (Id(2), vec![0, 1, 2, 3]);
        table.migrations.push(Migration { id, slots, source: 0, target: 1, outcome: None });
        let goal = |view: &View| Planner::default().wanted(view, &table, &view.holds).unwrap().goal;
        assert_eq!(goal(&view), [1, 1, 1, 1, 0, 0, 0, 0]);
        view.shards.get_mut(&1).unwrap().register.weight = 3.0;
        let heavier = goal(&view);
        assert!(heavier[..4].iter().all(|owner| *owner == 1) && counts(&heavier, 2) == [2, 6], "{heavier:?}");
    }

    #[test]
    fn a_plan_that_is_half_done_is_the_same_plan() {
        let view = view("weighted", 1000, &[1.0, 2.5, 1.0, 0.0, 0.7]);
        let first = Planner::default().wanted(&view, &view.slots.to_table(), &view.holds).unwrap();
        for step in 1..10 {
            let mut half = view.clone();
            let mut table = half.slots.to_table();
            for (slot, owner) in table.owners.iter_mut().enumerate().filter(|(slot, _)| slot % 10 < step) {
                owner.shard = first.goal[slot];
            }
            half.slots = Slots::of(&table, &Slots::default(), |_| 0);
            assert_eq!(wanted(&mut Planner::default(), &half).goal, first.goal, "{step} of 10");
        }
    }

    /// A thousand shards of ten members each, and as many slots as a cluster can have.
    fn large(placement: &str) -> View {
        let mut view = view(placement, 16_384, &[1.0; 1000]);
        for number in 0..10_000 {
            let name = format!("w{number}");
            let member = MemberRecord {
                name: name.clone(),
                run: "r".into(),
                inc: "i".into(),
                role: Role::Worker,
                address: "a:1".into(),
                shard: Some(number / 10),
                zone: String::new(),
                standing: String::new(),
                since_ms: 0,
                health: Default::default(),
            };
            view.members.insert(format!("{name}-r"), member);
        }
        view
    }

    /// For a plan of an optimised build.
    const PLAN_MAX: Duration = Duration::from_millis(100);

    /// What it prints, of an optimised build, is in docs/benchmarks.md.
    #[test]
    #[ignore = "a measurement: cargo test --release -p slotkv-master --lib -- --ignored --nocapture time_of_a_plan"]
    fn time_of_a_plan_of_a_thousand_shards() {
        for placement in ["weighted", "ring"] {
            let view = large(placement);
            let mut took: Vec<_> = (0..21)
                .map(|_| {
                    let (mut planner, begin) = (Planner::default(), Instant::now());
                    std::hint::black_box(wanted(&mut planner, &view));
                    begin.elapsed()
                })
                .collect();
            took.sort();
            println!("{placement}: median {:?}, longest {:?} of {}", took[10], took[20], took.len());
            assert!(cfg!(debug_assertions) || took[10] < PLAN_MAX, "{placement}: {:?}", took[10]);
        }
    }

    #[test]
    fn a_thousand_shards_with_ten_thousand_members_have_one_plan() {
        for placement in ["weighted", "ring"] {
            let (view, mut planner) = (large(placement), Planner::default());
            let (first, again) = (wanted(&mut planner, &view), wanted(&mut planner, &view));
            assert_eq!(first, again);
            let owning: BTreeSet<ShardId> = first.now.iter().copied().collect();
            assert!(owning.len() > 950, "{placement}: {}", owning.len());
        }
    }
}
