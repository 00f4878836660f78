//! What a client tells about itself and the cluster: `explain`, `stats`, `status`. Versions and epochs are bigints, counts
//! are numbers.

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use slotkv_facade::core;

/// Where calls for a key go, and why.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Explain {
    pub slot: u16,
    pub hash_slot: u16,
    pub tag: Option<Buffer>,
    pub slot_count: u16,
    pub cluster_id: String,
    pub shard: Option<u32>,
    pub epoch: u64,
    pub table_version: u64,
    pub table_learned_ms: f64,
    pub primary: Option<String>,
    pub address: Option<String>,
    pub backups: Vec<String>,
    pub connected: bool,
    pub in_flight: f64,
    pub last_error: String,
}

/// One connection of a client.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct MemberStats {
    pub shard: u32,
    pub name: String,
    pub address: String,
    pub connected: bool,
    pub in_flight: f64,
    pub waiting: f64,
    pub last_error: String,
}

/// Counts since the client was made, and its state now.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Stats {
    pub calls: f64,
    pub calls_ok: f64,
    pub calls_failed: f64,
    pub calls_unknown: f64,
    pub calls_cancelled: f64,
    pub retries: f64,
    pub redirects: f64,
    pub connects: f64,
    pub connections_lost: f64,
    pub replies_late: f64,
    pub frames_sent: f64,
    pub frames_received: f64,
    pub refreshes: f64,
    pub refreshes_failed: f64,
    pub pings_failed: f64,
    pub wrong_cluster: f64,
    pub wrong_version: f64,
    pub in_flight: f64,
    pub waiting: f64,
    pub table_version: u64,
    pub route_revisions: f64,
    pub members: Vec<MemberStats>,
}

/// A master.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct MasterStatus {
    pub address: String,
    pub leader: bool,
}

/// A shard.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct ShardStatus {
    pub shard: u32,
    pub epoch: u64,
    pub state: String,
    pub primary: String,
    pub isr: Vec<String>,
    pub ack: String,
    pub min_isr: u32,
    pub durability: String,
    pub weight: f64,
    pub slots: u32,
    pub replicas: u32,
    pub preferred: String,
    pub reason: String,
    pub loss_epoch: u64,
    pub recover: String,
    pub copies: Vec<ReplicaStatus>,
}

/// A copy of a shard.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct ReplicaStatus {
    pub name: String,
    pub state: String,
    pub since_ms: f64,
    pub live: bool,
    pub in_isr: bool,
    pub address: String,
    pub zone: String,
    pub trouble: String,
    pub checks: f64,
    pub different: f64,
    pub rotten_slots: f64,
    pub copies_begun: f64,
    pub copies_installed: f64,
    pub restarts: f64,
}

/// A process of the cluster.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct MemberStatus {
    pub name: String,
    pub run: String,
    pub address: String,
    pub shard: u32,
    pub live: bool,
    pub zone: String,
}

/// What a master says of the whole cluster.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct ClusterStatus {
    pub cluster_id: String,
    pub slot_count: u32,
    pub table_version: u64,
    pub master_epoch: u64,
    pub masters: Vec<MasterStatus>,
    pub shards: Vec<ShardStatus>,
    pub members: Vec<MemberStatus>,
    pub notices: Vec<String>,
    pub shards_announced: u32,
}

impl From<core::Explain> for Explain {
    fn from(explain: core::Explain) -> Self {
        Self {
            slot: explain.slot,
            hash_slot: explain.hash_slot,
            tag: explain.tag.map(|tag| tag.to_vec().into()),
            slot_count: explain.slot_count,
            cluster_id: explain.cluster_id,
            shard: explain.shard,
            epoch: explain.epoch,
            table_version: explain.table_version,
            table_learned_ms: explain.table_learned_ms as f64,
            primary: explain.primary,
            address: explain.address,
            backups: explain.backups,
            connected: explain.connected,
            in_flight: explain.in_flight as f64,
            last_error: explain.last_error,
        }
    }
}

