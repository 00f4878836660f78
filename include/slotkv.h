/* The C interface of slotkv. Made by cbindgen of bindings/c; see docs/guide/c.md. */

#ifndef SLOTKV_H
#define SLOTKV_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/**
 * Version of the binary interface that this header describes. Given to `slotkv_connect`; a library that does not have it
 * refuses.
 */
#define SLOTKV_ABI_VERSION 0

/**
 * How a call ended. Numbers are stable; a newer library may have more.
 */
enum slotkv_code_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It succeeded.
     */
    SLOTKV_CODE_OK = 0,
    /**
     * An argument is not of the form the operation takes.
     */
    SLOTKV_CODE_INVALID_ARGUMENT = 1,
    /**
     * A key, value, batch or frame is past its limit.
     */
    SLOTKV_CODE_TOO_LARGE = 2,
    /**
     * The other side does not know this operation, version or option.
     */
    SLOTKV_CODE_UNSUPPORTED = 3,
    /**
     * The credentials do not allow this.
     */
    SLOTKV_CODE_DENIED = 4,
    /**
     * The member belongs to another cluster.
     */
    SLOTKV_CODE_WRONG_CLUSTER = 5,
    /**
     * The value to increment is not a decimal number of 64 bits.
     */
    SLOTKV_CODE_NOT_A_NUMBER = 6,
    /**
     * The sum does not fit into 64 bits.
     */
    SLOTKV_CODE_OVERFLOW = 7,
    /**
     * The slot belongs to another shard; the reply carries the correction.
     */
    SLOTKV_CODE_MOVED = 10,
    /**
     * The member is behind the client's slot table, or the slot is being handed over.
     */
    SLOTKV_CODE_RETRY = 11,
    /**
     * The member is not the primary of its shard in this epoch.
     */
    SLOTKV_CODE_NOT_PRIMARY = 12,
    /**
     * The shard has too few replicas in sync, or no room on its disk, and takes no writes.
     */
    SLOTKV_CODE_READ_ONLY = 13,
    /**
     * A limit of requests in flight is reached.
     */
    SLOTKV_CODE_OVERLOADED = 14,
    /**
     * No connection to the member could be made; nothing was sent.
     */
    SLOTKV_CODE_UNAVAILABLE = 15,
    /**
     * None of the named members answered with a slot table.
     */
    SLOTKV_CODE_NO_MASTER = 16,
    /**
     * The member is stopping and takes no new requests.
     */
    SLOTKV_CODE_SHUTTING_DOWN = 17,
    /**
     * The deadline passed.
     */
    SLOTKV_CODE_TIMEOUT = 20,
    /**
     * The connection broke after the request was sent.
     */
    SLOTKV_CODE_CONNECTION_LOST = 21,
    /**
     * The primary stepped down after it had appended the write.
     */
    SLOTKV_CODE_STEPPED_DOWN = 22,
    /**
     * The result of an earlier attempt is no longer kept; this attempt was not executed.
     */
    SLOTKV_CODE_INDETERMINATE = 23,
    /**
     * The caller cancelled the call.
     */
    SLOTKV_CODE_CANCELLED = 24,
    /**
     * Stored data failed its checks and is not served.
     */
    SLOTKV_CODE_DAMAGED = 30,
    /**
     * The client was closed.
     */
    SLOTKV_CODE_CLOSED = 40,
    /**
     * The client was made before a fork; make a new one in the child.
     */
    SLOTKV_CODE_FORKED = 41,
    /**
     * An error that this build does not know; its text says more.
     */
    SLOTKV_CODE_UNEXPECTED = 50,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum slotkv_code_t slotkv_code_t;
#else
typedef int32_t slotkv_code_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What an operation did or found.
 */
enum slotkv_status_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The operation has no status.
     */
    SLOTKV_STATUS_NONE = 0,
    /**
     * Of a put: the key is new.
     */
    SLOTKV_STATUS_CREATED = 1,
    /**
     * Of a put: the key existed.
     */
    SLOTKV_STATUS_UPDATED = 2,
    /**
     * The condition did not hold and nothing was changed.
     */
    SLOTKV_STATUS_UNMET = 3,
    /**
     * Of a delete: the key is gone.
     */
    SLOTKV_STATUS_DELETED = 4,
    /**
     * There is no such key.
     */
    SLOTKV_STATUS_NOT_FOUND = 5,
    /**
     * The key exists.
     */
    SLOTKV_STATUS_FOUND = 6,
    /**
     * Of slotkv_outcome: the write was not applied and never will be.
     */
    SLOTKV_STATUS_NOT_APPLIED = 7,
    /**
     * Of slotkv_outcome: nobody knows any more.
     */
    SLOTKV_STATUS_FORGOTTEN = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum slotkv_status_t slotkv_status_t;
#else
typedef int32_t slotkv_status_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Whether an operation that did not succeed was applied.
 */
enum slotkv_outcome_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Provably not, by none of its attempts.
     */
    SLOTKV_OUTCOME_FAILED = 1,
    /**
     * It may have been applied, or may yet be.
     */
    SLOTKV_OUTCOME_UNKNOWN = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum slotkv_outcome_t slotkv_outcome_t;
#else
typedef int32_t slotkv_outcome_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What may be done after an error.
 */
enum slotkv_retry_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The same call will fail again.
     */
    SLOTKV_RETRY_NEVER = 1,
    /**
     * The same call, at once.
     */
    SLOTKV_RETRY_REROUTE = 2,
    /**
     * The same call, after a pause.
     */
    SLOTKV_RETRY_BACKOFF = 3,
    /**
     * The caller decides: the operation may have been applied.
     */
    SLOTKV_RETRY_ASK = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum slotkv_retry_t slotkv_retry_t;
#else
typedef int32_t slotkv_retry_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How much a record matters.
 */
enum slotkv_level_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * No records at all.
     */
    SLOTKV_LEVEL_OFF = 0,
    /**
     * Something failed.
     */
    SLOTKV_LEVEL_ERROR = 1,
    /**
     * Something is not as it should be; slotkv copes.
     */
    SLOTKV_LEVEL_WARN = 2,
    /**
     * What an operator wants to read.
     */
    SLOTKV_LEVEL_INFO = 3,
    /**
     * For whoever looks for a fault.
     */
    SLOTKV_LEVEL_DEBUG = 4,
    /**
     * Everything.
     */
    SLOTKV_LEVEL_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum slotkv_level_t slotkv_level_t;
