//! The Rust client of the torture: `torture-rust URI SEED NUMBER FILE`. `tests/torture/README.md` says what it does.

use std::{fs::File, time::Duration};

use slotkv::Client;
use slotkv_torture::work::Worker;
use tokio::{
    io::{AsyncReadExt, stdin},
    task::JoinSet,
    time::sleep,
};

/// Operations at a time.
const CALLERS: u64 = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [uri, seed, number, file] = &*arguments else {
        return Err("usage: torture-rust URI SEED NUMBER FILE".into());
    };
    let (seed, number, file): (u64, u64, File) = (seed.parse()?, number.parse()?, File::create(file)?);
    let client = loop {
        match Client::connect(uri).await {
            Ok(client) => break client,
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    };
    println!("ready");
    let worker = Worker::new(client.clone(), number, file);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(worker.clone().call(seed ^ (number << 32 | caller)));
    }
    // Until the end of the input.
    stdin().read_to_end(&mut Vec::new()).await?;
    worker.end();
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    client.close().await;
    Ok(())
}
