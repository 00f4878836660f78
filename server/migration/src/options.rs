//! Options: times and bounds of one shard's hand-overs, and of the leader's plans.

use crate::Bug;

/// Slots of one hand-over. They are sealed together, so it bounds the pause, too.
pub const SLOT_COUNT_MAX: usize = 256;

/// What a shard goes by.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of one part; a single item that is larger goes by itself.
    pub part_bytes_max: usize,
    /// The same while clients ask, unless the log has more than a large part for the slots: whoever takes a part serves nobody meanwhile.
    pub shared_part_bytes_max: usize,
    /// Bytes on the way to one target, sent and not known to be committed there. They are not kept: what is lost is read again.
    pub flight_bytes_max: usize,
    /// And parts: while they are many and small, what comes is better gathered into fewer. Also what carries messages can rely on it.
    pub flight_count_max: usize,
    /// Bytes that a target has appended and not committed, of all hand-overs; past it parts are dropped, and sent again.
    pub stage_bytes_max: usize,
    /// Sent and not answered for so long is sent again.
    pub resend_us: u64,
    /// How often what stands is told again.
    pub report_us: u64,
    /// Copying of items takes no more than this, per second. Records go as they come.
    pub rate_max: u64,
    /// And, however slow others become, no less: a hand-over that stands still helps nobody.
    pub rate_min: u64,
    /// While requests take longer than this, copying is slowed down.
    pub latency_us_max: u64,
    /// While clients ask, copying and deleting take no more than this of a shard's time, in percent.
    pub busy_percent_max: u64,
    /// Clients that were not heard of for so long do not ask.
    pub quiet_us: u64,
    /// The source seals when no more than so many bytes are missing at the target.
    pub seal_lag_bytes: u64,
    /// After each such time without a seal twice as much is allowed, so that no load can put the end off for ever (Valkey
    /// #4545).
    pub patience_us: u64,
    /// The source seals only if it has heard of a leader so short a time ago: without one nobody decides, and a sealed slot
    /// is not served.
    pub heard_us_max: u64,
    /// Items that one CLEAN deletes.
    pub clean_count_max: usize,
    /// A mistake to make.
    pub bug: Option<Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            part_bytes_max: 256 << 10,
            shared_part_bytes_max: 32 << 10,
            flight_bytes_max: 8 << 20,
            flight_count_max: 4,
            stage_bytes_max: 16 << 20,
            resend_us: 250_000,
            report_us: 1_000_000,
            rate_max: 64 << 20,
            rate_min: 1 << 20,
            latency_us_max: 20_000,
            busy_percent_max: 30,
            quiet_us: 200_000,
            seal_lag_bytes: 64 << 10,
            patience_us: 2_000_000,
            heard_us_max: 2_000_000,
            clean_count_max: 256,
            bug: None,
        }
    }
}

impl Options {
    /// Whether a mistake is to be made. Without the feature it is never.
    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug() == Some(bug)
    }

    pub(crate) fn bug(&self) -> Option<Bug> {
        if cfg!(feature = "bugs") { self.bug } else { None }
    }
}

/// What the leader goes by.
#[derive(Clone, Debug)]
pub struct LeaderOptions {
    /// Slots of one hand-over, at most [`SLOT_COUNT_MAX`].
    pub slot_count_max: usize,
    /// Hand-overs that are open at once.
    pub open_count_max: usize,
    /// Of these, with one shard as source or as target.
    pub per_shard_count_max: usize,
    /// A hand-over that comes no further for so long is aborted.
    pub stall_us: u64,
    /// So is one that is sealed for so long: its slots are not served. After each failure of the same two shards it may take twice as long, up to
    /// sixteen times.
    pub sealed_us_max: u64,
    /// After a failure the same two shards are tried again so much later, and twice as late each time.
    pub retry_us: u64,
    /// But no later than this.
    pub retry_us_max: u64,
    /// Between attempts at the coordinator, and looks at the table.
    pub reread_us: u64,
    /// A mistake to make.
    pub bug: Option<Bug>,
}

impl Default for LeaderOptions {
    fn default() -> Self {
        Self {
            slot_count_max: 16,
            open_count_max: 8,
            per_shard_count_max: 2,
            stall_us: 10_000_000,
            sealed_us_max: 1_000_000,
            retry_us: 500_000,
            retry_us_max: 30_000_000,
            reread_us: 1_000_000,
            bug: None,
        }
    }
}

impl LeaderOptions {
    pub(crate) fn has(&self, bug: Bug) -> bool {
        cfg!(feature = "bugs") && self.bug == Some(bug)
    }
}
