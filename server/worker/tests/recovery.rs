//! What a worker finds again after a stop, a crash, or on damaged data.

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use common::{Caller, Machine, get, increment, put};
use slotkv_coordination::{
    Coordinator, Mode,
    embedded::Faults,
    paths,
    registers::{Register, ShardRegister},
};
use slotkv_proto::{
    Code, SlotCount,
    seam::{Chance, SeededChance},
    v1::{ClientFrame, Request},
};
use slotkv_storage::{
    Batch, Disk, Engine, Engines, MemoryEngine, MemoryEngines, Reader, RowCache, SimDisk,
    engine::{Bounds, Size, Visitor},
};
use slotkv_worker::{
    StartError,
    home::{Home, Opened},
    replica::LOSS_GAP,
};

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
        drop(caller);
        worker.shutdown().await;
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
    caller.send(ClientFrame {
        requests: vec![write],
        table_version: 1,
        epoch: caller.epoch,
        ..Default::default()
    });
    assert_eq!(caller.next().await.unwrap().replies[0].code, Code::SteppedDown.number());
    assert!(!worker.failed().await.is_empty());
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
async fn data_of_another_shard_or_replica_is_refused_by_name_and_stays_as_it_is() {
    let mut machine = Machine::new().await;
    machine.start().await.shutdown().await;
    for (shard, name, told) in [
        (Some(7), None, "the data folder holds shard 0, not 7"),
        (None, Some("w9"), "the data folder holds replica w0, not w9"),
        (Some(0), Some("w9"), "the data folder holds replica w0, not w9"),
    ] {
        machine.options.shard = shard;
        machine.options.name = name.map(str::to_owned);
        let Err(error) = machine.try_start().await else { panic!("it started: {told}") };
        assert!(matches!(error, StartError::OtherReplica { .. }), "{error}");
        assert_eq!(error.to_string(), told);
    }
    (machine.options.shard, machine.options.name) = (Some(0), Some("w0".into()));
    machine.start().await.shutdown().await;
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

#[tokio::test(start_paused = true)]
async fn behind_a_loss_the_first_record_goes_on_above_what_the_epochs_of_all_shards_come_to() {
    let mut machine = Machine::new().await;
    machine.options.wishes.durability = Some("interval(1000)".parse().unwrap());
    let session = machine.coordinator.open(Duration::from_secs(5)).await.unwrap();
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = &keys(1)[0];
    let first = caller.ask(put(key, "v")).await;
    assert!(caller.applied_index < LOSS_GAP && first.version < LOSS_GAP);
    // Another shard has seen more: an IMPORTED that is lost may have raised this one's numbers to those of that.
    let other = {
        let node = session.get(&paths::shard(0)).await.unwrap().unwrap();
        let register = ShardRegister::decode("", &node.data).unwrap();
        ShardRegister { epoch: 30, primary: None, ..register }
    };
    session.create(&paths::shard(7), other.encode().unwrap(), Mode::Persistent).await.unwrap();
    drop(caller);
    machine.crash(worker);

    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 2).await;
    let again = caller.ask(put(key, "w")).await;
    assert_eq!(again.code, 0);
    let least = LOSS_GAP * (caller.epoch + other.epoch);
    assert!(caller.applied_index > least && caller.applied_index < least + LOSS_GAP, "not above {least}");
    assert!(again.version > least, "version {} and not above {least}", again.version);
    // Without a loss the next one goes on where this one has ended.
    worker.shutdown().await;
    let worker = machine.start().await;
    let mut later = Caller::new(&worker, 3).await;
    assert_eq!(later.ask(get(key)).await.value, "w");
    assert!(later.applied_index > caller.applied_index && later.applied_index < least + LOSS_GAP);
}

