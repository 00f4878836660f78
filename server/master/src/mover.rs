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
    ClusterView, Error, Expect, Mode, Op, View, paths,
    registers::{self, Register, Slots},
    report::HandoverReport,
};
use slotkv_migration::{Answer, Ask, Id, Leader, LeaderOptions, Outcome, Said, Table};
use slotkv_proto::table::ShardId;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    movement::{EndedMove, History, Movement, OpenMove},
    office::{Office, OfficeError},
    plan::{self, Planner, Wanted},
    told::Told,
};

/// How often a leader that looks after hand-overs says so.
const BEAT_INTERVAL: Duration = Duration::from_millis(500);
/// How often time passes for the leader while hand-overs are open.
const TICK_BUSY: Duration = Duration::from_millis(100);
/// And while none are.
const TICK_IDLE: Duration = Duration::from_secs(1);
/// Pause after something did not work.
const PAUSE: Duration = Duration::from_millis(200);
/// Questions that are answered before other things get their turn.
const ASKS_MAX: usize = 32;

/// The leading master's part in hand-overs, for one office.
pub(crate) struct Mover {
    options: LeaderOptions,
    began: Instant,
    leader: Option<Leader>,
    /// The table as it was read or written last, and its node's version.
    slots: Option<(Slots, u64)>,
    /// It was read with hand-overs that were not known.
    is_news: bool,
    /// Something that was checked had changed: the shards are read before the next attempt.
    is_fresh: bool,
    planner: Planner,
    wanted: Wanted,
    /// What the leader was told to want.
    told: Vec<ShardId>,
    /// Why there is no plan, or why nothing could be done.
    problem: Option<String>,
    reports: Told,
    beat: u64,
    beaten_at: Option<Instant>,
    history: History,
    movement: watch::Sender<Arc<Movement>>,
}

impl Mover {
    pub(crate) fn new(options: LeaderOptions, movement: watch::Sender<Arc<Movement>>) -> Self {
        // What an earlier office of this master told is nothing any more.
        movement.send_replace(Arc::new(Movement::default()));
        Self {
            options,
            began: Instant::now(),
            leader: None,
            slots: None,
            is_news: false,
            is_fresh: false,
            planner: Planner::default(),
            wanted: Wanted::default(),
            told: Vec::new(),
            problem: None,
            reports: Told::new(),
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
        self.reports.doubt();
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
                    Some(hint) => self.reports.gather(hint, &mut hints),
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
        self.read_reports(office).await?;
        let now_us = self.now_us();
        let leader = self.leader.get_or_insert_with(|| Leader::new(now_us, self.options.clone()));
        leader.tick(now_us);
        let mut is_done = false;
        for _ in 0..ASKS_MAX {
            self.tell_plan(view);
            let Some(ask) = self.leader.as_mut().and_then(|leader| leader.asks().pop()) else {
                is_done = true;
                break;
            };
            self.carry_out(office, view, ask).await?;
            self.take_notes();
            self.close();
            self.beat(office).await?;
        }
        self.beat(office).await?;
        self.reports.forget(office.session()).await?;
        Ok(is_done && !std::mem::take(&mut self.is_news))
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
        let wanted = self.wanted.now.clone();
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

    /// Gives the leader what the shards tell.
    async fn read_reports(&mut self, office: &Office) -> Result<(), OfficeError> {
        let Some((slots, _)) = &self.slots else { return Ok(()) };
        let reports = self.reports.read(office.session(), slots).await?;
        let now_us = self.now_us();
        if let Some(leader) = &mut self.leader {
            reports.into_iter().for_each(|report| leader.report(now_us, report));
        }
        Ok(())
    }

    /// Answers what the leader asks the coordinator.
    async fn carry_out(&mut self, office: &Office, view: &View, ask: Ask) -> Result<(), OfficeError> {
        let answer = match &ask {
            Ask::Read => self.read(office).await,
            Ask::CompareAndSet(next) => self.compare_and_set(office, view, next).await,
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
            self.is_news = true;
            self.reports.doubt();
        }
        Ok(Answer::Table(table))
    }

    async fn compare_and_set(
        &mut self,
        office: &Office,
        view: &View,
        next: &Table,
    ) -> Result<Answer, OfficeError> {
        let Some((before, node_version)) = self.slots.clone() else { return Ok(Answer::Conflict) };
        if before.version + 1 != next.version {
            return Ok(Answer::Conflict);
        }
        let mut shards = Shards { office, view, is_fresh: self.is_fresh, read: BTreeMap::new() };
        for planned in next.migrations.iter().filter(|one| before.migration(one.id.0).is_none()) {
            for shard in [planned.source, planned.target] {
                // An old one does no harm: the hand-over is aborted by it.
                shards.get(shard).await?;
            }
        }
        let mut checked: BTreeSet<ShardId> = BTreeSet::new();
        for moved in switched(&before, next) {
            let sides = [moved.source, moved.target];
            for (shard, loss_epoch) in sides.into_iter().zip(moved.loss_epochs) {
                if shards.get(shard).await?.is_none_or(|(known, _)| known != loss_epoch) {
                    let why = format!("shard {shard} may have lost records since the plan");
                    self.forbid(moved.id, why);
                    return Ok(Answer::Conflict);
                }
                checked.insert(shard);
            }
        }
        let read = shards.read;
        let checks = checked.iter().filter_map(|shard| {
            let (_, version) = read.get(shard)?;
            Some(Op::check(paths::shard(*shard), *version))
        });
        let mut ops: Vec<Op> = checks.collect();
        let loss_epoch = |shard: ShardId| read.get(&shard).map_or(0, |(loss_epoch, _)| *loss_epoch);
        let slots = Slots::of(next, &before, loss_epoch);
        ops.push(Op::set(paths::SLOTS, slots.encode()?, Expect::Version(node_version)));
        match office.write(ops).await {
            Ok(()) => {
                (self.slots, self.is_fresh) = (Some((slots, node_version + 1)), false);
                Ok(Answer::Written)
            }
            Err(OfficeError::Coordinator(Error::BadVersion { .. } | Error::NoNode { .. })) => {
                // The view may be behind: next time the shards themselves are looked at.
                self.is_fresh = true;
                Ok(Answer::Conflict)
            }
            Err(OfficeError::Coordinator(error)) if error.is_unknown() => {
                tracing::info!(version = next.version, %error, "the slot table may have been written");
                Ok(Answer::Unknown)
            }
            Err(error) => Err(error),
        }
    }

    fn forbid(&mut self, id: u64, why: String) {
        let now_us = self.now_us();
        if let Some(leader) = &mut self.leader {
            leader.forbid(now_us, Id(id), why);
        }
    }

    /// What was decided, for people.
    fn take_notes(&mut self) {
        let notes = self.leader.as_mut().map(Leader::notes).unwrap_or_default();
        for note in notes {
            let (id, (source, target)) = (note.id.0, note.route);
            let known = self.reports.of(id);
            let sealed_at = known.and_then(|known| known.sealed_at);
            let pause_us = sealed_at.map_or(0, |at| at.elapsed().as_micros() as u64);
            let bytes = known.map_or(0, |known| known.moved_bytes);
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
                bytes,
                pause_us,
                failed_count: note.failed_count,
            });
        }
    }

