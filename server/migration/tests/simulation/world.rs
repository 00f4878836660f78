//! World: shards, leaders, the coordinator and clients under one clock and one seed; what happens next, and whether it may.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use slotkv_migration::{
    Answer, Ask, Bug, Chunk, Id, Leader, LeaderOptions, Message, Options, Outcome, Owner, Place, Ready,
    Report, ShardId, Slot, Table,
};

use crate::{
    engine::{CLIENTS, Data, Entry, KEYS, Write},
    shard::Shard,
};

const MS: u64 = 1000;
const SHARDS: u32 = 3;
const SLOTS: u16 = 6;
/// For how long things go wrong.
const STORM_US: u64 = 12_000 * MS;
/// How soon everything is in its place afterwards.
const CALM_US: u64 = 20_000 * MS;
const TICK_US: u64 = 10 * MS;
/// What the hosts' reads come to at most.
const PART_BYTES_MAX: usize = 1400;
/// Lines of a trace that are printed.
const TRACE_COUNT: usize = 200;

enum Event {
    Tick(usize),
    LeaderTick,
    Deliver(Message),
    Read { shard: usize, run: u64, id: Id, from: Option<Place>, chunk: Chunk },
    Tally { shard: usize, run: u64, id: Id, slots: Vec<Slot> },
    Swept { shard: usize, run: u64, id: Id, upto: Bytes, is_last: bool },
    Commit(usize),
    Refresh { shard: usize, run: u64 },
    Report { report: Report },
    Tell { run: u64, report: Report },
    Arrive { run: u64, ask: Ask, is_answered: bool },
    Answer { run: u64, answer: Answer },
    Client(u8),
    Want,
    FailOver(usize),
    Nemesis,
    TakeOffice { shard: usize, run: u64 },
    Lead,
    Look,
}

/// What a seed came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub moved: u64,
    pub aborted: u64,
    pub writes: u64,
    pub fail_overs: u64,
    pub leaders: u64,
    pub returned: u64,
    pub digest: u64,
}

#[derive(Clone, Copy, Default)]
struct Client {
    sequence: u64,
    slot: Slot,
    key: u8,
    value: u64,
    is_open: bool,
}

