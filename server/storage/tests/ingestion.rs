//! The engine on disk, filled at once: it holds the same as one that was written, and goes on as one.

use std::{
    ops::{Bound::Unbounded, ControlFlow, Range},
    sync::Arc,
};

use bytes::Bytes;
use slotkv_storage::{
    Batch, Engine, Engines, Error, FjallEngine, FjallEngines, MemoryEngine, Position, Reader,
    fjall_engine::FjallOptions, keys,
};

const ROWS: u32 = 10_000;

/// Small, so that tables are written and merged.
fn options() -> FjallOptions {
    FjallOptions { cache_bytes: 1 << 20, memtable_bytes: 64 << 10, threads: 1, ..FjallOptions::default() }
}

/// Rows with ascending keys.
fn ascending(range: Range<u32>) -> Batch {
    let mut batch = Batch::new();
    range.for_each(|at| batch.put(at.to_be_bytes().to_vec(), vec![at as u8; 200]));
    batch
}

fn applied(index: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(keys::applied_key(), Position { epoch: 1, index }.encode());
    batch
}

/// Changes of rows that were there, and a new one.
fn change(number: u32) -> Batch {
    let mut batch = applied(u64::from(number));
    batch.put((number * 7).to_be_bytes().to_vec(), vec![number as u8; 1000]);
    batch.delete((number * 11 + 3).to_be_bytes().to_vec());
    batch.put((ROWS + number).to_be_bytes().to_vec(), "new");
    batch
}

fn rows(reader: &(impl Reader + ?Sized)) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    let visited = reader.scan((Unbounded, Unbounded), &mut |key, value| {
        rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    });
    visited.unwrap();
    rows
}

#[test]
fn engine_that_was_filled_goes_on_as_one_that_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut fjall = Arc::new(FjallEngine::open(dir.path(), &options()).unwrap());
    let memory = MemoryEngine::new();
    let mut ingestion = fjall.clone().ingest().unwrap();
    for from in (0..ROWS).step_by(500) {
        ingestion.add(ascending(from..from + 500)).unwrap();
        memory.write(ascending(from..from + 500)).unwrap();
    }
    ingestion.finish().unwrap();
    for engine in [&*fjall as &dyn Engine, &memory] {
        engine.write(applied(1)).unwrap();
    }
    let filled = rows(&memory);
    assert!(rows(&*fjall) == filled);
    let before = fjall.snapshot().unwrap();
    for number in 2..=400 {
        fjall.write(change(number)).unwrap();
        memory.write(change(number)).unwrap();
        if number == 200 {
            fjall.persist().unwrap();
        }
    }
    assert!(rows(&*before) == filled);
    drop(before);
    for _ in 0..2 {
        assert!(rows(&*fjall) == rows(&memory));
        fjall.persist().unwrap();
        drop(fjall);
        fjall = Arc::new(FjallEngine::open(dir.path(), &options()).unwrap());
    }
}

#[test]
fn ingestion_that_is_given_up_leaves_an_engine_that_can_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let engines = FjallEngines::new(options());
    let folder = dir.path().join("engine.1");
    let engine = engines.open(&folder).unwrap();
    let mut ingestion = engine.clone().ingest().unwrap();
    ingestion.add(ascending(0..5_000)).unwrap();
    engines.remove(&folder).unwrap();
    drop(engine);
    assert!(folder.exists(), "it is still being filled");
    drop(ingestion);
    assert!(!folder.exists());
}

#[test]
fn rows_out_of_order_end_the_ingestion_as_damage() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(FjallEngine::open(dir.path(), &options()).unwrap());
    let mut ingestion = engine.ingest().unwrap();
    ingestion.add(ascending(10..20)).unwrap();
    let refused = ingestion.add(ascending(5..15)).and_then(|()| ingestion.finish());
    assert!(matches!(refused, Err(Error::EngineDamaged { .. })));
}
