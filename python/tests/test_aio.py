"""The asyncio client."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import threading
import weakref
from typing import Any

import pytest
from conftest import Cluster

import slotkv
from slotkv import Put, aio, errors

LOOPS = ["asyncio", "debug", "threadsafe", "uvloop"]


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop that cannot watch descriptors for others, as Windows' proactor."""

    def add_reader(self, *_: Any) -> None:
        raise NotImplementedError

    def _add_reader(self, *arguments: Any) -> Any:
        # What the loop itself uses for its own pipe.
        return super()._add_reader(*arguments)  # type: ignore[misc]


def run(main: Any, loop: str = "asyncio") -> Any:
    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        event_loop = uvloop.new_event_loop()
    elif loop == "threadsafe":
        event_loop = WithoutReaders()
    else:
        event_loop = asyncio.new_event_loop()
        event_loop.set_debug(loop == "debug")
    try:
        return event_loop.run_until_complete(asyncio.wait_for(main, 60))
    finally:
        event_loop.run_until_complete(event_loop.shutdown_asyncgens())
        event_loop.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_every_operation_on_every_loop(uri: str, loop: str) -> None:
    async def main() -> None:
        async with aio.connect(uri) as client:
            put = await client.put("key", b"value")
            assert put == Put("created", put.version)
            assert await client.get("key") == b"value"
            assert await client.get_entry("key") == slotkv.Entry(b"value", put.version)
            assert await client.has("key") and not await client.has("absent")
            assert await client.put_if_absent("key", "x") == Put("unmet", put.version)
            assert await client.update_if_present("absent", "x") == Put("unmet", 0)
            swapped = await client.compare_and_set("key", "y", put.version)
            assert swapped.done
            assert not await client.delete_if_version("key", put.version)
            assert (await client.delete("key")).status == "deleted"
            assert await client.increment("n", 5) == 5
            assert await client.put_many({"a": "1", "b": "2"})
            assert await client.get_many(["b", "a", "c"]) == [b"2", b"1", None]
            assert await client.count() == 3
            assert sorted([item.key async for item in client.scan()]) == [b"a", b"b", b"n"]
            assert [item.key for item in await client.dump()] == [b"a", b"b", b"n"]
            assert [delete.done for delete in await client.delete_many(["a", "absent"])] == [True, False]
            assert (await client.status()).slot_count == 1024
            assert client.slot("foo") == 12182 >> 4 and client.explain("foo").connected
            assert client.stats().calls_ok > 10
            assert await client.namespace("other").get("b") is None
            with pytest.raises(errors.NotANumberError):
                await client.increment("b" if await client.put("b", "text") else "")

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_thousand_calls_at_once(uri: str, loop: str) -> None:
    async def main() -> None:
        async with aio.connect(uri) as client:
            await asyncio.gather(*(client.put(str(number), str(number * number)) for number in range(1000)))
            values = await asyncio.gather(*(client.get(str(number)) for number in range(1000)))
            assert values == [str(number * number).encode() for number in range(1000)]

    run(main(), loop)


async def test_a_lifetime_ends(uri: str) -> None:
    async with aio.connect(uri) as client:
        await client.put("lasting", "1", ttl=3600)
        entry = await client.get_entry("lasting")
        assert entry is not None and entry.ttl is not None and 3500 < entry.ttl <= 3600
        assert (await client.expire("lasting", 0.05)).done
        while (entry := await client.get_entry("lasting")) is not None:
            await asyncio.sleep(entry.ttl or 0)
        assert not await client.persist("lasting")


async def test_calls_go_out_and_come_back_in_batches(uri: str) -> None:
    async with aio.connect(uri) as client:
        await client.put("key", "value")
        before = client._counters()

        async def one_after_the_other() -> None:
            for _ in range(100):
                assert await client.get("key") == b"value"

        await asyncio.gather(*(one_after_the_other() for _ in range(50)))
        did = {name: count - before[name] for name, count in client._counters().items()}
        assert did["submissions"] == did["completions"] == 5000
        # One wake-up and one ring for a batch; how large batches get depends on the machine.
        assert did["wakeups"] <= 2500, did
        assert did["rings"] <= 2500, did


