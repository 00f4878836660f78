//! FjallEngine: an engine on disk, a log-structured merge tree: skip list in memory, sorted tables with Bloom filters
//! and LZ4 on disk, compaction, block cache.
//!
//! Its folder holds `rows` (fjall's files) and `mark`. One keyspace holds every row: its tables are flushed whole, so
//! that what survives a crash is always the state after some batch, the applied position in it.
//!
//! fjall takes the first bytes of a journal that it cannot read for the end of it, wherever they are, and does not compare
//! every checksum that it writes. So its trees and its journals are read here before it opens them (see [`trees`]
//! and [`journals`]); and the applied position must not be below the one that `mark` has from the last persist, which
//! tells damage from a torn tail.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable,
};
use parking_lot::Mutex;

use crate::{
    disk::Disk,
    engine::{Batch, Bounds, Engine, Ingestion, Reader, Size, Visitor, is_void},
    error::Error,
    keys::{self, Position},
    real_disk::RealDisk,
};

mod ahead;
mod background;
mod engines;
mod ingestion;
mod journals;
mod mark;
mod memtables;
mod trees;

pub use engines::FjallEngines;

use ahead::Ahead;
use engines::Folder;
use memtables::Memtables;

const ROWS_FOLDER: &str = "rows";
const UNFINISHED_FOLDER: &str = "rows.new";
const KEYSPACE: &str = "rows";
/// What reading of fjall's files ends in when they are not as it left them.
const DAMAGE: [io::ErrorKind; 5] = [
    io::ErrorKind::InvalidInput,
    io::ErrorKind::NotFound,
    io::ErrorKind::AlreadyExists,
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::InvalidData,
];

/// Sizes of a [`FjallEngine`].
#[derive(Clone, Debug)]
pub struct FjallOptions {
    /// Blocks kept in memory.
    pub cache_bytes: u64,
    /// Rows gathered in memory before they are written as a table; up to four such tables wait for the disk before
    /// writes do.
    pub memtable_bytes: u64,
    /// Journals on disk; past them memory is flushed early. At least 64 MiB. Bounds what an opening replays.
    pub journal_bytes: u64,
    /// Threads that flush and compact. While all but one of them compact, fjall's first one passes further compactions
    /// round and round, which takes a core: with two threads that is as long as any compaction takes.
    pub threads: usize,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, memtable_bytes: 32 << 20, journal_bytes: 256 << 20, threads: 3 }
    }
}

/// An engine on disk.
pub struct FjallEngine {
    database: Database,
    rows: Keyspace,
    /// Held while a batch is applied and while a snapshot is begun: a flush that ends meanwhile lets fjall 3.1's
    /// snapshots see the part of a batch that is there already.
    writing: Mutex<()>,
    ahead: Ahead,
    memtables: Memtables,
    /// When a table in memory is full.
    memtable_bytes: u64,
    /// Dropped last, when fjall's threads have ended.
    folder: Arc<Folder>,
}

impl FjallEngine {
    /// Opens the engine in `folder`, or makes one there if the folder is empty or absent.
    pub fn open(folder: &Path, options: &FjallOptions) -> Result<Self, Error> {
        // fjall asserts what it expects of its folder.
        catch_unwind(AssertUnwindSafe(|| Self::open_unguarded(folder, options))).unwrap_or_else(|panic| {
            let why = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("it panicked");
            Err(damaged(folder, why))
        })
    }

    fn open_unguarded(folder: &Path, options: &FjallOptions) -> Result<Self, Error> {
        let rows_folder = folder.join(ROWS_FOLDER);
        let marked = mark::read(folder)?;
        if rows_folder.try_exists().map_err(|source| Error::io(&rows_folder, "look for", source))? {
            let marked = marked.ok_or_else(|| damaged(folder, "its mark is missing"))?;
            trees::check(&rows_folder)?;
            let journals = journals::examine(&rows_folder)?;
            let engine = Self::open_rows(folder, &rows_folder, options)?;
            journals.check(&engine)?;
            let applied = engine.applied()?;
            if applied.index < marked.index {
                return Err(damaged(
                    folder,
                    format!(
                        "it has applied record {}, but {} had been persisted",
                        applied.index, marked.index
                    ),
                ));
            }
            return Ok(engine);
        }
        if marked.is_some_and(|marked| marked.index > 0) {
            return Err(damaged(folder, "its rows are missing"));
        }
        Self::create(folder, options).map_err(|source| Error::io(folder, "make an engine in", source))?;
        Self::open_rows(folder, &rows_folder, options)
    }

