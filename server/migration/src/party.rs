//! Party: one shard's primary in all hand-overs that concern it, for one epoch; its inputs and outputs. What is its own is in
//! `outgoing.rs` and `incoming.rs`; what a decision asks for afterwards, and clean-up, is here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::{
    Bug, Options, ShardId, Slot,
    failpoint::{reached, steps},
    incoming::Incoming,
    ledger::{Ledger, Mark, State, Work},
    lost::Lost,
    message::{Body, Message},
    outgoing::Outgoing,
    pace::Pace,
    place::{Cursor, Id, Position},
    ready::{Ready, Report, Said, Sweep},
    record::Record,
    table::{Migration, Outcome, Table},
};

/// What a primary begins with, when it has taken office and the log is its own.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which shard.
    pub shard: ShardId,
    /// The epoch that it leads.
    pub epoch: u64,
    /// What is applied.
    pub ledger: Ledger,
    /// Records of hand-overs behind that, committed or not.
    pub tail: Vec<(Position, Record)>,
    /// The commit index.
    pub commit_index: u64,
    /// The table as it was read *after* the office was taken.
    pub table: Table,
    /// For a shard that has ever lost what it had settled (its register's `loss_epoch`): the last index of the log now. Behind it
    /// the shard may find out which slots are lost.
    pub loss_index: Option<u64>,
}

/// One primary's part in hand-overs.
#[derive(Clone, Debug)]
pub struct Party {
    pub(crate) me: ShardId,
    pub(crate) epoch: u64,
    pub(crate) options: Options,
    pub(crate) now_us: u64,
    pub(crate) table: Table,
    /// By what is committed.
    pub(crate) committed: Ledger,
    /// By what is appended, too.
    pub(crate) appended: Ledger,
    tail: VecDeque<(Position, Record)>,
    /// Where the last committed record of each hand-over lies, of those that were committed since `begun_index`.
    last_of: BTreeMap<Id, u64>,
    begun_index: u64,
    pub(crate) commit: u64,
    pub(crate) settled: u64,
    pub(crate) outgoing: BTreeMap<Id, Outgoing>,
    pub(crate) incoming: BTreeMap<Id, Incoming>,
    sweeping: BTreeSet<Id>,
    /// Hand-overs of which a record is asked to be appended.
    pub(crate) asked: BTreeSet<Id>,
    pub(crate) stream_count: u64,
    pub(crate) pace: Pace,
    told: BTreeMap<Id, (Said, u64)>,
    sealed_us: BTreeMap<Id, u64>,
    /// When a leader was heard of last, by this process.
    heard_us: Option<u64>,
    pub(crate) loss_index: Option<u64>,
    pub(crate) lost: Lost,
    pub(crate) ready: Ready,
}

impl Party {
    /// A primary that takes office.
    pub fn new(now_us: u64, options: Options, start: Start) -> Self {
        let pace = Pace::new(now_us, &options);
        let mut party = Self {
            me: start.shard,
            epoch: start.epoch,
            options,
            now_us,
            table: Table::default(),
            last_of: BTreeMap::new(),
            begun_index: start.ledger.last_index(),
            committed: start.ledger.clone(),
            appended: start.ledger,
            tail: VecDeque::new(),
            commit: start.commit_index,
            settled: 0,
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            sweeping: BTreeSet::new(),
            asked: BTreeSet::new(),
            stream_count: 0,
            pace,
            told: BTreeMap::new(),
            sealed_us: BTreeMap::new(),
            heard_us: None,
            loss_index: start.loss_index,
            lost: Lost::default(),
            ready: Ready::default(),
        };
        for (position, record) in start.tail {
            party.appended.apply(position, &record, party.options.bug());
            party.tail.push_back((position, record));
        }
        party.take_table(start.table);
        party.apply_committed();
        if party.options.has(Bug::DropsStaging) {
            party.drop_staging();
        }
        party.advance();
        party
    }

    /// What came up. To be taken, and carried out, after every input.
    pub fn ready(&mut self) -> Ready {
        std::mem::take(&mut self.ready)
    }

