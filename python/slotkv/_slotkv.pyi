from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import Context
from types import GenericAlias, TracebackType
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar, final, overload

from typing_extensions import Buffer, Self

from .errors import SlotkvError

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

_Bytes: TypeAlias = str | Buffer

class _Pairs(Protocol):
    def items(self) -> Iterable[tuple[_Bytes, _Bytes]]: ...

__all__ = [
    "AsyncClient",
    "AsyncScan",
    "Bridge",
    "Call",
    "Client",
    "ClusterStatus",
    "Delete",
    "Entry",
    "Explain",
    "Item",
    "MasterStatus",
    "MemberStats",
    "MemberStatus",
    "Put",
    "ReplicaStatus",
    "Scan",
    "ShardStatus",
    "Stats",
    "WriteOutcome",
    "__version__",
    "_after_fork",
    "_panic",
    "_shutdown",
    "begin_connect",
    "connect",
]

__version__: Final[str]

def connect(
    uri: str,
    *,
    namespace: str | None = None,
    deadline: float | None = None,
    connect_timeout: float | None = None,
    ping_interval: float | None = None,
    inflight_max: int | None = None,
    streams_per_member: int | None = None,
    client_name: str | None = None,
    zone: str | None = None,
) -> Client: ...
def begin_connect(
    uri: str,
    *,
    namespace: str | None = None,
    deadline: float | None = None,
    connect_timeout: float | None = None,
    ping_interval: float | None = None,
    inflight_max: int | None = None,
    streams_per_member: int | None = None,
    client_name: str | None = None,
    zone: str | None = None,
) -> Call[AsyncClient]: ...
def _shutdown() -> None: ...
def _after_fork() -> None: ...
def _panic() -> None: ...

