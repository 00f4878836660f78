//! Tally: what slots amount to, from memory, whatever they hold: the source's and the target's are compared byte by byte before
//! IMPORTED. And levels: what the source's counters stand at, which IMPORTED raises the target's to.
//!
//! A tally sums up rows and results as they arrived, or were written: it says nothing of what the disk has made of them since.
//! Counters are not in it: a source that takes office after a loss raises them, and the levels say so.

use bytes::Bytes;
use prost::Message;
use slotkv_migration::Slot;
use slotkv_storage::Error;

use super::malformed;
use crate::replica::Replica;

const FORMAT: u32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
struct TallyRow {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(message, repeated, tag = "2")]
    slots: Vec<SlotSums>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SlotSums {
    #[prost(uint32, tag = "1")]
    slot: u32,
    #[prost(uint64, tag = "2")]
    count: u64,
    #[prost(uint64, tag = "3")]
    bytes: u64,
    /// 16 bytes, little-endian.
    #[prost(bytes = "bytes", tag = "4")]
    digest: Bytes,
    /// Results above the slot's forgotten index.
    #[prost(uint64, tag = "5")]
    result_count: u64,
    #[prost(bytes = "bytes", tag = "6")]
    result_digest: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LevelsRow {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint64, tag = "2")]
    shown_index: u64,
    #[prost(uint64, tag = "3")]
    time_ms: u64,
    #[prost(message, repeated, tag = "4")]
    slots: Vec<SlotLevelsRow>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SlotLevelsRow {
    #[prost(uint32, tag = "1")]
    slot: u32,
    #[prost(uint64, tag = "2")]
    version_counter: u64,
    #[prost(uint64, tag = "3")]
    logged_time_ms: u64,
    #[prost(uint64, tag = "4")]
    forgotten_index: u64,
}

/// What a source's counters stand at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Its shown index.
    pub shown_index: u64,
    /// Its logged time.
    pub time_ms: u64,
    /// Of each slot.
    pub slots: Vec<SlotLevels>,
}

/// What the counters of one slot stand at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotLevels {
    /// Which.
    pub slot: Slot,
    /// The last version given.
    pub version_counter: u64,
    /// The last logged time.
    pub logged_time_ms: u64,
    /// Results up to here may be forgotten.
    pub forgotten_index: u64,
}

impl Levels {
    /// Their bytes.
    pub fn encode(&self) -> Bytes {
        let row = |slot: &SlotLevels| SlotLevelsRow {
            slot: slot.slot.into(),
            version_counter: slot.version_counter,
            logged_time_ms: slot.logged_time_ms,
            forgotten_index: slot.forgotten_index,
        };
        let slots = self.slots.iter().map(row).collect();
        let (shown_index, time_ms) = (self.shown_index, self.time_ms);
        LevelsRow { format: FORMAT, shown_index, time_ms, slots }.encode_to_vec().into()
    }

    /// The levels of some bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let row = LevelsRow::decode(bytes).map_err(|error| wrong(error.to_string()))?;
        if row.format != FORMAT {
            return Err(wrong(format!("they are of format {}, this build's is {FORMAT}", row.format)));
        }
        let slot = |row: SlotLevelsRow| {
            let slot = Slot::try_from(row.slot).map_err(|_| wrong(format!("slot {}", row.slot)))?;
            Ok(SlotLevels {
                slot,
                version_counter: checked(row.version_counter)?,
                logged_time_ms: checked(row.logged_time_ms)?,
                forgotten_index: checked(row.forgotten_index)?,
            })
        };
        let slots: Result<_, Error> = row.slots.into_iter().map(slot).collect();
        Ok(Self { shown_index: checked(row.shown_index)?, time_ms: checked(row.time_ms)?, slots: slots? })
    }
}

/// A counter that could not be counted on from would end a shard for good.
fn checked(number: u64) -> Result<u64, Error> {
    if number > slotkv_migration::wire::NUMBER_MAX {
        return Err(wrong(format!("{number} is too large")));
    }
    Ok(number)
}

fn wrong(why: impl Into<String>) -> Error {
    malformed("levels of a hand-over", why)
}

impl Replica {
    /// What slots amount to, and what the counters stand at, as of what is applied.
    pub fn tally(&self, slots: &[Slot]) -> (Bytes, Bytes) {
        let mut tally = TallyRow { format: FORMAT, slots: Vec::with_capacity(slots.len()) };
        let mut levels = Levels {
            shown_index: self.shown_index(),
            time_ms: self.time_ms(),
            slots: Vec::with_capacity(slots.len()),
        };
        for &slot in slots {
            let row = self.slot_row_of(slot);
            let (result_count, result_digest) = self.results_of(slot).map_or((0, 0), |found| found.sum());
            tally.slots.push(SlotSums {
                slot: slot.into(),
                count: row.count,
                bytes: row.bytes,
                digest: Bytes::copy_from_slice(&row.digest.to_le_bytes()),
                result_count,
                result_digest: Bytes::copy_from_slice(&result_digest.to_le_bytes()),
            });
            levels.slots.push(SlotLevels {
                slot,
                version_counter: row.version_counter,
                logged_time_ms: row.logged_time_ms,
                forgotten_index: self.results_of(slot).map_or(0, |found| found.forgotten_index()),
            });
        }
        (tally.encode_to_vec().into(), levels.encode())
    }
}
