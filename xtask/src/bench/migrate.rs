//! `cargo xtask bench migrate`: a cluster of two shards gets a third while a load goes on, beside Redis Cluster that
//! reshards as many keys.
//!
//! Each round both sides begin anew: fill, a steady load, then the move. The load is the same program on both sides, fifty
//! callers in a closed loop over one client, and probes: each writes a key of its own all the time, so that the longest
//! time between two of its writes tells how long its slot was not served. Layout: [`steady`] the load · [`ours`] and
//! [`redis`] the sides · [`shown`] tables and JSON.

mod ours;
mod redis;
mod shown;
mod steady;

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::project::{self, Profile};
use crate::{Outcome, cluster, machine};

use super::{benches, failover, report};
use steady::{Callers, Keys, Seen, Steady};

const ROUNDS: usize = 5;
const ROUNDS_MAX: usize = 100;
const CALLERS_MAX: usize = 10_000;
const KEYS: u64 = 1_000_000;
/// Bytes of values that are filled at most, if nobody says how many keys.
const FILL_BYTES: u64 = 1 << 30;
const VALUE_BYTES: usize = 100;
const KEY_PREFIX: &str = "user";
/// A tag whose slot is 0 with Redis, and so with slotkv.
const HEAVY: &str = "{06S}";
/// Of the load, where what is moved is not what is asked for.
const LIGHT: Keys = Keys { prefix: "light", count: 100_000, value_bytes: VALUE_BYTES };
const CALLERS: Callers = Callers { callers: 50, probes: 60, interval_ms: 4 };
/// Of the load before it is looked at, and how long it is looked at before the move.
const WARM_UP: Duration = Duration::from_secs(3);
const STEADY: Duration = Duration::from_secs(10);
/// Calls that fail because of the move end within so long.
const AFTER: Duration = Duration::from_secs(6);

/// What moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Every third slot, to a new shard.
    Third,
    /// A slot that has all the keys.
    HeavySlot,
}

/// A cluster whose third shard has no slots yet.
trait Growing {
    fn name(&self) -> &'static str;
    /// What benches/src/bin/steady.rs calls it, and where it is.
    fn client(&self) -> &'static str;
    fn to(&self) -> String;
    /// Process ids of the servers.
    fn pids(&self) -> Vec<u32>;
    /// The shard that serves a key.
    fn owner(&self, key: &str) -> Option<usize>;
    /// How often servers have sent callers elsewhere, if they count it.
    fn redirects(&self) -> Option<u64>;
    /// Moves slots to the third shard; returns when they are moved and nothing is left to do.
    fn shift(&mut self, what: What) -> Outcome<Moved>;
}

/// What a move was.
#[derive(Clone, Debug)]
struct Moved {
    length: Duration,
    /// 0: not counted.
    keys: u64,
    slots: u64,
    /// As the servers report them.
    pauses_ms: Vec<f64>,
    hand_overs: u64,
}

/// One side of a round.
#[derive(Clone, Debug)]
struct Round {
    side: &'static str,
    moved: Moved,
    steady: Seen,
    moving: Seen,
    /// Once everything has moved: by three shards.
    behind: Seen,
    /// The longest gap of the probes in slots that moved.
    pauses_ms: Vec<f64>,
    redirects: Option<u64>,
    /// Most resident memory of each server meanwhile, the largest of them.
    rss_max: u64,
}

/// What the run is told.
struct Wish {
    keys: Option<u64>,
    value_bytes: usize,
    what: What,
    rounds: usize,
    callers: usize,
    only: Option<String>,
}

