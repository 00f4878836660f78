//! slotkv's side: one master, three shards as three processes, ZooKeeper; loads by `slotkv bench` and Python scripts.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::cluster::{self, Split};
use crate::zookeeper::ZooKeeper;
use crate::{Outcome, process};

use super::{Setting, Speed, VALUE_BYTES};

/// Shards, one worker each.
const SHARDS: usize = 3;

/// The cluster, loaded.
pub struct Cluster {
    split: Split,
    _zookeeper: ZooKeeper,
    slotkv: std::path::PathBuf,
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
        let out: Value = serde_json::from_slice(&process::output(&mut command)?)?;
        let number = |path: &str| out.pointer(path).and_then(Value::as_f64);
        Ok(Speed {
            operations,
            rate: number("/operations_per_second").ok_or("slotkv bench printed no operations_per_second")?,
            p50_us: number("/latency_us/p50"),
            p99_us: number("/latency_us/p99"),
            client_cpu: None,
            servers_cpu: None,
        })
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

    /// Writes and log syncs of all workers since they started, as the workers' status lines tell.
    pub fn syncs(&self) -> Outcome<Syncs> {
        let out = process::output(Command::new(&self.slotkv).args([
            "admin",
            "status",
            "--json",
            "--uri",
            &self.split.uri,
        ]))?;
        let status: Value = serde_json::from_slice(&out)?;
        let shards = status["shards"].as_array().ok_or("admin status --json has no shards")?;
        let sum = |field: &str| shards.iter().filter_map(|shard| shard[field].as_u64()).sum();
        Ok(Syncs { records: sum("log_records"), syncs: sum("log_syncs") })
    }

    /// SIGTERM for all.
    pub fn stop(self) -> Outcome<()> {
        self.split.stop()?;
        Ok(())
    }
}

/// Counters of the workers' logs.
#[derive(Clone, Copy)]
pub struct Syncs {
    /// Records appended.
    pub records: u64,
    /// fdatasync calls.
    pub syncs: u64,
}

/// Runs a Python load against the servers of these ids; what it prints is in benches/python/measure.py.
pub fn python(setting: &Setting, servers: &[u32], script: &str, arguments: &[&str]) -> Outcome<Speed> {
    let path = Path::new("benches/python").join(script);
    let servers: Vec<String> = servers.iter().map(u32::to_string).collect();
    let mut command = setting.venv.python();
    command.arg(path).args(arguments).env("BENCH_SERVER_PIDS", servers.join(","));
    let out = process::output(&mut command)?;
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
