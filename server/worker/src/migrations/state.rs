//! State: what a host knows of its part in hand-overs, beside what its party does.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use slotkv_coordination::ClusterView;
use slotkv_migration::{Id, Ledger, Message, Options, Party, Record, Report, Said, ShardId, Table};
use tokio::sync::mpsc;

use super::Copied;
use crate::{
    bridge::Bridge,
    reports::{Figures, Reporter},
};

/// How often a party with open hand-overs is told the time.
pub(super) const TICK_US: u64 = 10_000;
/// Records of hand-overs in one group, in bytes; one always goes.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// What a party is to be given.
pub(super) enum Answer {
    Read(Copied),
    Tallied(Id, Bytes, Bytes),
    Swept(Id, Bytes, bool),
    Regained(Id, Bytes, Bytes),
    Refused(Id, String),
}

/// What a [`Migrations`] works with.
pub struct Parts {
    /// Which shard.
    pub shard: ShardId,
    /// Times and bounds.
    pub options: Options,
    /// The cluster, with the table and the way to other shards.
    pub view: Arc<ClusterView>,
    /// The way to other shards' primaries.
    pub bridge: Bridge,
    /// Their messages.
    pub arrived: mpsc::Receiver<Message>,
    /// The way to the leader.
    pub reporter: Reporter,
}

/// A host's part in hand-overs.
pub(crate) struct Migrations {
    shard: ShardId,
    pub(super) options: Options,
    pub(super) view: Arc<ClusterView>,
    pub(super) bridge: Bridge,
    pub(super) arrived: mpsc::Receiver<Message>,
    pub(super) reporter: Reporter,
    pub(super) party: Option<Party>,
    /// To be appended, in this order.
    pub(super) appends: VecDeque<Record>,
    /// As many at most as were asked for.
    pub(super) answers: VecDeque<Answer>,
    /// The newest table that it has not been given.
    pub(super) table: Option<Arc<Table>>,
    pub(super) heard: bool,
    pub(super) latency_us: Option<u64>,
    /// Time that work for hand-overs has taken, and the party was not told.
    pub(super) worked_us: u64,
    /// The applied and the settled index that it was told last.
    pub(super) told: (u64, u64),
    pub(super) ticked_us: u64,
    /// The table is to be read, not before this time.
    pub(super) refresh_at_us: Option<u64>,
    pub(super) is_refreshing: bool,
    pub(super) refreshed_us: u64,
    /// Of the hand-overs in the table.
    pub(super) figures: BTreeMap<Id, Figures>,
    /// What was published last.
    pub(super) published: Option<Arc<Ledger>>,
}

impl Migrations {
    pub fn new(parts: Parts) -> Self {
        Self {
            shard: parts.shard,
            options: parts.options,
            view: parts.view,
            bridge: parts.bridge,
            arrived: parts.arrived,
            reporter: parts.reporter,
            party: None,
            appends: VecDeque::new(),
            answers: VecDeque::new(),
            table: None,
            heard: false,
            latency_us: None,
            worked_us: 0,
            told: (0, 0),
            ticked_us: 0,
            refresh_at_us: None,
            is_refreshing: false,
            refreshed_us: 0,
            figures: BTreeMap::new(),
            published: None,
        }
    }

    /// What a report says in numbers.
    pub(super) fn note(&mut self, report: &Report) -> Figures {
        let figures = self.figures.entry(report.id).or_default();
        match report.said {
            Said::Copying { sent_bytes, behind_bytes } => {
                (figures.bytes, figures.behind_bytes) = (sent_bytes, behind_bytes);
            }
            _ => figures.behind_bytes = 0,
        }
        *figures
    }

    /// A record is in the log.
    pub(super) fn note_logged(&mut self, now_us: u64, record: &Record) {
        match record {
            Record::Stage { id, bytes, .. } => {
                self.figures.entry(*id).or_default().bytes += bytes.len() as u64;
            }
            Record::Seal { id, .. } => self.figures.entry(*id).or_default().sealed_us = Some(now_us),
            _ => {}
        }
    }

