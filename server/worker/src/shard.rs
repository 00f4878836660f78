//! What the streams of a worker share: the shard's rows to read, the queue of its writes, and whether it may serve.
//! Many streams read it at once; the host and the view's task are its only writers.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, RwLock};
use slotkv_coordination::registers::Health;
use slotkv_migration::{Ledger, Table};
use slotkv_proto::{
    Code, SlotTable,
    seam::Clock,
    table::{Member, ShardId},
    v1::{Operation, ReadLevel, Reply, Request},
};
use slotkv_replication::Standing;
use slotkv_storage::{Engine, Error, Position, RowCache};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::{
    expiry::ShardTime,
    host::Input,
    outbox::Outbox,
    ownership::Ownership,
    queue::Queue,
    request::{self, Refusal},
    runner::Runner,
    waiting::Waiting,
};

/// Pages that one shard makes, or has waiting for a thread, at a time; past it they are refused as OVERLOADED.
pub const PAGES_MAX: usize = 64;

/// One shard as the streams see it.
pub struct Shard {
    id: ShardId,
    member: Member,
    zone: String,
    rows: ArcSwap<Rows>,
    queue: Queue,
    inbox: mpsc::UnboundedSender<Input>,
    runner: Runner,
    clock: Arc<dyn Clock>,
    pages: Arc<Semaphore>,
    ownership: ArcSwap<Ownership>,
    /// The number of the newest ownership, once it is there. A look at it costs nothing.
    ownership_number: AtomicU64,
    /// Held while the ownership is replaced: the table, the log and the epoch come from different tasks.
    replacing: Mutex<()>,
    waiting: Waiting,
    /// Streams to be woken when their client may lack something of the slot table. Of some the end is not known yet.
    streams: Mutex<Vec<Weak<Outbox>>>,
    version: watch::Sender<u64>,
    /// Told when another answers for the shard, as far as is known here.
    turned: watch::Sender<()>,
    wanted_version: watch::Sender<u64>,
    standing: watch::Sender<Stand>,
    /// The last record that can be read, and the index that clients are told of it.
    applied: Mutex<(Position, u64)>,
    /// What can be read here holds everything that was acknowledged before this instant of the own clock.
    fresh_as_of_us: AtomicU64,
    applied_index: AtomicU64,
    time: Arc<ShardTime>,
    /// This replica leads and everything committed is applied here.
    serving: AtomicBool,
    /// Until then nobody else can have committed anything.
    lease_until_us: AtomicU64,
    writable: AtomicBool,
    /// A request has come since this was looked at.
    asked: AtomicBool,
    aborted: AtomicBool,
    stopped: AtomicBool,
    refusal: RwLock<Refusals>,
}

/// Where rows are read.
pub struct Rows {
    /// All of them.
    pub engine: Arc<dyn Engine>,
    /// Some of them, in front of it.
    pub cache: Arc<RowCache>,
}

/// Where this replica stands in its shard, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Stand {
    /// How.
    pub standing: Standing,
    /// Since when, in wall time.
    pub since_ms: u64,
    /// How its data is.
    pub health: Health,
    /// Its process is about to end.
    pub is_leaving: bool,
}

/// Who answers for the shard, as far as this replica knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Leadership {
    /// This replica.
    Serving {
        /// In which epoch.
        epoch: u64,
        /// Until then without asking the others; `u64::MAX`: for good.
        lease_until_us: u64,
    },
    /// Another or nobody; requests are refused so.
    Elsewhere(Refusal),
}

/// Why requests are refused; looked at only when they are.
struct Refusals {
    serving: Refusal,
    disk: Refusal,
}

/// Replies of one stream, each with the bytes it was admitted with.
pub type StreamReplies = (Arc<Outbox>, Vec<(Reply, usize)>);

/// Replies that hold if this replica still leads.
pub struct Unconfirmed(pub Vec<StreamReplies>);

impl Unconfirmed {
    /// It does.
    pub fn hold(self) {
        for (outbox, replies) in self.0 {
            outbox.complete(replies);
        }
    }

