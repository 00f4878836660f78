//! Explores the states of a model. What is refuted is refuted by a shortest path.

use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Path, Property};

/// Rules that can be explored.
pub trait Rules: Model<State: Shown, Action: Shown> + Clone + Send + Sync + 'static {
    /// What is to be told about the last state of a path that refutes a property.
    fn epilogue(&self, property: &str, last: &Self::State) -> String;
}

/// A state or a step.
pub trait Shown: Clone + fmt::Debug + fmt::Display + PartialEq + Hash + Send + Sync {}

impl<T: Clone + fmt::Debug + fmt::Display + PartialEq + Hash + Send + Sync> Shown for T {}

/// How an exploration is run.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Threads.
    pub threads: usize,
    /// When it gives up.
    pub time_max: Duration,
    /// Says how far it is, every few seconds.
    pub progress: bool,
    /// Goes depth first. That takes a small part of the memory, but no shortest path comes first.
    pub frugal: bool,
}

/// What came of it.
pub struct Verdict<M: Rules> {
    /// States that differ.
    pub states: usize,
    /// Steps taken between them.
    pub steps: usize,
    /// The longest way from the start to a state.
    pub depth: usize,
    /// How long it took.
    pub duration: Duration,
    /// Whether all states were seen.
    pub complete: bool,
    /// What does not hold, if anything.
    pub refuted: Option<CounterExample<M>>,
    /// What the bounds should let it reach, and did not.
    pub unreached: Vec<&'static str>,
}

/// A way to a state in which a property does not hold.
pub struct CounterExample<M: Rules> {
    /// The property.
    pub property: &'static str,
    /// The states, each with the step that leads to the next one; the last has none.
    pub path: Vec<(M::State, Option<M::Action>)>,
    /// More about the last state.
    pub epilogue: String,
}

impl<M: Rules> CounterExample<M> {
    /// How many steps lead there.
    pub fn steps(&self) -> usize {
        self.path.len() - 1
    }
}

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// How often the end is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Explores until something is refuted, everything is seen, or the time is over. A counter-example is looked for
/// again on shorter and shorter paths, for the checker looks up from its work only now and then, and then
/// tells the latest one it came across.
pub fn explore<M: Rules>(rules: M, effort: &Effort) -> Verdict<M> {
    let mut verdict = explore_to(&rules, effort, None);
    while let Some(CounterExample { path, .. }) = &verdict.refuted {
        let breadth_first = Effort { threads: 1, frugal: false, ..*effort };
        let shorter = explore_to(&rules, &breadth_first, Some(path.len()));
        if shorter.refuted.is_none() {
            break;
        }
        verdict.refuted = shorter.refuted;
    }
    verdict
}

/// Only paths of fewer states than `states_end` are looked at.
fn explore_to<M: Rules>(rules: &M, effort: &Effort, states_end: Option<usize>) -> Verdict<M> {
    let builder = rules.clone().checker().threads(effort.threads).timeout(effort.time_max);
    let builder = builder.target_max_depth(states_end.unwrap_or(0));
    let builder = builder.finish_when(HasDiscoveries::AnyFailures);
    if effort.frugal {
        await_end(builder.spawn_dfs(), effort)
    } else {
        await_end(builder.spawn_bfs(), effort)
    }
}

fn await_end<M: Rules>(checker: impl Checker<M>, effort: &Effort) -> Verdict<M> {
    let begin = Instant::now();
    let mut told = begin;
    while !checker.is_done() && begin.elapsed() < effort.time_max {
        std::thread::sleep(POLL_INTERVAL);
        if effort.progress && told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            let (states, depth) = (checker.unique_state_count(), checker.max_depth());
            eprintln!("{:>5} s  {states:>12} states, depth {depth}", begin.elapsed().as_secs());
        }
    }
    let checker = checker.join();
    let duration = begin.elapsed();
    let (rules, mut found) = (checker.model(), checker.discoveries());
    let asked = rules.properties();
    let failure = asked.iter().find(|property| fails(property) && found.contains_key(property.name));
    let unreached = asked.iter().filter(|property| !fails(property) && !found.contains_key(property.name));
    Verdict {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        duration,
        complete: failure.is_none() && duration < effort.time_max,
        unreached: unreached.map(|property| property.name).collect(),
        refuted: failure.and_then(|property| {
            let path: Path<M::State, M::Action> = found.remove(property.name)?;
            let path = path.into_vec();
            let epilogue = path.last().map(|(last, _)| rules.epilogue(property.name, last));
            Some(CounterExample { property: property.name, path, epilogue: epilogue.unwrap_or_default() })
        }),
    }
}

fn fails<M: Rules>(property: &Property<M>) -> bool {
    property.expectation == stateright::Expectation::Always
}

impl<M: Rules> fmt::Display for CounterExample<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "refuted: {}", self.property)?;
        for (number, (state, action)) in self.path.iter().enumerate() {
            match action {
                Some(action) => writeln!(f, "  {:>2}. {action}", number + 1)?,
                None => writeln!(f, "   => {state}")?,
            }
        }
        write!(f, "{}", self.epilogue)
    }
}

impl<M: Rules> fmt::Display for Verdict<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(example) = &self.refuted {
            write!(f, "{example}")?;
        }
        let unreached = self.unreached.iter().filter(|_| self.complete);
        unreached.into_iter().try_for_each(|name| writeln!(f, "not {name}"))?;
        let how = match (&self.refuted, self.complete) {
            (Some(example), _) => format!("REFUTED in {} steps", example.steps()),
            (None, true) => "HOLDS, every state seen".to_owned(),
            (None, false) => "UNDECIDED, out of time".to_owned(),
        };
        let Verdict { states, steps, depth, duration, .. } = self;
        write!(f, "{how}: {states} states, {steps} steps, depth {depth}, {:.1} s", duration.as_secs_f64())
    }
}
