//! Start, run and stop of a worker.
//!
//! The order of a start: take the folder, open a session, learn the cluster and the shard, open the data, find the shard's
//! register or make it, become a member, lead or follow. The order of a stop is the other way round.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::Stream;
use parking_lot::Mutex;
use slotkv_coordination::{
    ClusterView, Coordinator, Session as CoordinatorSession, SessionState, View, membership, paths,
    registers::{Cluster, Health, MemberRecord, Primary, Register, Replica, Role},
};
use slotkv_proto::{
    Code, SlotCount, handshake,
    limits::SHARDS_MAX,
    seam::{Chance, Clock},
    table::{Member, ShardId},
    v1::{
        ClientFrame, HandoverHello, PeerHello, handover_server::HandoverServer,
        replication_server::ReplicationServer,
    },
};
use slotkv_storage::{Disk, Engines, RowCache};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Status;

use crate::{
    bridge::{self, Bridge, BridgeService},
    error::StartError,
    follow,
    home::{Home, Opened},
    host::{self, Failed, Host, Input, Settings},
    join::{self, Wishes},
    link::{self, Addresses, Links, PeerService, PeerTransport},
    migrations,
    registrar::Registrar,
    reports::Reporter,
    runner::{Runner, Task},
    service::{StoreFront, StoreService},
    session::Session,
    shard::{self, Shard, Stand},
    standby, waiting,
};

/// Pause between two attempts to reach the coordinator.
const COORDINATOR_PAUSE_MS: u64 = 200;
/// How long a stop waits for the writes that are under way.
pub const STOP_MS_MAX: u64 = 10_000;
/// How long a stop waits for another replica to take the lead.
const RESIGN_MS_MAX: u64 = 2_000;
/// How long a start in a shard of several waits until its replica leads or follows.
pub const PLACE_MS_MAX: u64 = 5_000;
/// Where a replica stands is told to people no more often than this.
const STANDING_PAUSE: Duration = Duration::from_millis(200);
/// What follows how a replica stands whose process is about to end.
pub const LEAVING: &str = ", leaving";
/// Longest time that leaving the cluster may take; without it the coordinator finds out by itself.
const LEAVE_MS_MAX: u64 = 3_000;

/// What a worker is told.
#[derive(Clone)]
pub struct Options {
    /// The replica's folder.
    pub dir: PathBuf,
    /// The replica's name; `None`: as the folder says, or a new one.
    pub name: Option<String>,
    /// Its shard; `None`: as the folder says, or one that was never given.
    pub shard: Option<ShardId>,
    /// On a folder without data: take the place of a replica that has been gone for so long, in any shard. `None`: do not.
    pub standby_after: Option<Duration>,
    /// `host:port` under which clients reach it.
    pub address: String,
    /// Where it stands; may be empty.
    pub zone: String,
    /// What to write into the shard's register.
    pub wishes: Wishes,
    /// Rows kept in memory, in bytes.
    pub cache_bytes: usize,
    /// Size of a log segment.
    pub segment_bytes: u64,
    /// Log bytes after which a checkpoint is made.
    pub checkpoint_bytes: u64,
    /// Log bytes that are kept behind a checkpoint, for replicas that were away; a shard of one replica keeps none.
    pub retain_bytes: u64,
    /// Timeout of the session with the coordinator.
    pub session_timeout: Duration,
    /// Times and bounds of replication.
    pub replication: slotkv_replication::Options,
    /// Times and bounds of hand-overs between shards.
    pub migration: slotkv_migration::Options,
    /// What earlier replicas of this process have counted.
    pub health: Health,
}

impl Options {
    /// Options with defaults: 128 MiB of rows in memory, segments and checkpoints of 64 MiB, 256 MiB of the log kept,
    /// sessions of 5 s.
    pub fn new(dir: impl Into<PathBuf>, address: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            name: None,
            shard: None,
            standby_after: None,
            address: address.into(),
            zone: String::new(),
            wishes: Wishes::default(),
            cache_bytes: 128 << 20,
            segment_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            retain_bytes: 256 << 20,
            session_timeout: Duration::from_secs(5),
            replication: slotkv_replication::Options::default(),
            migration: slotkv_migration::Options::default(),
            health: Health::default(),
        }
    }
}

