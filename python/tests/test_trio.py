"""`slotkv.aio` under trio, and under anyio on either of its backends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from conftest import PROGRAM_SECONDS_MAX, Cluster, program

import slotkv
from slotkv import aio, errors

trio = pytest.importorskip("trio")
pytest.importorskip("trio.testing")
anyio = pytest.importorskip("anyio")


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(PROGRAM_SECONDS_MAX):
            await main()

    trio.run(bounded)


def test_every_operation(uri: str) -> None:
    async def main() -> None:
        async with aio.connect(uri) as client:
            put = await client.put("key", b"value")
            assert put == slotkv.Put("created", put.version)
            assert await client.get("key") == b"value"
            assert await client.get_entry("key") == slotkv.Entry(b"value", put.version)
            assert not await client.compare_and_set("key", "x", put.version + 1)
            assert await client.increment("n", 5) == 5
            assert await client.put_many({"a": "1", "b": "2"})
            assert await client.get_many(["b", "a", "c"]) == [b"2", b"1", None]
            assert await client.count() == 4
            assert sorted([item.key async for item in client.scan(page_items=1)]) == [b"a", b"b", b"key", b"n"]
            assert [item.key for item in await client.dump("k")] == [b"key"]
            assert (await client.delete("key")).status == "deleted"
            assert (await client.status()).slot_count == 1024
            with pytest.raises(errors.NotANumberError):
                await client.namespace("other").increment("b" if await client.namespace("other").put("b", "x") else "")
            call = client.get("a")
            assert [await call, await call, call.result()] == [b"1"] * 3
        with pytest.raises(errors.ClosedError):
            await client.get("key")

    run(main)


def test_ten_thousand_calls_go_out_and_come_back_in_batches(uri: str) -> None:
    async def main() -> None:
        async with aio.connect(uri) as client:
            before = client._counters()

            async def work(number: int) -> None:
                for _ in range(100):
                    await client.increment(f"number {number % 7}")

            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(work, number)
            values = await client.get_many(f"number {number}" for number in range(7))
            assert sum(int(value or 0) for value in values) == 10_000
            did = {name: count - before[name] for name, count in client._counters().items()}
            assert did["submissions"] == did["completions"] == 10_001
            assert did["wakeups"] <= 4_000 and did["rings"] <= 4_000, did

    run(main)


def test_methods_are_what_a_nursery_starts(uri: str) -> None:
    async def main() -> None:
        async with aio.connect(uri) as client, trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(client.put, str(number), "x")
        with slotkv.connect(uri) as check:
            assert check.count() == 100

    run(main)


def test_a_scope_that_is_cancelled_gives_its_calls_up(cluster: Cluster, uri: str) -> None:
    async def main() -> None:
        async with aio.connect(uri) as client:
            await client.put("key", "value")
            with cluster.paused():
                async with trio.open_nursery() as nursery:
                    for _ in range(1000):
                        nursery.start_soon(partial(client.get, "key", deadline=100))
                    while client.stats().in_flight + client.stats().waiting < 1000:
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                stats = client.stats()
                assert (stats.calls_cancelled, stats.in_flight, stats.waiting) == (1000, 0, 0)
                # One whose scope is cancelled already.
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await client.get("key")
                assert scope.cancelled_caught
                with pytest.raises(errors.DeadlineError):
                    await client.get("key", deadline=0.05)
            assert await client.get("key", deadline=30) == b"value"

    run(main)


def test_a_call_that_another_task_cancels_says_so(
    cluster: Cluster, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with aio.connect(uri) as client:
            await client.put("key", "value")
            with cluster.paused():
                call = client.get("key", deadline=30)

                async def wait() -> None:
                    with pytest.raises(errors.CallCancelledError):
                        await call

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait)
                    await trio.testing.wait_all_tasks_blocked()
                    call.cancel()

                # Cancelled by both in the same turn: whoever waits is told once.
                other = client.get("key", deadline=30)
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(lambda: other)
                        await trio.testing.wait_all_tasks_blocked()
                        other.cancel()
                        scope.cancel()
            assert await client.get("key", deadline=30) == b"value"

    with caplog.at_level(logging.ERROR):
        run(main)
    assert not caplog.records


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_scope_that_is_cancelled_still_closes_its_client(uri: str, backend: str) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with aio.connect(uri) as client:
                await client.put("key", "value")
                scope.cancel()
        # Level by level: the task does not wait for the end, but it comes.
        with anyio.fail_after(PROGRAM_SECONDS_MAX):
            while True:
                try:
                    await client.get("key")
                except errors.ClosedError:
                    break

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_programs_do_not_see_which_backend_they_have(uri: str, backend: str) -> None:
    async def main() -> None:
        async with aio.connect(uri) as client:
            async with anyio.create_task_group() as group:
                for number in range(200):
                    group.start_soon(client.put, f"key{number}", str(number))
            assert await client.count("key") == 200
            with anyio.move_on_after(0) as scope:
                await client.get("key1")
            assert scope.cancelled_caught
            with anyio.fail_after(30):
                assert len([item async for item in client.scan("key")]) == 200

        # The blocking client, off the loop.
        def blocking() -> int:
            with slotkv.connect(uri) as client:
                return client.count("key")

        assert await anyio.to_thread.run_sync(blocking) == 200

    anyio.run(main, backend=backend)


def test_a_call_belongs_to_its_run(uri: str) -> None:
    kept: list[Any] = []

    async def first() -> None:
        client = await aio.connect(uri)
        kept.extend([client, client.get("key")])

    async def second() -> None:
        client, call = kept
        with pytest.raises(RuntimeError, match="another run"):
            await call
        with pytest.raises(RuntimeError, match="another run|has ended"):
            await client.get("key")
        async with aio.connect(uri) as client:
            assert await client.get("key") is None

    run(first)
    run(second)


def test_a_callback_that_raises_is_reported_and_hurts_nobody(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with aio.connect(uri) as client:

            def callback(_: object) -> None:
                raise ZeroDivisionError

            calls = [client.get(str(number)) for number in range(10)]
            calls[3].add_done_callback(callback)
            assert [await call for call in calls] == [None] * 10

    with caplog.at_level(logging.ERROR, "slotkv"):
        run(main)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


def test_trio_as_a_guest_of_asyncio_has_its_own_clients(uri: str) -> None:
    async def guest() -> bytes | None:
        async with aio.connect(uri) as client:
            await client.put("key", "of the guest")
            return await client.get("key")

    async def host() -> bytes | None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=ended.set_result
        )
        async with aio.connect(uri) as client:
            value: bytes | None = (await ended).unwrap()
            assert await client.get("key") == value
            return value

    assert asyncio.run(host()) == b"of the guest"


def test_control_c_ends_a_run_and_the_process_cleanly(uri: str) -> None:
    finished = program(
        """
import os, signal, sys
import trio
from slotkv import aio

# A shell has its background jobs ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    async with aio.connect(sys.argv[1]) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(client.get, "key")
            os.kill(os.getpid(), signal.SIGINT)

def is_interrupt(error):
    return isinstance(error, KeyboardInterrupt) or any(map(is_interrupt, getattr(error, "exceptions", ())))

try:
    trio.run(main)
except BaseException as error:
    print("interrupted" if is_interrupt(error) else repr(error))
""",
        uri,
    )
    assert (finished.returncode, finished.stdout) == (0, "interrupted\n"), finished.stderr


def test_the_process_may_end_with_calls_under_way(uri: str) -> None:
    finished = program(
        """
import sys
import trio
from slotkv import aio

async def main():
    client = await aio.connect(sys.argv[1])
    calls = [client.put(str(number), "value") for number in range(3000)]
    await calls[0]
    sys.exit(5)

trio.run(main)
""",
        uri,
    )
    assert finished.returncode == 5, finished.stderr
