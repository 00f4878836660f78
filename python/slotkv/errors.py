"""Why a call did not succeed.

Every error answers three questions: what happened (its class, `code` and `kind`), may I retry (`retry` and
`retryable`), and was it applied (`outcome`: "failed" if provably not, "unknown" if it may have been).

    SlotkvError
    ├── RequestError            the request itself cannot be served: repeating it does not help
    │   ├── InvalidArgumentError (also a ValueError)
    │   ├── TooLargeError (also a ValueError)
    │   ├── UnsupportedError
    │   ├── DeniedError
    │   ├── WrongClusterError
    │   ├── NotANumberError (also a ValueError)
    │   └── NumberOverflowError (also an OverflowError)
    ├── TemporaryError          not applied now, may be later; the client has retried until the deadline
    │   ├── RoutingError
    │   ├── ReadOnlyError
    │   ├── OverloadedError
    │   ├── UnavailableError (also a ConnectionError)
    │   ├── NoMasterError (also a ConnectionError)
    │   └── ShuttingDownError
    ├── UnansweredError         no answer came; look at `outcome`
    │   ├── DeadlineError (also a TimeoutError)
    │   ├── ConnectionLostError (also a ConnectionError)
    │   ├── SteppedDownError
    │   ├── IndeterminateError
    │   └── CallCancelledError
    ├── DamagedError            stored data failed its checks
    ├── ClientStateError        this client object cannot be used any more
    │   ├── ClosedError
    │   └── ForkedError
    ├── ManyError               some keys of a call on many failed
    └── UnexpectedError         an error that this version does not know

All of them can be raised and subclassed by programs, as in tests:

>>> error = DeadlineError("too slow", outcome="unknown")
>>> isinstance(error, TimeoutError), error.code, error.kind, error.outcome, error.retryable
(True, 20, 'TIMEOUT', 'unknown', False)
"""

from __future__ import annotations

from typing import Any, Literal

__all__ = [
    "ClientStateError",
    "CallCancelledError",
    "ClosedError",
    "ConnectionLostError",
    "DamagedError",
    "DeadlineError",
    "DeniedError",
    "ForkedError",
    "IndeterminateError",
    "InvalidArgumentError",
    "ManyError",
    "NoMasterError",
    "NotANumberError",
    "NumberOverflowError",
    "OverloadedError",
    "ReadOnlyError",
    "RequestError",
    "RoutingError",
    "ShuttingDownError",
    "SlotkvError",
    "SteppedDownError",
    "TemporaryError",
    "TooLargeError",
    "UnansweredError",
    "UnavailableError",
    "UnexpectedError",
    "UnsupportedError",
    "WrongClusterError",
]


