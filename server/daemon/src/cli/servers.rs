//! `dev`, `master` and `worker`: a server from its flags to its end.
//!
//! One line `ready slotkv://HOST:PORT` on stdout when it serves: a standby, when it is registered and gives the slot table.
//! The first SIGTERM or SIGINT asks for an orderly stop, which `--shutdown` bounds; a second one ends the process at once.

use std::{
    cell::Cell,
    future::Future,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use slotkv_coordination::uri;
use slotkv_master::MasterOptions;
use slotkv_proto::{SlotCount, seam::SystemChance};
use slotkv_storage::RealDisk;
use slotkv_worker::{Options as WorkerOptions, Standby, StartError};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

use super::{
    descriptors,
    exit::{Exit, Failure},
    flags::{DevFlags, MasterFlags, ServerFlags, WorkerFlags},
    memory,
};
use crate::{
    dev::{Dev, DevError, DevOptions},
    metrics::{Board, Endpoint, Serving, Source},
    serve::{
        ListenError, Listening, MasterServer, ServeError, WorkerServer,
        leave::leave,
        worker::{StandsBy, seams},
    },
    signals::{self, Stop},
};

/// Ports that `--listen HOST` alone means.
const MASTER_PORT: u16 = 7700;
const WORKER_PORT: u16 = 7710;
/// How long replies may take to reach their clients, and others' calls to end, at an orderly stop.
const REPLIES_WAIT: Duration = Duration::from_millis(500);
/// How long threads for long work may hold up the end.
const THREADS_WAIT: Duration = Duration::from_secs(1);

/// `slotkv dev`.
pub(crate) fn dev(flags: DevFlags) -> Result<Exit, Failure> {
    let runtime = runtime(Builder::new_current_thread())?;
    let mut options = dev_options(&flags)?;
    let members = options.masters + options.workers();
    options.connections_max = descriptors::connections_max(options.connections_max, members);
    finish(runtime, async {
        let stop = stop_requested()?;
        tokio::pin!(stop);
        let dev = tokio::select! {
            biased;
            name = &mut stop => return Ok(stopped_early(name)),
            dev = Dev::start(options) => dev.map_err(dev_failure)?,
        };
        let addresses = dev.master_addresses();
        ready(&addresses[0])?;
        tracing::info!(masters = ?addresses, workers = ?dev.worker_addresses(), folder = %dev.folder().display(), "serves");
        let failed = tokio::select! {
            biased;
            name = &mut stop => {
                tracing::info!("{name}: stops");
                None
            }
            why = dev.failed() => Some(why),
        };
        bounded(flags.server.shutdown, dev.shutdown()).await?;
        failed.map_or(Ok(End::Done), |why| Err(Failure::failed(why)))
    })
    .map(|_| Exit::Done)
}

fn dev_options(flags: &DevFlags) -> Result<DevOptions, Failure> {
    let advertise = flags.server.advertise.clone();
    if advertise
        .as_ref()
        .is_some_and(|host| host.contains(':') && !host.ends_with(']') && host.matches(':').count() == 1)
    {
        return Err(Failure::usage(
            "--advertise: here a host without a port; each member has a port of its own",
        ));
    }
    Ok(DevOptions {
        port: flags.port,
        listen: flags.listen,
        advertise,
        shards: flags.shards as usize,
        replicas: flags.replicas as usize,
        ack: flags.ack,
        slots: flags.cluster.slots,
        data: flags.data.clone(),
        durability: flags.store.durability,
        cache_bytes: memory(flags.store.cache_bytes)?,
        engine_cache_bytes: flags.store.engine_cache_bytes,
        check_interval: flags.store.check_interval,
        session_timeout: flags.server.session,
        connections_max: flags.server.connections_max,
        metrics: flags.server.metrics.clone(),
        ..DevOptions::default()
    })
}

fn dev_failure(error: DevError) -> Failure {
    match error {
        DevError::Option(_) | DevError::Folder { .. } => Failure::usage(error),
        DevError::Metrics(error) => metrics_failure(error),
        error => Failure::failed(error),
    }
}

/// `slotkv master`.
pub(crate) fn master(flags: MasterFlags) -> Result<Exit, Failure> {
    let coordinator = uri::parse(&flags.coordinator).map_err(Failure::usage)?;
    let slot_count = SlotCount::new(flags.cluster.slots).ok_or_else(|| {
        Failure::usage(format_args!("--slots {}: wants a power of two up to 16384", flags.cluster.slots))
    })?;
    let runtime = runtime(Builder::new_current_thread())?;
    let program = Program::new()?;
    let end = finish(runtime, async {
        let stop = stop_requested()?;
        tokio::pin!(stop);
        let listening = listen(&flags.listen, MASTER_PORT, flags.server.advertise.as_deref())?;
        let options = MasterOptions {
            slot_count,
            placement: flags.placement.clone(),
            session_timeout: flags.server.session,
            ..MasterOptions::new("", flags.shards)
        };
        let board = Board::default();
        let _metrics = metrics(&flags.server, &board)?;
        let connections_max = descriptors::connections_max(flags.server.connections_max, 1);
        let server =
            MasterServer::start(options, listening, connections_max, coordinator, Arc::new(SystemChance))
                .await
                .map_err(serve_failure)?;
        let _shown = board.show(server.source());
        let served = async {
            server.ready().await;
            ready(server.address())?;
            std::future::pending().await
        };
        let end = tokio::select! {
            biased;
            name = &mut stop => {
                tracing::info!("{name}: stops");
                End::Done
            }
            () = server.restart_wished() => End::Again,
            failed = served => return failed,
        };
        bounded(flags.server.shutdown, server.shutdown(REPLIES_WAIT)).await?;
        Ok(end)
    });
    program.go_on(end)
}

/// `slotkv worker`.
pub(crate) fn worker(flags: WorkerFlags) -> Result<Exit, Failure> {
    let coordinator = uri::parse(&flags.coordinator).map_err(Failure::usage)?;
    let mut builder = match flags.threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(flags.threads as usize);
    let runtime = runtime(builder)?;
    let cache_bytes = memory(flags.store.cache_bytes)?;
    let program = Program::new()?;
    let end = finish(runtime, async {
        let mut stop = Stop::new().map_err(signals_failure)?;
        let listening = listen(&flags.listen, WORKER_PORT, flags.server.advertise.as_deref())?;
        let board = Board::default();
        let _metrics = metrics(&flags.server, &board)?;
        let mut options = WorkerOptions::new(&flags.data, "");
        options.name = flags.name.clone();
        options.shard = flags.shard;
        options.standby_after = flags.standby.then_some(flags.standby_after);
        options.zone = flags.zone.clone();
        options.wishes.durability = flags.store.durability;
        options.wishes.weight = flags.weight;
        options.wishes.replicas = flags.replicas;
        options.wishes.ack = flags.ack;
        options.wishes.min_isr = flags.min_isr;
        options.cache_bytes = cache_bytes;
        options.checkpoint_bytes = flags.checkpoint_bytes;
        options.retain_bytes = flags.retain_bytes;
        options.migration.rate_max = flags.move_rate;
        options.session_timeout = flags.server.session;
        options.replication.check_us = flags.store.check_interval.as_micros() as u64;
        let seams = seams(coordinator, Arc::new(RealDisk::new()), flags.store.engine_cache_bytes);
        let connections_max = descriptors::connections_max(flags.server.connections_max, 1);
        // A standby is ready before it has a place, and has no second line when it takes one.
        let address = listening.advertise().to_owned();
        let waits = Cell::new(None);
        let (tell, told) = oneshot::channel();
        let stands_by = |StandsBy { standby, process }| {
            let shown = board.show(Source::standby(&standby));
            waits.set(Some((ready(&address), standby, shown)));
            let _ = tell.send(process);
        };
        let restart_wished = async {
            match told.await {
                Ok(process) => process.restart_wished().await,
                // It has a place, or none to wait for.
                Err(_) => std::future::pending().await,
            }
        };
        let mut server = tokio::select! {
            biased;
            name = stop.requested() => {
                leave_standby(waits.take()).await;
                return Ok(stopped_early(name));
            }
            () = restart_wished => {
                leave_standby(waits.take()).await;
                return Ok(End::Again);
            }
            started = WorkerServer::start(options, listening, connections_max, seams, stands_by) => {
                started.map_err(serve_failure)?
            }
        };
        let _shown = board.show(server.source());
        waits.take().map_or_else(|| ready(server.address()), |(said, ..)| said)?;
        let process = server.process().clone();
        let end = loop {
            tokio::select! {
                biased;
                name = stop.requested() => {
                    let left = async { if flags.drain { leave(&server).await } else { Ok(()) } };
                    let left = tokio::select! {
                        left = left => left,
                        () = stop.insisted() => continue,
                    };
                    match left {
                        Ok(()) => tracing::info!("{name}: stops"),
                        Err(why) => {
                            tracing::error!("{name}: stays, since it cannot leave: {why}");
                            continue;
                        }
                    }
                    break Ok(End::Done);
                }
                () = process.restart_wished() => break Ok(End::Again),
                why = server.failed() => {
                    break Err(Failure::failed(format_args!("the worker had to stop: {why}")));
                }
            }
        };
        tokio::spawn(async move { stop.insisted().await });
        bounded(flags.server.shutdown, server.shutdown(REPLIES_WAIT)).await?;
        end
    });
    program.go_on(end)
}

/// Leaves the cluster, if it waits for a place.
async fn leave_standby<S, T>(waits: Option<(S, Standby, T)>) {
    if let Some((_, standby, _)) = waits {
        standby.leave().await;
    }
}

/// How a server ends that did not fail.
enum End {
    Done,
    /// It is to be executed anew.
    Again,
}

/// What this process executes. Found out at its start: the file may be another one later.
struct Program(std::path::PathBuf);

impl Program {
    fn new() -> Result<Self, Failure> {
        let program = std::env::current_exe();
        program.map(Self).map_err(|error| Failure::io("cannot find the program of this process", error))
    }

    /// Ends the command, or executes the program again, with the same arguments and variables.
    fn go_on(self, end: Result<End, Failure>) -> Result<Exit, Failure> {
        match end? {
            End::Done => Ok(Exit::Done),
            End::Again => Err(self.execute()),
        }
    }

    #[cfg(unix)]
    fn execute(self) -> Failure {
        use std::os::unix::process::CommandExt;
        tracing::info!(program = %self.0.display(), "executes its program anew");
        let error = std::process::Command::new(&self.0).args(std::env::args_os().skip(1)).exec();
        Failure::io(format_args!("cannot execute {}", self.0.display()), error)
    }

    #[cfg(not(unix))]
    fn execute(self) -> Failure {
        Failure::failed(format_args!("this system cannot execute {} anew", self.0.display()))
    }
}

fn runtime(mut builder: Builder) -> Result<Runtime, Failure> {
    memory::without_huge_pages();
    builder.enable_all().build().map_err(|error| Failure::io("cannot start the runtime", error))
}

/// Runs a server to its end; threads that still work do not hold up the process for long.
fn finish(runtime: Runtime, run: impl Future<Output = Result<End, Failure>>) -> Result<End, Failure> {
    let outcome = runtime.block_on(run);
    runtime.shutdown_timeout(THREADS_WAIT);
    outcome
}

fn stop_requested() -> Result<impl Future<Output = &'static str>, Failure> {
    signals::stop_requested().map_err(signals_failure)
}

