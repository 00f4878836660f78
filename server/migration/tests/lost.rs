//! Slots whose hand-over a shard has lost, with whatever else it had since.

use bytes::Bytes;
use slotkv_migration::{
    Id, Ledger, Mark, Migration, Options, Outcome, Owner, Party, Place, Position, Ready, Record, Regain,
    ShardId, Start, Stream, Table, place::Cursor,
};

const ME: ShardId = 1;
const SLOTS: [u16; 2] = [0, 2];
const HAND_OVER: Id = Id(7);

/// Slots 0 and 2 came here by hand-over 7, slot 1 belongs to shard 0.
fn table(version: u64, outcome: Option<Outcome>) -> Table {
    let away = Owner { shard: 0, tenure: Id(0) };
    let own = Owner { shard: ME, tenure: HAND_OVER };
    let slots = SLOTS.to_vec();
    let migration = Migration { id: HAND_OVER, slots, source: 0, target: ME, outcome };
    let migrations = if outcome.is_some() { vec![migration] } else { Vec::new() };
    Table { version, owners: vec![own, away, own], migrations }
}

/// A shard that commits what it logs, as far as it is let.
struct Shard {
    party: Party,
    ledger: Ledger,
    log: Vec<(Position, Record)>,
    commits_upto: usize,
    committed: usize,
    regains: Vec<Regain>,
}

impl Shard {
    /// It leads on with this ledger; behind a loss, its BARRIER is record 11.
    fn new(ledger: Ledger, tail: Vec<(Position, Record)>, loss_index: Option<u64>, table: Table) -> Self {
        let start =
            Start { shard: ME, epoch: 3, ledger: ledger.clone(), tail, commit_index: 10, table, loss_index };
        let party = Party::new(0, Options::default(), start);
        let (log, regains) = (Vec::new(), Vec::new());
        let mut shard = Self { party, ledger, log, commits_upto: usize::MAX, committed: 0, regains };
        shard.go_on();
        shard
    }

    fn go_on(&mut self) {
        loop {
            let Ready { appends, sweeps, regains, .. } = self.party.ready();
            self.regains.extend(regains);
            if appends.is_empty() && sweeps.is_empty() {
                return;
            }
            for record in appends {
                let at = Position { epoch: 3, index: 12 + self.log.len() as u64 };
                self.log.push((at, record.clone()));
                self.party.logged(0, at, record);
                self.commit();
            }
            for sweep in sweeps {
                self.party.swept(0, sweep.id, Bytes::new(), true);
            }
            assert_eq!(self.party.violation(), None);
        }
    }

    fn commit(&mut self) {
        while self.committed < self.log.len().min(self.commits_upto) {
            let (at, record) = &self.log[self.committed];
            self.ledger.apply(*at, record, None);
            self.committed += 1;
            self.party.committed(0, at.index, at.index);
        }
    }

    fn begin_to_serve(&mut self) {
        self.party.committed(0, 11, 11);
        self.go_on();
    }

    fn answer(&mut self) {
        let Regain { id, .. } = self.regains.pop().expect("it asks what to log");
        self.party.regained(0, id, Bytes::new(), Bytes::new());
        self.go_on();
    }

    fn serves(&self) -> bool {
        SLOTS.iter().all(|slot| self.party.serves(*slot))
    }
}

fn at(index: u64) -> Position {
    Position { epoch: 1, index }
}

fn stage(id: Id) -> Record {
    let stream = Stream { epoch: 1, number: 1 };
    let to = Place { stream, cursor: Cursor::End, at: at(5) };
    Record::Stage { id, version: id.0, slots: SLOTS.to_vec(), to, bytes: Bytes::new() }
}

/// What may be left of it in the data that goes on.
fn ledgers() -> Vec<(&'static str, Ledger)> {
    let imported = |id: Id| Record::Imported { id, version: id.0, sealed_at: at(5), levels: Bytes::new() };
    let seal = |id: Id| Record::Seal { id, version: id.0, slots: SLOTS.to_vec() };
    let clean = |id: Id, is_last| {
        let upto = Bytes::from_static(if is_last { b"" } else { b"k" });
        Record::Clean { id, version: id.0 + 1, slots: SLOTS.to_vec(), upto, is_last }
    };
    let cases = [
        ("nothing", vec![]),
        ("a part of it", vec![stage(HAND_OVER)]),
        ("an earlier tenure", vec![stage(Id(2)), imported(Id(2))]),
        ("an earlier tenure, sealed", vec![stage(Id(2)), imported(Id(2)), seal(Id(4))]),
        ("that they went before", vec![seal(Id(4)), clean(Id(4), false)]),
        ("that they are gone", vec![seal(Id(4)), clean(Id(4), true)]),
    ];
    let ledger = |records: Vec<Record>| {
        let mut ledger = Ledger::default();
        for (index, record) in (1..).zip(records) {
            ledger.apply(at(index), &record, None);
        }
        ledger
    };
    cases.map(|(name, records)| (name, ledger(records))).into()
}

