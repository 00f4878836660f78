package slotkv

import java.util.concurrent.TimeUnit
import kotlin.system.exitProcess
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import kotlinx.coroutines.DelicateCoroutinesApi
import kotlinx.coroutines.GlobalScope
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

/** Processes that end, in whatever way. */
class ProcessTest {
    @Test
    fun `a process ends without close, and says nothing of its own`() {
        assertEquals("0: value\n", run("ends"))
    }

    @Test
    fun `a process may exit with calls under way`() {
        repeat(EXITS) { assertEquals("7: ", run("exits")) }
    }

    /** Runs a program of [Programs] in a JVM of its own: its status, and all that it printed. */
    private fun run(program: String): String {
        val java = ProcessHandle.current().info().command().get()
        val process = ProcessBuilder(java, "-cp", System.getProperty("java.class.path"), "slotkv.Programs", program, Cluster.shared.uri)
            .redirectErrorStream(true)
            .start()
        val printed = process.inputStream.bufferedReader().readText()
        assertTrue(process.waitFor(SECONDS_MAX, TimeUnit.SECONDS), "it does not end")
        return "${process.exitValue()}: $printed"
    }

    private companion object {
        const val SECONDS_MAX = 60L
        const val EXITS = 10
    }
}

/** What those processes run. */
object Programs {
    @OptIn(DelicateCoroutinesApi::class)
    @JvmStatic
    fun main(arguments: Array<String>) = runBlocking {
        val (program, uri) = arguments
        val client = connect(uri)
        when (program) {
            "ends" -> {
                client.put("process", "value")
                println(client.get("process").text())
            }
            "exits" -> {
                repeat(3000) { call -> GlobalScope.launch { client.put("process$call", "x") } }
                while (client.stats().calls < 500u) Thread.onSpinWait()
                exitProcess(7)
            }
        }
    }
}
