//! Scrub: walks the rows of a replica and compares them with what the slot rows say of them, so that a row that rotted
//! on the disk, or was lost there, is found before it is needed. A replica's slot rows are compared with another's by
//! [`Replica::digests`](crate::replica::Replica::digests); they say nothing of the rows themselves.
//!
//! A *pass* visits every slot once, in bounded steps between which the replica goes on. A slot is compared as it was when
//! its turn began: by an engine snapshot that lives as long as the slot's turn.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use slotkv_storage::{Error, Reader, Row, SlotRow, keys};

use crate::replica::{self, Replica};

/// What a visit to a slot takes, in rows: of one that was emptied the engine goes over all that it still has of what was there.
const VISIT_ROWS: usize = 64;

/// What a slot's rows amount to, or are said to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotDigest {
    /// Which slot.
    pub slot: u16,
    /// Rows.
    pub count: u64,
    /// Sum of [`keys::digest_of`] over them.
    pub digest: u128,
}

/// A slot whose rows are not what they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotten {
    /// As its slot row says.
    pub expected: SlotDigest,
    /// As its rows are.
    pub found: SlotDigest,
}

/// What a scrub has seen in all of its passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows that were read.
    pub rows: u64,
    /// Slots that were compared.
    pub slots: u64,
    /// Slots that were not as they should be.
    pub rotten: u64,
    /// Passes that were finished.
    pub passes: u64,
}

/// A walk over the rows of one replica, again and again.
#[derive(Default)]
pub struct Scrub {
    slot: u16,
    turn: Option<Turn>,
    counts: Counts,
    leaves_moving: bool,
}

/// A slot that is being read.
struct Turn {
    reader: Box<dyn Reader>,
    expected: SlotRow,
    found: SlotRow,
    /// The last key that was read.
    after: Option<Bytes>,
}

impl Scrub {
    /// One that leaves out slots which a hand-over is filling or emptying when their turn comes: they change faster than they are
    /// read, and what arrived is compared before it is served.
    pub fn of_what_stays() -> Self {
        Self { leaves_moving: true, ..Self::default() }
    }

    /// What it has seen.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whose turn it is.
    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// Reads up to `rows_max` rows, where a visit to a slot counts as some of them. Returns the slots that were found
    /// rotten. A step that ends a pass ends early. An error of the engine is damage found, too. Blocks while it reads.
    pub fn step(&mut self, replica: &Replica, rows_max: usize) -> Result<Vec<Rotten>, Error> {
        let mut rotten = Vec::new();
        let mut left = rows_max.max(1);
        while left > 0 {
            let turn = self.turn.take();
            if turn.is_none() && self.leaves_moving && replica.is_moving(self.slot) {
                left -= 1;
            } else {
                let mut turn = turn.map_or_else(|| Turn::begin(replica, self.slot), Ok)?;
                let before = left;
                let is_done = turn.read(self.slot, &mut left)?;
                self.counts.rows += (before - left) as u64;
                left = left.saturating_sub(VISIT_ROWS);
                if !is_done {
                    self.turn = Some(turn);
                    break;
                }
                self.counts.slots += 1;
                if let Some(found) = turn.compare(self.slot) {
                    self.counts.rotten += 1;
                    rotten.push(found);
                }
            }
            self.slot += 1;
            if self.slot >= replica.slot_count() {
                self.slot = 0;
                self.counts.passes += 1;
                break;
            }
        }
        Ok(rotten)
    }
}

impl Turn {
    fn begin(replica: &Replica, slot: u16) -> Result<Self, Error> {
        let (reader, expected) = (replica.snapshot()?, replica.slot_row_of(slot));
        Ok(Self { reader, expected, found: SlotRow::default(), after: None })
    }

    /// Reads up to `left` rows of the slot. Returns whether it has read all.
    fn read(&mut self, slot: u16, left: &mut usize) -> Result<bool, Error> {
        let Self { reader, found, after, .. } = self;
        let prefix = keys::data_slot_prefix(slot);
        let end = keys::prefix_end(&prefix);
        let begin = after.clone().map_or(Bound::Included(prefix), Bound::Excluded);
        let bounds =
            (begin.as_ref().map(|key| &key[..]), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        let (mut is_done, mut failed) = (true, None);
        reader.scan(bounds, &mut |key, value| {
            if *left == 0 {
                is_done = false;
                return ControlFlow::Break(());
            }
            *left -= 1;
            if let Err(error) = count(found, key, value) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            if *left == 0 {
                *after = Some(Bytes::copy_from_slice(key));
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(is_done), Err)
    }

    fn compare(&self, slot: u16) -> Option<Rotten> {
        let digest = |row: &SlotRow| SlotDigest { slot, count: row.count, digest: row.digest };
        let (expected, found) = (digest(&self.expected), digest(&self.found));
        (expected != found).then_some(Rotten { expected, found })
    }
}

fn count(sums: &mut SlotRow, key: &[u8], value: &[u8]) -> Result<(), Error> {
    let key = keys::DataKey::decode(key)?;
    let (version, _, value) = Row::peek(value)?;
    replica::add(sums, key.namespace, key.key, version, value);
    Ok(())
}
