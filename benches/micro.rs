//! cargo xtask bench --micro
//!
//! The parts that every operation passes: key to slot, the frame codec, the row cache, the log's group commit.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use slotkv_benches::stopwatch::measure;
use slotkv_proto::{SlotCount, slot, v1};
use slotkv_storage::{Identity, Log, RealDisk, Row, RowCache, log::Options};

const KEYS: u64 = 10_000;
/// Requests in the frame that is coded.
const FRAME_REQUESTS: u64 = 50;

fn main() {
    let keys: Vec<Bytes> = (0..KEYS).map(|number| format!("user{number:012}").into()).collect();
    slots(&keys);
    codec(&keys);
    cache(&keys);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for group in [1, 16, 128, 512] {
        runtime.block_on(log(group));
    }
}

fn slots(keys: &[Bytes]) {
    let slots = SlotCount::default();
    measure("key of 16 bytes to slot", KEYS, || {
        for key in keys {
            black_box(slot(black_box(key), slots));
        }
    });
}

fn codec(keys: &[Bytes]) {
    let requests = (0..FRAME_REQUESTS)
        .map(|id| v1::Request {
            id,
            operation: v1::Operation::Get as i32,
            key: keys[id as usize].clone(),
            deadline_ms: 5000,
            ..v1::Request::default()
        })
        .collect();
    let frame = v1::ClientFrame { requests, table_version: 7, epoch: 3, ..v1::ClientFrame::default() };
    measure("encode a GET, 50 in a frame", FRAME_REQUESTS, || {
        black_box(black_box(&frame).encode_to_vec());
    });
    let bytes = Bytes::from(frame.encode_to_vec());
    measure("decode a GET, 50 in a frame", FRAME_REQUESTS, || {
        black_box(v1::ClientFrame::decode(black_box(bytes.clone())).expect("it was just encoded"));
    });
    let replies = (0..FRAME_REQUESTS)
        .map(|id| v1::Reply {
            id,
            status: v1::Status::Found as i32,
            value: Bytes::from(vec![b'v'; 100]),
            version: 1_000_000 + id,
            ..v1::Reply::default()
        })
        .collect();
    let frame = v1::ServerFrame { replies, applied_index: 1 << 20, epoch: 3, ..v1::ServerFrame::default() };
    let bytes = Bytes::from(frame.encode_to_vec());
    measure("encode a reply of 100 bytes, 50 in a frame", FRAME_REQUESTS, || {
        black_box(black_box(&frame).encode_to_vec());
    });
    measure("decode a reply of 100 bytes, 50 in a frame", FRAME_REQUESTS, || {
        black_box(v1::ServerFrame::decode(black_box(bytes.clone())).expect("it was just encoded"));
    });
}

fn cache(keys: &[Bytes]) {
    let cache = RowCache::new(64 << 20);
    let row = Row { version: 1, expires_ms: 0, value: Bytes::from(vec![b'v'; 100]) };
    measure("row cache, write", KEYS, || {
        for key in keys {
            cache.begin(key);
            cache.finish(key, Some(&row));
        }
    });
    measure("row cache, hit", KEYS, || {
        for key in keys {
            black_box(cache.get(black_box(key)));
        }
    });
}

/// A group is one write and one sync; what a write costs falls with the size of the group.
async fn log(group: u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let identity = Identity { cluster_id: "bench".into(), shard: 0, incarnation: "1".into() };
    let disk = Arc::new(RealDisk::new());
    let (mut log, _) = Log::open(disk, dir.path(), identity, Options::default()).await.expect("a new log");
    let payloads = vec![vec![b'r'; 180]; group as usize];
    let rounds = 200;
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        log.append(1, &payloads).expect("room on the disk");
        log.sync().await.expect("a working disk");
    }
    let nanos = start.elapsed().as_nanos() as f64 / (rounds * group) as f64;
    println!("{:<44} {nanos:>12.1} ns  ({rounds} rounds)", format!("log record, {group} in a group, synced"));
}
