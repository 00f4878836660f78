//! A whole cluster in this process: masters, workers and the embedded coordinator, each member on a thread of its own,
//! talking over real sockets. It backs `slotkv dev`, tests and examples.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use slotkv_daemon::dev::{Dev, DevOptions};
//!
//! let mut dev = Dev::start(DevOptions::default()).await?;
//! let client = slotkv::Client::connect(&dev.uri()).await?;
//! client.put("answer", "42").await?;
//!
//! dev.kill_worker(0).await?;
//! dev.restart_worker(0).await?;
//! dev.ready().await?;
//! assert_eq!(client.get("answer").await?.as_deref(), Some(&b"42"[..]));
//! dev.shutdown().await;
//! # Ok(()) }
//! ```

mod coordinator;
mod error;
mod folder;
mod member;
mod options;
mod place;

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use futures_util::future::{join_all, select_all, try_join_all};
use slotkv::{Client, Range};
use slotkv_coordination::Embedded;
use slotkv_master::MasterOptions;
use slotkv_proto::SlotCount;
use slotkv_worker::{Options as WorkerOptions, StartError};
use tokio::time::{Instant, sleep, timeout};

use self::{
    coordinator::Shared,
    folder::{Folder, Shape},
    member::{Member, Role},
    place::{Place, addresses, ended, take},
};
pub use self::{error::DevError, options::DevOptions};
use crate::{
    metrics::{Board, Endpoint, Serving},
    serve::ServeError,
};

/// Most masters and most workers of one process.
pub const MEMBERS_MAX: usize = 64;
/// How long the members may take to start, and then the cluster until every slot is served.
pub const READY_MAX: Duration = Duration::from_secs(120);
/// How long a restarted worker waits for its own predecessor to let go of the folder.
const FOLDER_WAIT: Duration = Duration::from_secs(10);
/// How long dropping a running cluster may block.
pub const DROP_WAIT: Duration = Duration::from_secs(5);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A running cluster. Dropping it ends it as a crash would; [`Dev::shutdown`] ends it in an orderly way.
pub struct Dev {
    options: DevOptions,
    masters: Vec<Place>,
    workers: Vec<Place>,
    coordinator: Shared,
    folder: Arc<Folder>,
    board: Board,
    metrics: Option<Serving>,
}

impl Dev {
    /// Starts a cluster; returns when every slot is allocated and served.
    pub async fn start(options: DevOptions) -> Result<Self, DevError> {
        options.check()?;
        let endpoint =
            options.metrics.as_deref().map(Endpoint::bind).transpose().map_err(DevError::Metrics)?;
        let shape = Shape::new(options.shards as u32, options.slots, options.replicas as u32);
        let folder = Folder::open(options.data.as_deref(), shape)?;
        let embedded = match folder.coordinator() {
            Some(path) => Embedded::open(path)?,
            None => Embedded::new(),
        };
        folder.bind(shape).await?;
        let coordinator = Shared::start(embedded).map_err(DevError::System)?;
        let board = Board::default();
        let metrics = endpoint.map(|endpoint| endpoint.serve(board.clone()));
        let metrics = metrics.transpose().map_err(DevError::System)?;
        let (masters, workers, folder) = (Vec::new(), Vec::new(), Arc::new(folder));
        let mut dev = Self { options, masters, workers, coordinator, folder, board, metrics };
        dev.place_all();
        match dev.launch_all().await {
            Ok(()) => Ok(dev),
            Err(error) => {
                dev.shutdown().await;
                Err(error)
            }
        }
    }

    async fn launch_all(&mut self) -> Result<(), DevError> {
        // All ports are taken before anything starts, so that a taken one leaves nothing half started.
        let mut listening = Vec::new();
        for place in self.masters.iter_mut().chain(&mut self.workers) {
            let bound = place.bind(&self.options)?;
            place.bound = bound.bound().to_owned();
            listening.push(bound);
        }
        let mut starting = Vec::new();
        for (place, listening) in self.masters.iter_mut().chain(&mut self.workers).zip(listening) {
            starting.push(place.launch(&self.options, &self.coordinator, &self.board, listening)?);
        }
        match timeout(READY_MAX, try_join_all(starting)).await {
            Ok(started) => started.map(drop)?,
            Err(_) => return Err(DevError::NotReady("a member has not started".into())),
        }
        self.ready().await
    }

