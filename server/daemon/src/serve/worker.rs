//! A worker with its gRPC server.

use std::{sync::Arc, time::Duration};

use slotkv_coordination::{Coordinator, View};
use slotkv_master::MasterService;
use slotkv_proto::{
    Code,
    limits::FRAME_BYTES_MAX,
    seam::{SystemChance, SystemClock},
    v1::master_server::MasterServer as MasterGrpc,
};
use slotkv_storage::{Disk, FjallEngines, fjall_engine::FjallOptions};
use slotkv_worker::{GrpcPeers, Options, Runner, Seams, Standby, Worker};
use tokio::sync::{oneshot, watch};

use super::{
    ServeError,
    grpc::{Services, Serving},
    listen::Listening,
};

/// A worker that serves `Store`, and `Master` from its own copy of the slot table. Dropping it ends it as a crash would.
pub struct WorkerServer {
    worker: Worker,
    serving: Serving,
    address: String,
}

impl WorkerServer {
    /// Starts a worker and its server on the present runtime. What `options` say of the address is replaced by what
    /// `listening` advertises. Waits for the coordinator and the first master as long as it takes, and a standby for its
    /// place; until then a standby serves `Master`, and calls `stands_by` when it does.
    pub async fn start(
        mut options: Options,
        listening: Listening,
        connections_max: usize,
        seams: Seams,
        stands_by: impl FnOnce(Standby),
    ) -> Result<Self, ServeError> {
        let address = listening.advertise().to_owned();
        options.address = address.clone();
        let (tell, told) = oneshot::channel();
        let standby = async {
            let Ok(standby): Result<Standby, _> = told.await else { return std::future::pending().await };
            let serving = serve_standby(standby.view(), listening.again()?, connections_max).await?;
            stands_by(standby);
            // Until it has a place. Its callers connect again then, and find the rest.
            std::future::pending::<()>().await;
            drop(serving);
            Ok(())
        };
        let worker = tokio::select! {
            biased;
            worker = Worker::start_or_stand_by(options, seams, |standby| drop(tell.send(standby))) => worker?,
            Err(error) = standby => return Err(error),
        };
        let (store, peers) = (worker.store_server(), worker.peer_server());
        let table = table_server(worker.view());
        let names = &["slotkv.v1.Store", "slotkv.v1.Master", "slotkv.v1.Replication"];
        let services = Services::new(names, |routes| {
            routes.add_service(store).add_service(table).add_service(peers);
        });
        let serving = services.serve(listening, connections_max).await?;
        worker.placed().await?;
        Ok(Self { worker, serving, address })
    }

    /// `host:port` that others reach it by.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The worker itself.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Waits until the worker has stopped by itself, as after a failed sync, and says why.
    pub async fn failed(&self) -> String {
        self.worker.failed().await
    }

    /// Finishes and syncs the requests under way, leaves the cluster, then closes the connections. Replies have
    /// `patience` to reach their clients.
    pub async fn shutdown(self, patience: Duration) {
        self.serving.announce_stop().await;
        self.worker.shutdown().await;
        self.serving.stop(patience).await;
    }

    /// Ends as a crash would: connections break, writes under way stay unanswered, the coordinator is told nothing. The
    /// data folder is free when this returns.
    pub async fn kill(self) {
        drop(self.serving);
        self.worker.shard().abort((Code::ShuttingDown, "the worker was killed".into()));
        self.worker.failed().await;
    }
}

/// The slot table of a worker that has no place yet, once it is known.
async fn serve_standby(
    mut view: watch::Receiver<Arc<View>>,
    listening: Listening,
    connections_max: usize,
) -> Result<Serving, ServeError> {
    if view.wait_for(|view| view.table.is_some()).await.is_err() {
        return std::future::pending().await;
    }
    let table = table_server(view);
    let services = Services::new(&["slotkv.v1.Master"], |routes| {
        routes.add_service(table);
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
