"""slotkv: a distributed key-value store.

    >>> import slotkv
    >>> with slotkv.connect(uri) as client:
    ...     client.put("key", "value").status, client.get("key")
    ('created', b'value')

`connect` gives a client for blocking calls, `slotkv.aio.connect` one for asyncio; both have the same methods. Keys and
values are bytes-like, or `str` for its UTF-8; values come back as `bytes`. Times are in seconds.
"""

import logging

from . import aio, errors
from ._slotkv import (
    Client,
    ClusterStatus,
    Delete,
    Entry,
    Explain,
    Item,
    MasterStatus,
    MemberStats,
    MemberStatus,
    Put,
    ReplicaStatus,
    Scan,
    ShardStatus,
    Stats,
    WriteOutcome,
    __version__,
    connect,
)
from .errors import SlotkvError

__all__ = [
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
    "SlotkvError",
    "Stats",
    "WriteOutcome",
    "__version__",
    "aio",
    "connect",
    "errors",
]

# A program that does not configure logging is not told anything.
logging.getLogger("slotkv").addHandler(logging.NullHandler())
