//! slotkv that grows from two shards to three: the third has joined with a weight of 0, then `slotkv admin weight` gives it
//! its share.

use std::collections::BTreeMap;
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

    /// What stands now; `None` while no master answers.
    fn standing(&self) -> Option<Standing> {
        let status = self.cluster.status()?;
        let slots = status["shards"].as_array()?.iter().map(|shard| shard["slots"].as_u64().unwrap_or(0));
        let slots = slots.collect();
        let out = process::tied(&mut self.admin(&["migrations", "--json"])).output().ok()?;
        let migrations: Value = serde_json::from_slice(&out.stdout).ok()?;
        let is_over = migrations["open"].as_array()?.is_empty() && migrations["left"].as_array()?.is_empty();
        let moved = migrations["ended"].as_array()?.iter().filter(|ended| ended["moved"] == true);
        let pause = |ended: &Value| Some((ended["id"].as_u64()?, ended["pause_us"].as_f64()? / 1000.0));
        Some(Standing { slots, is_over, pauses_ms: moved.filter_map(pause).collect() })
    }
}

/// How far a move is.
struct Standing {
    /// Of each shard.
    slots: Vec<u64>,
    is_over: bool,
    /// Of each hand-over that the leader has ended of late, by id.
    pauses_ms: BTreeMap<u64, f64>,
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
        let before = self.standing().ok_or("no master answers")?.slots;
        let all: u64 = before.iter().sum();
        let begun = Instant::now();
        let new = NEW.to_string();
        match what {
            What::Third => process::output(&mut self.admin(&["weight", &new, "1", "--no-wait"]))?,
            // One slot alone is not moved by any command: the shard that has it gives all away, to the new one as well.
            What::HeavySlot => {
                let owner = self.owner(super::HEAVY).ok_or("the heavy slot has no owner")?;
                process::output(&mut self.admin(&["weight", &new, "1", "--no-wait"]))?;
                process::output(&mut self.admin(&["weight", &owner.to_string(), "0", "--no-wait"]))?
            }
        };
        let least = match what {
            What::Third => all / 3,
            What::HeavySlot => all / 2,
        };
        let mut pauses_ms = BTreeMap::new();
        loop {
            let standing = self.standing();
            let length = begun.elapsed();
            if let Some(Standing { slots, is_over, pauses_ms: ended }) = standing {
                pauses_ms.extend(ended);
                if is_over && slots.get(NEW).is_some_and(|slots| *slots >= least) {
                    let slots =
                        before.iter().zip(&slots).map(|(before, now)| before.saturating_sub(*now)).sum();
                    let hand_overs = pauses_ms.len() as u64;
                    let pauses_ms = pauses_ms.into_values().collect();
                    return Ok(Moved { length, keys: 0, slots, pauses_ms, hand_overs });
                }
            }
            if length > MOVE_TIMEOUT {
                return Err(format!("the slots are not moved after {MOVE_TIMEOUT:?}").into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