/// What a worker works with: the machine, or the simulator.
#[derive(Clone)]
pub struct Seams {
    /// The cluster's coordinator.
    pub coordinator: Arc<dyn Coordinator>,
    /// The disk under log and registers.
    pub disk: Arc<dyn Disk>,
    /// Where engines come from.
    pub engines: Arc<dyn Engines>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Names and incarnations.
    pub chance: Arc<dyn Chance>,
    /// Where long work runs.
    pub runner: Runner,
    /// The way to other replicas.
    pub peers: Arc<dyn PeerTransport>,
}

/// That a worker has stopped by itself.
#[derive(Clone, Debug)]
pub struct Ended {
    /// For people.
    pub why: String,
    /// Its replica may be begun anew in this process, by another start with the same folder. If not, the process is to end.
    pub begins_anew: bool,
}

/// A worker that serves.
pub struct Worker {
    shard: Arc<Shard>,
    view: Arc<ClusterView>,
    ended: watch::Receiver<Option<Ended>>,
    membership: Task,
    following: Task,
    session: watch::Receiver<Arc<dyn CoordinatorSession>>,
    member: MemberRecord,
    waiting: Task,
    peers: PeerService,
    bridge: BridgeService,
    replicas: u32,
    /// What the host has failed by.
    broken: Mutex<Option<oneshot::Receiver<slotkv_storage::Error>>>,
}

impl Worker {
    /// Starts a worker; returns when its replica runs, see [`Worker::placed`]. Waits for the coordinator and for the first
    /// master as long as it takes; dropping the future gives up.
    pub async fn start(options: Options, seams: Seams) -> Result<Worker, StartError> {
        Self::start_or_stand_by(options, seams, |_| ()).await
    }

