//! Carry: what a record of a hand-over does to a replica: its primary's, when it is added to a group; every replica's, when it
//! is taken from the log. Both come to the same.

use std::ops::ControlFlow;

use bytes::Bytes;
use slotkv_migration::{
    Bug, Cursor, Ledger, Record, Slot, bug,
    ledger::{Mark, State},
};
use slotkv_storage::{Error, Kind, LogRecord, Position, Row, SlotRow, keys, record};

use super::{
    item::{self, Span},
    malformed,
    part::{self, Op},
    refused,
    sweep::borrowed,
    tally::Levels,
};
use crate::{
    group::{Group, ResultChange},
    replica::{Replica, add},
};

/// A row that goes.
struct Going {
    key: Bytes,
    expires_ms: u64,
    bytes: u64,
    digest: u128,
}

impl Replica {
    /// What the applied records of hand-overs come to.
    pub fn ledger(&self) -> &Ledger {
        &self.applied_ledger
    }

    /// Whether a hand-over is filling or emptying a slot.
    pub(crate) fn is_moving(&self, slot: Slot) -> bool {
        matches!(self.applied_ledger.mark(slot), Mark::Staging(_) | Mark::Cleaning(_))
    }

    /// Adds a record of a hand-over to a group, as the log's record `position`. One that holds what a source may not say is refused
    /// and leaves the group as it was.
    pub fn stage_handover(
        &self,
        group: &mut Group,
        position: Position,
        record: &Record,
    ) -> Result<LogRecord, Error> {
        let ops = self.check_handover(group, record)?;
        self.carry_out(group, position, record, ops)?;
        Ok(LogRecord {
            format: record::FORMAT_HANDOVER,
            time_ms: group.time_ms(),
            kind: Kind::Handover as i32,
            handover: record.to_bytes(),
            ..LogRecord::default()
        })
    }

    /// Takes a record of a hand-over from the log.
    pub(crate) fn take_handover(
        &self,
        group: &mut Group,
        position: Position,
        logged: &LogRecord,
    ) -> Result<(), Error> {
        let record = Record::from_bytes(logged.handover.clone()).map_err(refused)?;
        let ops = match &record {
            Record::Stage { slots, bytes, .. } => part::decode(bytes, slots)?,
            _ => Vec::new(),
        };
        self.carry_out(group, position, &record, ops)
    }

    /// Whether it can be carried out; and what of, if it is a part.
    fn check_handover(&self, group: &Group, record: &Record) -> Result<Vec<Op>, Error> {
        let count = self.slot_count();
        match record {
            Record::Stage { slots, .. } | Record::Seal { slots, .. } | Record::Clean { slots, .. }
                if slots.iter().any(|slot| *slot >= count) =>
            {
                Err(malformed("record of a hand-over", format!("it names more than {count} slots")))
            }
            Record::Stage { id, slots, to, bytes, .. } => {
                let ledger = group.ledger.as_ref().unwrap_or(self.ledger());
                let known = match ledger.work().get(id).map(|work| &work.state) {
                    Some(State::Staging(place)) if place.stream == to.stream => place.cursor.clone(),
                    _ => Cursor::Start,
                };
                let ops = part::decode(bytes, slots)?;
                check_part(&ops, &known, &to.cursor)?;
                Ok(ops)
            }
            Record::Imported { levels, .. } => Levels::decode(levels).map(|_| Vec::new()),
            Record::Clean { upto, is_last, .. } if !is_last => item::decode(upto).map(|_| Vec::new()),
            Record::Seal { .. } | Record::Unseal { .. } | Record::Clean { .. } => Ok(Vec::new()),
        }
    }

