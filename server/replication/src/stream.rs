//! Stream: records on their way to a backup, several messages ahead of its acks, from the log's own bytes. It begins where
//! the backup has said that the logs agree (rule 8), and goes back there when acks stay away.

use std::collections::VecDeque;

use crate::{
    bug::Bug,
    history::Position,
    member::{Member, Name},
    message::{Body, Record},
    options::Options,
    peer::{Flow, Peer},
    ready::Fetch,
    replica::{Replica, Role},
};

/// Records on their way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    /// The next to send.
    pub next: u64,
    /// Last index and payload bytes of each message that is not acked.
    flight: VecDeque<(u64, usize)>,
    flight_bytes: usize,
    /// The host reads records from this index on.
    pub fetching: Option<u64>,
    /// It could not read them: it is asked again then.
    pub fetch_after_us: u64,
    /// When the last ack came, or the first message without one went.
    pub moved_us: u64,
}

impl Stream {
    /// What comes behind `held`.
    pub fn behind(held: u64, now_us: u64) -> Self {
        Stream { next: held + 1, moved_us: now_us, ..Stream::default() }
    }

    pub fn flight_count(&self) -> usize {
        self.flight.len()
    }

    /// Whether another message may go.
    pub fn has_room(&self, options: &Options) -> bool {
        self.flight.len() < options.flight_count_max && self.flight_bytes < options.flight_bytes_max
    }

    pub fn sent(&mut self, last: u64, bytes: usize, now_us: u64) {
        if self.flight.is_empty() {
            self.moved_us = now_us;
        }
        self.flight.push_back((last, bytes));
        self.flight_bytes += bytes;
        self.next = last + 1;
    }

    pub fn landed(&mut self, index: u64) {
        while let Some((last, bytes)) = self.flight.front()
            && *last <= index
        {
            self.flight_bytes -= bytes;
            self.flight.pop_front();
        }
    }

    /// What is on the way is lost, or so it seems: goes on behind `held`.
    pub fn rewind(&mut self, held: u64, now_us: u64) {
        *self = Stream::behind(held, now_us);
    }

    /// When acks will have been missing for too long.
    pub fn stuck_at_us(&self, options: &Options) -> Option<u64> {
        (!self.flight.is_empty()).then_some(self.moved_us + options.resend_us)
    }
}

impl Replica {
    /// Asks the host for what backups lack, as far as windows allow.
    pub(crate) fn fetch(&mut self) {
        let (now_us, last, begin) = (self.now_us, self.history.last().index, self.history.begin().index);
        let Role::Primary(primary) = &mut self.role else { return };
        let mut dropped = Vec::new();
        for (name, peer) in &mut primary.peers {
            let is_silent = peer.is_silent(now_us, &self.options);
            let Flow::Streaming(stream) = &mut peer.flow else { continue };
            let waits = is_silent || stream.fetching.is_some() || now_us < stream.fetch_after_us;
            if stream.next > last || waits || !stream.has_room(&self.options) {
                continue;
            }
            if stream.next <= begin {
                dropped.push((name.clone(), peer.member.run.clone()));
                continue;
            }
            stream.fetching = Some(stream.next);
            self.ready.fetches.push(Fetch {
                to: name.clone(),
                from_index: stream.next,
                upto_index: last,
                bytes_max: self.options.message_bytes_max,
            });
        }
        for (name, run) in dropped {
            self.begin_snapshot(&name, &run);
        }
    }

    /// Records that a [`Fetch`] asked for: from its first on, without a gap; none if they cannot be read now.
    pub fn fetched(&mut self, now_us: u64, to: &Name, from_index: u64, records: Vec<Record>) {
        self.input(now_us, |replica| replica.stream(to, from_index, records));
    }

    fn stream(&mut self, to: &Name, from_index: u64, records: Vec<Record>) {
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(Peer { flow: Flow::Streaming(stream), .. }) = primary.peers.get_mut(to) else { return };
        if stream.fetching != Some(from_index) {
            return;
        }
        stream.fetching = None;
        let index = from_index - 1;
        let before = self.history.epoch_at(index).map(|epoch| Position { epoch, index });
        let ends = records.first().zip(records.last());
        let (Some(before), Some((first, last))) = (before, ends) else {
            stream.fetch_after_us = self.now_us + self.options.retry_us;
            return;
        };
        if first.position.index != stream.next {
            return;
        }
        let bytes = records.iter().map(|record| record.payload.len()).sum();
        stream.sent(last.position.index, bytes, self.now_us);
        let (epoch, commit) = (primary.epoch, self.commit);
        self.send(to, epoch, Body::Append { before, records, commit });
    }

    /// Records from this index on are needed by replicas that are known; a host may drop them all the same, those then
    /// need a snapshot.
    pub fn needed_from_index(&self) -> u64 {
        let Role::Primary(primary) = &self.role else { return self.commit + 1 };
        let needed = primary.peers.values().map(Peer::needs_from_index);
        needed.min().unwrap_or(u64::MAX).min(self.commit + 1)
    }

    /// Rule 8.
    pub(crate) fn hear_match(&mut self, from: &Member, epoch: u64, nonce: u64, of_epoch: u64) {
        let (mut end, mut begin) = (self.history.end_of_epoch(of_epoch), self.history.begin());
        let Some(peer) = self.peer(from, epoch) else { return };
        if matches!(peer.flow, Flow::Streaming(_)) {
            peer.flow = Flow::Unmatched;
        }
        let Role::Primary(primary) = &self.role else { return };
        if of_epoch == 0 && primary.watch.owes(&from.name) {
            (end, begin.index) = (None, begin.index.max(1));
        }
        if end.is_none() {
            self.begin_snapshot(&from.name, &from.run);
        }
        let Role::Primary(primary) = &self.role else { return };
        let loss_epoch = primary.confirmed.loss_epoch;
        self.send(&from.name, epoch, Body::End { nonce, end, begin, loss_epoch });
    }

    pub(crate) fn hear_matched(&mut self, from: &Member, epoch: u64, at: Position) {
        let holds = self.history.holds(at) || self.options.has(Bug::StreamsUnmatched);
        let (now_us, last) = (self.now_us, self.history.last().index);
        // The log's front may have been dropped since the question.
        let is_gone = at.index < self.history.begin().index;
        let Some(peer) = self.peer(from, epoch) else { return };
        match peer.flow {
            Flow::Unmatched | Flow::Snapshot(_) if is_gone => self.begin_snapshot(&from.name, &from.run),
            Flow::Unmatched | Flow::Snapshot(_) if holds => peer.matched(at.index.min(last), now_us),
            _ => {}
        }
    }

    pub(crate) fn hear_held(&mut self, from: &Member, epoch: u64, durable: u64) {
        let (now_us, last) = (self.now_us, self.history.last().index);
        if let Some(peer) = self.peer(from, epoch) {
            peer.holds(durable.min(last), now_us);
        }
    }

    pub(crate) fn hear_synced(&mut self, from: &Member, epoch: u64, synced: u64) {
        let last = self.history.last().index;
        if let Some(peer) = self.peer(from, epoch) {
            peer.synced = peer.synced.max(synced.min(last));
        }
    }

    pub(crate) fn hear_gap(&mut self, from: &Member, epoch: u64, last: u64) {
        let now_us = self.now_us;
        if let Some(peer) = self.peer(from, epoch)
            && let Flow::Streaming(stream) = &mut peer.flow
            && stream.next > last + 1
        {
            stream.rewind(last.max(peer.held), now_us);
        }
    }
}
