//! Both sides of one hand-over, step by step.

use bytes::Bytes;
use slotkv_migration::{
    Body, Bug, Chunk, Cursor, Id, Ledger, Mark, Message, Migration, Options, Outcome, Owner, Party, Place,
    Position, Read, Ready, Record, Report, Said, ShardId, Start, Stream, Table, options,
};

const SLOT: u16 = 0;
const SOURCE: ShardId = 0;
const TARGET: ShardId = 1;
const HAND_OVER: Id = Id(7);

fn table(version: u64, outcome: Option<Outcome>) -> Table {
    let owner = match outcome {
        Some(Outcome::Moved) => Owner { shard: TARGET, tenure: HAND_OVER },
        _ => Owner { shard: SOURCE, tenure: Id(0) },
    };
    let migration = Migration { id: HAND_OVER, slots: vec![SLOT], source: SOURCE, target: TARGET, outcome };
    Table { version, owners: vec![owner], migrations: vec![migration] }
}

fn options() -> Options {
    Options { seal_lag_bytes: 0, flight_bytes_max: 300, part_bytes_max: 100, ..Options::default() }
}

/// A primary whose log is committed at once, unless `holds_back`.
struct Side {
    party: Party,
    me: ShardId,
    epoch: u64,
    now_us: u64,
    index: u64,
    ledger: Ledger,
    log: Vec<Record>,
    holds_back: bool,
    settles: bool,
    hears: bool,
    messages: Vec<Message>,
    reads: Vec<Read>,
    reports: Vec<Report>,
    tallies: usize,
    sweeps: usize,
}

impl Side {
    fn new(me: ShardId, options: Options, table: Table) -> Self {
        let start = Start {
            shard: me,
            epoch: 1,
            ledger: Ledger::default(),
            tail: vec![],
            commit_index: 10,
            table,
            loss_index: None,
        };
        let mut side = Side {
            party: Party::new(0, options, start),
            hears: true,
            me,
            epoch: 1,
            now_us: 0,
            index: 10,
            ledger: Ledger::default(),
            log: Vec::new(),
            holds_back: false,
            settles: true,
            messages: Vec::new(),
            reads: Vec::new(),
            reports: Vec::new(),
            tallies: 0,
            sweeps: 0,
        };
        side.commit();
        side
    }

    /// Another primary, with what is committed.
    fn fail_over(&mut self, options: Options, table: Table) {
        self.epoch += 1;
        let start = Start {
            shard: self.me,
            epoch: self.epoch,
            ledger: self.ledger.clone(),
            tail: vec![],
            commit_index: self.index,
            table,
            loss_index: None,
        };
        self.party = Party::new(self.now_us, options, start);
        (self.messages, self.reads) = (Vec::new(), Vec::new());
        self.commit();
    }

    fn commit(&mut self) {
        if self.hears {
            self.party.heard(self.now_us);
        }
        let settled = if self.settles { self.index } else { 0 };
        self.party.committed(self.now_us, self.index, settled);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        loop {
            let Ready { appends, messages, reads, tallies, sweeps, reports, .. } = self.party.ready();
            self.messages.extend(messages);
            self.reads.extend(reads);
            self.reports.extend(reports);
            self.tallies += tallies.len();
            self.sweeps += sweeps.len();
            if appends.is_empty() {
                break;
            }
            for record in appends {
                self.index += 1;
                let at = Position { epoch: self.epoch, index: self.index };
                self.party.logged(self.now_us, at, record.clone());
                self.log.push(record.clone());
                if !self.holds_back {
                    self.ledger.apply(at, &record, None);
                    let settled = if self.settles { self.index } else { 0 };
                    self.party.committed(self.now_us, self.index, settled);
                }
            }
        }
        assert_eq!(self.party.violation(), None);
    }

    fn tick(&mut self, us: u64) {
        self.now_us += us;
        if self.hears {
            self.party.heard(self.now_us);
        }
        self.party.tick(self.now_us);
        self.carry_out();
    }

    fn hear(&mut self, message: Message) {
        self.party.step(self.now_us, message);
        self.carry_out();
    }

    fn learn(&mut self, table: Table) {
        self.party.table(self.now_us, table);
        self.carry_out();
    }

