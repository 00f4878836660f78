//! Mover: the leading master's part in hand-overs. It gives a [`Leader`] what the coordinator says, and carries out what that asks.
//!
//! Invariants:
//! - `/slots` is changed by one compare-and-set that is bound to the office; one that makes a target the owner is bound to both shards'
//!   registers, too, which must not say that the shard may have lost anything since the plan.
//! - After an unknown outcome the table is read again. Nothing is remembered that is not in the table or repeated by the shards.
//! - `/mover` beats only while this leader looks after open hand-overs: sources seal only while they hear it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use slotkv_coordination::{
    ClusterView, Error, Expect, Hint, Mode, Op, Session, View, Watch, paths,
    registers::{self, Register, Slots},
    report::{self, HandoverReport},
};
use slotkv_migration::{Answer, Ask, Id, Leader, LeaderOptions, Migration, Outcome, Said, Table};
use slotkv_proto::table::ShardId;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    movement::{EndedMove, History, Movement, OpenMove},
    office::{Office, OfficeError},
    plan::{self, Planner, Wanted},
};

/// How often a leader that looks after hand-overs says so.
const BEAT_INTERVAL: Duration = Duration::from_millis(500);
/// How often time passes for the leader while hand-overs are open.
const TICK_BUSY: Duration = Duration::from_millis(100);
/// And while none are.
const TICK_IDLE: Duration = Duration::from_secs(1);
/// Every report is read again after so long without a hint.
const REREAD: Duration = Duration::from_secs(3);
/// Pause after something did not work.
const PAUSE: Duration = Duration::from_millis(200);
/// Questions that are answered before other things get their turn.
const ASKS_MAX: usize = 32;

/// The leading master's part in hand-overs, for one office.
pub(crate) struct Mover {
    moves: bool,
    options: LeaderOptions,
    began: Instant,
    leader: Option<Leader>,
    /// The table as it was read or written last, and its node's version.
    slots: Option<(Slots, u64)>,
    /// It was read with hand-overs that were not known.
    is_news: bool,
    planner: Planner,
    wanted: Wanted,
    /// What the leader was told to want.
    told: Vec<ShardId>,
    /// Why there is no plan, or why nothing could be done.
    problem: Option<String>,
    known: BTreeMap<u64, Known>,
    stale: Stale,
    read_at: Option<Instant>,
    beat: u64,
    beaten_at: Option<Instant>,
    history: History,
    movement: watch::Sender<Arc<Movement>>,
}

/// What was told about one hand-over.
#[derive(Debug, Default)]
struct Known {
    source: Option<HandoverReport>,
    target: Option<HandoverReport>,
    /// The most that any of its sources has sent.
    sent_bytes: u64,
    sealed_at: Option<Instant>,
}

/// Which reports are to be read again.
#[derive(Debug)]
enum Stale {
    All,
    Paths(BTreeSet<String>),
}

impl Mover {
    pub(crate) fn new(moves: bool, options: LeaderOptions, movement: watch::Sender<Arc<Movement>>) -> Self {
        Self {
            moves,
            options,
            began: Instant::now(),
            leader: None,
            slots: None,
            is_news: false,
            planner: Planner::default(),
            wanted: Wanted::default(),
            told: Vec::new(),
            problem: None,
            known: BTreeMap::new(),
            stale: Stale::All,
            read_at: None,
            beat: 0,
            beaten_at: None,
            history: History::default(),
            movement,
        }
    }

    /// Until the office is another's or the session is over.
    pub(crate) async fn run(&mut self, office: &Office, views: &ClusterView) -> OfficeError {
        loop {
            let error = match self.follow(office, views).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            match &error {
                OfficeError::Deposed => return error,
                OfficeError::Coordinator(cause) if cause.is_over() => return error,
                other => {
                    let problem = Some(other.to_string());
                    if self.problem != problem {
                        tracing::warn!(error = %other, "hand-overs do not go on; trying on");
                    }
                    self.problem = problem;
                }
            }
            self.publish(&views.current());
            sleep(PAUSE).await;
        }
    }

