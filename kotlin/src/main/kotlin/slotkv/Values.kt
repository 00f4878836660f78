package slotkv

import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import slotkv.ffi.DeleteResult
import slotkv.ffi.PutResult
import slotkv.ffi.ValueResult

/** A value with its version, which grows with every write of the key, also over a deletion, and its [ttl]. */
typealias Entry = slotkv.ffi.Entry

/** What is left of a key's lifetime; null if it lives for ever. */
val Entry.ttl: Duration? get() = ttlMs?.toLong()?.milliseconds

/** What a put did: its status, the key's version after it (0 if the key is absent), and whether the value was stored. */
typealias Put = slotkv.ffi.Put

/** What a put was; `UNMET` if the condition did not hold and nothing was changed. */
typealias PutStatus = slotkv.ffi.PutStatus

/**
 * What a delete did: its status, the version of the deletion (with `UNMET` the key's as it stands, else 0), and whether the
 * key was removed.
 */
typealias Delete = slotkv.ffi.Delete

/** What a delete was; `UNMET` if the condition did not hold and nothing was changed. */
typealias DeleteStatus = slotkv.ffi.DeleteStatus

/** What came of a write whose outcome was unknown: its status, version and, of an increment, the sum. */
typealias WriteOutcome = slotkv.ffi.WriteOutcome

/** What a write was; `NOT_APPLIED` if it never will be, `FORGOTTEN` if nobody knows any more. */
typealias WriteStatus = slotkv.ffi.WriteStatus

/** How fresh the answer of a read has to be. All but `LINEARIZABLE` are answered by any replica that is fresh enough. */
typealias ReadLevel = slotkv.ffi.ReadLevel

/** A key of a scan with its value, version and slot. */
typealias Item = slotkv.ffi.Item

/** What is left of a key's lifetime; null if it lives for ever. */
val Item.ttl: Duration? get() = ttlMs?.toLong()?.milliseconds

/** Where calls for a key go, and why. */
typealias Explain = slotkv.ffi.Explain

/** Counts since the client was made, and its state now. */
typealias Stats = slotkv.ffi.Stats

/** One connection of a client. */
typealias MemberStats = slotkv.ffi.MemberStats

/** What a master says of the whole cluster. */
typealias ClusterStatus = slotkv.ffi.ClusterStatus

/** A master. */
typealias MasterStatus = slotkv.ffi.MasterStatus

/** A shard. */
typealias ShardStatus = slotkv.ffi.ShardStatus

/** A copy of a shard. */
typealias ReplicaStatus = slotkv.ffi.ReplicaStatus

/** A process of the cluster. */
typealias MemberStatus = slotkv.ffi.MemberStatus

internal fun resultOf(result: ValueResult): Result<ByteArray?> = when (result) {
    is ValueResult.Value -> Result.success(result.value)
    is ValueResult.Failed -> Result.failure(exceptionOf(result.failure))
}

internal fun resultOf(result: PutResult): Result<Put> = when (result) {
    is PutResult.Done -> Result.success(result.put)
    is PutResult.Failed -> Result.failure(exceptionOf(result.failure))
}

internal fun resultOf(result: DeleteResult): Result<Delete> = when (result) {
    is DeleteResult.Done -> Result.success(result.delete)
    is DeleteResult.Failed -> Result.failure(exceptionOf(result.failure))
}