impl From<core::MemberStats> for MemberStats {
    fn from(member: core::MemberStats) -> Self {
        Self {
            shard: member.shard,
            name: member.name,
            address: member.address,
            connected: member.connected,
            in_flight: member.in_flight as f64,
            waiting: member.waiting as f64,
            last_error: member.last_error,
        }
    }
}

impl From<core::Stats> for Stats {
    fn from(stats: core::Stats) -> Self {
        Self {
            calls: stats.calls as f64,
            calls_ok: stats.calls_ok as f64,
            calls_failed: stats.calls_failed as f64,
            calls_unknown: stats.calls_unknown as f64,
            calls_cancelled: stats.calls_cancelled as f64,
            retries: stats.retries as f64,
            redirects: stats.redirects as f64,
            connects: stats.connects as f64,
            connections_lost: stats.connections_lost as f64,
            replies_late: stats.replies_late as f64,
            frames_sent: stats.frames_sent as f64,
            frames_received: stats.frames_received as f64,
            refreshes: stats.refreshes as f64,
            refreshes_failed: stats.refreshes_failed as f64,
            pings_failed: stats.pings_failed as f64,
            wrong_cluster: stats.wrong_cluster as f64,
            wrong_version: stats.wrong_version as f64,
            in_flight: stats.in_flight as f64,
            waiting: stats.waiting as f64,
            table_version: stats.table_version,
            route_revisions: stats.route_revisions as f64,
            members: stats.members.into_iter().map(MemberStats::from).collect(),
        }
    }
}

impl From<core::v1::StatusReply> for ClusterStatus {
    fn from(status: core::v1::StatusReply) -> Self {
        let master =
            |master: core::v1::MasterStatus| MasterStatus { address: master.address, leader: master.leader };
        Self {
            cluster_id: status.cluster_id,
            slot_count: status.slot_count,
            table_version: status.table_version,
            master_epoch: status.master_epoch,
            masters: status.masters.into_iter().map(master).collect(),
            shards: status.shards.into_iter().map(ShardStatus::from).collect(),
            members: status.members.into_iter().map(MemberStatus::from).collect(),
            notices: status.notices,
            shards_announced: status.shards_announced,
        }
    }
}

impl From<core::v1::ShardStatus> for ShardStatus {
    fn from(status: core::v1::ShardStatus) -> Self {
        Self {
            shard: status.shard,
            epoch: status.epoch,
            state: status.state,
            primary: status.primary,
            isr: status.isr,
            ack: status.ack,
            min_isr: status.min_isr,
            durability: status.durability,
            weight: status.weight,
            slots: status.slots,
            replicas: status.replicas,
            preferred: status.preferred,
            reason: status.reason,
            loss_epoch: status.loss_epoch,
            recover: status.recover,
            copies: status.copies.into_iter().map(ReplicaStatus::from).collect(),
        }
    }
}

impl From<core::v1::ReplicaStatus> for ReplicaStatus {
    fn from(status: core::v1::ReplicaStatus) -> Self {
        Self {
            name: status.name,
            state: status.state,
            since_ms: status.since_ms as f64,
            live: status.live,
            in_isr: status.in_isr,
            address: status.address,
            zone: status.zone,
            trouble: status.trouble,
            checks: status.checks as f64,
            different: status.different as f64,
            rotten_slots: status.rotten_slots as f64,
            copies_begun: status.copies_begun as f64,
            copies_installed: status.copies_installed as f64,
            restarts: status.restarts as f64,
        }
    }
}

impl From<core::v1::MemberStatus> for MemberStatus {
    fn from(status: core::v1::MemberStatus) -> Self {
        Self {
            name: status.name,
            run: status.run,
            address: status.address,
            shard: status.shard,
            live: status.live,
            zone: status.zone,
        }
    }
}
