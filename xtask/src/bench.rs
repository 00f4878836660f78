//! `cargo xtask bench`: slotkv beside its peers, in one run on one machine.
//!
//! Both sides run the same kind of load with the same number of processes and of requests in flight, alternating
//! A B A B; the figures are medians. Layout: [`comparison`] the rows, [`load`] what
//! runs in them · [`instructions`] what a call costs each client · [`redis`] the peer · [`ours`] slotkv's side · [`usage`] CPU time · [`report`] docs/benchmarks.md.
//!
//! With replicas: [`failover`] faults of a primary, [`subject`] what they are tried on, [`callers`] who meets them, [`quiet`]
//! none of them under load · [`replicated`] throughput, [`resync`] a backup's way back · [`replicas`] slotkv,
//! [`redis_cluster`] and [`etcd`] as processes · [`migrate`] a shard that joins · [`benches`] the loads in Rust.

mod benches;
mod callers;
mod comparison;
mod etcd;
mod failover;
mod instructions;
mod load;
mod migrate;
mod ours;
mod quiet;
mod redis;
mod redis_cluster;
mod replicas;
mod replicated;
mod report;
mod resync;
mod subject;
mod usage;

use std::path::PathBuf;
use std::process::Command;

use crate::c::{self, Language, Linkage};
use crate::install_c::{self, Installed};
use crate::machine;
use crate::node::{self, Package};
use crate::project::{self, Profile};
use crate::venv::Venv;
use crate::{Outcome, cluster, kotlin, process};

use comparison::{COMPARISONS, Comparison, Group, Row};

/// The peers' clients, pinned.
const PEERS: [&str; 3] = ["redis==8.1.0", "valkey-glide==2.5.3", "valkey-glide-sync==2.5.3"];
/// Bytes of a value on both sides; keys have 16 with slotkv and 17 with redis-benchmark.
const VALUE_BYTES: usize = 100;
const RECORDS: u64 = 1_000_000;
const ROUNDS: usize = 5;
/// Most that may be wished.
const ROUNDS_MAX: usize = 100;

/// What one run of one side achieved.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// How many operations ran.
    pub operations: u64,
    /// Operations per second.
    pub rate: f64,
    /// Median latency in microseconds, if the tool tells.
    pub p50_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// CPU seconds of the load program while it measured, if it tells; else those of its whole run count.
    pub client_cpu: Option<f64>,
    /// The servers' likewise.
    pub servers_cpu: Option<f64>,
}

/// What the rows share.
pub struct Setting {
    /// The release binary.
    pub slotkv: PathBuf,
    /// Python with slotkv and the peers' clients.
    pub venv: Venv,
    /// The Node package, which is linked beside the peers' in benches/node.
    pub node: Package,
    /// The C library.
    pub c: Installed,
    /// benches/c/load.c, compiled.
    pub c_load: PathBuf,
    /// `java` with benches/kotlin/load.kt.
    pub kotlin_load: Command,
    /// Where both sides keep their data.
    pub dir: PathBuf,
    /// Keys on either side.
    pub records: u64,
    /// Runs of each side.
    pub rounds: usize,
    /// 1, or 10 with `--quick`: operations are divided by it.
    pub divisor: u64,
}

