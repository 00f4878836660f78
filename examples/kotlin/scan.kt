// mvn -q -f examples/kotlin compile exec:java -Dexec.mainClass=ScanKt [-Dexec.args=URI]
//
// Keys by prefix, in slot order (cheap) and in key order (merged), and going on from a cursor.

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import slotkv.Item
import slotkv.connect
import slotkv.count
import slotkv.deleteMany
import slotkv.putMany
import slotkv.scan

private fun numbered(name: String, count: Int) = List(count) { "$name/%04d".format(it) }

/** The keys of a scan. */
private suspend fun Flow<Item>.keys() = map { it.key.decodeToString() }.toList()

fun main(arguments: Array<String>) = runBlocking {
    val client = connect(arguments.firstOrNull() ?: "slotkv://127.0.0.1:7700", namespace = "example-scan")
    val people = numbered("people", 500)
    val places = numbered("places", 100)
    client.putMany((people + places).associateWith { it })

    check(client.count(prefix = "people/") == 500L)
    val scan = client.scan(prefix = "people/", limit = 200)
    val found = scan.keys() + client.scan(prefix = "people/", cursor = scan.cursor).keys()
    check(found.sorted() == people)

    val keys = client.scan(start = "people/0490", end = "places/0010", ordered = true, keysOnly = true).keys()
    check(keys == people.drop(490) + places.take(10))

    client.deleteMany(people + places)
    client.close()
    println("scan: ${found.size} keys in two parts, ${keys.size} in key order")
}
