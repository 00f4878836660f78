//! `cargo xtask bench failover`: how long a fault of a primary keeps callers from writing, with slotkv and its peers.
//!
//! Fifty callers write a key each, all of one shard, with a pause of 10 ms. Then the shard's primary is killed, or
//! stopped, or handed over; again and again, each time after all copies are in sync.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::node::{self, Package};
use crate::project::{self, Profile};
use crate::table::Table;
use crate::venv::Venv;
use crate::{Outcome, cluster, machine, process};

use super::callers::{Callers, Seen};
use super::etcd::Etcd;
use super::redis_cluster::{NODE_TIMEOUT_MS_DEFAULT, RedisCluster, Shape};
use super::replicas::{self, Replicas};
use super::subject::{Subject, Tools};
use super::{PEERS, benches};
use super::{quiet, report};

const KILLS: usize = 20;
/// Most that may be wished.
const KILLS_MAX: usize = 1000;
/// Longest time that callers are given to write again, of several times what a system's own timers add up to; then they
/// count as if they never did.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_BY_DEFAULT: Duration = Duration::from_secs(40);
/// Longest time until all copies are in sync again.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Least time of good service before a fault; the phase to every timer varies by as much again.
const SETTLE: Duration = Duration::from_secs(1);
/// A hand-over's calls are watched so long.
const HAND_OVER_WATCH: Duration = Duration::from_secs(1);
/// Longest time from all copies in sync to a fail-back.
const FAIL_BACK_TIMEOUT: Duration = Duration::from_secs(15);

/// What is done to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Stop,
    HandOver,
    /// By itself, some seconds after a primary that was away is in sync again.
    FailBack,
}

impl Fault {
    const ALL: [Fault; 3] = [Fault::Kill, Fault::Stop, Fault::HandOver];

    fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill -9",
            Fault::Stop => "SIGSTOP",
            Fault::HandOver => "planned",
            Fault::FailBack => "fail-back",
        }
    }
}

/// Systems, by what `--only` calls them.
const SYSTEMS: [(&str, &str); 4] = [
    ("slotkv", "slotkv, 3 replicas, `ack=one`, sync"),
    ("redis", "Redis Cluster, a replica each, node timeout 15 s"),
    ("redis-1s", "Redis Cluster, a replica each, node timeout 1 s"),
    ("etcd", "etcd, 3 members"),
];

/// One row.
struct Row {
    system: &'static str,
    fault: Fault,
    faults: usize,
    seen: Vec<Seen>,
}

struct Wish {
    kills: usize,
    only: Option<String>,
    faults: Vec<Fault>,
    /// Nothing of the clients is built or installed: what the run before left is taken.
    is_built: bool,
}

/// `[--kills N] [--only SYSTEM] [--fault kill|stop|planned] [--built] | --quiet-minutes N [--rate N]`
pub fn run(arguments: &[String]) -> Outcome<bool> {
    if let [flag, minutes, more @ ..] = arguments
        && flag == "--quiet-minutes"
    {
        let minutes = minutes.parse().map_err(|_| "--quiet-minutes wants a number")?;
        return match more {
            [] => quiet::run(minutes, None),
            [flag, rate] if flag == "--rate" => {
                quiet::run(minutes, Some(rate.parse().map_err(|_| "--rate wants a number")?))
            }
            _ => Err(format!("bench failover --quiet-minutes does not take {}", more.join(" ")).into()),
        };
    }
    let mut wish = Wish { kills: KILLS, only: None, faults: Fault::ALL.to_vec(), is_built: false };
    let mut left = arguments.iter();
    while let Some(argument) = left.next() {
        if argument == "--built" {
            wish.is_built = true;
            continue;
        }
        let value = left.next().ok_or_else(|| format!("{argument} wants a value"))?;
        match argument.as_str() {
            "--kills" => {
                let kills = value.parse().ok().filter(|kills| (1..=KILLS_MAX).contains(kills));
                wish.kills = kills.ok_or(format!("--kills wants a number from 1 to {KILLS_MAX}"))?;
            }
            "--only" if SYSTEMS.iter().any(|(name, _)| name == value) => wish.only = Some(value.clone()),
            "--fault" => {
                wish.faults = match value.as_str() {
                    "kill" => vec![Fault::Kill],
                    "stop" => vec![Fault::Stop],
                    "planned" => vec![Fault::HandOver],
                    _ => return Err("--fault wants kill, stop or planned".into()),
                }
            }
            _ => return Err(format!("bench failover does not take {argument} {value}").into()),
        }
    }
    let (rows, is_whole) = measure(&wish)?;
    print!("\n{}", table(&rows).text());
    print_errors(&rows);
    let command = format!("cargo xtask bench failover {}", arguments.join(" ")).trim_end().to_owned();
    if arguments.is_empty() && is_whole {
        report::write_part("failover", &command, &report::replicated_machine(), &table(&rows).markdown())?;
    }
    Ok(is_whole)
}

