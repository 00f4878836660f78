//! Between the operations and their messages: checks and builds requests, reads replies. Total both ways: what the other
//! side may not say becomes an error.

use std::time::Duration;

use bytes::Bytes;
use slotkv_proto::{Code, limits, v1};

use crate::{
    Answer, Command, Condition, Delete, Entry, Error, Item, Outcome, Put, Result, WriteOutcome,
    call::is_write, outcome,
};

/// What an operation takes.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "lives for a moment on the stack")]
pub(crate) enum Parsed {
    /// One request.
    Single(v1::Request),
    /// Several.
    Composite(Command),
}

/// Checks an operation and builds its request if one will do. `namespace_bytes` counts to the key.
pub(crate) fn parse(command: Command, namespace_bytes: usize) -> Result<Parsed> {
    let mut request = v1::Request::default();
    let (operation, key) = match command {
        Command::Get { key } => (v1::Operation::Get, key),
        Command::Has { key } => (v1::Operation::Has, key),
        Command::Put { key, value, condition, ttl } => {
            check_value(&value)?;
            request.value = value;
            request.ttl_ms = ttl_ms(ttl)?;
            set_condition(&mut request, condition);
            (v1::Operation::Put, key)
        }
        Command::Expire { key, ttl } => {
            request.ttl_ms = ttl_ms(ttl)?;
            set_condition(&mut request, Condition::Present);
            (v1::Operation::Expire, key)
        }
        Command::Delete { condition: Condition::Absent, .. } => {
            return Err(Error::invalid("a delete cannot ask for the key to be absent"));
        }
        Command::Delete { key, condition } => {
            set_condition(&mut request, condition);
            (v1::Operation::Delete, key)
        }
        Command::Increment { key, delta } => {
            request.delta = delta;
            (v1::Operation::Increment, key)
        }
        Command::Outcome { token } => {
            return outcome::request(&token).map(Parsed::Single);
        }
        Command::Count { .. } | Command::ScanPage { .. } | Command::Many { .. } => {
            return Ok(Parsed::Composite(command));
        }
    };
    check_key(&key, namespace_bytes)?;
    request.operation = operation as i32;
    request.key = key;
    Ok(Parsed::Single(request))
}

fn set_condition(request: &mut v1::Request, condition: Condition) {
    let (condition, version) = match condition {
        Condition::Always => (v1::Condition::Always, 0),
        Condition::Absent => (v1::Condition::Absent, 0),
        Condition::Present => (v1::Condition::Present, 0),
        Condition::Version(version) => (v1::Condition::Version, version),
    };
    request.condition = condition as i32;
    request.version = version;
}

/// Checks a key. `namespace_bytes` counts to it.
pub(crate) fn check_key(key: &[u8], namespace_bytes: usize) -> Result<()> {
    if key.is_empty() {
        return Err(Error::invalid("the key is empty; it has at least one byte"));
    }
    let bytes = key.len() + namespace_bytes;
    if bytes > limits::KEY_BYTES_MAX {
        let message = format!(
            "the key has {bytes} bytes with its namespace; it may have {} (KEY_BYTES_MAX)",
            limits::KEY_BYTES_MAX
        );
        return Err(Error::new(Code::TooLarge, message));
    }
    Ok(())
}

fn check_value(value: &[u8]) -> Result<()> {
    if value.len() > limits::VALUE_BYTES_MAX {
        let message = format!(
            "the value has {} bytes; it may have {} (VALUE_BYTES_MAX)",
            value.len(),
            limits::VALUE_BYTES_MAX
        );
        return Err(Error::new(Code::TooLarge, message));
    }
    Ok(())
}

/// The answer of an operation on one key. Nobody knowing any more is one, too.
pub(crate) fn answer_of(operation: v1::Operation, reply: Result<v1::Reply>) -> Result<Answer> {
    match reply {
        Err(error) if operation == v1::Operation::Outcome && error.code == Code::Indeterminate => {
            Ok(Answer::Outcome(WriteOutcome::forgotten()))
        }
        reply => reply.and_then(|reply| answer(operation, reply)),
    }
}

/// A lifetime in whole milliseconds, a part of one counted as one; 0: none.
fn ttl_ms(ttl: Option<Duration>) -> Result<u64> {
    let Some(ttl) = ttl else { return Ok(0) };
    let ms = ttl.as_nanos().div_ceil(1_000_000);
    match u64::try_from(ms) {
        Ok(ms @ 1..=limits::TTL_MS_MAX) => Ok(ms),
        _ => Err(Error::invalid(format!(
            "ttl is {ttl:?}; it is 1 ms to {:?} (TTL_MS_MAX)",
            Duration::from_millis(limits::TTL_MS_MAX)
        ))),
    }
}

/// What is left of a lifetime.
pub(crate) fn ttl_left(ttl_ms: u64) -> Option<Duration> {
    (ttl_ms > 0).then(|| Duration::from_millis(ttl_ms))
}

