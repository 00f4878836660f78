//! Snapshot: how a replica that cannot be joined to the log gets what the log began behind. Rule 8: it joins the log
//! exactly, for it says behind which record it stands, and the log goes on from there.
//!
//! The host reads the parts one after the other from its engine and never twice, so parts that have not been taken are
//! kept here, within [`Options::snapshot_bytes_max`]; lost ones are sent again from there. The receiver writes the parts
//! beside its data, in order, and answers for what is written; so a slow disk slows the sender. Whatever else goes
//! wrong (another process at either end, another epoch, an engine that cannot be read) begins anew, with a new number.

use std::collections::VecDeque;

use crate::{
    backup::Follow,
    bug::Bug,
    history::Position,
    member::{Member, Name, Run},
    message::{Body, Part},
    options::Options,
    peer::{Flow, Peer},
    ready::{Chunk, Load, Write},
    replica::{Replica, Role},
    writes::Effect,
};

/// A snapshot on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub id: u64,
    /// The process that takes it: another has nothing of it.
    to: Run,
    /// Behind which record it stands, once its first part is here.
    pub at: Option<Position>,
    /// Parts that were read.
    read: u64,
    /// Parts that are sent and not taken.
    flight: VecDeque<Part>,
    flight_bytes: usize,
    /// The host reads the next part.
    loading: bool,
    /// It could not begin one: it is asked again then.
    pub load_after_us: u64,
    /// All parts were read.
    is_whole: bool,
    /// When a part was taken last, or the first without an answer sent, or all sent again.
    moved_us: u64,
    /// The receiver says that it has nothing of it.
    is_lost: bool,
}

impl Sending {
    fn new(id: u64, to: Run, now_us: u64) -> Self {
        Self {
            id,
            to,
            at: None,
            read: 0,
            flight: VecDeque::new(),
            flight_bytes: 0,
            loading: false,
            load_after_us: 0,
            is_whole: false,
            moved_us: now_us,
            is_lost: false,
        }
    }

    fn may_load(&self, now_us: u64, options: &Options) -> bool {
        !self.loading
            && !self.is_whole
            && self.load_after_us <= now_us
            && self.flight_bytes < options.snapshot_bytes_max
            && self.flight.len() < options.flight_count_max
    }

    /// When answers will have been missing for too long.
    pub fn stuck_at_us(&self, options: &Options) -> Option<u64> {
        (!self.flight.is_empty()).then_some(self.moved_us + options.resend_us)
    }

    fn is_done(&self) -> bool {
        self.is_whole && self.flight.is_empty()
    }

    pub fn flight_count(&self) -> usize {
        self.flight.len()
    }
}

/// A snapshot on its way in.
#[derive(Clone, Debug)]
pub(crate) struct Receiving {
    id: u64,
    at: Position,
    /// It must not stand before this record.
    from_index: u64,
    /// Parts that were taken, and of these, written.
    taken: u64,
    written: u64,
    pub heard_us: u64,
}

/// The sender.
impl Replica {
    /// A replica needs a snapshot. One that is on its way to this very process goes on; one that it has taken whole was of no
    /// use, as when it could not be installed.
    pub(crate) fn begin_snapshot(&mut self, to: &Name, run: &Run) {
        let now_us = self.now_us;
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(peer) = primary.peers.get_mut(to) else { return };
        if let Flow::Snapshot(sending) = &peer.flow
            && sending.to == *run
            && !sending.is_done()
        {
            return;
        }
        self.last_snapshot += 1;
        self.open_snapshots.push(self.last_snapshot);
        peer.flow = Flow::Snapshot(Sending::new(self.last_snapshot, run.clone(), now_us));
    }

    fn begin_snapshot_anew(&mut self, to: &Name, load_after_us: u64) {
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(peer) = primary.peers.get_mut(to) else { return };
        let Flow::Snapshot(sending) = std::mem::replace(&mut peer.flow, Flow::Unmatched) else { return };
        self.begin_snapshot(to, &sending.to);
        if let Some(sending) = self.sending(to) {
            sending.load_after_us = load_after_us;
        }
    }

    fn sending(&mut self, to: &Name) -> Option<&mut Sending> {
        let Role::Primary(primary) = &mut self.role else { return None };
        match &mut primary.peers.get_mut(to)?.flow {
            Flow::Snapshot(sending) => Some(sending),
            _ => None,
        }
    }

