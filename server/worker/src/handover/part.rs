//! Part: items and changes of items on their way from a source to its target, and in the target's log.
//!
//! A part is a format byte, the CRC-32C of what follows, and operations in order: tag, length of the name, length of the
//! value, name, value. Lengths are u32, little-endian.

use bytes::{Buf, BufMut, Bytes};
use slotkv_migration::{Cursor, Slot, wire::NUMBER_MAX};
use slotkv_proto::limits;
use slotkv_storage::{Error, Row, keys};

use super::{
    item::{self, Item, Span},
    malformed,
};
use crate::retry::{ClientId, items::ClientItem};

const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 5;
const OP_BYTES: usize = 9;

const REPLACE: u8 = 1;
const ROW: u8 = 2;
const GONE: u8 = 3;
const CLIENT: u8 = 4;
const RESULT: u8 = 5;
const FLOOR: u8 = 6;
const SHOWN: u8 = 7;

/// What a target does with a part.
#[derive(Debug)]
pub(crate) enum Op {
    /// Of what lies in here only what follows is there.
    Replace(Span),
    /// This row is there.
    Row(Slot, Bytes, Row),
    /// The row of this key is not.
    Gone(Slot, Bytes),
    /// These are the client's results.
    Client(Slot, ClientId, ClientItem),
    /// The client has this result, too.
    Result(Slot, ClientId, ClientItem),
    /// The slot's results up to this index may be forgotten.
    Floor(Slot, u64),
    /// The source's shown index.
    Shown(u64),
}

/// Makes a part.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(vec![0; HEAD_BYTES])
    }

    /// Bytes of its operations so far.
    pub(crate) fn len(&self) -> usize {
        self.0.len() - HEAD_BYTES
    }

    pub(crate) fn replace(&mut self, span: &Span) {
        // The last name that is there, or nothing for the end.
        let name = |cursor: &Cursor| match cursor {
            Cursor::Behind(name) => name.clone(),
            Cursor::Start | Cursor::End => Bytes::new(),
        };
        self.put(REPLACE, &name(&span.after), &name(&span.upto));
    }

    /// `row` as the engine has it.
    pub(crate) fn row(&mut self, item: &[u8], row: &[u8]) {
        self.put(ROW, item, row);
    }

    pub(crate) fn gone(&mut self, item: &[u8]) {
        self.put(GONE, item, &[]);
    }

    pub(crate) fn client(&mut self, item: &[u8], results: &[u8]) {
        self.put(CLIENT, item, results);
    }

    pub(crate) fn result(&mut self, item: &[u8], result: &[u8]) {
        self.put(RESULT, item, result);
    }

    pub(crate) fn floor(&mut self, slot: Slot, index: u64) {
        self.put(FLOOR, &slot.to_be_bytes(), &index.to_le_bytes());
    }

    pub(crate) fn shown(&mut self, index: u64) {
        self.put(SHOWN, &[], &index.to_le_bytes());
    }

    /// Adds what another one has.
    pub(crate) fn append(&mut self, other: &Writer) {
        self.0.extend_from_slice(&other.0[HEAD_BYTES..]);
    }

    pub(crate) fn finish(mut self) -> Bytes {
        let crc = crc32c::crc32c(&self.0[HEAD_BYTES..]);
        self.0[0] = FORMAT;
        self.0[1..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.0.into()
    }

    fn put(&mut self, tag: u8, name: &[u8], value: &[u8]) {
        self.0.put_u8(tag);
        self.0.put_u32_le(name.len() as u32);
        self.0.put_u32_le(value.len() as u32);
        self.0.put_slice(name);
        self.0.put_slice(value);
    }
}

