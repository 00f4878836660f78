use super::*;

pub(super) fn files(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let names = disk.list(Path::new(DIR)).unwrap();
    let paths = names.iter().map(|name| Path::new(DIR).join(name));
    paths.map(|path| (path.clone(), disk.read(&path).unwrap())).collect()
}

pub(super) fn disk_of(files: &[(PathBuf, Vec<u8>)]) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    for (path, bytes) in files {
        disk.open(path, Open::Create).unwrap().append(bytes).unwrap();
    }
    disk
}

async fn refusal(disk: &SimDisk) -> Error {
    match open_with(disk, small_segments()).await {
        Ok((_, recovery)) => panic!("opened: {recovery:?}"),
        Err(error) => error,
    }
}

fn segment_files(files: &[(PathBuf, Vec<u8>)]) -> Vec<usize> {
    (0..files.len()).filter(|&at| files[at].0.extension().is_some()).collect()
}

#[tokio::test]
async fn flipped_bit_in_any_byte_of_synced_records_is_refused_and_of_the_mark_does_no_harm() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 17).await;
    let records = all(&log);
    drop(log);
    let files = files(&disk);
    assert!(segment_files(&files).len() >= 2);
    for (path, bytes) in &files {
        let is_mark = path.ends_with(mark::FILE);
        for bit in (0..bytes.len() as u64).map(|byte| byte * 8 + byte % 8) {
            let disk = disk_of(&files);
            disk.flip_bit(path, bit);
            match open_with(&disk, small_segments()).await {
                Err(Error::Damaged { file, offset, .. }) if !is_mark => {
                    assert!(
                        file == *path && offset <= bit / 8,
                        "bit {bit} of {path:?}: {file:?} at {offset}"
                    );
                }
                Err(Error::NewerFormat { what, .. }) => {
                    assert!(path.to_str() == Some(&what), "bit {bit} of {what}")
                }
                Err(error) => panic!("bit {bit} of {path:?}: {error}"),
                Ok((log, _)) => assert!(is_mark && all(&log) == records, "bit {bit} of {path:?}"),
            }
        }
    }
}

#[tokio::test]
async fn message_of_damage_names_file_offset_record_and_reason() {
    let disk = SimDisk::new(1);
    drop(filled(&disk, 3).await);
    let path = segment::path_of(Path::new(DIR), 1);
    disk.flip_bit(&path, 300 * 8);
    let message = refusal(&disk).await.to_string();
    assert_eq!(
        message,
        "/data/log/00000000000000000001.log is damaged at byte 202, record 2: its checksum is wrong"
    );
}

#[tokio::test]
async fn synced_records_that_are_cut_off_anywhere_are_missed() {
    let disk = SimDisk::new(1);
    drop(filled(&disk, 17).await);
    let files = files(&disk);
    for at in segment_files(&files) {
        for length in 0..files[at].1.len() {
            let mut files = files.clone();
            files[at].1.truncate(length);
            let error = refusal(&disk_of(&files)).await;
            assert!(error.is_damage(), "{:?} at {length}: {error}", files[at].0);
        }
    }
}

#[tokio::test]
async fn missing_or_exchanged_files_are_refused() {
    let disk = SimDisk::new(1);
    drop(filled(&disk, 41).await);
    let files = files(&disk);
    for at in 0..files.len() {
        let mut fewer = files.clone();
        let (path, _) = fewer.remove(at);
        let error = refusal(&disk_of(&fewer)).await;
        assert!(error.is_damage(), "without {path:?}: {error}");
    }
    let segments = segment_files(&files);
    for pair in segments.windows(2) {
        let mut exchanged = files.clone();
        exchanged[pair[0]].1 = files[pair[1]].1.clone();
        exchanged[pair[1]].1 = files[pair[0]].1.clone();
        assert!(refusal(&disk_of(&exchanged)).await.is_damage());
    }
}

/// A log whose records 4 to 6 are not synced, the file of them, and where each begins.
async fn with_unsynced_tail(payload_bytes: usize) -> (Vec<(PathBuf, Vec<u8>)>, usize, Vec<usize>) {
    let disk = SimDisk::new(1);
    let (mut log, _) = open_with(&disk, Options::default()).await.unwrap();
    for index in 1..=6 {
        log.append(1, &[payload(index, payload_bytes)]).unwrap();
        if index == 3 {
            log.sync().await.unwrap();
        }
    }
    let starts = (4..=6).map(|index| log.tail.locate(&*log.file, index).unwrap().0 as usize).collect();
    drop(log);
    let files = files(&disk);
    let at = segment_files(&files)[0];
    (files, at, starts)
}

#[tokio::test]
async fn torn_tail_is_cut_wherever_it_is_torn() {
    let (files, at, starts) = with_unsynced_tail(90).await;
    let length = files[at].1.len();
    for torn in starts[0]..length {
        for zeros in [0, 1, 40, 600] {
            let mut files = files.clone();
            files[at].1.truncate(torn);
            files[at].1.resize(torn + zeros, 0);
            let disk = disk_of(&files);
            let (log, recovery) = open_with(&disk, Options::default()).await.unwrap();
            let kept = starts.iter().filter(|&&start| start + 122 <= torn).count() as u64;
            assert_eq!(recovery.last_index, 3 + kept);
            let end = starts.get(kept as usize).copied().unwrap_or(length);
            assert_eq!(recovery.cut_bytes, (torn + zeros - end) as u64);
            assert!(all(&log).iter().all(|record| record.payload == payload(record.index, 90)));
        }
    }
}

