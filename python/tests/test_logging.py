"""Logs go to the logger "slotkv" and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import threading

from conftest import program

import slotkv
from slotkv import aio


class Collected(logging.Handler):
    def __init__(self, only: int | None = None) -> None:
        super().__init__()
        self.only = only
        self.records: list[logging.LogRecord] = []
        self.arrived = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.only in (None, record.levelno):
            self.records.append(record)
            self.arrived.set()


def test_what_the_core_tells_reaches_logging_under_its_own_names(uri: str) -> None:
    handler = Collected()
    logger = logging.getLogger("slotkv")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with slotkv.connect(uri) as client:
            client.put("key", "value")
            assert handler.arrived.wait(30)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    for record in handler.records:
        assert record.name.startswith("slotkv.") and "::" not in record.name
        assert record.getMessage() and record.levelno >= logging.DEBUG


async def test_a_level_that_is_set_later_counts_for_the_next_client_of_the_loop(uri: str) -> None:
    handler = Collected(logging.DEBUG)
    logger = logging.getLogger("slotkv")
    logger.addHandler(handler)
    try:
        async with aio.connect(uri) as client:
            await client.get("key")
            logger.setLevel(logging.DEBUG)
            async with aio.connect(uri) as other:
                await other.get("key")
                assert await asyncio.to_thread(handler.arrived.wait, 30)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_a_program_that_configures_nothing_sees_nothing(uri: str) -> None:
    finished = program(
        """
import sys, slotkv
with slotkv.connect(sys.argv[1]) as client:
    client.put("key", "value")
""",
        uri,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


def test_a_handler_that_fails_hurts_no_call(uri: str) -> None:
    finished = program(
        """
import logging, sys, slotkv
class Broken(logging.Handler):
    def handle(self, record):
        raise ZeroDivisionError("handler")
logging.getLogger("slotkv").addHandler(Broken())
logging.getLogger("slotkv").setLevel(1)
with slotkv.connect(sys.argv[1]) as client:
    for number in range(100):
        client.put(str(number), "value")
    assert client.count() == 100
print("ok")
""",
        uri,
    )
    assert (finished.returncode, finished.stdout) == (0, "ok\n"), finished.stderr
