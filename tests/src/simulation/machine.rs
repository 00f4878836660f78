//! One worker's machine: what outlives its process, and the process.

use std::{
    io,
    ops::{Bound, ControlFlow},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use slotkv_coordination::{
    Embedded,
    registers::{Ack, Durability, Health},
};
use slotkv_proto::seam::{Chance, Clock, SeededChance};
use slotkv_replication::Bug;
use slotkv_storage::{
    Batch, Disk, Engine, Error, File, Lock, MemoryEngine, MemoryEngines, Open, Reader, SimDisk, SlotRow, keys,
};
use slotkv_worker::{Options, Runner, Seams, StartError, Worker};

use super::{
    net::{Net, SimPeers},
    process::Process,
    world::Plan,
};

/// A promise that a cluster breaks on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Disks say that they have synced, and have not: writes are acknowledged before they are durable.
    SyncLies,
    /// A restarted worker has forgotten the results of the writes before its last checkpoint.
    ResultsForgotten,
    /// A restarted worker gives versions again that it gave before its last checkpoint.
    VersionsReset,
}

/// Wall time that goes with virtual time, off by as much as somebody has set it.
pub struct SimClock {
    start: tokio::time::Instant,
    offset_ms: Mutex<i64>,
    /// By how much its uptime is fast, in millionths.
    drift_ppm: i64,
}

/// Longest time that a sync takes on a disk in order.
pub(super) const SYNC_DELAY: Duration = Duration::from_millis(5);

/// Items that one record of a clean-up deletes: few, so that there are several.
const CLEAN_COUNT_MAX: usize = 3;

/// Two clocks drift apart by 1 % at most.
const DRIFT_PPM_MAX: u64 = 4_900;
/// Clocks are off by at most so much at first.
const SKEW_MS_MAX: u64 = 10 * 60_000;

impl SimClock {
    /// A clock of its own, that is off by an amount of its own.
    pub fn new(chance: &dyn Chance) -> Arc<Self> {
        let offset = chance.below(2 * SKEW_MS_MAX) as i64 - SKEW_MS_MAX as i64;
        let drift_ppm = chance.below(2 * DRIFT_PPM_MAX) as i64 - DRIFT_PPM_MAX as i64;
        Arc::new(Self { start: tokio::time::Instant::now(), offset_ms: Mutex::new(offset), drift_ppm })
    }

    /// Somebody sets it.
    pub fn jump(&self, by_ms: i64) {
        *self.offset_ms.lock() += by_ms;
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        let elapsed = self.start.elapsed().as_millis() as i64;
        (1_700_000_000_000 + elapsed + *self.offset_ms.lock()).max(0) as u64
    }

    fn uptime_us(&self) -> u64 {
        let elapsed = self.start.elapsed().as_micros() as i64;
        (1_000_000_000
            + elapsed
            + elapsed / 1_000_000 * self.drift_ppm
            + elapsed % 1_000_000 * self.drift_ppm / 1_000_000) as u64
    }
}

/// A machine with its disk, its clock and at most one worker.
pub struct Machine {
    /// Where the worker listens.
    pub address: String,
    /// Its disk.
    pub disk: SimDisk,
    /// Its wall clock.
    pub clock: Arc<SimClock>,
    /// The worker, while it runs.
    pub worker: Option<Worker>,
    /// A write or a sync was to fail and may yet.
    pub disk_fails: bool,
    name: String,
    shard: u32,
    replicas: u32,
    ack: Ack,
    interval_ms: Option<u64>,
    engines: MemoryEngines,
    /// The worker's, or the one before it.
    process: Option<Process>,
    sabotage: Option<Sabotage>,
    bug: Option<Bug>,
    mistake: Option<slotkv_migration::Bug>,
    part_bytes_max: usize,
}

impl Machine {
    /// The machine of a replica, switched off.
    pub fn new(plan: &Plan, shard: u32, number: u32, chance: &dyn Chance) -> Self {
        let name = format!("w{shard}-{number}");
        let disk = SimDisk::new(chance.next_u64());
        disk.set_sync_delay(SYNC_DELAY);
        disk.set_reordering(chance.below(2) == 0);
        Self {
            address: format!("{name}:1"),
            disk,
            clock: SimClock::new(chance),
            worker: None,
            disk_fails: false,
            name,
            shard,
            replicas: plan.replicas,
            ack: plan.ack,
            interval_ms: plan.interval_ms,
            engines: MemoryEngines::recoverable(chance.next_u64()),
            process: None,
            sabotage: plan.sabotage,
            bug: plan.bug,
            mistake: plan.mistake,
            part_bytes_max: plan.part_bytes_max,
        }
    }

