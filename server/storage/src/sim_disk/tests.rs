use super::*;
use crate::disk::write_atomic;

async fn written(disk: &SimDisk, path: &Path, synced: &[u8], unsynced: &[u8]) -> Box<dyn File> {
    disk.create_dir_all(parent(path)).unwrap();
    let mut file = disk.open(path, Open::Create).unwrap();
    file.append(synced).unwrap();
    file.sync().await.unwrap();
    disk.sync_dir(parent(path)).unwrap();
    file.append(unsynced).unwrap();
    file
}

#[tokio::test]
async fn crash_keeps_what_was_synced_and_a_part_of_the_rest() {
    let mut lengths = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let path = Path::new("/d/file");
        let file = written(&disk, path, b"synced", b"unsynced").await;
        disk.crash();
        let left = disk.read(path).unwrap();
        assert!(left.starts_with(b"synced"), "{left:?}");
        let rest = &left[6..];
        let kept = rest.iter().take_while(|&&byte| byte != 0).count();
        assert_eq!(&rest[..kept], &b"unsynced"[..kept]);
        assert!(rest[kept..].iter().all(|&byte| byte == 0));
        lengths.insert(left.len());
        assert!(file.len().is_err(), "a handle of the process that crashed");
    }
    assert!(lengths.len() > 5, "{lengths:?}");
}

#[tokio::test]
async fn files_and_renames_of_an_unsynced_folder_may_vanish() {
    let (mut created, mut renamed) = (0, 0);
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let (old, new, other) = (Path::new("/d/old"), Path::new("/d/new"), Path::new("/d/other"));
        written(&disk, old, b"1", b"").await;
        disk.rename(old, new).unwrap();
        disk.open(other, Open::Create).unwrap().sync().await.unwrap();
        disk.crash();
        assert_ne!(disk.exists(old).unwrap(), disk.exists(new).unwrap());
        renamed += u32::from(disk.exists(new).unwrap());
        created += u32::from(disk.exists(other).unwrap());
        assert!(disk.exists(new).unwrap() || !disk.exists(other).unwrap(), "names change in order");
    }
    assert!((10..90).contains(&renamed) && (10..90).contains(&created), "{renamed} {created}");
}

#[tokio::test]
async fn atomic_write_leaves_the_old_or_the_new_bytes_wherever_the_process_dies() {
    let path = Path::new("/d/file");
    for step in 0..8 {
        for seed in 0..30 {
            let disk = SimDisk::new(seed);
            disk.create_dir_all(Path::new("/d")).unwrap();
            write_atomic(&disk, path, b"old").await.unwrap();
            disk.stop_after(step);
            let done = write_atomic(&disk, path, b"newer").await.is_ok();
            disk.crash();
            let left = disk.read(path).unwrap();
            assert!(left == b"newer" || !done && left == b"old", "step {step} seed {seed}: {left:?}");
            write_atomic(&disk, path, b"again").await.unwrap();
        }
    }
}

#[tokio::test]
async fn write_past_the_capacity_is_done_in_part_and_says_no_space() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(10));
    let path = Path::new("/d/file");
    let mut file = written(&disk, path, b"1234567", b"").await;
    let error = file.append(b"89abcdef").unwrap_err();
    assert!(Error::io(path, "write", error).is_disk_full());
    assert_eq!(disk.read(path).unwrap(), b"123456789a");
    assert_eq!(disk.free_bytes(Path::new("/d")).unwrap(), 0);
    file.write_at(b"x", 0).unwrap();
    file.truncate(3).unwrap();
    file.append(b"89abcde").unwrap();
}

#[tokio::test]
async fn failed_sync_leaves_bytes_seen_that_no_later_sync_makes_durable() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let path = Path::new("/d/file");
        let file = written(&disk, path, b"a", b"b").await;
        disk.fail_sync(0);
        assert!(file.sync().await.is_err());
        assert_eq!(disk.read(path).unwrap(), b"ab");
        file.sync().await.unwrap();
        disk.crash();
        lost += u32::from(disk.read(path).unwrap() != b"ab");
    }
    assert!((5..45).contains(&lost), "{lost}");
}

#[tokio::test(start_paused = true)]
async fn sync_takes_virtual_time_and_covers_nothing_if_it_is_dropped() {
    let disk = SimDisk::new(7);
    disk.set_sync_delay(Duration::from_secs(3600));
    let path = Path::new("/d/file");
    let file = written(&disk, path, b"a", b"b").await;
    assert_eq!(disk.sync_count(), 1);
    assert!(tokio::time::timeout(Duration::from_nanos(1), file.sync()).await.is_err());
    assert_eq!(disk.sync_count(), 1);
}

#[test]
fn same_seed_gives_the_same_crash() {
    let outcome = |seed| {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(Path::new("/d")).unwrap();
        for name in ["a", "b", "c"] {
            disk.open(&Path::new("/d").join(name), Open::Create).unwrap().append(&[7; 1000]).unwrap();
        }
        disk.crash();
        format!("{disk:?}")
    };
    assert_eq!(outcome(5), outcome(5));
    assert!((0..20).any(|seed| outcome(seed) != outcome(5)));
}

#[test]
fn lock_is_held_once_and_let_go_by_drop_and_by_the_end_of_the_process() {
    let disk = SimDisk::new(1);
    let dir = Path::new("/d");
    let held = disk.lock(dir).unwrap();
    assert!(matches!(disk.lock(dir), Err(Error::Locked { .. })));
    drop(held);
    let stale = disk.lock(dir).unwrap();
    disk.kill();
    let _again = disk.lock(dir).unwrap();
    drop(stale);
    assert!(matches!(disk.lock(dir), Err(Error::Locked { .. })));
}
