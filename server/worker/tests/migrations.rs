//! Slots go from one shard to another while clients work: real workers, a network in memory, a leader by hand, the tests' time.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use slotkv_migration::{Outcome, Said};
use slotkv_proto::{
    Code,
    v1::{Operation, Range, ReadLevel, Request},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

mod common;
use common::{
    get, put, request,
    shards::{Client, Cluster, Machine, SLOTS},
};

const KEYS: usize = 300;
const MOVING: [u16; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

fn key(number: usize) -> String {
    format!("key-{number}")
}

fn value(number: usize) -> String {
    format!("value-{number}-{}", "x".repeat(100))
}

async fn fill(client: &mut Client) {
    for number in 0..KEYS {
        client.put(&key(number), &value(number)).await;
    }
}

async fn check(client: &mut Client) {
    for number in 0..KEYS {
        assert_eq!(client.get(&key(number)).await, Some(value(number)), "{}", key(number));
    }
}

/// So slow that a copy takes seconds.
fn slowly(options: &mut slotkv_worker::Options) {
    options.migration.part_bytes_max = 2_000;
    options.migration.flight_bytes_max = 200_000;
    options.migration.rate_max = 6_000;
    options.migration.rate_min = 6_000;
}

fn slowly_by_interval(options: &mut slotkv_worker::Options) {
    slowly(options);
    options.wishes.durability = Some(slotkv_coordination::registers::Durability::Interval(20_000));
}

/// Clients that count up, each its own keys in all slots, until they are told to stop; they give what every key has come to.
struct Counters {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<(BTreeMap<String, i64>, usize)>>,
}

impl Counters {
    fn start(cluster: &Cluster, count: u8) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..count).map(|number| {
            let (mut client, stop) = (cluster.client(100 + number), stop.clone());
            tokio::spawn(async move {
                let mut counts = BTreeMap::new();
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("counter-{number}-{}", turn % 40);
                    let sum = client.increment(&key).await;
                    let before = counts.insert(key.clone(), sum).unwrap_or(0);
                    assert_eq!(sum, before + 1, "{key} is counted once");
                    sleep(Duration::from_millis(2)).await;
                }
                (counts, client.moves)
            })
        });
        let tasks = tasks.collect();
        Self { stop, tasks }
    }

    /// Checks every counter, and gives how often a client was told that a slot has moved.
    async fn stop(self, client: &mut Client) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = 0;
        for task in self.tasks {
            let (counts, moves) = task.await.unwrap();
            assert!(counts.len() == 40, "it came round");
            for (key, sum) in counts {
                assert_eq!(client.get(&key).await, Some(sum.to_string()), "{key}");
            }
            told += moves;
        }
        told
    }
}

