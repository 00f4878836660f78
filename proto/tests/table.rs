//! The slot table under every way its changes can travel: whole, in pieces, doubled, late, through other members,
//! and made up by somebody who means harm.

use proptest::prelude::*;
use prost::Message;
use slotkv_proto::{
    SlotCount, SlotTable, TableError,
    limits::SHARDS_MAX,
    table::{Member, Route, ShardId, UNALLOCATED},
    v1,
};

const SLOTS: u16 = 16;
const SHARDS: ShardId = 4;
const MEMBERS: usize = 3;

fn slot_count() -> SlotCount {
    SlotCount::new(u32::from(SLOTS)).unwrap()
}

fn empty() -> SlotTable {
    SlotTable::new("c", slot_count())
}

fn route(shard: ShardId, epoch: u64, revision: u64) -> Route {
    let member = |name: &str| Member {
        name: format!("{name}{shard}"),
        run: format!("{epoch}"),
        address: format!("127.0.0.1:{revision}"),
    };
    Route { shard, epoch, revision, primary: Some(member("p")), backups: vec![member("b")] }
}

/// One change at the source of truth.
#[derive(Clone, Debug)]
enum Change {
    /// Slots `first` to `last` go to `shard`.
    Owners { first: u16, last: u16, shard: ShardId },
    /// The register of `shard` changes; with `epoch` its primary does.
    Route { shard: ShardId, epoch: bool },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..SLOTS, 0..SLOTS, 0..SHARDS)
            .prop_map(|(a, b, shard)| Change::Owners { first: a.min(b), last: a.max(b), shard }),
        1 => (0..SHARDS, any::<bool>()).prop_map(|(shard, epoch)| Change::Route { shard, epoch }),
    ]
}

/// The registers as the coordinator holds them, and a table that has followed every one of their changes.
struct Truth {
    version: u64,
    owners: Vec<ShardId>,
    routes: Vec<Option<Route>>,
    table: SlotTable,
}

impl Truth {
    fn new() -> Self {
        Self {
            version: 0,
            owners: vec![UNALLOCATED; usize::from(SLOTS)],
            routes: vec![None; SHARDS as usize],
            table: empty(),
        }
    }

    fn make(&mut self, change: &Change) {
        match *change {
            Change::Owners { first, last, shard } => {
                self.owners[usize::from(first)..=usize::from(last)].fill(shard);
                self.version += 1;
            }
            Change::Route { shard, epoch } => {
                let known = &mut self.routes[shard as usize];
                let (old_epoch, revision) =
                    known.as_ref().map_or((1, 0), |route| (route.epoch, route.revision));
                *known = Some(route(shard, old_epoch + u64::from(epoch), revision + 1));
            }
        }
        let mut table = std::mem::replace(&mut self.table, empty());
        self.read_into(&mut table);
        self.table = table;
    }

    /// What a member does that reads the registers themselves.
    fn read_into(&self, table: &mut SlotTable) {
        let runs: Vec<_> = (0..SLOTS)
            .map(|slot| (slot, slot, self.owners[usize::from(slot)]))
            .filter(|&(_, _, shard)| shard != UNALLOCATED)
            .collect();
        table.set_owners(self.version, &runs).unwrap();
        for route in self.routes.iter().flatten() {
            table.set_route(route.clone());
        }
    }
}

/// What `to` asks of `from`, and how it takes the answer.
fn pull(from: &SlotTable, to: &mut SlotTable) -> v1::TableDelta {
    let known = |shard| to.route(shard).map_or(0, |route| route.revision);
    let delta = from.delta_since(to.version(), known);
    to.apply(&delta).unwrap();
    delta
}

#[derive(Clone, Debug)]
enum Event {
    Change(Change),
    /// The member reads the registers.
    Read(usize),
    /// The first member refreshes from the second.
    Pull(usize, usize),
    /// The member refreshes from the table that has followed every change.
    Follow(usize),
    /// The member meets again an answer that was sent earlier.
    Replay(usize, prop::sample::Index),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => change().prop_map(Event::Change),
        1 => (0..MEMBERS).prop_map(Event::Read),
        2 => (0..MEMBERS, 0..MEMBERS).prop_map(|(to, from)| Event::Pull(to, from)),
        1 => (0..MEMBERS).prop_map(Event::Follow),
        1 => (0..MEMBERS, any::<prop::sample::Index>()).prop_map(|(to, which)| Event::Replay(to, which)),
    ];
    prop::collection::vec(event, 0..60)
}

