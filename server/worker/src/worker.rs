//! Start, run and stop of a worker.
//!
//! The order of a start: take the folder, open a session, learn the cluster and the shard, open and replay the data, take
//! the lead in a new epoch, commit its barrier, serve, become a member. The order of a stop is the other way round.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::Stream;
use slotkv_coordination::{
    ClusterView, Coordinator, Session as CoordinatorSession, SessionState, View, membership, paths,
    registers::{Cluster, MemberRecord, Primary, Register, Role, ShardRegister},
};
use slotkv_proto::{
    Code, SlotCount,
    limits::SHARDS_MAX,
    seam::{Chance, Clock},
    table::{Member, ShardId},
    v1::ClientFrame,
};
use slotkv_storage::{Disk, RowCache};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tonic::Status;

use crate::{
    committer::{Committer, Parts, Settings},
    error::StartError,
    home::{Home, OpenEngine, Opened},
    join::{self, Wishes},
    ownership::Ownership,
    runner::Runner,
    service::{StoreFront, StoreService},
    session::Session,
    shard::Shard,
};

/// Pause between two attempts to reach the coordinator.
const COORDINATOR_PAUSE_MS: u64 = 200;
/// How long a stop waits for the writes that are under way.
pub const STOP_MS_MAX: u64 = 10_000;
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
    /// Timeout of the session with the coordinator.
    pub session_timeout: Duration,
}

