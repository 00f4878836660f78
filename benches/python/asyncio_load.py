"""Operations from asyncio, so many in flight: slotkv, valkey-glide or redis-py.

    python benches/python/asyncio_load.py slotkv|glide|redis URI|PORT WORKLOAD OPERATIONS RECORDS IN_FLIGHT

WORKLOAD is one of `workload.py`. Every client runs the same loop: IN_FLIGHT tasks, each awaiting one operation after the
other. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from keys import Keys
from measure import Measure
from workload import LARGE_VALUE, WORKLOADS, Operation

Close = Callable[[], Awaitable[None]]


async def open_slotkv(uri: str) -> tuple[Operation, Close]:
    import slotkv.aio

    client = await slotkv.aio.connect(uri)
    return Operation(client.get, client.get_many, client.put), client.close


async def open_glide(port: str) -> tuple[Operation, Close]:
    from glide import GlideClusterClient, GlideClusterClientConfiguration, NodeAddress

    address = NodeAddress("127.0.0.1", int(port))
    client = await GlideClusterClient.create(GlideClusterClientConfiguration([address]))
    return Operation(client.get, client.mget, client.set), client.close


async def open_redis(port: str) -> tuple[Operation, Close]:
    from redis.asyncio.cluster import RedisCluster

    client = RedisCluster(host="127.0.0.1", port=int(port))
    await client.initialize()
    return Operation(client.get, client.mget_nonatomic, client.set), client.aclose


OPEN = {"slotkv": open_slotkv, "glide": open_glide, "redis": open_redis}


async def load(begin: Callable[[Any], Awaitable[Any]], arguments: list[list[Any]], operations: int) -> list[float]:
    """Runs the operations, one task per list of arguments; the latency of each in seconds."""
    latencies: list[float] = []
    left = operations

    async def work(chosen: list[Any]) -> None:
        nonlocal left
        at = 0
        while left > 0:
            left -= 1
            start = time.perf_counter()
            result = await begin(chosen[at])
            latencies.append(time.perf_counter() - start)
            if result is None:
                raise SystemExit(f"{chosen[at]!r} is missing; the bench wants hits only")
            at = (at + 1) % len(chosen)

    await asyncio.gather(*(work(chosen) for chosen in arguments))
    return latencies


async def main() -> None:
    client, to, name, operations, records, in_flight = sys.argv[1:]
    operation, close = await OPEN[client](to)
    workload = WORKLOADS[name]
    keys = Keys.of(client, to, int(records))
    if workload.is_large:
        for key in workload.keys(keys, 0):
            await operation.put(key, LARGE_VALUE)
    arguments = [workload.arguments(workload.keys(keys, task)) for task in range(int(in_flight))]
    begin = workload.begin(operation)
    await load(begin, arguments, int(operations) // workload.warm_up)
    measure = Measure()
    latencies = await load(begin, arguments, int(operations))
    print(measure.report(latencies))
    await close()


asyncio.run(main())
