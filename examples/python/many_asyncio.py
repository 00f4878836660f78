"""python examples/python/many_asyncio.py [URI]

Thousands of keys at once with asyncio: in one call, or in many calls at the same time.
"""

import asyncio
import sys

import slotkv.aio

URI = sys.argv[1] if len(sys.argv) > 1 else "slotkv://127.0.0.1:7700"


async def main() -> None:
    async with slotkv.aio.connect(URI, namespace="example-many") as client:
        records = {f"user:{number}".encode(): f"value {number}".encode() for number in range(10_000)}
        await client.delete_many(records)

        puts = await client.put_many(records)
        assert all(put.status == "created" for put in puts)
        assert await client.get_many(records) == list(records.values())

        # The same from calls for one key each: what waits together is sent together.
        values = await asyncio.gather(*(client.get(key) for key in records))
        assert values == list(records.values())

        await client.delete_many(records)

    print(f"many: {len(records)} keys written, read and deleted")


asyncio.run(main())
