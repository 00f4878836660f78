package slotkv

import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertNull
import kotlin.test.assertSame
import kotlin.test.assertTrue
import kotlin.time.Duration
import kotlin.time.Duration.Companion.days
import kotlin.time.Duration.Companion.hours
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout

/** What operations answer. */
class ClientTest {
    @Test
    fun `a value comes back as it was put, with a version that grows`() = withClient { client ->
        assertNull(client.get("key"))
        assertNull(client.getEntry("key"))
        val created = client.put("key", "value")
        assertEquals(PutStatus.CREATED to true, created.status to created.done)
        assertEquals("value", client.get("key").text())
        val updated = client.put("key", byteArrayOf(0, -1))
        assertEquals(PutStatus.UPDATED, updated.status)
        assertTrue(updated.version > created.version)
        val entry = client.getEntry("key")!!
        assertContentEquals(byteArrayOf(0, -1), entry.value)
        assertEquals(updated.version, entry.version)
        assertEquals(listOf(true, false), listOf(client.has("key"), client.has("other")))
    }

    @Test
    fun `text stands for its UTF-8, as key and as value`() = withClient { client ->
        client.put("ü€😀", "ä\u0000")
        assertContentEquals("ä\u0000".encodeToByteArray(), client.get("ü€😀".encodeToByteArray()))
        client.put("k".encodeToByteArray(), "v")
        assertEquals("v", client.get("k").text())
        client.put("empty", "")
        assertContentEquals(ByteArray(0), client.get("empty"))
    }

    @Test
    fun `a lifetime is a duration and ends`() = withClient { client ->
        val version = client.put("lasting", "1", ttl = 1.hours).version
        val left = client.getEntry("lasting")!!.ttl!!
        assertTrue(left > 58.minutes && left <= 1.hours, "$left")
        assertTrue(client.compareAndSet("lasting", "2", version, ttl = 30.days).done)
        assertTrue(client.scan("lasting").toList().single().ttl!! > 29.days)
        assertEquals(PutStatus.UPDATED, client.expire("lasting", 2.hours).status)
        assertEquals(3, client.increment("lasting"))
        assertTrue(client.getEntry("lasting")!!.ttl!! > 1.hours)
        assertTrue(client.persist("lasting").done)
        assertNull(client.getEntry("lasting")!!.ttl)
        client.putMany(mapOf("lasting" to "4", "lasting2" to "5"), ttl = 50.milliseconds)
        for (key in listOf("lasting", "lasting2")) {
            while (true) delay(client.getEntry(key)?.run { ttl ?: Duration.ZERO } ?: break)
        }
        assertEquals(Put(PutStatus.UNMET, 0u, false), client.persist("lasting"))
        assertFailsWith<IllegalArgumentException> { client.put("lasting", "6", ttl = Duration.ZERO) }
        assertFailsWith<InvalidArgumentException> { client.expire("lasting", 3651.days) }
    }

    @Test
    fun `conditions that do not hold are results`() = withClient { client ->
        assertEquals(Put(PutStatus.UNMET, 0u, false), client.updateIfPresent("key", "1"))
        val version = client.putIfAbsent("key", "1").version
        assertEquals(Put(PutStatus.UNMET, version, false), client.putIfAbsent("key", "2"))
        assertEquals(PutStatus.UNMET, client.compareAndSet("key", "2", version + 1u).status)
        val set = client.compareAndSet("key", "2", version)
        assertEquals(PutStatus.UPDATED, set.status)
        assertEquals(Delete(DeleteStatus.UNMET, set.version, false), client.deleteIfVersion("key", version))
        assertEquals(DeleteStatus.DELETED, client.deleteIfVersion("key", set.version).status)
        assertEquals(Delete(DeleteStatus.NOT_FOUND, 0u, false), client.delete("key"))
        client.put("key", "3")
        val deleted = client.delete("key")
        assertTrue(deleted.done && deleted.version > set.version)
        assertEquals(PutStatus.UNMET, client.compareAndSet("key", "", ULong.MAX_VALUE).status)
    }

    @Test
    fun `numbers are exact over the whole range of 64 bits`() = withClient { client ->
        assertEquals(1, client.increment("number"))
        assertEquals(-2, client.increment("number", -3))
        assertEquals(Long.MAX_VALUE - 2, client.increment("number", Long.MAX_VALUE))
        assertFailsWith<NumberOverflowException> { client.increment("number", 3) }
        assertEquals(Long.MIN_VALUE, client.increment("low", Long.MIN_VALUE))
        client.put("text", "text")
        assertFailsWith<NotANumberException> { client.increment("text") }
    }

