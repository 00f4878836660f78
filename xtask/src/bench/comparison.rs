//! The rows: what runs on either side, and the ratio that slotkv means to reach.

use crate::Outcome;
use crate::process;

use super::ours::{Cluster, node, python};
use super::redis::Redis;
use super::{Setting, Speed, usage};

/// One row of the report.
pub struct Comparison {
    /// As typed on the command line.
    pub name: &'static str,
    /// What runs on slotkv's side.
    pub ours: &'static str,
    /// What runs beside it.
    pub peer: &'static str,
    /// Least ratio.
    pub target: f64,
    /// Fewest log records per fsync; only where shards sync every group.
    pub writes_per_sync_min: Option<f64>,
    /// Durability of slotkv's shards.
    pub durability: &'static str,
    /// Operations per run.
    operations: u64,
    run_ours: fn(&Setting, &Cluster, u64) -> Outcome<Speed>,
    run_peer: fn(&Setting, &Redis, u64) -> Outcome<Speed>,
    /// Before the peer's first run.
    prepare_peer: fn(&Redis) -> Outcome<()>,
}

/// Every row, in the order of the report.
pub static COMPARISONS: [Comparison; 10] = [
    Comparison {
        name: "get-50",
        ours: "Rust, GET, 50 in flight",
        peer: "redis-benchmark --cluster, GET, 50 connections, P=1",
        target: 2.0,
        writes_per_sync_min: None,
        durability: "sync",
        operations: 3_000_000,
        run_ours: |_, ours, operations| ours.bench("get", 50, operations),
        run_peer: |_, redis, operations| redis.get(50, 1, operations / 3),
        prepare_peer: |_| Ok(()),
    },
    Comparison {
        name: "get-500",
        ours: "Rust, GET, 500 in flight",
        peer: "redis-benchmark --cluster, GET, 50 connections, P=16",
        target: 0.5,
        writes_per_sync_min: None,
        durability: "sync",
        operations: 5_000_000,
        run_ours: |_, ours, operations| ours.bench("get", 500, operations),
        run_peer: |_, redis, operations| redis.get(50, 16, operations),
        prepare_peer: |_| Ok(()),
    },
    Comparison {
        name: "asyncio-get-50",
        ours: "Python asyncio, GET, 50 in flight",
        peer: "valkey-glide, GET, 50 in flight",
        target: 5.0,
        writes_per_sync_min: None,
        durability: "sync",
        operations: 1_000_000,
        run_ours: |setting, ours, operations| {
            asyncio(setting, &ours.pids(), "slotkv", ours.uri(), operations)
        },
        run_peer: |setting, redis, operations| {
            asyncio(setting, &redis.pids(), "glide", &redis.port().to_string(), operations / 5)
        },
        prepare_peer: |_| Ok(()),
    },
    Comparison {
        name: "asyncio-get-50-redis-py",
        ours: "Python asyncio, GET, 50 in flight",
        peer: "redis-py asyncio, GET, 50 in flight",
        target: 1.0,
        writes_per_sync_min: None,
        durability: "sync",
        operations: 1_000_000,
        run_ours: |setting, ours, operations| {
            asyncio(setting, &ours.pids(), "slotkv", ours.uri(), operations)
        },
        run_peer: |setting, redis, operations| {
            asyncio(setting, &redis.pids(), "redis", &redis.port().to_string(), operations / 10)
        },
        prepare_peer: |_| Ok(()),
    },
    Comparison {
        name: "sync-get",
        ours: "Python sync, GET, 1 in flight",
        peer: "redis-py, GET, 1 in flight",
        target: 1.5,
        writes_per_sync_min: None,
        durability: "sync",
        operations: 100_000,
        run_ours: |setting, ours, operations| sync(setting, &ours.pids(), "slotkv", ours.uri(), operations),
        run_peer: |setting, redis, operations| {
            sync(setting, &redis.pids(), "redis", &redis.port().to_string(), operations / 2)
        },
        prepare_peer: |_| Ok(()),
    },
    Comparison {
        name: "sync-get-glide",
        ours: "Python sync, GET, 1 in flight",
        peer: "valkey-glide-sync, GET, 1 in flight",
        target: 1.0,
        writes_per_sync_min: None,
        durability: "sync",
        operations: 100_000,
        run_ours: |setting, ours, operations| sync(setting, &ours.pids(), "slotkv", ours.uri(), operations),
        run_peer: |setting, redis, operations| {
            sync(setting, &redis.pids(), "glide", &redis.port().to_string(), operations / 2)
        },
        prepare_peer: |_| Ok(()),
    },
    Comparison {
        name: "node-get-50",
        ours: "Node, GET, 50 in flight",
        peer: "ioredis, GET, 50 in flight",
        target: 3.0,
        writes_per_sync_min: None,
        durability: "sync",
        operations: 1_000_000,
        run_ours: |setting, ours, operations| {
            node_get(setting, &ours.pids(), "slotkv", ours.uri(), operations)
        },
        run_peer: |setting, redis, operations| {
            node_get(setting, &redis.pids(), "ioredis", &redis.port().to_string(), operations / 3)
        },
        prepare_peer: |_| Ok(()),
    },
    Comparison {
        name: "node-get-50-glide",
        ours: "Node, GET, 50 in flight",
        peer: "@valkey/valkey-glide, GET, 50 in flight",
        target: 4.0,
        writes_per_sync_min: None,
        durability: "sync",
        operations: 1_000_000,
        run_ours: |setting, ours, operations| {
            node_get(setting, &ours.pids(), "slotkv", ours.uri(), operations)
        },
        run_peer: |setting, redis, operations| {
            node_get(setting, &redis.pids(), "glide", &redis.port().to_string(), operations / 4)
        },
        prepare_peer: |_| Ok(()),
    },
    Comparison {
        name: "put-sync-500",
        ours: "Rust, PUT, sync, 500 in flight",
        peer: "redis-benchmark --cluster, SET, 500 connections, appendfsync always",
        target: 1.0,
        writes_per_sync_min: Some(30.0),
        durability: "sync",
        operations: 500_000,
        run_ours: |_, ours, operations| ours.bench("put", 500, operations),
        run_peer: |_, redis, operations| redis.set(500, 1, operations / 2),
        prepare_peer: |redis| redis.append_only("always"),
    },
    Comparison {
        name: "put-interval-50",
        ours: "Rust, PUT, interval(1000), 50 in flight",
        peer: "redis-benchmark --cluster, SET, 50 connections, P=1, appendfsync everysec",
        target: 1.0,
        writes_per_sync_min: None,
        durability: "interval(1000)",
        operations: 1_000_000,
        run_ours: |_, ours, operations| ours.bench("put", 50, operations),
        run_peer: |_, redis, operations| redis.set(50, 1, operations),
        prepare_peer: |redis| redis.append_only("everysec"),
    },
];

