// The driver of the Kotlin client: `java -cp ... ConformKt URI`.

import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.async
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import slotkv.Client
import slotkv.InvalidArgumentException
import slotkv.ReadLevel
import slotkv.SlotkvException
import slotkv.connect
import slotkv.get
import slotkv.getManyResults
import slotkv.put
import slotkv.putManyResults
import slotkv.scan

/** What a scan goes over, and from where. */
private class Span(
    val prefix: ByteArray?,
    val start: ByteArray?,
    val end: ByteArray?,
    val ordered: Boolean,
    val keysOnly: Boolean,
    val pageItems: Int?,
    var cursor: ByteArray? = null,
)

private class Driver(private val client: Client, private val uri: String) {
    /** The last scan that did not come to its end. */
    private var lastScan: Span? = null

    /** Of the last error that had one. */
    private var lastToken: ByteArray? = null

    suspend fun carryOut(step: Step): String =
        try {
            if (step.isRepresentable) told(step) else "unrepresentable"
        } catch (error: SlotkvException) {
            lastToken = error.token ?: lastToken
            if (step.isOdd && error is InvalidArgumentException) "refused" else ofError(error)
        } catch (error: IllegalArgumentException) {
            if (step.isOdd) "refused" else throw error
        }

    private suspend fun told(step: Step): String {
        var client = client
        step.text("namespace")?.let { client = client.namespace(it) }
        step.number("deadline_ms")?.let { client = client.withDeadline(it.milliseconds) }
        // Calls have no option for it: both ways are a view.
        for (name in listOf("view_traceparent", "traceparent")) {
            step.text(name)?.let { client = client.withTraceparent(it) }
        }
        step.text("read_level")?.let { client = client.withReadLevel(ReadLevel.valueOf(it.uppercase())) }
        step.number("staleness_ms")?.let { client = client.withStaleness(it.milliseconds) }
        if (step.number("closed") == 1L) client = connect(uri).also { it.close() }
        if (step.number("cancel") == 1L) return cancelled(client, step.bytes(0))
        if (step.isText) return toldInText(client, step)
        val ttl = step.number("ttl_ms")?.milliseconds
        val (prefix, start, end) = listOf("prefix", "start", "end").map(step::bytes)
        return when (step.operation) {
            "connect" -> {
                connect(step.text(0)).close()
                "done"
            }
            "get" -> ofValue(client.get(step.bytes(0)))
            "get_entry" -> ofEntry(client.getEntry(step.bytes(0)))
            "has" -> "${client.has(step.bytes(0))}"
            "put" -> ofPut(client.put(step.bytes(0), step.bytes(1), ttl))
            "put_if_absent" -> ofPut(client.putIfAbsent(step.bytes(0), step.bytes(1), ttl))
            "update_if_present" -> ofPut(client.updateIfPresent(step.bytes(0), step.bytes(1), ttl))
            "compare_and_set" -> ofPut(client.compareAndSet(step.bytes(0), step.bytes(1), step.version(2), ttl))
            "expire" -> ofPut(client.expire(step.bytes(0), step.delta(1).milliseconds))
            "persist" -> ofPut(client.persist(step.bytes(0)))
            "gone" -> {
                while (client.has(step.bytes(0))) delay(5.milliseconds)
                "gone"
            }
            "delete" -> ofDelete(client.delete(step.bytes(0)))
            "delete_if_version" -> ofDelete(client.deleteIfVersion(step.bytes(0), step.version(1)))
            "increment" -> "number ${client.increment(step.bytes(0), step.delta(1))}"
            "outcome" -> {
                val token = step.all().firstOrNull() ?: lastToken ?: return "no token"
                client.outcome(token).run { "outcome ${status.name.lowercase()} $version $number" }
            }
            "get_many" -> ofMany(client.getManyResults(step.all()), ::ofValue)
            "put_many" -> {
                val pairs = step.all().chunked(2) { (key, value) -> key to value }
                ofMany(client.putManyResults(pairs, ttl), ::ofPut)
            }
            "delete_many" -> ofMany(client.deleteManyResults(step.all()), ::ofDelete)
            "count" -> "count ${client.count(prefix, start, end)}"
            "scan" -> {
                val (ordered, keysOnly) = listOf("ordered", "keys_only").map { step.number(it) == 1L }
                val pageItems = step.number("page_items")?.toInt()
                scan(client, step, Span(prefix, start, end, ordered, keysOnly, pageItems, step.bytes("cursor")))
            }
            "scan_on" -> scan(client, step, lastScan ?: return "no scan")
            "dump" -> ofItems(client.dump(prefix), "end")
            "slot" -> "slot ${client.slot(step.bytes(0))}"
            else -> "unknown"
        }
    }

    /** The operations that are asked of texts. */
    private suspend fun toldInText(client: Client, step: Step): String = when (step.operation) {
        "connect" -> "done".also { connect(step.text(0)).close() }
        "get" -> ofValue(client.get(step.text(0)))
        "put" -> ofPut(client.put(step.text(0), step.text(1)))
        "get_many" -> ofMany(client.getManyResults(step.allTexts()), ::ofValue)
        "put_many" -> {
            val pairs = step.allTexts().chunked(2) { (key, value) -> key to value }.toMap()
            ofMany(client.putManyResults(pairs), ::ofPut)
        }
        "scan" -> ofItems(client.scan(step.text("prefix"), step.text("start"), step.text("end")).toList(), "end")
        else -> "unknown"
    }

    private suspend fun scan(client: Client, step: Step, span: Span): String {
        val limit = step.number("limit")
        val scan = span.run { client.scan(prefix, start, end, ordered, keysOnly, limit, pageItems, cursor) }
        val items = scan.toList()
        val isComplete = limit == null || items.size < limit
        span.cursor = scan.cursor
        lastScan = span.takeUnless { isComplete }
        return ofItems(items, if (isComplete) "end" else "cursor")
    }
}

/** Begins to read a key and gives it up at once. */
private suspend fun cancelled(client: Client, key: ByteArray): String = coroutineScope {
    val call = async(start = CoroutineStart.UNDISPATCHED) { client.get(key) }
    call.cancel()
    try {
        call.await()
        "ended"
    } catch (_: CancellationException) {
        "cancelled"
    }
}

fun main(arguments: Array<String>) = runBlocking {
    val (uri) = arguments
    val client = connect(uri)
    val driver = Driver(client, uri)
    for (line in generateSequence(::readLine)) {
        println(driver.carryOut(Step(line)))
        System.out.flush()
    }
    client.close()
}
