//! slotkv that grows from two shards to three: the third has joined with a weight of 0, then `slotkv admin weight` gives it
//! its share.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Outcome, process};

use super::super::replicas::{Replicas, Shape};
use super::{Growing, Moved, What};

/// Longest time of a move.
const MOVE_TIMEOUT: Duration = Duration::from_secs(900);
/// Pause between two looks while nothing changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
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

    /// Slots of each shard; `None` while no master answers.
    fn slots(&self) -> Option<Vec<u64>> {
        let status = self.cluster.status()?;
        let shards = status["shards"].as_array()?.iter();
        Some(shards.map(|shard| shard["slots"].as_u64().unwrap_or(0)).collect())
    }
}

/// One process that tells how far a move is whenever it has changed: many short ones would take time from what they
/// look at.
struct Watch {
    child: Child,
    told: Receiver<Standing>,
}

impl Watch {
    fn begin(mut command: Command) -> Outcome<Self> {
        let mut child = process::tied(command.stdout(Stdio::piped()).stderr(Stdio::null())).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for standing in lines.map_while(Result::ok).filter_map(|line| Standing::of(&line)) {
                if tell.send(standing).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, told })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How far a move is.
struct Standing {
    is_over: bool,
    /// Of each hand-over that the leader has ended of late, by id.
    pauses_ms: BTreeMap<u64, f64>,
}

impl Standing {
    fn of(line: &str) -> Option<Self> {
        let migrations: Value = serde_json::from_str(line).ok()?;
        let is_over = migrations["open"].as_array()?.is_empty() && migrations["left"].as_array()?.is_empty();
        let moved = migrations["ended"].as_array()?.iter().filter(|ended| ended["moved"] == true);
        let pause = |ended: &Value| Some((ended["id"].as_u64()?, ended["pause_us"].as_f64()? / 1000.0));
        Some(Self { is_over, pauses_ms: moved.filter_map(pause).collect() })
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
        let before = self.slots().ok_or("no master answers")?;
        let all: u64 = before.iter().sum();
        let watch = Watch::begin(self.admin(&["migrations", "--watch", "--json"]))?;
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
        let (mut pauses_ms, mut is_over) = (BTreeMap::new(), false);
        loop {
            if begun.elapsed() > MOVE_TIMEOUT {
                return Err(format!("the slots are not moved after {MOVE_TIMEOUT:?}").into());
            }
            // It says nothing while nothing changes.
            if let Ok(standing) = watch.told.recv_timeout(LOOK_EVERY) {
                pauses_ms.extend(standing.pauses_ms);
                is_over = standing.is_over;
            }
            let length = begun.elapsed();
            // Nothing is open before the first plan, either.
            let is_whole = |slots: &Vec<u64>| slots.get(NEW).is_some_and(|new| *new >= least);
            let Some(slots) = is_over.then(|| self.slots()).flatten().filter(is_whole) else { continue };
            let slots = before.iter().zip(&slots).map(|(before, now)| before.saturating_sub(*now)).sum();
            let hand_overs = pauses_ms.len() as u64;
            let pauses_ms = pauses_ms.into_values().collect();
            return Ok(Moved { length, keys: 0, slots, pauses_ms, hand_overs });
        }
    }
}
