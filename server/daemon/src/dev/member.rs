//! One member of a `dev` cluster, on a thread and a runtime of its own: what blocks in one holds up no other, and the
//! end of the thread is the end of everything the member had.

use std::{future::Future, sync::Arc, time::Duration};

use slotkv_coordination::Coordinator;
use slotkv_master::MasterOptions;
use slotkv_proto::seam::SystemChance;
use slotkv_storage::RealDisk;
use slotkv_worker::Options as WorkerOptions;
use tokio::{
    runtime::Builder,
    sync::{oneshot, watch},
};

use crate::{
    metrics::Board,
    serve::{Listening, MasterServer, ServeError, WorkerServer, worker::seams},
};

/// How long replies may take to reach their clients at an orderly stop.
const REPLIES_WAIT: Duration = Duration::from_millis(300);
/// How long threads for long work may go on when the member has ended.
const THREADS_WAIT: Duration = Duration::from_secs(5);

/// What a member is.
#[derive(Clone)]
pub(super) enum Role {
    Master(MasterOptions),
    Worker { options: Box<WorkerOptions>, engine_cache_bytes: u64 },
}

/// What a member is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Will {
    Run,
    Stop,
    Die,
}

/// A member's thread.
pub(super) struct Member {
    address: String,
    will: watch::Sender<Will>,
    /// Once the thread is through: why, if nobody wanted it.
    ended: watch::Receiver<Option<Ended>>,
}

#[derive(Clone, Debug)]
struct Ended {
    why: Option<String>,
}

impl Member {
    /// Starts a member; it is reported when it serves, or why it does not.
    pub fn start(
        role: Role,
        listening: Listening,
        connections_max: usize,
        coordinator: Arc<dyn Coordinator>,
        board: Board,
    ) -> Result<(Self, impl Future<Output = Result<(), ServeError>> + use<>), ServeError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let name = match &role {
            Role::Master(_) => format!("master-{}", listening.advertise()),
            Role::Worker { .. } => format!("worker-{}", listening.advertise()),
        };
        let address = listening.advertise().to_owned();
        let (will, told) = watch::channel(Will::Run);
        let (started, starts) = oneshot::channel();
        let (ends, ended) = watch::channel(None);
        let run = move || {
            let running = run(role, listening, connections_max, coordinator, board, told, started);
            let why = runtime.block_on(running);
            runtime.shutdown_timeout(THREADS_WAIT);
            ends.send_replace(Some(Ended { why }));
        };
        std::thread::Builder::new().name(name).spawn(run)?;
        let starting = async {
            starts
                .await
                .unwrap_or_else(|_| Err(std::io::Error::other("the member's thread has ended").into()))
        };
        Ok((Self { address, will, ended }, starting))
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until it has ended, and says why if nobody wanted it.
    pub async fn failed(&self) -> String {
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        ended.and_then(|ended| ended.why).unwrap_or_else(|| "its thread has ended".to_owned())
    }

    /// Ends it in an orderly way.
    pub async fn stop(self) {
        self.will.send_replace(Will::Stop);
        self.failed().await;
    }

    /// Ends it as a crash would.
    pub async fn kill(self) {
        self.will.send_replace(Will::Die);
        self.failed().await;
    }
}

/// Runs the member to its end; says why if nobody wanted it.
async fn run(
    role: Role,
    listening: Listening,
    connections_max: usize,
    coordinator: Arc<dyn Coordinator>,
    board: Board,
    mut told: watch::Receiver<Will>,
    started: oneshot::Sender<Result<(), ServeError>>,
) -> Option<String> {
    match role {
        Role::Master(options) => {
            let chance = Arc::new(SystemChance);
            let server =
                match MasterServer::start(options, listening, connections_max, coordinator, chance).await {
                    Ok(server) => server,
                    Err(error) => return report(started, error),
                };
            let _shown = board.show(server.source());
            let _ = started.send(Ok(()));
            match will(&mut told).await {
                Will::Die => server.kill(),
                _ => server.shutdown(REPLIES_WAIT).await,
            }
            None
        }
        Role::Worker { options, engine_cache_bytes } => {
            let seams = seams(coordinator, Arc::new(RealDisk::new()), engine_cache_bytes);
            let starting = WorkerServer::start(*options, listening, connections_max, seams, |_| ());
            let server = tokio::select! {
                biased;
                _ = will(&mut told) => return None,
                started = starting => started,
            };
            let mut server = match server {
                Ok(server) => server,
                Err(error) => return report(started, error),
            };
            let _shown = board.show(server.source());
            let _ = started.send(Ok(()));
            let will = tokio::select! {
                biased;
                will = will(&mut told) => will,
                why = server.failed() => return Some(why),
            };
            match will {
                Will::Die => server.kill().await,
                _ => server.shutdown(REPLIES_WAIT).await,
            }
            None
        }
    }
}

/// What the member is to do instead of running. Nobody who could tell any more: die.
async fn will(told: &mut watch::Receiver<Will>) -> Will {
    told.wait_for(|will| *will != Will::Run).await.map_or(Will::Die, |will| *will)
}

fn report(started: oneshot::Sender<Result<(), ServeError>>, error: ServeError) -> Option<String> {
    let why = error.to_string();
    let _ = started.send(Err(error));
    Some(why)
}
