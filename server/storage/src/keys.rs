//! How rows lie in the engine. A key is format, kind, and then by kind:
//!
//! | kind | rest of the key | row |
//! |---|---|---|
//! | data | slot (u16), namespace (length u8, bytes), key | [`Row`] |
//! | slot | slot (u16) | [`SlotRow`] |
//! | meta | a name | by name: [`Position`] at [`applied_key`], pieces of the table of retries at [`retry_key`] |
//! | deadline | when a data row ends (u64), its key | nothing |
//!
//! Numbers in keys are big-endian, so that keys order by slot, then namespace (shorter names first), then key. Numbers
//! in rows are little-endian. Every row begins with its format.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::{Xxh3, xxh3_128, xxh3_128_with_seed};

use crate::error::Error;

/// Format of keys, of value rows and of slot rows.
pub const FORMAT: u8 = 1;

/// Where the slot begins in a key that has one.
const SLOT_AT: usize = 2;
/// What a deadline's key has before the key of its row.
const DEADLINE_BYTES: usize = 10;
const RETRY_NAME: &[u8] = b"retry/";

/// Which rows a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeyKind {
    /// What users stored.
    Data = 1,
    /// One row per slot.
    Slot = 2,
    /// The replica's own.
    Meta = 3,
    /// When users' rows end, in order of time.
    Deadline = 4,
}

/// The key of a user's row.
///
/// # Panics
/// If the namespace is longer than 255 bytes; `slotkv_proto::limits` allows fewer.
pub fn data_key(slot: u16, namespace: &str, key: &[u8]) -> Bytes {
    let mut buffer = Vec::with_capacity(5 + namespace.len() + key.len());
    append_data_key(&mut buffer, slot, namespace, key);
    buffer.into()
}

/// Appends a [`data_key`].
pub fn append_data_key(buffer: &mut Vec<u8>, slot: u16, namespace: &str, key: &[u8]) {
    let length = u8::try_from(namespace.len()).expect("a namespace's name has at most 255 bytes");
    let [high, low] = slot.to_be_bytes();
    buffer.extend_from_slice(&[FORMAT, KeyKind::Data as u8, high, low, length]);
    buffer.extend_from_slice(namespace.as_bytes());
    buffer.extend_from_slice(key);
}

/// What every key of one namespace in one slot begins with; its length is where the user's key starts.
pub fn data_prefix(slot: u16, namespace: &str) -> Bytes {
    data_key(slot, namespace, b"")
}

/// What every user's row in one slot begins with, of whatever namespace.
pub fn data_slot_prefix(slot: u16) -> Bytes {
    let [high, low] = slot.to_be_bytes();
    Bytes::copy_from_slice(&[FORMAT, KeyKind::Data as u8, high, low])
}

/// The parts of a user's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataKey<'a> {
    /// Its slot.
    pub slot: u16,
    /// Its namespace.
    pub namespace: &'a str,
    /// The key itself.
    pub key: &'a [u8],
}

impl<'a> DataKey<'a> {
    /// Takes a key of kind [`KeyKind::Data`] apart.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let rest = kind_checked("data key", bytes, KeyKind::Data)?;
        let (slot, rest) = slot_of("data key", rest)?;
        let parts = rest.split_first().and_then(|(&length, rest)| rest.split_at_checked(length.into()));
        let (namespace, key) = parts.ok_or(malformed("data key", "it ends inside of its namespace"))?;
        let namespace =
            std::str::from_utf8(namespace).map_err(|_| malformed("data key", "its namespace is no UTF-8"))?;
        Ok(Self { slot, namespace, key })
    }
}

/// The slot of a user's row by its key; `None` if it is none.
pub fn slot_of_data_key(key: &[u8]) -> Option<u16> {
    slot_of("data key", kind_checked("data key", key, KeyKind::Data).ok()?).ok().map(|(slot, _)| slot)
}

/// The smallest key greater than every key that begins with `prefix`; `None` if there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// The key of a slot's row.
pub fn slot_key(slot: u16) -> Bytes {
    let [high, low] = slot.to_be_bytes();
    Bytes::copy_from_slice(&[FORMAT, KeyKind::Slot as u8, high, low])
}

/// What the key of every user's row begins with.
pub fn data_key_prefix() -> Bytes {
    Bytes::from_static(&[FORMAT, KeyKind::Data as u8])
}

/// What the key of every slot row begins with.
pub fn slot_key_prefix() -> Bytes {
    Bytes::from_static(&[FORMAT, KeyKind::Slot as u8])
}

/// The slot of a slot row's key.
pub fn decode_slot_key(key: &[u8]) -> Result<u16, Error> {
    match slot_of("slot key", kind_checked("slot key", key, KeyKind::Slot)?)? {
        (slot, []) => Ok(slot),
        _ => Err(malformed("slot key", "bytes are left over")),
    }
}

