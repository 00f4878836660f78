//! `slotkv bench`: load a data set, run a workload on it, measure.
//!
//! A *part* is one driver with its own share of the operations: with `--runtime current` each has a thread, a runtime
//! and a client of its own; with `multi` they are tasks of one runtime and share a client.

pub(crate) mod chance;
mod data;
mod driver;
mod inbox;
mod measures;
mod plan;
mod report;
mod zipfian;

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use slotkv::Client;
use slotkv_proto::limits::VALUE_BYTES_MAX;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

use self::{
    data::DataSet,
    driver::{Driver, Pace, Shared, Source},
    measures::Measures,
    plan::{Plan, PlanOptions},
    report::Phase,
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::{BenchFlags, RuntimeName},
    },
    client::{connect_with, in_flight, output::Output},
    lines::progress,
    signals,
};

/// How often the progress bar moves.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// `slotkv bench`.
pub(crate) fn bench(flags: BenchFlags) -> Result<Exit, Failure> {
    data_set(&flags)?;
    let watcher = runtime(Builder::new_current_thread())?;
    let mut phases = Vec::new();
    if !flags.run_only {
        phases.push(phase(&flags, &watcher, "load")?);
    }
    let distribution = Plan::new(plan_options(&flags, 0)).distribution();
    let loaded =
        phases.iter().all(|load| load.stopped_by.is_none() && load.measures.operations() == flags.records);
    if !flags.load_only && loaded {
        phases.push(phase(&flags, &watcher, "run")?);
    }
    let mut output = Output::new();
    if flags.client.json {
        let distribution = format!("{distribution:?}").to_lowercase();
        output.line(&report::to_json(&flags, &distribution, &phases).to_string())?;
    } else {
        output.bytes(report::to_text(&phases).as_bytes())?;
    }
    let faults: u64 = phases.iter().map(|phase| phase.measures.faults()).sum();
    let stopped_by = phases.iter().find_map(|phase| phase.stopped_by);
    if let Some(name) = stopped_by {
        eprintln!("slotkv: stopped by {name}");
    }
    output.end(if faults > 0 || stopped_by.is_some() { Exit::Partly } else { Exit::Done })
}

fn data_set(flags: &BenchFlags) -> Result<DataSet, Failure> {
    let value_bytes = usize::try_from(flags.value_bytes).ok().filter(|bytes| *bytes <= VALUE_BYTES_MAX);
    let value_bytes = value_bytes.ok_or_else(|| {
        Failure::usage(format_args!("--value-bytes {}: at most {VALUE_BYTES_MAX}", flags.value_bytes))
    })?;
    let data = DataSet::new(flags.key_bytes as usize, value_bytes, flags.seed);
    let indexes = flags.records.saturating_add(flags.operations.saturating_mul(flags.threads.into()));
    if indexes > data.keys_max() {
        return Err(Failure::usage(format_args!(
            "--key-bytes {}: only {} keys are so long, fewer than records and operations may need",
            flags.key_bytes,
            data.keys_max()
        )));
    }
    Ok(data)
}

fn plan_options(flags: &BenchFlags, part: u64) -> PlanOptions {
    PlanOptions {
        workload: flags.workload,
        distribution: flags.distribution,
        records: flags.records,
        operations: flags.operations / u64::from(flags.threads),
        scan_max: flags.scan_max,
        seed: flags.seed,
        part,
        parts: flags.threads.into(),
    }
}

/// The source and the pace of a part.
fn share(flags: &BenchFlags, phase: &str, part: u64) -> (Source, Pace) {
    let parts = u64::from(flags.threads);
    let of = |whole: u64| whole / parts + u64::from(part < whole % parts);
    let pace = Pace {
        in_flight: of(flags.in_flight.into()).max(1) as usize,
        operations: u64::MAX,
        warm_up: Duration::ZERO,
        time: None,
        interval: None,
    };
    if phase == "load" {
        return (Source::Load { next: part, step: parts, end: flags.records }, pace);
    }
    let interval = flags.rate.map(|rate| Duration::from_secs_f64(parts as f64 / rate as f64));
    let pace =
        Pace { operations: of(flags.operations), warm_up: flags.warm_up, time: flags.time, interval, ..pace };
    (Source::Plan(Plan::new(plan_options(flags, part))), pace)
}

type PartResult = Result<(Measures, Duration), Failure>;

