"""The package as pip installed it, and nothing else: no test tools, no sources.

    python -I installed.py URI

Prints what an installation costs: its size, and the time that importing it adds to a bare interpreter.
"""

import asyncio
import logging
import pickle
import statistics
import subprocess
import sys
import time
from pathlib import Path

import slotkv
from slotkv import aio, errors

#: Interpreters started for each of the two times.
STARTS = 20
#: What importing may cost.
IMPORT_MS_MAX = 60


def blocking(uri):
    with slotkv.connect(uri, client_name="installed") as client:
        put = client.put("key", b"value")
        assert put == slotkv.Put("created", put.version)
        assert client.get_entry("key") == slotkv.Entry(b"value", put.version)
        assert client.get("absent") is None
        assert client.increment("n", 2) == 2
        assert [put.status for put in client.put_many({"a": "1", "b": "2"})] == ["created", "created"]
        assert [item.key for item in client.scan(ordered=True)] == [b"a", b"b", b"key", b"n"]
        try:
            client.increment("key")
        except errors.NotANumberError as error:
            assert (error.code, error.outcome, error.retryable) == (6, "failed", False)
            assert pickle.loads(pickle.dumps(error)).kind == "NOT_A_NUMBER"
        else:
            raise AssertionError("no error")
        assert client.stats().calls_failed == 1
    try:
        client.get("key")
    except errors.ClosedError:
        pass
    else:
        raise AssertionError("no error")


async def asynchronous(uri):
    async with aio.connect(uri) as client:
        await asyncio.gather(*(client.put(f"user:{n}", str(n)) for n in range(500)))
        assert await client.count("user:") == 500
        assert len([item async for item in client.scan("user:")]) == 500
        call = client.get("key")
        call.cancel()
        try:
            await call
        except asyncio.CancelledError:
            pass
        try:
            await client.put("", "")
        except errors.InvalidArgumentError as error:
            assert isinstance(error, ValueError)
        else:
            raise AssertionError("no error")


def unreachable():
    try:
        slotkv.connect("slotkv://127.0.0.1:1", connect_timeout=0.2)
    except errors.NoMasterError as error:
        assert isinstance(error, ConnectionError) and error.retryable
    else:
        raise AssertionError("no error")


def import_ms():
    """Medians above a bare interpreter: wall time and CPU time."""

    def starts(program):
        walls, cpus = [], []
        for _ in range(STARTS):
            began, used = time.perf_counter(), _children_cpu()
            subprocess.run([sys.executable, "-I", "-c", program], check=True)
            walls.append(time.perf_counter() - began)
            cpus.append(_children_cpu() - used)
        return statistics.median(walls), statistics.median(cpus)

    (wall, cpu), (bare_wall, bare_cpu) = starts("import slotkv, slotkv.aio"), starts("pass")
    return (wall - bare_wall) * 1000, (cpu - bare_cpu) * 1000


def _children_cpu():
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    package = Path(slotkv.__file__).parent
    assert Path(sys.prefix) in package.parents, f"not of this environment: {package}"
    assert (package / "py.typed").exists()
    uri = sys.argv[1]
    blocking(uri + "-sync")
    asyncio.run(asynchronous(uri + "-async"))
    unreachable()
    assert not logging.getLogger().handlers, "logging was configured"
    size = sum(file.stat().st_size for file in package.rglob("*") if file.is_file() and file.suffix != ".pyc")
    wall, cpu = import_ms()
    # By CPU time, which a busy machine changes little.
    assert cpu < IMPORT_MS_MAX, f"importing takes {cpu:.0f} ms of CPU"
    print(f"works; {size / 1e6:.1f} MB installed, imported in {wall:.0f} ms ({cpu:.0f} ms of CPU)")


main()
