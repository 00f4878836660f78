package slotkv

import java.util.concurrent.CopyOnWriteArrayList
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.measureTime
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.TimeoutCancellationException
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.yield
import slotkv.ffi.testCounters
import slotkv.ffi.testPanic

/** Of calls that nobody answers: far above what giving up and closing may take, also on a busy machine. */
private val DEADLINE = 60.seconds

/** What calls do to coroutines: many at once, giving up, deadlines, panics, logs. */
class CallsTest {
    @Test
    fun `a thousand calls at once cost a wake-up per batch`() = withClient { client ->
        client.put("key", "value")
        val before = testCounters()
        val values = coroutineScope { List(1000) { async(Dispatchers.Default) { client.get("key") } }.awaitAll() }
        assertTrue(values.all { it.text() == "value" })
        val after = testCounters()
        assertEquals(1000uL, after.submissions - before.submissions)
        assertEquals(1000uL, after.completions - before.completions)
        // A batch is woken for once and taken once.
        assertTrue(after.drains - before.drains <= after.wakeups - before.wakeups + 1u)
        assertTrue(after.wakeups - before.wakeups < 700u, "${after.wakeups - before.wakeups} wake-ups")
    }

    @Test
    fun `calls that are given up end at once, and at the members, too`() = withClient { client ->
        client.put("key", "1")
        Cluster.shared.paused {
            val took = measureTime {
                coroutineScope {
                    val calls = List(100) { launch { client.get("key", deadline = DEADLINE) } }
                    while (client.stats().inFlight < 100u) yield()
                    calls.forEach { it.cancelAndJoin() }
                }
            }
            assertTrue(took < DEADLINE / 3, "$took")
            assertFailsWith<DeadlineException> { client.get("key", deadline = 50.milliseconds) }
            val stats = client.stats()
            assertEquals(100uL to 0uL, stats.callsCancelled to stats.inFlight)
        }
        assertEquals("1", client.get("key", deadline = 30.seconds).text())
    }

    @Test
    fun `a timeout gives the call up`() = withClient { client ->
        client.put("key", "1")
        Cluster.shared.paused {
            assertFailsWith<TimeoutCancellationException> { withTimeout(50.milliseconds) { client.get("key") } }
            // The runtime hears of it after the coroutine.
            withTimeout(5.seconds) { while (client.stats().callsCancelled < 1u) yield() }
        }
    }

    @Test
    fun `a coroutine that is cancelled already does not begin a call`() = withClient { client ->
        val before = testCounters().submissions
        coroutineScope {
            launch {
                coroutineContext[kotlinx.coroutines.Job]!!.cancel()
                assertFailsWith<CancellationException> { client.put("key", "1") }
                assertFailsWith<CancellationException> { client.getMany(listOf("key")) }
            }
        }
        assertEquals(before, testCounters().submissions)
        assertEquals(null, client.get("key"))
    }

    @Test
    fun `the outcome of a write that was not answered is asked for`() = withClient { client ->
        client.put("key", "1")
        val error = Cluster.shared.paused {
            assertFailsWith<DeadlineException> { client.put("key", "2", deadline = 50.milliseconds) }
        }
        val outcome = client.outcome(error.token!!, deadline = 30.seconds)
        assertEquals(outcome.applied, outcome.status == WriteStatus.UPDATED)
        assertEquals(if (outcome.applied) "2" else "1", client.get("key", deadline = 30.seconds).text())
        assertFailsWith<InvalidArgumentException> { client.outcome(ByteArray(0)) }
    }

    @Test
    fun `a session goes on where its token stands`() = withClient { client ->
        val session = client.withSessionToken(ByteArray(0))
        session.put("key", "1")
        val views = listOf(
            client.withSessionToken(session.sessionToken()),
            client.withReadLevel(ReadLevel.SESSION),
            client.withReadLevel(ReadLevel.STALE),
            client.withStaleness(60.seconds),
        )
        for (view in views) assertEquals("1", view.get("key").text())
        assertFailsWith<UnsupportedException> { client.withSessionToken(byteArrayOf(2)) }
    }

    @Test
    fun `a deadline that passes is an error that says what is known`() = withClient { client ->
        client.put("key", "1")
        Cluster.shared.paused {
            val error = assertFailsWith<DeadlineException> { client.put("key", "2", deadline = 50.milliseconds) }
            assertIs<UnansweredException>(error)
            assertEquals(listOf(20, "TIMEOUT", Outcome.UNKNOWN), listOf(error.code, error.kind, error.outcome))
            assertTrue(Regex("""127\.0\.0\.1:\d+""").matches(error.member!!) && error.attempts >= 1)
            assertTrue(Regex("TIMEOUT: .*\\(member 127.*").matches(error.message!!), error.message)
            val read = assertFailsWith<DeadlineException> { client.withDeadline(50.milliseconds).get("key") }
            assertEquals(Outcome.FAILED, read.outcome)
        }
    }

    @Test
    fun `a panic becomes an error, wherever it happens, and the next call works`() = withClient { client ->
        for (inRuntime in listOf(false, true)) {
            val error = assertFailsWith<UnexpectedException> { told { testPanic(inRuntime) } }
            assertTrue("on purpose" in error.message!!)
        }
        assertEquals(null, client.get("key"))
    }

    @Test
    fun `logs arrive at the function that wants them, and no longer than it does`() = runBlocking {
        val records = CopyOnWriteArrayList<LogRecord>()
        setLogger(LogLevel.DEBUG) { records.add(it) }
        connect(Cluster.shared.uri).use { it.get("key") }
        withTimeout(10.seconds) { while (records.none { it.target.startsWith("slotkv.") }) yield() }
        setLogger(logger = null)
        val heard = records.size
        connect(Cluster.shared.uri).use { it.get("key") }
        // What another hears now came later than all that the first could have heard.
        val later = CopyOnWriteArrayList<LogRecord>()
        setLogger(LogLevel.DEBUG) { later.add(it) }
        connect(Cluster.shared.uri).use { it.get("key") }
        withTimeout(10.seconds) { while (later.isEmpty()) yield() }
        setLogger(logger = null)
        assertEquals(heard, records.size)
    }

    @Test
    fun `a logger that throws harms nobody`() = withClient { client ->
        setLogger(LogLevel.TRACE) { error("on purpose") }
        connect(Cluster.shared.uri).use { it.get("key") }
        setLogger(logger = null)
        assertEquals(null, client.get("key"))
    }

    @Test
    fun `coroutines on any dispatcher share one client`() = withClient { client ->
        for (dispatcher in listOf(Dispatchers.Default, Dispatchers.IO, Dispatchers.Unconfined)) {
            withContext(dispatcher) {
                coroutineScope { repeat(50) { launch { repeat(10) { client.increment("sum") } } } }
            }
        }
        assertEquals("1500", client.get("sum").text())
    }

    @Test
    fun `closing is bounded while calls are open`() = withClient { _ ->
        val client = connect(Cluster.shared.uri)
        Cluster.shared.paused {
            coroutineScope {
                val calls = List(50) { async { runCatching { client.get("key", deadline = DEADLINE) } } }
                while (client.stats().inFlight < 50u) yield()
                val took = measureTime { withContext(Dispatchers.IO) { client.close() } }
                assertTrue(took < DEADLINE / 3, "$took")
                assertTrue(calls.awaitAll().all { it.exceptionOrNull() is ClosedException })
            }
        }
    }
}
