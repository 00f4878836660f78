"""python examples/python/compare_and_set_asyncio.py [URI]

Changing a value that other tasks change at the same time: read it with its version, write it back only if the version
still stands. An unmet condition is a result, not an exception.
"""

import asyncio
import sys

import slotkv.aio

URI = sys.argv[1] if len(sys.argv) > 1 else "slotkv://127.0.0.1:7700"
TASKS = 8
STEPS = 50


async def add_often(client: slotkv.aio.Client) -> int:
    """Adds 1 so many times; how often somebody else was faster."""
    repeated = 0
    for _ in range(STEPS):
        while True:
            entry = await client.get_entry("sum")
            assert entry is not None
            if await client.compare_and_set("sum", str(int(entry.value) + 1), entry.version):
                break
            repeated += 1
    return repeated


async def main() -> None:
    async with slotkv.aio.connect(URI, namespace="example-cas") as client:
        await client.put("sum", "0")
        repeated = sum(await asyncio.gather(*(add_often(client) for _ in range(TASKS))))
        assert await client.get("sum") == str(TASKS * STEPS).encode()
        await client.delete("sum")

        # For a plain counter there is a shorter way.
        assert await client.increment("counter", 41) == 41
        assert await client.increment("counter") == 42
        await client.delete("counter")

    print(f"compare_and_set: {TASKS * STEPS} additions, {repeated} repeated")


asyncio.run(main())
