//! Minutes without any master and without ZooKeeper: reads and writes of running clients go on (R6), and when ZooKeeper is
//! back, every member registers again. In a binary of its own, because it takes long and little of the machine.
//!
//! `SLOTKV_OUTAGE_SECONDS` says how long the outage is: 20 s, or 300 s when `SLOTKV_TEST_LONG` or `CI` is set.

use std::time::{Duration, Instant};

use slotkv::{Client, Code, Options};
use slotkv_coordination::ensemble::Ensemble;
use slotkv_tests::{load::Load, process::Processes, until};

fn outage() -> Duration {
    let long = ["SLOTKV_TEST_LONG", "CI"].iter().any(|name| std::env::var_os(name).is_some());
    let default = if long { 300 } else { 20 };
    let name = "SLOTKV_OUTAGE_SECONDS";
    Duration::from_secs(
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}"))),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_go_on_for_minutes_without_masters_and_zookeeper() {
    if Ensemble::skips("reads and writes without masters and ZooKeeper") {
        return;
    }
    let mut cluster = Processes::start(2, 3).await;
    let client = Client::connect(&cluster.uri()).await.unwrap().with_deadline(Duration::from_secs(60));
    // 8 tasks, 3 calls per 50 ms each: at most 480 calls per second.
    let mut load = Load::start(&client, 8, Duration::from_millis(50));
    load.goes_on(100).await;

    // ZooKeeper first: no master shall tell anybody that it goes.
    cluster.ensemble.kill(0);
    cluster.masters.iter_mut().for_each(|master| master.kill());
    let begun = Instant::now();
    // The first wait is longer than any session of the members.
    while begun.elapsed() < outage() {
        load.goes_on(100).await;
    }

    // Clients that start now are the ones that wait, unless their URI names a worker.
    let quick = || Options { connect_timeout: Duration::from_secs(2), ..Options::default() };
    let refused = Client::connect_with(&cluster.uri(), quick()).await.unwrap_err();
    assert_eq!(refused.code, Code::NoMaster, "{refused}");
    let uri = format!("{},{}", cluster.uri(), cluster.workers[0].address());
    let late = Client::connect(&uri).await.unwrap().with_deadline(Duration::from_secs(60));
    late.put("from a client that started in the outage", "v").await.unwrap();
    load.goes_on(100).await;

    cluster.ensemble.restart(0).await.unwrap();
    (0..cluster.masters.len()).for_each(|index| cluster.restart_master(index));
    cluster.masters.iter_mut().for_each(|master| master.ready());
    let fresh = Client::connect(&cluster.uri()).await.unwrap().with_deadline(Duration::from_secs(60));
    let workers: Vec<&str> = cluster.workers.iter().map(|worker| worker.address()).collect();
    until("every worker is registered again, and a master leads", async || {
        let Ok(status) = fresh.status().await else { return false };
        status.masters.iter().any(|master| master.leader)
            && workers
                .iter()
                .all(|address| status.members.iter().any(|member| member.live && member.address == *address))
    })
    .await;
    load.goes_on(100).await;
    let done = load.end(&fresh).await;
    println!("{done} calls, none failed, {:?} without masters and ZooKeeper", outage());
    for client in [client, late, fresh] {
        client.close().await;
    }
    for member in cluster.workers.iter_mut().chain(&mut cluster.masters) {
        assert_eq!(member.terminate(), Some(0), "{}", member.log());
    }
}