    /// `ops` are those of a part.
    fn carry_out(
        &self,
        group: &mut Group,
        position: Position,
        record: &Record,
        ops: Vec<Op>,
    ) -> Result<(), Error> {
        let mut ledger = group.ledger.take().unwrap_or_else(|| self.ledger().clone());
        let before = ledger.work().get(&record.id()).map(|work| work.state.clone());
        let at = slotkv_migration::Position { epoch: position.epoch, index: position.index };
        let slots = ledger.apply(at, record, bug::planted());
        group.ledger = Some(ledger);
        group.reach(position);
        // One that goes on changes nothing that anybody would miss who has lost the log, see `recount`.
        let goes_on = match record {
            Record::Stage { .. } => matches!(before, Some(State::Staging(_))),
            Record::Clean { is_last, .. } => matches!(before, Some(State::Cleaning(_))) && !is_last,
            _ => false,
        };
        group.keeps_ledger |= !goes_on;
        let slots: Vec<Slot> = slots.into_iter().filter(|slot| *slot < self.slot_count()).collect();
        if slots.is_empty() {
            return Ok(());
        }
        let is_new = position.index > self.applied().index;
        match record {
            Record::Seal { .. } | Record::Unseal { .. } => return Ok(()),
            Record::Stage { .. } => {
                group.replaced = None;
                for op in ops {
                    self.carry_op(group, &slots, op, is_new)?;
                }
            }
            Record::Imported { .. } if bug::planted() == Some(Bug::KeepsLevels) => {}
            Record::Imported { levels, .. } => {
                self.raise_levels(group, position, &slots, &Levels::decode(levels)?);
            }
            Record::Clean { upto, is_last, .. } => {
                let after = match before {
                    Some(State::Cleaning(after)) => after,
                    _ => Cursor::Start,
                };
                let upto = if *is_last { Cursor::End } else { Cursor::Behind(upto.clone()) };
                self.clean(group, &slots, &Span { after, upto }, is_new)?;
            }
        }
        if is_new {
            group.stored.extend(&slots);
            return Ok(());
        }
        // What it did to the rows is done; what they amount to since lies beside them.
        for slot in slots {
            let row = self.engine().get(&keys::slot_key(slot))?;
            group.slots.insert(slot, row.map_or(Ok(SlotRow::default()), |row| SlotRow::decode(&row))?);
        }
        Ok(())
    }

    fn carry_op(&self, group: &mut Group, slots: &[Slot], op: Op, is_new: bool) -> Result<(), Error> {
        match op {
            Op::Replace(span) => {
                for &slot in slots.iter().filter(|slot| span.meets(**slot)) {
                    if is_new {
                        self.drop_rows(group, slot, &span)?;
                    }
                    group.changes.push(ResultChange::Drop(slot, span.clone()));
                }
                group.replaced = Some(span);
            }
            Op::Row(slot, key, row) if is_new => self.put_row(group, slot, key, Some(row))?,
            Op::Gone(slot, key) if is_new => self.put_row(group, slot, key, None)?,
            Op::Row(..) | Op::Gone(..) => {}
            Op::Client(slot, client, item) => group.changes.push(ResultChange::Set(slot, client, item)),
            Op::Result(slot, client, item) => group.changes.push(ResultChange::Merge(slot, client, item)),
            Op::Floor(slot, index) => group.changes.push(ResultChange::Floor(slot, index)),
            Op::Shown(index) => group.needed_shown = group.needed_shown.max(index),
        }
        Ok(())
    }

    /// As a Lamport clock: whatever is logged from here on has a shown index and a time that nobody was told at the source.
    fn raise_levels(&self, group: &mut Group, position: Position, slots: &[Slot], levels: &Levels) {
        group.raise_time(levels.time_ms);
        group.raise_shown(position, levels.shown_index);
        for level in levels.slots.iter().filter(|level| slots.contains(&level.slot)) {
            let mut row = self.slot_row(group, level.slot);
            row.version_counter = row.version_counter.max(level.version_counter);
            row.logged_time_ms = row.logged_time_ms.max(level.logged_time_ms);
            group.slots.insert(level.slot, row);
            group.changes.push(ResultChange::Raise(level.slot, level.forgotten_index));
        }
    }

    fn clean(&self, group: &mut Group, slots: &[Slot], span: &Span, is_new: bool) -> Result<(), Error> {
        for &slot in slots {
            if is_new && span.meets(slot) {
                self.drop_rows(group, slot, span)?;
            }
            group.changes.push(ResultChange::Drop(slot, span.clone()));
            if span.upto == Cursor::End {
                group.changes.push(ResultChange::Floor(slot, 0));
                group.slots.insert(slot, SlotRow::default());
            }
        }
        Ok(())
    }

