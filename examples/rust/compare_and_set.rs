//! cargo run -p slotkv-examples --example compare_and_set
//!
//! Changing a value that others change at the same time: read it with its version, write it back only if the version
//! still stands. An unmet condition is a result, not an error.

use slotkv::{Client, Put};

const TASKS: u64 = 8;
const STEPS: u64 = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), slotkv::Error> {
    let client = Client::connect(&slotkv_examples::uri()).await?.namespace("example-cas")?;
    client.put("sum", "0").await?;

    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(add_often(client.clone()))).collect();
    let mut repeated = 0;
    for task in tasks {
        repeated += task.await.expect("the task ends")?;
    }

    let sum = client.get("sum").await?;
    assert_eq!(sum.as_deref(), Some((TASKS * STEPS).to_string().as_bytes()));
    client.delete("sum").await?;

    // For a plain counter there is a shorter way.
    assert_eq!(client.increment("counter", 41).await?, 41);
    assert_eq!(client.increment("counter", 1).await?, 42);
    client.delete("counter").await?;

    client.close().await;
    println!("compare_and_set: {} additions, {repeated} repeated", TASKS * STEPS);
    Ok(())
}

/// Adds 1 so many times; how often somebody else was faster.
async fn add_often(client: Client) -> Result<u64, slotkv::Error> {
    let mut repeated = 0;
    for _ in 0..STEPS {
        loop {
            let entry = client.get_entry("sum").await?.expect("it is never deleted");
            let sum: u64 = String::from_utf8_lossy(&entry.value).parse().expect("only numbers are written");
            match client.compare_and_set("sum", (sum + 1).to_string(), entry.version).await? {
                Put::Unmet { .. } => repeated += 1,
                _ => break,
            }
        }
    }
    Ok(repeated)
}
