//! Rule 16, the hand-over of slots, as a model of its own: one slot, two shards, and the table in the coordinator.
//!
//! Each shard is a log that rules 1 to 10 have made safe: a committed part, and a tail that a fail-over may cut
//! anywhere. Its next primary knows the log and *some* version of the table, not older than the log says. The slot
//! goes there and back; a leader plans, decides and closes by compare-and-set, with nothing in its memory, so that it
//! may die at any moment.
//!
//! | file | noun |
//! |---|---|
//! | [`book`] | what a shard's log says about the slot |
//! | [`state`] | everything there is at one moment |
//! | [`rules`] | the steps: when, and what they do |
//! | [`properties`] | what must hold, and how a state is led to its end |
//! | [`mistake`] | the rules made wrong |
//!
//! ```
//! use std::time::Duration;
//! use slotkv_model::{check::{Effort, explore}, handover::rules::{Bounds, Handover}};
//!
//! let bounds = Bounds { writes: 1, plans: 1, fail_overs: [1, 0], ..Bounds::default() };
//! let effort = Effort { threads: 1, time_max: Duration::from_secs(60), progress: false, frugal: false };
//! let verdict = explore(Handover::right(bounds), &effort);
//! assert!(verdict.complete && verdict.refuted.is_none(), "{verdict}");
//! ```

pub mod book;
pub mod mistake;
pub mod properties;
pub mod rules;
pub mod state;
