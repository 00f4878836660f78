//! Peer: what a primary knows of another replica in its epoch.

use crate::{
    check::Health, health::Doubt, member::Member, options::Options, snapshot::Sending, stream::Stream,
};

/// Another replica.
///
/// Its data and process are those that answered the latest heartbeat: answers are ordered by the heartbeats' sequence, so a
/// late message of a process that is gone, or of data that was wiped, changes nothing.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub member: Member,
    /// Up to here its log was matched in this epoch and is on its disk. This stays true over its restarts.
    pub held: u64,
    /// Up to here that outlives an unclean stop there.
    pub synced: u64,
    /// What it last answered a heartbeat with.
    pub stamp: u64,
    /// How its data is, as it last said.
    pub health: Health,
    pub doubt: Doubt,
    pub flow: Flow,
    /// When it was last heard.
    pub heard_us: u64,
    /// The latest heartbeat that it answered.
    pub answered: u64,
    /// Its grant counts until then.
    pub lease_until_us: u64,
    /// When it last held everything that was in the log at the heartbeat before.
    pub caught_up_us: u64,
    /// Since when it has done so without a break.
    pub steady_since_us: Option<u64>,
    /// The log's end at the last heartbeat.
    pub mark: u64,
}

/// How records go to a peer.
#[derive(Clone, Debug)]
pub(crate) enum Flow {
    /// Where its log parts from ours is not known: it asks.
    Unmatched,
    /// One after the other.
    Streaming(Stream),
    /// A snapshot goes first.
    Snapshot(Sending),
}

impl Peer {
    pub fn new(member: Member, now_us: u64) -> Self {
        Self {
            member,
            held: 0,
            synced: 0,
            stamp: 0,
            health: Health::default(),
            doubt: Doubt::Free,
            flow: Flow::Unmatched,
            heard_us: now_us,
            answered: 0,
            lease_until_us: 0,
            caught_up_us: now_us,
            steady_since_us: None,
            mark: 0,
        }
    }

    /// It answered a heartbeat. Rule 5: the lease counts from when that was sent.
    pub fn answered(&mut self, from: &Member, sequence: u64, now_us: u64) {
        if sequence > self.answered {
            if self.member.inc != from.inc {
                *self = Peer { heard_us: now_us, ..Peer::new(from.clone(), now_us) };
            }
            self.member.run = from.run.clone();
            self.answered = sequence;
        }
        if self.member.inc == from.inc {
            self.heard_us = now_us;
        }
    }

    /// Rule 8: its log is ours up to `index` and ends there.
    pub fn matched(&mut self, index: u64, now_us: u64) {
        self.held = self.held.max(index);
        self.flow = Flow::Streaming(Stream::behind(index, now_us));
    }

    /// It has everything up to `index` on its disk.
    pub fn holds(&mut self, index: u64, now_us: u64) {
        if index > self.held {
            self.held = index;
            if let Flow::Streaming(stream) = &mut self.flow {
                stream.moved_us = now_us;
            }
        }
        if let Flow::Streaming(stream) = &mut self.flow {
            stream.landed(index);
        }
    }

    /// At each heartbeat: has it reached what was the log's end at the one before?
    pub fn measure(&mut self, last_index: u64, now_us: u64) {
        if matches!(self.flow, Flow::Streaming(_)) && self.held >= self.mark {
            self.caught_up_us = now_us;
            self.steady_since_us.get_or_insert(now_us);
        } else {
            self.steady_since_us = None;
        }
        self.mark = last_index;
    }

    /// Rule 4's reasons to remove it: from then on, unless it is heard and keeps up.
    pub fn lost_at_us(&self, options: &Options) -> u64 {
        (self.heard_us + options.silence_us).min(self.caught_up_us + options.lag_us)
    }

    pub fn flight_count(&self) -> usize {
        match &self.flow {
            Flow::Unmatched => 0,
            Flow::Streaming(stream) => stream.flight_count(),
            Flow::Snapshot(sending) => sending.flight_count(),
        }
    }

    /// A primary that has just been elected goes on without those that do not answer: the one before it, most likely.
    pub fn absent_at_us(&self, options: &Options) -> Option<u64> {
        (self.answered == 0).then_some(self.heard_us + options.absent_us)
    }

    /// Nothing large is sent to who has not been heard for so long.
    pub fn is_silent(&self, now_us: u64, options: &Options) -> bool {
        now_us >= self.heard_us + options.silence_us
    }

    /// Records from this index on may be needed to go on.
    pub fn needs_from_index(&self) -> u64 {
        let at = match &self.flow {
            Flow::Snapshot(sending) => sending.at,
            _ => None,
        };
        at.map_or(self.held, |at| at.index) + 1
    }

    /// Who does not count and is silent is forgotten.
    pub fn forgotten_at_us(&self, options: &Options) -> u64 {
        self.heard_us + 4 * options.silence_us
    }

    /// Whether it keeps up, as far as that is known.
    pub fn is_close(&self, now_us: u64, options: &Options) -> bool {
        matches!(self.flow, Flow::Streaming(_))
            && self.held >= self.mark
            && now_us.saturating_sub(self.heard_us) < options.silence_us / 2
    }
}
