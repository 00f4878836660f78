use std::time::Duration;

use super::*;
use crate::{disk::Disk, sim_disk::SimDisk};

mod crash_points;
mod damage;
mod model;

pub(super) const DIR: &str = "/data/log";

pub(super) fn identity() -> Identity {
    Identity { cluster_id: "cluster-1".into(), shard: 3, incarnation: "inc-7".into() }
}

pub(super) async fn open_with(disk: &SimDisk, options: Options) -> Result<(Log, Recovery), Error> {
    Log::open(Arc::new(disk.clone()), Path::new(DIR), identity(), options).await
}

pub(super) async fn open(disk: &SimDisk) -> (Log, Recovery) {
    open_with(disk, small_segments()).await.unwrap()
}

pub(super) fn small_segments() -> Options {
    Options { segment_bytes: 1000, ..Options::default() }
}

pub(super) fn all(log: &Log) -> Vec<Record> {
    let mut records = Vec::new();
    let mut next = log.first_index();
    while next <= log.last_index() {
        records.extend(log.read(next, 500).unwrap());
        next = records.last().unwrap().index + 1;
    }
    records
}

fn payload(index: u64, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (index as usize * 31 + at * 7) as u8).collect()
}

/// A log with records of 100 bytes in several segments, everything synced.
async fn filled(disk: &SimDisk, count: u64) -> Log {
    let (mut log, _) = open(disk).await;
    for index in 1..=count {
        log.append(1 + index / 10, &[payload(index, 100)]).unwrap();
        log.sync().await.unwrap();
    }
    log
}

#[tokio::test]
async fn records_are_numbered_from_one_and_read_back_across_segments() {
    let disk = SimDisk::new(1);
    let (mut log, recovery) = open(&disk).await;
    assert!(recovery.created && (recovery.first_index, recovery.last_index) == (1, 0));
    assert_eq!(log.append(1, &[&b"one"[..], b"", b"three"]).unwrap(), 3);
    assert_eq!(log.append::<&[u8]>(1, &[]).unwrap(), 3);
    assert_eq!((log.last_index(), log.synced_index()), (3, 0));
    assert_eq!(log.sync().await.unwrap(), 3);
    for index in 4..=60 {
        log.append(2, &[payload(index, 77)]).unwrap();
        log.sync().await.unwrap();
    }
    drop(log);
    assert!(disk.list(Path::new(DIR)).unwrap().len() > 4);
    let (log, recovery) = open(&disk).await;
    let expected = Recovery {
        created: false,
        first_index: 1,
        last_index: 60,
        last_epoch: 2,
        synced_index: 60,
        cut_bytes: 0,
        clean: false,
    };
    assert_eq!(recovery, expected);
    let records = all(&log);
    assert_eq!(records.len(), 60);
    for (index, record) in (1..).zip(&records) {
        assert_eq!((record.index, record.epoch), (index, if index < 4 { 1 } else { 2 }));
    }
    assert_eq!(records[2].payload, "three");
    assert_eq!(records[42].payload, payload(43, 77));
}

#[tokio::test]
async fn reading_keeps_to_the_bytes_asked_for_but_gives_at_least_one_record() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open_with(&disk, Options::default()).await.unwrap();
    let large = vec![7; 200_000];
    log.append(1, &[&[1; 100][..], &[2; 100], &large, &[4; 100]]).unwrap();
    let read =
        |from, bytes| log.read(from, bytes).unwrap().iter().map(|record| record.index).collect::<Vec<_>>();
    assert_eq!(read(1, 0), [1]);
    assert_eq!(read(1, 199), [1]);
    assert_eq!(read(1, 200), [1, 2]);
    assert_eq!(read(3, 1), [3]);
    assert_eq!(read(2, 1 << 30), [2, 3, 4]);
    assert_eq!(read(5, 100), [0; 0]);
    assert_eq!(log.read(3, 1).unwrap()[0].payload, large);
    assert!(matches!(log.read(0, 1), Err(Error::Misfit(_))));
}

