//! Masters and workers as processes that meet in a real ZooKeeper.

mod support;

use std::time::{Duration, Instant};

use slotkv_coordination::ensemble::Ensemble;
use support::{Server, free_ports, metrics};

/// How long the standby may take to lead.
const LEADING_MAX: Duration = Duration::from_secs(60);

#[tokio::test]
async fn processes_on_zookeeper_are_a_cluster_in_whatever_order_they_start() {
    if Ensemble::skips("processes that meet in ZooKeeper") {
        return;
    }
    let ensemble = Ensemble::start(1).await.unwrap();
    let coordinator = ensemble.uri("/slotkv");
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<String> =
        (0..2).map(|i| folder.path().join(format!("w{i}")).display().to_string()).collect();
    let common =
        ["--listen", "127.0.0.1:0", "--coordinator", &coordinator, "--session", "2s", "--log", "warn"];
    let worker = |data: &str| Server::spawn(&[&["worker", "--data", data], &common[..]].concat());
    let master = || Server::spawn(&[&["master", "--shards", "2"], &common[..]].concat());

    // Workers first: they wait for the first master.
    let mut workers: Vec<Server> = data.iter().map(|data| worker(data)).collect();
    let mut masters: Vec<Server> = (0..2).map(|_| master()).collect();
    masters.iter_mut().chain(&mut workers).for_each(Server::wait_until_ready);

    // Any member may be named.
    for server in masters.iter().chain(&workers) {
        server.run(&["put", &server.uri, "v", "--deadline-ms", "20000"]).expect(0);
    }
    let leading = |asked: &Server| {
        let json = asked.run(&["admin", "status", "--json"]).expect(0).stdout;
        let status: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let masters = status["masters"].as_array().unwrap().clone();
        let leader = masters.iter().find(|master| master["leader"] == true);
        leader.map(|master| master["address"].as_str().unwrap().to_owned())
    };
    let leader = leading(&masters[0]).unwrap();
    let place = masters.iter().position(|master| master.uri.ends_with(&leader)).unwrap();
    drop(masters.remove(place));
    workers[0].run(&["put", "without its leader", "v"]).expect(0);
    let begun = Instant::now();
    while leading(&masters[0]).is_none_or(|now| now == leader) {
        assert!(begun.elapsed() < LEADING_MAX, "the standby does not lead after {LEADING_MAX:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // An orderly stop and a crash; both come back on their data, with new addresses.
    let crashed = workers.remove(1);
    drop(crashed);
    assert_eq!(workers.remove(0).terminate().0, Some(0));
    let mut workers: Vec<Server> = data.iter().map(|data| worker(data)).collect();
    workers.iter_mut().for_each(Server::wait_until_ready);
    assert_eq!(masters[0].run(&["count", "--deadline-ms", "20000"]).expect(0).text(), "5\n");

    let second = Server::spawn(&[&["worker", "--data", &data[0]], &common[..]].concat()).end();
    assert_eq!(second, (Some(3), String::new()));
    for server in workers.into_iter().chain(masters) {
        assert_eq!(server.terminate().0, Some(0));
    }
}

#[tokio::test]
async fn processes_on_zookeeper_end_well_while_it_is_silent() {
    if Ensemble::skips("an orderly stop while ZooKeeper is silent") {
        return;
    }
    let ensemble = Ensemble::start(1).await.unwrap();
    let coordinator = ensemble.uri("/slotkv");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    // A session so long that the coordinator's client still waits for an answer when the process has to end.
    let common =
        ["--listen", "127.0.0.1:0", "--coordinator", &coordinator, "--session", "30s", "--log", "warn"];
    let mut master = Server::spawn(&[&["master", "--shards", "1"], &common[..]].concat());
    let mut worker = Server::spawn(&[&["worker", "--data", &data], &common[..]].concat());
    master.wait_until_ready();
    worker.wait_until_ready();
    worker.run(&["put", "k", "v", "--deadline-ms", "20000"]).expect(0);
    ensemble.pause(0);
    assert_eq!(worker.terminate().0, Some(0));
    assert_eq!(master.terminate().0, Some(0));
    ensemble.resume(0);
}

#[tokio::test]
async fn a_standby_is_ready_before_it_has_a_place_and_takes_one_in_the_same_process() {
    if Ensemble::skips("a standby that takes the place of a killed worker") {
        return;
    }
    let ensemble = Ensemble::start(1).await.unwrap();
    let coordinator = ensemble.uri("/slotkv");
    let folder = tempfile::tempdir().unwrap();
    let common =
        ["--listen", "127.0.0.1:0", "--coordinator", &coordinator, "--session", "2s", "--log", "warn"];
    let worker = |name: &str, more: &[&str]| {
        let data = folder.path().join(name).display().to_string();
        let of_name = ["worker", "--data", &data, "--name", name];
        Server::start(&[&of_name[..], more, &common[..]].concat())
    };
    let watched = free_ports(2);
    let of_master = ["master", "--shards", "1", "--metrics", &watched.to_string()];
    let mut master = Server::spawn(&[&of_master[..], &common[..]].concat());
    let first = worker("a", &["--shard", "0", "--replicas", "2"]);
    let second = worker("b", &["--shard", "0"]);
    master.wait_until_ready();
    let (watched_by_master, watched) = (watched, watched + 1);
    let of_spare = ["--standby", "--standby-after", "1s", "--metrics", &watched.to_string()];
    let spare = worker("spare", &of_spare);
    let says = |shard: &str, standing: &str| {
        let told = metrics(watched);
        let sample = |standing: &str| {
            let labels = format!("shard=\"{shard}\",replica=\"spare\",standing=\"{standing}\"");
            told.get(&format!("slotkv_replica_standing{{{labels}}}")).copied()
        };
        sample(standing) == Some(1)
    };
    assert!(says("", "stands_by") && !says("0", "in_sync"));
    let other = worker("other", &["--standby", "--standby-after", "1h"]);

    // It answers as any member does: who names it is told the slot table.
    spare.run(&["put", "k", "v", "--deadline-ms", "20000"]).expect(0);
    let status = || -> serde_json::Value {
        let json = master.run(&["admin", "status", "--json"]).expect(0).stdout;
        serde_json::from_slice(&json).unwrap()
    };
    let lives = |status: &serde_json::Value, name: &str| {
        let members = status["members"].as_array().unwrap();
        members.iter().any(|member| member["name"] == name && member["live"] == true)
    };
    let before = status();
    assert!(lives(&before, "spare") && lives(&before, "other"), "{before:#}");
    assert_eq!(before["shards"][0]["copies"].as_array().unwrap().len(), 2);

    // One that is asked to end while it waits leaves, and is not taken for crashed.
    assert_eq!(other.terminate(), (Some(0), String::new()));
    let after = status();
    assert!(!lives(&after, "other") && !after["notices"].to_string().contains("other"), "{after:#}");

    drop(second);
    let in_sync = |status: &serde_json::Value| {
        status["shards"][0]["isr"].as_array().unwrap().iter().any(|name| name == "spare")
    };
    let begun = Instant::now();
    while !in_sync(&status()) {
        assert!(begun.elapsed() < LEADING_MAX, "{:#}", status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(spare.run(&["get", "k"]).expect(0).text(), "v");
    let begun = Instant::now();
    while !says("0", "in_sync") {
        assert!(begun.elapsed() < LEADING_MAX, "{:#?}", metrics(watched));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let of_master = |metric: &str| {
        let told = metrics(watched_by_master);
        let named = format!("{metric}{{master=\"{}\"}}", master.uri.strip_prefix("slotkv://").unwrap());
        told.get(&named).copied()
    };
    // The first, and the spare; the second was killed, the other left.
    assert_eq!(of_master("slotkv_members_live"), Some(2));
    assert_eq!(of_master("slotkv_members_gone"), Some(1));
    assert_eq!(of_master("slotkv_master_leads"), Some(1));
    drop(first);
    assert_eq!(spare.run(&["get", "k", "--deadline-ms", "20000"]).expect(0).text(), "v");
    // The ready line was the only one.
    assert_eq!(spare.terminate(), (Some(0), String::new()));
    assert_eq!(master.terminate().0, Some(0));
}
