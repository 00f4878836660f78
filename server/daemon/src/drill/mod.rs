//! `drill`: load whose every operation is checked, and in the crazyloop a worker and the leading master killed again and
//! again under it. A timeline tells what was done, what failed and when it went on; at the end everything that was written
//! is read.
//!
//! Layout: `load` writers and what they know · `timeline` what is told · `nemesis` who is killed.

mod load;
mod nemesis;
mod timeline;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use slotkv::{Client, Error};
use slotkv_proto::v1::StatusReply;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use self::{
    load::{Tally, Writer},
    nemesis::Nemesis,
    timeline::Timeline,
};
use crate::{
    cli::{
        descriptors,
        exit::{Exit, Failure},
        flags::{ClientFlags, DrillFlags, DrillVerb},
    },
    client::{connect_with, failure, in_flight},
    dev::{Dev, DevOptions},
    signals,
};

/// Writers of each shard in the drills with several.
const WRITERS: usize = 8;
/// How long the cluster may take to be whole again, and then all keys to be read.
pub(crate) const WHOLE_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at the cluster.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// `slotkv drill`.
pub(crate) fn drill(verb: DrillVerb) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", error))?;
    runtime.block_on(async {
        let (flags, writers, kills) = match verb {
            DrillVerb::Sequential(flags) => (flags, 1, false),
            DrillVerb::Concurrent(flags) => (flags, WRITERS, false),
            DrillVerb::Crazyloop(flags) => (flags, WRITERS, true),
        };
        run(flags, writers, kills).await
    })
}

async fn run(flags: DrillFlags, writers: usize, kills: bool) -> Result<Exit, Failure> {
    let (dev, uri) = match &flags.uri {
        Some(uri) => (None, uri.clone()),
        None => {
            let dev = Dev::start(dev_options(&flags)).await.map_err(Failure::failed)?;
            let uri = dev.uri();
            (Some(dev), uri)
        }
    };
    let reach = ClientFlags { uri, namespace: None, deadline_ms: None, json: flags.json };
    let client = connect_with(&reach, in_flight(1024)).await?;
    let stop = signals::stop_requested().map_err(|error| Failure::io("cannot wait for signals", error))?;
    let outcome = drilled(&flags, &client, dev, writers, kills, stop).await;
    client.close().await;
    outcome
}

fn dev_options(flags: &DrillFlags) -> DevOptions {
    let default = DevOptions::default();
    let members = default.masters + (flags.shards * flags.replicas) as usize;
    DevOptions {
        connections_max: descriptors::connections_max(default.connections_max, members),
        shards: flags.shards as usize,
        replicas: flags.replicas as usize,
        ack: flags.ack,
        durability: flags.durability,
        session_timeout: Duration::from_secs(2),
        ..default
    }
}

