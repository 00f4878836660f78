//! What a driver answers, as text. Each surface has its own objects; this is what they all come down to.
//!
//! | answer | text |
//! |---|---|
//! | an absent value · a value | `none` · `value =6162` |
//! | a value with its version | `entry 7 =6162`, and if it ends `entry 7 =6162 ttl 2` with the hours that are left, rounded |
//! | whether a key exists | `true` · `false` |
//! | of a put | `created 7` · `updated 7` · `unmet 7` |
//! | of a delete | `deleted 7` · `not_found` · `unmet 7` |
//! | a sum · a count · a slot | `number -5` · `count 7` · `slot 711` |
//! | what came of a write: status, version, number; with no error before | `outcome created 7 0` · `no token` |
//! | of many | `many[created 7;error 2 TOO_LARGE failed never]` |
//! | of a scan | `items[7 =6b =76;8 =6c =77 ttl 2] cursor` or, where it is complete, `... end` |
//! | that a key has ended | `gone` |
//! | nothing | `done` |
//! | an error | `error 2 TOO_LARGE failed never` |

use std::time::Duration;

use slotkv::{Code, Delete, Entry, Item, Outcome, Put, Retry, WriteOutcome};

use crate::step::hex;

/// Longest bytes that appear whole.
pub const SHOWN_BYTES_MAX: usize = 256;

/// Bytes: in hex, or by length and hash.
pub fn bytes(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_BYTES_MAX {
        format!("={}", hex(bytes))
    } else {
        format!("~{}:{:08x}", bytes.len(), crc32(bytes))
    }
}

/// A value or none.
pub fn value(value: Option<&[u8]>) -> String {
    value.map_or("none".into(), |value| format!("value {}", bytes(value)))
}

/// A value with its version, or none.
pub fn entry(entry: Option<Entry>) -> String {
    entry.map_or("none".into(), |entry| {
        format!("entry {} {}{}", entry.version, bytes(&entry.value), ttl(entry.ttl))
    })
}

/// What is left of a lifetime, in hours, so that it is the same for all who ask within some minutes.
fn ttl(ttl: Option<Duration>) -> String {
    ttl.map_or(String::new(), |ttl| format!(" ttl {}", (ttl.as_secs() + 1800) / 3600))
}

/// What a put did.
pub fn put(put: Put) -> String {
    match put {
        Put::Created { version } => format!("created {version}"),
        Put::Updated { version } => format!("updated {version}"),
        Put::Unmet { version } => format!("unmet {version}"),
    }
}

/// What a delete did.
pub fn delete(delete: Delete) -> String {
    match delete {
        Delete::Deleted { version } => format!("deleted {version}"),
        Delete::NotFound => "not_found".into(),
        Delete::Unmet { version } => format!("unmet {version}"),
    }
}

/// What came of a write.
pub fn outcome(outcome: WriteOutcome) -> String {
    format!("outcome {} {} {}", outcome.status.name(), outcome.version, outcome.number)
}

/// An error: what programs decide by. Its message is for people and differs.
pub fn error(code: Code, outcome: Outcome, retry: Retry) -> String {
    format!("error {} {code} {} {}", code.number(), outcome.name(), retry.name())
}

/// Results of many.
pub fn many(results: impl IntoIterator<Item = String>) -> String {
    format!("many[{}]", results.into_iter().collect::<Vec<_>>().join(";"))
}

/// Items of a scan, and whether there are more.
pub fn items(items: &[Item], is_complete: bool) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|item| format!("{} {} {}{}", item.version, bytes(&item.key), bytes(&item.value), ttl(item.ttl)))
        .collect();
    format!("items[{}] {}", items.join(";"), if is_complete { "end" } else { "cursor" })
}

/// CRC-32 as zip has it: every language's library has it, too.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bytes_appear_by_length_and_hash() {
        assert_eq!(bytes(b""), "=");
        assert_eq!(bytes(&[7; SHOWN_BYTES_MAX]).len(), 1 + 2 * SHOWN_BYTES_MAX);
        assert_eq!(bytes(&[7; SHOWN_BYTES_MAX + 1]).split(':').next(), Some("~257"));
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the published check value");
    }
}
