//! A whole cluster in this process: masters, workers and the embedded coordinator, each member on a thread of its own,
//! talking over real sockets. It backs `slotkv dev`, tests and examples.
//!
//! ```no_run
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
mod folder;
mod member;

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{join_all, select_all, try_join_all};
use slotkv::{Client, Range};
use slotkv_coordination::{Embedded, registers::Durability};
use slotkv_master::MasterOptions;
use slotkv_proto::{SlotCount, limits::CONNECTIONS_MAX};
use slotkv_worker::{Options as WorkerOptions, StartError};
use tokio::time::{Instant, sleep, timeout};

use self::{
    coordinator::Shared,
    folder::{Folder, Shape},
    member::{Member, Role},
};
use crate::serve::{ListenError, Listening, ServeError};

/// Most masters and most workers of one process.
pub const MEMBERS_MAX: usize = 64;
/// How long the cluster may take until every slot is served.
pub const READY_MAX: Duration = Duration::from_secs(60);
/// How long a restarted worker waits for its own predecessor to let go of the folder.
const FOLDER_WAIT: Duration = Duration::from_secs(10);
/// How long dropping a running cluster may block.
pub const DROP_WAIT: Duration = Duration::from_secs(5);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// Port of the first master; the other members take the ports after it. 0: free ports. Default 0.
    pub port: u16,
    /// Address to listen on. Default 127.0.0.1.
    pub listen: IpAddr,
    /// Host that members tell others; `None`: the address they listen on.
    pub advertise: Option<String>,
    /// Masters. Default 2.
    pub masters: usize,
    /// Shards, each of one worker. Default 3.
    pub shards: usize,
    /// Hash slots. Default 1024.
    pub slots: u32,
    /// Folder that keeps everything over restarts; `None`: a temporary one.
    pub data: Option<PathBuf>,
    /// When an acknowledged write is on the disk; `None`: as the cluster has it, at first `sync`.
    pub durability: Option<Durability>,
    /// Memory of each worker's row cache.
    pub cache_bytes: usize,
    /// Memory of each worker's block cache.
    pub engine_cache_bytes: u64,
    /// After how long the coordinator takes a killed member for dead. Default 5 s.
    pub session_timeout: Duration,
    /// Connections that each member takes.
    pub connections_max: usize,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self {
            port: 0,
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertise: None,
            masters: 2,
            shards: 3,
            slots: 1024,
            data: None,
            durability: None,
            cache_bytes: 64 << 20,
            engine_cache_bytes: 32 << 20,
            session_timeout: Duration::from_secs(5),
            connections_max: CONNECTIONS_MAX,
        }
    }
}

/// Why a cluster does not start, or a member cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// An option that cannot be.
    #[error("{0}")]
    Option(String),
    /// The data folder cannot be used.
    #[error("data folder {path}: {why}")]
    Folder {
        /// Which folder or file.
        path: String,
        /// Why not.
        why: String,
    },
    /// The embedded coordinator does not start.
    #[error(transparent)]
    Coordinator(#[from] slotkv_coordination::Error),
    /// A member does not start.
    #[error("{member}: {source}")]
    Member {
        /// Which one.
        member: String,
        /// Why not.
        source: ServeError,
    },
    /// The slots were not all served in time.
    #[error("not every slot is served after {READY_MAX:?}: {0}")]
    NotReady(String),
    /// There is no such member, or it is not in the state for this.
    #[error("{0}")]
    NoMember(String),
    /// The system refuses something.
    #[error(transparent)]
    System(std::io::Error),
}

/// A place for a member: it keeps its address while the member is gone.
struct Place {
    label: String,
    role: Role,
    bound: String,
    member: Option<Member>,
}

/// A running cluster. Dropping it ends it as a crash would; [`Dev::shutdown`] ends it in an orderly way.
pub struct Dev {
    options: DevOptions,
    masters: Vec<Place>,
    workers: Vec<Place>,
    coordinator: Shared,
    folder: Arc<Folder>,
}

