//! What the Rust client does; those in other languages do the same. `tests/torture/README.md` has it in words.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use slotkv::{Client, Delete, Entry, Outcome, Put};
use slotkv_proto::seam::{Chance, SeededChance};
use slotkv_tests::simulation::history::{Call, End, Event};

use crate::{line, now};

/// Keys in use at a time: so many for everything but increments, and so many counters.
const KEYS: u64 = 8;
const COUNTERS: u64 = 2;
/// A key is in use for so long; then another takes its place.
const KEY_NS: u64 = 6_000_000_000;
/// Operations of one client on one key, after which it leaves the key to others.
const KEY_OPERATIONS_MAX: u64 = 150;
/// Longest pause between the operations of one caller.
const PAUSE_MS_MAX: u64 = 30;
/// Patience of most operations, and of every fifth.
const DEADLINE: Duration = Duration::from_secs(10);
const DEADLINE_SHORT: Duration = Duration::from_millis(500);
/// Values of one client are this times its number, and more.
const VALUES: u64 = 1_000_000_000;

/// A client with several callers.
pub struct Worker {
    client: Client,
    number: u64,
    values: AtomicU64,
    file: Mutex<BufWriter<File>>,
    /// By key: how often this client used it, and the version of a value that it has seen there.
    seen: Mutex<HashMap<String, (u64, u64)>>,
    is_over: AtomicBool,
}

impl Worker {
    /// Makes the client with this number, which tells its operations in `file`.
    pub fn new(client: Client, number: u64, file: File) -> Arc<Self> {
        Arc::new(Self {
            client,
            number,
            values: AtomicU64::new(0),
            file: Mutex::new(BufWriter::new(file)),
            seen: Mutex::new(HashMap::new()),
            is_over: AtomicBool::new(false),
        })
    }

    /// Nothing new from now on.
    pub fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    /// One caller: one operation after the other until [`Worker::end`].
    pub async fn call(self: Arc<Self>, seed: u64) -> io::Result<()> {
        let chance = SeededChance::new(seed);
        while !self.is_over.load(Relaxed) {
            tokio::time::sleep(Duration::from_millis(chance.below(PAUSE_MS_MAX + 1))).await;
            let Some((key, seen)) = self.key(&chance) else { continue };
            let call = self.choose(&key, seen, &chance);
            let deadline = if chance.below(5) == 0 { DEADLINE_SHORT } else { DEADLINE };
            let begun = now();
            let end = ask(&self.client.with_deadline(deadline), &key, &call).await;
            let event = Event { key, call, begun, ended: now(), end };
            self.learn(&event);
            self.tell(&event)?;
        }
        self.file.lock().map_err(|_| io::Error::other("a caller panicked"))?.flush()
    }

    /// A key in use that this client may use again, and the version that it has seen there.
    fn key(&self, chance: &SeededChance) -> Option<(String, u64)> {
        let place = chance.below(KEYS + COUNTERS);
        let generation = (now() + place * KEY_NS / (KEYS + COUNTERS)) / KEY_NS;
        let kind = if place < KEYS { "key" } else { "counter" };
        let key = format!("{kind}{place}.{generation}");
        let mut seen = self.seen.lock().ok()?;
        let (count, version) = seen.entry(key.clone()).or_default();
        *count += 1;
        (*count <= KEY_OPERATIONS_MAX).then_some((key, *version))
    }

    fn choose(&self, key: &str, version: u64, chance: &SeededChance) -> Call {
        if key.starts_with("counter") {
            return if chance.below(4) == 0 { Call::Get } else { Call::Increment };
        }
        let value = self.number * VALUES + self.values.fetch_add(1, Relaxed);
        match chance.below(11) {
            0..3 => Call::Put(value),
            3..7 => Call::Get,
            7 => Call::Delete,
            8 => Call::PutIfAbsent(value),
            _ => Call::CompareAndSet { version, value },
        }
    }

    /// Remembers versions whose values are known.
    fn learn(&self, event: &Event) {
        let version = match event.end {
            End::Written(version) | End::Read(Some((version, _))) => version,
            End::Read(None) | End::Deleted(_) | End::NotFound | End::Unmet(0) => 0,
            _ => return,
        };
        if let Ok(mut seen) = self.seen.lock() {
            seen.entry(event.key.clone()).or_default().1 = version;
        }
    }

    /// Writes the operation's line.
    pub fn tell(&self, event: &Event) -> io::Result<()> {
        let mut file = self.file.lock().map_err(|_| io::Error::other("a caller panicked"))?;
        writeln!(file, "{}", line::text(event))
    }
}

/// Carries a call out.
pub async fn ask(client: &Client, key: &str, call: &Call) -> End {
    let key = key.to_owned();
    let end = match *call {
        Call::Put(value) => client.put(key, value.to_string()).await.map(put),
        Call::PutIfAbsent(value) => client.put_if_absent(key, value.to_string()).await.map(put),
        Call::CompareAndSet { version, value } => {
            client.compare_and_set(key, value.to_string(), version).await.map(put)
        }
        Call::Delete => client.delete(key).await.map(|delete| match delete {
            Delete::Deleted { version } => End::Deleted(version),
            Delete::NotFound => End::NotFound,
            Delete::Unmet { version } => End::Unmet(version),
        }),
        Call::Get => client.get_entry(key).await.map(|entry| End::Read(entry.map(|entry| number(&entry)))),
        Call::Increment => client.increment(key, 1).await.map(|number| End::Number(number as u64)),
    };
    end.unwrap_or_else(|error| match error.outcome {
        Outcome::Failed => End::Failed,
        Outcome::Unknown => End::Unknown,
    })
}

fn put(put: Put) -> End {
    match put {
        Put::Created { version } | Put::Updated { version } => End::Written(version),
        Put::Unmet { version } => End::Unmet(version),
    }
}

/// Version and value of an entry; a value that no client writes for one that is no number.
fn number(entry: &Entry) -> (u64, u64) {
    let text = String::from_utf8_lossy(&entry.value);
    (entry.version, text.parse().unwrap_or(u64::MAX))
}
