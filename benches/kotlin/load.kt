// GETs of existing keys, so many in flight: slotkv or Lettuce.
//
//     java -cp 'benches/kotlin/target/classes:benches/kotlin/target/lib/*' LoadKt slotkv|lettuce URI|PORT OPERATIONS RECORDS IN_FLIGHT
//
// Every client runs the same loop: IN_FLIGHT coroutines on one thread, each awaiting one GET after the other, values as bytes.
// Prints one line of JSON. The twin of benches/node/load.mjs.

import com.sun.management.OperatingSystemMXBean
import io.lettuce.core.RedisURI
import io.lettuce.core.cluster.RedisClusterClient
import io.lettuce.core.codec.ByteArrayCodec
import java.io.File
import java.lang.management.ManagementFactory
import kotlin.random.Random
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.future.await
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import slotkv.connect

/** Not measured: connections are made and code is compiled. */
private const val WARM_UP_OPERATIONS = 50_000

/** Keys of one coroutine; it goes round them, and memory stays small beside the million that exist. */
private const val KEYS_PER_TASK = 2_000

// `slotkv bench` spreads index over number so (server/daemon/src/bench/data.rs).
private const val SPREAD = 618_033_988_749_894_849L
private const val NUMBERS = 1_000_000_000_000L

private class Peer(val tags: List<String>, val get: suspend (ByteArray) -> ByteArray?, val close: () -> Unit)

private suspend fun slotkv(uri: String): Peer {
    val client = connect(uri)
    return Peer(emptyList(), { client.get(it) }, client::close)
}

private fun lettuce(port: Int): Peer {
    val client = RedisClusterClient.create(RedisURI.create("127.0.0.1", port))
    val connection = client.connect(ByteArrayCodec.INSTANCE)
    // The tag of each master, seen on any of its keys: redis-benchmark uses three.
    val masters = connection.partitions.filter { it.slots.isNotEmpty() }
    val tags = masters.map { connection.getConnection(it.nodeId).sync().randomkey().decodeToString().take(5) }
    val commands = connection.async()
    return Peer(tags, { commands.get(it).await() }, client::shutdown)
}

/** Keys of one coroutine, the same for the same seed. */
private fun some(peer: Peer, records: Int, seed: Int): List<ByteArray> {
    val chance = Random(seed)
    fun key(number: Int): String {
        val tags = peer.tags
        if (tags.isNotEmpty()) return "${tags[number % tags.size]}%012d".format(number / tags.size)
        val spread = number.toBigInteger() * SPREAD.toBigInteger() % NUMBERS.toBigInteger()
        return "user%012d".format(spread.toLong())
    }
    return List(KEYS_PER_TASK) { key(chance.nextInt(records)).encodeToByteArray() }
}

/** Runs the operations; the latency of each in nanoseconds. */
private suspend fun load(peer: Peer, keys: List<List<ByteArray>>, operations: Int): LongArray {
    val latencies = LongArray(operations)
    var begun = 0
    coroutineScope {
        for (chosen in keys) launch {
            var at = 0
            while (begun < operations) {
                val operation = begun++
                val start = System.nanoTime()
                val value = peer.get(chosen[at])
                latencies[operation] = System.nanoTime() - start
                checkNotNull(value) { "${chosen[at].decodeToString()} is missing; the bench wants hits only" }
                at = (at + 1) % chosen.size
            }
        }
    }
    return latencies
}

/** User and system time of the servers, whose process ids `cargo xtask bench` tells. */
private fun serversSeconds(): Double {
    val pids = System.getenv("BENCH_SERVER_PIDS").orEmpty().split(',').filter(String::isNotEmpty)
    // Fields 14 and 15; the name in field 2 may hold blanks.
    val ticks = pids.sumOf { pid ->
        val fields = File("/proc/$pid/stat").readText().substringAfterLast(") ").split(' ')
        fields[11].toLong() + fields[12].toLong()
    }
    val perSecond = ProcessBuilder("getconf", "CLK_TCK").start().inputStream.bufferedReader().readText().trim()
    return ticks / perSecond.toDouble()
}

fun main(arguments: Array<String>) = runBlocking {
    val (client, to, operations, records, inFlight) = arguments
    val peer = if (client == "slotkv") slotkv(to) else lettuce(to.toInt())
    val keys = List(inFlight.toInt()) { some(peer, records.toInt(), it) }
    load(peer, keys, WARM_UP_OPERATIONS)
    val cpu = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean::class.java)
    val (serversStart, cpuStart) = serversSeconds() to cpu.processCpuTime
    val start = System.nanoTime()
    val latencies = load(peer, keys, operations.toInt())
    val seconds = (System.nanoTime() - start) / 1e9
    val clientSeconds = (cpu.processCpuTime - cpuStart) / 1e9
    val servers = serversSeconds() - serversStart
    latencies.sort()
    val (p50, p99) = listOf(latencies.size / 2, latencies.size / 100 * 99).map { latencies[it] / 1000.0 }
    println(
        """{"operations": ${latencies.size}, "seconds": $seconds, "client_cpu_seconds": $clientSeconds, """ +
            """"servers_cpu_seconds": $servers, "p50_us": $p50, "p99_us": $p99}""",
    )
    peer.close()
}