    /// Time has passed. To be called every few milliseconds while hand-overs are open, and seldom otherwise.
    pub fn tick(&mut self, now_us: u64) {
        self.input(now_us, |_| {});
    }

    /// The leader lives: it has done something that it had not done when it was looked at before.
    pub fn heard(&mut self, now_us: u64) {
        self.input(now_us, |party| party.heard_us = Some(party.now_us));
    }

    /// The table was read. An older one than is known, or than the log knows, is ignored.
    pub fn table(&mut self, now_us: u64, table: Table) {
        self.input(now_us, |party| party.take_table(table));
    }

    /// A record that was asked for has this place in the log. It need not be durable.
    pub fn logged(&mut self, now_us: u64, position: Position, record: Record) {
        self.input(now_us, |party| {
            let id = record.id();
            party.asked.remove(&id);
            reached(steps::of_appended(&record, party.gives(id)), id);
            let slots = party.appended.apply(position, &record, party.options.bug());
            if let Record::Stage { bytes, .. } = &record
                && !slots.is_empty()
            {
                party.staged(id, position.index, bytes.len());
            }
            if matches!(record, Record::Seal { .. }) {
                party.sealed_us.insert(id, party.now_us);
            }
            let is_stage = matches!(record, Record::Stage { .. });
            party.tail.push_back((position, record));
            if is_stage {
                party.import_regained(id);
            }
        });
    }

    /// A record that was asked for is not appended.
    pub fn dropped(&mut self, now_us: u64, id: Id) {
        self.input(now_us, |party| {
            party.asked.remove(&id);
            party.drop_regained(id);
        });
    }

    /// Everything up to here is committed and applied. `settled_index` is up to where it can no more be lost by unclean stops: under
    /// `sync` durability the same, under `interval` what enough members have synced. Other shards and the leader are told only
    /// what is settled.
    pub fn committed(&mut self, now_us: u64, commit_index: u64, settled_index: u64) {
        self.input(now_us, |party| {
            party.commit = party.commit.max(commit_index);
            party.settled = party.settled.max(settled_index.min(party.commit));
            party.apply_committed();
        });
    }

    /// A message has come.
    pub fn step(&mut self, now_us: u64, message: Message) {
        self.input(now_us, |party| {
            if message.version > party.table.version {
                party.ready.refresh = true;
            }
            let (id, from) = (message.id, message.from);
            match message.body {
                Body::Offer => party.hear_offer(id, from),
                Body::Part { from: place, to, bytes } => party.hear_part(id, from, place, to, bytes),
                Body::Sealed { stream, at, tally, levels } => {
                    party.hear_sealed(id, from, (stream, at, tally, levels))
                }
                Body::Holds { next, held, rest_us } => {
                    party.hear_rest(id, rest_us);
                    party.hear_holds(id, next, held);
                }
            }
        });
    }

    /// A [`Sweep`] goes up to this item; it is the last one.
    pub fn swept(&mut self, now_us: u64, id: Id, upto: Bytes, is_last: bool) {
        self.input(now_us, |party| {
            if !party.sweeping.remove(&id) {
                return;
            }
            let is_cleaned = party.cleaned_slots(id);
            let late = party.options.has(Bug::CleansLate) || party.options.has(Bug::PlansWhileOpen);
            let slots = party.slots_of(id);
            if !late && !is_cleaned || slots.is_empty() {
                return;
            }
            let version = party.table.version;
            party.append(Record::Clean { id, version, slots, upto, is_last });
        });
    }

    /// A part that was asked for is not appended, and why: there is no room for it. If that goes on, the hand-over has failed.
    pub fn refused(&mut self, now_us: u64, id: Id, why: String) {
        self.input(now_us, |party| {
            party.asked.remove(&id);
            party.drop_regained(id);
            party.refuse(id, why);
        });
    }

    /// Clients ask, whatever it is.
    pub fn asked(&mut self, now_us: u64) {
        self.now_us = self.now_us.max(now_us);
        self.pace.asked(self.now_us);
    }