/// The key that says when a user's row ends; `data_key` is the row's.
pub fn deadline_key(expires_ms: u64, data_key: &[u8]) -> Bytes {
    let mut buffer = BytesMut::with_capacity(DEADLINE_BYTES + data_key.len());
    buffer.put_slice(&[FORMAT, KeyKind::Deadline as u8]);
    buffer.put_u64(expires_ms);
    buffer.put_slice(data_key);
    buffer.freeze()
}

/// What the key of every deadline begins with.
pub fn deadline_key_prefix() -> Bytes {
    Bytes::from_static(&[FORMAT, KeyKind::Deadline as u8])
}

/// When a row ends, and its own key.
pub fn decode_deadline_key(key: &[u8]) -> Result<(u64, &[u8]), Error> {
    let rest = kind_checked("deadline key", key, KeyKind::Deadline)?;
    let (expires_ms, data_key) =
        rest.split_first_chunk().ok_or(malformed("deadline key", "it ends inside of its time"))?;
    Ok((u64::from_be_bytes(*expires_ms), data_key))
}

/// A key of the replica's own, by name.
pub fn meta_key(name: &str) -> Bytes {
    meta(name.as_bytes(), &[])
}

/// The key of the applied [`Position`].
pub fn applied_key() -> Bytes {
    meta_key("applied")
}

/// The key of one piece of a slot's table of retries.
pub fn retry_key(slot: u16, chunk: u32) -> Bytes {
    let mut rest = [0; 6];
    rest[..2].copy_from_slice(&slot.to_be_bytes());
    rest[2..].copy_from_slice(&chunk.to_be_bytes());
    meta(RETRY_NAME, &rest)
}

/// What the keys of a slot's table of retries begin with; `None`: of every slot's.
pub fn retry_key_prefix(slot: Option<u16>) -> Bytes {
    match slot {
        Some(slot) => meta(RETRY_NAME, &slot.to_be_bytes()),
        None => meta(RETRY_NAME, &[]),
    }
}

/// Slot and number of a piece of a table of retries.
pub fn decode_retry_key(key: &[u8]) -> Result<(u16, u32), Error> {
    let name = kind_checked("retry key", key, KeyKind::Meta)?;
    let rest = name.strip_prefix(RETRY_NAME).ok_or(malformed("retry key", "it has another name"))?;
    let (slot, chunk) = slot_of("retry key", rest)?;
    let chunk = chunk.try_into().map_err(|_| malformed("retry key", "its number is no u32"))?;
    Ok((slot, u32::from_be_bytes(chunk)))
}

fn meta(name: &[u8], rest: &[u8]) -> Bytes {
    let mut buffer = BytesMut::with_capacity(SLOT_AT + name.len() + rest.len());
    buffer.put_slice(&[FORMAT, KeyKind::Meta as u8]);
    buffer.put_slice(name);
    buffer.put_slice(rest);
    buffer.freeze()
}

fn kind_checked<'a>(what: &'static str, key: &'a [u8], kind: KeyKind) -> Result<&'a [u8], Error> {
    let (&[format, found], rest) =
        key.split_first_chunk::<SLOT_AT>().ok_or(malformed(what, "it is too short"))?;
    format_checked(what, format)?;
    if found != kind as u8 {
        return Err(malformed(what, format!("it is of kind {found}")));
    }
    Ok(rest)
}

fn slot_of<'a>(what: &'static str, rest: &'a [u8]) -> Result<(u16, &'a [u8]), Error> {
    let (&slot, rest) = rest.split_first_chunk::<2>().ok_or(malformed(what, "it ends inside of its slot"))?;
    Ok((u16::from_be_bytes(slot), rest))
}

fn format_checked(what: &'static str, format: u8) -> Result<(), Error> {
    match format {
        FORMAT => Ok(()),
        0 => Err(malformed(what, "it has format 0")),
        _ => Err(Error::NewerFormat { what: what.into(), found: format.into(), known: FORMAT.into() }),
    }
}

fn malformed(what: &'static str, why: impl Into<String>) -> Error {
    Error::Malformed { what, why: why.into() }
}

const FLAG_EXPIRES: u8 = 1;

/// A value with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// From the slot's counter.
    pub version: u64,
    /// When it ends, in milliseconds of logged time; 0: never.
    pub expires_ms: u64,
    /// The user's bytes.
    pub value: Bytes,
}

