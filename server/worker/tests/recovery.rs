//! What a worker finds again after a stop, a crash, or on damaged data.

mod common;

use std::path::Path;

use common::{Caller, Machine, get, increment, put};
use slotkv_proto::{Code, SlotCount};
use slotkv_storage::Disk;
use slotkv_worker::StartError;

fn keys(count: usize) -> Vec<String> {
    let slots = SlotCount::new(common::SLOTS).unwrap();
    let own = |key: &String| slotkv_proto::slot(key.as_bytes(), slots) != 15;
    (0..).map(|n| format!("key{n}")).filter(own).take(count).collect()
}

#[tokio::test(start_paused = true)]
async fn acknowledged_writes_survive_the_loss_of_everything_unsynced() {
    let machine = Machine::new().await;
    for round in 0..5 {
        let worker = machine.start().await;
        let mut caller = Caller::new(&worker, round).await;
        for (n, key) in keys(50).iter().enumerate() {
            assert_eq!(caller.ask(put(key, &format!("{round}/{n}"))).await.code, 0);
        }
        drop(caller);
        machine.crash(worker);
        let worker = machine.start().await;
        let mut caller = Caller::new(&worker, 100).await;
        for (n, key) in keys(50).iter().enumerate() {
            assert_eq!(caller.ask(get(key)).await.value, format!("{round}/{n}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn checkpoints_shorten_the_log_and_keep_versions_and_results() {
    let mut machine = Machine::new().await;
    machine.options.segment_bytes = 4096;
    machine.options.checkpoint_bytes = 8192;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = &keys(1)[0];
    let mut last = 0;
    for sequence in 1..=500 {
        last = caller.ask(increment(key, 1, sequence)).await.version;
    }
    let segments = machine.disk.list(Path::new("/replica/log")).unwrap().len();
    assert!(segments < 10, "{segments} files are left of the log");
    drop(caller);
    machine.crash(worker);

    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let again = caller.ask(increment(key, 1, 500)).await;
    assert_eq!((again.number, again.version, again.replayed), (500, last, true));
    let next = caller.ask(increment(key, 1, 501)).await;
    assert_eq!((next.number, next.version), (501, last + 1));
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_in_the_log_is_refused_with_its_place() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    for key in keys(20) {
        caller.ask(put(&key, "some value that is long enough to be hit")).await;
    }
    drop(caller);
    machine.crash(worker);
    let dir = Path::new("/replica/log");
    let segment = machine.disk.list(dir).unwrap().into_iter().find(|name| name.ends_with(".log")).unwrap();
    let file = dir.join(&segment);
    let middle = machine.disk.read(&file).unwrap().len() as u64 / 2;
    machine.disk.flip_bit(&file, middle * 8);
    let Err(StartError::Storage(error)) = machine.try_start().await else { panic!("it started") };
    let text = error.to_string();
    assert!(text.contains("damaged") && text.contains(&segment), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_writes_and_serves_reads_until_there_is_room() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let keys = keys(2);
    assert_eq!(caller.ask(put(&keys[0], "v")).await.code, 0);
    machine.disk.set_capacity(Some(1 << 20));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let refused = caller.ask(put(&keys[1], "w")).await;
    assert_eq!(refused.code, Code::ReadOnly.number());
    assert!(refused.message.contains("free"), "{}", refused.message);
    assert_eq!(&caller.ask(get(&keys[0])).await.value[..], b"v");
    machine.disk.set_capacity(None);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(caller.ask(put(&keys[1], "w")).await.code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_stops_the_shard_and_acknowledges_nothing() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    machine.disk.fail_sync(0);
    let key = &keys(1)[0];
    let mut write = put(key, "v");
    write.id = 1;
    caller.send(slotkv_proto::v1::ClientFrame {
        requests: vec![write],
        table_version: 1,
        epoch: caller.epoch,
        ..Default::default()
    });
    let why = tokio::select! {
        why = worker.failed() => why,
        frame = caller.next() => panic!("{frame:?}"),
    };
    assert!(!why.is_empty());
    assert!(worker.shard().check_serving().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_second_process_on_the_folder_is_refused() {
    let machine = Machine::new().await;
    let _worker = machine.start().await;
    let Err(StartError::Storage(error)) = machine.try_start().await else { panic!("it started") };
    assert!(error.to_string().contains("in use"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_replica_cannot_take_a_shard_and_a_wiped_one_says_what_is_missing() {
    let mut machine = Machine::new().await;
    machine.start().await.shutdown().await;
    machine.options.dir = "/other".into();
    machine.options.name = Some("w9".into());
    let Err(StartError::Taken { holder, .. }) = machine.try_start().await else { panic!("it started") };
    assert_eq!(holder, "w0");
    machine.options.name = Some("w0".into());
    let Err(StartError::DataMissing { shard: 0, .. }) = machine.try_start().await else {
        panic!("it started")
    };
}

#[tokio::test(start_paused = true)]
async fn every_start_leads_in_a_new_epoch() {
    let machine = Machine::new().await;
    for epoch in 1..=3 {
        let worker = machine.start().await;
        assert_eq!(worker.shard().ownership().epoch(), epoch);
        worker.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unclean_stop_under_interval_durability_makes_a_new_incarnation_that_leads_again() {
    let mut machine = Machine::new().await;
    machine.options.wishes.durability = Some("interval(1000)".parse().unwrap());
    let inc = |machine: &Machine| {
        let bytes = machine.disk.read(Path::new("/replica/replica.json")).unwrap();
        let start = String::from_utf8(bytes).unwrap();
        start.split("\"inc\": \"").nth(1).unwrap()[..16].to_owned()
    };
    let worker = machine.start().await;
    let first = inc(&machine);
    let mut caller = Caller::new(&worker, 1).await;
    let keys = keys(20);
    for key in &keys[..10] {
        caller.ask(put(key, "early")).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    for key in &keys[10..] {
        caller.ask(put(key, "late")).await;
    }
    drop(caller);
    machine.crash(worker);
    let worker = machine.start().await;
    assert_ne!(inc(&machine), first);
    let mut caller = Caller::new(&worker, 2).await;
    for key in &keys[..10] {
        assert_eq!(&caller.ask(get(key)).await.value[..], b"early");
    }
    worker.shutdown().await;
    let second = inc(&machine);
    machine.start().await;
    assert_eq!(inc(&machine), second, "a clean stop keeps the incarnation");
}