fn signals_failure(error: io::Error) -> Failure {
    Failure::io("cannot wait for signals", error)
}

fn stopped_early(name: &str) -> End {
    tracing::info!("{name}: stops before it served");
    End::Done
}

fn listen(listen: &str, default_port: u16, advertise: Option<&str>) -> Result<Listening, Failure> {
    Listening::bind(listen, default_port, advertise).map_err(|error| serve_failure(error.into()))
}

/// The port of the metrics, if one is asked for, and whoever is on the board.
fn metrics(flags: &ServerFlags, board: &Board) -> Result<Option<Serving>, Failure> {
    let Some(at) = &flags.metrics else { return Ok(None) };
    let endpoint = Endpoint::bind(at).map_err(metrics_failure)?;
    let serving = endpoint.serve(board.clone());
    serving.map(Some).map_err(|error| Failure::io("cannot serve metrics", error))
}

fn metrics_failure(error: ListenError) -> Failure {
    let Failure { exit, message } = serve_failure(error.into());
    Failure { exit, message: format!("--metrics: {message}") }
}

fn serve_failure(error: ServeError) -> Failure {
    match error {
        ServeError::Listen(ListenError::Bind { .. }) => Failure::failed(error),
        ServeError::Listen(_)
        | ServeError::Master(_)
        | ServeError::Worker(StartError::OutOfBounds { .. }) => Failure::usage(error),
        error => Failure::failed(error),
    }
}

fn memory(bytes: u64) -> Result<usize, Failure> {
    usize::try_from(bytes)
        .map_err(|_| Failure::usage(format_args!("{bytes} bytes are more than this machine can name")))
}

/// The one line on stdout. A parent that does not read it is no reason to stop.
fn ready(address: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "ready slotkv://{address}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("cannot write to stdout", error))
        }
        _ => Ok(()),
    }
}

async fn bounded(limit: Duration, stop: impl Future<Output = ()>) -> Result<(), Failure> {
    tokio::time::timeout(limit, stop).await.map_err(|_| {
        Failure::failed(format_args!("the orderly stop took longer than {limit:?} (--shutdown)"))
    })
}
