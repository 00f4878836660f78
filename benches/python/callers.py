"""Callers that put a key each, again and again, and write down when; the Rust twin is benches/src/bin/callers.rs.

    python benches/python/callers.py slotkv|redis URI|PORTS CALLERS INTERVAL_MS FILE

FILE gets a line for each call: number of the caller, begin and end in microseconds of CLOCK_MONOTONIC, `ok` or the error.
Ends with stdin.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

FLUSH_EVERY = 0.05
VALUE_BYTES = 100
#: A call to a stopped server would wait for ever otherwise.
PEER_TIMEOUT = 1.0

Put = Callable[[str, bytes], Awaitable[Any]]


async def open_slotkv(uri: str) -> Put:
    import slotkv.aio

    return (await slotkv.aio.connect(uri)).put


async def open_redis(ports: str) -> Put:
    from redis.asyncio.cluster import ClusterNode, RedisCluster

    nodes = [ClusterNode("127.0.0.1", int(port)) for port in ports.split(",")]
    client = RedisCluster(startup_nodes=nodes, socket_timeout=PEER_TIMEOUT, socket_connect_timeout=PEER_TIMEOUT)
    await client.initialize()
    return client.set


OPEN = {"slotkv": open_slotkv, "redis": open_redis}


def now_us() -> int:
    return time.monotonic_ns() // 1000


async def main() -> None:
    name, to, callers, interval_ms, path = sys.argv[1:]
    put = await OPEN[name](to)
    interval = int(interval_ms) / 1000
    with open(path, "w") as lines:

        async def call(caller: int) -> None:
            key = f"{{caller}}python-{caller}"
            number = 0
            await asyncio.sleep(interval * caller / int(callers))
            while True:
                value = number.to_bytes(8, "little").ljust(VALUE_BYTES, b"v")
                begin = now_us()
                try:
                    await put(key, value)
                    outcome = "ok"
                except Exception as error:  # whatever a client makes of a fail-over
                    outcome = f"{type(error).__name__}: {error}".replace("\n", " ")
                lines.write(f"{caller} {begin} {now_us()} {outcome}\n")
                number += 1
                await asyncio.sleep(interval)

        async def flush() -> None:
            while True:
                await asyncio.sleep(FLUSH_EVERY)
                lines.flush()

        tasks = [asyncio.create_task(call(caller)) for caller in range(int(callers))]
        tasks.append(asyncio.create_task(flush()))
        await asyncio.to_thread(sys.stdin.buffer.read)
        lines.flush()
        # Calls that are still under way are not waited for.
        os._exit(0)


asyncio.run(main())
