use std::{
    collections::BTreeMap,
    ops::{
        Bound::{Excluded, Included, Unbounded},
        ControlFlow,
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;
use crate::{engine::Engines, memory_engine::MemoryEngine};

fn small() -> FjallOptions {
    FjallOptions { cache_bytes: 1 << 20, memtable_bytes: 64 << 10, threads: 1, ..FjallOptions::default() }
}

fn rows(reader: &dyn Reader, bounds: Bounds<'_>, at_most: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
    let mut rows = Vec::new();
    if at_most > 0 {
        reader.scan(bounds, &mut |key, value| {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            if rows.len() == at_most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok(rows)
}

fn everything(reader: &dyn Reader) -> Result<Vec<(Bytes, Bytes)>, Error> {
    rows(reader, (Unbounded, Unbounded), usize::MAX)
}

/// The batch `number`: some rows, and the position that it brings the engine to.
fn numbered(number: u64) -> Batch {
    let mut batch = Batch::new();
    for at in 0..20u64 {
        let key = format!("key{}", (number * 7 + at * 13) % 500);
        let value: Vec<u8> = (0..100).map(|byte| (byte * number + at) as u8).collect();
        batch.put(key, value);
    }
    // One that no other batch changes.
    batch.put(format!("own{number}"), number.to_be_bytes().to_vec());
    batch.put(keys::applied_key(), Position { epoch: 1, index: number }.encode());
    batch
}

/// The rows after the batches 1 to `number`.
fn after(number: u64) -> Vec<(Bytes, Bytes)> {
    let engine = MemoryEngine::new();
    (1..=number).for_each(|number| engine.write(numbered(number)).unwrap());
    everything(&engine).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, Option<u8>)>),
    Scan(std::ops::Bound<u8>, std::ops::Bound<u8>, usize),
    Snapshot,
    Flush,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let bound =
        || prop_oneof![Just(Unbounded), any::<u8>().prop_map(Included), any::<u8>().prop_map(Excluded)];
    let change = (0..40u8, proptest::option::of(any::<u8>()));
    prop_oneof![
        6 => proptest::collection::vec(change, 0..20).prop_map(Step::Write),
        4 => (bound(), bound(), 0..12usize).prop_map(|(start, end, count)| Step::Scan(start, end, count)),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn fjall_and_memory_hold_the_same_after_any_batches(steps in proptest::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut fjall = FjallEngine::open(dir.path(), &small()).unwrap();
        let memory = MemoryEngine::new();
        memory.write(first_batch()).unwrap();
        let mut snapshots: Vec<[Box<dyn Reader>; 2]> = Vec::new();
        for step in steps {
            match step {
                Step::Write(changes) => {
                    let mut batch = Batch::with_capacity(changes.len());
                    for (key, value) in changes {
                        match value {
                            Some(value) => batch.put(vec![key], vec![value; value.into()]),
                            None => batch.delete(vec![key]),
                        }
                    }
                    fjall.write(batch.clone()).unwrap();
                    memory.write(batch).unwrap();
                }
                Step::Scan(start, end, count) => {
                    let (start, end) = (start.map(|key| [key]), end.map(|key| [key]));
                    let bounds = (start.as_ref().map(|key| &key[..]), end.as_ref().map(|key| &key[..]));
                    prop_assert_eq!(rows(&fjall, bounds, count).unwrap(), rows(&memory, bounds, count).unwrap());
                }
                Step::Snapshot => snapshots.push([fjall.snapshot().unwrap(), memory.snapshot().unwrap()]),
                Step::Flush => fjall.rows.rotate_memtable_and_wait().unwrap(),
                Step::Reopen => {
                    snapshots.clear();
                    drop(fjall);
                    fjall = FjallEngine::open(dir.path(), &small()).unwrap();
                }
            }
            for key in 0..40 {
                prop_assert_eq!(fjall.get(&[key]).unwrap(), memory.get(&[key]).unwrap());
            }
        }
        for [fjall, memory] in snapshots {
            prop_assert_eq!(everything(&*fjall).unwrap(), everything(&*memory).unwrap());
            prop_assert_eq!(fjall.get(&[7]).unwrap(), memory.get(&[7]).unwrap());
        }
    }

    #[test]
    fn recoverable_memory_engine_goes_back_to_a_batch_not_before_the_last_persist(
        seed: u64, persisted in 0..20u64, written in 0..20u64,
    ) {
        let engine = MemoryEngine::recoverable(seed);
        (1..=persisted).for_each(|number| engine.write(numbered(number)).unwrap());
        engine.persist().unwrap();
        (persisted + 1..=persisted + written).for_each(|number| engine.write(numbered(number)).unwrap());
        engine.crash();
        let applied = engine.get(&keys::applied_key()).unwrap();
        let applied = applied.map_or(0, |row| Position::decode(&row).unwrap().index);
        prop_assert!((persisted..=persisted + written).contains(&applied));
        prop_assert_eq!(everything(&engine).unwrap(), after(applied));
    }
}

#[test]
fn scan_sees_no_batch_by_half_while_another_thread_writes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = FjallEngine::open(dir.path(), &small()).unwrap();
    let batch = |number: u64| {
        let mut batch = Batch::new();
        (0..200u8).for_each(|key| batch.put(vec![key], number.to_be_bytes().to_vec()));
        batch
    };
    engine.write(batch(0)).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (1..500).for_each(|number| engine.write(batch(number)).unwrap()));
        while !writer.is_finished() {
            let mut rows = everything(&engine).unwrap();
            rows.retain(|(key, _)| *key != keys::applied_key());
            assert_eq!(rows.len(), 200);
            assert!(rows.iter().all(|row| row.1 == rows[0].1));
        }
    });
}

