//! The mover: an operator on a host of its own who drains shards, adds them back and changes their weights, all the time and
//! through whichever master leads; and one who watches what hand-overs come of it. Neither waits for anything without end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::chance::Chance;
use super::hand_overs::HandOvers;
use super::hosts::Host;
use crate::{Outcome, process};

/// Longest and shortest time that an order is waited for. One that takes longer stays written down, and the next one comes
/// on top of it, as from an operator without patience.
const ORDER_MS: (usize, usize) = (1_000, 15_000);
/// Between two orders.
const REST_MS: (usize, usize) = (0, 2_000);
/// How often hand-overs are looked at, and how long a look may take.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOK_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);
/// Weights that a shard is given.
const WEIGHTS: [u32; 4] = [1, 1, 2, 4];
/// Longest time until all shards have their weights back, and until nothing moves any more.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// Of an order at the end, when nothing is wrong any more.
const LAST_ORDER_MAX: Duration = Duration::from_secs(30);
/// How `slotkv` ends when it panicked, and what it says when it does not know an argument.
const END_OF_PANIC: i32 = 101;
const SAID_OF_ARGUMENTS: &str = "try '--help'";

/// The verbs, by their names in the report.
const VERBS: [&str; 5] = ["drain", "add", "weight", "rebalance", "cancel"];

/// How a verb's orders ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Orders {
    pub done: usize,
    /// With an answer that is not "done": refused, failed, taken back, of unknown outcome.
    pub other: usize,
    /// Not waited for any longer.
    pub left: usize,
}

/// What came of a mover.
#[derive(Debug, Default)]
pub struct Moves {
    pub orders: BTreeMap<&'static str, Orders>,
    pub hand_overs: HandOvers,
    pub troubles: Vec<String>,
}

/// The operator.
pub struct Mover<'a> {
    host: &'a Host,
    slotkv: &'a Path,
    uri: &'a str,
    folder: &'a Path,
    shards: usize,
    seed: u64,
    is_over: AtomicBool,
    moves: Mutex<Moves>,
}

impl<'a> Mover<'a> {
    /// Does nothing yet.
    pub fn new(
        host: &'a Host,
        slotkv: &'a Path,
        uri: &'a str,
        folder: &'a Path,
        shards: usize,
        seed: u64,
    ) -> Self {
        let moves = Mutex::new(Moves::default());
        Self { host, slotkv, uri, folder, shards, seed, is_over: AtomicBool::new(false), moves }
    }

    /// Moves slots while `work` goes on.
    pub fn beside<T>(&self, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        std::thread::scope(|scope| {
            let ordering = scope.spawn(|| self.order_again_and_again().map_err(|error| error.to_string()));
            let watching = scope.spawn(|| self.watch().map_err(|error| error.to_string()));
            let worked = work();
            self.is_over.store(true, Relaxed);
            for thread in [ordering, watching] {
                thread.join().map_err(|_| "the mover panicked")??;
            }
            worked
        })
    }

    /// What came of it.
    pub fn into_moves(self) -> Moves {
        self.moves.into_inner().unwrap_or_default()
    }

