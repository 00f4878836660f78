//! Workers with `--drain` that get SIGTERM: they end once nothing depends on them, or at once at a second signal, and stay if they
//! cannot, or if an operator cancels it.

mod support;

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use slotkv_coordination::ensemble::Ensemble;
use support::{Server, signal};

const KEYS: usize = 300;
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A master and workers on a ZooKeeper.
struct Cluster {
    coordinator: String,
    folder: tempfile::TempDir,
    master: Server,
}

impl Cluster {
    fn new(ensemble: &Ensemble, shards: &str) -> Self {
        let coordinator = ensemble.uri("/slotkv");
        let master = Server::spawn(&[&["master", "--shards", shards][..], &common(&coordinator)].concat());
        Self { coordinator, folder: tempfile::tempdir().unwrap(), master }
    }

    /// With worker `a` of shard 0 and `b` of shard 1, and with keys.
    fn of_two(ensemble: &Ensemble) -> (Self, [Server; 2]) {
        let mut cluster = Self::new(ensemble, "2");
        let mut workers = [cluster.worker("a", "0", "1"), cluster.worker("b", "1", "1")];
        workers.iter_mut().for_each(Server::wait_until_ready);
        cluster.master.wait_until_ready();
        cluster.fill();
        (cluster, workers)
    }

    fn worker(&self, name: &str, shard: &str, replicas: &str) -> Server {
        let data = self.folder.path().join(name).display().to_string();
        let of_name = ["worker", "--drain", "--data", &data, "--name", name];
        let of_shard = ["--shard", shard, "--replicas", replicas];
        Server::spawn_logged(&[&of_name[..], &of_shard, &common(&self.coordinator)].concat())
    }

    fn fill(&self) {
        let lines: String = (0..KEYS).map(|n| format!("{{\"key\":\"k{n}\",\"value\":\"v{n}\"}}\n")).collect();
        self.master.run_with(&["import", "-"], lines.as_bytes()).expect(0);
    }

    fn status(&self) -> Value {
        let json = self.master.run(&["admin", "status", "--json"]).expect(0).stdout;
        serde_json::from_slice(&json).unwrap()
    }

    fn movements(&self) -> Value {
        let json = self.master.run(&["admin", "migrations", "--json"]).expect(0).stdout;
        serde_json::from_slice(&json).unwrap()
    }