    /// The same. A worker that stands by calls `standing_by` once it is registered.
    pub async fn start_or_stand_by(
        options: Options,
        seams: Seams,
        standing_by: impl FnOnce(Standby),
    ) -> Result<Worker, StartError> {
        check_options(&options)?;
        let mut home = Home::lock(seams.disk.clone(), &options.dir)?;
        check_home(&home, &options)?;
        let mut session = open_session(&*seams.coordinator, options.session_timeout).await;
        let cluster = wait_for_cluster(&session).await?;
        let slots = cluster.slots()?;
        if let Some(found) = home.identification().map(|known| known.cluster_id.clone())
            && found != cluster.cluster_id
        {
            return Err(StartError::WrongCluster { found, expected: cluster.cluster_id });
        }
        let mut claimed = None;
        if home.identification().is_none() {
            let name = options.name.clone().unwrap_or_else(|| format!("w-{:016x}", seams.chance.next_u64()));
            paths::validate_name("worker name", &name)?;
            let shard = match (options.shard, options.standby_after) {
                (Some(shard), _) => shard,
                (None, Some(after)) => {
                    let place;
                    (place, session) = stand_by(session, &options, &seams, &name, after, standing_by).await?;
                    claimed = Some(place);
                    place
                }
                (None, None) => membership::allocate_shard_id(&*session).await?,
            };
            check_shard(shard)?;
            join::check_place(&*session, shard, &name, &options.wishes).await?;
            home.identify(&cluster.cluster_id, &name, shard, &*seams.chance).await?;
        }

        let cache = Arc::new(RowCache::new(options.cache_bytes));
        let (mut home, opened) = open_data(home, &seams, cache, slots, options.segment_bytes).await?;
        let Some(identification) = home.identification().cloned() else {
            return Err(StartError::Misfit("the replica's folder lost its identification".into()));
        };
        let (shard, name) = (identification.shard, identification.name.clone());
        let process = Primary {
            name: name.clone(),
            run: format!("{:016x}", seams.chance.next_u64()),
            address: options.address.clone(),
        };
        let own = Replica {
            name: name.clone(),
            inc: identification.inc.clone(),
            run: process.run.clone(),
            address: process.address.clone(),
        };
        let register = loop {
            match join::register(&*session, shard, &own, &identification, &options.wishes).await {
                // Opening the data may have taken longer than the session lasts.
                Err(StartError::Coordinator(error)) if error.is_over() => {
                    tracing::warn!(shard, %error, "cannot join the shard yet; opening a new session");
                    session = open_session(&*seams.coordinator, options.session_timeout).await;
                }
                Err(StartError::Coordinator(error)) if error.is_passing() => {
                    tracing::warn!(shard, %error, "cannot join the shard yet");
                    tokio::time::sleep(Duration::from_millis(COORDINATOR_PAUSE_MS)).await;
                }
                outcome => break outcome?,
            }
        };
        home.set_durability(register.durability).await?;

        let (session_sender, session_receiver) = watch::channel(session.clone());
        let addresses = Addresses::default();
        let known = addresses.clone();
        let registrar =
            Arc::new(Registrar::new(shard, process.clone(), Arc::new(move |name| known.of(name))));
        let view = Arc::new(ClusterView::start(session.clone()));
        let (inbox_sender, inbox) = mpsc::unbounded_channel();
        let (arrived, peers) = mpsc::channel(link::ARRIVED_MAX);
        let (handed, hands) = mpsc::channel(bridge::ARRIVED_MAX);
        let shared = Arc::new(Shard::new(shard::Parts {
            id: shard,
            member: Member {
                name: process.name.clone(),
                run: process.run.clone(),
                address: process.address.clone(),
            },
            engine: opened.engine.clone(),
            cache: opened.cache.clone(),
            runner: seams.runner.clone(),
            clock: seams.clock.clone(),
            zone: options.zone.clone(),
            table: Arc::new(cluster.table()?),
            inbox: inbox_sender,
        }));
        let hello = PeerHello {
            version_min: handshake::VERSION_MIN,
            version_max: handshake::VERSION_MAX,
            cluster_id: cluster.cluster_id.clone(),
            shard,
            name: name.clone(),
            address: process.address.clone(),
        };
        let own_shard = HandoverHello {
            version_min: handshake::VERSION_MIN,
            version_max: handshake::VERSION_MAX,
            cluster_id: cluster.cluster_id.clone(),
            from_shard: shard,
            to_shard: shard,
            name: name.clone(),
        };
        let migrations = migrations::Parts {
            shard,
            options: options.migration.clone(),
            view: view.clone(),
            bridge: Bridge::new(seams.peers.clone(), seams.runner.clone(), own_shard),
            arrived: hands,
            reporter: Reporter::new(shard, process.run.clone()),
        };
        let start = slotkv_replication::Start {
            member: slotkv_replication::Member {
                name: name.as_str().into(),
                inc: own.inc.as_str().into(),
                run: own.run.as_str().into(),
            },
            remains_of: home.remains_of().iter().map(|inc| inc.as_str().into()).collect(),
            promise: home.promise(),
            history: opened.history,
            applied_index: opened.replica.applied().index,
            seed: seams.chance.next_u64(),
        };
        let machine =
            slotkv_replication::Replica::new(start, options.replication.clone(), seams.clock.uptime_us());
        let host = Host::new(host::Parts {
            shard: shared.clone(),
            machine,
            replica: opened.replica,
            log: opened.log,
            home,
            process,
            slots,
            settings: Settings {
                durability: register.durability,
                checkpoint_bytes: options.checkpoint_bytes,
                retain_bytes: options.retain_bytes,
                dir: options.dir.clone(),
                cache_bytes: options.cache_bytes,
            },
            ack: options.wishes.ack,
            health: Health { trouble: String::new(), ..options.health.clone() },
            clock: seams.clock.clone(),
            disk: seams.disk.clone(),
            chance: seams.chance.clone(),
            engine: opened.engine,
            runner: seams.runner.clone(),
            registrar: registrar.clone(),
            sessions: session_receiver.clone(),
            links: Links::new(seams.peers.clone(), seams.runner.clone(), hello, addresses.clone()),
            addresses: addresses.clone(),
            peers,
            migrations,
            inbox,
        });

        let (end, ended) = watch::channel(None);
        let (broken, breaks) = oneshot::channel();
        let hosting = shared.clone();
        seams
            .runner
            .serving(format!("shard-{shard}"), async move {
                let (text, begins_anew) = match host.run().await {
                    Ok(()) => (String::new(), false),
                    Err(Failed { error, begins_anew }) => {
                        tracing::error!(shard, %error, "the shard stops");
                        let text = error.to_string();
                        let _ = broken.send(error);
                        (text, begins_anew)
                    }
                };
                hosting.stop((Code::ShuttingDown, format!("shard {shard} has stopped: {text}")));
                if !hosting.is_aborted() {
                    hosting.queue().refuse_rest();
                }
                end.send_replace(Some(Ended { why: text, begins_anew }));
            })
            .map_err(|error| StartError::Misfit(format!("no thread for shard {shard}: {error}")))?;

        let member = MemberRecord {
            name,
            run: own.run,
            inc: own.inc,
            role: Role::Worker,
            address: options.address.clone(),
            shard: Some(shard),
            zone: options.zone.clone(),
            standing: String::new(),
            since_ms: 0,
            health: Default::default(),
        };
        let following = seams.runner.task(follow::follow(
            view.clone(),
            shared.clone(),
            registrar,
            addresses.clone(),
            member.name.clone(),
            seams.peers.clone(),
        ));
        membership::join(&*session, &member).await.or_else(passing)?;
        if let Some(shard) = claimed {
            standby::release(&*session, shard).await;
        }
        let membership = seams.runner.task(stay(
            seams.coordinator,
            options.session_timeout,
            session_sender,
            view.clone(),
            member.clone(),
            shared.standing(),
        ));
        let waiting = seams.runner.task(waiting::answer(shared.clone()));
        let bridge = BridgeService::new(handed, cluster.cluster_id.clone(), shard);
        let peers = PeerService::new(arrived, cluster.cluster_id, shard, addresses);
        Ok(Worker {
            shard: shared,
            view,
            ended,
            membership,
            following,
            session: session_receiver,
            member,
            waiting,
            peers,
            bridge,
            replicas: register.replicas,
            broken: Mutex::new(Some(breaks)),
        })
    }

