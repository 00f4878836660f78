//! cargo run -p slotkv-examples --example fail_over -- slotkv://host:port
//!
//! What a caller meets while a worker is down. The example adds to counters on every shard and asks you to crash a
//! worker (`kill -9`) and to start it again on its data. Calls wait and are repeated by the client, each addition
//! happens exactly once, and in the end the counters agree with what was acknowledged.

use std::time::Duration;

use slotkv::{Client, Outcome};

/// Spread over the slots, so that every shard has some.
const COUNTERS: usize = 64;
/// Additions to each counter after the interruption was seen.
const ROUNDS_AFTER: usize = 20;
/// Longest time that one addition may take, and so that the worker may be away.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), slotkv::Error> {
    let client = Client::connect(&slotkv_examples::uri()).await?.namespace("example-fail-over")?;
    let client = client.with_deadline(PATIENCE);
    let keys: Vec<String> = (0..COUNTERS).map(|number| format!("counter/{number}")).collect();
    client.delete_many(&keys).await;

    let mut acknowledged = vec![0; COUNTERS];
    let mut longest = Duration::ZERO;
    let mut asked = false;
    let mut rounds_left = ROUNDS_AFTER;
    while rounds_left > 0 {
        for (key, acknowledged) in keys.iter().zip(&mut acknowledged) {
            let start = tokio::time::Instant::now();
            match client.increment(key, 1).await {
                Ok(sum) => {
                    *acknowledged += 1;
                    assert_eq!(sum, *acknowledged, "{key}: an addition was lost or done twice");
                }
                // The one case in which a caller has to look: the addition may have been applied or not.
                Err(error) if error.outcome == Outcome::Unknown => {
                    let now = client.get(key).await?.unwrap_or_default();
                    *acknowledged = String::from_utf8_lossy(&now).parse().expect("a number");
                }
                Err(error) => return Err(error),
            }
            longest = longest.max(start.elapsed());
        }
        if !asked {
            println!("crash a worker now (kill -9) and start it again");
            asked = true;
        }
        if client.stats().connections_lost > 0 {
            rounds_left -= 1;
        }
    }

    let sums = client.get_many(&keys).await;
    for (sum, acknowledged) in sums.into_iter().zip(&acknowledged) {
        assert_eq!(sum?.as_deref(), Some(acknowledged.to_string().as_bytes()));
    }
    let stats = client.stats();
    client.delete_many(&keys).await;
    client.close().await;
    println!(
        "ok: {} additions, each exactly once; longest {} ms, {} sent again, {} connections lost",
        acknowledged.iter().sum::<i64>(),
        longest.as_millis(),
        stats.retries,
        stats.connections_lost
    );
    Ok(())
}
