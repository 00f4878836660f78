"""The interpreter may end whenever it likes: with thousands of calls under way, in whatever state."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import interpreters, program

#: Runs of each program, over all interpreters.
RUNS = int(os.environ.get("SLOTKV_EXIT_RUNS", "50"))

IN_FLIGHT = """
import asyncio, sys
from slotkv import aio

async def main():
    client = await aio.connect(sys.argv[1])
    calls = [client.put(f"key{number}", "value") for number in range(3000)]
    await calls[0]
    print("in flight", flush=True)
    {end}

asyncio.run(main())
"""

ENDS = {
    "exit": "sys.exit(5)",
    "return": "asyncio.get_running_loop().call_soon(sys.exit, 5)",
    "error": "raise SystemExit(5)",
    "tasks": """
    tasks = [asyncio.ensure_future(client.get(f"key{number}")) for number in range(3000)]
    await asyncio.sleep(0)
    sys.exit(5)""",
}

THREADS = """
import sys, threading
import slotkv

client = slotkv.connect(sys.argv[1])
started = threading.Barrier(33)

def work():
    first = True
    while True:
        client.increment("n")
        if first:
            started.wait()
            first = False

for _ in range(32):
    threading.Thread(target=work, daemon=True).start()
started.wait()
print("in flight", flush=True)
sys.exit(5)
"""

LOOP_IN_A_THREAD = """
import asyncio, sys, threading
from slotkv import aio

busy = threading.Event()

async def main():
    client = await aio.connect(sys.argv[1])
    while True:
        await asyncio.gather(*(client.get("key") for _ in range(3000)))
        busy.set()

threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
busy.wait()
print("in flight", flush=True)
sys.exit(5)
"""


PROGRAMS = {
    **{f"asyncio-{name}": IN_FLIGHT.replace("{end}", end.strip()) for name, end in ENDS.items()},
    "threads": THREADS,
    "loop-in-a-thread": LOOP_IN_A_THREAD,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_interpreter_ends_cleanly_with_calls_in_flight(uri: str, name: str) -> None:
    pythons = interpreters()

    def once(number: int) -> str | None:
        python = pythons[number % len(pythons)]
        finished = program(PROGRAMS[name], uri, python=python)
        if (finished.returncode, finished.stdout) == (5, "in flight\n"):
            return None
        return f"{python} ended with {finished.returncode}: {finished.stdout}{finished.stderr}"

    with ThreadPoolExecutor(2) as pool:
        failures = [failure for failure in pool.map(once, range(RUNS)) if failure]
    assert not failures, f"{len(failures)} of {RUNS}: {failures[0]}"