    fn place_all(&mut self) {
        let options = &self.options;
        let port = |place: usize| if options.port == 0 { 0 } else { options.port + place as u16 };
        let bound = |place: usize| match options.listen {
            IpAddr::V4(ip) => format!("{ip}:{}", port(place)),
            IpAddr::V6(ip) => format!("[{ip}]:{}", port(place)),
        };
        for index in 0..options.masters {
            let role = Role::Master(MasterOptions {
                slot_count: SlotCount::new(options.slots).unwrap_or_default(),
                session_timeout: options.session_timeout,
                ..MasterOptions::new("", options.shards as u32)
            });
            let label = format!("master {index}");
            self.masters.push(Place { label, role, bound: bound(index), member: None });
        }
        for index in 0..options.workers() {
            let (shard, copy) = (index / options.replicas, index % options.replicas);
            let number = match options.replicas {
                1 => shard.to_string(),
                _ => format!("{shard}-{copy}"),
            };
            let name = format!("worker-{number}");
            let mut worker = WorkerOptions::new(self.folder.worker(&name), "");
            worker.name = Some(name);
            worker.shard = Some(shard as u32);
            worker.wishes.durability = options.durability;
            worker.wishes.replicas = Some(options.replicas as u32);
            worker.wishes.ack = options.ack;
            worker.cache_bytes = options.cache_bytes;
            worker.session_timeout = options.session_timeout;
            worker.replication.check_us = options.check_interval.as_micros() as u64;
            let role =
                Role::Worker { options: Box::new(worker), engine_cache_bytes: options.engine_cache_bytes };
            let label = format!("worker {number}");
            self.workers.push(Place { label, role, bound: bound(options.masters + index), member: None });
        }
    }

    /// `slotkv://` with every master.
    pub fn uri(&self) -> String {
        format!("slotkv://{}", self.master_addresses().join(","))
    }

    /// `host:port` of each running master.
    pub fn master_addresses(&self) -> Vec<String> {
        addresses(&self.masters)
    }

    /// `host:port` of each running worker.
    pub fn worker_addresses(&self) -> Vec<String> {
        addresses(&self.workers)
    }

    /// `ip:port` of the metrics, if they are asked for.
    pub fn metrics_address(&self) -> Option<&str> {
        self.metrics.as_ref().map(Serving::address)
    }

    /// Which worker has this name.
    pub fn worker_named(&self, name: &str) -> Option<usize> {
        (0..self.workers.len()).find(|index| self.worker_name(*index) == name)
    }

    /// The name of a worker; empty if there is no such one.
    pub fn worker_name(&self, index: usize) -> String {
        self.workers.get(index).map_or_else(String::new, |place| place.label.replace(' ', "-"))
    }

    /// Which running master is reached at this address.
    pub fn master_at(&self, address: &str) -> Option<usize> {
        let at = |place: &Place| place.member.as_ref().is_some_and(|member| member.address() == address);
        self.masters.iter().position(at)
    }

    /// The coordinator, which can be made to misbehave.
    pub fn coordinator(&self) -> &Embedded {
        self.coordinator.embedded()
    }

    /// Where the data is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until every slot is served, seen through a client.
    pub async fn ready(&self) -> Result<(), DevError> {
        let mut why = String::new();
        let probe = async {
            while let Err(error) = served(&self.uri()).await {
                why = error.to_string();
                tracing::debug!(why, "not every slot is served yet");
                sleep(PAUSE).await;
            }
        };
        let outcome = timeout(READY_MAX, probe).await;
        outcome.map_err(|_| DevError::NotReady(why))
    }