async def test_a_thousand_calls_of_one_turn_wake_the_loop_once_per_batch_of_replies(uri: str) -> None:
    async with aio.connect(uri) as client:
        await client.put("key", "value")
        before, frames_before = client._counters(), client.stats().frames_received
        await asyncio.gather(*(client.get(str(number)) for number in range(1000)))
        did = {name: count - before[name] for name, count in client._counters().items()}
        frames = client.stats().frames_received - frames_before
        assert did["submissions"] == did["completions"] == 1000
        # The turn is sent off in parts of 64, so that the runtime works beside it, and the rest at its end.
        assert did["rings"] <= 1000 // 64 + 2, did
        # A batch may be taken while it still grows.
        assert did["wakeups"] <= 2 * frames + 2, (did, frames)
        assert did["wakeups"] <= 250, (did, frames)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_is_what_asyncio_takes_for_a_future(uri: str, loop: str) -> None:
    async def main() -> None:
        async with aio.connect(uri) as client:
            await client.put("key", "value")
            assert asyncio.isfuture(client.get("key"))
            assert await asyncio.wait_for(client.get("key"), 10) == b"value"
            assert await asyncio.shield(client.get("key")) == b"value"
            assert await asyncio.create_task(client.get("key")) == b"value"
            assert await asyncio.ensure_future(client.get("key")) == b"value"
            done, pending = await asyncio.wait({asyncio.create_task(client.get("key")) for _ in range(3)})
            assert len(done) == 3 and not pending
            assert [await first for first in asyncio.as_completed([client.get("key")])] == [b"value"]
            if sys.version_info >= (3, 11):
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(client.get("key")) for _ in range(3)]
                assert [task.result() for task in tasks] == [b"value"] * 3
                # It refuses what `create_task` asks for, so it wants tasks, and `ensure_future` makes none.
                call = client.get("key")
                assert asyncio.ensure_future(call) is call
                with pytest.raises(TypeError, match="coroutines is forbidden"):
                    await asyncio.wait([call])
                assert await call == b"value"
            call = client.get("key")
            with pytest.raises(asyncio.InvalidStateError):
                call.result()
            assert [await call, await call, call.result(), call.exception()] == [b"value"] * 3 + [None]

    run(main(), loop)


async def test_callbacks_run_once_in_their_context(uri: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    async with aio.connect(uri) as client:
        seen = []

        def callback(call: aio.Call[Any]) -> None:
            seen.append((variable.get(), call.result()))

        variable.set("outer")
        call = client.get("key")
        call.add_done_callback(callback)
        call.add_done_callback(callback)
        other = contextvars.copy_context()
        other.run(variable.set, "inner")
        call.add_done_callback(callback, context=other)
        removed = client.get("key")
        removed.add_done_callback(callback)
        assert removed.remove_done_callback(callback) == 1
        await call
        await removed
        assert seen == [("outer", None), ("outer", None), ("inner", None)]
        call.add_done_callback(callback)
        assert len(seen) == 3, "of a call that has ended they run in the loop's next turn"
        await asyncio.sleep(0)
        assert len(seen) == 4


async def test_a_callback_that_raises_is_reported_and_hurts_nobody(uri: str) -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with aio.connect(uri) as client:

        def callback(_: object) -> None:
            raise ZeroDivisionError

        calls = [client.get(str(number)) for number in range(10)]
        calls[3].add_done_callback(callback)
        assert await asyncio.gather(*calls) == [None] * 10
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]


