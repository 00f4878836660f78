"""The Python clients of the torture: `python torture.py sync|asyncio URI SEED NUMBER FILE`. `README.md` here says what they do."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from typing import Any, TextIO

import slotkv
import slotkv.aio

#: Operations at a time.
CALLERS = 3
#: Keys in use at a time: so many for everything but increments, and so many counters.
KEYS = 8
COUNTERS = 2
#: A key is in use for so long; then another takes its place.
KEY_NS = 6_000_000_000
#: Operations of one client on one key, after which it leaves the key to others.
KEY_OPERATIONS_MAX = 150
#: Longest pause between the operations of one caller, in seconds.
PAUSE_MAX = 0.030
#: Patience of most operations, and of every fifth, in seconds.
DEADLINE = 10.0
DEADLINE_SHORT = 0.5
#: Values of one client are this times its number, and more.
VALUES = 1_000_000_000


class Operation:
    """What a caller does next; its arguments, and how its line tells it."""

    def __init__(self, key: str, call: str, method: str, arguments: list[Any], deadline: float) -> None:
        self.key = key
        self.call = call
        self.method = method
        self.arguments = arguments
        self.deadline = deadline
        self.begun = time.monotonic_ns()

    def begin(self, client: Any) -> Any:
        return getattr(client, self.method)(self.key, *self.arguments, deadline=self.deadline)

    def done(self, answer: Any) -> str:
        if self.method == "get_entry":
            return "nothing" if answer is None else f"read:{answer.version}:{int(answer.value)}"
        if self.method == "increment":
            return f"number:{answer}"
        if answer.done:
            return f"{'deleted' if self.method == 'delete' else 'written'}:{answer.version}"
        return "missing" if self.method == "delete" else f"unmet:{answer.version}"


class Worker:
    """A client's choices and its memory; callers share it."""

    def __init__(self, seed: int, number: int, file: TextIO) -> None:
        self.chance = random.Random(seed << 8 | number)
        self.value = number * VALUES
        self.file = file
        self.lock = threading.Lock()
        self.seen: dict[str, list[int]] = {}
        self.is_over = False

    def pause(self) -> float:
        return self.chance.uniform(0, PAUSE_MAX)

    def next(self) -> Operation | None:
        place = self.chance.randrange(KEYS + COUNTERS)
        generation = (time.monotonic_ns() + place * KEY_NS // (KEYS + COUNTERS)) // KEY_NS
        key = f"{'key' if place < KEYS else 'counter'}{place}.{generation}"
        with self.lock:
            seen = self.seen.setdefault(key, [0, 0])
            seen[0] += 1
            count, version = seen
            self.value += 1
            value = self.value
        if count > KEY_OPERATIONS_MAX:
            return None
        deadline = DEADLINE_SHORT if self.chance.randrange(5) == 0 else DEADLINE
        if place >= KEYS:
            if self.chance.randrange(4) == 0:
                return Operation(key, "get", "get_entry", [], deadline)
            return Operation(key, "add", "increment", [1], deadline)
        kind = self.chance.randrange(11)
        if kind < 3:
            return Operation(key, f"put:{value}", "put", [str(value)], deadline)
        if kind < 7:
            return Operation(key, "get", "get_entry", [], deadline)
        if kind == 7:
            return Operation(key, "delete", "delete", [], deadline)
        if kind == 8:
            return Operation(key, f"absent:{value}", "put_if_absent", [str(value)], deadline)
        call = f"set:{version}:{value}"
        return Operation(key, call, "compare_and_set", [str(value), version], deadline)

    def tell(self, operation: Operation, end: str) -> None:
        ended = time.monotonic_ns()
        kind, *numbers = end.split(":")
        with self.lock:
            if kind in ("written", "read"):
                self.seen[operation.key][1] = int(numbers[0])
            elif kind in ("nothing", "deleted", "missing") or end == "unmet:0":
                self.seen[operation.key][1] = 0
            self.file.write(f"{operation.key} {operation.call} {operation.begun} {ended} {end}\n")


def with_sync(uri: str, worker: Worker) -> None:
    while True:
        try:
            client = slotkv.connect(uri)
            break
        except slotkv.SlotkvError:
            time.sleep(0.1)
    print("ready", flush=True)

    def call() -> None:
        while not worker.is_over:
            time.sleep(worker.pause())
            operation = worker.next()
            if operation is None:
                continue
            try:
                end = operation.done(operation.begin(client))
            except slotkv.SlotkvError as error:
                end = error.outcome
            worker.tell(operation, end)

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    sys.stdin.read()
    worker.is_over = True
    for caller in callers:
        caller.join()
    client.close()


async def with_asyncio(uri: str, worker: Worker) -> None:
    while True:
        try:
            client = await slotkv.aio.connect(uri)
            break
        except slotkv.SlotkvError:
            await asyncio.sleep(0.1)
    print("ready", flush=True)

    async def call() -> None:
        while not worker.is_over:
            await asyncio.sleep(worker.pause())
            operation = worker.next()
            if operation is None:
                continue
            try:
                end = operation.done(await operation.begin(client))
            except slotkv.SlotkvError as error:
                end = error.outcome
            worker.tell(operation, end)

    callers = [asyncio.create_task(call()) for _ in range(CALLERS)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    worker.is_over = True
    await asyncio.gather(*callers)
    await client.close()


def main() -> None:
    mode, uri, seed, number, path = sys.argv[1:]
    with open(path, "w", encoding="ascii") as file:
        worker = Worker(int(seed), int(number), file)
        if mode == "sync":
            with_sync(uri, worker)
        else:
            asyncio.run(with_asyncio(uri, worker))


if __name__ == "__main__":
    main()
