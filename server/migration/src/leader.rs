//! Leader: plans hand-overs, decides them, closes them; each by one compare-and-set of the table. Everything that it must know
//! again is in the table and in what the shards repeat, so whoever leads next goes on.
//!
//! At most one plan goes into one version, so that the version names its hand-over. A compare-and-set of unknown outcome
//! is no outcome: the table is read again. An abort and a switch may both have been sent; the version lets one of them
//! through, and the table says which.

use std::collections::BTreeMap;

use crate::{
    Bug, LeaderOptions, ShardId, Slot,
    options::SLOT_COUNT_MAX,
    place::Id,
    ready::{Report, Said},
    table::{Migration, Outcome, Owner, Table},
};

/// A question to the coordinator. One is open at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Sync and read the table.
    Read,
    /// Write this table if the present version is the one before it and this master still leads.
    CompareAndSet(Table),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The table as it was read.
    Table(Table),
    /// It was written.
    Written,
    /// It had another version, or another master leads.
    Conflict,
    /// It may or may not have been done.
    Unknown,
}

/// Something for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which hand-over.
    pub id: Id,
    /// From where to where.
    pub route: (ShardId, ShardId),
    /// What was decided about it.
    pub outcome: Outcome,
    /// Why it was aborted.
    pub why: String,
    /// How often in a row these two have failed.
    pub failed_count: u32,
    /// When they are tried again.
    pub retry_at_us: u64,
}

/// How far an open hand-over is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which.
    pub migration: Migration,
    /// Since when it is known to this leader.
    pub since_us: u64,
    /// The source's last word.
    pub source: Option<Said>,
    /// The target's.
    pub target: Option<Said>,
}

#[derive(Clone, Debug, Default)]
struct Watched {
    since_us: u64,
    /// When it came further last.
    moved_us: u64,
    sealed_us: Option<u64>,
    source: Option<Said>,
    target: Option<Said>,
    is_cancelled: bool,
    /// Why the target must not get the slots, whatever it says.
    forbidden: Option<String>,
    is_noted: bool,
    /// Why it is to be aborted.
    why: String,
}

#[derive(Clone, Debug, Default)]
struct Failure {
    count: u32,
    retry_at_us: u64,
}

/// The leading master's part in hand-overs.
#[derive(Clone, Debug)]
pub struct Leader {
    options: LeaderOptions,
    now_us: u64,
    table: Option<Table>,
    read_us: u64,
    /// Who is to own each slot; empty: nothing is to move.
    wanted: Vec<ShardId>,
    watched: BTreeMap<Id, Watched>,
    failures: BTreeMap<(ShardId, ShardId), Failure>,
    /// What is asked, and when.
    asked: Option<(Ask, u64)>,
    asks: Vec<Ask>,
    notes: Vec<Note>,
}

impl Leader {
    /// A master that takes office.
    pub fn new(now_us: u64, options: LeaderOptions) -> Self {
        let mut leader = Self {
            options,
            now_us,
            table: None,
            read_us: now_us,
            wanted: Vec::new(),
            watched: BTreeMap::new(),
            failures: BTreeMap::new(),
            asked: None,
            asks: Vec::new(),
            notes: Vec::new(),
        };
        leader.go_on();
        leader
    }

    /// Questions to the coordinator, to be answered by [`Self::answered`].
    pub fn asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// What was decided, for people.
    pub fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Who is to own each slot, as a placement has it. Slots of shards that are not in it stay.
    pub fn want(&mut self, now_us: u64, owners: Vec<ShardId>) {
        self.input(now_us, |leader| leader.wanted = owners);
    }

    /// Nothing more is to be planned, and what is open to be aborted if it is not decided yet.
    pub fn cancel(&mut self, now_us: u64) {
        self.input(now_us, |leader| {
            leader.wanted.clear();
            leader.watched.values_mut().for_each(|watched| watched.is_cancelled = true);
        });
    }

    /// Those of the open hand-overs that are meant are to be aborted, if they are not decided yet.
    pub fn cancel_those(&mut self, now_us: u64, is_meant: impl Fn(&Migration) -> bool) {
        self.input(now_us, |leader| {
            for migration in
                leader.table.iter().flat_map(|table| &table.migrations).filter(|one| is_meant(one))
            {
                if let Some(watched) = leader.watched.get_mut(&migration.id) {
                    watched.is_cancelled = true;
                }
            }
        });
    }

