//! The driver of the Rust client.

use std::time::Duration;

use bytes::Bytes;
use slotkv::{Answer, CallOptions, Client, Command, Item, Range};
use slotkv_conformance::{
    step::{Argument, Step},
    text,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let uri = std::env::args().nth(1).ok_or("usage: conform-rust URI")?;
    let mut driver = Driver { client: Client::connect(&uri).await?, uri, last_scan: None };
    let mut lines = BufReader::new(stdin()).lines();
    let mut answers = stdout();
    while let Some(line) = lines.next_line().await? {
        let answer = match Step::parse(&line) {
            Some(step) => driver.carry_out(&step).await,
            None => "malformed".into(),
        };
        answers.write_all(format!("{answer}\n").as_bytes()).await?;
        answers.flush().await?;
    }
    driver.client.close().await;
    Ok(())
}

struct Driver {
    client: Client,
    uri: String,
    /// Range and cursor of the last scan that did not come to its end.
    last_scan: Option<(Range, Bytes)>,
}

impl Driver {
    async fn carry_out(&mut self, step: &Step) -> String {
        // Bytes are bytes, times are not negative, and an option that does not exist does not compile.
        if step.is_odd() {
            return "unrepresentable".into();
        }
        let answer = match number(step, "cancel") {
            // Polled once, so that it is under way, and dropped.
            Some(1) => tokio::select! {
                biased;
                answer = self.told(step) => answer,
                () = tokio::task::yield_now() => Ok("cancelled".into()),
            },
            _ => self.told(step).await,
        };
        answer.unwrap_or_else(|error| text::error(&error))
    }

    async fn told(&mut self, step: &Step) -> slotkv::Result<String> {
        let mut client = self.client.clone();
        if let Some(namespace) = bytes(step, "namespace") {
            client = client.namespace(&String::from_utf8_lossy(&namespace))?;
        }
        if let Some(deadline_ms) = number(step, "deadline_ms") {
            client = client.with_deadline(Duration::from_millis(deadline_ms));
        }
        if number(step, "closed") == Some(1) {
            client = Client::connect(&self.uri).await?;
            client.close().await;
        }
        let arguments = &step.arguments;
        let key = || argument(arguments, 0);
        let value = || argument(arguments, 1);
        Ok(match step.operation.as_str() {
            "connect" => {
                Client::connect(&String::from_utf8_lossy(&key())).await?.close().await;
                "done".into()
            }
            "get" => match bytes(step, "traceparent") {
                Some(traceparent) => text::value(traced(&client, key(), &traceparent).await?.as_deref()),
                None => text::value(client.get(key()).await?.as_deref()),
            },
            "get_entry" => text::entry(client.get_entry(key()).await?),
            "has" => client.has(key()).await?.to_string(),
            "put" => text::put(client.put(key(), value()).await?),
            "put_if_absent" => text::put(client.put_if_absent(key(), value()).await?),
            "update_if_present" => text::put(client.update_if_present(key(), value()).await?),
            "compare_and_set" => {
                text::put(client.compare_and_set(key(), value(), count(arguments, 2)).await?)
            }
            "delete" => text::delete(client.delete(key()).await?),
            "delete_if_version" => text::delete(client.delete_if_version(key(), count(arguments, 1)).await?),
            "increment" => format!("number {}", client.increment(key(), delta(arguments, 1)).await?),
            "get_many" => {
                let values = client.get_many(all(arguments)).await;
                many(values, |value| text::value(value.as_deref()))
            }
            "put_many" => {
                let words: Vec<Bytes> = all(arguments).collect();
                let pairs = words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
                many(client.put_many(pairs).await, text::put)
            }
            "delete_many" => many(client.delete_many(all(arguments)).await, text::delete),
            "count" => format!("count {}", client.count(range(step)).await?),
            "scan" => self.scan(&client, step, range(step), bytes(step, "cursor")).await?,
            "scan_on" => match self.last_scan.take() {
                Some((range, cursor)) => self.scan(&client, step, range, Some(cursor)).await?,
                None => "no scan".into(),
            },
            "dump" => {
                let range = Range { ordered: true, ..range(step) };
                text::items(&items(&client, range, None, None).await?.0, true)
            }
            "slot" => format!("slot {}", client.slot(&key())),
            _ => "unknown".into(),
        })
    }

    async fn scan(
        &mut self,
        client: &Client,
        step: &Step,
        range: Range,
        cursor: Option<Bytes>,
    ) -> slotkv::Result<String> {
        let limit = number(step, "limit");
        let (items, cursor) = items(client, range.clone(), cursor, limit).await?;
        let text = text::items(&items, cursor.is_none());
        self.last_scan = cursor.map(|cursor| (range, cursor));
        Ok(text)
    }
}

/// A value, read as part of a trace.
async fn traced(client: &Client, key: Bytes, traceparent: &[u8]) -> slotkv::Result<Option<Bytes>> {
    let traceparent = Some(String::from_utf8_lossy(traceparent).into_owned());
    match client.call(Command::Get { key }, &CallOptions { traceparent, ..CallOptions::default() }).await? {
        Answer::Entry(entry) => Ok(entry.map(|entry| entry.value)),
        other => panic!("{other:?} to a get"),
    }
}

/// The items, at most `limit`, and where to go on if that ended it.
async fn items(
    client: &Client,
    range: Range,
    cursor: Option<Bytes>,
    limit: Option<u64>,
) -> slotkv::Result<(Vec<Item>, Option<Bytes>)> {
    let mut scan = match cursor {
        Some(cursor) => client.scan_from(range, &cursor)?,
        None => client.scan(range)?,
    };
    let mut items = Vec::new();
    while limit.is_none_or(|limit| (items.len() as u64) < limit) {
        match scan.next().await {
            Some(item) => items.push(item?),
            None => return Ok((items, None)),
        }
    }
    let cursor = scan.cursor();
    Ok((items, Some(cursor)))
}

fn range(step: &Step) -> Range {
    Range {
        prefix: bytes(step, "prefix").unwrap_or_default(),
        start: bytes(step, "start").unwrap_or_default(),
        end: bytes(step, "end").unwrap_or_default(),
        ordered: number(step, "ordered") == Some(1),
        keys_only: number(step, "keys_only") == Some(1),
        items_max: number(step, "page_items").unwrap_or(0) as u32,
    }
}

fn many<T>(results: Vec<slotkv::Result<T>>, text: impl Fn(T) -> String) -> String {
    text::many(results.into_iter().map(|result| match result {
        Ok(value) => text(value),
        Err(error) => text::error(&error),
    }))
}

fn argument(arguments: &[Argument], at: usize) -> Bytes {
    arguments.get(at).and_then(Argument::bytes).unwrap_or_default()
}

fn all(arguments: &[Argument]) -> impl Iterator<Item = Bytes> {
    arguments.iter().filter_map(Argument::bytes)
}

fn count(arguments: &[Argument], at: usize) -> u64 {
    match arguments.get(at) {
        Some(&Argument::Number(number)) => number as u64,
        _ => 0,
    }
}

fn delta(arguments: &[Argument], at: usize) -> i64 {
    match arguments.get(at) {
        Some(&Argument::Number(number)) => number as i64,
        _ => 0,
    }
}

fn number(step: &Step, name: &str) -> Option<u64> {
    match step.option(name) {
        Some(&Argument::Number(number)) => Some(number as u64),
        _ => None,
    }
}

fn bytes(step: &Step, name: &str) -> Option<Bytes> {
    step.option(name).and_then(Argument::bytes)
}
