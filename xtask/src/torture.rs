//! `cargo xtask torture`: a cluster on a real ZooKeeper, each server and client on a host of its own, everything going
//! wrong that a seed comes upon, and every operation of every client judged afterwards. `tests/torture` has the clients and
//! the judges.
//!
//! Layout: [`hosts`] network namespaces · [`link`] slow and dribbling links · [`member`] servers as processes ·
//! [`nemesis`] what goes wrong · [`mover`] slots that move, [`hand_overs`] what became of them · [`client`] what is asked meanwhile · [`report`] what came of it.

mod chance;
mod client;
mod hand_overs;
mod hosts;
mod link;
mod member;
mod mover;
mod nemesis;
mod report;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use self::client::Client;
use self::hosts::Network;
use self::member::{Member, PORT, Role, ZOOKEEPER_PORT};
use self::mover::Mover;
use self::nemesis::Nemesis;
use self::report::Report;
use crate::node::Package;
use crate::project::{self, Profile};
use crate::venv::Venv;
use crate::{Outcome, cluster, machine, process};

const ZOOKEEPERS: usize = 3;
const MASTERS: usize = 2;
const SHARDS: usize = 2;
/// With moves: where one is drained, there are still two between which slots can go.
const SHARDS_MOVING: usize = 3;
/// Of each shard, if nobody says how many; with moves as many workers in all.
const REPLICAS: usize = 3;
const REPLICAS_MOVING: usize = 2;
/// The host of who moves slots.
const MOVER: &str = "mover";
/// So that restarts meet checkpoints and truncated logs.
const WORKER_ARGUMENTS: [&str; 6] =
    ["--checkpoint-bytes", "1MiB", "--cache-bytes", "4MiB", "--engine-cache-bytes", "4MiB"];
/// How long the coordinator believes in a member without a sign of life.
const SESSION: &str = "3s";
/// Longest time from the first process to the first operation, and from the last fault to a cluster that serves.
const SERVING_MAX: Duration = Duration::from_secs(90);

const USAGE: &str = "\
usage: cargo xtask torture [--moves] [--minutes N] [--seed S] [--replicas R] [--ack one|all] [--release] [--quiet] [--plant]";

/// What a run is told.
pub struct Plan {
    length: Duration,
    seed: u64,
    replicas: usize,
    ack: String,
    profile: Profile,
    /// Slots move all the time.
    moves: bool,
    /// Without faults, to try the harness.
    is_quiet: bool,
    /// One acknowledged write that was lost is put into what the clients recorded.
    plants: bool,
}

impl Plan {
    fn read(arguments: &[String]) -> Outcome<Self> {
        let mut plan = Self {
            length: Duration::from_secs(120),
            seed: 1,
            replicas: 0,
            ack: "one".to_owned(),
            profile: Profile::Debug,
            moves: false,
            is_quiet: false,
            plants: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or(USAGE);
            match argument.as_str() {
                "--minutes" => plan.length = Duration::try_from_secs_f64(value()?.parse::<f64>()? * 60.0)?,
                "--seed" => plan.seed = value()?.parse()?,
                "--replicas" => plan.replicas = value()?.parse()?,
                "--ack" => plan.ack.clone_from(value()?),
                "--release" => plan.profile = Profile::Release,
                "--moves" => plan.moves = true,
                "--quiet" => plan.is_quiet = true,
                "--plant" => plan.plants = true,
                _ => return Err(USAGE.into()),
            }
        }
        if plan.replicas == 0 {
            plan.replicas = if plan.moves { REPLICAS_MOVING } else { REPLICAS };
        }
        Ok(plan)
    }

    fn shards(&self) -> usize {
        if self.moves { SHARDS_MOVING } else { SHARDS }
    }
}

/// The verb.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let plan = Plan::read(arguments)?;
    let slotkv = cluster::build(plan.profile)?;
    let maturin: &[&str] = if plan.profile == Profile::Debug { &["--profile", "dev"] } else { &[] };
    let venv = Venv::with("torture", &[])?;
    venv.install_slotkv(maturin)?;
    let node = Package::build(plan.profile)?;
    let report = torture(&Tools::new(&slotkv, &venv, &node, plan.profile)?, &plan)?;
    println!("{}", report.text());
    Ok(report.is_right())
}

/// Two minutes as a suite, and two more while slots move: the one has three replicas, the other three shards. How many checks.
pub fn suite(slotkv: &Path, venv: &Venv, node: &Package) -> Outcome<u64> {
    let mut checks = 0;
    for moves in [false, true] {
        let arguments = if moves { vec!["--moves".to_owned()] } else { Vec::new() };
        let plan = Plan::read(&arguments)?;
        let tools = Tools::new(slotkv, venv, node, plan.profile)?;
        let report = torture(&tools, &plan)?;
        println!("{}", report.text());
        if !report.is_right() {
            return Err("an operation of the torture has no explanation".into());
        }
        report.expect_planted_to_be_found()?;
        checks += report.checks();
    }
    Ok(checks)
}