/// What both shards hold once a hand-over has gone through.
fn check_moved(cluster: &Cluster, source: usize, target: usize) {
    let (source, target) = (&cluster.machines[source], &cluster.machines[target]);
    let serves = |machine: &Machine, slot| machine.shard().ownership().owns(slot);
    for slot in 0..SLOTS {
        let is_moved = MOVING.contains(&slot);
        assert_eq!((serves(source, slot), serves(target, slot)), (!is_moved, is_moved), "slot {slot}");
        let (left, there) = (source.rows_of(slot), target.rows_of(slot));
        assert!(
            if is_moved { left == 0 && there > 0 } else { left > 0 && there == 0 },
            "{slot} {left} {there}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn everything_arrives_while_clients_write_and_each_write_is_done_once() {
    let cluster = Cluster::start(1, slowly).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    let counters = Counters::start(&cluster, 3);
    sleep(Duration::from_millis(300)).await;
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    cluster.closed(id).await;
    sleep(Duration::from_millis(300)).await;
    let told = counters.stop(&mut client).await;
    assert!(told > 0, "clients were told where the slots are");
    check(&mut client).await;
    check_moved(&cluster, 0, 1);
    // And back, over what was there before.
    let id = cluster.plan(MOVING.into(), 1, 0).await;
    cluster.closed(id).await;
    check(&mut client).await;
    for slot in MOVING {
        assert!(cluster.machines[0].shard().ownership().owns(slot));
        assert_eq!(cluster.machines[1].rows_of(slot), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_for_sealed_slots_wait_and_are_told_where_the_slot_is() {
    let cluster = Cluster::start(1, |_| {}).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    cluster.decides.store(false, Ordering::Relaxed);
    let id = cluster.plan((0..SLOTS).collect(), 0, 1).await;
    cluster.said(id, |is_source, said| !is_source && *said == Said::Imported).await;

    let mut asked = Vec::new();
    let range = Range { slot_last: u32::from(SLOTS) - 1, ..Range::default() };
    let page = Request { range: Some(range), ..request(Operation::Count, "") };
    for (number, request) in [get(&key(1)), put(&key(2), &value(2)), page].into_iter().enumerate() {
        let mut client = cluster.client(10 + number as u8);
        asked.push(tokio::spawn(async move {
            let begun = Instant::now();
            let reply = client.ask(request).await;
            (begun.elapsed(), client.moves, client.retries, reply)
        }));
    }
    sleep(Duration::from_millis(400)).await;
    assert!(asked.iter().all(|task| !task.is_finished()), "nobody has decided");
    cluster.decide(id, Outcome::Moved).await;
    for task in asked {
        let (took, moves, retries, reply) = timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
        assert_eq!((reply.code, moves, retries), (0, 1, 0), "one round trip more");
        assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(600), "{took:?}");
    }
    cluster.decides.store(true, Ordering::Relaxed);
    cluster.closed(id).await;
    check(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn requests_for_slots_that_nobody_decides_about_are_refused_in_time() {
    let cluster = Cluster::start(1, |_| {}).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    cluster.decides.store(false, Ordering::Relaxed);
    let id = cluster.plan((0..SLOTS).collect(), 0, 1).await;
    cluster.said(id, |is_source, said| !is_source && *said == Said::Imported).await;
    let begun = Instant::now();
    let late = Request { deadline_ms: 200, ..get(&key(1)) };
    let mut impatient = cluster.client(2);
    let asked = async |client: &mut Client, request| (client.attempt_code(request).await, begun.elapsed());
    let (patient, impatient) = tokio::join!(asked(&mut client, get(&key(1))), asked(&mut impatient, late));
    assert_eq!((patient.0, impatient.0), (Some(Code::Retry), Some(Code::Retry)));
    assert!(patient.1 >= Duration::from_secs(1) && patient.1 < Duration::from_millis(1_200), "{patient:?}");
    assert!(impatient.1 < Duration::from_millis(400), "{impatient:?}");
    // It is aborted, and goes on as before.
    cluster.decide(id, Outcome::Aborted).await;
    check(&mut client).await;
    cluster.decides.store(true, Ordering::Relaxed);
    cluster.closed(id).await;
    assert_eq!(client.moves, 0);
    for slot in 0..SLOTS {
        assert_eq!(cluster.machines[1].rows_of(slot), 0, "slot {slot} is cleaned up at the target");
        assert!(cluster.machines[0].shard().ownership().owns(slot));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sealed_while_no_leader_beats() {
    let cluster = Cluster::start(1, |_| {}).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    cluster.beats.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(3)).await;
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    sleep(Duration::from_secs(20)).await;
    assert!(cluster.table().await.in_flight(id).is_some());
    check(&mut client).await;
    assert_eq!((client.moves, client.retries), (0, 0), "it is served as if nothing were");
    cluster.beats.store(true, Ordering::Relaxed);
    cluster.closed(id).await;
    check(&mut client).await;
    check_moved(&cluster, 0, 1);
}

/// A hand-over, in the middle of which this shard's primary dies.
async fn survives(shard: u32, edit: impl Fn(&mut slotkv_worker::Options)) {
    let mut cluster = Cluster::start(2, edit).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    let counters = Counters::start(&cluster, 2);
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    cluster
        .said(id, |is_source, said| {
            is_source && matches!(said, Said::Copying { sent_bytes, .. } if *sent_bytes > 5_000)
        })
        .await;
    let primary = cluster.primary(shard).await;
    cluster.crash(primary);
    let next = cluster.primary(shard).await;
    assert_ne!(primary, next);
    cluster.closed(id).await;
    cluster.run(primary).await;
    counters.stop(&mut client).await;
    check(&mut client).await;
    let (source, target) = (cluster.primary(0).await, cluster.primary(1).await);
    check_moved(&cluster, source, target);
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_goes_on_when_the_sources_primary_dies() {
    survives(0, slowly).await;
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_goes_on_when_the_targets_primary_dies() {
    survives(1, slowly).await;
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_goes_on_when_both_machines_lose_power_one_after_the_other() {
    // What the log says of the hand-over is kept beside the rows before long, and the log is cut.
    let cuts = |options: &mut slotkv_worker::Options| {
        slowly(options);
        (options.segment_bytes, options.checkpoint_bytes) = (4096, 8192);
    };
    let mut cluster = Cluster::start(1, cuts).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    let counters = Counters::start(&cluster, 2);
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    for at in [1, 0, 1, 0] {
        sleep(Duration::from_millis(700)).await;
        cluster.crash(at);
        sleep(Duration::from_millis(100)).await;
        cluster.run(at).await;
    }
    cluster.closed(id).await;
    // Once more, when all of it is in the past.
    sleep(Duration::from_millis(700)).await;
    for at in [0, 1] {
        cluster.crash(at);
        cluster.run(at).await;
    }
    counters.stop(&mut client).await;
    check(&mut client).await;
    check_moved(&cluster, 0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_goes_through_under_interval_durability() {
    let cluster = Cluster::start(2, slowly_by_interval).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    cluster.said(id, |is_source, said| is_source && *said == Said::Sealed).await;
    let sealed = Instant::now();
    cluster.said(id, |is_source, said| !is_source && *said == Said::Imported).await;
    assert!(sealed.elapsed() < Duration::from_secs(5), "a seal does not wait for the interval");
    cluster.closed(id).await;
    check(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn writes_do_not_wait_for_what_a_hand_over_wants_synced() {
    let cluster = Cluster::start(1, slowly_by_interval).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    let stays = (0..KEYS).map(key).find(|key| !MOVING.contains(&client.slot(key))).unwrap();
    for machine in &cluster.machines {
        machine.disk.set_sync_delay(Duration::from_secs(2));
    }
    let syncs = || cluster.machines.iter().map(|machine| machine.disk.sync_count()).sum::<u64>();
    let before = syncs();
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    let is_closed = Cell::new(false);
    let hand_over = async {
        cluster.closed(id).await;
        is_closed.set(true);
    };
    let writes = async {
        let mut longest = Duration::ZERO;
        while !is_closed.get() {
            let begun = Instant::now();
            client.put(&stays, "value").await;
            longest = longest.max(begun.elapsed());
            sleep(Duration::from_millis(1)).await;
        }
        longest
    };
    let ((), longest) = tokio::join!(hand_over, writes);
    assert!(longest < Duration::from_millis(100), "a write took {longest:?}");
    assert!(syncs() >= before + 3, "the seal, what was imported and what was deleted");
}

#[tokio::test(start_paused = true)]
async fn a_scan_across_a_hand_over_sees_each_key_once() {
    let cluster = Cluster::start(1, slowly).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    let id = cluster.plan((0..SLOTS).collect(), 0, 1).await;
    let (mut seen, mut is_crossed) = (BTreeMap::new(), false);
    for slot in 0..SLOTS {
        let mut after = None;
        loop {
            let (resumed, after_key) = (after.is_some(), after.clone().unwrap_or_default());
            let range = Range {
                slot_first: slot.into(),
                slot_last: slot.into(),
                resumed,
                after_slot: slot.into(),
                after_key,
                items_max: 3,
                ..Range::default()
            };
            let page = Request { range: Some(range), ..request(Operation::Scan, "") };
            let before = client.table.owner(slot);
            let reply = client.ask_slot(slot, page).await;
            is_crossed |= resumed && before != client.table.owner(slot);
            for item in &reply.items {
                let key = String::from_utf8(item.key.to_vec()).unwrap();
                let value = String::from_utf8(item.value.to_vec()).unwrap();
                assert!(seen.insert(key.clone(), value).is_none(), "{key} is seen twice");
            }
            sleep(Duration::from_millis(200)).await;
            if !reply.more {
                break;
            }
            after = Some(reply.last_key);
        }
    }
    let all: BTreeMap<_, _> = (0..KEYS).map(|number| (key(number), value(number))).collect();
    assert!(seen == all, "{} of {} keys", seen.len(), all.len());
    assert!(is_crossed, "a slot moved while it was scanned");
    cluster.closed(id).await;
}

#[tokio::test(start_paused = true)]
async fn backups_serve_what_they_have_and_no_more_what_has_gone() {
    let cluster = Cluster::start(2, |_| {}).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    cluster.closed(id).await;
    // Backups apply what is committed a moment later.
    sleep(Duration::from_secs(1)).await;
    for machine in cluster.machines.iter().filter(|machine| !machine.leads()) {
        let is_target = machine.options.shard == Some(1);
        let ownership = machine.shard().ownership();
        for slot in MOVING {
            assert_eq!(ownership.owns(slot), is_target, "slot {slot} of {:?}", machine.options.name);
            assert_eq!(machine.rows_of(slot) > 0, is_target);
        }
        let worker = machine.worker.as_ref().unwrap();
        let mut caller = common::Caller::new(worker, 7).await;
        caller.version = cluster.table().await.version;
        for number in 0..KEYS {
            let stale = Request { read_level: ReadLevel::Stale as i32, ..get(&key(number)) };
            let reply = caller.ask(stale).await;
            let is_here = MOVING.contains(&client.slot(&key(number))) == is_target;
            match is_here {
                true => assert_eq!(reply.value, value(number).as_bytes()),
                false => assert_eq!(reply.code, Code::Moved.number()),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_does_not_hold_what_the_table_says_fails_the_hand_over() {
    let cluster = Cluster::start(1, |_| {}).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    // It owns none of these.
    let id = cluster.plan(vec![3], 1, 0).await;
    cluster.closed(id).await;
    check(&mut client).await;
    assert!(cluster.machines[0].shard().ownership().owns(3));
}

/// Less than what clients' writes need, and enough to end what is open.
const ALMOST_FULL: Option<u64> = Some(40 << 20);

#[tokio::test(start_paused = true)]
async fn a_shard_whose_disk_is_full_gives_its_slots_away() {
    let cluster = Cluster::start(1, |_| {}).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    cluster.machines[0].disk.set_capacity(ALMOST_FULL);
    sleep(Duration::from_millis(100)).await;
    let refused = client.ticket(put("new", "value"));
    assert_eq!(client.attempt_code(refused).await, Some(Code::ReadOnly));
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    cluster.closed(id).await;
    check(&mut client).await;
    check_moved(&cluster, 0, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_sealed_before_the_disk_was_full_is_served_again() {
    let cluster = Cluster::start(1, |_| {}).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    cluster.decides.store(false, Ordering::Relaxed);
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    cluster.said(id, |_, said| *said == Said::Imported).await;
    for machine in &cluster.machines {
        machine.disk.set_capacity(ALMOST_FULL);
    }
    cluster.decide(id, Outcome::Aborted).await;
    cluster.decides.store(true, Ordering::Relaxed);
    cluster.closed(id).await;
    check(&mut client).await;
    for slot in MOVING {
        assert!(cluster.machines[0].shard().ownership().owns(slot));
        assert_eq!(cluster.machines[1].rows_of(slot), 0, "what was staged is deleted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_disk_is_full_says_so_and_one_that_was_full_for_a_moment_goes_on() {
    let cluster = Cluster::start(1, slowly).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    let target = &cluster.machines[1];
    let staged = async || {
        while MOVING.iter().all(|slot| target.rows_of(*slot) == 0) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    timeout(common::shards::PATIENCE, staged()).await.expect("parts arrive");
    target.disk.set_capacity(ALMOST_FULL);
    let names_the_disk =
        |said: &Said| matches!(said, Said::Failed(why) if why.contains("free on the disk of shard 1"));
    cluster.said(id, |is_source, said| !is_source && names_the_disk(said)).await;
    cluster.closed(id).await;
    assert!(MOVING.iter().all(|slot| target.rows_of(*slot) == 0), "what was staged is deleted");
    check(&mut client).await;
    target.disk.set_capacity(None);
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    timeout(common::shards::PATIENCE, staged()).await.expect("parts arrive");
    target.disk.set_capacity(ALMOST_FULL);
    sleep(Duration::from_secs(1)).await;
    target.disk.set_capacity(None);
    cluster.closed(id).await;
    check(&mut client).await;
    check_moved(&cluster, 0, 1);
}

/// How many records a hand-over takes at its target while a client reads, or nobody asks.
async fn records(is_asked: bool) -> u64 {
    let small = |options: &mut slotkv_worker::Options| options.migration.shared_part_bytes_max = 500;
    let cluster = Cluster::start(1, small).await;
    let mut client = cluster.client(1);
    fill(&mut client).await;
    sleep(Duration::from_secs(2)).await;
    // Another one is open, so whoever asks is noticed from the beginning.
    cluster.decides.store(false, Ordering::Relaxed);
    let other = (8..SLOTS).find(|slot| client.slot(&key(0)) != *slot).unwrap();
    let id = cluster.plan(vec![other], 0, 1).await;
    cluster.said(id, |_, said| *said == Said::Imported).await;
    let reader = is_asked.then(|| {
        tokio::spawn(async move {
            loop {
                client.get(&key(0)).await;
                sleep(Duration::from_millis(5)).await;
            }
        })
    });
    sleep(Duration::from_secs(1)).await;
    let before = cluster.machines[1].shard().applied().index;
    let id = cluster.plan(MOVING.into(), 0, 1).await;
    cluster.said(id, |_, said| *said == Said::Imported).await;
    reader.inspect(JoinHandle::abort);
    cluster.machines[1].shard().applied().index - before
}

#[tokio::test(start_paused = true)]
async fn clients_that_only_read_are_clients_too() {
    let (alone, shared) = (records(false).await, records(true).await);
    assert!(alone < 10, "{alone} records: parts are large where nobody asks");
    assert!(shared > 20, "{shared} records: parts are small");
}
