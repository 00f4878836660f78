// mvn -q -f examples/kotlin compile exec:java -Dexec.mainClass=HelloKt [-Dexec.args=URI]   (once: cargo xtask install-kotlin)
//
// Put, get and delete, and what they answer.

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import slotkv.DeleteStatus
import slotkv.PutStatus
import slotkv.connect
import slotkv.delete
import slotkv.get
import slotkv.put

fun main(arguments: Array<String>) = runBlocking {
    val client = connect(arguments.firstOrNull() ?: "slotkv://127.0.0.1:7700")
    client.delete("hello")

    check(client.put("hello", "world").status == PutStatus.CREATED)
    check(client.put("hello", "slotkv").status == PutStatus.UPDATED)

    // Calls that run at the same time share frames; none waits for another.
    val hello = async { client.get("hello") }
    val nobody = async { client.get("nobody") }
    check(hello.await()?.decodeToString() == "slotkv")
    check(nobody.await() == null)

    // A call that is given up is given up at the worker, too, unless its answer is there already.
    val call = async(start = CoroutineStart.UNDISPATCHED) { client.get("hello") }
    call.cancel()
    val outcome = runCatching { call.await() }
    check(outcome.isSuccess || outcome.exceptionOrNull() is CancellationException)

    check(client.delete("hello").status == DeleteStatus.DELETED)
    check(client.delete("hello").status == DeleteStatus.NOT_FOUND)

    client.close()
    println("hello: created, updated, read, deleted")
}
