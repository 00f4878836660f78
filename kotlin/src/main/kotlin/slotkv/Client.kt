package slotkv

import kotlin.time.Duration
import kotlin.time.toJavaDuration
import kotlinx.coroutines.runBlocking
import slotkv.ffi.Client as NativeClient
import slotkv.ffi.ConnectOptions
import slotkv.ffi.Pair as NativePair
import slotkv.ffi.Range

/**
 * Connects to a cluster: `slotkv://host:port[,host:port...][/namespace][?option=value]`, with masters or any members of it.
 * What is not said is the default; what the URI says of the same thing wins.
 *
 * A client keeps nothing alive, and need not be closed at the end.
 *
 * @param namespace Namespace of calls that name none; by default the URI's, or the one without a name.
 * @param deadline Time for a call that names none, with all its attempts: 1 ms to 300 s, by default 5 s.
 * @param connectTimeout Time for connecting, and for one connection to a member: 1 ms to 300 s, by default 5 s.
 * @param pingInterval How often the master is pinged: 1 ms to 300 s, by default 300 ms.
 * @param inflightMax Calls open at once; further ones wait: 1 to 1,048,576, by default 16,384.
 * @param streamsPerMember Connections to each member: 1 to 16, by default 1.
 * @param clientName The client's name, for people.
 * @param zone Where the client stands: reads that backups may answer go to those of the same zone, if there are any.
 */
suspend fun connect(
    uri: String,
    namespace: String? = null,
    deadline: Duration? = null,
    connectTimeout: Duration? = null,
    pingInterval: Duration? = null,
    inflightMax: Int? = null,
    streamsPerMember: Int? = null,
    clientName: String? = null,
    zone: String? = null,
): Client {
    val options = ConnectOptions(
        namespace,
        deadline.checked("deadline"),
        connectTimeout.checked("connectTimeout"),
        pingInterval.checked("pingInterval"),
        inflightMax?.count("inflightMax"),
        streamsPerMember?.count("streamsPerMember"),
        clientName ?: "kotlin/$version",
        zone,
    )
    seeToDriver()
    return Client(awaited { slotkv.ffi.connect(uri, options) })
}

/** The version of this package. */
val version: String get() = slotkv.ffi.version()

/**
 * A connection to a cluster, made by [connect], for any number of threads and coroutines.
 *
 * Any number of calls may be open at once; those that wait together travel together. A coroutine that is cancelled gives its
 * call up, at the members, too; a write that was sent may have been applied. Keys and values are bytes; text stands for its
 * UTF-8. Calls on keys take
 *
 * - `deadline`: Time for the call with all its attempts, at most 300 s, by default its client's.
 * - `ttl`: Lifetime of the key, at most 315360000 s (ten years), by default it lives for ever; of calls that store something.
 */
class Client internal constructor(private val native: NativeClient) : AutoCloseable {
    /** The value of a key; null if it is absent. */
    suspend fun get(key: ByteArray, deadline: Duration? = null): ByteArray? =
        awaited { native.get(key, deadline.checked()) }

    /** The value of a key with its version; null if it is absent. */
    suspend fun getEntry(key: ByteArray, deadline: Duration? = null): Entry? =
        awaited { native.getEntry(key, deadline.checked()) }

    /** Whether a key exists. */
    suspend fun has(key: ByteArray, deadline: Duration? = null): Boolean =
        awaited { native.has(key, deadline.checked()) }

    /** Stores a value. The key lives for ever, or for `ttl`. */
    suspend fun put(key: ByteArray, value: ByteArray, ttl: Duration? = null, deadline: Duration? = null): Put =
        awaited { native.put(key, value, ttl.checked("ttl"), deadline.checked()) }

    /** Stores a value if the key is absent; otherwise the result is `UNMET` with the key's version. */
    suspend fun putIfAbsent(key: ByteArray, value: ByteArray, ttl: Duration? = null, deadline: Duration? = null): Put =
        awaited { native.putIfAbsent(key, value, ttl.checked("ttl"), deadline.checked()) }

    /** Stores a value if the key exists; otherwise the result is `UNMET`. */
    suspend fun updateIfPresent(key: ByteArray, value: ByteArray, ttl: Duration? = null, deadline: Duration? = null): Put =
        awaited { native.updateIfPresent(key, value, ttl.checked("ttl"), deadline.checked()) }

