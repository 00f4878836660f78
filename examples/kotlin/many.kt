// mvn -q -f examples/kotlin compile exec:java -Dexec.mainClass=ManyKt [-Dexec.args=URI]
//
// Thousands of keys at once: in one call, or in many calls at the same time.

import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.runBlocking
import slotkv.PutStatus
import slotkv.connect
import slotkv.deleteMany
import slotkv.get
import slotkv.getMany
import slotkv.putMany

fun main(arguments: Array<String>) = runBlocking {
    val client = connect(arguments.firstOrNull() ?: "slotkv://127.0.0.1:7700", namespace = "example-many")
    val records = (0..<10_000).associate { "user:$it" to "value $it" }
    client.deleteMany(records.keys)

    val puts = client.putMany(records)
    check(puts.all { it.status == PutStatus.CREATED })
    val found = client.getMany(records.keys)
    check(found.map { it?.decodeToString() } == records.values.toList())

    // The same from calls for one key each: what waits together is sent together.
    val values = records.keys.map { async { client.get(it) } }.awaitAll()
    check(values.map { it?.decodeToString() } == records.values.toList())

    client.deleteMany(records.keys)
    client.close()
    println("many: ${records.size} keys written, read and deleted")
}
