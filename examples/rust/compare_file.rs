//! cargo run -p slotkv-examples --example compare_file -- FILE slotkv://host:port
//!
//! Reads back every record of a JSON Lines file (as `slotkv import` reads it) and compares it byte for byte; the demo's
//! Rust client. Prints `{"done": n}` as it goes, and at the end the records found, those that differ, and the seconds.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use slotkv::Client;

/// Records asked for at once, unless their values are large.
const CHUNK_RECORDS: usize = 2000;
/// Bytes of values asked for at once.
const CHUNK_BYTES: usize = 16 << 20;

type Failure = Box<dyn std::error::Error>;

#[derive(Default)]
struct Tally {
    /// Keys that exist.
    found: u64,
    /// Keys whose value differs.
    different: u64,
    /// Time spent asking.
    asking: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let (Some(file), Some(uri)) = (std::env::args().nth(1), std::env::args().nth(2)) else {
        return Err("usage: compare_file FILE URI".into());
    };
    let client = Client::connect(&uri).await?.with_deadline(Duration::from_secs(60));
    let mut tally = Tally::default();
    let mut chunk = Vec::new();
    let (mut chunk_bytes, mut done) = (0, 0);
    for line in BufReader::with_capacity(1 << 20, File::open(file)?).lines() {
        let Some((key, value)) = record(&line?)? else { continue };
        chunk_bytes += value.len();
        chunk.push((key, value));
        if chunk.len() == CHUNK_RECORDS || chunk_bytes >= CHUNK_BYTES {
            done += chunk.len();
            compare(&client, std::mem::take(&mut chunk), &mut tally).await?;
            chunk_bytes = 0;
            println!("{{\"done\":{done}}}");
        }
    }
    compare(&client, chunk, &mut tally).await?;
    client.close().await;
    let Tally { found, different, asking } = tally;
    println!("{{\"records\":{found},\"different\":{different},\"seconds\":{}}}", asking.as_secs_f64());
    Ok(())
}

async fn compare(client: &Client, chunk: Vec<(Vec<u8>, Vec<u8>)>, tally: &mut Tally) -> Result<(), Failure> {
    let start = Instant::now();
    let values = client.get_many(chunk.iter().map(|(key, _)| key)).await;
    tally.asking += start.elapsed();
    for ((_, expected), value) in chunk.iter().zip(values) {
        if let Some(value) = value? {
            tally.found += 1;
            tally.different += u64::from(value != *expected);
        }
    }
    Ok(())
}

/// A key and its value.
type Record = (Vec<u8>, Vec<u8>);

/// The record of a line; `None` for the header.
fn record(line: &str) -> Result<Option<Record>, Failure> {
    let mut fields: Value = serde_json::from_str(line)?;
    if fields.get("slotkv_export").is_some() {
        return Ok(None);
    }
    let mut bytes = |name: &str| -> Result<Vec<u8>, Failure> {
        if let Value::String(text) = fields[name].take() {
            return Ok(text.into_bytes());
        }
        let coded = fields[format!("{name}_base64")].take();
        Ok(STANDARD.decode(coded.as_str().ok_or_else(|| format!("a record without {name}"))?)?)
    };
    Ok(Some((bytes("key")?, bytes("value")?)))
}