async fn drilled(
    flags: &DrillFlags,
    client: &Client,
    dev: Option<Dev>,
    writers: usize,
    kills: bool,
    stop: impl Future<Output = &'static str>,
) -> Result<Exit, Failure> {
    // A cluster that was just started becomes whole; of another one that it is not may be just what is drilled.
    let status = whole(client, dev.is_some()).await.map_err(failure)?;
    let shards: Vec<u32> =
        status.shards.iter().filter(|shard| shard.slots > 0).map(|shard| shard.shard).collect();
    let timeline = Arc::new(Timeline::new(flags.json, &shards));
    timeline.tell(&format!(
        "{} shards of {} copies, {} writers, seed {}, for {} s",
        shards.len(),
        status.shards.iter().map(|shard| shard.replicas).max().unwrap_or(1),
        shards.len() * writers,
        flags.seed,
        flags.seconds
    ));
    let (ending, ends) = watch::channel(false);
    let loads: Vec<_> = shards
        .iter()
        .flat_map(|shard| (0..writers).map(move |number| (*shard, number)))
        .map(|(shard, number)| {
            let writer = Writer::new(client.clone(), shard, number, flags.seed, timeline.clone());
            tokio::spawn(writer.run(ends.clone()))
        })
        .collect();
    let watching = tokio::spawn(timeline.clone().watch(client.clone(), ends.clone()));

    let deadline = Instant::now() + Duration::from_secs(flags.seconds);
    let mut nemesis = Nemesis::new(dev, flags.seed, timeline.clone());
    tokio::select! {
        biased;
        name = stop => timeline.tell(&format!("{name}: the drill ends early")),
        () = async {
            match kills {
                true => nemesis.run(client, deadline).await,
                false => tokio::time::sleep_until(deadline).await,
            }
        } => {}
    }
    nemesis.restart_all().await;
    ending.send_replace(true);
    let writers = join_all(loads).await;
    let _ = watching.await;
    let came_back = whole(client, nemesis.is_own()).await;
    if let Err(error) = &came_back {
        timeline.tell(&format!("the cluster is not whole again: {error}"));
    }
    let mut tally = Tally::default();
    let until = Instant::now() + WHOLE_MAX;
    let checks = writers.into_iter().map(async |writer| match writer {
        Ok(writer) => writer.check(until).await,
        // Whatever it wrote is not known any more.
        Err(_) => Tally { unchecked: 1, ..Tally::default() },
    });
    for checked in join_all(checks).await {
        tally.add(checked);
    }
    let (workers, masters) = nemesis.kills();
    for lost in &tally.violations {
        timeline.tell(&format!("VIOLATION: {lost}"));
    }
    let pauses = timeline.pauses();
    summary(flags, &timeline, &tally, (workers, masters), &pauses);
    nemesis.shutdown().await;
    let is_checked = tally.unchecked == 0 && came_back.is_ok();
    match (tally.violations.is_empty(), is_checked) {
        (true, true) => Ok(Exit::Done),
        (true, false) => {
            Err(Failure { exit: Exit::Partly, message: "not everything could be checked".into() })
        }
        (false, _) => {
            Err(Failure::failed(format_args!("{} operations were lost or doubled", tally.violations.len())))
        }
    }
}

fn summary(
    flags: &DrillFlags,
    timeline: &Timeline,
    tally: &Tally,
    (workers, masters): (u64, u64),
    pauses: &BTreeMap<u32, Duration>,
) {
    let Tally { acknowledged, failed, unknown, reads, checked, unchecked, violations } = tally;
    let longest = pauses.values().max().copied().unwrap_or_default();
    if flags.json {
        let pauses: BTreeMap<String, u128> =
            pauses.iter().map(|(shard, pause)| (shard.to_string(), pause.as_millis())).collect();
        timeline.line(&json!({
            "acknowledged": acknowledged, "failed": failed, "unknown": unknown, "reads": reads,
            "checked": checked, "unchecked": unchecked, "violations": violations.len(),
            "workers_killed": workers, "masters_killed": masters, "pause_ms": pauses,
        }));
        return;
    }
    timeline.tell(&format!(
        "{acknowledged} writes acknowledged, {failed} failed, {unknown} unknown, {reads} reads; {workers} workers and {masters} masters \
         killed; longest pause of a shard {} ms; {checked} keys checked, {unchecked} not, {} violations",
        longest.as_millis(),
        violations.len()
    ));
}

/// Waits, at most [`WHOLE_MAX`], until every shard has a primary and, if `entirely`, all of its copies in sync.
pub(crate) async fn whole(client: &Client, entirely: bool) -> Result<StatusReply, Error> {
    let deadline = Instant::now() + WHOLE_MAX;
    loop {
        let status = client.status().await;
        let error = match status {
            Ok(status) => {
                let lacking = status.shards.iter().find(|shard| {
                    let is_led = matches!(shard.state.as_str(), "leader" | "waiting for slots");
                    !is_led || (entirely && (shard.isr.len() as u32) < shard.replicas)
                });
                match lacking {
                    None => return Ok(status),
                    Some(shard) => Error::new(
                        slotkv::Code::Unavailable,
                        format!(
                            "shard {}: {}, {} of {} copies in sync",
                            shard.shard,
                            shard.state,
                            shard.isr.len(),
                            shard.replicas
                        ),
                    ),
                }
            }
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(error);
        }
        sleep(PAUSE).await;
    }
}
