//! Copy: the next part of what a source sends. What must be of one moment is taken on the replica's own task, in bounds:
//! records of the log, results in memory, a snapshot of the engine. The rows are read elsewhere.
//!
//! A part leads from one place to the next. Records that lie behind the first place change items that are copied; of each item
//! the last change counts. Results are taken from memory, where they are as of what is applied: that is at or behind the
//! place the part leads to, and what a later part says again does no harm.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use bytes::Bytes;
use slotkv_migration::{Bug, Chunk, Cursor, Place, Position, Read, Record, Slot, bug};
use slotkv_storage::{Error, Kind, Log, LogHead, LogRecord, Reader, Row, keys, log};

use super::{
    item::{self, Span, is_copied},
    malformed,
    part::Writer,
    refused,
    sweep::borrowed,
};
use crate::{replica::Replica, retry::ClientId};

/// What a part has beside items and their changes, roughly: its head, and the range that it replaces.
const OVERHEAD_BYTES: usize = 128;
/// Bytes of the log that are looked through at once. Most of it concerns other slots.
const LOG_BYTES_MAX: usize = 1 << 20;
/// And read at once: memory for a piece of this size is at hand, that for a larger one comes from the system each time.
const LOG_READ_BYTES: usize = 64 << 10;
/// What the change of an item has beside its name and its value, roughly.
const CHANGE_BYTES: usize = 48;

/// A part that is being made.
pub struct Copy(Step);

enum Step {
    Done(Chunk),
    Items(Box<Items>),
}

/// Items that are still to be read, as of `at`.
struct Items {
    reader: Box<dyn Reader>,
    at: Position,
    behind: u64,
    after: Cursor,
    changes: Writer,
    tail: Writer,
    slots: Vec<SlotItems>,
    /// The slots are those up to the last one.
    is_all: bool,
    room: usize,
}

struct SlotItems {
    slot: Slot,
    clients: Vec<(Bytes, Vec<u8>)>,
    /// Not all of its clients.
    is_cut: bool,
}

/// What the log has behind a place.
struct Changes {
    /// By name; `None`: it is gone.
    rows: BTreeMap<Bytes, Option<Row>>,
    clients: BTreeSet<(Slot, ClientId, u64)>,
    at: Position,
    /// Bytes of records that concern the slots, of so many that were read.
    bytes: u64,
    count: u64,
    /// What they take in a part, at most.
    part_bytes: usize,
}

/// Reads records of the log from an index on, of so many bytes.
type ReadLog<'a> = &'a dyn Fn(u64, usize) -> Result<Vec<log::Record>, Error>;

impl Replica {
    /// Begins to read a part: at most about `bytes_max` of changes, and of results in memory.
    pub fn copy(&self, log: &Log, read: &Read) -> Result<Copy, Error> {
        self.copy_by(log, &|from_index, bytes_max| log.read(from_index, bytes_max), read)
    }

    /// The same where records of the log may be in memory, too.
    pub(crate) fn copy_by(&self, log: &Log, read_log: ReadLog<'_>, read: &Read) -> Result<Copy, Error> {
        let applied = self.applied();
        let done = |chunk| Ok(Copy(Step::Done(chunk)));
        if applied.index == 0 {
            return done(Chunk::Later);
        }
        let from = match &read.from {
            None if !read.with_items => return done(Chunk::Later),
            None => None,
            Some(from) if !is_in(log, from) => return done(Chunk::Gone),
            Some(from) if from.at.index > applied.index => return done(Chunk::Later),
            Some(from) => Some(from),
        };
        let after = from.map_or(Cursor::Start, |from| from.cursor.clone());
        let mut tail = Writer::new();
        for &slot in &read.slots {
            tail.floor(slot, self.results_of(slot).map_or(0, |results| results.forgotten_index()));
        }
        tail.shown(self.shown_index());
        let bytes_max = read.bytes_max.saturating_sub(tail.len() + OVERHEAD_BYTES);
        let Some(changes) = self.changes(read_log, read, from, bytes_max)? else { return done(Chunk::Gone) };
        let at = changes.at;
        let left = log.last_index().saturating_sub(at.index);
        let behind = (changes.bytes / changes.count.max(1)).saturating_mul(left);
        let mut part = Writer::new();
        self.write_changes(&changes, &mut part);
        let is_whole = after == Cursor::End || at.index < applied.index || !read.with_items;
        if is_whole || (part.len() > 0 && part.len() >= bytes_max) {
            part.append(&tail);
            return done(Chunk::Part { cursor: after, at, bytes: part.finish(), item_bytes: 0, behind });
        }
        let room = bytes_max.saturating_sub(part.len()).max(1);
        let (slots, is_all) = self.items(&read.slots, &after, room);
        let reader = self.engine().snapshot()?;
        let items = Items { reader, at, behind, after, changes: part, tail, slots, is_all, room };
        Ok(Copy(Step::Items(Box::new(items))))
    }