async def test_cancelling_a_task_cancels_its_call_and_leaves_the_others(uri: str) -> None:
    async with aio.connect(uri) as client:
        before = client.stats()

        async def many() -> None:
            await asyncio.gather(*(client.get(str(number)) for number in range(100)))

        for _ in range(20):
            task = asyncio.create_task(many())
            other = asyncio.create_task(client.increment("n"))
            await asyncio.sleep(0)
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await task
            await other
        assert await client.get("n") == b"20"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(client.get(str(number)) for number in range(500))), 0)
        call = client.get("key")
        assert call.cancel("why") and call.cancelled() and call.done() and not call.cancel()
        with pytest.raises(asyncio.CancelledError, match="why"):
            await call
        # What was cancelled leaves nothing behind.
        await asyncio.gather(*(client.get(str(number)) for number in range(10)))
        after = client.stats()
        assert after.in_flight == 0 and after.waiting == 0
        assert after.calls_ok - before.calls_ok >= 30


async def test_scans_see_every_key_once_and_resume_from_any_item(uri: str) -> None:
    async with aio.connect(uri) as client:
        keys = {f"user:{number:04}".encode() for number in range(2500)}
        await client.put_many((key, b"v") for key in keys)
        assert [item.key async for item in client.scan("user:", ordered=True)] == sorted(keys)
        seen: list[bytes] = []
        cursor = None
        while len(seen) < 2500:
            scan = client.scan(page_items=100, limit=333, cursor=cursor)
            seen += [item.key async for item in scan]
            cursor = scan.cursor
        assert set(seen) == keys and len(seen) == 2500
        scan = client.scan()
        first = scan.__anext__()
        with pytest.raises(RuntimeError, match="waited for already"):
            scan.__anext__()
        assert (await first).key in keys
        # One that is cancelled takes nothing with it.
        scan = client.scan(page_items=10)
        scan.__anext__().cancel()
        assert len([item async for item in scan]) == 2500


async def test_a_cursor_goes_from_one_client_to_the_other(uri: str, client: slotkv.Client) -> None:
    client.put_many((str(number), b"") for number in range(100))
    async with aio.connect(uri) as other:
        scan = client.scan(limit=40)
        seen = {item.key for item in scan}
        seen |= {item.key async for item in other.scan(cursor=scan.cursor)}
    assert len(seen) == 100


async def test_awaiting_connect_gives_a_client_to_be_closed(uri: str) -> None:
    client = await aio.connect(uri)
    await client.put("key", "value")
    pending = [client.get("key") for _ in range(10)]
    await client.close()
    for call in pending:
        try:
            assert await call == b"value"
        except errors.ClosedError:
            pass
    with pytest.raises(errors.ClosedError):
        await client.get("key")
    await client.close()
    with pytest.raises(errors.NoMasterError):
        await aio.connect("slotkv://127.0.0.1:1", connect_timeout=0.5)
    with pytest.raises(errors.InvalidArgumentError):
        async with aio.connect("slotkv://x:y"):
            pass


async def test_a_deadline_is_a_timeout_error(cluster: Cluster, uri: str) -> None:
    async with aio.connect(uri) as client:
        await client.put("key", "value")
        with cluster.paused():
            with pytest.raises(TimeoutError) as caught:
                await client.put("key", "value", deadline=0.1)
            assert isinstance(caught.value, errors.DeadlineError) and caught.value.outcome == "unknown"
            with pytest.raises(TimeoutError):
                await client.with_deadline(0.1).get("key")
            with pytest.raises(errors.DeadlineError):
                await client.with_deadline(0.1).status()
            # Many at once, and the client's own deadline.
            results = await asyncio.gather(
                *(client.get("key", deadline=0.1) for _ in range(100)), return_exceptions=True
            )
            assert all(isinstance(result, errors.DeadlineError) for result in results)
        assert await client.get("key", deadline=30) == b"value"