fn asyncio(setting: &Setting, servers: &[u32], client: &str, to: &str, operations: u64) -> Outcome<Speed> {
    let (operations, records) = (operations.to_string(), setting.records.to_string());
    python(setting, servers, "asyncio_get.py", &[client, to, &operations, &records, "50"])
}

fn sync(setting: &Setting, servers: &[u32], client: &str, to: &str, operations: u64) -> Outcome<Speed> {
    let (operations, records) = (operations.to_string(), setting.records.to_string());
    python(setting, servers, "sync_get.py", &[client, to, &operations, &records])
}

fn node_get(setting: &Setting, servers: &[u32], client: &str, to: &str, operations: u64) -> Outcome<Speed> {
    let (operations, records) = (operations.to_string(), setting.records.to_string());
    node(setting, servers, "get.mjs", &[client, to, &operations, &records, "50"])
}

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
        (self.prepare_peer)(redis)?;
        let operations = self.operations / setting.divisor;
        let bar = process::bar(self.name, setting.rounds as u64);
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..setting.rounds {
            mine.push(run(&ours.pids(), || (self.run_ours)(setting, ours, operations))?);
            theirs.push(run(&redis.pids(), || (self.run_peer)(setting, redis, operations))?);
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
fn run(servers: &[u32], load: impl FnOnce() -> Outcome<Speed>) -> Outcome<Side> {
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

fn medians(sides: &[Side]) -> Side {
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

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
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
