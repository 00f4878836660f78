//! Group: a run of records that is decided, or taken from the log, together, and then applied by one engine batch.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hashbrown::HashMap;
use slotkv_migration::Ledger;
use slotkv_storage::{Effect, Outcome, Position, Row, SlotRow, keys};

use crate::{
    expiry::Swept,
    handover::item::{self, Span},
    retry::{ClientId, SlotResults, Ticket, items::ClientItem},
};

/// Writes that were decided and are not yet applied.
#[derive(Default)]
pub struct Group {
    pub(crate) rows: HashMap<Bytes, Option<Row>>,
    /// Keys of deadlines that come (true) and go, in order.
    pub(crate) deadlines: Vec<(Bytes, bool)>,
    pub(crate) swept: Option<Swept>,
    pub(crate) slots: BTreeMap<u16, SlotRow>,
    pub(crate) results: HashMap<(ClientId, u64), Outcome>,
    pub(crate) changes: Vec<ResultChange>,
    pub(crate) last: Position,
    /// A CHECK, if it is the last record.
    pub(crate) check: Option<Position>,
    pub(crate) time_ms: u64,
    /// The shown base behind its last record, and by how much losses have raised it in the group.
    pub(crate) shown_base: u64,
    pub(crate) gap: u64,
    pub(crate) needed_shown: u64,
    /// Behind its last record of a hand-over.
    pub(crate) ledger: Option<Ledger>,
    /// The engine gets the ledger, too.
    pub(crate) keeps_ledger: bool,
    /// Slots whose rows the engine gets with the group, since no record has them.
    pub(crate) stored: BTreeSet<u16>,
    /// Rows that hand-overs have changed, some perhaps more than once.
    pub(crate) moved_rows: usize,
    /// What the last part replaced: of all that the engine has there, the group has a row.
    pub(crate) replaced: Option<Span>,
}

/// What a record does to a slot's results.
pub(crate) enum ResultChange {
    /// A write has a result.
    Keep(Kept),
    /// Clients in here are gone.
    Drop(u16, Span),
    /// A client has these results, and no others.
    Set(u16, ClientId, ClientItem),
    /// A client has this one, too.
    Merge(u16, ClientId, ClientItem),
    /// The forgotten index is the source's.
    Floor(u16, u64),
    /// The forgotten index is this at least.
    Raise(u16, u64),
}

pub(crate) struct Kept {
    pub slot: u16,
    pub ticket: Ticket,
    /// A shown index.
    pub index: u64,
    pub time_ms: u64,
    pub outcome: Outcome,
}

impl ResultChange {
    pub(crate) fn slot(&self) -> u16 {
        match self {
            ResultChange::Keep(kept) => kept.slot,
            ResultChange::Drop(slot, _)
            | ResultChange::Set(slot, ..)
            | ResultChange::Merge(slot, ..)
            | ResultChange::Floor(slot, _)
            | ResultChange::Raise(slot, _) => *slot,
        }
    }

    pub(crate) fn carry_out(self, results: &mut SlotResults) {
        match self {
            ResultChange::Keep(kept) => results.keep(&kept.ticket, kept.index, kept.time_ms, kept.outcome),
            ResultChange::Drop(slot, span) => {
                results.drop_clients(|client| span.has(&item::of_client(slot, client)));
            }
            ResultChange::Set(_, client, item) => results.set_client(client, item),
            ResultChange::Merge(_, client, item) => results.merge_client(client, item),
            ResultChange::Floor(_, index) => results.set_forgotten_index(index),
            ResultChange::Raise(_, index) => results.raise_forgotten_index(index),
        }
    }
}

impl Group {
    pub(crate) fn keep(
        &mut self,
        slot: u16,
        ticket: Ticket,
        position: Position,
        time_ms: u64,
        outcome: Outcome,
    ) {
        self.last = position;
        if ticket.sequence > 0 {
            self.results.insert((ticket.client, ticket.sequence), outcome);
            let index = position.index.saturating_add(self.shown_base);
            self.changes.push(ResultChange::Keep(Kept { slot, ticket, index, time_ms, outcome }));
        }
    }

    /// Goes on `gap` shown indexes and versions further, so that none that a lost record may have had is given again.
    pub(crate) fn raise(&mut self, gap: u64) {
        self.gap = self.gap.saturating_add(gap);
        self.shown_base = self.shown_base.saturating_add(gap);
        for row in self.slots.values_mut() {
            row.version_counter = row.version_counter.saturating_add(gap);
        }
    }

    /// Shows the record `position` as no lower than `shown_index`.
    pub(crate) fn raise_shown(&mut self, position: Position, shown_index: u64) {
        let shown = position.index.saturating_add(self.shown_base);
        self.shown_base = self.shown_base.saturating_add(shown_index.saturating_sub(shown));
    }

    pub(crate) fn raise_time(&mut self, time_ms: u64) {
        self.time_ms = self.time_ms.max(time_ms);
    }

    /// Whether it ends with a CHECK: what follows belongs to the next group.
    pub fn ends_with_check(&self) -> bool {
        self.check.is_some()
    }

    /// The last record of the group so far.
    pub(crate) fn reach(&mut self, position: Position) {
        self.last = position;
    }

    pub(crate) fn sweep(&mut self, swept: Swept) {
        self.swept = Some(swept);
    }

    pub(crate) fn note_deadlines(&mut self, engine_key: &[u8], effect: &Effect) {
        self.note_deadline(engine_key, effect.replaced_expires_ms, effect.expires_ms);
    }

    /// A row that ended at `gone` ends at `come`; 0: it does not.
    pub(crate) fn note_deadline(&mut self, engine_key: &[u8], gone: u64, come: u64) {
        for (expires_ms, comes) in [(gone, false), (come, true)] {
            if expires_ms != 0 && gone != come {
                self.deadlines.push((keys::deadline_key(expires_ms, engine_key), comes));
            }
        }
    }

    /// Which part of its rows hand-overs have changed, up to 1.
    pub(crate) fn moved_share(&self) -> f64 {
        (self.moved_rows as f64 / self.rows.len().max(1) as f64).min(1.0)
    }

    /// Logged time of the group's records.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Rows that the group changes.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the group changes no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
