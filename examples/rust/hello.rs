//! cargo run -p slotkv-examples --example hello
//!
//! Put, get and delete, and what they answer.

use slotkv::{Client, Delete, Put};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), slotkv::Error> {
    let client = Client::connect(&slotkv_examples::uri()).await?;
    client.delete("hello").await?;

    let put = client.put("hello", "world").await?;
    assert!(matches!(put, Put::Created { .. }));
    let put = client.put("hello", "slotkv").await?;
    assert!(matches!(put, Put::Updated { .. }));

    assert_eq!(client.get("hello").await?.as_deref(), Some(&b"slotkv"[..]));
    assert_eq!(client.get("nobody").await?, None);

    // Any bytes will do, as a key and as a value; a value may be empty.
    client.put(&b"\x00\xff key"[..], "").await?;
    assert_eq!(client.get(&b"\x00\xff key"[..]).await?.as_deref(), Some(&b""[..]));
    client.delete(&b"\x00\xff key"[..]).await?;

    assert!(matches!(client.delete("hello").await?, Delete::Deleted { .. }));
    assert_eq!(client.delete("hello").await?, Delete::NotFound);

    client.close().await;
    println!("hello: created, updated, read, deleted");
    Ok(())
}
