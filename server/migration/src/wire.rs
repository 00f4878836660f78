//! Wire: records, ledgers and messages as bytes, for the log, the engine and the other shard. Everything that this crate says can
//! be encoded; what comes back is checked, and whatever this crate would not say is [`Malformed`].
//!
//! Each of the three begins with its format, so that a release refuses by number what it cannot know. Slots are runs: first slot
//! and count.

use std::fmt;

use bytes::Bytes;

use crate::{
    Slot,
    options::SLOT_COUNT_MAX,
    place::{Cursor, Id, Place, Position, Stream},
    record::Record,
};

mod ledger;
mod message;
mod record;

/// Format of records, ledgers and messages.
pub const FORMAT: u32 = 1;
/// Longest name of an item, in bytes: the longest key, and room for what goes around it.
pub const ITEM_BYTES_MAX: usize = 64 << 10;
/// Largest part, in bytes: the largest item, and room for what goes around it.
pub const PART_BYTES_MAX: usize = 22 << 20;
/// No number that counts something is above it, so that adding to one never overflows.
pub const NUMBER_MAX: u64 = 1 << 62;

/// Bytes that this crate would not have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They are of a later format.
    Newer {
        /// Of what.
        what: &'static str,
        /// The format.
        found: u32,
    },
    /// They say what cannot be.
    Wrong {
        /// In what.
        what: &'static str,
        /// Why not.
        why: &'static str,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Newer { what, found } => {
                write!(f, "{what} of format {found} is newer than this build's format {FORMAT}")
            }
            Malformed::Wrong { what, why } => write!(f, "{what}: {why}"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Says of what an error is.
#[derive(Clone, Copy)]
struct What(&'static str);

impl What {
    fn wrong(self, why: &'static str) -> Malformed {
        Malformed::Wrong { what: self.0, why }
    }

    fn decode<M: prost::Message + Default>(self, bytes: impl bytes::Buf) -> Result<M, Malformed> {
        M::decode(bytes).map_err(|_| self.wrong("its bytes are none of a message"))
    }

    /// The format comes first, so that it is known before a field of a later format is met.
    fn check_format(self, bytes: &[u8]) -> Result<(), Malformed> {
        match bytes.strip_prefix(&[1 << 3]).map(prost::decode_length_delimiter) {
            Some(Ok(found)) if found == FORMAT as usize => Ok(()),
            Some(Ok(found)) if found > 0 => {
                Err(Malformed::Newer { what: self.0, found: u32::try_from(found).unwrap_or(u32::MAX) })
            }
            _ => Err(self.wrong("it does not begin with its format")),
        }
    }

    fn number(self, number: u64) -> Result<u64, Malformed> {
        if number > NUMBER_MAX {
            return Err(self.wrong("a number is too large"));
        }
        Ok(number)
    }

    fn id(self, id: u64) -> Result<Id, Malformed> {
        if id == 0 {
            return Err(self.wrong("it names no hand-over"));
        }
        self.number(id).map(Id)
    }

    fn slot(self, slot: u32) -> Result<Slot, Malformed> {
        Slot::try_from(slot).map_err(|_| self.wrong("a slot is too large"))
    }

    /// Slots of one hand-over.
    fn slots(self, runs: &[u32]) -> Result<Vec<Slot>, Malformed> {
        self.slots_upto(runs, SLOT_COUNT_MAX)
    }

    fn slots_upto(self, runs: &[u32], count_max: usize) -> Result<Vec<Slot>, Malformed> {
        let mut slots: Vec<Slot> = Vec::new();
        let (pairs, []) = runs.as_chunks::<2>() else { return Err(self.wrong("a run of slots is cut off")) };
        for &[first, count] in pairs {
            if count == 0 || slots.len() + count as usize > count_max {
                return Err(self.wrong("it has too many slots, or a run of none"));
            }
            for slot in first..first.saturating_add(count) {
                let slot = self.slot(slot)?;
                if slots.last().is_some_and(|last| *last >= slot) {
                    return Err(self.wrong("its slots do not ascend"));
                }
                slots.push(slot);
            }
        }
        if slots.is_empty() {
            return Err(self.wrong("it has no slots"));
        }
        Ok(slots)
    }

    fn position(self, position: Option<PositionWire>) -> Result<Position, Malformed> {
        let PositionWire { epoch, index } = position.ok_or(self.wrong("a position is missing"))?;
        Ok(Position { epoch: self.number(epoch)?, index: self.number(index)? })
    }

    fn stream(self, stream: Option<StreamWire>) -> Result<Stream, Malformed> {
        let StreamWire { epoch, number } = stream.ok_or(self.wrong("a stream is missing"))?;
        Ok(Stream { epoch: self.number(epoch)?, number: self.number(number)? })
    }

    fn cursor(self, cursor: Option<CursorWire>) -> Result<Cursor, Malformed> {
        let CursorWire { behind, is_end } = cursor.ok_or(self.wrong("a cursor is missing"))?;
        match (behind, is_end) {
            // Not a slice of the message, which would keep all of it in memory for as long as the place is known.
            (Some(item), false) => Ok(Cursor::Behind(Bytes::copy_from_slice(&self.item(item)?))),
            (None, false) => Ok(Cursor::Start),
            (None, true) => Ok(Cursor::End),
            (Some(_), true) => Err(self.wrong("a cursor is in two places")),
        }
    }

    fn item(self, item: Bytes) -> Result<Bytes, Malformed> {
        if item.len() > ITEM_BYTES_MAX {
            return Err(self.wrong("the name of an item is too long"));
        }
        Ok(item)
    }

    fn place(self, place: PlaceWire) -> Result<Place, Malformed> {
        let (stream, cursor) = (self.stream(place.stream)?, self.cursor(place.cursor)?);
        Ok(Place { stream, cursor, at: self.position(place.at)? })
    }

    fn part(self, bytes: Bytes) -> Result<Bytes, Malformed> {
        if bytes.len() > PART_BYTES_MAX {
            return Err(self.wrong("a part is too large"));
        }
        Ok(bytes)
    }
}

fn encode<M: prost::Message>(message: &M) -> Bytes {
    message.encode_to_vec().into()
}

/// First slot and count of each run.
fn runs(slots: &[Slot]) -> Vec<u32> {
    let mut runs: Vec<u32> = Vec::new();
    for &slot in slots {
        match &mut runs[..] {
            [.., first, count] if *first + *count == u32::from(slot) => *count += 1,
            _ => runs.extend([u32::from(slot), 1]),
        }
    }
    runs
}

#[derive(Clone, PartialEq, prost::Message)]
struct PositionWire {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StreamWire {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    number: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CursorWire {
    /// Absent: the start, or the end.
    #[prost(bytes = "bytes", optional, tag = "1")]
    behind: Option<Bytes>,
    #[prost(bool, tag = "2")]
    is_end: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PlaceWire {
    #[prost(message, optional, tag = "1")]
    stream: Option<StreamWire>,
    #[prost(message, optional, tag = "2")]
    cursor: Option<CursorWire>,
    #[prost(message, optional, tag = "3")]
    at: Option<PositionWire>,
}

impl From<Position> for PositionWire {
    fn from(Position { epoch, index }: Position) -> Self {
        Self { epoch, index }
    }
}

impl From<Stream> for StreamWire {
    fn from(Stream { epoch, number }: Stream) -> Self {
        Self { epoch, number }
    }
}

impl From<&Cursor> for CursorWire {
    fn from(cursor: &Cursor) -> Self {
        match cursor {
            Cursor::Start => Self::default(),
            Cursor::Behind(item) => Self { behind: Some(item.clone()), is_end: false },
            Cursor::End => Self { behind: None, is_end: true },
        }
    }
}

impl From<&Place> for PlaceWire {
    fn from(Place { stream, cursor, at }: &Place) -> Self {
        Self { stream: Some((*stream).into()), cursor: Some(cursor.into()), at: Some((*at).into()) }
    }
}
