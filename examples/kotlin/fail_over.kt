// mvn -q -f examples/kotlin compile exec:java -Dexec.mainClass=Fail_overKt -Dexec.args=URI
//
// What callers meet while a worker is down. Each adds to a counter of its own; the counters are spread over every shard.
// The example asks you to crash a worker (`kill -9`) and to start it again on its data. Those on the other shards go on,
// those of the crashed one wait; each addition happens exactly once.

import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes
import kotlin.time.measureTimedValue
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.runBlocking
import slotkv.Client
import slotkv.Outcome
import slotkv.SlotkvException
import slotkv.connect
import slotkv.deleteMany
import slotkv.get
import slotkv.getMany
import slotkv.increment

/** Spread over the slots, so that every shard has some. */
private val KEYS = List(64) { "counter/$it" }

/** Additions to each counter after the interruption was seen. */
private const val ADDITIONS_AFTER = 20

/** Longest time that one addition may take, and so that the worker may be away. */
private val PATIENCE = 1.minutes

/** Adds 1; the sum as it is known to be. */
private suspend fun add(client: Client, key: String, acknowledged: Long): Long {
    val total =
        try {
            client.increment(key)
        } catch (error: SlotkvException) {
            if (error.outcome != Outcome.UNKNOWN) throw error
            // The one case in which a caller has to look: the addition may have been applied or not.
            return client.get(key)?.decodeToString()?.toLong() ?: 0
        }
    check(total == acknowledged + 1) { "$key: an addition was lost or done twice" }
    return total
}

/** Adds until the interruption is over; the sum, and the longest addition. */
private suspend fun count(client: Client, key: String): Pair<Long, Duration> {
    var (total, longest) = 0L to Duration.ZERO
    var left = ADDITIONS_AFTER
    while (left > 0) {
        val (sum, took) = measureTimedValue { add(client, key, total) }
        total = sum
        longest = maxOf(longest, took)
        if (client.stats().connectionsLost > 0u) left -= 1
    }
    return total to longest
}

fun main(arguments: Array<String>) = runBlocking {
    val client = connect(arguments.first(), namespace = "example-fail-over", deadline = PATIENCE)
    client.deleteMany(KEYS)
    val counting = KEYS.map { async { count(client, it) } }
    println("crash a worker now (kill -9) and start it again")
    val counted = counting.awaitAll()

    val totals = counted.map { (total, _) -> total }
    check(client.getMany(KEYS).map { it?.decodeToString()?.toLong() } == totals)
    val stats = client.stats()
    client.deleteMany(KEYS)
    client.close()

    val longest = counted.maxOf { (_, longest) -> longest }
    println(
        "ok: ${totals.sum()} additions, each exactly once; longest ${longest.inWholeMilliseconds} ms, " +
            "${stats.retries} sent again, ${stats.connectionsLost} connections lost",
    )
}