#[test]
fn snapshots_of_a_new_engine_outlive_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = FjallEngine::open(dir.path(), &small()).unwrap();
    let write = |numbers: std::ops::RangeInclusive<u64>| {
        numbers.for_each(|number| engine.write(numbered(number)).unwrap());
    };
    let flush = || engine.rows.rotate_memtable_and_wait().unwrap();
    let before_any = engine.snapshot().unwrap();
    write(1..=2);
    let after_two = engine.snapshot().unwrap();
    flush();
    write(3..=3);
    flush();
    write(4..=5);
    let after_five = engine.snapshot().unwrap();
    write(6..=15);
    flush();
    assert!(everything(&*before_any).unwrap().iter().all(|(key, _)| *key == keys::applied_key()));
    assert_eq!(everything(&*after_two).unwrap(), after(2));
    assert_eq!(everything(&*after_five).unwrap(), after(5));
}

#[test]
fn second_opening_of_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = FjallEngine::open(dir.path(), &small()).unwrap();
    let refusal = FjallEngine::open(dir.path(), &small()).err().unwrap();
    assert!(matches!(&refusal, Error::Locked { folder, .. } if folder == dir.path()), "{refusal}");
}

#[test]
fn unfinished_making_of_an_engine_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(UNFINISHED_FOLDER)).unwrap();
    fs::write(dir.path().join(UNFINISHED_FOLDER).join("0.jnl"), b"half").unwrap();
    let engine = FjallEngine::open(dir.path(), &small()).unwrap();
    engine.write(numbered(1)).unwrap();
    assert_eq!(everything(&engine).unwrap(), after(1));
    assert!(engine.size().rows > 0 && engine.size().bytes > 0);
}

/// An engine with tables and journals, at batch 300, persisted at 200; as files.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    // So much memory that nothing is flushed but by the calls below.
    let engine =
        FjallEngine::open(dir.path(), &FjallOptions { memtable_bytes: 64 << 20, ..small() }).unwrap();
    for number in 1..=300 {
        engine.write(numbered(number)).unwrap();
        match number {
            100 | 180 => engine.rows.rotate_memtable_and_wait().unwrap(),
            200 => engine.persist().unwrap(),
            _ => {}
        }
    }
    drop(engine);
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            // Without the zeros of a journal's unused space, which fjall does not need.
            let bytes = fs::read(&path).unwrap();
            let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            let end =
                if path.extension().is_some_and(|extension| extension == "jnl") { end } else { bytes.len() };
            fs::write(&target, &bytes[..end]).unwrap();
        }
    }
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