/// The rows, and whether they are all there.
fn measure(wish: &Wish) -> Outcome<(Vec<Row>, bool)> {
    let is_wanted = |name: &str| wish.only.as_deref().is_none_or(|only| only == name);
    machine::install(&[machine::JAVA, machine::ZOOKEEPER, machine::REDIS_SERVER, machine::REDIS_TOOLS])?;
    machine::install(&[machine::ETCD, machine::ETCD_CLIENT])?;
    let slotkv = cluster::build(Profile::Release)?;
    let tools = tools(is_wanted("slotkv"), wish.is_built)?;
    let dir = project::scratch().join("bench-failover");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let (mut rows, mut is_whole) = (Vec::new(), true);
    for (name, _) in SYSTEMS.iter().filter(|(name, _)| is_wanted(name)) {
        let home = dir.join(name);
        // A default of 15 s is found out with fewer.
        let kills = if *name == "redis" { wish.kills.div_ceil(4) } else { wish.kills };
        let mut subject: Box<dyn Subject> = match *name {
            "slotkv" => Box::new(Replicas::start(&slotkv, &home, &shape())?),
            "etcd" => Box::new(Etcd::start(&home)?),
            _ => {
                let node_timeout_ms = if *name == "redis" { NODE_TIMEOUT_MS_DEFAULT } else { 1000 };
                let shape = Shape { replicas: 1, node_timeout_ms, is_append_only: true };
                Box::new(RedisCluster::start(&home, shape)?)
            }
        };
        for &fault in &wish.faults {
            if fault == Fault::HandOver && !subject.can_hand_over() {
                eprintln!("{name} has no planned hand-over yet");
                continue;
            }
            let calls = home.join("calls");
            let (seen, seen_back) = match faults(name, subject.as_mut(), &tools, fault, kills, &calls) {
                Ok(seen) => seen,
                Err(error) => {
                    // The rows of others, which took a while, are shown all the same.
                    eprintln!("{name}, {}: {error}", fault.name());
                    is_whole = false;
                    break;
                }
            };
            rows.push(Row { system: name, fault, faults: kills, seen });
            if !seen_back.is_empty() {
                rows.push(Row { system: name, fault: Fault::FailBack, faults: kills, seen: seen_back });
            }
        }
    }
    Ok((rows, is_whole))
}

fn shape() -> replicas::Shape {
    replicas::Shape { zookeepers: 3, masters: 2, shards: 1, replicas: 3, durability: "sync", more: &[] }
}

fn tools(with_slotkv: bool, is_built: bool) -> Outcome<Tools> {
    let venv = Venv::with("bench", &PEERS)?;
    if is_built {
        return Ok(Tools { rust: benches::build("bench-callers")?, venv });
    }
    let loads = project::root().join("benches/node");
    node::install(&loads)?;
    if with_slotkv {
        venv.install_slotkv(&[])?;
        Package::build(Profile::Release)?.link(&loads)?;
    }
    Ok(Tools { rust: benches::build("bench-callers")?, venv })
}

