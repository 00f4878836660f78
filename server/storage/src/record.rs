//! LogRecord: what a log record holds. It is a protobuf message whose definition is the structs here; the log itself
//! does not look inside.

use bytes::Bytes;
use prost::Message;

use crate::error::Error;

/// Format of log records, but for those that say otherwise.
pub const FORMAT: u32 = 1;
/// Format of a CHECK. A release that does not know that kind refuses it by this number.
pub const FORMAT_CHECK: u32 = 2;
/// Format of a record of a hand-over. A release that knows none refuses it by this number.
pub const FORMAT_HANDOVER: u32 = 3;
/// The newest format known here.
const FORMAT_MAX: u32 = FORMAT_HANDOVER;

/// The byte that a record begins with: field 1, a number.
const FORMAT_TAG: u8 = 1 << 3;

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// None that this release knows.
    Unspecified = 0,
    /// A client's write, with its effects and its result.
    Write = 1,
    /// The first record of a primary's epoch.
    Barrier = 2,
    /// The deletion of a row whose time is over; no client asked.
    Expiry = 3,
    /// Changes nothing: replicas compare what they hold once they have applied it.
    Check = 4,
    /// A step of a hand-over of slots: what it is lies in [`LogRecord::handover`].
    Handover = 5,
}

/// Which slot a record is about: what can be read of a [`LogRecord`] without the rest.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct LogHead {
    /// What it is for.
    #[prost(enumeration = "Kind", tag = "3")]
    pub kind: i32,
    /// The slot it changes.
    #[prost(uint32, tag = "4")]
    pub slot: u32,
}

impl LogHead {
    /// The head of some bytes of a [`LogRecord`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode(bytes).map_err(|error| Error::Malformed { what: "log record", why: error.to_string() })
    }
}

/// What a log record holds: the effects of a decision, not the request that asked for it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogRecord {
    /// [`FORMAT`], [`FORMAT_CHECK`] or [`FORMAT_HANDOVER`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// Logged time, in wall milliseconds.
    #[prost(uint64, tag = "2")]
    pub time_ms: u64,
    /// What it is for.
    #[prost(enumeration = "Kind", tag = "3")]
    pub kind: i32,
    /// The slot it changes.
    #[prost(uint32, tag = "4")]
    pub slot: u32,
    /// The namespace of its keys.
    #[prost(string, tag = "5")]
    pub namespace: String,
    /// 16 bytes; empty if no client asked.
    #[prost(bytes = "bytes", tag = "6")]
    pub client_id: Bytes,
    /// The client's number of the write; 0 if no client asked.
    #[prost(uint64, tag = "7")]
    pub sequence: u64,
    /// Every sequence of the client below this one is answered.
    #[prost(uint64, tag = "8")]
    pub oldest_open: u64,
    /// Changes of rows, in order.
    #[prost(message, repeated, tag = "9")]
    pub effects: Vec<Effect>,
    /// What the client was told.
    #[prost(message, optional, tag = "10")]
    pub result: Option<Outcome>,
    /// The slot's [`SlotRow`](crate::SlotRow) after the record, encoded; empty if nothing changed.
    #[prost(bytes = "bytes", tag = "11")]
    pub slot_row: Bytes,
    /// Of a BARRIER: by how much the shown index and every version counter are raised, since records with such
    /// numbers may be lost.
    #[prost(uint64, tag = "12")]
    pub gap: u64,
    /// Of a HANDOVER: a record of `slotkv-migration` in its wire form. Storage does not look inside.
    #[prost(bytes = "bytes", tag = "13")]
    pub handover: Bytes,
}

/// One changed row.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Effect {
    /// The user's key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its new value; absent: deleted.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub value: Option<Bytes>,
    /// Its new version; of a delete the version that the slot's counter reached.
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// When it ends, in milliseconds of logged time; 0: never.
    #[prost(uint64, tag = "4")]
    pub expires_ms: u64,
    /// When the row that it replaces was to end; 0: never, or there was none. So whoever applies it need not read that row to
    /// know which deadline has gone.
    #[prost(uint64, tag = "5")]
    pub replaced_expires_ms: u64,
}

/// What a client was told about a write.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Outcome {
    /// `slotkv.v1.Status`.
    #[prost(int32, tag = "1")]
    pub status: i32,
    /// Version of the key after the write.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// The new number of an increment.
    #[prost(sint64, tag = "3")]
    pub number: i64,
    /// Number of the error code if the write was refused; 0: it was not.
    #[prost(uint32, tag = "4")]
    pub code: u32,
}

