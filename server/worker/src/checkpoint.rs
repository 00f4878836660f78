//! Durability of what the host has written: syncs of the log, and checkpoints, which keep it short.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use slotkv_coordination::registers::Durability;
use slotkv_storage::{Error, Position};
use tokio::time::Instant;

use crate::{
    committer::FREE_BYTES_MIN,
    damage::READING_PAUSE_US,
    host::{Host, Input},
};

/// Below this much space no checkpoint begins: the engine could fail in the middle of it, which ends the process.
const CHECKPOINT_FREE_BYTES_MIN: u64 = FREE_BYTES_MIN / 4;
/// Bytes of unsynced log after which it is synced, so that no sync has many to write.
const BESIDE_BYTES: u64 = 8 << 20;
/// How often an idle host looks whether a checkpoint is durable.
const PERSIST_CHECK_MS: u64 = 100;
/// A host that cannot log now that keys have ended, as on a full disk, tries again after this time.
const EXPIRY_MS_MIN: u64 = 10;
/// The persist thread could not do its work.
const FAILED: u64 = u64::MAX;

/// A sync that was begun beside the host, and whose end was not told yet.
pub(crate) struct Beside {
    /// The last write that was reported before it began.
    reported: u64,
    /// And the last record.
    last_index: u64,
    begun: Instant,
}

/// Tells the host what the persist thread came to, also if it panicked.
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

impl Host {
    /// What was appended counts as durable when this returns: it is synced, or will be within the interval.
    pub(crate) async fn make_durable(&mut self) -> Result<(), Error> {
        match self.settings.durability {
            Durability::Sync => self.sync().await,
            Durability::Interval(_) => {
                self.durable.unsynced_since.get_or_insert_with(Instant::now);
                Ok(())
            }
        }
    }

    async fn sync(&mut self) -> Result<(), Error> {
        self.log.sync().await?;
        self.durable.syncs += 1;
        Ok(())
    }

    /// Waits until everything that was appended is synced.
    pub(crate) async fn sync_all(&mut self) -> Result<(), Error> {
        let reported = self.reported;
        self.sync().await?;
        self.durable.beside = None;
        self.durable.unsynced_since = None;
        self.durable.synced_log_bytes = self.log.bytes();
        self.tell_synced(reported).await
    }

    async fn tell_synced(&mut self, reported: u64) -> Result<(), Error> {
        if self.settings.durability != Durability::Sync {
            self.machine.synced(self.clock.uptime_us(), reported);
            self.carry_out().await?;
        }
        Ok(())
    }

    /// Others wait for what was appended to be synced: not at the interval, and now or as soon as the sync that runs has ended.
    pub(crate) async fn sync_if_wished(&mut self) -> Result<(), Error> {
        let runs_beside = self.settings.durability != Durability::Sync && self.log.is_syncing();
        if !self.sync_now || runs_beside {
            return Ok(());
        }
        self.sync_now = false;
        if self.settings.durability != Durability::Sync && self.sync_beside() {
            return Ok(());
        }
        self.sync_all().await
    }

    /// Begins a sync that nobody here waits for: clients' writes, which are not synced before they are answered, go on. Returns
    /// whether one was begun.
    fn sync_beside(&mut self) -> bool {
        let Some(syncing) = self.log.begin_sync() else { return false };
        self.durable.synced_log_bytes = self.log.bytes();
        self.durable.beside = Some(Beside {
            reported: self.reported,
            last_index: self.log.last_index(),
            begun: Instant::now(),
        });
        let told = self.shard.inbox().clone();
        self.runner.beside(async move {
            syncing.run().await;
            let _ = told.send(Input::Synced);
        });
        true
    }

    /// Tells of the sync that ran beside the host once it has ended, by itself or since something waited for it.
    pub(crate) async fn note_beside(&mut self) -> Result<(), Error> {
        self.log.look_elsewhere()?;
        if self.log.is_syncing() {
            return Ok(());
        }
        let Some(Beside { reported, last_index, begun }) = self.durable.beside.take() else { return Ok(()) };
        if self.log.synced_index() < last_index {
            // It was dropped, or what it was about has been cut; somebody may wait still.
            self.sync_now = true;
            return Ok(());
        }
        self.durable.syncs += 1;
        let is_all = self.log.synced_index() == self.log.last_index();
        self.durable.unsynced_since = if is_all { None } else { self.durable.unsynced_since.map(|_| begun) };
        self.tell_synced(reported).await?;
        // Little is left to be synced.
        if self.log.is_segment_full() { self.sync_all().await } else { Ok(()) }
    }