impl Wish {
    fn read(arguments: &[String]) -> Outcome<Self> {
        let mut wish = Self {
            keys: None,
            value_bytes: VALUE_BYTES,
            what: What::Third,
            rounds: ROUNDS,
            callers: CALLERS.callers,
            only: None,
        };
        let mut left = arguments.iter();
        while let Some(argument) = left.next() {
            if argument == "--one-slot" {
                wish.what = What::HeavySlot;
                continue;
            }
            let value = left.next().ok_or_else(|| format!("{argument} wants a value"))?;
            match argument.as_str() {
                "--keys" => wish.keys = Some(value.parse().map_err(|_| "--keys wants a number")?),
                "--value-bytes" => {
                    wish.value_bytes = value.parse().map_err(|_| "--value-bytes wants a number")?
                }
                "--rounds" => {
                    let rounds = value.parse().ok().filter(|rounds| (1..=ROUNDS_MAX).contains(rounds));
                    wish.rounds = rounds.ok_or(format!("--rounds wants a number from 1 to {ROUNDS_MAX}"))?;
                }
                "--callers" => {
                    let callers = value.parse().ok().filter(|callers| *callers <= CALLERS_MAX);
                    wish.callers = callers.ok_or(format!("--callers wants a number up to {CALLERS_MAX}"))?;
                }
                "--only" if ["slotkv", "redis"].contains(&value.as_str()) => {
                    wish.only = Some(value.clone());
                }
                _ => return Err(format!("bench migrate does not take {argument} {value}").into()),
            }
        }
        Ok(wish)
    }

    /// What is filled and moved.
    fn moved(&self) -> Keys {
        let prefix = if self.what == What::HeavySlot { HEAVY } else { KEY_PREFIX };
        let default = KEYS.min(FILL_BYTES / self.value_bytes.max(1) as u64).max(1);
        Keys { prefix, count: self.keys.unwrap_or(default), value_bytes: self.value_bytes }
    }

    /// What callers ask for: the same, unless one of its values would be a load by itself, or all of them lie in one slot.
    fn asked(&self) -> Keys {
        match self.what == What::Third && self.value_bytes <= 10 * VALUE_BYTES {
            true => self.moved(),
            false => LIGHT,
        }
    }

    /// Whether it is what docs/benchmarks.md shows.
    fn is_whole(&self) -> bool {
        self.only.is_none()
            && self.keys.is_none()
            && self.callers == CALLERS.callers
            && self.value_bytes == VALUE_BYTES
            && self.what == What::Third
            && self.rounds >= 3
    }
}

/// `[--keys N] [--value-bytes B] [--one-slot] [--rounds N] [--callers N] [--only slotkv|redis]`
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let wish = Wish::read(arguments)?;
    machine::install(&[machine::JAVA, machine::ZOOKEEPER, machine::REDIS_SERVER, machine::REDIS_TOOLS])?;
    let is_wanted = |name: &str| wish.only.as_deref().is_none_or(|only| only == name);
    let program = benches::build("bench-steady")?;
    let slotkv = if is_wanted("slotkv") { Some(cluster::build(Profile::Release)?) } else { None };
    let dir = project::scratch().join("bench-migrate");
    let mut rounds = Vec::new();
    for number in 1..=wish.rounds {
        if let Some(slotkv) = &slotkv {
            let home = fresh(&dir.join("slotkv"))?;
            rounds.push(round(&mut ours::Ours::start(slotkv, &home)?, &program, &home, &wish, number)?);
        }
        if is_wanted("redis") {
            let home = fresh(&dir.join("redis"))?;
            rounds.push(round(&mut redis::Redis::start(&home)?, &program, &home, &wish, number)?);
        }
    }
    fs::remove_dir_all(&dir)?;
    let command = format!("cargo xtask bench migrate {}", arguments.join(" ")).trim_end().to_owned();
    print!("\n{}", shown::text(&rounds));
    shown::write_json(&rounds, &command)?;
    if wish.is_whole() {
        let what = format!("medians of {} alternating rounds, {}", wish.rounds, report::replicated_machine());
        report::write_part("migrate", &command, &what, &shown::markdown(&rounds))?;
    }
    Ok(true)
}

