// java -cp ... CompareKt FILE URI
//
// Reads every record of a JSON Lines file back through the Kotlin client, one call per key and a chunk of calls at the same
// time, and compares it byte for byte. The twin of compare_asyncio.py.

import java.io.File
import java.util.Base64
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds
import kotlin.time.DurationUnit
import kotlin.time.measureTimedValue
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.runBlocking
import slotkv.connect

/** Records of a chunk, unless their values are large. */
private const val CHUNK_RECORDS = 2000

/** Bytes of values of a chunk. */
private const val CHUNK_BYTES = 16 shl 20

private class Record(val key: ByteArray, val value: ByteArray)

/** The texts of a JSON object that has nothing else that matters here. */
private fun texts(line: String): Map<String, String> {
    val found = mutableMapOf<String, String>()
    val words = mutableListOf<String>()
    var at = 0
    while (at < line.length) {
        when (line[at++]) {
            '"' -> {
                val text = StringBuilder()
                while (line[at] != '"') {
                    if (line[at] != '\\') {
                        text.append(line[at++])
                        continue
                    }
                    when (val escaped = line[at + 1]) {
                        'u' -> text.append(line.substring(at + 2, at + 6).toInt(16).toChar()).also { at += 4 }
                        else -> text.append(ESCAPED[escaped] ?: escaped)
                    }
                    at += 2
                }
                at += 1
                words += text.toString()
            }
            ',', '}' -> {
                if (words.isNotEmpty()) found[words.first()] = words.last()
                words.clear()
            }
        }
    }
    return found
}

private val ESCAPED = mapOf('b' to '\b', 'f' to '\u000c', 'n' to '\n', 'r' to '\r', 't' to '\t')

private fun bytes(fields: Map<String, String>, name: String): ByteArray =
    fields[name]?.encodeToByteArray() ?: Base64.getDecoder().decode(fields.getValue("${name}_base64"))

/** The records, in chunks bounded by count and by bytes. */
private fun chunks(file: File): Sequence<List<Record>> = sequence {
    var (chunk, size) = mutableListOf<Record>() to 0
    file.useLines { lines ->
        for (line in lines) {
            val fields = texts(line)
            if ("slotkv_export" in fields) continue
            val record = Record(bytes(fields, "key"), bytes(fields, "value"))
            chunk += record
            size += record.value.size
            if (chunk.size == CHUNK_RECORDS || size >= CHUNK_BYTES) {
                yield(chunk)
                chunk = mutableListOf()
                size = 0
            }
        }
    }
    if (chunk.isNotEmpty()) yield(chunk)
}

fun main(arguments: Array<String>) = runBlocking {
    val (file, uri) = arguments
    var (records, different, done) = listOf(0, 0, 0)
    var took = Duration.ZERO
    connect(uri, deadline = 60.seconds).use { client ->
        for (chunk in chunks(File(file))) {
            val (values, time) = measureTimedValue {
                coroutineScope { chunk.map { async { client.get(it.key) } }.awaitAll() }
            }
            took += time
            for ((record, found) in chunk.zip(values)) {
                if (found == null) continue
                records += 1
                if (!found.contentEquals(record.value)) different += 1
            }
            done += chunk.size
            println("""{"done": $done}""")
        }
    }
    val seconds = took.toDouble(DurationUnit.SECONDS)
    println("""{"records": $records, "different": $different, "seconds": $seconds}""")
}
