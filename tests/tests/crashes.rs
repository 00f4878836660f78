//! Members killed as hard as a process can be, under load: callers see a pause, nothing that was acknowledged is lost, and
//! nothing is applied twice.

use std::time::Duration;

use slotkv::Client;
use slotkv_coordination::ensemble::Ensemble;
use slotkv_tests::{load::Load, process::Processes, until};

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