    /// Asks the host for parts, as far as bounds allow. A snapshot from before the log's present front cannot be joined any
    /// more.
    pub(crate) fn load(&mut self) {
        let (now_us, begin) = (self.now_us, self.history.begin().index);
        let Role::Primary(primary) = &self.role else { return };
        let is_stale = |peer: &&Peer| match &peer.flow {
            Flow::Snapshot(sending) => sending.at.is_some_and(|at| at.index < begin),
            _ => false,
        };
        let stale: Vec<Name> =
            primary.peers.values().filter(is_stale).map(|peer| peer.member.name.clone()).collect();
        for name in stale {
            self.begin_snapshot_anew(&name, now_us);
        }
        let Role::Primary(primary) = &mut self.role else { return };
        for (name, peer) in &mut primary.peers {
            if let Flow::Snapshot(sending) = &mut peer.flow
                && sending.may_load(now_us, &self.options)
            {
                sending.loading = true;
                let bytes_max = self.options.message_bytes_max;
                self.ready.loads.push(Load { snapshot: sending.id, to: name.clone(), bytes_max });
            }
        }
    }

    /// The part that a [`Load`] asked for; `None` if it cannot be read.
    pub fn loaded(&mut self, now_us: u64, snapshot: u64, chunk: Option<Chunk>) {
        self.input(now_us, |replica| replica.send_part(snapshot, chunk));
    }

    fn send_part(&mut self, snapshot: u64, chunk: Option<Chunk>) {
        let (now_us, commit) = (self.now_us, self.commit);
        let Role::Primary(primary) = &self.role else { return };
        let is_it = |flow: &Flow| matches!(flow, Flow::Snapshot(sending) if sending.id == snapshot);
        let Some(peer) = primary.peers.values().find(|peer| is_it(&peer.flow)) else { return };
        let (to, epoch) = (peer.member.name.clone(), primary.epoch);
        let at = chunk.as_ref().and_then(|chunk| {
            let index = chunk.at_index;
            self.history.epoch_at(index).map(|epoch| Position { epoch, index })
        });
        if at.is_some_and(|at| at.index > commit) {
            return self.halt(format!("a snapshot holds {at:?}, which is not committed"));
        }
        let retry_us = now_us + self.options.retry_us;
        let Some(sending) = self.sending(&to) else { return };
        sending.loading = false;
        let (Some(chunk), Some(at)) = (chunk, at.filter(|at| sending.at.is_none_or(|known| known == *at)))
        else {
            return self.begin_snapshot_anew(&to, retry_us);
        };
        let part = Part { snapshot, at, number: sending.read, is_last: chunk.is_last, bytes: chunk.bytes };
        if sending.flight.is_empty() {
            sending.moved_us = now_us;
        }
        sending.at = Some(at);
        sending.read += 1;
        sending.is_whole = part.is_last;
        sending.flight_bytes += part.bytes.len();
        sending.flight.push_back(part.clone());
        self.send(&to, epoch, Body::Part(part));
    }

    pub(crate) fn hear_taken(&mut self, from: &Member, epoch: u64, snapshot: u64, count: u64) {
        let now_us = self.now_us;
        let Some(peer) = self.peer(from, epoch) else { return };
        let Flow::Snapshot(sending) = &mut peer.flow else { return };
        if sending.id != snapshot {
            return;
        }
        while let Some(part) = sending.flight.front()
            && part.number < count
        {
            sending.flight_bytes -= part.bytes.len();
            sending.flight.pop_front();
            (sending.moved_us, sending.is_lost) = (now_us, false);
        }
        // Said of a part that overtook the first, this is nothing new.
        sending.is_lost |= count == 0 && sending.flight.front().is_some_and(|part| part.number > 0);
    }

    /// No answer for too long: the same parts again, or all from the beginning if those before them are lost.
    pub(crate) fn resend_parts(&mut self) {
        let now_us = self.now_us;
        let Role::Primary(primary) = &mut self.role else { return };
        let epoch = primary.epoch;
        let mut lost = Vec::new();
        let mut again = Vec::new();
        for (name, peer) in &mut primary.peers {
            let silent = peer.is_silent(now_us, &self.options);
            let Flow::Snapshot(sending) = &mut peer.flow else { continue };
            if sending.stuck_at_us(&self.options).is_none_or(|at_us| at_us > now_us) {
                continue;
            }
            sending.moved_us = now_us;
            if sending.is_lost {
                lost.push(name.clone());
            } else if !silent {
                again.extend(sending.flight.iter().map(|part| (name.clone(), part.clone())));
            }
        }
        for name in lost {
            self.begin_snapshot_anew(&name, now_us);
        }
        for (name, part) in again {
            self.send(&name, epoch, Body::Part(part));
        }
    }

