//! What a client tells about itself and the cluster.

use std::ffi::c_char;

use slotkv_facade::core;

use crate::bytes::slotkv_bytes;
use crate::memory::Arena;

/// Where calls for a key go, and why. Part of a result and freed with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_explanation {
    /// The key's slot among the cluster's slots.
    pub slot: u16,
    /// The same among 16384, as Redis Cluster's CLUSTER KEYSLOT shows it.
    pub hash_slot: u16,
    /// The part of the key that decides, if it has a {tag}; data is NULL if it has none.
    pub tag: slotkv_bytes,
    /// How many slots the cluster has.
    pub slot_count: u16,
    /// Which cluster.
    pub cluster_id: *const c_char,
    /// The slot's owner; -1 while it is not allocated.
    pub shard: i64,
    /// The shard's epoch.
    pub epoch: u64,
    /// Version of the slot table that says so.
    pub table_version: u64,
    /// When the client learned of this table, in milliseconds since 1970 by its own clock.
    pub table_learned_ms: u64,
    /// Name of the shard's primary; NULL if it is not known.
    pub primary: *const c_char,
    /// Its host:port; NULL if it is not known.
    pub address: *const c_char,
    /// host:port of the backups.
    pub backups: *const *const c_char,
    /// How many backups there are.
    pub backups_count: usize,
    /// Whether the connection to the primary is open.
    pub connected: bool,
    /// Requests on it that are not answered.
    pub in_flight: u64,
    /// Why the last connection to it failed or broke; empty if none did.
    pub last_error: *const c_char,
}

/// One connection of a client. Part of a result and freed with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_member_stats {
    /// The shard it serves.
    pub shard: u32,
    /// Its name.
    pub name: *const c_char,
    /// host:port
    pub address: *const c_char,
    /// Whether the connection is open.
    pub connected: bool,
    /// Requests sent and not answered.
    pub in_flight: u64,
    /// Calls that wait for the connection or for room on it.
    pub waiting: u64,
    /// Why the last connection failed or broke; empty if none did.
    pub last_error: *const c_char,
}

/// Counts since the client was made, and its state now. Part of a result and freed with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_client_stats {
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
    pub members: *const slotkv_member_stats,
    /// How many members there are.
    pub members_count: usize,
}

/// A master. Part of a result and freed with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_master {
    /// host:port
    pub address: *const c_char,
    /// Whether it leads.
    pub leader: bool,
}

/// A shard. Part of a result and freed with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_shard {
    /// Its number.
    pub shard: u32,
    /// Its epoch.
    pub epoch: u64,
    /// A word or two for people.
    pub state: *const c_char,
    /// Name of its primary; empty if it has none.
    pub primary: *const c_char,
    /// Names of the replicas in sync.
    pub isr: *const *const c_char,
    /// How many isr there are.
    pub isr_count: usize,
    /// "one" or "all".
    pub ack: *const c_char,
    /// Replicas that must be in sync for writes.
    pub min_isr: u32,
    /// "sync" or "interval(ms)".
    pub durability: *const c_char,
    /// Its weight.
    pub weight: f64,
    /// How many slots it owns.
    pub slots: u32,
    /// How many copies there shall be, the primary's included.
    pub replicas: u32,
    /// Who shall lead when it can; empty: whoever does.
    pub preferred: *const c_char,
    /// Why it is not as it should be, in words for people; empty if it is.
    pub reason: *const c_char,
    /// The last epoch that began although acknowledged writes may have been lost; 0: none did.
    pub loss_epoch: u64,
    /// Name/incarnation of the replica that an operator has chosen to go on alone, until it does; else empty.
    pub recover: *const c_char,
    /// Every replica that is in sync, lives or was ever seen.
    pub copies: *const slotkv_replica,
    /// How many copies there are.
    pub copies_count: usize,
}

/// A copy of a shard. Part of a result and freed with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_replica {
    /// Its name.
    pub name: *const c_char,
    /// "leader", "in sync", "catching up", "read-only" and why, "gone" or "left".
    pub state: *const c_char,
    /// Since when, in milliseconds since 1970 by its own clock; 0: not known.
    pub since_ms: u64,
    /// Whether it is registered now.
    pub live: bool,
    /// Whether the shard counts it as in sync, with the data that it has now.
    pub in_isr: bool,
    /// host:port
    pub address: *const c_char,
    /// Where it stands.
    pub zone: *const c_char,
    /// What is wrong with its data, in words for people; may be empty.
    pub trouble: *const c_char,
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

/// A process of the cluster. Part of a result and freed with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_member {
    /// Its name.
    pub name: *const c_char,
    /// New at each of its starts.
    pub run: *const c_char,
    /// host:port
    pub address: *const c_char,
    /// The shard it serves.
    pub shard: u32,
    /// Whether it is registered now.
    pub live: bool,
    /// Where it stands.
    pub zone: *const c_char,
}

