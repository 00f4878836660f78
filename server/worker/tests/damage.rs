//! A worker's folder on a real disk, damaged as a seed says: bits that flip, sectors that are lost, files that are cut.
//! The worker refuses to start, or a request is refused, or the answer is the right one.

mod common;

use std::{
    fs,
    ops::{Bound, ControlFlow},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use common::{Caller, Machine, data::Data, get, put};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use slotkv_storage::{
    Engine, Engines, Error, FjallEngines, MemoryEngines, RealDisk, SimDisk, fjall_engine::FjallOptions, keys,
};
use slotkv_worker::{Options, StartError, Worker, home::Home};

const KEYS: usize = 300;
/// Of the engine's journal: a few writes, which no checkpoint has made durable.
const LOST_BYTES: usize = 4 << 10;
const VALUE_BYTES: usize = 300;

fn engines() -> Arc<dyn Engines> {
    Arc::new(FjallEngines::new(FjallOptions {
        cache_bytes: 1 << 20,
        memtable_bytes: 32 << 10,
        threads: 1,
        ..FjallOptions::default()
    }))
}

async fn start(machine: &Machine, dir: &Path) -> Result<Worker, StartError> {
    let mut seams = machine.seams();
    seams.disk = Arc::new(RealDisk::new());
    seams.engines = engines();
    let options = Options {
        dir: dir.to_owned(),
        segment_bytes: 8 << 10,
        checkpoint_bytes: 32 << 10,
        cache_bytes: 1 << 16,
        ..machine.options.clone()
    };
    let worker = Worker::start(options, seams).await?;
    worker.placed().await?;
    worker.shard().catch_up(1).await;
    Ok(worker)
}

fn keys() -> impl Iterator<Item = String> {
    // One in sixteen slots is another shard's.
    let slots = slotkv_proto::SlotCount::new(common::SLOTS).unwrap();
    (0..)
        .map(|n| format!("key{n}"))
        .filter(move |key| slotkv_proto::slot(key.as_bytes(), slots) != 15)
        .take(KEYS)
}

fn value(key: &str) -> String {
    format!("{key:x>VALUE_BYTES$}")
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_under(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        // Journals are laid out with zeros that nobody needs.
        if path.extension().is_some_and(|extension| extension == "jnl") {
            bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
        }
        fs::write(&target, bytes).unwrap();
    }
}

fn damage(bytes: &mut Vec<u8>, chance: &mut SmallRng) -> &'static str {
    let at = chance.random_range(0..bytes.len());
    match chance.random_range(0..8) {
        0..5 => {
            bytes[at] ^= 1 << chance.random_range(0..8);
            "flipped"
        }
        5 | 6 => {
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill(0);
            "lost"
        }
        _ => {
            bytes.truncate(at);
            "cut"
        }
    }
}

#[tokio::test]
async fn damage_anywhere_in_a_workers_folder_is_refused_or_does_no_harm() {
    let seeds = if std::env::var_os("SLOTKV_TEST_LONG").is_some() { 5000 } else { 150 };
    let machine = Machine::new().await;
    let scratch = tempfile::tempdir().unwrap();
    let whole = scratch.path().join("whole");
    let worker = start(&machine, &whole).await.unwrap();
    let mut caller = Caller::new(&worker, 1).await;
    for key in keys() {
        assert_eq!(caller.ask(put(&key, &value(&key))).await.code, 0);
    }
    drop(caller);
    // Ends without closing its log.
    machine.crash(worker);
    let files = files_under(&whole);
    // The engine has lost its last batches, as it may: they come from the log.
    let journal = files.iter().rfind(|file| file.extension().is_some_and(|extension| extension == "jnl"));
    let journal = journal.expect("the engine has a journal");
    let bytes = fs::read(journal).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    fs::write(journal, &bytes[..end - LOST_BYTES]).unwrap();
    let logs =
        files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "log")).count();
    assert!(logs < 12, "checkpoints have shortened the log to {logs} files");

    let damaged = scratch.path().join("damaged");
    let (mut refused, mut unread, mut served) = (0, 0, 0);
    for seed in 0..seeds {
        let name = copy_damaged(&whole, &damaged, &files, seed);
        match start(&machine, &damaged).await {
            Err(StartError::Storage(Error::Io { file, action, source })) => {
                panic!("seed {seed}: {name:?}: cannot {action} {file:?}: {source}")
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
            Ok(worker) => {
                let mut caller = Caller::new(&worker, 1).await;
                let replies = caller.ask_all(keys().map(|key| get(&key)).collect()).await;
                for (key, reply) in keys().zip(&replies) {
                    let is_right = reply.code != 0 || *reply.value == *value(&key).as_bytes();
                    assert!(is_right, "seed {seed}: {name:?}: {key} has {reply:?}");
                }
                if replies.iter().any(|reply| reply.code != 0) {
                    unread += 1
                } else {
                    served += 1
                }
                drop(caller);
                machine.crash(worker);
            }
        }
        fs::remove_dir_all(&damaged).unwrap();
    }
    println!("{refused} did not start, {unread} refused requests, {served} served everything");
    assert!(refused > seeds / 3 && served > 0);
}

