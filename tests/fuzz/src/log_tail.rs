//! The files of a log: bytes behind what was synced, and bytes in place of what was. The log opens with the synced records
//! and nothing behind them, or says that it is damaged. Each input has a log of its own: a fuzzer that watches comparisons would
//! make up intact records for one that it knows, and those are no torn tail.

use std::{path::Path, sync::Arc};

use futures_util::FutureExt;
use slotkv_storage::{
    Disk, Error, Identity, Log, Open, SimDisk,
    log::{Options, Record},
};

const DIR: &str = "/log";
const RECORDS: u64 = 3;

/// A log with a few records, all synced.
fn make(disk: &SimDisk, incarnation: &str) {
    let mut log = open(disk, incarnation).expect("a new log");
    for number in 0..RECORDS {
        log.append(1, &[payload(number)]).expect("there is room");
        log.sync().now_or_never().expect("a simulated sync takes no time").expect("nothing fails");
    }
}

fn payload(number: u64) -> Vec<u8> {
    vec![number as u8; 40]
}

fn open(disk: &SimDisk, incarnation: &str) -> Result<Log, Error> {
    let identity = Identity { cluster_id: "c".into(), shard: 1, incarnation: incarnation.into() };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = Log::open(disk, Path::new(DIR), identity, Options::default()).now_or_never();
    opened.expect("a simulated disk takes no time").map(|(log, _)| log)
}

/// The first byte says which file, the second whether at its end, and the next two where else.
pub fn run(bytes: &[u8]) {
    let incarnation = format!("{:08x}", crc32c::crc32c(bytes));
    let Some((&[file, how, low, high], bytes)) = bytes.split_first_chunk() else { return };
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).expect("it is empty");
    make(&disk, &incarnation);
    let names = disk.list(Path::new(DIR)).expect("it is there");
    let path = Path::new(DIR).join(&names[usize::from(file) % names.len()]);
    let length = disk.read(&path).expect("it is there").len() as u64;
    let place = if how % 2 == 0 { length } else { u64::from(u16::from_le_bytes([low, high])) };
    disk.open(&path, Open::Existing).expect("it is there").write_at(bytes, place).expect("there is room");
    let is_changed = place < length;
    match open(&disk, &incarnation) {
        Ok(log) => {
            assert_eq!((log.first_index(), log.last_index()), (1, RECORDS));
            let records = log.read(1, usize::MAX).expect("it opened");
            let expected =
                (0..RECORDS).map(|at| Record { index: at + 1, epoch: 1, payload: payload(at).into() });
            assert!(expected.eq(records));
        }
        Err(error) => {
            let is_refused =
                error.is_damage() || matches!(error, Error::NewerFormat { .. } | Error::Foreign { .. });
            assert!(is_changed && is_refused, "{error}");
        }
    }
}
