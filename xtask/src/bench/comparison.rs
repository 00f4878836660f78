//! The rows: what runs on either side, and the ratio that slotkv means to reach.

use crate::Outcome;
use crate::process;

use super::load::Load;
use super::ours::Cluster;
use super::redis::Redis;
use super::{Setting, Speed, usage};

/// One row of the report.
pub struct Comparison {
    /// As typed on the command line.
    pub name: &'static str,
    /// What it is about.
    pub group: Group,
    /// What runs on slotkv's side.
    pub ours: &'static str,
    /// What runs beside it.
    pub peer: &'static str,
    /// Least ratio; 0 where none is wanted.
    pub target: f64,
    /// Fewest log records per fsync; only where shards sync every group.
    pub writes_per_sync_min: Option<f64>,
    /// Durability of slotkv's shards.
    pub durability: &'static str,
    /// Redis's `appendfsync` while it runs; off where `None`.
    append_only: Option<&'static str>,
    /// Operations per run of our load.
    operations: u64,
    load: Load,
    /// A run of the peer's has as many operations, divided by this.
    peer_divisor: u64,
    peer_load: Load,
}

/// Rows that are measured and reported together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `cargo xtask bench`
    Cluster,
    /// `cargo xtask bench bindings`
    Bindings,
}

/// What most rows have.
const ROW: Comparison = Comparison {
    name: "",
    group: Group::Bindings,
    ours: "",
    peer: "",
    target: 0.0,
    writes_per_sync_min: None,
    durability: "sync",
    append_only: None,
    operations: 0,
    load: Load::C { in_flight: 0 },
    peer_divisor: 1,
    peer_load: Load::C { in_flight: 0 },
};

