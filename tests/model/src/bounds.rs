//! How much may happen in one exploration. Everything else is unbounded: messages are delayed, doubled and
//! lost at will, for whatever was once sent may be delivered at any later time, or never.

use crate::configuration::Ack;
use crate::log::{EPOCHS, WRITES};
use crate::replica::REPLICAS_MAX;

/// The most of each thing, and which parts of the protocol take part.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Replicas there are.
    pub replicas: u8,
    /// How many of them are in the ISR at the start.
    pub isr: u8,
    /// `ack` at the start.
    pub ack: Ack,
    /// `min_isr`.
    pub min_isr: u8,
    /// The highest epoch; the first primary's is 1.
    pub epochs: u8,
    /// Writes of clients.
    pub writes: u8,
    /// Crashes with a restart on the same data.
    pub restarts: u8,
    /// Crashes with a restart on empty storage; of one replica once at most.
    pub wipes: u8,
    /// Reconfigurations that are sent.
    pub changes: u8,
    /// Whether reconfigurations may change `ack`, too.
    pub ack_changes: bool,
    /// Fail-backs that are begun.
    pub fail_backs: u8,
    /// An operator's changes of other fields of the register.
    pub edits: u8,
    /// Whether reads are answered under the lease; without it, backups promise nothing and the clock stands
    /// still.
    pub leases: bool,
    /// Whether reads are answered after a round.
    pub rounds: bool,
    /// Whether every state is asked if it leads to a serving primary again.
    pub dead_ends: bool,
    /// Whether states that differ in the replicas' names only count as one.
    pub symmetry: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            replicas: 3,
            isr: 3,
            ack: Ack::One,
            min_isr: 1,
            epochs: 3,
            writes: 2,
            restarts: 1,
            wipes: 0,
            changes: 1,
            ack_changes: false,
            fail_backs: 0,
            edits: 0,
            leases: false,
            rounds: false,
            dead_ends: false,
            symmetry: false,
        }
    }
}

/// Epochs that a recovery may add to those that were explored.
pub const RECOVERY_EPOCHS: usize = 3;

impl Bounds {
    /// What cannot be explored, if anything.
    pub fn complaint(&self) -> Option<String> {
        let epochs_max = EPOCHS - 1 - RECOVERY_EPOCHS;
        let too_much = [
            ("--replicas", self.replicas, REPLICAS_MAX),
            ("--isr", self.isr, usize::from(self.replicas)),
            ("--min-isr", self.min_isr, usize::from(self.replicas)),
            ("--epochs", self.epochs, epochs_max),
            ("--writes", self.writes, WRITES - 1),
        ];
        too_much.into_iter().find_map(|(flag, value, most)| {
            let fits = value >= 1 && usize::from(value) <= most;
            (!fits).then(|| format!("{flag} is {value}; it must be 1 to {most}"))
        })
    }
}
