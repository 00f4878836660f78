//! An operation as a line: `KEY CALL BEGUN ENDED END`, times in nanoseconds of CLOCK_MONOTONIC.
//!
//! - CALL: `get`, `put:VALUE`, `absent:VALUE` (put if absent), `set:VERSION:VALUE`, `delete`, `add`
//! - END: `read:VERSION:VALUE`, `nothing`, `written:VERSION`, `deleted:VERSION`, `missing` (nothing to delete),
//!   `unmet:VERSION`, `number:NUMBER`, `failed`, `unknown`

use slotkv_tests::simulation::history::{Call, End, Event};

/// Reads a line; what is wrong with it if it is none.
pub fn parse(line: &str) -> Result<Event, String> {
    read(line).ok_or_else(|| format!("{line:?} is no operation"))
}

fn read(line: &str) -> Option<Event> {
    let mut words = line.split(' ');
    let (key, call) = (words.next()?.to_owned(), call(words.next()?)?);
    let (begun, ended) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let end = end(words.next()?)?;
    let fits = match &end {
        End::Written(_) => call.value().is_some(),
        End::Deleted(_) | End::NotFound => call == Call::Delete,
        End::Unmet(_) => matches!(call, Call::PutIfAbsent(_) | Call::CompareAndSet { .. }),
        End::Read(_) => call == Call::Get,
        End::Number(_) => call == Call::Increment,
        End::Failed | End::Unknown => true,
    };
    (words.next().is_none() && begun <= ended && fits).then_some(Event { key, call, begun, ended, end })
}

fn call(word: &str) -> Option<Call> {
    let (kind, numbers) = numbers(word)?;
    Some(match (kind, &*numbers) {
        ("get", []) => Call::Get,
        ("put", &[value]) => Call::Put(value),
        ("absent", &[value]) => Call::PutIfAbsent(value),
        ("set", &[version, value]) => Call::CompareAndSet { version, value },
        ("delete", []) => Call::Delete,
        ("add", []) => Call::Increment,
        _ => return None,
    })
}

fn end(word: &str) -> Option<End> {
    let (kind, numbers) = numbers(word)?;
    Some(match (kind, &*numbers) {
        ("read", &[version, value]) => End::Read(Some((version, value))),
        ("nothing", []) => End::Read(None),
        ("written", &[version]) => End::Written(version),
        ("deleted", &[version]) => End::Deleted(version),
        ("missing", []) => End::NotFound,
        ("unmet", &[version]) => End::Unmet(version),
        ("number", &[number]) => End::Number(number),
        ("failed", []) => End::Failed,
        ("unknown", []) => End::Unknown,
        _ => return None,
    })
}

fn numbers(word: &str) -> Option<(&str, Vec<u64>)> {
    let mut parts = word.split(':');
    let kind = parts.next()?;
    Some((kind, parts.map(|part| part.parse().ok()).collect::<Option<_>>()?))
}

/// Writes an operation as a line, without its end.
pub fn text(event: &Event) -> String {
    let call = match event.call {
        Call::Get => "get".to_owned(),
        Call::Put(value) => format!("put:{value}"),
        Call::PutIfAbsent(value) => format!("absent:{value}"),
        Call::CompareAndSet { version, value } => format!("set:{version}:{value}"),
        Call::Delete => "delete".to_owned(),
        Call::Increment => "add".to_owned(),
    };
    let end = match event.end {
        End::Read(Some((version, value))) => format!("read:{version}:{value}"),
        End::Read(None) => "nothing".to_owned(),
        End::Written(version) => format!("written:{version}"),
        End::Deleted(version) => format!("deleted:{version}"),
        End::NotFound => "missing".to_owned(),
        End::Unmet(version) => format!("unmet:{version}"),
        End::Number(number) => format!("number:{number}"),
        End::Failed => "failed".to_owned(),
        End::Unknown => "unknown".to_owned(),
    };
    format!("{} {call} {} {} {end}", event.key, event.begun, event.ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_read_as_it_was_written() {
        let calls = ["get", "put:1", "absent:2", "set:3:4", "delete", "add"];
        let ends = [
            ["read:5:6", "nothing", "failed"],
            ["written:7", "failed", "unknown"],
            ["written:7", "unmet:8", "unknown"],
            ["written:7", "unmet:8", "failed"],
            ["deleted:9", "missing", "unknown"],
            ["number:10", "failed", "unknown"],
        ];
        for (call, ends) in calls.iter().zip(ends) {
            for end in ends {
                let line = format!("k1.2 {call} 100 200 {end}");
                assert_eq!(parse(&line).map(|event| text(&event)), Ok(line));
            }
        }
    }

    #[test]
    fn what_is_no_operation_is_refused() {
        for line in [
            "",
            "k get 1 2",
            "k get 2 1 nothing",
            "k get 1 2 written:3",
            "k put 1 2 written:3",
            "k put:x 1 2 written:3",
            "k delete 1 2 unmet:3",
            "k add 1 2 number:-1",
            "k get 1 2 nothing more",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
