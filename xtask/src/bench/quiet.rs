//! `cargo xtask bench failover --quiet-minutes N [--rate N]`: load that keeps both cores busy, and no fail-over because of it.
//! With a rate the load is that alone, and whoever runs it sees to it that other processes keep the cores busy.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::project::{self, Profile};
use crate::table::thousands;
use crate::{Outcome, cluster, machine, process};

use super::replicas::{Replicas, Shape};

const LOOK_EVERY: Duration = Duration::from_secs(5);
const IN_FLIGHT: &str = "500";
const RECORDS: &str = "200000";
/// More than are done in the longest run; `slotkv bench` wants a key for each.
const OPERATIONS: &str = "100000000000";

/// Runs the load for so many minutes, at `rate` operations a second if there is one; whether no shard has another epoch than before.
pub fn run(minutes: u64, rate: Option<u64>) -> Outcome<bool> {
    machine::install(&[machine::JAVA, machine::ZOOKEEPER])?;
    let slotkv = cluster::build(Profile::Release)?;
    let dir = project::scratch().join("bench-quiet");
    let shape = Shape { zookeepers: 3, masters: 2, shards: 2, replicas: 3, durability: "sync", more: &[] };
    let cluster = Replicas::start(&slotkv, &dir, &shape)?;
    process::output(bench(&slotkv, &cluster.uri, "put").arg("--load-only"))?;
    let before = cluster.epochs().ok_or("no master answers")?;
    let length = Duration::from_secs(60 * minutes);
    let mut loads = Vec::new();
    // One of each for each core.
    for workload in ["a", "put"] {
        let mut command = bench(&slotkv, &cluster.uri, workload);
        command.args(["--run-only", "--operations", OPERATIONS]);
        command.args(["--time", &format!("{}s", length.as_secs())]).stdout(Stdio::piped());
        if let Some(rate) = rate {
            // One of each.
            command.args(["--rate", &rate.div_ceil(2).to_string()]);
        }
        loads.push(process::tied(&mut command).spawn()?);
    }
    let (end, idle_before) = (Instant::now() + length, cpu_times()?);
    let mut changes = 0;
    let mut last = before.clone();
    while Instant::now() < end {
        std::thread::sleep(LOOK_EVERY.min(end.saturating_duration_since(Instant::now())));
        for load in &mut loads {
            if let Some(status) = load.try_wait()?
                && Instant::now() + LOOK_EVERY < end
            {
                return Err(format!("a load ended early: {status}").into());
            }
        }
        let Some(now) = cluster.epochs() else { continue };
        if now != last {
            eprintln!("epochs {last:?} became {now:?}");
            changes += 1;
        }
        last = now;
    }
    let idle_after = cpu_times()?;
    let (mut operations, mut errors) = (0, Vec::new());
    for load in loads {
        let out: Value = serde_json::from_slice(&load.wait_with_output()?.stdout)?;
        let run = &out["phases"]["run"];
        operations += run["operations"].as_u64().unwrap_or(0);
        errors.push(run["errors"].to_string());
    }
    let after = cluster.epochs().ok_or("no master answers")?;
    let busy = 1.0 - (idle_after.0 - idle_before.0) as f64 / (idle_after.1 - idle_before.1).max(1) as f64;
    println!(
        "{minutes} minutes, {} operations, errors {}, cores busy {:.0} %, epochs {before:?} before, {after:?} after, {changes} changes seen",
        thousands(operations),
        errors.join(" "),
        busy * 100.0,
    );
    cluster.stop()?;
    Ok(before == after && changes == 0)
}

fn bench(slotkv: &Path, uri: &str, workload: &str) -> Command {
    let mut command = Command::new(slotkv);
    command.args(["bench", "--json", "--uri", uri, "--workload", workload]);
    command.args(["--records", RECORDS, "--in-flight", IN_FLIGHT]);
    command
}

/// Idle and all ticks of the machine.
fn cpu_times() -> Outcome<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("an empty /proc/stat")?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    Ok((ticks.get(3).copied().unwrap_or(0) + ticks.get(4).copied().unwrap_or(0), ticks.iter().sum()))
}
