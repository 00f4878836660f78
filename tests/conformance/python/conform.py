"""The drivers of the Python clients: `python conform.py sync|asyncio URI`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable
from typing import Any, Protocol

import slotkv
import slotkv.aio
from step import Step, of_delete, of_entry, of_error, of_items, of_many, of_put, of_value, parse


class Surface(Protocol):
    """What differs: how a client is made, a call is carried through, and a scan is gone through."""

    def connect(self, uri: str, **options: Any) -> Any: ...
    def through(self, call: Any) -> Any: ...
    def take(self, scan: Any) -> list[slotkv.Item]: ...
    def cancelled(self, begin: Any) -> str: ...


class Sync:
    def connect(self, uri: str, **options: Any) -> Any:
        return slotkv.connect(uri, **options)

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

    def connect(self, uri: str, **options: Any) -> Any:
        async def connect() -> Any:
            return await slotkv.aio.connect(uri, **options)

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
        # Of the last error that had one.
        self.last_token: bytes | None = None

    def carry_out(self, step: Step) -> str:
        try:
            return self.told(step)
        except slotkv.SlotkvError as error:
            self.last_token = error.token or self.last_token
            return "refused" if step.odd and error.kind == "INVALID_ARGUMENT" else of_error(error)
        except (TypeError, ValueError, OverflowError):
            # Of bytes and numbers in their places it would be a mistake.
            if not step.odd:
                raise
            return "refused"

    def connect(self, uri: str, is_unknown: bool) -> Any:
        return self.surface.connect(uri, **({"unknown": 1} if is_unknown else {}))

    def told(self, step: Step) -> str:
        client, through = self.client, self.surface.through
        namespace, deadline_ms = step.option("namespace"), step.option("deadline_ms")
        if "namespace" in step.options:
            client = client.namespace(namespace.decode() if isinstance(namespace, bytes) else namespace)
        if "deadline_ms" in step.options:
            client = client.with_deadline(deadline_ms if "deadline_ms" in step.odd else deadline_ms / 1000)
        if "view_traceparent" in step.options:
            client = client.with_traceparent(step.option("view_traceparent").decode())
        if "read_level" in step.options:
            client = client.with_read_level(step.option("read_level").decode())
        if "staleness_ms" in step.options:
            client = client.with_staleness(step.option("staleness_ms") / 1000)
        traceparent = step.option("traceparent")
        told = {} if traceparent is None else {"traceparent": traceparent.decode()}
        ttl: dict[str, Any] = {}
        if "ttl_ms" in step.options:
            ttl_ms = step.option("ttl_ms")
            ttl = {"ttl": ttl_ms if "ttl_ms" in step.odd else ttl_ms / 1000}
        first, second, third = (*step.arguments, None, None, None)[:3]
        if step.flag("closed"):
            client = self.surface.connect(self.uri)
            through(client.close())
        if step.flag("cancel"):
            return self.surface.cancelled(lambda: client.get(first))
        match step.operation:
            case "connect":
                uri = first.decode() if isinstance(first, bytes) else first
                through(self.connect(uri, "unknown" in step.options).close())
                return "done"
            case "get":
                return of_value(through(client.get(first, **told)))
            case "get_entry":
                return of_entry(through(client.get_entry(first, **told)))
            case "has":
                return str(through(client.has(first))).lower()
            case "put" | "put_if_absent" | "update_if_present":
                return of_put(through(getattr(client, step.operation)(first, second, **ttl)))
            case "compare_and_set":
                return of_put(through(client.compare_and_set(first, second, third, **ttl)))
            case "expire":
                lifetime = second if "" in step.odd else second / 1000
                return of_put(through(client.expire(first, lifetime)))
            case "persist":
                return of_put(through(client.persist(first)))
            case "gone":
                while through(client.has(first)):
                    time.sleep(0.005)
                return "gone"
            case "delete":
                return of_delete(through(client.delete(first)))
            case "delete_if_version":
                return of_delete(through(client.delete_if_version(first, second)))
            case "increment":
                return f"number {through(client.increment(first, second))}"
            case "outcome":
                token = self.last_token if first is None else first
                if token is None:
                    return "no token"
                outcome = through(client.outcome(token))
                return f"outcome {outcome.status} {outcome.version} {outcome.number}"
            case "get_many":
                return self.many(client.get_many(step.all(), return_errors=True, **told), of_value)
            case "put_many":
                words = step.arguments
                pairs = step.options.get("whole", list(zip(words[::2], words[1::2])))
                return self.many(client.put_many(pairs, return_errors=True, **ttl), of_put)
            case "delete_many":
                return self.many(client.delete_many(step.all(), return_errors=True), of_delete)
            case "count":
                bounds = {name: step.option(name) for name in ("prefix", "start", "end")}
                return f"count {through(client.count(**bounds))}"
            case "scan":
                bounds = {name: step.option(name) for name in ("prefix", "start", "end")}
                flags = {name: step.flag(name) for name in ("ordered", "keys_only")}
                span = {**bounds, **flags, "page_items": step.options.get("page_items", 0)}
                return self.scan(client, step, span, step.option("cursor"))
            case "scan_on":
                if self.last_scan is None:
                    return "no scan"
                return self.scan(client, step, *self.last_scan)
            case "dump":
                return of_items(through(client.dump(step.option("prefix"))), "end")
            case "slot":
                return f"slot {client.slot(first)}"
        return "unknown"

    def scan(self, client: Any, step: Step, span: dict[str, Any], cursor: bytes | None) -> str:
        limit = step.option("limit")
        scan = client.scan(**span, limit=limit, cursor=cursor)
        items = self.surface.take(scan)
        if step.odd:
            return "accepted"
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