    /// Changes of copied items behind a place. `None`: the log has what no copy goes across.
    fn changes(
        &self,
        read_log: ReadLog<'_>,
        read: &Read,
        from: Option<&Place>,
        bytes_max: usize,
    ) -> Result<Option<Changes>, Error> {
        let applied = self.applied();
        let applied = Position { epoch: applied.epoch, index: applied.index };
        let (rows, clients) = (BTreeMap::new(), BTreeSet::new());
        let mut changes = Changes { rows, clients, at: applied, bytes: 0, count: 0, part_bytes: 0 };
        let Some(from) = from else { return Ok(Some(changes)) };
        changes.at = from.at;
        let mut left = LOG_BYTES_MAX;
        while changes.at.index < applied.index && left > 0 && changes.part_bytes < bytes_max.max(1) {
            let records = read_log(changes.at.index + 1, left.min(LOG_READ_BYTES))?;
            if records.is_empty() {
                break;
            }
            for record in records.into_iter().take_while(|record| record.index <= applied.index) {
                if changes.part_bytes >= bytes_max.max(1) {
                    break;
                }
                let bytes = record.payload.len();
                left = left.saturating_sub(bytes.max(1));
                changes.count += 1;
                let at = Position { epoch: record.epoch, index: record.index };
                if is_about_others(&record.payload, &read.slots)? {
                    changes.at = at;
                    continue;
                }
                let logged = LogRecord::from_bytes(record.payload)?;
                if logged.kind() == Kind::Handover && moves(&logged, &read.slots)? {
                    return Ok(None);
                }
                changes.at = at;
                if changes.take(&logged, &read.slots, &from.cursor)? {
                    changes.bytes += bytes as u64;
                }
            }
        }
        Ok(Some(changes))
    }

    fn write_changes(&self, changes: &Changes, part: &mut Writer) {
        for (name, row) in &changes.rows {
            match row {
                Some(row) => part.row(name, &row.encode()),
                None => part.gone(name),
            }
        }
        if bug::planted() == Some(Bug::ForgetsResults) {
            return;
        }
        for (slot, client, sequence) in &changes.clients {
            let result = self.results_of(*slot).and_then(|results| results.encode_result(client, *sequence));
            // One that is not there any more is not needed any more, or forgotten.
            if let Some(result) = result {
                part.result(&item::of_client(*slot, client), &result);
            }
        }
    }

    /// What of the slots behind a cursor may fit, results in bytes; and whether these are the last slots.
    fn items(&self, slots: &[Slot], after: &Cursor, room: usize) -> (Vec<SlotItems>, bool) {
        let span = Span { after: after.clone(), upto: Cursor::End };
        let (mut found, mut left) = (Vec::new(), room);
        for &slot in slots.iter().filter(|slot| span.meets(**slot)) {
            if left == 0 {
                return (found, false);
            }
            let mut items = SlotItems { slot, clients: Vec::new(), is_cut: false };
            let forgets = bug::planted() == Some(Bug::ForgetsResults);
            if let Some(results) = self.results_of(slot).filter(|_| !forgets) {
                let clients = results.clients().into_iter();
                let names = clients.map(|client| (item::of_client(slot, &client), client));
                for (name, client) in names.filter(|(name, _)| span.has(name)) {
                    if left == 0 {
                        items.is_cut = true;
                        break;
                    }
                    let Some(bytes) = results.encode_client(&client) else { continue };
                    left = left.saturating_sub(name.len() + bytes.len());
                    items.clients.push((name, bytes));
                }
            }
            left = left.saturating_sub(self.slot_row_of(slot).bytes as usize);
            let is_cut = items.is_cut;
            found.push(items);
            if is_cut {
                return (found, false);
            }
        }
        (found, true)
    }
}

/// Whether the log has this very record, or the one that it begins behind, and goes on from there.
fn is_in(log: &Log, place: &Place) -> bool {
    let Position { epoch, index } = place.at;
    index + 1 >= log.first_index() && index <= log.last_index() && log.epoch_at(index) == Some(epoch)
}

