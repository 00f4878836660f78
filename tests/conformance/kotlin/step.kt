// What a driver is told, and how answers look as text: the twin of `src/step.rs` and `src/text.rs`.

import java.math.BigInteger
import java.util.zip.CRC32
import kotlin.math.roundToLong
import kotlin.time.Duration
import kotlin.time.DurationUnit
import slotkv.Delete
import slotkv.DeleteStatus
import slotkv.Entry
import slotkv.Item
import slotkv.Put
import slotkv.SlotkvException
import slotkv.ttl

private const val SHOWN_BYTES_MAX = 256

/** What stands for `!name`, where a type has it. */
private val ODD = mapOf("zero" to BigInteger.ZERO, "negative" to BigInteger("-1"), "broken_text" to "\ud800")

/** Options that are numbers with a sign. */
private val SIGNED = setOf("deadline_ms", "limit", "page_items", "ttl_ms")

/** Where keys and values are: arguments, and options that are bounds. */
private val KEYS = setOf("", "prefix", "start", "end")

/** One operation. Arguments are bytes, numbers, and things of wrong types. */
class Step(line: String) {
    val operation = line.substringBefore(' ')
    private val arguments = mutableListOf<Any>()
    private val options = mutableMapOf<String, Any>()

    /** What is of a wrong type, by the option's name; that of arguments is empty. */
    private val odd = mutableListOf<Pair<String, String>>()

    init {
        for (word in line.split(' ').drop(1)) {
            val colon = word.indexOf(':')
            val (name, value) = word.take(maxOf(colon, 0)) to word.drop(colon + 1)
            if (value[0] == '!') odd += name to value.drop(1)
            if (colon < 0) arguments += argument(value) else options[name] = argument(value)
        }
    }

    val isOdd get() = odd.isNotEmpty()

    /** Whether any key or value is a text, as only those are that have no UTF-8. */
    val isText get() = odd.any { (name, odd) -> name in KEYS && odd == "broken_text" }

    /** Whether Kotlin's types let it be said; counts are of 31 bits. */
    val isRepresentable: Boolean
        get() = (number("page_items") ?: 0) <= Int.MAX_VALUE && odd.all { (name, odd) ->
            odd == "broken_text" || (odd in ODD && name in SIGNED)
        }

    /** Bytes as text, or a text as it is. */
    fun text(name: String) = options[name]?.let(::textOf)

    fun text(index: Int) = textOf(arguments[index])

    fun allTexts() = arguments.map(::textOf)

    fun bytes(name: String) = options[name] as? ByteArray

    fun number(name: String) = (options[name] as? BigInteger)?.toLong()

    fun bytes(index: Int) = arguments[index] as ByteArray

    /** A number of 64 bits without a sign. */
    fun version(index: Int) = (arguments[index] as BigInteger).toString().toULong()

    /** A number of 64 bits with a sign. */
    fun delta(index: Int): Long = (arguments[index] as BigInteger).longValueExact()

    fun all() = arguments.filterIsInstance<ByteArray>()
}

private fun argument(word: String): Any {
    val rest = word.drop(1)
    return when (word[0]) {
        '=' -> rest.hexToByteArray()
        '*' -> {
            val (byte, count) = rest.split('*')
            ByteArray(count.toInt()).also { it.fill(byte.hexToUByte().toByte()) }
        }
        '#' -> BigInteger(rest)
        // What has no stand-in is not looked at.
        '!' -> ODD[rest] ?: Unit
        else -> error(word)
    }
}

private fun textOf(word: Any) = if (word is ByteArray) word.decodeToString() else word as String

fun ofBytes(value: ByteArray): String {
    if (value.size <= SHOWN_BYTES_MAX) return "=${value.toHexString()}"
    val sum = CRC32().apply { update(value) }.value
    return "~${value.size}:%08x".format(sum)
}

fun ofValue(value: ByteArray?) = if (value == null) "none" else "value ${ofBytes(value)}"

/** In hours, so that it is the same for all who ask within some minutes. */
private fun ofTtl(ttl: Duration?) = if (ttl == null) "" else " ttl ${ttl.toDouble(DurationUnit.HOURS).roundToLong()}"

fun ofEntry(entry: Entry?) = if (entry == null) "none" else "entry ${entry.version} ${ofBytes(entry.value)}${ofTtl(entry.ttl)}"

fun ofPut(put: Put) = "${put.status.name.lowercase()} ${put.version}"

fun ofDelete(delete: Delete): String {
    val status = delete.status.name.lowercase()
    return if (delete.status == DeleteStatus.NOT_FOUND) status else "$status ${delete.version}"
}

fun ofError(error: SlotkvException) =
    error.run { "error $code $kind ${outcome.name.lowercase()} ${retry.name.lowercase()}" }

fun <T> ofMany(results: List<Result<T>>, text: (T) -> String): String {
    val texts = results.map { result -> result.fold(text) { ofError(it as SlotkvException) } }
    return "many[${texts.joinToString(";")}]"
}

fun ofItems(items: List<Item>, end: String): String {
    val texts = items.map { "${it.version} ${ofBytes(it.key)} ${ofBytes(it.value)}${ofTtl(it.ttl)}" }
    return "items[${texts.joinToString(";")}] $end"
}
