//! Item: what a copy counts by. A slot's items are its clients' results, by client, and then its rows, in the order of
//! the engine. A name is slot (u16, big-endian), kind, and then the client or what a row's key has behind its slot; so names
//! order as the items do, also over slots.

use std::ops::Bound;

use bytes::Bytes;
use slotkv_migration::Cursor;
use slotkv_storage::{Error, keys};

use super::malformed;
use crate::retry::ClientId;

const CLIENT: u8 = 0;
const ROW: u8 = 1;
/// The place behind a slot's last item.
const END: u8 = 2;
const HEAD_BYTES: usize = 3;
/// What a row's key has up to its slot.
const KEY_HEAD_BYTES: usize = 4;

/// An item by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A client's results.
    Client(u16, ClientId),
    /// The key of a row, as the engine has it.
    Row(u16, Bytes),
    /// Behind the last item of a slot.
    End(u16),
}

/// The name of a client's results.
pub fn of_client(slot: u16, client: &ClientId) -> Bytes {
    name(slot, CLIENT, client)
}

/// The name of a row by its key in the engine.
pub fn of_row(slot: u16, data_key: &[u8]) -> Bytes {
    name(slot, ROW, data_key.get(KEY_HEAD_BYTES..).unwrap_or_default())
}

/// The name of the place behind a slot's last item.
pub fn end_of(slot: u16) -> Bytes {
    name(slot, END, &[])
}

fn name(slot: u16, kind: u8, rest: &[u8]) -> Bytes {
    let mut name = Vec::with_capacity(HEAD_BYTES + rest.len());
    name.extend_from_slice(&slot.to_be_bytes());
    name.push(kind);
    name.extend_from_slice(rest);
    name.into()
}

/// The item of a name.
pub fn decode(name: &[u8]) -> Result<Item, Error> {
    let wrong = |why: &str| malformed("name of an item", why);
    let (&[high, low, kind], rest) =
        name.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| wrong("it is too short"))?;
    let slot = u16::from_be_bytes([high, low]);
    match kind {
        CLIENT => {
            let client = rest.try_into().map_err(|_| wrong("its client has another length"))?;
            Ok(Item::Client(slot, client))
        }
        ROW => {
            let key: Bytes = [&keys::data_slot_prefix(slot)[..], rest].concat().into();
            keys::DataKey::decode(&key)?;
            Ok(Item::Row(slot, key))
        }
        END if rest.is_empty() => Ok(Item::End(slot)),
        _ => Err(wrong("it is of no kind that is known")),
    }
}

/// Whether an item lies up to a cursor.
pub fn is_copied(item: &[u8], cursor: &Cursor) -> bool {
    match cursor {
        Cursor::Start => false,
        Cursor::Behind(last) => *item <= last[..],
        Cursor::End => true,
    }
}

/// As [`is_copied`] by the name of a row, which is not made for it.
fn is_row_copied(slot: u16, data_key: &[u8], cursor: &Cursor) -> bool {
    let Cursor::Behind(last) = cursor else { return *cursor == Cursor::End };
    let Some((head, rest)) = last.split_first_chunk::<HEAD_BYTES>() else { return false };
    let [high, low] = slot.to_be_bytes();
    let key = data_key.get(KEY_HEAD_BYTES..).unwrap_or_default();
    ([high, low, ROW], key) <= (*head, rest)
}

/// Items between two cursors: behind the first, up to the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// These are left out.
    pub after: Cursor,
    /// The last one.
    pub upto: Cursor,
}

impl Span {
    /// Whether it has the item.
    pub fn has(&self, item: &[u8]) -> bool {
        !is_copied(item, &self.after) && is_copied(item, &self.upto)
    }

    /// Whether it has the row of this key, as the engine has it.
    pub fn has_row(&self, slot: u16, data_key: &[u8]) -> bool {
        !is_row_copied(slot, data_key, &self.after) && is_row_copied(slot, data_key, &self.upto)
    }

    /// Whether it may have items of the slot.
    pub fn meets(&self, slot: u16) -> bool {
        !is_copied(&end_of(slot), &self.after) && !is_copied_before(slot, &self.upto)
    }

