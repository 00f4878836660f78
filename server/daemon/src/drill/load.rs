//! Load: writers, each alone on its keys, so that each knows what every one of them must hold. A key whose write had an
//! unknown outcome is left alone from then on: it may hold what was there or what was written, and nothing else.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use slotkv::{Client, Error, Outcome};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::timeline::Timeline;
use crate::bench::chance::Chance;

/// Keys that a writer uses at a time.
const KEYS: usize = 16;
/// Pause after a write that failed.
const PAUSE: Duration = Duration::from_millis(20);
/// Keys tried until one falls into the shard.
const TRIES_MAX: u64 = 1 << 20;

/// What a key must hold: one of these; `None` is no value.
struct Key {
    key: String,
    may_hold: BTreeSet<Option<String>>,
}

/// One writer, with one operation on its way at a time.
pub(super) struct Writer {
    client: Client,
    shard: u32,
    prefix: String,
    chance: Chance,
    timeline: Arc<Timeline>,
    next: u64,
    live: Vec<Key>,
    retired: Vec<Key>,
    counter: Option<String>,
    added: i64,
    /// Increments of unknown outcome.
    open: i64,
    tally: Tally,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub acknowledged: u64,
    pub failed: u64,
    pub unknown: u64,
    pub reads: u64,
    pub checked: u64,
    pub unchecked: u64,
    pub violations: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.checked += other.checked;
        self.unchecked += other.unchecked;
        self.violations.extend(other.violations);
    }
}

impl Writer {
    pub fn new(client: Client, shard: u32, number: usize, seed: u64, timeline: Arc<Timeline>) -> Self {
        let seed = seed ^ (u64::from(shard) << 32) ^ ((number as u64) << 16);
        // Whatever earlier drills left in the cluster is not touched.
        let run = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let run = run.map_or(0, |run| run.as_micros());
        Self {
            client,
            shard,
            prefix: format!("drill/{run:x}/{shard}/{number}/"),
            chance: Chance::new(seed),
            timeline,
            next: 0,
            live: Vec::new(),
            retired: Vec::new(),
            counter: None,
            added: 0,
            open: 0,
            tally: Tally::default(),
        }
    }

    /// Writes and reads until it is told to end.
    pub async fn run(mut self, mut ends: watch::Receiver<bool>) -> Self {
        while !*ends.borrow_and_update() {
            match self.chance.below(8) {
                0 => self.increment().await,
                1 | 2 => self.read().await,
                3 => self.write(true).await,
                _ => self.write(false).await,
            }
        }
        self
    }

    /// A key of the shard that was never used.
    fn new_key(&mut self) -> Option<String> {
        let table = self.client.slot_table();
        for _ in 0..TRIES_MAX {
            self.next += 1;
            let key = format!("{}{}", self.prefix, self.next);
            if table.owner(self.client.slot(key.as_bytes())) == Some(self.shard) {
                return Some(key);
            }
        }
        None
    }

    /// Says whether the write was done; `None`: not known.
    async fn outcome<T>(&mut self, outcome: Result<T, Error>) -> Option<bool> {
        match outcome {
            Ok(_) => {
                self.tally.acknowledged += 1;
                self.timeline.acknowledged(self.shard);
                Some(true)
            }
            Err(error) => {
                self.timeline.failed(self.shard, &error);
                sleep(PAUSE).await;
                match error.outcome {
                    Outcome::Unknown => {
                        self.tally.unknown += 1;
                        None
                    }
                    _ => {
                        self.tally.failed += 1;
                        Some(false)
                    }
                }
            }
        }
    }

    async fn write(&mut self, deletes: bool) {
        if self.live.len() < KEYS {
            let Some(key) = self.new_key() else { return sleep(PAUSE).await };
            self.live.push(Key { key, may_hold: BTreeSet::from([None]) });
        }
        let at = self.chance.below(self.live.len() as u64) as usize;
        let key = self.live[at].key.clone();
        self.next += 1;
        let value = (!deletes).then(|| format!("{}-{}", self.next, self.chance.next()));
        let done = match &value {
            Some(value) => {
                let done = self.client.put(key.clone(), value.clone()).await.map(drop);
                self.outcome(done).await
            }
            None => {
                let done = self.client.delete(key.clone()).await.map(drop);
                self.outcome(done).await
            }
        };
        match done {
            Some(true) => self.live[at].may_hold = BTreeSet::from([value]),
            Some(false) => {}
            None => {
                let mut key = self.live.swap_remove(at);
                key.may_hold.insert(value);
                self.retired.push(key);
            }
        }
    }