    /// Until something does not work.
    async fn follow(&mut self, office: &Office, views: &ClusterView) -> Result<Infallible, OfficeError> {
        let mut hints = office.session().watch(paths::MIGRATIONS).await?;
        let mut changed = views.views();
        self.stale = Stale::All;
        loop {
            let view = changed.borrow_and_update().clone();
            let is_done = self.step(office, &view).await?;
            self.publish(&view);
            if !is_done {
                continue;
            }
            tokio::select! {
                biased;
                hint = hints.next() => match hint {
                    Some(hint) => self.stale.gather(hint, &mut hints),
                    None => return Err(Error::Expired.into()),
                },
                changed = changed.changed() => if changed.is_err() { return Err(Error::Closed.into()) },
                () = sleep(self.wait()) => {}
            }
        }
    }

    fn wait(&self) -> Duration {
        if self.has_open() { TICK_BUSY } else { TICK_IDLE }
    }

    fn has_open(&self) -> bool {
        self.slots.as_ref().is_some_and(|(slots, _)| !slots.migrations.is_empty())
    }

    fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// Does what there is to do. Returns false if there may be more of it at once.
    async fn step(&mut self, office: &Office, view: &View) -> Result<bool, OfficeError> {
        if view.slots.version == 0 || view.cluster.is_none() {
            return Ok(true);
        }
        self.beat(office).await?;
        self.read_reports(office).await?;
        let now_us = self.now_us();
        let leader = self.leader.get_or_insert_with(|| Leader::new(now_us, self.options.clone()));
        leader.tick(now_us);
        for _ in 0..ASKS_MAX {
            self.tell_plan(view);
            let Some(ask) = self.leader.as_mut().and_then(|leader| leader.asks().pop()) else {
                return Ok(!std::mem::take(&mut self.is_news));
            };
            self.carry_out(office, ask).await?;
            self.take_notes();
            self.close(office).await?;
            self.beat(office).await?;
        }
        Ok(false)
    }

    /// Gives the leader what operators cancelled and what is wanted, by the newest that is known of either.
    fn tell_plan(&mut self, view: &View) {
        let now_us = self.now_us();
        let (Some((slots, _)), Some(leader)) = (&self.slots, &mut self.leader) else { return };
        let holds = &view.holds;
        if holds.all || !holds.shards.is_empty() || !holds.ids.is_empty() {
            leader.cancel_those(now_us, |one| holds.has(one.id.0, one.source, one.target));
        }
        let table = slots.to_table();
        match self.planner.wanted(view, &table, holds) {
            Ok(wanted) => (self.wanted, self.problem) = (wanted, None),
            Err(error) => {
                let stay: Vec<ShardId> = table.owners.iter().map(|owner| owner.shard).collect();
                self.wanted = Wanted { goal: stay.clone(), now: stay, waiting: BTreeMap::new() };
                self.problem = Some(error.to_string());
            }
        }
        let wanted = if self.moves { self.wanted.now.clone() } else { Vec::new() };
        if wanted != self.told {
            self.told.clone_from(&wanted);
            leader.want(now_us, wanted);
        }
    }

    /// Says that this leader looks after what is open.
    async fn beat(&mut self, office: &Office) -> Result<(), OfficeError> {
        if !self.has_open() || self.beaten_at.is_some_and(|at| at.elapsed() < BEAT_INTERVAL) {
            return Ok(());
        }
        // What is sent may arrive late: what counts is when it was begun.
        let at = Instant::now();
        self.beat += 1;
        let mover = registers::Mover { epoch: office.epoch(), beat: self.beat };
        let set = Op::set(paths::MOVER, mover.encode()?, Expect::Any);
        match office.write(vec![set]).await {
            Err(OfficeError::Coordinator(Error::NoNode { .. })) => {
                office.write(vec![Op::create(paths::MOVER, mover.encode()?, Mode::Persistent)]).await?;
            }
            outcome => outcome?,
        }
        self.beaten_at = Some(at);
        Ok(())
    }

