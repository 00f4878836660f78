//! What a client tells about itself and the cluster: `explain`, `stats`, `status`.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use slotkv_facade::core;

use crate::record::record;

record! {
    /// Where calls for a key go, and why.
    Explain {
        /// The key's slot among the cluster's slots.
        slot: u16,
        /// The same among 16384, as Redis Cluster's CLUSTER KEYSLOT shows it.
        hash_slot: u16,
        /// The part of the key that decides, if it has a {tag}.
        tag: Option<Py<PyBytes>>,
        /// How many slots the cluster has.
        slot_count: u16,
        /// Which cluster.
        cluster_id: String,
        /// The slot's owner; None while it is not allocated.
        shard: Option<u32>,
        /// The shard's epoch.
        epoch: u64,
        /// Version of the slot table that says so.
        table_version: u64,
        /// When the client learned of this table, in milliseconds since 1970 by its own clock.
        table_learned_ms: u64,
        /// Name of the shard's primary.
        primary: Option<String>,
        /// Its host:port.
        address: Option<String>,
        /// host:port of the backups.
        backups: Vec<String>,
        /// Whether the connection to the primary is open.
        connected: bool,
        /// Requests on it that are not answered.
        in_flight: u64,
        /// Why the last connection to it failed or broke; empty if none did.
        last_error: String,
    }
}

record! {
    /// One connection of a client.
    MemberStats {
        /// The shard it serves.
        shard: u32,
        /// Its name.
        name: String,
        /// host:port
        address: String,
        /// Whether the connection is open.
        connected: bool,
        /// Requests sent and not answered.
        in_flight: u64,
        /// Calls that wait for the connection or for room on it.
        waiting: u64,
        /// Why the last connection failed or broke; empty if none did.
        last_error: String,
    }
}

record! {
    /// Counts since the client was made, and its state now.
    Stats {
        /// Calls begun.
        calls: u64,
        /// Calls that succeeded.
        calls_ok: u64,
        /// Calls that ended with an error and were provably not applied.
        calls_failed: u64,
        /// Calls that ended with an error and may have been applied.
        calls_unknown: u64,
        /// Calls that the caller cancelled; they are among those failed or unknown.
        calls_cancelled: u64,
        /// Times a call was sent again after a pause.
        retries: u64,
        /// Times a call was sent elsewhere because a member said so.
        redirects: u64,
        /// Connections that were opened.
        connects: u64,
        /// Connections that broke.
        connections_lost: u64,
        /// Replies that came after their call had ended.
        replies_late: u64,
        /// Frames sent on streams.
        frames_sent: u64,
        /// Frames received on streams.
        frames_received: u64,
        /// Slot-table fetches.
        refreshes: u64,
        /// Slot-table fetches to which nobody answered.
        refreshes_failed: u64,
        /// Rounds of pinging in which no master answered.
        pings_failed: u64,
        /// Answers of members of other clusters, which were ignored.
        wrong_cluster: u64,
        /// Answers in versions of the protocol that this client does not speak, which were ignored.
        wrong_version: u64,
        /// Calls open now, those that wait for room not counted.
        in_flight: u64,
        /// Calls that wait for room now.
        waiting: u64,
        /// Version of the slot table.
        table_version: u64,
        /// Sum of the routes' revisions.
        route_revisions: u64,
        /// The members that calls go to, by shard.
        members: Vec<Py<MemberStats>>,
    }
}

record! {
    /// A master.
    MasterStatus {
        /// host:port
        address: String,
        /// Whether it leads.
        leader: bool,
    }
}

record! {
    /// A shard.
    ShardStatus {
        /// Its number.
        shard: u32,
        /// Its epoch.
        epoch: u64,
        /// A word or two for people.
        state: String,
        /// Name of its primary; empty if it has none.
        primary: String,
        /// Names of the replicas in sync.
        isr: Vec<String>,
        /// "one" or "all".
        ack: String,
        /// Replicas that must be in sync for writes.
        min_isr: u32,
        /// "sync" or "interval(ms)".
        durability: String,
        /// Its weight.
        weight: f64,
        /// How many slots it owns.
        slots: u32,
        /// How many copies there shall be, the primary's included.
        replicas: u32,
        /// Who shall lead when it can; empty: whoever does.
        preferred: String,
        /// Why it is not as it should be, in words for people; empty if it is.
        reason: String,
        /// The last epoch that began although acknowledged writes may have been lost; 0: none did.
        loss_epoch: u64,
        /// Name/incarnation of the replica that an operator has chosen to go on alone, until it does; else empty.
        recover: String,
        /// Every replica that is in sync, lives or was ever seen.
        copies: Vec<Py<ReplicaStatus>>,
    }
}