    /// Makes an empty engine beside its place and moves it there, so that a crash leaves none or a whole one.
    fn create(folder: &Path, options: &FjallOptions) -> io::Result<()> {
        RealDisk::new().create_dir_all(folder)?;
        let unfinished = folder.join(UNFINISHED_FOLDER);
        if unfinished.try_exists()? {
            fs::remove_dir_all(&unfinished)?;
        }
        let engine = Self::open_rows(folder, &unfinished, options).map_err(io::Error::other)?;
        // fjall 3.1 takes a snapshot of an engine that was never written for none, and gives free what it still reads.
        engine.write(first_batch()).map_err(io::Error::other)?;
        engine.database.persist(PersistMode::SyncAll).map_err(io::Error::other)?;
        drop(engine);
        // fjall 3.1 makes folders whose names it does not sync.
        sync_folders(&unfinished)?;
        mark::write(folder, Position::default())?;
        fs::rename(&unfinished, folder.join(ROWS_FOLDER))?;
        fs::File::open(folder)?.sync_all()
    }

    fn open_rows(folder: &Path, rows_folder: &Path, options: &FjallOptions) -> Result<Self, Error> {
        let failed = |error| Self::explain(folder, "open", error);
        let database = Database::builder(rows_folder)
            .cache_size(options.cache_bytes)
            .max_journaling_size(options.journal_bytes.max(64 << 20))
            .worker_threads(options.threads.max(1))
            // It lives for a minute, and what makes it small is paid by every write.
            .journal_compression(CompressionType::None)
            .open()
            .map_err(failed)?;
        let rows = database
            .keyspace(KEYSPACE, || KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes))
            .map_err(failed)?;
        let (writing, folder) = (Mutex::new(()), Arc::new(Folder::new(folder)));
        let (ahead, memtables) = (Ahead::default(), Memtables::default());
        let memtable_bytes = options.memtable_bytes;
        Ok(Self { database, rows, writing, ahead, memtables, memtable_bytes, folder })
    }

    fn applied(&self) -> Result<Position, Error> {
        match self.get(&keys::applied_key())? {
            Some(row) => Position::decode(&row),
            None => Ok(Position::default()),
        }
    }

    fn error(&self, action: &'static str) -> impl Fn(fjall::Error) -> Error {
        move |error| Self::explain(&self.folder.path, action, error)
    }

    fn explain(folder: &Path, action: &'static str, error: fjall::Error) -> Error {
        let why = error.to_string();
        match error {
            fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source))
                if !DAMAGE.contains(&source.kind()) =>
            {
                Error::io(folder, action, source)
            }
            fjall::Error::Locked => Error::Locked { folder: folder.into(), pid: None },
            fjall::Error::Poisoned => {
                let why =
                    "it takes no more writes since one to its disk failed, as for lack of space; nothing \
                           acknowledged is lost: give the disk room and start again"
                        .into();
                Error::Engine { folder: folder.into(), action, why }
            }
            fjall::Error::KeyspaceDeleted => Error::Engine { folder: folder.into(), action, why },
            fjall::Error::InvalidVersion(Some(found)) => {
                Error::Engine { folder: folder.into(), action, why: format!("its files are of {found:?}") }
            }
            _ => damaged(folder, why),
        }
    }
}

/// Makes the names in a folder and in those below it durable.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    fs::File::open(folder)?.sync_all()
}

/// What an engine begins with: it has applied nothing.
fn first_batch() -> Batch {
    let mut batch = Batch::new();
    batch.put(keys::applied_key(), Position::default().encode());
    batch
}

fn damaged(folder: &Path, why: impl Into<String>) -> Error {
    Error::EngineDamaged { folder: folder.into(), why: why.into() }
}