    /// Waits until the replica has taken its place: it leads its shard, or follows who does. Others have to reach it for
    /// that. In a shard of several it waits [`PLACE_MS_MAX`] at most, since what it waits for may be another worker. To be
    /// called once.
    pub async fn placed(&self) -> Result<(), StartError> {
        let Some(mut breaks) = self.broken.lock().take() else { return Ok(()) };
        let mut standing = self.shard.standing();
        let bound = match self.replicas {
            0..=1 => Duration::MAX,
            _ => Duration::from_millis(PLACE_MS_MAX),
        };
        let begun = tokio::time::Instant::now();
        loop {
            if host::is_placed(&standing.borrow_and_update().standing) {
                return Ok(());
            }
            let left = bound.saturating_sub(begun.elapsed()).min(Duration::from_secs(3600));
            tokio::select! {
                biased;
                error = &mut breaks => {
                    return Err(error.map_or_else(
                        |_| StartError::Misfit("the replica has stopped".into()),
                        StartError::Storage,
                    ));
                }
                _ = standing.changed() => {}
                () = tokio::time::sleep(left) => {
                    let standing = standing.borrow().standing.to_string();
                    tracing::warn!(shard = self.shard.id(), standing, "waits for other replicas of its shard");
                    return Ok(());
                }
            }
        }
    }

    /// The shard that the worker serves.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// The cluster as the worker sees it.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.views()
    }

    /// Its gRPC service.
    pub fn store_server(&self) -> StoreFront {
        StoreService::server(self.shard.clone())
    }

    /// The gRPC service for other replicas of the shard.
    pub fn peer_server(&self) -> ReplicationServer<PeerService> {
        self.peers.clone().with_replica(self.shard.clone()).server()
    }

    /// Takes what other replicas send without gRPC, as the simulator does.
    pub fn peers(&self) -> PeerService {
        self.peers.clone()
    }

    /// The gRPC service for the primaries of other shards.
    pub fn bridge_server(&self) -> HandoverServer<BridgeService> {
        self.bridge.clone().server()
    }

    /// Takes what they send without gRPC, as the simulator does.
    pub fn bridge(&self) -> BridgeService {
        self.bridge.clone()
    }

    /// Serves one stream without gRPC, as the simulator does.
    pub fn serve_stream<S>(&self, input: S) -> Session<S>
    where
        S: Stream<Item = Result<ClientFrame, Status>> + Unpin,
    {
        Session::new(self.shard.clone(), input)
    }

    /// Waits until the worker has stopped by itself, and says why. What it had acknowledged is on the disk.
    pub async fn failed(&self) -> String {
        self.ended().await.why
    }

    /// The same, and whether another may take its place in this process.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let found = ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        found.unwrap_or_else(|| Ended { why: "the committer was dropped".into(), begins_anew: false })
    }

    /// Hands the lead to another replica in sync, if there is one, refuses new requests, commits those under way, makes
    /// everything durable, leaves the cluster. Bounded in time.
    pub async fn shutdown(self) {
        let shard = self.shard.id();
        let (told, resigned) = oneshot::channel();
        if self.shard.inbox().send(Input::Resign(told)).is_ok() {
            let _ = tokio::time::timeout(Duration::from_millis(RESIGN_MS_MAX), resigned).await;
        }
        self.shard.stop((Code::ShuttingDown, format!("the worker of shard {shard} is stopping")));
        self.following.abort();
        let stopped = tokio::time::timeout(Duration::from_millis(STOP_MS_MAX), self.failed()).await;
        if stopped.is_err() {
            tracing::error!(shard, "writes under way were not finished within {STOP_MS_MAX} ms");
        }
        self.membership.abort();
        let session = self.session.borrow().clone();
        leave(session, &self.member).await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shard.stop((Code::ShuttingDown, "the worker was dropped".into()));
        self.following.abort();
        self.membership.abort();
        self.waiting.abort();
    }
}

