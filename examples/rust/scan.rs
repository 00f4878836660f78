//! cargo run -p slotkv-examples --example scan
//!
//! Keys by prefix, in slot order (cheap) and in key order (merged), and going on from a cursor.

use slotkv::{Client, Range};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), slotkv::Error> {
    let client = Client::connect(&slotkv_examples::uri()).await?.namespace("example-scan")?;
    let people: Vec<String> = (0..500).map(|number| format!("people/{number:04}")).collect();
    let others: Vec<String> = (0..100).map(|number| format!("places/{number:04}")).collect();
    for put in client.put_many(people.iter().chain(&others).map(|key| (key, key))).await {
        put?;
    }

    // Slot order: every key once, whatever is written meanwhile.
    assert_eq!(client.count(Range::prefix("people/")).await?, 500);
    let mut scan = client.scan(Range::prefix("people/"))?;
    let mut found = Vec::new();
    while let Some(item) = scan.next().await {
        found.push(item?.key);
        if found.len() == 200 {
            break;
        }
    }

    // A cursor is plain bytes: another process can go on from it.
    let cursor = scan.cursor();
    let mut rest = client.scan_from(Range::prefix("people/"), &cursor)?;
    while let Some(item) = rest.next().await {
        found.push(item?.key);
    }
    found.sort();
    assert_eq!(found, people);

    // Key order, keys alone.
    let mut ordered = client.scan(Range::between("people/0490", "places/0010").ordered().keys_only())?;
    let mut keys = Vec::new();
    while let Some(item) = ordered.next().await {
        keys.push(item?.key);
    }
    assert_eq!(keys, [&people[490..], &others[..10]].concat());

    client.delete_many(people.iter().chain(&others)).await;
    client.close().await;
    println!("scan: {} keys in two parts, {} in key order", found.len(), keys.len());
    Ok(())
}
