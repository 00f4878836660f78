//! A worker with its gRPC server.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use slotkv_coordination::{Coordinator, View};
use slotkv_master::MasterService;
use slotkv_proto::{
    Code,
    limits::FRAME_BYTES_MAX,
    seam::{SystemChance, SystemClock},
    table::ShardId,
    v1::master_server::MasterServer as MasterGrpc,
};
use slotkv_storage::{Disk, FjallEngines, fjall_engine::FjallOptions, threads};
use slotkv_worker::{Ended, GrpcPeers, Options, Runner, Seams, Standby, Worker};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{oneshot, watch},
    time::Instant,
};

use super::{
    Process, ServeError,
    grpc::{Services, Serving},
    listen::Listening,
};
use crate::metrics::{Source, WorkerState};

/// A replica that had to stop is begun anew after this pause; each further time the pause is doubled.
const ANEW_PAUSE: Duration = Duration::from_millis(100);
/// So often at most, one after the other. Then the process ends: what stands in the way does not go away by itself.
const ANEW_COUNT_MAX: u32 = 8;
/// A replica that has run for so long is not one after the other any more.
const ANEW_FORGOTTEN: Duration = Duration::from_secs(60);

/// A worker that serves `Store`, and `Master` from its own copy of the slot table. Dropping it ends it as a crash would.
pub struct WorkerServer {
    /// `None` while the replica is begun anew, and once that cannot be done.
    running: Option<Running>,
    listening: Listening,
    options: Options,
    connections_max: usize,
    seams: Seams,
    attempts: u32,
    begun: Instant,
    /// For metrics.
    state: watch::Sender<WorkerState>,
    process: Process,
}

/// A worker that stands by, while its start goes on.
pub struct StandsBy {
    /// What it knows and is called.
    pub standby: Standby,
    /// Which process it is; the same one once it has a place.
    pub process: Process,
}

struct Running {
    worker: Worker,
    serving: Serving,
}

impl WorkerServer {
    /// Starts a worker and its server on the present runtime. What `options` say of the address is replaced by what
    /// `listening` advertises. Waits for the coordinator and the first master as long as it takes, and a standby for its
    /// place; until then a standby serves `Master` and `Process`, and calls `stands_by` when it does.
    pub async fn start(
        mut options: Options,
        listening: Listening,
        connections_max: usize,
        seams: Seams,
        stands_by: impl FnOnce(StandsBy),
    ) -> Result<Self, ServeError> {
        // Of several threads one is as good as another, and those for long work are among them.
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            threads::serves();
        }
        options.address = listening.advertise().to_owned();
        let (tell, told) = oneshot::channel();
        let process = OnceLock::new();
        let process_of =
            |name: &str| process.get_or_init(|| Process::new("worker", name, &*seams.chance)).clone();
        let standby = async {
            let Ok(standby): Result<Standby, _> = told.await else { return std::future::pending().await };
            let process = process_of(standby.name());
            let again = listening.again()?;
            let serving = serve_standby(standby.view(), again, connections_max, &process).await?;
            stands_by(StandsBy { standby, process });
            // Until it has a place. Its callers connect again then, and find the rest.
            std::future::pending::<()>().await;
            drop(serving);
            Ok(())
        };
        let (first, told_by) = (options.clone(), |standby| drop(tell.send(standby)));
        let worker = tokio::select! {
            biased;
            worker = Worker::start_or_stand_by(first, seams.clone(), told_by) => worker?,
            Err(error) = standby => return Err(error),
        };
        let process = process_of(&worker.shard().member().name);
        let running = Running::serve(worker, &listening, connections_max, &process).await?;
        running.worker.placed().await?;
        let (attempts, begun) = (0, Instant::now());
        let state = watch::Sender::new(running.state());
        let running = Some(running);
        Ok(Self { running, listening, options, connections_max, seams, attempts, begun, state, process })
    }

    /// `host:port` that others reach it by.
    pub fn address(&self) -> &str {
        self.listening.advertise()
    }

    /// What it tells whoever watches it, also while its replica is begun anew.
    pub fn source(&self) -> Source {
        Source::Worker(self.state.subscribe())
    }

    /// Its shard and its name, and the masters that it knows of; `None` while its replica is begun anew.
    pub(crate) fn place(&self) -> Option<(ShardId, String, Vec<String>)> {
        let worker = &self.running.as_ref()?.worker;
        let shard = worker.shard();
        Some((shard.id(), shard.member().name.clone(), worker.view().borrow().masters.clone()))
    }

    /// Says to people and to the other copies that this one is about to leave, or stays.
    pub(crate) fn announce_leave(&self, is_leaving: bool) {
        if let Some(Running { worker, .. }) = &self.running {
            worker.shard().announce_leave(is_leaving);
        }
    }

    /// Which process it is.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until the worker has to stop, as after a failed sync, and says why. A replica that gives its data up, or that
    /// halts, is begun anew meanwhile, as another process would be; its connections break.
    pub async fn failed(&mut self) -> String {
        loop {
            let Some(running) = &self.running else { return std::future::pending().await };
            let Ended { why, begins_anew } = running.worker.ended().await;
            if self.begun.elapsed() >= ANEW_FORGOTTEN {
                self.attempts = 0;
            }
            if !begins_anew || self.attempts >= ANEW_COUNT_MAX {
                return why;
            }
            if let Err(error) = self.begin_anew(&why).await {
                return format!("{why}; it cannot be begun anew: {error}");
            }
        }
    }

    async fn begin_anew(&mut self, why: &str) -> Result<(), ServeError> {
        let Some(Running { worker, serving }) = self.running.take() else { return Ok(()) };
        let (shard, mut health) = (worker.shard().id(), worker.shard().standing().borrow().health.clone());
        health.restarts += 1;
        let name = worker.shard().member().name.clone();
        self.state.send_replace(WorkerState::BeginsAnew { shard, name, health: health.clone() });
        self.options.health = health;
        drop(serving);
        worker.shutdown().await;
        loop {
            let pause = ANEW_PAUSE * 2_u32.pow(self.attempts);
            self.attempts += 1;
            tracing::warn!(shard, why, attempt = self.attempts, ?pause, "the replica is begun anew");
            tokio::time::sleep(pause).await;
            let Self { options, listening, connections_max, seams, process, .. } = &*self;
            let started = async {
                let worker = Worker::start(options.clone(), seams.clone()).await?;
                Running::serve(worker, listening, *connections_max, process).await
            };
            match started.await {
                Ok(running) => {
                    tracing::info!(shard, "the replica runs again");
                    self.state.send_replace(running.state());
                    self.running = Some(running);
                    self.begun = Instant::now();
                    return Ok(());
                }
                // What streams that are not through yet hold of the former one, as its engine, is in the way.
                Err(error) if self.attempts < ANEW_COUNT_MAX => tracing::warn!(shard, %error, "not yet"),
                Err(error) => return Err(error),
            }
        }
    }

    /// Finishes and syncs the requests under way, leaves the cluster, then closes the connections. Replies have
    /// `patience` to reach their clients.
    pub async fn shutdown(self, patience: Duration) {
        let Some(Running { worker, serving }) = self.running else { return };
        drop(self.listening);
        serving.announce_stop().await;
        worker.shutdown().await;
        serving.stop(patience).await;
    }

    /// Ends as a crash would: connections break, writes under way stay unanswered, the coordinator is told nothing. The
    /// data folder is free when this returns.
    pub async fn kill(self) {
        let Some(Running { worker, serving }) = self.running else { return };
        drop((serving, self.listening));
        worker.shard().abort((Code::ShuttingDown, "the worker was killed".into()));
        worker.failed().await;
    }
}

