"""python xtask/demo/compare_asyncio.py FILE URI

Reads every record of a JSON Lines file back through the asyncio client, one call per key and a chunk of calls at the
same time, and compares it byte for byte.
"""

from __future__ import annotations

import asyncio
import sys
import time

import slotkv.aio
from records import Tally, chunks


async def main() -> None:
    file, uri = sys.argv[1:]
    tally = Tally()
    async with slotkv.aio.connect(uri, deadline=60.0) as client:
        for chunk in chunks(file):
            start = time.perf_counter()
            values = await asyncio.gather(*(client.get(key) for key, _ in chunk))
            tally.seconds += time.perf_counter() - start
            tally.compare(chunk, values)
            tally.progress(chunk)
    tally.finish()


asyncio.run(main())