#[test]
fn slots_that_are_lost_for_good_are_taken_empty_whatever_is_left_of_them() {
    for (name, ledger) in ledgers() {
        let mut shard = Shard::new(ledger, vec![], Some(11), table(9, None));
        assert!(!shard.serves(), "{name}");
        shard.begin_to_serve();
        shard.answer();
        assert!(shard.serves() && !shard.party.serves(1), "{name}: {:?}", shard.log);
        for slot in SLOTS {
            assert_eq!(shard.ledger.mark(slot), Mark::Held(HAND_OVER), "{name}");
        }
        assert!(shard.ledger.lost().eq(SLOTS), "{name}: {:?}", shard.ledger);
        let last_two: Vec<_> = shard.log.iter().rev().take(2).map(|(_, record)| record).collect();
        assert!(matches!(last_two[..], [Record::Imported { .. }, Record::Stage { .. }]), "{name}");
        // What it had of an earlier tenure was not left where it lay.
        let cleaned =
            shard.log.iter().any(|(_, record)| matches!(record, Record::Clean { is_last: true, .. }));
        assert!(cleaned || name == "that they are gone", "{name}: {:?}", shard.log);
        // And that is all.
        shard.party.tick(1_000_000);
        shard.party.table(2_000_000, table(10, None));
        shard.go_on();
        assert!(shard.serves() && shard.regains.is_empty(), "{name}");
    }
}

#[test]
fn nothing_is_taken_before_the_numbers_behind_the_loss_count() {
    let gone = ledgers().pop().unwrap().1;
    let mut shard = Shard::new(gone, vec![], Some(11), table(9, None));
    shard.party.tick(1_000);
    shard.go_on();
    assert!(shard.regains.is_empty() && shard.log.is_empty());
    shard.begin_to_serve();
    assert_eq!(shard.regains, [Regain { id: HAND_OVER, slots: SLOTS.to_vec() }]);
}

#[test]
fn nothing_is_taken_while_the_source_may_have_everything() {
    for (name, ledger) in ledgers() {
        let mut shard = Shard::new(ledger, vec![], Some(11), table(8, Some(Outcome::Moved)));
        shard.begin_to_serve();
        let touches = |(_, record): &(Position, Record)| !matches!(record, Record::Clean { .. });
        assert!(shard.regains.is_empty() && !shard.log.iter().any(touches), "{name}: {:?}", shard.log);
        shard.party.table(0, table(9, None));
        shard.go_on();
        shard.answer();
        assert!(shard.serves(), "{name}");
    }
}

#[test]
fn a_shard_that_never_lost_anything_takes_nothing() {
    for (name, ledger) in ledgers() {
        let mut shard = Shard::new(ledger, vec![], None, table(9, None));
        shard.begin_to_serve();
        assert!(shard.regains.is_empty() && !shard.serves(), "{name}");
    }
}

#[test]
fn a_fail_over_at_any_record_on_the_way_goes_on_to_the_same_end() {
    for (name, ledger) in ledgers() {
        for commits in 0..6 {
            for keeps in [false, true] {
                let mut shard = Shard::new(ledger.clone(), vec![], Some(11), table(9, None));
                shard.commits_upto = commits;
                shard.begin_to_serve();
                if !shard.regains.is_empty() {
                    shard.answer();
                }
                let tail = if keeps { shard.log[shard.committed..].to_vec() } else { Vec::new() };
                let last = tail.last().map_or(30, |(at, _)| at.index);
                let mut next = Shard::new(shard.ledger, tail, Some(last), table(9, None));
                next.log = Vec::new();
                next.party.committed(0, last, last);
                next.go_on();
                if !next.regains.is_empty() {
                    next.answer();
                }
                assert!(next.serves(), "{name}, {commits} committed, {keeps}: {:?}", next.party.ledger());
            }
        }
    }
}

#[test]
fn lost_slots_are_named_until_they_go_away_and_no_others_are() {
    let gone = ledgers().pop().unwrap().1;
    let mut shard = Shard::new(gone, vec![], Some(11), table(9, None));
    shard.begin_to_serve();
    shard.answer();
    let mut ledger = shard.ledger;
    let (mut index, later) = (100, Id(12));
    let mut apply = |record: Record| {
        index += 1;
        ledger.apply(at(index), &record, None);
        ledger.lost().collect::<Vec<_>>()
    };
    let seal = |id: Id, slots: Vec<u16>| Record::Seal { id, version: id.0, slots };
    // A hand-over that was aborted changes nothing.
    assert_eq!(apply(seal(Id(10), SLOTS.to_vec())), SLOTS);
    assert_eq!(apply(Record::Unseal { id: Id(10), version: 11 }), SLOTS);
    // One of them goes, and comes back with what is put into it elsewhere.
    assert_eq!(apply(seal(later, vec![0])), SLOTS);
    let clean =
        |is_last| Record::Clean { id: later, version: 13, slots: vec![0], upto: Bytes::new(), is_last };
    assert_eq!(apply(clean(false)), [2]);
    assert_eq!(apply(clean(true)), [2]);
    let Record::Stage { to, bytes, .. } = stage(Id(14)) else { unreachable!() };
    assert_eq!(apply(Record::Stage { id: Id(14), version: 14, slots: vec![0], to, bytes }), [2]);
    let imported = Record::Imported { id: Id(14), version: 14, sealed_at: at(5), levels: Bytes::new() };
    assert_eq!(apply(imported), [2]);
}