    /// Gives every shard its weight back and waits until nothing moves any more; `meanwhile` looks after the servers.
    pub fn settle(&self, mut meanwhile: impl FnMut() -> Outcome<()>) -> Outcome<()> {
        let end = Instant::now() + SETTLE_MAX;
        let weights =
            (0..self.shards).map(|shard| vec!["weight".to_owned(), shard.to_string(), "1".to_owned()]);
        // What was cancelled goes on by it.
        for words in weights.chain([vec!["rebalance".to_owned()]]) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut order = Ask::new(self, "settle", &words)?;
            while !order.wait(LAST_ORDER_MAX, &mut meanwhile)?.is_some_and(|status| status.success()) {
                if Instant::now() > end {
                    let why = format!("no admin {} at the end: {}", words.join(" "), order.said());
                    return self.trouble(why);
                }
                order = Ask::new(self, "settle", &words)?;
            }
        }
        loop {
            let standing = self.standing(&mut meanwhile)?;
            match standing {
                Ok(()) => break,
                Err(why) if Instant::now() > end => return self.trouble(why),
                Err(_) => meanwhile()?,
            }
        }
        if !process::works(Command::new(self.slotkv).args(["admin", "check", "--help"])) {
            return Ok(());
        }
        let mut check = Ask::new(self, "settle", &["check"])?;
        match check.wait(LAST_ORDER_MAX, &mut meanwhile)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => self.trouble(format!("admin check ended with {status}: {}", check.said())),
            None => self.trouble("admin check does not end".to_owned()),
        }
    }

    /// Whether nothing is open and every shard has its share; else why not.
    fn standing(&self, meanwhile: &mut impl FnMut() -> Outcome<()>) -> Outcome<Result<(), String>> {
        let mut look = Ask::new(self, "settle", &["migrations", "--json"])?;
        look.wait(LOOK_MAX, meanwhile)?;
        let Some(migrations) = look.json() else { return Ok(Err(look.said())) };
        self.see(&migrations)?;
        if let Some(why) = HandOvers::unsettled(&migrations) {
            return Ok(Err(why));
        }
        let mut look = Ask::new(self, "settle", &["status", "--json"])?;
        look.wait(LOOK_MAX, meanwhile)?;
        let Some(status) = look.json() else { return Ok(Err(look.said())) };
        let slots = status["shards"].as_array().into_iter().flatten();
        let slots: Vec<u64> = slots.map(|shard| shard["slots"].as_u64().unwrap_or(0)).collect();
        let all = status["slot_count"].as_u64().unwrap_or(0);
        let least = all / self.shards as u64;
        let is_shared = slots.len() == self.shards && slots.iter().all(|&slots| slots >= least);
        if slots.iter().sum::<u64>() != all || !is_shared {
            return Ok(Err(format!("of {all} slots the shards have {slots:?}")));
        }
        Ok(Ok(()))
    }

    fn trouble(&self, what: String) -> Outcome<()> {
        self.moves.lock().map_err(|_| "a thread panicked")?.troubles.push(what);
        Ok(())
    }

    fn order_again_and_again(&self) -> Outcome<()> {
        let mut chance = Chance::new(self.seed ^ 0x6d6f_7665);
        let mut is_drained = vec![false; self.shards];
        let between = |chance: &mut Chance, (least, most): (usize, usize)| {
            Duration::from_millis((least + chance.below(most - least)) as u64)
        };
        while !self.is_over.load(Relaxed) {
            let (verb, words) = next(&mut chance, &mut is_drained);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let length = between(&mut chance, ORDER_MS);
            let mut order = Ask::new(self, "orders", &words)?.until(&self.is_over);
            let ended = order.wait(length, &mut || Ok(()))?;
            self.note(verb, &words, ended, &order)?;
            let rest = between(&mut chance, REST_MS);
            self.pause(rest)?;
        }
        Ok(())
    }

    fn note(
        &self,
        verb: &'static str,
        words: &[&str],
        ended: Option<ExitStatus>,
        order: &Ask,
    ) -> Outcome<()> {
        let mut moves = self.moves.lock().map_err(|_| "a thread panicked")?;
        let orders = moves.orders.entry(verb).or_default();
        match ended {
            Some(status) if status.success() => orders.done += 1,
            Some(_) => orders.other += 1,
            None => orders.left += 1,
        }
        let is_mistake = ended.is_some_and(|status| match status.code() {
            Some(END_OF_PANIC) | None => true,
            _ => order.said().contains(SAID_OF_ARGUMENTS),
        });
        if let (true, Some(status)) = (is_mistake, ended) {
            let why = format!("admin {} ended with {status}: {}", words.join(" "), order.said());
            moves.troubles.push(why);
        }
        Ok(())
    }

    fn watch(&self) -> Outcome<()> {
        while !self.is_over.load(Relaxed) {
            let mut look = Ask::new(self, "watch", &["migrations", "--json"])?.until(&self.is_over);
            look.wait(LOOK_MAX, &mut || Ok(()))?;
            if let Some(migrations) = look.json() {
                self.see(&migrations)?;
            }
            self.pause(LOOK_EVERY)?;
        }
        Ok(())
    }

    fn see(&self, migrations: &Value) -> Outcome<()> {
        let mut moves = self.moves.lock().map_err(|_| "a thread panicked")?;
        moves.hand_overs.see(migrations, Instant::now());
        Ok(())
    }

    /// Sleeps, but not much longer than the run lasts.
    fn pause(&self, length: Duration) -> Outcome<()> {
        let end = Instant::now() + length;
        while !self.is_over.load(Relaxed) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(POLL));
        }
        Ok(())
    }
}