impl Dev {
    /// Starts a cluster; returns when every slot is allocated and served.
    pub async fn start(options: DevOptions) -> Result<Self, DevError> {
        check(&options)?;
        let shape = Shape::new(options.shards as u32, options.slots);
        let folder = Folder::open(options.data.as_deref(), shape)?;
        let embedded = match folder.coordinator() {
            Some(path) => Embedded::open(path)?,
            None => Embedded::new(),
        };
        folder.bind(shape).await?;
        let coordinator = Shared::start(embedded).map_err(DevError::System)?;
        let mut dev =
            Self { options, masters: Vec::new(), workers: Vec::new(), coordinator, folder: Arc::new(folder) };
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
            let bound = bind(&self.options, place)?;
            place.bound = bound.bound().to_owned();
            listening.push(bound);
        }
        let mut starting = Vec::new();
        for (place, listening) in self.masters.iter_mut().chain(&mut self.workers).zip(listening) {
            starting.push(launch(&self.options, &self.coordinator, place, listening)?);
        }
        try_join_all(starting).await?;
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
        for index in 0..options.shards {
            let mut worker = WorkerOptions::new(self.folder.worker(index), "");
            worker.name = Some(format!("worker-{index}"));
            worker.shard = Some(index as u32);
            worker.wishes.durability = options.durability;
            worker.cache_bytes = options.cache_bytes;
            worker.session_timeout = options.session_timeout;
            let role =
                Role::Worker { options: Box::new(worker), engine_cache_bytes: options.engine_cache_bytes };
            let label = format!("worker {index}");
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
        let since = Instant::now();
        let probe = async {
            loop {
                let why = match served(&self.uri()).await {
                    Ok(()) => return,
                    Err(error) => error.to_string(),
                };
                tracing::debug!(why, "not every slot is served yet");
                sleep(PAUSE).await;
            }
        };
        timeout(READY_MAX, probe)
            .await
            .map_err(|_| DevError::NotReady(format!("since {:?}", since.elapsed())))
    }

    /// Ends a worker as a crash would; its data stays. The coordinator takes it for dead after the session timeout.
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
            let listening = bind(&self.options, place)?;
            match launch(&self.options, &self.coordinator, place, listening)?.await {
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
        let listening = bind(&self.options, place)?;
        launch(&self.options, &self.coordinator, place, listening)?.await
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

fn check(options: &DevOptions) -> Result<(), DevError> {
    let refuse = |why: String| Err(DevError::Option(why));
    if SlotCount::new(options.slots).is_none() {
        return refuse(format!("{} slots: wants a power of two up to 16384", options.slots));
    }
    if options.shards == 0 || options.shards > MEMBERS_MAX || options.shards > options.slots as usize {
        return refuse(format!(
            "{} shards: wants 1 to {MEMBERS_MAX}, and not more than slots",
            options.shards
        ));
    }
    if options.masters == 0 || options.masters > MEMBERS_MAX {
        return refuse(format!("{} masters: wants 1 to {MEMBERS_MAX}", options.masters));
    }
    let members = options.masters + options.shards;
    if options.port != 0 && usize::from(options.port) + members - 1 > usize::from(u16::MAX) {
        return refuse(format!("port {}: there are not {members} ports from there on", options.port));
    }
    Ok(())
}

fn bind(options: &DevOptions, place: &Place) -> Result<Listening, DevError> {
    Listening::bind(&place.bound, 0, options.advertise.as_deref())
        .map_err(|error: ListenError| DevError::Member { member: place.label.clone(), source: error.into() })
}

/// Starts the member of a place. The future is done when it serves.
fn launch(
    options: &DevOptions,
    coordinator: &Shared,
    place: &mut Place,
    listening: Listening,
) -> Result<impl Future<Output = Result<(), DevError>> + use<>, DevError> {
    let label = place.label.clone();
    let failed = move |source| DevError::Member { member: label, source };
    let coordinator = Arc::new(coordinator.clone());
    match Member::start(place.role.clone(), listening, options.connections_max, coordinator) {
        Ok((member, starting)) => {
            place.member = Some(member);
            Ok(async move { starting.await.map_err(failed) })
        }
        Err(error) => Err(failed(error)),
    }
}

fn addresses(places: &[Place]) -> Vec<String> {
    places.iter().filter_map(|place| Some(place.member.as_ref()?.address().to_owned())).collect()
}

fn take(places: &mut [Place], index: usize) -> Result<Member, DevError> {
    let place =
        places.get_mut(index).ok_or_else(|| DevError::NoMember(format!("there is no member {index}")))?;
    place.member.take().ok_or_else(|| DevError::NoMember(format!("{} does not run", place.label)))
}

fn ended(places: &mut [Place], index: usize) -> Result<&mut Place, DevError> {
    match places.get_mut(index) {
        None => Err(DevError::NoMember(format!("there is no member {index}"))),
        Some(place) if place.member.is_some() => Err(DevError::NoMember(format!("{} runs", place.label))),
        Some(place) => Ok(place),
    }
}

/// Asks every slot through a new client.
async fn served(uri: &str) -> Result<(), slotkv::Error> {
    let client = Client::connect(uri).await?;
    let count = client.with_deadline(Duration::from_secs(1)).count(Range::all()).await;
    client.close().await;
    count.map(drop)
}
