//! What a client tells about itself and the cluster: `explain`, `stats`, `status`.

use slotkv_facade::core;

/// Where calls for a key go, and why.
#[derive(uniffi::Record)]
pub struct Explain {
    /// The key's slot among the cluster's slots.
    pub slot: u16,
    /// The same among 16384, as Redis Cluster's CLUSTER KEYSLOT shows it.
    pub hash_slot: u16,
    /// The part of the key that decides, if it has a {tag}.
    pub tag: Option<Vec<u8>>,
    /// How many slots the cluster has.
    pub slot_count: u16,
    /// Which cluster.
    pub cluster_id: String,
    /// The slot's owner; null while it is not allocated.
    pub shard: Option<u32>,
    /// The shard's epoch.
    pub epoch: u64,
    /// Version of the slot table that says so.
    pub table_version: u64,
    /// When the client learned of this table, in milliseconds since 1970 by its own clock.
    pub table_learned_ms: u64,
    /// Name of the shard's primary.
    pub primary: Option<String>,
    /// Its host:port.
    pub address: Option<String>,
    /// host:port of the backups.
    pub backups: Vec<String>,
    /// Whether the connection to the primary is open.
    pub connected: bool,
    /// Requests on it that are not answered.
    pub in_flight: u64,
    /// Why the last connection to it failed or broke; empty if none did.
    pub last_error: String,
}

/// One connection of a client.
#[derive(uniffi::Record)]
pub struct MemberStats {
    /// The shard it serves.
    pub shard: u32,
    /// Its name.
    pub name: String,
    /// host:port
    pub address: String,
    /// Whether the connection is open.
    pub connected: bool,
    /// Requests sent and not answered.
    pub in_flight: u64,
    /// Calls that wait for the connection or for room on it.
    pub waiting: u64,
    /// Why the last connection failed or broke; empty if none did.
    pub last_error: String,
}

/// Counts since the client was made, and its state now.
#[derive(uniffi::Record)]
pub struct Stats {
    /// Calls begun.
    pub calls: u64,
    /// Calls that succeeded.
    pub calls_ok: u64,
    /// Calls that ended with an error and were provably not applied.
    pub calls_failed: u64,
    /// Calls that ended with an error and may have been applied.
    pub calls_unknown: u64,
    /// Calls that the caller cancelled; they are among those failed or unknown.
    pub calls_cancelled: u64,
    /// Times a call was sent again after a pause.
    pub retries: u64,
    /// Times a call was sent elsewhere because a member said so.
    pub redirects: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// Connections that broke.
    pub connections_lost: u64,
    /// Replies that came after their call had ended.
    pub replies_late: u64,
    /// Frames sent on streams.
    pub frames_sent: u64,
    /// Frames received on streams.
    pub frames_received: u64,
    /// Slot-table fetches.
    pub refreshes: u64,
    /// Slot-table fetches to which nobody answered.
    pub refreshes_failed: u64,
    /// Rounds of pinging in which no master answered.
    pub pings_failed: u64,
    /// Answers of members of other clusters, which were ignored.
    pub wrong_cluster: u64,
    /// Answers in versions of the protocol that this client does not speak, which were ignored.
    pub wrong_version: u64,
    /// Calls open now, those that wait for room not counted.
    pub in_flight: u64,
    /// Calls that wait for room now.
    pub waiting: u64,
    /// Version of the slot table.
    pub table_version: u64,
    /// Sum of the routes' revisions.
    pub route_revisions: u64,
    /// The members that calls go to, by shard.
    pub members: Vec<MemberStats>,
}

/// A master.
#[derive(uniffi::Record)]
pub struct MasterStatus {
    /// host:port
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
}

/// A shard.
#[derive(uniffi::Record)]
pub struct ShardStatus {
    /// Its number.
    pub shard: u32,
    /// Its epoch.
    pub epoch: u64,
    /// A word or two for people.
    pub state: String,
    /// Name of its primary; empty if it has none.
    pub primary: String,
    /// Names of the replicas in sync.
    pub isr: Vec<String>,
    /// "one" or "all".
    pub ack: String,
    /// Replicas that must be in sync for writes.
    pub min_isr: u32,
    /// "sync" or "interval(ms)".
    pub durability: String,
    /// Its weight.
    pub weight: f64,
    /// How many slots it owns.
    pub slots: u32,
    /// How many copies there shall be, the primary's included.
    pub replicas: u32,
    /// Who shall lead when it can; empty: whoever does.
    pub preferred: String,
    /// Why it is not as it should be, in words for people; empty if it is.
    pub reason: String,
    /// The last epoch that began although acknowledged writes may have been lost; 0: none did.
    pub loss_epoch: u64,
    /// Name/incarnation of the replica that an operator has chosen to go on alone, until it does; else empty.
    pub recover: String,
    /// Every replica that is in sync, lives or was ever seen.
    pub copies: Vec<ReplicaStatus>,
}

