//! Every change that a worker makes on its disk is a point at which the machine may end: while it starts, logs, makes
//! checkpoints and shortens its log. After each, the next start finds what was acknowledged, and applies nothing twice. So
//! is every change of a replica that takes a snapshot over, its engine's too: after each the next opening finds the old
//! data with the old log or the new data with a log that goes on behind it.

mod common;

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use common::{
    Caller, Machine,
    data::{Contents, DIR, Data},
    get, increment, put,
};
use slotkv_proto::seam::SeededChance;
use slotkv_storage::{Engines, MemoryEngines, Position, SimDisk};
use slotkv_worker::StartError;

/// Writes of one run; several checkpoints are made meanwhile.
const WRITES: u64 = 60;

/// As many changes as a start makes, or a few more.
const START_CHANGES: u32 = 24;

/// What callers were told of a counter and of a key.
#[derive(Debug, Default)]
struct Told {
    /// Increments that were asked for, each with its number as sequence, and that were acknowledged.
    asked: u64,
    counted: u64,
    /// The number put last that was acknowledged.
    put: u64,
}

async fn machine(seed: u64, reordering: bool) -> Machine {
    let mut machine = Machine::new().await;
    machine.disk = SimDisk::new(seed);
    machine.disk.set_reordering(reordering);
    machine.engines = MemoryEngines::recoverable(seed);
    (machine.options.segment_bytes, machine.options.checkpoint_bytes) = (2048, 4096);
    machine
}

fn value(number: u64) -> String {
    format!("{number:0>200}")
}

/// Starts a worker and has it write until its disk stops or all is done.
async fn write(machine: &Machine, told: &mut Told) {
    let Ok(worker) = machine.try_start().await else { return end(machine) };
    let mut views = worker.view();
    views.wait_for(|view| view.slots.version >= 1).await.unwrap();
    worker.shard().catch_up(1).await;
    let writing = async {
        let mut caller = Caller::new(&worker, 1).await;
        while told.asked < WRITES {
            told.asked += 1;
            let counted = caller.ask(increment("counter", 1, told.asked)).await;
            if counted.code != 0 {
                break;
            }
            assert_eq!(counted.number as u64, told.asked);
            told.counted = told.asked;
            if caller.ask(put("key", &value(told.asked))).await.code != 0 {
                break;
            }
            told.put = told.asked;
        }
    };
    tokio::select! {
        () = writing => {}
        _ = worker.failed() => {}
    }
    machine.crash(worker);
}

fn end(machine: &Machine) {
    machine.disk.crash();
    machine.engines.crash();
}

/// Starts a worker on whatever is there and compares.
async fn check(machine: &Machine, told: &Told) {
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let found = caller.ask(get("key")).await;
    let number = std::str::from_utf8(&found.value).unwrap().parse().unwrap_or(0);
    assert!((told.put..=told.asked).contains(&number), "the key has {number}");
    assert!(number == 0 || *found.value == *value(number).as_bytes());
    // Asked again, the last increment has been applied once, whether its caller was told or not.
    if told.asked > 0 {
        let again = caller.ask(increment("counter", 1, told.asked)).await;
        assert_eq!((again.code, again.number as u64), (0, told.asked));
        assert!(again.replayed || told.counted < told.asked);
    }
    machine.crash(worker);
}

#[tokio::test(start_paused = true)]
async fn worker_holds_what_it_acknowledged_wherever_its_machine_ends() {
    let long = std::env::var_os("SLOTKV_TEST_LONG").is_some();
    let (seeds, count_min) = if long { (24, 10_000) } else { (2, 800) };
    let whole = machine(0, false).await;
    let mut told = Told::default();
    write(&whole, &mut told).await;
    assert_eq!(told.put, WRITES);
    let changes = whole.disk.change_count() as u32;
    let mut count = 0;
    for after in 0..changes {
        for seed in 0..seeds {
            let machine = machine(seed << 32 | u64::from(after), seed % 2 == 1).await;
            let mut told = Told::default();
            machine.disk.stop_after(after);
            write(&machine, &mut told).await;
            // The next start may end early, too.
            if (u64::from(after) + seed) % 3 == 0 {
                machine.disk.stop_after((after + seed as u32) % START_CHANGES);
                match machine.try_start().await {
                    Ok(worker) => machine.crash(worker),
                    Err(_) => end(&machine),
                }
            }
            println!("seed {seed}, {after} of {changes} changes: {told:?}");
            check(&machine, &told).await;
            count += 1;
        }
    }
    println!("{count} crash points of a worker");
    assert!(count >= count_min, "{count} crash points");
}

