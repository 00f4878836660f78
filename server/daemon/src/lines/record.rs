//! One line of a JSON Lines file: a record, or the header.
//!
//! ```text
//! {"slotkv_export":1}
//! {"key":"user:1","value":"Ada"}
//! {"key_base64":"AP8=","value_base64":"","namespace":"people"}
//! {"key":"session:1","value":"Ada","expires_ms":1790000000000}
//! ```
//! `expires_ms` is when the key ends, in milliseconds since 1970 by the clock of whoever wrote or reads the file. Text is used where the bytes are UTF-8, base64 (standard alphabet, padded) elsewhere; a reader takes either.
//! Whatever else is in a record is refused by name, so that nothing is dropped in silence.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use slotkv_proto::seam::{Clock, SystemClock};

/// The format this build writes, and the newest it reads.
pub(crate) const FORMAT: u64 = 1;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// `None`: the namespace the command names.
    pub namespace: Option<String>,
    /// Any bytes.
    pub key: Vec<u8>,
    /// Any bytes.
    pub value: Vec<u8>,
    /// When it ends, in wall milliseconds; `None`: never.
    pub expires_ms: Option<u64>,
}

/// What a line holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The header; its format is one that this build reads.
    Header,
    /// A record.
    Record(Record),
    /// Nothing but blanks.
    Blank,
}

/// Why a line was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    /// No JSON object of the expected fields; the message names the place or the field.
    #[error("{0}")]
    Malformed(String),
    /// Neither or both of the two forms of a field.
    #[error("wants either {0} or {0}_base64")]
    OneOf(&'static str),
    /// Not the standard alphabet, padded.
    #[error("{0}_base64 is not base64: {1}")]
    Base64(&'static str, String),
    /// Written by a later release.
    #[error("the file has slotkv_export format {0}; this slotkv reads formats up to {FORMAT}")]
    Newer(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    namespace: Option<String>,
    expires_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Header {
    slotkv_export: u64,
}

/// Reads a line, with or without its line end.
pub(crate) fn parse(line: &[u8]) -> Result<Line, LineError> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(Line::Blank);
    }
    if line[0] != b'{' {
        return Err(LineError::Malformed("no JSON object".into()));
    }
    match serde_json::from_slice::<Fields>(line) {
        Ok(fields) => record(fields).map(Line::Record),
        // A header is rare, and a later one may have fields that only its number explains: so the number comes first.
        Err(error) => match serde_json::from_slice::<Header>(line) {
            Ok(header) if header.slotkv_export > FORMAT => Err(LineError::Newer(header.slotkv_export)),
            Ok(_) => Ok(Line::Header),
            Err(_) => Err(LineError::Malformed(error.to_string())),
        },
    }
}

fn record(fields: Fields) -> Result<Record, LineError> {
    Ok(Record {
        namespace: fields.namespace,
        key: bytes("key", fields.key, fields.key_base64)?,
        value: bytes("value", fields.value, fields.value_base64)?,
        expires_ms: fields.expires_ms,
    })
}

fn bytes(name: &'static str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, LineError> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => STANDARD.decode(base64).map_err(|e| LineError::Base64(name, e.to_string())),
        _ => Err(LineError::OneOf(name)),
    }
}

/// Appends the header line.
pub(crate) fn push_header(out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"slotkv_export\":{FORMAT}}}\n").as_bytes());
}

/// Appends a record as a line.
pub(crate) fn push_record(
    out: &mut Vec<u8>,
    namespace: &str,
    key: &[u8],
    value: &[u8],
    ttl: Option<Duration>,
) {
    out.push(b'{');
    push_field(out, "key", key);
    out.push(b',');
    push_field(out, "value", value);
    if !namespace.is_empty() {
        out.push(b',');
        push_field(out, "namespace", namespace.as_bytes());
    }
    push_expiry(out, ttl);
    out.extend_from_slice(b"}\n");
}

