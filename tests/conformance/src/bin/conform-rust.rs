//! The driver of the Rust client.

use std::time::Duration;

use bytes::Bytes;
use slotkv::{Client, Condition, Item, PutOptions, Range, WriteToken};
use slotkv_conformance::{step::Step, text};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};

/// Before it is looked again whether a key has ended.
const PAUSE: Duration = Duration::from_millis(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let uri = std::env::args().nth(1).ok_or("usage: conform-rust URI")?;
    let mut driver = Driver { client: Client::connect(&uri).await?, uri, last_scan: None, last_token: None };
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
    /// Of the last error that had one.
    last_token: Option<WriteToken>,
}

impl Driver {
    async fn carry_out(&mut self, step: &Step) -> String {
        // Bytes are bytes, times are not negative, and an option that does not exist does not compile.
        if step.is_odd() {
            return "unrepresentable".into();
        }
        let answer = match step.number("cancel") {
            // Polled once, so that it is under way, and dropped.
            Some(1) => tokio::select! {
                biased;
                answer = self.told(step) => answer,
                () = tokio::task::yield_now() => Ok("cancelled".into()),
            },
            _ => self.told(step).await,
        };
        answer.unwrap_or_else(|error| {
            self.last_token = error.token().cloned().or(self.last_token.take());
            error_text(&error)
        })
    }

    async fn told(&mut self, step: &Step) -> slotkv::Result<String> {
        let mut client = self.client.clone();
        if let Some(namespace) = step.bytes("namespace") {
            client = client.namespace(&String::from_utf8_lossy(&namespace))?;
        }
        if let Some(deadline_ms) = step.number("deadline_ms") {
            client = client.with_deadline(Duration::from_millis(deadline_ms));
        }
        // Calls take no options here: both ways are a view.
        for name in ["view_traceparent", "traceparent"] {
            if let Some(traceparent) = step.bytes(name) {
                client = client.with_traceparent(&String::from_utf8_lossy(&traceparent))?;
            }
        }
        if let Some(level) = step.read_level() {
            client = client.with_read_level(level);
        }
        if step.number("closed") == Some(1) {
            client = Client::connect(&self.uri).await?;
            client.close().await;
        }
        let key = || step.bytes_at(0);
        let value = || step.bytes_at(1);
        let ttl = step.number("ttl_ms").map(Duration::from_millis);
        Ok(match step.operation.as_str() {
            "connect" => {
                Client::connect(&String::from_utf8_lossy(&key())).await?.close().await;
                "done".into()
            }
            "get" => text::value(client.get(key()).await?.as_deref()),
            "get_entry" => text::entry(client.get_entry(key()).await?),
            "has" => client.has(key()).await?.to_string(),
            "put" if ttl.is_none() => text::put(client.put(key(), value()).await?),
            "put_if_absent" if ttl.is_none() => text::put(client.put_if_absent(key(), value()).await?),
            "update_if_present" if ttl.is_none() => {
                text::put(client.update_if_present(key(), value()).await?)
            }
            "compare_and_set" if ttl.is_none() => {
                text::put(client.compare_and_set(key(), value(), step.number_at(2) as u64).await?)
            }
            "put" | "put_if_absent" | "update_if_present" | "compare_and_set" => {
                let condition = match step.operation.as_str() {
                    "put" => Condition::Always,
                    "put_if_absent" => Condition::Absent,
                    "update_if_present" => Condition::Present,
                    _ => Condition::Version(step.number_at(2) as u64),
                };
                text::put(client.put_with(key(), value(), PutOptions { condition, ttl }).await?)
            }
            "expire" => {
                let ttl = Duration::from_millis(step.number_at(1) as u64);
                text::put(client.expire(key(), ttl).await?)
            }
            "persist" => text::put(client.persist(key()).await?),
            "gone" => {
                while client.has(key()).await? {
                    tokio::time::sleep(PAUSE).await;
                }
                "gone".into()
            }
            "delete" => text::delete(client.delete(key()).await?),
            "delete_if_version" => {
                text::delete(client.delete_if_version(key(), step.number_at(1) as u64).await?)
            }
            "increment" => format!("number {}", client.increment(key(), step.number_at(1) as i64).await?),
            "outcome" => {
                let told = step.arguments.first().map(|_| WriteToken::from_bytes(key())).transpose()?;
                match told.or_else(|| self.last_token.clone()) {
                    Some(token) => text::outcome(client.outcome(&token).await?),
                    None => "no token".into(),
                }
            }
            "get_many" => {
                let values = client.get_many(step.all()).await;
                many(values, |value| text::value(value.as_deref()))
            }
            "put_many" => {
                let words: Vec<Bytes> = step.all().collect();
                let pairs = words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
                let options = PutOptions { ttl, ..PutOptions::default() };
                many(client.put_many_with(pairs, options).await, text::put)
            }
            "delete_many" => many(client.delete_many(step.all()).await, text::delete),
            "count" => format!("count {}", client.count(step.range()).await?),
            "scan" => self.scan(&client, step, step.range(), step.bytes("cursor")).await?,
            "scan_on" => match self.last_scan.take() {
                Some((range, cursor)) => self.scan(&client, step, range, Some(cursor)).await?,
                None => "no scan".into(),
            },
            "dump" => text::items(&client.dump(step.range()).await?, true),
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
        let limit = step.number("limit");
        let (items, cursor) = items(client, range.clone(), cursor, limit).await?;
        let text = text::items(&items, cursor.is_none());
        self.last_scan = cursor.map(|cursor| (range, cursor));
        Ok(text)
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

fn many<T>(results: Vec<slotkv::Result<T>>, text: impl Fn(T) -> String) -> String {
    text::many(results.into_iter().map(|result| match result {
        Ok(value) => text(value),
        Err(error) => error_text(&error),
    }))
}

fn error_text(error: &slotkv::Error) -> String {
    text::error(error.code, error.outcome, error.retry)
}