/// A snapshot with what it amounts to.
struct Snapshot {
    at: Position,
    parts: Vec<Bytes>,
    contents: Contents,
}

async fn snapshot(seed: u64, writes: u64) -> Snapshot {
    let mut data = Data::open(&SimDisk::new(seed), &MemoryEngines::recoverable(seed), seed).await.unwrap();
    for number in 1..=writes {
        data.write(2, 1_000 * seed + number, true).await.unwrap();
    }
    let (at, parts) = data.parts(400);
    Snapshot { at, parts, contents: data.contents() }
}

/// A machine with a replica's folder, of which every change counts.
struct Folder {
    disk: SimDisk,
    engines: MemoryEngines,
}

impl Folder {
    fn new(seed: u64) -> Self {
        let (disk, engines) = (SimDisk::new(seed), MemoryEngines::recoverable(seed));
        disk.set_reordering(seed % 2 == 1);
        engines.count_on(&disk);
        Self { disk, engines }
    }

    async fn open(&self, seed: u64) -> Result<Data, StartError> {
        Data::open(&self.disk, &self.engines, seed).await
    }

    fn crash(&self) {
        self.disk.crash();
        self.engines.crash();
    }

    /// Opens the folder once more and applies all that is logged.
    async fn opened(&self) -> Data {
        let mut data = self.open(9).await.unwrap_or_else(|error| panic!("{error:?}"));
        data.catch_up().unwrap();
        data
    }
}

/// What a replica held when its machine ended, and what it was about to hold.
struct Taking {
    inc: String,
    /// The old data, and the end of its log.
    old: (Contents, u64),
    /// The new data at each end that its log had.
    new: BTreeMap<u64, Contents>,
    /// The end of the new log that was reached for certain; 0: none was.
    reached: u64,
}

/// Every third replica has taken over another snapshot before. Writes that are not committed are at the end of its log.
async fn old_replica(folder: &Folder, seed: u64, earlier: &Snapshot) -> Data {
    let mut data = folder.open(seed).await.unwrap();
    for number in 1..=6 + seed % 5 {
        data.write(1, 500_000 + 100 * seed + number, true).await.unwrap();
    }
    if seed.is_multiple_of(3) {
        data.install(earlier.at, &earlier.parts).await.unwrap();
    }
    for number in 11..=14 {
        data.write(2, 500_000 + 100 * seed + number, number < 13).await.unwrap();
    }
    data
}

/// Takes the snapshot over and goes on, until the disk stops or all is done.
async fn take(
    data: &mut Data,
    snapshot: &Snapshot,
    taking: &mut Taking,
    seed: u64,
) -> Result<(), StartError> {
    data.install(snapshot.at, &snapshot.parts).await?;
    assert_eq!(data.contents(), snapshot.contents);
    taking.new.insert(snapshot.at.index, data.contents());
    taking.reached = snapshot.at.index;
    for number in 1..=3 {
        data.write(3, 900_000 + 10 * seed + number, true).await?;
        taking.new.insert(data.log.last_index(), data.contents());
        taking.reached = data.log.last_index();
    }
    Ok(())
}

