//! A replica's data goes to another in parts, and takes the place of what was there.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::data::{Data, cache, contents, rows, slots, write};
use futures_util::FutureExt;
use slotkv_proto::seam::SeededChance;
use slotkv_storage::{
    Batch, Engine, Engines, Error, MemoryEngine, MemoryEngines, Position, Row, SimDisk, keys,
};
use slotkv_worker::{
    decide::{Change, Condition},
    queue::Write,
    replica::{LOSS_GAP, Replica, Staged},
    retry::Ticket,
    snapshot::{Receiver, Source},
};

async fn data(seed: u64) -> Data {
    Data::open(&SimDisk::new(seed), &MemoryEngines::recoverable(seed), seed).await.unwrap()
}

/// A replica with a few hundred writes, and a gap among them.
async fn written(seed: u64) -> Data {
    let mut data = data(seed).await;
    data.barrier(1, 0).await.unwrap();
    for number in 1..=200 {
        data.write(1, seed * 1_000 + number, true).await.unwrap();
    }
    data.barrier(2, LOSS_GAP).await.unwrap();
    for number in 201..=300 {
        data.write(2, seed * 1_000 + number, true).await.unwrap();
    }
    data
}

fn receive(at: Position, parts: &[Bytes]) -> Result<Arc<dyn Engine>, Error> {
    let mut receiver = Receiver::new(Arc::new(MemoryEngine::new()));
    parts.iter().try_for_each(|part| receiver.add(part))?;
    receiver.finish(at)
}

fn is_malformed<T>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Malformed { .. }))
}

#[tokio::test]
async fn snapshot_in_parts_of_any_size_gives_the_same_replica_while_the_source_goes_on() {
    for (seed, bytes_max) in [(1, 1), (2, 100), (3, 1_000), (4, 20_000), (5, 4 << 20)] {
        let mut from = written(seed).await;
        let mut source = Source::open(&mut from.replica, &*from.engine).unwrap();
        let (before, all) = (from.contents(), rows(&*from.engine));
        let restarted = Replica::load(from.engine.clone(), cache(), slots()).unwrap();
        let (shown_index, time_ms) = (from.replica.shown_index(), restarted.begin(0).time_ms());
        assert_eq!(source.at(), from.replica.applied());
        let mut receiver = Receiver::new(Arc::new(MemoryEngine::new()));
        for count in 1.. {
            let (part, is_last) = source.chunk(bytes_max).unwrap();
            assert!(part.len() <= bytes_max || bytes_max < 20_000);
            receiver.add(&part).unwrap();
            if is_last {
                assert!(count == 1 || bytes_max < 4 << 20);
                break;
            }
            from.write(2, seed * 1_000 + 300 + count, true).await.unwrap();
        }
        let engine = receiver.finish(source.at()).unwrap();
        assert_eq!(rows(&*engine), all);
        let to = Replica::load(engine.clone(), cache(), slots()).unwrap();
        // It goes on from there with the clock.
        assert!((time_ms..time_ms + 10_000).contains(&to.begin(0).time_ms()));
        assert_eq!(contents(&to, &*engine), before);
        assert!(to.shown_index() == shown_index && shown_index > LOSS_GAP);
        assert_eq!((to.applied(), to.checkpoint()), (source.at(), source.at()));
        // A write from before is answered, not done again.
        let mut again = (290..=300).map(|number| {
            to.stage(&mut to.begin(0), &write(seed * 1_000 + number), Position { epoch: 3, index: 400 })
        });
        assert!(again.any(|staged| matches!(staged, Ok(Staged::Answer(reply)) if reply.replayed)));
    }
}

#[tokio::test]
async fn part_with_any_bit_changed_is_refused() {
    let mut from = data(1).await;
    for number in 1..=5 {
        from.write(1, number, true).await.unwrap();
    }
    let (at, parts) = from.parts(4 << 20);
    receive(at, &parts).unwrap();
    let [part] = &parts[..] else { panic!("{} parts", parts.len()) };
    for bit in 0..part.len() * 8 {
        let mut changed = part.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        let refused = Receiver::new(Arc::new(MemoryEngine::new())).add(&changed.into());
        assert!(matches!(refused, Err(Error::Malformed { .. } | Error::NewerFormat { .. })), "bit {bit}");
    }
    for length in 0..part.len() {
        assert!(is_malformed(receive(at, &[part.slice(..length)])), "{length} bytes");
    }
}

