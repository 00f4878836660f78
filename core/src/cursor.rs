//! Where a scan stands, as opaque bytes that another process or language may go on with.
//!
//! Layout: format (1), flags (1: ordered), slot count (u16 BE), hash of namespace and range (u64 BE), the slot (u16 BE) and
//! the key behind which it goes on. In slot order the place is (slot, key); with `ordered` it is the key alone. The first
//! byte changes when anything else does.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use slotkv_proto::{Code, SlotCount, limits};

use crate::{Error, Range, Result};

/// The format that this build writes.
pub const CURSOR_FORMAT: u8 = 1;

const ORDERED: u8 = 1;
const HEADER_BYTES: usize = 1 + 1 + 2 + 8 + 2;

/// Behind which place a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub slot: u16,
    pub key: Bytes,
}

pub(crate) fn encode(position: &Position, range: &Range, namespace: &str, slots: SlotCount) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + position.key.len());
    bytes.put_u8(CURSOR_FORMAT);
    bytes.put_u8(if range.ordered { ORDERED } else { 0 });
    bytes.put_u16(slots.get());
    bytes.put_u64(range_hash(range, namespace));
    bytes.put_u16(position.slot);
    bytes.put_slice(&position.key);
    bytes.freeze()
}

pub(crate) fn decode(
    mut cursor: &[u8],
    range: &Range,
    namespace: &str,
    slots: SlotCount,
) -> Result<Position> {
    match cursor.first() {
        None => return Err(Error::invalid("the cursor is empty")),
        Some(&CURSOR_FORMAT) => {}
        Some(format) => {
            return Err(Error::new(
                Code::Unsupported,
                format!("the cursor has format {format}; this client knows format {CURSOR_FORMAT}"),
            ));
        }
    }
    if cursor.len() < HEADER_BYTES || cursor.len() > HEADER_BYTES + limits::KEY_BYTES_MAX {
        return Err(Error::invalid(format!("the cursor has {} bytes, which none has", cursor.len())));
    }
    cursor.advance(1);
    let (flags, count, hash, slot) = (cursor.get_u8(), cursor.get_u16(), cursor.get_u64(), cursor.get_u16());
    if flags & !ORDERED != 0 {
        return Err(Error::invalid(format!("the cursor has flags {flags}, which none has")));
    }
    if (flags == ORDERED) != range.ordered {
        let order = |ordered| if ordered { "key order" } else { "slot order" };
        return Err(Error::invalid(format!(
            "the cursor is of a scan in {}, not in {}",
            order(!range.ordered),
            order(range.ordered)
        )));
    }
    if count != slots.get() {
        return Err(Error::invalid(format!(
            "the cursor is of a cluster with {count} slots; this one has {}",
            slots.get()
        )));
    }
    if hash != range_hash(range, namespace) {
        return Err(Error::invalid("the cursor is of another range or namespace"));
    }
    if slot >= count {
        return Err(Error::invalid(format!("the cursor names slot {slot} of {count}")));
    }
    Ok(Position { slot, key: Bytes::copy_from_slice(cursor) })
}

/// FNV-1a over what selects keys; page size and `keys_only` may change between pages.
fn range_hash(range: &Range, namespace: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in [namespace.as_bytes(), &range.prefix, &range.start, &range.end] {
        let length = (part.len() as u64).to_be_bytes();
        for &byte in length.iter().chain(part) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots() -> SlotCount {
        SlotCount::default()
    }

    fn position() -> Position {
        Position { slot: 0x123, key: Bytes::from_static(b"k\0") }
    }

    #[test]
    fn the_bytes_of_format_1_are_the_golden_ones() {
        let range = Range { ordered: false, ..Range::prefix("user:") };
        let bytes = encode(&position(), &range, "app", slots());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "01000400163ff1c2de69a74b01236b00");
        assert_eq!(decode(&bytes, &range, "app", slots()).unwrap(), position());
    }

    #[test]
    fn page_size_and_keys_only_may_change_between_pages() {
        let bytes = encode(&position(), &Range::all(), "", slots());
        assert!(decode(&bytes, &Range::all().keys_only().items_max(5), "", slots()).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let range = Range::prefix("a");
        let bytes = encode(&position(), &range, "", slots());
        let few = SlotCount::new(16).unwrap();
        let mut newer = bytes.to_vec();
        newer[0] = 2;
        let mut flags = bytes.to_vec();
        flags[1] = 6;
        let mut slot = bytes.to_vec();
        slot[12] = 0xff;
        for (cursor, range, namespace, slots, code, named) in [
            (&newer[..], range.clone(), "", slots(), Code::Unsupported, "format 2"),
            (&bytes[..], Range::prefix("b"), "", slots(), Code::InvalidArgument, "another range"),
            (&bytes[..], range.clone(), "other", slots(), Code::InvalidArgument, "namespace"),
            (&bytes[..], range.clone().ordered(), "", slots(), Code::InvalidArgument, "slot order"),
            (&bytes[..], range.clone(), "", few, Code::InvalidArgument, "1024 slots"),
            (&bytes[..10], range.clone(), "", slots(), Code::InvalidArgument, "10 bytes"),
            (&flags[..], range.clone(), "", slots(), Code::InvalidArgument, "flags"),
            (&slot[..], range.clone(), "", slots(), Code::InvalidArgument, "slot 65315"),
            (&[][..], range.clone(), "", slots(), Code::InvalidArgument, "empty"),
        ] {
            let error = decode(cursor, &range, namespace, slots).unwrap_err();
            assert_eq!(error.code, code, "{error}");
            assert!(error.message.contains(named), "{error}");
        }
    }
}