/// Opens a damaged engine and reads everything. What it holds must be the state after a batch from 200 on.
fn open_damaged(folder: &Path) -> Result<u64, Error> {
    let engine = FjallEngine::open(folder, &small())?;
    let found = everything(&engine)?;
    let applied = engine.applied()?.index;
    assert!(applied >= 200, "it went back to {applied}");
    assert!(found == after(applied), "it is not what batch {applied} had left");
    for (key, value) in found {
        assert_eq!(engine.get(&key)?, Some(value));
    }
    Ok(applied)
}

#[test]
fn damaged_engine_files_are_refused_or_lose_nothing_that_was_persisted() {
    let whole = filled();
    assert_eq!(open_damaged(whole.path()).unwrap(), 300);
    let scratch = tempfile::tempdir().unwrap();
    let (mut refused, mut opened) = (0, 0);
    for file in files_under(whole.path()) {
        let name = file.strip_prefix(whole.path()).unwrap();
        let length = fs::metadata(&file).unwrap().len() as usize;
        for part in 0..4 {
            let target = scratch.path().join("copy");
            copy(whole.path(), &target);
            let mut bytes = fs::read(target.join(name)).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let at = (bytes.len() - 1) * part / 3;
            bytes[at] ^= 0x10;
            fs::write(target.join(name), &bytes).unwrap();
            match open_damaged(&target) {
                Ok(_) => opened += 1,
                Err(error) => {
                    let known = error.is_damage()
                        || matches!(error, Error::NewerFormat { .. } | Error::Engine { .. });
                    assert!(known, "{name:?} ({length} bytes) at {at}: {error}");
                    refused += 1;
                }
            }
            fs::remove_dir_all(&target).unwrap();
        }
    }
    assert!(refused > 15 && opened > 0, "{refused} refused, {opened} opened");
}

/// Damages a file as a seed says: one bit, a sector, or everything behind a place.
fn damage(path: &Path, chance: &mut SmallRng) -> String {
    let mut bytes = fs::read(path).unwrap();
    let at = chance.random_range(0..bytes.len());
    let what = match chance.random_range(0..8) {
        0..5 => {
            let bit = chance.random_range(0..8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} flipped")
        }
        5 => {
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill(0);
            "sector lost".into()
        }
        6 => {
            let end = bytes.len().min(at + 512);
            chance.fill(&mut bytes[at..end]);
            "sector overwritten".into()
        }
        _ => {
            bytes.truncate(at);
            "cut off".into()
        }
    };
    fs::write(path, &bytes).unwrap();
    format!("{what} at {at} of {}", path.display())
}

#[test]
fn damage_anywhere_in_engine_files_is_refused_or_loses_nothing_that_was_persisted() {
    let seeds = if std::env::var_os("SLOTKV_TEST_LONG").is_some() { 10_000 } else { 250 };
    let whole = filled();
    let files = files_under(whole.path());
    let scratch = tempfile::tempdir().unwrap();
    let (mut refused, mut opened) = (0, 0);
    for seed in 0..seeds {
        let mut chance = SmallRng::seed_from_u64(seed);
        let target = scratch.path().join("copy");
        copy(whole.path(), &target);
        let name = files[chance.random_range(0..files.len())].strip_prefix(whole.path()).unwrap();
        let path = target.join(name);
        if fs::metadata(&path).unwrap().len() == 0 {
            continue;
        }
        let done = damage(&path, &mut chance);
        println!("seed {seed}: {done}");
        match open_damaged(&target) {
            Ok(_) => opened += 1,
            Err(error) => {
                let known =
                    error.is_damage() || matches!(error, Error::NewerFormat { .. } | Error::Engine { .. });
                assert!(known, "seed {seed}: {done}: {error:?}");
                refused += 1;
            }
        }
        fs::remove_dir_all(&target).unwrap();
    }
    println!("{refused} refused, {opened} opened");
    assert!(refused > seeds / 3 && opened > 0, "{refused} refused, {opened} opened");
}

