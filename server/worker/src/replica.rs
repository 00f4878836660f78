//! What one shard's log amounts to: rows and slot rows in the engine, exactly-once results in memory.
//!
//! Nouns: a *group* is a run of writes that is decided together, logged by one write and one sync, and then applied by
//! one engine batch. Deciding changes nothing but the group, so a group whose append fails is simply dropped; replay
//! after a restart builds the same groups from the log's records.
//!
//! Invariants:
//! - The engine's batch carries the applied position, so rows and position agree after any crash.
//! - Slot rows and results that the engine holds are those of the checkpoint's position; the log keeps every record
//!   behind it, and each record carries its slot's row as it left it. A slot row in every batch would double what the
//!   engine has to write.
//! - A slot's version counter and logged time never go back.
//! - `shown_base` never goes back, and the engine holds the one that belongs to its applied position: a group with a
//!   gap is applied together with a checkpoint. So log indexes may be given again after a loss, the *shown* indexes, which
//!   clients are told and results are kept under, are not.
//! - A row with a deadline has its key among the deadlines, and no other row has.
//! - Of hand-overs see [`handover`](crate::handover): they, too, change rows, slot rows and results by records of the log
//!   alone, and what a slot's marks are is known as of the applied position.

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use slotkv_migration::{Ledger, Mark};
use slotkv_proto::{
    Code, SlotCount,
    v1::{Reply, Status},
};
use slotkv_storage::{
    Batch, Effect, Engine, Error, Kind, Log, LogRecord, Outcome, Position, Reader, Row, RowCache, SlotRow,
    keys, record,
};

use crate::{
    decide::{Change, Decision, decide},
    expiry::{Deadlines, ShardTime},
    group::ResultChange,
    handover::refused,
    queue::Write,
    read, request,
    retry::{ClientId, ENTRIES_PER_SHARD_MAX, SlotResults, Ticket, Verdict, forget_oldest},
    scrub::SlotDigest,
};

pub use crate::group::Group;

/// The name of the meta row with the position that the stored results belong to.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// The name of the meta row with the logged time at the checkpoint: a record that changes no row raises it too.
pub(crate) const LOGGED_TIME: &str = "logged_time";
/// The name of the meta row with what shown indexes are above log indexes.
pub(crate) const SHOWN_BASE: &str = "shown_base";
/// The name of the meta row with the ledger of hand-overs at the checkpoint.
pub(crate) const LEDGER: &str = "ledger";
/// The name of the meta row with the shown index that a hand-over will raise this shard's to.
pub(crate) const NEEDED_SHOWN: &str = "needed_shown";
/// The names of the meta rows with the ledger and the shown base that belong to the applied position, as far as hand-overs changed
/// them: for an engine that has lost its log.
pub(crate) const APPLIED_LEDGER: &str = "applied_ledger";
pub(crate) const APPLIED_SHOWN_BASE: &str = "applied_shown_base";
/// Shown indexes and version counters are raised by a multiple of this once records that were acknowledged and read may be
/// lost: their numbers must not be given again. Nobody loses as many.
pub const LOSS_GAP: u64 = 1 << 32;
/// Log bytes applied as one group.
const APPLY_BYTES: usize = 4 << 20;

/// One shard's data, as its single writer sees it.
pub struct Replica {
    engine: Arc<dyn Engine>,
    cache: Arc<RowCache>,
    slots: Vec<Slot>,
    applied: Position,
    checkpoint: Position,
    time_ms: u64,
    shown_base: u64,
    /// What a hand-over that is staged, or was, needs the shown index to be: after a loss it goes above this, too.
    needed_shown: u64,
    pub(crate) applied_ledger: Ledger,
    /// Of the last CHECK, until somebody has taken it.
    check: Option<(Position, u64)>,
    time: Arc<ShardTime>,
    deadlines: Deadlines,
    /// Results and clients that may be kept.
    entries_max: usize,
    /// Results and clients that are kept in all slots; after a loss of some it may be too high.
    entries: usize,
}

#[derive(Default)]
struct Slot {
    row: SlotRow,
    results: SlotResults,
    /// Since the checkpoint.
    changed: bool,
}

/// What a write came to while its group was made.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, for every write; a box would cost more"
)]
pub enum Staged {
    /// To be logged; then the reply holds.
    Log(LogRecord, Reply),
    /// Nothing to log; the reply holds once the group is committed.
    Answer(Reply),
}