fn fresh(dir: &Path) -> Outcome<std::path::PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    Ok(dir.to_owned())
}

fn round(side: &mut dyn Growing, program: &Path, dir: &Path, wish: &Wish, number: usize) -> Outcome<Round> {
    let steady = Steady { program, client: side.client(), to: side.to() };
    let (moved, asked) = (wish.moved(), wish.asked());
    eprintln!("{} {number}: fills {} keys", side.name(), moved.count);
    steady.fill(&moved)?;
    if asked.prefix != moved.prefix {
        steady.fill(&asked)?;
    }
    let load = steady.load(&asked, Callers { callers: wish.callers, ..CALLERS }, &dir.join("told"))?;
    std::thread::sleep(WARM_UP);
    let probes: Vec<String> = (0..CALLERS.probes).map(|probe| format!("probe{probe:03}")).collect();
    let owners = |side: &dyn Growing| probes.iter().map(|probe| side.owner(probe)).collect::<Vec<_>>();
    let before = owners(side);
    let pids = side.pids();
    let steady_us = failover::now_us();
    std::thread::sleep(STEADY);
    pids.iter().for_each(|&pid| forget_peak(pid));
    let redirects_before = side.redirects();
    let begin_us = failover::now_us();
    let result = side.shift(wish.what)?;
    let end_us = failover::now_us();
    std::thread::sleep(AFTER);
    let rss_max = pids.iter().map(|&pid| peak_rss(pid)).max().unwrap_or(0);
    let redirects = side.redirects().zip(redirects_before).map(|(now, before)| now - before);
    let after = owners(side);
    let told = load.finish()?;
    let mut moving = told.between(begin_us, end_us);
    let late = told.between(begin_us, failover::now_us());
    let has_moved = before.iter().zip(&after).map(|(before, after)| before != after);
    let pauses_ms = moving.gaps_ms.iter().zip(has_moved).filter(|(_, has)| *has).map(|(gap, _)| *gap);
    let pauses_ms: Vec<f64> = pauses_ms.collect();
    moving.errors = late.errors;
    let redirects = redirects.or(late.redirects);
    let steady = told.between(steady_us, begin_us);
    let behind = told.between(end_us, end_us + AFTER.as_micros() as u64);
    eprintln!(
        "{} {number}: {:.1} s, {:.0} ops/s of {:.0}, {} of {} probes moved, {} failed",
        side.name(),
        result.length.as_secs_f64(),
        moving.rate,
        steady.rate,
        pauses_ms.len(),
        CALLERS.probes,
        moving.errors.len(),
    );
    Ok(Round { side: side.name(), moved: result, steady, moving, behind, pauses_ms, redirects, rss_max })
}

/// The highest resident memory counts from now.
fn forget_peak(pid: u32) {
    // Where the kernel does not let us, the peak is that of the process's life: an upper bound.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn peak_rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Outcome<Wish> {
        Wish::read(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn only_the_run_of_the_documents_is_written_down() -> Outcome<()> {
        assert!(wish("")?.is_whole());
        for part in [
            "--keys 1000000",
            "--value-bytes 1048576",
            "--one-slot",
            "--rounds 1",
            "--callers 1",
            "--only redis",
        ] {
            assert!(!wish(part)?.is_whole(), "{part}");
        }
        Ok(())
    }

    #[test]
    fn large_values_are_fewer_and_not_what_callers_ask_for() -> Outcome<()> {
        let large = wish("--value-bytes 1048576")?;
        assert_eq!((large.moved().count, large.asked().prefix), (1024, LIGHT.prefix));
        assert_eq!(wish("--one-slot")?.moved().prefix, HEAVY);
        assert_eq!(wish("")?.asked().count, KEYS);
        Ok(())
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for text in ["--keys", "--keys x", "--rounds 0", "--callers -1", "--only etcd", "--slots 1"] {
            assert!(wish(text).is_err(), "{text}");
        }
    }
}
