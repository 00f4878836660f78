"""The asyncio client, which works under trio as well.

    async with slotkv.aio.connect("slotkv://localhost:7700") as client:
        await client.put("key", b"value")

`connect` may be awaited as well. Every method of the client returns a `Call`, which has begun at once: await it, gather
it, or make it a task. Cancelling it reaches the worker. Under trio a `Call` is awaited, and cancelled by its scope.
"""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any

from ._slotkv import AsyncClient as Client
from ._slotkv import AsyncScan as Scan
from ._slotkv import Call, begin_connect

__all__ = ["Call", "Client", "Connecting", "Scan", "connect"]


class Connecting:
    """What `connect` returns: await it for a client, or use it in `async with`, which closes the client at the end."""

    __slots__ = ("_arguments", "_client", "_uri")

    def __init__(self, uri: str, arguments: dict[str, Any]) -> None:
        self._uri = uri
        self._arguments = arguments
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return begin_connect(self._uri, **self._arguments).__await__()

    async def __aenter__(self) -> Client:
        self._client = await self
        return self._client

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()


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
) -> Connecting:
    """Connects to a cluster, for use in the running event loop of asyncio, or run of trio.

    The options are those of `slotkv.connect`.
    """
    arguments = {
        "namespace": namespace,
        "deadline": deadline,
        "connect_timeout": connect_timeout,
        "ping_interval": ping_interval,
        "inflight_max": inflight_max,
        "streams_per_member": streams_per_member,
        "client_name": client_name,
        "zone": zone,
    }
    return Connecting(uri, arguments)
