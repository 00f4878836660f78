//! The one writer of a shard: takes what waits, decides it as a group, logs it by one write and one sync, applies it
//! and only then answers. Writes that arrive meanwhile form the next group, so that one sync serves many.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use slotkv_coordination::registers::Durability;
use slotkv_proto::{Code, seam::Clock, v1::Reply};
use slotkv_storage::{Disk, Engine, Error, Lock, Log, Open, Position};
use tokio::time::Instant;

use crate::{
    outbox::Outbox,
    queue::Write,
    replica::{self, Group, Replica, Staged},
    request,
    runner::Runner,
    shard::Shard,
};

/// Writes in one group.
pub const GROUP_COUNT_MAX: usize = 4096;
/// Bytes of keys and values in one group; one write larger than that is a group by itself.
pub const GROUP_BYTES_MAX: usize = 8 << 20;
/// Below this much space on the disk a shard takes no writes, so that the engine can still finish its own; what the engine
/// holds in memory comes on top.
pub const FREE_BYTES_MIN: u64 = 64 << 20;
/// What a byte in the engine's memory may still take on the disk: in a table, and in the table that merges it.
const ENGINE_COPIES: u64 = 2;
/// Below this much space no checkpoint begins: the engine could fail in the middle of it, which ends the process.
const CHECKPOINT_FREE_BYTES_MIN: u64 = FREE_BYTES_MIN / 4;
/// How often the space on the disk is looked at. Nobody fills the reserve in so short a time.
const FREE_CHECK_MS: u64 = 10;
/// Bytes of unsynced log after which another thread syncs it, so that no sync of the committer's has many to wait for.
const AHEAD_BYTES: u64 = 8 << 20;
/// How often an idle committer looks whether a checkpoint is durable.
const PERSIST_CHECK_MS: u64 = 100;

/// How a committer makes things durable and keeps the log short.
pub struct Settings {
    /// When a write counts as durable.
    pub durability: Durability,
    /// Log bytes after which a checkpoint is made.
    pub checkpoint_bytes: u64,
    /// The replica's folder, whose disk must have room.
    pub dir: PathBuf,
}

/// The single writer of one shard.
pub struct Committer {
    shard: Arc<Shard>,
    replica: Replica,
    log: Log,
    epoch: u64,
    settings: Settings,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    engine: Arc<dyn Engine>,
    runner: Runner,
    unsynced_since: Option<Instant>,
    /// What has been sent ahead to the disk since the last sync.
    sent_ahead: Ahead,
    /// Held by a thread, too, while it is at it.
    sending: Arc<()>,
    log_bytes_at_checkpoint: u64,
    persisting: Option<Position>,
    persisted_index: Arc<AtomicU64>,
    free_checked: Option<Instant>,
    logged: Logged,
    /// Dropped last: nobody else may open the folder while this log may still be written.
    _lock: Box<dyn Lock>,
}

/// What a committer has done so far; the last words of a worker, and how benches count writes per sync.
#[derive(Clone, Copy, Debug, Default)]
struct Logged {
    records: u64,
    syncs: u64,
}

/// What a committer works with.
pub struct Parts {
    /// What streams share.
    pub shard: Arc<Shard>,
    /// The shard's data.
    pub replica: Replica,
    /// The shard's log.
    pub log: Log,
    /// The epoch in which this process leads the shard.
    pub epoch: u64,
    /// Durability and checkpoints.
    pub settings: Settings,
    /// Wall clock of logged time.
    pub clock: Arc<dyn Clock>,
    /// The disk under log and engine.
    pub disk: Arc<dyn Disk>,
    /// The engine under the replica.
    pub engine: Arc<dyn Engine>,
    /// Where a checkpoint's sync runs.
    pub runner: Runner,
    /// Keeps other processes out of the folder.
    pub lock: Box<dyn Lock>,
}

