"""Programs that slotkv lives in: threads, pools of processes, several loops, signals, interpreters in interpreters."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Cluster, interpreters, program

import slotkv
from slotkv import aio, errors


def check(text: str, *arguments: str, python: str = sys.executable) -> None:
    finished = program(text, *arguments, python=python)
    assert (finished.returncode, finished.stdout[-3:]) == (0, "ok\n"), finished.stdout + finished.stderr


def test_the_statistics_of_a_client_that_32_threads_share_add_up(client: slotkv.Client) -> None:
    client.put("text", "x")
    before = client.stats()

    def work(number: int) -> None:
        for round in range(50):
            key = f"{number}-{round}"
            assert client.put(key, key).status == "created"
            assert client.get_many([key, "absent"]) == [key.encode(), None]
            assert client.increment(f"own {number}") == round + 1
            client.increment("sum")
            with pytest.raises(errors.NotANumberError):
                client.increment("text")

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))
    assert client.get("sum") == b"1600"
    after = client.stats()
    # put, two keys, two increments, one that fails; and the look at the sum.
    assert after.calls - before.calls == 32 * 50 * 6 + 1
    assert after.calls_failed - before.calls_failed == 32 * 50
    assert after.calls_ok - before.calls_ok == 32 * 50 * 5 + 1
    assert after.calls == after.calls_ok + after.calls_failed + after.calls_unknown + after.calls_cancelled
    assert (after.in_flight, after.waiting) == (0, 0)


def test_loops_in_threads_have_a_client_each_and_may_share_a_blocking_one(
    uri: str, client: slotkv.Client
) -> None:
    async def main(number: int) -> None:
        async with aio.connect(uri) as own:
            for _ in range(20):
                await asyncio.gather(*(own.increment("n") for _ in range(20)))
                client.increment("n")
                assert await asyncio.to_thread(client.get, "n")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: asyncio.run(main(number)), range(4)))
    assert client.get("n") == str(4 * 20 * 21).encode()


def test_a_client_of_another_loop_is_refused(uri: str) -> None:
    kept: list[aio.Client] = []

    async def first() -> None:
        kept.append(await aio.connect(uri))
        await kept[0].put("key", "value")

    async def second() -> None:
        # Another loop, on the same thread; the first one is closed.
        with pytest.raises(RuntimeError):
            await asyncio.gather(kept[0].get("key"), kept[0].get("key"))
        async with aio.connect(uri) as client:
            assert await client.get("key") == b"value"

    asyncio.run(first())
    asyncio.run(second())


EXECUTOR = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import slotkv

client = None

def connect(uri):
    global client
    client = slotkv.connect(uri)

def work(number):
    return client.put(f"key{number}", str(number)), client.get_entry(f"key{number}"), next(client.scan())

def fail(kind):
    if kind == "many":
        client.delete_many(["", "key1"])
    client.increment("key1" if client.put("key1", "text") else "")

if __name__ == "__main__":
    uri, method = sys.argv[1:]
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context, initializer=connect, initargs=(uri,)) as pool:
        for number, (put, entry, item) in enumerate(pool.map(work, range(50))):
            assert isinstance(put, slotkv.Put) and put.status == "created"
            assert entry == slotkv.Entry(str(number).encode(), put.version)
            assert isinstance(item, slotkv.Item)
        try:
            pool.submit(fail, "number").result()
        except slotkv.errors.NotANumberError as error:
            assert (error.code, error.outcome, error.attempts) == (6, "failed", 1) and error.member
        try:
            pool.submit(fail, "many").result()
        except slotkv.errors.ManyError as error:
            assert isinstance(error.errors[0], slotkv.errors.InvalidArgumentError)
            assert isinstance(error.results[1], slotkv.Delete)
    print("ok")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_results_and_errors_come_back_from_a_pool_of_processes(uri: str, method: str, tmp_path: Path) -> None:
    script = tmp_path / "executor.py"
    script.write_text(EXECUTOR)
    check(
        "import subprocess, sys; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)",
        str(script),
        uri,
        method,
    )


OTHER_INTERPRETER = """
import os, sys
if sys.argv[1] == "imported before":
    import slotkv
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
said, told = os.pipe()
code = f'''
import os, sys
sys.path[:] = {sys.path}
try:
    import slotkv
    text = "imported"
except ImportError as error:
    text = str(error)
os.write({told}, text.encode())
'''
try:
    interpreter = interpreters.create()
    (interpreters.run_string if hasattr(interpreters, "run_string") else interpreters.exec)(interpreter, code)
    text = os.read(said, 10_000).decode()
    # Python's own words or ours.
    assert "not support" in text and "subinterpreters" in text, text
    interpreters.destroy(interpreter)
