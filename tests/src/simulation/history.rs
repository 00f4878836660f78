//! What every call came to, and whether that can be so.
//!
//! The checks need no search, because versions order all writes of a key:
//! - an acknowledged write has a version of its own;
//! - a read gives what the write of its version wrote;
//! - a call that began after another had ended sees its version or a later one, a write a later one;
//! - a counter's acknowledged increments all gave different numbers, and in the end it lies between the increments that
//!   were acknowledged and those that may have been applied.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// What a call was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Stores this value, unique in the history.
    Put(u64),
    /// Reads.
    Get,
    /// Adds one.
    Increment,
}

/// What it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A put: the key's version.
    Written(u64),
    /// A read: version and value.
    Read(Option<(u64, u64)>),
    /// An increment: the new number.
    Number(u64),
    /// Provably not applied.
    Failed,
    /// Perhaps applied.
    Unknown,
}

/// A call from its begin to its end.
#[derive(Clone, Debug)]
pub struct Event {
    key: String,
    call: Call,
    begun: u64,
    ended: u64,
    end: End,
}

/// All calls of a run.
#[derive(Default)]
pub struct History {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    clock: u64,
    events: Vec<Event>,
}

impl History {
    /// Begins a call; the number goes to [`History::end`].
    pub fn begin(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        inner.clock
    }

    /// Ends a call.
    pub fn end(&self, begun: u64, key: &str, call: Call, end: End) {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let ended = inner.clock;
        inner.events.push(Event { key: key.to_owned(), call, begun, ended, end });
    }

    /// How many calls ended so.
    pub fn count(&self, wanted: impl Fn(&End) -> bool) -> usize {
        self.inner.lock().events.iter().filter(|event| wanted(&event.end)).count()
    }

    /// A number that two runs have in common only if they did the same.
    pub fn fingerprint(&self) -> u64 {
        let text = format!("{:?}", self.inner.lock().events);
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// What is wrong with the history, if anything.
    pub fn check(&self) -> Result<(), String> {
        let inner = self.inner.lock();
        let mut keys: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in &inner.events {
            keys.entry(&event.key).or_default().push(event);
        }
        for (key, events) in keys {
            let check = if key.starts_with("counter") { check_counter } else { check_register };
            check(&events).map_err(|why| format!("key {key}: {why}"))?;
        }
        Ok(())
    }
}

fn check_register(events: &[&Event]) -> Result<(), String> {
    let mut writer_of: BTreeMap<u64, &Event> = BTreeMap::new();
    let mut writes: BTreeMap<u64, &Event> = BTreeMap::new();
    for event in events {
        if let Call::Put(value) = event.call {
            writes.insert(value, event);
        }
        if let End::Written(version) = event.end
            && let Some(other) = writer_of.insert(version, event)
        {
            return Err(format!("version {version} was given twice: {other:?} and {event:?}"));
        }
    }
    let mut value_of: BTreeMap<u64, u64> = BTreeMap::new();
    for event in events {
        let End::Read(Some((version, value))) = event.end else { continue };
        let Some(write) = writes.get(&value) else {
            return Err(format!("{event:?} read a value that nobody wrote"));
        };
        if write.end == End::Failed || write.begun > event.ended {
            return Err(format!("{event:?} read what {write:?} did not write"));
        }
        if let End::Written(written) = write.end
            && written != version
        {
            return Err(format!("{event:?} read another version than {write:?} wrote"));
        }
        if *value_of.entry(version).or_insert(value) != value {
            return Err(format!("{event:?} read another value of version {version}"));
        }
    }
    check_real_time(events)
}

/// Going through begins and ends in order: no call may see less than what had ended before it began.
fn check_real_time(events: &[&Event]) -> Result<(), String> {
    let version = |event: &Event| match event.end {
        End::Written(version) | End::Number(version) => Some((version, true)),
        End::Read(Some((version, _))) => Some((version, false)),
        End::Read(None) => Some((0, false)),
        End::Failed | End::Unknown => None,
    };
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        moments.push((event.begun, false, at));
        moments.push((event.ended, true, at));
    }
    moments.sort_unstable();
    let mut floor = (0, None);
    let mut floor_at_begin: Vec<(u64, Option<usize>)> = vec![(0, None); events.len()];
    for (_, is_end, at) in moments {
        if !is_end {
            floor_at_begin[at] = floor;
            continue;
        }
        let Some((seen, is_write)) = version(events[at]) else { continue };
        let (least, by) = floor_at_begin[at];
        if seen < least || (is_write && seen == least && least > 0) {
            return Err(format!(
                "{:?} came after {:?} and does not see it",
                events[at],
                by.map(|by| events[by])
            ));
        }
        if seen > floor.0 {
            floor = (seen, Some(at));
        }
    }
    Ok(())
}

