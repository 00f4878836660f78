//! Incoming: the target's side of a hand-over. A part counts only from exactly where the target stands, so that lost, doubled and
//! late ones do no harm; what stands is in the log, so a new primary goes on from there.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    Bug, ShardId,
    ledger::{Ledger, State, Work},
    message::Body,
    party::Party,
    place::{Cursor, Id, Place, Position, Stream},
    ready::{Said, Tally},
    record::Record,
    table::Migration,
};

/// Parts are refused for so long at most, of a source that sends them again all the time: then the hand-over has failed.
const REFUSED_US_MAX: u64 = 2_000_000;

/// Stream, SEAL, tally and levels, as the source says.
type Sealed = (Stream, Position, Bytes, Bytes);

/// What a target's primary knows beside its log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Incoming {
    /// Staged and not committed: index and size.
    flight: VecDeque<(u64, usize)>,
    pub flight_bytes: usize,
    sealed: Option<Sealed>,
    is_tallying: bool,
    pub failed: Option<String>,
    /// Since when parts are refused.
    refused_us: Option<u64>,
    /// What the source was told last is not what is committed by now.
    is_owed: bool,
}

/// What a ledger says that a target holds.
pub(crate) fn place_in(ledger: &Ledger, id: Id) -> Option<&Place> {
    match ledger.work().get(&id) {
        Some(Work { state: State::Staging(place), .. }) => Some(place),
        _ => None,
    }
}

impl Party {
    /// Goes on with a hand-over that the table has in flight.
    pub(crate) fn drive_incoming(&mut self, migration: &Migration) {
        let id = migration.id;
        let commit = self.commit;
        let incoming = self.incoming.entry(id).or_default();
        while let Some((index, bytes)) = incoming.flight.front()
            && *index <= commit
        {
            incoming.flight_bytes -= bytes;
            incoming.flight.pop_front();
            incoming.is_owed = true;
        }
        if std::mem::take(&mut incoming.is_owed) {
            self.answer(id, migration.source);
        }
        let Some((stream, at, ..)) = self.incoming.get(&id).and_then(|incoming| incoming.sealed.clone())
        else {
            return;
        };
        let is_whole = |ledger: &Ledger| {
            place_in(ledger, id).is_some_and(|held| {
                held.stream == stream && held.cursor == Cursor::End && held.at.index >= at.index
            })
        };
        let is_held = is_whole(&self.committed) && is_whole(&self.appended);
        let Some(incoming) = self.incoming.get_mut(&id) else { return };
        if is_held && !incoming.is_tallying && incoming.failed.is_none() && !self.asked.contains(&id) {
            incoming.is_tallying = true;
            self.ready.tallies.push(Tally { id, slots: migration.slots.clone() });
        }
    }

    /// What is staged amounts to this.
    pub(crate) fn compare(&mut self, id: Id, found: &Bytes) {
        let Some(incoming) = self.incoming.get_mut(&id) else { return };
        incoming.is_tallying = false;
        let Some((_, sealed_at, tally, levels)) = incoming.sealed.clone() else { return };
        let is_careless = [Bug::ForgetsResults, Bug::ItemOverNewer, Bug::TakesAnyPart]
            .iter()
            .any(|bug| self.options.has(*bug));
        if *found != tally && !is_careless {
            incoming.failed = Some("what arrived is not what the source has".into());
            return;
        }
        if place_in(&self.committed, id).is_some() && self.table.in_flight(id).is_some() {
            let version = self.table.version;
            self.append(Record::Imported { id, version, sealed_at, levels });
        }
    }

    /// Tells the source what is held.
    fn answer(&mut self, id: Id, source: ShardId) {
        let next = place_in(&self.appended, id).cloned();
        let held = place_in(&self.committed, id).cloned();
        let rest_us = self.pace.rest_us(self.now_us);
        self.send(id, source, Body::Holds { next, held, rest_us });
    }

    /// Whether a message of a source is to be heeded: by the table that is known here, and if nothing else has come of it.
    fn is_expected(&self, id: Id, source: ShardId) -> bool {
        let migration = self.table.in_flight(id);
        let is_ours = migration.is_some_and(|found| found.source == source && found.target == self.me);
        // Nobody plans that, but it would replace what is served.
        let owns = migration.is_some_and(|found| {
            found.slots.iter().any(|slot| self.table.owner(*slot).is_some_and(|owner| owner.shard == self.me))
        });
        let is_open = match self.appended.work().get(&id).map(|work| &work.state) {
            None => migration.is_some_and(|found| {
                found.slots.iter().all(|slot| self.appended.may_stage(*slot, id, self.options.bug()))
            }),
            Some(State::Staging(_)) => true,
            Some(_) => false,
        };
        is_ours && !owns && is_open
    }

    pub(crate) fn hear_offer(&mut self, id: Id, source: ShardId) {
        if self.is_expected(id, source) {
            self.answer(id, source);
        }
    }

    pub(crate) fn hear_part(
        &mut self,
        id: Id,
        source: ShardId,
        from: Option<Place>,
        to: Place,
        bytes: Bytes,
    ) {
        if !self.is_expected(id, source) || self.asked.contains(&id) {
            return;
        }
        let staged: usize = self.incoming.values().map(|incoming| incoming.flight_bytes).sum();
        if staged >= self.options.stage_bytes_max {
            return;
        }
        let place = place_in(&self.appended, id);
        let leads_on = match (&from, place) {
            (None, None) => true,
            (None, Some(place)) => to.stream > place.stream,
            (Some(from), Some(place)) => {
                from == place && from.precedes(&to)
                    || self.options.has(Bug::TakesAnyPart) && from.stream == place.stream && *place != to
            }
            (Some(_), None) => false,
        };
        if !leads_on {
            return self.answer(id, source);
        }
        let slots = self.table.in_flight(id).map(|migration| migration.slots.clone()).unwrap_or_default();
        let version = self.table.version;
        self.append(Record::Stage { id, version, slots, to, bytes });
    }

    /// There is no room for a part.
    pub(crate) fn refuse(&mut self, id: Id, why: String) {
        if self.table.in_flight(id).is_none() {
            return;
        }
        let incoming = self.incoming.entry(id).or_default();
        let since_us = *incoming.refused_us.get_or_insert(self.now_us);
        if self.now_us >= since_us + REFUSED_US_MAX {
            incoming.failed.get_or_insert(why);
        }
    }

    /// A part of it is in the log.
    pub(crate) fn staged(&mut self, id: Id, index: u64, bytes: usize) {
        let incoming = self.incoming.entry(id).or_default();
        incoming.refused_us = None;
        incoming.flight.push_back((index, bytes));
        incoming.flight_bytes += bytes;
    }

    pub(crate) fn hear_sealed(&mut self, id: Id, source: ShardId, sealed: Sealed) {
        if !self.is_expected(id, source) {
            return;
        }
        self.incoming.entry(id).or_default().sealed = Some(sealed);
        self.answer(id, source);
    }

    /// What the target tells the leader.
    pub(crate) fn incoming_said(&self, id: Id) -> Option<Said> {
        let early = self.options.has(Bug::ImportedUncommitted);
        let ledger = if early { &self.appended } else { &self.committed };
        let is_settled = early || self.has_settled(id);
        match ledger.work().get(&id).map(|work| &work.state) {
            Some(State::Imported) if is_settled => return Some(Said::Imported),
            _ => {}
        }
        self.incoming.get(&id).and_then(|incoming| incoming.failed.clone()).map(Said::Failed)
    }
}