    /// The worker's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which shard its worker is a replica of.
    pub fn shard(&self) -> u32 {
        self.shard
    }

    /// Starts the worker's process. It is reached in `net` from when it runs.
    pub async fn start(
        &mut self,
        net: &Arc<Net>,
        coordinator: &Embedded,
        chance: u64,
    ) -> Result<(), StartError> {
        let process = Process::new(&self.address, net.clone(), coordinator.clone());
        self.process = Some(process.clone());
        self.damage();
        let mut options = Options::new(PathBuf::from("/replica"), self.address.clone());
        options.name = Some(self.name.clone());
        options.shard = Some(self.shard);
        options.wishes.durability = self.interval_ms.map(Durability::Interval);
        options.wishes.replicas = Some(self.replicas);
        options.wishes.ack = Some(self.ack);
        options.cache_bytes = 1 << 16;
        options.segment_bytes = 4096;
        options.checkpoint_bytes = 8192;
        options.replication.check_us = 300_000;
        options.replication.bug = self.bug;
        options.migration.part_bytes_max = self.part_bytes_max;
        options.migration.clean_count_max = CLEAN_COUNT_MAX;
        options.migration.bug = self.mistake;
        let disk: Arc<dyn Disk> = match self.sabotage {
            Some(Sabotage::SyncLies) => Arc::new(LyingDisk(self.disk.clone())),
            _ => Arc::new(self.disk.clone()),
        };
        let seams = Seams {
            coordinator: Arc::new(process.clone()),
            disk,
            engines: Arc::new(self.engines.clone()),
            clock: self.clock.clone(),
            chance: Arc::new(SeededChance::new(chance)),
            runner: Runner::Inline(process.tasks.clone()),
            peers: Arc::new(SimPeers(net.clone(), self.address.clone())),
        };
        let worker = self.worker.insert(Worker::start(options, seams).await?);
        net.add_worker(&self.address, worker, process.tasks);
        worker.placed().await
    }

    /// The process ends where it stands.
    pub fn kill(&mut self) {
        self.end();
        self.disk.kill();
    }

    /// The power goes.
    pub fn cut_power(&mut self) {
        self.end();
        self.disk.crash();
        self.engines.crash();
    }

    fn end(&mut self) {
        self.process.iter().for_each(|process| process.tasks.kill());
        self.worker = None;
    }

    /// The process, if it runs.
    pub fn running(&self) -> Option<&Process> {
        self.process.as_ref().filter(|_| self.worker.is_some())
    }

    /// Whether its replica leads the shard.
    pub fn leads(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.shard().check_serving().is_ok())
    }

    /// Why the worker has stopped by itself, if it has.
    pub fn stopped(&self) -> Option<String> {
        self.worker.as_ref()?.failed().now_or_never()
    }

    /// What its process has found of the data of the shard.
    pub fn health(&self) -> Option<Health> {
        Some(self.worker.as_ref()?.shard().standing().borrow().health.clone())
    }

    /// Does to the engines, between two processes, what the sabotage is about.
    fn damage(&self) {
        self.engines.all().iter().for_each(|engine| self.damage_one(engine));
    }

    fn damage_one(&self, engine: &MemoryEngine) {
        let mut batch = Batch::default();
        match self.sabotage {
            Some(Sabotage::ResultsForgotten) => {
                let prefix = keys::retry_key_prefix(None);
                for (key, _) in rows(engine, &prefix) {
                    batch.delete(key);
                }
            }
            Some(Sabotage::VersionsReset) => {
                let prefix = keys::slot_key_prefix();
                for (key, value) in rows(engine, &prefix) {
                    let row = SlotRow::decode(&value).expect("a slot row");
                    batch.put(key, SlotRow { version_counter: 0, ..row }.encode());
                }
            }
            _ => return,
        }
        engine.write(batch).expect("memory takes writes");
    }
}

fn rows(engine: &MemoryEngine, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    let end = keys::prefix_end(prefix);
    let bounds = (Bound::Included(prefix), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    };
    engine.scan(bounds, &mut visit).expect("memory can be read");
    rows
}

/// A disk whose files only say that they sync.
struct LyingDisk(SimDisk);

struct LyingFile(Box<dyn File>);

impl Disk for LyingDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn open(&self, path: &Path, open: Open) -> io::Result<Box<dyn File>> {
        Ok(Box::new(LyingFile(self.0.open(path, open)?)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, dir: &Path) -> Result<Box<dyn Lock>, Error> {
        self.0.lock(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.0.free_bytes(dir)
    }
}

impl File for LyingFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        async { Ok(()) }.boxed()
    }
}