/// Whether the folder holds the new data.
async fn check_taken(folder: &Folder, taking: &Taking, snapshot: &Snapshot) -> bool {
    let data = folder.opened().await;
    let contents = data.contents();
    assert_eq!(folder.engines.names(Path::new(DIR)).unwrap().len(), 1, "an engine was left over");
    assert_eq!(data.home.identification().unwrap().inc, taking.inc);
    if data.log.first_index() <= snapshot.at.index {
        assert_eq!(taking.reached, 0, "the new data was there, the old is");
        assert_eq!((contents, data.log.last_index()), taking.old);
        return false;
    }
    assert_eq!(data.log.first_index(), snapshot.at.index + 1);
    let end = data.log.last_index();
    assert!(end >= taking.reached, "the log ends with {end}, not {}", taking.reached);
    match taking.new.get(&end) {
        Some(expected) => assert_eq!(contents, *expected),
        None if end == snapshot.at.index => assert_eq!(contents, snapshot.contents),
        // Of the write that was under way nobody knows.
        None => assert_eq!(Some(end), taking.new.last_key_value().map(|(end, _)| end + 1)),
    }
    true
}

#[tokio::test]
async fn snapshot_is_taken_over_at_once_or_not_at_all_wherever_the_machine_ends() {
    let long = std::env::var_os("SLOTKV_TEST_LONG").is_some();
    let (seeds, count_min) = if long { (260, 10_000) } else { (10, 300) };
    let (earlier, snapshot) = (snapshot(1, 15).await, snapshot(2, 40).await);
    assert!(snapshot.parts.len() > 3);
    let (mut count, mut old_count, mut new_count) = (0, 0, 0);
    for seed in 0..seeds {
        let old = old_contents(seed, &earlier).await;
        for after in 0.. {
            let folder = Folder::new(seed << 32 | after);
            let mut data = old_replica(&folder, seed, &earlier).await;
            let end = data.log.last_index();
            let inc = data.home.identification().unwrap().inc.clone();
            folder.disk.stop_after(after as u32);
            let mut taking = Taking { inc, old: (old.clone(), end), new: BTreeMap::new(), reached: 0 };
            let outcome = take(&mut data, &snapshot, &mut taking, seed).await;
            drop(data);
            folder.crash();
            if (after + seed).is_multiple_of(3) {
                folder.disk.stop_after(((after + seed) % 20) as u32);
                drop(folder.open(8).await);
                folder.crash();
            }
            match check_taken(&folder, &taking, &snapshot).await {
                true => new_count += 1,
                false => old_count += 1,
            }
            count += 1;
            if outcome.is_ok() {
                break;
            }
        }
    }
    println!("{count} crash points of a snapshot: {old_count} times the old data, {new_count} times the new");
    assert!(count >= count_min && old_count > count / 4 && new_count > count / 4, "{count} crash points");
}

/// What the old replica amounts to with everything that it has logged.
async fn old_contents(seed: u64, earlier: &Snapshot) -> Contents {
    let mut data = old_replica(&Folder::new(seed), seed, earlier).await;
    data.catch_up().unwrap();
    data.contents()
}

#[tokio::test]
async fn data_is_discarded_at_once_or_not_at_all_wherever_the_machine_ends() {
    let earlier = snapshot(1, 15).await;
    for seed in 0..6 {
        let old = old_contents(seed, &earlier).await;
        for after in 0.. {
            let folder = Folder::new(seed << 32 | after);
            let mut data = old_replica(&folder, seed, &earlier).await;
            let inc = data.home.identification().unwrap().inc.clone();
            folder.disk.stop_after(after as u32);
            let outcome = data.home.discard(&SeededChance::new(77)).await;
            drop(data);
            let reopened = folder.open(8).await.is_ok();
            folder.crash();
            let data = folder.opened().await;
            if data.home.identification().unwrap().inc == inc {
                assert!(outcome.is_err() && data.contents() == old);
            } else {
                assert_eq!((data.log.last_index(), data.contents().1.len()), (0, 0));
            }
            assert_eq!(folder.engines.names(Path::new(DIR)).unwrap().len(), 1, "an engine was left over");
            if reopened {
                break;
            }
        }
    }
}