    async fn read_reports(&mut self, office: &Office) -> Result<(), OfficeError> {
        let is_old = self.read_at.is_none_or(|at| at.elapsed() >= REREAD);
        let session = office.session();
        let reports = match std::mem::replace(&mut self.stale, Stale::Paths(BTreeSet::new())) {
            Stale::Paths(paths) if paths.is_empty() && !is_old => return Ok(()),
            Stale::Paths(paths) if !is_old => match read_some(session, &paths).await {
                Ok(reports) => reports,
                Err(error) => {
                    self.stale = Stale::All;
                    return Err(error.into());
                }
            },
            Stale::All | Stale::Paths(_) => {
                self.stale = Stale::All;
                let reports = report::read_all(session).await?;
                self.stale = Stale::Paths(BTreeSet::new());
                self.read_at = Some(Instant::now());
                self.forget_strays(office, &reports).await?;
                reports
            }
        };
        reports.into_iter().for_each(|report| self.take_report(report));
        Ok(())
    }

    /// Reports that came after their hand-over was closed.
    async fn forget_strays(&self, office: &Office, reports: &[HandoverReport]) -> Result<(), OfficeError> {
        let Some((slots, _)) = &self.slots else { return Ok(()) };
        let is_stray = |id: &u64| *id <= slots.version && slots.migration(*id).is_none();
        let strays: BTreeSet<u64> = reports.iter().map(|report| report.id).filter(is_stray).collect();
        for id in strays {
            report::forget(office.session(), id).await?;
        }
        Ok(())
    }

    fn take_report(&mut self, report: HandoverReport) {
        let now_us = self.now_us();
        let Some((slots, _)) = &self.slots else {
            self.stale = Stale::All;
            return;
        };
        let Some(migration) = slots.migration(report.id) else {
            // Of a table that this leader has not read yet, or has closed.
            if report.id > slots.version {
                self.stale = Stale::All;
            }
            return;
        };
        let shard = if report.is_source { migration.source } else { migration.target };
        if report.shard != shard {
            tracing::warn!(
                id = report.id,
                shard = report.shard,
                "a report of a shard that has no part in it"
            );
            return;
        }
        let known = self.known.entry(report.id).or_default();
        let side = if report.is_source { &mut known.source } else { &mut known.target };
        if side.as_ref().is_some_and(|last| last.epoch > report.epoch) {
            return;
        }
        if report.is_source {
            known.sent_bytes = known.sent_bytes.max(report.sent_bytes);
        }
        let said = report.report();
        if said.said == Said::Sealed {
            known.sealed_at.get_or_insert_with(Instant::now);
        }
        *side = Some(report);
        if let Some(leader) = &mut self.leader {
            leader.report(now_us, said);
        }
    }

    /// Answers what the leader asks the coordinator.
    async fn carry_out(&mut self, office: &Office, ask: Ask) -> Result<(), OfficeError> {
        let answer = match &ask {
            Ask::Read => self.read(office).await,
            Ask::CompareAndSet(next) => self.compare_and_set(office, next).await,
        };
        let now_us = self.now_us();
        let (answer, outcome) = match answer {
            Ok(answer) => (answer, Ok(())),
            Err(error) => (Answer::Unknown, Err(error)),
        };
        if let Some(leader) = &mut self.leader {
            leader.answered(now_us, answer);
        }
        outcome
    }

    async fn read(&mut self, office: &Office) -> Result<Answer, OfficeError> {
        let read = office.slots().await?;
        let Some((slots, version)) = read else {
            return Err(Error::NoNode { path: paths::SLOTS.to_owned() }.into());
        };
        let table = slots.to_table();
        let is_news = self.slots.as_ref().is_none_or(|(known, _)| known.version < slots.version);
        self.slots = Some((slots, version));
        if is_news {
            (self.is_news, self.stale) = (true, Stale::All);
        }
        Ok(Answer::Table(table))
    }

