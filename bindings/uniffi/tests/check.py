"""Runs the module that UniFFI generates for Python against a cluster: `python check.py URI`."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import slotkv
from slotkv import ConnectOptions, DeleteStatus, LogLevel, LogRecord, Outcome, PutStatus, Range, SlotkvError

#: Far more than anything here takes.
SECONDS_MAX = 60


class Logger(slotkv.Logger):
    def __init__(self) -> None:
        self.records: list[LogRecord] = []

    def log(self, records: list[LogRecord]) -> None:
        self.records.extend(records)


async def giving_up_ends_the_connection() -> None:
    """A task that is cancelled drops the Rust future, which gives the call up."""
    opened, closed = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.set()
        while await reader.read(1024):
            pass
        closed.set()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        patient = ConnectOptions(connect_timeout=timedelta(minutes=5))
        task = asyncio.ensure_future(slotkv.connect(f"slotkv://127.0.0.1:{port}", patient))
        await asyncio.wait_for(opened.wait(), SECONDS_MAX)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task], timeout=SECONDS_MAX)
        assert task.cancelled()
        await asyncio.wait_for(closed.wait(), SECONDS_MAX)


async def check(uri: str) -> None:
    logger = Logger()
    slotkv.set_logger(logger, LogLevel.DEBUG)
    client = await slotkv.connect(uri, ConnectOptions(namespace="uniffi-python", client_name="check"))

    put = await client.put(b"key", b"value\0")
    assert put.status == PutStatus.CREATED and put.done
    assert await client.get(b"key") == b"value\0"
    assert await client.get(b"absent") is None
    assert (await client.put_if_absent(b"key", b"other")).status == PutStatus.UNMET

    many = await client.get_many([b"key", b"", b"absent"])
    assert many.results[0].value == b"value\0" and many.results[2].value is None
    assert many.results[1].is_FAILED() and many.failure is not None and many.failure.kind == "INVALID_ARGUMENT"

    try:
        await client.increment(b"key")
        raise AssertionError("no error")
    except SlotkvError.Failed as error:
        failure = error.failure
        assert (failure.code, failure.kind, failure.retryable) == (6, "NOT_A_NUMBER", False)
        assert failure.outcome == Outcome.FAILED

    await giving_up_ends_the_connection()

    assert len(set(await asyncio.gather(*(client.get(b"key", timedelta(seconds=5)) for _ in range(1000))))) == 1

    scan = client.scan(Range(page_items=1))
    assert [item.key for item in await scan.next_page()] == [b"key"]
    assert await scan.next_page() == [] and scan.cursor() == scan.cursor_behind(b"key", client.slot(b"key"))

    for in_runtime in (False, True):
        try:
            await slotkv.test_panic(in_runtime)
            raise AssertionError("no error")
        except SlotkvError.Failed as error:
            assert error.failure.kind == "UNEXPECTED" and "on purpose" in error.failure.text

    assert (await client.delete(b"key")).status == DeleteStatus.DELETED
    await client.close()
    try:
        await client.get(b"key")
        raise AssertionError("no error")
    except SlotkvError.Failed as error:
        assert error.failure.kind == "CLOSED"
    slotkv.set_logger(None)
    assert any(record.target.startswith("slotkv.") for record in logger.records)


asyncio.run(check(sys.argv[1]))
print("ok")
