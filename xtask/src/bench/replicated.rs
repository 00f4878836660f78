//! `cargo xtask bench replicated`: writes that more than one copy has before they are acknowledged, and linearizable
//! reads, beside etcd and beside Redis with `WAIT 1`.
//!
//! slotkv stays up over the rounds; etcd is started afresh in each, since its members get slower with what was written.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::{self, Profile};
use crate::table::{Table, thousands};
use crate::{Outcome, cluster, machine, process};

use super::comparison::{Side, median, medians, run as measured};
use super::etcd::Etcd;
use super::redis_cluster::{MASTERS, NODE_TIMEOUT_MS_DEFAULT, RedisCluster, Shape};
use super::replicas::{self, Replicas};
use super::{Speed, VALUE_BYTES, benches, ours, report, resync};

const RECORDS: u64 = 100_000;
const ROUNDS: usize = 5;
/// Most that may be wished.
const ROUNDS_MAX: usize = 100;
/// Connections of the load to each member of etcd; more made it no faster.
const ETCD_CONNECTIONS: usize = 4;

/// A row.
struct Comparison {
    name: &'static str,
    workload: &'static str,
    in_flight: u32,
    peer: Peer,
    /// The least ratio that is wanted.
    target: f64,
    operations: u64,
    peer_operations: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Etcd,
    Redis,
}

const COMPARISONS: [Comparison; 6] = [
    etcd_row("put-sync-64", "put", 64, 3.0, 200_000, 100_000),
    etcd_row("put-sync-500", "put", 500, 3.0, 400_000, 150_000),
    etcd_row("get-64", "get", 64, 5.0, 1_000_000, 200_000),
    etcd_row("get-500", "get", 500, 5.0, 1_000_000, 200_000),
    redis_row("put-interval-64", 64),
    redis_row("put-interval-500", 500),
];

const fn etcd_row(
    name: &'static str,
    workload: &'static str,
    in_flight: u32,
    target: f64,
    operations: u64,
    peer_operations: u64,
) -> Comparison {
    Comparison { name, workload, in_flight, peer: Peer::Etcd, target, operations, peer_operations }
}

const fn redis_row(name: &'static str, in_flight: u32) -> Comparison {
    let (operations, peer_operations) = (400_000, 400_000);
    Comparison {
        name,
        workload: "put",
        in_flight,
        peer: Peer::Redis,
        target: 1.0,
        operations,
        peer_operations,
    }
}

impl Comparison {
    fn ours(&self) -> String {
        let replicas = match self.peer {
            Peer::Etcd => "a shard of 3 replicas, sync",
            Peer::Redis => "3 shards of 3 replicas, interval(1000)",
        };
        format!("{}, {} in flight, {replicas}", self.workload.to_uppercase(), self.in_flight)
    }

    fn theirs(&self) -> &'static str {
        match (self.peer, self.workload) {
            (Peer::Etcd, "get") => "etcd, 3 members, linearizable Range",
            (Peer::Etcd, _) => "etcd, 3 members, Put",
            (Peer::Redis, _) => "Redis Cluster, 3 masters with 2 replicas each, everysec, SET + WAIT 1",
        }
    }
}

struct Row {
    comparison: &'static Comparison,
    ours: Side,
    peer: Option<Side>,
    ratio: f64,
}

struct Setting {
    slotkv: PathBuf,
    flood: PathBuf,
    dir: PathBuf,
    rounds: usize,
    peers_only: bool,
}

