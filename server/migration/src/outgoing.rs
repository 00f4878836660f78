//! Outgoing: the source's side of a hand-over. It asks the target what it holds, and sends what leads on from there. Nothing that
//! was sent is kept: what is lost is read again, and a new primary on either side asks anew.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    Bug, Slot,
    ledger::{Mark, State, Work},
    message::Body,
    party::Party,
    place::{Cursor, Id, Place, Position, Stream},
    ready::{Chunk, Read, Said, Tally},
    record::Record,
    table::Migration,
};

/// Pause before what could not be read is asked for again: what it waits for takes a moment.
const LATER_US: u64 = 5_000;
/// Records that come without one item for so long are no progress. Each byte that is sent looks like some to the leader, and what
/// one hand-over stages is a record to copy for another that goes the other way: such two could feed each other for ever.
const ITEMS_US_MAX: u64 = 60_000_000;

/// What a source's primary knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outgoing {
    /// The target has answered this process.
    is_met: bool,
    /// Attempt that this process has begun.
    stream: Option<Stream>,
    /// Up to where parts were sent.
    next: Option<Place>,
    /// What the target has committed.
    held: Option<Place>,
    /// Parts that were sent and are not known to be held: where they lead, and how large they are.
    flight: VecDeque<(Place, usize)>,
    pub flight_bytes: usize,
    is_reading: bool,
    /// Nothing could be read; not before this time again.
    later_us: u64,
    /// When an answer came last, or everything was asked again.
    moved_us: u64,
    /// When the target last held more items than before.
    items_us: u64,
    /// Since when everything is copied, but for the records that come.
    whole_us: Option<u64>,
    behind: u64,
    pub sent_bytes: u64,
    /// And the levels.
    tally: Option<(Bytes, Bytes)>,
    is_tallying: bool,
    /// The target rests until then.
    pub rested_us: u64,
    offered_us: Option<u64>,
    told_us: Option<u64>,
    pub failed: Option<String>,
}

impl Party {
    /// Goes on with a hand-over that the table has in flight.
    pub(crate) fn drive_outgoing(&mut self, migration: &Migration) {
        let id = migration.id;
        let now_us = self.now_us;
        let sealed = match self.appended.work().get(&id) {
            Some(Work { state: State::Sealed(at), .. }) => Some(*at),
            _ => None,
        };
        let holds = migration.slots.iter().all(|slot| match self.appended.mark(*slot) {
            Mark::Held(of) => {
                self.table.owner(*slot).is_some_and(|owner| owner.shard == self.me && owner.tenure == of)
            }
            Mark::Sealed { id: of, .. } => of == id,
            _ => false,
        });
        let resend_us = self.options.resend_us;
        let fresh = || Outgoing { moved_us: now_us, items_us: now_us, ..Outgoing::default() };
        let outgoing = self.outgoing.entry(id).or_insert_with(fresh);
        if !holds {
            outgoing.failed = Some("the source does not hold the slots as the table says".into());
            return;
        }
        let is_stuck = now_us >= outgoing.moved_us + resend_us;
        let is_due = outgoing.offered_us.is_none_or(|offered_us| now_us >= offered_us + resend_us);
        if outgoing.offered_us.is_none() || (is_stuck && is_due) {
            outgoing.offered_us = Some(now_us);
            // An answer, if there is one, says from where.
            self.send(id, migration.target, Body::Offer);
        }
        self.read_on(migration, sealed);
        self.seal_or_tell(migration, sealed);
    }

    fn read_on(&mut self, migration: &Migration, sealed: Option<Position>) {
        let uncommitted = self.options.has(Bug::SealUncommitted);
        let (commit, last) = (self.commit, self.appended.last_index());
        let upto_index = if uncommitted { commit.max(last) } else { commit };
        let options = &self.options;
        let Some(outgoing) = self.outgoing.get_mut(&migration.id) else { return };
        let is_target_ready = self.now_us >= outgoing.rested_us;
        let allowed = sealed.is_some() || is_target_ready && self.pace.allows(self.now_us);
        let is_shared = outgoing.rested_us > 0 || self.pace.is_shared(self.now_us, options);
        // What is written to the slots would outrun small parts, and leave no room in them for items.
        let is_far = outgoing.behind > options.part_bytes_max as u64;
        let bytes_max =
            if is_shared && !is_far { options.shared_part_bytes_max } else { options.part_bytes_max };
        let is_full = outgoing.flight_bytes >= options.flight_bytes_max
            || outgoing.flight.len() >= options.flight_count_max;
        let is_later = self.now_us < outgoing.later_us;
        let waits = !outgoing.is_met || outgoing.is_reading || is_full || is_later;
        let goal = sealed.map_or(upto_index, |at| at.index.min(upto_index));
        let lacks_items = outgoing.next.as_ref().is_none_or(|next| next.cursor < Cursor::End);
        let lacks_records = outgoing.next.as_ref().is_some_and(|next| next.at.index < goal);
        if waits || !(lacks_items && allowed || lacks_records) {
            return;
        }
        outgoing.is_reading = true;
        self.ready.reads.push(Read {
            id: migration.id,
            slots: migration.slots.clone(),
            from: outgoing.next.clone(),
            upto_index,
            with_items: allowed,
            bytes_max: bytes_max.min(options.part_bytes_max),
        });
    }