except BaseException as error:
    print(repr(error), flush=True)
    os._exit(1)
# The main interpreter is as before.
import slotkv
with slotkv.connect(sys.argv[2]) as client:
    assert isinstance(client.put("key", "value"), slotkv.Put)
print("ok")
"""


@pytest.mark.parametrize("main", ["imported before", "imports after"])
def test_an_interpreter_within_the_process_refuses_to_import_it(uri: str, main: str) -> None:
    for python in interpreters():
        check(OTHER_INTERPRETER, main, uri, python=python)


STORM = """
import asyncio, os, signal, sys, threading, time
import slotkv
from slotkv import aio

signal.signal(signal.SIGINT, signal.default_int_handler)
client = slotkv.connect(sys.argv[1])
client.put("key", "value")
goes_on = True
# No threading.Event: an interrupt in the middle of its `set` leaves its lock held for good.
ready = False

def storm():
    global ready
    while goes_on:
        if ready:
            os.kill(os.getpid(), signal.SIGINT)
            ready = False
        time.sleep(0.0002)

thread = threading.Thread(target=storm, daemon=True)
thread.start()
interrupted = 0

def calm():
    # Python raises what has come where a loop goes back, and that shall be here.
    while ready:
        pass
    for _ in range(100):
        pass

def interruptible(body):
    # However often, and wherever it hits between two lines of Python, the client stays whole.
    global interrupted, ready
    try:
        try:
            ready = True
            for _ in range(100):
                body()
        finally:
            calm()
    except KeyboardInterrupt:
        interrupted += 1

def scan():
    for item in client.scan():
        assert item.key == b"key"

for _ in range(100):
    interruptible(lambda: client.get("key"))
    interruptible(scan)

async def main():
    global ready
    async with aio.connect(sys.argv[1]) as other:
        for _ in range(20):
            ready = True
            await asyncio.gather(*(other.get("key") for _ in range(100)))

for _ in range(50):
    try:
        try:
            asyncio.run(main())
        finally:
            calm()
    except KeyboardInterrupt:
        interrupted += 1
goes_on = False
thread.join()
assert interrupted > 100, interrupted
assert client.get("key") == b"value"
stats = client.stats()
assert (stats.in_flight, stats.waiting) == (0, 0), stats
print("ok")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_storm_of_interrupts_leaves_the_client_whole(uri: str) -> None:
    check(STORM, uri)


def test_a_log_handler_may_use_the_client(uri: str) -> None:
    check(
        """
import asyncio, logging, sys, threading
import slotkv
from slotkv import aio

class Recursive(logging.Handler):
    handled = 0
    error = None

    def emit(self, record):
        try:
            client.get("key")
            client.stats()
            # A client of its own logs, too: each record would be followed by others.
            if Recursive.handled < 20:
                with slotkv.connect(sys.argv[1]) as another:
                    another.get("key")
        except slotkv.errors.ClosedError:
            pass
        except BaseException as error:
            Recursive.error = error
        Recursive.handled += 1

client = slotkv.connect(sys.argv[1])
client.put("key", "value")
logger = logging.getLogger("slotkv")
logger.addHandler(Recursive())
logger.setLevel(logging.DEBUG)

async def main():
    async with aio.connect(sys.argv[1]) as other:
        assert await other.get("key") == b"value"

for _ in range(10):
    asyncio.run(main())
    assert client.get("key") == b"value"
assert Recursive.error is None, repr(Recursive.error)
assert Recursive.handled > 0
client.close()
print("ok")
""",
        uri,
    )


def test_a_loop_that_is_closed_with_calls_in_flight_leaves_nothing_open(cluster: Cluster, uri: str) -> None:
    with slotkv.connect(uri) as blocking:
        blocking.put("key", "value")
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(aio.connect(uri).__aenter__())
    with cluster.paused():
        calls = [client.get("key", deadline=100) for _ in range(1000)]

        async def until_all_are_under_way() -> None:
            while client.stats().in_flight + client.stats().waiting < 1000:
                await asyncio.sleep(0)

        loop.run_until_complete(until_all_are_under_way())
        loop.close()
        assert not any(call.done() for call in calls)
        # The next client of any loop gives up what no loop waits for.
        other = asyncio.new_event_loop()
        connecting = other.create_task(aio.connect(uri, connect_timeout=30).__aenter__())
        other.run_until_complete(asyncio.sleep(0))
        assert client.stats().in_flight + client.stats().waiting == 0
    assert other.run_until_complete(connecting).stats().in_flight == 0
    other.run_until_complete(connecting.result().close())
    other.close()