/// Does a fault again and again; what each caller saw of each, and of each fail-back after it.
fn faults(
    name: &str,
    subject: &mut dyn Subject,
    tools: &Tools,
    fault: Fault,
    count: usize,
    calls: &Path,
) -> Outcome<(Vec<Seen>, Vec<Seen>)> {
    let mut callers = Callers::start(subject.loads(tools), calls)?;
    let (mut all, mut all_back) = (Vec::new(), Vec::new());
    let patience = if name == "redis" { PATIENCE_BY_DEFAULT } else { PATIENCE };
    let bar = process::bar(&format!("{name}, {}", fault.name()), count as u64);
    for number in 0..count {
        await_whole(name, subject)?;
        std::thread::sleep(SETTLE + SETTLE * (number as u32 * 37 % 100) / 100);
        let leader = subject.leader().ok_or("nobody leads")?;
        let at_us = now_us();
        let mut stopped = None;
        match fault {
            Fault::Kill => subject.kill(leader)?,
            Fault::Stop => stopped = Some(Stopped::start(subject.pid(leader))?),
            Fault::HandOver | Fault::FailBack => subject.hand_over(leader)?,
        }
        if fault == Fault::HandOver {
            std::thread::sleep(HAND_OVER_WATCH);
        }
        let wrote = callers.await_writes(at_us, patience);
        drop(stopped);
        if fault == Fault::Kill {
            subject.restart(leader)?;
        }
        let back_us = now_us();
        wrote?;
        let seen = callers.seen(at_us, back_us)?;
        let slowest = seen.iter().filter_map(|seen| seen.gap_ms).fold(0.0, f64::max);
        let never = seen.iter().filter(|seen| seen.gap_ms.is_none()).count();
        eprintln!("{name}, {} {}: {slowest:.0} ms, {never} never", fault.name(), number + 1);
        all.extend(seen);
        if subject.fails_back() && fault != Fault::HandOver {
            await_whole(name, subject)?;
            if await_leader(subject, leader) {
                std::thread::sleep(HAND_OVER_WATCH);
                all_back.extend(callers.seen(back_us, now_us())?);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    await_whole(name, subject)?;
    Ok((all, all_back))
}

/// Whether a server comes to lead again.
fn await_leader(subject: &dyn Subject, wanted: usize) -> bool {
    let end = Instant::now() + FAIL_BACK_TIMEOUT;
    while subject.leader() != Some(wanted) {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

fn await_whole(name: &str, subject: &dyn Subject) -> Outcome<()> {
    let end = Instant::now() + WHOLE_TIMEOUT;
    while !subject.is_whole() {
        if Instant::now() > end {
            let seconds = WHOLE_TIMEOUT.as_secs();
            return Err(format!("{name}: not all copies are in sync after {seconds} s").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A stopped process; it goes on when this is dropped, and also when xtask is ended meanwhile.
struct Stopped(Child);

impl Stopped {
    fn start(pid: u32) -> Outcome<Self> {
        let script = "trap '' INT TERM; kill -STOP $0 && echo stopped; read line; kill -CONT $0";
        let mut command = Command::new("sh");
        command.args(["-c", script, &pid.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        if line.trim() == "stopped" { Ok(Self(child)) } else { Err(format!("cannot stop {pid}").into()) }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Microseconds of CLOCK_MONOTONIC.
pub fn now_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct, which lives over the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "system",
        "fault",
        "faults",
        "writes again p50, ms",
        "p99",
        "longest",
        "never",
        "slowest call p99, ms",
        "failed calls",
        "by client, p99",
    ]);
    for row in rows {
        let system = SYSTEMS.iter().find(|(name, _)| *name == row.system).map_or("", |(_, shown)| shown);
        let gaps = sorted(row.seen.iter().map(|seen| seen.gap_ms.unwrap_or(f64::INFINITY)));
        let slowest = sorted(row.seen.iter().map(|seen| seen.slowest_ms));
        let never = row.seen.iter().filter(|seen| seen.gap_ms.is_none()).count();
        let failed: usize = row.seen.iter().map(|seen| seen.errors.len()).sum();
        table.row([
            system.to_owned(),
            row.fault.name().to_owned(),
            row.faults.to_string(),
            shown(percentile(&gaps, 50)),
            shown(percentile(&gaps, 99)),
            shown(gaps.last().copied().unwrap_or(f64::NAN)),
            never.to_string(),
            shown(percentile(&slowest, 99)),
            failed.to_string(),
            by_language(&row.seen),
        ]);
    }
    table
}

fn by_language(seen: &[Seen]) -> String {
    let mut languages: Vec<&str> = seen.iter().map(|seen| seen.language).collect();
    languages.dedup();
    languages.sort_unstable();
    languages.dedup();
    let of = |language: &&str| {
        let its = seen.iter().filter(|seen| seen.language == *language);
        let gaps = sorted(its.map(|seen| seen.gap_ms.unwrap_or(f64::INFINITY)));
        format!("{language} {}", shown(percentile(&gaps, 99)))
    };
    languages.iter().map(of).collect::<Vec<_>>().join(", ")
}

/// The commonest errors of each row.
fn print_errors(rows: &[Row]) {
    for row in rows {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for error in row.seen.iter().flat_map(|seen| &seen.errors) {
            let error = error.get(..100).unwrap_or(error);
            match counts.iter_mut().find(|(known, _)| *known == error) {
                Some((_, count)) => *count += 1,
                None => counts.push((error, 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (error, count) in counts.iter().take(5) {
            println!("{}, {}: {count} x {error}", row.system, row.fault.name());
        }
    }
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn percentile(sorted: &[f64], hundredths: usize) -> f64 {
    let at = (sorted.len() * hundredths / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn shown(ms: f64) -> String {
    if ms.is_infinite() { "never".to_owned() } else { format!("{ms:.0}") }
}
