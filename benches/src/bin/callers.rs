//! `bench-callers slotkv|etcd TO CALLERS INTERVAL_MS FILE`: callers that put a key each, again and again, and write down
//! when, so that it shows how long a fail-over keeps them from writing. Ends with stdin.
//!
//! FILE gets a line for each call: number of the caller, begin and end in microseconds of CLOCK_MONOTONIC, `ok` or the
//! error. benches/python/callers.py and benches/node/callers.mjs do the same.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use slotkv::Client;
use slotkv_benches::{clock, etcd::Etcd};

/// Lines are in the file after so long.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
const VALUE_BYTES: usize = 100;

enum Store {
    Slotkv(Client),
    Etcd(Etcd),
}

impl Store {
    async fn put(&self, key: &str, value: Vec<u8>) -> Result<(), String> {
        match self {
            Self::Slotkv(client) => {
                client.put(key.to_owned(), value).await.map(|_| ()).map_err(|error| error.to_string())
            }
            Self::Etcd(etcd) => etcd.put(key.to_owned().into(), value.into()).await,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [client, to, callers, interval_ms, file] = &arguments[..] else {
        return Err("usage: bench-callers slotkv|etcd TO CALLERS INTERVAL_MS FILE".into());
    };
    let store = Arc::new(match client.as_str() {
        "slotkv" => Store::Slotkv(Client::connect(to).await?),
        _ => Store::Etcd(Etcd::new(to)?),
    });
    let (callers, interval_ms): (u64, u64) = (callers.parse()?, interval_ms.parse()?);
    let lines = Arc::new(Mutex::new(BufWriter::new(File::create(file)?)));
    for caller in 0..callers {
        let (store, lines) = (store.clone(), lines.clone());
        let first = Duration::from_micros(interval_ms * 1000 * caller / callers);
        tokio::spawn(async move {
            tokio::time::sleep(first).await;
            call(caller, &store, &lines, Duration::from_millis(interval_ms)).await;
        });
    }
    let end = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
    let flushed = lines.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FLUSH_EVERY).await;
            let _ = flushed.lock().map(|mut lines| lines.flush());
        }
    });
    end.await??;
    lines.lock().map_err(|_| "a caller panicked")?.flush()?;
    // Calls that are still under way are not waited for.
    std::process::exit(0);
}

async fn call(caller: u64, store: &Store, lines: &Mutex<BufWriter<File>>, pause: Duration) {
    let key = format!("{{caller}}rust-{caller}");
    for number in 0u64.. {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(VALUE_BYTES, b'v');
        let begin = clock::now_us();
        let done = store.put(&key, value).await;
        let outcome = done.err().map_or("ok".to_owned(), |error| error.replace('\n', " "));
        let end = clock::now_us();
        // The disk is full, or so: nobody reads on.
        if !write_line(lines, &format!("{caller} {begin} {end} {outcome}")) {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

fn write_line(lines: &Mutex<BufWriter<File>>, line: &str) -> bool {
    lines.lock().is_ok_and(|mut lines| writeln!(lines, "{line}").is_ok())
}
