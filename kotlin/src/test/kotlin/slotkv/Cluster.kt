package slotkv

import java.io.File
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.io.path.Path
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.runBlocking

/** A `slotkv dev` on free ports. SLOTKV_BIN names the binary; otherwise it is looked for in the workspace's target folder. */
class Cluster private constructor(private val process: Process, val uri: String) : AutoCloseable {
    /** Nobody answers while `body` runs. */
    suspend fun <T> paused(body: suspend () -> T): T {
        signal("STOP")
        // Until all its threads stand still.
        val tasks = File("/proc/${process.pid()}/task")
        while (!tasks.listFiles()!!.all { "\nState:\tT" in it.resolve("status").readText() }) Thread.onSpinWait()
        try {
            return body()
        } finally {
            signal("CONT")
        }
    }

    private fun signal(name: String) {
        check(ProcessBuilder("kill", "-$name", "${process.pid()}").start().waitFor() == 0)
    }

    override fun close() {
        process.destroy()
        check(process.waitFor(SECONDS_MAX, TimeUnit.SECONDS)) { "slotkv dev does not end" }
    }

    companion object {
        private const val SECONDS_MAX = 30L
        private val namespaces = AtomicInteger()

        /** One for all tests; it ends with their process. */
        val shared: Cluster by lazy {
            start().also { cluster -> Runtime.getRuntime().addShutdownHook(Thread(cluster::close)) }
        }

        private fun start(): Cluster {
            val process = ProcessBuilder(binary(), "dev", "--port", "0")
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start()
            val line = process.inputStream.bufferedReader().readLine()
            check(line.startsWith("ready ")) { "slotkv dev said $line" }
            val cluster = Cluster(process, line.removePrefix("ready "))
            // The slots are allocated when all shards have registered; the first write waits for that.
            runBlocking { connect(cluster.uri, deadline = 30.seconds).use { it.put("ready", "") } }
            return cluster
        }

        private fun binary(): String {
            val candidates = System.getenv("SLOTKV_BIN")?.let(::listOf)
                ?: listOf("debug", "release").map { "../target/$it/slotkv" }
            return candidates.firstOrNull { Path(it).toFile().exists() }
                ?: error("no slotkv binary at $candidates; build it, or name it in SLOTKV_BIN")
        }

        /** A namespace that no other test has. */
        fun namespace() = "test${ProcessHandle.current().pid()}-${namespaces.incrementAndGet()}"
    }
}

/** Runs a test with a client in a namespace of its own. */
fun withClient(body: suspend (Client) -> Unit) = runBlocking {
    connect(Cluster.shared.uri, namespace = Cluster.namespace()).use { body(it) }
}

/** A value as text. */
fun ByteArray?.text() = this?.decodeToString()