impl Replica {
    /// Reads slot rows, results, logged time and applied position of an engine. The log's records behind [`Self::checkpoint`] are to be
    /// staged and applied next.
    pub fn load(engine: Arc<dyn Engine>, cache: Arc<RowCache>, slot_count: SlotCount) -> Result<Self, Error> {
        let applied = read_position(&*engine, &keys::applied_key())?;
        let checkpoint = read_position(&*engine, &keys::meta_key(CHECKPOINT))?;
        let mut slots: Vec<Slot> = (0..slot_count.get()).map(|_| Slot::default()).collect();
        let place = |slots: &mut Vec<Slot>, slot: u16| {
            let known = slots.len();
            if usize::from(slot) < known {
                return Ok(usize::from(slot));
            }
            Err(Error::Malformed { what: "slot row", why: format!("slot {slot} of {known} slots") })
        };
        visit(&*engine, &keys::slot_key_prefix(), |key, value| {
            let at = place(&mut slots, keys::decode_slot_key(key)?)?;
            slots[at].row = SlotRow::decode(value)?;
            Ok(())
        })?;
        visit(&*engine, &keys::retry_key_prefix(None), |key, value| {
            let at = place(&mut slots, keys::decode_retry_key(key)?.0)?;
            slots[at].results =
                SlotResults::decode(value).map_err(|why| Error::Malformed { what: "results", why })?;
            Ok(())
        })?;
        let time_ms = read_number(&*engine, LOGGED_TIME)?;
        let shown_base = read_number(&*engine, SHOWN_BASE)?;
        let needed_shown = read_number(&*engine, NEEDED_SHOWN)?;
        let applied_ledger = read_ledger(&*engine, LEDGER)?.unwrap_or_default();
        let time = Arc::<ShardTime>::default();
        time.at(time_ms);
        let deadlines = Deadlines::load(&*engine)?;
        let entries = slots.iter().map(|slot| slot.results.entries()).sum();
        let entries_max = ENTRIES_PER_SHARD_MAX;
        Ok(Self {
            engine,
            cache,
            slots,
            applied,
            checkpoint,
            time_ms,
            shown_base,
            needed_shown,
            applied_ledger,
            check: None,
            time,
            deadlines,
            entries_max,
            entries,
        })
    }

    /// Has the shard's time in common with its readers from now on.
    pub fn keep_time(&mut self, time: Arc<ShardTime>) {
        time.at(self.time_ms);
        self.time = time;
    }

    /// The last record that the engine holds.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The applied index as clients are told it: never lower than one they were told before, whatever was lost.
    pub fn shown_index(&self) -> u64 {
        self.applied.index.saturating_add(self.shown_base)
    }

    /// By how much a BARRIER goes on if records that clients may know of are lost, so that shown indexes are above a multiple of
    /// [`LOSS_GAP`] that was never used before: `epoch_sum` is what the epochs of all shards came to after this one had begun. A
    /// step from where this data stands would not do: whoever was lost may have gone on from a loss that this data knows
    /// nothing of. `ahead` are the gaps of what is logged and not applied.
    ///
    /// An IMPORTED may be among what is lost, and with it that the shown index was raised to another shard's: of a shard with more
    /// losses, this one's own epoch would not reach it. The sum grows with every loss anywhere, so what is told by whoever before a
    /// loss is below what comes behind it. The gap also goes above what a part of a hand-over has said, which lies
    /// in the log long before.
    pub fn gap(&self, epoch_sum: u64, ahead: u64) -> u64 {
        let known = self.shown_base.saturating_add(ahead);
        let least = LOSS_GAP.saturating_mul(epoch_sum).max(self.needed_shown.saturating_add(LOSS_GAP));
        least.saturating_sub(known).max(LOSS_GAP)
    }

    /// The record up to which results are stored in the engine; the log is needed from the one behind it.
    pub fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    /// Begins a group at wall time `wall_ms`; its logged time is not before an earlier one.
    pub fn begin(&self, wall_ms: u64) -> Group {
        Group { time_ms: self.time_ms.max(self.time.watch(wall_ms)), ..self.begin_logged() }
    }

    /// Begins a group of records that were decided before, by whoever led: no clock has a say in it.
    pub fn begin_logged(&self) -> Group {
        Group {
            last: self.applied,
            time_ms: self.time_ms,
            shown_base: self.shown_base,
            needed_shown: self.needed_shown,
            ..Group::default()
        }
    }

