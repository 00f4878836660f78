//! A replica's folder without a worker around it.

use std::{
    ops::{Bound, ControlFlow},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use slotkv_proto::{
    SlotCount,
    seam::{Chance, SeededChance},
};
use slotkv_storage::{
    Disk, Engine, Engines, Error, Log, MemoryEngines, Position, Reader, RowCache, SimDisk, keys,
};
use slotkv_worker::{
    StartError,
    decide::{Change, Condition},
    home::{Home, Opened},
    outbox::Outbox,
    queue::Write,
    replica::{self, Replica, Staged},
    retry::Ticket,
    snapshot::Source,
};

use super::SLOTS;

pub const DIR: &str = "/replica";

/// Sums of each slot, and the rows of users as the engine has them.
pub type Contents = (Vec<(u64, u64, u128, u64)>, Vec<(Bytes, Bytes)>);

pub struct Data {
    pub home: Home,
    pub log: Log,
    pub replica: Replica,
    pub engine: Arc<dyn Engine>,
}

pub fn slots() -> SlotCount {
    SlotCount::new(SLOTS).unwrap()
}

pub fn cache() -> Arc<RowCache> {
    Arc::new(RowCache::new(1 << 14))
}

impl Data {
    /// Opens the folder, or makes it.
    pub async fn open(disk: &SimDisk, engines: &MemoryEngines, seed: u64) -> Result<Self, StartError> {
        Self::open_on(Arc::new(disk.clone()), Arc::new(engines.clone()), Path::new(DIR), seed).await
    }

    pub async fn open_on(
        disk: Arc<dyn Disk>,
        engines: Arc<dyn Engines>,
        dir: &Path,
        seed: u64,
    ) -> Result<Self, StartError> {
        let chance = SeededChance::new(seed);
        let mut home = Home::lock(disk, dir)?;
        if home.identification().is_none() {
            home.identify("c1", "w0", 0, &chance).await?;
        }
        let opened = home.open(&engines, cache(), slots(), 600, &chance).await?;
        let Opened { log, replica, engine, .. } = opened;
        Ok(Self { home, log, replica, engine })
    }

    /// Applies what the log holds behind the engine.
    pub fn catch_up(&mut self) -> Result<(), Error> {
        let from = self.replica.applied().index + 1;
        self.replica.apply_log(&self.log, from, self.log.last_index()).map(drop)
    }

    /// Logs a write, and applies it if it is `committed`. Its number says what it does.
    pub async fn write(&mut self, epoch: u64, number: u64, committed: bool) -> Result<(), Error> {
        let mut group = self.replica.begin(1_000 + number);
        let position = Position { epoch, index: self.log.last_index() + 1 };
        if let Staged::Log(record, _) = self.replica.stage(&mut group, &write(number), position)? {
            self.log.append(epoch, &[record.to_bytes()])?;
            self.log.sync().await?;
            if committed {
                self.replica.apply(group)?;
            }
        }
        Ok(())
    }

    /// Logs and applies the first record of an epoch.
    pub async fn barrier(&mut self, epoch: u64, gap: u64) -> Result<(), Error> {
        self.log.append(epoch, &[replica::barrier(1, gap).to_bytes()])?;
        self.log.sync().await?;
        self.catch_up()
    }

    pub fn contents(&self) -> Contents {
        contents(&self.replica, &*self.engine)
    }

    /// A snapshot of what is applied, and its parts.
    pub fn parts(&mut self, bytes_max: usize) -> (Position, Vec<Bytes>) {
        let mut source = Source::open(&mut self.replica, &*self.engine).unwrap();
        let mut parts = Vec::new();
        loop {
            let (part, is_last) = source.chunk(bytes_max).unwrap();
            parts.push(part);
            if is_last {
                return (source.at(), parts);
            }
        }
    }

    /// Takes a snapshot over.
    pub async fn install(&mut self, at: Position, parts: &[Bytes]) -> Result<(), Error> {
        self.home.begin_snapshot().await?;
        parts.iter().try_for_each(|part| self.home.add_part(part))?;
        let installed = self.home.install(&mut self.log, at, cache(), slots()).await?;
        (self.replica, self.engine) = (installed.replica, installed.engine);
        Ok(())
    }
}

pub fn contents(replica: &Replica, engine: &dyn Reader) -> Contents {
    let sums = (0..SLOTS as u16).map(|slot| replica.slot_row_of(slot));
    let sums = sums.map(|row| (row.count, row.bytes, row.digest, row.version_counter)).collect();
    let prefix = keys::data_key_prefix();
    (sums, rows(engine).into_iter().filter(|(key, _)| key.starts_with(&prefix)).collect())
}

/// Every row of an engine.
pub fn rows(engine: &dyn Reader) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    };
    engine.scan((Bound::Unbounded, Bound::Unbounded), &mut visit).unwrap();
    rows
}

/// The write with this number: a put more often than a delete.
pub fn write(number: u64) -> Write {
    let chance = SeededChance::new(number);
    let key = Bytes::from(format!("key{}", chance.below(40)));
    let change = match chance.below(4) {
        0 => Change::Delete(Condition::Always),
        _ => Change::Put(Bytes::from(vec![b'x'; chance.below(50) as usize]), Condition::Always, 0),
    };
    Write {
        id: number,
        slot: slotkv_proto::slot(&key, slots()),
        namespace: Arc::from(if chance.below(2) == 0 { "" } else { "ns" }),
        key,
        change,
        ticket: Ticket {
            client: [(number % 3) as u8; 16],
            sequence: number,
            oldest_open: number.saturating_sub(9),
            fence_index: 0,
            repeated: false,
        },
        expires: None,
        admitted_bytes: 0,
        outbox: Arc::new(Outbox::default()),
    }
}
