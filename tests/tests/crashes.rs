//! Members killed as hard as a process can be, under load: callers see a pause, nothing that was acknowledged is lost, and
//! nothing is applied twice.

use std::time::{Duration, Instant};

use slotkv::Client;
use slotkv_coordination::ensemble::Ensemble;
use slotkv_tests::{
    load::Load,
    process::{Process, Processes},
    until,
};

/// The session timeout of the members, as [`slotkv_tests::process::SESSION`] has it.
const SESSION_MAX: Duration = Duration::from_secs(3);

async fn client(uri: &str) -> Client {
    Client::connect(uri).await.unwrap().with_deadline(Duration::from_secs(100))
}

/// The address of the master that leads, as `client` is told.
async fn leader(client: &Client) -> Option<String> {
    let status = client.status().await.ok()?;
    status.masters.into_iter().find(|master| master.leader).map(|master| master.address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_workers_killed_under_load() {
    if Ensemble::skips("workers killed under load") {
        return;
    }
    let mut cluster = Processes::start(1, 2).await;
    let client = client(&cluster.uri()).await;
    let mut load = Load::start(&client, 16, Duration::from_millis(1));
    load.goes_on(500).await;
    for round in 0..4 {
        let index = round % 2;
        cluster.workers[index].kill();
        // Long enough for calls to be waiting for it, without which there is nothing to see.
        until("calls wait for the killed worker", async || client.stats().in_flight > 0).await;
        cluster.restart_worker(index);
        cluster.workers[index].ready();
        load.goes_on(500).await;
    }
    let lost = client.stats().connections_lost;
    assert!(lost >= 4, "{lost} connections were lost by killing 4 workers");
    // Read back once more from nothing but what is on the disk.
    (0..2).for_each(|index| cluster.restart_worker(index));
    cluster.workers.iter_mut().for_each(|worker| worker.ready());
    let done = load.end(&client).await;
    println!("{done} calls, none failed, {lost} connections lost");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standby_leads_and_clients_go_on_when_the_leading_master_is_killed() {
    if Ensemble::skips("the leading master killed") {
        return;
    }
    let mut cluster = Processes::start(2, 1).await;
    let uri = cluster.uri();
    let running = client(&uri).await;
    let mut load = Load::start(&running, 4, Duration::from_millis(5));
    load.goes_on(100).await;
    let killed = leader(&running).await.expect("a master leads");
    let place = cluster.masters.iter().position(|master| master.address() == killed).expect("it is ours");
    cluster.masters[place].kill();
    let standby = cluster.masters[1 - place].address().to_owned();

    // At once, with the dead one in its URI, and before anybody has taken over.
    let early = client(&uri).await;
    early.put("from a client that started meanwhile", "v").await.unwrap();
    until("the standby leads", async || leader(&early).await.as_ref() == Some(&standby)).await;
    load.goes_on(100).await;

    cluster.restart_master(place);
    cluster.masters[place].ready();
    let back = cluster.masters[place].address().to_owned();
    until("the old leader is back, as a standby", async || {
        let Ok(status) = early.status().await else { return false };
        status.masters.iter().any(|master| master.address == back && !master.leader)
            && status.masters.iter().any(|master| master.address == standby && master.leader)
    })
    .await;
    load.goes_on(100).await;
    load.end(&early).await;
    for client in [running, early] {
        client.close().await;
    }
}

/// The masters live on, and serve what they knew. A worker that is new waits for ZooKeeper, and only for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_runs_goes_on_without_zookeeper_and_a_worker_joins_when_it_is_back() {
    if Ensemble::skips("ZooKeeper down alone") {
        return;
    }
    let cluster = Processes::start(2, 2).await;
    let uri = cluster.uri();
    let running = client(&uri).await;
    let mut load = Load::start(&running, 8, Duration::from_millis(10));
    load.goes_on(100).await;

    cluster.ensemble.kill(0);
    let mut new = Process::spawn(cluster.worker(2), &cluster.log("worker-2"));
    // Longer than any session of the members.
    let begun = Instant::now();
    while begun.elapsed() < 3 * SESSION_MAX {
        load.goes_on(100).await;
    }
    assert!(new.is_waiting(), "a worker cannot join while ZooKeeper is down");
    // The masters tell newcomers what they knew, and that it is old.
    let late = client(&uri).await;
    late.put("from a client that started meanwhile", "v").await.unwrap();
    let status = late.status().await.unwrap();
    assert_eq!((status.shards.len(), status.masters.len()), (2, 2));
    assert!(status.notices.iter().any(|notice| notice.contains("out of reach")), "{:?}", status.notices);
    assert!(status.masters.iter().all(|master| !master.leader), "{:?}", status.masters);

    cluster.ensemble.restart(0).await.unwrap();
    new.ready();
    let joined = new.address().to_owned();
    until("the new worker is a member, everybody is one again, and a master leads", async || {
        let Ok(status) = late.status().await else { return false };
        let lives =
            |address: &str| status.members.iter().any(|member| member.live && member.address == address);
        status.masters.iter().any(|master| master.leader)
            && lives(&joined)
            && cluster.workers.iter().all(|worker| lives(worker.address()))
            && status.shards.iter().filter(|shard| shard.state == "leader").count() == 2
            && status.shards.iter().filter(|shard| shard.state == "waiting for slots").count() == 1
    })
    .await;
    load.goes_on(100).await;
    let done = load.end(&late).await;
    println!("{done} calls, none failed");
    for client in [running, late] {
        client.close().await;
    }
}