/// A worker that stands by, to those outside of its start.
#[derive(Clone)]
pub struct Standby {
    view: watch::Receiver<Arc<View>>,
    session: watch::Receiver<Arc<dyn CoordinatorSession>>,
    member: MemberRecord,
}

impl Standby {
    /// The cluster as it sees it, until it has a place.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.member.name
    }

    /// Leaves the cluster, after its start was dropped. Bounded in time.
    pub async fn leave(self) {
        let session = self.session.borrow().clone();
        leave(session, &self.member).await;
    }
}

async fn leave(session: Arc<dyn CoordinatorSession>, member: &MemberRecord) {
    let leaving = async {
        if let Err(error) = membership::leave(&*session, member).await {
            tracing::warn!(%error, "left without telling the coordinator");
        }
        session.close().await;
    };
    let _ = tokio::time::timeout(Duration::from_millis(LEAVE_MS_MAX), leaving).await;
}

/// Opens the data where it holds up nothing else: it may take longer than a session with the coordinator lasts.
async fn open_data(
    mut home: Home,
    seams: &Seams,
    cache: Arc<RowCache>,
    slots: SlotCount,
    segment_bytes: u64,
) -> Result<(Home, Opened), StartError> {
    let (engines, chance) = (seams.engines.clone(), seams.chance.clone());
    let (sender, receiver) = oneshot::channel();
    let opening = async move {
        let opened = home.open(&engines, cache, slots, segment_bytes, &*chance).await;
        let _ = sender.send(opened.map(|opened| (home, opened)));
    };
    let begun = seams.runner.dedicated("open".into(), opening);
    begun.map_err(|error| StartError::Misfit(format!("no thread to open the data: {error}")))?;
    receiver.await.map_err(|_| StartError::Misfit("opening the data was not finished".into()))?
}