/// Whether this machine lets us make hosts of our own; why not.
pub fn is_possible() -> Result<(), String> {
    let tried = std::thread::spawn(|| hosts::own_mounts().map_err(|error| error.to_string()));
    tried.join().map_err(|_| "a thread panicked".to_owned())?
}

/// The programs of a run.
pub struct Tools<'a> {
    slotkv: &'a Path,
    venv: &'a Venv,
    node: &'a Package,
    /// Of the Rust client, the judge, and the one who looks at the end.
    programs: PathBuf,
    library: PathBuf,
}

impl<'a> Tools<'a> {
    fn new(slotkv: &'a Path, venv: &'a Venv, node: &'a Package, profile: Profile) -> Outcome<Self> {
        machine::install(&[
            machine::JAVA,
            machine::ZOOKEEPER,
            machine::GCC,
            machine::IPROUTE2,
            machine::NFTABLES,
        ])?;
        let bins = ["torture-rust", "torture-check", "torture-final"];
        let log = project::scratch().join("logs/cargo-torture.log");
        let mut build = project::cargo();
        build.arg("build").args(project::SELECTION).args(profile.flags());
        build.args(bins.iter().flat_map(|bin| ["--bin", bin]));
        process::logged("cargo build torture", &log, &mut build)?;
        let library = project::scratch().join("torture-shim.so");
        let mut compile = Command::new("gcc");
        compile.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library);
        compile.arg(project::root().join("tests/torture/shim.c"));
        process::logged("gcc shim.c", &project::scratch().join("logs/gcc-torture.log"), &mut compile)?;
        Ok(Self { slotkv, venv, node, programs: profile.dir(), library })
    }
}

/// The run, on a thread whose mounts and children end with it.
fn torture(tools: &Tools, plan: &Plan) -> Outcome<Report> {
    let parent = project::scratch().join("torture");
    remove_leftovers(&parent);
    let folder = parent.join(format!("run-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let tortured = std::thread::scope(|scope| {
        let run = scope.spawn(|| torture_in(&folder, tools, plan).map_err(|error| error.to_string()));
        run.join().map_err(|_| "the torture panicked".to_owned()).and_then(|tortured| tortured)
    });
    let kept = parent.join(format!("seed-{}", plan.seed));
    if tortured.as_ref().is_ok_and(|report| report.is_right()) {
        fs::remove_dir_all(&folder)?;
    } else {
        fs::remove_dir_all(&kept).ok();
        fs::rename(&folder, &kept)?;
        eprintln!("logs, timeline and operations: {}", kept.display());
    }
    Ok(tortured?)
}

/// What runs left that were killed.
fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("run-") else { continue };
        if !Path::new("/proc").join(pid).exists() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

fn torture_in(folder: &Path, tools: &Tools, plan: &Plan) -> Outcome<Report> {
    hosts::own_mounts()?;
    let names = names(plan);
    let network = Network::new(&names)?;
    let address = |host: usize| network.hosts[host].address.to_string();
    let mut members = members(&network, folder, tools, plan)?;
    for member in &mut members {
        member.start(&network.hosts[member.host])?;
    }
    let masters: Vec<String> =
        (ZOOKEEPERS..ZOOKEEPERS + MASTERS).map(|host| format!("{}:{PORT}", address(host))).collect();
    let uri = format!("slotkv://{}", masters.join(","));
    let first_client = members.len();
    let clients: Vec<usize> = (first_client..first_client + client::NAMES.len()).collect();
    let timeline = File::create(folder.join("timeline"))?;
    let mut nemesis = Nemesis::new(&network, &mut members, clients, plan.seed, timeline)?;
    let end = Instant::now() + SERVING_MAX;
    loop {
        let mut count = network.hosts[first_client].command(tools.slotkv);
        if serves(count.args(["count", "--uri", &uri])) {
            break;
        }
        if Instant::now() > end {
            return Err(format!("the cluster does not serve after {} s", SERVING_MAX.as_secs()).into());
        }
        nemesis.wait(Duration::from_millis(200))?;
    }
    let started = Client::all(tools, &network.hosts[first_client..], &uri, plan.seed, folder);
    let mut clients: Vec<Client> = started?;
    for client in &mut clients {
        client.await_ready()?;
    }
    let begun = Instant::now();
    println!(
        "{} servers, {} clients, seed {}, for {} s{}",
        first_client,
        clients.len(),
        plan.seed,
        plan.length.as_secs(),
        if plan.moves { ", slots move" } else { "" }
    );
    let mover = (names.last().is_some_and(|name| name == MOVER))
        .then(|| network.hosts.last())
        .flatten()
        .map(|host| Mover::new(host, tools.slotkv, &uri, folder, plan.shards(), plan.seed));
    let mut torment = || match plan.is_quiet {
        true => nemesis.wait(plan.length),
        false => nemesis.torment(plan.length),
    };
    match &mover {
        Some(mover) => mover.beside(torment)?,
        None => torment()?,
    }
    let length = begun.elapsed();
    let mut troubles = Vec::new();
    for client in clients {
        troubles.extend(client.finish(|| nemesis.wait(Duration::from_millis(50)))?);
    }
    let mut report = Report::new(plan, length, std::mem::take(&mut nemesis.counts), troubles);
    if let Some(mover) = mover {
        mover.settle(|| nemesis.wait(Duration::from_millis(50)))?;
        report.look_at_moves(mover.into_moves(), &nemesis.spans);
    }
    let workers: Vec<String> = (0..nemesis.members.len())
        .filter(|&at| matches!(nemesis.members[at].role, Role::Worker { .. }))
        .map(|at| format!("{}:{PORT}", address(nemesis.members[at].host)))
        .collect();
    let mut last = network.hosts[first_client].command(tools.programs.join("torture-final"));
    last.arg(&uri).arg(folder).args(if plan.replicas > 1 { &workers[..] } else { &[] });
    report.look_at_the_end(&mut last, || nemesis.wait(Duration::from_millis(50)))?;
    report.look_at_members(nemesis.members);
    report.judge(&tools.programs.join("torture-check"), folder, plan.plants)?;
    Ok(report)
}

