//! What the streams of a worker share: the shard's rows to read, the queue of its writes, and whether it may serve.
//! Many streams read it at once; the committer, the membership task and the view's task are its only writers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use slotkv_proto::{
    Code,
    seam::Clock,
    table::{Member, ShardId},
};
use slotkv_storage::{Engine, Error, RowCache};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::{expiry::ShardTime, ownership::Ownership, queue::Queue, request::Refusal, runner::Runner};

/// Pages that one shard makes, or has waiting for a thread, at a time; past it they are refused as OVERLOADED.
pub const PAGES_MAX: usize = 64;

/// One shard as the streams see it.
pub struct Shard {
    id: ShardId,
    member: Member,
    engine: Arc<dyn Engine>,
    cache: Arc<RowCache>,
    queue: Queue,
    runner: Runner,
    pages: Arc<Semaphore>,
    ownership: ArcSwap<Ownership>,
    version: watch::Sender<u64>,
    wanted_version: watch::Sender<u64>,
    applied_index: AtomicU64,
    clock: Arc<dyn Clock>,
    time: Arc<ShardTime>,
    serving: AtomicBool,
    writable: AtomicBool,
    aborted: AtomicBool,
    refusal: RwLock<Refusals>,
}

/// Why requests are refused; looked at only when they are.
struct Refusals {
    serving: Refusal,
    disk: Refusal,
}

impl Shard {
    /// A shard that serves nothing yet.
    pub fn new(
        id: ShardId,
        member: Member,
        engine: Arc<dyn Engine>,
        cache: Arc<RowCache>,
        runner: Runner,
        ownership: Ownership,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let version = ownership.table().version();
        Self {
            id,
            member,
            engine,
            cache,
            queue: Queue::default(),
            runner,
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
            ownership: ArcSwap::from_pointee(ownership),
            version: watch::Sender::new(version),
            wanted_version: watch::Sender::new(version),
            applied_index: AtomicU64::new(0),
            clock,
            time: Arc::default(),
            serving: AtomicBool::new(false),
            writable: AtomicBool::new(true),
            aborted: AtomicBool::new(false),
            refusal: RwLock::new(Refusals {
                serving: (Code::NotPrimary, "this worker is joining its shard".into()),
                disk: (Code::ReadOnly, String::new()),
            }),
        }
    }

    /// Which shard.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// This process.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// The shard's writes that wait.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Where long work runs.
    pub fn runner(&self) -> Runner {
        self.runner.clone()
    }

    /// The slot table as the shard sees it now.
    pub fn ownership(&self) -> Arc<Ownership> {
        self.ownership.load_full()
    }

    /// Takes a new view. Its caller makes sure that it is not older.
    pub fn set_ownership(&self, ownership: Ownership) {
        let version = ownership.table().version();
        self.ownership.store(Arc::new(ownership));
        self.version.send_replace(version);
    }

    /// Waits until the worker knows this version of the slot table. The caller bounds the wait.
    pub async fn catch_up(&self, version: u64) {
        // Also for a version that was asked for before: that it was not there then says nothing of now, and a client that
        // claims an impossible one must not keep the others from being caught up with.
        self.wanted_version.send_modify(|wanted| *wanted = version.max(*wanted));
        // The sender lives as long as the shard, so the wait cannot fail.
        let _ = self.version.subscribe().wait_for(|known| *known >= version).await;
    }

    /// The newest version of the slot table that a client has asked for.
    pub fn wanted_version(&self) -> watch::Receiver<u64> {
        self.wanted_version.subscribe()
    }

    /// Everything up to this log index can be read.
    pub fn applied_index(&self) -> u64 {
        self.applied_index.load(Ordering::Acquire)
    }

    /// Says that everything up to this log index can be read.
    pub fn set_applied_index(&self, index: u64) {
        self.applied_index.store(index, Ordering::Release);
    }

    /// The time by which keys end, for its writer.
    pub fn time(&self) -> &Arc<ShardTime> {
        &self.time
    }

    /// The time by which keys end, now.
    pub fn now_ms(&self) -> u64 {
        self.time.at(self.clock.wall_ms())
    }

    /// From now on requests are served.
    pub fn serve(&self) {
        self.serving.store(true, Ordering::Release);
    }

    /// From now on every request is refused so; writes that wait are still committed.
    pub fn stop(&self, refusal: Refusal) {
        self.refusal.write().serving = refusal.clone();
        self.serving.store(false, Ordering::Release);
        self.queue.close(refusal);
    }

    /// Ends as a crash would: writes that wait stay unanswered, the log is not closed.
    pub fn abort(&self, refusal: Refusal) {
        self.aborted.store(true, Ordering::Release);
        self.stop(refusal);
    }

    /// Whether the committer is to stop where it is.
    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Refuses a request while the shard is not served here.
    pub fn check_serving(&self) -> Result<(), Refusal> {
        if self.serving.load(Ordering::Acquire) { Ok(()) } else { Err(self.refusal.read().serving.clone()) }
    }

    /// Refuses a write while the disk is full.
    pub fn check_disk(&self) -> Result<(), Refusal> {
        if self.writable.load(Ordering::Acquire) { Ok(()) } else { Err(self.refusal.read().disk.clone()) }
    }

    /// Says whether the disk is full: then so many bytes are free.
    pub fn set_disk_full(&self, free: Option<u64>) {
        if let Some(free) = free {
            self.refusal.write().disk.1 = format!("{free} bytes are free on the disk of shard {}", self.id);
        }
        self.writable.store(free.is_none(), Ordering::Release);
    }

    /// Counts a page as being made until what it returns is dropped; refuses it past [`PAGES_MAX`].
    pub fn begin_page(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let full = |_| (Code::Overloaded, format!("{PAGES_MAX} pages are being made in this shard"));
        self.pages.clone().try_acquire_owned().map_err(full)
    }

    /// The engine under the shard.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// The rows in front of the engine.
    pub fn cache(&self) -> &RowCache {
        &self.cache
    }
}

/// What a caller is told of an error of storage.
pub fn refusal(error: Error) -> Refusal {
    let code = match &error {
        Error::Damaged { .. } | Error::Malformed { .. } | Error::NewerFormat { .. } => Code::Damaged,
        Error::DiskFull { .. } => Code::ReadOnly,
        _ => Code::Unexpected,
    };
    (code, error.to_string())
}