#else
typedef uint32_t slotkv_level_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What is asked.
 */
enum slotkv_operation_kind_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The value of key.
     */
    SLOTKV_OPERATION_KIND_GET = 1,
    /**
     * Whether key exists.
     */
    SLOTKV_OPERATION_KIND_HAS = 2,
    /**
     * Stores value under key if condition holds.
     */
    SLOTKV_OPERATION_KIND_PUT = 3,
    /**
     * Removes key if condition holds.
     */
    SLOTKV_OPERATION_KIND_DELETE = 4,
    /**
     * Adds delta to the decimal number under key; an absent key counts as 0.
     */
    SLOTKV_OPERATION_KIND_INCREMENT = 5,
    /**
     * How many keys range has.
     */
    SLOTKV_OPERATION_KIND_COUNT = 6,
    /**
     * A page of a scan of range, from cursor on. It may be empty although there are more.
     */
    SLOTKV_OPERATION_KIND_PAGE = 7,
    /**
     * Every item of range, in key order. For debugging: it has to fit into memory.
     */
    SLOTKV_OPERATION_KIND_DUMP = 8,
    /**
     * What a master says of the cluster.
     */
    SLOTKV_OPERATION_KIND_STATUS = 9,
    /**
     * Those of operations, in any order, each with its own result.
     */
    SLOTKV_OPERATION_KIND_MANY = 10,
    /**
     * What came of the write that token stands for.
     */
    SLOTKV_OPERATION_KIND_OUTCOME = 11,
    /**
     * Gives key, which has to exist, the lifetime ttl_ms of its options from now on; 0: it lives for ever.
     */
    SLOTKV_OPERATION_KIND_EXPIRE = 12,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum slotkv_operation_kind_t slotkv_operation_kind_t;
#else
typedef uint32_t slotkv_operation_kind_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What must hold for a write to take place.
 */
enum slotkv_condition_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Nothing.
     */
    SLOTKV_CONDITION_ALWAYS = 0,
    /**
     * The key is absent. Not for a delete.
     */
    SLOTKV_CONDITION_ABSENT = 1,
    /**
     * The key exists.
     */
    SLOTKV_CONDITION_PRESENT = 2,
    /**
     * The key exists in this version.
     */
    SLOTKV_CONDITION_VERSION = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum slotkv_condition_t slotkv_condition_t;
#else
typedef uint32_t slotkv_condition_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How fresh the answer of a read has to be. All but the first are answered by any replica that is fresh enough.
 */
enum slotkv_read_level_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * What the key holds at the time of the read. The primary answers.
     */
    SLOTKV_READ_LEVEL_LINEARIZABLE = 0,
    /**
     * Not older than what the session has written or read before.
     */
    SLOTKV_READ_LEVEL_SESSION = 1,
    /**
     * Older by no more than staleness_ms.
     */
    SLOTKV_READ_LEVEL_BOUNDED = 2,
    /**
     * Perhaps old, by however much.
     */
    SLOTKV_READ_LEVEL_STALE = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum slotkv_read_level_t slotkv_read_level_t;
#else
typedef uint32_t slotkv_read_level_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What slotkv_connect may be told. Start from slotkv_connect_options(); 0 and NULL stand for the default. What the URI
 * says of the same thing wins.
 */
typedef struct slotkv_connect_options_t {
    /**
     * sizeof(slotkv_connect_options_t)
     */
    size_t size;
    /**
     * Namespace of calls that name none.
     */
    const char *namespace_name;
    /**
     * The client's name, for people.
     */
    const char *client_name;
    /**
     * Time for a call that names none, up to 300000; 5000.
     */
    uint32_t deadline_ms;
    /**
     * Time for connecting, and for one connection to a member, up to 300000; 5000.
     */
    uint32_t connect_timeout_ms;
    /**
     * How often the master is pinged, up to 300000; 300.
     */
    uint32_t ping_interval_ms;
    /**
     * Connections to each member, up to 16; 1.
     */
    uint32_t streams_per_member;
    /**
     * Calls open at once; further ones wait. Up to 1048576; 16384.
     */
    uint32_t inflight_max;
    /**
     * Not 0: slotkv_connect returns at once and the first blocking call connects. For programs that use queues only.
     */
    uint8_t is_lazy;
    /**
     * Where the client stands, by the name of a zone: reads that backups may answer go to those of the same zone, if there are
     * any.
     */
    const char *zone;
} slotkv_connect_options_t;

/**
 * A client's handle, for any number of threads. 0 is none.
 */
typedef uint64_t slotkv_client_t;

/**
 * Bytes of any kind, not ended by a 0. In arguments they are the caller's and read during the call only; in results they
 * are the result's.
 */
typedef struct slotkv_bytes_t {
    /**
     * The first of them. NULL stands for no bytes, where some may be left out.
     */
    const void *data;
    /**
     * How many there are.
     */
    size_t size;
} slotkv_bytes_t;

/**
 * A key of a scan. Part of a result and freed with it.
 */
typedef struct slotkv_item_t {
    /**
     * The key.
     */
    struct slotkv_bytes_t key;
    /**
     * Its value; empty with keys_only.
     */
    struct slotkv_bytes_t value;
    /**
     * Its version.
     */
    uint64_t version;
    /**
     * Its slot.
     */
    uint16_t slot;
    /**
     * What is left of its lifetime; 0: it lives for ever.
     */
    uint64_t ttl_ms;
} slotkv_item_t;

/**
 * Why a call did not succeed. Part of its result and freed with it.
 */
