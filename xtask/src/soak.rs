//! `cargo xtask soak`: a client of every language at a modest rate, for as long as one likes, against workers that are
//! killed and started again. Every call has to succeed, and no client may grow. `tests/soak` has the clients.
//!
//! The programs are copied first and the run has a folder of its own, so that the project can be worked on meanwhile.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::c::{self, Language, Linkage};
use crate::cluster::{self, Split};
use crate::node::Package;
use crate::project::{self, Profile};
use crate::table::Table;
use crate::venv::Venv;
use crate::zookeeper::ZooKeeper;
use crate::{Outcome, install_c, process};

const SHARDS: usize = 2;
/// So that restarts meet checkpoints and truncated logs.
const WORKER_ARGUMENTS: [&str; 4] = ["--checkpoint-bytes", "1MiB", "--cache-bytes", "4MiB"];
/// Longest time for one round; the clients' own patience is shorter.
const ROUND_MAX: Duration = Duration::from_secs(120);
/// Longest time that a client may take to leave at the end of its input.
const LEAVE_MAX: Duration = Duration::from_secs(30);
/// What a client may grow by from after its warm-up to the end: this share of its resident memory, and so many bytes.
const GROWTH_MAX: f64 = 0.05;
const GROWTH_BYTES_MAX: u64 = 2 << 20;
const MIB: f64 = (1 << 20) as f64;

/// How long what takes.
struct Plan {
    length: Duration,
    /// A client begins its rounds so far apart.
    round_every: Duration,
    crash_every: Duration,
    sample_every: Duration,
    /// Nothing is compared before.
    warm_up: Duration,
    /// Samples of so long after the warm-up are compared with those of so long before the end.
    window: Duration,
}

impl Plan {
    /// As in the test suite.
    fn short() -> Self {
        Self {
            length: Duration::from_secs(20),
            round_every: Duration::from_millis(100),
            crash_every: Duration::from_secs(5),
            sample_every: Duration::from_millis(200),
            warm_up: Duration::from_secs(8),
            window: Duration::from_secs(4),
        }
    }

    fn minutes(minutes: u32) -> Self {
        let length = Duration::from_secs(60) * minutes;
        Self {
            length,
            round_every: Duration::from_millis(500),
            crash_every: Duration::from_secs(30),
            sample_every: Duration::from_secs(1),
            warm_up: (length * 2 / 5).min(Duration::from_secs(600)),
            window: (length / 5).min(Duration::from_secs(300)),
        }
    }
}

/// The verb.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let (mut minutes, mut seed) = (1, 1);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut number = || rest.next().and_then(|value| value.parse().ok());
        match argument.as_str() {
            "--minutes" => {
                minutes = number().filter(|&minutes| minutes > 0).ok_or("--minutes wants a number")?
            }
            "--seed" => seed = number().ok_or("--seed wants a number")?,
            _ => return Err("usage: cargo xtask soak [--minutes N] [--seed S]".into()),
        }
    }
    let slotkv = cluster::build(Profile::Debug)?;
    let venv = Venv::with("soak", &[])?;
    venv.install_slotkv(&["--profile", "dev"])?;
    let node = Package::build(Profile::Debug)?;
    soak(&slotkv, &venv, &node, &Plan::minutes(u32::try_from(minutes)?), seed)?;
    Ok(true)
}

/// The same in short as a suite; how many clients.
pub fn suite(slotkv: &Path, venv: &Venv, node: &Package) -> Outcome<u64> {
    soak(slotkv, venv, node, &Plan::short(), 1)
}

/// Removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn soak(slotkv: &Path, venv: &Venv, node: &Package, plan: &Plan, seed: u64) -> Outcome<u64> {
    let folder = Folder(project::scratch().join(format!("soak-{}", std::process::id())));
    fs::create_dir_all(&folder.0)?;
    let slotkv = copied(slotkv, &folder.0)?;
    let commands = commands(&folder.0, venv, node)?;
    let zookeeper = ZooKeeper::start(1)?;
    let ports = cluster::free_ports(SHARDS)?;
    let data = folder.0.join("data");
    let mut cluster = Split::start(&slotkv, &zookeeper.uri, &data, &ports, &WORKER_ARGUMENTS)?;
    let start = |(name, command): (&'static str, Command)| Client::start(name, command, &cluster.uri);
    let mut clients: Vec<Client> = commands.into_iter().map(start).collect::<Outcome<_>>()?;
    let mut watched = Watched::new(clients.iter().map(|client| (client.name, client.child.id())));
    println!(
        "{} clients for {} s, a worker killed every {} s, seed {seed}",
        clients.len(),
        plan.length.as_secs(),
        plan.crash_every.as_secs()
    );

    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    let (crashes, driven) = std::thread::scope(|scope| -> Outcome<_> {
        let drive = |client| scope.spawn(|| Client::drive(client, plan.round_every, &is_over));
        let driven: Vec<_> = clients.iter_mut().map(drive).collect();
        let crashes = disturb(&mut cluster, &ports, &mut watched, plan, seed, &is_over);
        is_over.store(true, Relaxed);
        let driven: Vec<Driven> = driven
            .into_iter()
            .map(|drive| drive.join().map_err(|_| "a driver panicked"))
            .collect::<Result<_, _>>()?;
        Ok((crashes?, driven))
    })?;
    let length = begun.elapsed();
    for (client, driven) in clients.iter_mut().zip(&driven) {
        if let Some(why) = &driven.failed {
            return Err(client.failure(driven.rounds + 1, why)?.into());
        }
    }
    for client in clients {
        client.finish()?;
    }
    if !cluster.stop()? {
        return Err("the cluster did not leave in an orderly way".into());
    }
    report(&watched, &driven, plan, length, crashes)?;
    Ok(driven.len() as u64)
}

/// Kills workers, starts them again, and looks at the clients, until the time is over or a client has failed.
fn disturb(
    cluster: &mut Split,
    ports: &[u16],
    watched: &mut Watched,
    plan: &Plan,
    seed: u64,
    is_over: &AtomicBool,
) -> Outcome<u64> {
    let begun = Instant::now();
    let (mut crashes, mut chance) = (0, seed);
    while begun.elapsed() < plan.length && !is_over.load(Relaxed) {
        if begun.elapsed() >= plan.crash_every * (crashes as u32 + 1) {
            chance = mixed(chance);
            let shard = (chance % ports.len() as u64) as usize;
            watched.sample_members(&cluster.pids());
            cluster.crash_worker(shard, ports[shard])?;
            crashes += 1;
        }
        watched.sample(begun.elapsed())?;
        watched.sample_members(&cluster.pids());
        std::thread::sleep(plan.sample_every);
    }
    Ok(crashes)
}

/// The next of a sequence of numbers that look like chance (SplitMix64).
fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The clients as they are started, without the URI; their programs are in `folder`.
fn commands(folder: &Path, venv: &Venv, node: &Package) -> Outcome<Vec<(&'static str, Command)>> {
    let log = project::scratch().join("logs/cargo-soak.log");
    let bin = ["--bin", "soak-rust"];
    process::logged(
        "cargo build soak-rust",
        &log,
        project::cargo().arg("build").args(project::SELECTION).args(bin),
    )?;
    let source = |name: &str| copied(&project::root().join("tests/soak").join(name), folder);
    let script = source("soak.py")?;
    let python = |mode: &str| {
        let mut command = venv.python();
        command.arg(&script).arg(mode);
        command
    };
    let package = folder.join("node");
    node.copy(&package)?;
    let mut javascript = Command::new("node");
    javascript.arg("--expose-gc").arg(source("soak.mjs")?).arg(package);
    let installed = install_c::install(&folder.join("c"), Profile::Debug)?;
    let program = c::compile(&installed, "gcc", Language::C, Linkage::Shared, &source("soak.c")?)?;
    let mut c = Command::new(copied(&program, folder)?);
    installed.run(&mut c);
    let rust = Command::new(copied(&Profile::Debug.program("soak-rust"), folder)?);
    Ok(vec![
        ("rust", rust),
        ("python", python("sync")),
        ("asyncio", python("asyncio")),
        ("node", javascript),
        ("c-queue", c),
    ])
}

fn copied(file: &Path, folder: &Path) -> Outcome<PathBuf> {
    let copy = folder.join(file.file_name().ok_or("no name")?);
    fs::copy(file, &copy).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(copy)
}

/// A client's process. Dropped, it is killed.
struct Client {
    name: &'static str,
    child: Child,
    rounds: Option<ChildStdin>,
    answers: Receiver<String>,
}