#[tokio::test]
async fn parts_that_are_missing_doubled_or_out_of_order_make_no_snapshot() {
    let (at, parts) = written(1).await.parts(500);
    assert!(parts.len() > 5);
    receive(at, &parts).unwrap();
    for number in 0..parts.len() {
        let mut missing = parts.clone();
        missing.remove(number);
        assert!(is_malformed(receive(at, &missing)), "without part {number}");
        let mut doubled = parts.clone();
        doubled.insert(number, parts[number].clone());
        assert!(is_malformed(receive(at, &doubled)), "part {number} twice");
        let mut swapped = parts.clone();
        swapped.swap(number, (number + 1) % parts.len());
        assert!(is_malformed(receive(at, &swapped)), "part {number} later");
    }
    let other = Position { epoch: at.epoch + 1, ..at };
    assert!(is_malformed(receive(other, &parts)));
}

#[tokio::test]
async fn row_that_rotted_at_the_source_is_not_taken_over() {
    let mut from = written(1).await;
    let prefix = keys::data_key_prefix();
    let rotten = rows(&*from.engine).into_iter().filter(|(key, _)| key.starts_with(&prefix)).nth(7);
    let (key, row) = rotten.unwrap();
    let whole = Row::decode(row.clone()).unwrap();
    let other = Row { value: [&whole.value[..], b"!"].concat().into(), ..whole };
    for changed in [Some(other.encode()), None] {
        let mut batch = Batch::new();
        match changed {
            Some(row) => batch.put(key.clone(), row),
            None => batch.delete(key.clone()),
        }
        from.engine.write(batch).unwrap();
        let (at, parts) = from.parts(4 << 20);
        assert!(is_malformed(receive(at, &parts)));
    }
    let mut batch = Batch::new();
    batch.put(key, row);
    from.engine.write(batch).unwrap();
    let (at, parts) = from.parts(4 << 20);
    receive(at, &parts).unwrap();
}

#[tokio::test]
async fn installed_snapshot_takes_the_place_of_data_and_log_and_is_there_after_a_crash() {
    let (disk, engines) = (SimDisk::new(1), MemoryEngines::recoverable(1));
    let mut data = Data::open(&disk, &engines, 1).await.unwrap();
    for number in 1..=20 {
        data.write(1, number, number < 15).await.unwrap();
    }
    let promise = slotkv_replication::Promise { epoch: 7, lease_us: 500_000 };
    data.home.keep_promise(promise).await.unwrap();
    let inc = data.home.identification().unwrap().inc.clone();
    for seed in [2, 3] {
        let mut from = written(seed).await;
        let (at, parts) = from.parts(2_000);
        // One that is begun anew leaves nothing behind.
        data.home.begin_snapshot().await.unwrap();
        data.home.add_part(&parts[0]).unwrap();
        data.install(at, &parts).await.unwrap();
        assert_eq!((data.contents(), data.replica.applied()), (from.contents(), at));
        assert_eq!((data.log.first_index(), data.log.last_index()), (at.index + 1, at.index));
        assert_eq!(data.log.last_epoch(), at.epoch);
        data.write(3, 9_999, true).await.unwrap();
        let expected = data.contents();
        drop(data);
        disk.crash();
        engines.crash();
        data = Data::open(&disk, &engines, 1).await.unwrap();
        data.catch_up().unwrap();
        assert_eq!(data.contents(), expected);
        assert_eq!(data.home.promise(), promise);
        assert_eq!(data.home.identification().unwrap().inc, inc);
        assert_eq!(engines.names(std::path::Path::new(common::data::DIR)).unwrap().len(), 1);
    }
}

#[tokio::test]
async fn snapshot_that_is_no_good_leaves_everything_as_it_was() {
    let (disk, engines) = (SimDisk::new(1), MemoryEngines::recoverable(1));
    let mut data = Data::open(&disk, &engines, 1).await.unwrap();
    for number in 1..=20 {
        data.write(1, number, true).await.unwrap();
    }
    let expected = data.contents();
    let (at, parts) = written(2).await.parts(2_000);
    let refused = data.install(at, &parts[..parts.len() - 1]).await.unwrap_err();
    assert!(refused.is_damage(), "{refused}");
    data.write(1, 21, true).await.unwrap();
    let refused = data.home.add_part(&parts[0]).unwrap_err();
    assert!(matches!(refused, Error::Misfit(_)), "{refused}");
    assert!(expected != data.contents());
    let expected = data.contents();
    drop(data);
    disk.kill();
    let mut data = Data::open(&disk, &engines, 1).await.unwrap();
    data.catch_up().unwrap();
    assert_eq!(data.contents(), expected);
}

