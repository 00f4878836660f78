"""The drivers of the Python clients: `python conform.py sync|asyncio URI`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import Any, Protocol

import slotkv
import slotkv.aio
from step import Step, of_delete, of_entry, of_error, of_items, of_many, of_put, of_value, parse



class Surface(Protocol):
    """What differs: how a client is made, a call is carried through, and a scan is gone through."""

    def connect(self, uri: str) -> Any: ...
    def through(self, call: Any) -> Any: ...
    def take(self, scan: Any) -> list[slotkv.Item]: ...
    def cancelled(self, begin: Any) -> str: ...


class Sync:
    def connect(self, uri: str) -> Any:
        return slotkv.connect(uri)

    def through(self, call: Any) -> Any:
        return call

    def take(self, scan: Any) -> list[slotkv.Item]:
        return list(scan)

    def cancelled(self, begin: Any) -> str:
        # Nobody is left to cancel while the only thread waits.
        return "unsupported"


class Asyncio:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def connect(self, uri: str) -> Any:
        async def connect() -> Any:
            return await slotkv.aio.connect(uri)

        return self.loop.run_until_complete(connect())

    def through(self, call: Any) -> Any:
        if not isinstance(call, Awaitable):
            return call

        async def through() -> Any:
            return await call

        return self.loop.run_until_complete(through())

    def take(self, scan: Any) -> list[slotkv.Item]:
        async def take() -> list[slotkv.Item]:
            return [item async for item in scan]

        return self.loop.run_until_complete(take())

    def cancelled(self, begin: Any) -> str:
        async def cancelled() -> str:
            call = asyncio.ensure_future(begin())
            await asyncio.sleep(0)
            call.cancel()
            try:
                await call
            except asyncio.CancelledError:
                return "cancelled"
            return "ended"

        return self.loop.run_until_complete(cancelled())


class Driver:
    def __init__(self, surface: Surface, uri: str) -> None:
        self.surface = surface
        self.uri = uri
        self.client = surface.connect(uri)
        # Range and cursor of the last scan that did not come to its end.
        self.last_scan: tuple[dict[str, Any], bytes | None] | None = None

    def carry_out(self, step: Step) -> str:
        try:
            return self.told(step)
        except slotkv.SlotkvError as error:
            return of_error(error)

    def told(self, step: Step) -> str:
        client, through = self.client, self.surface.through
        namespace, deadline_ms = step.bytes("namespace"), step.number("deadline_ms")
        if namespace is not None:
            client = client.namespace(namespace.decode())
        if deadline_ms is not None:
            client = client.with_deadline(deadline_ms / 1000)
        view_traceparent, traceparent = step.bytes("view_traceparent"), step.bytes("traceparent")
        if view_traceparent is not None:
            client = client.with_traceparent(view_traceparent.decode())
        told = {} if traceparent is None else {"traceparent": traceparent.decode()}
        if step.number("closed") == 1:
            client = self.surface.connect(self.uri)
            through(client.close())
        if step.number("cancel") == 1:
            return self.surface.cancelled(lambda: client.get(step.key()))
        match step.operation:
            case "connect":
                through(self.surface.connect(step.key().decode()).close())
                return "done"
            case "get":
                return of_value(through(client.get(step.key(), **told)))
            case "get_entry":
                return of_entry(through(client.get_entry(step.key(), **told)))
            case "has":
                return str(through(client.has(step.key()))).lower()
            case "put" | "put_if_absent" | "update_if_present":
                return of_put(through(getattr(client, step.operation)(step.key(), step.value())))
            case "compare_and_set":
                return of_put(through(client.compare_and_set(step.key(), step.value(), step.number_at(2))))
            case "delete":
                return of_delete(through(client.delete(step.key())))
            case "delete_if_version":
                return of_delete(through(client.delete_if_version(step.key(), step.number_at(1))))
            case "increment":
                return f"number {through(client.increment(step.key(), step.number_at(1)))}"
            case "get_many":
                return self.many(client.get_many(step.all(), return_errors=True, **told), of_value)
            case "put_many":
                words = step.all()
                pairs = list(zip(words[::2], words[1::2]))
                return self.many(client.put_many(pairs, return_errors=True), of_put)
            case "delete_many":
                return self.many(client.delete_many(step.all(), return_errors=True), of_delete)
            case "count":
                bounds = {name: step.bytes(name) for name in ("prefix", "start", "end")}
                return f"count {through(client.count(**bounds))}"
            case "scan":
                bounds = {name: step.bytes(name) for name in ("prefix", "start", "end")}
                flags = {name: step.number(name) == 1 for name in ("ordered", "keys_only")}
                return self.scan(client, step, {**bounds, **flags, "page_items": step.number("page_items") or 0}, None)
            case "scan_on":
                if self.last_scan is None:
                    return "no scan"
                return self.scan(client, step, *self.last_scan)
            case "dump":
                return of_items(through(client.dump(step.bytes("prefix"))), "end")
            case "slot":
                return f"slot {client.slot(step.key())}"
        return "unknown"

    def scan(self, client: Any, step: Step, span: dict[str, Any], cursor: bytes | None) -> str:
        limit = step.number("limit")
        scan = client.scan(**span, limit=limit, cursor=cursor)
        items = self.surface.take(scan)
        is_complete = limit is None or len(items) < limit
        self.last_scan = None if is_complete else (span, scan.cursor)
        return of_items(items, "end" if is_complete else "cursor")

    def many(self, call: Any, text: Any) -> str:
        results = self.surface.through(call)
        return of_many(
            of_error(result) if isinstance(result, slotkv.SlotkvError) else text(result) for result in results
        )

    def close(self) -> None:
        self.surface.through(self.client.close())


def main() -> None:
    surface: Surface = {"sync": Sync, "asyncio": Asyncio}[sys.argv[1]]()
    driver = Driver(surface, sys.argv[2])
    for line in sys.stdin:
        print(driver.carry_out(parse(line.rstrip("\n"))), flush=True)
    driver.close()


if __name__ == "__main__":
    main()