/// The operations of a part, which are about these slots only. Values share the part's bytes.
pub(crate) fn decode(part: &Bytes, slots: &[Slot]) -> Result<Vec<Op>, Error> {
    let Some((head, body)) = part.split_first_chunk::<HEAD_BYTES>() else {
        return Err(wrong("it is shorter than its head"));
    };
    let [format, crc @ ..] = *head;
    match format {
        FORMAT => {}
        0 => return Err(wrong("it has format 0")),
        _ => {
            let (found, known) = (format.into(), FORMAT.into());
            return Err(Error::NewerFormat { what: "part of a hand-over".into(), found, known });
        }
    }
    if u32::from_le_bytes(crc) != crc32c::crc32c(body) {
        return Err(wrong("its checksum is wrong"));
    }
    let mut rest = part.slice(HEAD_BYTES..);
    let mut ops = Vec::new();
    while !rest.is_empty() {
        let op = decode_op(&mut rest)?;
        let slot = match &op {
            Op::Row(slot, ..) | Op::Gone(slot, _) | Op::Floor(slot, _) => Some(slot),
            Op::Client(slot, ..) | Op::Result(slot, ..) => Some(slot),
            Op::Replace(_) | Op::Shown(_) => None,
        };
        if slot.is_some_and(|slot| slots.binary_search(slot).is_err()) {
            return Err(wrong("it is about a slot that is not handed over"));
        }
        ops.push(op);
    }
    Ok(ops)
}

fn decode_op(rest: &mut Bytes) -> Result<Op, Error> {
    if rest.len() < OP_BYTES {
        return Err(wrong("it ends inside of an operation"));
    }
    let tag = rest.get_u8();
    let (name, value) = (rest.get_u32_le() as usize, rest.get_u32_le() as usize);
    if name > rest.len() || value > rest.len() - name {
        return Err(wrong("it ends inside of an operation"));
    }
    let (name, value) = (rest.split_to(name), rest.split_to(value));
    let number = |value: &Bytes| {
        let bytes = value[..].try_into().map_err(|_| wrong("a number has another length"))?;
        // One that could not be counted on from would end the shard for good.
        let number = u64::from_le_bytes(bytes);
        if number > NUMBER_MAX { Err(wrong(format!("{number} is too large"))) } else { Ok(number) }
    };
    Ok(match tag {
        REPLACE => {
            let after = if name.is_empty() { Cursor::Start } else { cursor(name)? };
            let upto = if value.is_empty() { Cursor::End } else { cursor(value)? };
            Op::Replace(Span { after, upto })
        }
        ROW => {
            let (slot, key) = row_key(&name)?;
            let row = Row::decode(value)?;
            if row.value.len() > limits::VALUE_BYTES_MAX {
                return Err(wrong("a value is too large"));
            }
            Op::Row(slot, key, row)
        }
        GONE => {
            let (slot, key) = row_key(&name)?;
            Op::Gone(slot, key)
        }
        CLIENT | RESULT => {
            let Item::Client(slot, client) = item::decode(&name)? else {
                return Err(wrong("results are of no client"));
            };
            let results = ClientItem::decode(&value).map_err(wrong)?;
            match tag {
                CLIENT => Op::Client(slot, client, results),
                _ => Op::Result(slot, client, results),
            }
        }
        FLOOR => {
            let slot = name[..].try_into().map_err(|_| wrong("a slot has another length"))?;
            Op::Floor(u16::from_be_bytes(slot), number(&value)?)
        }
        SHOWN => Op::Shown(number(&value)?),
        _ => return Err(wrong(format!("an operation has tag {tag}"))),
    })
}

fn cursor(name: Bytes) -> Result<Cursor, Error> {
    item::decode(&name)?;
    // Not a slice of the part, which would keep all of it in memory.
    Ok(Cursor::Behind(Bytes::copy_from_slice(&name)))
}

fn row_key(name: &[u8]) -> Result<(Slot, Bytes), Error> {
    let Item::Row(slot, key) = item::decode(name)? else { return Err(wrong("a row has no key")) };
    let parts = keys::DataKey::decode(&key)?;
    if parts.key.len() > limits::KEY_BYTES_MAX || parts.namespace.len() > limits::NAMESPACE_BYTES_MAX {
        return Err(wrong("a key is too long"));
    }
    Ok((slot, key))
}

fn wrong(why: impl Into<String>) -> Error {
    malformed("part of a hand-over", why)
}
