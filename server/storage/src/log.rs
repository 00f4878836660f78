//! Log: the replicated log of one shard replica. Records have consecutive indexes from 1 and epochs that never go
//! back; they lie in segments, each record framed with a CRC and chained to the one before. Beside the segments lies the
//! mark, which tells up to where the log has been synced.
//!
//! Opening accepts what a crash can leave and nothing else: a torn tail, that is bytes behind the last
//! intact record that no evidence says were ever synced, is cut off. Anything else that is not as it was written is
//! [`Error::Damaged`], and the log is not opened.
//!
//! Invariants:
//! - `synced <= last.index`; the segments before `tail` are synced and never change.
//! - `chain` is the chain of the last frame; `epochs` begins with the position before the first record, then holds the
//!   first record of each epoch.
//! - `mark.synced_index <= synced`, whatever survives a crash: it is lowered and synced before the log gets shorter.
//! - Once `poisoned`, nothing is written: after a failed sync nobody knows what of the file is on the disk
//!   (protocol.md 12).
//! - While a sync runs elsewhere the tail stays the tail and gets no shorter: whatever else would end it waits for it first.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    disk::{Disk, File, Open},
    error::Error,
    keys::Position,
};

mod frame;
mod group;
mod mark;
mod recover;
mod search;
mod segment;
mod syncing;
#[cfg(test)]
mod tests;
mod window;

pub use group::{GROUP_BYTES_MAX, Group};
pub use syncing::Syncing;

use mark::{Mark, MarkFile};
use segment::{Beginning, ID_BYTES_MAX, Segment};
use syncing::Elsewhere;

/// Largest payload of one record, in bytes; a larger one is refused before anything is written.
pub const PAYLOAD_BYTES_MAX: usize = 24 << 20;

/// Whose log it is. Checked on open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which cluster; at most 1024 bytes.
    pub cluster_id: String,
    /// Which shard.
    pub shard: u32,
    /// Storage incarnation of the replica; at most 1024 bytes.
    pub incarnation: String,
}

/// Sizes and beginnings.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment that has reached this size when it is synced is closed and the next begun.
    pub segment_bytes: u64,
    /// Where a log that does not exist yet begins: behind this record, which a snapshot holds.
    pub start_after: Position,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, start_after: Position::default() }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1 for the first.
    pub index: u64,
    /// Epoch of the primary that made it.
    pub epoch: u64,
    /// Its bytes.
    pub payload: Bytes,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The log did not exist.
    pub created: bool,
    /// Index of the first record held; last_index + 1 if there is none.
    pub first_index: u64,
    /// Index of the last record.
    pub last_index: u64,
    /// Epoch of the last record, or of the one before the first.
    pub last_epoch: u64,
    /// Up to here records are known to have been synced before; now every record is.
    pub synced_index: u64,
    /// Bytes of a torn tail that were cut off.
    pub cut_bytes: u64,
    /// The log was closed in order: nothing written was lost, synced or not.
    pub clean: bool,
}

/// Files that have no names any more, and keep their space until this is dropped.
#[derive(Default)]
pub struct Dropped(Vec<Box<dyn File>>);

/// The replicated log of one shard replica. One task owns it.
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    identity: Identity,
    segment_bytes: u64,
    mark_file: MarkFile,
    mark: Mark,
    closed: Vec<Segment>,
    tail: Segment,
    /// The tail's file.
    file: Box<dyn File>,
    last: Position,
    chain: u32,
    synced: u64,
    epochs: Vec<Position>,
    /// Frames of the group that is being made, and where each ends.
    buffer: Vec<u8>,
    frame_ends: Vec<usize>,
    /// A failed write has been taken back, which only the next sync makes certain.
    taken_back: bool,
    /// A segment that may have been made and is not the tail: it has to go before the tail grows.
    unbegun: Option<u64>,
    /// The sync that runs elsewhere.
    elsewhere: Option<Elsewhere>,
    poisoned: Option<String>,
}

impl Log {
    /// Opens the log in `dir`, or makes one there if there is none. Every record is synced when it returns.
    pub async fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<(Log, Recovery), Error> {
        for (what, id) in [("cluster id", &identity.cluster_id), ("incarnation", &identity.incarnation)] {
            if id.len() > ID_BYTES_MAX {
                let length = id.len();
                return Err(Error::Misfit(format!(
                    "a {what} of {length} bytes is longer than {ID_BYTES_MAX}"
                )));
            }
        }
        recover::open(disk, dir, identity, options).await
    }