record! {
    /// A copy of a shard.
    ReplicaStatus {
        /// Its name.
        name: String,
        /// "leader", "in sync", "catching up", "read-only" and why, "gone" or "left".
        state: String,
        /// Since when, in milliseconds since 1970 by its own clock; 0: not known.
        since_ms: u64,
        /// Whether it is registered now.
        live: bool,
        /// Whether the shard counts it as in sync, with the data that it has now.
        in_isr: bool,
        /// host:port
        address: String,
        /// Where it stands.
        zone: String,
        /// What is wrong with its data, in words for people; may be empty.
        trouble: String,
        /// Times that its process has compared its data with that of others, at one record of the log.
        checks: u64,
        /// Copies, its own included, that it found to differ while it led.
        different: u64,
        /// Slots of its own whose rows were not what was written.
        rotten_slots: u64,
        /// Full copies that it has begun to receive.
        copies_begun: u64,
        /// Full copies that have taken the place of its data.
        copies_installed: u64,
        /// Times that it was begun anew within its process.
        restarts: u64,
    }
}

record! {
    /// A process of the cluster.
    MemberStatus {
        /// Its name.
        name: String,
        /// New at each of its starts.
        run: String,
        /// host:port
        address: String,
        /// The shard it serves.
        shard: u32,
        /// Whether it is registered now.
        live: bool,
        /// Where it stands.
        zone: String,
    }
}

record! {
    /// What a master says of the whole cluster.
    ClusterStatus {
        /// Which cluster.
        cluster_id: String,
        /// How many slots it has.
        slot_count: u32,
        /// Version of the slot table.
        table_version: u64,
        /// Epoch of the leading master.
        master_epoch: u64,
        /// The masters.
        masters: Vec<Py<MasterStatus>>,
        /// The shards.
        shards: Vec<Py<ShardStatus>>,
        /// The members.
        members: Vec<Py<MemberStatus>>,
        /// Sentences for people.
        notices: Vec<String>,
        /// Shards whose registration the first allocation waits for.
        shards_announced: u32,
    }
}

impl Explain {
    pub(crate) fn new(py: Python<'_>, explain: core::Explain) -> Self {
        Self {
            slot: explain.slot,
            hash_slot: explain.hash_slot,
            tag: explain.tag.map(|tag| PyBytes::new(py, &tag).unbind()),
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

impl Stats {
    pub(crate) fn new(py: Python<'_>, stats: core::Stats) -> PyResult<Self> {
        let member = |member: core::MemberStats| {
            let core::MemberStats { shard, name, address, connected, in_flight, waiting, last_error, .. } =
                member;
            Py::new(py, MemberStats { shard, name, address, connected, in_flight, waiting, last_error })
        };
        Ok(Self {
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
            members: stats.members.into_iter().map(member).collect::<PyResult<_>>()?,
        })
    }
}

impl ClusterStatus {
    pub(crate) fn new(py: Python<'_>, status: core::v1::StatusReply) -> PyResult<Self> {
        let masters = status.masters.into_iter();
        let shards = status.shards.into_iter();
        let members = status.members.into_iter();
        Ok(Self {
            cluster_id: status.cluster_id,
            slot_count: status.slot_count,
            table_version: status.table_version,
            master_epoch: status.master_epoch,
            masters: masters
                .map(|master| Py::new(py, MasterStatus { address: master.address, leader: master.leader }))
                .collect::<PyResult<_>>()?,
            shards: shards.map(|shard| Py::new(py, ShardStatus::new(py, shard)?)).collect::<PyResult<_>>()?,
            members: members
                .map(|member| Py::new(py, MemberStatus::from(member)))
                .collect::<PyResult<_>>()?,
            notices: status.notices,
            shards_announced: status.shards_announced,
        })
    }
}

impl ShardStatus {
    fn new(py: Python<'_>, status: core::v1::ShardStatus) -> PyResult<Self> {
        let copies = status.copies.into_iter();
        Ok(Self {
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
            copies: copies.map(|copy| Py::new(py, ReplicaStatus::from(copy))).collect::<PyResult<_>>()?,
        })
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
