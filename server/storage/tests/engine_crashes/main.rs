//! The engine on disks that lose what was not synced. A program writes batches by the real engine while every call is
//! recorded by which it changes its folder; of each first part of those calls images of the folder are built, and the
//! real engine opens each. It holds every batch that had been persisted and no batch by half; where the disk said that it
//! had synced and had not, it does so or says that it is damaged.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::{
    env, fs, io,
    ops::{Bound::Unbounded, ControlFlow, RangeInclusive},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use bytes::Bytes;
use slotkv_storage::{
    Batch, Engine, Error, FjallEngine, MemoryEngine, Position, Reader, fjall_engine::FjallOptions, keys,
};

mod medium;
mod recorder;

use medium::Fate;
use recorder::{Call, Recorder};

/// The folder that the program of [`program_that_writes`] writes in.
const FOLDER: &str = "SLOTKV_ENGINE_CRASHES";
/// Its last batch in each of its runs; it ends without closing the engine.
const RUNS: [u64; 3] = [100, 180, 220];
/// It persists after so many batches.
const PERSIST_EVERY: u64 = 7;
const KEYS: u64 = 500;
/// The batch whose state the program of [`program_that_fills`] begins with.
const FILLED: u64 = 90;
const LAST: u64 = RUNS[RUNS.len() - 1];
/// Images in the short form: so many of all, evenly spread.
const IMAGES: usize = 350;
/// Those of each point. How an image is torn is drawn anew for each.
const FATES: [Fate; 7] =
    [Fate::Kept, Fate::Lost, Fate::Torn, Fate::Scattered, Fate::Lied, Fate::Torn, Fate::Scattered];

fn options() -> FjallOptions {
    FjallOptions { cache_bytes: 1 << 20, memtable_bytes: 64 << 10, threads: 1, ..FjallOptions::default() }
}

/// The batch `number`: rows put and deleted, and the position that it brings the engine to. Some are large.
fn batch(number: u64) -> Batch {
    let mut batch = Batch::new();
    let rows = if number.is_multiple_of(40) { 300 } else { 20 };
    for at in 0..rows {
        let key = format!("key{}", (number * 7 + at * 13) % KEYS);
        if (number + at).is_multiple_of(11) {
            batch.delete(key);
        } else {
            let bytes = if at == 7 { 3000 } else { 100 };
            batch.put(key, (0..bytes).map(|byte| (byte * number + at) as u8).collect::<Vec<_>>());
        }
    }
    batch.put(keys::applied_key(), Position { epoch: 1, index: number }.encode());
    batch
}

type Rows = Vec<(Bytes, Bytes)>;

