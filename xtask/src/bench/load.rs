//! What runs on either side of a row.

use crate::Outcome;

use super::ours::{self, Cluster};
use super::redis::Redis;
use super::{Setting, Speed};

/// A load. Those of scripts name their client: `slotkv` works on our cluster, others on Redis.
pub enum Load {
    /// `slotkv bench`: the Rust client.
    Rust { workload: &'static str, in_flight: u32 },
    /// `redis-benchmark --cluster`.
    RedisBenchmark { is_get: bool, connections: u32, pipeline: u32 },
    /// benches/python/asyncio_load.py
    Asyncio { client: &'static str, workload: &'static str, in_flight: u32 },
    /// benches/python/sync_load.py
    Sync { client: &'static str, workload: &'static str, threads: u32 },
    /// benches/node/load.mjs
    Node { client: &'static str, workload: &'static str, in_flight: u32 },
    /// The same, the client held to one core.
    NodeOnOneCore { client: &'static str, workload: &'static str, in_flight: u32 },
    /// benches/kotlin/load.kt
    Kotlin { client: &'static str, in_flight: u32 },
    /// benches/c/load.c
    C { in_flight: u32 },
}

impl Load {
    /// Whether the servers are ours.
    pub fn is_ours(&self) -> bool {
        match self {
            Load::Rust { .. } | Load::C { .. } => true,
            Load::RedisBenchmark { .. } => false,
            Load::Asyncio { client, .. }
            | Load::Sync { client, .. }
            | Load::Node { client, .. }
            | Load::Kotlin { client, .. }
            | Load::NodeOnOneCore { client, .. } => *client == "slotkv",
        }
    }

    /// Runs it once.
    pub fn run(
        &self,
        setting: &Setting,
        cluster: &Cluster,
        redis: &Redis,
        operations: u64,
    ) -> Outcome<Speed> {
        let (to, servers) = if self.is_ours() {
            (cluster.uri().to_owned(), cluster.pids())
        } else {
            (redis.port().to_string(), redis.pids())
        };
        let (count, records) = (operations.to_string(), setting.records.to_string());
        let arguments = |client: &str, workload: &str, at_once: u32| -> Vec<String> {
            [client, &to, workload, &count, &records, &at_once.to_string()].map(str::to_owned).to_vec()
        };
        match *self {
            Load::Rust { workload, in_flight } => cluster.bench(workload, in_flight, operations),
            Load::RedisBenchmark { is_get: true, connections, pipeline } => {
                redis.get(connections, pipeline, operations)
            }
            Load::RedisBenchmark { is_get: false, connections, pipeline } => {
                redis.set(connections, pipeline, operations)
            }
            Load::Asyncio { client, workload, in_flight } => {
                ours::python(setting, &servers, "asyncio_load.py", &arguments(client, workload, in_flight))
            }
            Load::Sync { client, workload, threads } => {
                ours::python(setting, &servers, "sync_load.py", &arguments(client, workload, threads))
            }
            Load::Node { client, workload, in_flight } => {
                ours::node(setting, &servers, "load.mjs", &arguments(client, workload, in_flight), false)
            }
            Load::NodeOnOneCore { client, workload, in_flight } => {
                ours::node(setting, &servers, "load.mjs", &arguments(client, workload, in_flight), true)
            }
            Load::Kotlin { client, in_flight } => {
                let arguments = [client, &to, &count, &records, &in_flight.to_string()].map(str::to_owned);
                ours::kotlin(setting, &servers, &arguments)
            }
            Load::C { in_flight } => ours::c(setting, &servers, &[to, count, records, in_flight.to_string()]),
        }
    }
}
