//! Runs the scenarios and a seeded program through every driver named, and compares.
//!
//! `slotkv-conformance SLOTKV SCENARIOS SEED NAME=PROGRAM[,ARGUMENT...]...`; `cargo xtask conformance` builds it all and calls it.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use slotkv_conformance::{
    cluster::Cluster,
    driver::Driver,
    random,
    scenario::{self, File, Names},
    strange::Strange,
};

/// Steps of the random program.
const PROGRAM_STEPS: usize = 1000;
/// Most differences that are shown.
const SHOWN_MAX: usize = 20;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [slotkv, scenarios, seed, drivers @ ..] = &arguments[..] else {
        eprintln!("usage: slotkv-conformance SLOTKV SCENARIOS SEED NAME=PROGRAM[,ARGUMENT...]...");
        return ExitCode::from(2);
    };
    match run(Path::new(slotkv), Path::new(scenarios), seed, drivers) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("slotkv-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

/// What a driver talks to.
enum Other {
    Cluster(Cluster),
    Strange(Strange),
}

impl Other {
    fn uri(&self) -> String {
        match self {
            Other::Cluster(cluster) => cluster.uri().to_owned(),
            Other::Strange(strange) => strange.uri(),
        }
    }
}

/// What one surface did.
struct Record {
    name: String,
    /// Every answer, with what was asked.
    answers: Vec<(String, String)>,
    /// What was not as its scenario expects.
    wrong: Vec<String>,
}

fn run(slotkv: &Path, folder: &Path, seed: &str, drivers: &[String]) -> Outcome<bool> {
    let seed: u64 = seed.parse().map_err(|_| format!("{seed:?} is no seed"))?;
    let files = files(folder)?;
    let count: usize = files.iter().map(|(_, file)| file.scenarios.len()).sum();
    let mut records = Vec::new();
    for driver in drivers {
        let (name, program) =
            driver.split_once('=').ok_or_else(|| format!("{driver:?} is not NAME=PROGRAM"))?;
        let record = record(slotkv, name, program, &files, seed)?;
        println!(
            "{name}: {count} scenarios, {} wrong; {PROGRAM_STEPS} random steps of seed {seed}",
            record.wrong.len()
        );
        record.wrong.iter().take(SHOWN_MAX).for_each(|wrong| println!("  {wrong}"));
        records.push(record);
    }
    let mut is_right = records.iter().all(|record| record.wrong.is_empty());
    if let Some((first, others)) = records.split_first() {
        for other in others {
            is_right &= compare(first, other);
        }
    }
    Ok(is_right && count > 0 && !records.is_empty())
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

fn record(slotkv: &Path, name: &str, program: &str, files: &[(String, File)], seed: u64) -> Outcome<Record> {
    let mut record = Record { name: name.to_owned(), answers: Vec::new(), wrong: Vec::new() };
    for (file, File { is_strange, scenarios }) in files {
        // A cluster per file: a file's versions do not depend on the others.
        let cluster = if *is_strange {
            Other::Strange(Strange::start()?)
        } else {
            Other::Cluster(Cluster::start(slotkv)?)
        };
        let mut driver = start(name, program, &cluster.uri())?;
        for scenario in scenarios {
            let mut names = Names::new();
            for line in &scenario.lines {
                let place = format!("{file}:{} {}", line.number, scenario.name);
                let step = line.step(&names).map_err(|why| format!("{place}: {why}"))?;
                let answer = driver.carry_out(&step)?;
                // Nothing else than to cancel may be beyond a surface: a call that waits has nobody to cancel it.
                if answer == "unsupported" && step.option("cancel").is_some() {
                    continue;
                }
                if let Err(expected) = line.check(&answer, &mut names) {
                    record.wrong.push(format!("{place}: {answer}, not {expected}"));
                    // What follows builds on it.
                    break;
                }
                record.answers.push((place, answer));
            }
        }
        driver.finish()?;
    }
    let cluster = Cluster::start(slotkv)?;
    let mut driver = start(name, program, cluster.uri())?;
    for (at, step) in random::program(seed, PROGRAM_STEPS).iter().enumerate() {
        let answer = driver.carry_out(step)?;
        record.answers.push((format!("seed {seed}, step {at}: {}", step.line()), answer));
    }
    driver.finish()?;
    Ok(record)
}

fn start(name: &str, program: &str, uri: &str) -> Outcome<Driver> {
    let mut words = program.split(',');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).arg(uri);
    Ok(Driver::start(name, command)?)
}

/// Whether two surfaces answered alike; shows where not. What came after a wrong answer was asked of one only.
fn compare(first: &Record, other: &Record) -> bool {
    let answers: HashMap<&str, &str> =
        other.answers.iter().map(|(asked, answer)| (&**asked, &**answer)).collect();
    let mut is_alike = true;
    for (asked, one) in &first.answers {
        let Some(two) = answers.get(&**asked).filter(|two| *two != one) else { continue };
        println!("{asked}\n  {}: {one}\n  {}: {two}", first.name, other.name);
        is_alike = false;
    }
    is_alike
}