async def test_a_traceparent_goes_with_the_calls_of_its_view(uri: str) -> None:
    async with aio.connect(uri) as client:
        traced = client.with_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        await traced.namespace("other").put("key", "value")
        assert await client.namespace("other").get("key") == b"value"
        with pytest.raises(errors.TooLargeError, match="traceparent"):
            await client.with_traceparent("0" * 1000).get("key")
        # That of a call goes before its client's.
        assert await client.with_traceparent("0" * 1000).get("key", traceparent="00-1-2-01") is None
        for call in (client.put("key", "value", traceparent="0" * 1000), client.count(traceparent="0" * 1000)):
            with pytest.raises(errors.TooLargeError, match="traceparent"):
                await call


async def test_a_cancel_while_nobody_answers_frees_everything(cluster: Cluster, uri: str) -> None:
    async with aio.connect(uri) as client:
        await client.put("key", "value")
        with cluster.paused():
            tasks = [asyncio.ensure_future(client.get("key", deadline=30)) for _ in range(1000)]
            await asyncio.sleep(0)
            while client.stats().in_flight + client.stats().waiting < 1000:
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            stats = client.stats()
            assert stats.calls_cancelled == 1000
            assert stats.in_flight == stats.waiting == 0
        assert await client.get("key", deadline=30) == b"value"


async def test_another_thread_than_the_loop_s_is_refused(uri: str) -> None:
    async with aio.connect(uri) as client:
        caught: list[BaseException] = []

        def work() -> None:
            try:
                client.get("key")
            except RuntimeError as error:
                caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert "another thread" in str(caught[0])


def test_connecting_needs_a_running_loop(uri: str) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.connect(uri).__await__()


def test_loops_come_and_go_and_leave_nothing(uri: str) -> None:
    async def main() -> weakref.ref[Any]:
        client = await aio.connect(uri)
        other = await aio.connect(uri)
        await asyncio.gather(client.put("key", "value"), other.get("key"))
        # What failed is held by the frame that awaited it, which the error's traceback holds.
        failing = [client.get("") for _ in range(10)]
        await asyncio.gather(*failing, return_exceptions=True)
        try:
            await failing[0]
        except errors.InvalidArgumentError:
            pass
        await client.close()
        # The other one is left open, with calls under way that nobody awaits.
        for _ in range(10):
            other.get("key")
        return weakref.ref(asyncio.get_running_loop())

    loops = [run(main()) for _ in range(5)]
    run(main())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 5


async def test_a_failure_that_nobody_looks_at_is_logged(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    arrived = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "nobody asked" in record.getMessage():
                arrived.set()

    handler = Handler()
    logging.getLogger("slotkv").addHandler(handler)
    try:
        async with aio.connect(uri) as client:
            call = client.get("")
            while not call.done():
                await asyncio.sleep(0)
            del call
            assert await asyncio.to_thread(arrived.wait, 30)
    finally:
        logging.getLogger("slotkv").removeHandler(handler)


def test_control_c_during_a_batch_loses_no_completion(uri: str) -> None:
    async def main() -> list[bytes | None]:
        async with aio.connect(uri) as client:
            calls = [client.get(str(number)) for number in range(100)]

            def stop(_: object) -> None:
                raise KeyboardInterrupt

            calls[50].add_done_callback(stop)
            return await asyncio.gather(*calls)

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert loop.run_until_complete(task) == [None] * 100
    loop.close()


async def test_sessions_and_outcomes_are_those_of_the_blocking_client(cluster: Cluster, uri: str) -> None:
    async with aio.connect(uri, zone="here") as client:
        session = client.with_session_token(b"")
        await session.put("key", "value")
        assert await client.with_session_token(session.session_token()).get("key") == b"value"
        assert await client.with_read_level("stale").get("key") == b"value"
        assert await client.with_staleness(60).count() == 1
        with cluster.paused(), pytest.raises(errors.DeadlineError) as caught:
            await client.put("key", "other", deadline=0.1)
        assert caught.value.token is not None
        outcome = await client.outcome(caught.value.token, deadline=30)
        assert await client.get("key", deadline=30) == (b"other" if outcome.applied else b"value")