    /// How long requests take here at present.
    pub fn foreground(&mut self, now_us: u64, latency_us: u64) {
        self.now_us = self.now_us.max(now_us);
        self.pace.look(self.now_us, latency_us, &self.options);
    }

    /// The host has spent so much time on reading, staging or deleting for hand-overs.
    pub fn worked(&mut self, now_us: u64, us: u64) {
        self.now_us = self.now_us.max(now_us);
        self.pace.worked(self.now_us, us, &self.options);
    }

    /// When a rest is over, here or at a target: [`Self::tick`] is to be called then, and not only in its turn.
    pub fn rested_us(&self) -> Option<u64> {
        let own = self.now_us + self.pace.rest_us(self.now_us);
        let targets = self.outgoing.values().map(|outgoing| outgoing.rested_us);
        targets.chain([own]).filter(|at_us| *at_us > self.now_us).min()
    }

    /// Whether the shard serves this slot, reads and writes, by what is appended.
    pub fn serves(&self, slot: Slot) -> bool {
        self.appended.serves(slot, &self.table, self.me, self.options.bug())
    }

    /// Whether requests for a slot are better kept waiting than refused: it is sealed, and will be decided soon.
    pub fn is_sealed(&self, slot: Slot) -> bool {
        matches!(self.appended.mark(slot), Mark::Sealed { id, .. } if self.table.in_flight(id).is_some())
    }

    /// Records of the log from this index on are needed for copies.
    pub fn needed_from_index(&self) -> u64 {
        let places = self.outgoing.values().map(Outgoing::needs_from_index);
        places.min().unwrap_or(u64::MAX)
    }

    /// What the log says, with what is not committed.
    pub fn ledger(&self) -> &Ledger {
        &self.appended
    }

    /// The table that is known.
    pub fn known(&self) -> &Table {
        &self.table
    }

    pub(crate) fn input(&mut self, now_us: u64, take: impl FnOnce(&mut Self)) {
        self.now_us = self.now_us.max(now_us);
        take(self);
        self.advance();
    }

    /// Whether somebody is there to decide about what is sealed.
    pub(crate) fn hears_leader(&self) -> bool {
        let heard_us_max = self.options.heard_us_max;
        self.heard_us.is_some_and(|heard_us| self.now_us < heard_us.saturating_add(heard_us_max))
    }

    pub(crate) fn send(&mut self, id: Id, to: ShardId, body: Body) {
        reached(steps::of_message(&body), id);
        self.ready.messages.push(Message { id, from: self.me, to, version: self.table.version, body });
    }

    pub(crate) fn append(&mut self, record: Record) {
        self.asked.insert(record.id());
        self.ready.appends.push(record);
    }

    fn take_table(&mut self, table: Table) {
        let floor = match self.options.has(Bug::UnsealsByOlderTable) {
            true => 0,
            false => self.appended.version().max(self.table.version),
        };
        if table.version < floor {
            self.ready.refresh = true;
            return;
        }
        for migration in table.migrations.iter().filter(|found| self.is_news(found)) {
            if let Some(outcome) = migration.outcome {
                reached(steps::of_decision(outcome, migration.source == self.me), migration.id);
            }
        }
        self.table = table;
    }

    /// Whether a table decides what none has decided before, about a hand-over of this shard's.
    fn is_news(&self, migration: &Migration) -> bool {
        let known = self.table.migration(migration.id).and_then(|known| known.outcome);
        (migration.source == self.me || migration.target == self.me) && known.is_none()
    }

    /// Whether this shard is the source of a hand-over.
    fn gives(&self, id: Id) -> bool {
        self.table.migration(id).is_some_and(|migration| migration.source == self.me)
    }

    fn apply_committed(&mut self) {
        while let Some((position, record)) = self.tail.front()
            && position.index <= self.commit
        {
            self.committed.apply(*position, record, self.options.bug());
            self.last_of.insert(record.id(), position.index);
            for step in steps::of_committed(record, self.gives(record.id())).into_iter().flatten() {
                reached(step, record.id());
            }
            self.tail.pop_front();
        }
    }