/// Whether a record is a write in another slot, as most are.
fn is_about_others(payload: &[u8], slots: &[Slot]) -> Result<bool, Error> {
    let head = LogHead::from_bytes(payload)?;
    let is_write = matches!(head.kind(), Kind::Write | Kind::Expiry);
    Ok(is_write && Slot::try_from(head.slot).is_ok_and(|slot| slots.binary_search(&slot).is_err()))
}

/// Whether a record of a hand-over puts something else into these slots.
fn moves(logged: &LogRecord, slots: &[Slot]) -> Result<bool, Error> {
    let record = Record::from_bytes(logged.handover.clone()).map_err(refused)?;
    Ok(match &record {
        Record::Stage { slots: moved, .. } | Record::Clean { slots: moved, .. } => {
            moved.iter().any(|slot| slots.contains(slot))
        }
        Record::Seal { .. } | Record::Unseal { .. } | Record::Imported { .. } => false,
    })
}

impl Changes {
    /// Takes what a record changes of copied items. Returns whether it concerns the slots.
    fn take(&mut self, logged: &LogRecord, slots: &[Slot], copied: &Cursor) -> Result<bool, Error> {
        if !matches!(logged.kind(), Kind::Write | Kind::Expiry) {
            return Ok(false);
        }
        let Some(&slot) = slots.iter().find(|slot| u32::from(**slot) == logged.slot) else {
            return Ok(false);
        };
        for effect in &logged.effects {
            let name = item::of_row(slot, &keys::data_key(slot, &logged.namespace, &effect.key));
            if is_copied(&name, copied) {
                let row = effect.value.as_ref().map(|value| Row {
                    version: effect.version,
                    expires_ms: effect.expires_ms,
                    value: value.clone(),
                });
                let value_bytes = effect.value.as_ref().map_or(0, Bytes::len);
                self.part_bytes += CHANGE_BYTES + name.len() + value_bytes;
                self.rows.insert(name, row);
            }
        }
        if logged.sequence > 0 {
            let client = ClientId::try_from(&logged.client_id[..]).map_err(|_| {
                malformed("log record", format!("a client id of {} bytes", logged.client_id.len()))
            })?;
            if is_copied(&item::of_client(slot, &client), copied) {
                self.part_bytes += 3 * CHANGE_BYTES;
                self.clients.insert((slot, client, logged.sequence));
            }
        }
        Ok(true)
    }
}

impl Copy {
    /// Reads what is left to be read. Blocks.
    pub fn run(self) -> Result<Chunk, Error> {
        match self.0 {
            Step::Done(chunk) => Ok(chunk),
            Step::Items(items) => items.run(),
        }
    }
}

impl Items {
    fn run(self) -> Result<Chunk, Error> {
        let mut items = Writer::new();
        let cursor = self.read(&mut items)?;
        let Items { at, behind, after, changes: mut part, tail, .. } = self;
        part.replace(&Span { after, upto: cursor.clone() });
        part.append(&items);
        part.append(&tail);
        Ok(Chunk::Part { cursor, at, bytes: part.finish(), item_bytes: items.len(), behind })
    }

    /// Reads items for as long as there is room, one at least. Returns up to where.
    fn read(&self, items: &mut Writer) -> Result<Cursor, Error> {
        let span = Span { after: self.after.clone(), upto: Cursor::End };
        let mut last = self.after.clone();
        for SlotItems { slot, clients, is_cut } in &self.slots {
            for (name, results) in clients {
                if items.len() > 0 && items.len() + name.len() + results.len() > self.room {
                    return Ok(last);
                }
                items.client(name, results);
                last = Cursor::Behind(name.clone());
            }
            if *is_cut {
                return Ok(last);
            }
            let bounds = span.rows(*slot);
            let mut is_full = false;
            self.reader.scan(borrowed(&bounds), &mut |key, row| {
                if items.len() > 0 && items.len() + key.len() + row.len() > self.room {
                    is_full = true;
                    return ControlFlow::Break(());
                }
                let name = item::of_row(*slot, key);
                items.row(&name, row);
                last = Cursor::Behind(name);
                ControlFlow::Continue(())
            })?;
            if is_full {
                return Ok(last);
            }
            last = Cursor::Behind(item::end_of(*slot));
        }
        Ok(if self.is_all { Cursor::End } else { last })
    }
}
