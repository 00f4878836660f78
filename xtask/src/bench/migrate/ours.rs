//! slotkv that grows from two shards to three: the third has joined with a weight of 0, then `slotkv admin weight` gives it
//! its share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Outcome, process};

use super::super::replicas::{Replicas, Shape};
use super::{Growing, Moved, What};

/// Longest time of a move.
const MOVE_TIMEOUT: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The shard that joins.
const NEW: usize = 2;

/// The cluster.
pub struct Ours {
    slotkv: PathBuf,
    cluster: Replicas,
}

impl Ours {
    /// Two shards with all slots, and a third with none.
    pub fn start(slotkv: &Path, dir: &Path) -> Outcome<Self> {
        if !process::works(Command::new(slotkv).args(["admin", "weight", "--help"])) {
            return Err("this slotkv has no `admin weight`; --only redis measures the peer".into());
        }
        let shape = Shape {
            zookeepers: 1,
            masters: 1,
            shards: 2,
            replicas: 1,
            durability: "interval(1000)",
            more: &[],
        };
        let mut cluster = Replicas::start(slotkv, dir, &shape)?;
        cluster.join(NEW, &["--weight", "0"])?;
        Ok(Self { slotkv: slotkv.to_owned(), cluster })
    }

    fn admin(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.slotkv);
        command.arg("admin").args(words).args(["--uri", &self.cluster.uri]);
        command
    }

    /// Slots of each shard, and whether hand-overs are open.
    fn standing(&self) -> Option<(Vec<u64>, bool)> {
        let status = self.cluster.status()?;
        let slots = status["shards"].as_array()?.iter().map(|shard| shard["slots"].as_u64().unwrap_or(0));
        let slots = slots.collect();
        let out = process::tied(&mut self.admin(&["migrations", "--json"])).output().ok()?;
        let migrations: Value = serde_json::from_slice(&out.stdout).ok()?;
        Some((slots, !migrations["migrations"].as_array()?.is_empty()))
    }
}

impl Growing for Ours {
    fn name(&self) -> &'static str {
        "slotkv"
    }

    fn client(&self) -> &'static str {
        "slotkv"
    }

    fn to(&self) -> String {
        self.cluster.uri.clone()
    }

    fn pids(&self) -> Vec<u32> {
        self.cluster.pids()
    }

    fn owner(&self, key: &str) -> Option<usize> {
        let mut command = Command::new(&self.slotkv);
        command.args(["slot", key, "--json", "--uri", &self.cluster.uri]);
        let out = process::tied(&mut command).output().ok()?;
        let found: Value = serde_json::from_slice(&out.stdout).ok()?;
        found["shard"].as_u64().map(|shard| shard as usize)
    }

    fn redirects(&self) -> Option<u64> {
        None
    }

    fn shift(&mut self, what: What) -> Outcome<Moved> {
        let (before, _) = self.standing().ok_or("no master answers")?;
        let all: u64 = before.iter().sum();
        let begun = Instant::now();
        let new = NEW.to_string();
        match what {
            What::Third => process::output(&mut self.admin(&["weight", &new, "1"]))?,
            // One slot alone is not moved by any command: the shard that has it gives all away, to the new one as well.
            What::HeavySlot => {
                let owner = self.owner(super::HEAVY).ok_or("the heavy slot has no owner")?;
                process::output(&mut self.admin(&["weight", &new, "1"]))?;
                process::output(&mut self.admin(&["weight", &owner.to_string(), "0"]))?
            }
        };
        let least = match what {
            What::Third => all / 3,
            What::HeavySlot => all / 2,
        };
        loop {
            if let Some((slots, is_open)) = self.standing()
                && slots.get(NEW).is_some_and(|slots| *slots >= least)
                && !is_open
            {
                let length = begun.elapsed();
                let moved: u64 =
                    before.iter().zip(&slots).map(|(before, now)| before.saturating_sub(*now)).sum();
                return Ok(Moved { length, keys: 0, slots: moved, pauses_ms: Vec::new(), hand_overs: 0 });
            }
            if begun.elapsed() > MOVE_TIMEOUT {
                return Err(
                    format!("the slots are not moved after {MOVE_TIMEOUT:?}: {:?}", self.standing()).into()
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