/// By its number fjall leaves a batch out that it takes for one that is in a table.
#[test]
fn journaled_batch_whose_number_has_changed_is_not_left_out_unnoticed() {
    let whole = filled();
    let name = Path::new(ROWS_FOLDER).join("0.jnl");
    let journal = fs::read(whole.path().join(&name)).unwrap();
    let behind_another = journal.windows(5).enumerate().filter(|(_, window)| window == b"FJL\x03\x01");
    let starts: Vec<usize> = [0].into_iter().chain(behind_another.map(|(at, _)| at + 4)).collect();
    // What is in tables already is in journals that have been removed.
    let journal = &journal[starts[181]..];
    let starts: Vec<usize> = starts[181..].iter().map(|at| at - starts[181]).collect();
    fs::write(whole.path().join(&name), journal).unwrap();
    assert_eq!(open_damaged(whole.path()).unwrap(), 300);

    let scratch = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for batch in [0, starts.len() / 2, starts.len() - 1] {
        for bit in 0..16 {
            let target = scratch.path().join("copy");
            copy(whole.path(), &target);
            let mut bytes = journal.to_vec();
            // Behind the tag and the number of items.
            bytes[starts[batch] + 5 + bit / 8] ^= 1 << (bit % 8);
            fs::write(target.join(&name), &bytes).unwrap();
            match open_damaged(&target) {
                Ok(applied) => assert_eq!(applied, 300, "bit {bit} of batch {batch}"),
                Err(error) => {
                    assert!(error.is_damage(), "bit {bit} of batch {batch}: {error:?}");
                    refused += 1;
                }
            }
            fs::remove_dir_all(&target).unwrap();
        }
    }
    assert!(refused > 16, "{refused}");
}

/// Flips a bit, opens the engine, which must refuse it, and flips the bit back.
fn assert_refused(folder: &Path, file: &Path, byte: usize, bit: usize) {
    let whole = fs::read(file).unwrap();
    let mut flipped = whole.clone();
    flipped[byte] ^= 1 << bit;
    fs::write(file, &flipped).unwrap();
    match FjallEngine::open(folder, &small()) {
        Ok(_) => panic!("it opened, with bit {bit} of byte {byte} of {file:?} flipped"),
        Err(error) => assert!(error.is_damage(), "{error:?}"),
    }
    fs::write(file, &whole).unwrap();
}

#[test]
fn flipped_bit_in_any_byte_of_a_manifest_is_refused() {
    let whole = filled();
    for entry in fs::read_dir(whole.path().join(ROWS_FOLDER).join("keyspaces")).unwrap() {
        let tree = entry.unwrap().path();
        let current = fs::read(tree.join("current")).unwrap();
        let manifest = tree.join(format!("v{}", u64::from_le_bytes(current[..8].try_into().unwrap())));
        for file in [tree.join("current"), manifest] {
            let bytes = fs::metadata(&file).unwrap().len() as usize;
            (0..bytes).for_each(|byte| assert_refused(whole.path(), &file, byte, byte % 8));
        }
    }
    assert_eq!(open_damaged(whole.path()).unwrap(), 300);
}

#[test]
fn table_that_says_it_has_more_sections_than_memory_can_hold_is_refused() {
    let whole = filled();
    let mut tables = files_under(&whole.path().join(ROWS_FOLDER).join("keyspaces"));
    tables.retain(|file| file.parent().unwrap().ends_with("tables"));
    assert!(tables.len() >= 2, "{tables:?}");
    for table in tables {
        let bytes = fs::read(&table).unwrap();
        let contents = bytes.windows(4).rposition(|window| window == b"TOC!").unwrap();
        assert_refused(whole.path(), &table, contents + 7, 7);
    }
    assert_eq!(open_damaged(whole.path()).unwrap(), 300);
}

