//! Explores a shard's states. What is refuted is refuted by a shortest path.

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Path, Property};

use crate::action::Action;
use crate::properties;
use crate::recovery::DeadEnd;
use crate::shard::Shard;
use crate::state::State;

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
pub struct Verdict {
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
    pub refuted: Option<CounterExample>,
    /// What the bounds should let it reach, and did not.
    pub unreached: Vec<&'static str>,
}

/// A way to a state in which a property does not hold.
pub struct CounterExample {
    /// The property.
    pub property: &'static str,
    /// The states, each with the step that leads to the next one; the last has none.
    pub path: Vec<(State, Option<Action>)>,
    /// If the last state is a dead end: the recovery that fails.
    pub dead_end: Option<DeadEnd>,
}

impl CounterExample {
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
pub fn explore(shard: Shard, effort: &Effort) -> Verdict {
    let mut verdict = explore_to(&shard, effort, None);
    while let Some(CounterExample { path, .. }) = &verdict.refuted {
        let breadth_first = Effort { threads: 1, frugal: false, ..*effort };
        let shorter = explore_to(&shard, &breadth_first, Some(path.len()));
        if shorter.refuted.is_none() {
            break;
        }
        verdict.refuted = shorter.refuted;
    }
    verdict
}

/// Only paths of fewer states than `states_end` are looked at.
fn explore_to(shard: &Shard, effort: &Effort, states_end: Option<usize>) -> Verdict {
    let builder = shard.clone().checker().threads(effort.threads).timeout(effort.time_max);
    let builder = builder.target_max_depth(states_end.unwrap_or(0));
    let builder = builder.finish_when(HasDiscoveries::AnyFailures);
    if effort.frugal {
        await_end(builder.spawn_dfs(), effort)
    } else {
        await_end(builder.spawn_bfs(), effort)
    }
}

fn await_end(checker: impl Checker<Shard>, effort: &Effort) -> Verdict {
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
    let (shard, mut found) = (checker.model(), checker.discoveries());
    let asked = shard.properties();
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
            let path: Path<State, Action> = found.remove(property.name)?;
            let path = path.into_vec();
            let last = path.last().filter(|_| property.name == properties::NO_DEAD_END);
            let dead_end = last.and_then(|(state, _)| shard.dead_end(state));
            Some(CounterExample { property: property.name, path, dead_end })
        }),
    }
}

fn fails(property: &Property<Shard>) -> bool {
    property.expectation == stateright::Expectation::Always
}

impl fmt::Display for CounterExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "refuted: {}", self.property)?;
        for (number, (state, action)) in self.path.iter().enumerate() {
            match action {
                Some(action) => writeln!(f, "  {:>2}. {action}", number + 1)?,
                None => writeln!(f, "   => {state}")?,
            }
        }
        let Some(DeadEnd { alive, steps, state }) = &self.dead_end else { return Ok(()) };
        writeln!(f, "  with only {alive} alive from here on:")?;
        steps.iter().try_for_each(|step| writeln!(f, "      {step}"))?;
        writeln!(f, "   => {state}")?;
        writeln!(f, "  and nothing more can be done")
    }
}

impl fmt::Display for Verdict {
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
