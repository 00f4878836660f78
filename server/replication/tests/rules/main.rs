//! The rules, one situation at a time, on a shard in which everything goes right unless a test says otherwise.

mod deadlines;
mod elections;
mod health;
mod leases;
mod losses;
mod matching;
mod promises;
mod reconfigurations;
mod records;
mod shard;
mod snapshots;
