//! Every process of a cluster restarts, one after the other, while a client goes on.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use slotkv::Client;
use slotkv_coordination::ensemble::Ensemble;
use support::{Server, free_ports};

const KEYS: u64 = 64;
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Writes and reads until it is told to stop. How many calls there were, and what failed.
async fn load(client: Client, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) -> Vec<String> {
    let (mut failures, mut written) = (Vec::new(), [0_u64; KEYS as usize]);
    while !stop.load(Relaxed) {
        let number = count.fetch_add(1, Relaxed);
        let place = (number % KEYS) as usize;
        let key = format!("key {place}");
        if let Err(error) = client.put(key.clone(), number.to_string()).await {
            failures.push(format!("put {key}: {error}"));
            continue;
        }
        written[place] = number;
        match client.get(key.clone()).await {
            Ok(value) if value.as_deref() == Some(written[place].to_string().as_bytes()) => {}
            found => failures.push(format!("get {key}: {found:?} and not {}", written[place])),
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_cluster_restarts_by_one_command_and_no_request_fails() {
    if Ensemble::skips("a rolling restart of processes that meet in ZooKeeper") {
        return;
    }
    let ensemble = Ensemble::start(1).await.unwrap();
    let coordinator = ensemble.uri("/slotkv");
    let folder = tempfile::tempdir().unwrap();
    let common = ["--coordinator", &*coordinator, "--session", "4s", "--log", "warn"];
    let ports = free_ports(7);
    let listen = |at: u16| format!("127.0.0.1:{}", ports + at);
    let master = |at: u16| {
        let listen = listen(at);
        Server::spawn(&[&["master", "--shards", "2", "--listen", &listen], &common[..]].concat())
    };
    let worker = |at: u16, shard: &str, name: &str| {
        let (listen, data) = (listen(at), folder.path().join(name).display().to_string());
        let of_name = ["worker", "--listen", &listen, "--data", &data, "--name", name];
        let of_shard = ["--shard", shard, "--replicas", "2"];
        Server::spawn(&[&of_name[..], &of_shard, &common[..]].concat())
    };
    let mut servers = vec![master(0), master(1)];
    for (at, (shard, name)) in (2..).zip([("0", "a"), ("0", "b"), ("1", "c"), ("1", "d")]) {
        servers.push(worker(at, shard, name));
    }
    // A spare one. It does not take the place of one that is away for a moment.
    let (listen_spare, data) = (listen(6), folder.path().join("spare").display().to_string());
    let of_spare = ["worker", "--listen", &listen_spare, "--data", &data, "--name", "spare"];
    let waits = ["--standby", "--standby-after", "1h"];
    servers.push(Server::spawn(&[&of_spare[..], &waits, &common[..]].concat()));
    servers.iter_mut().for_each(Server::wait_until_ready);
    let uri = format!("slotkv://{},{}", listen(0), listen(1));
    let admin = |args: &[&str]| servers[0].run(&[args, &["--uri", &uri]].concat());
    let json = |args: &[&str]| -> Value {
        let done = admin(&[args, &["--json"]].concat()).expect(0);
        serde_json::from_slice(&done.stdout).unwrap()
    };
    // The restart waits for whole shards; `safe` below does not.
    while !json(&["admin", "status"])["shards"]
        .as_array()
        .unwrap()
        .iter()
        .all(|shard| shard["isr"].as_array().unwrap().len() == 2)
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let client = Client::connect(&uri).await.unwrap();
    let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let calls = tokio::spawn(load(client.clone(), stop.clone(), count.clone()));
    let pids: Vec<u32> = servers.iter().map(Server::pid).collect();

    // The own client is among those that are told of, by the newest table.
    let fleet = loop {
        let fleet = json(&["admin", "clients"]);
        if fleet["behind"] == 0 && !fleet["clients"].as_array().unwrap().is_empty() {
            break fleet;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(fleet["clients"][0]["name"].as_str().unwrap().starts_with("rust/"), "{fleet:#}");
    admin(&["admin", "safe", "a"]).expect(0);
    admin(&["admin", "safe", "spare"]).expect(0);
    admin(&["admin", "safe", "nobody"]).expect(2);

    let run_of = |status: &Value, name: &str| {
        let members = status["members"].as_array().unwrap();
        let live = members.iter().find(|member| member["name"] == name && member["live"] == true);
        live.map(|member| member["run"].as_str().unwrap().to_owned())
    };
    let before = json(&["admin", "status"]);
    let told = admin(&["admin", "restart", "--json"]).expect(0).text();
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 7, "{told}");
    let after = json(&["admin", "status"]);
    for name in ["a", "b", "c", "d", "spare"] {
        assert_ne!(run_of(&before, name), run_of(&after, name), "{name}");
    }
    assert!(after["master_epoch"].as_u64() > before["master_epoch"].as_u64());

    stop.store(true, Relaxed);
    let failures = calls.await.unwrap();
    assert_eq!(failures, Vec::<String>::new(), "of {} calls", count.load(Relaxed));
    assert!(count.load(Relaxed) > 10);

    // A restart of one that is named, and one that is refused: what is meant is gone.
    assert_eq!(admin(&["admin", "restart", "b", "--json"]).expect(0).text().lines().count(), 1);
    admin(&["admin", "restart", "nobody"]).expect(2);
    client.close().await;

    // They are the same processes as for whoever started them, and end as ever.
    assert_eq!(pids, servers.iter().map(Server::pid).collect::<Vec<_>>());
    for server in servers.into_iter().rev() {
        assert_eq!(server.terminate().0, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_without_which_its_shard_takes_no_writes_is_restarted_once_another_one_is_in_sync() {
    if Ensemble::skips("a restart in a shard that lacks a copy") {
        return;
    }
    let ensemble = Ensemble::start(1).await.unwrap();
    let coordinator = ensemble.uri("/slotkv");
    let folder = tempfile::tempdir().unwrap();
    let common =
        ["--listen", "127.0.0.1:0", "--coordinator", &coordinator, "--session", "2s", "--log", "warn"];
    let worker = |name: &str| {
        let data = folder.path().join(name).display().to_string();
        let of_name = ["worker", "--data", &data, "--name", name];
        let of_shard = ["--shard", "0", "--replicas", "3", "--min-isr", "2"];
        Server::spawn(&[&of_name[..], &of_shard, &common[..]].concat())
    };
    let mut master = Server::spawn(&[&["master", "--shards", "1"], &common[..]].concat());
    let mut workers = ["a", "b", "c"].map(worker);
    workers.iter_mut().for_each(Server::wait_until_ready);
    master.wait_until_ready();
    let status = || -> Value {
        serde_json::from_slice(&master.run(&["admin", "status", "--json"]).expect(0).stdout).unwrap()
    };
    let run_of = |name: &str| {
        let status = status();
        let members = status["members"].as_array().unwrap();
        let live = members.iter().find(|member| member["name"] == name && member["live"] == true);
        live.map(|member| member["run"].as_str().unwrap().to_owned())
    };
    let in_sync = async |count| {
        let begun = Instant::now();
        while status()["shards"][0]["isr"].as_array().unwrap().len() != count {
            assert!(begun.elapsed() < WAIT_MAX, "not {count} copies in sync");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_sync(3).await;
    let [_a, _b, c] = workers;
    drop(c);
    in_sync(2).await;
    let begun = Instant::now();
    while run_of("c").is_some() {
        assert!(begun.elapsed() < WAIT_MAX, "c is not found to be gone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = run_of("a");
    let refused = master.run(&["admin", "restart", "a", "--wait", "1s"]).expect(3);
    assert!(refused.stderr.contains("would have 1 copies in sync"), "{refused:?}");
    assert_eq!(run_of("a"), before);

    let mut c = worker("c");
    c.wait_until_ready();
    master.run(&["admin", "restart", "a"]).expect(0);
    assert_ne!(run_of("a"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_place_a_standby_has_taken_holds_nobody_up() {
    if Ensemble::skips("a restart beside a worker without a place") {
        return;
    }
    let ensemble = Ensemble::start(1).await.unwrap();
    let coordinator = ensemble.uri("/slotkv");
    let folder = tempfile::tempdir().unwrap();
    let common = ["--coordinator", &*coordinator, "--session", "2s", "--log", "warn"];
    let worker = |name: &str, more: &[&str]| {
        let data = folder.path().join(name).display().to_string();
        let of_name = ["worker", "--listen", "127.0.0.1:0", "--data", &data, "--name", name];
        Server::start(&[&of_name[..], more, &common[..]].concat())
    };
    let of_shard = ["--shard", "0", "--replicas", "2"];
    // A worker is found by its name wherever it listens, a master by its address.
    let listen = format!("127.0.0.1:{}", free_ports(1));
    let of_master = ["master", "--shards", "1", "--listen", &listen];
    let mut master = Server::spawn(&[&of_master[..], &common[..]].concat());
    let (_a, b) = (worker("a", &of_shard), worker("b", &of_shard));
    master.wait_until_ready();
    let _spare = worker("spare", &["--standby", "--standby-after", "1s"]);
    let isr = || {
        let json = master.run(&["admin", "status", "--json"]).expect(0).stdout;
        let status: Value = serde_json::from_slice(&json).unwrap();
        let isr = status["shards"][0]["isr"].as_array().unwrap().clone();
        isr.iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let in_sync = async |name: &str| {
        let begun = Instant::now();
        while isr().len() < 2 || !isr().iter().any(|other| other == name) {
            assert!(begun.elapsed() < WAIT_MAX, "{name} is not in sync: {:?}", isr());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_sync("b").await;
    drop(b);
    in_sync("spare").await;
    let _b = worker("b", &of_shard);
    let told = master.run(&["admin", "restart", "--wait", "30s", "--json"]).expect(0).text();
    // The master as well: every member of the status.
    assert_eq!(told.lines().count(), 4, "{told}");
}

#[test]
fn a_member_that_is_not_alone_in_its_process_does_not_restart() {
    let dev = Server::dev(&[]);
    let done = dev.run(&["admin", "restart"]);
    let done = done.expect(2);
    assert!(done.stderr.contains("not alone in its process"), "{done:?}");
    dev.run(&["put", "k", "v"]).expect(0);
}
