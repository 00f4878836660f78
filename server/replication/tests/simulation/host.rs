//! Host: a machine with a clock and a disk, and the process on it.

use std::collections::{BTreeMap, VecDeque};

use slotkv_replication::{Inc, Member, Replica};

use crate::{
    disk::{Disk, Entry},
    truth::Floor,
};

pub struct Host {
    pub name: &'static str,
    /// By how much its clock is fast, in millionths; and what it showed at the beginning.
    pub rate_ppm: i64,
    pub offset_us: u64,
    /// It does nothing before.
    pub paused_until: u64,
    /// Its processes sleep until their deadline, and do not look every few milliseconds.
    pub sleeps: bool,
    pub disk: Disk,
    pub inc_count: u64,
    /// What its data was, before unclean stops.
    pub remains_of: Vec<Inc>,
    pub run_count: u64,
    pub life: Option<Life>,
    /// It stays away.
    pub is_gone: bool,
}

/// A process.
pub struct Life {
    pub member: Member,
    pub replica: Replica,
    /// When the sync that runs will be done, and the one after it.
    pub sync_until_us: u64,
    pub next_until_us: u64,
    /// Snapshots that are being read: what they hold, and how much of it was read.
    pub snapshots: BTreeMap<u64, (Vec<Entry>, usize)>,
    /// Writes of clients that wait, of the epoch that this process leads.
    pub waiting: VecDeque<Entry>,
    /// What was checked.
    pub seen_commit: u64,
    pub serves: Option<u64>,
    /// Reads that wait for a round: token, value, what was visible when it was asked.
    pub reads: Vec<(u64, u64, Floor)>,
    /// The disk takes no records until the log is cut.
    pub is_full: bool,
    /// When a sleeping process wakes.
    pub wakes_at_us: Option<u64>,
}

impl Life {
    /// When a write of now is durable: writes that arrive while a sync runs share the next one.
    pub fn written_at_us(&mut self, now_us: u64, takes_us: u64) -> u64 {
        if now_us >= self.sync_until_us {
            self.sync_until_us = self.next_until_us;
        }
        if now_us >= self.sync_until_us {
            self.sync_until_us = now_us + takes_us;
            self.next_until_us = self.sync_until_us;
        } else if self.next_until_us <= self.sync_until_us {
            self.next_until_us = self.sync_until_us + takes_us;
        }
        self.next_until_us
    }
}

impl Host {
    /// Its data.
    pub fn inc(&self) -> Inc {
        format!("i{}", self.inc_count).into()
    }

    pub fn local_us(&self, now_us: u64) -> u64 {
        let drift = now_us as i64 * self.rate_ppm / 1_000_000;
        self.offset_us.saturating_add_signed(now_us as i64 + drift)
    }

    /// When its clock will have reached that.
    pub fn reached_us(&self, local_us: u64) -> u64 {
        let passed = i128::from(local_us.saturating_sub(self.offset_us));
        let exact = passed * 1_000_000 / (1_000_000 + i128::from(self.rate_ppm));
        let near = u64::try_from(exact).unwrap_or(u64::MAX).saturating_sub(1);
        (near..).find(|now_us| self.local_us(*now_us) >= local_us).unwrap_or(u64::MAX)
    }
}