    /** Stores a value if the key exists in `version`; otherwise the result is `UNMET` with the key's version. */
    suspend fun compareAndSet(
        key: ByteArray,
        value: ByteArray,
        version: ULong,
        ttl: Duration? = null,
        deadline: Duration? = null,
    ): Put = awaited { native.compareAndSet(key, value, version, ttl.checked("ttl"), deadline.checked()) }

    /**
     * Gives a key that exists a new lifetime, from now on; its value stays, its version grows. If there is no such key, the
     * result is `UNMET`.
     */
    suspend fun expire(key: ByteArray, ttl: Duration, deadline: Duration? = null): Put =
        awaited { native.expire(key, ttl.checked("ttl")!!, deadline.checked()) }

    /**
     * Lets a key that exists live for ever; its value stays, its version grows. If there is no such key, the result is
     * `UNMET`.
     */
    suspend fun persist(key: ByteArray, deadline: Duration? = null): Put =
        awaited { native.persist(key, deadline.checked()) }

    /** Removes a key. */
    suspend fun delete(key: ByteArray, deadline: Duration? = null): Delete =
        awaited { native.delete(key, deadline.checked()) }

    /** Removes a key if it exists in `version`; otherwise the result is `UNMET` with the key's version. */
    suspend fun deleteIfVersion(key: ByteArray, version: ULong, deadline: Duration? = null): Delete =
        awaited { native.deleteIfVersion(key, version, deadline.checked()) }

    /**
     * Adds to a decimal number of 64 bits; the result is the sum. An absent key counts as 0. With [NotANumberException] and
     * [NumberOverflowException] the value is as it was.
     */
    suspend fun increment(key: ByteArray, delta: Long = 1, deadline: Duration? = null): Long =
        awaited { native.increment(key, delta, deadline.checked()) }

    /**
     * What came of a write whose outcome is unknown, by the `token` of its exception. If it was not applied, it never will be.
     * Results are kept for this for 60 s after the call has ended; later it may be `FORGOTTEN`.
     */
    suspend fun outcome(token: ByteArray, deadline: Duration? = null): WriteOutcome =
        awaited { native.outcome(token, deadline.checked()) }

    /** The values of many keys, in their order. If a key fails, [ManyException] has the results of all of them. */
    suspend fun getMany(keys: Iterable<ByteArray>, deadline: Duration? = null): List<ByteArray?> {
        val all = awaited { native.getMany(keys.toList(), deadline.checked()) }
        return all.results.map(::resultOf).orThrow(all.failure)
    }

    /** The same with errors among the results. */
    suspend fun getManyResults(keys: Iterable<ByteArray>, deadline: Duration? = null): List<Result<ByteArray?>> =
        awaited { native.getMany(keys.toList(), deadline.checked()) }.results.map(::resultOf)

    /**
     * Stores many values; each key has its own result, in their order. If a key fails, [ManyException] has the results of
     * all of them.
     */
    suspend fun putMany(
        pairs: Iterable<Pair<ByteArray, ByteArray>>,
        ttl: Duration? = null,
        deadline: Duration? = null,
    ): List<Put> {
        val all = awaited { native.putMany(pairs.map(::nativePair), ttl.checked("ttl"), deadline.checked()) }
        return all.results.map(::resultOf).orThrow(all.failure)
    }

    /** The same with errors among the results. */
    suspend fun putManyResults(
        pairs: Iterable<Pair<ByteArray, ByteArray>>,
        ttl: Duration? = null,
        deadline: Duration? = null,
    ): List<Result<Put>> {
        val all = awaited { native.putMany(pairs.map(::nativePair), ttl.checked("ttl"), deadline.checked()) }
        return all.results.map(::resultOf)
    }

    /**
     * Removes many keys; each has its own result, in their order. If a key fails, [ManyException] has the results of all of
     * them.
     */
    suspend fun deleteMany(keys: Iterable<ByteArray>, deadline: Duration? = null): List<Delete> {
        val all = awaited { native.deleteMany(keys.toList(), deadline.checked()) }
        return all.results.map(::resultOf).orThrow(all.failure)
    }

    /** The same with errors among the results. */
    suspend fun deleteManyResults(keys: Iterable<ByteArray>, deadline: Duration? = null): List<Result<Delete>> =
        awaited { native.deleteMany(keys.toList(), deadline.checked()) }.results.map(::resultOf)

