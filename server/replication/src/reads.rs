//! Reads: when a primary may answer one. It reads the committed value *first* and then asks: under the lease without a
//! message (rule 5), else by one round.

use crate::{
    bug::Bug,
    options::READ_COUNT_MAX,
    peer::Peer,
    ready::Refusal,
    replica::{Replica, Role},
};

/// A read that waits for a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    /// The host's name for it.
    pub token: u64,
    /// Answers to this heartbeat or a later one confirm it.
    pub sequence: u64,
}

impl Replica {
    /// Whether a value that was read before `now_us` may be answered: nobody else can have committed anything until now.
    pub fn holds_lease(&self, now_us: u64) -> bool {
        self.is_serving() && self.lease_until_us() > now_us
    }

    /// Until when the lease holds in every configuration that the register may have; 0 if this replica does not lead.
    /// Where w is 1 it has no end: nobody else can be elected.
    pub fn lease_until_us(&self) -> u64 {
        let Role::Primary(primary) = &self.role else { return 0 };
        let bug = self.options.bug.filter(|bug| self.options.has(*bug));
        let until_us = primary.reached(&self.me, u64::MAX, |peer: &Peer| peer.lease_until_us, bug);
        if bug == Some(Bug::LeaseUntilLook) && until_us > self.now_us {
            return u64::MAX;
        }
        until_us
    }

    /// Asks for a round, which confirms whatever was read before. The token comes back in
    /// [`Ready::reads`](crate::Ready::reads) or `reads_refused`.
    pub fn confirm_read(&mut self, now_us: u64, token: u64) -> Result<(), Refusal> {
        self.input(now_us, |replica| replica.ask_round(token)).unwrap_or(Err(Refusal::NotPrimary))
    }

    fn ask_round(&mut self, token: u64) -> Result<(), Refusal> {
        self.may_read()?;
        let now_us = self.now_us;
        let heartbeat_us = self.options.heartbeat_us;
        let Role::Primary(primary) = &mut self.role else { return Err(Refusal::NotPrimary) };
        if primary.reads.len() >= READ_COUNT_MAX {
            return Err(Refusal::Busy);
        }
        // An answer to a heartbeat that is on its way already may be older than the read.
        let sequence = primary.sequence + 1;
        let waits = primary.reads.back().is_some_and(|read| read.sequence >= sequence);
        primary.reads.push_back(Read { token, sequence });
        if !waits {
            // Reads that come while a round is out share the next one.
            let out = primary.reads.front().is_some_and(|read| read.sequence < sequence);
            let soon_us = if out { now_us + heartbeat_us / 16 } else { now_us };
            primary.heartbeat_due_us = primary.heartbeat_due_us.min(soon_us);
            if !out {
                self.heartbeat();
            }
        }
        Ok(())
    }

    fn may_read(&self) -> Result<(), Refusal> {
        let Role::Primary(primary) = &self.role else { return Err(Refusal::NotPrimary) };
        if let Some(leaving) = &primary.leaving
            && !self.options.has(Bug::ReadsWhileLeaving)
        {
            return Err(Refusal::Leaving { to: leaving.to.name.clone() });
        }
        if self.is_serving() { Ok(()) } else { Err(Refusal::Beginning) }
    }

    pub(crate) fn confirm_reads(&mut self) {
        let bug = self.options.bug.filter(|bug| self.options.has(*bug));
        let Role::Primary(primary) = &mut self.role else { return };
        if primary.reads.is_empty() {
            return;
        }
        let answered = primary.reached(&self.me, u64::MAX, |peer| peer.answered, bug);
        while let Some(read) = primary.reads.front()
            && read.sequence <= answered
        {
            self.ready.reads.push(read.token);
            primary.reads.pop_front();
        }
        if primary.reads.front().is_some_and(|read| read.sequence > primary.sequence) {
            self.heartbeat();
        }
    }
}
