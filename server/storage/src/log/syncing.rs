//! Syncing: a sync of the log that runs elsewhere, as on another thread, while the log goes on.

use std::io;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::Log;
use crate::error::Error;

/// A sync that was begun and is to be run, anywhere. Dropped before it is done it has synced nothing for certain.
pub struct Syncing {
    sync: BoxFuture<'static, io::Result<()>>,
    told: oneshot::Sender<io::Result<()>>,
}

impl Syncing {
    /// Syncs. Blocks where the disk does.
    pub async fn run(self) {
        let outcome = self.sync.await;
        // Nobody waits for it if the log is closed.
        let _ = self.told.send(outcome);
    }
}

/// What the log knows of it.
pub(super) struct Elsewhere {
    /// The last record that it makes durable.
    last_index: u64,
    outcome: oneshot::Receiver<io::Result<()>>,
}

impl Log {
    /// Begins a sync of every record that is appended now, to be run elsewhere; [`Self::look_elsewhere`] sees whether it has
    /// ended. `None` if one is under way, nothing is to be synced, or more is to be done than to sync a file: that takes a
    /// [`Self::sync`].
    pub fn begin_sync(&mut self) -> Option<Syncing> {
        let is_simple = !self.taken_back && self.unbegun.is_none();
        if !is_simple || self.is_syncing() || self.synced >= self.last.index || self.poisoned.is_some() {
            return None;
        }
        let (told, outcome) = oneshot::channel();
        self.elsewhere = Some(Elsewhere { last_index: self.last.index, outcome });
        Some(Syncing { sync: self.file.sync(), told })
    }

    /// Whether the last segment is as large as it should be: the next [`Self::sync`] begins another.
    pub fn is_segment_full(&self) -> bool {
        self.tail.end >= self.segment_bytes
    }

    /// Whether a sync that runs elsewhere is not known to have ended.
    pub fn is_syncing(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// Looks whether the sync that runs elsewhere has ended, and notes it; it was dropped if nothing more is synced behind it. If it
    /// failed the log takes no more writes, and the process is to end.
    pub fn look_elsewhere(&mut self) -> Result<(), Error> {
        let Some(elsewhere) = &mut self.elsewhere else { return Ok(()) };
        // Not polled as a future: a task that has used up what it may do in one turn is told that nothing has come.
        match elsewhere.outcome.try_recv() {
            Ok(outcome) => self.note_elsewhere(Some(outcome)),
            Err(TryRecvError::Closed) => self.note_elsewhere(None),
            Err(TryRecvError::Empty) => Ok(()),
        }
    }

    /// Waits for the sync that runs elsewhere, if one does. About errors see [`Self::look_elsewhere`].
    pub async fn end_elsewhere(&mut self) -> Result<(), Error> {
        let Some(elsewhere) = &mut self.elsewhere else { return Ok(()) };
        let outcome = (&mut elsewhere.outcome).await;
        self.note_elsewhere(outcome.ok())
    }

    /// `None`: it was dropped, and has told of no failure; if there was one, the next sync of the file fails, too.
    fn note_elsewhere(&mut self, outcome: Option<io::Result<()>>) -> Result<(), Error> {
        match (self.elsewhere.take(), outcome) {
            (Some(elsewhere), Some(outcome)) => self.note_synced(elsewhere.last_index, outcome),
            _ => Ok(()),
        }
    }

    pub(super) fn note_synced(&mut self, last_index: u64, outcome: io::Result<()>) -> Result<(), Error> {
        outcome.map_err(|source| self.poisoned_by(Error::io(&self.tail.path, "sync", source)))?;
        self.synced = last_index;
        self.mark.synced_index = last_index;
        self.mark_file.write(&self.mark).map_err(|error| self.poisoned_by(error))
    }
}