    /// Decides a write, as the log's record `position` if it has to be logged.
    pub fn stage(&self, group: &mut Group, write: &Write, position: Position) -> Result<Staged, Error> {
        let earlier = match group.results.get(&(write.ticket.client, write.ticket.sequence)) {
            Some(outcome) => Verdict::Replay(*outcome),
            None => self.slots[usize::from(write.slot)].results.judge(&write.ticket),
        };
        match earlier {
            Verdict::Execute => {}
            Verdict::Replay(outcome) => {
                if write.change == Change::Outcome {
                    return Ok(Staged::Answer(Reply { replayed: true, ..fate(write.id, &outcome) }));
                }
                let message = match Code::from_number(outcome.code) {
                    Some(_) => "an earlier attempt of this write was refused so".to_owned(),
                    None => String::new(),
                };
                return Ok(Staged::Answer(Reply { replayed: true, message, ..reply(write.id, &outcome) }));
            }
            Verdict::Forgotten => {
                let text = "the results of this client's earlier writes are no longer kept; not executed";
                return Ok(Staged::Answer(request::refuse(write.id, (Code::Indeterminate, text.into()))));
            }
        }
        let engine_key = keys::data_key(write.slot, &write.namespace, &write.key);
        let before = self.row(group, &engine_key)?;
        let row = before.as_ref().filter(|row| !row.is_over(group.time_ms));
        let effect = |group: &Group, value: Option<Bytes>, expires_ms: u64| Effect {
            key: write.key.clone(),
            value,
            version: self.slot_row(group, write.slot).version_counter + 1,
            expires_ms,
            replaced_expires_ms: before.as_ref().map_or(0, |row| row.expires_ms),
        };
        let (outcome, mut effects, reply) = match decide(&write.change, row, group.time_ms) {
            Decision::Apply { value, expires_ms, status, number } => {
                let effect = effect(group, value, expires_ms);
                let outcome = Outcome { status: status as i32, version: effect.version, number, code: 0 };
                (outcome, vec![effect], reply(write.id, &outcome))
            }
            Decision::Answer(status, version) => {
                let outcome = Outcome { status: status as i32, version, ..Outcome::default() };
                let reply = match write.change {
                    Change::Read(value) => read::reply(write.id, row.cloned(), value, group.time_ms),
                    _ => reply(write.id, &outcome),
                };
                (outcome, vec![], reply)
            }
            Decision::Refuse(code, text) => {
                let outcome = Outcome { code: code.number(), ..Outcome::default() };
                let reply = match write.change {
                    Change::Outcome => fate(write.id, &outcome),
                    _ => request::refuse(write.id, (code, text)),
                };
                (outcome, vec![], reply)
            }
        };
        if effects.is_empty() && row.is_none() && before.is_some() {
            // That the row's time is over is logged before anybody is told so.
            effects.push(effect(group, None, 0));
        }
        if let Some(effect) = effects.first() {
            self.change(group, write.slot, &write.namespace, engine_key, before, effect);
        }
        let earlier_attempt_is_about = write.ticket.repeated && write.ticket.sequence > 0;
        if effects.is_empty() && !earlier_attempt_is_about {
            return Ok(Staged::Answer(reply));
        }
        let record = LogRecord {
            format: record::FORMAT,
            time_ms: group.time_ms,
            kind: Kind::Write as i32,
            slot: u32::from(write.slot),
            namespace: write.namespace.to_string(),
            client_id: match write.ticket.sequence {
                0 => Bytes::new(),
                _ => Bytes::copy_from_slice(&write.ticket.client),
            },
            sequence: write.ticket.sequence,
            oldest_open: write.ticket.oldest_open,
            slot_row: match effects.is_empty() {
                true => Bytes::new(),
                false => self.slot_row(group, write.slot).encode(),
            },
            effects,
            result: Some(outcome),
            ..LogRecord::default()
        };
        let time_ms = group.time_ms;
        group.keep(write.slot, write.ticket, position, time_ms, outcome);
        Ok(Staged::Log(record, reply))
    }

    /// Ends a group with a CHECK, as this record: nothing may follow in the group.
    pub fn stage_check(&self, group: &mut Group, position: Position) -> LogRecord {
        group.last = position;
        group.check = Some(position);
        let (format, kind) = (record::FORMAT_CHECK, Kind::Check as i32);
        LogRecord { format, time_ms: group.time_ms, kind, ..LogRecord::default() }
    }

