package slotkv

/** What can be done after an error: `NEVER` repeat it, `REROUTE` at once, `BACKOFF` after a pause, or `ASK` yourself. */
typealias Retry = slotkv.ffi.Retry

/** Whether an operation that failed was applied: `FAILED` if provably not, `UNKNOWN` if it may have been. */
typealias Outcome = slotkv.ffi.Outcome

/** What an error is made of. */
typealias Failure = slotkv.ffi.Failure

/**
 * The root of slotkv's errors. Each answers three questions: what happened (its class, [code] and [kind]), may I retry
 * ([retry] and [retryable]), and was it applied ([outcome]).
 */
open class SlotkvException(
    /** All of it, as the library says it. */
    val failure: Failure,
) : Exception(textOf(failure)) {
    /** Which kind: its stable number. */
    val code: Int get() = failure.code.toInt()

    /** The stable upper-case name of the kind. */
    val kind: String get() = failure.kind

    /** What can be done. */
    val retry: Retry get() = failure.retry

    /** Whether the very same call may simply be repeated: it was not applied, and may succeed later. */
    val retryable: Boolean get() = failure.retryable

    /** Whether the operation was applied. */
    val outcome: Outcome get() = failure.outcome

    /** host:port of the member that the error came from or that could not be reached, if one was asked. */
    val member: String? get() = failure.member

    /** How often the operation was sent, or tried to be. */
    val attempts: Int get() = failure.attempts.toInt()

    /** What the layers below said, the nearest first. */
    val causes: List<String> get() = failure.causes

    /** Of a write whose outcome is unknown: by it [Client.outcome] tells what came of it. */
    val token: ByteArray? get() = failure.token
}

private fun textOf(failure: Failure): String {
    val where = failure.member?.let { " (member $it, attempt ${failure.attempts})" } ?: ""
    return (listOf("${failure.kind}: ${failure.text}$where") + failure.causes).joinToString(": ")
}

/** The request itself cannot be served; repeating it does not help. */
open class RequestException(failure: Failure) : SlotkvException(failure)

/** An argument is not of the form the operation takes. */
open class InvalidArgumentException(failure: Failure) : RequestException(failure)

/** A key, value, batch or frame is past its limit, which the message names. */
open class TooLargeException(failure: Failure) : RequestException(failure)

/** The other side does not know this operation, version or option. */
open class UnsupportedException(failure: Failure) : RequestException(failure)

/** The credentials do not allow this. */
open class DeniedException(failure: Failure) : RequestException(failure)

/** The member belongs to another cluster. */
open class WrongClusterException(failure: Failure) : RequestException(failure)

/** The value to increment is not a decimal number of 64 bits. */
open class NotANumberException(failure: Failure) : RequestException(failure)

/** The sum does not fit into 64 bits. */
open class NumberOverflowException(failure: Failure) : RequestException(failure)

/** Not applied now, may be later. The client has retried until the deadline. */
open class TemporaryException(failure: Failure) : SlotkvException(failure)

/** The right member for the slot was not found in time: MOVED, RETRY or NOT_PRIMARY. */
open class RoutingException(failure: Failure) : TemporaryException(failure)

/** The shard has too few replicas in sync, or no room on its disk, and takes no writes. */
open class ReadOnlyException(failure: Failure) : TemporaryException(failure)

/** A limit of requests in flight is reached. */
open class OverloadedException(failure: Failure) : TemporaryException(failure)

/** No connection to the member could be made; nothing was sent. */
open class UnavailableException(failure: Failure) : TemporaryException(failure)

/** None of the named members answered with a slot table. */
open class NoMasterException(failure: Failure) : TemporaryException(failure)

/** The member is stopping and takes no new requests. */
open class ShuttingDownException(failure: Failure) : TemporaryException(failure)

/** No answer came. A read may be repeated; whether a write was applied, [outcome] says. */
open class UnansweredException(failure: Failure) : SlotkvException(failure)

/** The deadline passed. */
open class DeadlineException(failure: Failure) : UnansweredException(failure)

/** The connection broke after the request was sent. */
open class ConnectionLostException(failure: Failure) : UnansweredException(failure)

/** The primary stepped down after it had appended the write. */
open class SteppedDownException(failure: Failure) : UnansweredException(failure)

/** The result of an earlier attempt is no longer kept; this attempt was not executed. */
open class IndeterminateException(failure: Failure) : UnansweredException(failure)

/** The call was cancelled from elsewhere. (A coroutine that is cancelled throws its CancellationException.) */
open class CallCancelledException(failure: Failure) : UnansweredException(failure)

/** Stored data failed its checks and is not served. */
open class DamagedException(failure: Failure) : SlotkvException(failure)

/** This client object cannot be used any more. */
open class ClientStateException(failure: Failure) : SlotkvException(failure)

/** The client was closed. */
open class ClosedException(failure: Failure) : ClientStateException(failure)

/** The client was made before a fork; make a new one in the child. */
open class ForkedException(failure: Failure) : ClientStateException(failure)

/** An error that this version does not know; its text says more. */
open class UnexpectedException(failure: Failure) : SlotkvException(failure)

/**
 * Some keys of a call on many failed. Code, kind and the rest are those of the first key that failed, which is the cause;
 * but the outcome is unknown if any key's is, and the call is retryable only if every key's error is.
 */
class ManyException(
    failure: Failure,
    /** The result of every key, in their order. */
    val results: List<Result<Any?>>,
) : SlotkvException(failure) {
    init {
        results.firstNotNullOfOrNull { it.exceptionOrNull() }?.let(::initCause)
    }

    /** The errors by the index of their key. */
    val errors: Map<Int, SlotkvException>
        get() = results.withIndex().mapNotNull { (index, result) ->
            (result.exceptionOrNull() as? SlotkvException)?.let { index to it }
        }.toMap()
}

/** The error that the library describes; a code of a newer version is unexpected. */
internal fun exceptionOf(failure: Failure): SlotkvException = when (failure.code.toInt()) {
    1 -> InvalidArgumentException(failure)
    2 -> TooLargeException(failure)
    3 -> UnsupportedException(failure)
    4 -> DeniedException(failure)
    5 -> WrongClusterException(failure)
    6 -> NotANumberException(failure)
    7 -> NumberOverflowException(failure)
    10, 11, 12 -> RoutingException(failure)
    13 -> ReadOnlyException(failure)
    14 -> OverloadedException(failure)
    15 -> UnavailableException(failure)
    16 -> NoMasterException(failure)
    17 -> ShuttingDownException(failure)
    20 -> DeadlineException(failure)
    21 -> ConnectionLostException(failure)
    22 -> SteppedDownException(failure)
    23 -> IndeterminateException(failure)
    24 -> CallCancelledException(failure)
    30 -> DamagedException(failure)
    40 -> ClosedException(failure)
    41 -> ForkedException(failure)
    else -> UnexpectedException(failure)
}

/** A fault of this layer or the one below. */
internal fun unexpected(text: String) =
    Failure(50u, "UNEXPECTED", Retry.ASK, false, Outcome.UNKNOWN, text, null, 0u, emptyList())

/** The results if none is an error, else the error of all. */
internal fun <T> List<Result<T>>.orThrow(failure: Failure?): List<T> {
    if (failure != null) throw ManyException(failure, this)
    return map { it.getOrThrow() }
}