impl Row {
    /// The row's bytes: format, version, flags, the expiry if the flags say so, value.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::with_capacity(18 + self.value.len());
        buffer.put_u8(FORMAT);
        buffer.put_u64_le(self.version);
        if self.expires_ms == 0 {
            buffer.put_u8(0);
        } else {
            buffer.put_u8(FLAG_EXPIRES);
            buffer.put_u64_le(self.expires_ms);
        }
        buffer.put_slice(&self.value);
        buffer.freeze()
    }

    /// The row of some bytes; the value shares them.
    pub fn decode(bytes: Bytes) -> Result<Self, Error> {
        let (version, expires_ms, value) = Self::peek(&bytes)?;
        let start = bytes.len() - value.len();
        Ok(Self { version, expires_ms, value: bytes.slice(start..) })
    }

    /// Whether its time is over at `time_ms`.
    pub fn is_over(&self, time_ms: u64) -> bool {
        is_over(self.expires_ms, time_ms)
    }

    /// Version, expiry (0: never) and value of some bytes, nothing copied.
    pub fn peek(bytes: &[u8]) -> Result<(u64, u64, &[u8]), Error> {
        let short = || malformed("value row", "it is too short");
        let (&format, rest) = bytes.split_first().ok_or_else(short)?;
        format_checked("value row", format)?;
        let (version, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (&flags, rest) = rest.split_first().ok_or_else(short)?;
        let (expires_ms, value) = match flags {
            0 => (0, rest),
            FLAG_EXPIRES => {
                let (expires, value) = rest.split_first_chunk().ok_or_else(short)?;
                (u64::from_le_bytes(*expires), value)
            }
            _ => return Err(malformed("value row", format!("its flags are {flags:#x}"))),
        };
        Ok((u64::from_le_bytes(*version), expires_ms, value))
    }
}

/// Whether a row that ends at `expires_ms` (0: never) is over at `time_ms`.
pub fn is_over(expires_ms: u64, time_ms: u64) -> bool {
    expires_ms != 0 && expires_ms <= time_ms
}

/// What is known of one slot, in the same batch as the rows that changed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotRow {
    /// Rows.
    pub count: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Sum of [`digest_of`] over the rows.
    pub digest: u128,
    /// The last version given; never goes back, deletes count.
    pub version_counter: u64,
    /// The last logged time; never goes back.
    pub logged_time_ms: u64,
    /// Log index of the latest write whose result was dropped before its client said so.
    pub forgotten_index: u64,
}

impl SlotRow {
    const BYTES: usize = 1 + 8 + 8 + 16 + 8 + 8 + 8;

    /// The row's bytes: format, then the fields in order.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::with_capacity(Self::BYTES);
        buffer.put_u8(FORMAT);
        buffer.put_u64_le(self.count);
        buffer.put_u64_le(self.bytes);
        buffer.put_u128_le(self.digest);
        buffer.put_u64_le(self.version_counter);
        buffer.put_u64_le(self.logged_time_ms);
        buffer.put_u64_le(self.forgotten_index);
        buffer.freeze()
    }

    /// The row of some bytes.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Error> {
        format_checked("slot row", bytes.first().copied().unwrap_or(0))?;
        if bytes.len() != Self::BYTES {
            return Err(malformed("slot row", format!("{} bytes", bytes.len())));
        }
        bytes.advance(1);
        Ok(Self {
            count: bytes.get_u64_le(),
            bytes: bytes.get_u64_le(),
            digest: bytes.get_u128_le(),
            version_counter: bytes.get_u64_le(),
            logged_time_ms: bytes.get_u64_le(),
            forgotten_index: bytes.get_u64_le(),
        })
    }
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Epoch of the record.
    pub epoch: u64,
    /// Index of the record; 0: before the first.
    pub index: u64,
}

impl Position {
    /// The row's bytes: format, epoch, index.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::with_capacity(17);
        buffer.put_u8(FORMAT);
        buffer.put_u64_le(self.epoch);
        buffer.put_u64_le(self.index);
        buffer.freeze()
    }

    /// The row of some bytes.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Error> {
        format_checked("position row", bytes.first().copied().unwrap_or(0))?;
        if bytes.len() != 17 {
            return Err(malformed("position row", format!("{} bytes", bytes.len())));
        }
        bytes.advance(1);
        Ok(Self { epoch: bytes.get_u64_le(), index: bytes.get_u64_le() })
    }
}

/// 128-bit hash of one row, to be summed with wrapping addition over a slot's rows: XXH3-128 over the XXH3-128 of
/// namespace, key and value and the version, all little-endian. The parts are hashed with different seeds, so that
/// bytes moved from one to the next change the sum.
pub fn digest_of(namespace: &str, key: &[u8], version: u64, value: &[u8]) -> u128 {
    let mut parts = [0; 56];
    parts[..16].copy_from_slice(&xxh3_128_with_seed(namespace.as_bytes(), 1).to_le_bytes());
    parts[16..32].copy_from_slice(&xxh3_128_with_seed(key, 2).to_le_bytes());
    parts[32..48].copy_from_slice(&xxh3_128_with_seed(value, 3).to_le_bytes());
    parts[48..].copy_from_slice(&version.to_le_bytes());
    xxh3_128(&parts)
}

