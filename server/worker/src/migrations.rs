//! Migrations: a host's part in hand-overs. While its replica leads, it has a [`Party`], gives it what comes, and carries out what
//! it comes to: records go into the log with the next group, messages over the [`Bridge`], reports to the coordinator.
//!
//! The party's records are decided in the order of the log. So nothing is given to it while a record that it asked for waits to be
//! appended; what comes meanwhile waits, and its senders with it.
//!
//! What is served follows from the table and from the ledger, which is published whenever a mark in it changes: the primary's
//! with what is appended, before anybody is sent it; a backup's with what is applied.

mod staged;
mod state;

pub use state::Parts;

pub(crate) use staged::{Staged, handover, is_waited_for, stage};
pub(crate) use state::Migrations;

use std::sync::Arc;

use slotkv_migration::{Chunk, Id, Message, Party, Place, Read, Ready, Record, Regain, Start, Table};
use slotkv_storage::{Error, Kind, LogRecord, Position};

use crate::host::{APPLY_BYTES, Host, Input};
use state::Answer;

/// Pause between two looks at the coordinator's table that were asked for.
const REFRESH_PAUSE_US: u64 = 20_000;
/// Pause after one that failed.
const REFRESH_AGAIN_US: u64 = 200_000;
/// Inputs that a party is given before others get their turn.
const INPUTS_MAX: usize = 256;

/// What comes to a host's part in hand-overs beside messages.
pub enum Event {
    /// A newer slot table was seen.
    Slots(Arc<Table>),
    /// The table was read since this epoch's primary asked for it; `None`: it could not be.
    Refreshed(u64, Option<Arc<Table>>),
    /// The leader lives.
    Heard,
    /// A part was read for the primary of this epoch.
    Copied(u64, Copied),
}

/// A part that was read.
pub struct Copied {
    id: Id,
    from: Option<Place>,
    chunk: Chunk,
    /// How long a thread was busy with it.
    us: u64,
}

impl Host {
    /// This replica leads: as soon as the table is read there will be a party.
    pub(crate) fn begin_migrations(&mut self) {
        self.migrations.stop();
        self.migrations.refresh_at_us = Some(self.now());
    }

    /// It does not lead any more.
    pub(crate) fn end_migrations(&mut self) {
        self.migrations.stop();
        self.publish_ledger();
    }

    /// Something has come for the party.
    pub(crate) fn hear_migration(&mut self, event: Event) -> Result<(), Error> {
        let epoch = self.machine.leads();
        match event {
            Event::Slots(table) => self.migrations.table = Some(table),
            Event::Heard => self.migrations.heard = true,
            Event::Copied(of, copied) if epoch == Some(of) => {
                self.migrations.worked(copied.us);
                self.migrations.answers.push_back(Answer::Read(copied));
            }
            Event::Copied(..) => {}
            Event::Refreshed(of, table) => {
                let now_us = self.now();
                let migrations = &mut self.migrations;
                (migrations.is_refreshing, migrations.refreshed_us) = (false, now_us);
                if epoch != Some(of) {
                    return Ok(());
                }
                let Some(table) = table else {
                    migrations.refresh_at_us = Some(now_us + REFRESH_AGAIN_US);
                    return Ok(());
                };
                // Records that the party logs are of no older table than the one by which streams go.
                self.shard.set_slots(table.clone());
                match self.migrations.party {
                    Some(_) => self.migrations.table = Some(table),
                    None => self.begin_party(of, &table)?,
                }
            }
        }
        Ok(())
    }

    fn begin_party(&mut self, epoch: u64, table: &Table) -> Result<(), Error> {
        let has_lost = self.registrar.newest().is_some_and(|(_, register)| register.loss_epoch > 0);
        let start = Start {
            shard: self.shard.id(),
            epoch,
            ledger: self.replica.ledger().clone(),
            tail: self.handovers_ahead()?,
            commit_index: self.replica.applied().index,
            table: table.clone(),
            loss_index: has_lost.then(|| self.log.last_index()),
        };
        let now_us = self.now();
        let mut party = Party::new(now_us, self.migrations.options.clone(), start);
        let ready = party.ready();
        self.migrations.party = Some(party);
        self.migrations.told = (0, 0);
        self.carry_out_migration(ready)?;
        self.publish_ledger();
        Ok(())
    }

    /// Records of hand-overs that are logged and not applied.
    fn handovers_ahead(&self) -> Result<Vec<(slotkv_migration::Position, Record)>, Error> {
        let mut found = Vec::new();
        let mut index = self.replica.applied().index;
        while index < self.log.last_index() {
            let records = self.read_log(index + 1, APPLY_BYTES)?;
            if records.is_empty() {
                return Err(Error::Misfit(format!("record {} is not in the log", index + 1)));
            }
            for record in records {
                index = record.index;
                let at = slotkv_migration::Position { epoch: record.epoch, index };
                let logged = LogRecord::from_bytes(record.payload)?;
                if logged.kind() == Kind::Handover {
                    found.push((at, handover(&logged)?));
                }
            }
        }
        Ok(found)
    }