/// The answer that a reply to an operation on one key gives.
pub(crate) fn answer(operation: v1::Operation, reply: v1::Reply) -> Result<Answer> {
    use v1::{Operation, Status};
    let version = reply.version;
    Ok(match (operation, reply.status()) {
        (Operation::Get, Status::Found) => {
            Answer::Entry(Some(Entry { value: reply.value, version, ttl: ttl_left(reply.ttl_ms) }))
        }
        (Operation::Get, Status::NotFound) => Answer::Entry(None),
        (Operation::Has, Status::Found) => Answer::Has(true),
        (Operation::Has, Status::NotFound) => Answer::Has(false),
        (Operation::Put, Status::Created) => Answer::Put(Put::Created { version }),
        (Operation::Put | Operation::Expire, Status::Updated) => Answer::Put(Put::Updated { version }),
        (Operation::Put | Operation::Expire, Status::Unmet) => Answer::Put(Put::Unmet { version }),
        (Operation::Delete, Status::Deleted) => Answer::Delete(Delete::Deleted { version }),
        (Operation::Delete, Status::NotFound) => Answer::Delete(Delete::NotFound),
        (Operation::Delete, Status::Unmet) => Answer::Delete(Delete::Unmet { version }),
        (Operation::Increment, Status::Created | Status::Updated) => Answer::Number(reply.number),
        (Operation::Outcome, _) => match WriteOutcome::of(&reply) {
            Some(outcome) => Answer::Outcome(outcome),
            None => return Err(unexpected(operation, &reply)),
        },
        _ => return Err(unexpected(operation, &reply)),
    })
}

/// The error of a successful reply that is none to this operation.
pub(crate) fn unexpected(operation: v1::Operation, reply: &v1::Reply) -> Error {
    let status = v1::Status::try_from(reply.status)
        .map_or_else(|_| format!("status {}", reply.status), |status| status.as_str_name().to_owned());
    let message = format!("{} was answered by {status}, which is no answer to it", operation.as_str_name());
    let outcome = if is_write(operation) { Outcome::Unknown } else { Outcome::Failed };
    Error::new(Code::Unexpected, message).with_outcome(outcome)
}

/// The items of a page; the slots are checked.
pub(crate) fn items(items: Vec<v1::Item>, slot_count: u16) -> Result<Vec<Item>> {
    let item = |item: v1::Item| match u16::try_from(item.slot) {
        Ok(slot) if slot < slot_count => Ok(Item {
            key: item.key,
            value: item.value,
            version: item.version,
            slot,
            ttl: ttl_left(item.ttl_ms),
        }),
        _ => Err(Error::new(Code::Unexpected, format!("an item of slot {} of {slot_count}", item.slot))),
    };
    items.into_iter().map(item).collect()
}

/// Values up to this size are copied out of the frame that they came in, so that who keeps one does not keep the frame.
const DETACH_BYTES_MAX: usize = 4096;

/// A value that can be kept for long.
pub(crate) fn detach(value: Bytes) -> Bytes {
    if value.len() <= DETACH_BYTES_MAX { Bytes::copy_from_slice(&value) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_operation_and_status_has_an_answer_or_an_error() {
        for operation in 0..16 {
            let Ok(operation) = v1::Operation::try_from(operation) else { continue };
            for status in -1..20 {
                let reply = v1::Reply { status, ..Default::default() };
                if let Err(error) = answer(operation, reply) {
                    assert_eq!(error.code, Code::Unexpected);
                    assert_eq!(error.outcome == Outcome::Unknown, is_write(operation));
                }
            }
        }
        let reply = v1::Reply { status: 4711, ..Default::default() };
        let error = answer(v1::Operation::Get, reply).unwrap_err();
        assert!(error.message.contains("4711"), "{error}");
    }

    #[test]
    fn keys_and_values_past_their_limits_are_refused_by_name() {
        let get = |bytes: usize, namespace| parse(Command::Get { key: vec![0; bytes].into() }, namespace);
        assert!(get(limits::KEY_BYTES_MAX, 0).is_ok());
        assert_eq!(get(0, 0).unwrap_err().code, Code::InvalidArgument);
        for error in [get(limits::KEY_BYTES_MAX + 1, 0), get(limits::KEY_BYTES_MAX, 1)] {
            let error = error.unwrap_err();
            assert_eq!(error.code, Code::TooLarge);
            assert!(error.message.contains("32768"), "{error}");
        }
        let put = |bytes: usize| {
            let condition = Condition::Always;
            parse(Command::Put { key: "k".into(), value: vec![0; bytes].into(), condition, ttl: None }, 0)
        };
        assert!(put(limits::VALUE_BYTES_MAX).is_ok());
        let error = put(limits::VALUE_BYTES_MAX + 1).unwrap_err();
        assert_eq!(error.code, Code::TooLarge);
        assert!(error.message.contains("16777216"), "{error}");
    }

    #[test]
    fn a_lifetime_is_whole_milliseconds_within_its_limits() {
        let sent = |ttl| {
            let expire = parse(Command::Expire { key: "k".into(), ttl }, 0).map(|parsed| match parsed {
                Parsed::Single(request) => request.ttl_ms,
                Parsed::Composite(command) => panic!("{command:?}"),
            });
            expire.map_err(|error| error.code)
        };
        let longest = Duration::from_millis(limits::TTL_MS_MAX);
        assert_eq!(sent(None), Ok(0));
        assert_eq!(sent(Some(Duration::from_nanos(1))), Ok(1));
        assert_eq!(sent(Some(Duration::from_micros(1500))), Ok(2));
        assert_eq!(sent(Some(longest)), Ok(limits::TTL_MS_MAX));
        for ttl in [Duration::ZERO, longest + Duration::from_nanos(1), Duration::MAX] {
            assert_eq!(sent(Some(ttl)), Err(Code::InvalidArgument), "{ttl:?}");
        }
    }
}
