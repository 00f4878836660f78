//! How a key would be reached.

use slotkv_proto::slot::{hash_slot, hash_tag};

use crate::routing::Snapshot;

/// Where calls for a key go, and why.
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

impl Explain {
    pub(crate) fn of(snapshot: &Snapshot, key: &[u8]) -> Self {
        let table = &snapshot.table;
        let slot = table.slot(key);
        let shard = table.owner(slot);
        let route = shard.and_then(|shard| table.route(shard));
        let primary = route.and_then(|route| route.primary.as_ref());
        let health = snapshot.route((slot, slot)).ok().map(|(_, lane)| lane.health());
        Self {
            slot,
            hash_slot: hash_slot(key),
            tag: hash_tag(key).map(<[u8]>::to_vec),
            slot_count: table.slots().get(),
            cluster_id: table.cluster_id().to_owned(),
            shard,
            epoch: route.map_or(0, |route| route.epoch),
            table_version: table.version(),
            table_learned_ms: snapshot.learned_ms,
            primary: primary.map(|primary| primary.name.clone()),
            address: primary.map(|primary| primary.address.clone()),
            backups: route.map_or_else(Vec::new, |route| {
                route.backups.iter().map(|backup| backup.address.clone()).collect()
            }),
            connected: health.as_ref().is_some_and(|health| health.connected),
            in_flight: health.as_ref().map_or(0, |health| health.in_flight as u64),
            last_error: health.map_or_else(String::new, |health| health.last_error),
        }
    }
}