impl LogRecord {
    /// The record's bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut buffer = Vec::with_capacity(self.encoded_len());
        self.encode_into(&mut buffer);
        buffer.into()
    }

    /// Appends the record's bytes to a buffer, as [`Group::push`](crate::log::Group::push) wants it.
    pub fn encode_into(&self, buffer: &mut Vec<u8>) {
        self.encode(buffer).expect("a Vec has room for any message");
    }

    /// The record of some bytes; keys and values share them.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Error> {
        let malformed = |why: String| Error::Malformed { what: "log record", why };
        // The format comes first in every record, so that it is known before a field of a later format is met.
        match bytes.strip_prefix(&[FORMAT_TAG]).map(prost::decode_length_delimiter) {
            Some(Ok(0)) | None => return Err(malformed("it does not begin with its format".into())),
            Some(Ok(format)) if format > FORMAT_MAX as usize => {
                return Err(Error::NewerFormat {
                    what: "log record".into(),
                    found: u32::try_from(format).unwrap_or(u32::MAX),
                    known: FORMAT_MAX,
                });
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(malformed(error.to_string())),
        }
        let record = Self::decode(bytes).map_err(|error| malformed(error.to_string()))?;
        if record.format > FORMAT_MAX || record.format == 0 {
            return Err(malformed(format!("its format is said twice, the second time as {}", record.format)));
        }
        match record.kind() {
            Kind::Write | Kind::Barrier | Kind::Expiry => Ok(record),
            Kind::Check if record.format >= FORMAT_CHECK => Ok(record),
            Kind::Handover if record.format >= FORMAT_HANDOVER => Ok(record),
            Kind::Unspecified | Kind::Check | Kind::Handover => {
                Err(malformed(format!("its kind is {}", record.kind)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn record_without_a_format_a_kind_or_a_whole_message_is_refused() {
        let record = LogRecord { format: FORMAT, kind: Kind::Barrier.into(), ..LogRecord::default() };
        assert_eq!(LogRecord::from_bytes(record.to_bytes()).unwrap(), record);
        for wrong in [
            LogRecord { format: 0, ..record.clone() },
            LogRecord { kind: 0, ..record.clone() },
            LogRecord { kind: 77, ..record.clone() },
            LogRecord { kind: Kind::Check.into(), ..record.clone() },
            LogRecord { kind: Kind::Handover.into(), format: FORMAT_CHECK, ..record.clone() },
        ] {
            let refusal = LogRecord::from_bytes(wrong.to_bytes()).unwrap_err();
            assert!(matches!(refusal, Error::Malformed { .. }), "{refusal}");
        }
        let twice = [&record.to_bytes()[..], &[FORMAT_TAG, 32]].concat();
        assert!(LogRecord::from_bytes(twice.into()).is_err());
        assert!(LogRecord::from_bytes(Bytes::new()).is_err());
        assert!(LogRecord::from_bytes(Bytes::from_static(&[8, 1, 0x4a, 200])).is_err());
    }

    #[test]
    fn head_says_of_every_kind_what_the_record_says() {
        let kinds = (0..).map_while(|number| Kind::try_from(number).ok());
        assert_eq!(kinds.clone().last(), Some(Kind::Handover), "a kind is left out");
        for (kind, slot) in kinds.flat_map(|kind| [0, 7, 16_383].map(|slot| (kind, slot))) {
            let record = LogRecord {
                format: FORMAT_MAX,
                time_ms: 5,
                kind: kind.into(),
                slot,
                namespace: "n".into(),
                client_id: vec![9; 16].into(),
                sequence: 8,
                oldest_open: 6,
                effects: vec![Effect { key: "k".into(), version: 11, ..Effect::default() }],
                result: Some(Outcome { status: 1, version: 11, number: 12, code: 13 }),
                slot_row: "row".into(),
                gap: 14,
                handover: "step".into(),
            };
            let head = LogHead::from_bytes(&record.to_bytes()).unwrap();
            assert_eq!((head.kind(), head.slot), (kind, slot));
        }
    }

    #[test]
    fn empty_value_is_told_apart_from_a_delete() {
        let effect = |value| Effect { key: "k".into(), value, version: 1, ..Effect::default() };
        let record = LogRecord {
            format: FORMAT,
            kind: Kind::Write.into(),
            effects: vec![effect(Some(Bytes::new())), effect(None)],
            ..LogRecord::default()
        };
        assert_eq!(LogRecord::from_bytes(record.to_bytes()).unwrap(), record);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            let _ = LogRecord::from_bytes(bytes.clone().into());
            let _ = LogRecord::from_bytes([&[8, 1][..], &bytes].concat().into());
        }
    }
}