/// `[--quick] [--rounds N] [--micro] [bindings | ROW...]`, `instructions [--record]`. Prints the ratios; exits with success if the benches ran, whatever the ratios are.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    match arguments.first().map(String::as_str) {
        Some("failover") => return failover::run(&arguments[1..]),
        Some("migrate") => return migrate::run(&arguments[1..]),
        Some("replicated") => return replicated::run(&arguments[1..]),
        _ => {}
    }
    let (mut quick, mut group) = (false, Group::Cluster);
    let (mut is_counted, mut is_record) = (false, false);
    let mut wanted: Vec<&'static Comparison> = Vec::new();
    let mut rounds = None;
    let mut left = arguments.iter();
    while let Some(argument) = left.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--rounds" => {
                let number = left.next().and_then(|number| number.parse().ok());
                let number = number.filter(|number| (1..=ROUNDS_MAX).contains(number));
                rounds = Some(number.ok_or(format!("--rounds wants a number from 1 to {ROUNDS_MAX}"))?);
            }
            "--micro" => return micro(),
            "--record" => is_record = true,
            "instructions" => is_counted = true,
            "bindings" => group = Group::Bindings,
            name => {
                let found = COMPARISONS.iter().find(|comparison| comparison.name == name);
                wanted.push(found.ok_or_else(|| {
                    let names: Vec<&str> = COMPARISONS.iter().map(|comparison| comparison.name).collect();
                    format!("no bench {name:?}; there are {}", names.join(", "))
                })?);
            }
        }
    }
    let whole = wanted.is_empty();
    if whole {
        wanted.extend(COMPARISONS.iter().filter(|comparison| comparison.group == group));
    }

    machine::install(&[machine::JAVA, machine::ZOOKEEPER, machine::REDIS_SERVER, machine::REDIS_TOOLS])?;
    machine::install(&[machine::GCC, machine::PKG_CONFIG])?;
    let slotkv = cluster::build(Profile::Release)?;
    let venv = Venv::with("bench", &PEERS)?;
    venv.install_slotkv(&[])?;
    let node = Package::build(Profile::Release)?;
    let loads = project::root().join("benches/node");
    node::install(&loads)?;
    node.link(&loads)?;
    let c = install_c::install(&project::scratch().join("bench-c"), Profile::Release)?;
    let source = project::root().join("benches/c/load.c");
    let c_load = c::compile(&c, "gcc", Language::C, Linkage::Shared, &source)?;
    let kotlin_load = kotlin::Package::build(Profile::Release)?.load()?;
    let dir = project::scratch().join("bench");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let divisor = if quick { 10 } else { 1 };
    let setting = Setting {
        slotkv,
        venv,
        node,
        c,
        c_load,
        kotlin_load,
        dir,
        records: RECORDS / divisor,
        rounds: rounds.unwrap_or(if quick { 1 } else { ROUNDS }),
        divisor,
    };

    if is_counted {
        return instructions::run(&setting, is_record);
    }
    let rows = measure(&setting, &wanted)?;
    print!("\n{}", report::text(&rows));
    let command = format!("cargo xtask bench {}", arguments.join(" ")).trim_end().to_owned();
    report::write_json(&setting, &rows, &command)?;
    if whole && !quick {
        report::write_markdown(&setting, group, &rows, &command)?;
    }
    Ok(true)
}

fn measure(setting: &Setting, wanted: &[&'static Comparison]) -> Outcome<Vec<Row>> {
    let redis = redis::Redis::start(&setting.dir.join("redis"), setting.records, VALUE_BYTES)?;
    eprintln!("Redis {}: {} keys", redis_cluster::RedisCluster::version(), redis.records());
    let mut rows = Vec::new();
    // A cluster per durability, one after the other, so that an idle one takes no CPU from the one that is measured.
    for durability in ["sync", "interval(1000)"] {
        let of_this: Vec<_> =
            wanted.iter().filter(|comparison| comparison.durability == durability).collect();
        if of_this.is_empty() {
            continue;
        }
        let ours = ours::Cluster::start(setting, durability)?;
        let first = rows.len();
        for comparison in of_this {
            rows.push(comparison.measure(setting, &ours, &redis)?);
        }
        let writes_per_sync = ours.stop()?;
        for row in rows[first..].iter_mut().filter(|row| row.comparison.writes_per_sync_min.is_some()) {
            row.writes_per_sync = writes_per_sync;
        }
    }
    Ok(rows)
}

fn micro() -> Outcome<bool> {
    process::run(project::cargo().args(["bench", "--package", "slotkv-benches"]))?;
    Ok(true)
}