    /// Takes a record of the log into a group: after a restart, or from a primary.
    pub fn stage_record(
        &self,
        group: &mut Group,
        position: Position,
        record: &LogRecord,
    ) -> Result<(), Error> {
        let malformed = |why| Error::Malformed { what: "log record", why };
        group.time_ms = group.time_ms.max(record.time_ms);
        group.last = position;
        group.check = (record.kind() == Kind::Check).then_some(position);
        match record.kind() {
            Kind::Barrier => {
                if position.index > self.applied.index {
                    group.raise(record.gap);
                }
                return Ok(());
            }
            Kind::Check => return Ok(()),
            Kind::Handover => return self.take_handover(group, position, record),
            Kind::Write | Kind::Expiry => {}
            Kind::Unspecified => {
                return Err(malformed(format!("record {}: unknown kind {}", position.index, record.kind)));
            }
        }
        let slot = u16::try_from(record.slot)
            .ok()
            .filter(|&slot| usize::from(slot) < self.slots.len())
            .ok_or_else(|| malformed(format!("record {}: slot {}", position.index, record.slot)))?;
        if record.slot_row.is_empty() && !record.effects.is_empty() {
            return Err(malformed(format!("record {}: it has effects and no slot row", position.index)));
        }
        if !record.slot_row.is_empty() {
            group.slots.insert(slot, SlotRow::decode(&record.slot_row)?);
        }
        if position.index > self.applied.index {
            for effect in &record.effects {
                let row = effect.value.as_ref().map(|value| Row {
                    version: effect.version,
                    expires_ms: effect.expires_ms,
                    value: value.clone(),
                });
                let engine_key = keys::data_key(slot, &record.namespace, &effect.key);
                group.note_deadlines(&engine_key, effect);
                group.rows.insert(engine_key, row);
            }
        }
        if record.sequence > 0 {
            let client = ClientId::try_from(&record.client_id[..]).map_err(|_| {
                malformed(format!(
                    "record {}: a client id of {} bytes",
                    position.index,
                    record.client_id.len()
                ))
            })?;
            let ticket = Ticket {
                client,
                sequence: record.sequence,
                oldest_open: record.oldest_open,
                fence_index: 0,
                repeated: true,
            };
            group.keep(slot, ticket, position, record.time_ms, record.result.unwrap_or_default());
        }
        Ok(())
    }

    /// Takes the log's records from `from` to `upto` and applies them: those that the engine holds bring back their results
    /// and slot rows only. Returns how many they were.
    pub fn apply_log(&mut self, log: &Log, from: u64, upto: u64) -> Result<u64, Error> {
        let mut next = from;
        while next <= upto {
            let mut records = log.read(next, APPLY_BYTES)?;
            records.retain(|record| record.index <= upto);
            let Some(last) = records.last() else { break };
            next = last.index + 1;
            let mut group = self.begin_logged();
            for record in records {
                let position = Position { epoch: record.epoch, index: record.index };
                self.stage_record(&mut group, position, &LogRecord::from_bytes(record.payload)?)?;
            }
            self.apply(group)?;
        }
        Ok(next.saturating_sub(from))
    }