typedef struct slotkv_error_t {
    /**
     * Which kind.
     */
    slotkv_code_t code;
    /**
     * Whether the operation was applied.
     */
    slotkv_outcome_t outcome;
    /**
     * What can be done now.
     */
    slotkv_retry_t retry;
    /**
     * How often the operation was sent, or tried to be.
     */
    uint32_t attempts;
    /**
     * Whether the very same call may simply be repeated: it was not applied, and may succeed later.
     */
    bool retryable;
    /**
     * The stable upper-case name of the kind, as "TIMEOUT".
     */
    const char *kind;
    /**
     * What was wrong, for people, with its limit where there is one.
     */
    const char *message;
    /**
     * host:port of the member that the error came from or that could not be reached, if one was asked; else NULL.
     */
    const char *member;
    /**
     * What the layers below said, the nearest first.
     */
    const char *const *causes;
    /**
     * How many causes there are.
     */
    size_t causes_count;
    /**
     * Of a write whose outcome is unknown: by it slotkv_outcome tells what came of it. Else NULL data.
     */
    struct slotkv_bytes_t token;
} slotkv_error_t;

/**
 * Where calls for a key go, and why. Part of a result and freed with it.
 */
typedef struct slotkv_explanation_t {
    /**
     * The key's slot among the cluster's slots.
     */
    uint16_t slot;
    /**
     * The same among 16384, as Redis Cluster's CLUSTER KEYSLOT shows it.
     */
    uint16_t hash_slot;
    /**
     * The part of the key that decides, if it has a {tag}; data is NULL if it has none.
     */
    struct slotkv_bytes_t tag;
    /**
     * How many slots the cluster has.
     */
    uint16_t slot_count;
    /**
     * Which cluster.
     */
    const char *cluster_id;
    /**
     * The slot's owner; -1 while it is not allocated.
     */
    int64_t shard;
    /**
     * The shard's epoch.
     */
    uint64_t epoch;
    /**
     * Version of the slot table that says so.
     */
    uint64_t table_version;
    /**
     * When the client learned of this table, in milliseconds since 1970 by its own clock.
     */
    uint64_t table_learned_ms;
    /**
     * Name of the shard's primary; NULL if it is not known.
     */
    const char *primary;
    /**
     * Its host:port; NULL if it is not known.
     */
    const char *address;
    /**
     * host:port of the backups.
     */
    const char *const *backups;
    /**
     * How many backups there are.
     */
    size_t backups_count;
    /**
     * Whether the connection to the primary is open.
     */
    bool connected;
    /**
     * Requests on it that are not answered.
     */
    uint64_t in_flight;
    /**
     * Why the last connection to it failed or broke; empty if none did.
     */
    const char *last_error;
} slotkv_explanation_t;

/**
 * One connection of a client. Part of a result and freed with it.
 */
typedef struct slotkv_member_stats_t {
    /**
     * The shard it serves.
     */
    uint32_t shard;
    /**
     * Its name.
     */
    const char *name;
    /**
     * host:port
     */
    const char *address;
    /**
     * Whether the connection is open.
     */
    bool connected;
    /**
     * Requests sent and not answered.
     */
    uint64_t in_flight;
    /**
     * Calls that wait for the connection or for room on it.
     */
    uint64_t waiting;
    /**
     * Why the last connection failed or broke; empty if none did.
     */
    const char *last_error;
} slotkv_member_stats_t;

/**
 * Counts since the client was made, and its state now. Part of a result and freed with it.
 */
typedef struct slotkv_client_stats_t {
    /**
     * Calls begun.
     */
    uint64_t calls;
    /**
     * Calls that succeeded.
     */
    uint64_t calls_ok;
    /**
     * Calls that ended with an error and were provably not applied.
     */
    uint64_t calls_failed;
    /**
     * Calls that ended with an error and may have been applied.
     */
    uint64_t calls_unknown;
    /**
     * Calls that the caller cancelled; they are among those failed or unknown.
     */
    uint64_t calls_cancelled;
    /**
     * Times a call was sent again after a pause.
     */
    uint64_t retries;
    /**
     * Times a call was sent elsewhere because a member said so.
     */
    uint64_t redirects;
    /**
     * Connections that were opened.
     */
    uint64_t connects;
    /**
     * Connections that broke.
     */
    uint64_t connections_lost;
    /**
     * Replies that came after their call had ended.
     */
    uint64_t replies_late;
    /**
     * Frames sent on streams.
     */
    uint64_t frames_sent;
    /**
     * Frames received on streams.
     */
    uint64_t frames_received;
    /**
     * Slot-table fetches.
     */
    uint64_t refreshes;
    /**
     * Slot-table fetches to which nobody answered.
     */
    uint64_t refreshes_failed;
    /**
     * Rounds of pinging in which no master answered.
     */
    uint64_t pings_failed;
    /**
     * Answers of members of other clusters, which were ignored.
     */
    uint64_t wrong_cluster;
    /**
     * Answers in versions of the protocol that this client does not speak, which were ignored.
     */
    uint64_t wrong_version;
    /**
     * Calls open now, those that wait for room not counted.
     */
    uint64_t in_flight;
    /**
     * Calls that wait for room now.
     */
    uint64_t waiting;
    /**
     * Version of the slot table.
     */
    uint64_t table_version;
    /**
     * Sum of the routes' revisions.
     */
    uint64_t route_revisions;
    /**
     * The members that calls go to, by shard.
     */
    const struct slotkv_member_stats_t *members;
    /**
     * How many members there are.
     */
    size_t members_count;
} slotkv_client_stats_t;

/**
 * A master. Part of a result and freed with it.
 */
typedef struct slotkv_master_t {
    /**
     * host:port
     */
    const char *address;
    /**
     * Whether it leads.
     */
    bool leader;
} slotkv_master_t;

/**
 * A copy of a shard. Part of a result and freed with it.
 */
typedef struct slotkv_replica_t {
    /**
     * Its name.
     */
    const char *name;
    /**
     * "leader", "in sync", "catching up", "read-only" and why, "gone" or "left".
     */
    const char *state;
    /**
     * Since when, in milliseconds since 1970 by its own clock; 0: not known.
     */
    uint64_t since_ms;
    /**
     * Whether it is registered now.
     */
    bool live;
    /**
     * Whether the shard counts it as in sync, with the data that it has now.
     */
    bool in_isr;
    /**
     * host:port
     */
    const char *address;
    /**
     * Where it stands.
     */
    const char *zone;
    /**
     * What is wrong with its data, in words for people; may be empty.
     */
    const char *trouble;
    /**
     * Times that its process has compared its data with that of others, at one record of the log.
     */
    uint64_t checks;
    /**
     * Copies, its own included, that it found to differ while it led.
     */
    uint64_t different;
    /**
     * Slots of its own whose rows were not what was written.
     */
    uint64_t rotten_slots;
    /**
     * Full copies that it has begun to receive.
     */
    uint64_t copies_begun;
    /**
     * Full copies that have taken the place of its data.
     */
    uint64_t copies_installed;
    /**
     * Times that it was begun anew within its process.
     */
    uint64_t restarts;
} slotkv_replica_t;

