"""The Python host: `python harmless.py URI`. Both clients, of which asyncio's own signal handling is told apart."""

import asyncio
import logging
import os
import signal
import stat
import sys


def state() -> dict[str, object]:
    """What a process has that a package could change."""
    with open("/proc/self/status") as status:
        lines = [line.split() for line in status if line.startswith(("SigBlk:", "SigIgn:", "SigCgt:"))]
    # 32 and 33 are the C library's own, from the first thread on.
    masks = {name: int(signals, 16) & ~0x180000000 for name, signals in lines}
    mask = os.umask(0)
    os.umask(mask)
    return {
        "signal masks": masks,
        "signal handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "hooks": (sys.excepthook, sys.unraisablehook, sys.displayhook, sys.stdout, sys.stderr),
        "root logger": (logging.root.level, list(logging.root.handlers), logging.lastResort),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": mask,
    }


def expect_no_files() -> None:
    """No descriptor may be of a file on a disk that can be written."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        try:
            is_file = stat.S_ISREG(os.fstat(number).st_mode)
        except OSError:
            continue
        with open(f"/proc/self/fdinfo/{number}") as info:
            flags = next(int(line.split()[1], 8) for line in info if line.startswith("flags:"))
        assert number <= 2 or not is_file or flags & os.O_ACCMODE == os.O_RDONLY, os.readlink(f"/proc/self/fd/{number}")


def use(uri: str) -> None:
    import slotkv
    import slotkv._slotkv
    import slotkv.errors

    with slotkv.connect(uri) as client:
        assert client.put("harmless", b"value").done
        assert client.get("harmless") == b"value"
        expect(slotkv.errors.InvalidArgumentError, lambda: client.get(""))
        expect(slotkv.errors.UnexpectedError, slotkv._slotkv._panic)
        expect_no_files()
    expect(slotkv.errors.ClosedError, lambda: client.get("harmless"))
    expect(slotkv.errors.NoMasterError, lambda: slotkv.connect("slotkv://127.0.0.1:1", connect_timeout=0.2))


async def use_asyncio(uri: str) -> None:
    import slotkv.aio
    import slotkv.errors

    async with slotkv.aio.connect(uri) as client:
        assert await client.get("harmless") == b"value"
        cancelled = client.get("harmless")
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        expect_no_files()
    try:
        await slotkv.aio.connect("slotkv://127.0.0.1:1", connect_timeout=0.2)
    except slotkv.errors.NoMasterError:
        return
    raise AssertionError("connected to nobody")


def expect(kind: type[BaseException], call: object) -> None:
    try:
        call()  # type: ignore[operator]
    except kind:
        return
    raise AssertionError(f"no {kind}")


loop = asyncio.new_event_loop()
before = state()
use(sys.argv[1])
loop.run_until_complete(use_asyncio(sys.argv[1]))
after = state()
assert before == after, [name for name in before if before[name] != after[name]]
loop.close()