    /// Whatever ended a snapshot, the host need not keep it open.
    pub(crate) fn close_snapshots(&mut self) {
        if self.open_snapshots.is_empty() {
            return;
        }
        let is_open = |id: u64| match &self.role {
            Role::Primary(primary) => primary
                .peers
                .values()
                .any(|peer| matches!(&peer.flow, Flow::Snapshot(sending) if sending.id == id)),
            Role::Backup(_) => false,
        };
        let (open, closed) = self.open_snapshots.iter().partition(|id| is_open(**id));
        self.open_snapshots = open;
        self.ready.loads.retain(|load| !closed.contains(&load.snapshot));
        self.ready.closes.extend(closed);
    }
}

/// The receiver.
impl Replica {
    pub(crate) fn hear_part(&mut self, from: &Member, epoch: u64, part: Part) {
        if !self.obey(from, epoch) {
            return;
        }
        let Some(taken) = self.take_part(&part, epoch) else { return };
        self.send(&from.name, epoch, Body::Taken { snapshot: part.snapshot, count: taken });
    }

    /// Takes a part if it is the next. Returns what to answer: how many are written.
    fn take_part(&mut self, part: &Part, epoch: u64) -> Option<u64> {
        let (now_us, commit, last) = (self.now_us, self.commit, self.history.last());
        let (may_queue, all_is_written) = (self.may_queue_write(), self.all_is_written());
        let mixes = self.options.has(Bug::MixesSnapshots);
        let Role::Backup(backup) = &mut self.role else { return None };
        let receiving = match &mut backup.flow {
            Follow::Receiving(receiving) if receiving.id == part.snapshot || mixes => receiving,
            Follow::Installing(receiving) if receiving.id == part.snapshot => return Some(receiving.written),
            flow => {
                let from_index = match flow {
                    // The log which it must join begins there; where the logs part lies before that.
                    Follow::AwaitingSnapshot { from_index, .. } => commit.max(*from_index),
                    // The primary has dropped what comes next in the stream.
                    Follow::Streaming => last.index + 1,
                    Follow::Receiving(earlier) if earlier.id < part.snapshot => earlier.from_index,
                    _ => return Some(0),
                };
                let is_wanted = part.number == 0 && part.at.index >= from_index && part.at.epoch <= epoch;
                if !is_wanted || !all_is_written {
                    return Some(0);
                }
                let (id, at) = (part.snapshot, part.at);
                *flow = Follow::Receiving(Receiving {
                    id,
                    at,
                    from_index,
                    taken: 0,
                    written: 0,
                    heard_us: now_us,
                });
                let Follow::Receiving(receiving) = flow else { return None };
                receiving
            }
        };
        if part.number != receiving.taken || !may_queue {
            return Some(receiving.written);
        }
        receiving.taken += 1;
        receiving.heard_us = now_us;
        let (snapshot, at) = (receiving.id, receiving.at);
        if part.is_last {
            backup.flow = Follow::Installing(receiving.clone());
        }
        self.write(Write::Part(part.clone()), Effect::Part { snapshot, count: part.number + 1 });
        if part.is_last {
            self.write(Write::Install(at), Effect::Installed(at));
        }
        None
    }

    /// A part is written.
    pub(crate) fn part_written(&mut self, snapshot: u64, count: u64) {
        let epoch = self.vow.made.epoch;
        let Role::Backup(backup) = &mut self.role else { return };
        let (Follow::Receiving(receiving) | Follow::Installing(receiving)) = &mut backup.flow else { return };
        if let Some(primary) = &backup.primary
            && receiving.id == snapshot
        {
            receiving.written = count;
            let primary = primary.clone();
            self.send(&primary, epoch, Body::Taken { snapshot, count });
        }
    }

    /// Rule 8: a snapshot joins the log exactly, for the log begins anew behind it, and is matched again.
    pub(crate) fn installed(&mut self, at: Position) {
        self.forget_health();
        self.history = crate::History::new(at);
        // It was of the log before.
        self.unsynced.clear();
        self.commit = self.commit.max(at.index);
        if let Role::Backup(backup) = &mut self.role {
            backup.flow = Follow::Idle;
        }
    }
}