    /// Removes the rows of a slot that lie in a span.
    fn drop_rows(&self, group: &mut Group, slot: Slot, span: &Span) -> Result<(), Error> {
        let mut going = Vec::new();
        let (mut failed, changed) = (None, &group.rows);
        self.engine().scan(borrowed(&span.rows(slot)), &mut |key, row| {
            if changed.contains_key(key) {
                return ControlFlow::Continue(());
            }
            match Going::of(key, row) {
                Ok(row) => going.push(row),
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let is_here = |key: &[u8]| key.starts_with(&keys::data_slot_prefix(slot));
        for (key, row) in group.rows.iter().filter(|(key, row)| row.is_some() && is_here(key)) {
            if let Some(row) = row
                && span.has_row(slot, key)
            {
                going.push(Going::of(key, &row.encode())?);
            }
        }
        let mut sums = self.slot_row(group, slot);
        for Going { key, expires_ms, bytes, digest } in going {
            sums.count = sums.count.wrapping_sub(1);
            sums.bytes = sums.bytes.wrapping_sub(bytes);
            sums.digest = sums.digest.wrapping_sub(digest);
            group.note_deadline(&key, expires_ms, 0);
            group.rows.insert(key, None);
            group.moved_rows += 1;
        }
        group.slots.insert(slot, sums);
        Ok(())
    }

    fn put_row(&self, group: &mut Group, slot: Slot, key: Bytes, row: Option<Row>) -> Result<(), Error> {
        // Of what the engine has in a span that was replaced, the group knows.
        group.moved_rows += 1;
        let is_known = group.replaced.as_ref().is_some_and(|span| span.has_row(slot, &key));
        let before = match is_known {
            true => group.rows.get(&key).cloned().flatten(),
            false => self.row(group, &key)?,
        };
        if bug::planted() == Some(Bug::ItemOverNewer) && !is_known && before.is_some() {
            return Ok(());
        }
        let mut sums = self.slot_row(group, slot);
        if let Some(before) = &before {
            let going = Going::of(&key, &before.encode())?;
            sums.count = sums.count.wrapping_sub(1);
            sums.bytes = sums.bytes.wrapping_sub(going.bytes);
            sums.digest = sums.digest.wrapping_sub(going.digest);
        }
        if let Some(row) = &row {
            let parts = keys::DataKey::decode(&key)?;
            add(&mut sums, parts.namespace, parts.key, row.version, &row.value);
        }
        group.slots.insert(slot, sums);
        let expires_ms = |row: &Option<Row>| row.as_ref().map_or(0, |row| row.expires_ms);
        group.note_deadline(&key, expires_ms(&before), expires_ms(&row));
        if before.is_some() || row.is_some() || group.rows.contains_key(&key) {
            group.rows.insert(key, row);
        }
        Ok(())
    }
}

/// A part has the range that it replaces at most once, and it is the one between the places.
fn check_part(ops: &[Op], known: &Cursor, upto: &Cursor) -> Result<(), Error> {
    let mut spans = ops.iter().filter_map(|op| match op {
        Op::Replace(span) => Some(span),
        _ => None,
    });
    let fits = match (spans.next(), spans.next()) {
        (None, _) => known == upto,
        (Some(span), None) => span.after == *known && span.upto == *upto,
        (Some(_), Some(_)) => false,
    };
    match fits {
        true => Ok(()),
        false => Err(malformed("part of a hand-over", "it does not replace what lies between its places")),
    }
}

impl Going {
    fn of(key: &[u8], row: &[u8]) -> Result<Self, Error> {
        let (version, expires_ms, value) = Row::peek(row)?;
        let mut sums = SlotRow::default();
        let parts = keys::DataKey::decode(key)?;
        add(&mut sums, parts.namespace, parts.key, version, value);
        let key = Bytes::copy_from_slice(key);
        Ok(Self { key, expires_ms, bytes: sums.bytes, digest: sums.digest })
    }
}
