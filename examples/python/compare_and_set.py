"""python examples/python/compare_and_set.py [URI]

Changing a value that others change at the same time: read it with its version, write it back only if the version still
stands. An unmet condition is a result, not an exception.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import slotkv

URI = sys.argv[1] if len(sys.argv) > 1 else "slotkv://127.0.0.1:7700"
THREADS = 8
STEPS = 50


def add_often(client: slotkv.Client) -> int:
    """Adds 1 so many times; how often somebody else was faster."""
    repeated = 0
    for _ in range(STEPS):
        while True:
            entry = client.get_entry("sum")
            assert entry is not None
            if client.compare_and_set("sum", str(int(entry.value) + 1), entry.version):
                break
            repeated += 1
    return repeated


# One client serves any number of threads.
with slotkv.connect(URI, namespace="example-cas") as client:
    client.put("sum", "0")
    with ThreadPoolExecutor(THREADS) as threads:
        repeated = sum(threads.map(add_often, [client] * THREADS))
    assert client.get("sum") == str(THREADS * STEPS).encode()
    client.delete("sum")

    # For a plain counter there is a shorter way.
    assert client.increment("counter", 41) == 41
    assert client.increment("counter") == 42
    client.delete("counter")

print(f"compare_and_set: {THREADS * STEPS} additions, {repeated} repeated")
