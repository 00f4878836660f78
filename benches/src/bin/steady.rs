//! `bench-steady slotkv|redis TO fill PREFIX KEYS VALUE_BYTES IN_FLIGHT`: writes each key once.
//!
//! `bench-steady slotkv|redis TO load PREFIX KEYS VALUE_BYTES CALLERS PROBES INTERVAL_MS FILE`: a steady load, of which
//! FILE tells how it went all the time. CALLERS in a closed loop, each operation a GET or a PUT of one of the keys by
//! chance; beside them PROBES, each of which puts a key of its own, and INTERVAL_MS after the end of a call the next
//! begins. Prints `ready` when every probe has written, and ends with stdin.
//!
//! FILE gets lines, times in microseconds of CLOCK_MONOTONIC:
//! - `load BEGIN END BUCKET:COUNT ...`: what callers ended since the line before, by [`slotkv_benches::histogram`]
//! - `probe NUMBER BEGIN END OUTCOME`: a probe's call; `ok` or the error
//! - `error AT TEXT`: a caller's call that failed
//! - `redirects AT COUNT`: of the client until then, if it tells

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use slotkv_benches::{clock, histogram::Histogram, store::Store};

/// A line on the load each so often.
const TELL_EVERY: Duration = Duration::from_millis(50);
const KEY_BYTES: usize = 16;
/// Callers, and probes, that share a client. With 50 and more redis-rs (1.8.1) may stand still for ever when it reads the slots
/// anew: calls that wait for a connection's queue are not let go on meanwhile, and its own question waits behind them.
const TASKS_PER_CLIENT: usize = 10;
const USAGE: &str = "usage: bench-steady slotkv|redis TO fill PREFIX KEYS VALUE_BYTES IN_FLIGHT, or \
                     ... load PREFIX KEYS VALUE_BYTES CALLERS PROBES INTERVAL_MS FILE";

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The keys and values of a load.
#[derive(Clone)]
struct Keys {
    prefix: String,
    count: u64,
    value: Arc<[u8]>,
}

impl Keys {
    fn key(&self, number: u64) -> String {
        let digits = KEY_BYTES.saturating_sub(self.prefix.len());
        format!("{}{number:0digits$}", self.prefix)
    }
}

/// What the tasks tell.
struct Told {
    file: BufWriter<File>,
    histogram: Histogram,
    begin_us: u64,
}

impl Told {
    fn line(&mut self, line: &str) {
        // The disk is full, or so: then the file ends early, and its reader says so.
        let _ = writeln!(self.file, "{line}");
    }

    fn tell(&mut self, redirects: Option<u64>) -> io::Result<()> {
        let end_us = clock::now_us();
        let buckets = self.histogram.take_text();
        self.line(&format!("load {} {end_us}{buckets}", self.begin_us));
        self.begin_us = end_us;
        if let Some(redirects) = redirects {
            self.line(&format!("redirects {end_us} {redirects}"));
        }
        self.file.flush()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [client, to, verb, prefix, keys, value_bytes, rest @ ..] = &arguments[..] else {
        return Err(USAGE.into());
    };
    let store = Store::open(client, to).await?;
    let value = vec![b'v'; value_bytes.parse()?].into();
    let keys = Keys { prefix: prefix.clone(), count: keys.parse()?, value };
    match (verb.as_str(), rest) {
        ("fill", [in_flight]) => fill(store, keys, in_flight.parse()?).await,
        ("load", [callers, probes, interval_ms, file]) => {
            let interval = Duration::from_millis(interval_ms.parse()?);
            let (callers, probes): (usize, usize) = (callers.parse()?, probes.parse()?);
            let mut stores = vec![store];
            let clients = (callers + probes).div_ceil(TASKS_PER_CLIENT);
            while stores.len() < clients {
                stores.push(Store::open(client, to).await?);
            }
            load(stores, keys, callers, probes, interval, file).await
        }
        _ => Err(USAGE.into()),
    }
}

async fn fill(store: Store, keys: Keys, in_flight: u64) -> Outcome<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..in_flight {
        let (mut store, keys, next) = (store.clone(), keys.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= keys.count {
                    return Ok::<(), String>(());
                }
                store.put(&keys.key(number), &keys.value).await?;
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Callers first, then probes, so many for each client.
async fn load(
    stores: Vec<Store>,
    keys: Keys,
    callers: usize,
    probes: usize,
    interval: Duration,
    file: &str,
) -> Outcome<()> {
    let file = BufWriter::new(File::create(file)?);
    let told = Told { file, histogram: Histogram::default(), begin_us: clock::now_us() };
    let told = Arc::new(Mutex::new(told));
    let redirects = move |stores: &[Store]| stores.iter().map(Store::redirects).sum::<Option<u64>>();
    for caller in 0..callers {
        let store = stores[caller / TASKS_PER_CLIENT].clone();
        tokio::spawn(call(caller as u64, store, keys.clone(), told.clone()));
    }
    let ready = Arc::new(AtomicUsize::new(0));
    for probe in 0..probes {
        let first = interval * probe as u32 / probes.max(1) as u32;
        let (store, value) = (stores[(callers + probe) / TASKS_PER_CLIENT].clone(), keys.value.clone());
        let (told, ready) = (told.clone(), ready.clone());
        tokio::spawn(async move {
            tokio::time::sleep(first).await;
            put_again_and_again(probe, store, &value, interval, &told, &ready).await;
        });
    }
    let end = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
    let (teller, asked) = (told.clone(), stores.clone());
    tokio::spawn(async move {
        let mut is_ready = false;
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            let Ok(mut told) = teller.lock() else { return };
            if told.tell(redirects(&asked)).is_err() {
                return;
            }
            if !is_ready && ready.load(Relaxed) == probes {
                is_ready = true;
                println!("ready");
            }
        }
    });
    end.await??;
    told.lock().map_err(|_| "a caller panicked")?.tell(redirects(&stores))?;
    // Calls that are still under way are not waited for.
    std::process::exit(0);
}

/// A caller of the load.
async fn call(caller: u64, mut store: Store, keys: Keys, told: Arc<Mutex<Told>>) {
    let mut chance = Chance(caller + 1);
    loop {
        let key = keys.key(chance.below(keys.count));
        let is_put = chance.below(2) == 0;
        let begin = clock::now_us();
        let done = match is_put {
            true => store.put(&key, &keys.value).await,
            false => store.get(&key).await.map(|_| ()),
        };
        let end = clock::now_us();
        let failed = done.is_err();
        {
            let Ok(mut told) = told.lock() else { return };
            match done {
                Ok(()) => told.histogram.add(end - begin),
                Err(error) => told.line(&format!("error {end} {error}")),
            }
        }
        if failed {
            // What fails at once must not take the machine.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn put_again_and_again(
    probe: usize,
    mut store: Store,
    value: &[u8],
    interval: Duration,
    told: &Mutex<Told>,
    ready: &AtomicUsize,
) {
    let key = format!("probe{probe:03}");
    let mut is_first = true;
    loop {
        let begin = clock::now_us();
        let done = store.put(&key, value).await;
        let end = clock::now_us();
        if is_first && done.is_ok() {
            is_first = false;
            ready.fetch_add(1, Relaxed);
        }
        {
            let Ok(mut told) = told.lock() else { return };
            told.line(&format!("probe {probe} {begin} {end} {}", done.err().unwrap_or("ok".to_owned())));
        }
        tokio::time::sleep(interval).await;
    }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(bound)) >> 64) as u64
    }
}