    /// A message of another shard.
    pub(crate) fn hear_shard(&mut self, message: Message) -> Result<(), Error> {
        self.feed(|party, now_us| party.step(now_us, message))
    }

    /// Gives the party what has come, until it has asked for records, which are to be appended first.
    pub(crate) fn drive_migrations(&mut self) -> Result<(), Error> {
        self.refresh_if_due();
        for _ in 0..INPUTS_MAX {
            if self.migrations.has_appends() {
                return Ok(());
            }
            let (now_us, worked_us) = (self.now(), std::mem::take(&mut self.migrations.worked_us));
            let Some(party) = &mut self.migrations.party else { return Ok(()) };
            if worked_us > 0 {
                party.worked(now_us, worked_us);
            }
            if let Some(table) = self.migrations.table.take() {
                let now_us = self.now();
                self.migrations.note_table(now_us, &table);
                self.feed(|party, now_us| party.table(now_us, Table::clone(&table)))?;
            } else if std::mem::take(&mut self.migrations.heard) {
                self.feed(|party, now_us| party.heard(now_us))?;
            } else if !self.migrations.is_open() {
                return Ok(());
            } else if let Some((applied, settled)) = self.news_of_commit() {
                self.migrations.told = (applied, settled);
                self.feed(|party, now_us| party.committed(now_us, applied, settled))?;
            } else if let Some(answer) = self.migrations.answers.pop_front() {
                self.feed(|party, now_us| give(party, now_us, answer))?;
            } else if self.migrations.tick_at_us() <= self.now() {
                let now_us = self.now();
                let before_us = std::mem::replace(&mut self.migrations.ticked_us, now_us);
                // What was asked while nothing was open may be long ago.
                let is_fresh = now_us <= before_us + self.migrations.options.quiet_us;
                let was_asked = self.shard.was_asked() && is_fresh;
                let latency_us = self.migrations.latency_us.take().filter(|_| is_fresh);
                self.feed(|party, now_us| {
                    if was_asked {
                        party.asked(now_us);
                    }
                    latency_us.into_iter().for_each(|latency_us| party.foreground(now_us, latency_us));
                    party.tick(now_us);
                })?;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    fn news_of_commit(&self) -> Option<(u64, u64)> {
        let applied = self.replica.applied().index;
        let now = (applied, self.machine.settled_index().min(applied));
        (now != self.migrations.told).then_some(now)
    }

    fn feed(&mut self, input: impl FnOnce(&mut Party, u64)) -> Result<(), Error> {
        let now_us = self.now();
        let Some(party) = &mut self.migrations.party else { return Ok(()) };
        input(party, now_us);
        let ready = party.ready();
        if cfg!(debug_assertions)
            && let Some(violation) = party.violation()
        {
            return Err(Error::Misfit(format!("an invariant of hand-overs does not hold: {violation}")));
        }
        self.carry_out_migration(ready)
    }

    /// Everything that the party has come to; records wait for the next group.
    fn carry_out_migration(&mut self, ready: Ready) -> Result<(), Error> {
        let Ready { appends, messages, reads, tallies, sweeps, regains, reports, refresh } = ready;
        self.migrations.appends.extend(appends);
        if !messages.is_empty() {
            let view = self.migrations.view.current();
            for message in messages {
                let shard = view.shards.get(&message.to);
                match shard.and_then(|shard| shard.register.primary.as_ref()) {
                    Some(primary) => self.migrations.bridge.send(&primary.address, &message),
                    None => tracing::debug!(shard = message.to, "the other shard has no primary now"),
                }
            }
        }
        for read in reads {
            self.copy(read)?;
        }
        for tally in tallies {
            let (bytes, levels) = self.replica.tally(&tally.slots);
            self.migrations.answers.push_back(Answer::Tallied(tally.id, bytes, levels));
        }
        for sweep in sweeps {
            let begun_us = self.clock.busy_us();
            let (upto, is_last) = self.replica.sweep(&sweep)?;
            self.migrations.worked(self.clock.busy_us().saturating_sub(begun_us));
            self.migrations.answers.push_back(Answer::Swept(sweep.id, upto, is_last));
        }
        for Regain { id, slots } in regains {
            tracing::error!(shard = self.shard.id(), %id, ?slots, "lost with the hand-over that brought them; served empty from now on");
            let (bytes, levels) = self.replica.regain(&slots);
            self.migrations.answers.push_back(Answer::Regained(id, bytes, levels));
        }
        if let Some(epoch) = self.machine.leads() {
            let session = self.sessions.borrow().clone();
            for report in reports {
                let figures = self.migrations.note(&report);
                self.migrations.reporter.tell(&self.runner, &session, epoch, report, &figures);
            }
        }
        if refresh {
            let next_us = self.migrations.refreshed_us + REFRESH_PAUSE_US;
            self.migrations.refresh_at_us.get_or_insert(next_us);
        }
        Ok(())
    }

    /// Reads a part, on another thread but for what only the host can do.
    fn copy(&mut self, read: Read) -> Result<(), Error> {
        let Some(epoch) = self.machine.leads() else { return Ok(()) };
        let begun_us = self.clock.busy_us();
        let copy =
            self.replica.copy_by(&self.log, &|from, bytes_max| self.read_log(from, bytes_max), &read)?;
        self.migrations.worked(self.clock.busy_us().saturating_sub(begun_us));
        let (told, clock) = (self.shard.inbox().clone(), self.clock.clone());
        self.runner.blocking(move || {
            let begun_us = clock.busy_us();
            let Read { id, from, .. } = read;
            let chunk = copy.run().unwrap_or_else(|error| {
                tracing::error!(%error, %id, "cannot read what is handed over");
                Chunk::Later
            });
            let us = clock.busy_us().saturating_sub(begun_us);
            let _ = told.send(Input::Migration(Event::Copied(epoch, Copied { id, from, chunk, us })));
        });
        Ok(())
    }

    fn refresh_if_due(&mut self) {
        let now_us = self.now();
        let Some(epoch) = self.machine.leads() else { return };
        let migrations = &mut self.migrations;
        if migrations.is_refreshing || migrations.refresh_at_us.is_none_or(|at_us| at_us > now_us) {
            return;
        }
        (migrations.is_refreshing, migrations.refresh_at_us) = (true, None);
        let (view, told) = (migrations.view.clone(), self.shard.inbox().clone());
        self.runner.errand(async move {
            let table = match view.refresh_slots().await {
                Ok(view) => Some(Arc::new(view.slots.to_table())),
                Err(error) => {
                    tracing::debug!(%error, "cannot read the slot table");
                    None
                }
            };
            let _ = told.send(Input::Migration(Event::Refreshed(epoch, table)));
        });
    }

    /// What a group has come to: it is appended, its records of hand-overs from this position on. From here on requests are answered
    /// by them.
    pub(crate) fn handovers_logged(&mut self, staged: Staged, first: Position) -> Result<(), Error> {
        for (index, record) in (first.index..).zip(staged.records) {
            let at = slotkv_migration::Position { epoch: first.epoch, index };
            let now_us = self.now();
            self.migrations.note_logged(now_us, &record);
            self.feed(|party, now_us| party.logged(now_us, at, record))?;
        }
        self.handovers_dropped(staged.dropped)?;
        self.publish_ledger();
        Ok(())
    }

    /// They will not be appended.
    pub(crate) fn handovers_dropped(&mut self, dropped: Vec<Id>) -> Result<(), Error> {
        for id in dropped {
            self.feed(|party, now_us| party.dropped(now_us, id))?;
        }
        Ok(())
    }

    /// Tells streams what the log says of hand-overs, if that has changed.
    pub(crate) fn publish_ledger(&mut self) {
        let ledger = match &self.migrations.party {
            Some(party) => party.ledger(),
            None => self.replica.ledger(),
        };
        let is_known = self.migrations.published.as_ref().is_some_and(|published| {
            published.version() == ledger.version()
                && (published.shares_marks(ledger) || published.marks().eq(ledger.marks()))
        });
        if !is_known {
            let ledger = Arc::new(ledger.clone());
            self.migrations.published = Some(ledger.clone());
            self.shard.set_ledger(Some(ledger));
        }
    }

    /// The same after streams were told that nobody knows.
    pub(crate) fn publish_ledger_anew(&mut self) {
        self.migrations.published = None;
        self.publish_ledger();
    }
}

fn give(party: &mut Party, now_us: u64, answer: Answer) {
    match answer {
        Answer::Read(Copied { id, from, chunk, .. }) => party.read(now_us, id, from.as_ref(), chunk),
        Answer::Tallied(id, tally, levels) => party.tallied(now_us, id, tally, levels),
        Answer::Regained(id, bytes, levels) => party.regained(now_us, id, bytes, levels),
        Answer::Swept(id, upto, is_last) => party.swept(now_us, id, upto, is_last),
        Answer::Refused(id, why) => party.refused(now_us, id, why),
    }
}
