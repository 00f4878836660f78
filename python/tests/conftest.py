"""One cluster for all tests, one namespace for each: `slotkv dev` on free ports.

SLOTKV_BIN names the binary; otherwise it is looked for in the workspace's target folder.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import slotkv

ROOT = Path(__file__).resolve().parents[2]
#: How long a cluster may take to be ready, in seconds.
READY_SECONDS_MAX = 60
#: How long a program that a test starts may take, in seconds.
PROGRAM_SECONDS_MAX = 120


def binary() -> Path:
    named = os.environ.get("SLOTKV_BIN")
    candidates = [Path(named)] if named else [ROOT / "target" / kind / "slotkv" for kind in ("debug", "release")]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise pytest.UsageError(f"no slotkv binary at {candidates}; build it, or name it in SLOTKV_BIN")


class Cluster:
    """A `slotkv dev`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [str(binary()), "dev", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        word, _, self.uri = line.strip().partition(" ")
        if word != "ready":
            self.process.kill()
            raise RuntimeError(f"slotkv dev said {line!r}")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nobody answers meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        # Until all its threads stand still.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    # The slots are allocated when all shards have registered; the first write waits for that.
    deadline = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            with slotkv.connect(cluster.uri) as client:
                client.put("ready", b"", deadline=READY_SECONDS_MAX)
            break
        except slotkv.SlotkvError:
            if time.monotonic() > deadline:
                raise
    yield cluster
    cluster.stop()


_numbers = itertools.count()


@pytest.fixture
def uri(cluster: Cluster) -> str:
    """The cluster, with a namespace of the test's own."""
    return f"{cluster.uri}/test-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def client(uri: str) -> Iterator[slotkv.Client]:
    with slotkv.connect(uri) as client:
        yield client


def program(
    text: str, *arguments: str, python: str = sys.executable, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a Python program that finds the package where the tests found it."""
    package = Path(slotkv.__file__).resolve().parents[1]
    options.setdefault("timeout", PROGRAM_SECONDS_MAX)
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONFAULTHANDLER": "1"}
    return subprocess.run(
        [python, "-c", text, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        **options,
    )


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


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs tests that are coroutines."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), PROGRAM_SECONDS_MAX))
    return True
