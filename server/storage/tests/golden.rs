//! What earlier releases have written is read, and what later ones write is refused by name. `golden/1` holds the bytes
//! of format 1; `SLOTKV_GOLDEN=write cargo test -p slotkv-storage --test golden` writes them anew, which only a format
//! that was never released may need.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use slotkv_storage::{
    Batch, Disk, Effect, Engine, Error, FjallEngine, Identity, Kind, Log, LogRecord, Open, Outcome, Position,
    Row, SimDisk, SlotRow,
    fjall_engine::FjallOptions,
    keys,
    log::{Options, Record},
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/1").join(name)
}

/// The golden bytes, which today's must equal.
fn checked(name: &str, today: &[u8]) -> Bytes {
    if std::env::var_os("SLOTKV_GOLDEN").is_some_and(|wish| wish == "write") {
        fs::write(golden(name), today).unwrap();
    }
    let bytes = fs::read(golden(name)).unwrap();
    assert_eq!(bytes, today, "{name}");
    bytes.into()
}

fn assert_newer<T>(outcome: Result<T, Error>, names: &str, format: u32) {
    let error = outcome.err().unwrap_or_else(|| panic!("{names} was read"));
    assert!(matches!(error, Error::NewerFormat { found, .. } if found == format), "{error}");
    let message = error.to_string();
    assert!(message.contains(names) && message.contains(&format!("format {format}")), "{message}");
}

fn with_byte(bytes: &[u8], at: usize, byte: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] = byte;
    bytes.into()
}

fn write_record() -> LogRecord {
    LogRecord {
        format: 1,
        time_ms: 1_790_000_000_123,
        kind: Kind::Write.into(),
        slot: 1023,
        namespace: "shop".into(),
        client_id: Bytes::from_static(b"0123456789abcdef"),
        sequence: 77,
        oldest_open: 70,
        effects: vec![
            Effect {
                key: "basket/1".into(),
                value: Some("three pears".into()),
                version: 300,
                ..Effect::default()
            },
            Effect {
                key: "basket/2".into(),
                value: Some(Bytes::new()),
                version: 301,
                expires_ms: 1_790_000_060_000,
                ..Effect::default()
            },
            Effect { key: Bytes::from_static(b"\0\xff{}"), value: None, version: 302, ..Effect::default() },
        ],
        result: Some(Outcome { status: 5, version: 302, number: -42, code: 9 }),
        slot_row: SlotRow { count: 3, version_counter: 302, ..SlotRow::default() }.encode(),
        gap: 0,
        handover: Bytes::new(),
    }
}

fn barrier_record() -> LogRecord {
    LogRecord { format: 1, time_ms: 1_790_000_000_000, kind: Kind::Barrier.into(), ..LogRecord::default() }
}

fn check_record() -> LogRecord {
    LogRecord { format: 2, kind: Kind::Check.into(), ..barrier_record() }
}

fn handover_record() -> LogRecord {
    let handover = Bytes::from_static(b"what slotkv-migration made");
    LogRecord { format: 3, kind: Kind::Handover.into(), handover, ..barrier_record() }
}

#[test]
fn log_records_are_as_they_were() {
    for (name, record) in [("record-write.bin", write_record()), ("record-barrier.bin", barrier_record())] {
        let bytes = checked(name, &record.to_bytes());
        assert_eq!(LogRecord::from_bytes(bytes.clone()).unwrap(), record);
        assert_newer(LogRecord::from_bytes(with_byte(&bytes, 1, 4)), "log record", 4);
    }
    // Format 2 has one kind more, and is said by the first byte that a reader of format 1 looks at.
    let bytes = checked("record-check.bin", &check_record().to_bytes());
    assert_eq!(LogRecord::from_bytes(bytes.clone()).unwrap(), check_record());
    assert_eq!(bytes[..2], [8, 2]);
    assert_newer(LogRecord::from_bytes(with_byte(&bytes, 1, 4)), "log record", 4);
    // Format 3 has hand-overs.
    let bytes = checked("record-handover.bin", &handover_record().to_bytes());
    assert_eq!(LogRecord::from_bytes(bytes.clone()).unwrap(), handover_record());
    assert_eq!(bytes[..2], [8, 3]);
}