fn serves(command: &mut Command) -> bool {
    let quiet = command.stdin(std::process::Stdio::null());
    quiet.output().is_ok_and(|output| output.status.success())
}

/// Of the hosts: servers of ZooKeeper, masters, workers, clients, who moves slots.
fn names(plan: &Plan) -> Vec<String> {
    let zookeepers = (0..ZOOKEEPERS).map(|at| format!("zookeeper-{at}"));
    let masters = (0..MASTERS).map(|at| format!("master-{at}"));
    let workers = (0..plan.shards() * plan.replicas).map(|at| worker_name(plan, at));
    let clients = client::NAMES.iter().map(|&name| name.to_owned());
    let mover = plan.moves.then(|| MOVER.to_owned());
    zookeepers.chain(masters).chain(workers).chain(clients).chain(mover).collect()
}

fn worker_name(plan: &Plan, at: usize) -> String {
    format!("worker-{}-{}", at / plan.replicas, at % plan.replicas)
}

fn members(network: &Network, folder: &Path, tools: &Tools, plan: &Plan) -> Outcome<Vec<Member>> {
    let address = |host: usize| network.hosts[host].address.to_string();
    let ensemble: Vec<String> = (0..ZOOKEEPERS).map(address).collect();
    let servers: Vec<String> = ensemble.iter().map(|address| format!("{address}:{ZOOKEEPER_PORT}")).collect();
    let coordinator = format!("zk://{}", servers.join(","));
    let arguments = |verb: &str, host: usize, more: &[&str]| -> Vec<String> {
        let listen = format!("{}:{PORT}", address(host));
        let common = [verb, "--listen", &listen, "--coordinator", &coordinator, "--session", SESSION];
        common.iter().chain(more).map(|&argument| argument.to_owned()).collect()
    };
    let programs = (tools.slotkv, &*tools.library);
    let mut members = Vec::new();
    for host in 0..ZOOKEEPERS {
        members.push(Member::zookeeper(&network.hosts[host].name, host, host, &ensemble, folder)?);
    }
    for host in ZOOKEEPERS..ZOOKEEPERS + MASTERS {
        let what = (&*network.hosts[host].name, Role::Master);
        let arguments = arguments("master", host, &["--shards", &plan.shards().to_string()]);
        members.push(Member::slotkv(what, host, programs, arguments, folder)?);
    }
    for at in 0..plan.shards() * plan.replicas {
        let (host, shard) = (ZOOKEEPERS + MASTERS + at, at / plan.replicas);
        let name = &*network.hosts[host].name;
        let (shard_text, data) = (shard.to_string(), folder.join(name).join("data").display().to_string());
        let replicas = plan.replicas.to_string();
        let mut more = vec!["--shard", &*shard_text, "--name", name, "--data", &*data];
        more.extend(WORKER_ARGUMENTS);
        if plan.replicas > 1 {
            more.extend(["--replicas", &*replicas, "--ack", &*plan.ack]);
        }
        let arguments = arguments("worker", host, &more);
        members.push(Member::slotkv((name, Role::Worker { shard }), host, programs, arguments, folder)?);
    }
    Ok(members)
}

/// Nanoseconds of the clock that clients record by.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a system call that writes to the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