fn check_counter(events: &[&Event]) -> Result<(), String> {
    let mut given: BTreeMap<u64, &Event> = BTreeMap::new();
    let (mut sure, mut perhaps) = (0, 0);
    for event in events {
        match event.end {
            End::Number(number) => {
                sure += 1;
                if let Some(other) = given.insert(number, event) {
                    return Err(format!("{number} was given twice: {other:?} and {event:?}"));
                }
            }
            End::Unknown if event.call == Call::Increment => perhaps += 1,
            _ => {}
        }
    }
    let last = events.iter().rev().find_map(|event| match event.end {
        End::Read(read) => Some(read.map_or(0, |(_, value)| value)),
        _ => None,
    });
    if let Some(total) = last
        && !(sure..=sure + perhaps).contains(&total)
    {
        return Err(format!("{total} after {sure} increments and {perhaps} that may have been applied"));
    }
    let increments: Vec<&Event> =
        events.iter().copied().filter(|event| event.call == Call::Increment).collect();
    check_real_time(&increments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(events: &[(&str, Call, u64, u64, End)]) -> Result<(), String> {
        let history = History::default();
        history.inner.lock().events = events
            .iter()
            .map(|(key, call, begun, ended, end)| Event {
                key: (*key).to_owned(),
                call: call.clone(),
                begun: *begun,
                ended: *ended,
                end: end.clone(),
            })
            .collect();
        history.check()
    }

    #[test]
    fn a_lost_acknowledged_write_is_found() {
        let put = ("a", Call::Put(1), 1, 2, End::Written(5));
        assert!(history(&[put.clone(), ("a", Call::Get, 3, 4, End::Read(Some((5, 1))))]).is_ok());
        assert!(history(&[put.clone(), ("a", Call::Get, 3, 4, End::Read(None))]).is_err());
        assert!(history(&[put.clone(), ("a", Call::Get, 1, 4, End::Read(None))]).is_ok());
        assert!(history(&[put, ("a", Call::Put(2), 3, 4, End::Written(5))]).is_err());
    }

    #[test]
    fn a_stale_read_is_found() {
        let events = [
            ("a", Call::Put(1), 1, 2, End::Written(5)),
            ("a", Call::Put(2), 3, 4, End::Written(6)),
            ("a", Call::Get, 5, 6, End::Read(Some((5, 1)))),
        ];
        assert!(history(&events).is_err());
    }

    #[test]
    fn a_value_of_a_failed_write_is_found() {
        let put = ("a", Call::Put(1), 1, 2, End::Failed);
        assert!(history(&[put, ("a", Call::Get, 3, 4, End::Read(Some((5, 1))))]).is_err());
        let put = ("a", Call::Put(1), 1, 2, End::Unknown);
        assert!(history(&[put, ("a", Call::Get, 3, 4, End::Read(Some((5, 1))))]).is_ok());
    }

    #[test]
    fn an_increment_that_was_applied_twice_is_found() {
        let one = ("counter", Call::Increment, 1, 2, End::Number(1));
        let read = |total| ("counter", Call::Get, 9, 10, End::Read(Some((9, total))));
        assert!(history(&[one.clone(), read(1)]).is_ok());
        assert!(history(&[one.clone(), read(2)]).is_err());
        let unknown = ("counter", Call::Increment, 3, 4, End::Unknown);
        assert!(history(&[one.clone(), unknown, read(2)]).is_ok());
        let again = ("counter", Call::Increment, 3, 4, End::Number(1));
        assert!(history(&[one, again, read(2)]).is_err());
    }
}