    fn seal_or_tell(&mut self, migration: &Migration, sealed: Option<Position>) {
        let (id, now_us) = (migration.id, self.now_us);
        let early = self.options.has(Bug::SealUncommitted);
        let settled = if early { u64::MAX } else { self.settled };
        let hears_leader = self.hears_leader();
        let Some(outgoing) = self.outgoing.get_mut(&id) else { return };
        let whole = outgoing.held.as_ref().filter(|held| held.cursor == Cursor::End);
        let Some(held) = whole else {
            outgoing.whole_us = None;
            return;
        };
        let whole_us = *outgoing.whole_us.get_or_insert(now_us);
        let Some(at) = sealed else {
            let doubled = ((now_us - whole_us) / self.options.patience_us.max(1)).min(32);
            let lag_max = self.options.seal_lag_bytes.saturating_mul(1 << doubled);
            let lag = outgoing.behind.saturating_add(outgoing.flight_bytes as u64);
            if lag <= lag_max && hears_leader && !self.asked.contains(&id) {
                let version = self.table.version;
                self.append(Record::Seal { id, version, slots: migration.slots.clone() });
            }
            return;
        };
        if settled < at.index || held.at.index < at.index {
            return;
        }
        let stream = held.stream;
        match &outgoing.tally {
            None if !outgoing.is_tallying => {
                outgoing.is_tallying = true;
                self.ready.tallies.push(Tally { id, slots: migration.slots.clone() });
            }
            Some(known) => {
                let (tally, levels) = known.clone();
                let due = outgoing.told_us.is_none_or(|told_us| now_us >= told_us + self.options.resend_us);
                if due {
                    outgoing.told_us = Some(now_us);
                    self.send(id, migration.target, Body::Sealed { stream, at, tally, levels });
                }
            }
            None => {}
        }
    }

    fn begun_stream(&self) -> Stream {
        Stream { epoch: self.epoch, number: self.stream_count + 1 }
    }

    /// What a [`Read`] was answered with.
    pub fn read(&mut self, now_us: u64, id: Id, from: Option<&Place>, chunk: Chunk) {
        self.input(now_us, |party| party.send_part(id, from, chunk));
    }

    fn send_part(&mut self, id: Id, from: Option<&Place>, chunk: Chunk) {
        let begun = self.begun_stream();
        let Some(target) = self.table.in_flight(id).map(|migration| migration.target) else { return };
        let Some(outgoing) = self.outgoing.get_mut(&id) else { return };
        if !outgoing.is_reading || outgoing.next.as_ref() != from {
            outgoing.is_reading = false;
            return;
        }
        outgoing.is_reading = false;
        let (cursor, at, bytes, item_bytes, behind) = match chunk {
            Chunk::Part { cursor, at, bytes, item_bytes, behind } => (cursor, at, bytes, item_bytes, behind),
            Chunk::Later => {
                outgoing.later_us = self.now_us + LATER_US;
                return;
            }
            Chunk::Gone => {
                outgoing.restart(begun);
                self.stream_count += 1;
                return;
            }
        };
        let stream = match from {
            Some(from) => from.stream,
            None if outgoing.stream.is_none() => {
                self.stream_count += 1;
                *outgoing.stream.insert(begun)
            }
            None => outgoing.stream.unwrap_or(begun),
        };
        let to = Place { stream, cursor, at };
        outgoing.behind = behind;
        if from.is_some_and(|from| !from.precedes(&to)) {
            outgoing.later_us = self.now_us + LATER_US;
            return;
        }
        outgoing.flight.push_back((to.clone(), bytes.len()));
        outgoing.flight_bytes += bytes.len();
        outgoing.sent_bytes += bytes.len() as u64;
        outgoing.next = Some(to.clone());
        self.pace.spend(item_bytes);
        self.send(id, target, Body::Part { from: from.cloned(), to, bytes });
    }