impl Running {
    async fn serve(
        worker: Worker,
        listening: &Listening,
        connections_max: usize,
        process: &Process,
    ) -> Result<Self, ServeError> {
        let (store, peers, bridge) = (worker.store_server(), worker.peer_server(), worker.bridge_server());
        let table = table_server(worker.view());
        let names = &[
            "slotkv.v1.Store",
            "slotkv.v1.Master",
            "slotkv.v1.Replication",
            "slotkv.v1.Handover",
            "slotkv.v1.Process",
        ];
        let services = Services::new(names, |routes| {
            routes.add_service(store).add_service(table).add_service(peers);
            routes.add_service(bridge).add_service(process.server());
        });
        let serving = services.serve(listening.again()?, connections_max).await?;
        Ok(Self { worker, serving })
    }

    fn state(&self) -> WorkerState {
        WorkerState::Runs { shard: Arc::downgrade(self.worker.shard()), view: self.worker.view() }
    }
}

/// What a worker gives that has no place yet: the slot table, once it is known, and which process it is.
async fn serve_standby(
    mut view: watch::Receiver<Arc<View>>,
    listening: Listening,
    connections_max: usize,
    process: &Process,
) -> Result<Serving, ServeError> {
    if view.wait_for(|view| view.table.is_some()).await.is_err() {
        return std::future::pending().await;
    }
    let table = table_server(view);
    let services = Services::new(&["slotkv.v1.Master", "slotkv.v1.Process"], |routes| {
        routes.add_service(table).add_service(process.server());
    });
    Ok(services.serve(listening, connections_max).await?)
}

fn table_server(view: watch::Receiver<Arc<View>>) -> MasterGrpc<MasterService> {
    MasterGrpc::new(MasterService::new(view)).max_encoding_message_size(FRAME_BYTES_MAX)
}

/// The machine's clock and chance, with a coordinator and a disk that the caller may choose; long work runs on threads
/// beside the present runtime. The engine is fjall with a block cache of `engine_cache_bytes`.
pub fn seams(coordinator: Arc<dyn Coordinator>, disk: Arc<dyn Disk>, engine_cache_bytes: u64) -> Seams {
    Seams {
        coordinator,
        disk,
        engines: Arc::new(FjallEngines::new(FjallOptions {
            cache_bytes: engine_cache_bytes,
            ..FjallOptions::default()
        })),
        clock: Arc::new(SystemClock),
        chance: Arc::new(SystemChance),
        runner: Runner::Threads(tokio::runtime::Handle::current()),
        peers: Arc::new(GrpcPeers),
    }
}
