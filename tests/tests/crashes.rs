//! Members killed as hard as a process can be, under load: callers see a pause, nothing that was acknowledged is lost, and
//! nothing is applied twice.

use std::time::{Duration, Instant};

use slotkv::Client;
use slotkv_coordination::ensemble::Ensemble;
use slotkv_proto::seam::{Chance, SeededChance};
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

/// Kills of workers in the short form, and in the long one; `SLOTKV_CRASH_KILLS` asks for another number, and
/// `SLOTKV_CRASH_SEED` for another choice of whom and when.
const KILLS: [u64; 2] = [40, 1000];
/// A worker that starts is killed within so many milliseconds, in which most starts are done.
const START_MS: u64 = 250;
/// The keys that are written anew in every round. Together they are more than a checkpoint of each worker.
const BURST: u64 = 96;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn burst(round: u64) -> impl Iterator<Item = (String, String)> {
    (0..BURST).map(move |n| (format!("burst-{n}"), format!("{round}/{n:0>8000}")))
}

/// Killed while they log, while they make checkpoints and while they start, one or all of them, again and again on the
/// same data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_workers_killed_under_load() {
    if Ensemble::skips("workers killed under load") {
        return;
    }
    let long = std::env::var_os("SLOTKV_TEST_LONG").is_some();
    let (kills_wanted, seed) =
        (number("SLOTKV_CRASH_KILLS", KILLS[usize::from(long)]), number("SLOTKV_CRASH_SEED", 1));
    println!("seed {seed}");
    let chance = SeededChance::new(seed);
    let mut cluster = Processes::start(1, 2).await;
    let client = client(&cluster.uri()).await;
    let mut load = Load::start(&client, 16, Duration::from_millis(1));
    load.goes_on(500).await;
    let (mut kills, mut round) = (0, 0);
    while kills < kills_wanted {
        round += 1;
        let bursting = tokio::spawn({
            let client = client.clone();
            async move { client.put_many(burst(round).collect::<Vec<_>>()).await }
        });
        tokio::time::sleep(Duration::from_millis(chance.below(60))).await;
        let first = chance.below(2) as usize;
        let killed = if chance.below(4) == 0 { 0..2 } else { first..first + 1 };
        killed.clone().for_each(|index| cluster.workers[index].kill());
        kills += killed.len() as u64;
        // Long enough for calls to be waiting for it, without which there is nothing to see.
        until("calls wait for the killed worker", async || client.stats().in_flight > 0).await;
        for index in killed {
            cluster.restart_worker(index);
            while chance.below(3) == 0 {
                tokio::time::sleep(Duration::from_millis(chance.below(START_MS))).await;
                kills += 1;
                cluster.restart_worker(index);
            }
            cluster.workers[index].ready();
        }
        for put in bursting.await.unwrap() {
            put.unwrap();
        }
        load.goes_on(200).await;
    }
    let lost = client.stats().connections_lost;
    assert!(lost >= round, "{lost} connections were lost by killing workers in {round} rounds");
    // Read back once more from nothing but what is on the disk.
    (0..2).for_each(|index| cluster.restart_worker(index));
    cluster.workers.iter_mut().for_each(|worker| worker.ready());
    for (key, value) in burst(round) {
        assert_eq!(client.get(&key).await.unwrap().expect("an acknowledged write"), value, "{key}");
    }
    let done = load.end(&client).await;
    println!("{done} calls, none failed; {kills} kills in {round} rounds, {lost} connections lost");
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
