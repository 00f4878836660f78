//! Every check on every key.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use slotkv_tests::simulation::history::{Call, End, Event, History};

use crate::{
    line,
    order::{self, Order},
};

/// What a key's operations came to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// All of them.
    pub operations: usize,
    /// Those that were carried out.
    pub done: usize,
    /// Those that were provably not applied.
    pub failed: usize,
    /// Those that may have been.
    pub unknown: usize,
    /// Keys that they were on.
    pub keys: usize,
    /// The most on one key.
    pub key_operations_max: usize,
    /// By what versions say.
    pub by_versions: Vec<String>,
    /// By the search for an order.
    pub by_order: Vec<String>,
    /// Keys whose search was given up.
    pub undecided: usize,
}

/// Checks operations.
pub fn judge(events: &[Event]) -> Verdict {
    let mut verdict = Verdict { operations: events.len(), ..Verdict::default() };
    let mut keys: BTreeMap<&str, Vec<Event>> = BTreeMap::new();
    for event in events {
        match event.end {
            End::Failed => verdict.failed += 1,
            End::Unknown => verdict.unknown += 1,
            _ => verdict.done += 1,
        }
        keys.entry(&event.key).or_default().push(event.clone());
    }
    verdict.keys = keys.len();
    for (key, events) in keys {
        verdict.key_operations_max = verdict.key_operations_max.max(events.len());
        match order::find(&events) {
            Order::Found => {}
            Order::Undecided => verdict.undecided += 1,
            Order::None(why) => verdict.by_order.push(format!("key {key}: {why}")),
        }
        if let Err(why) = History::of(events).check() {
            verdict.by_versions.push(why);
        }
    }
    verdict
}

/// Puts a write into a history as one that was acknowledged and lost: nothing else ran on its key meanwhile, and who reads
/// next finds what was there before. What it is, if the history has a place for it.
pub fn plant(events: &mut Vec<Event>) -> Option<String> {
    let mut keys: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| !event.key.starts_with("counter")) {
        keys.entry(&event.key).or_default().push(event);
    }
    let value = events.iter().filter_map(|event| event.call.value()).max()? + 1;
    let planted = keys.values_mut().find_map(|events| {
        events.sort_by_key(|event| event.begun);
        let (mut ended, mut written) = (0, false);
        for event in events {
            // What may still be applied could explain anything.
            if event.end == End::Unknown && event.call != Call::Get {
                return None;
            }
            if let End::Read(Some((version, _))) = event.end
                && written
                && event.begun > ended + 2
            {
                let (begun, end) = (ended + 1, End::Written(version + 1));
                return Some(Event {
                    key: event.key.clone(),
                    call: Call::Put(value),
                    begun,
                    ended: ended + 2,
                    end,
                });
            }
            written |= matches!(event.end, End::Written(_));
            ended = ended.max(event.ended);
        }
        None
    })?;
    let text = line::text(&planted);
    events.push(planted);
    Some(text)
}

/// The operations that the clients left in a folder, in files that end in `.ops`.
pub fn read(folder: &Path) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    for file in files(folder)? {
        for text in fs::read_to_string(&file)?.lines() {
            let wrong = |why: String| io::Error::other(format!("{}: {why}", file.display()));
            events.push(line::parse(text).map_err(wrong)?);
        }
    }
    Ok(events)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ops") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(lines: &[&str]) -> Vec<Event> {
        lines.iter().map(|text| line::parse(text).unwrap()).collect()
    }

    const RIGHT: [&str; 6] = [
        "key1 put:5 10 20 written:1",
        "key1 get 30 40 read:1:5",
        "key1 put:6 41 50 failed",
        "key2 put:7 10 20 unknown",
        "counter1 add 10 20 number:1",
        "counter1 get 30 40 read:9:1",
    ];

    #[test]
    fn a_right_history_is_counted_and_passes() {
        let verdict = judge(&events(&RIGHT));
        assert_eq!((verdict.operations, verdict.done, verdict.failed, verdict.unknown), (6, 4, 1, 1));
        assert_eq!((verdict.keys, verdict.key_operations_max, verdict.undecided), (3, 3, 0));
        assert!(verdict.by_versions.is_empty() && verdict.by_order.is_empty(), "{verdict:?}");
    }

    #[test]
    fn a_planted_lost_write_is_found_by_versions_and_by_order() {
        let mut events = events(&RIGHT);
        assert_eq!(plant(&mut events).as_deref(), Some("key1 put:8 21 22 written:2"));
        let verdict = judge(&events);
        assert_eq!((verdict.by_versions.len(), verdict.by_order.len()), (1, 1), "{verdict:?}");
    }

    #[test]
    fn nothing_is_planted_where_it_could_be_explained() {
        assert_eq!(plant(&mut events(&["key1 put:5 10 20 unknown", "key1 get 30 40 read:1:5"])), None);
        assert_eq!(plant(&mut events(&["key1 put:5 10 20 written:1", "key1 get 20 40 read:1:5"])), None);
    }

    #[test]
    fn a_counter_that_lost_an_increment_is_found_by_both() {
        let verdict = judge(&events(&["counter1 add 10 20 number:1", "counter1 add 30 40 number:1"]));
        assert_eq!((verdict.by_versions.len(), verdict.by_order.len()), (1, 1), "{verdict:?}");
    }
}