async def test_ten_thousand_tasks_cancelled_at_once_end_at_once(cluster: Cluster, uri: str) -> None:
    async with aio.connect(uri) as client:
        await client.put("key", "value")

        async def work() -> None:
            await client.get("key", deadline=100)

        with cluster.paused():
            tasks = [asyncio.create_task(work()) for _ in range(10_000)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            stats = client.stats()
            # The last ones were given up before they were handed over, which is done 64 at a time.
            assert 10_000 - 64 < stats.calls_cancelled <= 10_000
            assert (stats.in_flight, stats.waiting) == (0, 0)
        assert await client.get("key", deadline=30) == b"value"


async def test_no_time_at_all_is_a_time_out_and_loses_nothing(uri: str) -> None:
    async with aio.connect(uri) as client:
        for _ in range(200):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.increment("n"), 0)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.scan().__anext__(), 0)
        # Whether or not any of them arrived, those who wait are answered.
        assert await client.increment("m") == 1
        stats = client.stats()
        assert (stats.in_flight, stats.waiting) == (0, 0)


async def test_closing_goes_on_when_nobody_waits_for_it(uri: str) -> None:
    client = await aio.connect(uri)
    assert client.close().cancel()

    async def until_closed() -> None:
        while True:
            try:
                await client.get("key")
            except errors.ClosedError:
                return

    await asyncio.wait_for(until_closed(), 30)


async def test_a_buffer_may_change_as_soon_as_it_was_handed_over(cluster: Cluster, uri: str) -> None:
    async with aio.connect(uri) as client:
        buffers: list[tuple[str, bytearray, Any]] = []
        for name, size in (("small", 10), ("large", 1 << 20)):
            array = bytearray(b"a" * size)
            buffers += [(f"{name} array", array, array), (f"{name} view", array, memoryview(array)[::2])]
        with cluster.paused():
            expected = {name: bytes(value) for name, _, value in buffers}
            puts = [client.put(name, value, deadline=60) for name, _, value in buffers]
            for _, array, _ in buffers:
                array[:] = b"b" * len(array)
            # What is still lent out cannot be resized.
            lent = bytearray(b"a" * 100)
            puts.append(client.put("lent", lent, deadline=60))
            expected["lent"] = bytes(lent)
            lent.clear()
        await asyncio.gather(*puts)
        for name, value in expected.items():
            assert await client.get(name) == value


def test_what_raises_when_its_bytes_are_asked_for_raises_its_own_error(client: slotkv.Client) -> None:
    class Raising:
        def __buffer__(self, flags: int) -> memoryview:
            raise ZeroDivisionError

        def __bytes__(self) -> bytes:
            raise ZeroDivisionError

    class Text(str):
        def encode(self, *_: object) -> bytes:
            raise ZeroDivisionError

    class Keys:
        def __iter__(self) -> Any:
            yield "key"
            raise ZeroDivisionError

    released = memoryview(b"value")
    released.release()
    # A class has a buffer from Python 3.12 on; an error in it is not mistaken for a wrong type.
    with pytest.raises(ZeroDivisionError if sys.version_info >= (3, 12) else TypeError):
        client.put("key", Raising())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="released"):
        client.put("key", released)
    with pytest.raises(UnicodeEncodeError):
        client.put("key", "\ud800")
    with pytest.raises(ZeroDivisionError):
        client.get_many(Keys())  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        client.put_many((key, b"") for key in Keys())
    assert client.put(Text("text"), Text("text")) and client.get("text") == b"text"
    assert client.get("key") is None


def test_threads_that_begin_and_end_all_the_time_share_a_client(client: slotkv.Client) -> None:
    for _ in range(20):
        threads = [threading.Thread(target=client.increment, args=("n",)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert client.get("n") == b"400"


def test_importing_it_starts_nothing() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(slotkv.__file__).resolve().parents[1]), "PATH": ""},
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "ok\n", "")


IMPORTED = """
import logging, os, signal, sys, threading
handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
threads, files = len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
import slotkv
assert handlers == {number: signal.getsignal(number) for number in signal.valid_signals()}
assert (threads, files) == (len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")))
assert hooks == (sys.excepthook, sys.unraisablehook, threading.excepthook)
assert not logging.getLogger().handlers
# What an application may never use is not loaded for it.
assert not {"trio", "anyio", "uvloop", "multiprocessing"} & set(sys.modules)
print("ok")
"""
