//! Damage: what a host does to know that its rows are what was written, and what it tells the machine, which decides who gives
//! its data up.

use slotkv_replication::{Check, Position};
use slotkv_storage::Error;

use crate::{
    host::Host,
    scrub::{Rotten, Scrub},
};

/// Between two looks at rows, and how many are looked at: a million rows take seven minutes, and so do 16,384 slots.
pub(crate) const SCRUB_PAUSE_US: u64 = 100_000;
const SCRUB_ROWS: usize = 256;
/// The same in a slot that has many: a million rows take ten seconds. For as long as its turn the engine keeps whatever is
/// overwritten, and the tables in memory that it is in.
const LARGE_PAUSE_US: u64 = 10_000;
const LARGE_ROWS: usize = 1_024;
/// A slot has many that would take longer than those ten seconds otherwise.
const LARGE_COUNT: u64 = 25_600;
/// The same while all rows are read because copies differ: a million rows take some five seconds, and so do 16,384 slots.
pub(crate) const READING_PAUSE_US: u64 = 4_000;
const READING_ROWS: usize = 1_024;

/// A reading of all rows, from the first one on.
pub(crate) struct Reading {
    id: u64,
    scrub: Scrub,
    due_us: u64,
}

impl Host {
    /// Looks at some rows now and then, and at all of them when the machine asks for it.
    pub(crate) async fn scrub_if_due(&mut self) -> Result<(), Error> {
        self.read_if_asked()?;
        let now = self.now();
        if now >= self.scrub_due_us {
            let is_large = self.replica.slot_row_of(self.scrub.slot()).count >= LARGE_COUNT;
            let (pause_us, rows) =
                if is_large { (LARGE_PAUSE_US, LARGE_ROWS) } else { (SCRUB_PAUSE_US, SCRUB_ROWS) };
            self.scrub_due_us = now + pause_us;
            let rotten = self.scrub.step(&self.replica, rows)?;
            self.note_rotten(&rotten);
        }
        self.carry_out().await
    }

    fn read_if_asked(&mut self) -> Result<(), Error> {
        let now = self.now();
        let Some(id) = self.machine.reading() else {
            self.reading = None;
            return Ok(());
        };
        let known = self.reading.take().filter(|reading| reading.id == id);
        let mut reading = known.unwrap_or_else(|| Reading { id, scrub: Scrub::default(), due_us: now });
        if now >= reading.due_us {
            let rotten = reading.scrub.step(&self.replica, READING_ROWS)?;
            self.note_rotten(&rotten);
            reading.due_us = self.now() + READING_PAUSE_US;
            if reading.scrub.counts().passes > 0 {
                // Refused if some have rotted.
                self.machine.has_read(now, id);
                return Ok(());
            }
        }
        self.reading = Some(reading);
        Ok(())
    }

    fn note_rotten(&mut self, rotten: &[Rotten]) {
        for Rotten { expected, found } in rotten {
            let shard = self.shard.id();
            let (slot, expected, found) = (expected.slot, expected.count, found.count);
            tracing::error!(shard, slot, expected, found, "rows have rotted");
            self.health.rotten_slots += 1;
            self.machine.found_rotten(self.now());
        }
    }

    /// A CHECK was applied.
    pub(crate) async fn tell_check(&mut self) -> Result<(), Error> {
        let Some((at, hash)) = self.replica.take_check() else { return Ok(()) };
        let at = Position { epoch: at.epoch, index: at.index };
        self.health.checks += 1;
        self.machine.checked(self.now(), Check { at, hash });
        self.carry_out().await
    }

    /// What others are told of the data here.
    pub(crate) fn note_health(&mut self) {
        let different = self.machine.take_different();
        if different > 0 {
            tracing::error!(shard = self.shard.id(), different, "copies of the shard differ");
            self.health.different += different;
        }
        match self.machine.trouble() {
            None => self.health.trouble.clear(),
            Some(trouble) => {
                let text = trouble.to_string();
                if text != self.health.trouble {
                    tracing::warn!(shard = self.shard.id(), trouble = text, "the data is in doubt");
                    self.health.trouble = text;
                }
            }
        }
    }
}