    /// Answers the last read.
    fn read(&mut self, cursor: Cursor, behind: u64) {
        let read = self.reads.pop().expect("it reads");
        let at = Position { epoch: self.epoch, index: read.upto_index };
        let chunk = Chunk::Part { cursor, at, bytes: Bytes::from_static(&[0; 100]), item_bytes: 100, behind };
        self.party.read(self.now_us, HAND_OVER, read.from.as_ref(), chunk);
        self.carry_out();
    }

    fn tally(&mut self, tally: &'static [u8]) {
        assert!(std::mem::take(&mut self.tallies) > 0, "it compares");
        self.party.tallied(self.now_us, HAND_OVER, Bytes::from_static(tally), Bytes::new());
        self.carry_out();
    }

    fn logs(&self, is: impl Fn(&Record) -> bool) -> bool {
        self.log.iter().any(is)
    }

    fn told(&self, said: &Said) -> bool {
        self.reports.iter().any(|report| report.said == *said)
    }
}

fn item(number: u8) -> Cursor {
    Cursor::Behind(Bytes::copy_from_slice(&[number]))
}

/// Carries what both say to each other until neither says more.
fn talk(source: &mut Side, target: &mut Side) {
    for _ in 0..20 {
        let messages: Vec<Message> = source.messages.drain(..).chain(target.messages.drain(..)).collect();
        if messages.is_empty() {
            return;
        }
        for message in messages {
            let side = if message.to == SOURCE { &mut *source } else { &mut *target };
            side.hear(message);
        }
    }
    panic!("they talk for ever");
}

