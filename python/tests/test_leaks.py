"""What many calls leave behind: nothing. SLOTKV_TEST_LONG makes them ten million."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import program

import slotkv

IS_LONG = "SLOTKV_TEST_LONG" in os.environ
CALLS = 10_000_000 if IS_LONG else 300_000
#: Calls under tools that look at every allocation, or at every access.
SANITIZED_CALLS = 6_000
VALGRIND_CALLS = 1_500
#: Ten million calls on a busy machine, in seconds.
LONG_SECONDS_MAX = 2 * 3600

#: What may be held more after the last third of the calls than before it. One object or one small allocation per hundred
#: calls would be more; what is allowed is for caches of the interpreter, of malloc and of the kernel.
GROWTH_MAX = {
    "objects": 100,
    "blocks": 500,
    "malloc": 64 << 10,
    "rss": 4 << 20,
    "threads": 0,
    "descriptors": 0,
}


HERE = Path(__file__).resolve().parent
PROGRAM = (HERE / "leaks.py").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(LONG_SECONDS_MAX if IS_LONG else 1200)
def test_calls_of_every_kind_leave_nothing_behind(uri: str) -> None:
    finished = program(PROGRAM, uri, str(CALLS), timeout=LONG_SECONDS_MAX)
    assert finished.returncode == 0, finished.stderr
    print(finished.stdout)
    _, before, after = (json.loads(line) for line in finished.stdout.splitlines())
    assert after["calls"] - before["calls"] >= CALLS / 4
    growth = {name: after[name] - before[name] for name in GROWTH_MAX}
    assert all(growth[name] <= GROWTH_MAX[name] for name in growth), growth


def sanitizer() -> str:
    """gcc's sanitizer of leaks, which any program can be started with."""
    try:
        asked = subprocess.run(["gcc", "-print-file-name=liblsan.so"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no gcc")
    path = asked.stdout.strip()
    # Without its folder if there is none.
    return path if os.path.isabs(path) else pytest.skip("gcc has no liblsan")


def under(tool: list[str], uri: str, calls: int, *plant: str, **environment: str) -> str:
    """What a tool, which hears of every allocation, says of the program."""
    finished = subprocess.run(
        [*tool, sys.executable, HERE / "leaks.py", uri, str(calls), *plant],
        env={
            **os.environ,
            # Python's own allocator would hide what becomes of objects.
            "PYTHONMALLOC": "malloc",
            "PYTHONPATH": str(Path(slotkv.__file__).resolve().parents[1]),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=LONG_SECONDS_MAX,
    )
    assert len(finished.stdout.splitlines()) == 3, finished.stdout + finished.stderr
    return finished.stderr


@pytest.mark.parametrize("plant", [[], ["lose"]])
def test_the_sanitizer_finds_no_allocation_of_ours_that_nobody_knows(uri: str, plant: list[str]) -> None:
    """And does find those that were lost on purpose."""
    options = f"fast_unwind_on_malloc=0:malloc_context_size=40:suppressions={HERE / 'leaks.supp'}"
    said = under([], uri, SANITIZED_CALLS, *plant, LD_PRELOAD=sanitizer(), LSAN_OPTIONS=options)
    # What the interpreter itself loses is none of our business.
    leaks = re.findall(r"^(?:Direct|Indirect) leak of (?:.+\n)+", said, re.MULTILINE)
    ours = [leak for leak in leaks if re.search(r"slotkv|pyo3|tokio|/rustc/", leak)]
    assert bool(ours) == bool(plant), "\n".join(ours)


@pytest.mark.parametrize("plant", [[], ["free"]])
def test_valgrind_finds_no_wrong_access_to_memory_of_ours(uri: str, plant: list[str]) -> None:
    """And does find the one that was made on purpose."""
    if shutil.which("valgrind") is None:
        pytest.skip("no valgrind")
    # Optimised code may look at what is not yet there, and then not use what it saw.
    valgrind = ["valgrind", "--num-callers=40", "--undef-value-errors=no"]
    said = under(valgrind, uri, VALGRIND_CALLS, *plant)
    assert "ERROR SUMMARY" in said
    # Reports end with an empty line; the interpreter has some of its own.
    reports = re.split(r"^==\d+== $", said, flags=re.MULTILINE)
    ours = [report for report in reports if "slotkv::" in report]
    assert bool(ours) == bool(plant), "\n".join(ours)