    /// Whatever follows from what is known.
    fn advance(&mut self) {
        let table = std::mem::take(&mut self.table);
        let migrations = table.migrations.clone();
        self.table = table;
        let in_flight = |id: &Id| migrations.iter().any(|found| found.id == *id && found.outcome.is_none());
        self.outgoing.retain(|id, _| in_flight(id));
        self.incoming.retain(|id, _| in_flight(id));
        let work = self.appended.work();
        self.last_of
            .retain(|id, _| work.contains_key(id) || migrations.iter().any(|planned| planned.id == *id));
        for migration in &migrations {
            if migration.outcome.is_none() && migration.source == self.me {
                self.drive_outgoing(migration);
            } else if migration.outcome.is_none() && migration.target == self.me {
                self.drive_incoming(migration);
            }
        }
        let work = self.appended.work().iter().filter(|(id, work)| !self.is_settled(**id, work));
        let work: Vec<(Id, Work)> = work.map(|(id, work)| (*id, work.clone())).collect();
        for (id, work) in work {
            self.conclude(id, &work);
        }
        self.regain();
        for migration in &migrations {
            self.tell(migration);
        }
        self.told.retain(|id, _| migrations.iter().any(|found| found.id == *id));
    }

    /// What a decided hand-over leaves to be done. It is decided by a table newer than that by which the last record was logged, in
    /// which it is not in flight; who owns the slots, and in which tenure, says how.
    fn conclude(&mut self, id: Id, work: &Work) {
        let Some(slot) = work.slots.iter().find(|slot| self.is_concerned(**slot, id)) else { return };
        let is_newer = self.table.version > work.version || self.options.has(Bug::UnsealsByOlderTable);
        let is_decided = is_newer && self.table.in_flight(id).is_none();
        let owner = self.table.owner(*slot);
        let owns = |tenure: Id| owner.is_some_and(|owner| owner.shard == self.me && owner.tenure == tenure);
        if self.asked.contains(&id) {
            return;
        }
        match &work.state {
            State::Sealed(_) => {
                let tenure = match self.appended.mark(*slot) {
                    Mark::Sealed { tenure, .. } => tenure,
                    _ => Id(0),
                };
                let sealed_us = self.sealed_us.get(&id).copied().unwrap_or(self.now_us);
                let timer = self.options.has(Bug::UnsealsByTimer) && self.now_us > sealed_us + 300_000;
                let early = self.options.has(Bug::DeletesBeforeSwitch)
                    && self.committed.work().contains_key(&id)
                    && self.now_us > sealed_us + 100_000;
                let waits = self.options.has(Bug::CleansLate) && self.now_us < sealed_us + 2_000_000;
                if (is_decided && owns(tenure)) || timer {
                    let version = self.table.version;
                    self.append(Record::Unseal { id, version });
                } else if (is_decided && !waits) || early {
                    self.sweep(id, work, Cursor::Start);
                }
            }
            State::Staging(_) if is_decided => self.sweep(id, work, Cursor::Start),
            State::Imported if is_decided && !owns(id) => self.sweep(id, work, Cursor::Start),
            State::Cleaning(after) => self.sweep(id, work, after.clone()),
            State::Staging(_) | State::Imported => {}
        }
    }

    /// Whether slots are held that a hand-over has brought, and nothing is left to be done: most of what a ledger has.
    fn is_settled(&self, id: Id, work: &Work) -> bool {
        let owns = |slot: &Slot| {
            self.table.owner(*slot).is_some_and(|owner| owner.shard == self.me && owner.tenure == id)
        };
        work.state == State::Imported && work.slots.iter().all(owns)
    }

    /// The slot has not come to something else since.
    fn is_concerned(&self, slot: Slot, id: Id) -> bool {
        let late = self.options.has(Bug::CleansLate) || self.options.has(Bug::PlansWhileOpen);
        late || match self.appended.mark(slot) {
            Mark::Sealed { id: of, .. } | Mark::Staging(of) | Mark::Cleaning(of) | Mark::Held(of) => of == id,
            Mark::Gone(_) => false,
        }
    }