    async fn compare_and_set(&mut self, office: &Office, next: &Table) -> Result<Answer, OfficeError> {
        let Some((before, node_version)) = self.slots.clone() else { return Ok(Answer::Conflict) };
        if before.version + 1 != next.version {
            return Ok(Answer::Conflict);
        }
        let mut ops = Vec::new();
        let mut losses: BTreeMap<ShardId, u64> = BTreeMap::new();
        if let Some(planned) = next.migrations.iter().find(|one| before.migration(one.id.0).is_none()) {
            for shard in [planned.source, planned.target] {
                let Some((register, _)) = office.shard(shard).await? else { return Ok(Answer::Conflict) };
                losses.insert(shard, register.loss_epoch);
            }
        }
        if let Some(moved) = switched(&before, next) {
            match self.checks_of(office, &before, moved).await? {
                Some(checks) => ops.extend(checks),
                None => return Ok(Answer::Conflict),
            }
        }
        let loss_epoch = |shard: ShardId| losses.get(&shard).copied().unwrap_or(0);
        let slots = Slots::of(next, &before, loss_epoch);
        ops.push(Op::set(paths::SLOTS, slots.encode()?, Expect::Version(node_version)));
        match office.write(ops).await {
            Ok(()) => {
                self.slots = Some((slots, node_version + 1));
                Ok(Answer::Written)
            }
            Err(OfficeError::Coordinator(Error::BadVersion { .. } | Error::NoNode { .. })) => {
                Ok(Answer::Conflict)
            }
            Err(OfficeError::Coordinator(error)) if error.is_unknown() => {
                tracing::info!(version = next.version, %error, "the slot table may have been written");
                Ok(Answer::Unknown)
            }
            Err(error) => Err(error),
        }
    }

    /// What must hold of both shards so that the target may own the slots; `None`: it does not.
    async fn checks_of(
        &mut self,
        office: &Office,
        before: &Slots,
        moved: &Migration,
    ) -> Result<Option<Vec<Op>>, OfficeError> {
        let Some(planned) = before.migration(moved.id.0) else { return Ok(None) };
        let mut checks = Vec::new();
        for (shard, loss_epoch) in [planned.source, planned.target].into_iter().zip(planned.loss_epochs) {
            let Some((register, version)) = office.shard(shard).await? else { return Ok(None) };
            if register.loss_epoch != loss_epoch {
                let why = format!("shard {shard} may have lost records since the plan");
                let now_us = self.now_us();
                if let Some(leader) = &mut self.leader {
                    leader.forbid(now_us, moved.id, why);
                }
                return Ok(None);
            }
            checks.push(Op::check(paths::shard(shard), version));
        }
        Ok(Some(checks))
    }

    /// What was decided, for people.
    fn take_notes(&mut self) {
        let notes = self.leader.as_mut().map(Leader::notes).unwrap_or_default();
        for note in notes {
            let (id, (source, target)) = (note.id.0, note.route);
            let known = self.known.entry(id).or_default();
            let pause_us = known.sealed_at.map_or(0, |at| at.elapsed().as_micros() as u64);
            let migration = self.slots.as_ref().and_then(|(slots, _)| slots.migration(id));
            let slots = migration.map_or(0, |migration| migration.slot_count() as u64);
            match note.outcome {
                Outcome::Moved => tracing::info!(id, source, target, slots, "slots moved"),
                Outcome::Aborted => {
                    let (why, failed_count) = (&note.why, note.failed_count);
                    tracing::warn!(id, source, target, slots, why, failed_count, "hand-over aborted");
                }
            }
            self.history.add(EndedMove {
                id,
                source,
                target,
                slots,
                outcome: note.outcome,
                why: note.why,
                bytes: known.sent_bytes,
                pause_us,
                failed_count: note.failed_count,
            });
        }
    }

    /// Forgets what was told about hand-overs that are closed.
    async fn close(&mut self, office: &Office) -> Result<(), OfficeError> {
        let Some((slots, _)) = &self.slots else { return Ok(()) };
        let is_closed = |id: &u64| *id <= slots.version && slots.migration(*id).is_none();
        let closed: Vec<u64> = self.known.keys().copied().filter(is_closed).collect();
        for id in closed {
            if let Some(known) = self.known.remove(&id) {
                let sides = [&known.source, &known.target].into_iter().flatten();
                let pause_us = sides.map(|report| report.pause_us).max().unwrap_or(0);
                self.history.close(id, known.sent_bytes, pause_us);
            }
            report::forget(office.session(), id).await?;
        }
        Ok(())
    }