/// A copy of a folder in which one of these files is damaged. Returns its name.
fn copy_damaged<'a>(whole: &Path, damaged: &Path, files: &'a [PathBuf], seed: u64) -> &'a Path {
    let mut chance = SmallRng::seed_from_u64(seed);
    copy(whole, damaged);
    let name = files[chance.random_range(0..files.len())].strip_prefix(whole).unwrap();
    let mut bytes = fs::read(damaged.join(name)).unwrap();
    if !bytes.is_empty() {
        let how = damage(&mut bytes, &mut chance);
        println!("seed {seed}: {name:?} {how}");
        fs::write(damaged.join(name), &bytes).unwrap();
    }
    name
}

/// Data rows and slot rows, unless the engine finds damage.
fn read(engine: &dyn Engine) -> Result<Vec<(Bytes, Bytes)>, Error> {
    let (data, slot) = (keys::data_key_prefix(), keys::slot_key_prefix());
    let mut rows = Vec::new();
    engine.scan((Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
        if key.starts_with(&data) || key.starts_with(&slot) {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        }
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

/// An engine that came by a snapshot, a log that begins behind it, and the parts of a further snapshot that was not taken
/// over.
#[tokio::test]
async fn damage_anywhere_in_a_folder_that_took_a_snapshot_is_refused_or_does_no_harm() {
    let seeds = if std::env::var_os("SLOTKV_TEST_LONG").is_some() { 3000 } else { 100 };
    let mut source = Data::open(&SimDisk::new(1), &MemoryEngines::recoverable(1), 1).await.unwrap();
    for number in 1..=200 {
        source.write(1, number, true).await.unwrap();
    }
    let (at, parts) = source.parts(2_000);
    let scratch = tempfile::tempdir().unwrap();
    let whole = scratch.path().join("whole");
    let open = async |dir: &Path| Data::open_on(Arc::new(RealDisk::new()), engines(), dir, 1).await;
    let mut data = open(&whole).await.unwrap();
    data.write(1, 1_000, true).await.unwrap();
    data.install(at, &parts).await.unwrap();
    for number in 1_001..1_030 {
        data.write(2, number, true).await.unwrap();
    }
    data.home.begin_snapshot().await.unwrap();
    parts[..parts.len() / 2].iter().try_for_each(|part| data.home.add_part(part)).unwrap();
    let (rows, last_index) = (read(&*data.engine).unwrap(), data.log.last_index());
    drop(data);
    let files = files_under(&whole);

    let damaged = scratch.path().join("damaged");
    let (mut refused, mut right) = (0, 0);
    for seed in 0..seeds {
        let name = copy_damaged(&whole, &damaged, &files, seed);
        let outcome = match open(&damaged).await {
            Err(StartError::Storage(error)) => Err(error),
            Err(other) => panic!("seed {seed}: {name:?}: {other}"),
            Ok(mut data) => data.catch_up().and_then(|()| Ok((read(&*data.engine)?, data.log.last_index()))),
        };
        match outcome {
            Ok(found) => {
                assert!(found == (rows.clone(), last_index), "seed {seed}: {name:?} is served");
                right += 1;
            }
            Err(Error::Io { file, action, source }) => {
                panic!("seed {seed}: {name:?}: cannot {action} {file:?}: {source}")
            }
            Err(_) => refused += 1,
        }
        fs::remove_dir_all(&damaged).unwrap();
    }
    println!("{refused} were refused, {right} are as they were");
    assert!(refused > seeds / 4 && right > 0, "{refused} were refused, {right} are as they were");
}

#[tokio::test]
async fn changed_bit_in_a_replicas_identification_is_found() {
    let machine = Machine::new().await;
    let scratch = tempfile::tempdir().unwrap();
    let whole = scratch.path().join("whole");
    machine.crash(start(&machine, &whole).await.unwrap());
    // Its lock ends with its last task.
    let folder = scratch.path().join("copy");
    copy(&whole, &folder);
    let file = folder.join("replica.json");
    let whole = fs::read(&file).unwrap();
    let disk = Arc::new(RealDisk::new());
    let known = Home::lock(disk.clone(), &folder).unwrap().identification().cloned();
    assert!(known.is_some());
    for bit in 0..whole.len() * 8 {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &changed).unwrap();
        match Home::lock(disk.clone(), &folder) {
            // A name of a field that may be missing.
            Ok(home) => assert_eq!(home.identification().cloned(), known, "bit {bit}"),
            Err(error) => {
                assert!(error.is_damage() || matches!(error, Error::NewerFormat { .. }), "bit {bit}: {error}")
            }
        }
    }
}