    /// A table decides.
    pub(super) fn note_table(&mut self, now_us: u64, table: &Table) {
        self.figures.retain(|id, _| table.migration(*id).is_some());
        for (id, figures) in &mut self.figures {
            if let (None, Some(sealed_us)) = (table.in_flight(*id), figures.sealed_us)
                && figures.pause_us == 0
            {
                figures.pause_us = now_us.saturating_sub(sealed_us).max(1);
            }
        }
    }

    /// The next message of another shard, once the party can take one.
    pub async fn message(&mut self) -> Option<Message> {
        match self.takes_messages() {
            true => self.arrived.recv().await,
            false => std::future::pending().await,
        }
    }

    pub fn try_message(&mut self) -> Option<Message> {
        self.takes_messages().then(|| self.arrived.try_recv().ok()).flatten()
    }

    /// Messages for who does not lead are taken, too, and dropped.
    pub(super) fn takes_messages(&self) -> bool {
        self.appends.is_empty()
    }

    /// Whether records wait to be appended.
    pub fn has_appends(&self) -> bool {
        !self.appends.is_empty()
    }

    /// Whether parts are among them.
    pub fn has_parts(&self) -> bool {
        self.appends.iter().any(is_part)
    }

    /// Parts will not be appended.
    pub fn refuse_parts(&mut self, why: &str) {
        let refused = self.appends.iter().filter(|record| is_part(record)).map(Record::id);
        self.answers.extend(refused.map(|id| Answer::Refused(id, why.to_owned())));
        self.appends.retain(|record| !is_part(record));
    }

    /// Takes what the next group may hold of that.
    pub fn take_appends(&mut self) -> Vec<Record> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < GROUP_BYTES_MAX
            && let Some(record) = self.appends.pop_front()
        {
            if let Record::Stage { bytes: part, .. } = &record {
                bytes += part.len();
            }
            taken.push(record);
        }
        taken
    }

    /// They could not be appended, and wait for another group.
    pub fn put_back(&mut self, records: Vec<Record>) {
        records.into_iter().rev().for_each(|record| self.appends.push_front(record));
    }

    /// Whether there is a hand-over that concerns this shard.
    pub(super) fn is_open(&self) -> bool {
        let is_own = |source, target| source == self.shard || target == self.shard;
        self.party.as_ref().is_some_and(|party| {
            let mut planned = party.known().migrations.iter();
            planned.any(|planned| is_own(planned.source, planned.target))
                || !party.ledger().work().is_empty()
                || party.may_have_lost()
                || !self.answers.is_empty()
        })
    }

    /// How long nothing may come before there is something else to do.
    pub fn wait(&self, now_us: u64) -> Option<Duration> {
        // While records wait it is told nothing.
        let is_told = self.is_open() && !self.has_appends();
        let tick = is_told.then(|| self.tick_at_us());
        let refresh = self.refresh_at_us.filter(|_| !self.is_refreshing);
        let at_us = tick.into_iter().chain(refresh).min()?;
        Some(Duration::from_micros(at_us.saturating_sub(now_us)))
    }

    /// When the party is to be told the time next.
    pub(super) fn tick_at_us(&self) -> u64 {
        let rested_us = self.party.as_ref().and_then(Party::rested_us);
        rested_us.unwrap_or(u64::MAX).min(self.ticked_us + TICK_US)
    }

    /// Work for hand-overs took so long.
    pub fn worked(&mut self, us: u64) {
        self.worked_us += us;
    }

    /// Records of the log from this index on are needed for copies.
    pub fn needed_from_index(&self) -> u64 {
        self.party.as_ref().map_or(u64::MAX, Party::needed_from_index)
    }

    /// A group of clients' writes took so long.
    pub fn foreground(&mut self, latency_us: u64) {
        self.latency_us = Some(latency_us.max(self.latency_us.unwrap_or(0)));
    }

    pub(super) fn stop(&mut self) {
        self.party = None;
        self.appends.clear();
        self.answers.clear();
        self.table = None;
        (self.latency_us, self.worked_us) = (None, 0);
        self.refresh_at_us = None;
        self.figures.clear();
        self.bridge.close();
    }
}

fn is_part(record: &Record) -> bool {
    matches!(record, Record::Stage { .. })
}