impl Options {
    /// Options with defaults: 128 MiB of rows in memory, segments and checkpoints of 64 MiB, sessions of 5 s.
    pub fn new(dir: impl Into<PathBuf>, address: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            name: None,
            shard: None,
            address: address.into(),
            zone: String::new(),
            wishes: Wishes::default(),
            cache_bytes: 128 << 20,
            segment_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            session_timeout: Duration::from_secs(5),
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
    /// Opens the engine.
    pub open_engine: OpenEngine,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Names and incarnations.
    pub chance: Arc<dyn Chance>,
    /// Where long work runs.
    pub runner: Runner,
}

/// A worker that serves.
pub struct Worker {
    shard: Arc<Shard>,
    view: Arc<ClusterView>,
    ended: watch::Receiver<Option<String>>,
    membership: JoinHandle<()>,
    following: JoinHandle<()>,
    session: watch::Receiver<Arc<dyn CoordinatorSession>>,
    member: MemberRecord,
}

impl Worker {
    /// Starts a worker; returns when it serves, whether or not slots have been allocated to it yet. Waits for the
    /// coordinator and for the first master as long as it takes; dropping the future gives up.
    pub async fn start(options: Options, seams: Seams) -> Result<Worker, StartError> {
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
        if home.identification().is_none() {
            let shard = match options.shard {
                Some(shard) => shard,
                None => membership::allocate_shard_id(&*session).await?,
            };
            check_shard(shard)?;
            let name = options.name.clone().unwrap_or_else(|| format!("w-{:016x}", seams.chance.next_u64()));
            paths::validate_name("worker name", &name)?;
            check_free(&*session, shard, &name).await?;
            home.identify(&cluster.cluster_id, &name, shard, &*seams.chance).await?;
        }

        let cache = Arc::new(RowCache::new(options.cache_bytes));
        let (mut home, opened) = open_data(home, &seams, cache, slots, options.segment_bytes).await?;
        let (shard, name, inc) = match home.identification() {
            Some(known) => (known.shard, known.name.clone(), known.inc.clone()),
            None => return Err(StartError::Misfit("the replica's folder lost its identification".into())),
        };
        let process = Primary {
            name: name.clone(),
            run: format!("{:016x}", seams.chance.next_u64()),
            address: options.address.clone(),
        };
        let register = loop {
            match join::lead(&*session, &mut home, shard, &process, &options.wishes).await {
                // Opening the data may have taken longer than the session lasts.
                Err(StartError::Coordinator(error)) if error.is_over() => {
                    tracing::warn!(shard, %error, "cannot take the lead yet; opening a new session");
                    session = open_session(&*seams.coordinator, options.session_timeout).await;
                }
                Err(StartError::Coordinator(error)) if error.is_passing() => {
                    tracing::warn!(shard, %error, "cannot take the lead yet");
                    tokio::time::sleep(Duration::from_millis(COORDINATOR_PAUSE_MS)).await;
                }
                outcome => break outcome?,
            }
        };
        tracing::info!(
            shard,
            name,
            epoch = register.epoch,
            replayed = opened.replayed_count,
            durability = %register.durability,
            "leads its shard"
        );

        let member = MemberRecord {
            name: process.name.clone(),
            run: process.run.clone(),
            inc,
            role: Role::Worker,
            address: options.address.clone(),
            shard: Some(shard),
            zone: options.zone.clone(),
        };
        let view = Arc::new(ClusterView::start(session.clone()));
        let table = Arc::new(cluster.table()?);
        let shared = Arc::new(Shard::new(
            shard,
            Member { name: process.name.clone(), run: process.run.clone(), address: process.address.clone() },
            opened.engine.clone(),
            opened.cache,
            seams.runner.clone(),
            Ownership::new(table, shard, register.epoch),
            seams.clock.clone(),
        ));
        let mut committer = Committer::new(Parts {
            shard: shared.clone(),
            replica: opened.replica,
            log: opened.log,
            epoch: register.epoch,
            settings: Settings {
                durability: register.durability,
                checkpoint_bytes: options.checkpoint_bytes,
                dir: options.dir.clone(),
            },
            clock: seams.clock.clone(),
            disk: seams.disk.clone(),
            engine: opened.engine,
            runner: seams.runner.clone(),
            lock: home.into_lock(),
        });
        committer.commit_barrier().await?;

        let (end, ended) = watch::channel(None);
        let committing = shared.clone();
        seams
            .runner
            .dedicated(format!("shard-{shard}"), async move {
                let outcome = committer.run().await;
                let text = match outcome {
                    Ok(()) => String::new(),
                    Err(error) => {
                        tracing::error!(shard, %error, "the shard stops");
                        error.to_string()
                    }
                };
                committing.stop((Code::ShuttingDown, format!("shard {shard} has stopped: {text}")));
                if !committing.is_aborted() {
                    committing.queue().refuse_rest();
                }
                end.send_replace(Some(text));
            })
            .map_err(|error| StartError::Misfit(format!("no thread for shard {shard}: {error}")))?;

        let following = tokio::spawn(follow(view.clone(), shared.clone(), process, register.epoch));
        shared.serve();
        membership::join(&*session, &member).await.or_else(passing)?;
        let (session_sender, session_receiver) = watch::channel(session);
        let membership = tokio::spawn(stay(
            seams.coordinator,
            options.session_timeout,
            session_sender,
            view.clone(),
            member.clone(),
        ));
        Ok(Worker { shard: shared, view, ended, membership, following, session: session_receiver, member })
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

    /// Serves one stream without gRPC, as the simulator does.
    pub fn serve_stream<S>(&self, input: S) -> Session<S>
    where
        S: Stream<Item = Result<ClientFrame, Status>> + Unpin,
    {
        Session::new(self.shard.clone(), input)
    }

    /// Waits until the worker has stopped by itself, and says why. What it had acknowledged is on the disk.
    pub async fn failed(&self) -> String {
        let mut ended = self.ended.clone();
        let text = ended.wait_for(Option::is_some).await.ok().and_then(|text| text.clone());
        text.unwrap_or_else(|| "the committer was dropped".into())
    }

    /// Refuses new requests, commits those under way, makes everything durable, leaves the cluster. Bounded in time.
    pub async fn shutdown(self) {
        let shard = self.shard.id();
        self.shard.stop((Code::ShuttingDown, format!("the worker of shard {shard} is stopping")));
        self.following.abort();
        let stopped = tokio::time::timeout(Duration::from_millis(STOP_MS_MAX), self.failed()).await;
        if stopped.is_err() {
            tracing::error!(shard, "writes under way were not finished within {STOP_MS_MAX} ms");
        }
        self.membership.abort();
        let session = self.session.borrow().clone();
        let leaving = async {
            if let Err(error) = membership::leave(&*session, &self.member).await {
                tracing::warn!(%error, "left without telling the coordinator");
            }
            session.close().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(LEAVE_MS_MAX), leaving).await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shard.stop((Code::ShuttingDown, "the worker was dropped".into()));
        self.following.abort();
        self.membership.abort();
    }
}

/// Opens the data where it holds up nothing else: it may take longer than a session with the coordinator lasts.
async fn open_data(
    mut home: Home,
    seams: &Seams,
    cache: Arc<RowCache>,
    slots: SlotCount,
    segment_bytes: u64,
) -> Result<(Home, Opened), StartError> {
    let (open_engine, chance) = (seams.open_engine.clone(), seams.chance.clone());
    let (sender, receiver) = oneshot::channel();
    let opening = async move {
        let opened = home.open(&open_engine, cache, slots, segment_bytes, &*chance).await;
        let _ = sender.send(opened.map(|opened| (home, opened)));
    };
    let begun = seams.runner.dedicated("open".into(), opening);
    begun.map_err(|error| StartError::Misfit(format!("no thread to open the data: {error}")))?;
    receiver.await.map_err(|_| StartError::Misfit("opening the data was not finished".into()))?
}

fn check_options(options: &Options) -> Result<(), StartError> {
    if let Some(weight) = options.wishes.weight.filter(|weight| !(weight.is_finite() && *weight >= 0.0)) {
        let limit = "a weight is a finite number from 0 on".into();
        return Err(StartError::OutOfBounds { what: "weight", found: weight.to_string(), limit });
    }
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

/// Refuses a shard that another replica holds, before the folder is bound to it.
async fn check_free(session: &dyn CoordinatorSession, shard: ShardId, name: &str) -> Result<(), StartError> {
    let path = paths::shard(shard);
    let Some(node) = session.get(&path).await? else { return Ok(()) };
    let register = ShardRegister::decode(&path, &node.data)?;
    match register.isr.first() {
        Some(holder) if holder.name == name => {
            Err(StartError::DataMissing { shard, name: name.into(), inc: holder.inc.clone() })
        }
        Some(holder) => Err(StartError::Taken { shard, holder: holder.name.clone(), name: name.into() }),
        None => Ok(()),
    }
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

/// Gives the shard every newer slot table, and stops it when another process has taken the lead.
async fn follow(view: Arc<ClusterView>, shard: Arc<Shard>, process: Primary, epoch: u64) {
    let mut views = view.views();
    let mut wanted = shard.wanted_version();
    loop {
        let now = views.borrow_and_update().clone();
        if let Some(table) = now.table.clone() {
            shard.set_ownership(Ownership::new(table, shard.id(), epoch));
        }
        if let Some(known) = now.shards.get(&shard.id())
            && known.register.epoch > epoch
        {
            let (id, register) = (shard.id(), &known.register);
            let leader = register.primary.as_ref().map_or("nobody", |primary| primary.name.as_str());
            tracing::error!(shard = id, epoch = register.epoch, leader, run = process.run, "was deposed");
            let text = format!("shard {id} is led by {leader} in epoch {}", register.epoch);
            shard.stop((Code::NotPrimary, text));
            return;
        }
        tokio::select! {
            biased;
            changed = views.changed() => if changed.is_err() { return },
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                wanted.borrow_and_update();
                if let Err(error) = view.refresh().await {
                    tracing::debug!(%error, "cannot catch up with a client");
                }
            }
        }
    }
}

/// Keeps the process a member: when its session is over, it opens a new one and joins again.
async fn stay(
    coordinator: Arc<dyn Coordinator>,
    timeout: Duration,
    sessions: watch::Sender<Arc<dyn CoordinatorSession>>,
    view: Arc<ClusterView>,
    member: MemberRecord,
) {
    loop {
        let session = sessions.borrow().clone();
        let joined = membership::join(&*session, &member).await;
        match joined {
            Ok(()) => {
                let mut states = session.state();
                let _ = states.wait_for(|state| state.is_final()).await;
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
