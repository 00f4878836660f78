//! Told: what the shards say about open hand-overs, read from the nodes they write. Hints tell which to read again; every few
//! seconds all of them are.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use slotkv_coordination::{
    Error, Hint, Session, Watch, paths,
    registers::{Register, Slots},
    report::{self, HandoverReport},
    view::READS_MAX,
};
use slotkv_migration::{Report, Said};
use tokio::time::Instant;

/// Every report is read again after so long without a hint.
const REREAD: Duration = Duration::from_secs(3);
/// Closed hand-overs whose reports are deleted at once; others have their turn later.
const FORGET_MAX: usize = 16;

/// What the shards say.
#[derive(Debug)]
pub(crate) struct Told {
    known: BTreeMap<u64, Known>,
    stale: Stale,
    read_at: Option<Instant>,
    /// Hand-overs whose reports are to be deleted.
    closed: BTreeSet<u64>,
}

/// What was told about one hand-over.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The source's last word.
    pub source: Option<HandoverReport>,
    /// The target's.
    pub target: Option<HandoverReport>,
    /// The most that any primary says to have sent or logged: a source that seals at once never says how much it was, and a
    /// target knows of its own part only.
    pub moved_bytes: u64,
    /// Since when this leader knows that the slots are sealed.
    pub sealed_at: Option<Instant>,
}

impl Known {
    /// For how long the slots were served by nobody, as far as the sides know.
    pub fn pause_us(&self) -> u64 {
        let sides = [&self.source, &self.target].into_iter().flatten();
        sides.map(|report| report.pause_us).max().unwrap_or(0)
    }
}

/// Which reports are to be read again.
#[derive(Debug)]
enum Stale {
    All,
    Paths(BTreeSet<String>),
}

impl Told {
    pub fn new() -> Self {
        Self { known: BTreeMap::new(), stale: Stale::All, read_at: None, closed: BTreeSet::new() }
    }

    /// What was told about a hand-over.
    pub fn of(&self, id: u64) -> Option<&Known> {
        self.known.get(&id)
    }

    /// Everything is to be read again.
    pub fn doubt(&mut self) {
        self.stale = Stale::All;
    }

    /// Takes a hint, and those already behind it.
    pub fn gather(&mut self, first: Hint, hints: &mut Watch) {
        let mut next = Some(first);
        while let Some(hint) = next {
            match (hint, &mut self.stale) {
                (Hint::Lost, _) => self.stale = Stale::All,
                (Hint::Changed(path), Stale::Paths(paths)) => drop(paths.insert(path)),
                (Hint::Changed(_), Stale::All) => {}
            }
            next = hints.try_next();
        }
    }

    /// Reads what may have changed. Returns what is new, of hand-overs that this table has.
    pub async fn read(&mut self, session: &dyn Session, slots: &Slots) -> Result<Vec<Report>, Error> {
        let is_old = self.read_at.is_none_or(|at| at.elapsed() >= REREAD);
        // What fails is to be read again, all of it.
        let reports = match std::mem::replace(&mut self.stale, Stale::All) {
            Stale::Paths(paths) if !is_old => self.read_some(session, &paths).await?,
            Stale::All | Stale::Paths(_) => {
                let reports = report::read_all(session).await?;
                self.read_at = Some(Instant::now());
                let is_stray = |id: &u64| *id <= slots.version && slots.migration(*id).is_none();
                self.closed.extend(reports.iter().map(|report| report.id).filter(is_stray));
                reports
            }
        };
        self.stale = Stale::Paths(BTreeSet::new());
        Ok(reports.into_iter().filter_map(|report| self.take(report, slots)).collect())
    }

    /// Takes out what is closed by this table.
    pub fn close(&mut self, slots: &Slots) -> Vec<(u64, Known)> {
        let is_closed = |id: &u64| *id <= slots.version && slots.migration(*id).is_none();
        let ids: Vec<u64> = self.known.keys().copied().filter(is_closed).collect();
        self.closed.extend(&ids);
        ids.into_iter().filter_map(|id| Some((id, self.known.remove(&id)?))).collect()
    }

    /// Deletes what was told about closed hand-overs, some of it at a time.
    pub async fn forget(&mut self, session: &dyn Session) -> Result<(), Error> {
        let ids: Vec<u64> = self.closed.iter().copied().take(FORGET_MAX).collect();
        let deletes: Vec<_> = ids.iter().map(|id| report::forget(session, *id)).collect();
        for (id, outcome) in ids.iter().zip(join_all(deletes).await) {
            outcome?;
            self.closed.remove(id);
        }
        Ok(())
    }

    /// A read behind a hint sees the change, as a rule. Where it does not, the coordinator is made to catch up.
    async fn read_some(
        &self,
        session: &dyn Session,
        paths: &BTreeSet<String>,
    ) -> Result<Vec<HandoverReport>, Error> {
        let paths: Vec<&String> = paths.iter().filter(|path| paths::report_of(path).is_some()).collect();
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let reports = get_all(session, &paths).await?;
        let is_news = |report: &HandoverReport| self.side(report) != Some(report);
        if reports.len() == paths.len() && reports.iter().all(is_news) {
            return Ok(reports);
        }
        session.sync(paths::MIGRATIONS).await?;
        get_all(session, &paths).await
    }

    /// What the same side said last.
    fn side(&self, report: &HandoverReport) -> Option<&HandoverReport> {
        let known = self.known.get(&report.id)?;
        if report.is_source { known.source.as_ref() } else { known.target.as_ref() }
    }

    fn take(&mut self, report: HandoverReport, slots: &Slots) -> Option<Report> {
        let Some(migration) = slots.migration(report.id) else {
            if report.id > slots.version {
                // Of a table that this leader has not read yet.
                self.stale = Stale::All;
            }
            return None;
        };
        let shard = if report.is_source { migration.source } else { migration.target };
        if report.shard != shard {
            tracing::warn!(
                id = report.id,
                shard = report.shard,
                "a report of a shard that has no part in it"
            );
            return None;
        }
        if self.side(&report).is_some_and(|last| last.epoch > report.epoch) {
            return None;
        }
        let known = self.known.entry(report.id).or_default();
        known.moved_bytes = known.moved_bytes.max(report.sent_bytes);
        if report.said == Said::Sealed {
            known.sealed_at.get_or_insert_with(Instant::now);
        }
        let told = report.report();
        let side = if report.is_source { &mut known.source } else { &mut known.target };
        *side = Some(report);
        Some(told)
    }
}

async fn get_all(session: &dyn Session, paths: &[&String]) -> Result<Vec<HandoverReport>, Error> {
    let mut reports = Vec::new();
    for some in paths.chunks(READS_MAX) {
        let reads: Vec<_> = some.iter().map(|path| session.get(path)).collect();
        for (path, node) in some.iter().zip(join_all(reads).await) {
            let Some(node) = node? else { continue };
            match HandoverReport::decode(path, &node.data) {
                Ok(report) if report.path() == **path => reports.push(report),
                Ok(_) => tracing::warn!(path, "a report on another hand-over"),
                Err(error) => tracing::warn!(path, %error, "a report cannot be used"),
            }
        }
    }
    Ok(reports)
}