/// 64-bit hash of what slots hold, by their rows in order: XXH3 over number, count, bytes and digest, all little-endian. Version
/// counters and times are left out: after a loss one replica may have raised its own. Slots that hold nothing do not count.
pub fn hash_of_slots<'a>(rows: impl Iterator<Item = (u16, &'a SlotRow)>) -> u64 {
    let mut hash = Xxh3::new();
    for (slot, SlotRow { count, bytes, digest, .. }) in rows {
        if (*count, *bytes, *digest) == (0, 0, 0) {
            continue;
        }
        hash.update(&slot.to_le_bytes());
        hash.update(&count.to_le_bytes());
        hash.update(&bytes.to_le_bytes());
        hash.update(&digest.to_le_bytes());
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_order_by_slot_then_namespace_then_key(
            left in (any::<u16>(), "[a-z/]{0,4}", proptest::collection::vec(any::<u8>(), 0..4)),
            right in (any::<u16>(), "[a-z/]{0,4}", proptest::collection::vec(any::<u8>(), 0..4)),
            same in 0..3usize,
        ) {
            let (mut right, mut order) = (right, Vec::new());
            if same > 0 { right.0 = left.0; }
            if same > 1 { right.1 = left.1.clone(); }
            for (slot, namespace, key) in [&left, &right] {
                let encoded = data_key(*slot, namespace, key);
                prop_assert_eq!(
                    DataKey::decode(&encoded).unwrap(),
                    DataKey { slot: *slot, namespace, key }
                );
                prop_assert!(encoded.starts_with(&data_prefix(*slot, namespace)));
                prop_assert!(encoded.starts_with(&data_slot_prefix(*slot)));
                order.push(((*slot, namespace.len(), namespace.clone(), key.clone()), encoded));
            }
            prop_assert_eq!(order[0].0.cmp(&order[1].0), order[0].1.cmp(&order[1].1));
        }

        #[test]
        fn prefix_end_bounds_exactly_the_keys_with_the_prefix(
            prefix in proptest::collection::vec(250u8.., 0..4), key in proptest::collection::vec(250u8.., 0..6),
        ) {
            let within = key >= prefix && prefix_end(&prefix).is_none_or(|end| key[..] < end[..]);
            prop_assert_eq!(within, key.starts_with(&prefix));
        }

        #[test]
        fn rows_decode_to_what_was_encoded(
            version: u64, expires_ms in prop_oneof![Just(0), any::<u64>()], value: Vec<u8>,
            count: u64, digest: u128, forgotten_index: u64, slot: u16, chunk: u32,
        ) {
            let row = Row { version, expires_ms, value: value.into() };
            prop_assert_eq!(Row::decode(row.encode()).unwrap(), row);
            let row = SlotRow {
                count, digest, version_counter: version, forgotten_index, ..SlotRow::default()
            };
            prop_assert_eq!(SlotRow::decode(&row.encode()).unwrap(), row);
            let position = Position { epoch: count, index: version };
            prop_assert_eq!(Position::decode(&position.encode()).unwrap(), position);
            prop_assert_eq!(decode_slot_key(&slot_key(slot)).unwrap(), slot);
            prop_assert_eq!(decode_retry_key(&retry_key(slot, chunk)).unwrap(), (slot, chunk));
            prop_assert!(retry_key(slot, chunk).starts_with(&retry_key_prefix(Some(slot))));
            let deadline = deadline_key(count, &retry_key(slot, chunk));
            prop_assert_eq!(decode_deadline_key(&deadline).unwrap(), (count, &retry_key(slot, chunk)[..]));
            prop_assert!(deadline.starts_with(&deadline_key_prefix()));
            prop_assert_eq!(count.cmp(&version), deadline_key(count, b"").cmp(&deadline_key(version, b"")));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(0u8..4, 0..80)) {
            let _ = (Row::peek(&bytes), SlotRow::decode(&bytes), Position::decode(&bytes));
            let _ = (DataKey::decode(&bytes), decode_slot_key(&bytes), decode_retry_key(&bytes));
            let _ = decode_deadline_key(&bytes);
        }
    }

    #[test]
    fn digest_depends_on_every_part_and_on_where_it_stands() {
        let digests = [
            digest_of("", b"key", 1, b"value"),
            digest_of("n", b"key", 1, b"value"),
            digest_of("", b"kez", 1, b"value"),
            digest_of("", b"key", 2, b"value"),
            digest_of("", b"key", 1, b"valuf"),
            digest_of("", b"keyv", 1, b"alue"),
            digest_of("k", b"ey", 1, b"value"),
            digest_of("", b"value", 1, b"key"),
        ];
        let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }
}
