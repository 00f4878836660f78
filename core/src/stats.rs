//! What a client has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the client was made, and its state now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls begun.
    pub calls: u64,
    /// Calls that succeeded.
    pub calls_ok: u64,
    /// Calls that ended with an error and were provably not applied.
    pub calls_failed: u64,
    /// Calls that ended with an error and may have been applied.
    pub calls_unknown: u64,
    /// Calls that the caller cancelled; they are among those failed or unknown.
    pub calls_cancelled: u64,
    /// Times a call was sent again after a pause.
    pub retries: u64,
    /// Times a call was sent elsewhere because a member said so.
    pub redirects: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// Connections that broke.
    pub connections_lost: u64,
    /// Replies that came after their call had ended.
    pub replies_late: u64,
    /// Frames sent on streams.
    pub frames_sent: u64,
    /// Frames received on streams.
    pub frames_received: u64,
    /// Slot-table fetches.
    pub refreshes: u64,
    /// Slot-table fetches to which nobody answered.
    pub refreshes_failed: u64,
    /// Rounds of pinging in which no master answered.
    pub pings_failed: u64,
    /// Answers of members of other clusters, which were ignored.
    pub wrong_cluster: u64,
    /// Answers in versions of the protocol that this client does not speak, which were ignored.
    pub wrong_version: u64,
    /// Calls open now, those that wait for room not counted.
    pub in_flight: u64,
    /// Calls that wait for room now.
    pub waiting: u64,
    /// Version of the slot table.
    pub table_version: u64,
    /// Sum of the routes' revisions.
    pub route_revisions: u64,
    /// The members that calls go to, by shard.
    pub members: Vec<MemberStats>,
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStats {
    /// The shard it serves.
    pub shard: u32,
    /// Its name.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Whether the connection is open.
    pub connected: bool,
    /// Requests sent and not answered.
    pub in_flight: u64,
    /// Calls that wait for the connection or for room on it.
    pub waiting: u64,
    /// Why the last connection failed or broke; empty if none did.
    pub last_error: String,
}

/// The counters behind [`Stats`]. Those of calls are added to once per batch.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub calls: AtomicU64,
    pub calls_ok: AtomicU64,
    pub calls_failed: AtomicU64,
    pub calls_unknown: AtomicU64,
    pub calls_cancelled: AtomicU64,
    pub retries: AtomicU64,
    pub redirects: AtomicU64,
    pub connects: AtomicU64,
    pub connections_lost: AtomicU64,
    pub replies_late: AtomicU64,
    pub frames_sent: AtomicU64,
    pub frames_received: AtomicU64,
    pub refreshes: AtomicU64,
    pub refreshes_failed: AtomicU64,
    pub pings_failed: AtomicU64,
    pub wrong_cluster: AtomicU64,
    pub wrong_version: AtomicU64,
}

impl Counters {
    /// The counts; what is no count is left empty.
    pub fn stats(&self) -> Stats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            calls: count(&self.calls),
            calls_ok: count(&self.calls_ok),
            calls_failed: count(&self.calls_failed),
            calls_unknown: count(&self.calls_unknown),
            calls_cancelled: count(&self.calls_cancelled),
            retries: count(&self.retries),
            redirects: count(&self.redirects),
            connects: count(&self.connects),
            connections_lost: count(&self.connections_lost),
            replies_late: count(&self.replies_late),
            frames_sent: count(&self.frames_sent),
            frames_received: count(&self.frames_received),
            refreshes: count(&self.refreshes),
            refreshes_failed: count(&self.refreshes_failed),
            pings_failed: count(&self.pings_failed),
            wrong_cluster: count(&self.wrong_cluster),
            wrong_version: count(&self.wrong_version),
            ..Stats::default()
        }
    }
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
