"""GETs of existing keys from asyncio, so many in flight: slotkv, valkey-glide or redis-py.

    python benches/python/asyncio_get.py slotkv|glide|redis URI|PORT OPERATIONS RECORDS IN_FLIGHT

Every client runs the same loop: IN_FLIGHT tasks, each awaiting one GET after the other. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from keys import Keys
from measure import Measure

Get = Callable[[bytes], Awaitable[bytes | None]]
Close = Callable[[], Awaitable[None]]

#: Not measured: connections are made and code is warmed up.
WARM_UP_OPERATIONS = 5_000


async def open_slotkv(uri: str) -> tuple[Get, Close]:
    import slotkv.aio

    client = await slotkv.aio.connect(uri)
    return client.get, client.close


async def open_glide(port: str) -> tuple[Get, Close]:
    from glide import GlideClusterClient, GlideClusterClientConfiguration, NodeAddress

    address = NodeAddress("127.0.0.1", int(port))
    client = await GlideClusterClient.create(GlideClusterClientConfiguration([address]))
    return client.get, client.close


async def open_redis(port: str) -> tuple[Get, Close]:
    from redis.asyncio.cluster import RedisCluster

    client = RedisCluster(host="127.0.0.1", port=int(port))
    await client.initialize()
    return client.get, client.aclose


OPEN = {"slotkv": open_slotkv, "glide": open_glide, "redis": open_redis}


async def load(get: Get, keys: Keys, operations: int, in_flight: int) -> list[float]:
    """Runs the operations; the latency of each in seconds."""
    latencies: list[float] = []
    left = operations

    async def work(chosen: list[bytes]) -> None:
        nonlocal left
        at = 0
        while left > 0:
            left -= 1
            start = time.perf_counter()
            value = await get(chosen[at])
            latencies.append(time.perf_counter() - start)
            if value is None:
                raise SystemExit(f"{chosen[at]!r} is missing; the bench wants hits only")
            at = (at + 1) % len(chosen)

    await asyncio.gather(*(work(keys.some(task)) for task in range(in_flight)))
    return latencies


async def main() -> None:
    client, to, operations, records, in_flight = sys.argv[1:]
    get, close = await OPEN[client](to)
    keys = Keys.of(client, to, int(records))
    await load(get, keys, WARM_UP_OPERATIONS, int(in_flight))
    measure = Measure()
    latencies = await load(get, keys, int(operations), int(in_flight))
    print(measure.report(latencies))
    await close()


asyncio.run(main())