/**
 * A shard. Part of a result and freed with it.
 */
typedef struct slotkv_shard_t {
    /**
     * Its number.
     */
    uint32_t shard;
    /**
     * Its epoch.
     */
    uint64_t epoch;
    /**
     * A word or two for people.
     */
    const char *state;
    /**
     * Name of its primary; empty if it has none.
     */
    const char *primary;
    /**
     * Names of the replicas in sync.
     */
    const char *const *isr;
    /**
     * How many isr there are.
     */
    size_t isr_count;
    /**
     * "one" or "all".
     */
    const char *ack;
    /**
     * Replicas that must be in sync for writes.
     */
    uint32_t min_isr;
    /**
     * "sync" or "interval(ms)".
     */
    const char *durability;
    /**
     * Its weight.
     */
    double weight;
    /**
     * How many slots it owns.
     */
    uint32_t slots;
    /**
     * How many copies there shall be, the primary's included.
     */
    uint32_t replicas;
    /**
     * Who shall lead when it can; empty: whoever does.
     */
    const char *preferred;
    /**
     * Why it is not as it should be, in words for people; empty if it is.
     */
    const char *reason;
    /**
     * The last epoch that began although acknowledged writes may have been lost; 0: none did.
     */
    uint64_t loss_epoch;
    /**
     * Name/incarnation of the replica that an operator has chosen to go on alone, until it does; else empty.
     */
    const char *recover;
    /**
     * Every replica that is in sync, lives or was ever seen.
     */
    const struct slotkv_replica_t *copies;
    /**
     * How many copies there are.
     */
    size_t copies_count;
} slotkv_shard_t;

/**
 * A process of the cluster. Part of a result and freed with it.
 */
typedef struct slotkv_member_t {
    /**
     * Its name.
     */
    const char *name;
    /**
     * New at each of its starts.
     */
    const char *run;
    /**
     * host:port
     */
    const char *address;
    /**
     * The shard it serves.
     */
    uint32_t shard;
    /**
     * Whether it is registered now.
     */
    bool live;
    /**
     * Where it stands.
     */
    const char *zone;
} slotkv_member_t;

/**
 * What a master says of the whole cluster. Part of a result and freed with it.
 */
typedef struct slotkv_cluster_t {
    /**
     * Which cluster.
     */
    const char *cluster_id;
    /**
     * How many slots it has.
     */
    uint32_t slot_count;
    /**
     * Version of the slot table.
     */
    uint64_t table_version;
    /**
     * Epoch of the leading master.
     */
    uint64_t master_epoch;
    /**
     * The masters.
     */
    const struct slotkv_master_t *masters;
    /**
     * How many masters there are.
     */
    size_t masters_count;
    /**
     * The shards.
     */
    const struct slotkv_shard_t *shards;
    /**
     * How many shards there are.
     */
    size_t shards_count;
    /**
     * The members.
     */
    const struct slotkv_member_t *members;
    /**
     * How many members there are.
     */
    size_t members_count;
    /**
     * Sentences for people.
     */
    const char *const *notices;
    /**
     * How many notices there are.
     */
    size_t notices_count;
    /**
     * Shards whose registration the first allocation waits for.
     */
    uint32_t shards_announced;
} slotkv_cluster_t;

/**
 * How a call ended. The library writes all of it and reads nothing that stood there; a place that is used again is freed
 * before. Where a call takes one it may be NULL: then the code is all that is told.
 *
 * The caller owns the structure, and what it points to until slotkv_result_free; copies of the structure share that. What
 * an operation does not answer is 0 or NULL. Another thread may read and free it.
 */
typedef struct slotkv_result_t {
    /**
     * SLOTKV_CODE_OK, or why it did not succeed.
     */
    slotkv_code_t code;
    /**
     * What a write did, and whether get and has found the key.
     */
    slotkv_status_t status;
    /**
     * The key's version: of the value that was got; after a write; of the deletion. With SLOTKV_STATUS_UNMET the version
     * as it stands, 0 if the key is absent.
     */
    uint64_t version;
    /**
     * The sum of increment; how many keys count counted; the slot; 1 or 0 of has.
     */
    int64_t number;
    /**
     * What is left of the lifetime of the key that get has found; 0: it lives for ever.
     */
    uint64_t ttl_ms;
    /**
     * The value of get, as it came out of the decoded message; the token of slotkv_session_token.
     */
    struct slotkv_bytes_t value;
    /**
     * Where a scan goes on; data is NULL where it stands at its beginning or, of a page, has come to its end.
     */
    struct slotkv_bytes_t cursor;
    /**
     * Keys of a scan or dump.
     */
    const struct slotkv_item_t *items;
    /**
     * How many items there are. Of slotkv_scan_next: 0 behind the last one.
     */
    size_t items_count;
    /**
     * Of many keys, in their order. They are not freed by themselves.
     */
    const struct slotkv_result_t *results;
    /**
     * How many results there are.
     */
    size_t results_count;
    /**
     * More about why; NULL if the code is SLOTKV_CODE_OK. Of many keys: the first error, with the outcome of the worst.
     */
    const struct slotkv_error_t *error;
    /**
     * Of slotkv_explain.
     */
    const struct slotkv_explanation_t *explanation;
    /**
     * Of slotkv_stats.
     */
    const struct slotkv_client_stats_t *stats;
    /**
     * Of slotkv_status.
     */
    const struct slotkv_cluster_t *cluster;
    /**
     * The library's name for what this points to; 0 for nothing.
     */
    uint64_t memory;
} slotkv_result_t;

/**
 * Which keys: those that begin with prefix, from start on, below end. Start from slotkv_range(), which is all keys.
 */
