"""python examples/python/hello_asyncio.py [URI]

Put, get and delete with asyncio, and what they answer.
"""

import asyncio
import sys

import slotkv.aio

URI = sys.argv[1] if len(sys.argv) > 1 else "slotkv://127.0.0.1:7700"


async def main() -> None:
    async with slotkv.aio.connect(URI) as client:
        await client.delete("hello")

        assert (await client.put("hello", "world")).status == "created"
        assert (await client.put("hello", "slotkv")).status == "updated"

        # Calls that run at the same time share frames; none waits for another.
        hello, nobody = await asyncio.gather(client.get("hello"), client.get("nobody"))
        assert (hello, nobody) == (b"slotkv", None)

        # A call that is cancelled is cancelled at the worker, too.
        try:
            await asyncio.wait_for(client.get("hello"), timeout=0)
        except asyncio.TimeoutError:
            pass

        assert (await client.delete("hello")).status == "deleted"
        assert (await client.delete("hello")).status == "not_found"

    print("hello: created, updated, read, deleted")


asyncio.run(main())
