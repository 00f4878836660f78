"""Calls of every kind, again and again, and what the process holds meanwhile.

    python leaks.py URI CALLS [lose | free]

Prints a line of JSON after a third of the calls, when whatever is kept for good has been made, after two thirds and at
the end. With "lose" some values are lost on purpose: references to them that nobody has. With "free" one is freed while
it is used.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable
from typing import Any

import slotkv
from slotkv import aio, errors

#: Tasks of the asyncio client at once, and threads of the blocking one.
TASKS = 50
THREADS = 4
#: Calls of one round, about; in each a client of either kind is made and closed.
ROUND_CALLS = 100_000
#: Of those, plain ones in large batches, which take least time, and those of the blocking client, which take most.
PLAIN = 0.9
BLOCKING = 0.02
#: How often a round has the calls on many keys.
MANY = 10
#: The thread of a closed client ends soon after `close()`; what it held is given back by then, in seconds.
THREADS_END_MAX = 10

KEYS = [f"key:{number}" for number in range(256)]
VALUE = b"v" * 100


class Mallinfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def malloc_bytes() -> int:
    """What malloc has given out in all its arenas, and was not given back."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo
    info = mallinfo()
    return int(info.uordblks + info.hblkhd)


def rss_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def threads_of_clients() -> int:
    """Threads but this one. The interpreter has none of its own."""
    return len(os.listdir("/proc/self/task")) - 1


def tell(calls: int) -> None:
    while gc.collect():
        pass
    end = time.monotonic() + THREADS_END_MAX
    while threads_of_clients() and time.monotonic() < end:
        time.sleep(0.01)
    held = {
        "calls": calls,
        "rss": rss_bytes(),
        "malloc": malloc_bytes(),
        "blocks": sys.getallocatedblocks(),
        "objects": len(gc.get_objects()),
        "threads": threads_of_clients(),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }
    print(json.dumps(held), flush=True)


async def failing(call: Awaitable[Any], error: type[BaseException]) -> None:
    try:
        await call
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


async def one_of_each(client: aio.Client, key: str) -> int:
    """Calls of every kind; how many."""
    await client.put(key, VALUE)
    assert await client.get(key) == VALUE
    assert await client.get("absent") is None
    entry = await client.get_entry(key)
    assert entry is not None
    await client.compare_and_set(key, VALUE, entry.version)
    assert not await client.put_if_absent(key, VALUE)
    assert await client.has(key)
    await client.increment("number")
    await client.delete("absent")
    await failing(client.increment(key), errors.NotANumberError)
    await failing(client.put("", VALUE), errors.InvalidArgumentError)
    # Perhaps too late.
    await asyncio.gather(client.get(key, deadline=1e-9), return_exceptions=True)
    # Given up before it was sent, and after.
    call = client.get(key)
    call.cancel()
    await failing(call, asyncio.CancelledError)
    task = asyncio.ensure_future(client.get(key))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await failing(asyncio.wait_for(client.get_many(KEYS[:8]), 0), asyncio.TimeoutError)
    called: list[object] = []
    call = client.get(key)
    call.add_done_callback(called.append)
    await call
    assert called == [call]
    client.explain(key)
    return 17


async def many_of_each(client: aio.Client) -> int:
    await client.put_many((key, VALUE) for key in KEYS)
    assert await client.get_many(KEYS) == [VALUE] * len(KEYS)
    mixed = await client.get_many(["", *KEYS[:3]], return_errors=True)
    assert isinstance(mixed[0], errors.InvalidArgumentError)
    await failing(client.delete_many(["", "absent"]), errors.ManyError)
    assert len([item async for item in client.scan("key:", page_items=50)]) == len(KEYS)
    async for _ in client.scan("key:", page_items=10):
        break
    assert await client.count("key:") == len(KEYS)
    client.stats()
    return 2 * len(KEYS) + 4 + 2 + 6 + 1 + 1


async def asynchronous(uri: str, calls: int) -> int:
    made = 0
    async with aio.connect(uri) as client:
        client.with_deadline(3)
        client.namespace("other")
        for _ in range(MANY):
            made += await many_of_each(client)
        while made < calls * PLAIN:
            await asyncio.gather(*(client.put(key, VALUE) for key in KEYS))
            assert await asyncio.gather(*(client.get(key) for key in KEYS)) == [VALUE] * len(KEYS)
            made += 2 * len(KEYS)

        async def work(number: int) -> None:
            nonlocal made
            while made < calls:
                made += await one_of_each(client, KEYS[number])

        await asyncio.gather(*(work(number) for number in range(TASKS)))
    return made


def blocking(uri: str, calls: int) -> int:
    made = [0] * THREADS
    with slotkv.connect(uri) as client:

        def expect(error: type[Exception], call: Any, *arguments: Any, **options: Any) -> None:
            try:
                call(*arguments, **options)
            except error:
                return
            raise AssertionError(f"no {error.__name__}")

        def work(number: int) -> None:
            key = KEYS[number]
            while made[number] * THREADS < calls:
                client.put(key, VALUE)
                assert client.get(key) == VALUE
                assert client.get("absent") is None
                expect(errors.NotANumberError, client.increment, key)
                try:
                    client.get(key, deadline=1e-9)
                except errors.DeadlineError:
                    pass
                expect(TypeError, client.put, key, 5)
                assert client.get_many(KEYS[:8])[number] == VALUE
                next(client.scan("key:", page_items=4))
                client.explain(key)
                made[number] += 16

        client.put_many((key, VALUE) for key in KEYS)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(made)


def run(uri: str, calls: int) -> int:
    made = 0
    round_calls = min(calls, ROUND_CALLS)
    while made < calls:
        # A loop of its own for each round, as programs have that call `asyncio.run` again and again.
        made += asyncio.run(asynchronous(uri, int(round_calls * (1 - BLOCKING))))
        made += blocking(uri, int(round_calls * BLOCKING))
    return made


def lose(uri: str) -> None:
    with slotkv.connect(uri) as client:
        client.put("key", VALUE)
        for _ in range(100):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(client.get("key")))


def free(uri: str) -> None:
    with slotkv.connect(uri) as client:
        client.put("key", VALUE)
        value = client.get("key")
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(value))
        hash(value)


def main() -> None:
    uri, calls = sys.argv[1], int(sys.argv[2])
    if "lose" in sys.argv:
        lose(uri)
    if "free" in sys.argv:
        free(uri)
    made = 0
    for third in (1, 2, 3):
        made += run(uri, calls * third // 3 - made)
        tell(made)


if __name__ == "__main__":
    main()