    /// Applies a group whose records the log holds durably.
    pub fn apply(&mut self, group: Group) -> Result<(), Error> {
        let last = group.last;
        self.time_ms = self.time_ms.max(group.time_ms);
        self.time.at(self.time_ms);
        self.shown_base = group.shown_base;
        if group.gap > 0 {
            for slot in &mut self.slots {
                slot.row.version_counter = slot.row.version_counter.saturating_add(group.gap);
                slot.changed = true;
            }
        }
        self.needed_shown = group.needed_shown;
        let moved = group.ledger.is_some();
        if let Some(ledger) = group.ledger {
            self.applied_ledger = ledger;
        }
        for change in group.changes {
            self.change_results(change);
        }
        for (number, row) in group.slots {
            let slot = &mut self.slots[usize::from(number)];
            slot.row = row;
            slot.changed = true;
        }
        if last <= self.applied {
            return Ok(());
        }
        let mut batch = Batch::with_capacity(group.rows.len() + group.deadlines.len() + 1);
        for (key, row) in &group.rows {
            self.cache.begin(key);
            match row {
                Some(row) => batch.put(key.clone(), row.encode()),
                None => batch.delete(key.clone()),
            }
        }
        for (key, comes) in &group.deadlines {
            match comes {
                true => batch.put(key.clone(), Bytes::new()),
                false => batch.delete(key.clone()),
            }
        }
        for &slot in &group.stored {
            batch.put(keys::slot_key(slot), self.slots[usize::from(slot)].row.encode());
        }
        if group.keeps_ledger {
            batch.put(keys::meta_key(APPLIED_LEDGER), self.applied_ledger.to_bytes());
            batch.put(keys::meta_key(APPLIED_SHOWN_BASE), self.shown_base.to_le_bytes().to_vec());
        }
        batch.put(keys::applied_key(), last.encode());
        self.applied = last;
        if group.gap > 0 {
            self.add_checkpoint(&mut batch);
        }
        self.engine.write(batch)?;
        if let Some(swept) = group.swept {
            self.deadlines.sweep(swept);
        }
        // Nobody is given what is hidden, and nobody lets it end.
        let ledger = &self.applied_ledger;
        let is_hidden = |key: &[u8]| moved && !holds(ledger, key);
        for (key, _) in group.deadlines.iter().filter(|(_, comes)| *comes) {
            let is_hidden = keys::decode_deadline_key(key).is_ok_and(|(_, row)| is_hidden(row));
            self.deadlines.add(key, is_hidden);
        }
        for (key, row) in &group.rows {
            match row {
                // Whoever asks for it once it is shown would find none of its slot's rows in memory.
                Some(row) if is_hidden(key) => self.cache.finish_unasked(key, row),
                row => self.cache.finish(key, row.as_ref()),
            }
        }
        if let Some(at) = group.check.filter(|at| *at == last) {
            let rows = (0..).zip(self.slots.iter().map(|slot| &slot.row));
            self.check = Some((at, keys::hash_of_slots(rows)));
        }
        Ok(())
    }

    fn change_results(&mut self, change: ResultChange) {
        let slot = &mut self.slots[usize::from(change.slot())];
        let before = slot.results.entries();
        change.carry_out(&mut slot.results);
        slot.changed = true;
        self.entries = (self.entries + slot.results.entries()).saturating_sub(before);
        if self.entries > self.entries_max {
            self.make_room();
        }
    }

    /// The last CHECK that was applied since this was called, and what all slots amounted to then: the same on every replica
    /// that holds the same.
    pub fn take_check(&mut self) -> Option<(Position, u64)> {
        self.check.take()
    }

    /// Takes over what a group has found of deadlines, if it came to nothing to log.
    pub fn take_sweep(&mut self, group: Group) {
        if let Some(swept) = group.swept {
            self.deadlines.sweep(swept);
        }
    }

    fn make_room(&mut self) {
        self.entries = self.slots.iter().map(|slot| slot.results.entries()).sum();
        let Some(surplus) = self.entries.checked_sub(self.entries_max) else { return };
        let mut changed = Vec::new();
        let mut results: Vec<_> = self.slots.iter_mut().map(|slot| &mut slot.results).collect();
        forget_oldest(&mut results, surplus + self.entries_max / 8, |place| changed.push(place));
        for place in changed {
            self.slots[place].changed = true;
        }
        self.entries = self.slots.iter().map(|slot| slot.results.entries()).sum();
    }

    /// Stores slot rows and results in the engine as they stand. Once the engine is persisted, the log is needed only behind the
    /// returned position.
    pub fn checkpoint_rows(&mut self) -> Result<Position, Error> {
        let mut batch = Batch::new();
        self.add_checkpoint(&mut batch);
        self.engine.write(batch)?;
        Ok(self.checkpoint)
    }

    fn add_checkpoint(&mut self, batch: &mut Batch) {
        let time_ms = self.time_ms;
        let ledger = &self.applied_ledger;
        for (number, slot) in self.slots.iter_mut().enumerate() {
            // Source and target must not differ while they are compared.
            if matches!(ledger.mark(number as u16), Mark::Held(_)) {
                slot.changed |= slot.results.expire(time_ms);
            }
            if std::mem::take(&mut slot.changed) {
                slot.row.forgotten_index = slot.results.forgotten_index();
                batch.put(keys::slot_key(number as u16), slot.row.encode());
                batch.put(keys::retry_key(number as u16, 0), slot.results.encode());
            }
        }
        batch.put(keys::meta_key(CHECKPOINT), self.applied.encode());
        batch.put(keys::meta_key(LOGGED_TIME), time_ms.to_le_bytes().to_vec());
        batch.put(keys::meta_key(SHOWN_BASE), self.shown_base.to_le_bytes().to_vec());
        if self.applied_ledger != Ledger::default() {
            batch.put(keys::meta_key(LEDGER), self.applied_ledger.to_bytes());
            batch.put(keys::meta_key(NEEDED_SHOWN), self.needed_shown.to_le_bytes().to_vec());
        }
        self.checkpoint = self.applied;
    }