/// What a client has done.
struct Driven {
    rounds: u64,
    longest: Duration,
    /// Why it did not go on.
    failed: Option<String>,
}

impl Client {
    fn start(name: &'static str, mut command: Command, uri: &str) -> Outcome<Self> {
        let command = process::tied(command.arg(uri)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let rounds = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name, child, rounds, answers })
    }

    /// Has it do rounds until it is over; a client that fails makes it so.
    fn drive(&mut self, every: Duration, is_over: &AtomicBool) -> Driven {
        let mut driven = Driven { rounds: 0, longest: Duration::ZERO, failed: None };
        while !is_over.load(Relaxed) {
            let begun = Instant::now();
            if let Err(why) = self.round() {
                driven.failed = Some(why);
                is_over.store(true, Relaxed);
                break;
            }
            driven.rounds += 1;
            driven.longest = driven.longest.max(begun.elapsed());
            // What a restart cost is not caught up with.
            std::thread::sleep(every.saturating_sub(begun.elapsed()));
        }
        driven
    }

    fn round(&mut self) -> Result<(), String> {
        let rounds = self.rounds.as_mut().ok_or("it was finished")?;
        rounds.write_all(b"\n").and_then(|()| rounds.flush()).map_err(|error| error.to_string())?;
        match self.answers.recv_timeout(ROUND_MAX) {
            Ok(answer) if answer == "done" => Ok(()),
            Ok(answer) => Err(format!("it answered {answer:?}")),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(format!("no answer within {} s", ROUND_MAX.as_secs()))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err("it ended".into()),
        }
    }

    /// Why it did not go on, with how it ended if it did: one that a signal ends says nothing itself.
    fn failure(&mut self, round: u64, why: &str) -> Outcome<String> {
        drop(self.rounds.take());
        let end = Instant::now() + LEAVE_MAX;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(format!("{}, round {round}: {why}, {status}", self.name));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(format!("{}, round {round}: {why}, and it still runs", self.name))
    }

    /// No more rounds: it has to leave by itself, with success.
    fn finish(mut self) -> Outcome<()> {
        drop(self.rounds.take());
        let end = Instant::now() + LEAVE_MAX;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("{} ended with {status}", self.name).into()),
                None if Instant::now() > end => {
                    return Err(
                        format!("{} does not leave within {} s", self.name, LEAVE_MAX.as_secs()).into()
                    );
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has ended, or it does now.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a process holds at one time.
#[derive(Clone, Copy)]
struct Sample {
    at: Duration,
    resident_bytes: u64,
    descriptors: u64,
    threads: u64,
}

impl Sample {
    fn take(pid: u32, at: Duration) -> Outcome<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Self { at, resident_bytes: number("VmRSS:") << 10, descriptors, threads: number("Threads:") })
    }
}

/// The samples of the clients, and the processor time of all.
struct Watched {
    clients: Vec<(&'static str, u32, Vec<Sample>)>,
    /// Seconds by process id, as they were last seen.
    seconds: HashMap<u32, f64>,
    members: HashMap<u32, f64>,
}

impl Watched {
    fn new(clients: impl Iterator<Item = (&'static str, u32)>) -> Self {
        let clients = clients.map(|(name, pid)| (name, pid, Vec::new())).collect();
        Self { clients, seconds: HashMap::new(), members: HashMap::new() }
    }

    fn sample(&mut self, at: Duration) -> Outcome<()> {
        for (_, pid, samples) in &mut self.clients {
            // One that is gone has failed, and its driver says why.
            if let Ok(sample) = Sample::take(*pid, at) {
                samples.push(sample);
                self.seconds.insert(*pid, processor_seconds(*pid));
            }
        }
        Ok(())
    }

    fn sample_members(&mut self, pids: &[u32]) {
        self.members.extend(pids.iter().map(|&pid| (pid, processor_seconds(pid))));
    }
}

/// Processor time of a process so far.
fn processor_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may have blanks.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // SAFETY: a plain system call.
    ticks as f64 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}

/// The upper quartile of what samples say: neither a pause of a worker nor a single peak moves it.
fn usual(samples: &[&Sample], value: impl Fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(|sample| value(sample)).collect();
    values.sort_unstable();
    values.get(values.len() * 3 / 4).copied().unwrap_or(0)
}

/// What a client held after its warm-up and at the end, and what is wrong with that.
struct Growth {
    resident: [u64; 2],
    descriptors: [u64; 2],
    threads: [u64; 2],
}

impl Growth {
    fn of(samples: &[Sample], plan: &Plan) -> Outcome<Self> {
        let last = samples.last().ok_or("no samples")?.at;
        let within = |from: Duration| -> Vec<&Sample> {
            samples.iter().filter(|sample| sample.at >= from && sample.at <= from + plan.window).collect()
        };
        let windows = [within(plan.warm_up), within(last.saturating_sub(plan.window))];
        if windows.iter().any(Vec::is_empty) {
            return Err("no samples after the warm-up".into());
        }
        let each = |value: fn(&Sample) -> u64| windows.each_ref().map(|window| usual(window, value));
        Ok(Self {
            resident: each(|sample| sample.resident_bytes),
            descriptors: each(|sample| sample.descriptors),
            threads: each(|sample| sample.threads),
        })
    }

