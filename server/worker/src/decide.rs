//! What one write does to one key: a pure function of the key's row and the operation.

use bytes::Bytes;
use slotkv_proto::{Code, v1::Status};
use slotkv_storage::Row;

/// What must hold for a write to take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The key is absent.
    Absent,
    /// The key is present.
    Present,
    /// The key's version is this one; 0 is the version of an absent key.
    Version(u64),
}

/// A write without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// None: a read of a key whose time may be over, which must not be answered before that is logged. With the value, or
    /// only whether the key is there.
    Read(bool),
    /// Store a value, for a lifetime in milliseconds; 0 means for ever.
    Put(Bytes, Condition, u64),
    /// Let a key that exists end after a lifetime in milliseconds, 0 means never.
    Expire(Condition, u64),
    /// Remove the key.
    Delete(Condition),
    /// Add to a decimal i64; an absent key counts as 0.
    Increment(i64),
    /// Nothing: somebody asks what came of the write of this ticket. If nothing did, nothing ever will.
    Outcome,
}

/// What is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The key takes this value, or goes if there is none. `number` is the sum of an increment.
    Apply {
        /// The new value.
        value: Option<Bytes>,
        /// When it ends; 0: never.
        expires_ms: u64,
        /// What the caller is told.
        status: Status,
        /// The new number of an increment, else 0.
        number: i64,
    },
    /// Nothing changes; the caller is told the status and the key's present version.
    Answer(Status, u64),
    /// Nothing changes; the operation does not fit the value.
    Refuse(Code, String),
}

/// Decides one write at logged time `time_ms` on a key that now holds `row`, which is not over.
pub fn decide(change: &Change, row: Option<&Row>, time_ms: u64) -> Decision {
    let version = row.map_or(0, |row| row.version);
    let deadline = |ttl_ms| if ttl_ms == 0 { 0 } else { time_ms.saturating_add(ttl_ms) };
    let written = if row.is_some() { Status::Updated } else { Status::Created };
    match change {
        Change::Read(_) => {
            Decision::Answer(if row.is_some() { Status::Found } else { Status::NotFound }, version)
        }
        Change::Put(_, condition, _) | Change::Expire(condition, _) if !holds(*condition, version) => {
            Decision::Answer(Status::Unmet, version)
        }
        Change::Put(value, _, ttl_ms) => Decision::Apply {
            value: Some(value.clone()),
            expires_ms: deadline(*ttl_ms),
            status: written,
            number: 0,
        },
        Change::Expire(_, ttl_ms) => match row {
            None => Decision::Answer(Status::Unmet, 0),
            Some(row) => Decision::Apply {
                value: Some(row.value.clone()),
                expires_ms: deadline(*ttl_ms),
                status: Status::Updated,
                number: 0,
            },
        },
        Change::Delete(_) if row.is_none() => Decision::Answer(Status::NotFound, 0),
        Change::Delete(condition) if !holds(*condition, version) => Decision::Answer(Status::Unmet, version),
        Change::Delete(_) => {
            Decision::Apply { value: None, expires_ms: 0, status: Status::Deleted, number: 0 }
        }
        Change::Outcome => Decision::Refuse(Code::Cancelled, "given up by who asked for its outcome".into()),
        Change::Increment(delta) => match row.map_or(Ok(0), |row| number(&row.value)) {
            Err(text) => Decision::Refuse(Code::NotANumber, text),
            Ok(number) => match number.checked_add(*delta) {
                None => Decision::Refuse(
                    Code::Overflow,
                    format!("{number} + {delta} does not fit into an i64 ({} to {})", i64::MIN, i64::MAX),
                ),
                Some(sum) => Decision::Apply {
                    value: Some(Bytes::from(sum.to_string())),
                    expires_ms: row.map_or(0, |row| row.expires_ms),
                    status: written,
                    number: sum,
                },
            },
        },
    }
}

fn holds(condition: Condition, version: u64) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => version == 0,
        Condition::Present => version != 0,
        Condition::Version(wanted) => version == wanted,
    }
}