#[tokio::test]
async fn flipped_bit_in_the_last_unsynced_record_is_a_torn_tail_and_before_it_damage() {
    let (files, at, starts) = with_unsynced_tail(90).await;
    for (number, &start) in starts.iter().enumerate() {
        for byte in start..start + 122 {
            let disk = disk_of(&files);
            disk.flip_bit(&files[at].0, byte as u64 * 8 + 3);
            if number == 2 {
                let (_, recovery) = open_with(&disk, Options::default()).await.unwrap();
                assert_eq!((recovery.last_index, recovery.cut_bytes), (5, 122));
            } else {
                let error = refusal(&disk).await;
                let index = 4 + number as u64;
                assert!(matches!(error, Error::Damaged { index: found, .. } if found == index), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn sector_lost_from_the_unsynced_tail_is_cut_and_from_the_synced_part_is_damage() {
    let (files, at, starts) = with_unsynced_tail(2000).await;
    for sector in 0..files[at].1.len() / 512 {
        let mut files = files.clone();
        files[at].1[sector * 512..(sector + 1) * 512].fill(0);
        let disk = disk_of(&files);
        if sector * 512 >= starts[0] {
            let (_, recovery) = open_with(&disk, Options::default()).await.unwrap();
            let whole = starts.iter().filter(|&&start| start + 2032 <= sector * 512).count() as u64;
            assert_eq!(recovery.last_index, 3 + whole, "sector {sector}");
        } else {
            assert!(refusal(&disk).await.is_damage(), "sector {sector}");
        }
    }
}

#[tokio::test]
async fn later_records_tell_that_a_lost_sector_had_been_synced_though_the_mark_is_old() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open_with(&disk, Options::default()).await.unwrap();
    let mark = disk.read(&Path::new(DIR).join(mark::FILE)).unwrap();
    for index in 1..=3 {
        log.append(1, &[payload(index, 2000)]).unwrap();
        log.sync().await.unwrap();
    }
    drop(log);
    let mut files = files(&disk);
    let at = segment_files(&files)[0];
    files[1 - at].1 = mark;
    files[at].1[1024..2048].fill(0);
    let error = refusal(&disk_of(&files)).await;
    assert!(matches!(error, Error::Damaged { index: 1, .. }), "{error}");
}

#[tokio::test]
async fn payload_that_looks_like_records_does_not_turn_a_torn_tail_into_damage() {
    let disk = SimDisk::new(1);
    let foreign = Identity { incarnation: "inc-8".into(), ..identity() };
    let dir = Path::new("/other");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut other, _) = Log::open(shared, dir, foreign, Options::default()).await.unwrap();
    let (mut log, _) = open_with(&disk, Options::default()).await.unwrap();
    for index in 1..=9 {
        log.append(1, &[payload(index, 50)]).unwrap();
        other.append(1, &[payload(index, 50)]).unwrap();
    }
    log.sync().await.unwrap();
    other.append(1, &[b"10", b"11", b"12"]).unwrap();
    // The bytes of this log itself hold lower indexes, those of another log have another salt.
    let copies = [segment::path_of(Path::new(DIR), 1), segment::path_of(dir, 1)];
    let mut hostile = copies.map(|path| disk.read(&path).unwrap()).concat();
    hostile.extend(10u64.to_le_bytes().repeat(5000));
    log.append(1, &[&hostile]).unwrap();
    drop(log);
    let mut files = files(&disk);
    let at = segment_files(&files)[0];
    files[at].1.pop();
    let (_, recovery) = open_with(&disk_of(&files), Options::default()).await.unwrap();
    assert_eq!((recovery.last_index, recovery.cut_bytes as usize), (9, hostile.len() + 31));
}

#[tokio::test]
async fn log_of_another_cluster_shard_or_incarnation_is_refused_by_name() {
    let disk = SimDisk::new(1);
    drop(filled(&disk, 3).await);
    let others = [
        (Identity { cluster_id: "cluster-2".into(), ..identity() }, "cluster cluster-1, not to cluster-2"),
        (Identity { shard: 4, ..identity() }, "shard 3, not to 4"),
        (Identity { incarnation: "inc-8".into(), ..identity() }, "incarnation inc-7, not to inc-8"),
    ];
    for (other, message) in others {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let opened = Log::open(disk, Path::new(DIR), other, small_segments()).await;
        let error = opened.err().unwrap();
        assert!(matches!(error, Error::Foreign { .. }) && error.to_string().contains(message), "{error}");
    }
    let long = Identity { cluster_id: "x".repeat(1025), ..identity() };
    let opened = Log::open(Arc::new(disk), Path::new(DIR), long, small_segments()).await;
    assert!(matches!(opened.err(), Some(Error::Misfit(_))));
}

#[tokio::test]
async fn damage_that_comes_after_opening_is_not_served() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 30).await;
    for index in [2, 15, 30] {
        let found = log.read(index, 0).unwrap();
        assert_eq!(found[0].payload, payload(index, 100));
    }
    for (path, bytes) in files(&disk) {
        for byte in (0..bytes.len() as u64).step_by(3) {
            disk.flip_bit(&path, byte * 8 + 1);
            for index in 1..=30 {
                match log.read(index, 0) {
                    Ok(records) => assert_eq!(records[0].payload, payload(index, 100)),
                    Err(error) => assert!(error.is_damage(), "{error}"),
                }
            }
            disk.flip_bit(&path, byte * 8 + 1);
        }
    }
}