impl Committer {
    /// A committer over recovered data.
    pub fn new(mut parts: Parts) -> Self {
        parts.replica.keep_time(parts.shard.time().clone());
        let persisted_index = Arc::new(AtomicU64::new(parts.replica.checkpoint().index));
        Self {
            log_bytes_at_checkpoint: 0,
            shard: parts.shard,
            replica: parts.replica,
            log: parts.log,
            epoch: parts.epoch,
            settings: parts.settings,
            clock: parts.clock,
            disk: parts.disk,
            engine: parts.engine,
            runner: parts.runner,
            unsynced_since: None,
            sent_ahead: Ahead::default(),
            sending: Arc::default(),
            persisting: None,
            persisted_index,
            free_checked: None,
            logged: Logged::default(),
            _lock: parts.lock,
        }
    }

    /// Commits the barrier of the epoch; before that nothing is served (protocol.md rule 7).
    pub async fn commit_barrier(&mut self) -> Result<(), Error> {
        let mut group = self.replica.begin(self.clock.wall_ms());
        let record = replica::barrier(group.time_ms());
        let position = Position { epoch: self.epoch, index: self.log.last_index() + 1 };
        self.replica.stage_record(&mut group, position, &record)?;
        let mut appended = self.log.group();
        appended.push(self.epoch, |buffer| replica::encode(&record, buffer))?;
        appended.commit()?;
        self.log.sync().await?;
        self.replica.apply(group)?;
        self.shard.set_applied_index(self.replica.applied().index);
        Ok(())
    }

    /// Serves until the queue is closed and empty, then leaves everything durable; or until the shard is aborted, and
    /// leaves everything as it is. An error means that the process
    /// must end: what is on disk is recovered by the next start.
    pub async fn run(mut self) -> Result<(), Error> {
        loop {
            let writes = self.shard.queue().take(self.idle_wait()).await;
            let closing = writes.is_empty() && self.shard.queue().is_closed();
            if self.shard.is_aborted() {
                return Ok(());
            }
            if writes.is_empty() && self.replica.is_expiry_due(self.clock.wall_ms()) {
                self.commit(Vec::new()).await?;
            }
            self.commit_all(writes).await?;
            self.sync_if_due(closing).await?;
            self.checkpoint_if_due().await?;
            if closing {
                break;
            }
        }
        self.replica.checkpoint_rows()?;
        self.engine.persist()?;
        self.log.truncate_front(self.replica.checkpoint().index).await?;
        let Logged { records, syncs } = self.logged;
        tracing::info!(records, syncs, "the log is closed");
        self.log.close().await
    }

    /// After an error the groups that were not begun are refused: they have not been applied.
    async fn commit_all(&mut self, writes: Vec<Write>) -> Result<(), Error> {
        let mut groups = groups(writes).into_iter();
        while let Some(group) = groups.next() {
            if let Err(error) = self.commit(group).await {
                let text = format!("the shard has stopped: {error}");
                groups.for_each(|group| refuse_all(&group, Code::ShuttingDown, &text));
                return Err(error);
            }
            if self.shard.is_aborted() {
                break;
            }
        }
        Ok(())
    }

