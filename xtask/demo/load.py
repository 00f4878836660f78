"""python xtask/demo/load.py FILE URI

Writes every record of a JSON Lines file, two chunks at a time, through the asyncio client.
"""

from __future__ import annotations

import asyncio
import sys
import time

import slotkv.aio
from records import Record, Tally, chunks

#: Chunks on their way at once: the next one is read while this one is written.
CHUNKS_IN_FLIGHT = 2


async def write(client: slotkv.aio.Client, chunk: list[Record], tally: Tally) -> None:
    for result in await client.put_many(chunk, return_errors=True):
        if isinstance(result, slotkv.SlotkvError):
            print(result, file=sys.stderr)
            tally.different += 1
        else:
            tally.records += 1
    tally.progress(chunk)


async def main() -> None:
    file, uri = sys.argv[1:]
    tally = Tally()
    async with slotkv.aio.connect(uri, deadline=120.0) as client:
        start = time.perf_counter()
        writing: set[asyncio.Task[None]] = set()
        for chunk in chunks(file):
            writing.add(asyncio.create_task(write(client, chunk, tally)))
            if len(writing) == CHUNKS_IN_FLIGHT:
                done, writing = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        await asyncio.gather(*writing)
        tally.seconds = time.perf_counter() - start
    tally.finish()


asyncio.run(main())