    /// Whether there is a log in `dir`, whole or not.
    pub fn exists(disk: &dyn Disk, dir: &Path) -> Result<bool, Error> {
        recover::exists(disk, dir)
    }

    /// Appends records of one epoch with one write. Returns the index of the last record. About errors see
    /// [`Group::commit`].
    pub fn append<P: AsRef<[u8]>>(&mut self, epoch: u64, payloads: &[P]) -> Result<u64, Error> {
        let mut group = self.group();
        for payload in payloads {
            group.push(epoch, |buffer| buffer.extend_from_slice(payload.as_ref()))?;
        }
        group.commit()
    }

    /// Begins a group of records that [`Group::commit`] appends with one write.
    pub fn group(&mut self) -> Group<'_> {
        Group::new(self)
    }

    /// Makes every appended record durable and returns the index of the last. After a failed sync the log takes no
    /// more writes; the process is to end. Dropped before it is done, it may or may not have made records durable.
    pub async fn sync(&mut self) -> Result<u64, Error> {
        self.usable()?;
        self.end_elsewhere().await?;
        if self.synced < self.last.index || self.taken_back {
            let synced = self.file.sync().await;
            self.note_synced(self.last.index, synced)?;
            self.taken_back = false;
            self.remove_unbegun()?;
            if self.is_segment_full() {
                self.begin_segment().await?;
            }
        }
        Ok(self.synced)
    }

    /// Records from `from_index` on: at least one if there is one, then as many as fit `bytes_max` payload bytes;
    /// fewer where a segment ends, none behind the last.
    pub fn read(&self, from_index: u64, bytes_max: usize) -> Result<Vec<Record>, Error> {
        if from_index > self.last.index {
            return Ok(Vec::new());
        }
        if from_index < self.first_index() {
            return Err(Error::Misfit(format!(
                "record {from_index} is not in the log, which begins with {}",
                self.first_index()
            )));
        }
        if from_index >= self.tail.beginning.first_index {
            return self.tail.read(&*self.file, from_index, bytes_max);
        }
        let segment = self.closed_segment(from_index);
        segment.read(&*self.open_file(segment)?, from_index, bytes_max)
    }

    /// Drops the segments whose records all have an index up to `upto_index`. The last segment stays. Their space is free once
    /// what is returned is dropped, which may take as long as reading them: best on another thread.
    pub async fn truncate_front(&mut self, upto_index: u64) -> Result<Dropped, Error> {
        self.usable()?;
        let dropped = self.closed.partition_point(|segment| segment.last_index <= upto_index);
        if dropped == 0 {
            return Ok(Dropped::default());
        }
        let first = self.closed.get(dropped).unwrap_or(&self.tail).beginning;
        let mark = Mark { first_index: first.first_index, epoch_before: first.epoch_before, ..self.mark };
        // Once this is durable, what is left of the dropped segments after a crash is swept up by the next opening.
        self.set_mark(mark).await?;
        let before = Position { epoch: first.epoch_before, index: first.first_index - 1 };
        self.epochs.retain(|start| start.index > before.index);
        self.epochs.insert(0, before);
        let mut files = Dropped::default();
        for segment in self.closed.drain(..dropped) {
            // Only its last holder gives a file's space free. Without this one it is given free here.
            files.0.extend(self.disk.open(&segment.path, Open::Existing));
            self.disk.remove(&segment.path).map_err(|source| Error::io(&segment.path, "remove", source))?;
        }
        Ok(files)
    }

    /// Drops the record `from_index` and everything behind it, durably. After an error, or dropped before it is done,
    /// the log takes no more writes.
    pub async fn truncate_back(&mut self, from_index: u64) -> Result<(), Error> {
        self.usable()?;
        if from_index > self.last.index {
            return Ok(());
        }
        if from_index < self.first_index() {
            return Err(Error::Misfit(format!(
                "cannot cut the log before record {from_index}: it begins with {}",
                self.first_index()
            )));
        }
        self.end_elsewhere().await?;
        self.poisoned = Some("a cut at the back was not finished".into());
        self.cut_back(from_index).await?;
        self.poisoned = None;
        Ok(())
    }

    async fn cut_back(&mut self, from_index: u64) -> Result<(), Error> {
        self.remove_unbegun()?;
        if from_index <= self.mark.synced_index {
            self.set_mark(Mark { synced_index: from_index - 1, ..self.mark }).await?;
        }
        while from_index < self.tail.beginning.first_index
            && let Some(segment) = self.closed.pop()
        {
            self.file = self.open_file(&segment)?;
            let dropped = std::mem::replace(&mut self.tail, segment);
            // One after the other, so that what a crash leaves has no gap.
            self.disk.remove(&dropped.path).map_err(|source| Error::io(&dropped.path, "remove", source))?;
            self.sync_dir()?;
        }
        let (at, before) = self.tail.locate(&*self.file, from_index)?;
        self.file.truncate(at).map_err(|source| Error::io(&self.tail.path, "cut", source))?;
        self.file.sync().await.map_err(|source| Error::io(&self.tail.path, "sync", source))?;
        self.tail.cut(from_index, at);
        let Beginning { epoch_before, chain_before, .. } = self.tail.beginning;
        let (epoch, chain) =
            before.map_or((epoch_before, chain_before), |header| (header.epoch, header.chain));
        self.last = Position { epoch, index: from_index - 1 };
        self.chain = chain;
        self.synced = self.last.index;
        self.taken_back = false;
        self.epochs.retain(|start| start.index < from_index);
        Ok(())
    }

    /// Drops everything and begins anew behind a record that a snapshot holds, durably. After an error, or dropped
    /// before it is done, the log takes no more writes.
    pub async fn reset(&mut self, after: Position) -> Result<(), Error> {
        self.usable()?;
        self.end_elsewhere().await?;
        self.poisoned = Some("a reset was not finished".into());
        self.begin_anew(after).await?;
        self.poisoned = None;
        Ok(())
    }

    async fn begin_anew(&mut self, after: Position) -> Result<(), Error> {
        self.remove_unbegun()?;
        // Once this is durable, the segments there are do not count any more.
        let mark = Mark {
            generation: self.mark.generation + 1,
            first_index: after.index + 1,
            epoch_before: after.epoch,
            synced_index: after.index,
            clean: false,
        };
        self.set_mark(mark).await?;
        for segment in self.closed.iter().chain([&self.tail]) {
            self.disk.remove(&segment.path).map_err(|source| Error::io(&segment.path, "remove", source))?;
        }
        self.closed.clear();
        self.sync_dir()?;
        let beginning = first_beginning(&mark);
        (self.tail, self.file) = Segment::create(&*self.disk, &self.dir, &self.identity, beginning).await?;
        self.last = after;
        self.chain = beginning.chain_before;
        self.synced = after.index;
        self.taken_back = false;
        self.epochs = vec![after];
        Ok(())
    }

    /// Refuses an engine whose applied position this log does not hold or cannot continue: what the engine holds and
    /// what the log says must be one history.
    pub fn check_joins(&self, applied: Position) -> Result<(), Error> {
        let (first, last) = (self.first_index(), self.last.index);
        match self.epoch_at(applied.index) {
            Some(epoch) if epoch == applied.epoch => Ok(()),
            Some(epoch) => Err(Error::Misfit(format!(
                "the engine has applied record {} of epoch {}, but in the log that record is of epoch {epoch}",
                applied.index, applied.epoch
            ))),
            None => Err(Error::Misfit(format!(
                "the engine has applied record {}, the log holds records {first} to {last} and cannot continue it",
                applied.index
            ))),
        }
    }

    /// Syncs and marks the log as closed in order.
    pub async fn close(mut self) -> Result<(), Error> {
        self.sync().await?;
        self.set_mark(Mark { clean: true, ..self.mark }).await
    }

    /// Index of the first record held; `last_index() + 1` if there is none.
    pub fn first_index(&self) -> u64 {
        self.closed.first().unwrap_or(&self.tail).beginning.first_index
    }

    /// Index of the last record; 0 in a new log.
    pub fn last_index(&self) -> u64 {
        self.last.index
    }

    /// Epoch of the last record, or of the one before the first.
    pub fn last_epoch(&self) -> u64 {
        self.last.epoch
    }

    /// Every record up to this index is durable.
    pub fn synced_index(&self) -> u64 {
        self.synced
    }

    /// Epoch of a record; `None` if the log does not hold it. The one before the first it knows.
    pub fn epoch_at(&self, index: u64) -> Option<u64> {
        if index > self.last.index {
            return None;
        }
        let after = self.epochs.partition_point(|start| start.index <= index);
        after.checked_sub(1).map(|at| self.epochs[at].epoch)
    }

    /// The position before the first record, then the first record of each epoch.
    pub fn epochs(&self) -> &[Position] {
        &self.epochs
    }

    /// The last record whose epoch is at most `epoch`; `None` if that is before the log's beginning.
    pub fn end_of_epoch(&self, epoch: u64) -> Option<Position> {
        let after = self.epochs.partition_point(|start| start.epoch <= epoch);
        let start = self.epochs.get(after.checked_sub(1)?)?;
        let index = self.epochs.get(after).map_or(self.last.index, |next| next.index - 1);
        Some(Position { epoch: start.epoch, index })
    }

    /// Up to which record the front may be dropped so that at least so many bytes of segments stay.
    pub fn front_to_keep(&self, bytes: u64) -> u64 {
        let mut kept = self.tail.end;
        for segment in self.closed.iter().rev() {
            if kept >= bytes {
                return segment.last_index;
            }
            kept += segment.end;
        }
        self.first_index() - 1
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.closed.iter().map(|segment| segment.end).sum::<u64>() + self.tail.end
    }

    /// Closes the tail, which is synced, and begins the next segment. Without space for one the tail goes on.
    async fn begin_segment(&mut self) -> Result<(), Error> {
        let beginning = Beginning {
            generation: self.mark.generation,
            first_index: self.last.index + 1,
            epoch_before: self.last.epoch,
            chain_before: self.chain,
        };
        self.unbegun = Some(beginning.first_index);
        match Segment::create(&*self.disk, &self.dir, &self.identity, beginning).await {
            Ok((segment, file)) => {
                self.closed.push(std::mem::replace(&mut self.tail, segment));
                self.file = file;
                self.unbegun = None;
                Ok(())
            }
            Err(_) => self.remove_unbegun(),
        }
    }

    /// Removes a segment that could not be begun, or was not since the sync that would have done it was dropped.
    fn remove_unbegun(&mut self) -> Result<(), Error> {
        let Some(first_index) = self.unbegun else { return Ok(()) };
        let path = segment::path_of(&self.dir, first_index);
        let removed = match self.disk.exists(&path) {
            Ok(true) => self.disk.remove(&path).and_then(|()| self.disk.sync_dir(&self.dir)),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(|source| self.poisoned_by(Error::io(&path, "remove", source)))?;
        self.unbegun = None;
        Ok(())
    }

    async fn set_mark(&mut self, mark: Mark) -> Result<(), Error> {
        self.mark = mark;
        let written = self.mark_file.write_synced(&mark).await;
        written.map_err(|error| self.poisoned_by(error))
    }

    fn sync_dir(&self) -> Result<(), Error> {
        self.disk.sync_dir(&self.dir).map_err(|source| Error::io(&self.dir, "sync the folder", source))
    }

    fn closed_segment(&self, index: u64) -> &Segment {
        let after = self.closed.partition_point(|segment| segment.beginning.first_index <= index);
        &self.closed[after - 1]
    }

    fn open_file(&self, segment: &Segment) -> Result<Box<dyn File>, Error> {
        self.disk
            .open(&segment.path, Open::Existing)
            .map_err(|source| Error::io(&segment.path, "open", source))
    }

    fn usable(&self) -> Result<(), Error> {
        match &self.poisoned {
            Some(why) => Err(Error::Poisoned { file: self.tail.path.clone(), why: why.clone() }),
            None => Ok(()),
        }
    }

    fn poison(&mut self, error: &Error) {
        self.poisoned.get_or_insert_with(|| error.to_string());
    }

    fn poisoned_by(&mut self, error: Error) -> Error {
        self.poison(&error);
        error
    }
}

/// How a log that begins as the mark says begins.
fn first_beginning(mark: &Mark) -> Beginning {
    Beginning {
        generation: mark.generation,
        first_index: mark.first_index,
        epoch_before: mark.epoch_before,
        chain_before: 0,
    }
}