/// Every row, in the order of the report.
pub static COMPARISONS: [Comparison; 29] = [
    Comparison {
        name: "get-50",
        group: Group::Cluster,
        ours: "Rust, GET, 50 in flight",
        peer: "redis-benchmark --cluster, GET, 50 connections, P=1",
        target: 2.0,
        operations: 3_000_000,
        load: Load::Rust { workload: "get", in_flight: 50 },
        peer_divisor: 3,
        peer_load: Load::RedisBenchmark { is_get: true, connections: 50, pipeline: 1 },
        ..ROW
    },
    Comparison {
        name: "get-500",
        group: Group::Cluster,
        ours: "Rust, GET, 500 in flight",
        peer: "redis-benchmark --cluster, GET, 50 connections, P=16",
        target: 0.5,
        operations: 5_000_000,
        load: Load::Rust { workload: "get", in_flight: 500 },
        peer_load: Load::RedisBenchmark { is_get: true, connections: 50, pipeline: 16 },
        ..ROW
    },
    Comparison {
        name: "put-sync-500",
        group: Group::Cluster,
        ours: "Rust, PUT, sync, 500 in flight",
        peer: "redis-benchmark --cluster, SET, 500 connections, appendfsync always",
        target: 1.0,
        writes_per_sync_min: Some(30.0),
        append_only: Some("always"),
        operations: 500_000,
        load: Load::Rust { workload: "put", in_flight: 500 },
        peer_divisor: 2,
        peer_load: Load::RedisBenchmark { is_get: false, connections: 500, pipeline: 1 },
        ..ROW
    },
    Comparison {
        name: "put-interval-50",
        group: Group::Cluster,
        ours: "Rust, PUT, interval(1000), 50 in flight",
        peer: "redis-benchmark --cluster, SET, 50 connections, P=1, appendfsync everysec",
        target: 1.0,
        durability: "interval(1000)",
        append_only: Some("everysec"),
        operations: 1_000_000,
        load: Load::Rust { workload: "put", in_flight: 50 },
        peer_load: Load::RedisBenchmark { is_get: false, connections: 50, pipeline: 1 },
        ..ROW
    },
    Comparison {
        name: "asyncio-get-50",
        ours: "Python asyncio, GET, 50 in flight",
        peer: "valkey-glide, GET, 50 in flight",
        target: 6.0,
        operations: 1_000_000,
        load: Load::Asyncio { client: "slotkv", workload: "get", in_flight: 50 },
        peer_divisor: 5,
        peer_load: Load::Asyncio { client: "glide", workload: "get", in_flight: 50 },
        ..ROW
    },
    Comparison {
        name: "asyncio-get-500",
        ours: "Python asyncio, GET, 500 in flight",
        peer: "valkey-glide, GET, 500 in flight",
        target: 8.0,
        operations: 1_000_000,
        load: Load::Asyncio { client: "slotkv", workload: "get", in_flight: 500 },
        peer_divisor: 5,
        peer_load: Load::Asyncio { client: "glide", workload: "get", in_flight: 500 },
        ..ROW
    },
    Comparison {
        name: "asyncio-get-1",
        ours: "Python asyncio, GET, 1 in flight",
        peer: "valkey-glide, GET, 1 in flight",
        operations: 60_000,
        load: Load::Asyncio { client: "slotkv", workload: "get", in_flight: 1 },
        peer_divisor: 2,
        peer_load: Load::Asyncio { client: "glide", workload: "get", in_flight: 1 },
        ..ROW
    },
    Comparison {
        name: "asyncio-get-50-redis-py",
        ours: "Python asyncio, GET, 50 in flight",
        peer: "redis-py asyncio, GET, 50 in flight",
        target: 1.0,
        operations: 1_000_000,
        load: Load::Asyncio { client: "slotkv", workload: "get", in_flight: 50 },
        peer_divisor: 10,
        peer_load: Load::Asyncio { client: "redis", workload: "get", in_flight: 50 },
        ..ROW
    },
    Comparison {
        name: "sync-get",
        ours: "Python sync, GET, 1 in flight",
        peer: "redis-py, GET, 1 in flight",
        target: 2.0,
        operations: 100_000,
        load: Load::Sync { client: "slotkv", workload: "get", threads: 1 },
        peer_divisor: 2,
        peer_load: Load::Sync { client: "redis", workload: "get", threads: 1 },
        ..ROW
    },
    Comparison {
        name: "sync-get-glide",
        ours: "Python sync, GET, 1 in flight",
        peer: "valkey-glide-sync, GET, 1 in flight",
        target: 1.0,
        operations: 100_000,
        load: Load::Sync { client: "slotkv", workload: "get", threads: 1 },
        peer_divisor: 2,
        peer_load: Load::Sync { client: "glide", workload: "get", threads: 1 },
        ..ROW
    },
    Comparison {
        name: "threads-get-32",
        ours: "Python sync, GET, 32 threads",
        peer: "valkey-glide-sync, GET, 32 threads",
        target: 4.0,
        operations: 320_000,
        load: Load::Sync { client: "slotkv", workload: "get", threads: 32 },
        peer_divisor: 4,
        peer_load: Load::Sync { client: "glide", workload: "get", threads: 32 },
        ..ROW
    },
    Comparison {
        name: "node-get-50",
        ours: "Node, GET, 50 in flight",
        peer: "ioredis, GET, 50 in flight",
        target: 3.0,
        operations: 1_000_000,
        load: Load::Node { client: "slotkv", workload: "get", in_flight: 50 },
        peer_divisor: 3,
        peer_load: Load::Node { client: "ioredis", workload: "get", in_flight: 50 },
        ..ROW
    },
    Comparison {
        name: "node-get-50-glide",
        ours: "Node, GET, 50 in flight",
        peer: "@valkey/valkey-glide, GET, 50 in flight",
        target: 4.0,
        operations: 1_000_000,
        load: Load::Node { client: "slotkv", workload: "get", in_flight: 50 },
        peer_divisor: 4,
        peer_load: Load::Node { client: "glide", workload: "get", in_flight: 50 },
        ..ROW
    },
    Comparison {
        name: "node-get-500",
        ours: "Node, GET, 500 in flight",
        peer: "ioredis, GET, 500 in flight",
        target: 4.0,
        operations: 1_000_000,
        load: Load::Node { client: "slotkv", workload: "get", in_flight: 500 },
        peer_divisor: 4,
        peer_load: Load::Node { client: "ioredis", workload: "get", in_flight: 500 },
        ..ROW
    },
    Comparison {
        name: "node-get-1",
        ours: "Node on one core, GET, 1 in flight",
        peer: "ioredis on one core, GET, 1 in flight",
        target: 1.0,
        operations: 60_000,
        load: Load::NodeOnOneCore { client: "slotkv", workload: "get", in_flight: 1 },
        peer_load: Load::NodeOnOneCore { client: "ioredis", workload: "get", in_flight: 1 },
        ..ROW
    },
    Comparison {
        name: "kotlin-get-50",
        ours: "Kotlin, GET, 50 in flight",
        peer: "Lettuce 7.7.0, GET, 50 in flight",
        operations: 100_000,
        load: Load::Kotlin { client: "slotkv", in_flight: 50 },
        peer_load: Load::Kotlin { client: "lettuce", in_flight: 50 },
        ..ROW
    },
    Comparison {
        name: "c-get-50",
        ours: "C callbacks, GET, 50 in flight",
        peer: "slotkv's Rust, GET, 50 in flight",
        target: 0.9,
        operations: 3_000_000,
        load: Load::C { in_flight: 50 },
        peer_load: Load::Rust { workload: "get", in_flight: 50 },
        ..ROW
    },
    Comparison {
        name: "c-get-1",
        ours: "C, GET, 1 in flight",
        peer: "slotkv's Rust, GET, 1 in flight",
        target: 0.9,
        operations: 100_000,
        load: Load::C { in_flight: 1 },
        peer_load: Load::Rust { workload: "get", in_flight: 1 },
        ..ROW
    },
    Comparison {
        name: "sync-many-100",
        ours: "Python sync, get_many of 100 keys",
        peer: "redis-py, mget_nonatomic of 100 keys in 3 slots",
        target: 2.0,
        operations: 20_000,
        load: Load::Sync { client: "slotkv", workload: "many", threads: 1 },
        peer_divisor: 4,
        peer_load: Load::Sync { client: "redis", workload: "many", threads: 1 },
        ..ROW
    },
    Comparison {
        name: "sync-many-100-glide",
        ours: "Python sync, get_many of 100 keys",
        peer: "valkey-glide-sync, mget of 100 keys in 3 slots",
        target: 2.0,
        operations: 20_000,
        load: Load::Sync { client: "slotkv", workload: "many", threads: 1 },
        peer_divisor: 4,
        peer_load: Load::Sync { client: "glide", workload: "many", threads: 1 },
        ..ROW
    },
    Comparison {
        name: "asyncio-many-100",
        ours: "Python asyncio, get_many of 100 keys, 10 in flight",
        peer: "valkey-glide, mget of 100 keys in 3 slots, 10 in flight",
        target: 2.0,
        operations: 30_000,
        load: Load::Asyncio { client: "slotkv", workload: "many", in_flight: 10 },
        peer_divisor: 4,
        peer_load: Load::Asyncio { client: "glide", workload: "many", in_flight: 10 },
        ..ROW
    },
    Comparison {
        name: "node-many-100",
        ours: "Node, getMany of 100 keys, 10 in flight",
        peer: "@valkey/valkey-glide, mget of 100 keys in 3 slots, 10 in flight",
        target: 2.0,
        operations: 30_000,
        load: Load::Node { client: "slotkv", workload: "many", in_flight: 10 },
        peer_divisor: 4,
        peer_load: Load::Node { client: "glide", workload: "many", in_flight: 10 },
        ..ROW
    },
    Comparison {
        name: "sync-get-large",
        ours: "Python sync, GET of 1 MiB, 1 in flight",
        peer: "redis-py, GET of 1 MiB, 1 in flight",
        target: 1.0,
        operations: 2_000,
        load: Load::Sync { client: "slotkv", workload: "get-large", threads: 1 },
        peer_load: Load::Sync { client: "redis", workload: "get-large", threads: 1 },
        ..ROW
    },
    Comparison {
        name: "asyncio-get-large",
        ours: "Python asyncio, GET of 1 MiB, 4 in flight",
        peer: "valkey-glide, GET of 1 MiB, 4 in flight",
        target: 1.0,
        operations: 2_000,
        load: Load::Asyncio { client: "slotkv", workload: "get-large", in_flight: 4 },
        peer_load: Load::Asyncio { client: "glide", workload: "get-large", in_flight: 4 },
        ..ROW
    },
    Comparison {
        name: "node-get-large",
        ours: "Node, GET of 1 MiB, 4 in flight",
        peer: "ioredis, GET of 1 MiB, 4 in flight",
        target: 1.0,
        operations: 2_000,
        load: Load::Node { client: "slotkv", workload: "get-large", in_flight: 4 },
        peer_load: Load::Node { client: "ioredis", workload: "get-large", in_flight: 4 },
        ..ROW
    },
    Comparison {
        name: "node-get-large-glide",
        ours: "Node, GET of 1 MiB, 4 in flight",
        peer: "@valkey/valkey-glide, GET of 1 MiB, 4 in flight",
        target: 1.0,
        operations: 2_000,
        load: Load::Node { client: "slotkv", workload: "get-large", in_flight: 4 },
        peer_load: Load::Node { client: "glide", workload: "get-large", in_flight: 4 },
        ..ROW
    },
    Comparison {
        name: "sync-put-large",
        ours: "Python sync, PUT of 1 MiB, interval(1000), 1 in flight",
        peer: "redis-py, SET of 1 MiB, appendfsync everysec, 1 in flight",
        target: 1.0,
        durability: "interval(1000)",
        append_only: Some("everysec"),
        operations: 500,
        load: Load::Sync { client: "slotkv", workload: "put-large", threads: 1 },
        peer_load: Load::Sync { client: "redis", workload: "put-large", threads: 1 },
        ..ROW
    },
    Comparison {
        name: "asyncio-put-large",
        ours: "Python asyncio, PUT of 1 MiB, interval(1000), 4 in flight",
        peer: "valkey-glide, SET of 1 MiB, appendfsync everysec, 4 in flight",
        target: 1.0,
        durability: "interval(1000)",
        append_only: Some("everysec"),
        operations: 500,
        load: Load::Asyncio { client: "slotkv", workload: "put-large", in_flight: 4 },
        peer_load: Load::Asyncio { client: "glide", workload: "put-large", in_flight: 4 },
        ..ROW
    },
    Comparison {
        name: "node-put-large",
        ours: "Node, PUT of 1 MiB, interval(1000), 4 in flight",
        peer: "ioredis, SET of 1 MiB, appendfsync everysec, 4 in flight",
        target: 1.0,
        durability: "interval(1000)",
        append_only: Some("everysec"),
        operations: 500,
        load: Load::Node { client: "slotkv", workload: "put-large", in_flight: 4 },
        peer_load: Load::Node { client: "ioredis", workload: "put-large", in_flight: 4 },
        ..ROW
    },
];