typedef struct slotkv_range_t {
    /**
     * sizeof(slotkv_range_t)
     */
    size_t size;
    /**
     * What the keys begin with.
     */
    struct slotkv_bytes_t prefix;
    /**
     * The first key.
     */
    struct slotkv_bytes_t start;
    /**
     * Behind the last key.
     */
    struct slotkv_bytes_t end;
    /**
     * Items in a page, up to 10000; 1000.
     */
    uint32_t page_items;
    /**
     * Not 0: in key order, which costs more; else in slot order.
     */
    uint8_t is_ordered;
    /**
     * Not 0: without values.
     */
    uint8_t keys_only;
} slotkv_range_t;

/**
 * Asked about every 50 ms during a blocking call that takes that long, on the thread that made it; anything but 0 ends
 * the call with SLOTKV_CODE_CANCELLED.
 */
typedef int (*slotkv_interrupt_t)(void *context);

/**
 * A session's handle, for any number of threads, and for clients and queues of one cluster. 0 is none.
 */
typedef uint64_t slotkv_session_t;

/**
 * What one call may say differently from its client. Start from slotkv_call_options(); 0 and NULL stand for the
 * client's.
 */
typedef struct slotkv_call_options_t {
    /**
     * sizeof(slotkv_call_options_t)
     */
    size_t size;
    /**
     * Time for the call with all its attempts, up to 300000; of a scan, for each page.
     */
    uint32_t deadline_ms;
    /**
     * Namespace; "" for the one without a name.
     */
    const char *namespace_name;
    /**
     * W3C traceparent of the caller's span.
     */
    const char *traceparent;
    /**
     * Gives the call up, if it waits; not asked by calls on a queue, which slotkv_queue_cancel ends.
     */
    slotkv_interrupt_t interrupt;
    /**
     * Given to interrupt.
     */
    void *interrupt_context;
    /**
     * How fresh the answer of a read has to be, a slotkv_read_level_t; 0 for linearizable.
     */
    uint32_t read_level;
    /**
     * With SLOTKV_READ_LEVEL_BOUNDED: how old the answer may be, up to 300000.
     */
    uint32_t staleness_ms;
    /**
     * The same as session by a token, of slotkv_session_token or slotkv_session_seen here or elsewhere, to which the call adds
     * nothing; NULL data for none.
     */
    struct slotkv_bytes_t session_token;
    /**
     * Lifetime of the key, for calls that store something, up to 315360000000 (ten years); 0: it lives for ever.
     */
    uint64_t ttl_ms;
    /**
     * What a session's read may not be older than, of slotkv_session_open; the call adds what it writes and reads. 0 for all
     * that the client has seen.
     */
    slotkv_session_t session;
} slotkv_call_options_t;

/**
 * An operation. Start from slotkv_operation(kind); what its kind does not name is not looked at. It is read and copied
 * before the call that takes it returns.
 */
typedef struct slotkv_operation_t {
    /**
     * sizeof(slotkv_operation_t)
     */
    size_t size;
    /**
     * A slotkv_operation_kind_t.
     */
    uint32_t kind;
    /**
     * A slotkv_condition_t.
     */
    uint32_t condition;
    /**
     * The key.
     */
    struct slotkv_bytes_t key;
    /**
     * The value to store.
     */
    struct slotkv_bytes_t value;
    /**
     * For SLOTKV_CONDITION_VERSION.
     */
    uint64_t version;
    /**
     * What to add.
     */
    int64_t delta;
    /**
     * Which keys; NULL for all.
     */
    const struct slotkv_range_t *range;
    /**
     * Where a scan goes on; NULL data for its beginning.
     */
    struct slotkv_bytes_t cursor;
    /**
     * Operations of many keys; their options and contexts are not looked at.
     */
    const struct slotkv_operation_t *operations;
    /**
     * How many they are.
     */
    size_t operations_count;
    /**
     * What this operation says differently from its client; NULL for nothing.
     */
    const struct slotkv_call_options_t *options;
    /**
     * The caller's; comes back in the completion.
     */
    void *context;
    /**
     * Of an error whose outcome is unknown.
     */
    struct slotkv_bytes_t token;
} slotkv_operation_t;

/**
 * A key and the value to store under it.
 */
typedef struct slotkv_pair_t {
    /**
     * The key.
     */
    struct slotkv_bytes_t key;
    /**
     * The value.
     */
    struct slotkv_bytes_t value;
} slotkv_pair_t;

/**
 * One record. It lives until the callback returns.
 */
typedef struct slotkv_record_t {
    /**
     * How much it matters.
     */
    slotkv_level_t level;
    /**
     * The module that speaks, as "slotkv::connection".
     */
    const char *target;
    /**
     * The text, with its fields as name=value behind it.
     */
    const char *message;
    /**
     * Records that were dropped just before this one, because the callback did not keep up.
     */
    uint64_t dropped_before;
} slotkv_record_t;

/**
 * Called with records, one at a time, on a thread of the library's own.
 */
typedef void (*slotkv_log_callback_t)(void *context, const struct slotkv_record_t *record);

/**
 * The end of an operation.
 */
typedef struct slotkv_completion_t {
    /**
     * What the operation was begun with.
     */
    void *context;
    /**
     * How it ended. Free it with slotkv_result_free.
     */
    struct slotkv_result_t result;
} slotkv_completion_t;

/**
 * Called with ends of operations, oldest first, a whole batch at a time and never twice at once. It runs on the library's
 * thread, for which all queues of the process wait: it must return soon and must not wait. It may begin and cancel
 * operations; calls that wait are refused in it. Results are its to free. It must not throw: that ends the process.
 */
typedef void (*slotkv_callback_t)(void *context, struct slotkv_completion_t *completions, size_t count);

/**
 * A queue's handle, for any number of threads. 0 is none.
 */
typedef uint64_t slotkv_queue_t;

/**
 * Names an operation that was begun, on its own queue. 0 is none.
 */
typedef uint64_t slotkv_pending_t;

/**
 * What a queue has done so far.
 */
typedef struct slotkv_queue_counters_t {
    /**
     * Operations begun.
     */
    uint64_t submissions;
    /**
     * Times the library's thread was rung for them.
     */
    uint64_t rings;
    /**
     * Ends that came.
     */
    uint64_t completions;
    /**
     * Times the descriptor was made readable, or the callback called, for them.
     */
    uint64_t wakeups;
    /**
     * Operations that are open: begun, and neither taken, called back with nor cancelled.
     */
    uint64_t open;
} slotkv_queue_counters_t;