fn shown(table: &SlotTable) -> (v1::TableDelta, Vec<Option<ShardId>>) {
    (table.full(), (0..SLOTS).map(|slot| table.owner(slot)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_a_history_composes_to_the_full_table(
        steps in prop::collection::vec((change(), any::<bool>()), 0..40),
    ) {
        let mut truth = Truth::new();
        let mut follower = empty();
        let mut deltas = Vec::new();
        for (change, cut) in &steps {
            truth.make(change);
            if *cut {
                deltas.push(pull(&truth.table, &mut follower));
            }
        }
        deltas.push(pull(&truth.table, &mut follower));
        prop_assert_eq!(shown(&follower), shown(&truth.table));

        let mut replayed = empty();
        for delta in &deltas {
            prop_assert_eq!(replayed.apply(delta).is_ok(), true);
            prop_assert_eq!(replayed.apply(delta), Ok(false), "the second time it is nothing new");
        }
        prop_assert_eq!(shown(&replayed), shown(&truth.table));

        let whole = SlotTable::from_delta(&truth.table.full()).unwrap();
        prop_assert_eq!(shown(&whole), shown(&truth.table));
    }

    #[test]
    fn members_that_learn_from_each_other_never_go_back_and_end_at_the_truth(events in events()) {
        let mut truth = Truth::new();
        let mut members: Vec<SlotTable> = (0..MEMBERS).map(|_| empty()).collect();
        let mut history = vec![shown(&truth.table).1];
        let mut sent = Vec::new();
        for event in &events {
            let before: Vec<_> = members.iter().map(|m| (m.version(), m.route_revisions())).collect();
            match event {
                Event::Change(change) => {
                    truth.make(change);
                    history.resize(truth.version as usize + 1, Vec::new());
                    history[truth.version as usize] = shown(&truth.table).1;
                }
                Event::Read(to) => truth.read_into(&mut members[*to]),
                Event::Pull(to, from) => {
                    let from = members[*from].clone();
                    sent.push(pull(&from, &mut members[*to]));
                }
                Event::Follow(to) => sent.push(pull(&truth.table, &mut members[*to])),
                Event::Replay(to, which) if !sent.is_empty() => {
                    let _refused = members[*to].apply(which.get(&sent));
                }
                Event::Replay(..) => {}
            }
            for (member, before) in members.iter().zip(before) {
                prop_assert!(member.version() >= before.0 && member.route_revisions() >= before.1);
                prop_assert_eq!(&shown(member).1, &history[member.version() as usize],
                    "a table at a version is the table of that version");
            }
        }
        truth.read_into(&mut members[0]);
        for to in 1..MEMBERS {
            let from = members[to - 1].clone();
            pull(&from, &mut members[to]);
            prop_assert_eq!(shown(&members[to]), shown(&truth.table));
        }
    }

    #[test]
    fn a_delta_that_starts_behind_the_table_is_refused_whole(
        steps in prop::collection::vec(change(), 1..20),
        skipped in 1u64..5,
    ) {
        let mut truth = Truth::new();
        steps.iter().for_each(|change| truth.make(change));
        let ours = truth.table.version();
        let mut delta = truth.table.full();
        delta.from_version = ours + skipped;
        delta.version = ours + skipped + 1;
        delta.routes = vec![v1::Route::from(&route(0, 99, 99))];
        let mut table = truth.table.clone();
        prop_assert_eq!(table.apply(&delta), Err(TableError::Gap { ours, from: ours + skipped }));
        prop_assert_eq!(table, truth.table);
    }

    #[test]
    fn any_delta_at_all_is_taken_or_refused_whole(
        steps in prop::collection::vec(change(), 0..20),
        from_version in 0u64..8,
        version in 0u64..30,
        ranges in prop::collection::vec((0u32..20, 0u32..20, prop_oneof![0..SHARDS, Just(UNALLOCATED)]), 0..4),
        routes in prop::collection::vec(
            (prop_oneof![0..SHARDS, Just(UNALLOCATED)], 0u64..4, prop_oneof![0u64..6, u64::MAX - 2..=u64::MAX]),
            0..4,
        ),
    ) {
        let mut truth = Truth::new();
        steps.iter().for_each(|change| truth.make(change));
        let delta = v1::TableDelta {
            cluster_id: "c".into(),
            slot_count: u32::from(SLOTS),
            from_version,
            version,
            ranges: ranges.iter().map(|&(first, last, shard)| v1::SlotRange { first, last, shard }).collect(),
            routes: routes.iter().map(|&(shard, epoch, revision)| v1::Route {
                shard, epoch, revision, ..v1::Route::default()
            }).collect(),
        };
        let mut table = truth.table.clone();
        match table.apply(&delta) {
            Err(_) | Ok(false) => prop_assert_eq!(table, truth.table),
            Ok(true) => {
                prop_assert_eq!(table.version(), truth.table.version().max(version));
                prop_assert!(table.route_revisions() >= truth.table.route_revisions());
                for known in truth.table.routes() {
                    let now = table.route(known.shard).unwrap();
                    prop_assert!(now.revision >= known.revision && now.epoch >= known.epoch);
                }
                for slot in 0..SLOTS {
                    prop_assert!(truth.table.owner(slot).is_none() || table.owner(slot).is_some());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn deltas_never_add_up_to_more_routes_than_shards_can_be(
        deltas in prop::collection::vec((0..2 * SHARDS_MAX as u32, 1..=SHARDS_MAX as u32), 1..8),
    ) {
        let mut table = empty();
        for (first, count) in deltas {
            let shards = first..first + count;
            let mut delta = table.full();
            delta.routes = shards.clone().map(|shard| v1::Route::from(&route(shard, 1, u64::MAX))).collect();
            let before = table.clone();
            let new = shards.filter(|&shard| before.route(shard).is_none()).count();
            let taken = table.apply(&delta);
            if before.routes().count() + new > SHARDS_MAX {
                prop_assert!(matches!(taken, Err(TableError::Malformed(_))), "{:?}", taken);
                prop_assert_eq!(&table, &before);
            } else {
                prop_assert_eq!(taken, Ok(new > 0));
                prop_assert_eq!(table.routes().count(), before.routes().count() + new);
            }
        }
    }
}

fn two_versions() -> SlotTable {
    let mut table = empty();
    table.set_owners(1, &[(0, 7, 0), (8, 15, 1)]).unwrap();
    table.set_owners(2, &[(0, 3, 0), (4, 15, 1)]).unwrap();
    table
}

#[test]
fn a_delta_names_only_what_changed() {
    let table = two_versions();
    let delta = table.delta_since(1, |_| 0);
    assert_eq!(delta.ranges, [v1::SlotRange { first: 4, last: 7, shard: 1 }]);
    assert_eq!((delta.from_version, delta.version), (1, 2));
    assert_eq!(table.delta_since(2, |_| 0).ranges, []);
}

#[test]
fn a_delta_is_as_small_as_what_changed_whatever_the_size_of_the_cluster() {
    let count = 16_384;
    let mut table = SlotTable::new("cluster", SlotCount::new(count).unwrap());
    let owner = |slot: u32| (slot as u16, slot as u16, slot % 1000);
    let mut owners: Vec<_> = (0..count).map(owner).collect();
    table.set_owners(1, &owners).unwrap();
    (0..1000).for_each(|shard| assert!(table.set_route(route(shard, 1, 1))));
    owners[77].2 = 5;
    table.set_owners(2, &owners).unwrap();
    let bytes = |delta: v1::TableDelta| delta.encoded_len();
    let slot = bytes(table.delta_since(1, |_| 1));
    let with_route = bytes(table.delta_since(1, |shard| if shard == 5 { 0 } else { 1 }));
    let routes = bytes(table.delta_since(2, |_| 0));
    let whole = bytes(table.full());
    println!(
        "one slot: {slot} bytes; and the new owner's route: {with_route}; 1000 routes: {routes}; all: {whole}"
    );
    assert!(slot < 64 && with_route < 256, "{slot} {with_route}");
    assert!(routes < 1000 * 128 && whole > 16_384, "{routes} {whole}");
}

#[test]
fn a_caller_that_is_ahead_gets_nothing_that_could_set_it_back() {
    let table = two_versions();
    let delta = table.delta_since(9, |_| 0);
    assert_eq!((delta.from_version, delta.version, delta.ranges.len()), (2, 2, 0));
}

#[test]
fn a_slot_that_moved_and_came_back_while_nobody_looked_reaches_who_saw_it_away() {
    let mut reader = two_versions();
    let mut away = two_versions();
    away.set_owners(3, &[(0, 0, 1), (1, 3, 0), (4, 15, 1)]).unwrap();
    reader.set_owners(4, &[(0, 3, 0), (4, 15, 1)]).unwrap();
    pull(&reader, &mut away);
    assert_eq!(shown(&away), shown(&reader));
}

#[test]
fn owners_of_an_older_or_equal_version_are_ignored() {
    let mut table = two_versions();
    assert_eq!(table.set_owners(2, &[(0, 15, 3)]), Ok(false));
    assert_eq!(table.set_owners(1, &[(0, 15, 3)]), Ok(false));
    assert_eq!(table, two_versions());
}

#[test]
fn owners_that_cannot_be_are_refused_and_change_nothing() {
    type Runs = &'static [(u16, u16, ShardId)];
    let cases: [(&str, Runs); 5] = [
        ("past the last slot", &[(0, 16, 0)]),
        ("backwards", &[(3, 1, 0), (0, 15, 0)]),
        ("two owners of one slot", &[(0, 15, 0), (7, 7, 1)]),
        ("an owned slot left out", &[(0, 14, 0)]),
        ("nobody as an owner", &[(0, 14, 0), (15, 15, UNALLOCATED)]),
    ];
    for (what, runs) in cases {
        let mut table = two_versions();
        let error = table.set_owners(3, runs).expect_err(what);
        assert!(matches!(error, TableError::Malformed(_)), "{what}: {error}");
        assert_eq!(table, two_versions(), "{what}");
    }
}

#[test]
fn a_malformed_delta_is_refused_and_changes_nothing() {
    let good = v1::TableDelta {
        cluster_id: "c".into(),
        slot_count: u32::from(SLOTS),
        from_version: 2,
        version: 3,
        ranges: vec![v1::SlotRange { first: 0, last: 1, shard: 2 }],
        routes: vec![v1::Route::from(&route(2, 1, 1))],
    };
    assert_eq!(two_versions().apply(&good), Ok(true));

    type Spoil = fn(&mut v1::TableDelta);
    let cases: [(&str, Spoil); 10] = [
        ("another slot count", |delta| delta.slot_count = 32),
        ("no slot count", |delta| delta.slot_count = 0),
        ("past the last slot", |delta| delta.ranges[0].last = 16),
        ("far past the last slot", |delta| delta.ranges[0].last = u32::MAX),
        ("backwards", |delta| delta.ranges[0].first = 2),
        ("nobody as an owner", |delta| delta.ranges[0].shard = UNALLOCATED),
        ("ending before it starts", |delta| delta.from_version = 4),
        ("a route of nobody", |delta| delta.routes[0].shard = UNALLOCATED),
        ("a route of no revision", |delta| delta.routes[0].revision = 0),
        ("more routes than shards can be", |delta| {
            delta.routes = vec![delta.routes[0].clone(); SHARDS_MAX + 1]
        }),
    ];
    for (what, spoil) in cases {
        let mut delta = good.clone();
        spoil(&mut delta);
        let mut table = two_versions();
        let error = table.apply(&delta).expect_err(what);
        assert!(matches!(error, TableError::Malformed(_)), "{what}: {error}");
        assert_eq!(table, two_versions(), "{what}");
    }
}

#[test]
fn a_whole_table_of_an_impossible_slot_count_is_refused() {
    for slot_count in [0, 3, 32768, u32::MAX] {
        let delta = v1::TableDelta { cluster_id: "c".into(), slot_count, ..v1::TableDelta::default() };
        assert!(matches!(SlotTable::from_delta(&delta), Err(TableError::Malformed(_))), "{slot_count}");
    }
}

#[test]
fn a_delta_of_another_cluster_is_refused_by_name() {
    let mut table = two_versions();
    let mut delta = table.full();
    delta.cluster_id = "d".into();
    delta.version = 9;
    let error = table.apply(&delta).unwrap_err();
    assert_eq!(error, TableError::WrongCluster { ours: "c".into(), theirs: "d".into() });
    assert_eq!(table, two_versions());
}

#[test]
fn a_route_is_replaced_by_a_higher_revision_only() {
    let mut table = empty();
    assert!(table.set_route(route(1, 5, 7)));
    assert!(!table.set_route(route(1, 6, 7)), "the same revision");
    assert!(!table.set_route(route(1, 9, 6)), "an older revision, whatever its epoch");
    assert!(!table.set_route(route(1, 4, 8)), "an older epoch, whatever its revision");
    assert_eq!(table.route(1).unwrap(), &route(1, 5, 7));
    assert!(table.set_route(route(1, 5, 8)), "the epoch may stay");
    assert_eq!(table.route_revisions(), 8);
}

#[test]
fn routes_of_an_old_delta_still_count_each_by_its_own_revision() {
    let mut table = two_versions();
    table.set_route(route(0, 3, 3));
    let mut delta = table.full();
    delta.version = 1;
    delta.ranges = vec![v1::SlotRange { first: 0, last: 15, shard: 3 }];
    delta.routes = vec![v1::Route::from(&route(0, 2, 2)), v1::Route::from(&route(1, 4, 4))];
    assert_eq!(table.apply(&delta), Ok(true));
    assert_eq!(table.owner_runs(), two_versions().owner_runs());
    assert_eq!(table.route(0), Some(&route(0, 3, 3)));
    assert_eq!(table.route(1), Some(&route(1, 4, 4)));
}

#[test]
fn a_delta_carries_the_routes_whose_revision_the_caller_lacks() {
    let mut table = two_versions();
    table.set_route(route(0, 3, 3));
    table.set_route(route(1, 4, 4));
    let delta = table.delta_since(2, |shard| if shard == 0 { 3 } else { 2 });
    assert_eq!(delta.routes, [v1::Route::from(&route(1, 4, 4))]);
}