    /// Where its rows of one slot lie in the engine.
    pub fn rows(&self, slot: u16) -> (Bound<Bytes>, Bound<Bytes>) {
        let prefix = keys::data_slot_prefix(slot);
        let end = keys::prefix_end(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
        let nothing = (Bound::Excluded(prefix.clone()), Bound::Excluded(prefix.clone()));
        if !self.meets(slot) {
            return nothing;
        }
        let begin = match key_in(slot, &self.after) {
            Some(key) => Bound::Excluded(key),
            None => Bound::Included(prefix),
        };
        let end = match (key_in(slot, &self.upto), &self.upto) {
            (Some(key), _) => Bound::Included(key),
            (None, Cursor::Behind(last)) if last[..] < of_row(slot, &[])[..] => return nothing,
            (None, _) => end,
        };
        (begin, end)
    }
}

/// Whether a cursor lies before everything of a slot.
fn is_copied_before(slot: u16, upto: &Cursor) -> bool {
    match upto {
        Cursor::Start => true,
        Cursor::Behind(last) => last[..] < slot.to_be_bytes()[..],
        Cursor::End => false,
    }
}

/// The key of the row of this slot that a cursor lies behind.
fn key_in(slot: u16, cursor: &Cursor) -> Option<Bytes> {
    let Cursor::Behind(last) = cursor else { return None };
    let rest = last.strip_prefix(&slot.to_be_bytes()[..])?.strip_prefix(&[ROW])?;
    Some([&keys::data_slot_prefix(slot)[..], rest].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_order_as_items_do_and_say_what_they_are() {
        let key = |key: &[u8]| keys::data_key(3, "ns", key);
        let names = [
            of_client(3, &[0; 16]),
            of_client(3, &[255; 16]),
            of_row(3, &keys::data_key(3, "", b"zz")),
            of_row(3, &key(b"")),
            of_row(3, &key(b"a")),
            of_row(3, &key(&[255; 40])),
            end_of(3),
            of_client(4, &[0; 16]),
        ];
        assert!(names.is_sorted());
        assert_eq!(decode(&names[1]).unwrap(), Item::Client(3, [255; 16]));
        assert_eq!(decode(&names[4]).unwrap(), Item::Row(3, key(b"a")));
        assert_eq!(decode(&names[6]).unwrap(), Item::End(3));
        for wrong in [&b""[..], &[0, 3], &[0, 3, 9], &[0, 3, 0, 1], &[0, 3, 1], &[0, 3, 2, 1]] {
            assert!(decode(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn span_has_in_the_engine_what_it_has_by_name() {
        let keys: Vec<Bytes> =
            [(3, "", &b"a"[..]), (3, "n", b"b"), (4, "", b""), (4, "n", b"c"), (5, "", b"d")]
                .iter()
                .map(|(slot, namespace, key)| keys::data_key(*slot, namespace, key))
                .collect();
        let slot_of = |key: &Bytes| u16::from_be_bytes([key[2], key[3]]);
        let mut cursors = vec![Cursor::Start, Cursor::End];
        for slot in 2..7 {
            cursors.push(Cursor::Behind(of_client(slot, &[7; 16])));
            cursors.push(Cursor::Behind(end_of(slot)));
        }
        cursors.extend(keys.iter().map(|key| Cursor::Behind(of_row(slot_of(key), key))));
        for after in &cursors {
            for upto in &cursors {
                let span = Span { after: after.clone(), upto: upto.clone() };
                for slot in 3..6 {
                    let (begin, end) = span.rows(slot);
                    for key in &keys {
                        let is_behind = match &begin {
                            Bound::Included(begin) => key >= begin,
                            Bound::Excluded(begin) => key > begin,
                            Bound::Unbounded => true,
                        };
                        let is_before = match &end {
                            Bound::Included(end) => key <= end,
                            Bound::Excluded(end) => key < end,
                            Bound::Unbounded => true,
                        };
                        let by_name = slot_of(key) == slot && span.has(&of_row(slot, key));
                        assert_eq!(is_behind && is_before, by_name, "{span:?} {slot} {key:?}");
                        if slot_of(key) == slot {
                            assert_eq!(span.has_row(slot, key), by_name, "{span:?} {slot} {key:?}");
                        }
                    }
                }
            }
        }
    }
}