/**
 * A scan's handle, for any number of threads: each item goes to one of them. 0 is none.
 */
typedef uint64_t slotkv_scan_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Version of the library that is loaded, as "0.1.0". Static; nobody frees it.
 */
const char *slotkv_version(void);

/**
 * Version of the binary interface that the library has.
 */
uint32_t slotkv_abi_version(void);

/**
 * Connects to a cluster. In a forked child the client goes on with connections of its own.
 *
 * `abi_version` is SLOTKV_ABI_VERSION. `uri` is slotkv://host:port[,host:port...][/namespace][?option=value] with masters
 * or any members of the cluster. `options` may be NULL. The handle goes to `*client`; close it with slotkv_close.
 *
 * Codes: UNSUPPORTED for a library of another ABI and for slotkvs://, INVALID_ARGUMENT, NO_MASTER, TIMEOUT.
 */
slotkv_code_t slotkv_connect(uint32_t abi_version,
                             const char *uri,
                             const struct slotkv_connect_options_t *options,
                             slotkv_client_t *client,
                             struct slotkv_result_t *result);

/**
 * Ends the client and its queues' connections, in bounded time: open calls end with CLOSED, and what its queues still hold
 * can be taken. The handle is closed; using it again is CLOSED.
 */
slotkv_code_t slotkv_close(slotkv_client_t client,
                           struct slotkv_result_t *result);

/**
 * Carries out an operation of any kind. `result` may be NULL, here and everywhere: then the code is all that is told.
 */
slotkv_code_t slotkv_call(slotkv_client_t client,
                          const struct slotkv_operation_t *operation,
                          struct slotkv_result_t *result);

/**
 * The value of a key: value, version and ttl_ms, SLOTKV_STATUS_FOUND or SLOTKV_STATUS_NOT_FOUND. `options` may be NULL, here and
 * everywhere.
 */
slotkv_code_t slotkv_get(slotkv_client_t client,
                         struct slotkv_bytes_t key,
                         const struct slotkv_call_options_t *options,
                         struct slotkv_result_t *result);

/**
 * Whether a key exists: number 1 or 0, SLOTKV_STATUS_FOUND or SLOTKV_STATUS_NOT_FOUND.
 */
slotkv_code_t slotkv_has(slotkv_client_t client,
                         struct slotkv_bytes_t key,
                         const struct slotkv_call_options_t *options,
                         struct slotkv_result_t *result);

/**
 * Stores a value: SLOTKV_STATUS_CREATED or SLOTKV_STATUS_UPDATED, and the key's version.
 */
slotkv_code_t slotkv_put(slotkv_client_t client,
                         struct slotkv_bytes_t key,
                         struct slotkv_bytes_t value,
                         const struct slotkv_call_options_t *options,
                         struct slotkv_result_t *result);

/**
 * Stores a value if the key is absent; otherwise SLOTKV_STATUS_UNMET with the key's version, which is no error.
 */
slotkv_code_t slotkv_put_if_absent(slotkv_client_t client,
                                   struct slotkv_bytes_t key,
                                   struct slotkv_bytes_t value,
                                   const struct slotkv_call_options_t *options,
                                   struct slotkv_result_t *result);

/**
 * Stores a value if the key exists; otherwise SLOTKV_STATUS_UNMET.
 */
slotkv_code_t slotkv_update_if_present(slotkv_client_t client,
                                       struct slotkv_bytes_t key,
                                       struct slotkv_bytes_t value,
                                       const struct slotkv_call_options_t *options,
                                       struct slotkv_result_t *result);

/**
 * Stores a value if the key exists in `version`; otherwise SLOTKV_STATUS_UNMET with the key's version.
 */
slotkv_code_t slotkv_compare_and_set(slotkv_client_t client,
                                     struct slotkv_bytes_t key,
                                     struct slotkv_bytes_t value,
                                     uint64_t version,
                                     const struct slotkv_call_options_t *options,
                                     struct slotkv_result_t *result);

/**
 * Gives a key that exists a new lifetime, up to 315360000000 ms from now on; its value stays: SLOTKV_STATUS_UPDATED and the
 * key's new version, or SLOTKV_STATUS_UNMET if there is no such key.
 */
slotkv_code_t slotkv_expire(slotkv_client_t client,
                            struct slotkv_bytes_t key,
                            uint64_t ttl_ms,
                            const struct slotkv_call_options_t *options,
                            struct slotkv_result_t *result);

/**
 * Lets a key that exists live for ever; its value stays: SLOTKV_STATUS_UPDATED and the key's new version, or
 * SLOTKV_STATUS_UNMET if there is no such key.
 */
slotkv_code_t slotkv_persist(slotkv_client_t client,
                             struct slotkv_bytes_t key,
                             const struct slotkv_call_options_t *options,
                             struct slotkv_result_t *result);

/**
 * Removes a key: SLOTKV_STATUS_DELETED with the version of the deletion, or SLOTKV_STATUS_NOT_FOUND.
 */
slotkv_code_t slotkv_delete(slotkv_client_t client,
                            struct slotkv_bytes_t key,
                            const struct slotkv_call_options_t *options,
                            struct slotkv_result_t *result);

/**
 * Removes a key if it exists in `version`; otherwise SLOTKV_STATUS_UNMET with the key's version.
 */
slotkv_code_t slotkv_delete_if_version(slotkv_client_t client,
                                       struct slotkv_bytes_t key,
                                       uint64_t version,
                                       const struct slotkv_call_options_t *options,
                                       struct slotkv_result_t *result);

/**
 * Adds to a decimal number of 64 bits: number is the sum. An absent key counts as 0.
 *
 * Codes: NOT_A_NUMBER, OVERFLOW; then nothing was changed.
 */
slotkv_code_t slotkv_increment(slotkv_client_t client,
                               struct slotkv_bytes_t key,
                               int64_t delta,
                               const struct slotkv_call_options_t *options,
                               struct slotkv_result_t *result);

