//! How the embedded coordinator misbehaves on demand.

use std::{collections::VecDeque, fmt, sync::Arc};

use bytes::Bytes;
use slotkv_proto::seam::Chance;
use tokio::time::Instant;

use super::{Shared, server::Server};
use crate::coordinator::SessionId;

/// The switches. Unknown sessions are ignored.
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Shared>,
}

/// What becomes of a write whose outcome its author does not learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFate {
    /// It is applied; the answer gets lost.
    Applied,
    /// It gets lost before the coordinator sees it.
    Lost,
}

/// How often misbehaviour has met somebody, whatever asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Writes whose outcome stayed unknown.
    pub unknown: u64,
    /// Writes that met a broken connection.
    pub broken: u64,
    /// Hints that got lost.
    pub lost_hints: u64,
    /// Reads that were answered with what had been there before.
    pub old_reads: u64,
}

/// Random misbehaviour; each rate is out of 1000.
#[derive(Clone)]
pub struct Misbehaviour {
    /// Where the dice come from.
    pub chance: Arc<dyn Chance>,
    /// Writes whose outcome stays unknown; half of them are applied.
    pub unknown: u32,
    /// Writes that meet a broken connection and are not sent.
    pub broken: u32,
    /// Hints that get lost.
    pub lost_hints: u32,
}

impl fmt::Debug for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Misbehaviour { unknown, broken, lost_hints, .. } = self;
        write!(f, "Misbehaviour {{ unknown: {unknown}, broken: {broken}, lost_hints: {lost_hints} }}")
    }
}

impl Faults {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Sessions that the coordinator counts, oldest first.
    pub fn sessions(&self) -> Vec<SessionId> {
        self.change(|server, now| {
            server.tick(now);
            server.alive()
        })
    }

    /// Ends a session; its owner learns of it at once, or when it is back in touch.
    pub fn expire(&self, id: SessionId) {
        self.change(|server, now| server.expire(id, now));
    }

    /// Ends a session as ZooKeeper may: its owner goes on believing in it, and can read, until it writes or syncs.
    pub fn expire_unnoticed(&self, id: SessionId) {
        self.change(|server, now| server.expire_unnoticed(id, now));
    }

    /// Breaks a session's connection for a moment; hints of that time are lost.
    pub fn disconnect(&self, id: SessionId) {
        self.change(|server, now| server.disconnect(id, now));
    }

    /// Cuts a session's owner off until [`heal`](Self::heal).
    pub fn partition(&self, id: SessionId) {
        self.change(|server, now| server.partition(id, true, now));
    }

    /// Ends a partition. The owner finds its session again, or finds it expired.
    pub fn heal(&self, id: SessionId) {
        self.change(|server, now| server.partition(id, false, now));
    }

    /// Takes the whole coordinator away until [`start`](Self::start). No session expires meanwhile, but their owners may
    /// give them up.
    pub fn stop(&self) {
        self.shared.running.send_replace(false);
        self.change(|server, now| server.stop(true, now));
    }

    /// Ends [`stop`](Self::stop).
    pub fn start(&self) {
        self.change(|server, now| server.stop(false, now));
        self.shared.running.send_replace(true);
    }

    /// The next write of this session, or of any, ends in an unknown outcome. Several calls queue up.
    pub fn next_write(&self, id: Option<SessionId>, fate: WriteFate) {
        self.change(|server, _| server.plan.fates.push_back((id, fate)));
    }

    /// Loses so many of the next hints, silently.
    pub fn lose_hints(&self, count: u64) {
        self.change(|server, _| server.plan.lost_hints = count);
    }

    /// While on, every session goes on reading what is there now until it writes or syncs.
    pub fn old_reads(&self, on: bool) {
        self.change(|server, _| server.old_reads(on));
    }

    /// Misbehaves at random from now on; `None` ends it.
    pub fn misbehave(&self, misbehaviour: Option<Misbehaviour>) {
        self.change(|server, _| server.plan.misbehaviour = misbehaviour);
    }

    /// How often anything of this has met somebody.
    pub fn met(&self) -> Met {
        self.change(|server, _| server.plan.met)
    }

    /// What a node holds now, whoever could learn of it.
    pub fn look(&self, path: &str) -> Option<Bytes> {
        self.change(|server, _| server.look(path))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Server, Instant) -> T) -> T {
        change(&mut self.shared.server.lock(), Instant::now())
    }
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(super) struct Plan {
    fates: VecDeque<(Option<SessionId>, WriteFate)>,
    lost_hints: u64,
    pub old_reads: bool,
    pub met: Met,
    misbehaviour: Option<Misbehaviour>,
}

impl Plan {
    pub fn write_fate(&mut self, id: SessionId) -> Option<WriteFate> {
        let fate = self.next_fate(id);
        self.met.unknown += u64::from(fate.is_some());
        fate
    }

    fn next_fate(&mut self, id: SessionId) -> Option<WriteFate> {
        if let Some(at) = self.fates.iter().position(|(only, _)| only.is_none_or(|only| only == id)) {
            return self.fates.remove(at).map(|(_, fate)| fate);
        }
        let Misbehaviour { chance, unknown, .. } = self.misbehaviour.as_ref()?;
        if chance.below(1000) >= u64::from(*unknown) {
            return None;
        }
        Some(if chance.below(2) == 0 { WriteFate::Applied } else { WriteFate::Lost })
    }

    pub fn breaks_now(&mut self) -> bool {
        let breaks =
            self.misbehaviour.as_ref().is_some_and(|how| how.chance.below(1000) < u64::from(how.broken));
        self.met.broken += u64::from(breaks);
        breaks
    }

    pub fn loses_hint(&mut self) -> bool {
        let planned = self.lost_hints > 0;
        self.lost_hints -= u64::from(planned);
        let loses = planned
            || self
                .misbehaviour
                .as_ref()
                .is_some_and(|how| how.chance.below(1000) < u64::from(how.lost_hints));
        self.met.lost_hints += u64::from(loses);
        loses
    }
}
