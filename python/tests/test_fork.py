"""Forked children: never a hang, never a crash, never the parent's connections."""

from __future__ import annotations

import os
import sys

import pytest
from conftest import program

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


def check(text: str, *arguments: str) -> None:
    finished = program(text, *arguments)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.endswith("ok\n"), finished.stdout + finished.stderr


PREFORK = """
import os, sys, threading
import slotkv

# A server in the manner of gunicorn: the application is loaded, client and all, before the workers are forked.
client = slotkv.connect(sys.argv[1])
client.put("key", "parent")
stop = threading.Event()

def busy():
    while not stop.is_set():
        client.increment("background")

threads = [threading.Thread(target=busy) for _ in range(4)]
for thread in threads: thread.start()
children = []
for number in range(6):
    child = os.fork()
    if child == 0:
        try:
            for _ in range(50):
                assert client.get("key") == b"parent"
                client.increment("requests")
            grandchild = os.fork()
            if grandchild == 0:
                client.increment("requests")
                os._exit(0)
            assert os.waitpid(grandchild, 0)[1] == 0
            client.namespace("other").put("key", str(number))
            client.close()
            with_error = None
            try: client.get("key")
            except slotkv.errors.ClosedError as error: with_error = error
            assert with_error is not None
            code = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            code = 1
        os._exit(code)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
stop.set()
for thread in threads: thread.join()
assert client.get("requests") == b"306", client.get("requests")
client.close()
print("ok")
"""


def test_workers_forked_from_a_server_with_a_client(uri: str) -> None:
    check(PREFORK, uri)


MULTIPROCESSING = """
import multiprocessing, sys
import slotkv

client = None

def work(number):
    mine = client if client is not None else slotkv.connect(sys.argv[1])
    mine.put(f"key{number}", str(number))
    assert mine.get(f"key{number}") == str(number).encode()
    return mine.put_if_absent(f"key{number}", "x")

if __name__ == "__main__":
    method = sys.argv[2]
    if method == "fork":
        client = slotkv.connect(sys.argv[1])
        client.put("before", "the fork")
    with multiprocessing.get_context(method).Pool(3) as pool:
        results = pool.map(work, range(30))
    assert [result.status for result in results] == ["unmet"] * 30
    with slotkv.connect(sys.argv[1]) as check:
        assert check.count("key") == 30
    print("ok")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_pools(uri: str, method: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    # spawn imports the main module again, so it has to be a file.
    script = tmp_path / "work.py"
    script.write_text(MULTIPROCESSING)
    check("import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
          if method == "fork" else
          "import subprocess, sys; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)",
          str(script), uri, method)


ASYNCIO = """
import asyncio, os, sys
import slotkv
from slotkv import aio

async def main():
    async with aio.connect(sys.argv[1]) as client:
        await client.put("key", "parent")
        pending = [client.get("key") for _ in range(100)]
        child = os.fork()
        if child == 0:
            code = 1
            try:
                # The parent's client is refused, not hung on ...
                try: client.get("key")
                except slotkv.errors.ForkedError: code = 0
                for refused in (client.stats, client.status, client.close, lambda: client.explain("key")):
                    try: refused(); code = 1
                    except slotkv.errors.ForkedError: pass
                pending[0].cancel()
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                code = 1
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert await asyncio.gather(*pending) == [b"parent"] * 100
        assert await client.get("key") == b"parent"

asyncio.run(main())

# ... and a new loop in a child has clients of its own.
async def again():
    async with aio.connect(sys.argv[1]) as client:
        await asyncio.gather(*(client.increment("n") for _ in range(100)))

children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(again())
            code = 0
        finally:
            os._exit(code)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
asyncio.run(again())
with slotkv.connect(sys.argv[1]) as client:
    assert client.get("n") == b"400"
print("ok")
"""


def test_asyncio_clients_are_refused_in_a_child_and_new_ones_work(uri: str) -> None:
    check(ASYNCIO, uri)


EXITING_CHILD = """
import gc, os, sys
import slotkv

client = slotkv.connect(sys.argv[1])
client.put("key", "value")
child = os.fork()
if child == 0:
    # Leaves through the interpreter's whole end, atexit and all, with the parent's client and one of its own.
    own = slotkv.connect(sys.argv[1])
    assert own.get("key") == client.get("key") == b"value"
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
child = os.fork()
if child == 0:
    # Throws the parent's client away without ever having used it.
    del client
    gc.collect()
    sys.exit(8)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8
assert client.get("key") == b"value"
print("ok")
"""


def test_a_child_may_end_as_any_program(uri: str) -> None:
    check(EXITING_CHILD, uri)


def test_logs_of_a_child_reach_its_own_logging(uri: str) -> None:
    check(
        """
import logging, os, sys, threading
import slotkv

class Handler(logging.Handler):
    def __init__(self):
        super().__init__()
        self.pids = set()
        self.arrived = threading.Event()

    def emit(self, record):
        self.pids.add(os.getpid())
        self.arrived.set()

parent = Handler()
logger = logging.getLogger("slotkv")
logger.addHandler(parent)
logger.setLevel(logging.DEBUG)
client = slotkv.connect(sys.argv[1])
client.get("key")
assert parent.arrived.wait(30)
child = os.fork()
if child == 0:
    code = 1
    try:
        own = Handler()
        logger.addHandler(own)
        # Its first call connects, of which there is something to tell.
        client.get("key")
        assert own.arrived.wait(30)
        assert own.pids == {os.getpid()}
        code = 0
    finally:
        os._exit(code)
assert os.waitpid(child, 0)[1] == 0
assert parent.pids == {os.getpid()}
print("ok")
""",
        uri,
    )


assert sys.version_info >= (3, 10)