/// `[--rounds N] [--peers-only] [ROW... | resync]`
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let (mut rounds, mut peers_only, mut with_resync) = (ROUNDS, false, arguments.is_empty());
    let mut wanted = Vec::new();
    let mut left = arguments.iter();
    while let Some(argument) = left.next() {
        match argument.as_str() {
            "--rounds" => {
                let number = left.next().and_then(|number| number.parse().ok());
                let number = number.filter(|number| (1..=ROUNDS_MAX).contains(number));
                rounds = number.ok_or(format!("--rounds wants a number from 1 to {ROUNDS_MAX}"))?;
            }
            "--peers-only" => peers_only = true,
            "resync" => with_resync = true,
            name => {
                let found = COMPARISONS.iter().find(|comparison| comparison.name == name);
                wanted.push(found.ok_or_else(|| format!("no row {name:?} of bench replicated"))?);
            }
        }
    }
    if wanted.is_empty() && (arguments.is_empty() || !with_resync) {
        wanted.extend(COMPARISONS.iter());
    }
    machine::install(&[machine::JAVA, machine::ZOOKEEPER, machine::REDIS_SERVER, machine::REDIS_TOOLS])?;
    machine::install(&[machine::ETCD, machine::ETCD_CLIENT])?;
    let dir = project::scratch().join("bench-replicated");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let flood = benches::build("bench-flood")?;
    let slotkv = cluster::build(Profile::Release)?;
    let setting = Setting { slotkv, flood, dir, rounds, peers_only };

    let mut rows = Vec::new();
    for peer in [Peer::Etcd, Peer::Redis] {
        let of_this: Vec<_> = wanted.iter().copied().filter(|comparison| comparison.peer == peer).collect();
        if !of_this.is_empty() {
            rows.extend(measure(&setting, peer, &of_this)?);
        }
    }
    let mut text = String::new();
    if !rows.is_empty() {
        print!("\n{}\n{}", speeds(&rows).text(), costs(&rows).text());
        text = format!("{}\n{}", speeds(&rows).markdown(), costs(&rows).markdown());
    }
    if with_resync && !peers_only {
        let table = resync::run(&setting.slotkv, &setting.dir.join("resync"))?;
        print!("\n{}", table.text());
        text += &format!("\n{}", table.markdown());
    }
    if arguments.is_empty() {
        let what = format!("medians of {rounds} alternating rounds. {}", report::replicated_machine());
        report::write_part("replicated", "cargo xtask bench replicated", &what, &text)?;
    }
    Ok(true)
}

