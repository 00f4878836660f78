//! The peer: three Redis masters in cluster mode, in a temporary folder, without persistence unless a comparison asks
//! for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::process;

use super::Speed;
use super::redis_cluster::{MASTERS, NODE_TIMEOUT_MS_DEFAULT, RedisCluster, Shape, wait};

/// redis-benchmark puts one hash tag per master in the place of `{tag}`, and 12 digits in the place of the number: keys
/// of 17 bytes, beside 16 of slotkv.
const KEY: &str = "{tag}__rand_int__";
/// SETs on their way at once when the key space is filled.
const FILL_PIPELINE: u64 = 1000;

/// Three masters.
pub struct Redis {
    cluster: RedisCluster,
    keys_per_master: u64,
    value: String,
}

impl Redis {
    /// Starts the cluster in `dir`, which must not exist, and fills it with `records` records, rounded up to a multiple
    /// of the masters: each key that redis-benchmark will ask for, so that every GET is a hit.
    pub fn start(dir: &Path, records: u64, value_bytes: usize) -> Outcome<Self> {
        let shape = Shape { replicas: 0, node_timeout_ms: NODE_TIMEOUT_MS_DEFAULT, is_append_only: false };
        let redis = Self {
            cluster: RedisCluster::start(dir, shape)?,
            keys_per_master: records.div_ceil(MASTERS as u64),
            value: "v".repeat(value_bytes),
        };
        redis.fill()?;
        Ok(redis)
    }

    fn fill(&self) -> Outcome<()> {
        let spinner = process::spinner("fill Redis");
        // A few SETs show which tags redis-benchmark uses.
        self.set(10, 1, 1000)?;
        for &port in self.ports() {
            let key = self.ask(port, &["randomkey"]);
            let tag =
                key.trim().get(..5).ok_or_else(|| format!("no key of redis-benchmark on port {port}"))?;
            self.fill_master(port, tag)?;
        }
        spinner.finish_and_clear();
        Ok(())
    }

    fn fill_master(&self, port: u16, tag: &str) -> Outcome<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        let mut number = 0;
        while number < self.keys_per_master {
            let end = self.keys_per_master.min(number + FILL_PIPELINE);
            let (count, mut commands) = (end - number, String::new());
            for number in number..end {
                let (length, value) = (self.value.len(), &self.value);
                commands +=
                    &format!("*3\r\n$3\r\nSET\r\n$17\r\n{tag}{number:012}\r\n${length}\r\n{value}\r\n");
            }
            stream.write_all(commands.as_bytes())?;
            let mut replies = vec![0; "+OK\r\n".len() * count as usize];
            stream.read_exact(&mut replies)?;
            if replies.contains(&b'-') {
                return Err(format!("Redis refused a SET: {}", String::from_utf8_lossy(&replies)).into());
            }
            number = end;
        }
        Ok(())
    }

    /// Keys that exist.
    pub fn records(&self) -> u64 {
        self.ports().iter().map(|&port| self.ask(port, &["dbsize"]).trim().parse().unwrap_or(0)).sum()
    }

    /// GETs from `connections` connections, each with `pipeline` in flight.
    pub fn get(&self, connections: u32, pipeline: u32, operations: u64) -> Outcome<Speed> {
        self.benchmark(connections, pipeline, operations, &["get", KEY])
    }

    /// SETs likewise.
    pub fn set(&self, connections: u32, pipeline: u32, operations: u64) -> Outcome<Speed> {
        self.benchmark(connections, pipeline, operations, &["set", KEY, &self.value])
    }

    /// Has the append-only file written: `everysec`, `always`, or not at all.
    pub fn append_only(&self, fsync: Option<&str>) -> Outcome<()> {
        let is_wanted = if fsync.is_some() { "yes" } else { "no" };
        for &port in self.ports() {
            for setting in [["appendfsync", fsync.unwrap_or("everysec")], ["appendonly", is_wanted]] {
                let [name, value] = setting;
                let answer = self.ask(port, &["config", "set", name, value]);
                if answer.trim() != "OK" {
                    return Err(format!("Redis on port {port}: config set {name} {value}: {answer:?}").into());
                }
            }
        }
        let enabled = format!("aof_enabled:{}", u8::from(fsync.is_some()));
        wait("the append-only files", || {
            self.ports().iter().all(|&port| {
                let info = self.ask(port, &["info", "persistence"]);
                info.contains(&enabled) && info.contains("aof_rewrite_in_progress:0")
            })
        })
    }

    /// Process ids of the servers.
    pub fn pids(&self) -> Vec<u32> {
        self.cluster.pids()
    }

    /// Port of one master.
    pub fn port(&self) -> u16 {
        self.ports()[0]
    }

    fn ports(&self) -> &[u16] {
        self.cluster.ports()
    }

    fn ask(&self, port: u16, words: &[&str]) -> String {
        self.cluster.ask(port, words)
    }

    /// redis-benchmark takes one thread per master by itself.
    fn benchmark(&self, connections: u32, pipeline: u32, operations: u64, words: &[&str]) -> Outcome<Speed> {
        let mut command = Command::new("redis-benchmark");
        command.args(["--cluster", "--csv", "-p", &self.ports()[0].to_string()]);
        command.args([
            "-c",
            &connections.to_string(),
            "-P",
            &pipeline.to_string(),
            "-n",
            &operations.to_string(),
        ]);
        command.args(["-r", &self.keys_per_master.to_string()]).args(words);
        let out = process::output(&mut command)?;
        parse(&String::from_utf8_lossy(&out), operations)
            .ok_or_else(|| "redis-benchmark printed no result".into())
    }
}

/// The last line of `redis-benchmark --csv`: test, requests/s, then milliseconds: average, least, p50, p95, p99, most.
fn parse(out: &str, operations: u64) -> Option<Speed> {
    let line = out.lines().rev().find(|line| line.starts_with('"'))?;
    let cells: Vec<&str> = line.split("\",\"").map(|cell| cell.trim_matches('"')).collect();
    let rate: f64 = cells.get(1)?.parse().ok()?;
    let micros = |at: usize| cells.get(at).and_then(|cell| cell.parse::<f64>().ok()).map(|ms| ms * 1000.0);
    Some(Speed {
        operations,
        rate,
        p50_us: micros(4),
        p99_us: micros(6),
        client_cpu: None,
        servers_cpu: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_csv_line_behind_the_cluster_preamble_is_read() {
        let out = "Cluster has 3 master nodes:\n\n\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\
                   \"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
                   \"get {tag}__rand_int__\",\"143000.50\",\"0.2\",\"0.1\",\"0.183\",\"0.3\",\"0.415\",\"1.2\"\n";
        let speed = parse(out, 7).unwrap();
        assert_eq!((speed.operations, speed.rate), (7, 143000.5));
        assert_eq!((speed.p50_us, speed.p99_us), (Some(183.0), Some(415.0)));
    }
}
