//! Completion: commands, and keys by a small scan that gives up soon.

use std::time::Duration;

use rustyline::{
    Context, Helper, completion::Completer, highlight::Highlighter, hint::Hinter, validate::Validator,
};
use slotkv::Range;
use tokio::runtime::Handle;

use super::{command::USAGES, run::Session};
use crate::text::{last_word, word, words};

/// Keys offered.
const KEYS_MAX: u32 = 50;
/// How long the prompt may wait for them.
const KEYS_WAIT: Duration = Duration::from_millis(500);
/// Commands whose first word is a key or a prefix.
const KEYED: &[&str] = &["get", "put", "del", "has", "incr", "cas", "scan", "dump", "count", "slot"];

/// Completes lines with what the session's cluster holds.
pub(crate) struct Completion {
    pub runtime: Handle,
    pub session: Session,
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let line = &line[..at];
        let Some((start, partial)) = last_word(line.as_bytes()) else { return Ok((at, Vec::new())) };
        let before = words(&line.as_bytes()[..start]).unwrap_or_default();
        let found = match &before[..] {
            [] => names(&partial.bytes),
            [command] if KEYED.iter().any(|name| name.as_bytes() == command.bytes) => {
                self.keys(partial.bytes)
            }
            [help] if help.bytes == b"help" => names(&partial.bytes),
            _ => Vec::new(),
        };
        Ok((start, found))
    }
}

fn names(partial: &[u8]) -> Vec<String> {
    let names = USAGES.iter().map(|usage| usage.name);
    names.filter(|name| name.as_bytes().starts_with(partial)).map(|name| format!("{name} ")).collect()
}

impl Completion {
    fn keys(&self, prefix: Vec<u8>) -> Vec<String> {
        let scan = async {
            let client = self.session.client().await.ok()?.with_deadline(KEYS_WAIT);
            let mut scan = client.scan(Range::prefix(prefix).keys_only().items_max(KEYS_MAX)).ok()?;
            let mut keys = Vec::new();
            while keys.len() < KEYS_MAX as usize {
                match scan.next().await {
                    Some(Ok(item)) => keys.push(word(&item.key)),
                    _ => break,
                }
            }
            keys.sort();
            Some(keys)
        };
        let found = self.runtime.block_on(async { tokio::time::timeout(KEYS_WAIT, scan).await });
        found.ok().flatten().unwrap_or_default()
    }
}

impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_completed_by_their_beginning() {
        assert_eq!(names(b"d"), ["del ", "dump "]);
        assert_eq!(names(b"get"), ["get "]);
        assert!(names(b"x").is_empty());
        assert!(KEYED.iter().all(|name| USAGES.iter().any(|usage| usage.name == *name)));
    }
}