/// A B A B, each round with all rows of one peer.
fn measure(setting: &Setting, peer: Peer, wanted: &[&'static Comparison]) -> Outcome<Vec<Row>> {
    let (shards, durability) = match peer {
        Peer::Etcd => (1, "sync"),
        Peer::Redis => (MASTERS, "interval(1000)"),
    };
    let shape = replicas::Shape { zookeepers: 1, masters: 1, shards, replicas: 3, durability, more: &[] };
    let ours = match setting.peers_only {
        true => None,
        false => Some(Replicas::start(&setting.slotkv, &setting.dir.join("slotkv"), &shape)?),
    };
    if let Some(ours) = &ours {
        process::output(bench(setting, ours, "put", 500).arg("--load-only"))?;
    }
    let mut sides: Vec<(Vec<Side>, Vec<Side>)> = wanted.iter().map(|_| Default::default()).collect();
    for round in 0..setting.rounds {
        if let Some(ours) = &ours {
            for (comparison, (mine, _)) in wanted.iter().zip(&mut sides) {
                let side = measured(&ours.pids(), || our_run(setting, ours, comparison))?;
                eprintln!("{} slotkv {}: {:.0}/s", comparison.name, round + 1, side.rate);
                mine.push(side);
            }
        }
        let servers = Servers::start(setting, peer)?;
        for (comparison, (_, theirs)) in wanted.iter().zip(&mut sides) {
            let side = measured(&servers.pids(), || servers.run(setting, comparison))?;
            eprintln!("{} peer {}: {:.0}/s", comparison.name, round + 1, side.rate);
            theirs.push(side);
        }
    }
    if let Some(ours) = ours {
        ours.stop()?;
    }
    let rows = wanted.iter().zip(sides).map(|(&comparison, (mine, theirs))| Row {
        comparison,
        ratio: median(mine.iter().zip(&theirs).map(|(mine, theirs)| mine.rate / theirs.rate)),
        ours: medians(&mine),
        peer: (!theirs.is_empty()).then(|| medians(&theirs)),
    });
    Ok(rows.collect())
}

fn our_run(setting: &Setting, ours: &Replicas, comparison: &Comparison) -> Outcome<Speed> {
    let mut command = bench(setting, ours, comparison.workload, comparison.in_flight);
    command.args(["--run-only", "--operations", &comparison.operations.to_string()]);
    ours::bench_speed(&mut command)
}

fn bench(setting: &Setting, ours: &Replicas, workload: &str, in_flight: u32) -> Command {
    let mut command = Command::new(&setting.slotkv);
    command.args(["bench", "--json", "--uri", &ours.uri, "--workload", workload]);
    command.args(["--records", &RECORDS.to_string(), "--in-flight", &in_flight.to_string()]);
    command.args(["--key-bytes", "16", "--value-bytes", &VALUE_BYTES.to_string()]);
    command
}

/// The peer's, freshly started and filled.
enum Servers {
    Etcd(Etcd),
    Redis(RedisCluster),
}

impl Servers {
    fn start(setting: &Setting, peer: Peer) -> Outcome<Self> {
        let servers = match peer {
            Peer::Etcd => Self::Etcd(Etcd::start(&setting.dir.join("etcd"))?),
            Peer::Redis => {
                let shape =
                    Shape { replicas: 2, node_timeout_ms: NODE_TIMEOUT_MS_DEFAULT, is_append_only: true };
                let dir = setting.dir.join("redis");
                if dir.exists() {
                    std::fs::remove_dir_all(&dir)?;
                }
                Self::Redis(RedisCluster::start(&dir, shape)?)
            }
        };
        if let Self::Etcd(_) = servers {
            servers.flood(&setting.flood, "etcd-fill", RECORDS * 21 / 20, 500)?;
        }
        Ok(servers)
    }

    fn pids(&self) -> Vec<u32> {
        match self {
            Self::Etcd(etcd) => etcd.pids(),
            Self::Redis(redis) => redis.pids(),
        }
    }

    fn run(&self, setting: &Setting, comparison: &Comparison) -> Outcome<Speed> {
        let what = match (self, comparison.workload) {
            (Self::Redis(_), _) => "redis-set",
            (_, "get") => "etcd-get",
            _ => "etcd-put",
        };
        self.flood(&setting.flood, what, comparison.peer_operations, comparison.in_flight)
    }

    fn flood(&self, flood: &Path, what: &str, operations: u64, in_flight: u32) -> Outcome<Speed> {
        let addresses = match self {
            Self::Etcd(etcd) => vec![etcd.addresses(); ETCD_CONNECTIONS].join(","),
            Self::Redis(redis) => {
                let masters = redis.ports()[..MASTERS].iter().map(|port| format!("127.0.0.1:{port}"));
                masters.collect::<Vec<_>>().join(",")
            }
        };
        let arguments =
            [what.to_owned(), addresses, operations.to_string(), RECORDS.to_string(), in_flight.to_string()];
        ours::run(&mut Command::new(flood), &[], &arguments)
    }
}

fn speeds(rows: &[Row]) -> Table {
    let mut table = Table::new(&["row", "slotkv ops/s", "peer ops/s", "ratio", "wanted", "met"]);
    for row in rows {
        let rate = |side: Option<&Side>| side.map_or("-".to_owned(), |side| thousands(side.rate as u64));
        table.row([
            format!(
                "**{}**: {} beside {}",
                row.comparison.name,
                row.comparison.ours(),
                row.comparison.theirs()
            ),
            rate(Some(&row.ours)),
            rate(row.peer.as_ref()),
            format!("{:.2}", row.ratio),
            format!("{:.1}", row.comparison.target),
            if row.ratio >= row.comparison.target { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}

/// CPU per operation, and how much of one core the measuring client had.
fn costs(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "row",
        "CPU client, us",
        "CPU servers, us",
        "client's share of a core",
        "p50, us",
        "p99",
    ]);
    for row in rows {
        let pair = |of: &dyn Fn(&Side) -> Option<f64>, digits: usize| {
            let text = |side: Option<&Side>| {
                side.and_then(of).map_or("-".to_owned(), |number| format!("{number:.digits$}"))
            };
            format!("{} / {}", text(Some(&row.ours)), text(row.peer.as_ref()))
        };
        table.row([
            row.comparison.name.to_owned(),
            pair(&|side| Some(side.client_us), 1),
            pair(&|side| Some(side.servers_us), 1),
            pair(&|side| Some(side.client_us * side.rate / 1e6), 2),
            pair(&|side| side.p50_us, 0),
            pair(&|side| side.p99_us, 0),
        ]);
    }
    table
}
