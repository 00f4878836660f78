//! MemoryEngine: an engine in memory, for the simulator and for caches. A recoverable one keeps a second plane, what a
//! disk would hold: everything up to the last persist, and the batches since, of which [`MemoryEngine::crash`] keeps
//! some first ones. [`MemoryEngines`] has several of them, by folder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    engine::{Batch, Bounds, Engine, Engines, Reader, Size, Visitor, is_void},
    error::Error,
    sim_disk::SimDisk,
};

type Rows = BTreeMap<Bytes, Bytes>;

/// An engine in memory. Clones are the same engine.
#[derive(Clone, Default)]
pub struct MemoryEngine(Arc<RwLock<State>>);

#[derive(Default)]
struct State {
    /// Copied by a write only while a snapshot or a scan holds it.
    rows: Arc<Rows>,
    bytes: u64,
    disk: Option<Disk>,
    /// Counts each batch and each persist as a change.
    counted_by: Option<SimDisk>,
}

impl State {
    fn count_change(&self) -> Result<(), Error> {
        count_change(self.counted_by.as_ref(), Path::new("memory"))
    }
}

struct Disk {
    rows: Rows,
    batches: Vec<Batch>,
    chance: SmallRng,
}

impl MemoryEngine {
    /// An engine that forgets everything when it is dropped.
    pub fn new() -> Self {
        Self::default()
    }

    /// An engine that remembers what a disk would, for [`MemoryEngine::crash`]; `seed` decides what survives.
    pub fn recoverable(seed: u64) -> Self {
        let disk = Disk { rows: Rows::new(), batches: Vec::new(), chance: SmallRng::seed_from_u64(seed) };
        Self(Arc::new(RwLock::new(State { disk: Some(disk), ..State::default() })))
    }

    /// Goes back to the last persist or to the end of a batch after it. One that is not recoverable becomes empty.
    pub fn crash(&self) {
        let mut state = self.0.write();
        let mut rows = Rows::new();
        if let Some(disk) = &mut state.disk {
            let survivors = disk.chance.random_range(0..=disk.batches.len());
            for batch in std::mem::take(&mut disk.batches).into_iter().take(survivors) {
                apply(&mut disk.rows, batch);
            }
            rows = disk.rows.clone();
        }
        state.bytes = rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        state.rows = Arc::new(rows);
    }
}

impl Reader for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.0.read().rows.get(key).cloned())
    }

    fn scan(&self, bounds: Bounds<'_>, visit: &mut Visitor<'_>) -> Result<(), Error> {
        let rows = self.0.read().rows.clone();
        MemorySnapshot(rows).scan(bounds, visit)
    }
}

impl Engine for MemoryEngine {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        let mut state = self.0.write();
        state.count_change()?;
        if let Some(disk) = &mut state.disk {
            disk.batches.push(batch.clone());
        }
        let grown = apply(Arc::make_mut(&mut state.rows), batch);
        state.bytes = state.bytes.saturating_add_signed(grown);
        Ok(())
    }

    fn persist(&self) -> Result<(), Error> {
        let mut state = self.0.write();
        state.count_change()?;
        if let Some(disk) = &mut state.disk {
            for batch in std::mem::take(&mut disk.batches) {
                apply(&mut disk.rows, batch);
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(MemorySnapshot(self.0.read().rows.clone())))
    }

    fn size(&self) -> Size {
        let state = self.0.read();
        Size { rows: state.rows.len() as u64, bytes: state.bytes }
    }
}

/// Recoverable engines by folder. Clones are the same engines.
#[derive(Clone)]
pub struct MemoryEngines(Arc<Mutex<Shelf>>);

struct Shelf {
    chance: SmallRng,
    engines: BTreeMap<PathBuf, Option<MemoryEngine>>,
    /// Removed since the last crash, which may bring back a part of them.
    removed: Vec<PathBuf>,
    counted_by: Option<SimDisk>,
}

impl MemoryEngines {
    /// No engines yet; `seed` decides what of them survives.
    pub fn recoverable(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Shelf {
            chance: SmallRng::seed_from_u64(seed),
            engines: BTreeMap::new(),
            removed: Vec::new(),
            counted_by: None,
        })))
    }

    /// From now on what is made, written, persisted and removed here counts as a change on `disk`, so that
    /// [`SimDisk::stop_after`] stops a process in the middle of it, too.
    pub fn count_on(&self, disk: &SimDisk) {
        self.0.lock().counted_by = Some(disk.clone());
    }

    /// The power goes: each engine as [`MemoryEngine::crash`] says; of one that was removed a part may come back.
    pub fn crash(&self) {
        let mut shelf = self.0.lock();
        shelf.engines.values().flatten().for_each(MemoryEngine::crash);
        for folder in std::mem::take(&mut shelf.removed) {
            if shelf.chance.random_bool(0.5) {
                shelf.engines.entry(folder).or_insert(None);
            }
        }
    }

    /// Engines that are there, damaged ones not among them.
    pub fn all(&self) -> Vec<MemoryEngine> {
        self.0.lock().engines.values().flatten().cloned().collect()
    }

    /// Makes what every engine holds durable.
    pub fn persist(&self) -> Result<(), Error> {
        self.all().iter().try_for_each(Engine::persist)
    }
}

impl Engines for MemoryEngines {
    fn open(&self, folder: &Path) -> Result<Arc<dyn Engine>, Error> {
        let mut shelf = self.0.lock();
        match shelf.engines.get(folder) {
            Some(Some(engine)) => return Ok(Arc::new(engine.clone())),
            Some(None) => {
                return Err(Error::EngineDamaged { folder: folder.into(), why: "a part is removed".into() });
            }
            None => count_change(shelf.counted_by.as_ref(), folder)?,
        }
        let engine = MemoryEngine::recoverable(shelf.chance.random());
        engine.0.write().counted_by = shelf.counted_by.clone();
        shelf.engines.insert(folder.into(), Some(engine.clone()));
        Ok(Arc::new(engine))
    }

    fn remove(&self, folder: &Path) -> Result<(), Error> {
        let mut shelf = self.0.lock();
        if shelf.engines.contains_key(folder) {
            count_change(shelf.counted_by.as_ref(), folder)?;
            shelf.engines.remove(folder);
            shelf.removed.push(folder.into());
        }
        Ok(())
    }

    fn names(&self, dir: &Path) -> Result<Vec<String>, Error> {
        let shelf = self.0.lock();
        let folders = shelf.engines.keys().filter(|folder| folder.parent() == Some(dir));
        Ok(folders.filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned())).collect())
    }
}

fn count_change(disk: Option<&SimDisk>, folder: &Path) -> Result<(), Error> {
    let counted = disk.map_or(Ok(()), SimDisk::count_change);
    counted.map_err(|source| Error::io(folder, "change", source))
}

struct MemorySnapshot(Arc<Rows>);

impl Reader for MemorySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, bounds: Bounds<'_>, visit: &mut Visitor<'_>) -> Result<(), Error> {
        if is_void(bounds) {
            return Ok(());
        }
        for (key, value) in self.0.range::<[u8], _>(bounds) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Applies a batch and returns by how many bytes the rows have grown.
fn apply(rows: &mut Rows, batch: Batch) -> i64 {
    let mut grown = 0;
    for (key, value) in batch.changes {
        let length = key.len() as i64;
        let (new, old) = match value {
            Some(value) => (length + value.len() as i64, rows.insert(key, value)),
            None => (0, rows.remove(&key)),
        };
        grown += new - old.map_or(0, |old| length + old.len() as i64);
    }
    grown
}