#[tokio::test]
async fn discarded_data_is_gone_for_good_and_what_was_promised_is_kept() {
    let (disk, engines) = (SimDisk::new(1), MemoryEngines::recoverable(1));
    let mut data = Data::open(&disk, &engines, 1).await.unwrap();
    for number in 1..=20 {
        data.write(1, number, true).await.unwrap();
    }
    let promise = slotkv_replication::Promise { epoch: 7, lease_us: 500_000 };
    data.home.keep_promise(promise).await.unwrap();
    let inc = data.home.identification().unwrap().inc.clone();
    data.home.discard(&SeededChance::new(5)).await.unwrap();
    drop(data);
    disk.crash();
    engines.crash();
    for _ in 0..2 {
        let data = Data::open(&disk, &engines, 1).await.unwrap();
        assert_ne!(data.home.identification().unwrap().inc, inc);
        assert_eq!(data.home.promise(), promise);
        assert_eq!((data.log.last_index(), data.replica.applied()), (0, Position::default()));
        assert!(data.contents().1.is_empty());
    }
}

#[test]
fn promise_never_goes_back_and_durability_is_kept() {
    let disk = SimDisk::new(1);
    let data = Data::open(&disk, &MemoryEngines::recoverable(1), 1).now_or_never().unwrap();
    let mut home = data.unwrap().home;
    let promise = |epoch, lease_us| slotkv_replication::Promise { epoch, lease_us };
    home.keep_promise(promise(3, 10)).now_or_never().unwrap().unwrap();
    let lower = home.keep_promise(promise(2, 10)).now_or_never().unwrap();
    assert!(matches!(lower, Err(Error::Misfit(_))));
    home.keep_promise(promise(3, 20)).now_or_never().unwrap().unwrap();
    let changes = disk.change_count();
    home.keep_promise(promise(3, 20)).now_or_never().unwrap().unwrap();
    assert_eq!(disk.change_count(), changes, "it was kept already");
    assert_eq!(home.promise(), promise(3, 20));
}

/// `cargo test --release -p slotkv-worker --test snapshots install_time -- --ignored --nocapture`
#[tokio::test]
#[ignore = "prints a measurement"]
async fn install_time() {
    const ROWS: u64 = 1_000_000;
    let scratch = tempfile::tempdir().unwrap();
    let disk = || Arc::new(slotkv_storage::RealDisk::new());
    let engines = || Arc::new(slotkv_storage::FjallEngines::default());
    let open = async |name| Data::open_on(disk(), engines(), &scratch.path().join(name), 1).await;
    let mut from = open("from").await.unwrap();
    let mut next = 0;
    while next < ROWS {
        let mut group = from.replica.begin(1);
        for _ in 0..4096 {
            let key = Bytes::from(format!("key{next:013}"));
            let put = Write {
                slot: slotkv_proto::slot(&key, slots()),
                key,
                change: Change::Put(Bytes::from(vec![b'x'; 100]), Condition::Always, 0),
                ticket: Ticket { sequence: 0, ..write(1).ticket },
                ..write(1)
            };
            from.replica.stage(&mut group, &put, Position { epoch: 1, index: next + 1 }).unwrap();
            next += 1;
        }
        from.replica.apply(group).unwrap();
    }
    let mut to = open("to").await.unwrap();
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().to_owned();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    };
    let (begun, before) = (std::time::Instant::now(), resident());
    let mut source = Source::open(&mut from.replica, &*from.engine).unwrap();
    to.home.begin_snapshot().await.unwrap();
    let (mut bytes, mut most) = (0, before);
    loop {
        let (part, is_last) = source.chunk(4 << 20).unwrap();
        bytes += part.len();
        to.home.add_part(&part).unwrap();
        most = most.max(resident());
        if is_last {
            break;
        }
    }
    let received = begun.elapsed();
    to.home.install(&mut to.log, source.at(), cache(), slots()).await.unwrap();
    let (all, mib) = (begun.elapsed(), bytes >> 20);
    println!(
        "{next} rows, {mib} MiB: parts {received:?}, with install {all:?}, {} rows/s, {} MiB/s; {before} MiB resident before, {most} at most",
        (next as f64 / all.as_secs_f64()) as u64,
        (mib as f64 / all.as_secs_f64()) as u64,
    );
}