    /// Takes into account what was told last about hand-overs that are closed.
    fn close(&mut self) {
        let Some((slots, _)) = &self.slots else { return };
        for (id, known) in self.reports.close(slots) {
            self.history.close(id, known.moved_bytes, known.pause_us());
        }
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
            version: slots.version,
            // Where there is no plan, there is none by any weights.
            weights: if self.problem.is_none() { plan::weights(view) } else { BTreeMap::new() },
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
        let known = self.reports.of(migration.id);
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
            sent_bytes: known.map_or(0, |known| known.moved_bytes),
            behind_bytes: source.map_or(0, |report| report.behind_bytes),
            age_ms,
            is_cancelled: is_open && holds.has(migration.id, migration.source, migration.target),
        }
    }
}

/// The hand-overs whose targets own the slots from this table on.
fn switched<'a>(before: &'a Slots, next: &'a Table) -> impl Iterator<Item = &'a registers::Migration> {
    let moves = |one: &&registers::Migration| {
        let after = next.migration(Id(one.id)).and_then(|after| after.outcome);
        one.outcome.is_none() && after == Some(Outcome::Moved)
    };
    before.migrations.iter().filter(moves)
}

/// Loss epochs of shards, and their nodes' versions: as the view has them, for whoever writes checks the version.
struct Shards<'a> {
    office: &'a Office,
    view: &'a View,
    /// The view is not believed.
    is_fresh: bool,
    read: BTreeMap<ShardId, (u64, u64)>,
}

impl Shards<'_> {
    async fn get(&mut self, shard: ShardId) -> Result<Option<(u64, u64)>, OfficeError> {
        if let Some(read) = self.read.get(&shard) {
            return Ok(Some(*read));
        }
        let known = self.view.shards.get(&shard).filter(|_| !self.is_fresh);
        let found = match known {
            Some(known) => Some((known.register.loss_epoch, known.version)),
            None => {
                let read = self.office.shard(shard).await?;
                read.map(|(register, version)| (register.loss_epoch, version))
            }
        };
        if let Some(found) = found {
            self.read.insert(shard, found);
        }
        Ok(found)
    }
}
