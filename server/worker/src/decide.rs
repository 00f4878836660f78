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
    /// Store a value.
    Put(Bytes, Condition),
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

/// Decides one write on a key that now holds `row`.
pub fn decide(change: &Change, row: Option<&Row>) -> Decision {
    let version = row.map_or(0, |row| row.version);
    let written = if row.is_some() { Status::Updated } else { Status::Created };
    match change {
        Change::Put(_, condition) if !holds(*condition, version) => Decision::Answer(Status::Unmet, version),
        Change::Put(value, _) => Decision::Apply { value: Some(value.clone()), status: written, number: 0 },
        Change::Delete(_) if row.is_none() => Decision::Answer(Status::NotFound, 0),
        Change::Delete(condition) if !holds(*condition, version) => Decision::Answer(Status::Unmet, version),
        Change::Delete(_) => Decision::Apply { value: None, status: Status::Deleted, number: 0 },
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
        Change::Put(Bytes::from_static(b"v"), condition)
    }

    #[test]
    fn a_put_says_whether_it_created_or_updated() {
        for (before, status) in [(None, Status::Created), (row(3, "x"), Status::Updated)] {
            let Decision::Apply { value, status: told, .. } =
                decide(&put(Condition::Always), before.as_ref())
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
            assert_eq!(decide(&change, before.as_ref()), decision, "{change:?}");
        }
    }

    #[test]
    fn version_zero_is_the_version_of_an_absent_key() {
        assert!(matches!(decide(&put(Condition::Version(0)), None), Decision::Apply { .. }));
        assert_eq!(
            decide(&put(Condition::Version(0)), row(1, "x").as_ref()),
            Decision::Answer(Status::Unmet, 1)
        );
    }

    #[test]
    fn increments_add_and_refuse_what_is_no_number_or_does_not_fit() {
        let Decision::Apply { value, number, .. } = decide(&Change::Increment(-5), row(1, "3").as_ref())
        else {
            panic!("refused")
        };
        assert_eq!((value.as_deref(), number), (Some(&b"-2"[..]), -2));
        assert!(matches!(
            decide(&Change::Increment(1), row(1, "9223372036854775807").as_ref()),
            Decision::Refuse(Code::Overflow, _)
        ));
        for text in ["", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "\u{661}"] {
            assert!(
                matches!(
                    decide(&Change::Increment(1), row(1, text).as_ref()),
                    Decision::Refuse(Code::NotANumber, _)
                ),
                "{text:?}"
            );
        }
    }
}
