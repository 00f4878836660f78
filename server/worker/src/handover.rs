//! Handover: what a replica does for hand-overs of slots (`slotkv-migration` decides, see its crate docs). The source's side reads
//! a [`Copy`] of its slots in parts; the target's side carries out what the log says, as every replica of it does.
//!
//! Nouns: an *item* is what a copy counts by, a client's results or a row ([`item`]); a *part* is items and changes of items
//! on their way ([`part`]); a *tally* is what slots amount to, *levels* are what the source's counters stand at ([`tally`]).
//!
//! Invariants:
//! - The ledger is that of the applied position, on every replica. The engine has the checkpoint's; replay folds the rest again.
//! - Rows of staged slots lie where they will be served, their deadlines among the deadlines, and the slot's row counts them. What
//!   hides them is the slot's mark.
//! - The slot row of a slot that a hand-over has changed is in the engine's batch with that change: nothing in the
//!   record says what it was to become. So on replay, where the rows are there already, such a slot takes its row from the engine;
//!   writes that the log has behind it override it, as always.
//! - Of results, source and target have the same *above the slot's forgotten index*. Below it each may have kept others: a result
//!   is true whoever has it, and who has none refuses. So nobody need drop at the same record as another.
//! - The shown index never goes back: IMPORTED raises it to the source's. What it will have to be raised to is known from the first
//!   part on (`needed_shown`), which lies in the log for as long as the copy takes; a gap after a loss goes above it.

pub(crate) mod carry;
mod copy;
pub mod item;
pub(crate) mod part;
mod regain;
mod sweep;
pub mod tally;

pub use copy::Copy;

use slotkv_migration::Malformed;
use slotkv_storage::Error;

pub(crate) fn malformed(what: &'static str, why: impl Into<String>) -> Error {
    Error::Malformed { what, why: why.into() }
}

pub(crate) fn refused(error: Malformed) -> Error {
    match error {
        Malformed::Newer { what, found } => {
            Error::NewerFormat { what: what.into(), found, known: slotkv_migration::wire::FORMAT }
        }
        Malformed::Wrong { what, why } => malformed(what, why),
    }
}
