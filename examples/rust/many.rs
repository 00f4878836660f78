//! cargo run -p slotkv-examples --example many
//!
//! Thousands of keys at once. The client sends each key to its owner, many in one frame; every key has its own result,
//! in the order of the keys.

use slotkv::{Client, Code, Outcome, Put};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), slotkv::Error> {
    let client = Client::connect(&slotkv_examples::uri()).await?.namespace("example-many")?;
    let keys: Vec<String> = (0..10_000).map(|number| format!("user:{number}")).collect();
    client.delete_many(&keys).await;

    let puts = client.put_many(keys.iter().map(|key| (key, format!("value of {key}")))).await;
    assert!(puts.iter().all(|put| matches!(put, Ok(Put::Created { .. }))));

    let values = client.get_many(&keys).await;
    for (key, value) in keys.iter().zip(values) {
        assert_eq!(value?.as_deref(), Some(format!("value of {key}").as_bytes()));
    }

    // One key past its limit spoils nothing for the others.
    let long = "x".repeat(40_000);
    let puts = client.put_many([("short", "a"), (long.as_str(), "b"), ("also short", "c")]).await;
    assert!(puts[0].is_ok() && puts[2].is_ok());
    let error = puts[1].as_ref().unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::TooLarge, Outcome::Failed));
    println!("refused: {error}");

    let deleted = client.delete_many(keys.iter().map(String::as_str).chain(["short", "also short"])).await;
    assert!(deleted.iter().all(Result::is_ok));
    client.close().await;
    println!("many: {} keys written, read and deleted", keys.len());
    Ok(())
}
