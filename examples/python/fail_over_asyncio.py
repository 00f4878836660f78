"""python examples/python/fail_over_asyncio.py URI

What tasks meet while a worker is down. Each task adds to a counter of its own; the counters are spread over every shard.
The example asks you to crash a worker (`kill -9`) and to start it again on its data. Tasks on the other shards go on,
those of the crashed one wait; each addition happens exactly once.
"""

import asyncio
import sys
import time

import slotkv.aio

URI = sys.argv[1] if len(sys.argv) > 1 else "slotkv://127.0.0.1:7700"
#: Spread over the slots, so that every shard has some.
KEYS = [f"counter/{number}" for number in range(64)]
#: Additions to each counter after the interruption was seen.
ADDITIONS_AFTER = 20
#: Longest time that one addition may take, and so that the worker may be away, in seconds.
PATIENCE = 60.0


async def add(client: slotkv.aio.Client, key: str, acknowledged: int) -> int:
    """Adds 1; the sum as it is known to be."""
    try:
        total = await client.increment(key)
    except slotkv.SlotkvError as error:
        if error.outcome != "unknown":
            raise
        # The one case in which a caller has to look: the addition may have been applied or not.
        return int(await client.get(key) or 0)
    assert total == acknowledged + 1, f"{key}: an addition was lost or done twice"
    return total


async def count(client: slotkv.aio.Client, key: str) -> tuple[int, float]:
    """Adds until the interruption is over; the sum, and the longest addition in seconds."""
    total, longest, left = 0, 0.0, ADDITIONS_AFTER
    while left > 0:
        start = time.monotonic()
        total = await add(client, key, total)
        longest = max(longest, time.monotonic() - start)
        if client.stats().connections_lost > 0:
            left -= 1
    return total, longest


async def main() -> None:
    async with slotkv.aio.connect(URI, namespace="example-fail-over", deadline=PATIENCE) as client:
        await client.delete_many(KEYS)
        tasks = [asyncio.create_task(count(client, key)) for key in KEYS]
        print("crash a worker now (kill -9) and start it again", flush=True)
        counted = await asyncio.gather(*tasks)

        totals = [total for total, _ in counted]
        assert await client.get_many(KEYS) == [str(total).encode() for total in totals]
        stats = client.stats()
        await client.delete_many(KEYS)

    longest = max(longest for _, longest in counted)
    print(
        f"ok: {sum(totals)} additions, each exactly once; longest {longest * 1000:.0f} ms, "
        f"{stats.retries} sent again, {stats.connections_lost} connections lost"
    )


asyncio.run(main())
