//! The data side of hand-overs: two shards' replicas over logs and engines in memory, without sockets, driven by a party on each
//! side. A second replica of each shard takes the same log record by record and never stops: whatever happens to the first one, the
//! two are the same.

mod bounds;
mod edges;
mod losses;
mod moves;
mod shard;
mod world;
