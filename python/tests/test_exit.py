"""The interpreter may end whenever it likes: with thousands of calls under way, in whatever state."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import program

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


def interpreters() -> list[str]:
    """Every Python from 3.10 on that this machine has, this one first."""
    found = [sys.executable]
    versions = {sys.version_info[:2]}
    candidates = [shutil.which(f"python3.{minor}") for minor in range(10, 20)]
    candidates += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))]
    for candidate in candidates:
        if candidate is None:
            continue
        asked = subprocess.run(
            [candidate, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True
        )
        if asked.returncode != 0:
            continue
        major, minor = map(int, asked.stdout.split())
        if (major, minor) >= (3, 10) and (major, minor) not in versions:
            versions.add((major, minor))
            found.append(candidate)
    return found


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
