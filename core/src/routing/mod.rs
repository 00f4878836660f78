//! Where calls go: the slot table, kept fresh.
//!
//! Requests read an immutable [`Snapshot`]. One task writes it ([`writer`]): it applies what members and masters say and
//! never goes back to anything older. Another fetches the table when somebody wants that, one fetch at a time
//! ([`refresh`]); a third pings the master ([`masters`]), a fourth looks after shards in trouble ([`vigil`]). None is on the way of
//! a request. Reads that backups may answer choose among them ([`backups`]).

mod backups;
mod masters;
mod refresh;
mod snapshot;
mod vigil;
mod writer;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use slotkv_proto::{Code, SlotTable, seam::Clock, v1};
use tokio::{
    runtime,
    sync::{Notify, watch},
    task::JoinSet,
};

pub(crate) use masters::{Masters, connect};
pub(crate) use snapshot::{GATE_NOBODY, Shard, Snapshot, Unroutable};
pub(crate) use vigil::QUIET_MS;

use crate::{
    Error, Result,
    call::Call,
    connection::{Context, Lane},
    session::Heard,
};

/// Deltas that may wait for the writer; past it one fetch of the table replaces them.
pub(crate) const INBOX_MAX: usize = 64;

/// Who hears of a changed table. Called without any lock held.
pub(crate) trait Observer: Send + Sync {
    /// Everything learned so far is applied; whether the table changed by it.
    fn settled(&self, changed: bool);

    /// These calls were on their way to a member that no longer serves their shard; they were not sent.
    fn returned(&self, calls: Vec<Arc<Call>>);
}

/// What a routing is made with.
pub(crate) struct Setup {
    pub context: Arc<Context>,
    pub clock: Arc<dyn Clock>,
    pub runtime: runtime::Handle,
    pub observer: Weak<dyn Observer>,
    pub hosts: Vec<String>,
    pub ping: Duration,
    pub streams_per_member: usize,
}

/// See the module.
pub(crate) struct Routing {
    setup: Setup,
    snapshot: ArcSwap<Snapshot>,
    inbox: Mutex<Vec<v1::TableDelta>>,
    news: Notify,
    wanted: Notify,
    troubled: Notify,
    masters: Mutex<Masters>,
    lanes_made: AtomicU64,
    /// Lanes that no snapshot has any more and that end when what they sent is answered.
    retired: Mutex<Vec<Weak<Lane>>>,
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Routing {
    /// A routing with a first table. Nothing runs until [`Routing::launch`].
    pub fn new(setup: Setup, table: SlotTable) -> Arc<Self> {
        let masters = Masters::new(setup.hosts.clone());
        let snapshot = Snapshot::new(table, Vec::new(), setup.clock.wall_ms());
        Arc::new(Self {
            setup,
            snapshot: ArcSwap::from_pointee(snapshot),
            inbox: Mutex::default(),
            news: Notify::new(),
            wanted: Notify::new(),
            troubled: Notify::new(),
            masters: Mutex::new(masters),
            lanes_made: AtomicU64::new(0),
            retired: Mutex::default(),
            stop: watch::Sender::new(false),
            tasks: Mutex::default(),
        })
    }

    /// Connects to the members and starts the tasks.
    pub fn launch(self: &Arc<Self>) {
        self.publish(self.load().table.clone());
        self.spawn(self.clone().write());
        self.spawn(self.clone().refresh());
        self.spawn(self.clone().ping());
        self.spawn(self.clone().keep_vigil());
    }

    /// What requests go by, for the length of one of them.
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// What requests go by, to be kept.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Takes what a member knows of the table. [`Observer::settled`] follows, also without any delta.
    pub fn learn(&self, delta: Option<v1::TableDelta>) {
        if let Some(delta) = delta {
            let mut inbox = self.inbox();
            if inbox.len() < INBOX_MAX {
                inbox.push(delta);
            } else {
                drop(inbox);
                self.want_refresh();
            }
        }
        self.news.notify_one();
    }

    /// Asks for a fetch of the table; requests made before it begins are one.
    pub fn want_refresh(&self) {
        self.wanted.notify_one();
    }

    /// What a master says of the whole cluster.
    pub async fn status(&self) -> Result<v1::StatusReply> {
        let mut errors = Vec::new();
        let masters = self.masters().in_order();
        let request = v1::StatusRequest { hello: Some(self.setup.context.hello()) };
        for address in masters {
            match self.setup.context.transport.status(&address, request.clone()).await {
                Ok(status) => return Ok(status),
                Err(error) => errors.push(format!("{address}: {error}")),
            }
        }
        Err(Error::new(Code::NoMaster, format!("no master told the status: {}", errors.join("; "))))
    }

    /// The client's id.
    pub fn client_id(&self) -> &Bytes {
        &self.setup.context.client_id
    }

    /// The namespace of requests that name none.
    pub fn namespace(&self) -> &str {
        &self.setup.context.namespace
    }

    /// Tells every task and connection to end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        self.stop_lanes();
    }

    fn stop_lanes(&self) {
        for (_, lane) in self.load().lanes() {
            lane.stop();
        }
        let retired = self.retired().clone();
        for lane in retired.iter().filter_map(Weak::upgrade) {
            lane.stop();
        }
    }

    /// Runs a task until it ends by itself or the client stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.setup.runtime);
    }

    /// The tasks, to be joined.
    pub fn take_tasks(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for `future`; `None` if the client stops before.
    pub async fn until_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut stop = self.stop.subscribe();
        let future = pin!(future);
        tokio::select! {
            biased;
            _ = stop.wait_for(|&stop| stop) => None,
            value = future => Some(value),
        }
    }

    /// A connection to `member`, running.
    fn make_lane(&self, shard: u32, member: slotkv_proto::table::Member, heard: Arc<Heard>) -> Arc<Lane> {
        let number = self.lanes_made.fetch_add(1, Ordering::Relaxed);
        let lane = Lane::new(number, shard, member, heard, self.setup.context.clone());
        self.spawn(lane.clone().run());
        lane
    }

    fn inbox(&self) -> MutexGuard<'_, Vec<v1::TableDelta>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Weak<Lane>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn masters(&self) -> MutexGuard<'_, Masters> {
        self.masters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
