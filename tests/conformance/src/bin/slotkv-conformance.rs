//! Asks every surface named the scenarios and a seeded program, also on a cluster that is disturbed, and compares.
//!
//! `slotkv-conformance SLOTKV SCENARIOS SEED COORDINATOR KILLS NAME=PROGRAM[,ARGUMENT...]...`; `cargo xtask conformance` builds
//! it all and calls it. Without a coordinator (`-`) nothing is disturbed.

use std::{fs, path::Path, process::ExitCode, thread};

use slotkv_conformance::{
    cluster::{Cluster, Split},
    random,
    record::{self, Place, Record, Surface},
    scenario::{self, File},
    step::Step,
};

/// Steps of the random program.
const PROGRAM_STEPS: usize = 1000;
/// Most differences of a surface that are shown.
const SHOWN_MAX: usize = 20;
/// Surfaces that are asked at a time, each with a cluster of its own: much of what happens there is waiting.
const ASKED_AT_ONCE: usize = 3;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [slotkv, scenarios, seed, coordinator, kills, surfaces @ ..] = &arguments[..] else {
        eprintln!(
            "usage: slotkv-conformance SLOTKV SCENARIOS SEED COORDINATOR|- KILLS NAME=PROGRAM[,ARGUMENT...]..."
        );
        return ExitCode::from(2);
    };
    match run(Path::new(slotkv), Path::new(scenarios), seed, coordinator, kills, surfaces) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("slotkv-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(
    slotkv: &Path,
    folder: &Path,
    seed: &str,
    coordinator: &str,
    kills: &str,
    surfaces: &[String],
) -> Outcome<bool> {
    let seed: u64 = seed.parse().map_err(|_| format!("{seed:?} is no seed"))?;
    let kills: usize = kills.parse().map_err(|_| format!("{kills:?} is no number"))?;
    let surfaces: Vec<Surface> = surfaces.iter().map(|text| surface(text)).collect::<Result<_, _>>()?;
    let files = files(folder)?;
    let program = random::program(seed, PROGRAM_STEPS);
    let records = asked(slotkv, &surfaces, &files, &program, seed)?;
    let (first, others) = records.split_first().ok_or("no surface")?;
    let mut is_right = records.iter().all(|record| record.wrong.is_empty()) && !files.is_empty();
    for other in others {
        is_right &= show(&record::differences(first, other));
    }
    if !others.is_empty() {
        is_right &= is_each_step_asked(&records);
    }
    if coordinator != "-" {
        is_right &= disturbed(slotkv, &surfaces, &program, coordinator, kills, seed, first)?;
    }
    Ok(is_right)
}

fn surface(text: &str) -> Result<Surface, String> {
    let (name, command) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=PROGRAM"))?;
    Ok(Surface { name: name.to_owned(), command: command.split(',').map(str::to_owned).collect() })
}

fn files(folder: &Path) -> Outcome<Vec<(String, File)>> {
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let scenarios =
            scenario::parse(&fs::read_to_string(path)?).map_err(|why| format!("{name}: {why}"))?;
        Ok((name, scenarios))
    };
    paths.iter().map(read).collect()
}

/// What every surface answers where nothing is disturbed.
fn asked(
    slotkv: &Path,
    surfaces: &[Surface],
    files: &[(String, File)],
    program: &[Step],
    seed: u64,
) -> Outcome<Vec<Record>> {
    let count: usize = files.iter().map(|(_, file)| file.scenarios.len()).sum();
    let cluster = |_: &Surface| Cluster::start(slotkv).map(Place::Cluster);
    let asked = at_once(surfaces, |surface| record::record(surface, files, program, cluster));
    let mut records = Vec::new();
    for (surface, record) in surfaces.iter().zip(asked) {
        let record = record?;
        let (whole, wrong) = (count - record.partial.len(), record.wrong.len());
        println!(
            "{}: {whole} of {count} scenarios answered in full, {wrong} wrong; {} random steps of seed {seed}",
            surface.name,
            program.len()
        );
        show(&record.wrong);
        records.push(record);
    }
    Ok(records)
}

/// Whether there are none; shows some.
fn show(wrong: &[String]) -> bool {
    wrong.iter().take(SHOWN_MAX).for_each(|wrong| println!("  {wrong}"));
    wrong.is_empty()
}

/// Whether every step was answered by some surface.
fn is_each_step_asked(records: &[Record]) -> bool {
    let unasked = records.iter().flat_map(|record| &record.unasked);
    let by_nobody = unasked.filter(|asked| !records.iter().any(|record| record.answers.contains_key(*asked)));
    let by_nobody: Vec<String> = by_nobody.map(|asked| format!("{asked}: no surface can be asked")).collect();
    show(&by_nobody)
}

/// Whether every surface answers on a disturbed cluster as `first` did on a quiet one.
fn disturbed(
    slotkv: &Path,
    surfaces: &[Surface],
    program: &[Step],
    coordinator: &str,
    kills: usize,
    seed: u64,
    first: &Record,
) -> Outcome<bool> {
    let ask = |surface: &Surface| {
        let mut split = Split::start(slotkv, coordinator, seed)?;
        record::record_disturbed(surface, program, &mut split, kills, seed)
    };
    let mut is_right = true;
    for (surface, answered) in surfaces.iter().zip(at_once(surfaces, ask)) {
        let (record, disturbance) = answered?;
        let differences = record::differences(first, &record);
        println!(
            "{}: {} steps over {} killed workers and {} cut connections, {} answered differently",
            surface.name,
            record.answers.len(),
            disturbance.kills,
            disturbance.cuts,
            differences.len()
        );
        is_right &= show(&differences) && record.answers.len() == program.len();
    }
    Ok(is_right)
}

/// Asks some surfaces at a time; what comes of it, in their order.
fn at_once<T: Send>(surfaces: &[Surface], ask: impl Fn(&Surface) -> Outcome<T> + Sync) -> Vec<Outcome<T>> {
    // An error of another thread goes on as text.
    let told = |surface: &Surface| ask(surface).map_err(|error| format!("{}: {error}", surface.name));
    let some = |some: &[Surface]| -> Vec<Outcome<T>> {
        thread::scope(|scope| {
            let asking: Vec<_> = some.iter().map(|surface| scope.spawn(|| told(surface))).collect();
            asking
                .into_iter()
                .map(|asking| asking.join().map_err(|_| "panicked")?.map_err(Into::into))
                .collect()
        })
    };
    surfaces.chunks(ASKED_AT_ONCE).flat_map(some).collect()
}
