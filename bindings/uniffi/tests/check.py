"""Runs the module that UniFFI generates for Python against a cluster: `python check.py URI`."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import slotkv
from slotkv import ConnectOptions, DeleteStatus, LogLevel, LogRecord, Outcome, PutStatus, Range, SlotkvError


class Logger(slotkv.Logger):
    def __init__(self) -> None:
        self.records: list[LogRecord] = []

    def log(self, records: list[LogRecord]) -> None:
        self.records.extend(records)


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

    # A task that is cancelled drops the Rust future, which gives the call up.
    before = client.stats().calls_cancelled
    tasks = [asyncio.ensure_future(client.get(b"key")) for _ in range(50)]
    for _ in range(3):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    while client.stats().in_flight > 0:
        await asyncio.sleep(0.001)
    assert client.stats().calls_cancelled > before

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