    /// For an engine that holds more than the log: gives up every stored result, so that whoever repeats a write from
    /// before is told that its outcome is not known, and counts the slots' rows anew.
    pub fn recount(&mut self) -> Result<(), Error> {
        // A record raises a counter by one at most, so the lost ones are made up for.
        let lost = self.applied.index.saturating_sub(self.checkpoint.index);
        if let Some(ledger) = read_ledger(&*self.engine, APPLIED_LEDGER)?
            && ledger.last_index() > self.applied_ledger.last_index()
        {
            self.applied_ledger = ledger;
            self.shown_base = self.shown_base.max(read_number(&*self.engine, APPLIED_SHOWN_BASE)?);
        }
        let shown_index = self.shown_index();
        for slot in &mut self.slots {
            slot.results.forget(shown_index);
            slot.changed = true;
            slot.row = SlotRow {
                version_counter: slot.row.version_counter + lost,
                logged_time_ms: slot.row.logged_time_ms,
                ..SlotRow::default()
            };
        }
        let slots = &mut self.slots;
        visit(&*self.engine, &keys::data_key_prefix(), |key, value| {
            let key = keys::DataKey::decode(key)?;
            let (version, _, value) = Row::peek(value)?;
            let Some(slot) = slots.get_mut(usize::from(key.slot)) else {
                return Err(Error::Malformed { what: "row", why: format!("slot {}", key.slot) });
            };
            add(&mut slot.row, key.namespace, key.key, version, value);
            slot.row.version_counter = slot.row.version_counter.max(version);
            Ok(())
        })?;
        self.checkpoint_rows().map(drop)
    }

    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    pub(crate) fn time(&self) -> &ShardTime {
        &self.time
    }

    pub(crate) fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    pub(crate) fn time_ms(&self) -> u64 {
        self.time_ms
    }

    pub(crate) fn results_of(&self, slot: u16) -> Option<&SlotResults> {
        self.slots.get(usize::from(slot)).map(|slot| &slot.results)
    }

    /// The row of a slot, as of the last applied group.
    pub fn slot_row_of(&self, slot: u16) -> SlotRow {
        self.slots.get(usize::from(slot)).map(|slot| slot.row).unwrap_or_default()
    }

    /// What the slots that hold something amount to, as of the applied position. Replicas that have applied the same position
    /// have the same.
    pub fn digests(&self) -> Vec<SlotDigest> {
        let slots = self.slots.iter().enumerate().map(|(slot, Slot { row, .. })| SlotDigest {
            slot: slot as u16,
            count: row.count,
            digest: row.digest,
        });
        slots.filter(|slot| (slot.count, slot.digest) != (0, 0)).collect()
    }

    /// How many slots there are.
    pub fn slot_count(&self) -> u16 {
        self.slots.len() as u16
    }

    /// The rows as of the last applied group.
    pub fn snapshot(&self) -> Result<Box<dyn Reader>, Error> {
        self.engine.snapshot()
    }

    pub(crate) fn row(&self, group: &Group, engine_key: &Bytes) -> Result<Option<Row>, Error> {
        if let Some(row) = group.rows.get(engine_key) {
            return Ok(row.clone());
        }
        if let Some(row) = self.cache.get(engine_key) {
            return Ok(Some(row));
        }
        self.engine.get(engine_key)?.map(Row::decode).transpose()
    }

    pub(crate) fn slot_row(&self, group: &Group, slot: u16) -> SlotRow {
        group.slots.get(&slot).copied().unwrap_or_else(|| {
            let row = self.slots[usize::from(slot)].row;
            SlotRow { version_counter: row.version_counter.saturating_add(group.gap), ..row }
        })
    }

