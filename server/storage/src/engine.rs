//! Engine: the ordered map that the log is applied to. Nouns beside it: a [`Reader`] (the engine as it is, or a
//! snapshot of it), a [`Batch`], which is applied whole or not at all, an [`Ingestion`], which fills an engine, and
//! [`Engines`], where engines come from.

use std::{
    ops::{Bound, ControlFlow},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;

use crate::error::Error;

/// Where a scan starts and ends.
pub type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Whether bounds can hold no key at all, as an end before the start cannot.
pub(crate) fn is_void((start, end): Bounds<'_>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start >= end
        }
    }
}

/// What a scan calls with each key and value; it ends when this breaks.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// What can be read.
pub trait Reader: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Visits the rows in bounds, in key order, as they stood when the scan began, until `visit` breaks.
    fn scan(&self, bounds: Bounds<'_>, visit: &mut Visitor<'_>) -> Result<(), Error>;
}

/// An ordered map of bytes. One writer at a time, any number of readers.
pub trait Engine: Reader {
    /// Applies a batch as one. After a crash a batch is there whole or not at all, and with it every one before it; it
    /// is durable only after [`Engine::persist`].
    fn write(&self, batch: Batch) -> Result<(), Error>;

    /// Makes every batch written before durable. Blocks while it syncs.
    fn persist(&self) -> Result<(), Error>;

    /// The rows as they stand now, for as long as the snapshot lives.
    fn snapshot(&self) -> Result<Box<dyn Reader>, Error>;

    /// Begins to take very many rows at once. Nobody else writes until the ingestion ends.
    fn ingest(self: Arc<Self>) -> Result<Box<dyn Ingestion>, Error>
    where
        Self: 'static,
    {
        Ok(Box::new(ByBatches(self)))
    }

    /// Bytes it has taken and not written as tables yet, for which the disk must still have room.
    fn unflushed_bytes(&self) -> u64 {
        0
    }

    /// How much it holds, roughly.
    fn size(&self) -> Size;
}

/// Rows on their way into an engine. Those of one that is dropped before it is finished may be there or not.
pub trait Ingestion: Send {
    /// Adds rows. Their keys ascend, over all that are added, and are not in the engine yet. Blocks while more has been
    /// added than the disk has taken, which is bounded.
    fn add(&mut self, rows: Batch) -> Result<(), Error>;

    /// Returns once all rows can be read; they are durable after [`Engine::persist`]. Blocks.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}

/// An ingestion of an engine that has no better way than writes.
struct ByBatches<E: ?Sized>(Arc<E>);

impl<E: Engine + ?Sized> Ingestion for ByBatches<E> {
    fn add(&mut self, rows: Batch) -> Result<(), Error> {
        self.0.write(rows)
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

/// Opens and removes engines, each in a folder of its own.
pub trait Engines: Send + Sync {
    /// Opens the engine in a folder, or makes one there, durably. It is open once at a time.
    fn open(&self, folder: &Path) -> Result<Arc<dyn Engine>, Error>;

    /// Removes an engine, whole or not, as soon as nobody reads it any more. A crash may leave a part of it.
    fn remove(&self, folder: &Path) -> Result<(), Error>;

    /// Names in `dir` that engines may have, other things' among them.
    fn names(&self, dir: &Path) -> Result<Vec<String>, Error>;
}

/// Approximate sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Rows, overwritten ones that compaction has not met yet among them.
    pub rows: u64,
    /// Bytes on disk (of the memory engine: in memory).
    pub bytes: u64,
}

/// Puts and deletes that are applied as one. Of several changes to a key the last counts.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) changes: Vec<(Bytes, Option<Bytes>)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for `count` changes.
    pub fn with_capacity(count: usize) -> Self {
        Self { changes: Vec::with_capacity(count) }
    }

    /// Sets a row.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push((key.into(), Some(value.into())));
    }

    /// Removes a row, if it is there.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.changes.push((key.into(), None));
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
