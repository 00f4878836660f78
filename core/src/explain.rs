//! How a key would be reached.

/// Where a key's calls go, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explain {
    /// The key's slot among the cluster's slots.
    pub slot: u16,
    /// The same among 16384, as Redis Cluster's `CLUSTER KEYSLOT` shows it.
    pub hash_slot: u16,
    /// The part of the key that decides, if it has a `{tag}`.
    pub tag: Option<Vec<u8>>,
    /// How many slots the cluster has.
    pub slot_count: u16,
    /// Which cluster.
    pub cluster_id: String,
    /// The slot's owner; `None` while it is not allocated.
    pub shard: Option<u32>,
    /// The shard's epoch.
    pub epoch: u64,
    /// Version of the slot table that says so.
    pub table_version: u64,
    /// When the client learned of this table, in milliseconds since 1970 by its own clock.
    pub table_learned_ms: u64,
    /// Name of the shard's primary.
    pub primary: Option<String>,
    /// Its `host:port`.
    pub address: Option<String>,
    /// `host:port` of the backups.
    pub backups: Vec<String>,
    /// Whether the connection to the primary is open.
    pub connected: bool,
    /// Requests on it that are not answered.
    pub in_flight: u64,
    /// Why the last connection to it failed or broke; empty if none did.
    pub last_error: String,
}