    /// How long nothing may come before there is something else to do.
    pub(crate) fn idle_wait(&self) -> Option<Duration> {
        let persisted = self.durable.persisting.map(|_| Duration::from_millis(PERSIST_CHECK_MS));
        let expiry = if self.may_expire() { self.replica.expiry_wait(self.clock.wall_ms()) } else { None };
        let expiry = expiry.map(|wait| wait.max(Duration::from_millis(EXPIRY_MS_MIN)));
        let reading = self.machine.reading().map(|_| Duration::from_micros(READING_PAUSE_US));
        let own = persisted.into_iter().chain(expiry).chain(reading).min();
        let Durability::Interval(ms) = self.settings.durability else { return own };
        let wait_ms = if self.log.is_syncing() { ms } else { begins_after_ms(ms) };
        let sync = self
            .durable
            .unsynced_since
            .map(|since| (since + Duration::from_millis(wait_ms)).saturating_duration_since(Instant::now()));
        own.into_iter().chain(sync).min()
    }

    /// Late in the interval, and whenever much has been appended, a sync begins beside the host. It is waited for only once the
    /// interval is over.
    pub(crate) async fn sync_if_due(&mut self) -> Result<(), Error> {
        let Some(since) = self.durable.unsynced_since else { return Ok(()) };
        let Durability::Interval(ms) = self.settings.durability else { return self.sync_all().await };
        if since.elapsed() >= Duration::from_millis(ms) {
            return self.sync_all().await;
        }
        let is_late = since.elapsed() >= Duration::from_millis(begins_after_ms(ms));
        // The log is shorter than it was when its front has gone.
        let is_much = self.log.bytes().abs_diff(self.durable.synced_log_bytes) >= BESIDE_BYTES;
        let begins = (is_late || is_much) && self.sync_beside();
        // Nothing is left to be synced, or more than a sync is to be done: not to be put off, or the host would look again at once.
        if is_late && !begins && !self.log.is_syncing() { self.sync_all().await } else { Ok(()) }
    }

    /// Once the log has grown enough: the results go into the engine, the engine to disk on another thread, and then
    /// the log's front goes.
    pub(crate) async fn checkpoint_if_due(&mut self) -> Result<(), Error> {
        if let Some(position) = self.durable.persisting {
            match self.durable.persisted_index.load(Ordering::Acquire) {
                FAILED => {
                    return Err(Error::Misfit("the engine could not be made durable".into()));
                }
                index if index >= position.index => {
                    self.durable.persisting = None;
                    let upto = self.droppable();
                    let dropped = self.log.truncate_front(upto).await?;
                    self.runner.blocking(move || drop(dropped));
                    self.machine.trimmed(self.log.first_index() - 1);
                    self.carry_out().await?;
                    self.durable.log_bytes_at_checkpoint = self.log.bytes();
                }
                _ => {}
            }
            return Ok(());
        }
        if self.log.bytes().saturating_sub(self.durable.log_bytes_at_checkpoint)
            < self.settings.checkpoint_bytes
        {
            return Ok(());
        }
        if self.free_bytes() < CHECKPOINT_FREE_BYTES_MIN {
            // The log stays longer meanwhile; it does not grow, for no writes are taken either.
            return Ok(());
        }
        // The engine must not become durable beyond the log.
        self.sync_all().await?;
        let position = self.replica.checkpoint_rows()?;
        self.durable.persisting = Some(position);
        let engine = self.engine.clone();
        let mut outcome = Persisted { index: FAILED, told: self.durable.persisted_index.clone() };
        self.runner.blocking(move || match engine.persist() {
            Ok(()) => outcome.succeeded(position),
            Err(error) => tracing::error!(%error, "checkpoint failed"),
        });
        Ok(())
    }

    /// Records up to here are needed no more: neither for the next start, nor by a replica that is a little behind.
    pub(crate) fn droppable(&self) -> u64 {
        let needed = self.machine.needed_from_index().min(self.migrations.needed_from_index());
        let needed = needed.saturating_sub(1);
        let retain_bytes = self.durable.retain_bytes;
        let kept = self.log.front_to_keep(retain_bytes);
        // A replica that is far behind takes a snapshot rather than keep the log of all.
        let is_too_long = self.log.bytes() > retain_bytes.max(64 << 20).saturating_mul(4);
        let behind = if is_too_long { u64::MAX } else { needed };
        self.replica.checkpoint().index.min(kept).min(behind)
    }

    /// The data is another: no checkpoint of the former is waited for.
    pub(crate) fn forget_checkpoint(&mut self) {
        self.durable.persisting = None;
        self.durable.persisted_index = Arc::new(AtomicU64::new(self.replica.checkpoint().index));
        self.durable.log_bytes_at_checkpoint = self.log.bytes();
    }
}

/// So long after a record was appended its sync begins, for it to be done within the interval.
fn begins_after_ms(interval_ms: u64) -> u64 {
    interval_ms - interval_ms / 4
}