fn rows(engine: &dyn Reader) -> Result<Rows, Error> {
    let mut rows = Vec::new();
    engine.scan((Unbounded, Unbounded), &mut |key, value| {
        rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

/// The rows after each batch, from none on.
fn states() -> Vec<Rows> {
    let engine = MemoryEngine::new();
    let mut first = Batch::new();
    first.put(keys::applied_key(), Position::default().encode());
    engine.write(first).unwrap();
    let mut states = vec![rows(&engine).unwrap()];
    for number in 1..=LAST {
        engine.write(batch(number)).unwrap();
        states.push(rows(&engine).unwrap());
    }
    states
}

fn applied(engine: &(impl Reader + ?Sized)) -> Result<u64, Error> {
    match engine.get(&keys::applied_key())? {
        Some(row) => Ok(Position::decode(&row)?.index),
        None => Ok(0),
    }
}

/// Not a test: what is recorded. It tells the file `notes` which batch it is going to write and up to which it has
/// persisted.
#[test]
#[ignore = "a program of the other tests"]
fn program_that_writes() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    let engine = FjallEngine::open(&folder.join("engine"), &options()).unwrap();
    write_a_run(&folder, &engine);
}

/// Not a test: the same of an engine that is filled first, as with a snapshot.
#[test]
#[ignore = "a program of the other tests"]
fn program_that_fills() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    let engine = Arc::new(FjallEngine::open(&folder.join("engine"), &options()).unwrap());
    if applied(&*engine).unwrap() == 0 {
        note(&folder, format!("begun {FILLED}\n"));
        let applied_key = keys::applied_key();
        let mut ingestion = engine.clone().ingest().unwrap();
        let (rows, bounds): (Rows, Rows) =
            states().swap_remove(FILLED as usize).into_iter().partition(|(key, _)| *key != applied_key);
        for rows in rows.chunks(50) {
            ingestion.add(batch_of(rows)).unwrap();
        }
        ingestion.finish().unwrap();
        engine.write(batch_of(&bounds)).unwrap();
        engine.persist().unwrap();
        note(&folder, format!("persisted {FILLED}\n"));
    }
    write_a_run(&folder, &*engine);
}

fn batch_of(rows: &[(Bytes, Bytes)]) -> Batch {
    let mut batch = Batch::new();
    rows.iter().for_each(|(key, value)| batch.put(key.clone(), value.clone()));
    batch
}

fn note(folder: &Path, text: String) {
    let notes = fs::OpenOptions::new().create(true).append(true).open(folder.join("notes"));
    std::io::Write::write_all(&mut notes.unwrap(), text.as_bytes()).unwrap();
}

fn write_a_run(folder: &Path, engine: &dyn Engine) -> ! {
    let from = applied(engine).unwrap() + 1;
    let to = RUNS.into_iter().find(|&last| last >= from).unwrap();
    for number in from..=to {
        note(folder, format!("begun {number}\n"));
        engine.write(batch(number)).unwrap();
        if number.is_multiple_of(PERSIST_EVERY) {
            engine.persist().unwrap();
            note(folder, format!("persisted {number}\n"));
        }
    }
    // As if it were killed.
    std::process::exit(0);
}

/// What a program did, and what the engine must hold after each of its calls.
struct Recording {
    calls: Vec<Call>,
    /// After so many calls: the last batch persisted, and the last one begun.
    bounds: Vec<RangeInclusive<u64>>,
}

fn record(folder: &Path, program_name: &str) -> io::Result<Recording> {
    let mut recorder = Recorder::new(folder);
    for _ in RUNS {
        let mut program = Command::new(env::current_exe().unwrap());
        program.args([program_name, "--exact", "--ignored", "--nocapture"]).env(FOLDER, folder);
        program.stdout(std::process::Stdio::null());
        assert!(recorder.run(&mut program)?, "the program failed");
    }
    let mut bounds = vec![0..=0];
    let (mut persisted, mut begun) = (0, 0);
    for call in &recorder.calls {
        if let Call::Write { bytes, .. } = call {
            let text = std::str::from_utf8(bytes).unwrap_or_default().trim_end();
            let number = |name| text.strip_prefix(name).and_then(|number| number.parse().ok());
            persisted = number("persisted ").unwrap_or(persisted);
            begun = number("begun ").unwrap_or(begun);
        }
        bounds.push(persisted..=begun);
    }
    Ok(Recording { calls: recorder.calls, bounds })
}

/// A folder for images: in memory, where there is one, since each of them is synced when it is opened.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::Builder::new().prefix("slotkv-images-").tempdir_in(memory);
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

/// Opens an image: the last batch that the engine holds. The outer error is what it must not be.
fn open(
    folder: &Path,
    bounds: &RangeInclusive<u64>,
    states: &[Rows],
) -> Result<Result<(FjallEngine, u64), Error>, String> {
    let read = |engine: &FjallEngine| Ok((applied(engine)?, rows(engine)?));
    let engine = FjallEngine::open(folder, &options());
    let (engine, (applied, rows)) = match engine.and_then(|engine| read(&engine).map(|read| (engine, read))) {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error)),
    };
    if !bounds.contains(&applied) {
        return Err(format!("it holds batch {applied} as its last, not one of {bounds:?}"));
    }
    // An engine may have lost even the row that says that nothing has been applied.
    if rows != states[applied as usize] && !(applied == 0 && rows.is_empty()) {
        return Err(format!("it does not hold what batch {applied} had left"));
    }
    Ok(Ok((engine, applied)))
}

