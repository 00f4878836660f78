//! Summary: what a run came to.

use std::fmt;

use super::MS;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub appended: u64,
    pub acknowledged: u64,
    pub leased_reads: u64,
    pub confirmed_reads: u64,
    pub bounded_reads: u64,
    /// How old these may have been, together.
    pub aged_ms: u64,
    pub epochs: u64,
    pub crashes: u64,
    pub wipes: u64,
    pub snapshots: u64,
    pub hand_backs: u64,
    /// Times that a shard went on by what unclean stops had left, committed records that were lost then, and replicas that
    /// discarded theirs.
    pub losses: u64,
    pub lost: u64,
    pub discards: u64,
    /// Shards that only an operator could help.
    pub dead_ends: u64,
    /// Shards that one survivor took by order.
    pub orders: u64,
    pub recovery_ms_max: u64,
    pub digest: u64,
}

impl Summary {
    pub fn add(&mut self, other: &Summary) {
        self.appended += other.appended;
        self.acknowledged += other.acknowledged;
        self.leased_reads += other.leased_reads;
        self.confirmed_reads += other.confirmed_reads;
        self.bounded_reads += other.bounded_reads;
        self.aged_ms += other.aged_ms;
        self.epochs += other.epochs;
        self.crashes += other.crashes;
        self.wipes += other.wipes;
        self.snapshots += other.snapshots;
        self.hand_backs += other.hand_backs;
        self.losses += other.losses;
        self.lost += other.lost;
        self.discards += other.discards;
        self.dead_ends += other.dead_ends;
        self.orders += other.orders;
        self.recovery_ms_max = self.recovery_ms_max.max(other.recovery_ms_max);
    }
}

pub struct Failure {
    pub what: String,
    pub at_us: u64,
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ms: {}", self.at_us / MS, self.what)
    }
}
