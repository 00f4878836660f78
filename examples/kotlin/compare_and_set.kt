// mvn -q -f examples/kotlin compile exec:java -Dexec.mainClass=Compare_and_setKt [-Dexec.args=URI]
//
// Changing a value that others change at the same time: read it with its version, write it back only if the version
// still stands. An unmet condition is a result, not an exception.

import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.runBlocking
import slotkv.Client
import slotkv.compareAndSet
import slotkv.connect
import slotkv.delete
import slotkv.get
import slotkv.getEntry
import slotkv.increment
import slotkv.put

private const val OTHERS = 8
private const val STEPS = 50

/** Adds 1 so many times; how often somebody else was faster. */
private suspend fun addOften(client: Client): Int {
    var repeated = 0
    repeat(STEPS) {
        while (true) {
            val (value, version) = checkNotNull(client.getEntry("sum"))
            val sum = value.decodeToString().toInt() + 1
            if (client.compareAndSet("sum", "$sum", version).done) break
            repeated += 1
        }
    }
    return repeated
}

fun main(arguments: Array<String>) = runBlocking {
    val client = connect(arguments.firstOrNull() ?: "slotkv://127.0.0.1:7700", namespace = "example-cas")
    client.put("sum", "0")
    val repeated = List(OTHERS) { async { addOften(client) } }.awaitAll().sum()
    check(client.get("sum")?.decodeToString() == "${OTHERS * STEPS}")
    client.delete("sum")

    // For a plain counter there is a shorter way.
    check(client.increment("counter", 41) == 41L)
    check(client.increment("counter") == 42L)
    client.delete("counter")

    client.close()
    println("compare_and_set: ${OTHERS * STEPS} additions, $repeated repeated")
}
