"""The Python clients of the soak: `python soak.py sync|asyncio URI`. `README.md` here says what a round is."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import slotkv
import slotkv.aio
import slotkv.errors

#: Longest time that a worker may be away, in seconds.
PATIENCE = 100.0
#: The keys of each call on many.
KEYS = [f"key{number}" for number in range(8)]


def sync_round(client: slotkv.Client, number: int) -> None:
    value = bytes([number % 256]) * (1 + number * 97 % 5000)
    put = client.put("value", value)
    assert put.done and client.get("value") == value
    later = client.compare_and_set("value", str(number), put.version)
    assert later.done and later.version > put.version
    assert client.increment("counter", 1) == number, "each addition once"
    assert all(put.done for put in client.put_many([(key, str(number)) for key in KEYS]))
    assert client.get_many(KEYS) == [str(number).encode()] * len(KEYS)
    assert client.delete("value").done and not client.has("value")
    if number % 4 == 0:
        scan = client.scan("key", ordered=True)
        for _ in range(3):
            next(scan)
        rest = client.scan("key", ordered=True, cursor=scan.cursor)
        assert len(list(rest)) == len(KEYS) - 3 and client.count("key") == len(KEYS)
        refused(lambda: client.put("k" * 40_000, ""), slotkv.errors.TooLargeError)
        try:
            client.get("counter", deadline=0.001)
        except slotkv.SlotkvError:
            pass


def refused(call: Any, kind: type[slotkv.SlotkvError]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"no {kind}")


async def asyncio_round(client: slotkv.aio.Client, number: int) -> None:
    value = bytes([number % 256]) * (1 + number * 97 % 5000)
    put, count = await asyncio.gather(client.put("value", value), client.increment("counter", 1))
    assert count == number, "each addition once"
    assert put.done and await client.get("value") == value
    later = await client.compare_and_set("value", str(number), put.version)
    assert later.done and later.version > put.version
    assert all(put.done for put in await client.put_many([(key, str(number)) for key in KEYS]))
    assert await client.get_many(KEYS) == [str(number).encode()] * len(KEYS)
    assert (await client.delete("value")).done and not await client.has("value")
    if number % 4 == 0:
        scan = client.scan("key", ordered=True)
        for _ in range(3):
            await anext(scan)
        rest = [item async for item in client.scan("key", ordered=True, cursor=scan.cursor)]
        assert len(rest) == len(KEYS) - 3 and await client.count("key") == len(KEYS)
        try:
            await client.put("k" * 40_000, "")
        except slotkv.errors.TooLargeError:
            pass
        else:
            raise AssertionError("no TooLargeError")
        try:
            await client.get("counter", deadline=0.001)
        except slotkv.SlotkvError:
            pass
        cancelled = client.get("counter")
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)


def with_sync(uri: str) -> None:
    with slotkv.connect(uri, namespace="soak-python", deadline=PATIENCE) as client:
        for number, _ in enumerate(sys.stdin, 1):
            sync_round(client, number)
            print("done", flush=True)


async def with_asyncio(uri: str) -> None:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with slotkv.aio.connect(uri, namespace="soak-asyncio", deadline=PATIENCE) as client:
        number = 0
        while await lines.readline():
            number += 1
            await asyncio_round(client, number)
            print("done", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "sync":
        with_sync(sys.argv[2])
    else:
        asyncio.run(with_asyncio(sys.argv[2]))
