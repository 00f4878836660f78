//! `scan`, `dump`, `count`.
//!
//! Plain lines are fields separated by tabs, with the escapes of `text.rs`; JSON lines are those of an export, `dump`'s
//! with slot and version. Where more is left, the cursor goes to stderr, or as a last line `{"cursor":...}` to JSON.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use slotkv::{Item, Scan};

use super::{
    connect, failure,
    output::{Output, Reading, object, push_number},
    range_of,
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::{CountFlags, ScanFlags},
    },
    lines::record,
    text::escape,
};

/// What is shown of an item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub json: bool,
    pub keys_only: bool,
    /// Slots and versions too.
    pub versions: bool,
}

/// `scan`, or `dump` with `versions`.
pub(crate) async fn scan(flags: ScanFlags, versions: bool) -> Result<Exit, Failure> {
    let mut range = range_of(&flags.range)?;
    range.ordered = flags.ordered;
    range.keys_only = flags.keys_only;
    if let Some(limit) = flags.limit {
        // Nothing is fetched that will not be shown.
        range.items_max = u32::try_from(limit).unwrap_or(0);
    }
    let cursor = flags.cursor.as_deref().map(decode_cursor).transpose()?;
    let client = connect(&flags.client).await?;
    let scan = match cursor {
        Some(cursor) => client.scan_from(range, &cursor),
        None => client.scan(range),
    };
    let shown = Shown { json: flags.client.json, keys_only: flags.keys_only, versions };
    let outcome = match scan {
        Ok(scan) => list(scan, flags.limit, shown).await,
        Err(error) => Err(failure(error)),
    };
    client.close().await;
    outcome
}

async fn list(mut scan: Scan, limit: Option<u64>, shown: Shown) -> Result<Exit, Failure> {
    let mut output = Output::new();
    let mut left = limit.unwrap_or(u64::MAX);
    while left > 0 {
        match scan.next().await {
            None => return output.end(Exit::Done),
            Some(Ok(item)) => {
                if !show(&mut output, &item, shown)? {
                    return Ok(Exit::Done);
                }
            }
            Some(Err(error)) => {
                tell_cursor(&mut output, &scan, shown)?;
                output.end(Exit::Failed)?;
                return Err(failure(error));
            }
        }
        left -= 1;
    }
    tell_cursor(&mut output, &scan, shown)?;
    output.end(Exit::Done)
}

fn show(output: &mut Output, item: &Item, shown: Shown) -> Reading {
    let mut line = if shown.json { json_of(item, shown) } else { line_of(item, shown).into_bytes() };
    line.push(b'\n');
    output.bytes(&line)
}

fn tell_cursor(output: &mut Output, scan: &Scan, shown: Shown) -> Result<(), Failure> {
    let cursor = encode_cursor(&scan.cursor());
    if shown.json {
        output.line(&format!("{{\"cursor\":\"{cursor}\"}}"))?;
    } else {
        eprintln!("go on with --cursor {cursor}");
    }
    Ok(())
}

/// The fields of an item, separated by tabs.
pub(crate) fn line_of(item: &Item, shown: Shown) -> String {
    let mut line = String::new();
    if shown.versions {
        line.push_str(&format!("{}\t{}\t", item.slot, item.version));
    }
    line.push_str(&escape(&item.key));
    if !shown.keys_only {
        line.push('\t');
        line.push_str(&escape(&item.value));
    }
    line
}

fn json_of(item: &Item, shown: Shown) -> Vec<u8> {
    let mut line = object(&item.key);
    if !shown.keys_only {
        line.push(b',');
        record::push_field(&mut line, "value", &item.value);
    }
    if shown.versions {
        push_number(&mut line, "slot", item.slot.into());
        push_number(&mut line, "version", item.version);
    }
    record::push_expiry(&mut line, item.ttl);
    line.push(b'}');
    line
}

/// A cursor as text.
pub(crate) fn encode_cursor(cursor: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(cursor)
}

/// The cursor of a text.
pub(crate) fn decode_cursor(text: &str) -> Result<Vec<u8>, Failure> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| Failure::usage(format_args!("this is no cursor: {error}")))
}

/// `count`.
pub(crate) async fn count(flags: CountFlags) -> Result<Exit, Failure> {
    let range = range_of(&flags.range)?;
    let client = connect(&flags.client).await?;
    let count = client.count(range).await.map_err(failure);
    client.close().await;
    let count = count?;
    let mut output = Output::new();
    match flags.client.json {
        true => output.line(&format!("{{\"count\":{count}}}"))?,
        false => output.line(&count.to_string())?,
    };
    output.end(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Item {
        Item { key: "a\tb".into(), value: vec![0xff].into(), version: 7, slot: 3, ttl: None }
    }

    #[test]
    fn plain_lines_keep_their_fields_apart() {
        let line = |keys_only, versions| line_of(&item(), Shown { json: false, keys_only, versions });
        assert_eq!(line(false, false), "a\\tb\t\\xff");
        assert_eq!(line(true, false), "a\\tb");
        assert_eq!(line(false, true), "3\t7\ta\\tb\t\\xff");
    }

    #[test]
    fn json_lines_are_those_of_an_export() {
        let json = |keys_only, versions| {
            String::from_utf8(json_of(&item(), Shown { json: true, keys_only, versions })).unwrap()
        };
        assert_eq!(json(false, false), r#"{"key":"a\tb","value_base64":"/w=="}"#);
        assert_eq!(json(true, true), r#"{"key":"a\tb","slot":3,"version":7}"#);
    }

    #[test]
    fn a_cursor_is_read_back_and_anything_else_refused() {
        assert_eq!(decode_cursor(&encode_cursor(&[0, 255, 7])).unwrap(), [0, 255, 7]);
        assert_eq!(decode_cursor("no cursor").unwrap_err().exit, Exit::Usage);
    }
}
