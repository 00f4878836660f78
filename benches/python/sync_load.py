"""Operations that block, one after the other, from so many threads: slotkv, valkey-glide-sync or redis-py.

    python benches/python/sync_load.py slotkv|glide|redis URI|PORT WORKLOAD OPERATIONS RECORDS THREADS

WORKLOAD is one of `workload.py`. The threads share one client. Prints one line of JSON.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from keys import Keys
from measure import Measure
from workload import LARGE_VALUE, WORKLOADS, Operation


def open_slotkv(uri: str) -> tuple[Operation, Callable[[], None]]:
    import slotkv

    client = slotkv.connect(uri)
    return Operation(client.get, client.get_many, client.put), client.close


def open_glide(port: str) -> tuple[Operation, Callable[[], None]]:
    from glide_sync import GlideClusterClient, GlideClusterClientConfiguration, NodeAddress

    address = NodeAddress("127.0.0.1", int(port))
    client = GlideClusterClient.create(GlideClusterClientConfiguration([address]))
    return Operation(client.get, client.mget, client.set), client.close


def open_redis(port: str) -> tuple[Operation, Callable[[], None]]:
    from redis.cluster import RedisCluster

    client = RedisCluster(host="127.0.0.1", port=int(port))
    return Operation(client.get, client.mget_nonatomic, client.set), client.close


OPEN = {"slotkv": open_slotkv, "glide": open_glide, "redis": open_redis}


def load(begin: Callable[[Any], Any], arguments: list[list[Any]], operations: int) -> list[float]:
    """Runs the operations, one thread per list of arguments; the latency of each in seconds."""
    latencies: list[list[float]] = [[] for _ in arguments]
    faults: list[str] = []

    def work(chosen: list[Any], mine: list[float]) -> None:
        for number in range(operations // len(arguments)):
            argument = chosen[number % len(chosen)]
            start = time.perf_counter()
            result = begin(argument)
            mine.append(time.perf_counter() - start)
            if result is None:
                faults.append(f"{argument!r} is missing; the bench wants hits only")
                return

    if len(arguments) == 1:
        work(arguments[0], latencies[0])
    else:
        threads = [threading.Thread(target=work, args=pair) for pair in zip(arguments, latencies)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if faults:
        raise SystemExit(faults[0])
    return [latency for mine in latencies for latency in mine]


def main() -> None:
    client, to, name, operations, records, threads = sys.argv[1:]
    operation, close = OPEN[client](to)
    workload = WORKLOADS[name]
    keys = Keys.of(client, to, int(records))
    if workload.is_large:
        for key in workload.keys(keys, 0):
            operation.put(key, LARGE_VALUE)
    arguments = [workload.arguments(workload.keys(keys, thread)) for thread in range(int(threads))]
    begin = workload.begin(operation)
    load(begin, arguments, int(operations) // workload.warm_up)
    measure = Measure()
    latencies = load(begin, arguments, int(operations))
    print(measure.report(latencies))
    close()


main()