    fn wait_until_slots_move(&self) {
        let begun = Instant::now();
        while self.movements()["open"] == json!([]) {
            assert!(begun.elapsed() < WAIT_MAX, "nobody gives anything away");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn keys(&self) -> String {
        self.master.run(&["count", "--deadline-ms", "20000"]).expect(0).text()
    }

    fn slots_of(&self, shard: usize) -> u64 {
        self.status()["shards"][shard]["slots"].as_u64().unwrap()
    }
}

fn common(coordinator: &str) -> [&str; 8] {
    ["--listen", "127.0.0.1:0", "--coordinator", coordinator, "--session", "3s", "--log", "error"]
}

#[test]
fn a_worker_gives_its_slots_to_others_before_it_ends_and_the_last_one_stays() {
    if Ensemble::skips("workers that leave with --drain") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ensemble = runtime.block_on(Ensemble::start(1)).unwrap();
    let (cluster, [a, b]) = Cluster::of_two(&ensemble);
    assert!(cluster.slots_of(0) > 0);
    assert_eq!(a.terminate().0, Some(0));
    assert_eq!(cluster.slots_of(0), 0);
    assert_eq!(cluster.keys(), format!("{KEYS}\n"));
    let check = cluster.master.run(&["admin", "check"]);
    assert_eq!(check.code, Some(0), "{check:?}");
    // It stays in the status, and nothing is wrong with that.
    let notices = cluster.status()["notices"].to_string();
    assert!(notices.contains("primary of shard 0"), "{notices}");
    // There is nobody left to give anything to.
    cluster.master.run(&["admin", "safe", "b"]).expect(1);
    signal(b.pid(), libc::SIGTERM);
    let why = b.wait_until_logged("cannot leave");
    assert!(why.contains("nowhere to go"), "{why}");
    // It counts as one that stays again, once the masters have heard of it.
    let begun = Instant::now();
    let state = || cluster.status()["shards"][1]["copies"][0]["state"].as_str().unwrap().to_owned();
    while state().ends_with("leaving") {
        assert!(begun.elapsed() < WAIT_MAX, "it does not say that it stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(cluster.keys(), format!("{KEYS}\n"));
    assert_eq!(cluster.slots_of(1), 1024);
    // The folder of the one that left may be used again: it has no slots until it is given a weight.
    let mut a = cluster.worker("a", "0", "1");
    a.wait_until_ready();
    cluster.master.run(&["admin", "add", "0"]).expect(0);
    assert!(cluster.slots_of(0) > 0);
    assert_eq!(b.terminate().0, Some(0));
    assert_eq!(cluster.keys(), format!("{KEYS}\n"));
}

#[test]
fn a_copy_among_several_leaves_at_once_and_of_two_that_leave_together_one_gives_its_slots_away_first() {
    if Ensemble::skips("copies that leave with --drain") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ensemble = runtime.block_on(Ensemble::start(1)).unwrap();
    let mut cluster = Cluster::new(&ensemble, "2");
    let mut workers = [("a", "0"), ("b", "0"), ("c", "1")]
        .map(|(name, shard)| cluster.worker(name, shard, if shard == "0" { "2" } else { "1" }));
    workers.iter_mut().for_each(Server::wait_until_ready);
    cluster.master.wait_until_ready();
    cluster.fill();
    let in_sync = || cluster.status()["shards"][0]["isr"].as_array().unwrap().len();
    let begun = Instant::now();
    while in_sync() < 2 {
        assert!(begun.elapsed() < WAIT_MAX, "they do not come in sync");
        std::thread::sleep(Duration::from_millis(50));
    }
    let slots = cluster.slots_of(0);
    let [a, b, _c] = workers;
    assert_eq!(a.terminate().0, Some(0));
    assert_eq!(cluster.slots_of(0), slots);
    let mut a = cluster.worker("a", "0", "2");
    a.wait_until_ready();
    while in_sync() < 2 {
        assert!(begun.elapsed() < WAIT_MAX, "they do not come in sync again");
        std::thread::sleep(Duration::from_millis(50));
    }
    signal(a.pid(), libc::SIGTERM);
    assert_eq!(b.terminate().0, Some(0));
    assert_eq!(a.end().0, Some(0));
    assert_eq!(cluster.slots_of(0), 0);
    assert_eq!(cluster.keys(), format!("{KEYS}\n"));
}

#[test]
fn a_cancel_ends_the_leave_of_a_worker_and_the_wait_of_an_operator_with_a_code_of_its_own() {
    if Ensemble::skips("a cancel of what a leaving worker gives away") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ensemble = runtime.block_on(Ensemble::start(1)).unwrap();
    let (cluster, [a, b]) = Cluster::of_two(&ensemble);
    let slots = cluster.slots_of(0);
    // Whoever is to take the slots does not go on, so nothing moves until the cancel.
    signal(b.pid(), libc::SIGSTOP);
    signal(a.pid(), libc::SIGTERM);
    cluster.wait_until_slots_move();
    let mut drain = cluster.master.command(&["admin", "drain", "0", "--json"]);
    let mut drain = drain.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(drain.stdout.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains("weight_to"), "it is written down, and waited for: {told}");
    cluster.master.run(&["admin", "cancel", "0"]).expect(0);
    let ended = drain.wait_with_output().unwrap();
    let why = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(5), "{why}");
    assert!(why.contains("somebody has cancelled the moves of shard 0"), "{why}");
    let why = a.wait_until_logged("cannot leave");
    assert!(why.contains("an operator has cancelled what moves from shard 0"), "{why}");
    assert!(why.contains("it had weight 1 before"), "{why}");
    signal(b.pid(), libc::SIGCONT);
    assert_eq!(cluster.keys(), format!("{KEYS}\n"));
    assert_eq!(cluster.slots_of(0), slots, "they stay");
}

#[test]
fn a_second_signal_ends_a_worker_that_leaves_at_once_and_nothing_is_lost() {
    if Ensemble::skips("a second signal for a worker that leaves") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ensemble = runtime.block_on(Ensemble::start(1)).unwrap();
    let (cluster, [mut a, b]) = Cluster::of_two(&ensemble);
    // Whoever is to take the slots does not go on, so the first signal alone would never end it.
    signal(b.pid(), libc::SIGSTOP);
    signal(a.pid(), libc::SIGTERM);
    cluster.wait_until_slots_move();
    signal(a.pid(), libc::SIGTERM);
    a.wait_until_logged("a second SIGTERM, ending at once");
    assert_eq!(a.end().0, Some(143));
    assert!(cluster.slots_of(0) > 0, "it had not given its slots away");
    signal(b.pid(), libc::SIGCONT);
    let mut a = cluster.worker("a", "0", "1");
    a.wait_until_ready();
    assert_eq!(cluster.keys(), format!("{KEYS}\n"));
}
