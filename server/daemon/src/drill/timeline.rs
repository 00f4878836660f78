//! Timeline: what is told while a drill runs. Of each shard it keeps when a write was acknowledged last, so that a pause is
//! told when it ends, with what failed in it.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use slotkv::{Client, Error};
use tokio::{sync::watch, time::sleep};

use super::PAUSE;

/// A shard without an acknowledged write for so long makes a pause.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// What is told, and what for.
pub(super) struct Timeline {
    begun: Instant,
    as_json: bool,
    shards: Mutex<BTreeMap<u32, Line>>,
}

struct Line {
    last: Instant,
    longest: Duration,
    errors: u64,
    first_error: Option<String>,
}

impl Timeline {
    pub fn new(as_json: bool, shards: &[u32]) -> Self {
        let begun = Instant::now();
        let line = |shard: &u32| {
            (*shard, Line { last: begun, longest: Duration::ZERO, errors: 0, first_error: None })
        };
        Self { begun, as_json, shards: Mutex::new(shards.iter().map(line).collect()) }
    }

    /// Something happened now.
    pub fn tell(&self, what: &str) {
        let at = self.begun.elapsed();
        match self.as_json {
            true => self.line(&json!({ "at_ms": at.as_millis() as u64, "event": what })),
            false => print(&format!("{:>9.3} s  {what}", at.as_secs_f64())),
        }
    }

    /// A line for programs.
    pub fn line(&self, value: &Value) {
        print(&value.to_string());
    }

    /// A write of this shard was acknowledged.
    pub fn acknowledged(&self, shard: u32) {
        let told = {
            let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(line) = shards.get_mut(&shard) else { return };
            let now = Instant::now();
            let pause = now - line.last;
            line.last = now;
            line.longest = line.longest.max(pause);
            if pause < PAUSE_MIN {
                return;
            }
            let errors = std::mem::take(&mut line.errors);
            let first =
                line.first_error.take().map_or_else(String::new, |first| format!(", the first {first}"));
            format!("shard {shard} takes writes again after {} ms; {errors} errors{first}", pause.as_millis())
        };
        self.tell(&told);
    }

    /// An operation on this shard met an error.
    pub fn failed(&self, shard: u32, error: &Error) {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = shards.get_mut(&shard) {
            line.errors += 1;
            line.first_error.get_or_insert_with(|| error.to_string());
        }
    }

    /// The longest pause of each shard.
    pub fn pauses(&self) -> BTreeMap<u32, Duration> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.iter().map(|(shard, line)| (*shard, line.longest)).collect()
    }

    /// Tells how the shards stand whenever that changes, as the masters say.
    pub async fn watch(self: Arc<Self>, client: Client, ends: watch::Receiver<bool>) {
        let mut known = BTreeMap::new();
        while !*ends.borrow() {
            if let Ok(status) = client.status().await {
                for shard in status.shards {
                    let stands = (shard.epoch, shard.state, shard.primary, shard.isr);
                    if known.get(&shard.shard) == Some(&stands) {
                        continue;
                    }
                    let (epoch, state, primary, isr) = &stands;
                    self.tell(&format!(
                        "shard {}: {state}, epoch {epoch}, primary {primary}, in sync {}",
                        shard.shard,
                        isr.join(" ")
                    ));
                    known.insert(shard.shard, stands);
                }
            }
            sleep(PAUSE).await;
        }
    }
}

/// Somebody who does not read any more does not end the drill: its end is what counts.
fn print(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
