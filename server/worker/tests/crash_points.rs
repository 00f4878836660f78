//! Every change that a worker makes on its disk is a point at which the machine may end: while it starts, logs, makes
//! checkpoints and shortens its log. After each, the next start finds what was acknowledged, and applies nothing twice.

mod common;

use common::{Caller, Machine, get, increment, put};
use slotkv_storage::{MemoryEngines, SimDisk};

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
