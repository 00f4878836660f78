//! Fresh: how old what is applied here may be. A backup answers heartbeats with a *stamp*, a number of its own, and remembers
//! when it gave it. A primary that holds its lease repeats the last stamp that it got, beside its commit index. Whatever was
//! acknowledged before the stamp was given was so before the primary sent that; nobody else could commit anything until
//! then; so it lies within that commit index. Neither delays nor another's clock count. A stamp cannot be guessed, so an echo
//! of what an earlier process said, on a clock that has begun anew since, is none.

use crate::{
    backup::Follow,
    bug::Bug,
    member::Member,
    options::{FRESH_COUNT_MAX, STAMP_COUNT_MAX},
    replica::{Replica, Role},
};

/// Everything that was acknowledged before `at_us`, on the own clock, lies within `commit`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fresh {
    at_us: u64,
    commit: u64,
}

impl Replica {
    /// The latest instant known, on the own clock, for which what is applied here up to `applied_index` holds everything that
    /// clients had been told before; `None`: not known. A read of what is applied is at most as old as now less that. It takes no
    /// message, and goes on in a shard without a primary, ever older.
    pub fn fresh_as_of_us(&self, applied_index: u64) -> Option<u64> {
        if self.halted {
            return None;
        }
        if applied_index >= self.commit && self.holds_lease(self.now_us) {
            return Some(self.now_us);
        }
        self.fresh.iter().rev().find(|fresh| fresh.commit <= applied_index).map(|fresh| fresh.at_us)
    }

    /// What to answer a heartbeat with. Answers that follow one another closely share a stamp: the earlier instant holds, too.
    pub(crate) fn stamp(&mut self) -> u64 {
        let now_us = self.now_us;
        if let Some((stamp, at_us)) = self.stamps.back()
            && now_us < at_us + self.options.heartbeat_us / 4
        {
            return *stamp;
        }
        let stamp = self.nonce();
        if self.stamps.len() >= STAMP_COUNT_MAX {
            self.stamps.pop_front();
        }
        self.stamps.push_back((stamp, now_us));
        stamp
    }

    /// A peer has answered a heartbeat so.
    pub(crate) fn hear_stamp(&mut self, from: &Member, epoch: u64, sequence: u64, stamp: u64) {
        if let Some(peer) = self.peer(from, epoch)
            && peer.answered == sequence
        {
            peer.stamp = stamp;
        }
    }

    /// Whether stamps may be repeated now.
    pub(crate) fn echoes(&self) -> bool {
        let leased = self.is_serving() && self.lease_until_us() > self.now_us;
        leased || self.options.has(Bug::EchoesUnleased)
    }

    /// The primary has repeated a stamp. It counts only while the logs are known to agree: then what is applied here is a part
    /// of the primary's log.
    pub(crate) fn hear_echo(&mut self, echo: u64, commit: u64) {
        let Role::Backup(backup) = &self.role else { return };
        if !matches!(backup.flow, Follow::Streaming) {
            return;
        }
        let Some((_, at_us)) = self.stamps.iter().find(|(stamp, _)| *stamp == echo).copied() else { return };
        if self.fresh.back().is_some_and(|fresh| at_us <= fresh.at_us) {
            return;
        }
        while self.fresh.back().is_some_and(|fresh| fresh.commit >= commit) {
            self.fresh.pop_back();
        }
        if self.fresh.len() >= FRESH_COUNT_MAX {
            self.fresh.pop_front();
        }
        self.fresh.push_back(Fresh { at_us, commit });
    }
}
