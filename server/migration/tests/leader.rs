//! The leader alone, against a coordinator that answers at once.

use slotkv_migration::{
    Answer, Ask, Id, Leader, LeaderOptions, Migration, Outcome, Owner, Report, Said, ShardId, Table,
};

const SECOND: u64 = 1_000_000;

struct Desk {
    leader: Leader,
    table: Table,
    now_us: u64,
    notes: Vec<slotkv_migration::Note>,
}

impl Desk {
    fn new(owners: &[ShardId], options: LeaderOptions) -> Self {
        let owners = owners.iter().map(|&shard| Owner { shard, tenure: Id(0) }).collect();
        let table = Table { version: 0, owners, migrations: Vec::new() };
        Self { leader: Leader::new(0, options), table, now_us: 0, notes: Vec::new() }
    }

    /// Answers until nothing more is asked.
    fn settle(&mut self) {
        for _ in 0..100 {
            let asks = self.leader.asks();
            self.notes.extend(self.leader.notes());
            if asks.is_empty() {
                return;
            }
            for ask in asks {
                let answer = match ask {
                    Ask::Read => Answer::Table(self.table.clone()),
                    Ask::CompareAndSet(next) if next.version == self.table.version + 1 => {
                        self.table = next;
                        Answer::Written
                    }
                    Ask::CompareAndSet(_) => Answer::Conflict,
                };
                self.leader.answered(self.now_us, answer);
            }
        }
        panic!("it asks for ever");
    }

    fn want(&mut self, owners: &[ShardId]) {
        self.leader.want(self.now_us, owners.to_vec());
        self.settle();
    }

    fn say(&mut self, id: u64, is_source: bool, said: Said) {
        self.leader.report(self.now_us, Report { id: Id(id), is_source, said });
        self.settle();
    }

    fn pass(&mut self, us: u64) {
        self.now_us += us;
        self.leader.tick(self.now_us);
        self.settle();
    }

    fn owners(&self) -> Vec<ShardId> {
        self.table.owners.iter().map(|owner| owner.shard).collect()
    }

    fn finish(&mut self, id: u64) {
        self.say(id, false, Said::Imported);
        self.say(id, true, Said::Done);
        self.say(id, false, Said::Done);
    }
}

fn options() -> LeaderOptions {
    LeaderOptions { slot_count_max: 2, ..LeaderOptions::default() }
}

#[test]
fn imported_slots_move_in_a_tenure_named_by_their_plan_and_the_plan_stays_until_both_are_done() {
    let mut desk = Desk::new(&[0, 0], options());
    desk.want(&[0, 1]);
    let plan = Migration { id: Id(1), slots: vec![1], source: 0, target: 1, outcome: None };
    assert_eq!((desk.table.version, &desk.table.migrations), (1, &vec![plan]));

    desk.say(1, true, Said::Sealed);
    assert_eq!(desk.owners(), [0, 0]);
    desk.say(1, false, Said::Imported);
    assert_eq!(desk.table.owners[1], Owner { shard: 1, tenure: Id(1) });

    desk.want(&[0, 0]);
    desk.say(1, false, Said::Done);
    assert_eq!(desk.table.migrations[0].id, Id(1), "the source is not done");
    desk.say(1, true, Said::Done);
    assert_eq!(desk.table.migrations.iter().map(|open| open.id).collect::<Vec<_>>(), [Id(3)]);
}

#[test]
fn a_join_takes_from_every_shard_within_the_limits() {
    let limits = LeaderOptions { open_count_max: 3, per_shard_count_max: 2, ..options() };
    let mut desk = Desk::new(&[0, 0, 0, 0, 1, 1, 1, 1], limits);
    desk.want(&[0, 0, 2, 2, 1, 1, 2, 2]);
    let routes = |desk: &Desk| -> Vec<(ShardId, ShardId)> {
        desk.table.migrations.iter().map(|open| (open.source, open.target)).collect()
    };
    assert_eq!(routes(&desk), [(0, 2), (1, 2)]);
    (1..3).for_each(|id| desk.finish(id));
    assert_eq!((desk.owners(), desk.leader.left_count()), (vec![0, 0, 2, 2, 1, 1, 2, 2], 0));

    desk.want(&[2, 2, 0, 0, 1, 1, 1, 1]);
    assert_eq!(routes(&desk), [(0, 2), (2, 0)], "shard 2 is busy with two");
}

#[test]
fn a_seal_that_lasts_too_long_is_aborted_and_tried_again_later_and_later_with_more_time() {
    let mut desk = Desk::new(&[0], options());
    desk.want(&[1]);
    let mut waits = Vec::new();
    for count in 1..4_u32 {
        let id = desk.table.migrations[0].id.0;
        desk.say(id, true, Said::Sealed);
        desk.pass((SECOND << (count - 1)) - 1);
        assert_eq!(desk.table.migrations[0].outcome, None);
        desk.pass(1);
        assert_eq!(desk.table.migrations[0].outcome, Some(Outcome::Aborted));
        let note = desk.notes.pop().unwrap();
        assert_eq!((note.failed_count, note.why.as_str()), (count, "it was sealed for too long"));
        waits.push(note.retry_at_us - desk.now_us);
        desk.say(id, true, Said::Done);
        desk.say(id, false, Said::Done);
        assert!(desk.table.migrations.is_empty());
        desk.pass(waits[waits.len() - 1]);
    }
    assert_eq!(waits, [SECOND / 2, SECOND, 2 * SECOND]);
    assert_eq!(desk.owners(), [0]);
}

