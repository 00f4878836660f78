//! Options: times and bounds. All are per shard; replicas of one shard should agree, but safety does not depend on it,
//! except that clocks drift apart by no more than [`DRIFT_PERCENT`].

use crate::bug::Bug;

/// How much the rates of two monotonic clocks may differ.
pub const DRIFT_PERCENT: u64 = 1;
/// Replicas a primary knows at once, the ISR included; further ones that want to join are not answered.
pub const PEER_COUNT_MAX: usize = 16;
/// Reads that wait for a round; further ones are refused.
pub const READ_COUNT_MAX: usize = 65_536;
/// Writes to the disk that are not reported yet. Past it a backup takes no more records; they are sent again.
pub const WRITE_COUNT_MAX: usize = 1024;

/// Reports of writes that are not synced yet and are told apart; past it a sync makes less certain than it could.
pub const UNSYNCED_COUNT_MAX: usize = 4096;
/// Checks of the own data that are remembered: others may not have come as far as the last.
pub const CHECK_COUNT_MAX: usize = 2;
/// Answers to heartbeats of which a replica remembers when it gave them.
pub const STAMP_COUNT_MAX: usize = 64;
/// Commit indexes of which a replica remembers as of when they are up to date. Past it the oldest is forgotten.
pub const FRESH_COUNT_MAX: usize = 256;

/// What a replica goes by.
#[derive(Clone, Debug)]
pub struct Options {
    /// L: for how long a backup promises.
    pub lease_us: u64,
    /// What the primary takes off its leases, for the reading of clocks.
    pub margin_us: u64,
    /// Between heartbeats.
    pub heartbeat_us: u64,
    /// How long a pre-vote waits for answers, and how far replicas spread their attempts.
    pub canvass_us: u64,
    /// How long the best candidate may take to act before it is passed over.
    pub pass_over_us: u64,
    /// Between attempts at the coordinator, and between looks at candidates.
    pub retry_us: u64,
    /// How often the register is read when nothing happens (rule 17).
    pub reread_us: u64,
    /// A member of the ISR that is not heard for so long is removed.
    pub silence_us: u64,
    /// So is, while a new primary needs it to begin, one that has not answered it at all for so long.
    pub absent_us: u64,
    /// So is one that is heard, but does not reach the end of the log for so long.
    pub lag_us: u64,
    /// Records or questions that are not answered for so long are sent again.
    pub resend_us: u64,
    /// For how long the preferred primary must have been in sync before the lead goes back to it.
    pub hand_back_after_us: u64,
    /// How long handing the lead over may take before the shard elects somebody instead.
    pub hand_back_us: u64,
    /// For how long an operator's wish is remembered that cannot be fulfilled yet.
    pub wish_us: u64,
    /// Between two comparisons of the replicas' data, while anything is written.
    pub check_us: u64,
    /// Payload bytes in one message; one record larger than that goes by itself.
    pub message_bytes_max: usize,
    /// Payload bytes on the way to one backup.
    pub flight_bytes_max: usize,
    /// Messages with records, or parts of a snapshot, on the way to one backup.
    pub flight_count_max: usize,
    /// Bytes of a snapshot on the way to one backup. They are kept here until they are taken.
    pub snapshot_bytes_max: usize,
    /// Records that are appended and not committed; at that many writes are refused until some are.
    pub uncommitted_count_max: u64,
    /// A mistake to make.
    pub bug: Option<Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease_us: 500_000,
            margin_us: 10_000,
            heartbeat_us: 100_000,
            canvass_us: 40_000,
            pass_over_us: 150_000,
            retry_us: 50_000,
            reread_us: 3_000_000,
            silence_us: 1_000_000,
            absent_us: 200_000,
            lag_us: 10_000_000,
            resend_us: 250_000,
            hand_back_after_us: 3_000_000,
            hand_back_us: 1_000_000,
            wish_us: 10_000_000,
            check_us: 60_000_000,
            message_bytes_max: 1 << 20,
            flight_bytes_max: 16 << 20,
            flight_count_max: 64,
            snapshot_bytes_max: 4 << 20,
            uncommitted_count_max: 65_536,
            bug: None,
        }
    }
}

impl Options {
    /// How long a primary may count on a grant of `lease_us`, from when it sent the heartbeat.
    pub(crate) fn counted_lease_us(&self, lease_us: u64) -> u64 {
        (lease_us / 100 * (100 - DRIFT_PERCENT)).saturating_sub(self.margin_us)
    }

    /// Whether a mistake is to be made. Without the feature it is never.
    pub(crate) fn has(&self, bug: Bug) -> bool {
        cfg!(feature = "bugs") && self.bug == Some(bug)
    }
}