/// What is ordered next: shards are drained as long as one is left that takes, and added back.
fn next(chance: &mut Chance, is_drained: &mut [bool]) -> (&'static str, Vec<String>) {
    let drained = is_drained.iter().filter(|is| **is).count();
    let shard = chance.below(is_drained.len());
    let verb = match chance.below(10) {
        0 => "rebalance",
        1 => "cancel",
        2..4 => "weight",
        _ if is_drained[shard] => "add",
        _ if drained + 1 < is_drained.len() => "drain",
        _ => "weight",
    };
    let number = shard.to_string();
    let words = match verb {
        "rebalance" => vec![verb.to_owned()],
        "weight" => vec![verb.to_owned(), number, chance.of(&WEIGHTS).to_string()],
        _ => vec![verb.to_owned(), number],
    };
    match verb {
        "drain" => is_drained[shard] = true,
        "add" | "weight" => is_drained[shard] = false,
        _ => {}
    }
    debug_assert!(VERBS.contains(&verb));
    (verb, words)
}

/// A command of `slotkv admin` as a process. What it writes goes to a file, so that it never waits for a reader.
struct Ask<'a> {
    child: std::process::Child,
    out: PathBuf,
    log: PathBuf,
    /// Set, it is not waited for any longer.
    is_over: Option<&'a AtomicBool>,
}

impl<'a> Ask<'a> {
    /// Starts it on the mover's host; `name` is that of its files.
    fn new(mover: &Mover, name: &str, words: &[&str]) -> Outcome<Self> {
        let out = mover.folder.join(format!("mover-{name}.out"));
        let log = mover.folder.join(format!("mover-{name}.log"));
        let mut command = mover.host.command(mover.slotkv);
        command.arg("admin").args(words).args(["--uri", mover.uri]);
        let error = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(error);
        let child = command.spawn().map_err(|error| format!("cannot start the mover: {error}"))?;
        Ok(Self { child, out, log, is_over: None })
    }

    /// The same, waited for until then only.
    fn until(mut self, is_over: &'a AtomicBool) -> Self {
        self.is_over = Some(is_over);
        self
    }

    /// Its end; `None` if it takes longer, and then it is killed.
    fn wait(
        &mut self,
        most: Duration,
        meanwhile: &mut impl FnMut() -> Outcome<()>,
    ) -> Outcome<Option<ExitStatus>> {
        let end = Instant::now() + most;
        while Instant::now() < end && !self.is_over.is_some_and(|is_over| is_over.load(Relaxed)) {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            meanwhile()?;
            std::thread::sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(None)
    }

    fn json(&self) -> Option<Value> {
        serde_json::from_str(&fs::read_to_string(&self.out).ok()?).ok()
    }

    /// Its last words.
    fn said(&self) -> String {
        let text = [&self.out, &self.log].map(|file| fs::read_to_string(file).unwrap_or_default());
        text.concat().trim().chars().take(500).collect()
    }
}

impl Drop for Ask<'_> {
    fn drop(&mut self) {
        // It has ended, or it does now.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_at_least_is_left_that_takes_slots_and_each_verb_comes() {
        let (mut chance, mut is_drained) = (Chance::new(1), vec![false; 3]);
        let mut came = BTreeMap::new();
        for _ in 0..1000 {
            let (verb, words) = next(&mut chance, &mut is_drained);
            assert_eq!(verb, words[0]);
            assert!(is_drained.contains(&false));
            *came.entry(verb).or_insert(0) += 1;
        }
        assert_eq!(came.len(), VERBS.len());
        assert!(came["drain"] > 100, "{came:?}");
    }
}