#[test]
fn rows_are_as_they_were() {
    let row = Row { version: 0x0102_0304_0506_0708, expires_ms: 0, value: "three pears".into() };
    let expiring = Row { expires_ms: 1_790_000_060_000, ..row.clone() };
    for (name, row) in [("value-row.bin", row), ("value-row-expiring.bin", expiring)] {
        let bytes = checked(name, &row.encode());
        assert_eq!(Row::decode(bytes.clone()).unwrap(), row);
        assert_newer(Row::decode(with_byte(&bytes, 0, 2)), "value row", 2);
    }

    let slot = SlotRow {
        count: 3,
        bytes: 41,
        digest: keys::digest_of("shop", b"basket/1", 300, b"three pears"),
        version_counter: 302,
        logged_time_ms: 1_790_000_000_123,
        forgotten_index: 9,
    };
    let bytes = checked("slot-row.bin", &slot.encode());
    assert_eq!(SlotRow::decode(&bytes).unwrap(), slot);
    assert_newer(SlotRow::decode(&with_byte(&bytes, 0, 2)), "slot row", 2);

    let position = Position { epoch: 4, index: 12_345 };
    let bytes = checked("position-row.bin", &position.encode());
    assert_eq!(Position::decode(&bytes).unwrap(), position);
    assert_newer(Position::decode(&with_byte(&bytes, 0, 2)), "position row", 2);
}

#[test]
fn keys_are_as_they_were() {
    let keys = [
        keys::data_key(1023, "shop", b"basket/1"),
        keys::data_key(0, "", b"\0"),
        keys::slot_key(1023),
        keys::applied_key(),
        keys::retry_key(1023, 7),
    ];
    let lines: String = keys.iter().map(|key| format!("{}\n", key.escape_ascii())).collect();
    checked("keys.txt", lines.as_bytes());
    let key = keys::DataKey::decode(&keys[0]).unwrap();
    assert_eq!((key.slot, key.namespace, key.key), (1023, "shop", &b"basket/1"[..]));
    assert_newer(keys::DataKey::decode(&with_byte(&keys[0], 0, 2)), "data key", 2);
    assert_newer(keys::decode_slot_key(&with_byte(&keys[2], 0, 2)), "slot key", 2);
}

const DIR: &str = "/log";
const SEGMENT: &str = "00000000000000000101.log";

async fn open(disk: &SimDisk) -> Result<(Log, slotkv_storage::Recovery), Error> {
    let identity = Identity { cluster_id: "golden".into(), shard: 2, incarnation: "inc-1".into() };
    let options = Options { start_after: Position { epoch: 3, index: 100 }, ..Options::default() };
    Log::open(Arc::new(disk.clone()), Path::new(DIR), identity, options).await
}

fn records() -> [Record; 3] {
    let payloads = [barrier_record().to_bytes(), write_record().to_bytes(), Bytes::new()];
    let mut index = 100;
    payloads.map(|payload| {
        index += 1;
        Record { index, epoch: 4 + u64::from(index == 103), payload }
    })
}

#[tokio::test]
async fn log_is_as_it_was() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk).await.unwrap();
    for record in records() {
        log.append(record.epoch, &[record.payload]).unwrap();
        log.sync().await.unwrap();
    }
    log.close().await.unwrap();
    let in_log = |name: &str| Path::new(DIR).join(name);
    let segment = checked("segment.log", &disk.read(&in_log(SEGMENT)).unwrap());
    let mark = checked("synced", &disk.read(&in_log("synced")).unwrap());

    let old = |segment: &[u8], mark: &[u8]| {
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new(DIR)).unwrap();
        disk.open(&in_log(SEGMENT), Open::Create).unwrap().append(segment).unwrap();
        disk.open(&in_log("synced"), Open::Create).unwrap().append(mark).unwrap();
        disk
    };
    let (log, recovery) = open(&old(&segment, &mark)).await.unwrap();
    assert!(recovery.clean && !recovery.created);
    assert_eq!((recovery.first_index, recovery.last_index, recovery.last_epoch), (101, 103, 5));
    assert_eq!(log.read(101, 1 << 20).unwrap(), records());
    assert_newer(open(&old(&with_byte(&segment, 8, 2), &mark)).await, SEGMENT, 2);
    assert_newer(open(&old(&segment, &with_byte(&mark, 8, 9))).await, "synced", 9);
}

#[test]
fn engine_mark_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let options = FjallOptions::default();
    let engine = FjallEngine::open(dir.path(), &options).unwrap();
    let mut batch = Batch::new();
    batch.put(keys::applied_key(), Position { epoch: 4, index: 12_345 }.encode());
    engine.write(batch).unwrap();
    engine.persist().unwrap();
    drop(engine);
    let mark = checked("engine-mark.bin", &fs::read(dir.path().join("mark")).unwrap());
    drop(FjallEngine::open(dir.path(), &options).unwrap());
    fs::write(dir.path().join("mark"), with_byte(&mark, 8, 2)).unwrap();
    assert_newer(FjallEngine::open(dir.path(), &options), "mark", 2);
}
