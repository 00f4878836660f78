package slotkv

import kotlin.concurrent.thread
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import slotkv.ffi.Driver
import slotkv.ffi.InternalException
import slotkv.ffi.SlotkvException as NativeException

/**
 * The thread on which the ends of calls are told. It is a daemon: a process may end whenever it likes. Being one of the
 * JVM's own, it need not introduce itself with every call, as one of the library's would.
 */
private val driver: Thread by lazy {
    val driver = told { Driver() }
    thread(isDaemon = true, name = "slotkv-driver") { driver.run() }
}

/** Sees to it that somebody tells the ends of calls. */
internal fun seeToDriver() {
    driver
}

/** Fails where waiting for a call would wait for this very thread. */
internal fun checkMayWait() = check(Thread.currentThread() !== driver) {
    "this waits, and runs on slotkv's thread, on which nothing may wait: use another dispatcher than Unconfined"
}

/** What the library says, with its errors as those of this package. */
internal inline fun <T> told(call: () -> T): T =
    try {
        call()
    } catch (error: NativeException.Failed) {
        throw exceptionOf(error.failure)
    } catch (error: InternalException) {
        throw UnexpectedException(unexpected(error.message ?: "no text"))
    } catch (error: CharacterCodingException) {
        throw noUnicode(error)
    }

/** Of a text that has no UTF-8. */
internal fun noUnicode(error: CharacterCodingException) =
    IllegalArgumentException("a text has a lone surrogate, and so no UTF-8", error)

/** The same for what waits. What is cancelled already does not begin. */
internal suspend inline fun <T> awaited(call: () -> T): T {
    currentCoroutineContext().ensureActive()
    return told(call)
}
