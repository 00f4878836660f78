//! Deadline: when time alone will make a replica do something. Everything else happens on inputs, so between them a host
//! may sleep until then.
//!
//! An instant of the first kind is *due*: from then on a tick does something, which moves it. One of the second kind is
//! *crossed*: from then on something is looked at differently, once, and if nothing can be done about it the instant stays
//! where it is; so it counts only while it lies ahead. Every input settles at its own time, so none is crossed unseen.

use crate::{
    backup::Backup,
    desk::Kind,
    election::Election,
    peer::Flow,
    primary::Primary,
    replica::{Replica, Role},
};

/// The earliest of some instants.
struct Earliest {
    now_us: u64,
    at_us: Option<u64>,
}

impl Earliest {
    fn due(&mut self, at_us: u64) {
        self.at_us = Some(self.at_us.map_or(at_us, |known| known.min(at_us)));
    }

    fn crossed(&mut self, at_us: u64) {
        if at_us > self.now_us {
            self.due(at_us);
        }
    }
}

impl Replica {
    /// The instant at which [`Replica::tick`] has something to do, if no input comes before; in the past, if it has now.
    /// `None`: nothing will come of time alone. To be asked for again after every input.
    pub fn next_deadline_us(&self) -> Option<u64> {
        if self.halted {
            return None;
        }
        let mut earliest = Earliest { now_us: self.now_us, at_us: None };
        match &self.role {
            Role::Backup(backup) => self.backup_deadlines(backup, &mut earliest),
            Role::Primary(primary) => self.primary_deadlines(primary, &mut earliest),
        }
        if let Some(until_us) = self.ordered_until_us {
            earliest.due(until_us);
        }
        self.asks_again(Kind::Read, self.options.reread_us, &mut earliest);
        earliest.at_us
    }

    /// A question that is open is the host's to answer.
    fn asks_again(&self, kind: Kind, interval_us: u64, earliest: &mut Earliest) {
        if !self.desk.is_open(kind) {
            earliest.due(self.desk.due_us(kind, interval_us));
        }
    }

    fn backup_deadlines(&self, backup: &Backup, earliest: &mut Earliest) {
        let retry_us = self.options.retry_us;
        if let Some(at_us) = backup.unheard_at_us(&self.options) {
            earliest.crossed(at_us);
        }
        match &backup.election {
            Election::Off if backup.office.is_none() => {
                earliest.due(backup.patience_us.max(self.bound_until_us()));
            }
            Election::Looking => self.asks_again(Kind::Read, retry_us, earliest),
            Election::Canvassing { until_us, .. } => earliest.due(*until_us),
            Election::Standing(stand) => {
                if stand.is_taking() {
                    self.asks_again(Kind::CompareAndSet, retry_us, earliest);
                }
                self.asks_again(Kind::Read, 4 * retry_us, earliest);
                let kind = if stand.has_stood() { Kind::Candidates } else { Kind::Stand };
                self.asks_again(kind, retry_us, earliest);
                if self.ordered_until_us.is_some() {
                    earliest.crossed(stand.since_us + self.options.pass_over_us);
                }
                if let Some(at_us) = stand.pass_over_at_us(&self.options) {
                    earliest.due(at_us);
                }
            }
            Election::Off | Election::Promising { .. } => {}
        }
    }

    fn primary_deadlines(&self, primary: &Primary, earliest: &mut Earliest) {
        let options = &self.options;
        earliest.due(primary.heartbeat_due_us);
        if primary.awaits_outcome() {
            self.asks_again(Kind::CompareAndSet, options.retry_us, earliest);
        }
        if primary.heir.is_some() {
            self.asks_again(Kind::Read, options.retry_us, earliest);
        }
        if let Some(leaving) = &primary.leaving {
            earliest.due(leaving.since_us + options.hand_back_us);
        }
        if let Some(at_us) = primary.watch.late_at_us(options) {
            earliest.crossed(at_us);
        }
        let wishes = [
            primary.wished_ack.as_ref().map(|wish| wish.until_us),
            primary.wished_primary.as_ref().map(|wish| wish.until_us),
        ];
        wishes.into_iter().flatten().for_each(|until_us| earliest.due(until_us));
        for (name, peer) in &primary.peers {
            match &peer.flow {
                Flow::Unmatched => {}
                Flow::Streaming(stream) => {
                    stream.stuck_at_us(options).into_iter().for_each(|at_us| earliest.due(at_us));
                    earliest.crossed(stream.fetch_after_us);
                }
                Flow::Snapshot(sending) => {
                    sending.stuck_at_us(options).into_iter().for_each(|at_us| earliest.due(at_us));
                    earliest.crossed(sending.load_after_us);
                }
            }
            if primary.confirmed.configuration.entry(name).is_some() {
                earliest.crossed(peer.lost_at_us(options));
                peer.absent_at_us(options).into_iter().for_each(|at_us| earliest.crossed(at_us));
            } else if primary.pending.is_none() {
                earliest.due(peer.forgotten_at_us(options));
            }
            if let Some(since_us) = peer.steady_since_us {
                earliest.crossed(since_us + options.hand_back_after_us);
            }
        }
    }
}