#[tokio::test]
async fn group_that_is_dropped_or_refused_in_part_leaves_no_trace() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk).await;
    log.group().push(1, |buffer| buffer.extend(b"dropped")).unwrap();
    let mut group = log.group();
    assert_eq!(group.push(4, |buffer| buffer.extend(b"kept")).unwrap(), 1);
    let too_large = group.push(4, |buffer| buffer.resize(buffer.len() + PAYLOAD_BYTES_MAX + 1, 0));
    assert!(matches!(too_large, Err(Error::TooLarge { max: PAYLOAD_BYTES_MAX, .. })));
    assert!(matches!(group.push(3, |_| ()), Err(Error::Misfit(_))), "epochs go back");
    assert_eq!((group.len(), group.is_empty()), (1, false));
    assert_eq!(group.commit().unwrap(), 1);
    log.sync().await.unwrap();
    drop(log);
    let (log, _) = open(&disk).await;
    assert_eq!(all(&log), [Record { index: 1, epoch: 4, payload: "kept".into() }]);
}

#[tokio::test]
async fn largest_record_is_written_and_read() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk).await;
    let payload = vec![9; PAYLOAD_BYTES_MAX];
    log.append(1, &[&payload]).unwrap();
    log.sync().await.unwrap();
    drop(log);
    let (log, _) = open(&disk).await;
    assert_eq!(log.read(1, 10).unwrap()[0].payload, payload);
}

#[tokio::test]
async fn full_disk_refuses_the_group_and_the_log_goes_on_when_there_is_space() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 12).await;
    for spare in [0, 1, 31, 32, 33, 150, 300] {
        disk.set_capacity(Some(disk.used_bytes() + spare));
        let before = log.last_index();
        let refusal = log.append(9, &[payload(1, 200), payload(2, 200)]).unwrap_err();
        assert!(refusal.is_disk_full(), "{refusal}");
        assert_eq!(log.last_index(), before);
        log.sync().await.unwrap();
        disk.set_capacity(None);
        log.append(9, &[payload(before + 1, 5)]).unwrap();
        log.sync().await.unwrap();
    }
    drop(log);
    disk.crash();
    let (log, recovery) = open(&disk).await;
    assert_eq!((recovery.last_index, recovery.cut_bytes), (19, 0));
    assert_eq!(all(&log)[18].payload, payload(19, 5));
}

#[tokio::test]
async fn no_space_for_a_next_segment_lets_the_last_one_grow() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk).await;
    log.append(1, &[payload(1, 1200)]).unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 40));
    log.sync().await.unwrap();
    let segments = || {
        let names = disk.list(Path::new(DIR)).unwrap();
        names.iter().filter(|name| name.ends_with(".log")).count()
    };
    assert_eq!(segments(), 1);
    disk.set_capacity(None);
    log.append(1, &[b"more"]).unwrap();
    disk.crash();
    let (mut log, _) = open(&disk).await;
    log.append(1, &[b"and more"]).unwrap();
    log.sync().await.unwrap();
    assert_eq!(segments(), 2);
}

#[tokio::test]
async fn failed_write_is_taken_back_and_failed_sync_ends_the_log() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 3).await;
    disk.fail_write(0);
    assert!(matches!(log.append(9, &[payload(4, 50)]), Err(Error::Io { .. })));
    assert_eq!(log.append(9, &[payload(4, 60)]).unwrap(), 4);
    log.sync().await.unwrap();
    log.append(9, &[payload(5, 50)]).unwrap();
    disk.fail_sync(0);
    assert!(matches!(log.sync().await, Err(Error::Io { .. })));
    assert_eq!(log.synced_index(), 4);
    assert!(matches!(log.sync().await, Err(Error::Poisoned { .. })));
    assert!(matches!(log.append(9, &[b"no"]), Err(Error::Poisoned { .. })));
    assert!(matches!(log.truncate_back(2).await, Err(Error::Poisoned { .. })));
}