    fn publish(&self, view: &View) {
        let Some((slots, _)) = &self.slots else { return };
        let progress = self.leader.as_ref().map(Leader::progress).unwrap_or_default();
        let now_us = self.now_us();
        let open = slots.migrations.iter().map(|migration| {
            let since_us = progress.iter().find(|one| one.migration.id == Id(migration.id));
            let age_ms = since_us.map_or(0, |one| now_us.saturating_sub(one.since_us) / 1000);
            self.open_move(migration, view, age_ms)
        });
        let mut notices: Vec<String> = self.problem.iter().cloned().collect();
        let waiting = self.wanted.waiting.iter();
        notices.extend(waiting.map(|(why, count)| format!("{why}: {count} slots wait for it")));
        let movement = Movement {
            moves: self.moves,
            version: slots.version,
            weights: plan::weights(view),
            holds: view.holds.number,
            open: open.collect(),
            ended: self.history.ended.clone(),
            left: plan::left(slots, &self.wanted.goal),
            notices,
            totals: self.history.totals(),
        };
        self.movement.send_if_modified(|published| {
            let is_news = **published != movement;
            if is_news {
                *published = Arc::new(movement);
            }
            is_news
        });
    }

    fn open_move(&self, migration: &registers::Migration, view: &View, age_ms: u64) -> OpenMove {
        let known = self.known.get(&migration.id);
        let source = known.and_then(|known| known.source.as_ref());
        let target = known.and_then(|known| known.target.as_ref());
        let said = |report: Option<&HandoverReport>| report.map(|report| report.said.clone());
        let state = match (migration.outcome, said(source), said(target)) {
            (Some(Outcome::Moved), ..) => "moved",
            (Some(Outcome::Aborted), ..) => "aborted",
            (None, _, Some(Said::Imported)) => "imported",
            (None, Some(Said::Sealed), _) => "sealed",
            (None, Some(_), _) => "copying",
            (None, None, _) => "planned",
        };
        let holds = &view.holds;
        let is_open = migration.outcome.is_none();
        OpenMove {
            id: migration.id,
            source: migration.source,
            target: migration.target,
            slots: migration.slots.clone(),
            state,
            sent_bytes: known.map_or(0, |known| known.sent_bytes),
            behind_bytes: source.map_or(0, |report| report.behind_bytes),
            age_ms,
            is_cancelled: is_open && holds.has(migration.id, migration.source, migration.target),
        }
    }
}

impl Stale {
    /// Takes a hint, and those already behind it.
    fn gather(&mut self, first: Hint, hints: &mut Watch) {
        let mut next = Some(first);
        while let Some(hint) = next {
            match (hint, &mut *self) {
                (Hint::Lost, _) => *self = Stale::All,
                (Hint::Changed(path), Stale::Paths(paths)) => drop(paths.insert(path)),
                (Hint::Changed(_), Stale::All) => {}
            }
            next = hints.try_next();
        }
    }
}

/// The hand-over whose target owns the slots from this table on.
fn switched<'a>(before: &Slots, next: &'a Table) -> Option<&'a Migration> {
    let is_new = |one: &&Migration| before.migration(one.id.0).is_some_and(|was| was.outcome.is_none());
    next.migrations.iter().find(|one| one.outcome == Some(Outcome::Moved) && is_new(one))
}

async fn read_some(session: &dyn Session, paths: &BTreeSet<String>) -> Result<Vec<HandoverReport>, Error> {
    session.sync(paths::MIGRATIONS).await?;
    let mut reports = Vec::new();
    for path in paths.iter().filter(|path| paths::report_of(path).is_some()) {
        let Some(node) = session.get(path).await? else { continue };
        match HandoverReport::decode(path, &node.data) {
            Ok(report) if report.path() == **path => reports.push(report),
            Ok(_) => tracing::warn!(path, "a report on another hand-over"),
            Err(error) => tracing::warn!(path, %error, "a report cannot be used"),
        }
    }
    Ok(reports)
}
