//! What every call came to, and whether that can be so.
//!
//! The checks need no search, because versions order all writes and deletions of a key:
//! - an acknowledged write or deletion has a version of its own;
//! - a read gives what the write of its version wrote;
//! - a call that began after another had ended sees its version or a later one, a write a later one;
//! - who finds nothing after a value was there has a deletion that explains it, and nobody finds that value afterwards;
//! - a conditional write that was acknowledged met its condition: nothing lies between the version that it compared with
//!   and its own, and nothing that was put and not deleted right before one that found the key absent;
//! - a counter's acknowledged increments all gave different numbers, and in the end it lies between the increments that
//!   were acknowledged and those that may have been applied.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// What a call was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Stores this value, unique in the history.
    Put(u64),
    /// Stores this value, unique in the history, if there is none.
    PutIfAbsent(u64),
    /// Stores a value, unique in the history, if the key has this version; 0 if it is absent.
    CompareAndSet {
        /// What it compares with.
        version: u64,
        /// What it stores.
        value: u64,
    },
    /// Removes the key.
    Delete,
    /// Reads.
    Get,
    /// Adds one.
    Increment,
}

impl Call {
    /// The value that it would store.
    pub fn value(&self) -> Option<u64> {
        match *self {
            Call::Put(value) | Call::PutIfAbsent(value) | Call::CompareAndSet { value, .. } => Some(value),
            Call::Delete | Call::Get | Call::Increment => None,
        }
    }
}

/// What it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A write: the key's version.
    Written(u64),
    /// A deletion: its version.
    Deleted(u64),
    /// A deletion that found nothing.
    NotFound,
    /// A condition did not hold: the key's version, 0 if it was absent.
    Unmet(u64),
    /// A read: version and value.
    Read(Option<(u64, u64)>),
    /// An increment: the new number.
    Number(u64),
    /// Provably not applied.
    Failed,
    /// Perhaps applied.
    Unknown,
}

impl End {
    /// The key's version that the caller has learned, 0 if it is absent.
    pub fn version(&self) -> Option<u64> {
        match *self {
            End::Written(version) | End::Unmet(version) => Some(version),
            End::Read(read) => Some(read.map_or(0, |(version, _)| version)),
            End::Deleted(_) | End::NotFound => Some(0),
            End::Number(_) | End::Failed | End::Unknown => None,
        }
    }

    /// The version that the call made.
    fn made(&self) -> Option<u64> {
        match *self {
            End::Written(version) | End::Deleted(version) => Some(version),
            _ => None,
        }
    }

    /// The version of the value that the call saw or made.
    fn present(&self) -> Option<u64> {
        match *self {
            End::Written(version) | End::Read(Some((version, _))) => Some(version),
            End::Unmet(version) if version > 0 => Some(version),
            _ => None,
        }
    }

    /// Whether the call saw that there is nothing.
    fn is_absent(&self) -> bool {
        matches!(self, End::Read(None) | End::Unmet(0) | End::NotFound)
    }
}

/// A call from its begin to its end.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its key; one that begins with `counter` is only incremented and read.
    pub key: String,
    /// What it was.
    pub call: Call,
    /// When it was called.
    pub begun: u64,
    /// When its caller knew its end.
    pub ended: u64,
    /// What it came to.
    pub end: End,
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
    /// A history recorded elsewhere, by a clock that all its callers shared.
    pub fn of(mut events: Vec<Event>) -> Self {
        events.sort_by_key(|event| event.ended);
        Self { inner: Mutex::new(Inner { clock: 0, events }) }
    }

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

    /// How many calls that began behind this number ended so.
    pub fn count_since(&self, begun: u64, wanted: impl Fn(&End) -> bool) -> usize {
        let inner = self.inner.lock();
        inner.events.iter().filter(|event| event.begun > begun && wanted(&event.end)).count()
    }

    /// A number that two runs have in common only if they did the same.
    pub fn fingerprint(&self) -> u64 {
        let text = format!("{:?}", self.inner.lock().events);
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// What is wrong with the history, if anything.
    pub fn check(&self) -> Result<(), String> {
        self.check_each(|key, events| {
            let check = if key.starts_with("counter") { check_counter } else { check_register };
            check(events)
        })
    }

    /// What is wrong even if acknowledged writes may have been lost: values that nobody wrote.
    pub fn check_values(&self) -> Result<(), String> {
        self.check_each(|key, events| {
            let check = if key.starts_with("counter") { check_count } else { check_read_values };
            check(events)
        })
    }

    fn check_each(&self, check: impl Fn(&str, &[&Event]) -> Result<(), String>) -> Result<(), String> {
        let inner = self.inner.lock();
        let mut keys: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in &inner.events {
            keys.entry(&event.key).or_default().push(event);
        }
        for (key, events) in keys {
            check(key, &events).map_err(|why| format!("key {key}: {why}"))?;
        }
        Ok(())
    }
}

