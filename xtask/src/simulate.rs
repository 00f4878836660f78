//! `cargo xtask simulate`: seeded runs in virtual time, in release builds. Two simulators: the replicas of one shard under
//! everything that a network, a disk and a coordinator can do (`server/replication/tests/simulation`), and whole
//! clusters of this repository's masters, workers and clients (`tests/tests/simulation.rs`). `--bugs` plants mistakes in both, those of hand-overs
//! in whole clusters (`tests/tests/mistakes.rs`); `--failpoints` runs every step of a hand-over with every fault instead
//! (`tests/tests/failpoints.rs`), `--from` being the seed. The suites of `cargo xtask test` run
//! a few seeds of each.

use std::time::Instant;

use crate::table::{Table, thousands};
use crate::{Outcome, process, project};

const USAGE: &str = "usage: cargo xtask simulate [--seeds N] [--from S] [--bugs] [--failpoints]";
/// Seeds of a run that names none.
const SEEDS: u64 = 2_000;
/// A seed of whole clusters costs as much as so many of one shard.
const CLUSTER_COST: u64 = 10;

/// A planted mistake of hand-overs is looked for in so many seeds of whole clusters, at most.
const MISTAKE_SEEDS_MAX: u64 = 400;

/// The verb.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let (mut seeds, mut from, mut bugs, mut failpoints) = (SEEDS, 1, false, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut number = || rest.next().and_then(|value| value.parse().ok()).ok_or(USAGE);
        match argument.as_str() {
            "--seeds" => seeds = number()?,
            "--from" => from = number()?,
            "--bugs" => bugs = true,
            "--failpoints" => failpoints = true,
            _ => return Err(USAGE.into()),
        }
    }
    let clusters = (seeds / CLUSTER_COST).max(1);
    let mut table = Table::new(&["simulation", "seeds", "from", "minutes"]);
    let log_of =
        |name: &str| project::scratch().join(format!("logs/simulate-{}.log", name.replace(' ', "-")));
    let mut simulate = |name: &str,
                        seeds: u64,
                        arguments: &[&str],
                        variables: &[(&str, String)]|
     -> Outcome<()> {
        let log = log_of(name);
        let mut command = project::cargo();
        command.args(["test", "--release"]).args(arguments);
        for (variable, value) in variables {
            command.env(variable, value);
        }
        let begun = Instant::now();
        process::logged(&format!("{name}: {} seeds from {from} on", thousands(seeds)), &log, &mut command)?;
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        table.row([name.to_owned(), thousands(seeds), from.to_string(), format!("{minutes:.1}")]);
        Ok(())
    };
    let text = |number: u64| number.to_string();
    if failpoints {
        let cells = ["-p", "slotkv-tests", "--test", "failpoints", "--", "--nocapture", "a_hand_over"];
        let variables = [("SLOTKV_FAILPOINTS", "all".to_owned()), ("SLOTKV_SEED", text(from))];
        let outcome = simulate("failpoints of a hand-over", 1, &cells, &variables);
        println!("{}", cells_of(&std::fs::read_to_string(log_of("failpoints of a hand-over"))?));
        outcome?;
        println!("{}", table.text());
        return Ok(true);
    }
    let shard = ["-p", "slotkv-replication", "--test", "simulation", "--", "--nocapture", "no_acknowledged"];
    simulate("one shard", seeds, &shard, &[("SLOTKV_SEEDS", text(seeds)), ("SLOTKV_SEED_FROM", text(from))])?;
    if bugs {
        let planted = ["-p", "slotkv-replication", "--test", "simulation", "--", "--nocapture", "planted"];
        let variables = [("SLOTKV_BUGS", text(seeds)), ("SLOTKV_SEED_FROM", text(from))];
        let outcome = simulate("planted bugs", seeds, &planted, &variables);
        println!("{}", found(&std::fs::read_to_string(log_of("planted bugs"))?, from));
        outcome?;
        let (name, count) = ("planted mistakes of hand-overs", seeds.min(MISTAKE_SEEDS_MAX));
        let planted = ["-p", "slotkv-tests", "--test", "mistakes", "--", "--nocapture", "planted"];
        let variables = [("SLOTKV_BUGS", text(count)), ("SLOTKV_SEED_FROM", text(from))];
        let outcome = simulate(name, count, &planted, &variables);
        println!("{}", found(&std::fs::read_to_string(log_of(name))?, from));
        outcome?;
    }
    let cluster = ["-p", "slotkv-tests", "--test", "simulation", "--", "--nocapture", "no_acknowledged"];
    let variables = [("SLOTKV_SIMULATION_SEEDS", text(clusters)), ("SLOTKV_SIMULATION_FROM", text(from))];
    simulate("whole clusters", clusters, &cluster, &variables)?;
    println!("{}", table.text());
    Ok(true)
}

/// What the cells came to: how many there were, and those that failed.
fn cells_of(log: &str) -> String {
    let is_told = |line: &&str| line.contains(" cells, ") || line.split(':').next().is_some_and(is_cell);
    log.lines()
        .filter(is_told)
        .map(|line| format!("{}\n", line.chars().take(200).collect::<String>()))
        .collect()
}

/// Whether it is the name of a cell: step, actor, fault.
fn is_cell(name: &str) -> bool {
    let mut parts = name.split(',');
    let is_word = |part: Option<&str>| part.is_some_and(|part| part.chars().all(char::is_alphabetic));
    is_word(parts.next()) && is_word(parts.next()) && is_word(parts.next()) && parts.next().is_none()
}

/// After how many seeds each planted mistake was found.
fn found(log: &str, from: u64) -> String {
    let mut table = Table::new(&["mistake", "seeds", "what was seen"]);
    for line in log.lines() {
        let Some((bug, rest)) = line.split_once(": ") else { continue };
        let seen = rest.strip_prefix("seed ").and_then(|rest| rest.split_once(", "));
        if let Some((seed, what)) = seen {
            let count = seed.parse().map_or(0, |seed: u64| seed - from + 1);
            let what: String = what.chars().take(100).collect();
            table.row([bug.to_owned(), thousands(count), what]);
        } else if rest.starts_with("not in ") {
            table.row([bug.to_owned(), rest.to_owned(), String::new()]);
        }
    }
    table.text()
}