    async fn commit(&mut self, writes: Vec<Write>) -> Result<(), Error> {
        let now = Instant::now();
        if let Err(refusal) = self.check_room(now) {
            writes.iter().for_each(|write| write.refuse(refusal.clone()));
            return Ok(());
        }
        let mut group = self.replica.begin(self.clock.wall_ms());
        let mut replies = Vec::with_capacity(writes.len());
        let mut position = Position { epoch: self.epoch, index: self.log.last_index() };
        let logged_from = position.index;
        let mut appended = self.log.group();
        for record in self.replica.stage_expiries(&mut group, &mut position)? {
            appended.push(self.epoch, |buffer| replica::encode(&record, buffer))?;
        }
        for write in &writes {
            if let Some(refusal) = write.is_moot(now) {
                replies.push(request::refuse(write.id, refusal));
                continue;
            }
            position.index += 1;
            match self.replica.stage(&mut group, write, position)? {
                Staged::Answer(reply) => {
                    position.index -= 1;
                    replies.push(reply);
                }
                Staged::Log(record, reply) => {
                    appended.push(self.epoch, |buffer| replica::encode(&record, buffer))?;
                    replies.push(reply);
                }
            }
        }
        if position.index > logged_from {
            match appended.commit() {
                Ok(_) => self.logged.records += position.index - logged_from,
                Err(error) if error.is_disk_full() => {
                    // Until the log is synced a crash could bring back the first records of the refused group.
                    self.log.sync().await?;
                    refuse_all(&writes, Code::ReadOnly, &error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            self.make_durable(now).await?;
            self.finish(group)?;
        }
        answer(&writes, replies);
        Ok(())
    }

    async fn make_durable(&mut self, now: Instant) -> Result<(), Error> {
        match self.settings.durability {
            Durability::Sync => self.sync().await,
            Durability::Interval(_) => {
                self.unsynced_since.get_or_insert(now);
                Ok(())
            }
        }
    }

    async fn sync(&mut self) -> Result<(), Error> {
        self.log.sync().await?;
        self.logged.syncs += 1;
        Ok(())
    }

    fn finish(&mut self, group: Group) -> Result<(), Error> {
        self.replica.apply(group)?;
        self.shard.set_applied_index(self.replica.applied().index);
        Ok(())
    }

    /// How long the queue may stay empty before there is something else to do.
    fn idle_wait(&self) -> Option<Duration> {
        let persisted = self.persisting.map(|_| Duration::from_millis(PERSIST_CHECK_MS));
        let expiry = self.replica.expiry_wait(self.clock.wall_ms());
        let persisted = persisted.into_iter().chain(expiry).min();
        let Durability::Interval(ms) = self.settings.durability else { return persisted };
        let sync = self
            .unsynced_since
            .map(|since| (since + Duration::from_millis(ms)).saturating_duration_since(Instant::now()));
        persisted.into_iter().chain(sync).min()
    }

    async fn sync_if_due(&mut self, closing: bool) -> Result<(), Error> {
        let Some(since) = self.unsynced_since else { return Ok(()) };
        let due = match self.settings.durability {
            Durability::Sync => true,
            Durability::Interval(ms) => since.elapsed() >= Duration::from_millis(ms),
        };
        if due || closing {
            self.sync().await?;
            self.synced_all();
        } else {
            self.send_ahead(since);
        }
        Ok(())
    }

    fn synced_all(&mut self) {
        self.unsynced_since = None;
        self.sent_ahead = Ahead { log_bytes: self.log.bytes(), ..Ahead::default() };
    }

    /// Lets another thread sync the log's file, late in the interval and whenever much has been appended. The sync that
    /// counts then finds little left to do and holds up no write; what this one comes to does not matter, the system tells
    /// the log's own file of a failure too.
    fn send_ahead(&mut self, since: Instant) {
        let (Durability::Interval(ms), Runner::Threads(_)) = (self.settings.durability, &self.runner) else {
            return;
        };
        let bytes = self.log.bytes();
        let is_late = !self.sent_ahead.late && since.elapsed() >= Duration::from_millis(ms - ms / 4);
        // The log is shorter than it was when its front has gone.
        let is_much = bytes.abs_diff(self.sent_ahead.log_bytes) >= AHEAD_BYTES;
        if !(is_late || is_much) || Arc::strong_count(&self.sending) > 1 {
            return;
        }
        self.sent_ahead = Ahead { late: self.sent_ahead.late || is_late, log_bytes: bytes };
        let sending = self.sending.clone();
        let (disk, path) = (self.disk.clone(), self.log.tail_path().to_owned());
        self.runner.blocking(move || {
            let _sending = sending;
            if let Ok(mut file) = disk.open(&path, Open::Existing) {
                let _ = file.sync().now_or_never();
            }
        });
    }

    /// Once the log has grown enough: the results go into the engine, the engine to disk on another thread, and then
    /// the log's front goes.
    async fn checkpoint_if_due(&mut self) -> Result<(), Error> {
        if let Some(position) = self.persisting {
            match self.persisted_index.load(Ordering::Acquire) {
                FAILED => {
                    return Err(Error::Misfit("the engine could not be made durable".into()));
                }
                index if index >= position.index => {
                    self.persisting = None;
                    self.log.truncate_front(position.index).await?;
                    self.log_bytes_at_checkpoint = self.log.bytes();
                }
                _ => {}
            }
            return Ok(());
        }
        if self.log.bytes().saturating_sub(self.log_bytes_at_checkpoint) < self.settings.checkpoint_bytes {
            return Ok(());
        }
        if self.free_bytes() < CHECKPOINT_FREE_BYTES_MIN {
            // The log stays longer meanwhile; it does not grow, for no writes are taken either.
            return Ok(());
        }
        // The engine must not become durable beyond the log.
        self.log.sync().await?;
        self.synced_all();
        let position = self.replica.checkpoint_rows()?;
        self.persisting = Some(position);
        let engine = self.engine.clone();
        let mut outcome = Persisted { index: FAILED, told: self.persisted_index.clone() };
        self.runner.blocking(move || match engine.persist() {
            Ok(()) => outcome.succeeded(position),
            Err(error) => tracing::error!(%error, "checkpoint failed"),
        });
        Ok(())
    }

    /// Looks now and then whether the disk has room; without it the shard takes no writes until there is some again.
    fn check_room(&mut self, now: Instant) -> Result<(), request::Refusal> {
        let fresh = Duration::from_millis(FREE_CHECK_MS);
        if self.free_checked.is_none_or(|checked| now.duration_since(checked) >= fresh) {
            self.free_checked = Some(now);
            let free = self.free_bytes();
            let reserve = FREE_BYTES_MIN + ENGINE_COPIES * self.engine.unflushed_bytes();
            self.shard.set_disk_full((free < reserve).then_some(free));
        }
        self.shard.check_disk()
    }

    fn free_bytes(&self) -> u64 {
        self.disk.free_bytes(&self.settings.dir).unwrap_or(u64::MAX)
    }
}

/// What of the log has been sent ahead of its sync.
#[derive(Clone, Copy, Default)]
struct Ahead {
    /// What the late part of the interval asks for.
    late: bool,
    /// Up to here.
    log_bytes: u64,
}

/// The persist thread could not do its work.
const FAILED: u64 = u64::MAX;

/// Tells the committer what the persist thread came to, also if it panicked.
struct Persisted {
    index: u64,
    told: Arc<AtomicU64>,
}

impl Persisted {
    fn succeeded(&mut self, position: Position) {
        self.index = position.index;
    }
}

impl Drop for Persisted {
    fn drop(&mut self) {
        self.told.store(self.index, Ordering::Release);
    }
}

/// Splits what waited into groups within the limits, in order.
fn groups(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut groups = Vec::new();
    let (mut group, mut bytes) = (Vec::new(), 0);
    for write in writes {
        if group.len() >= GROUP_COUNT_MAX
            || (bytes + write.admitted_bytes > GROUP_BYTES_MAX && !group.is_empty())
        {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += write.admitted_bytes;
        group.push(write);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

fn refuse_all(writes: &[Write], code: Code, text: &str) {
    writes.iter().for_each(|write| write.refuse((code, text.to_string())));
}

/// Gives each write its reply, with one visit to each stream's outbox.
fn answer(writes: &[Write], replies: Vec<Reply>) {
    let mut by_stream: HashMap<*const Outbox, Vec<(Reply, usize)>> = HashMap::new();
    let mut order: Vec<&Arc<Outbox>> = Vec::new();
    for (write, reply) in writes.iter().zip(replies) {
        let stream = by_stream.entry(Arc::as_ptr(&write.outbox)).or_insert_with(|| {
            order.push(&write.outbox);
            Vec::new()
        });
        stream.push((reply, write.admitted_bytes));
    }
    for outbox in order {
        if let Some(replies) = by_stream.remove(&Arc::as_ptr(outbox)) {
            outbox.complete(replies);
        }
    }
}