fn phase(flags: &BenchFlags, watcher: &Runtime, name: &'static str) -> Result<Phase, Failure> {
    let shared = Arc::new(Shared::default());
    let stop = {
        let _context = watcher.enter();
        signals::stop_requested().map_err(|error| Failure::io("cannot wait for signals", error))?
    };
    let parts = match flags.runtime {
        RuntimeName::Current => start_threads(flags, name, &shared)?,
        RuntimeName::Multi => start_tasks(flags, name, &shared)?,
    };
    let expected = if name == "load" { flags.records } else { flags.operations };
    let (results, stopped_by) = watcher.block_on(watch(parts, &shared, expected, name, stop));
    let mut measures = Measures::new();
    let mut took = Duration::ZERO;
    for result in results {
        let (part, part_took) = result?;
        measures.add(part);
        took = took.max(part_took);
    }
    let cpu = cpu_time();
    let cpu = cpu.saturating_sub(shared.cpu_before.get().copied().unwrap_or(cpu));
    Ok(Phase { name, measures, took, cpu, stopped_by })
}

/// Each part with a thread, a runtime and a client of its own.
fn start_threads(
    flags: &BenchFlags,
    phase: &'static str,
    shared: &Arc<Shared>,
) -> Result<Vec<oneshot::Receiver<PartResult>>, Failure> {
    let mut parts = Vec::new();
    for part in 0..u64::from(flags.threads) {
        let (to, result) = oneshot::channel();
        let (flags, shared) = (flags.clone(), shared.clone());
        let run = move || {
            let result = runtime(Builder::new_current_thread()).and_then(|runtime| {
                runtime.block_on(async {
                    let client = connect_with(&flags.client, in_flight(flags.in_flight)).await?;
                    let result = run_part(&flags, phase, part, shared, client.clone()).await;
                    client.close().await;
                    result
                })
            });
            let _ = to.send(result);
        };
        let thread = std::thread::Builder::new().name(format!("slotkv-bench-{part}"));
        thread.spawn(run).map_err(|error| Failure::io("cannot start a thread", error))?;
        parts.push(result);
    }
    Ok(parts)
}

/// All parts on one runtime and one client, which end with the last part.
fn start_tasks(
    flags: &BenchFlags,
    phase: &'static str,
    shared: &Arc<Shared>,
) -> Result<Vec<oneshot::Receiver<PartResult>>, Failure> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(flags.threads as usize);
    let runtime = runtime(builder)?;
    let client = runtime.block_on(connect_with(&flags.client, in_flight(flags.in_flight)))?;
    let mut parts = Vec::new();
    let mut tasks = Vec::new();
    for part in 0..u64::from(flags.threads) {
        let (to, result) = oneshot::channel();
        let (flags, shared, client) = (flags.clone(), shared.clone(), client.clone());
        tasks.push(runtime.spawn(async move {
            let _ = to.send(run_part(&flags, phase, part, shared, client).await);
        }));
        parts.push(result);
    }
    let end = move || {
        runtime.block_on(async {
            for task in tasks {
                let _ = task.await;
            }
            client.close().await;
        })
    };
    std::thread::Builder::new()
        .name("slotkv-bench".into())
        .spawn(end)
        .map_err(|error| Failure::io("cannot start a thread", error))?;
    Ok(parts)
}

async fn run_part(
    flags: &BenchFlags,
    phase: &str,
    part: u64,
    shared: Arc<Shared>,
    client: Client,
) -> PartResult {
    // Its own copy of the data set: shared memory would be counted by all threads.
    let data = data_set(flags)?;
    let (source, pace) = share(flags, phase, part);
    Ok(Driver::new(client, data, source, pace, shared).run().await)
}

/// Waits for every part, moves the progress bar, and ends the phase early at a signal, which it names.
async fn watch(
    parts: Vec<oneshot::Receiver<PartResult>>,
    shared: &Shared,
    expected: u64,
    name: &'static str,
    stop: impl Future<Output = &'static str>,
) -> (Vec<PartResult>, Option<&'static str>) {
    tokio::pin!(stop);
    let mut stopped_by = None;
    let bar = progress::items(Some(expected));
    bar.set_message(name);
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    let mut results = Vec::new();
    for mut part in parts {
        let result = loop {
            tokio::select! {
                biased;
                result = &mut part => break result,
                name = &mut stop, if stopped_by.is_none() => {
                    stopped_by = Some(name);
                    shared.stop.store(true, Relaxed);
                }
                _ = ticks.tick() => bar.set_position(shared.ended.load(Relaxed)),
            }
        };
        results.push(result.unwrap_or_else(|_| Err(Failure::failed("a thread of the bench ended early"))));
    }
    bar.finish_and_clear();
    (results, stopped_by)
}

fn runtime(mut builder: Builder) -> Result<Runtime, Failure> {
    builder.enable_all().build().map_err(|error: io::Error| Failure::io("cannot start a runtime", error))
}

/// CPU time of this process so far, user and system.
#[cfg(unix)]
fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a rusage, which the call fills; all zeroes are a valid one if it fails.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.max(0) as u64) + Duration::from_micros(time.tv_usec.max(0) as u64)
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

#[cfg(not(unix))]
fn cpu_time() -> Duration {
    Duration::ZERO
}