    /// A hand-over must not be decided for the target, though it says that it has everything: a shard may have lost what it
    /// had said.
    pub fn forbid(&mut self, now_us: u64, id: Id, why: String) {
        self.input(now_us, |leader| {
            if let Some(watched) = leader.watched.get_mut(&id) {
                watched.forbidden = Some(why);
            }
        });
    }

    /// What came of a question.
    pub fn answered(&mut self, now_us: u64, answer: Answer) {
        self.input(now_us, |leader| {
            let Some((ask, _)) = leader.asked.take() else { return };
            match (answer, ask) {
                (Answer::Table(table), _) => leader.take_table(table),
                (Answer::Written, Ask::CompareAndSet(table)) => leader.take_table(table),
                (Answer::Written | Answer::Conflict | Answer::Unknown, _) => leader.table = None,
            }
        });
    }

    /// A shard has told something.
    pub fn report(&mut self, now_us: u64, report: Report) {
        self.input(now_us, |leader| {
            let now_us = leader.now_us;
            let Some(watched) = leader.watched.get_mut(&report.id) else { return };
            if report.said == Said::Sealed {
                watched.sealed_us.get_or_insert(now_us);
            }
            let last = match report.is_source {
                true => &mut watched.source,
                false => &mut watched.target,
            };
            // What is decided is not talked about any more by an earlier primary.
            let is_older =
                *last == Some(Said::Done) || *last == Some(Said::Imported) && report.said != Said::Done;
            if !is_older && last.as_ref() != Some(&report.said) {
                watched.moved_us = now_us;
                *last = Some(report.said);
            }
        });
    }

    /// Time has passed.
    pub fn tick(&mut self, now_us: u64) {
        self.input(now_us, |_| {});
    }

    /// What is open.
    pub fn progress(&self) -> Vec<Progress> {
        let open = self.table.iter().flat_map(|table| &table.migrations);
        let progress = open.filter_map(|migration| {
            let watched = self.watched.get(&migration.id)?;
            Some(Progress {
                migration: migration.clone(),
                since_us: watched.since_us,
                source: watched.source.clone(),
                target: watched.target.clone(),
            })
        });
        progress.collect()
    }

    /// Slots that are not where they are wanted. 0 with nothing open: the plan is carried out.
    pub fn left_count(&self) -> usize {
        self.table.as_ref().map_or(0, |table| self.misplaced(table).count())
    }

    fn input(&mut self, now_us: u64, take: impl FnOnce(&mut Self)) {
        self.now_us = self.now_us.max(now_us);
        take(self);
        self.go_on();
    }

    fn take_table(&mut self, table: Table) {
        let now_us = self.now_us;
        self.read_us = now_us;
        self.watched.retain(|id, _| table.migration(*id).is_some());
        for migration in &table.migrations {
            let fresh = || Watched { since_us: now_us, moved_us: now_us, ..Watched::default() };
            let watched = self.watched.entry(migration.id).or_insert_with(fresh);
            if let Some(outcome) = migration.outcome
                && !std::mem::replace(&mut watched.is_noted, true)
            {
                self.note(migration, outcome);
            }
        }
        self.table = Some(table);
    }

    fn go_on(&mut self) {
        if self.asked.is_some() {
            return;
        }
        let is_old = self.now_us >= self.read_us + self.options.reread_us;
        let ask = match &self.table {
            Some(table) if !is_old => self.change(&table.clone()).map(Ask::CompareAndSet),
            _ => Some(Ask::Read),
        };
        if let Some(ask) = ask {
            self.asked = Some((ask.clone(), self.now_us));
            self.asks.push(ask);
        }
    }

    /// The next version: everything that can be decided or closed now, and one plan. Whoever reads tables may miss some, so
    /// several changes in one are nothing new to anybody; but a plan is named by its version.
    fn change(&mut self, table: &Table) -> Option<Table> {
        let mut next = Table { version: table.version + 1, ..table.clone() };
        for migration in table.migrations.iter().filter(|migration| migration.outcome.is_none()) {
            if let Some(outcome) = self.outcome(migration) {
                decide(&mut next, migration, outcome);
            }
        }
        next.migrations.retain(|migration| !self.is_over(migration));
        next.migrations.extend(self.plan(&next));
        (next.migrations != table.migrations).then_some(next)
    }

    /// Both sides are done.
    fn is_over(&self, migration: &Migration) -> bool {
        let Some(watched) = self.watched.get(&migration.id) else { return false };
        migration.outcome.is_some()
            && watched.source == Some(Said::Done)
            && watched.target == Some(Said::Done)
    }