/// Reads a decimal i64 as [`Change::Increment`] writes it, with an optional sign.
fn number(value: &[u8]) -> Result<i64, String> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("the value ({} bytes) is not a decimal i64", value.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(version: u64, value: &'static str) -> Option<Row> {
        Some(Row { version, expires_ms: 0, value: Bytes::from_static(value.as_bytes()) })
    }

    fn put(condition: Condition) -> Change {
        Change::Put(Bytes::from_static(b"v"), condition, 0)
    }

    #[test]
    fn a_put_says_whether_it_created_or_updated() {
        for (before, status) in [(None, Status::Created), (row(3, "x"), Status::Updated)] {
            let Decision::Apply { value, status: told, .. } =
                decide(&put(Condition::Always), before.as_ref(), 0)
            else {
                panic!("refused")
            };
            assert_eq!((value.as_deref(), told), (Some(&b"v"[..]), status));
        }
    }

    #[test]
    fn an_unmet_condition_tells_the_present_version_and_changes_nothing() {
        let cases = [
            (put(Condition::Absent), row(3, "x"), Decision::Answer(Status::Unmet, 3)),
            (put(Condition::Present), None, Decision::Answer(Status::Unmet, 0)),
            (put(Condition::Version(2)), row(3, "x"), Decision::Answer(Status::Unmet, 3)),
            (put(Condition::Version(2)), None, Decision::Answer(Status::Unmet, 0)),
            (Change::Delete(Condition::Version(2)), row(3, "x"), Decision::Answer(Status::Unmet, 3)),
            (Change::Delete(Condition::Always), None, Decision::Answer(Status::NotFound, 0)),
        ];
        for (change, before, decision) in cases {
            assert_eq!(decide(&change, before.as_ref(), 0), decision, "{change:?}");
        }
    }

    #[test]
    fn version_zero_is_the_version_of_an_absent_key() {
        assert!(matches!(decide(&put(Condition::Version(0)), None, 0), Decision::Apply { .. }));
        assert_eq!(
            decide(&put(Condition::Version(0)), row(1, "x").as_ref(), 0),
            Decision::Answer(Status::Unmet, 1)
        );
    }

    #[test]
    fn increments_add_and_refuse_what_is_no_number_or_does_not_fit() {
        let Decision::Apply { value, number, .. } = decide(&Change::Increment(-5), row(1, "3").as_ref(), 0)
        else {
            panic!("refused")
        };
        assert_eq!((value.as_deref(), number), (Some(&b"-2"[..]), -2));
        assert!(matches!(
            decide(&Change::Increment(1), row(1, "9223372036854775807").as_ref(), 0),
            Decision::Refuse(Code::Overflow, _)
        ));
        for text in ["", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "\u{661}"] {
            assert!(
                matches!(
                    decide(&Change::Increment(1), row(1, text).as_ref(), 0),
                    Decision::Refuse(Code::NotANumber, _)
                ),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_lifetime_begins_anew_with_a_put_and_an_expire_and_an_increment_leaves_it() {
        let ending = Row { expires_ms: 5_000, ..row(3, "7").unwrap() };
        let ends = |change: &Change| match decide(change, Some(&ending), 1_000) {
            Decision::Apply { value, expires_ms, .. } => (value.unwrap(), expires_ms),
            other => panic!("{other:?}"),
        };
        let value = Bytes::from_static(b"v");
        assert_eq!(ends(&Change::Put(value.clone(), Condition::Always, 0)), (value.clone(), 0));
        assert_eq!(ends(&Change::Put(value.clone(), Condition::Version(3), 20)), (value, 1_020));
        assert_eq!(ends(&Change::Expire(Condition::Present, 30)), ("7".into(), 1_030));
        assert_eq!(ends(&Change::Expire(Condition::Always, 0)), ("7".into(), 0));
        assert_eq!(ends(&Change::Increment(1)), ("8".into(), 5_000));
    }

    #[test]
    fn an_expire_of_an_absent_key_or_of_another_version_changes_nothing() {
        for condition in [Condition::Always, Condition::Present, Condition::Version(0), Condition::Version(2)]
        {
            let decision = decide(&Change::Expire(condition, 5), None, 0);
            assert_eq!(decision, Decision::Answer(Status::Unmet, 0), "{condition:?}");
        }
        let other = decide(&Change::Expire(Condition::Version(2), 5), row(3, "x").as_ref(), 0);
        assert_eq!(other, Decision::Answer(Status::Unmet, 3));
    }
}