    /// Whether whatever is committed of it is settled. Records of other hand-overs may come all the time, and do not count.
    pub(crate) fn has_settled(&self, id: Id) -> bool {
        self.last_of.get(&id).copied().unwrap_or(self.begun_index) <= self.settled
    }

    /// Something of it is logged and not committed.
    pub(crate) fn is_in_tail(&self, id: Id) -> bool {
        self.tail.iter().any(|(_, record)| record.id() == id)
    }

    /// The next piece, once everything before it is applied.
    fn sweep(&mut self, id: Id, work: &Work, after: Cursor) {
        if self.pace.rest_us(self.now_us) > 0 || self.is_in_tail(id) || !self.sweeping.insert(id) {
            return;
        }
        let (slots, count_max) = (work.slots.clone(), self.options.clean_count_max);
        self.ready.sweeps.push(Sweep { id, slots, after, count_max });
    }

    /// Whether what was swept is still to be deleted.
    fn cleaned_slots(&self, id: Id) -> bool {
        self.slots_of(id).iter().any(|slot| self.is_concerned(*slot, id))
    }

    fn tell(&mut self, migration: &Migration) {
        let is_source = migration.source == self.me;
        if !is_source && migration.target != self.me {
            return;
        }
        let id = migration.id;
        let said = match (migration.outcome, is_source) {
            (Some(outcome), _) => self.is_done(migration, outcome).then_some(Said::Done),
            (None, true) => self.outgoing_said(id),
            (None, false) => self.incoming_said(id),
        };
        let Some(said) = said else { return };
        let is_due = self.told.get(&id).is_none_or(|(before, told_us)| {
            let is_news =
                *before != said && !matches!((before, &said), (Said::Copying { .. }, Said::Copying { .. }));
            is_news || self.now_us >= told_us + self.options.report_us
        });
        if is_due {
            if let Some(step) = steps::of_report(&said, migration.outcome, is_source) {
                reached(step, id);
            }
            self.told.insert(id, (said.clone(), self.now_us));
            self.ready.reports.push(Report { id, is_source, said });
        }
    }

    /// Whether nothing is left to be done here, settled and without anything that may still come.
    fn is_done(&self, migration: &Migration, outcome: Outcome) -> bool {
        let id = migration.id;
        let is_source = migration.source == self.me;
        if self.options.has(Bug::CleansLate) && is_source && outcome == Outcome::Moved {
            return true;
        }
        let is_quiet = self.has_settled(id) && !self.asked.contains(&id) && !self.is_in_tail(id);
        is_quiet
            && match (outcome, is_source) {
                (Outcome::Moved, false) => true,
                (Outcome::Moved, true) | (Outcome::Aborted, _) => !self.committed.work().contains_key(&id),
            }
    }

    fn drop_staging(&mut self) {
        let work: Vec<(Id, Work)> =
            self.appended.work().iter().map(|(id, work)| (*id, work.clone())).collect();
        for (id, work) in work {
            let in_flight = self.table.in_flight(id).is_some();
            if in_flight && matches!(work.state, State::Staging(_) | State::Imported) {
                self.sweep(id, &work, Cursor::Start);
            }
        }
    }

    /// What must never be, if it is.
    pub fn violation(&self) -> Option<String> {
        let wrong = self.committed.violation().or_else(|| self.appended.violation());
        if wrong.is_some() {
            return wrong;
        }
        let part = self.options.part_bytes_max;
        for (id, outgoing) in &self.outgoing {
            if outgoing.flight_bytes >= self.options.flight_bytes_max + part {
                return Some(format!(
                    "flight is bounded: {} bytes of {id} are on their way",
                    outgoing.flight_bytes
                ));
            }
        }
        let staged: usize = self.incoming.values().map(|incoming| incoming.flight_bytes).sum();
        (staged >= self.options.stage_bytes_max + part)
            .then(|| format!("what is staged and not committed is bounded: it is {staged} bytes"))
    }
}