    /// Nobody knows: whoever asked may ask another.
    pub fn refuse(self, refusal: Refusal) {
        for (outbox, replies) in self.0 {
            let refused =
                replies.into_iter().map(|(reply, bytes)| (request::refuse(reply.id, refusal.clone()), bytes));
            outbox.complete(refused.collect::<Vec<_>>());
        }
    }
}

/// What a [`Shard`] is made of.
pub struct Parts {
    /// Which shard.
    pub id: ShardId,
    /// This process.
    pub member: Member,
    /// The engine under it.
    pub engine: Arc<dyn Engine>,
    /// The rows in front of the engine.
    pub cache: Arc<RowCache>,
    /// Where long work runs.
    pub runner: Runner,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// Where this process stands.
    pub zone: String,
    /// A table, however old.
    pub table: Arc<SlotTable>,
    /// The way to the host.
    pub inbox: mpsc::UnboundedSender<Input>,
}

impl Shard {
    /// A shard that serves nothing yet.
    pub fn new(parts: Parts) -> Self {
        let version = parts.table.version();
        let joining = (Code::NotPrimary, "this worker is joining its shard".into());
        Self {
            ownership: ArcSwap::from_pointee(Ownership::new(parts.table, Arc::default(), None, parts.id, 0)),
            ownership_number: AtomicU64::new(0),
            waiting: Waiting::default(),
            streams: Mutex::default(),
            id: parts.id,
            member: parts.member,
            zone: parts.zone,
            rows: ArcSwap::from_pointee(Rows { engine: parts.engine, cache: parts.cache }),
            queue: Queue::default(),
            inbox: parts.inbox,
            runner: parts.runner,
            clock: parts.clock,
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
            replacing: Mutex::default(),
            version: watch::Sender::new(version),
            turned: watch::Sender::new(()),
            wanted_version: watch::Sender::new(version),
            standing: watch::Sender::new(Stand {
                standing: Standing::Alone,
                since_ms: 0,
                health: Health::default(),
                is_leaving: false,
            }),
            applied: Mutex::default(),
            fresh_as_of_us: AtomicU64::new(0),
            applied_index: AtomicU64::new(0),
            time: Arc::default(),
            serving: AtomicBool::new(false),
            lease_until_us: AtomicU64::new(0),
            writable: AtomicBool::new(true),
            asked: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            refusal: RwLock::new(Refusals { serving: joining, disk: (Code::ReadOnly, String::new()) }),
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

    /// Where it stands.
    pub fn zone(&self) -> &str {
        &self.zone
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

    /// The version of the slot table as the shard sees it now.
    pub fn ownership_version(&self) -> u64 {
        self.ownership.load().table().version()
    }

    /// Takes a new slot table, and the same with tenures and hand-overs, which decide. Its caller makes sure that the first one is
    /// not older than the one before; the second one is left out if it is.
    pub fn set_table(&self, table: Arc<SlotTable>, slots: Arc<Table>) {
        let version = table.version();
        self.replace(|known| Some(known.with_table(table, slots)));
        let is_newer = self.version.send_replace(version) < version;
        self.turned.send_replace(());
        if is_newer {
            self.wake_streams();
        }
    }

    /// Has a stream woken whenever there is a newer slot table.
    pub fn keep_informed(&self, stream: &Arc<Outbox>) {
        let mut streams = self.streams.lock();
        if streams.len() == streams.capacity() {
            streams.retain(|stream| stream.strong_count() > 0);
        }
        streams.push(Arc::downgrade(stream));
    }

    fn wake_streams(&self) {
        let mut streams = self.streams.lock();
        streams.retain(|stream| match stream.upgrade() {
            Some(stream) => {
                stream.wake();
                true
            }
            None => false,
        });
    }

    /// Takes only what decides, if it is newer.
    pub fn set_slots(&self, slots: Arc<Table>) {
        let replaced = self.replace(|known| {
            let is_newer = slots.version > known.slots_table().version;
            is_newer.then(|| known.with_table(known.shared_table(), slots))
        });
        if replaced {
            self.turned.send_replace(());
        }
    }

    /// Takes what the shard's log says of hand-overs; `None`: nobody knows, and nothing is served. When this returns, whoever reads
    /// a row and then asks [`Shard::still_serves`] goes by it.
    pub fn set_ledger(&self, ledger: Option<Arc<Ledger>>) {
        self.replace(|known| Some(known.with_ledger(ledger)));
        self.turned.send_replace(());
    }

    fn set_epoch(&self, epoch: u64) {
        self.replace(|known| (known.epoch() != epoch).then(|| known.with_epoch(epoch)));
    }

    fn replace(&self, next: impl FnOnce(&Ownership) -> Option<Ownership>) -> bool {
        let _replacing = self.replacing.lock();
        let known = self.ownership.load();
        let Some(next) = next(&known) else { return false };
        let number = known.number() + 1;
        self.ownership.store(Arc::new(next.numbered(number)));
        self.ownership_number.store(number, Ordering::Release);
        true
    }

    /// Whether `known`, by which a request was admitted, is the newest view.
    pub fn is_newest(&self, known: &Ownership) -> bool {
        known.number() == self.ownership_number.load(Ordering::Acquire)
    }

    /// Refuses what was read of a slot if the shard has stopped to serve it since it was admitted by `known`. A read is looked at
    /// after its value was read: what a SEAL ends must not be answered behind it.
    pub fn still_serves(&self, known: &Ownership, slot: u16) -> Result<(), Refusal> {
        if self.is_newest(known) {
            return Ok(());
        }
        let now = self.ownership.load();
        now.check_slot(slot)?;
        match now.still_serves(known, slot) {
            true => Ok(()),
            false => Err((Code::Retry, format!("slot {slot} went and came back meanwhile"))),
        }
    }

    /// Requests that wait until it is decided who serves their slot.
    pub fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Told whenever another answers for the shard or for one of its slots, as far as is known here.
    pub fn turns(&self) -> watch::Receiver<()> {
        self.turned.subscribe()
    }

    /// The way to the host.
    pub fn inbox(&self) -> &mpsc::UnboundedSender<Input> {
        &self.inbox
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

    /// The last record that can be read here.
    pub fn applied(&self) -> Position {
        self.applied.lock().0
    }

    /// Up to where everything can be read, as clients are told: epoch of the last record and shown index.
    pub fn shown(&self) -> (u64, u64) {
        let (position, shown_index) = *self.applied.lock();
        (position.epoch, shown_index)
    }

    /// Says that everything up to this record can be read; clients are told `shown_index`.
    pub fn set_applied(&self, position: Position, shown_index: u64) {
        *self.applied.lock() = (position, shown_index);
        self.applied_index.store(shown_index, Ordering::Release);
    }

    /// Says of which instant what can be read here is at the oldest, on the own clock; 0 if nobody knows.
    pub fn set_fresh_as_of(&self, uptime_us: u64) {
        self.fresh_as_of_us.store(uptime_us, Ordering::Release);
    }

    /// Whether a read of this level may be answered here; `None` if as a linearizable one.
    pub fn check_level(&self, level: ReadLevel, request: &Request) -> Option<Result<(), Refusal>> {
        let reads = [Operation::Get, Operation::Has, Operation::GetMany, Operation::Count, Operation::Scan];
        if !reads.contains(&request.operation()) {
            return None;
        }
        if let Err(refusal) = self.check_running() {
            return Some(Err(refusal));
        }
        match level {
            ReadLevel::Linearizable => None,
            ReadLevel::Stale => Some(Ok(())),
            ReadLevel::Session => Some(self.check_session(&request.session_token)),
            ReadLevel::Bounded
                if self.check_serving().is_ok() && self.holds_lease(self.ownership.load().epoch()) =>
            {
                Some(Ok(()))
            }
            ReadLevel::Bounded => Some(self.check_age(request.staleness_ms)),
        }
    }

    fn check_session(&self, token: &[u8]) -> Result<(), Refusal> {
        if token.is_empty() {
            return Ok(());
        }
        let malformed = || (Code::InvalidArgument, "the session token is not one of this shard's".to_owned());
        let (format, numbers) = token.split_first().ok_or_else(malformed)?;
        let (epoch, index) = numbers.split_at_checked(8).ok_or_else(malformed)?;
        let (Ok(epoch), Ok(index), 1) = (epoch.try_into(), index.try_into(), format) else {
            return Err(malformed());
        };
        let seen = (u64::from_le_bytes(epoch), u64::from_le_bytes(index));
        let (position, shown_index) = *self.applied.lock();
        if (position.epoch, shown_index) >= seen {
            return Ok(());
        }
        let text = format!(
            "this replica has applied record {shown_index} of epoch {}, the session has seen {} of {}",
            position.epoch, seen.1, seen.0
        );
        Err((Code::Retry, text))
    }

    fn check_age(&self, staleness_ms: u32) -> Result<(), Refusal> {
        let age_ms = match self.fresh_as_of_us.load(Ordering::Acquire) {
            0 => u64::MAX,
            fresh_us => self.clock.uptime_us().saturating_sub(fresh_us) / 1000,
        };
        if age_ms < u64::from(staleness_ms) {
            return Ok(());
        }
        let age = if age_ms == u64::MAX { "of unknown age".to_owned() } else { format!("{age_ms} ms old") };
        Err((
            Code::Retry,
            format!("what this replica can read is {age}, wanted are {staleness_ms} ms at most"),
        ))
    }

    /// Says who answers for the shard now.
    pub fn lead(&self, leadership: Leadership) {
        if self.stopped.load(Ordering::Acquire) {
            return;
        }
        match leadership {
            Leadership::Serving { epoch, lease_until_us } => {
                self.lease_until_us.store(lease_until_us, Ordering::Release);
                if !self.serving.load(Ordering::Acquire) || self.ownership.load().epoch() != epoch {
                    self.set_epoch(epoch);
                    self.serving.store(true, Ordering::Release);
                    self.turned.send_replace(());
                }
            }
            Leadership::Elsewhere(refusal) => {
                self.lease_until_us.store(0, Ordering::Release);
                let was_serving = self.serving.load(Ordering::Acquire);
                if was_serving || self.refusal.read().serving != refusal {
                    self.refusal.write().serving = refusal;
                    self.serving.store(false, Ordering::Release);
                    self.set_epoch(0);
                    self.turned.send_replace(());
                }
            }
        }
    }

    /// Whether requests to the primary of `epoch` would be refused here for a moment only: this process leads that epoch
    /// and has not begun, or has stopped and the next primary is not known here yet; or that epoch is not known here.
    pub fn is_turning(&self, epoch: u64) -> bool {
        if epoch == 0 || self.serving.load(Ordering::Acquire) || self.stopped.load(Ordering::Acquire) {
            return false;
        }
        let ownership = self.ownership.load();
        let Some(route) = ownership.table().route(self.id) else { return false };
        let names_this = || {
            let is_it =
                |primary: &Member| (&primary.name, &primary.run) == (&self.member.name, &self.member.run);
            route.primary.as_ref().is_some_and(is_it)
        };
        route.epoch < epoch || (route.epoch == epoch && names_this())
    }

    /// Waits while [`Shard::is_turning`]. The caller bounds the wait.
    pub async fn turned(&self, epoch: u64) {
        // The sender lives as long as the shard, so the wait cannot fail.
        let _ = self.turned.subscribe().wait_for(|()| !self.is_turning(epoch)).await;
    }

    /// Whether this replica serves that epoch.
    pub fn leads(&self, epoch: u64) -> bool {
        self.serving.load(Ordering::Acquire) && self.ownership.load().epoch() == epoch
    }

    /// Says where this replica stands.
    pub fn stand(&self, standing: Standing, health: &Health, since_ms: impl FnOnce() -> u64) {
        let is_known = {
            let known = self.standing.borrow();
            known.standing == standing && known.health == *health
        };
        if !is_known {
            self.standing.send_modify(|known| {
                let is_leaving = known.is_leaving;
                *known = Stand { standing, since_ms: since_ms(), health: health.clone(), is_leaving };
            });
        }
    }

    /// Says that its process is about to end, or is not.
    pub fn announce_leave(&self, is_leaving: bool) {
        self.standing.send_modify(|stand| stand.is_leaving = is_leaving);
    }

    /// Where this replica stands.
    pub fn standing(&self) -> watch::Receiver<Stand> {
        self.standing.subscribe()
    }

    /// Gives replies of linearizable reads to their stream: now if nobody else can have committed anything since the values
    /// were read (protocol.md rule 5), else when the other replicas have confirmed it. `epoch` is the one in which they were
    /// read: a later lease of this replica's says nothing of them.
    pub fn confirm(&self, epoch: u64, outbox: &Arc<Outbox>, replies: Vec<(Reply, usize)>) {
        let unconfirmed = Unconfirmed(vec![(outbox.clone(), replies)]);
        if self.holds_lease(epoch) {
            unconfirmed.hold();
        } else if let Err(mpsc::error::SendError(Input::Confirm(_, unconfirmed))) =
            self.inbox.send(Input::Confirm(epoch, unconfirmed))
        {
            let refusal = self.refusal.read().serving.clone();
            unconfirmed.refuse(refusal);
        }
    }

    /// Whether what was read before this call, in that epoch, may be answered.
    pub fn holds_lease(&self, epoch: u64) -> bool {
        let holds = match self.lease_until_us.load(Ordering::Acquire) {
            u64::MAX => true,
            until_us => self.clock.uptime_us() < until_us,
        };
        // Looked at last: a lease of another epoch is published after this one's end.
        holds && self.ownership.load().epoch() == epoch
    }

    /// The time by which keys end, for its writer.
    pub fn time(&self) -> &Arc<ShardTime> {
        &self.time
    }

    /// The time by which keys end, now. A backup's wall clock has no say: if it is ahead, a session would not find there what
    /// it has just written.
    pub fn now_ms(&self) -> u64 {
        match self.serving.load(Ordering::Acquire) {
            true => self.time.at(self.clock.wall_ms()),
            false => self.time.known(),
        }
    }

    /// From now on every request is refused so; writes that wait are still committed.
    pub fn stop(&self, refusal: Refusal) {
        self.refusal.write().serving = refusal.clone();
        self.stopped.store(true, Ordering::Release);
        self.serving.store(false, Ordering::Release);
        self.turned.send_replace(());
        self.queue.close(refusal);
    }

    /// Ends as a crash would: writes that wait stay unanswered, the log is not closed.
    pub fn abort(&self, refusal: Refusal) {
        self.aborted.store(true, Ordering::Release);
        self.stop(refusal);
        // Whatever the host waits for, it looks up.
        let _ = self.inbox.send(Input::Hint);
    }

    /// Whether the host is to stop where it is.
    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Refuses every request once the worker is stopping.
    pub fn check_running(&self) -> Result<(), Refusal> {
        if self.stopped.load(Ordering::Acquire) { Err(self.refusal.read().serving.clone()) } else { Ok(()) }
    }

    /// Refuses a request while the shard is not served here.
    pub fn check_serving(&self) -> Result<(), Refusal> {
        if self.serving.load(Ordering::Acquire) { Ok(()) } else { Err(self.refusal.read().serving.clone()) }
    }

    /// A client asks.
    pub(crate) fn note_asked(&self) {
        // Mostly it is known, and to read what nobody writes costs nothing.
        if !self.asked.load(Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
        }
    }

    /// Whether clients have asked since this was called last.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
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

    /// The rows as they are now.
    pub fn rows(&self) -> Guard<Arc<Rows>> {
        self.rows.load()
    }

    /// A snapshot has taken their place.
    pub fn set_rows(&self, engine: Arc<dyn Engine>, cache: Arc<RowCache>) {
        self.rows.store(Arc::new(Rows { engine, cache }));
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
