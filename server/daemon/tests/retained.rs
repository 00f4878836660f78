//! The log that is kept behind a checkpoint (`--retain-bytes`), for a backup that was away: with it the backup comes back by the
//! log alone; past it, by a copy of everything.

use std::{path::Path, sync::Arc, time::Duration};

use slotkv::{Client, Range};
use slotkv_coordination::Embedded;
use slotkv_daemon::{
    metrics::{Source, WorkerState},
    serve::{Listening, MasterServer, WorkerServer, worker::seams},
};
use slotkv_master::MasterOptions;
use slotkv_proto::{SlotCount, seam::SystemChance, v1};
use slotkv_storage::RealDisk;
use slotkv_worker::Options;
use tokio::time::Instant;

/// Longest wait for what must happen.
const WAIT_MAX: Duration = Duration::from_secs(30);
const SEGMENT_BYTES: u64 = 128 << 10;
const RETAIN_BYTES: u64 = 2 << 20;
const VALUE_BYTES: usize = 16 << 10;
/// What a cut leaves beside what is retained: the rest of a segment, and what has come since the last checkpoint.
const SLACK_BYTES: u64 = 4 * SEGMENT_BYTES;
/// A backup that is not heard for so long leaves the ISR, after four times as long the primary keeps nothing for it by name.
const SILENCE: Duration = Duration::from_millis(400);

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < WAIT_MAX, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn listening() -> Listening {
    Listening::bind("127.0.0.1:0", 0, None).unwrap()
}

async fn worker(coordinator: &Embedded, folder: &Path, name: &str) -> WorkerServer {
    let mut options = Options::new(folder.join(name), "");
    options.shard = Some(0);
    options.name = Some(name.to_owned());
    options.wishes.replicas = Some(2);
    options.segment_bytes = SEGMENT_BYTES;
    options.checkpoint_bytes = 2 * SEGMENT_BYTES;
    options.retain_bytes = RETAIN_BYTES;
    options.replication.silence_us = SILENCE.as_micros() as u64;
    options.session_timeout = Duration::from_secs(1);
    let seams = seams(Arc::new(coordinator.clone()), Arc::new(RealDisk::new()), 8 << 20);
    WorkerServer::start(options, listening(), 100, seams, |_| ()).await.unwrap()
}

/// Puts so many bytes under keys of their own.
async fn write(client: &Client, prefix: &str, bytes: u64) -> u64 {
    let count = bytes / VALUE_BYTES as u64;
    let value = vec![b'v'; VALUE_BYTES];
    // A few at a time, so that no group of writes is longer than a segment.
    for first in (0..count).step_by(8) {
        let numbers = first..count.min(first + 8);
        let puts = client.put_many(numbers.map(|number| (format!("{prefix}{number}"), value.clone()))).await;
        assert!(puts.iter().all(Result::is_ok));
    }
    count
}

async fn shard(client: &Client) -> v1::ShardStatus {
    client.status().await.unwrap().shards.remove(0)
}

/// Waits until `b` is in sync again: the full copies that its process has begun to receive, and those that are its data now.
async fn back(client: &Client) -> (u64, u64) {
    let copy = until("the backup is in sync", async || {
        let shard = shard(client).await;
        let is_in_sync = shard.isr.len() == 2;
        shard.copies.into_iter().find(|copy| copy.name == "b" && copy.state == "in sync" && is_in_sync)
    })
    .await;
    (copy.copies_begun, copy.copies_installed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_away_comes_back_by_the_log_within_what_is_retained_and_by_a_snapshot_past_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let coordinator = Embedded::new();
    let options = MasterOptions {
        slot_count: SlotCount::new(16).unwrap(),
        session_timeout: Duration::from_secs(1),
        ..MasterOptions::new("", 1)
    };
    let master =
        MasterServer::start(options, listening(), 100, Arc::new(coordinator.clone()), Arc::new(SystemChance));
    let master = master.await.unwrap();
    let a = worker(&coordinator, folder, "a").await;
    let b = worker(&coordinator, folder, "b").await;
    let client = Client::connect(&format!("slotkv://{}", master.address())).await.unwrap();
    let client = client.with_deadline(WAIT_MAX);
    back(&client).await;
    let Source::Worker(state) = a.source() else { panic!("a worker") };
    let log_bytes = async || {
        let WorkerState::Runs { shard, .. } = state.borrow().clone() else { panic!("it runs") };
        let measures = shard.upgrade().unwrap().measure();
        measures.await.unwrap().log_bytes
    };
    let is_cut = async || log_bytes().await < RETAIN_BYTES + SLACK_BYTES;
    // A log as long as it is kept, so that what is written next pushes out as much at the front.
    let mut count = write(&client, "first", 2 * RETAIN_BYTES).await;
    until("the log is cut", async || is_cut().await.then_some(())).await;

    let gone = async |b: WorkerServer| {
        b.shutdown(Duration::from_secs(1)).await;
        until("the backup is out of the ISR", async || (shard(&client).await.isr == ["a"]).then_some(()))
            .await;
        // Nobody is told that a backup is forgotten.
        tokio::time::sleep(5 * SILENCE).await;
    };
    gone(b).await;
    // Checkpoints are made meanwhile, and each would cut it off.
    count += write(&client, "within", RETAIN_BYTES / 2).await;
    until("the log is cut", async || is_cut().await.then_some(())).await;
    let b = worker(&coordinator, folder, "b").await;
    assert_eq!(back(&client).await, (0, 0), "the log has everything that it lacks");

    gone(b).await;
    count += write(&client, "past", 2 * RETAIN_BYTES).await;
    until("the log is cut", async || is_cut().await.then_some(())).await;
    let b = worker(&coordinator, folder, "b").await;
    assert_eq!(back(&client).await, (1, 1), "the log has not everything any more");

    // It holds everything: it leads once the other has gone.
    a.shutdown(Duration::from_secs(1)).await;
    assert_eq!(client.count(Range::all()).await.unwrap(), count);
    client.close().await;
    b.shutdown(Duration::from_secs(1)).await;
    master.shutdown(Duration::from_secs(1)).await;
}
