package slotkv

import slotkv.ffi.Logger

/** How much a log record matters. */
typealias LogLevel = slotkv.ffi.LogLevel

/**
 * Something that slotkv has to say: its level, the part that speaks, as `slotkv.connection`, and the text; and how many
 * records were dropped just before it, because the function did not keep up.
 */
typealias LogRecord = slotkv.ffi.LogRecord

/**
 * Has the logs of this process's clients handed to `logger`, up to `level`, in place of the one before; null ends that.
 * Without it slotkv says nothing. It is called on a thread of the library's, with one record at a time, and not any more when
 * another has taken its place; DeadlineException if it does not return within a second.
 */
fun setLogger(level: LogLevel = LogLevel.INFO, logger: ((LogRecord) -> Unit)?) {
    val native = logger?.let {
        object : Logger {
            override fun log(records: List<LogRecord>) = records.forEach(it)
        }
    }
    told { slotkv.ffi.setLogger(native, level) }
}