/// Both, and everything copied.
fn copied() -> (Side, Side) {
    let mut source = Side::new(SOURCE, options(), table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    source.read(item(1), 0);
    source.read(Cursor::End, 0);
    talk(&mut source, &mut target);
    (source, target)
}

/// And sealed, with the SEAL's own record at the target.
fn sealed() -> (Side, Side) {
    let (mut source, mut target) = copied();
    assert!(source.logs(|record| matches!(record, Record::Seal { .. })));
    source.read(Cursor::End, 0);
    talk(&mut source, &mut target);
    (source, target)
}

fn place(side: &Side) -> Option<Place> {
    match &side.party.ledger().work().get(&HAND_OVER)?.state {
        slotkv_migration::ledger::State::Staging(place) => Some(place.clone()),
        _ => None,
    }
}

#[test]
fn a_slot_moves_and_each_side_serves_by_table_and_log() {
    let (mut source, mut target) = sealed();
    assert!(!source.party.serves(SLOT) && source.party.is_sealed(SLOT) && !target.party.serves(SLOT));
    source.tally(b"same");
    talk(&mut source, &mut target);
    target.tally(b"same");
    assert!(target.told(&Said::Imported) && !target.party.serves(SLOT));

    target.learn(table(8, Some(Outcome::Moved)));
    assert!(target.party.serves(SLOT) && target.told(&Said::Done));
    source.learn(table(8, Some(Outcome::Moved)));
    assert!(!source.party.serves(SLOT) && !source.told(&Said::Done));
    source.party.swept(source.now_us, HAND_OVER, Bytes::from_static(b"x"), false);
    source.carry_out();
    assert!(!source.told(&Said::Done), "one piece is deleted, more are left");
    source.party.swept(source.now_us, HAND_OVER, Bytes::new(), true);
    source.carry_out();
    assert!(source.told(&Said::Done) && source.party.ledger().mark(SLOT) == Mark::Gone(HAND_OVER));
}

#[test]
fn an_aborted_slot_is_served_again_by_the_newer_table_only() {
    let (mut source, mut target) = sealed();
    source.fail_over(options(), table(6, None));
    assert!(!source.party.serves(SLOT), "who has the seal takes no older table");
    source.tick(60_000_000);
    assert!(!source.party.serves(SLOT), "no timer lifts it");
    source.learn(table(8, Some(Outcome::Aborted)));
    assert!(source.party.serves(SLOT) && source.told(&Said::Done));
    source.learn(table(7, None));
    assert_eq!(source.party.known().version, 8, "an older table is a late one");

    target.learn(table(8, Some(Outcome::Aborted)));
    assert_eq!((target.sweeps, target.told(&Said::Done)), (1, false));
    target.party.swept(target.now_us, HAND_OVER, Bytes::new(), true);
    target.carry_out();
    assert!(target.told(&Said::Done));
}

#[test]
fn a_seal_is_told_only_once_it_is_settled() {
    let mut late = Side::new(SOURCE, options(), table(7, None));
    late.settles = false;
    // In this epoch nothing is synced by enough members.
    late.fail_over(options(), table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut late, &mut target);
    late.read(Cursor::End, 0);
    talk(&mut late, &mut target);
    assert!(late.logs(|record| matches!(record, Record::Seal { .. })));
    late.read(Cursor::End, 0);
    talk(&mut late, &mut target);
    assert!(late.tallies == 0 && !late.told(&Said::Sealed));
    late.settles = true;
    late.commit();
    late.tally(b"same");
    assert!(late.messages.iter().any(|message| matches!(message.body, Body::Sealed { .. })));
}

#[test]
fn imported_is_reported_only_once_it_is_settled() {
    let (mut source, mut target) = sealed();
    source.tally(b"same");
    target.settles = false;
    target.fail_over(options(), table(7, None));
    source.tick(1_000_000);
    talk(&mut source, &mut target);
    target.tally(b"same");
    assert!(target.logs(|record| matches!(record, Record::Imported { .. })) && !target.told(&Said::Imported));
    target.settles = true;
    target.commit();
    assert!(target.told(&Said::Imported));
}

#[test]
fn what_is_settled_is_reported_although_another_hand_over_goes_on_logging() {
    const OTHER: Id = Id(8);
    let (mut source, mut target) = sealed();
    let mut both = table(8, None);
    let owner = Owner { shard: 2, tenure: Id(0) };
    both.owners.push(owner);
    both.migrations.push(Migration { id: OTHER, slots: vec![1], source: 2, target: TARGET, outcome: None });
    target.learn(both);
    target.settles = false;
    source.tally(b"same");
    talk(&mut source, &mut target);
    target.tally(b"same");
    assert!(target.logs(|record| matches!(record, Record::Imported { .. })));
    let imported_index = target.index;
    let place = Place {
        stream: Stream { epoch: 1, number: 1 },
        cursor: Cursor::End,
        at: Position { epoch: 1, index: 1 },
    };
    let bytes = Bytes::from_static(&[0; 10]);
    let body = Body::Part { from: None, to: place, bytes };
    target.hear(Message { id: OTHER, from: 2, to: TARGET, version: 8, body });
    assert!(target.index > imported_index && !target.told(&Said::Imported));
    target.party.committed(target.now_us, target.index, imported_index);
    target.carry_out();
    assert!(target.told(&Said::Imported), "what lies behind it need not be settled");
}

#[test]
fn what_differs_is_not_imported() {
    let (mut source, mut target) = sealed();
    source.tally(b"this");
    talk(&mut source, &mut target);
    target.tally(b"that");
    assert!(!target.logs(|record| matches!(record, Record::Imported { .. })));
    assert!(matches!(target.reports.last().map(|report| &report.said), Some(Said::Failed(_))));
}

#[test]
fn a_hand_over_to_which_records_come_and_no_items_fails_in_the_end() {
    let fails = |seconds: u64, copies_items: bool| {
        let mut source = Side::new(SOURCE, options(), table(7, None));
        let mut target = Side::new(TARGET, options(), table(7, None));
        talk(&mut source, &mut target);
        source.read(item(0), 0);
        talk(&mut source, &mut target);
        for second in 1..=seconds {
            // What another hand-over stages here.
            source.index += 1;
            source.tick(1_000_000);
            target.tick(1_000_000);
            source.commit();
            source.read(item(if copies_items { second as u8 } else { 0 }), 0);
            talk(&mut source, &mut target);
        }
        source.tick(1_000_000);
        source.reports.iter().any(|report| matches!(report.said, Said::Failed(_)))
    };
    assert!(fails(70, false), "the leader sees bytes, and would wait for ever");
    assert!(!fails(50, false), "a while without items is no harm");
    assert!(!fails(200, true));
}

#[test]
fn a_new_primary_of_the_source_goes_on_where_the_target_stands() {
    let mut source = Side::new(SOURCE, options(), table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    source.read(item(1), 0);
    talk(&mut source, &mut target);
    let stands = place(&target);
    source.fail_over(options(), table(7, None));
    talk(&mut source, &mut target);
    assert_eq!(source.reads.last().map(|read| read.from.clone()), Some(stands.clone()));
    source.read(Cursor::End, 0);
    talk(&mut source, &mut target);
    assert_eq!(place(&target).map(|place| place.stream), stands.map(|place| place.stream));
}

#[test]
fn a_new_primary_of_the_target_goes_on_with_what_is_committed() {
    let mut source = Side::new(SOURCE, options(), table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    source.read(item(1), 0);
    talk(&mut source, &mut target);
    let stands = place(&target);
    target.holds_back = true;
    source.read(item(2), 0);
    talk(&mut source, &mut target);
    assert_ne!(place(&target), stands);
    target.fail_over(options(), table(7, None));
    source.reads.clear();
    source.tick(1_000_000);
    talk(&mut source, &mut target);
    assert_eq!(source.reads.last().map(|read| read.from.clone()), Some(stands));
}

#[test]
fn a_place_that_the_source_does_not_hold_begins_another_stream() {
    let (mut source, mut target) = copied();
    let before = place(&target).unwrap();
    source.fail_over(options(), table(7, None));
    talk(&mut source, &mut target);
    let read = source.reads.pop().expect("it reads on");
    source.party.read(source.now_us, HAND_OVER, read.from.as_ref(), Chunk::Gone);
    source.carry_out();
    // The target says once more what it holds.
    source.tick(1_000_000);
    talk(&mut source, &mut target);
    source.read(item(1), 0);
    talk(&mut source, &mut target);
    let after = place(&target).unwrap();
    assert!(after.stream > before.stream && after.cursor == item(1));
}

#[test]
fn parts_count_from_where_the_target_stands_only() {
    let mut source = Side::new(SOURCE, options(), table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    source.read(item(1), 0);
    let first = source.messages.pop().unwrap();
    source.read(item(2), 0);
    let second = source.messages.pop().unwrap();
    target.hear(second.clone());
    assert_eq!(place(&target), None, "what leads there is missing");
    for message in [&first, &first, &second, &second, &first] {
        target.hear(message.clone());
    }
    let staged = target.log.iter().filter(|record| matches!(record, Record::Stage { .. })).count();
    assert_eq!((staged, place(&target).map(|place| place.cursor)), (2, Some(item(2))));
}

#[test]
fn a_part_of_an_earlier_stream_is_left_out() {
    let (_, mut target) = copied();
    let before = place(&target).unwrap();
    let stream = Stream { epoch: 0, number: 9 };
    let to = Place { stream, cursor: item(1), at: Position { epoch: 1, index: 99 } };
    let body = Body::Part { from: None, to, bytes: Bytes::new() };
    target.hear(Message { id: HAND_OVER, from: SOURCE, to: TARGET, version: 7, body });
    assert_eq!(place(&target), Some(before));
}

#[test]
fn what_is_on_the_way_is_bounded() {
    let mut source = Side::new(SOURCE, options(), table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    for number in 1..=3 {
        source.read(item(number), 0);
    }
    source.tick(1_000);
    assert!(source.reads.is_empty(), "300 bytes are on their way");
    talk(&mut source, &mut target);
    assert_eq!(source.reads.len(), 1);
}

#[test]
fn small_parts_on_the_way_are_bounded_too() {
    let few = Options { flight_bytes_max: 10_000, flight_count_max: 2, ..options() };
    let mut source = Side::new(SOURCE, few, table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    for number in 1..=2 {
        source.read(item(number), 0);
    }
    source.tick(1_000);
    assert!(source.reads.is_empty(), "two parts are on their way");
    talk(&mut source, &mut target);
    assert_eq!(source.reads.len(), 1);
}

#[test]
fn a_target_that_cannot_commit_takes_no_more_than_its_bound() {
    let wide = Options { flight_bytes_max: 10_000, flight_count_max: 64, ..options() };
    let mut source = Side::new(SOURCE, wide, table(7, None));
    let mut target = Side::new(TARGET, Options { stage_bytes_max: 250, ..options() }, table(7, None));
    talk(&mut source, &mut target);
    target.holds_back = true;
    for number in 1..=9 {
        source.read(item(number), 0);
    }
    talk(&mut source, &mut target);
    assert_eq!(target.log.len(), 3);
}

#[test]
fn the_seal_comes_however_much_is_written() {
    let patience_us = options().patience_us;
    let mut source = Side::new(SOURCE, Options { seal_lag_bytes: 1_000, ..options() }, table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    source.read(Cursor::End, 7_000);
    talk(&mut source, &mut target);
    let is_sealed = |source: &Side| source.logs(|record| matches!(record, Record::Seal { .. }));
    for _ in 0..2 {
        source.tick(patience_us);
        talk(&mut source, &mut target);
        assert!(!is_sealed(&source), "4000 bytes at most are little by now");
    }
    source.tick(patience_us);
    assert!(is_sealed(&source));
}

#[test]
fn nothing_is_sealed_while_no_leader_is_heard() {
    let heard_us_max = options().heard_us_max;
    let mut source = Side::new(SOURCE, options(), table(7, None));
    source.hears = false;
    source.fail_over(options(), table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    source.read(Cursor::End, 0);
    talk(&mut source, &mut target);
    source.tick(60_000_000);
    assert!(!source.logs(|record| matches!(record, Record::Seal { .. })), "nobody was ever heard");

    // What was heard too long ago, while something was missing, counts no more.
    let mut target = Side::new(TARGET, options(), table(7, None));
    let mut source = Side::new(SOURCE, options(), table(7, None));
    source.hears = false;
    talk(&mut source, &mut target);
    let started = source.now_us;
    source.tick(heard_us_max);
    talk(&mut source, &mut target);
    source.read(Cursor::End, 0);
    talk(&mut source, &mut target);
    assert_eq!(source.now_us, started + heard_us_max);
    assert!(!source.logs(|record| matches!(record, Record::Seal { .. })));
    source.party.heard(source.now_us);
    source.carry_out();
    assert!(source.logs(|record| matches!(record, Record::Seal { .. })));
}

#[test]
fn a_slow_foreground_holds_up_items_and_no_records() {
    let slow = Options { rate_max: 1_000, rate_min: 10, ..options() };
    let mut source = Side::new(SOURCE, slow, table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    source.read(item(1), 0);
    talk(&mut source, &mut target);
    assert!(source.reads.is_empty(), "the budget is spent");
    source.index += 1;
    source.commit();
    assert_eq!(source.reads.last().map(|read| read.with_items), Some(false));
}

#[test]
fn what_cannot_be_read_yet_is_asked_for_again_a_moment_later_and_not_at_once() {
    let mut source = Side::new(SOURCE, options(), table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    let read = source.reads.pop().expect("it reads");
    source.party.read(source.now_us, HAND_OVER, read.from.as_ref(), Chunk::Later);
    source.carry_out();
    assert!(source.reads.is_empty(), "a host that answers at once would do nothing else");
    source.tick(10_000);
    assert_eq!(source.reads.len(), 1);
}

#[test]
fn a_target_that_rests_is_sent_records_and_no_items() {
    let mut source = Side::new(SOURCE, options(), table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    talk(&mut source, &mut target);
    source.read(item(1), 0);
    target.party.foreground(target.now_us, 1);
    target.party.worked(target.now_us, 10_000);
    talk(&mut source, &mut target);
    let rests_us = target.party.rested_us().expect("it rests") - target.now_us;
    assert!(rests_us > 10_000);
    // What it was reading already.
    let early = source.reads.pop().expect("it reads on");
    source.party.read(source.now_us, HAND_OVER, early.from.as_ref(), Chunk::Later);
    source.tick(rests_us - 10_000);
    assert!(source.reads.is_empty(), "the target rests");
    source.index += 1;
    source.commit();
    let read = source.reads.pop().expect("records go as they come");
    assert!(!read.with_items);
    source.party.read(source.now_us, HAND_OVER, read.from.as_ref(), Chunk::Later);
    source.tick(10_000);
    assert_eq!(source.reads.pop().map(|read| read.with_items), Some(true), "it is over");
}

#[test]
fn parts_are_small_while_clients_ask_unless_what_they_write_would_outrun_them() {
    let limits = Options {
        part_bytes_max: 1_000,
        shared_part_bytes_max: 200,
        flight_bytes_max: 10_000,
        flight_count_max: 10,
        ..options()
    };
    let mut source = Side::new(SOURCE, limits, table(7, None));
    let mut target = Side::new(TARGET, options(), table(7, None));
    source.party.foreground(source.now_us, 1);
    talk(&mut source, &mut target);
    let next = |source: &Side| source.reads.last().map(|read| read.bytes_max);
    assert_eq!(next(&source), Some(200));
    source.read(item(1), 1_001);
    assert_eq!(next(&source), Some(1_000));
    source.read(item(2), 1_000);
    assert_eq!(next(&source), Some(200));
}

#[test]
fn a_source_that_does_not_hold_the_slots_says_so() {
    let mut planned = table(7, None);
    planned.owners[0].tenure = Id(5);
    let source = Side::new(SOURCE, options(), planned);
    assert!(matches!(source.reports.last().map(|report| &report.said), Some(Said::Failed(_))));
}

#[test]
fn a_late_clean_up_leaves_alone_what_has_come_back() {
    let at = |index| Position { epoch: 1, index };
    let slots = vec![SLOT];
    let clean =
        |is_last| Record::Clean { id: Id(7), version: 8, slots: vec![SLOT], upto: Bytes::new(), is_last };
    let place = Place { stream: Stream { epoch: 1, number: 1 }, cursor: Cursor::End, at: at(1) };
    let mut ledger = Ledger::default();
    for (index, record) in [
        Record::Seal { id: Id(7), version: 7, slots: slots.clone() },
        clean(true),
        Record::Stage { id: Id(10), version: 10, slots: slots.clone(), to: place, bytes: Bytes::new() },
        Record::Imported { id: Id(10), version: 10, sealed_at: at(9), levels: Bytes::new() },
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(ledger.apply(at(index as u64 + 1), record, None), slots);
    }
    assert!(ledger.apply(at(5), &clean(true), None).is_empty());
    assert_eq!((ledger.mark(SLOT), ledger.version()), (Mark::Held(Id(10)), 10));
    assert_eq!(
        ledger.apply(at(5), &clean(true), Some(Bug::CleansLate)),
        slots,
        "the mistake would delete it"
    );
}

#[test]
fn a_backup_behind_two_hand_overs_does_not_serve_what_it_has() {
    let (ledger, mut newer) = (Ledger::default(), table(12, None));
    newer.migrations.clear();
    newer.owners[0] = Owner { shard: SOURCE, tenure: Id(10) };
    assert!(ledger.serves(SLOT, &table(7, None), SOURCE, None));
    assert!(
        !ledger.serves(SLOT, &newer, SOURCE, None),
        "the slot went and came back, and nothing of that is applied"
    );
}

#[test]
fn limits_fit_each_other() {
    let options = Options::default();
    assert!(options.part_bytes_max < options.flight_bytes_max && options.rate_min < options.rate_max);
    assert!(slotkv_migration::LeaderOptions::default().slot_count_max <= options::SLOT_COUNT_MAX);
}

#[test]
fn neither_side_takes_part_in_a_plan_whose_owner_is_another() {
    // A table that nobody writes: the source owns nothing of it, the target everything.
    let mut wrong = table(7, None);
    wrong.owners[0].shard = TARGET;
    let mut source = Side::new(SOURCE, options(), wrong.clone());
    assert!(matches!(source.reports.last().map(|report| &report.said), Some(Said::Failed(_))));
    let mut target = Side::new(TARGET, options(), wrong);
    talk(&mut source, &mut target);
    let to = Place {
        stream: Stream { epoch: 1, number: 1 },
        cursor: Cursor::End,
        at: Position { epoch: 1, index: 9 },
    };
    let body = Body::Part { from: None, to, bytes: Bytes::new() };
    target.hear(Message { id: HAND_OVER, from: SOURCE, to: TARGET, version: 7, body });
    assert!(target.log.is_empty() && target.party.serves(SLOT));
}