    @Test
    fun `many keys have a result each, in their order`() = withClient { client ->
        val pairs = (0..<500).associate { "key$it" to "value$it" }
        assertTrue(client.putMany(pairs).all { it.status == PutStatus.CREATED })
        val values = client.getMany(pairs.keys + "absent")
        assertEquals(pairs.values.toList() + null, values.map { it.text() })
        val deletes = client.deleteMany(listOf("key0", "absent"))
        assertEquals(listOf(DeleteStatus.DELETED, DeleteStatus.NOT_FOUND), deletes.map { it.status })
        assertEquals(499, client.count())
        assertEquals(emptyList(), client.getMany(emptyList<String>()))
    }

    @Test
    fun `a key of many that fails does not hide the others`() = withClient { client ->
        client.put("good", "1")
        val results = client.getManyResults(listOf("good", "", "absent"))
        assertEquals(listOf("1", null), listOf(results[0].getOrThrow().text(), results[2].getOrThrow()))
        assertIs<InvalidArgumentException>(results[1].exceptionOrNull())
        val error = assertFailsWith<ManyException> { client.getMany(listOf("good", "", "absent")) }
        assertEquals(listOf(1, "INVALID_ARGUMENT", Outcome.FAILED, false), error.run { listOf(code, kind, outcome, retryable) })
        assertEquals(setOf(1), error.errors.keys)
        assertSame(error.errors[1], error.cause)
        val puts = assertFailsWith<ManyException> { client.putMany(mapOf("" to "1", "other" to "2")) }
        assertTrue(puts.results[1].isSuccess)
        assertEquals("2", client.get("other").text())
        assertFailsWith<ManyException> { client.deleteMany(listOf("")) }
        assertIs<InvalidArgumentException>(client.deleteManyResults(listOf("")).single().exceptionOrNull())
    }

    @Test
    fun `values up to the limit arrive, and past it the limit is named`() = withClient { client ->
        for (length in listOf(0, 1, 1 shl 20, 16 shl 20)) {
            val value = ByteArray(length) { (it % 251).toByte() }
            client.put("large", value, deadline = 60.seconds)
            assertContentEquals(value, client.get("large", deadline = 60.seconds))
        }
        val error = assertFailsWith<TooLargeException> { client.put("large", ByteArray((16 shl 20) + 1)) }
        assertTrue("16777216" in error.message!!)
    }

    @Test
    fun `views share connections, and have names and deadlines of their own`() = withClient { client ->
        val other = client.namespace("other-place")
        client.put("key", "here")
        other.put("key", "there")
        assertEquals("here", client.get("key").text())
        assertEquals("there", other.withDeadline(2.seconds).get("key").text())
        val traced = client.withTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        assertEquals("here", traced.get("key").text())
        assertFailsWith<TooLargeException> { client.withTraceparent("x".repeat(1000)).get("key") }
        assertFailsWith<TooLargeException> { client.namespace("x".repeat(300)) }
        assertFailsWith<IllegalArgumentException> { client.withDeadline(Duration.ZERO) }
        other.delete("key")
    }

    @Test
    fun `a client tells where keys go and what it did`() = withClient { client ->
        client.put("{tag}key", "1")
        val explain = client.explain("{tag}key")
        assertEquals(explain.slot.toInt(), client.slot("tag"))
        assertEquals("tag" to true, explain.tag.text() to explain.connected)
        assertEquals(12182, client.explain("foo").hashSlot.toInt())
        val stats = client.stats()
        assertEquals(1uL to 3, stats.callsOk to stats.members.size)
        // A master learns a moment later than clients who leads.
        var status = client.status()
        withTimeout(30.seconds) { while (status.shards.any { it.state != "leader" }) status = client.status() }
        assertEquals(explain.clusterId to 3, status.clusterId to status.shards.size)
        for (shard in status.shards) {
            assertEquals(listOf(shard.primary, "", ""), listOf(shard.preferred, shard.reason, shard.recover))
            assertEquals(1u to 0uL, shard.replicas to shard.lossEpoch)
            val copy = shard.copies.single()
            assertEquals(listOf(shard.primary) to shard.isr, listOf(copy.name) to listOf(copy.name))
            assertTrue(copy.live && copy.inIsr && copy.state.startsWith("leader") && copy.sinceMs > 0u)
            assertTrue(status.members.any { it.name == copy.name && it.address == copy.address })
        }
    }

