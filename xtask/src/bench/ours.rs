//! slotkv's side: one master, three shards as three processes, ZooKeeper; loads by `slotkv bench`, C, and scripts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cluster::{self, Split};
use crate::zookeeper::ZooKeeper;
use crate::{Outcome, process, project};

use super::{Setting, Speed, VALUE_BYTES};

/// Shards, one worker each.
const SHARDS: usize = 3;

/// The cluster, loaded.
pub struct Cluster {
    split: Split,
    _zookeeper: ZooKeeper,
    slotkv: PathBuf,
    records: u64,
}

impl Cluster {
    /// Starts it and writes the data set.
    pub fn start(setting: &Setting, durability: &str) -> Outcome<Self> {
        let zookeeper = ZooKeeper::start(1)?;
        let ports = cluster::free_ports(SHARDS)?;
        let dir = setting.dir.join(durability.replace(['(', ')'], "-"));
        let coordinator = format!("{}/bench", zookeeper.uri);
        let split = Split::start(&setting.slotkv, &coordinator, &dir, &ports, &["--durability", durability])?;
        let cluster =
            Self { split, _zookeeper: zookeeper, slotkv: setting.slotkv.clone(), records: setting.records };
        let spinner = process::spinner("fill slotkv");
        process::output(cluster.command("put", 500).arg("--load-only"))?;
        spinner.finish_and_clear();
        Ok(cluster)
    }

    /// `slotkv bench`, closed loop, uniform.
    pub fn bench(&self, workload: &str, in_flight: u32, operations: u64) -> Outcome<Speed> {
        let mut command = self.command(workload, in_flight);
        command.args(["--run-only", "--operations", &operations.to_string()]);
        bench_speed(&mut command)
    }

    fn command(&self, workload: &str, in_flight: u32) -> Command {
        let mut command = Command::new(&self.slotkv);
        command.args(["bench", "--json", "--uri", &self.split.uri, "--workload", workload]);
        command.args(["--records", &self.records.to_string(), "--in-flight", &in_flight.to_string()]);
        command.args(["--key-bytes", "16", "--value-bytes", &VALUE_BYTES.to_string()]);
        command
    }

    /// `slotkv://...`
    pub fn uri(&self) -> &str {
        &self.split.uri
    }

    /// Process ids of master and workers; ZooKeeper is no part of an operation.
    pub fn pids(&self) -> Vec<u32> {
        self.split.pids()
    }

    /// SIGTERM for all; log records per sync over the life of the workers, as they say in their last words.
    pub fn stop(self) -> Outcome<Option<f64>> {
        let logs: Vec<PathBuf> = (0..SHARDS).map(|shard| self.split.worker_log(shard).to_owned()).collect();
        self.split.stop()?;
        let (mut records, mut syncs) = (0, 0);
        for log in logs {
            let text = fs::read_to_string(log)?;
            records += last_number(&text, "records=").unwrap_or(0);
            syncs += last_number(&text, "syncs=").unwrap_or(0);
        }
        Ok((syncs > 0).then(|| records as f64 / syncs as f64))
    }
}

/// Runs `slotkv bench`; every operation has to be good.
pub fn bench_speed(command: &mut Command) -> Outcome<Speed> {
    let out: Value = serde_json::from_slice(&process::output(command)?)?;
    let run = &out["phases"]["run"];
    let faults = ["missing", "wrong"].map(|fault| run[fault].as_u64().unwrap_or(0));
    if faults != [0, 0] || run["errors"].as_object().is_some_and(|errors| !errors.is_empty()) {
        return Err(format!("{}: not every operation was good: {run}", process::shown(command)).into());
    }
    let number = |path: &str| run.pointer(path).and_then(Value::as_f64);
    let done = number("/operations").ok_or("slotkv bench printed no operations")?;
    Ok(Speed {
        operations: done as u64,
        rate: number("/ops_per_second").ok_or("slotkv bench printed no ops_per_second")?,
        p50_us: latency(run, "p50"),
        p99_us: latency(run, "p99"),
        client_cpu: number("/client_cpu_us_per_operation").map(|us| us * done / 1e6),
        servers_cpu: None,
    })
}

/// A figure over all operations; where there is one kind only, it stands for all.
fn latency(run: &Value, figure: &str) -> Option<f64> {
    let kinds = run["latency_us"].as_object()?;
    kinds.get("all").or_else(|| kinds.values().next())?[figure].as_f64()
}

/// The number behind the last occurrence of `name`.
fn last_number(text: &str, name: &str) -> Option<u64> {
    let behind = &text[text.rfind(name)? + name.len()..];
    let end = behind.find(|char: char| !char.is_ascii_digit()).unwrap_or(behind.len());
    behind[..end].parse().ok()
}

/// Runs a Python load against the servers of these ids.
pub fn python(setting: &Setting, servers: &[u32], script: &str, arguments: &[String]) -> Outcome<Speed> {
    let mut command = setting.venv.python();
    command.arg(Path::new("benches/python").join(script));
    run(&mut command, servers, arguments)
}

/// Runs a Node load against the servers of these ids; if wanted, on the first core alone.
pub fn node(
    setting: &Setting,
    servers: &[u32],
    script: &str,
    arguments: &[String],
    is_on_one_core: bool,
) -> Outcome<Speed> {
    let script = format!("benches/node/{script}");
    if is_on_one_core {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0", "node", &script]).current_dir(project::root());
        return run(&mut command, servers, arguments);
    }
    run(&mut setting.node.script(&script), servers, arguments)
}

/// Runs the C load against the servers of these ids.
pub fn c(setting: &Setting, servers: &[u32], arguments: &[String]) -> Outcome<Speed> {
    run(setting.c.run(&mut Command::new(&setting.c_load)), servers, arguments)
}

/// Runs the Kotlin load against the servers of these ids.
pub fn kotlin(setting: &Setting, servers: &[u32], arguments: &[String]) -> Outcome<Speed> {
    let told = &setting.kotlin_load;
    run(Command::new(told.get_program()).args(told.get_args()), servers, arguments)
}

/// What a load prints is in benches/python/measure.py.
pub fn run(command: &mut Command, servers: &[u32], arguments: &[String]) -> Outcome<Speed> {
    let servers: Vec<String> = servers.iter().map(u32::to_string).collect();
    command.args(arguments).env("BENCH_SERVER_PIDS", servers.join(","));
    let out = process::output(command)?;
    let found: Value = serde_json::from_slice(&out)?;
    let operations = found["operations"].as_u64().ok_or("no operations")?;
    let seconds = found["seconds"].as_f64().ok_or("no seconds")?;
    Ok(Speed {
        operations,
        rate: operations as f64 / seconds,
        p50_us: found["p50_us"].as_f64(),
        p99_us: found["p99_us"].as_f64(),
        client_cpu: found["client_cpu_seconds"].as_f64(),
        servers_cpu: found["servers_cpu_seconds"].as_f64(),
    })
}

/// Whether a folder's file system is in memory: then a sync costs nothing, and the report says so.
pub fn is_tmpfs(dir: &Path) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/mounts") else { return false };
    let holds = |line: &&str| line.split(' ').nth(1).is_some_and(|mount| dir.starts_with(mount));
    let deepest = mounts.lines().filter(holds).max_by_key(|line| line.split(' ').nth(1).map_or(0, str::len));
    deepest.is_some_and(|line| line.split(' ').nth(2) == Some("tmpfs"))
}