#[tokio::test]
async fn records_seen_after_a_failed_sync_are_durable_once_the_log_is_opened_again() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let mut log = filled(&disk, 3).await;
        log.append(9, &[payload(4, 3000)]).unwrap();
        disk.fail_sync(0);
        assert!(log.sync().await.is_err());
        disk.kill();
        let (_, recovery) = open(&disk).await;
        assert_eq!(recovery.last_index, 4);
        disk.crash();
        let (_, recovery) = open(&disk).await;
        assert_eq!((recovery.last_index, recovery.cut_bytes), (4, 0), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn sync_that_is_dropped_at_any_time_does_no_harm() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        disk.set_sync_delay(Duration::from_millis(10));
        let (mut log, _) = open(&disk).await;
        for index in 1..=30 {
            log.append(1, &[payload(index, 150)]).unwrap();
            let _ = tokio::time::timeout(Duration::from_millis(index % 13), log.sync()).await;
        }
        let synced = log.synced_index();
        drop(log);
        disk.crash();
        let (log, recovery) = open(&disk).await;
        assert!(recovery.last_index >= synced, "seed {seed}: {recovery:?} below {synced}");
        for record in all(&log) {
            assert_eq!(record.payload, payload(record.index, 150));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_appended_while_a_sync_runs_elsewhere_is_not_taken_for_synced() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let (mut log, _) = open(&disk).await;
        disk.set_sync_delay(Duration::from_millis(10));
        for index in 1..=30 {
            log.append(1, &[payload(index, 50)]).unwrap();
            let before = log.synced_index();
            match log.begin_sync() {
                // Whoever runs it may be late, or never begin.
                Some(syncing) if index % 5 > 0 => drop(tokio::spawn(syncing.run())),
                other => drop(other),
            }
            assert_eq!((log.begin_sync().is_none(), log.synced_index()), (true, before), "it has not ended");
            log.append(1, &[payload(100 + index, 50)]).unwrap();
            tokio::time::sleep(Duration::from_millis(index % 13)).await;
            let last = log.last_index();
            log.look_elsewhere().unwrap();
            assert!((before..last).contains(&log.synced_index()), "as it began");
            if index % 7 == 0 {
                assert_eq!(log.sync().await.unwrap(), last, "it waits for the other one");
                assert!(!log.is_syncing());
            }
        }
        let (synced, last) = (log.synced_index(), log.last_index());
        drop(log);
        disk.crash();
        let (_, recovery) = open(&disk).await;
        assert!((synced..=last).contains(&recovery.last_index), "seed {seed}: {recovery:?} below {synced}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_fails_elsewhere_ends_the_log_whoever_asks_first() {
    for first in 0..4 {
        let disk = SimDisk::new(first);
        let mut log = filled(&disk, 3).await;
        log.append(9, &[payload(4, 10)]).unwrap();
        disk.fail_sync(0);
        disk.set_sync_delay(Duration::from_millis(10));
        let syncing = tokio::spawn(log.begin_sync().unwrap().run());
        let error = match first {
            0 => {
                syncing.await.unwrap();
                log.look_elsewhere().unwrap_err()
            }
            1 => log.sync().await.unwrap_err(),
            2 => log.truncate_back(4).await.unwrap_err(),
            _ => log.reset(Position { epoch: 9, index: 9 }).await.unwrap_err(),
        };
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(matches!(log.append(9, &[payload(5, 10)]), Err(Error::Poisoned { .. })));
        assert!(log.begin_sync().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_while_a_sync_runs_elsewhere_leaves_nothing_synced_behind_it() {
    let disk = SimDisk::new(3);
    let mut log = filled(&disk, 3).await;
    log.append(9, &[payload(4, 10), payload(5, 10)]).unwrap();
    disk.set_sync_delay(Duration::from_millis(10));
    let syncing = tokio::spawn(log.begin_sync().unwrap().run());
    log.truncate_back(5).await.unwrap();
    syncing.await.unwrap();
    log.look_elsewhere().unwrap();
    assert_eq!((log.synced_index(), log.last_index()), (4, 4));
}

#[tokio::test]
async fn a_sync_elsewhere_leaves_what_takes_more_to_the_log() {
    let disk = SimDisk::new(3);
    let mut log = filled(&disk, 3).await;
    assert!(log.begin_sync().is_none(), "nothing is to be synced");
    log.append(9, &[payload(4, 3000)]).unwrap();
    log.begin_sync().unwrap().run().await;
    log.look_elsewhere().unwrap();
    assert!(!log.is_syncing() && log.is_segment_full());
    assert_eq!((log.synced_index(), log.tail.beginning.first_index), (4, 1), "the next segment is not begun");
    log.append(9, &[payload(5, 10)]).unwrap();
    log.sync().await.unwrap();
    assert_eq!((log.is_segment_full(), log.tail.beginning.first_index), (false, 6));
    disk.fail_write(0);
    assert!(log.append(9, &[payload(6, 100)]).is_err());
    assert!(log.begin_sync().is_none(), "that a write was taken back is to be made certain");
}

#[tokio::test]
async fn truncation_at_the_front_drops_whole_segments_and_survives() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 50).await;
    let bytes = log.bytes();
    log.truncate_front(0).await.unwrap();
    assert_eq!((log.first_index(), log.bytes()), (1, bytes));
    log.truncate_front(25).await.unwrap();
    let first = log.first_index();
    assert!((2..=26).contains(&first) && log.bytes() < bytes, "{first}");
    assert_eq!(log.epoch_at(first - 1), Some(1 + (first - 1) / 10));
    assert_eq!(log.epoch_at(first - 2), None);
    drop(log);
    let (mut log, recovery) = open(&disk).await;
    assert_eq!((recovery.first_index, recovery.last_index, recovery.synced_index), (first, 50, 50));
    assert_eq!(log.epoch_at(first - 1), Some(1 + (first - 1) / 10));
    assert_eq!(all(&log).len() as u64, 51 - first);
    log.truncate_front(1000).await.unwrap();
    log.append(9, &[b"on"]).unwrap();
    assert_eq!(log.last_index(), 51);
    assert!(log.first_index() <= 51);
}

#[tokio::test]
async fn truncation_at_the_back_cuts_through_segments_and_the_log_goes_on_in_another_epoch() {
    for from in [1, 2, 9, 10, 17, 30, 49, 50, 51, 99] {
        let disk = SimDisk::new(from);
        let mut log = filled(&disk, 50).await;
        log.truncate_back(from).await.unwrap();
        let last = from.min(51) - 1;
        assert_eq!((log.last_index(), log.synced_index()), (last, last));
        assert_eq!(log.last_epoch(), if last == 0 { 0 } else { 1 + last / 10 });
        log.append(20, &[payload(77, 40)]).unwrap();
        log.sync().await.unwrap();
        disk.crash();
        let (log, recovery) = open(&disk).await;
        assert_eq!((recovery.last_index, recovery.cut_bytes, recovery.last_epoch), (last + 1, 0, 20));
        assert_eq!(log.epoch_at(last + 1), Some(20));
        let records = all(&log);
        assert_eq!(records[last as usize].payload, payload(77, 40));
        assert!(records[..last as usize].iter().all(|record| record.payload == payload(record.index, 100)));
    }
}

#[tokio::test]
async fn log_begins_behind_a_snapshot_and_can_be_reset_behind_another() {
    let disk = SimDisk::new(1);
    let start_after = Position { epoch: 4, index: 1000 };
    let options = Options { start_after, ..small_segments() };
    let (mut log, recovery) = open_with(&disk, options).await.unwrap();
    assert_eq!((recovery.first_index, recovery.last_index, recovery.last_epoch), (1001, 1000, 4));
    assert!(matches!(log.append(3, &[b"old"]), Err(Error::Misfit(_))));
    for index in 1001..=1030 {
        log.append(5, &[payload(index, 100)]).unwrap();
        log.sync().await.unwrap();
    }
    for (index, epoch) in [(2000, 7), (1010, 8), (1010, 8)] {
        log.reset(Position { epoch, index }).await.unwrap();
        assert_eq!((log.first_index(), log.last_index(), log.last_epoch()), (index + 1, index, epoch));
        assert_eq!(log.epoch_at(index), Some(epoch));
        assert!(log.read(index + 1, 100).unwrap().is_empty());
    }
    log.append(8, &[b"on"]).unwrap();
    log.sync().await.unwrap();
    disk.crash();
    let (log, recovery) = open(&disk).await;
    assert_eq!((recovery.first_index, recovery.last_index, recovery.last_epoch), (1011, 1011, 8));
    assert_eq!(all(&log)[0].payload, "on");
}

#[tokio::test]
async fn epochs_tell_where_they_end() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk).await;
    assert_eq!(log.end_of_epoch(0), Some(Position { epoch: 0, index: 0 }));
    log.append(2, &[b"1", b"2"]).unwrap();
    log.append(5, &[b"3"]).unwrap();
    let ends = |log: &Log| (1..=6).map(|epoch| log.end_of_epoch(epoch).unwrap()).collect::<Vec<_>>();
    let expected = [(0, 0), (2, 2), (2, 2), (2, 2), (5, 3), (5, 3)];
    let expected: Vec<_> = expected.map(|(epoch, index)| Position { epoch, index }).into();
    assert_eq!(ends(&log), expected);
    assert_eq!([0, 1, 2, 3, 4].map(|index| log.epoch_at(index)), [Some(0), Some(2), Some(2), Some(5), None]);
    log.sync().await.unwrap();
    drop(log);
    assert_eq!(ends(&open(&disk).await.0), expected);
}

#[tokio::test]
async fn engine_that_is_ahead_behind_or_of_another_history_is_refused() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 50).await;
    log.truncate_front(20).await.unwrap();
    let first = log.first_index();
    let joins = |epoch, index| log.check_joins(Position { epoch, index });
    joins(6, 50).unwrap();
    joins(3, 25).unwrap();
    joins(1 + (first - 1) / 10, first - 1).unwrap();
    for (epoch, index) in [(6, 51), (4, 25), (1, first - 2)] {
        let refusal = joins(epoch, index).unwrap_err().to_string();
        assert!(refusal.contains(&format!("applied record {index}")), "{refusal}");
    }
}

