//! Copies of a shard that come to differ: whoever is wrong is found, gets a full copy, and ends equal to the others, without a
//! restart of its process. And what a shard holds beside its owner, which nobody gets rid of, is named by `admin check`.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    path::Path,
    time::Duration,
};

use slotkv::{Client, ReadLevel};
use slotkv_daemon::dev::{Dev, DevOptions};
use slotkv_proto::{SlotCount, slot, v1};
use slotkv_storage::{
    Batch, Engine, FjallEngine, Reader, Row, SlotRow,
    fjall_engine::FjallOptions,
    keys::{self, DataKey},
};
use slotkv_tests::{WAIT_MAX, process, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const SLOTS: u32 = 16;
const COPIES: usize = 3;

fn options(folder: &Path, replicas: usize) -> DevOptions {
    DevOptions {
        masters: 1,
        shards: 1,
        replicas,
        slots: SLOTS,
        data: Some(folder.to_owned()),
        check_interval: Duration::from_millis(300),
        metrics: Some("0".into()),
        ..DevOptions::default()
    }
}

async fn connected(dev: &Dev) -> Client {
    Client::connect(&dev.uri()).await.unwrap().with_deadline(WAIT_MAX)
}

async fn shard(client: &Client) -> v1::ShardStatus {
    client.status().await.unwrap().shards.remove(0)
}

/// Waits until a copy was replaced by a full one and all are in sync again. Returns the shard's status then.
async fn replaced(client: &Client, name: &str, replicas: usize) -> v1::ShardStatus {
    let is_done = async || {
        let shard = shard(client).await;
        let copy = shard.copies.iter().find(|copy| copy.name == name).unwrap();
        let is_quiet = shard.copies.iter().all(|copy| copy.trouble.is_empty());
        copy.restarts == 1
            && copy.in_isr
            && shard.isr.len() == replicas
            && shard.state == "leader"
            && is_quiet
            && copy.copies_installed == 1
            && shard.copies.iter().any(|copy| copy.checks > 0)
    };
    until("the copy is replaced", is_done).await;
    shard(client).await
}

/// The samples of a cluster's metrics.
async fn metrics(dev: &Dev) -> BTreeMap<String, u64> {
    let mut stream = TcpStream::connect(dev.metrics_address().unwrap()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let samples = page.lines().filter(|line| line.starts_with("slotkv_"));
    let sample =
        |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
    samples.filter_map(sample).collect()
}

/// The folder of an engine in force: there is no other once a cluster has stopped.
fn engine(folder: &Path, name: &str) -> FjallEngine {
    let replica = folder.join(name);
    let engines = std::fs::read_dir(&replica).unwrap().map(|entry| entry.unwrap().path());
    let mut engines: Vec<_> =
        engines.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("engine")).collect();
    engines.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
    FjallEngine::open(engines.last().unwrap(), &FjallOptions::default()).unwrap()
}

/// Changes a row of a copy that does not run, or gives it one, and what its slot is said to hold with it, as a put or a delete
/// that was applied nowhere else would. `keeps_books`: else the slot is said to hold what it held.
fn plant(folder: &Path, name: &str, key: &str, value: Option<&str>, keeps_books: bool) {
    let engine = engine(folder, name);
    let slot = slot::slot(key.as_bytes(), SlotCount::new(SLOTS).unwrap());
    let (row_key, slot_key) = (keys::data_key(slot, "", key.as_bytes()), keys::slot_key(slot));
    let mut sums =
        engine.get(&slot_key).unwrap().map_or(SlotRow::default(), |row| SlotRow::decode(&row).unwrap());
    let before = engine.get(&row_key).unwrap().map(|row| Row::decode(row).unwrap());
    let mut batch = Batch::new();
    if let Some(row) = &before {
        sums.count -= 1;
        sums.bytes -= (key.len() + row.value.len()) as u64;
        sums.digest = sums.digest.wrapping_sub(keys::digest_of("", key.as_bytes(), row.version, &row.value));
        batch.delete(row_key.clone());
    }
    if let Some(value) = value {
        let version = before.map_or(1, |row| row.version);
        let row = Row { version, expires_ms: 0, value: value.to_owned().into() };
        sums.count += 1;
        sums.bytes += (key.len() + value.len()) as u64;
        sums.digest = sums.digest.wrapping_add(keys::digest_of("", key.as_bytes(), version, &row.value));
        batch.put(row_key, row.encode());
    }
    if keeps_books {
        batch.put(slot_key, sums.encode());
    }
    engine.write(batch).unwrap();
    engine.persist().unwrap();
}

/// What a copy that does not run holds.
fn held(folder: &Path, name: &str) -> BTreeMap<String, (u64, String)> {
    let engine = engine(folder, name);
    let (prefix, mut held) = (keys::data_key_prefix(), BTreeMap::new());
    let end = keys::prefix_end(&prefix);
    let bounds = (Bound::Included(&prefix[..]), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
    let visit = &mut |key: &[u8], row: &[u8]| {
        let key = String::from_utf8(DataKey::decode(key).unwrap().key.to_vec()).unwrap();
        let row = Row::decode(row.to_vec().into()).unwrap();
        held.insert(key, (row.version, String::from_utf8(row.value.to_vec()).unwrap()));
        ControlFlow::Continue(())
    };
    engine.scan(bounds, visit).unwrap();
    held
}

/// A cluster that has stopped, whose copies hold some rows; `gone` was deleted.
async fn stopped(folder: &Path, replicas: usize) {
    let dev = Dev::start(options(folder, replicas)).await.unwrap();
    let client = connected(&dev).await;
    until("all are in sync", async || shard(&client).await.isr.len() == replicas).await;
    for number in 0..50 {
        client.put(format!("key{number}"), "right").await.unwrap();
    }
    client.put("gone", "once").await.unwrap();
    client.delete("gone").await.unwrap();
    client.put("last", "right").await.unwrap();
    let stale = client.with_read_level(ReadLevel::Stale);
    until("every copy has the last write", async || {
        for _ in 0..20 {
            if stale.get("last").await.unwrap().is_none() {
                return false;
            }
        }
        true
    })
    .await;
    client.close().await;
    dev.shutdown().await;
}

fn names(replicas: usize) -> Vec<String> {
    (0..replicas).map(|copy| format!("worker-0-{copy}")).collect()
}

/// Plants something in one of three copies, and sees to it that it alone is replaced. `leads`: it is to lead before it is
/// found out.
async fn found(key: &str, value: Option<&str>, keeps_books: bool, leads: bool) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    stopped(folder, COPIES).await;
    let names = names(COPIES);
    let expected = held(folder, &names[0]);
    plant(folder, &names[1], key, value, keeps_books);
    assert_ne!(held(folder, &names[1]), expected);

    let dev = Dev::start(options(folder, COPIES)).await.unwrap();
    let client = connected(&dev).await;
    if leads {
        let leader = shard(&client).await.primary;
        println!("{leader} leads, {} is to", names[1]);
        let address = format!("http://{}", dev.master_addresses()[0]);
        let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        let mut admin = v1::admin_client::AdminClient::new(channel);
        let hello = Some(v1::Hello { version_min: 1, version_max: 1, ..Default::default() });
        let _ = admin.promote(v1::PromoteRequest { hello, name: names[1].clone() }).await;
    }
    let shard = replaced(&client, &names[1], COPIES).await;
    for copy in &shard.copies {
        let is_replaced = copy.name == names[1];
        assert_eq!(copy.restarts, u64::from(is_replaced), "{shard:?}");
    }
    let planted = shard.copies.iter().find(|copy| copy.name == names[1]).unwrap();
    let different: u64 = shard.copies.iter().map(|copy| copy.different).sum();
    match keeps_books {
        true => assert!(different > 0 && planted.rotten_slots == 0, "{shard:?}"),
        false => assert!(different == 0 && planted.rotten_slots > 0, "{shard:?}"),
    }
    // Prometheus is told the same.
    let metrics = metrics(&dev).await;
    let told =
        |metric: &str, name: &str| metrics[&format!("{metric}_total{{shard=\"0\",replica=\"{name}\"}}")];
    for copy in &shard.copies {
        assert_eq!(told("slotkv_replica_different_copies", &copy.name), copy.different, "{shard:?}");
        assert_eq!(told("slotkv_replica_rotten_slots", &copy.name), copy.rotten_slots, "{shard:?}");
        assert_eq!(told("slotkv_replica_copies_installed", &copy.name), copy.copies_installed, "{shard:?}");
        assert_eq!(told("slotkv_replica_restarts", &copy.name), copy.restarts, "{shard:?}");
    }
    client.close().await;
    dev.shutdown().await;
    for name in &names {
        assert_eq!(held(folder, name), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_with_a_row_of_its_own_gets_a_full_copy() {
    found("key7", Some("wrong"), true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn primary_with_a_deleted_key_that_is_there_again_is_the_one_that_is_replaced() {
    found("gone", Some("once"), true, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_whose_row_was_lost_on_the_disk_is_replaced_whoever_leads() {
    found("key9", None, false, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_copies_that_differ_what_clients_were_told_stays() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    stopped(folder, 2).await;
    let names = names(2);
    plant(folder, &names[1], "key3", Some("other"), true);
    let held_before = [held(folder, &names[0]), held(folder, &names[1])];
    let dev = Dev::start(options(folder, 2)).await.unwrap();
    let client = connected(&dev).await;
    let primary = shard(&client).await.primary;
    let keeps = usize::from(primary == names[1]);
    replaced(&client, &names[1 - keeps], 2).await;
    client.close().await;
    dev.shutdown().await;
    for name in &names {
        assert_eq!(held(folder, name), held_before[keeps], "{primary} led, {name}");
    }
}

/// Waits until `admin check` ends with this exit code and says this and nothing else.
async fn checked(dev: &Dev, code: i32, wanted: &str) {
    until(&format!("admin check ends with {code} and {wanted:?}"), async || {
        let mut command = process::slotkv();
        command.args(["admin", "check", "--wait", "1s", "--uri", &dev.uri()]);
        let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        println!("{:?}: {said}{}", done.status.code(), String::from_utf8_lossy(&done.stderr));
        (done.status.code(), &*said) == (Some(code), wanted)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_check_names_a_slot_that_a_shard_holds_beside_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let two_shards = || DevOptions { shards: 2, ..options(folder, 1) };
    let dev = Dev::start(two_shards()).await.unwrap();
    let client = connected(&dev).await;
    let mut keys = (0..).map(|number| format!("key{number}"));
    let key = keys.find(|key| client.explain(key.as_bytes()).shard == Some(1)).unwrap();
    client.put(key.clone(), "right").await.unwrap();
    let right =
        "16 slots have one owner each, nothing is left of a hand-over, 2 replicas hold what they should\n";
    checked(&dev, 0, right).await;
    client.close().await;
    dev.shutdown().await;
    plant(folder, "worker-0", &key, Some("second"), true);
    let dev = Dev::start(two_shards()).await.unwrap();
    let slot = slot::slot(key.as_bytes(), SlotCount::new(SLOTS).unwrap());
    let wrong = format!("worker-0 of shard 0: 1 slots belong to another shard and are held here: {slot}\n");
    checked(&dev, 1, &wrong).await;
    dev.shutdown().await;
}
