//! The Rust client of the soak: `soak-rust URI`. `tests/soak/README.md` says what a round is.

use std::{
    io::{self, BufRead},
    time::Duration,
};

use slotkv::{Client, Code, Delete, Put, Range};

/// Longest time that a worker may be away.
const PATIENCE: Duration = Duration::from_secs(100);
/// Keys of each call on many.
const KEYS: u64 = 8;

type Round = Result<(), Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Round {
    let uri = std::env::args().nth(1).ok_or("usage: soak-rust URI")?;
    let client = Client::connect(&uri).await?.with_deadline(PATIENCE).namespace("soak-rust")?;
    for (line, number) in io::stdin().lock().lines().zip(1..) {
        line?;
        round(&client, number).await.map_err(|error| format!("round {number}: {error}"))?;
        println!("done");
    }
    client.close().await;
    Ok(())
}

async fn round(client: &Client, number: u64) -> Round {
    let value = vec![number as u8; (1 + number * 97 % 5000) as usize];
    let version = written(client.put("value", value.clone()).await?)?;
    expect(client.get("value").await?.is_some_and(|found| *found == value), "the value that was put")?;
    let later = written(client.compare_and_set("value", number.to_string(), version).await?)?;
    expect(later > version, "a greater version")?;
    expect(client.increment("counter", 1).await? == number as i64, "each addition once")?;

    let keys: Vec<String> = (0..KEYS).map(|key| format!("key{key}")).collect();
    for put in client.put_many(keys.iter().map(|key| (key.clone(), number.to_string()))).await {
        written(put?)?;
    }
    for found in client.get_many(&keys).await {
        expect(found?.is_some_and(|found| *found == *number.to_string().as_bytes()), "the values of many")?;
    }
    expect(matches!(client.delete("value").await?, Delete::Deleted { .. }), "a key to delete")?;
    expect(!client.has("value").await?, "no deleted key")?;
    if number.is_multiple_of(4) { seldom(client).await } else { Ok(()) }
}

/// Scans that go on, and calls that do not succeed.
async fn seldom(client: &Client) -> Round {
    let range = Range { prefix: "key".into(), ordered: true, ..Range::default() };
    let mut scan = client.scan(range.clone())?;
    for _ in 0..3 {
        scan.next().await.ok_or("a short scan")??;
    }
    let (cursor, mut left) = (scan.cursor(), 0);
    drop(scan);
    let mut scan = client.scan_from(range.clone(), &cursor)?;
    while let Some(item) = scan.next().await {
        item?;
        left += 1;
    }
    expect(left == KEYS - 3 && client.count(range).await? == KEYS, "the keys of many")?;
    let refused = client.put("k".repeat(40_000), "").await;
    expect(refused.is_err_and(|error| error.code == Code::TooLarge), "TOO_LARGE")?;
    // Whether it succeeds is chance.
    let _ = client.with_deadline(Duration::from_millis(1)).get("counter").await;
    tokio::select! {
        biased;
        _ = client.get("counter") => {}
        () = tokio::task::yield_now() => {}
    }
    Ok(())
}

fn written(put: Put) -> Result<u64, String> {
    match put {
        Put::Created { version } | Put::Updated { version } => Ok(version),
        other => Err(format!("a write that was not done: {other:?}")),
    }
}

fn expect(is_so: bool, what: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(format!("not so: {what}")) }
}
