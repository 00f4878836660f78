"""What the Python loads do with a client, and with which keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from keys import Keys

#: Keys of one call on many.
MANY_KEYS = 100
LARGE_VALUE = bytes(range(256)) * 4096
LARGE_KEYS = 16


class Operation(NamedTuple):
    """What a client does, by the names that slotkv has for it; what it returns may have to be awaited."""

    get: Callable[[Any], Any]
    get_many: Callable[[Any], Any]
    put: Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Workload:
    """Arguments of operations, and how one begins."""

    arguments: Callable[[list[bytes]], list[Any]]
    begin: Callable[[Operation], Callable[[Any], Any]]
    is_large: bool = False
    #: The part of the operations that runs before it is measured: connections are made and code is warmed up.
    warm_up: int = 20

    def keys(self, keys: Keys, task: int) -> list[bytes]:
        """Keys of one task."""
        if self.is_large:
            return [b"large:%d" % number for number in range(LARGE_KEYS)]
        return keys.some(task)


def _by_many(keys: list[bytes]) -> list[list[bytes]]:
    return [keys[at : at + MANY_KEYS] for at in range(0, len(keys), MANY_KEYS)]


WORKLOADS = {
    "get": Workload(list, lambda operation: operation.get),
    # 100 keys of all shards in one call.
    "many": Workload(_by_many, lambda operation: operation.get_many),
    # Values of 1 MiB.
    "get-large": Workload(list, lambda operation: operation.get, is_large=True),
    "put-large": Workload(list, lambda operation: lambda key: operation.put(key, LARGE_VALUE), is_large=True),
}