pub struct World {
    now_us: u64,
    rng: SmallRng,
    queue: BTreeMap<(u64, u64), Event>,
    event_count: u64,
    options: Options,
    leader_options: LeaderOptions,
    bug: Option<Bug>,
    shards: Vec<Shard>,
    /// All versions.
    tables: Vec<Table>,
    /// Nodes in the coordinator: the last word of each side.
    told: BTreeMap<(Id, bool), Report>,
    leader: Option<Leader>,
    leader_run: u64,
    wanted: Vec<ShardId>,
    clients: Vec<Client>,
    next_value: u64,
    calm: bool,
    /// Until when two shards do not hear each other, or one of them not the other.
    cut: BTreeMap<(ShardId, ShardId), u64>,
    /// What was committed.
    truth: BTreeMap<Slot, Data>,
    /// When and under which shown index each slot was written last.
    levels: BTreeMap<Slot, (u64, u64)>,
    done: BTreeSet<(u8, u64)>,
    loss: f64,
    summary: Summary,
    hasher: DefaultHasher,
    trace: VecDeque<String>,
    wrong: Option<String>,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let options = Options {
            part_bytes_max: PART_BYTES_MAX,
            shared_part_bytes_max: PART_BYTES_MAX / 2,
            flight_bytes_max: rng.random_range(400..2000),
            flight_count_max: 8,
            stage_bytes_max: rng.random_range(800..4000),
            resend_us: 60 * MS,
            report_us: 100 * MS,
            rate_max: rng.random_range(4_000..200_000),
            rate_min: 2_000,
            latency_us_max: 1000,
            busy_percent_max: rng.random_range(5..100),
            quiet_us: 20 * MS,
            seal_lag_bytes: rng.random_range(0..300),
            patience_us: 300 * MS,
            heard_us_max: 400 * MS,
            clean_count_max: rng.random_range(1..6),
            bug,
        };
        let leader_options = LeaderOptions {
            slot_count_max: rng.random_range(1..4),
            open_count_max: rng.random_range(1..4),
            per_shard_count_max: rng.random_range(1..4),
            stall_us: 2_000 * MS,
            sealed_us_max: rng.random_range(15..300) * MS,
            retry_us: 50 * MS,
            retry_us_max: 800 * MS,
            reread_us: 200 * MS,
            bug,
        };
        let owners: Vec<Owner> =
            (0..SLOTS).map(|slot| Owner { shard: u32::from(slot) % 2, tenure: Id(0) }).collect();
        let shards = (0..SHARDS).map(|id| Shard::new(id, rng.random_range(-5_000..5_000), bug)).collect();
        let loss = [0.0, 0.02, 0.1, 0.3][rng.random_range(0..4)];
        let wanted = owners.iter().map(|owner| owner.shard).collect();
        let mut world = Self {
            now_us: 0,
            rng,
            queue: BTreeMap::new(),
            event_count: 0,
            options,
            leader_options,
            bug,
            shards,
            tables: vec![Table { version: 0, owners, migrations: Vec::new() }],
            told: BTreeMap::new(),
            leader: None,
            leader_run: 0,
            wanted,
            clients: vec![Client::default(); usize::from(CLIENTS)],
            next_value: 1,
            calm: false,
            cut: BTreeMap::new(),
            truth: BTreeMap::new(),
            levels: BTreeMap::new(),
            done: BTreeSet::new(),
            loss,
            summary: Summary::default(),
            hasher: DefaultHasher::new(),
            trace: VecDeque::new(),
            wrong: None,
        };
        for shard in 0..world.shards.len() {
            world.after(0, Event::TakeOffice { shard, run: 0 });
            world.after(TICK_US, Event::Tick(shard));
            world.after(MS, Event::Commit(shard));
        }
        (0..CLIENTS).for_each(|client| world.after(MS, Event::Client(client)));
        for event in [Event::Lead, Event::LeaderTick, Event::Look, Event::Want, Event::Nemesis] {
            world.after(5 * MS, event);
        }
        world
    }

    /// Runs to the end. `Err` says what must not be, and what led there.
    pub fn run(mut self) -> Result<Summary, String> {
        let mut failure = None;
        while self.now_us < STORM_US + CALM_US {
            if !self.calm && self.now_us >= STORM_US {
                self.calm = true;
                self.note("it is calm");
            }
            let Some(((at_us, _), event)) = self.queue.pop_first() else { break };
            self.now_us = at_us;
            self.take(event);
            if let Err(what) = self.check() {
                failure = Some(what);
                break;
            }
            if self.calm && self.is_settled() {
                break;
            }
        }
        if failure.is_none() && !self.is_settled() {
            failure = Some(format!("every hand-over ends: {}", self.unsettled()));
        }
        self.summary.returned = self.shards.iter().map(|shard| shard.engine.returned.len() as u64).sum();
        self.summary.digest = self.hasher.finish();
        match failure {
            None => Ok(self.summary),
            Some(what) => {
                let trace: Vec<String> = self.trace.into_iter().collect();
                Err(format!("{what}\n{}", trace.join("\n")))
            }
        }
    }

    fn after(&mut self, us: u64, event: Event) {
        self.event_count += 1;
        self.queue.insert((self.now_us + us, self.event_count), event);
    }

    fn note(&mut self, what: impl Into<String>) {
        let what = what.into();
        what.hash(&mut self.hasher);
        self.now_us.hash(&mut self.hasher);
        if self.trace.len() == TRACE_COUNT {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>9} {what}", self.now_us));
    }

    fn table(&self) -> &Table {
        &self.tables[self.tables.len() - 1]
    }

    fn delay(&mut self) -> u64 {
        if !self.calm && self.rng.random_bool(0.03) {
            return self.rng.random_range(20..400) * MS;
        }
        self.rng.random_range(200..5 * MS)
    }

    fn is_lost(&mut self) -> bool {
        !self.calm && self.rng.random_bool(self.loss)
    }

    /// The shard without which an event must wait, as a process that stands still lets it.
    fn waits_for(event: &Event) -> Option<usize> {
        match event {
            Event::Deliver(message) => Some(message.to as usize),
            Event::Read { shard, .. }
            | Event::Tally { shard, .. }
            | Event::Swept { shard, .. }
            | Event::Refresh { shard, .. } => Some(*shard),
            _ => None,
        }
    }

    fn take(&mut self, event: Event) {
        let paused_until = Self::waits_for(&event).map_or(0, |shard| self.shards[shard].paused_until);
        if self.now_us < paused_until {
            return self.after(paused_until - self.now_us, event);
        }
        match event {
            Event::Tick(shard) => {
                self.after(TICK_US, Event::Tick(shard));
                let latency_us = self.rng.random_range(0..2000);
                let leads = self.leader.is_some();
                self.party(shard, |party, now_us| {
                    if leads {
                        party.heard(now_us);
                    }
                    party.foreground(now_us, latency_us);
                    party.tick(now_us);
                });
                if self.rng.random_bool(0.1) {
                    let run = self.shards[shard].run;
                    self.after(MS, Event::Refresh { shard, run });
                }
            }
            Event::LeaderTick => {
                self.after(TICK_US, Event::LeaderTick);
                self.lead(|leader, now_us| leader.tick(now_us));
            }
            Event::Deliver(message) => {
                let shard = message.to as usize;
                self.party(shard, |party, now_us| party.step(now_us, message));
            }
            Event::Read { shard, run, id, from, chunk } => {
                if self.shards[shard].run == run {
                    self.party(shard, |party, now_us| party.read(now_us, id, from.as_ref(), chunk));
                }
            }
            Event::Tally { shard, run, id, slots } => {
                let of = &self.shards[shard];
                let early = self.bug == Some(Bug::SealUncommitted);
                let engine = if early { &of.appended } else { &of.engine };
                let (tally, levels, is_it) = (engine.tally(&slots), engine.levels(), of.run == run);
                if is_it {
                    self.party(shard, |party, now_us| party.tallied(now_us, id, tally, levels));
                }
            }
            Event::Swept { shard, run, id, upto, is_last } => {
                if self.shards[shard].run == run {
                    self.party(shard, |party, now_us| party.swept(now_us, id, upto, is_last));
                }
            }
            Event::Commit(shard) => self.commit(shard),
            Event::Refresh { shard, run } => {
                if self.shards[shard].run == run {
                    let table = self.read_table();
                    self.party(shard, |party, now_us| party.table(now_us, table));
                }
            }
            Event::Report { report } => {
                self.told.insert((report.id, report.is_source), report);
            }
            Event::Tell { run, report } => {
                if self.leader_run == run {
                    self.lead(|leader, now_us| leader.report(now_us, report));
                }
            }
            Event::Look => {
                self.after(20 * MS, Event::Look);
                let run = self.leader_run;
                let reports: Vec<Report> = self.told.values().cloned().collect();
                for report in reports {
                    if !self.is_lost() {
                        let us = self.delay();
                        self.after(us, Event::Tell { run, report });
                    }
                }
            }
            Event::Arrive { run, ask, is_answered } => self.arrive(run, ask, is_answered),
            Event::Answer { run, answer } => {
                if self.leader_run == run {
                    self.lead(|leader, now_us| leader.answered(now_us, answer));
                }
            }
            Event::Client(client) => self.client(client),
            Event::Want => self.want(),
            Event::FailOver(shard) => self.fail_over(shard),
            Event::Nemesis => self.nemesis(),
            Event::TakeOffice { shard, run } => self.take_office(shard, run),
            Event::Lead => {
                self.leader_run += 1;
                self.summary.leaders += 1;
                let mut leader = Leader::new(self.now_us, self.leader_options.clone());
                leader.want(self.now_us, self.wanted.clone());
                self.leader = Some(leader);
                self.note(format!("leader {} takes office", self.leader_run));
                self.lead(|_, _| {});
            }
        }
    }

    /// The coordinator's, which may be old while it storms.
    fn read_table(&mut self) -> Table {
        let last = self.tables.len() - 1;
        let at = match !self.calm && self.rng.random_bool(0.2) {
            true => last.saturating_sub(self.rng.random_range(0..4)),
            false => last,
        };
        self.tables[at].clone()
    }

    fn party(&mut self, shard: usize, input: impl FnOnce(&mut slotkv_migration::Party, u64)) {
        let now_us = self.now_us;
        if now_us < self.shards[shard].paused_until {
            return;
        }
        let Some(party) = &mut self.shards[shard].party else { return };
        input(party, now_us);
        let ready = party.ready();
        self.carry_out(shard, ready);
    }

    fn carry_out(&mut self, shard: usize, mut ready: Ready) {
        let run = self.shards[shard].run;
        // What logging brings up is carried out behind the rest.
        let mut appends: VecDeque<_> = ready.appends.drain(..).collect();
        while let Some(record) = appends.pop_front() {
            let now_us = self.now_us;
            let is_full = !self.calm && self.rng.random_bool(0.02);
            let of = &mut self.shards[shard];
            let Some(party) = &mut of.party else { return };
            if is_full {
                party.dropped(now_us, record.id());
            } else {
                let at = of.append(Entry::Handover(record.clone()));
                if let Some(party) = &mut of.party {
                    party.logged(now_us, at, record.clone());
                }
                self.note(format!("shard {shard} appends {at:?} {}", short(&record)));
            }
            let Some(party) = &mut self.shards[shard].party else { return };
            let more = party.ready();
            appends.extend(more.appends);
            ready.messages.extend(more.messages);
            ready.reads.extend(more.reads);
            ready.tallies.extend(more.tallies);
            ready.sweeps.extend(more.sweeps);
            ready.reports.extend(more.reports);
            ready.refresh |= more.refresh;
        }
        for message in ready.messages {
            let copies = if !self.calm && self.rng.random_bool(0.05) { 2 } else { 1 };
            for _ in 0..copies {
                let cut =
                    self.cut.get(&(message.from, message.to)).is_some_and(|until_us| self.now_us < *until_us);
                if !self.is_lost() && (self.calm || !cut) {
                    let us = self.delay();
                    self.after(us, Event::Deliver(message.clone()));
                }
            }
        }
        for read in ready.reads {
            let count = self.rng.random_range(1..6);
            let is_unread = !self.calm && self.rng.random_bool(0.05);
            let chunk = if is_unread { Chunk::Later } else { self.shards[shard].read(&read, count) };
            let us = self.delay();
            self.after(us, Event::Read { shard, run, id: read.id, from: read.from, chunk });
        }
        for tally in ready.tallies {
            let us = self.delay();
            self.after(us, Event::Tally { shard, run, id: tally.id, slots: tally.slots });
        }
        for sweep in ready.sweeps {
            let (upto, is_last) = self.shards[shard].sweep(&sweep);
            let us = self.delay();
            self.after(us, Event::Swept { shard, run, id: sweep.id, upto, is_last });
        }
        for report in ready.reports {
            if !self.is_lost() {
                let us = self.delay();
                self.after(us, Event::Report { report });
            }
        }
        if ready.refresh {
            let us = self.delay();
            self.after(us, Event::Refresh { shard, run });
        }
    }

    fn lead(&mut self, input: impl FnOnce(&mut Leader, u64)) {
        let now_us = self.now_us;
        let Some(leader) = &mut self.leader else { return };
        input(leader, now_us);
        let (asks, notes, run) = (leader.asks(), leader.notes(), self.leader_run);
        for note in notes {
            self.note(format!("hand-over {} {:?}: {:?} {}", note.id, note.route, note.outcome, note.why));
        }
        for ask in asks {
            let is_sent = self.calm || !self.rng.random_bool(0.05);
            let is_answered = self.calm || !self.rng.random_bool(0.1);
            let us = self.delay();
            if is_sent {
                self.after(us, Event::Arrive { run, ask, is_answered });
            }
            if !is_sent || !is_answered {
                self.after(us + 50 * MS, Event::Answer { run, answer: Answer::Unknown });
            }
        }
    }

    fn arrive(&mut self, run: u64, ask: Ask, is_answered: bool) {
        let answer = match ask {
            Ask::Read => Answer::Table(self.read_table()),
            Ask::CompareAndSet(table)
                if table.version == self.table().version + 1 && run == self.leader_run =>
            {
                for migration in &table.migrations {
                    let before = self.table().migration(migration.id).and_then(|before| before.outcome);
                    match migration.outcome.filter(|_| before.is_none()) {
                        Some(Outcome::Moved) => self.summary.moved += 1,
                        Some(Outcome::Aborted) => self.summary.aborted += 1,
                        None => {}
                    }
                }
                let open: Vec<_> =
                    table.migrations.iter().map(|open| (open.id, &open.slots, open.outcome)).collect();
                self.note(format!(
                    "table {}: {:?}, open {open:?}",
                    table.version,
                    table.owners.iter().map(|owner| owner.shard).collect::<Vec<_>>()
                ));
                self.tables.push(table);
                Answer::Written
            }
            Ask::CompareAndSet(_) => Answer::Conflict,
        };
        if is_answered {
            let us = self.delay();
            self.after(us, Event::Answer { run, answer });
        }
    }

    fn commit(&mut self, shard: usize) {
        let us = if self.calm { MS } else { [MS, 2 * MS, 30 * MS][self.rng.random_range(0..3)] };
        self.after(us, Event::Commit(shard));
        if self.shards[shard].party.is_none() || self.now_us < self.shards[shard].slow_until {
            return;
        }
        let count = self.rng.random_range(1..6);
        for _ in 0..count {
            let Some(entry) = self.shards[shard].commit_next() else { break };
            if let Entry::Write(write) = entry {
                self.committed(shard, write);
            }
        }
        if self.rng.random_bool(0.02) {
            self.shards[shard].begin = self.shards[shard].commit.saturating_sub(20);
        }
        let index = self.shards[shard].commit as u64;
        self.party(shard, |party, now_us| party.committed(now_us, index, index));
    }

    fn committed(&mut self, shard: usize, write: Write) {
        let (time_ms, shown) = (write.time_ms, self.shards[shard].engine.shown());
        self.note(format!("shard {shard} commits {write:?}"));
        if !self.done.insert((write.client, write.sequence)) {
            self.fail(format!("a write is done once: {write:?}"));
        }
        let (last_ms, last_shown) = self.levels.insert(write.slot, (time_ms, shown)).unwrap_or_default();
        if time_ms < last_ms || shown <= last_shown {
            self.fail(format!(
                "time and shown index of a slot go on: {time_ms} after {last_ms}, {shown} after {last_shown}"
            ));
        }
        self.truth.entry(write.slot).or_default().take(&write);
        self.summary.writes += 1;
        let client = &mut self.clients[usize::from(write.client)];
        if client.sequence == write.sequence && self.rng.random_bool(0.7) {
            client.is_open = false;
        }
    }

    fn fail(&mut self, what: String) {
        self.trace.push_back(format!("WRONG {what}"));
        self.wrong = Some(what);
    }

    fn client(&mut self, number: u8) {
        let us = self.rng.random_range(MS..40 * MS);
        self.after(us, Event::Client(number));
        let mut client = self.clients[usize::from(number)];
        if !client.is_open {
            client = Client {
                sequence: client.sequence + 1,
                slot: self.rng.random_range(0..SLOTS),
                key: self.rng.random_range(0..KEYS),
                value: if self.rng.random_bool(0.3) { 0 } else { self.next_value },
                is_open: true,
            };
            self.next_value += 1;
            self.clients[usize::from(number)] = client;
        }
        let table = self.read_table();
        let Some(owner) = table.owner(client.slot) else { return };
        let at = owner.shard as usize;
        let wall_ms = (self.now_us / MS + 10_000) as i64;
        let of = &mut self.shards[at];
        let is_served = of.party.as_ref().is_some_and(|party| party.serves(client.slot));
        if !is_served || self.now_us < of.paused_until {
            return;
        }
        let data = of.appended.data(client.slot);
        match data.results.get(&number) {
            Some((sequence, _)) if *sequence >= client.sequence => {
                // It was done, and is known to be once it is committed.
                let is_known = of
                    .engine
                    .data(client.slot)
                    .results
                    .get(&number)
                    .is_some_and(|(known, _)| *known >= client.sequence);
                if is_known {
                    self.clients[usize::from(number)].is_open = false;
                }
            }
            _ => {
                let time_ms = of.appended.time_ms.max((wall_ms + of.clock_ms) as u64);
                of.append(Entry::Write(Write {
                    slot: client.slot,
                    key: client.key,
                    value: client.value,
                    version: data.counter + 1,
                    client: number,
                    sequence: client.sequence,
                    time_ms,
                }));
            }
        }
    }

    /// Somebody joins, leaves or changes its weight.
    fn want(&mut self) {
        if self.calm {
            return;
        }
        let us = self.rng.random_range(200..2500) * MS;
        self.after(us, Event::Want);
        let shards: Vec<u32> = match self.rng.random_range(0..4) {
            0 => vec![self.rng.random_range(0..SHARDS)],
            1 => {
                let gone = self.rng.random_range(0..SHARDS);
                (0..SHARDS).filter(|shard| *shard != gone).collect()
            }
            _ => (0..SHARDS).collect(),
        };
        let wanted = (0..SLOTS).map(|_| shards[self.rng.random_range(0..shards.len())]).collect::<Vec<_>>();
        self.wanted = wanted.clone();
        if self.rng.random_bool(0.05) {
            self.lead(|leader, now_us| leader.cancel(now_us));
        }
        self.lead(|leader, now_us| leader.want(now_us, wanted));
    }

    fn nemesis(&mut self) {
        if self.calm {
            if self.leader.is_none() {
                self.after(0, Event::Lead);
            }
            return;
        }
        let us = self.rng.random_range(20..700) * MS;
        self.after(us, Event::Nemesis);
        let shard = self.rng.random_range(0..self.shards.len());
        match self.rng.random_range(0..10) {
            0..=2 => self.fail_over(shard),
            3 => {
                let us = self.rng.random_range(0..1200) * MS;
                self.leader = None;
                self.leader_run += 1;
                self.note("the leader dies");
                self.after(us, Event::Lead);
            }
            4 => {
                let us = self.rng.random_range(0..900) * MS;
                self.shards[shard].paused_until = self.now_us + us;
                self.note(format!("shard {shard} stands still"));
            }
            5 | 6 => {
                let other = self.rng.random_range(0..SHARDS);
                let until_us = self.now_us + self.rng.random_range(100..3000) * MS;
                self.cut.insert((shard as ShardId, other), until_us);
                if self.rng.random_bool(0.5) {
                    self.cut.insert((other, shard as ShardId), until_us);
                }
                self.note(format!("shards {shard} and {other} are cut"));
            }
            // Its backups do not answer, and then another one leads.
            7 | 8 => {
                let us = self.rng.random_range(20..500) * MS;
                self.shards[shard].slow_until = self.now_us + us;
                self.after(us, Event::FailOver(shard));
                self.note(format!("shard {shard} commits nothing"));
            }
            // All at once.
            _ => (0..self.shards.len()).for_each(|shard| self.fail_over(shard)),
        }
    }

    fn fail_over(&mut self, shard: usize) {
        let of = &mut self.shards[shard];
        let kept = self.rng.random_range(0..=of.log.len() - of.commit);
        of.fail(kept);
        let run = of.run;
        self.summary.fail_overs += 1;
        self.note(format!("shard {shard} fails over, with {kept} records of its tail"));
        let us = self.rng.random_range(0..150) * MS;
        self.after(us, Event::TakeOffice { shard, run });
    }

    fn take_office(&mut self, shard: usize, run: u64) {
        if self.shards[shard].run != run {
            return;
        }
        let table = self.read_table();
        self.note(format!("shard {shard} has a primary, which knows table {}", table.version));
        let (now_us, options) = (self.now_us, self.options.clone());
        self.shards[shard].take_office(now_us, &options, table);
        self.party(shard, |_, _| {});
    }

    /// What must hold after every step.
    fn check(&mut self) -> Result<(), String> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        for shard in &self.shards {
            if let Some(wrong) = shard.party.as_ref().and_then(|party| party.violation()) {
                return Err(format!("shard {}: {wrong}", shard.id));
            }
        }
        for slot in 0..SLOTS {
            let serves = |shard: &&Shard| shard.party.as_ref().is_some_and(|party| party.serves(slot));
            let serving: Vec<&Shard> = self.shards.iter().filter(serves).collect();
            if serving.len() > 1 {
                return Err(format!(
                    "one shard serves: slot {slot} is served by {} and {}",
                    serving[0].id, serving[1].id
                ));
            }
            let nothing = Data::default();
            let truth = self.truth.get(&slot).unwrap_or(&nothing);
            for shard in serving {
                let data = shard.engine.slots.get(&slot).unwrap_or(&nothing);
                if data != truth {
                    return Err(format!(
                        "who serves has what was committed: slot {slot} at {} is {data:?}, committed was {truth:?}",
                        shard.id
                    ));
                }
            }
        }
        let mut open = BTreeSet::new();
        for migration in &self.table().migrations {
            for slot in &migration.slots {
                if !open.insert(*slot) {
                    return Err(format!(
                        "a slot is in one open hand-over: {slot} is in {} too",
                        migration.id
                    ));
                }
            }
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.leader.is_some() && self.unsettled().is_empty()
    }

    /// What is not yet as it should be in the end.
    fn unsettled(&self) -> String {
        let table = self.table();
        let owners: Vec<ShardId> = table.owners.iter().map(|owner| owner.shard).collect();
        if !table.migrations.is_empty() || owners != self.wanted {
            let work: Vec<_> = self.shards.iter().map(|shard| shard.appended.ledger.work()).collect();
            let progress = self.leader.as_ref().map(Leader::progress);
            return format!(
                "{owners:?} is not {:?}; open is {:?}; the leader knows {progress:?}, the shards {work:?}",
                self.wanted, table.migrations
            );
        }
        for slot in 0..SLOTS {
            let serving = self
                .shards
                .iter()
                .filter(|shard| shard.party.as_ref().is_some_and(|party| party.serves(slot)));
            if serving.count() != 1 {
                let marks: Vec<_> =
                    self.shards.iter().map(|shard| shard.appended.ledger.mark(slot)).collect();
                return format!("nobody serves slot {slot}, marked {marks:?}");
            }
        }
        for shard in &self.shards {
            let left = shard
                .engine
                .slots
                .keys()
                .find(|slot| table.owner(**slot).is_none_or(|owner| owner.shard != shard.id));
            if let Some(slot) = left {
                return format!("shard {} still has something of slot {slot}", shard.id);
            }
        }
        String::new()
    }
}

fn short(record: &slotkv_migration::Record) -> String {
    let text = format!("{record:?}");
    text.chars().take(160).collect()
}
