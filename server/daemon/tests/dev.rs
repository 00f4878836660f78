//! The cluster in one process, as tests use it.

use std::time::Duration;

use slotkv::Client;
use slotkv_coordination::{
    Coordinator, Expect, paths,
    registers::{Register, ShardRegister},
};
use slotkv_daemon::dev::{Dev, DevError, DevOptions};

fn options() -> DevOptions {
    DevOptions { session_timeout: Duration::from_millis(500), ..DevOptions::default() }
}

#[tokio::test]
async fn acknowledged_writes_survive_a_killed_worker() {
    let mut dev = Dev::start(options()).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap();
    let pairs = (0..300).map(|i| (format!("k{i}"), format!("v{i}")));
    assert!(client.put_many(pairs).await.iter().all(Result::is_ok));
    for index in 0..3 {
        dev.kill_worker(index).await.unwrap();
        assert!(matches!(dev.kill_worker(index).await, Err(DevError::NoMember(_))));
        dev.restart_worker(index).await.unwrap();
    }
    assert!(matches!(dev.restart_worker(0).await, Err(DevError::NoMember(_))));
    dev.ready().await.unwrap();
    for i in 0..300 {
        assert_eq!(client.get(format!("k{i}")).await.unwrap().unwrap(), format!("v{i}"));
    }
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test]
async fn requests_go_on_while_masters_come_and_go() {
    let mut dev = Dev::start(options()).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap();
    dev.kill_master(0).await.unwrap();
    client.put("k", "one master").await.unwrap();
    dev.stop_master(1).await.unwrap();
    client.put("k", "no master").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap(), "no master");
    dev.restart_master(0).await.unwrap();
    dev.restart_master(1).await.unwrap();
    dev.ready().await.unwrap();
    let status = client.status().await.unwrap();
    assert_eq!(status.masters.iter().filter(|master| master.leader).count(), 1);
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test]
async fn requests_go_on_while_the_coordinator_is_down() {
    let dev = Dev::start(options()).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap();
    dev.coordinator().faults().stop();
    for i in 0..100 {
        client.put(format!("k{i}"), "v").await.unwrap();
    }
    assert_eq!(client.count(slotkv::Range::all()).await.unwrap(), 100);
    dev.coordinator().faults().start();
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test]
async fn a_dropped_cluster_lets_go_of_its_folder_and_ports() {
    let folder = tempfile::tempdir().unwrap();
    let kept = DevOptions { data: Some(folder.path().join("data")), shards: 1, ..options() };
    let dev = Dev::start(kept.clone()).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap();
    client.put("k", "v").await.unwrap();
    client.close().await;
    let port = dev.master_addresses()[0].rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    dev.shutdown().await;
    std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let dev = Dev::start(kept).await.unwrap();
    let client = Client::connect(&dev.uri()).await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap(), "v");
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test]
async fn a_cluster_that_is_just_dropped_leaves_nothing_behind() {
    let dev = Dev::start(options()).await.unwrap();
    let (folder, worker) = (dev.folder().to_owned(), dev.worker_addresses()[0].clone());
    drop(dev);
    assert!(!folder.exists());
    std::net::TcpListener::bind(worker).unwrap();
}

#[tokio::test]
async fn a_worker_that_was_deposed_is_reported() {
    let dev = Dev::start(options()).await.unwrap();
    let session = dev.coordinator().open(Duration::from_secs(1)).await.unwrap();
    let path = paths::shard(1);
    let node = session.get(&path).await.unwrap().unwrap();
    let mut register = ShardRegister::decode(&path, &node.data).unwrap();
    register.epoch += 1;
    register.primary = None;
    session.set(&path, register.encode(), Expect::Any).await.unwrap();
    let why = dev.failed().await;
    assert!(why.starts_with("worker 1 ended: "), "{why}");
    session.close().await;
    dev.shutdown().await;
}

#[tokio::test]
async fn a_port_that_is_taken_leaves_nothing_half_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Dev::start(DevOptions { port, ..options() }).await.err().unwrap();
    assert!(matches!(&error, DevError::Member { member, .. } if member == "master 0"), "{error}");
}

#[tokio::test]
async fn one_shard_and_one_master_over_ipv6_are_a_cluster() {
    let options = DevOptions {
        listen: std::net::Ipv6Addr::LOCALHOST.into(),
        shards: 1,
        masters: 1,
        slots: 1,
        ..options()
    };
    let dev = Dev::start(options).await.unwrap();
    assert!(dev.uri().starts_with("slotkv://[::1]:"), "{}", dev.uri());
    let client = Client::connect(&dev.uri()).await.unwrap();
    client.put("k", "v").await.unwrap();
    client.close().await;
    dev.shutdown().await;
}