    /** How many keys a range has: those that begin with `prefix`, from `start` on, below `end`. */
    suspend fun count(
        prefix: ByteArray? = null,
        start: ByteArray? = null,
        end: ByteArray? = null,
        deadline: Duration? = null,
    ): Long = awaited { native.count(Range(prefix, start, end), deadline.checked()) }.toLong()

    /**
     * Begins a scan of a range, to be collected.
     *
     * @param prefix What the keys begin with.
     * @param start The first key.
     * @param end Behind the last key.
     * @param ordered In key order, which costs more; else in slot order.
     * @param keysOnly Without values: they are empty.
     * @param limit Ends the scan after so many items.
     * @param pageItems Items in a page, which are fetched at a time: up to 10,000, by default 1,000.
     * @param cursor From an earlier scan of the same range: goes on where that one stood.
     * @param deadline for each page.
     */
    fun scan(
        prefix: ByteArray? = null,
        start: ByteArray? = null,
        end: ByteArray? = null,
        ordered: Boolean = false,
        keysOnly: Boolean = false,
        limit: Long? = null,
        pageItems: Int? = null,
        cursor: ByteArray? = null,
        deadline: Duration? = null,
    ): Scan {
        val range = Range(prefix, start, end, ordered, keysOnly, pageItems?.count("pageItems") ?: 0u)
        require(limit == null || limit >= 0) { "limit is $limit; it must not be below 0" }
        return Scan(native, range, cursor, limit, deadline.checked())
    }

    /** Every item of a range, in key order. For debugging: they have to fit into memory. */
    suspend fun dump(
        prefix: ByteArray? = null,
        start: ByteArray? = null,
        end: ByteArray? = null,
        deadline: Duration? = null,
    ): List<Item> = awaited { native.dump(Range(prefix, start, end), deadline.checked()) }

    /** The slot of a key. */
    fun slot(key: ByteArray): Int = told { native.slot(key) }.toInt()

    /** Where calls for a key go, and why. */
    fun explain(key: ByteArray): Explain = told { native.explain(key) }

    /** What this client has done so far, and its state now. */
    fun stats(): Stats = told { native.stats() }

    /** What a master says of the whole cluster. */
    suspend fun status(): ClusterStatus = awaited { native.status() }

    /** The same connections, for the keys of another namespace; an empty name is the one without a name. */
    fun namespace(name: String): Client = Client(told { native.namespace(name) })

    /** The same connections, with another deadline for calls that name none. */
    fun withDeadline(deadline: Duration): Client = Client(told { native.withDeadline(deadline.checked()!!) })

    /** The same connections, for calls that are part of a trace: a W3C traceparent travels with each of them. */
    fun withTraceparent(traceparent: String): Client = Client(told { native.withTraceparent(traceparent) })

    /**
     * The same connections, with another freshness of reads that name none: `SESSION` is not older than what this client has
     * written and read before.
     */
    fun withReadLevel(level: ReadLevel): Client = Client(told { native.withReadLevel(level) })

    /** The same connections, for reads that may be older by so much, and are answered by any replica that is fresh enough. */
    fun withStaleness(staleness: Duration): Client =
        Client(told { native.withStaleness(staleness.checked("staleness")!!) })

    /** What the session has seen, as opaque bytes for another process or language. */
    fun sessionToken(): ByteArray = told { native.sessionToken() }

    /**
     * The same connections, for a session that goes on where a token stands: reads are of level `SESSION` and never older than
     * the token or than what this view has written and read. No bytes begin a session that has seen nothing.
     */
    fun withSessionToken(token: ByteArray): Client = Client(told { native.withSessionToken(token) })

    /**
     * Ends the client and whatever shares its connections. Waits up to 2 seconds for calls that are open; the rest ends as
     * CLOSED. Closing again does nothing.
     */
    override fun close() {
        checkMayWait()
        runBlocking { told { native.end() } }
    }
}

/** A time above 0. */
internal fun Duration?.checked(what: String = "deadline"): java.time.Duration? {
    if (this == null) return null
    require(isPositive() && isFinite()) { "$what is $this; it must be above 0" }
    return toJavaDuration()
}

private fun Int.count(what: String): UInt {
    require(this >= 0) { "$what is $this; it must not be below 0" }
    return toUInt()
}

private fun nativePair(pair: Pair<ByteArray, ByteArray>) = NativePair(pair.first, pair.second)
