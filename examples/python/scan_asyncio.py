"""python examples/python/scan_asyncio.py [URI]

Keys by prefix with asyncio, in slot order (cheap) and in key order (merged), and going on from a cursor.
"""

import asyncio
import sys

import slotkv.aio

URI = sys.argv[1] if len(sys.argv) > 1 else "slotkv://127.0.0.1:7700"


async def main() -> None:
    async with slotkv.aio.connect(URI, namespace="example-scan") as client:
        people = [f"people/{number:04}".encode() for number in range(500)]
        places = [f"places/{number:04}".encode() for number in range(100)]
        await client.put_many((key, key) for key in people + places)

        assert await client.count("people/") == 500
        scan = client.scan("people/", limit=200)
        found = [item.key async for item in scan]

        found += [item.key async for item in client.scan("people/", cursor=scan.cursor)]
        assert sorted(found) == people

        ordered = client.scan(start="people/0490", end="places/0010", ordered=True, keys_only=True)
        keys = [item.key async for item in ordered]
        assert keys == people[490:] + places[:10]

        await client.delete_many(people + places)

    print(f"scan: {len(found)} keys in two parts, {len(keys)} in key order")


asyncio.run(main())