/// What a master says of the whole cluster. Part of a result and freed with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_cluster {
    /// Which cluster.
    pub cluster_id: *const c_char,
    /// How many slots it has.
    pub slot_count: u32,
    /// Version of the slot table.
    pub table_version: u64,
    /// Epoch of the leading master.
    pub master_epoch: u64,
    /// The masters.
    pub masters: *const slotkv_master,
    /// How many masters there are.
    pub masters_count: usize,
    /// The shards.
    pub shards: *const slotkv_shard,
    /// How many shards there are.
    pub shards_count: usize,
    /// The members.
    pub members: *const slotkv_member,
    /// How many members there are.
    pub members_count: usize,
    /// Sentences for people.
    pub notices: *const *const c_char,
    /// How many notices there are.
    pub notices_count: usize,
    /// Shards whose registration the first allocation waits for.
    pub shards_announced: u32,
}

pub(crate) fn explanation(arena: &mut Arena, explain: core::Explain) -> *const slotkv_explanation {
    let (backups, backups_count) = arena.texts(explain.backups);
    let shown = slotkv_explanation {
        slot: explain.slot,
        hash_slot: explain.hash_slot,
        tag: explain.tag.map_or(slotkv_bytes::NONE, |tag| arena.bytes(tag.into())),
        slot_count: explain.slot_count,
        cluster_id: arena.text(explain.cluster_id),
        shard: explain.shard.map_or(-1, i64::from),
        epoch: explain.epoch,
        table_version: explain.table_version,
        table_learned_ms: explain.table_learned_ms,
        primary: arena.text_or_null(explain.primary),
        address: arena.text_or_null(explain.address),
        backups,
        backups_count,
        connected: explain.connected,
        in_flight: explain.in_flight,
        last_error: arena.text(explain.last_error),
    };
    arena.one(shown)
}

pub(crate) fn stats(arena: &mut Arena, stats: core::Stats) -> *const slotkv_client_stats {
    let mut members = Vec::with_capacity(stats.members.len());
    for member in stats.members {
        members.push(slotkv_member_stats {
            shard: member.shard,
            name: arena.text(member.name),
            address: arena.text(member.address),
            connected: member.connected,
            in_flight: member.in_flight,
            waiting: member.waiting,
            last_error: arena.text(member.last_error),
        });
    }
    let (members, members_count) = arena.slice(members);
    let shown = slotkv_client_stats {
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
        members,
        members_count,
    };
    arena.one(shown)
}

pub(crate) fn cluster(arena: &mut Arena, status: core::v1::StatusReply) -> *const slotkv_cluster {
    let mut masters = Vec::with_capacity(status.masters.len());
    for master in status.masters {
        masters.push(slotkv_master { address: arena.text(master.address), leader: master.leader });
    }
    let mut shards = Vec::with_capacity(status.shards.len());
    for shard in status.shards {
        let (isr, isr_count) = arena.texts(shard.isr);
        let mut copies = Vec::with_capacity(shard.copies.len());
        for copy in shard.copies {
            copies.push(slotkv_replica {
                name: arena.text(copy.name),
                state: arena.text(copy.state),
                since_ms: copy.since_ms,
                live: copy.live,
                in_isr: copy.in_isr,
                address: arena.text(copy.address),
                zone: arena.text(copy.zone),
                trouble: arena.text(copy.trouble),
                checks: copy.checks,
                different: copy.different,
                rotten_slots: copy.rotten_slots,
                copies_begun: copy.copies_begun,
                copies_installed: copy.copies_installed,
                restarts: copy.restarts,
            });
        }
        let (copies, copies_count) = arena.slice(copies);
        shards.push(slotkv_shard {
            shard: shard.shard,
            epoch: shard.epoch,
            state: arena.text(shard.state),
            primary: arena.text(shard.primary),
            isr,
            isr_count,
            ack: arena.text(shard.ack),
            min_isr: shard.min_isr,
            durability: arena.text(shard.durability),
            weight: shard.weight,
            slots: shard.slots,
            replicas: shard.replicas,
            preferred: arena.text(shard.preferred),
            reason: arena.text(shard.reason),
            loss_epoch: shard.loss_epoch,
            recover: arena.text(shard.recover),
            copies,
            copies_count,
        });
    }
    let mut members = Vec::with_capacity(status.members.len());
    for member in status.members {
        members.push(slotkv_member {
            name: arena.text(member.name),
            run: arena.text(member.run),
            address: arena.text(member.address),
            shard: member.shard,
            live: member.live,
            zone: arena.text(member.zone),
        });
    }
    let (masters, masters_count) = arena.slice(masters);
    let (shards, shards_count) = arena.slice(shards);
    let (members, members_count) = arena.slice(members);
    let (notices, notices_count) = arena.texts(status.notices);
    let shown = slotkv_cluster {
        cluster_id: arena.text(status.cluster_id),
        slot_count: status.slot_count,
        table_version: status.table_version,
        master_epoch: status.master_epoch,
        masters,
        masters_count,
        shards,
        shards_count,
        members,
        members_count,
        notices,
        notices_count,
        shards_announced: status.shards_announced,
    };
    arena.one(shown)
}
