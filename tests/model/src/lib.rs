//! A model of the replication rules (protocol.md 1 to 10), explored to the last state by
//! [stateright](https://docs.rs/stateright).
//!
//! A simulation tries many long histories of the real code; a model tries *every* short history of the rules
//! alone. Most mistakes in such rules need few replicas, few writes and few faults in the one unfortunate
//! order, which is what is hard to find by chance and easy to find by trying everything. The rules are
//! written once more, as small as they can be, and every rule is also written wrong ([`variant`]): an
//! exploration that does not notice would prove nothing about the right one.
//!
//! | file | noun |
//! |---|---|
//! | [`state`] | everything there is at one moment |
//! | [`action`] | what can happen in one step |
//! | [`rules`] | when each step is allowed and what it does, a file per group of rules |
//! | [`properties`] | what must hold in every state |
//! | [`recovery`] | one of them, no dead end |
//! | [`variant`] | the rules made wrong |
//! | [`bounds`] | how much may happen |
//! | [`check`] | an exploration and its verdict |
//! | [`handover`] | rule 16, a model of its own |
//!
//! ```
//! use std::time::Duration;
//! use slotkv_model::{bounds::Bounds, check::{Effort, explore}, shard::Shard};
//!
//! let bounds = Bounds { epochs: 2, writes: 1, restarts: 0, changes: 0, ..Bounds::default() };
//! let effort = Effort { threads: 1, time_max: Duration::from_secs(60), progress: false, frugal: false };
//! let verdict = explore(Shard::right(bounds), &effort);
//! assert!(verdict.complete && verdict.refuted.is_none(), "{verdict}");
//! ```

pub mod action;
pub mod bounds;
pub mod check;
pub mod configuration;
pub mod handover;
pub mod log;
pub mod properties;
pub mod recovery;
pub mod replica;
pub mod rules;
pub mod shard;
pub mod state;
pub mod variant;