fn check_register(events: &[&Event]) -> Result<(), String> {
    let mut made: BTreeMap<u64, &Event> = BTreeMap::new();
    for event in events {
        if let Some(version) = event.end.made()
            && let Some(other) = made.insert(version, event)
        {
            return Err(format!("version {version} was given twice: {other:?} and {event:?}"));
        }
    }
    check_read_values(events)?;
    let mut value_of: BTreeMap<u64, u64> = BTreeMap::new();
    for event in events {
        let (version, value) = match (&event.end, event.call.value()) {
            (End::Read(Some((version, value))), _) => (*version, *value),
            (End::Written(version), Some(value)) => (*version, value),
            _ => continue,
        };
        if *value_of.entry(version).or_insert(value) != value {
            return Err(format!("{event:?} has another value of version {version}"));
        }
    }
    for event in events {
        check_condition(event, events, &made)?;
        if event.end.is_absent() {
            check_absent(event, events)?;
        }
    }
    check_real_time(events)
}

fn check_read_values(events: &[&Event]) -> Result<(), String> {
    let writes: BTreeMap<u64, &Event> =
        events.iter().filter_map(|event| Some((event.call.value()?, *event))).collect();
    for event in events {
        let End::Read(Some((_, value))) = event.end else { continue };
        let Some(write) = writes.get(&value) else {
            return Err(format!("{event:?} read a value that nobody wrote"));
        };
        if matches!(write.end, End::Failed | End::Unmet(_)) || write.begun > event.ended {
            return Err(format!("{event:?} read what {write:?} did not write"));
        }
    }
    Ok(())
}