/// Medians of one side.
#[derive(Clone, Copy)]
pub struct Side {
    /// Operations per second.
    pub rate: f64,
    /// CPU microseconds per operation of the client process.
    pub client_us: f64,
    /// CPU microseconds per operation of all servers.
    pub servers_us: f64,
    /// Median latency, microseconds.
    pub p50_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
}

/// A measured row.
pub struct Row {
    /// What was compared.
    pub comparison: &'static Comparison,
    /// Medians of slotkv.
    pub ours: Side,
    /// Medians of the peer.
    pub peer: Side,
    /// Median of the rounds' ratios.
    pub ratio: f64,
    /// Log records per fsync over the load and all runs; only where a least number of them is wanted.
    pub writes_per_sync: Option<f64>,
}

impl Row {
    /// Whether slotkv has everything that is wanted of it here.
    pub fn is_met(&self) -> bool {
        self.ratio >= self.comparison.target && self.is_synced_in_groups()
    }

    /// Whether enough writes share an fsync, where that is wanted. What was not measured is not met.
    pub fn is_synced_in_groups(&self) -> bool {
        let wanted = self.comparison.writes_per_sync_min;
        wanted.is_none_or(|wanted| self.writes_per_sync.is_some_and(|found| found >= wanted))
    }
}

impl Comparison {
    /// A B A B, medians.
    pub fn measure(&'static self, setting: &Setting, ours: &Cluster, redis: &Redis) -> Outcome<Row> {
        redis.append_only(self.append_only)?;
        let operations = self.operations / setting.divisor;
        let bar = process::bar(self.name, setting.rounds as u64);
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..setting.rounds {
            mine.push(run(&ours.pids(), || self.load.run(setting, ours, redis, operations))?);
            let servers = if self.peer_load.is_ours() { ours.pids() } else { redis.pids() };
            let operations = operations / self.peer_divisor;
            theirs.push(run(&servers, || self.peer_load.run(setting, ours, redis, operations))?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let ratio = median(mine.iter().zip(&theirs).map(|(mine, theirs)| mine.rate / theirs.rate));
        let row = Row {
            comparison: self,
            ours: medians(&mine),
            peer: medians(&theirs),
            ratio,
            writes_per_sync: None,
        };
        eprintln!("{}: {:.0} / {:.0} = {ratio:.2}", self.name, row.ours.rate, row.peer.rate);
        Ok(row)
    }
}

/// One run with the CPU time it took.
pub fn run(servers: &[u32], load: impl FnOnce() -> Outcome<Speed>) -> Outcome<Side> {
    let (servers_before, children_before) = (usage::of_processes(servers), usage::of_children());
    let speed = load()?;
    let per_operation = 1e6 / speed.operations.max(1) as f64;
    let client = speed.client_cpu.unwrap_or_else(|| usage::of_children() - children_before);
    let servers = speed.servers_cpu.unwrap_or_else(|| usage::of_processes(servers) - servers_before);
    Ok(Side {
        rate: speed.rate,
        client_us: client * per_operation,
        servers_us: servers * per_operation,
        p50_us: speed.p50_us,
        p99_us: speed.p99_us,
    })
}

/// Of each figure.
pub fn medians(sides: &[Side]) -> Side {
    let optional = |field: fn(&Side) -> Option<f64>| {
        let found: Vec<f64> = sides.iter().filter_map(field).collect();
        (!found.is_empty()).then(|| median(found.into_iter()))
    };
    Side {
        rate: median(sides.iter().map(|side| side.rate)),
        client_us: median(sides.iter().map(|side| side.client_us)),
        servers_us: median(sides.iter().map(|side| side.servers_us)),
        p50_us: optional(|side| side.p50_us),
        p99_us: optional(|side| side.p99_us),
    }
}

/// The middle one, or between the two.
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_one_or_between_the_two() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
    }

    #[test]
    fn a_row_is_met_only_with_its_ratio_and_its_writes_per_fsync() {
        let side = Side { rate: 1.0, client_us: 1.0, servers_us: 1.0, p50_us: None, p99_us: None };
        let met = |name: &str, ratio, writes_per_sync| {
            let comparison = COMPARISONS.iter().find(|comparison| comparison.name == name).unwrap();
            Row { comparison, ours: side, peer: side, ratio, writes_per_sync }.is_met()
        };
        assert!(met("put-sync-500", 1.0, Some(30.0)));
        assert!(!met("put-sync-500", 1.0, Some(29.9)));
        assert!(!met("put-sync-500", 0.9, Some(30.0)));
        assert!(!met("put-sync-500", 1.0, None));
        assert!(met("get-50", 2.0, None) && !met("get-50", 1.9, None));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = COMPARISONS.iter().map(|comparison| comparison.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COMPARISONS.len());
    }
}
