//! protocol.md's rules 1 to 10, a file for each thing they speak of. Each step has a question, `may_...`, and
//! an effect of the same name. What is wrong in a [`Variant`](crate::variant::Variant) stands where the right
//! thing would.

pub mod commit;
pub mod election;
pub mod fail_back;
pub mod fault;
pub mod lease;
pub mod reconfiguration;
pub mod replication;
