//! MemoryEngine: an engine in memory, for the simulator and for caches. A recoverable one keeps a second plane, what a
//! disk would hold: everything up to the last persist, and the batches since, of which [`MemoryEngine::crash`] keeps
//! some first ones.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::RwLock;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    engine::{Batch, Bounds, Engine, Reader, Size, Visitor, is_void},
    error::Error,
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
        if let Some(disk) = &mut state.disk {
            disk.batches.push(batch.clone());
        }
        let grown = apply(Arc::make_mut(&mut state.rows), batch);
        state.bytes = state.bytes.saturating_add_signed(grown);
        Ok(())
    }

    fn persist(&self) -> Result<(), Error> {
        if let Some(disk) = &mut self.0.write().disk {
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