#[tokio::test]
async fn closing_in_order_is_remembered_once() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk).await;
    log.append(1, &[b"1"]).unwrap();
    log.close().await.unwrap();
    disk.crash();
    let (log, recovery) = open(&disk).await;
    assert!(recovery.clean && recovery.last_index == 1);
    drop(log);
    disk.crash();
    assert!(!open(&disk).await.1.clean);
}

#[tokio::test]
async fn log_on_the_machine_s_disk_survives_closing_and_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/log");
    let disk: Arc<dyn Disk> = Arc::new(crate::RealDisk::new());
    let (mut log, _) = Log::open(disk.clone(), &path, identity(), small_segments()).await.unwrap();
    for index in 1..=40 {
        log.append(1, &[payload(index, 100)]).unwrap();
        log.sync().await.unwrap();
    }
    log.truncate_front(20).await.unwrap();
    log.truncate_back(38).await.unwrap();
    let first = log.first_index();
    let last_segment = log.tail.path.clone();
    log.close().await.unwrap();
    disk.open(&last_segment, Open::Existing).unwrap().append(&[7; 77]).unwrap();
    let (log, recovery) = Log::open(disk, &path, identity(), small_segments()).await.unwrap();
    assert_eq!((recovery.first_index, recovery.last_index, recovery.cut_bytes), (first, 37, 77));
    assert!(recovery.clean && first > 1);
    assert!(all(&log).iter().all(|record| record.payload == payload(record.index, 100)));
}