    /// The target says for how long it rests.
    pub(crate) fn hear_rest(&mut self, id: Id, rest_us: u64) {
        let now_us = self.now_us;
        if let Some(outgoing) = self.outgoing.get_mut(&id) {
            // Whatever it says, it says so again before long.
            outgoing.rested_us = if rest_us > 0 { now_us + rest_us.min(self.options.report_us) } else { 0 };
        }
    }

    /// The target says what it holds.
    pub(crate) fn hear_holds(&mut self, id: Id, next: Option<Place>, held: Option<Place>) {
        let (now_us, resend_us) = (self.now_us, self.options.resend_us);
        let Some(outgoing) = self.outgoing.get_mut(&id) else { return };
        let stands = |outgoing: &Outgoing, place: &Option<Place>| {
            *place == outgoing.next || outgoing.flight.iter().any(|(to, _)| Some(to) == place.as_ref())
        };
        let fits = stands(outgoing, &next) || (next.is_some() && next == outgoing.held);
        if fits {
            let count = outgoing.flight.iter().position(|(to, _)| Some(to) == held.as_ref());
            for _ in 0..count.map_or(0, |at| at + 1) {
                if let Some((_, bytes)) = outgoing.flight.pop_front() {
                    outgoing.flight_bytes -= bytes;
                }
                outgoing.moved_us = now_us;
            }
            if count.is_some() || held == outgoing.next {
                outgoing.hold(now_us, held.clone());
            }
        }
        // It stands elsewhere. While parts are on their way an answer may be an old one.
        let is_late = now_us < outgoing.moved_us + resend_us / 2 && !outgoing.flight.is_empty();
        let is_lost = fits && next != outgoing.next && now_us >= outgoing.moved_us + resend_us / 2;
        if !outgoing.is_met || (!fits && !is_late) || is_lost {
            outgoing.is_met = true;
            outgoing.moved_us = now_us;
            outgoing.flight.clear();
            outgoing.flight_bytes = 0;
            outgoing.is_reading = false;
            let stream = outgoing.stream;
            let is_older = |place: &Place| stream.is_some_and(|stream| place.stream < stream);
            outgoing.next = next.filter(|place| !is_older(place));
            let held = held.filter(|_| outgoing.next.is_some());
            outgoing.hold(now_us, held);
        }
    }

    /// What slots amount to, as of what is applied, and what the shard's counters stand at.
    pub fn tallied(&mut self, now_us: u64, id: Id, tally: Bytes, levels: Bytes) {
        self.input(now_us, |party| match party.outgoing.get_mut(&id) {
            Some(outgoing) => {
                outgoing.is_tallying = false;
                outgoing.tally = Some((tally, levels));
                outgoing.told_us = None;
            }
            None => party.compare(id, &tally),
        });
    }

    /// What the source tells the leader.
    pub(crate) fn outgoing_said(&self, id: Id) -> Option<Said> {
        let outgoing = self.outgoing.get(&id)?;
        if let Some(why) = &outgoing.failed {
            return Some(Said::Failed(why.clone()));
        }
        let is_sealed = self
            .committed
            .work()
            .get(&id)
            .is_some_and(|work| matches!(&work.state, State::Sealed(at) if at.index <= self.settled));
        Some(match is_sealed {
            true => Said::Sealed,
            false => Said::Copying { sent_bytes: outgoing.sent_bytes, behind_bytes: outgoing.behind },
        })
    }

    /// Which slots a hand-over has sealed here.
    pub(crate) fn slots_of(&self, id: Id) -> Vec<Slot> {
        self.appended.work().get(&id).map(|work| work.slots.clone()).unwrap_or_default()
    }
}

impl Outgoing {
    /// The target has committed this. It fails what copies records and nothing else.
    fn hold(&mut self, now_us: u64, held: Option<Place>) {
        let [before, now] = [&self.held, &held].map(|place| place.as_ref().map(|place| &place.cursor));
        if before != now || now == Some(&Cursor::End) {
            self.items_us = now_us;
        } else if self.held != held && now_us >= self.items_us + ITEMS_US_MAX {
            self.failed = Some("records came and came, and left no room for items".into());
        }
        self.held = held;
    }

    /// Records that the target lacks begin here.
    pub fn needs_from_index(&self) -> u64 {
        self.held.as_ref().or(self.next.as_ref()).map_or(u64::MAX, |place| place.at.index + 1)
    }

    /// Another stream, from the start. What the target holds is of no use any more.
    fn restart(&mut self, stream: Stream) {
        (self.next, self.held, self.whole_us) = (None, None, None);
        self.flight.clear();
        self.flight_bytes = 0;
        self.stream = Some(stream);
    }
}