class SlotkvError(Exception):
    """The root of slotkv's errors."""

    #: Which kind: its stable number.
    code: int = 50
    #: The stable upper-case name of the kind.
    kind: str = "UNEXPECTED"
    #: What can be done: "never" repeat it, "reroute" at once, "backoff" after a pause, or "ask" yourself.
    retry: Literal["never", "reroute", "backoff", "ask"] = "ask"
    #: Whether the very same call may simply be repeated: it was not applied, and may succeed later.
    retryable: bool = False
    #: Whether the operation was applied: "failed" if provably not, "unknown" if it may have been.
    outcome: Literal["failed", "unknown"] = "unknown"
    #: host:port of the member that the error came from or that could not be reached, if one was asked.
    member: str | None = None
    #: How often the operation was sent, or tried to be.
    attempts: int = 0
    #: What the layers below said, the nearest first.
    causes: tuple[str, ...] = ()
    #: Of a write whose outcome is unknown: by it `outcome` of a client tells what came of it.
    token: bytes | None = None

    def __init__(
        self,
        message: str = "",
        *,
        code: int | None = None,
        kind: str | None = None,
        retry: Literal["never", "reroute", "backoff", "ask"] | None = None,
        retryable: bool | None = None,
        outcome: Literal["failed", "unknown"] | None = None,
        member: str | None = None,
        attempts: int = 0,
        causes: tuple[str, ...] = (),
        token: bytes | None = None,
    ) -> None:
        super().__init__(message)
        # What is not given is the class's.
        if code is not None:
            self.code = code
        if kind is not None:
            self.kind = kind
        if retry is not None:
            self.retry = retry
        if retryable is not None:
            self.retryable = retryable
        if outcome is not None:
            self.outcome = outcome
        self.member = member
        self.attempts = attempts
        self.causes = causes
        self.token = token

    @property
    def message(self) -> str:
        """What was wrong, without the rest."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        text = f"{self.kind}: {self.message}"
        if self.member is not None:
            text += f" (member {self.member}, attempt {self.attempts})"
        return ": ".join((text, *self.causes))


class RequestError(SlotkvError):
    """The request itself cannot be served; repeating it does not help."""

    retry: Literal["never", "reroute", "backoff", "ask"] = "never"
    outcome: Literal["failed", "unknown"] = "failed"


class InvalidArgumentError(RequestError, ValueError):
    """An argument is not of the form the operation takes."""

    code, kind = 1, "INVALID_ARGUMENT"


class TooLargeError(RequestError, ValueError):
    """A key, value, batch or frame is past its limit, which the message names."""

    code, kind = 2, "TOO_LARGE"


class UnsupportedError(RequestError):
    """The other side does not know this operation, version or option."""

    code, kind = 3, "UNSUPPORTED"


class DeniedError(RequestError):
    """The credentials do not allow this."""

    code, kind = 4, "DENIED"


class WrongClusterError(RequestError):
    """The member belongs to another cluster."""

    code, kind = 5, "WRONG_CLUSTER"


class NotANumberError(RequestError, ValueError):
    """The value to increment is not a decimal number of 64 bits."""

    code, kind = 6, "NOT_A_NUMBER"


class NumberOverflowError(RequestError, OverflowError):
    """The sum does not fit into 64 bits."""

    code, kind = 7, "OVERFLOW"


class TemporaryError(SlotkvError):
    """Not applied now, may be later. The client has retried until the deadline."""

    retry: Literal["never", "reroute", "backoff", "ask"] = "backoff"
    retryable = True
    outcome: Literal["failed", "unknown"] = "failed"


class RoutingError(TemporaryError):
    """The right member for the slot was not found in time: MOVED, RETRY or NOT_PRIMARY."""

    code, kind = 11, "RETRY"


class ReadOnlyError(TemporaryError):
    """The shard has too few replicas in sync, or no room on its disk, and takes no writes."""

    code, kind = 13, "READ_ONLY"


class OverloadedError(TemporaryError):
    """A limit of requests in flight is reached."""

    code, kind = 14, "OVERLOADED"


class UnavailableError(TemporaryError, ConnectionError):
    """No connection to the member could be made; nothing was sent."""

    code, kind = 15, "UNAVAILABLE"


class NoMasterError(TemporaryError, ConnectionError):
    """None of the named members answered with a slot table."""

    code, kind = 16, "NO_MASTER"


class ShuttingDownError(TemporaryError):
    """The member is stopping and takes no new requests."""

    code, kind = 17, "SHUTTING_DOWN"


class UnansweredError(SlotkvError):
    """No answer came. A read may be repeated; whether a write was applied, `outcome` says."""


class DeadlineError(UnansweredError, TimeoutError):
    """The deadline passed."""

    code, kind = 20, "TIMEOUT"


class ConnectionLostError(UnansweredError, ConnectionError):
    """The connection broke after the request was sent."""

    code, kind = 21, "CONNECTION_LOST"


class SteppedDownError(UnansweredError):
    """The primary stepped down after it had appended the write."""

    code, kind = 22, "STEPPED_DOWN"


class IndeterminateError(UnansweredError):
    """The result of an earlier attempt is no longer kept; this attempt was not executed."""

    code, kind = 23, "INDETERMINATE"


class CallCancelledError(UnansweredError):
    """The call was cancelled from elsewhere. (Cancelling it yourself raises asyncio.CancelledError.)"""

    code, kind = 24, "CANCELLED"


class DamagedError(SlotkvError):
    """Stored data failed its checks and is not served."""

    code, kind = 30, "DAMAGED"
    retry: Literal["never", "reroute", "backoff", "ask"] = "never"


class ClientStateError(SlotkvError):
    """This client object cannot be used any more."""

    retry: Literal["never", "reroute", "backoff", "ask"] = "never"
    outcome: Literal["failed", "unknown"] = "failed"


class ClosedError(ClientStateError):
    """The client was closed."""

    code, kind = 40, "CLOSED"


class ForkedError(ClientStateError):
    """The client was made before a fork; make a new one in the child."""

    code, kind = 41, "FORKED"


class UnexpectedError(SlotkvError):
    """An error that this version does not know; its text says more."""


class ManyError(SlotkvError):
    """Some keys of a call on many failed.

    Code, kind and the rest are those of the first key that failed, which is the cause; but the outcome is "unknown" if
    any key's is, and the call is retryable only if every key's error is.
    """

    #: The result of every key, in their order: what the call would have returned, or the key's error.
    results: list[Any]

    def __init__(self, message: str = "", *, results: list[Any] | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.results = [] if results is None else results

    @property
    def errors(self) -> dict[int, SlotkvError]:
        """The errors by the index of their key."""
        return {index: result for index, result in enumerate(self.results) if isinstance(result, SlotkvError)}


class _Classes(dict[int, type[SlotkvError]]):
    """The class of a code; a code of a newer version is unexpected."""

    def __missing__(self, code: int) -> type[SlotkvError]:
        return UnexpectedError


CLASSES = _Classes(
    {
        1: InvalidArgumentError,
        2: TooLargeError,
        3: UnsupportedError,
        4: DeniedError,
        5: WrongClusterError,
        6: NotANumberError,
        7: NumberOverflowError,
        10: RoutingError,
        11: RoutingError,
        12: RoutingError,
        13: ReadOnlyError,
        14: OverloadedError,
        15: UnavailableError,
        16: NoMasterError,
        17: ShuttingDownError,
        20: DeadlineError,
        21: ConnectionLostError,
        22: SteppedDownError,
        23: IndeterminateError,
        24: CallCancelledError,
        30: DamagedError,
        40: ClosedError,
        41: ForkedError,
        50: UnexpectedError,
    }
)
