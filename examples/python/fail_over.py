"""python examples/python/fail_over.py URI

What a caller meets while a worker is down. The example adds to counters on every shard and asks you to crash a worker
(`kill -9`) and to start it again on its data. Calls wait and are repeated by the client, each addition happens exactly
once, and in the end the counters agree with what was acknowledged.
"""

import sys
import time

import slotkv

URI = sys.argv[1] if len(sys.argv) > 1 else "slotkv://127.0.0.1:7700"
#: Spread over the slots, so that every shard has some.
KEYS = [f"counter/{number}" for number in range(64)]
#: Rounds of additions after the interruption was seen.
ROUNDS_AFTER = 20
#: Longest time that one addition may take, and so that the worker may be away, in seconds.
PATIENCE = 60.0


def add(client: slotkv.Client, key: str, acknowledged: int) -> int:
    """Adds 1; the sum as it is known to be."""
    try:
        total = client.increment(key)
    except slotkv.SlotkvError as error:
        if error.outcome != "unknown":
            raise
        # The one case in which a caller has to look: the addition may have been applied or not.
        return int(client.get(key) or 0)
    assert total == acknowledged + 1, f"{key}: an addition was lost or done twice"
    return total


with slotkv.connect(URI, namespace="example-fail-over", deadline=PATIENCE) as client:
    client.delete_many(KEYS)
    acknowledged = dict.fromkeys(KEYS, 0)
    longest = 0.0
    asked = False
    rounds_left = ROUNDS_AFTER
    while rounds_left > 0:
        for key in KEYS:
            start = time.monotonic()
            acknowledged[key] = add(client, key, acknowledged[key])
            longest = max(longest, time.monotonic() - start)
        if not asked:
            print("crash a worker now (kill -9) and start it again", flush=True)
            asked = True
        if client.stats().connections_lost > 0:
            rounds_left -= 1

    assert client.get_many(KEYS) == [str(total).encode() for total in acknowledged.values()]
    stats = client.stats()
    client.delete_many(KEYS)

print(
    f"ok: {sum(acknowledged.values())} additions, each exactly once; longest {longest * 1000:.0f} ms, "
    f"{stats.retries} sent again, {stats.connections_lost} connections lost"
)