/// Whether an image opens, as it must unless the disk lied. Then the engine goes on from there.
fn judge(folder: &Path, fate: Fate, bounds: &RangeInclusive<u64>, states: &[Rows]) -> Result<bool, String> {
    let (engine, applied) = match open(folder, bounds, states)? {
        Ok(opened) => opened,
        Err(error) if fate == Fate::Lied && error.is_damage() => return Ok(false),
        Err(error) => return Err(format!("{error}: {:?}", std::error::Error::source(&error))),
    };
    let next = (applied + 1).min(LAST);
    let failed = |error: Error| format!("when it went on: {error}");
    engine.write(batch(next)).and_then(|()| engine.persist()).map_err(failed)?;
    drop(engine);
    open(folder, &(next..=next), states)?.map(|_| true).map_err(failed)
}

/// Files of a folder, without the zeros at their end.
fn contents(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>, u64)> {
    let mut contents = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(folder).unwrap().to_owned();
        if path.is_dir() {
            contents.push((name.clone(), None, 0));
            let below = self::contents(&path).into_iter();
            contents.extend(below.map(|(path, bytes, len)| (name.join(path), bytes, len)));
        } else {
            let mut bytes = fs::read(&path).unwrap();
            let len = bytes.len() as u64;
            bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
            contents.push((name, Some(bytes), len));
        }
    }
    contents.sort();
    contents
}

#[test]
fn engine_holds_what_was_persisted_wherever_its_machine_ends() {
    judge_images("program_that_writes", IMAGES, 10_000, 0);
}

/// One that was not persisted yet is removed unread.
#[test]
fn engine_that_was_filled_and_persisted_holds_it_wherever_its_machine_ends() {
    judge_images("program_that_fills", IMAGES / 3, 5_000, FILLED);
}

/// Judges images of a program in which a batch from `persisted_min` on was persisted.
fn judge_images(program_name: &str, images_short: usize, images_long_min: usize, persisted_min: u64) {
    let long = env::var_os("SLOTKV_TEST_LONG").is_some();
    let folder = tempfile::tempdir().unwrap();
    let Recording { calls, bounds } = match record(folder.path(), program_name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            eprintln!(
                "\nSKIPPED, because this user may not trace a program ({error}): the engine's crash points"
            );
            return;
        }
        recording => recording.unwrap(),
    };
    let scratch = scratch();
    let image = scratch.path().join("image");
    medium::build(&calls, Fate::Kept, 0, &image);
    assert!(contents(&image) == contents(folder.path()), "a call was not recorded");
    fs::remove_dir_all(&image).unwrap();

    let states = states();
    let counts = (0..=calls.len()).filter(|&count| *bounds[count].start() >= persisted_min);
    let every: Vec<_> = counts.flat_map(|count| FATES.map(|fate| (count, fate))).collect();
    let images = if long { every.len() } else { images_short };
    let (mut opened, mut refused) = (0, 0);
    for at in 0..images {
        let (count, fate) = every[at * every.len() / images];
        medium::build(&calls[..count], fate, at as u64, &image);
        match judge(&image.join("engine"), fate, &bounds[count], &states) {
            Ok(true) => opened += 1,
            Ok(false) => refused += 1,
            Err(why) => panic!(
                "image {at} in {}, after {count} of {} calls, {fate:?}: {why}; the next is {:?}",
                scratch.keep().display(),
                calls.len(),
                calls.get(count),
            ),
        }
        fs::remove_dir_all(&image).unwrap();
    }
    println!("{} calls, {opened} images opened, {refused} refused since the disk had lied", calls.len());
    assert!(opened + refused >= if long { images_long_min } else { images_short });
    // Few images are of a disk that lies: the short form may meet none.
    assert!((refused > 0 || !long) && refused < images / 5, "{refused} refused");
}