    /// Changes a row in the group, and the slot's row with it.
    pub(crate) fn change(
        &self,
        group: &mut Group,
        slot: u16,
        namespace: &str,
        engine_key: Bytes,
        before: Option<Row>,
        effect: &Effect,
    ) {
        let key = &effect.key;
        let mut sums = self.slot_row(group, slot);
        if let Some(row) = &before {
            sums.count = sums.count.wrapping_sub(1);
            sums.bytes = sums.bytes.wrapping_sub((key.len() + row.value.len()) as u64);
            sums.digest = sums.digest.wrapping_sub(keys::digest_of(namespace, key, row.version, &row.value));
        }
        let after = effect.value.as_ref().map(|value| Row {
            version: effect.version,
            expires_ms: effect.expires_ms,
            value: value.clone(),
        });
        if let Some(row) = &after {
            add(&mut sums, namespace, key, row.version, &row.value);
        }
        sums.version_counter = sums.version_counter.max(effect.version);
        sums.logged_time_ms = sums.logged_time_ms.max(group.time_ms);
        group.slots.insert(slot, sums);
        group.note_deadlines(&engine_key, effect);
        group.rows.insert(engine_key, after);
    }
}

/// The first record of a primary's epoch (protocol.md rule 7). `gap` is 0, or [`Replica::gap`] if records that clients may
/// know of are lost and no record of the log makes up for them yet.
pub fn barrier(time_ms: u64, gap: u64) -> LogRecord {
    LogRecord { format: record::FORMAT, time_ms, kind: Kind::Barrier as i32, gap, ..LogRecord::default() }
}

/// Appends a record's bytes to a buffer.
pub fn encode(record: &LogRecord, buffer: &mut Vec<u8>) {
    // A Vec grows, so there is always room.
    let _ = record.encode(buffer);
}

fn reply(id: u64, outcome: &Outcome) -> Reply {
    Reply {
        id,
        code: outcome.code,
        status: outcome.status,
        version: outcome.version,
        number: outcome.number,
        ..Reply::default()
    }
}

/// What came of a write, for who asks: a refusal is an answer, too.
fn fate(id: u64, outcome: &Outcome) -> Reply {
    match Code::from_number(outcome.code) {
        None => reply(id, outcome),
        Some(code) => {
            Reply { id, status: Status::NotApplied as i32, message: code.to_string(), ..Reply::default() }
        }
    }
}

/// Whether the slot of a row is neither being handed over nor gone, as far as the log says.
fn holds(ledger: &Ledger, data_key: &[u8]) -> bool {
    let slot = keys::slot_of_data_key(data_key);
    slot.is_some_and(|slot| matches!(ledger.mark(slot), Mark::Held(_)))
}

/// Counts a row into its slot's.
pub(crate) fn add(sums: &mut SlotRow, namespace: &str, key: &[u8], version: u64, value: &[u8]) {
    sums.count = sums.count.wrapping_add(1);
    sums.bytes = sums.bytes.wrapping_add((key.len() + value.len()) as u64);
    sums.digest = sums.digest.wrapping_add(keys::digest_of(namespace, key, version, value));
}

fn read_position(engine: &dyn Engine, key: &[u8]) -> Result<Position, Error> {
    engine.get(key)?.map_or(Ok(Position::default()), |bytes| Position::decode(&bytes))
}

fn read_ledger(engine: &dyn Engine, name: &str) -> Result<Option<Ledger>, Error> {
    engine.get(&keys::meta_key(name))?.map(|bytes| Ledger::from_bytes(bytes).map_err(refused)).transpose()
}

fn read_number(engine: &dyn Engine, name: &'static str) -> Result<u64, Error> {
    engine.get(&keys::meta_key(name))?.map_or(Ok(0), |bytes| decode_number(name, &bytes))
}

pub(crate) fn decode_number(name: &'static str, bytes: &[u8]) -> Result<u64, Error> {
    let malformed = |_| Error::Malformed { what: name, why: "it is no u64".into() };
    bytes.try_into().map(u64::from_le_bytes).map_err(malformed)
}