/// Appends when a key ends that has so much of its lifetime left, if it ends.
pub(crate) fn push_expiry(out: &mut Vec<u8>, ttl: Option<Duration>) {
    if let Some(ttl) = ttl {
        let expires_ms = SystemClock.wall_ms() + ttl.as_millis() as u64;
        out.extend_from_slice(format!(",\"expires_ms\":{expires_ms}").as_bytes());
    }
}

/// What is left until a key ends, at least a millisecond; `None` if it is over.
pub(crate) fn ttl_until(expires_ms: u64) -> Option<Duration> {
    let left_ms = expires_ms.checked_sub(SystemClock.wall_ms()).filter(|&left| left > 0);
    left_ms.map(Duration::from_millis)
}

/// Appends `"name":"text"`, or `"name_base64":"..."` if the bytes are no text.
pub(crate) fn push_field(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            out.extend_from_slice(b"\":");
            serde_json::to_writer(out, text).expect("a Vec takes any text");
        }
        Err(_) => {
            out.extend_from_slice(b"_base64\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(line: &str) -> String {
        parse(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn text_and_base64_are_both_read() {
        let line = br#"{"key_base64":"AP8=","value":"a\u0000b","namespace":"n"}"#;
        let record = Record {
            namespace: Some("n".into()),
            key: vec![0, 255],
            value: b"a\0b".to_vec(),
            expires_ms: None,
        };
        assert_eq!(parse(line), Ok(Line::Record(record)));
        assert_eq!(parse(b"  \r\n"), Ok(Line::Blank));
    }

    #[test]
    fn a_lifetime_is_written_as_its_end_and_read_back() {
        let mut line = Vec::new();
        let written = Duration::from_secs(3600);
        push_record(&mut line, "", b"k", b"v", Some(written));
        let Ok(Line::Record(Record { expires_ms: Some(expires_ms), .. })) = parse(&line) else {
            panic!("{}", String::from_utf8_lossy(&line))
        };
        let left = ttl_until(expires_ms).unwrap();
        assert!(left <= written && left > written / 2, "{left:?}");
        assert_eq!(ttl_until(SystemClock.wall_ms()), None);
        assert!(refusal(r#"{"key":"a","value":"","expires_ms":-1}"#).contains("u64"));
    }

    #[test]
    fn a_newer_format_is_refused_by_name_whatever_else_it_holds() {
        assert_eq!(parse(br#"{"slotkv_export":1,"made_by":"x"}"#), Ok(Line::Header));
        assert!(refusal(r#"{"slotkv_export":2,"compressed":true}"#).contains("format 2"));
    }

    #[test]
    fn malformed_records_are_refused_with_the_field_that_is_wrong() {
        assert!(refusal(r#"{"key":"a"}"#).contains("value"));
        assert!(refusal(r#"{"key":"a","key_base64":"YQ==","value":""}"#).contains("key or key_base64"));
        assert!(refusal(r#"{"key_base64":"a","value":""}"#).contains("key_base64 is not base64"));
        assert!(refusal(r#"{"key":"a","value":"","colour":"red"}"#).contains("colour"));
        assert!(refusal(r#"{"key":1,"value":""}"#).contains("expected a string"));
        assert!(refusal(r#"{"key":"a","value":"#).contains("EOF"));
        assert!(refusal(r#"{"key":"a","key":"b","value":""}"#).contains("duplicate field `key`"));
        assert!(matches!(parse(br#"{"key":"\ud800","value":""}"#), Err(LineError::Malformed(_))));
        assert!(refusal(r#"["a",null,"b",null,null]"#).contains("no JSON object"));
    }

    proptest! {
        #[test]
        fn written_records_are_read_back(
            key in proptest::collection::vec(any::<u8>(), 0..50),
            value in prop_oneof![proptest::collection::vec(any::<u8>(), 0..50), ".*".prop_map(String::into_bytes)],
            namespace in "[a-z]{0,3}",
        ) {
            let mut line = Vec::new();
            push_record(&mut line, &namespace, &key, &value, None);
            prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let namespace = (!namespace.is_empty()).then_some(namespace);
            prop_assert_eq!(parse(&line), Ok(Line::Record(Record { namespace, key, value, expires_ms: None })));
        }
    }
}
