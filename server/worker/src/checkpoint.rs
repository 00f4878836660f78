//! Durability of what the host has written: syncs of the log, and checkpoints, which keep it short.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use slotkv_coordination::registers::Durability;
use slotkv_storage::{Error, Open, Position};
use tokio::time::Instant;

use crate::{committer::FREE_BYTES_MIN, damage::READING_PAUSE_US, host::Host, runner::Runner};

/// Below this much space no checkpoint begins: the engine could fail in the middle of it, which ends the process.
const CHECKPOINT_FREE_BYTES_MIN: u64 = FREE_BYTES_MIN / 4;
/// Bytes of unsynced log after which another thread syncs it, so that no sync of the host's has many to wait for.
const AHEAD_BYTES: u64 = 8 << 20;
/// How often an idle host looks whether a checkpoint is durable.
const PERSIST_CHECK_MS: u64 = 100;
/// A host that cannot log now that keys have ended, as on a full disk, tries again after this time.
const EXPIRY_MS_MIN: u64 = 10;
/// The persist thread could not do its work.
const FAILED: u64 = u64::MAX;

/// What of the log has been sent ahead of its sync.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ahead {
    /// What the late part of the interval asks for.
    late: bool,
    /// Up to here.
    log_bytes: u64,
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

    pub(crate) async fn sync_all(&mut self) -> Result<(), Error> {
        let reported = self.reported;
        self.sync().await?;
        self.synced_all();
        if self.settings.durability != Durability::Sync {
            self.machine.synced(self.clock.uptime_us(), reported);
            self.carry_out().await?;
        }
        Ok(())
    }

    /// How long nothing may come before there is something else to do.
    pub(crate) fn idle_wait(&self) -> Option<Duration> {
        let persisted = self.durable.persisting.map(|_| Duration::from_millis(PERSIST_CHECK_MS));
        let expiry = if self.may_expire() { self.replica.expiry_wait(self.clock.wall_ms()) } else { None };
        let expiry = expiry.map(|wait| wait.max(Duration::from_millis(EXPIRY_MS_MIN)));
        let reading = self.machine.reading().map(|_| Duration::from_micros(READING_PAUSE_US));
        let own = persisted.into_iter().chain(expiry).chain(reading).min();
        let Durability::Interval(ms) = self.settings.durability else { return own };
        let sync = self
            .durable
            .unsynced_since
            .map(|since| (since + Duration::from_millis(ms)).saturating_duration_since(Instant::now()));
        own.into_iter().chain(sync).min()
    }

    pub(crate) async fn sync_if_due(&mut self, closing: bool) -> Result<(), Error> {
        let Some(since) = self.durable.unsynced_since else { return Ok(()) };
        let due = match self.settings.durability {
            Durability::Sync => true,
            Durability::Interval(ms) => since.elapsed() >= Duration::from_millis(ms),
        };
        if due || closing {
            self.sync_all().await?;
        } else {
            self.send_ahead(since);
        }
        Ok(())
    }

    fn synced_all(&mut self) {
        self.durable.unsynced_since = None;
        self.durable.sent_ahead = Ahead { log_bytes: self.log.bytes(), ..Ahead::default() };
    }

    /// Lets another thread sync the log's file, late in the interval and whenever much has been appended. The sync that
    /// counts then finds little left to do and holds up no write; what this one comes to does not matter, the system tells
    /// the log's own file of a failure too.
    fn send_ahead(&mut self, since: Instant) {
        let (Durability::Interval(ms), Runner::Threads(_)) = (self.settings.durability, &self.runner) else {
            return;
        };
        let bytes = self.log.bytes();
        let is_late = !self.durable.sent_ahead.late && since.elapsed() >= Duration::from_millis(ms - ms / 4);
        // The log is shorter than it was when its front has gone.
        let is_much = bytes.abs_diff(self.durable.sent_ahead.log_bytes) >= AHEAD_BYTES;
        if !(is_late || is_much) || Arc::strong_count(&self.durable.sending) > 1 {
            return;
        }
        self.durable.sent_ahead = Ahead { late: self.durable.sent_ahead.late || is_late, log_bytes: bytes };
        let sending = self.durable.sending.clone();
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
    pub(crate) async fn checkpoint_if_due(&mut self) -> Result<(), Error> {
        if let Some(position) = self.durable.persisting {
            match self.durable.persisted_index.load(Ordering::Acquire) {
                FAILED => {
                    return Err(Error::Misfit("the engine could not be made durable".into()));
                }
                index if index >= position.index => {
                    self.durable.persisting = None;
                    let upto = self.droppable();
                    self.log.truncate_front(upto).await?;
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