/**
 * What came of a write whose outcome is unknown, by the token of its error: status, version and, of an increment, number.
 * SLOTKV_STATUS_NOT_APPLIED if it was not applied: then it never will be. SLOTKV_STATUS_FORGOTTEN if nobody knows any more; results
 * are kept for this for 60 s after the call has ended.
 */
slotkv_code_t slotkv_outcome(slotkv_client_t client,
                             struct slotkv_bytes_t token,
                             const struct slotkv_call_options_t *options,
                             struct slotkv_result_t *result);

/**
 * The values of many keys: results, in their order. If a key fails, the code is the first error's, and results has what
 * became of each.
 */
slotkv_code_t slotkv_get_many(slotkv_client_t client,
                              const struct slotkv_bytes_t *keys,
                              size_t count,
                              const struct slotkv_call_options_t *options,
                              struct slotkv_result_t *result);

/**
 * Stores many values: results, in their order. Errors are as in slotkv_get_many.
 */
slotkv_code_t slotkv_put_many(slotkv_client_t client,
                              const struct slotkv_pair_t *pairs,
                              size_t count,
                              const struct slotkv_call_options_t *options,
                              struct slotkv_result_t *result);

/**
 * Removes many keys: results, in their order. Errors are as in slotkv_get_many.
 */
slotkv_code_t slotkv_delete_many(slotkv_client_t client,
                                 const struct slotkv_bytes_t *keys,
                                 size_t count,
                                 const struct slotkv_call_options_t *options,
                                 struct slotkv_result_t *result);

/**
 * How many keys a range has: number. `range` may be NULL for all.
 */
slotkv_code_t slotkv_count(slotkv_client_t client,
                           const struct slotkv_range_t *range,
                           const struct slotkv_call_options_t *options,
                           struct slotkv_result_t *result);

/**
 * Every item of a range, in key order: items. For debugging: they have to fit into memory.
 */
slotkv_code_t slotkv_dump(slotkv_client_t client,
                          const struct slotkv_range_t *range,
                          const struct slotkv_call_options_t *options,
                          struct slotkv_result_t *result);

/**
 * What a master says of the whole cluster: cluster. Of `options`, the deadline and interrupt count.
 */
slotkv_code_t slotkv_status(slotkv_client_t client,
                            const struct slotkv_call_options_t *options,
                            struct slotkv_result_t *result);

/**
 * The slot of a key: number.
 */
slotkv_code_t slotkv_slot(slotkv_client_t client, struct slotkv_bytes_t key, struct slotkv_result_t *result);

/**
 * Where calls for a key go, and why: explanation.
 */
slotkv_code_t slotkv_explain(slotkv_client_t client, struct slotkv_bytes_t key, struct slotkv_result_t *result);

/**
 * What this client has done so far, and its state now: stats. Its queues count for themselves, see slotkv_queue_stats.
 */
slotkv_code_t slotkv_stats(slotkv_client_t client, struct slotkv_result_t *result);

/**
 * What the session has seen, which is all that this client's calls have: value. Opaque bytes for session_token of a call's
 * options, here or elsewhere. Its queues see for themselves, see slotkv_queue_session_token.
 */
slotkv_code_t slotkv_session_token(slotkv_client_t client,
                                   struct slotkv_result_t *result);

/**
 * Name of a code, as "TIMEOUT"; "UNEXPECTED" for a number that the library does not know. Static; nobody frees it.
 */
const char *slotkv_code_name(int32_t code);

/**
 * Name of a retry class, as "backoff"; NULL for a number that is none. Static; nobody frees it.
 */
const char *slotkv_retry_name(int32_t retry);

/**
 * Panics on purpose, for tests: the code is UNEXPECTED.
 */
slotkv_code_t slotkv_test_panic(struct slotkv_result_t *result);

/**
 * Sends records up to `level`, a slotkv_level_t, to `callback` with `context` from now on, in place of the one before;
 * SLOTKV_LEVEL_OFF or NULL for nobody. The one before is not called any more when this returns. It is the process's: all
 * clients speak there. A forked child sets its own.
 *
 * Codes: INVALID_ARGUMENT; TIMEOUT if the callback before does not return within a second.
 */
slotkv_code_t slotkv_log(uint32_t level,
                         slotkv_log_callback_t callback,
                         void *context,
                         struct slotkv_result_t *result);

/**
 * Opens a queue of a client, with connections of its own and the client's options.
 *
 * Without `callback`, ends are taken with slotkv_queue_take; slotkv_queue_fd tells when there are some. With it, they are
 * given to it with `context`, both of which stay the host's and are used until slotkv_queue_close has returned. The handle
 * goes to `*queue`; close it with slotkv_queue_close.
 *
 * Codes: those of slotkv_connect; FORKED in a forked child, which opens a queue of its own.
 */
slotkv_code_t slotkv_queue_open(slotkv_client_t client,
                                slotkv_callback_t callback,
                                void *context,
                                slotkv_queue_t *queue,
                                struct slotkv_result_t *result);

/**
 * The descriptor that is readable while ends can be taken: for poll, select, epoll and event loops. It belongs to the
 * queue: it is only watched, never read, and no longer after slotkv_queue_close. -1 for a queue with a callback or a handle
 * that is none.
 */
int slotkv_queue_fd(slotkv_queue_t queue);

/**
 * Begins operations, all in one batch, and does not wait. Each ends once: in a completion with its context, or by
 * slotkv_queue_cancel, or without a word by slotkv_queue_close.
 *
 * `pending` may be NULL; else it has room for `count` names, for cancelling. `begun` may be NULL; else it gets how many were
 * begun: all, or none if one of them is not as it should be, or with OVERLOADED those before the first that was refused.
 */
slotkv_code_t slotkv_queue_submit(slotkv_queue_t queue,
                                  const struct slotkv_operation_t *operations,
                                  size_t count,
                                  slotkv_pending_t *pending,
                                  size_t *begun,
                                  struct slotkv_result_t *result);

/**
 * Takes ends of operations, oldest first, up to `capacity`, and waits for the first for up to `timeout_ms`: 0 not at all,
 * below 0 without a bound. How many there were goes to `*count`; 0 after the time and after a signal. Any number of threads
 * may take: each end goes to one of them.
 */
slotkv_code_t slotkv_queue_take(slotkv_queue_t queue,
                                int64_t timeout_ms,
                                struct slotkv_completion_t *completions,
                                size_t capacity,
                                size_t *count,
                                struct slotkv_result_t *result);