#[test]
fn missing_engine_files_are_refused() {
    let whole = filled();
    let scratch = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for file in files_under(whole.path()) {
        let name = file.strip_prefix(whole.path()).unwrap();
        if name.ends_with("lock") {
            continue;
        }
        let target = scratch.path().join("copy");
        copy(whole.path(), &target);
        fs::remove_file(target.join(name)).unwrap();
        match open_damaged(&target) {
            // fjall leaves a file behind now and then that it does not use any more.
            Ok(applied) => assert_eq!(applied, 300, "without {name:?}"),
            Err(error) => {
                assert!(error.is_damage(), "without {name:?}: {error:?}");
                refused += 1;
            }
        }
        fs::remove_dir_all(&target).unwrap();
    }
    assert!(refused > 5, "{refused}");
    let target = scratch.path().join("copy");
    copy(whole.path(), &target);
    fs::remove_dir_all(target.join(ROWS_FOLDER)).unwrap();
    assert!(matches!(open_damaged(&target), Err(Error::EngineDamaged { .. })));
}

#[test]
fn journal_that_is_cut_back_behind_the_last_persist_is_a_torn_tail_and_before_it_damage() {
    let whole = filled();
    let scratch = tempfile::tempdir().unwrap();
    let journals = files_under(&whole.path().join(ROWS_FOLDER));
    let journal =
        journals.iter().rfind(|path| path.extension().is_some_and(|extension| extension == "jnl")).unwrap();
    let name = journal.strip_prefix(whole.path()).unwrap();
    let mut outcomes = BTreeMap::new();
    for percent in (0..=100).step_by(4) {
        let target = scratch.path().join("copy");
        copy(whole.path(), &target);
        let length = fs::metadata(target.join(name)).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(target.join(name)).unwrap();
        file.set_len(length * percent / 100).unwrap();
        drop(file);
        outcomes.insert(percent, open_damaged(&target).ok());
        fs::remove_dir_all(&target).unwrap();
    }
    assert_eq!(outcomes[&100], Some(300));
    assert_eq!(outcomes[&0], None);
    let first_good = outcomes.values().position(Option::is_some).unwrap();
    assert!(outcomes.values().skip(first_good).all(Option::is_some), "{outcomes:?}");
}

/// `cargo test --release -p slotkv-storage engine_speed -- --ignored --nocapture`
#[test]
#[ignore = "prints a measurement"]
fn engine_speed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = FjallEngine::open(dir.path(), &FjallOptions::default()).unwrap();
    let per = |started: Instant, count: u64| (started.elapsed() / count as u32).max(Duration::from_nanos(1));
    let started = Instant::now();
    for group in 0..10_000u64 {
        let mut batch = Batch::with_capacity(100);
        for at in 0..100 {
            let number = (group * 100 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000;
            batch.put(format!("key{number:013}"), vec![7; 100]);
        }
        engine.write(batch).unwrap();
    }
    println!("put {:?}", per(started, 1_000_000));
    let started = Instant::now();
    for number in (0..300_000u64).map(|at| at.wrapping_mul(0x2545_f491_4f6c_dd1d) % 1_000_000) {
        std::hint::black_box(engine.get(format!("key{number:013}").as_bytes()).unwrap());
    }
    println!("get {:?}", per(started, 300_000));
    let started = Instant::now();
    println!("{} rows", everything(&engine).unwrap().len());
    println!("scan {:?}", per(started, 1_000_000));
}

#[test]
fn removed_engine_stays_readable_and_goes_with_its_last_reader() {
    let dir = tempfile::tempdir().unwrap();
    let engines = FjallEngines::new(small());
    let folders = ["engine", "engine.1"].map(|name| dir.path().join(name));
    let [engine, other] = folders.clone().map(|folder| engines.open(&folder).unwrap());
    drop(other);
    let mut batch = Batch::new();
    batch.put("key", "value");
    engine.write(batch).unwrap();
    let snapshot = engine.snapshot().unwrap();
    for folder in &folders {
        engines.remove(folder).unwrap();
        engines.remove(folder).unwrap();
    }
    assert_eq!(engines.names(dir.path()).unwrap(), ["engine"]);
    drop(engine);
    assert_eq!(snapshot.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
    assert!(folders[0].exists());
    drop(snapshot);
    assert!(engines.names(dir.path()).unwrap().is_empty());
    assert!(engines.names(&folders[0]).unwrap().is_empty());
}