@final
class Client:
    def get(
        self, key: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> bytes | None: ...
    def get_entry(
        self, key: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Entry | None: ...
    def has(self, key: _Bytes, *, deadline: float | None = None, traceparent: str | None = None) -> bool: ...
    def put(
        self,
        key: _Bytes,
        value: _Bytes,
        *,
        ttl: float | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Put: ...
    def put_if_absent(
        self,
        key: _Bytes,
        value: _Bytes,
        *,
        ttl: float | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Put: ...
    def update_if_present(
        self,
        key: _Bytes,
        value: _Bytes,
        *,
        ttl: float | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Put: ...
    def compare_and_set(
        self,
        key: _Bytes,
        value: _Bytes,
        version: int,
        *,
        ttl: float | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Put: ...
    def expire(
        self, key: _Bytes, ttl: float, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Put: ...
    def persist(
        self, key: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Put: ...
    def delete(
        self, key: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Delete: ...
    def delete_if_version(
        self, key: _Bytes, version: int, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Delete: ...
    def increment(
        self, key: _Bytes, delta: int = 1, *, deadline: float | None = None, traceparent: str | None = None
    ) -> int: ...
    def outcome(
        self, token: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> WriteOutcome: ...
    @overload
    def get_many(
        self,
        keys: Iterable[_Bytes],
        *,
        return_errors: Literal[False] = False,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> list[bytes | None]: ...
    @overload
    def get_many(
        self,
        keys: Iterable[_Bytes],
        *,
        return_errors: bool,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> list[bytes | None | SlotkvError]: ...
    @overload
    def put_many(
        self,
        pairs: _Pairs | Iterable[tuple[_Bytes, _Bytes]],
        *,
        ttl: float | None = None,
        return_errors: Literal[False] = False,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> list[Put]: ...
    @overload
    def put_many(
        self,
        pairs: _Pairs | Iterable[tuple[_Bytes, _Bytes]],
        *,
        ttl: float | None = None,
        return_errors: bool,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> list[Put | SlotkvError]: ...
    @overload
    def delete_many(
        self,
        keys: Iterable[_Bytes],
        *,
        return_errors: Literal[False] = False,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> list[Delete]: ...
    @overload
    def delete_many(
        self,
        keys: Iterable[_Bytes],
        *,
        return_errors: bool,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> list[Delete | SlotkvError]: ...
    def count(
        self,
        prefix: _Bytes | None = None,
        *,
        start: _Bytes | None = None,
        end: _Bytes | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> int: ...
    def scan(
        self,
        prefix: _Bytes | None = None,
        *,
        start: _Bytes | None = None,
        end: _Bytes | None = None,
        ordered: bool = False,
        keys_only: bool = False,
        limit: int | None = None,
        page_items: int = 0,
        cursor: bytes | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Scan: ...
    def dump(
        self,
        prefix: _Bytes | None = None,
        *,
        start: _Bytes | None = None,
        end: _Bytes | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> list[Item]: ...
    def slot(self, key: _Bytes) -> int: ...
    def explain(self, key: _Bytes) -> Explain: ...
    def stats(self) -> Stats: ...
    def status(self, *, deadline: float | None = None) -> ClusterStatus: ...
    def namespace(self, name: str) -> Client: ...
    def with_deadline(self, seconds: float) -> Client: ...
    def with_traceparent(self, traceparent: str) -> Client: ...
    def with_read_level(self, level: Literal["linearizable", "session", "stale"]) -> Client: ...
    def with_staleness(self, seconds: float) -> Client: ...
    def session_token(self) -> bytes: ...
    def with_session_token(self, token: _Bytes) -> Client: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def _counters(self) -> dict[str, int]: ...

@final
class Scan:
    @property
    def cursor(self) -> bytes | None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Item: ...

@final
class AsyncClient:
    def get(
        self, key: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Call[bytes | None]: ...
    def get_entry(
        self, key: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Call[Entry | None]: ...
    def has(
        self, key: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Call[bool]: ...
    def put(
        self,
        key: _Bytes,
        value: _Bytes,
        *,
        ttl: float | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[Put]: ...
    def put_if_absent(
        self,
        key: _Bytes,
        value: _Bytes,
        *,
        ttl: float | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[Put]: ...
    def update_if_present(
        self,
        key: _Bytes,
        value: _Bytes,
        *,
        ttl: float | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[Put]: ...
    def compare_and_set(
        self,
        key: _Bytes,
        value: _Bytes,
        version: int,
        *,
        ttl: float | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[Put]: ...
    def expire(
        self, key: _Bytes, ttl: float, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Call[Put]: ...
    def persist(
        self, key: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Call[Put]: ...
    def delete(
        self, key: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Call[Delete]: ...
    def delete_if_version(
        self, key: _Bytes, version: int, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Call[Delete]: ...
    def increment(
        self, key: _Bytes, delta: int = 1, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Call[int]: ...
    def outcome(
        self, token: _Bytes, *, deadline: float | None = None, traceparent: str | None = None
    ) -> Call[WriteOutcome]: ...
    @overload
    def get_many(
        self,
        keys: Iterable[_Bytes],
        *,
        return_errors: Literal[False] = False,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[list[bytes | None]]: ...
    @overload
    def get_many(
        self,
        keys: Iterable[_Bytes],
        *,
        return_errors: bool,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[list[bytes | None | SlotkvError]]: ...
    @overload
    def put_many(
        self,
        pairs: _Pairs | Iterable[tuple[_Bytes, _Bytes]],
        *,
        ttl: float | None = None,
        return_errors: Literal[False] = False,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[list[Put]]: ...
    @overload
    def put_many(
        self,
        pairs: _Pairs | Iterable[tuple[_Bytes, _Bytes]],
        *,
        ttl: float | None = None,
        return_errors: bool,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[list[Put | SlotkvError]]: ...
    @overload
    def delete_many(
        self,
        keys: Iterable[_Bytes],
        *,
        return_errors: Literal[False] = False,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[list[Delete]]: ...
    @overload
    def delete_many(
        self,
        keys: Iterable[_Bytes],
        *,
        return_errors: bool,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[list[Delete | SlotkvError]]: ...
    def count(
        self,
        prefix: _Bytes | None = None,
        *,
        start: _Bytes | None = None,
        end: _Bytes | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[int]: ...
    def scan(
        self,
        prefix: _Bytes | None = None,
        *,
        start: _Bytes | None = None,
        end: _Bytes | None = None,
        ordered: bool = False,
        keys_only: bool = False,
        limit: int | None = None,
        page_items: int = 0,
        cursor: bytes | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> AsyncScan: ...
    def dump(
        self,
        prefix: _Bytes | None = None,
        *,
        start: _Bytes | None = None,
        end: _Bytes | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Call[list[Item]]: ...
    def slot(self, key: _Bytes) -> int: ...
    def explain(self, key: _Bytes) -> Explain: ...
    def stats(self) -> Stats: ...
    def status(self, *, deadline: float | None = None) -> Call[ClusterStatus]: ...
    def namespace(self, name: str) -> AsyncClient: ...
    def with_deadline(self, seconds: float) -> AsyncClient: ...
    def with_traceparent(self, traceparent: str) -> AsyncClient: ...
    def with_read_level(self, level: Literal["linearizable", "session", "stale"]) -> AsyncClient: ...
    def with_staleness(self, seconds: float) -> AsyncClient: ...
    def session_token(self) -> bytes: ...
    def with_session_token(self, token: _Bytes) -> AsyncClient: ...
    def close(self) -> Call[None]: ...
    def __aenter__(self) -> Call[Self]: ...
    def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Call[None]: ...
    def _counters(self) -> dict[str, int]: ...

@final
class AsyncScan:
    @property
    def cursor(self) -> bytes | None: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Call[Item]: ...

@final
class Bridge:
    @property
    def event_loop(self) -> AbstractEventLoop: ...
    def take(self) -> list[tuple[Context, Callable[[Call[Any]], object], Call[Any]]]: ...
    def ring(self) -> None: ...

@final
class Call(Coroutine[Any, Any, _T_co], Generic[_T_co]):
    _asyncio_future_blocking: bool
    @property
    def _cancel_message(self) -> Any | None: ...
    def _make_cancelled_error(self) -> BaseException: ...
    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def __iter__(self) -> Generator[Any, Any, _T_co]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any: ...
    def close(self) -> None: ...
    def cancel(self, msg: Any | None = None) -> bool: ...
    def cancelled(self) -> bool: ...
    def done(self) -> bool: ...
    def result(self) -> _T_co: ...
    def exception(self) -> BaseException | None: ...
    def add_done_callback(
        self, fn: Callable[[Self], object], /, *, context: Context | None = None
    ) -> None: ...
    def remove_done_callback(self, fn: Callable[[Self], object], /) -> int: ...
    def get_loop(self) -> AbstractEventLoop: ...
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

@final
class Put:
    __match_args__: Final = ("status", "version")
    def __new__(cls, status: Literal["created", "updated", "unmet"], version: int) -> Self: ...
    @property
    def status(self) -> Literal["created", "updated", "unmet"]: ...
    @property
    def version(self) -> int: ...
    @property
    def done(self) -> bool: ...
    def __bool__(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Delete:
    __match_args__: Final = ("status", "version")
    def __new__(cls, status: Literal["deleted", "not_found", "unmet"], version: int) -> Self: ...
    @property
    def status(self) -> Literal["deleted", "not_found", "unmet"]: ...
    @property
    def version(self) -> int: ...
    @property
    def done(self) -> bool: ...
    def __bool__(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class WriteOutcome:
    __match_args__: Final = ("status", "version", "number")
    def __new__(
        cls,
        status: Literal["created", "updated", "deleted", "not_found", "unmet", "not_applied", "forgotten"],
        version: int,
        number: int,
    ) -> Self: ...
    @property
    def status(self) -> Literal["created", "updated", "deleted", "not_found", "unmet", "not_applied", "forgotten"]: ...
    @property
    def version(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def applied(self) -> bool: ...
    def __bool__(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Entry:
    __match_args__: Final = (
        "value",
        "version",
        "ttl",
    )
    def __new__(
        cls,
        value: bytes,
        version: int,
        ttl: float | None = None,
    ) -> Self: ...
    @property
    def value(self) -> bytes: ...
    @property
    def version(self) -> int: ...
    @property
    def ttl(self) -> float | None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Item:
    __match_args__: Final = (
        "key",
        "value",
        "version",
        "slot",
        "ttl",
    )
    def __new__(
        cls,
        key: bytes,
        value: bytes,
        version: int,
        slot: int,
        ttl: float | None = None,
    ) -> Self: ...
    @property
    def key(self) -> bytes: ...
    @property
    def value(self) -> bytes: ...
    @property
    def version(self) -> int: ...
    @property
    def slot(self) -> int: ...
    @property
    def ttl(self) -> float | None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Explain:
    __match_args__: Final = (
        "slot",
        "hash_slot",
        "tag",
        "slot_count",
        "cluster_id",
        "shard",
        "epoch",
        "table_version",
        "table_learned_ms",
        "primary",
        "address",
        "backups",
        "connected",
        "in_flight",
        "last_error",
    )
    def __new__(
        cls,
        slot: int,
        hash_slot: int,
        tag: bytes | None,
        slot_count: int,
        cluster_id: str,
        shard: int | None,
        epoch: int,
        table_version: int,
        table_learned_ms: int,
        primary: str | None,
        address: str | None,
        backups: list[str],
        connected: bool,
        in_flight: int,
        last_error: str,
    ) -> Self: ...
    @property
    def slot(self) -> int: ...
    @property
    def hash_slot(self) -> int: ...
    @property
    def tag(self) -> bytes | None: ...
    @property
    def slot_count(self) -> int: ...
    @property
    def cluster_id(self) -> str: ...
    @property
    def shard(self) -> int | None: ...
    @property
    def epoch(self) -> int: ...
    @property
    def table_version(self) -> int: ...
    @property
    def table_learned_ms(self) -> int: ...
    @property
    def primary(self) -> str | None: ...
    @property
    def address(self) -> str | None: ...
    @property
    def backups(self) -> list[str]: ...
    @property
    def connected(self) -> bool: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def last_error(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class MemberStats:
    __match_args__: Final = (
        "shard",
        "name",
        "address",
        "connected",
        "in_flight",
        "waiting",
        "last_error",
    )
    def __new__(
        cls,
        shard: int,
        name: str,
        address: str,
        connected: bool,
        in_flight: int,
        waiting: int,
        last_error: str,
    ) -> Self: ...
    @property
    def shard(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def connected(self) -> bool: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def last_error(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Stats:
    __match_args__: Final = (
        "calls",
        "calls_ok",
        "calls_failed",
        "calls_unknown",
        "calls_cancelled",
        "retries",
        "redirects",
        "connects",
        "connections_lost",
        "replies_late",
        "frames_sent",
        "frames_received",
        "refreshes",
        "refreshes_failed",
        "pings_failed",
        "wrong_cluster",
        "wrong_version",
        "in_flight",
        "waiting",
        "table_version",
        "route_revisions",
        "members",
    )
    def __new__(
        cls,
        calls: int,
        calls_ok: int,
        calls_failed: int,
        calls_unknown: int,
        calls_cancelled: int,
        retries: int,
        redirects: int,
        connects: int,
        connections_lost: int,
        replies_late: int,
        frames_sent: int,
        frames_received: int,
        refreshes: int,
        refreshes_failed: int,
        pings_failed: int,
        wrong_cluster: int,
        wrong_version: int,
        in_flight: int,
        waiting: int,
        table_version: int,
        route_revisions: int,
        members: list[MemberStats],
    ) -> Self: ...
    @property
    def calls(self) -> int: ...
    @property
    def calls_ok(self) -> int: ...
    @property
    def calls_failed(self) -> int: ...
    @property
    def calls_unknown(self) -> int: ...
    @property
    def calls_cancelled(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def redirects(self) -> int: ...
    @property
    def connects(self) -> int: ...
    @property
    def connections_lost(self) -> int: ...
    @property
    def replies_late(self) -> int: ...
    @property
    def frames_sent(self) -> int: ...
    @property
    def frames_received(self) -> int: ...
    @property
    def refreshes(self) -> int: ...
    @property
    def refreshes_failed(self) -> int: ...
    @property
    def pings_failed(self) -> int: ...
    @property
    def wrong_cluster(self) -> int: ...
    @property
    def wrong_version(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def table_version(self) -> int: ...
    @property
    def route_revisions(self) -> int: ...
    @property
    def members(self) -> list[MemberStats]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class MasterStatus:
    __match_args__: Final = (
        "address",
        "leader",
    )
    def __new__(
        cls,
        address: str,
        leader: bool,
    ) -> Self: ...
    @property
    def address(self) -> str: ...
    @property
    def leader(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ShardStatus:
    __match_args__: Final = (
        "shard",
        "epoch",
        "state",
        "primary",
        "isr",
        "ack",
        "min_isr",
        "durability",
        "weight",
        "slots",
        "replicas",
        "preferred",
        "reason",
        "loss_epoch",
        "recover",
        "copies",
    )
    def __new__(
        cls,
        shard: int,
        epoch: int,
        state: str,
        primary: str,
        isr: list[str],
        ack: str,
        min_isr: int,
        durability: str,
        weight: float,
        slots: int,
        replicas: int,
        preferred: str,
        reason: str,
        loss_epoch: int,
        recover: str,
        copies: list[ReplicaStatus],
    ) -> Self: ...
    @property
    def shard(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def primary(self) -> str: ...
    @property
    def isr(self) -> list[str]: ...
    @property
    def ack(self) -> str: ...
    @property
    def min_isr(self) -> int: ...
    @property
    def durability(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def slots(self) -> int: ...
    @property
    def replicas(self) -> int: ...
    @property
    def preferred(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def loss_epoch(self) -> int: ...
    @property
    def recover(self) -> str: ...
    @property
    def copies(self) -> list[ReplicaStatus]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ReplicaStatus:
    __match_args__: Final = (
        "name",
        "state",
        "since_ms",
        "live",
        "in_isr",
        "address",
        "zone",
        "trouble",
        "checks",
        "different",
        "rotten_slots",
        "copies_begun",
        "copies_installed",
        "restarts",
    )
    def __new__(
        cls,
        name: str,
        state: str,
        since_ms: int,
        live: bool,
        in_isr: bool,
        address: str,
        zone: str,
        trouble: str,
        checks: int,
        different: int,
        rotten_slots: int,
        copies_begun: int,
        copies_installed: int,
        restarts: int,
    ) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def since_ms(self) -> int: ...
    @property
    def live(self) -> bool: ...
    @property
    def in_isr(self) -> bool: ...
    @property
    def address(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def trouble(self) -> str: ...
    @property
    def checks(self) -> int: ...
    @property
    def different(self) -> int: ...
    @property
    def rotten_slots(self) -> int: ...
    @property
    def copies_begun(self) -> int: ...
    @property
    def copies_installed(self) -> int: ...
    @property
    def restarts(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class MemberStatus:
    __match_args__: Final = (
        "name",
        "run",
        "address",
        "shard",
        "live",
        "zone",
    )
    def __new__(
        cls,
        name: str,
        run: str,
        address: str,
        shard: int,
        live: bool,
        zone: str,
    ) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def run(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def shard(self) -> int: ...
    @property
    def live(self) -> bool: ...
    @property
    def zone(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ClusterStatus:
    __match_args__: Final = (
        "cluster_id",
        "slot_count",
        "table_version",
        "master_epoch",
        "masters",
        "shards",
        "members",
        "notices",
        "shards_announced",
    )
    def __new__(
        cls,
        cluster_id: str,
        slot_count: int,
        table_version: int,
        master_epoch: int,
        masters: list[MasterStatus],
        shards: list[ShardStatus],
        members: list[MemberStatus],
        notices: list[str],
        shards_announced: int,
    ) -> Self: ...
    @property
    def cluster_id(self) -> str: ...
    @property
    def slot_count(self) -> int: ...
    @property
    def table_version(self) -> int: ...
    @property
    def master_epoch(self) -> int: ...
    @property
    def masters(self) -> list[MasterStatus]: ...
    @property
    def shards(self) -> list[ShardStatus]: ...
    @property
    def members(self) -> list[MemberStatus]: ...
    @property
    def notices(self) -> list[str]: ...
    @property
    def shards_announced(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