impl Reader for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.rows.get(key).map_err(self.error("read"))?.map(Bytes::from))
    }

    fn scan(&self, bounds: Bounds<'_>, visit: &mut Visitor<'_>) -> Result<(), Error> {
        // A range of the keyspace itself would see batches that are being applied.
        self.snapshot()?.scan(bounds, visit)
    }
}

impl Engine for FjallEngine {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        let mut target = self.database.batch();
        let mut bytes = 0;
        for (key, value) in latest_of_each_key(batch) {
            bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            match value {
                Some(value) => target.insert(&self.rows, key, value),
                None => target.remove(&self.rows, key),
            }
        }
        let _writing = self.writing.lock();
        target.commit().map_err(self.error("write"))?;
        let memtable = self.rows.tree.active_memtable();
        let is_nearly_full = memtable.size() >= self.memtable_bytes / 16 * 15;
        if self.memtables.keep(memtable) {
            // The one before it will be flushed.
            background::give_way();
        }
        self.memtables.sweep();
        self.ahead.wrote(bytes as u64, is_nearly_full, || self.folder.path.join(ROWS_FOLDER));
        Ok(())
    }

    fn persist(&self) -> Result<(), Error> {
        let applied = self.applied()?;
        // fjall syncs under a lock that writes need; what is on the disk already does not hold them up.
        let folder = &self.folder.path;
        journals::sync(&folder.join(ROWS_FOLDER)).map_err(|source| Error::io(folder, "sync", source))?;
        self.database.persist(PersistMode::SyncAll).map_err(self.error("persist"))?;
        mark::write(folder, applied).map_err(|source| Error::io(folder, "mark", source))
    }

    fn snapshot(&self) -> Result<Box<dyn Reader>, Error> {
        let snapshot = {
            let _writing = self.writing.lock();
            self.database.snapshot()
        };
        Ok(Box::new(FjallSnapshot { snapshot, rows: self.rows.clone(), folder: self.folder.clone() }))
    }

    fn ingest(self: Arc<Self>) -> Result<Box<dyn Ingestion>, Error> {
        let (rows, folder) = (self.rows.clone(), self.folder.clone());
        let begun = ingestion::FjallIngestion::begin(rows, folder);
        Ok(Box::new(begun.map_err(|source| Error::io(&self.folder.path, "begin to fill", source))?))
    }

    fn unflushed_bytes(&self) -> u64 {
        self.database.write_buffer_size()
    }

    fn size(&self) -> Size {
        Size { rows: self.rows.approximate_len() as u64, bytes: self.database.disk_space().unwrap_or(0) }
    }
}

struct FjallSnapshot {
    snapshot: fjall::Snapshot,
    rows: Keyspace,
    folder: Arc<Folder>,
}

impl Reader for FjallSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let row = self.snapshot.get(&self.rows, key);
        Ok(row.map_err(|error| FjallEngine::explain(&self.folder.path, "read", error))?.map(Bytes::from))
    }

    fn scan(&self, bounds: Bounds<'_>, visit: &mut Visitor<'_>) -> Result<(), Error> {
        if is_void(bounds) {
            return Ok(());
        }
        visit_rows(self.snapshot.range::<&[u8], _>(&self.rows, bounds), visit)
            .map_err(|error| FjallEngine::explain(&self.folder.path, "scan", error))
    }
}

fn visit_rows(rows: fjall::Iter, visit: &mut Visitor<'_>) -> Result<(), fjall::Error> {
    for row in rows {
        let (key, value) = row.into_inner()?;
        if visit(&key, &value).is_break() {
            break;
        }
    }
    Ok(())
}

/// Every change of a fjall batch has the same sequence number, so that of two changes of one key either might win. In order of the
/// keys, each is found in fjall's skip list where the one before it has just been.
fn latest_of_each_key(batch: Batch) -> Vec<(Bytes, Option<Bytes>)> {
    let mut changes = batch.changes;
    changes.sort_by(|one, other| one.0.cmp(&other.0));
    changes.dedup_by(|later, kept| {
        let is_same = later.0 == kept.0;
        if is_same {
            kept.1 = later.1.take();
        }
        is_same
    });
    changes
}

#[cfg(test)]
mod tests;