/// A condition that held, or did not, must have.
fn check_condition(event: &Event, events: &[&Event], made: &BTreeMap<u64, &Event>) -> Result<(), String> {
    let expected = match event.call {
        Call::CompareAndSet { version, .. } => version,
        Call::PutIfAbsent(_) => 0,
        _ => return Ok(()),
    };
    match event.end {
        End::Unmet(version) if version == expected => Err(format!("{event:?} met its condition")),
        End::Written(own) if expected > 0 => match made.range(expected + 1..own.max(expected + 1)).next() {
            _ if own <= expected => Err(format!("{event:?} is not newer than what it compared with")),
            Some((_, between)) => Err(format!("{event:?} did not meet its condition: {between:?}")),
            None => Ok(()),
        },
        End::Written(own) => match made.range(..own).next_back() {
            Some((_, before)) if !matches!(before.end, End::Deleted(_)) => {
                let explained = events.iter().any(|other| {
                    other.call == Call::Delete && other.end == End::Unknown && other.begun < event.ended
                });
                if explained { Ok(()) } else { Err(format!("{event:?} found no key after {before:?}")) }
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Who finds nothing must have a deletion that explains it, and what it did not find must stay away.
fn check_absent(event: &Event, events: &[&Event]) -> Result<(), String> {
    let before = events.iter().filter(|other| other.ended < event.begun);
    if let Some((newest, by)) =
        before.filter_map(|other| Some((other.end.present()?, other))).max_by_key(|it| it.0)
    {
        let explains = |other: &&&Event| {
            let later = match other.end {
                End::Deleted(version) => version > newest,
                End::Unknown => true,
                _ => false,
            };
            other.call == Call::Delete && other.begun < event.ended && later
        };
        if !events.iter().any(|other| explains(&other)) {
            return Err(format!("{event:?} came after {by:?} and finds nothing"));
        }
        let back = events
            .iter()
            .find(|other| other.begun > event.ended && other.end.present().is_some_and(|it| it <= newest));
        if let Some(back) = back {
            return Err(format!("{back:?} finds what {event:?} did not find any more"));
        }
    }
    Ok(())
}

/// Going through begins and ends in order: no call may see less than what had ended before it began.
fn check_real_time(events: &[&Event]) -> Result<(), String> {
    let version = |event: &Event| match event.end {
        End::Written(version) | End::Deleted(version) | End::Number(version) => Some((version, true)),
        _ => event.end.present().map(|version| (version, false)),
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

/// A counter that lost increments: not more than there were.
fn check_count(events: &[&Event]) -> Result<(), String> {
    let may = events
        .iter()
        .filter(|event| event.call == Call::Increment && matches!(event.end, End::Number(_) | End::Unknown));
    let may = may.count() as u64;
    let most = events.iter().filter_map(|event| match event.end {
        End::Read(read) => read.map(|(_, value)| value),
        End::Number(number) => Some(number),
        _ => None,
    });
    match most.max() {
        Some(most) if most > may => Err(format!("{most} after at most {may} increments")),
        _ => Ok(()),
    }
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
    fn a_value_that_comes_back_after_its_deletion_is_found() {
        let put = ("a", Call::Put(1), 1, 2, End::Written(5));
        let delete = ("a", Call::Delete, 3, 4, End::Deleted(6));
        let none = |at| ("a", Call::Get, at, at + 1, End::Read(None));
        let read = |at| ("a", Call::Get, at, at + 1, End::Read(Some((5, 1))));
        assert!(history(&[put.clone(), delete.clone(), none(5)]).is_ok());
        assert!(history(&[put.clone(), delete, none(5), read(7)]).is_err());
        let unknown = ("a", Call::Delete, 3, 20, End::Unknown);
        assert!(history(&[put.clone(), unknown.clone(), read(5), none(7)]).is_ok());
        assert!(history(&[put.clone(), unknown, none(5), read(7)]).is_err());
        let late = ("a", Call::Delete, 8, 9, End::NotFound);
        assert!(history(&[put, late]).is_err(), "nobody deleted it before");
    }

    #[test]
    fn a_write_whose_condition_did_not_hold_is_found() {
        let put = |value, at, version| ("a", Call::Put(value), at, at + 1, End::Written(version));
        let set = |version, end| ("a", Call::CompareAndSet { version, value: 9 }, 1, 20, end);
        assert!(history(&[put(1, 1, 5), set(5, End::Written(6)), put(2, 3, 7)]).is_ok());
        assert!(history(&[put(1, 1, 5), put(2, 3, 6), set(5, End::Written(7))]).is_err(), "a lost update");
        assert!(history(&[put(1, 1, 5), set(5, End::Unmet(5))]).is_err());
        assert!(history(&[put(1, 1, 5), set(4, End::Unmet(5))]).is_ok());
        let new = |end| ("a", Call::PutIfAbsent(9), 1, 20, end);
        assert!(history(&[put(1, 1, 5), new(End::Written(6))]).is_err());
        assert!(history(&[put(1, 3, 5), new(End::Written(4))]).is_ok());
        let deleted = ("a", Call::Delete, 3, 4, End::Deleted(6));
        assert!(history(&[put(1, 1, 5), deleted, new(End::Written(7))]).is_ok());
        assert!(history(&[put(1, 1, 5), new(End::Unmet(5))]).is_ok());
        assert!(history(&[new(End::Unmet(0))]).is_err());
    }

    #[test]
    fn where_writes_may_get_lost_their_values_are_still_nobody_elses() {
        let history = History::default();
        let begun = history.begin();
        history.end(begun, "a", Call::Put(1), End::Written(5));
        let begun = history.begin();
        history.end(begun, "a", Call::Get, End::Read(None));
        assert!(history.check().is_err() && history.check_values().is_ok());
        let begun = history.begin();
        history.end(begun, "a", Call::Get, End::Read(Some((5, 2))));
        assert!(history.check_values().is_err());
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