    fn wrong(&self) -> Option<&'static str> {
        let [warm, end] = self.resident;
        let room = (warm as f64 * GROWTH_MAX) as u64 + GROWTH_BYTES_MAX;
        let grows = |[warm, end]: [u64; 2]| end > warm;
        match () {
            () if end > warm + room => Some("its memory grows"),
            () if grows(self.descriptors) => Some("its descriptors grow"),
            () if grows(self.threads) => Some("its threads grow"),
            () => None,
        }
    }
}

fn report(watched: &Watched, driven: &[Driven], plan: &Plan, length: Duration, crashes: u64) -> Outcome<()> {
    let head = ["client", "rounds", "longest s", "RSS MiB", "at the end", "descriptors", "threads", "core %"];
    let mut table = Table::new(&head);
    let mut wrong = Vec::new();
    let share = |seconds: f64| format!("{:.1}", 100.0 * seconds / length.as_secs_f64());
    for ((name, pid, samples), driven) in watched.clients.iter().zip(driven) {
        let growth = Growth::of(samples, plan).map_err(|why| format!("{name}: {why}"))?;
        wrong.extend(growth.wrong().map(|why| format!("{name}: {why}")));
        let both = |[warm, end]: [u64; 2]| format!("{warm} {end}");
        table.row([
            (*name).to_owned(),
            driven.rounds.to_string(),
            format!("{:.1}", driven.longest.as_secs_f64()),
            format!("{:.1}", growth.resident[0] as f64 / MIB),
            format!("{:+.1}", (growth.resident[1] as f64 - growth.resident[0] as f64) / MIB),
            both(growth.descriptors),
            both(growth.threads),
            share(watched.seconds.get(pid).copied().unwrap_or_default()),
        ]);
    }
    let members = share(watched.members.values().sum());
    println!("\n{}\n{crashes} workers killed; master and workers: {members} % of a core", table.text());
    if crashes == 0 {
        wrong.push("no worker was killed".into());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client whose samples, one per second, are what `held` says.
    fn growth(held: impl Fn(u64) -> (u64, u64, u64)) -> Option<&'static str> {
        let plan = Plan::minutes(10);
        let sample = |second| {
            let (resident_bytes, descriptors, threads) = held(second);
            Sample { at: Duration::from_secs(second), resident_bytes, descriptors, threads }
        };
        let samples: Vec<Sample> = (0..600).map(sample).collect();
        Growth::of(&samples, &plan).unwrap().wrong()
    }

    #[test]
    fn what_grows_is_found_and_what_only_warms_up_or_waits_is_not() {
        const BASE: u64 = 40 << 20;
        assert_eq!(growth(|_| (BASE, 10, 3)), None);
        assert_eq!(growth(|second| (BASE + second.min(100) * (1 << 20), 10, 3)), None);
        // While a worker is away, every fourth of ten seconds.
        assert_eq!(growth(|second| (BASE, 10 - u64::from(second % 10 < 4), 3)), None);
        assert_eq!(growth(|second| (BASE + second * 32768, 10, 3)), Some("its memory grows"));
        assert_eq!(growth(|second| (BASE, 10 + second / 100, 3)), Some("its descriptors grow"));
        assert_eq!(growth(|second| (BASE, 10, 3 + second / 100)), Some("its threads grow"));
    }
}