fn visit(
    engine: &dyn Engine,
    prefix: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let end = keys::prefix_end(prefix);
    let bounds = (Bound::Included(prefix), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
    let mut failed = None;
    engine.scan(bounds, &mut |key, value| match each(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use slotkv_storage::MemoryEngine;

    use super::*;
    use crate::{decide::Condition, outbox::Outbox};

    #[test]
    fn the_results_of_a_shard_are_bounded_and_one_forgotten_is_not_executed_again() {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        let slots = SlotCount::new(16).expect("a power of two");
        let load = || Replica::load(engine.clone(), Arc::new(RowCache::new(0)), slots).expect("it loads");
        let write = |sequence: u64| Write {
            id: sequence,
            slot: sequence as u16 % 16,
            namespace: Arc::from(""),
            key: Bytes::from(sequence.to_string()),
            change: Change::Put(Bytes::new(), Condition::Always, 0),
            ticket: Ticket {
                client: [1; 16],
                sequence,
                oldest_open: 1,
                fence_index: sequence - 1,
                repeated: false,
            },
            expires: None,
            admitted_bytes: 0,
            outbox: Arc::new(Outbox::default()),
        };
        let mut replica = load();
        replica.entries_max = 100;
        for sequence in 1..=300 {
            let mut group = replica.begin(0);
            replica
                .stage(&mut group, &write(sequence), Position { epoch: 1, index: sequence })
                .expect("staged");
            replica.apply(group).expect("applied");
            let kept: usize = replica.slots.iter().map(|slot| slot.results.entries()).sum();
            assert!(kept <= 100 && kept == replica.entries, "{kept} entries, {} counted", replica.entries);
        }
        replica.checkpoint_rows().expect("stored");
        let replica = load();
        for (sequence, code) in [(1, Code::Indeterminate.number()), (300, 0)] {
            let again =
                replica.stage(&mut replica.begin(0), &write(sequence), Position { epoch: 1, index: 301 });
            let Ok(Staged::Answer(reply)) = again else { panic!("write {sequence} is executed again") };
            assert_eq!((reply.code, reply.replayed), (code, code == 0));
        }
    }

    fn write_of(change: Change, ticket: Ticket) -> Write {
        Write {
            id: 7,
            slot: 3,
            namespace: Arc::from(""),
            key: Bytes::from_static(b"k"),
            change,
            ticket,
            expires: None,
            admitted_bytes: 0,
            outbox: Arc::new(Outbox::default()),
        }
    }

    #[test]
    fn a_write_that_was_asked_for_has_the_same_outcome_for_ever() {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        let slots = SlotCount::new(16).expect("a power of two");
        let mut replica = Replica::load(engine, Arc::new(RowCache::new(0)), slots).expect("it loads");
        let mut index = 0;
        let staged =
            |replica: &mut Replica, index: &mut u64, sequence: u64, change: Change, fence_index: u64| {
                let ticket = Ticket {
                    client: [1; 16],
                    sequence,
                    oldest_open: 0,
                    fence_index,
                    repeated: change == Change::Outcome,
                };
                let write = write_of(change, ticket);
                let mut group = replica.begin(0);
                let position = Position { epoch: 1, index: *index + 1 };
                let staged = replica.stage(&mut group, &write, position).expect("staged");
                let (reply, is_logged) = match staged {
                    Staged::Log(record, reply) => {
                        // As a backup takes it.
                        let mut again = replica.begin(0);
                        replica.stage_record(&mut again, position, &record).expect("a record");
                        replica.apply(again).expect("applied");
                        *index += 1;
                        (reply, true)
                    }
                    Staged::Answer(reply) => (reply, false),
                };
                (reply.code, reply.status, reply.number, is_logged)
            };
        let (created, updated) = (Status::Created as i32, Status::Updated as i32);
        assert_eq!(staged(&mut replica, &mut index, 1, Change::Increment(4), 0), (0, created, 4, true));
        assert_eq!(staged(&mut replica, &mut index, 1, Change::Outcome, 0), (0, created, 4, false));
        // The one that nobody has seen is settled by being asked for.
        let never = (0, Status::NotApplied as i32, 0);
        assert_eq!(
            staged(&mut replica, &mut index, 2, Change::Outcome, 1),
            (never.0, never.1, never.2, true)
        );
        assert_eq!(
            staged(&mut replica, &mut index, 2, Change::Outcome, 1),
            (never.0, never.1, never.2, false)
        );
        assert_eq!(
            staged(&mut replica, &mut index, 2, Change::Increment(4), 1),
            (Code::Cancelled.number(), 0, 0, false)
        );
        assert_eq!(staged(&mut replica, &mut index, 3, Change::Increment(1), 2), (0, updated, 5, true));
        // Results up to here are forgotten.
        replica.slots[3].results.forget(3);
        let mut group = replica.begin(0);
        let ticket = Ticket { client: [1; 16], sequence: 1, oldest_open: 0, fence_index: 0, repeated: true };
        let write = write_of(Change::Outcome, ticket);
        let staged = replica.stage(&mut group, &write, Position { epoch: 1, index: 4 }).expect("staged");
        let Staged::Answer(reply) = staged else { panic!("it is settled although it may have been applied") };
        assert_eq!(reply.code, Code::Indeterminate.number());
    }
}