    /// What is to be decided now, if anything.
    fn outcome(&mut self, migration: &Migration) -> Option<Outcome> {
        let watched = self.watched.get(&migration.id)?;
        if let Some(why) = watched.forbidden.clone() {
            self.watched.get_mut(&migration.id)?.why = why;
            return Some(Outcome::Aborted);
        }
        if watched.target == Some(Said::Imported) {
            return Some(Outcome::Moved);
        }
        let failed = [&watched.source, &watched.target].into_iter().find_map(|said| match said {
            Some(Said::Failed(why)) => Some(why.clone()),
            _ => None,
        });
        let late = |since_us: u64, us: u64| self.now_us >= since_us + us;
        let why = if let Some(why) = failed {
            why
        } else if watched.is_cancelled {
            "it was cancelled".into()
        } else if watched.sealed_us.is_some_and(|sealed_us| late(sealed_us, self.options.sealed_us_max)) {
            "it was sealed for too long".into()
        } else if late(watched.moved_us, self.options.stall_us) {
            "it came no further".into()
        } else {
            return None;
        };
        self.watched.get_mut(&migration.id)?.why = why;
        Some(Outcome::Aborted)
    }

    fn note(&mut self, migration: &Migration, outcome: Outcome) {
        let route = (migration.source, migration.target);
        let failure = self.failures.entry(route).or_default();
        *failure = match outcome {
            Outcome::Moved => Failure::default(),
            Outcome::Aborted => {
                let wait_us = self.options.retry_us.saturating_mul(1 << failure.count.min(20));
                Failure {
                    count: failure.count + 1,
                    retry_at_us: self.now_us + wait_us.min(self.options.retry_us_max),
                }
            }
        };
        let (failed_count, retry_at_us) = (failure.count, failure.retry_at_us);
        let why = self.watched.get(&migration.id).map(|watched| watched.why.clone());
        let why = why.filter(|_| outcome == Outcome::Aborted).unwrap_or_default();
        self.notes.push(Note { id: migration.id, route, outcome, why, failed_count, retry_at_us });
    }

    /// Slots that are owned and wanted elsewhere.
    fn misplaced<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = (Slot, (ShardId, ShardId))> + 'a {
        let pairs = table.owners.iter().zip(&self.wanted).enumerate();
        pairs
            .filter(|(_, (owner, wanted))| owner.shard != **wanted)
            .map(|(slot, (owner, wanted))| (slot as Slot, (owner.shard, *wanted)))
    }

    /// The hand-over that this version plans: the first two shards that have something to move between them and room for it.
    fn plan(&self, table: &Table) -> Option<Migration> {
        let early = self.options.has(Bug::PlansWhileOpen);
        let counts = |migration: &&Migration| !early || migration.outcome.is_none();
        let open: Vec<&Migration> = table.migrations.iter().filter(counts).collect();
        if open.len() >= self.options.open_count_max {
            return None;
        }
        let is_busy = |shard: ShardId| {
            let of = |migration: &&&Migration| migration.source == shard || migration.target == shard;
            open.iter().filter(of).count() >= self.options.per_shard_count_max
        };
        let mut found: BTreeMap<(ShardId, ShardId), Vec<Slot>> = BTreeMap::new();
        for (slot, route) in self.misplaced(table) {
            if !open.iter().any(|migration| migration.slots.contains(&slot)) {
                found.entry(route).or_default().push(slot);
            }
        }
        let waits = |route: &(ShardId, ShardId)| {
            self.failures.get(route).is_some_and(|failure| self.now_us < failure.retry_at_us)
        };
        let (route, mut slots) =
            found.into_iter().find(|(route, _)| !is_busy(route.0) && !is_busy(route.1) && !waits(route))?;
        slots.truncate(self.options.slot_count_max.clamp(1, SLOT_COUNT_MAX));
        let id = Id(table.version);
        Some(Migration { id, slots, source: route.0, target: route.1, outcome: None })
    }
}

fn decide(next: &mut Table, migration: &Migration, outcome: Outcome) {
    if let Some(open) = next.migrations.iter_mut().find(|open| open.id == migration.id) {
        open.outcome = Some(outcome);
    }
    if outcome == Outcome::Aborted {
        return;
    }
    for slot in &migration.slots {
        if let Some(owner) = next.owners.get_mut(usize::from(*slot)) {
            *owner = Owner { shard: migration.target, tenure: migration.id };
        }
    }
}