    @Test
    fun `a scan goes over all items, in pages and in both orders`() = withClient { client ->
        val keys = (0..<250).map { "key/%03d".format(it) }
        client.putMany(keys.associateWith { it })
        client.put("other", "")
        assertEquals(250, client.count(prefix = "key/"))
        for (pageItems in listOf(1, 7, null)) {
            val found = client.scan(prefix = "key/", ordered = true, pageItems = pageItems).map { it.key.text() }
            assertEquals(keys, found.toList())
        }
        val items = client.scan(prefix = "key/", keysOnly = true).toList()
        assertEquals(keys.toSet(), items.map { it.key.text() }.toSet())
        assertTrue(items.all { it.value.isEmpty() } && items.map { it.slot } == items.map { it.slot }.sorted())
        assertEquals(keys.subList(10, 20), client.scan(start = "key/010", end = "key/020", ordered = true).toList().map { it.key.text() })
        assertEquals(keys, client.dump(prefix = "key/").map { it.key.text() })
    }

    @Test
    fun `a scan goes on from where it stood, by its cursor and by itself`() = withClient { client ->
        val keys = (0..<100).map { "key/%03d".format(it) }
        client.putMany(keys.associateWith { it })
        val scan = client.scan(ordered = true, pageItems = 40)
        assertNull(scan.cursor)
        // In the middle of a page.
        assertEquals(keys.take(15), scan.take(15).toList().map { it.key.text() })
        val other = client.scan(ordered = true, cursor = scan.cursor)
        assertEquals(keys.drop(15), other.toList().map { it.key.text() })
        assertEquals(keys.drop(15), scan.toList().map { it.key.text() })
        assertEquals(emptyList(), scan.toList())
        val limited = client.scan(ordered = true, limit = 30, pageItems = 20)
        assertEquals(keys.take(10), limited.take(10).toList().map { it.key.text() })
        assertEquals(keys.subList(10, 30), limited.toList().map { it.key.text() })
        assertEquals(keys.drop(30), client.scan(ordered = true, cursor = limited.cursor).toList().map { it.key.text() })
        assertFailsWith<InvalidArgumentException> { client.scan(cursor = byteArrayOf(1)).toList() }
    }

    @Test
    fun `closing again does nothing, and a closed client says so`() = runBlocking {
        val client = connect(Cluster.shared.uri)
        val view = client.namespace("view")
        client.close()
        client.close()
        for (closed in listOf(client, view)) {
            val error = assertFailsWith<ClosedException> { closed.get("key") }
            assertEquals("CLOSED" to Outcome.FAILED, error.kind to error.outcome)
        }
    }

    @Test
    fun `options that cannot be are refused by name`() = runBlocking<Unit> {
        val uri = Cluster.shared.uri
        assertFailsWith<IllegalArgumentException> { connect(uri, deadline = (-5).milliseconds) }
        assertFailsWith<InvalidArgumentException> { connect(uri, deadline = 12.days) }
        assertFailsWith<InvalidArgumentException> { connect(uri, streamsPerMember = 0) }
        assertFailsWith<InvalidArgumentException> { connect("redis://localhost") }
        assertFailsWith<UnsupportedException> { connect("slotkvs://localhost") }
        val nobody = assertFailsWith<NoMasterException> { connect("slotkv://127.0.0.1:1", connectTimeout = 200.milliseconds) }
        assertTrue(nobody.retryable)
    }

    @Test
    fun `every kind of the table of errors has its class`() {
        val rows = java.io.File("../docs/errors.md").readLines().mapNotNull { line ->
            Regex("""\|\s*(\d+)\s*\|\s*`?([A-Z_]+)`?\s*\|.*""").matchEntire(line)?.destructured
        }
        assertTrue(rows.size >= 20, "${rows.size} rows")
        for ((code, kind) in rows) {
            val error = exceptionOf(unexpected("text").copy(code = code.toUInt(), kind = kind))
            assertEquals(kind == "UNEXPECTED", error::class == UnexpectedException::class, kind)
        }
    }
}