/// `cargo test --release -p slotkv-storage append_speed -- --ignored --nocapture`
#[tokio::test]
#[ignore = "prints a measurement"]
async fn append_speed() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(crate::RealDisk::new());
    let (mut log, _) = Log::open(disk.clone(), dir.path(), identity(), Options::default()).await.unwrap();
    let payload = [7; 160];
    for group_size in [1, 30, 300] {
        let started = std::time::Instant::now();
        for _ in 0..300_000 / group_size {
            let mut group = log.group();
            for _ in 0..group_size {
                group.push(1, |buffer| buffer.extend_from_slice(&payload)).unwrap();
            }
            group.commit().unwrap();
        }
        println!("groups of {group_size}: {} ns per record", started.elapsed().as_nanos() / 300_000);
        log.sync().await.unwrap();
    }
    let started = std::time::Instant::now();
    for _ in 0..100 {
        log.append(1, &[payload]).unwrap();
        log.sync().await.unwrap();
    }
    println!("synced append: {:?}", started.elapsed() / 100);
    let started = std::time::Instant::now();
    let mut next = 1;
    while let Some(last) = log.read(next, 1 << 20).unwrap().last() {
        next = last.index + 1;
    }
    println!("read: {} ns per record", started.elapsed().as_nanos() / u128::from(next));
    drop(log);
    let started = std::time::Instant::now();
    Log::open(disk, dir.path(), identity(), Options::default()).await.unwrap();
    println!("open: {} ns per record", started.elapsed().as_nanos() / u128::from(next));
}
