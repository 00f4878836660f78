//! What one surface answers to everything it is asked, and how two surfaces differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io,
    process::Command,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    cluster::{Cluster, Split},
    driver::Driver,
    scenario::{File, Names},
    step::{Argument, Step},
    strange::Strange,
};

/// Time of each step while the cluster is disturbed: longer than any disturbance, so that it costs a pause and nothing else.
const PATIENCE_MS: i128 = 100_000;
/// A worker is killed so many microseconds at most after a step was handed over.
const KILL_AFTER_MICROS_MAX: u64 = 3_000;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A surface and the command line of its driver; the URI comes behind.
#[derive(Clone, Debug)]
pub struct Surface {
    /// Its name.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
}

impl Surface {
    fn start(&self, uri: &str) -> io::Result<Driver> {
        let (program, arguments) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).arg(uri);
        Driver::start(&self.name, command)
    }
}

/// What a driver talks to.
pub enum Place {
    /// A real cluster.
    Cluster(Cluster),
    /// The member of [`crate::strange`].
    Strange(Strange),
    /// Something that is not ours to end, by its URI.
    Elsewhere(String),
}

impl Place {
    fn uri(&self) -> String {
        match self {
            Place::Cluster(cluster) => cluster.uri().to_owned(),
            Place::Strange(strange) => strange.uri(),
            Place::Elsewhere(uri) => uri.clone(),
        }
    }

    /// A step with the addresses that it names.
    fn step(&self, step: Step) -> Step {
        match self {
            Place::Cluster(_) | Place::Elsewhere(_) => step,
            Place::Strange(strange) => strange.placed(step),
        }
    }
}

/// What one surface did.
#[derive(Debug, Default)]
pub struct Record {
    /// The surface.
    pub name: String,
    /// Its answers by what was asked.
    pub answers: BTreeMap<String, String>,
    /// What was not as its scenario expects.
    pub wrong: Vec<String>,
    /// Scenarios with steps that it cannot be asked.
    pub partial: BTreeSet<String>,
    /// Everything that it cannot be asked.
    pub unasked: BTreeSet<String>,
}

/// Asks a surface everything: the scenarios and a program.
pub fn record(
    surface: &Surface,
    files: &[(String, File)],
    program: &[Step],
    start: impl Fn(&Surface) -> io::Result<Place>,
) -> Outcome<Record> {
    let mut record = Record { name: surface.name.clone(), ..Record::default() };
    for (name, file) in files {
        // A cluster per file: a file's versions do not depend on the others.
        let place = if file.is_strange { Place::Strange(Strange::start()?) } else { start(surface)? };
        record.scenarios(name, file, &place, surface.start(&place.uri())?)?;
    }
    let place = start(surface)?;
    let mut driver = surface.start(&place.uri())?;
    for (at, step) in program.iter().enumerate() {
        record.answers.insert(asked(at, step), driver.carry_out(step)?);
    }
    driver.finish()?;
    Ok(record)
}

/// What was asked by a step of a program.
fn asked(at: usize, step: &Step) -> String {
    format!("step {at:04}: {}", step.line())
}

impl Record {
    fn scenarios(&mut self, name: &str, file: &File, place: &Place, mut driver: Driver) -> Outcome<()> {
        for scenario in &file.scenarios {
            let mut names = Names::new();
            for line in &scenario.lines {
                let asked = format!("{name}:{} {}", line.number, scenario.name);
                let step = place.step(line.step(&names).map_err(|why| format!("{asked}: {why}"))?);
                let answer = driver.carry_out(&step)?;
                if is_excused(&step, &answer) {
                    self.partial.insert(format!("{name} {}", scenario.name));
                    self.unasked.insert(asked);
                    continue;
                }
                match line.check(&answer, &mut names) {
                    Ok(form) => self.answers.insert(asked, form),
                    Err(expected) => {
                        self.wrong.push(format!("{asked}: {answer}, not {expected}"));
                        // What follows builds on it.
                        break;
                    }
                };
            }
        }
        Ok(driver.finish()?)
    }
}

/// Nothing else than these may be beyond a surface: to cancel a call that waits, and to say what its types do not allow:
/// what is of a wrong type, and a count past 31 bits.
fn is_excused(step: &Step, answer: &str) -> bool {
    match answer {
        "unsupported" => step.option("cancel").is_some(),
        "unrepresentable" => {
            step.is_odd() || step.number("page_items").is_some_and(|count| count > i32::MAX as u64)
        }
        _ => false,
    }
}

/// How a cluster was disturbed while a surface was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disturbance {
    /// Workers that were killed in the middle of a step.
    pub kills: usize,
    /// Connections that were cut or fell silent.
    pub cuts: usize,
}

/// Asks a surface a program while workers are killed and connections are cut. The answers must be those of a program that
/// nobody disturbs: each write is applied exactly once.
pub fn record_disturbed(
    surface: &Surface,
    program: &[Step],
    split: &mut Split,
    kills: usize,
    seed: u64,
) -> Outcome<(Record, Disturbance)> {
    let mut record = Record { name: surface.name.clone(), ..Record::default() };
    let mut chance = StdRng::seed_from_u64(seed);
    let killing: BTreeSet<usize> = (0..kills).map(|_| chance.random_range(0..program.len().max(1))).collect();
    let mut driver = surface.start(split.uri())?;
    for (at, step) in program.iter().enumerate() {
        let patience = ("deadline_ms".to_owned(), Argument::Number(PATIENCE_MS));
        let mut patient = step.clone();
        patient.options.push(patience);
        driver.begin(&patient)?;
        if killing.contains(&at) {
            // Before, during or after the operation, as it comes.
            std::thread::sleep(Duration::from_micros(chance.random_range(0..KILL_AFTER_MICROS_MAX)));
            split.await_workers()?;
            split.crash(chance.random_range(0..split.workers()))?;
        }
        record.answers.insert(asked(at, step), driver.answer(&patient)?);
    }
    driver.finish()?;
    split.await_workers()?;
    Ok((record, Disturbance { kills: killing.len(), cuts: split.cuts() }))
}

/// Where two surfaces answered differently. What came after a wrong answer was asked of one only.
pub fn differences(first: &Record, other: &Record) -> Vec<String> {
    let differs = |(asked, one): (&String, &String)| {
        let two = other.answers.get(asked).filter(|two| *two != one)?;
        Some(format!("{asked}\n  {}: {one}\n  {}: {two}", first.name, other.name))
    };
    first.answers.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cancelling_and_wrong_types_may_be_beyond_a_surface() {
        let is_excused = |line: &str, answer| is_excused(&Step::parse(line).unwrap(), answer);
        assert!(is_excused("get =6b cancel:#1", "unsupported"));
        assert!(is_excused("get !none", "unrepresentable"));
        assert!(is_excused("scan page_items:#2147483648", "unrepresentable"));
        for (line, answer) in [
            ("get =6b", "unsupported"),
            ("get =6b", "unrepresentable"),
            ("get =6b cancel:#1", "unrepresentable"),
            ("scan page_items:#2147483647", "unrepresentable"),
            ("get !none", "unsupported"),
            ("get !none", "none"),
        ] {
            assert!(!is_excused(line, answer), "{line}: {answer}");
        }
    }

    #[test]
    fn a_difference_of_one_byte_is_found() {
        let record = |answer: &str| Record {
            answers: BTreeMap::from([("a".into(), "none".into()), ("b".into(), answer.into())]),
            ..Record::default()
        };
        assert_eq!(differences(&record("value =61"), &record("value =61")), [""; 0]);
        assert_eq!(differences(&record("value =61"), &record("value =62")).len(), 1);
    }
}