    /// Ends a worker as a crash would; its data stays. Workers are counted shard by shard: with three replicas 4 is the
    /// second one of shard 1. The coordinator takes it for dead after the session timeout.
    pub async fn kill_worker(&mut self, index: usize) -> Result<(), DevError> {
        take(&mut self.workers, index)?.kill().await;
        Ok(())
    }

    /// Ends a worker in an orderly way; its data stays.
    pub async fn stop_worker(&mut self, index: usize) -> Result<(), DevError> {
        take(&mut self.workers, index)?.stop().await;
        Ok(())
    }

    /// Starts a worker that was ended, on its data and its address. Returns when it leads its shard; see
    /// [`Dev::ready`].
    pub async fn restart_worker(&mut self, index: usize) -> Result<(), DevError> {
        let place = ended(&mut self.workers, index)?;
        let deadline = Instant::now() + FOLDER_WAIT;
        loop {
            let listening = place.bind(&self.options)?;
            match place.launch(&self.options, &self.coordinator, &self.board, listening)?.await {
                Err(DevError::Member { source: ServeError::Worker(StartError::Storage(error)), .. })
                    if matches!(error, slotkv_storage::Error::Locked { .. }) && Instant::now() < deadline =>
                {
                    place.member = None;
                    sleep(PAUSE).await;
                }
                Ok(()) => return Ok(()),
                Err(error) => {
                    place.member = None;
                    return Err(error);
                }
            }
        }
    }

    /// Ends a master as a crash would. The next one leads after the session timeout.
    pub async fn kill_master(&mut self, index: usize) -> Result<(), DevError> {
        take(&mut self.masters, index)?.kill().await;
        Ok(())
    }

    /// Ends a master in an orderly way.
    pub async fn stop_master(&mut self, index: usize) -> Result<(), DevError> {
        take(&mut self.masters, index)?.stop().await;
        Ok(())
    }

    /// Starts a master that was ended, on its address.
    pub async fn restart_master(&mut self, index: usize) -> Result<(), DevError> {
        let place = ended(&mut self.masters, index)?;
        let listening = place.bind(&self.options)?;
        place.launch(&self.options, &self.coordinator, &self.board, listening)?.await
    }

    /// Waits until a member has ended by itself, and says which and why.
    pub async fn failed(&self) -> String {
        let places = self.masters.iter().chain(&self.workers);
        let failing: Vec<_> = places
            .filter_map(|place| {
                let member = place.member.as_ref()?;
                Some(Box::pin(async move { format!("{} ended: {}", place.label, member.failed().await) }))
            })
            .collect();
        if failing.is_empty() {
            return std::future::pending().await;
        }
        select_all(failing).await.0
    }

    /// Ends everything in an orderly way, workers first. A temporary folder is removed.
    pub async fn shutdown(mut self) {
        join_all(self.workers.iter_mut().filter_map(|place| place.member.take()).map(Member::stop)).await;
        join_all(self.masters.iter_mut().filter_map(|place| place.member.take()).map(Member::stop)).await;
    }
}

impl Drop for Dev {
    /// Kills what still runs, and waits for it for at most [`DROP_WAIT`], so that a temporary folder is removed behind
    /// it.
    fn drop(&mut self) {
        let places = self.workers.iter_mut().chain(&mut self.masters);
        let members: Vec<Member> = places.filter_map(|place| place.member.take()).collect();
        if members.is_empty() {
            return;
        }
        let folder = self.folder.clone();
        let (done, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() {
                runtime.block_on(join_all(members.into_iter().map(Member::kill)));
            }
            drop(folder);
            let _ = done.send(());
        });
        let _ = wait.recv_timeout(DROP_WAIT);
    }
}

/// Asks every slot through a new client.
async fn served(uri: &str) -> Result<(), slotkv::Error> {
    let client = Client::connect(uri).await?;
    let count = client.with_deadline(Duration::from_secs(1)).count(Range::all()).await;
    client.close().await;
    count.map(drop)
}