    async fn increment(&mut self) {
        if self.counter.is_none() {
            self.counter = self.new_key();
        }
        let Some(key) = self.counter.clone() else { return };
        let done = self.client.increment(key, 1).await;
        match self.outcome(done).await {
            Some(true) => self.added += 1,
            Some(false) => {}
            None => self.open += 1,
        }
    }

    async fn read(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let at = self.chance.below(self.live.len() as u64) as usize;
        let key = &self.live[at];
        match self.client.get(key.key.clone()).await {
            Ok(value) => {
                self.tally.reads += 1;
                let found = value.map(|value| String::from_utf8_lossy(&value).into_owned());
                if !key.may_hold.contains(&found) {
                    let (key, may_hold) = (&key.key, &key.may_hold);
                    self.tally.violations.push(format!("read {found:?} of {key}, not one of {may_hold:?}"));
                }
            }
            Err(error) => {
                self.timeline.failed(self.shard, &error);
                sleep(PAUSE).await;
            }
        }
    }

    /// Reads everything that was written, as far as that is possible until then.
    pub async fn check(mut self, until: Instant) -> Tally {
        for key in self.live.iter().chain(&self.retired) {
            let Some(value) = read_in_the_end(&self.client, &key.key, until).await else {
                self.tally.unchecked += 1;
                continue;
            };
            self.tally.checked += 1;
            if !key.may_hold.contains(&value) {
                let (key, may_hold) = (&key.key, &key.may_hold);
                self.tally.violations.push(format!("{key} holds {value:?}, not one of {may_hold:?}"));
            }
        }
        if let Some(key) = &self.counter {
            match read_in_the_end(&self.client, key, until).await {
                None => self.tally.unchecked += 1,
                Some(value) => {
                    self.tally.checked += 1;
                    let count: i64 = value.as_deref().unwrap_or("0").parse().unwrap_or(-1);
                    let (least, most) = (self.added, self.added + self.open);
                    if !(least..=most).contains(&count) {
                        let text = format!("{key} counts {value:?}, not {least} to {most}");
                        self.tally.violations.push(text);
                    }
                }
            }
        }
        self.tally
    }
}

/// A value, however often it takes.
async fn read_in_the_end(client: &Client, key: &str, until: Instant) -> Option<Option<String>> {
    loop {
        match client.get(key.to_owned()).await {
            Ok(value) => return Some(value.map(|value| String::from_utf8_lossy(&value).into_owned())),
            Err(_) if Instant::now() < until => sleep(PAUSE).await,
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::{Dev, DevOptions};

    #[tokio::test]
    async fn what_was_changed_behind_a_writer_is_found() {
        let dev = Dev::start(DevOptions { shards: 1, masters: 1, ..DevOptions::default() }).await.unwrap();
        let client = Client::connect(&dev.uri()).await.unwrap();
        let timeline = Arc::new(Timeline::new(true, &[0]));
        let mut writer = Writer::new(client.clone(), 0, 0, 1, timeline);
        for _ in 0..20 {
            writer.write(false).await;
            writer.increment().await;
        }
        let (first, second) = (writer.live[0].key.clone(), writer.live[1].key.clone());
        client.delete(first.clone()).await.unwrap();
        client.increment(writer.counter.clone().unwrap(), 1).await.unwrap();
        // Of an unknown outcome both are right.
        let mut retired = writer.live.remove(1);
        retired.may_hold.insert(Some("perhaps".into()));
        client.put(second, "perhaps").await.unwrap();
        writer.retired.push(retired);
        let tally = writer.check(Instant::now() + Duration::from_secs(60)).await;
        assert_eq!(tally.violations.len(), 2, "{:?}", tally.violations);
        assert!(tally.violations[0].starts_with(&first) && tally.violations[1].contains("counts"));
        assert_eq!((tally.acknowledged, tally.unchecked), (40, 0));
        client.close().await;
        dev.shutdown().await;
    }
}
