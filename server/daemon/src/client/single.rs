//! `get`, `put`, `del`, `has`.

use std::{io::Read, path::Path};

use slotkv::{Answer, CallOptions, Command, Condition, Delete, Put};
use slotkv_proto::limits::VALUE_BYTES_MAX;

use super::{
    bytes_of, connect, failure,
    output::{Output, delete_words, object, push_number, put_words, standing},
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::{DelFlags, GetFlags, HasFlags, PutFlags},
    },
    lines::record,
    text::quote,
};

/// Prints the value as it is; on a terminal with a line end behind it.
pub(crate) async fn get(flags: GetFlags) -> Result<Exit, Failure> {
    let key = bytes_of(&flags.key, flags.escaped)?;
    let client = connect(&flags.client).await?;
    let entry = client.get_entry(&key).await.map_err(failure);
    client.close().await;
    let mut output = Output::new();
    let Some(entry) = entry? else {
        if flags.client.json {
            let mut line = object(&key);
            line.extend_from_slice(b",\"found\":false}\n");
            output.bytes(&line)?;
            return output.end(Exit::No);
        }
        return Err(not_found(&key));
    };
    if flags.client.json {
        let mut line = object(&key);
        line.push(b',');
        record::push_field(&mut line, "value", &entry.value);
        push_number(&mut line, "version", entry.version);
        if let Some(ttl) = entry.ttl {
            push_number(&mut line, "ttl_ms", ttl.as_millis() as u64);
        }
        line.extend_from_slice(b",\"found\":true}\n");
        output.bytes(&line)?;
    } else {
        output.bytes(&entry.value)?;
        if output.is_terminal() {
            output.bytes(b"\n")?;
        }
    }
    output.end(Exit::Done)
}

/// Prints `created`, `updated`, or how the key stands if the condition is not met.
pub(crate) async fn put(flags: PutFlags) -> Result<Exit, Failure> {
    let key = bytes_of(&flags.key, flags.escaped)?;
    let value = value_of(&flags)?;
    let condition = match (flags.if_absent, flags.if_present, flags.if_version) {
        (true, ..) => Condition::Absent,
        (_, true, _) => Condition::Present,
        (.., Some(version)) => Condition::Version(version),
        _ => Condition::Always,
    };
    let client = connect(&flags.client).await?;
    let command = Command::Put { key: key.into(), value: value.into(), condition, ttl: flags.ttl };
    let answer = client.call(command, &CallOptions::default()).await.map_err(failure);
    client.close().await;
    let Answer::Put(put) = answer? else {
        return Err(Failure::failed("the client gave another answer than a put's"));
    };
    let exit = if matches!(put, Put::Unmet { .. }) { Exit::No } else { Exit::Done };
    said(put_words(put), exit, flags.client.json)
}

/// Prints `deleted`, `not found`, or how the key stands if the condition is not met.
pub(crate) async fn del(flags: DelFlags) -> Result<Exit, Failure> {
    let key = bytes_of(&flags.key, flags.escaped)?;
    let client = connect(&flags.client).await?;
    let deleted = match flags.if_version {
        Some(version) => client.delete_if_version(key, version).await,
        None => client.delete(key).await,
    };
    client.close().await;
    let delete = deleted.map_err(failure)?;
    let exit = if matches!(delete, Delete::Deleted { .. }) { Exit::Done } else { Exit::No };
    said(delete_words(delete), exit, flags.client.json)
}

/// Prints `yes` or `no`.
pub(crate) async fn has(flags: HasFlags) -> Result<Exit, Failure> {
    let key = bytes_of(&flags.key, flags.escaped)?;
    let client = connect(&flags.client).await?;
    let has = client.has(key).await.map_err(failure);
    client.close().await;
    let has = has?;
    let mut output = Output::new();
    match flags.client.json {
        true => output.line(&format!("{{\"has\":{has}}}"))?,
        false => output.line(if has { "yes" } else { "no" })?,
    };
    output.end(if has { Exit::Done } else { Exit::No })
}

fn not_found(key: &[u8]) -> Failure {
    Failure { exit: Exit::No, message: format!("not found: {}", quote(key)) }
}

fn said((what, version): (&str, u64), exit: Exit, json: bool) -> Result<Exit, Failure> {
    let mut output = Output::new();
    if json {
        let what = what.replace(' ', "_");
        output.line(&format!("{{\"result\":\"{what}\",\"version\":{version}}}"))?;
    } else if what == "unmet" {
        output.line(&format!("unmet: {}; nothing was changed", standing(version)))?;
    } else {
        output.line(what)?;
    }
    output.end(exit)
}

fn value_of(flags: &PutFlags) -> Result<Vec<u8>, Failure> {
    match (&flags.value, &flags.value_file) {
        (Some(value), _) if value == "@-" => bounded(std::io::stdin().lock(), "stdin"),
        (Some(value), _) => bytes_of(value, flags.escaped),
        (None, Some(path)) => file(path),
        (None, None) => Err(Failure::usage("wants a value, @- or --value-file")),
    }
}

fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|error| Failure::usage(format_args!("{shown}: {error}")))?;
    bounded(file, &shown)
}

/// Reads everything, but not more than a value may have.
fn bounded(source: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let limit = VALUE_BYTES_MAX as u64;
    source.take(limit + 1).read_to_end(&mut value).map_err(|error| Failure::io(name, error))?;
    if value.len() as u64 > limit {
        return Err(Failure::usage(format_args!("{name} has more than {limit} bytes, the most of a value")));
    }
    Ok(value)
}
