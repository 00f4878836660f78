"""GETs of existing keys, one after the other: slotkv, valkey-glide-sync or redis-py.

    python benches/python/sync_get.py slotkv|glide|redis URI|PORT OPERATIONS RECORDS

Prints one line of JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from keys import Keys
from measure import Measure

Get = Callable[[bytes], bytes | None]

#: Not measured: connections are made and code is warmed up.
WARM_UP_OPERATIONS = 2_000


def open_slotkv(uri: str) -> tuple[Get, Callable[[], None]]:
    import slotkv

    client = slotkv.connect(uri)
    return client.get, client.close


def open_glide(port: str) -> tuple[Get, Callable[[], None]]:
    from glide_sync import GlideClusterClient, GlideClusterClientConfiguration, NodeAddress

    address = NodeAddress("127.0.0.1", int(port))
    client = GlideClusterClient.create(GlideClusterClientConfiguration([address]))
    return client.get, client.close


def open_redis(port: str) -> tuple[Get, Callable[[], None]]:
    from redis.cluster import RedisCluster

    client = RedisCluster(host="127.0.0.1", port=int(port))
    return client.get, client.close


OPEN = {"slotkv": open_slotkv, "glide": open_glide, "redis": open_redis}


def load(get: Get, chosen: list[bytes], operations: int) -> list[float]:
    """Runs the operations; the latency of each in seconds."""
    latencies: list[float] = []
    for number in range(operations):
        key = chosen[number % len(chosen)]
        start = time.perf_counter()
        value = get(key)
        latencies.append(time.perf_counter() - start)
        if value is None:
            raise SystemExit(f"{key!r} is missing; the bench wants hits only")
    return latencies


def main() -> None:
    client, to, operations, records = sys.argv[1:]
    get, close = OPEN[client](to)
    keys = Keys.of(client, to, int(records))
    chosen = keys.some(0)
    load(get, chosen, WARM_UP_OPERATIONS)
    measure = Measure()
    latencies = load(get, chosen, int(operations))
    print(measure.report(latencies))
    close()


main()
