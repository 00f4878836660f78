//! Regain: what a shard logs to take slots that are lost, empty.

use bytes::Bytes;
use slotkv_migration::{Cursor, Slot};

use super::{
    item::Span,
    part::Writer,
    tally::{Levels, SlotLevels},
};
use crate::replica::Replica;

impl Replica {
    /// A part that leaves nothing of these slots, and levels for them. Versions go on above the shown index: each version that was
    /// ever given in a slot was below the shown index of its time, and after a loss that is below the present one.
    pub fn regain(&self, slots: &[Slot]) -> (Bytes, Bytes) {
        let mut part = Writer::new();
        part.replace(&Span { after: Cursor::Start, upto: Cursor::End });
        let (shown_index, time_ms) = (self.shown_index(), self.time_ms());
        let level = |slot: &Slot| SlotLevels {
            slot: *slot,
            version_counter: shown_index,
            logged_time_ms: time_ms,
            forgotten_index: 0,
        };
        let levels = Levels { shown_index, time_ms, slots: slots.iter().map(level).collect() };
        (part.finish(), levels.encode())
    }
}
