package slotkv

import kotlin.time.Duration

// The same operations with text, which stands for its UTF-8.

/** [Client.get] with a key of text. */
suspend fun Client.get(key: String, deadline: Duration? = null) = get(key.utf8(), deadline)

/** [Client.getEntry] with a key of text. */
suspend fun Client.getEntry(key: String, deadline: Duration? = null) = getEntry(key.utf8(), deadline)

/** [Client.has] with a key of text. */
suspend fun Client.has(key: String, deadline: Duration? = null) = has(key.utf8(), deadline)

/** [Client.put] with text. */
suspend fun Client.put(key: String, value: String, ttl: Duration? = null, deadline: Duration? = null) =
    put(key.utf8(), value.utf8(), ttl, deadline)

/** [Client.put] with a key of text. */
suspend fun Client.put(key: String, value: ByteArray, ttl: Duration? = null, deadline: Duration? = null) =
    put(key.utf8(), value, ttl, deadline)

/** [Client.put] with a value of text. */
suspend fun Client.put(key: ByteArray, value: String, ttl: Duration? = null, deadline: Duration? = null) =
    put(key, value.utf8(), ttl, deadline)

/** [Client.putIfAbsent] with text. */
suspend fun Client.putIfAbsent(key: String, value: String, ttl: Duration? = null, deadline: Duration? = null) =
    putIfAbsent(key.utf8(), value.utf8(), ttl, deadline)

/** [Client.putIfAbsent] with a key of text. */
suspend fun Client.putIfAbsent(key: String, value: ByteArray, ttl: Duration? = null, deadline: Duration? = null) =
    putIfAbsent(key.utf8(), value, ttl, deadline)

/** [Client.putIfAbsent] with a value of text. */
suspend fun Client.putIfAbsent(key: ByteArray, value: String, ttl: Duration? = null, deadline: Duration? = null) =
    putIfAbsent(key, value.utf8(), ttl, deadline)

/** [Client.updateIfPresent] with text. */
suspend fun Client.updateIfPresent(key: String, value: String, ttl: Duration? = null, deadline: Duration? = null) =
    updateIfPresent(key.utf8(), value.utf8(), ttl, deadline)

/** [Client.updateIfPresent] with a key of text. */
suspend fun Client.updateIfPresent(key: String, value: ByteArray, ttl: Duration? = null, deadline: Duration? = null) =
    updateIfPresent(key.utf8(), value, ttl, deadline)

/** [Client.updateIfPresent] with a value of text. */
suspend fun Client.updateIfPresent(key: ByteArray, value: String, ttl: Duration? = null, deadline: Duration? = null) =
    updateIfPresent(key, value.utf8(), ttl, deadline)

/** [Client.compareAndSet] with text. */
suspend fun Client.compareAndSet(
    key: String,
    value: String,
    version: ULong,
    ttl: Duration? = null,
    deadline: Duration? = null,
) = compareAndSet(key.utf8(), value.utf8(), version, ttl, deadline)

/** [Client.compareAndSet] with a key of text. */
suspend fun Client.compareAndSet(
    key: String,
    value: ByteArray,
    version: ULong,
    ttl: Duration? = null,
    deadline: Duration? = null,
) = compareAndSet(key.utf8(), value, version, ttl, deadline)

/** [Client.compareAndSet] with a value of text. */
suspend fun Client.compareAndSet(
    key: ByteArray,
    value: String,
    version: ULong,
    ttl: Duration? = null,
    deadline: Duration? = null,
) = compareAndSet(key, value.utf8(), version, ttl, deadline)

/** [Client.expire] with a key of text. */
suspend fun Client.expire(key: String, ttl: Duration, deadline: Duration? = null) = expire(key.utf8(), ttl, deadline)

/** [Client.persist] with a key of text. */
suspend fun Client.persist(key: String, deadline: Duration? = null) = persist(key.utf8(), deadline)

/** [Client.delete] with a key of text. */
suspend fun Client.delete(key: String, deadline: Duration? = null) = delete(key.utf8(), deadline)

/** [Client.deleteIfVersion] with a key of text. */
suspend fun Client.deleteIfVersion(key: String, version: ULong, deadline: Duration? = null) =
    deleteIfVersion(key.utf8(), version, deadline)

/** [Client.increment] with a key of text. */
suspend fun Client.increment(key: String, delta: Long = 1, deadline: Duration? = null) =
    increment(key.utf8(), delta, deadline)

/** [Client.getMany] with keys of text. */
@JvmName("getManyText")
suspend fun Client.getMany(keys: Iterable<String>, deadline: Duration? = null) = getMany(keys.encoded(), deadline)

/** [Client.getManyResults] with keys of text. */
@JvmName("getManyResultsText")
suspend fun Client.getManyResults(keys: Iterable<String>, deadline: Duration? = null) =
    getManyResults(keys.encoded(), deadline)

/** [Client.putMany] with text. */
suspend fun Client.putMany(pairs: Map<String, String>, ttl: Duration? = null, deadline: Duration? = null) =
    putMany(pairs.encoded(), ttl, deadline)

/** [Client.putManyResults] with text. */
suspend fun Client.putManyResults(pairs: Map<String, String>, ttl: Duration? = null, deadline: Duration? = null) =
    putManyResults(pairs.encoded(), ttl, deadline)

/** [Client.deleteMany] with keys of text. */
@JvmName("deleteManyText")
suspend fun Client.deleteMany(keys: Iterable<String>, deadline: Duration? = null) =
    deleteMany(keys.encoded(), deadline)

/** [Client.deleteManyResults] with keys of text. */
@JvmName("deleteManyResultsText")
suspend fun Client.deleteManyResults(keys: Iterable<String>, deadline: Duration? = null) =
    deleteManyResults(keys.encoded(), deadline)

/** [Client.count] with bounds of text. */
suspend fun Client.count(
    prefix: String? = null,
    start: String? = null,
    end: String? = null,
    deadline: Duration? = null,
) = count(prefix?.utf8(), start?.utf8(), end?.utf8(), deadline)

/** [Client.scan] with bounds of text. */
fun Client.scan(
    prefix: String? = null,
    start: String? = null,
    end: String? = null,
    ordered: Boolean = false,
    keysOnly: Boolean = false,
    limit: Long? = null,
    pageItems: Int? = null,
    cursor: ByteArray? = null,
    deadline: Duration? = null,
) = scan(
    prefix?.utf8(),
    start?.utf8(),
    end?.utf8(),
    ordered,
    keysOnly,
    limit,
    pageItems,
    cursor,
    deadline,
)

/** [Client.dump] with bounds of text. */
suspend fun Client.dump(
    prefix: String? = null,
    start: String? = null,
    end: String? = null,
    deadline: Duration? = null,
) = dump(prefix?.utf8(), start?.utf8(), end?.utf8(), deadline)

/** [Client.slot] with a key of text. */
fun Client.slot(key: String) = slot(key.utf8())

/** [Client.explain] with a key of text. */
fun Client.explain(key: String) = explain(key.utf8())

private fun Iterable<String>.encoded(): List<ByteArray> = map(String::utf8)

private fun Map<String, String>.encoded(): List<Pair<ByteArray, ByteArray>> =
    map { (key, value) -> key.utf8() to value.utf8() }

/** The UTF-8 of a text. One with a lone surrogate has none: with a stand-in for it, two keys would become one. */
private fun String.utf8(): ByteArray =
    try {
        encodeToByteArray(throwOnInvalidSequence = true)
    } catch (error: CharacterCodingException) {
        throw noUnicode(error)
    }