/// Waits for a place, in as many sessions as it takes. Returns the one that holds the claim.
async fn stand_by(
    mut session: Arc<dyn CoordinatorSession>,
    options: &Options,
    seams: &Seams,
    name: &str,
    after: Duration,
    standing_by: impl FnOnce(Standby),
) -> Result<(ShardId, Arc<dyn CoordinatorSession>), StartError> {
    let member = MemberRecord {
        name: name.to_owned(),
        run: format!("{:016x}", seams.chance.next_u64()),
        inc: String::new(),
        role: Role::Worker,
        address: options.address.clone(),
        shard: None,
        zone: options.zone.clone(),
        standing: standby::STANDING.to_owned(),
        since_ms: seams.clock.wall_ms(),
        health: Default::default(),
    };
    let view = ClusterView::start(session.clone());
    let (sessions, known) = watch::channel(session.clone());
    let mut untold = Some(standing_by);
    loop {
        let joined = || {
            if let Some(standing_by) = untold.take() {
                standing_by(Standby { view: view.views(), session: known.clone(), member: member.clone() });
            }
        };
        match standby::place(&*session, &view, &member, after, joined).await {
            Ok(shard) => return Ok((shard, session)),
            Err(StartError::Coordinator(error)) if error.is_over() => {
                session = open_session(&*seams.coordinator, options.session_timeout).await;
                view.attach(session.clone());
                sessions.send_replace(session.clone());
            }
            Err(StartError::Coordinator(error)) if error.is_passing() => {
                tracing::warn!(%error, "cannot stand by yet");
                tokio::time::sleep(Duration::from_millis(COORDINATOR_PAUSE_MS)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn check_options(options: &Options) -> Result<(), StartError> {
    options.wishes.check()?;
    options.shard.map_or(Ok(()), check_shard)
}

fn check_shard(shard: ShardId) -> Result<(), StartError> {
    if (shard as usize) < SHARDS_MAX {
        return Ok(());
    }
    let limit = format!("a cluster has at most {SHARDS_MAX} shards, numbered from 0");
    Err(StartError::OutOfBounds { what: "shard", found: shard.to_string(), limit })
}

fn check_home(home: &Home, options: &Options) -> Result<(), StartError> {
    let Some(known) = home.identification() else { return Ok(()) };
    let other = |what, found: String, expected: String| StartError::OtherReplica { what, found, expected };
    if let Some(shard) = options.shard.filter(|shard| *shard != known.shard) {
        return Err(other("shard", known.shard.to_string(), shard.to_string()));
    }
    if let Some(name) = options.name.as_ref().filter(|name| **name != known.name) {
        return Err(other("replica", known.name.clone(), name.clone()));
    }
    Ok(())
}

async fn open_session(coordinator: &dyn Coordinator, timeout: Duration) -> Arc<dyn CoordinatorSession> {
    let mut told = false;
    loop {
        match coordinator.open(timeout).await {
            Ok(session) => return session,
            Err(error) if !told => tracing::warn!(%error, "waits for the coordinator"),
            Err(error) => tracing::debug!(%error, "waits for the coordinator"),
        }
        told = true;
        tokio::time::sleep(Duration::from_millis(COORDINATOR_PAUSE_MS)).await;
    }
}

/// The cluster's identity, which the first master writes.
async fn wait_for_cluster(session: &Arc<dyn CoordinatorSession>) -> Result<Cluster, StartError> {
    let mut told = false;
    loop {
        session.sync(paths::CLUSTER).await.or_else(passing)?;
        match session.get(paths::CLUSTER).await {
            Ok(Some(node)) => return Ok(Cluster::decode(paths::CLUSTER, &node.data)?),
            Ok(None) if !told => tracing::info!("waits for the first master"),
            Ok(None) => {}
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error.into()),
        }
        told = true;
        tokio::time::sleep(Duration::from_millis(COORDINATOR_PAUSE_MS)).await;
    }
}

/// What a later attempt may cure is no reason to stop.
fn passing(error: slotkv_coordination::Error) -> Result<(), slotkv_coordination::Error> {
    if error.is_passing() || error.is_over() { Ok(()) } else { Err(error) }
}

/// Keeps the process a member, and says where its replica stands. When its session is over, it opens a new one and joins
/// again.
async fn stay(
    coordinator: Arc<dyn Coordinator>,
    timeout: Duration,
    sessions: watch::Sender<Arc<dyn CoordinatorSession>>,
    view: Arc<ClusterView>,
    mut member: MemberRecord,
    mut standing: watch::Receiver<Stand>,
) {
    loop {
        let session = sessions.borrow().clone();
        let stand = standing.borrow_and_update().clone();
        member.standing = match stand.is_leaving {
            true => format!("{}{LEAVING}", stand.standing),
            false => stand.standing.to_string(),
        };
        member.since_ms = stand.since_ms;
        member.health = stand.health;
        match membership::join(&*session, &member).await {
            Ok(()) => {
                let mut states = session.state();
                tokio::select! {
                    biased;
                    () = async { drop(states.wait_for(|state| state.is_final()).await) } => {}
                    _ = standing.changed() => {
                        tokio::time::sleep(STANDING_PAUSE).await;
                        continue;
                    }
                }
            }
            Err(error) if error.is_over() => {}
            Err(error) => {
                tracing::warn!(%error, "cannot join the members");
                tokio::time::sleep(Duration::from_millis(COORDINATOR_PAUSE_MS)).await;
                continue;
            }
        }
        if *session.state().borrow() == SessionState::Closed {
            return;
        }
        tracing::warn!("the session with the coordinator is over; opening a new one");
        let session = open_session(&*coordinator, timeout).await;
        view.attach(session.clone());
        sessions.send_replace(session);
    }
}