/**
 * Gives an operation up. What was not sent will not be; of what was, the worker is told.
 *
 * OK: it is over, no completion will come, and `completion`, unless NULL, gets its context and an error CANCELLED whose
 * outcome says whether a write may have been applied. CLOSED: it has ended, and its completion has come or will.
 */
slotkv_code_t slotkv_queue_cancel(slotkv_queue_t queue,
                                  slotkv_pending_t pending,
                                  struct slotkv_completion_t *completion,
                                  struct slotkv_result_t *result);

/**
 * What a queue has done so far, to `*counters`.
 */
slotkv_code_t slotkv_queue_counts(slotkv_queue_t queue,
                                  struct slotkv_queue_counters_t *counters,
                                  struct slotkv_result_t *result);

/**
 * What the connections of a queue have done so far, and their state now: stats.
 */
slotkv_code_t slotkv_queue_stats(slotkv_queue_t queue, struct slotkv_result_t *result);

/**
 * What the calls of a queue have seen: value. As slotkv_session_token.
 */
slotkv_code_t slotkv_queue_session_token(slotkv_queue_t queue, struct slotkv_result_t *result);

/**
 * Where a scan goes on behind an item of a page: cursor. `range` and `options` are those of the page; of `item` the key and
 * the slot count. Nobody is asked.
 */
slotkv_code_t slotkv_queue_cursor(slotkv_queue_t queue,
                                  const struct slotkv_range_t *range,
                                  const struct slotkv_item_t *item,
                                  const struct slotkv_call_options_t *options,
                                  struct slotkv_result_t *result);

/**
 * Closes a queue, its connections and its handle, in bounded time. Open operations end first, with CLOSED: a callback is
 * called with them, and is not called any more after this. Of a queue without one, what nobody has taken is freed and its
 * contexts are forgotten; slotkv_close of the client ends them so that they can be taken before.
 *
 * Codes: TIMEOUT if a callback does not return within seconds: it is the last one, and may go on using its context.
 */
slotkv_code_t slotkv_queue_close(slotkv_queue_t queue,
                                 struct slotkv_result_t *result);

/**
 * Frees what a result points to and empties it. NULL, an empty result and one without memory are nothing to free.
 *
 * Codes: CLOSED if a copy of it was freed before, INVALID_ARGUMENT if the library never made it.
 */
slotkv_code_t slotkv_result_free(struct slotkv_result_t *result);

/**
 * Begins a scan of a range, in slot order unless the range says otherwise. `range` may be NULL for all keys; `cursor`
 * comes from an earlier scan of the same range, also of another process, or has NULL data. The handle goes to `*scan`;
 * close it with slotkv_scan_close. Nothing is sent yet. What `options` say holds for each page; interrupt and its context
 * are used until the scan is closed.
 */
slotkv_code_t slotkv_scan(slotkv_client_t client,
                          const struct slotkv_range_t *range,
                          struct slotkv_bytes_t cursor,
                          const struct slotkv_call_options_t *options,
                          slotkv_scan_t *scan,
                          struct slotkv_result_t *result);

/**
 * The next items, up to `items_max`: those that are here, and a page is fetched if none is. items_count is 0 behind the
 * last one only. After an error the same place is tried again.
 */
slotkv_code_t slotkv_scan_next(slotkv_scan_t scan, size_t items_max, struct slotkv_result_t *result);

/**
 * Where the scan stands, behind the last item that was taken: cursor. Its data is NULL while none was taken and the scan
 * began at the beginning.
 */
slotkv_code_t slotkv_scan_cursor(slotkv_scan_t scan,
                                 struct slotkv_result_t *result);

/**
 * Ends a scan and closes its handle.
 */
slotkv_code_t slotkv_scan_close(slotkv_scan_t scan, struct slotkv_result_t *result);

/**
 * Opens a session that goes on where a token stands; of no bytes, one that has seen nothing. Calls whose options have it
 * add to it what they write and read. The handle goes to `*session`; close it with slotkv_session_close.
 *
 * Codes: INVALID_ARGUMENT for what is no token, UNSUPPORTED for one of a newer library.
 */
slotkv_code_t slotkv_session_open(struct slotkv_bytes_t token,
                                  slotkv_session_t *session,
                                  struct slotkv_result_t *result);

/**
 * What a session has seen: value. Opaque bytes for slotkv_session_open, here or elsewhere.
 */
slotkv_code_t slotkv_session_seen(slotkv_session_t session, struct slotkv_result_t *result);

/**
 * Closes a session's handle. Calls that are open go on with it.
 */
slotkv_code_t slotkv_session_close(slotkv_session_t session, struct slotkv_result_t *result);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SLOTKV_H */

#ifndef SLOTKV_INLINE_H
#define SLOTKV_INLINE_H

/** Options for connecting that say nothing. */
static inline slotkv_connect_options_t slotkv_connect_options(void) {
    slotkv_connect_options_t options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    return options;
}

/** Options for a call that say nothing. */
static inline slotkv_call_options_t slotkv_call_options(void) {
    slotkv_call_options_t options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    return options;
}

/** All keys, in slot order. */
static inline slotkv_range_t slotkv_range(void) {
    slotkv_range_t range;
    memset(&range, 0, sizeof range);
    range.size = sizeof range;
    return range;
}

/** An operation of a kind, without anything else. */
static inline slotkv_operation_t slotkv_operation(slotkv_operation_kind_t kind) {
    slotkv_operation_t operation;
    memset(&operation, 0, sizeof operation);
    operation.size = sizeof operation;
    operation.kind = (uint32_t)kind;
    return operation;
}

/** Bytes that the caller has; nothing is copied. */
static inline slotkv_bytes_t slotkv_bytes(const void *data, size_t size) {
    slotkv_bytes_t bytes;
    bytes.data = data;
    bytes.size = size;
    return bytes;
}

/** The bytes of a text without its end; nothing is copied. NULL is no bytes. */
static inline slotkv_bytes_t slotkv_text(const char *text) {
    return slotkv_bytes(text, text == NULL ? 0 : strlen(text));
}

#endif  /* SLOTKV_INLINE_H */