#[test]
fn a_side_that_cannot_and_one_that_comes_no_further_are_given_up_with_the_reason() {
    let mut desk = Desk::new(&[0, 2], options());
    desk.want(&[1, 3]);
    desk.say(1, false, Said::Failed("no room".into()));
    for _ in 0..5 {
        desk.pass(3 * SECOND);
    }
    let why: Vec<_> = desk.notes.iter().map(|note| (note.id.0, note.why.as_str())).collect();
    assert_eq!(why, [(1, "no room"), (2, "it came no further")]);
}

#[test]
fn progress_counts_as_coming_further() {
    let mut desk = Desk::new(&[0], options());
    desk.want(&[1]);
    for sent_bytes in 0..10 {
        desk.pass(9 * SECOND);
        desk.say(1, true, Said::Copying { sent_bytes, behind_bytes: 0 });
    }
    assert_eq!(desk.table.migrations[0].outcome, None);
}

#[test]
fn of_two_hand_overs_the_one_that_is_meant_is_cancelled() {
    let mut desk = Desk::new(&[0, 0], options());
    desk.want(&[1, 2]);
    let ids: Vec<Id> = desk.table.migrations.iter().map(|migration| migration.id).collect();
    assert_eq!(ids.len(), 2);
    desk.leader.cancel_those(desk.now_us, |migration| migration.target == 2);
    desk.settle();
    let outcome = |target: ShardId| {
        let mut migrations = desk.table.migrations.iter();
        migrations.find(|migration| migration.target == target).unwrap().outcome
    };
    assert_eq!((outcome(1), outcome(2)), (None, Some(Outcome::Aborted)));
}

#[test]
fn what_is_forbidden_is_aborted_although_the_target_has_everything() {
    let mut desk = Desk::new(&[0], options());
    desk.want(&[1]);
    let id = desk.table.migrations[0].id;
    desk.leader.forbid(desk.now_us, id, "shard 0 has lost records".into());
    desk.settle();
    desk.say(id.0, false, Said::Imported);
    assert_eq!(desk.table.migrations[0].outcome, Some(Outcome::Aborted));
    assert_eq!(desk.table.owners[0].shard, 0);
    assert_eq!(desk.notes[0].why, "shard 0 has lost records");
}

#[test]
fn cancel_aborts_what_is_not_decided_and_plans_nothing_more() {
    let mut desk = Desk::new(&[0; 8], options());
    desk.want(&[1; 8]);
    assert_eq!(desk.table.migrations.len(), 2);
    desk.say(1, false, Said::Imported);
    desk.leader.cancel(desk.now_us);
    desk.settle();
    let outcomes: Vec<_> = desk.table.migrations.iter().map(|open| (open.id.0, open.outcome)).collect();
    assert_eq!(outcomes, [(1, Some(Outcome::Moved)), (2, Some(Outcome::Aborted))]);
    (1..3).for_each(|id| {
        desk.say(id, true, Said::Done);
        desk.say(id, false, Said::Done);
    });
    desk.pass(60 * SECOND);
    assert!(desk.table.migrations.is_empty());
}

#[test]
fn an_unknown_outcome_is_read_and_not_guessed() {
    let mut desk = Desk::new(&[0], options());
    desk.want(&[1]);
    // The switch is written, and its answer lost.
    desk.leader.report(0, Report { id: Id(1), is_source: false, said: Said::Imported });
    let [Ask::CompareAndSet(switch)] = &desk.leader.asks()[..] else { panic!("it decides") };
    desk.table = switch.clone();
    desk.leader.answered(0, Answer::Unknown);
    assert_eq!(desk.leader.asks(), [Ask::Read]);
    desk.leader.answered(0, Answer::Table(desk.table.clone()));
    assert_eq!(desk.leader.asks(), []);
    assert_eq!(desk.leader.progress()[0].migration.outcome, Some(Outcome::Moved));
}

#[test]
fn the_next_leader_goes_on_from_the_table_and_what_is_repeated() {
    let mut desk = Desk::new(&[0], options());
    desk.want(&[1]);
    desk.leader = Leader::new(desk.now_us, options());
    desk.settle();
    desk.finish(1);
    assert_eq!((desk.owners(), desk.table.migrations.len()), (vec![1], 0));
}

#[test]
fn a_word_of_an_earlier_primary_takes_nothing_back() {
    let mut desk = Desk::new(&[0, 0, 0], options());
    desk.want(&[1, 0, 0]);
    desk.say(1, false, Said::Imported);
    desk.say(1, false, Said::Done);
    desk.say(1, false, Said::Failed("an old one".into()));
    desk.say(1, true, Said::Done);
    desk.say(1, true, Said::Sealed);
    assert_eq!((desk.owners(), desk.table.migrations.len()), (vec![1, 0, 0], 0));
}
