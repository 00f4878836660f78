//! What clients do: calls of every kind, several at a time, some of them given up before they end.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use slotkv::{Client, Delete, Options, Outcome, Put};
use slotkv_proto::seam::{Chance, SeededChance};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::history::{Call, End, History};

/// Keys of each kind: `key…` for everything but increments, `counter…` for those.
pub const KEYS: u64 = 6;
/// Calls that a client has open at a time.
const OPEN_MAX: usize = 4;
/// Where clients begin.
pub const URI: &str = "slotkv://m0:1,m1:1";

/// A client with its calls.
pub struct Caller {
    /// Unique among the clients.
    pub number: u32,
    /// How many calls it makes.
    pub calls: u32,
    /// How it connects.
    pub options: Options,
    /// Where its calls are told.
    pub history: Arc<History>,
    /// Decides what it does.
    pub chance: SeededChance,
}

impl Caller {
    /// Makes all the calls.
    pub async fn run(self) {
        let client = loop {
            match Client::connect_with(URI, self.options.clone()).await {
                Ok(client) => break client,
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        };
        let seen = Arc::new(Mutex::new([0; KEYS as usize]));
        let mut open = JoinSet::new();
        for call in 0..self.calls {
            // In bursts, so that there are calls whatever happens, and when it happens.
            let pause_ms = if self.chance.below(8) == 0 { 1500 } else { 50 };
            sleep(Duration::from_millis(self.chance.below(pause_ms))).await;
            if open.len() >= OPEN_MAX {
                let _ = open.join_next().await;
            }
            let one = One {
                client: client.clone(),
                history: self.history.clone(),
                chance: SeededChance::new(self.chance.next_u64()),
                seen: seen.clone(),
                value: u64::from(self.number) << 32 | u64::from(call),
            };
            open.spawn(one.call());
        }
        while open.join_next().await.is_some() {}
        client.close().await;
    }
}

/// One call.
struct One {
    client: Client,
    history: Arc<History>,
    chance: SeededChance,
    /// The version of each key as this client saw it last: what it compares with.
    seen: Arc<Mutex<[u64; KEYS as usize]>>,
    /// Unique in the history.
    value: u64,
}

impl One {
    async fn call(self) {
        let n = self.chance.below(KEYS);
        let (key, counter) = (format!("key{n}"), format!("counter{n}"));
        let version = self.seen.lock()[n as usize];
        let value = self.value;
        let (key, call) = match self.chance.below(12) {
            0..3 => (key, Call::Put(value)),
            3..6 => (key, Call::Get),
            6 => (key, Call::Delete),
            7 => (key, Call::PutIfAbsent(value)),
            8 | 9 => (key, Call::CompareAndSet { version, value }),
            _ => (counter, Call::Increment),
        };
        // Some callers lose patience.
        let patience = match self.chance.below(10) {
            0 => Duration::from_millis(self.chance.below(30)),
            _ => Duration::from_secs(60),
        };
        let begun = self.history.begin();
        let end = timeout(patience, self.ask(&key, &call)).await.unwrap_or(End::Unknown);
        if let (false, Some(version)) = (call == Call::Increment, end.version()) {
            self.seen.lock()[n as usize] = version;
        }
        self.history.end(begun, &key, call, end);
    }

    async fn ask(&self, key: &str, call: &Call) -> End {
        let client = &self.client;
        let end = match *call {
            Call::Put(value) => client.put(key.to_owned(), value.to_string()).await.map(put),
            Call::PutIfAbsent(value) => {
                client.put_if_absent(key.to_owned(), value.to_string()).await.map(put)
            }
            Call::CompareAndSet { version, value } => {
                client.compare_and_set(key.to_owned(), value.to_string(), version).await.map(put)
            }
            Call::Delete => client.delete(key.to_owned()).await.map(|delete| match delete {
                Delete::Deleted { version } => End::Deleted(version),
                Delete::NotFound => End::NotFound,
                Delete::Unmet { version } => End::Unmet(version),
            }),
            Call::Get => client.get_entry(key.to_owned()).await.map(|entry| End::Read(entry.map(number))),
            Call::Increment => {
                client.increment(key.to_owned(), 1).await.map(|number| End::Number(number as u64))
            }
        };
        end.unwrap_or_else(|error| match error.outcome {
            Outcome::Failed => End::Failed,
            Outcome::Unknown => End::Unknown,
        })
    }
}

fn put(put: Put) -> End {
    match put {
        Put::Created { version } | Put::Updated { version } => End::Written(version),
        Put::Unmet { version } => End::Unmet(version),
    }
}

/// Version and value of an entry that a caller wrote.
pub fn number(entry: slotkv::Entry) -> (u64, u64) {
    let text = String::from_utf8_lossy(&entry.value).into_owned();
    (entry.version, text.parse().unwrap_or(u64::MAX))
}