/// Opens the data as a start does that never comes to lead.
async fn open_data(machine: &Machine, seed: u64) -> Result<(Home, Opened), StartError> {
    let seams = machine.seams();
    let mut home = Home::lock(seams.disk.clone(), &machine.options.dir)?;
    let cache = Arc::new(RowCache::new(1 << 16));
    let slots = SlotCount::new(common::SLOTS).unwrap();
    let opened = home.open(&seams.engines, cache, slots, 4096, &SeededChance::new(seed)).await?;
    Ok((home, opened))
}

fn crash_data(machine: &Machine, data: (Home, Opened)) {
    drop(data);
    machine.disk.crash();
    machine.engines.crash();
}

#[tokio::test(start_paused = true)]
async fn crashes_before_the_lead_under_interval_durability_leave_the_shard_startable() {
    let mut machine = Machine::new().await;
    machine.options.wishes.durability = Some("interval(1000)".parse().unwrap());
    for round in 0..3 {
        let worker = machine.start().await;
        let mut caller = Caller::new(&worker, 1).await;
        assert_eq!(caller.ask(put(&keys(1)[0], "v")).await.code, 0);
        drop(caller);
        machine.crash(worker);
        for crash in 0..300 {
            crash_data(&machine, open_data(&machine, 1_000 * round + crash).await.unwrap());
        }
    }
    machine.start().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_outlived_the_log_is_taken_over_whole_whatever_crashes_then() {
    for seed in 0..30 {
        let mut machine = Machine::new().await;
        machine.engines = MemoryEngines::recoverable(seed);
        machine.options.wishes.durability = Some("interval(1000)".parse().unwrap());
        let worker = machine.start().await;
        let mut caller = Caller::new(&worker, 1).await;
        caller.ask_all(keys(20).iter().map(|key| put(key, "v")).collect()).await;
        machine.engines.persist().unwrap();
        let applied = worker.shard().applied_index();
        drop(caller);
        machine.crash(worker);
        for crash in 0..3 {
            let data =
                open_data(&machine, crash).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert!(data.1.log.last_index() >= applied && !data.0.remains_of().is_empty());
            crash_data(&machine, data);
        }
        let worker = machine.start().await;
        let mut caller = Caller::new(&worker, 2).await;
        for key in keys(20) {
            assert_eq!(&caller.ask(get(&key)).await.value[..], b"v", "seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lost_intervals_lose_only_a_tail_and_give_no_version_and_no_index_twice() {
    for seed in 0..40 {
        let chance = SeededChance::new(seed);
        let mut machine = Machine::new().await;
        machine.disk = SimDisk::new(seed);
        machine.engines = MemoryEngines::recoverable(seed);
        machine.options.wishes.durability = Some("interval(1000)".parse().unwrap());
        (machine.options.segment_bytes, machine.options.checkpoint_bytes) = (4096, 8192);
        let key = &keys(1)[0];
        // The number that a synced write left, and the last one acknowledged.
        let (mut synced, mut last) = (0, 0);
        let (mut version, mut index, mut sequence, mut fence) = (0, 0, 0, 0);
        for _ in 0..6 {
            let worker = machine.start().await;
            let mut caller = Caller::new(&worker, 1).await;
            let found = caller.ask(get(key)).await;
            let number = std::str::from_utf8(&found.value).unwrap().parse().unwrap_or(0);
            assert!((synced..=last).contains(&number), "seed {seed}: {number}, not {synced} to {last}");
            assert!(caller.applied_index > index, "seed {seed}: the index went back");
            if sequence > 0 {
                // It is answered as before, not executed, or its write was lost.
                let last_attempt = Request { fence_index: fence, ..increment(key, 1, sequence) };
                let again = caller.ask(last_attempt).await;
                match Code::from_number(again.code) {
                    None if again.replayed => assert_eq!(again.number, number, "seed {seed}"),
                    None => assert!(number < last && again.number == number + 1, "seed {seed}"),
                    code => assert_eq!(code, Some(Code::Indeterminate), "seed {seed}"),
                }
            }
            let found = caller.ask(get(key)).await;
            last = std::str::from_utf8(&found.value).unwrap().parse().unwrap_or(0);
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            synced = last;
            for _ in 0..chance.below(60) {
                sequence += 1;
                fence = caller.applied_index;
                let write = Request { fence_index: fence, ..increment(key, 1, sequence) };
                let done = caller.ask(write).await;
                assert_eq!((done.code, done.number), (0, last + 1), "seed {seed}");
                assert!(done.version > version, "seed {seed}: version {} after {version}", done.version);
                (version, last) = (done.version, done.number);
                if chance.below(20) == 0 {
                    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
                    synced = last;
                }
            }
            index = caller.applied_index;
            drop(caller);
            if chance.below(5) == 0 {
                worker.shutdown().await;
                synced = last;
            } else {
                machine.crash(worker);
                for crash in 0..chance.below(3) {
                    crash_data(&machine, open_data(&machine, crash).await.unwrap());
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_whose_log_is_gone_is_refused_and_stays_refused() {
    let machine = Machine::new().await;
    machine.start().await.shutdown().await;
    machine.disk.kill();
    let dir = Path::new("/replica/log");
    for name in machine.disk.list(dir).unwrap() {
        machine.disk.remove(&dir.join(name)).unwrap();
    }
    machine.engines.crash();
    for _ in 0..2 {
        let Err(StartError::DataMissing { shard: 0, .. }) = machine.try_start().await else {
            panic!("it started")
        };
    }
}

#[tokio::test(start_paused = true)]
async fn an_aborted_worker_leaves_its_log_as_a_crash_does() {
    let mut machine = Machine::new().await;
    machine.options.wishes.durability = Some("interval(1000)".parse().unwrap());
    let worker = machine.start().await;
    worker.shard().abort((Code::ShuttingDown, "killed".into()));
    worker.failed().await;
    drop(worker);
    let (home, _) = open_data(&machine, 1).await.unwrap();
    assert!(!home.remains_of().is_empty(), "the log was closed in order");
}

#[tokio::test(start_paused = true)]
async fn writes_behind_a_failed_group_are_refused_as_not_begun() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    machine.disk.fail_sync(0);
    // Together they are more than one group may hold.
    let large = "v".repeat(5 << 20);
    let requests = (1..=2).map(|id| Request { id, ..put(&keys(1)[0], &large) }).collect();
    caller.send(ClientFrame { requests, table_version: 1, epoch: caller.epoch, ..Default::default() });
    let patience = std::time::Duration::from_secs(60);
    let frame = tokio::time::timeout(patience, caller.next()).await.expect("no word of the second").unwrap();
    let told: Vec<_> = frame.replies.iter().map(|reply| (reply.id, reply.code)).collect();
    assert_eq!(told, [(1, Code::SteppedDown.number()), (2, Code::ShuttingDown.number())]);
    worker.failed().await;
}

#[tokio::test(start_paused = true)]
async fn weights_and_shards_past_their_limits_are_refused_before_anything_is_written() {
    let mut machine = Machine::new().await;
    for weight in [f64::NAN, f64::INFINITY, -1.0] {
        machine.options.wishes.weight = Some(weight);
        let Err(StartError::OutOfBounds { what: "weight", .. }) = machine.try_start().await else {
            panic!("it started with a weight of {weight}")
        };
    }
    machine.options.wishes.weight = None;
    for shard in [4096, u32::MAX] {
        machine.options.shard = Some(shard);
        let Err(error) = machine.try_start().await else { panic!("it started as shard {shard}") };
        assert!(error.to_string().contains("4096 shards"), "{error}");
    }
    assert!(!machine.disk.exists(Path::new("/replica/replica.json")).unwrap());
}

/// Engines whose opening outlasts every session.
struct Slow(MemoryEngines, Faults);

impl Engines for Slow {
    fn open(&self, folder: &Path) -> Result<Arc<dyn Engine>, slotkv_storage::Error> {
        self.1.sessions().into_iter().for_each(|session| self.1.expire(session));
        self.0.open(folder)
    }

    fn remove(&self, folder: &Path) -> Result<(), slotkv_storage::Error> {
        self.0.remove(folder)
    }

    fn names(&self, dir: &Path) -> Result<Vec<String>, slotkv_storage::Error> {
        self.0.names(dir)
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_while_the_data_is_opened_is_replaced() {
    let machine = Machine::new().await;
    let mut seams = machine.seams();
    seams.engines = Arc::new(Slow(machine.engines.clone(), machine.coordinator.faults()));
    let worker = slotkv_worker::Worker::start(machine.options.clone(), seams).await.unwrap();
    worker.placed().await.unwrap();
    assert_eq!(worker.shard().ownership().epoch(), 1);
}

/// An engine with much in memory that the disk must have room for.
#[derive(Clone)]
struct Full(MemoryEngine);

impl Engines for Full {
    fn open(&self, _: &Path) -> Result<Arc<dyn Engine>, slotkv_storage::Error> {
        Ok(Arc::new(self.clone()))
    }

    fn remove(&self, _: &Path) -> Result<(), slotkv_storage::Error> {
        Ok(())
    }

    fn names(&self, _: &Path) -> Result<Vec<String>, slotkv_storage::Error> {
        Ok(Vec::new())
    }
}

impl Reader for Full {
    fn get(&self, key: &[u8]) -> Result<Option<bytes::Bytes>, slotkv_storage::Error> {
        self.0.get(key)
    }

    fn scan(&self, bounds: Bounds<'_>, visit: &mut Visitor<'_>) -> Result<(), slotkv_storage::Error> {
        self.0.scan(bounds, visit)
    }
}

impl Engine for Full {
    fn write(&self, batch: Batch) -> Result<(), slotkv_storage::Error> {
        self.0.write(batch)
    }

    fn persist(&self) -> Result<(), slotkv_storage::Error> {
        panic!("as an engine does whose thread has died")
    }

    fn snapshot(&self) -> Result<Box<dyn Reader>, slotkv_storage::Error> {
        self.0.snapshot()
    }

    fn unflushed_bytes(&self) -> u64 {
        100 << 20
    }

    fn size(&self) -> Size {
        self.0.size()
    }
}

#[tokio::test(start_paused = true)]
async fn room_is_kept_for_what_the_engine_has_in_memory() {
    let machine = Machine::new().await;
    let mut seams = machine.seams();
    seams.engines = Arc::new(Full(MemoryEngine::new()));
    let worker = slotkv_worker::Worker::start(machine.options.clone(), seams).await.unwrap();
    worker.placed().await.unwrap();
    worker.shard().catch_up(1).await;
    let mut caller = Caller::new(&worker, 1).await;
    machine.disk.set_capacity(Some(machine.disk.used_bytes() + (200 << 20)));
    assert_eq!(caller.ask(put(&keys(1)[0], "v")).await.code, Code::ReadOnly.number());
}

#[tokio::test]
async fn an_engine_that_panics_while_it_persists_stops_the_shard() {
    let mut machine = Machine::new().await;
    (machine.options.segment_bytes, machine.options.checkpoint_bytes) = (4096, 4096);
    let mut seams = machine.seams();
    seams.engines = Arc::new(Full(MemoryEngine::new()));
    seams.runner = slotkv_worker::Runner::Threads(tokio::runtime::Handle::current());
    let worker = slotkv_worker::Worker::start(machine.options.clone(), seams).await.unwrap();
    worker.placed().await.unwrap();
    worker.shard().catch_up(1).await;
    let mut caller = Caller::new(&worker, 1).await;
    let large = "v".repeat(8192);
    assert_eq!(caller.ask(put(&keys(1)[0], &large)).await.code, 0);
    assert!(worker.failed().await.contains("durable"));
}