/// A copy of a shard.
#[derive(uniffi::Record)]
pub struct ReplicaStatus {
    /// Its name.
    pub name: String,
    /// "leader", "in sync", "catching up", "read-only" and why, "gone" or "left".
    pub state: String,
    /// Since when, in milliseconds since 1970 by its own clock; 0: not known.
    pub since_ms: u64,
    /// Whether it is registered now.
    pub live: bool,
    /// Whether the shard counts it as in sync, with the data that it has now.
    pub in_isr: bool,
    /// host:port
    pub address: String,
    /// Where it stands.
    pub zone: String,
    /// What is wrong with its data, in words for people; may be empty.
    pub trouble: String,
    /// Times that its process has compared its data with that of others, at one record of the log.
    pub checks: u64,
    /// Copies, its own included, that it found to differ while it led.
    pub different: u64,
    /// Slots of its own whose rows were not what was written.
    pub rotten_slots: u64,
    /// Full copies that it has begun to receive.
    pub copies_begun: u64,
    /// Full copies that have taken the place of its data.
    pub copies_installed: u64,
    /// Times that it was begun anew within its process.
    pub restarts: u64,
}

/// A process of the cluster.
#[derive(uniffi::Record)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// New at each of its starts.
    pub run: String,
    /// host:port
    pub address: String,
    /// The shard it serves.
    pub shard: u32,
    /// Whether it is registered now.
    pub live: bool,
    /// Where it stands.
    pub zone: String,
}

/// What a master says of the whole cluster.
#[derive(uniffi::Record)]
pub struct ClusterStatus {
    /// Which cluster.
    pub cluster_id: String,
    /// How many slots it has.
    pub slot_count: u32,
    /// Version of the slot table.
    pub table_version: u64,
    /// Epoch of the leading master.
    pub master_epoch: u64,
    /// The masters.
    pub masters: Vec<MasterStatus>,
    /// The shards.
    pub shards: Vec<ShardStatus>,
    /// The members.
    pub members: Vec<MemberStatus>,
    /// Sentences for people.
    pub notices: Vec<String>,
    /// Shards whose registration the first allocation waits for.
    pub shards_announced: u32,
}

impl From<core::Explain> for Explain {
    fn from(explain: core::Explain) -> Self {
        Self {
            slot: explain.slot,
            hash_slot: explain.hash_slot,
            tag: explain.tag,
            slot_count: explain.slot_count,
            cluster_id: explain.cluster_id,
            shard: explain.shard,
            epoch: explain.epoch,
            table_version: explain.table_version,
            table_learned_ms: explain.table_learned_ms,
            primary: explain.primary,
            address: explain.address,
            backups: explain.backups,
            connected: explain.connected,
            in_flight: explain.in_flight,
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
            in_flight: member.in_flight,
            waiting: member.waiting,
            last_error: member.last_error,
        }
    }
}

impl From<core::Stats> for Stats {
    fn from(stats: core::Stats) -> Self {
        Self {
            calls: stats.calls,
            calls_ok: stats.calls_ok,
            calls_failed: stats.calls_failed,
            calls_unknown: stats.calls_unknown,
            calls_cancelled: stats.calls_cancelled,
            retries: stats.retries,
            redirects: stats.redirects,
            connects: stats.connects,
            connections_lost: stats.connections_lost,
            replies_late: stats.replies_late,
            frames_sent: stats.frames_sent,
            frames_received: stats.frames_received,
            refreshes: stats.refreshes,
            refreshes_failed: stats.refreshes_failed,
            pings_failed: stats.pings_failed,
            wrong_cluster: stats.wrong_cluster,
            wrong_version: stats.wrong_version,
            in_flight: stats.in_flight,
            waiting: stats.waiting,
            table_version: stats.table_version,
            route_revisions: stats.route_revisions,
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
            since_ms: status.since_ms,
            live: status.live,
            in_isr: status.in_isr,
            address: status.address,
            zone: status.zone,
            trouble: status.trouble,
            checks: status.checks,
            different: status.different,
            rotten_slots: status.rotten_slots,
            copies_begun: status.copies_begun,
            copies_installed: status.copies_installed,
            restarts: status.restarts,
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
