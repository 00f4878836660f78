"""What programs write, for mypy and pyright: never run, only checked."""

import asyncio
from typing import Literal

from typing_extensions import assert_type

import slotkv
from slotkv import aio
from slotkv.errors import SlotkvError


def blocking(uri: str) -> None:
    with slotkv.connect(uri, deadline=2, namespace="app") as client:
        assert_type(client.get("key"), bytes | None)
        assert_type(client.get_entry(b"key"), slotkv.Entry | None)
        put = client.put("key", bytearray(b"value"), deadline=0.5)
        assert_type(put.status, Literal["created", "updated", "unmet"])
        assert_type(client.compare_and_set("key", memoryview(b"v"), put.version), slotkv.Put)
        assert_type(client.increment("n"), int)
        assert_type(client.get_many(["a", b"b"]), list[bytes | None])
        assert_type(client.get_many({"a"}, return_errors=True), list[bytes | None | SlotkvError])
        assert_type(client.put_many({"a": b"1"}), list[slotkv.Put])
        assert_type(client.put_many([("a", "1")]), list[slotkv.Put])
        assert_type(client.delete_many(key for key in ("a", "b")), list[slotkv.Delete])
        assert_type([item.key for item in client.scan("a", limit=3)], list[bytes])
        assert_type(client.namespace("other").with_deadline(1.5), slotkv.Client)
        assert_type(client.status().shards[0].isr, list[str])
        assert_type(client.stats().members[0].connected, bool)
        match client.delete("key"):
            case slotkv.Delete("deleted", version):
                assert_type(version, int)
            case _:
                pass
    try:
        slotkv.connect("slotkv://nowhere")
    except slotkv.errors.NoMasterError as error:
        assert_type(error.outcome, Literal["failed", "unknown"])
        assert_type(error.retryable, bool)


async def concurrent(uri: str) -> None:
    async with aio.connect(uri) as client:
        assert_type(client, aio.Client)
        assert_type(await client.get("key"), bytes | None)
        a, b = await asyncio.gather(client.get("a"), client.has("b"))
        assert_type(a, bytes | None)
        assert_type(b, bool)
        task = asyncio.create_task(client.increment("n", 2))
        assert_type(await task, int)
        assert_type(await asyncio.wait_for(client.put("a", "b"), 1), slotkv.Put)
        call = client.get_many(["a"])
        call.add_done_callback(lambda call: print(call.result()))
        assert_type(call.cancel(), bool)
        async for item in client.scan(keys_only=True):
            assert_type(item, slotkv.Item)
    other = await aio.connect(uri)
    await other.close()


def every_result(client: slotkv.Client) -> None:
    assert_type(client.get("k"), bytes | None)
    assert_type(client.get_entry("k"), slotkv.Entry | None)
    assert_type(client.has("k"), bool)
    assert_type(client.put("k", "v"), slotkv.Put)
    assert_type(client.put_if_absent("k", "v"), slotkv.Put)
    assert_type(client.update_if_present("k", "v"), slotkv.Put)
    assert_type(client.compare_and_set("k", "v", 1), slotkv.Put)
    assert_type(client.delete("k"), slotkv.Delete)
    assert_type(client.delete_if_version("k", 1), slotkv.Delete)
    assert_type(client.increment("k", 2), int)
    assert_type(client.expire("k", 1.5), slotkv.Put)
    assert_type(client.persist("k"), slotkv.Put)
    assert_type(client.outcome(b"t"), slotkv.WriteOutcome)
    assert_type(client.get_many(["k"]), list[bytes | None])
    assert_type(client.get_many(["k"], return_errors=True), list[bytes | None | SlotkvError])
    assert_type(client.put_many({"k": "v"}), list[slotkv.Put])
    assert_type(client.put_many({"k": "v"}, return_errors=True), list[slotkv.Put | SlotkvError])
    assert_type(client.delete_many(["k"]), list[slotkv.Delete])
    assert_type(client.delete_many(["k"], return_errors=True), list[slotkv.Delete | SlotkvError])
    assert_type(client.count("k"), int)
    assert_type(client.scan("k"), slotkv.Scan)
    assert_type(client.scan("k").cursor, bytes | None)
    assert_type(next(client.scan("k")), slotkv.Item)
    assert_type(client.dump("k"), list[slotkv.Item])
    assert_type(client.slot("k"), int)
    assert_type(client.explain("k"), slotkv.Explain)
    assert_type(client.stats(), slotkv.Stats)
    assert_type(client.status(), slotkv.ClusterStatus)
    assert_type(client.namespace("n"), slotkv.Client)
    assert_type(client.with_deadline(1), slotkv.Client)
    assert_type(client.with_traceparent("t"), slotkv.Client)
    assert_type(client.with_read_level("session"), slotkv.Client)
    assert_type(client.with_staleness(0.5), slotkv.Client)
    assert_type(client.with_session_token(client.session_token()), slotkv.Client)
    assert_type(client.session_token(), bytes)
    assert_type(client.close(), None)
    assert_type(client.closed, bool)


async def every_awaited_result(client: aio.Client) -> None:
    assert_type(client.get("k"), aio.Call[bytes | None])
    assert_type(await client.get("k"), bytes | None)
    assert_type(await client.get_entry("k"), slotkv.Entry | None)
    assert_type(await client.has("k"), bool)
    assert_type(await client.put("k", "v"), slotkv.Put)
    assert_type(await client.put_if_absent("k", "v"), slotkv.Put)
    assert_type(await client.update_if_present("k", "v"), slotkv.Put)
    assert_type(await client.compare_and_set("k", "v", 1), slotkv.Put)
    assert_type(await client.delete("k"), slotkv.Delete)
    assert_type(await client.delete_if_version("k", 1), slotkv.Delete)
    assert_type(await client.increment("k", 2), int)
    assert_type(await client.expire("k", 1.5), slotkv.Put)
    assert_type(await client.persist("k"), slotkv.Put)
    assert_type(await client.outcome(b"t"), slotkv.WriteOutcome)
    assert_type(await client.get_many(["k"]), list[bytes | None])
    assert_type(await client.get_many(["k"], return_errors=True), list[bytes | None | SlotkvError])
    assert_type(await client.put_many({"k": "v"}), list[slotkv.Put])
    assert_type(await client.put_many({"k": "v"}, return_errors=True), list[slotkv.Put | SlotkvError])
    assert_type(await client.delete_many(["k"]), list[slotkv.Delete])
    assert_type(await client.delete_many(["k"], return_errors=True), list[slotkv.Delete | SlotkvError])
    assert_type(await client.count("k"), int)
    assert_type(client.scan("k"), aio.Scan)
    assert_type(client.scan("k").cursor, bytes | None)
    assert_type(await client.scan("k").__anext__(), slotkv.Item)
    assert_type(await client.dump("k"), list[slotkv.Item])
    assert_type(client.slot("k"), int)
    assert_type(client.explain("k"), slotkv.Explain)
    assert_type(client.stats(), slotkv.Stats)
    assert_type(await client.status(), slotkv.ClusterStatus)
    assert_type(client.namespace("n"), aio.Client)
    assert_type(client.with_deadline(1), aio.Client)
    assert_type(client.with_traceparent("t"), aio.Client)
    assert_type(client.with_read_level("stale"), aio.Client)
    assert_type(client.with_staleness(0.5), aio.Client)
    assert_type(client.with_session_token(client.session_token()), aio.Client)
    assert_type(client.session_token(), bytes)
    assert_type(await client.close(), None)
    call = client.get("k")
    assert_type(call.result(), bytes | None)
    assert_type(call.exception(), BaseException | None)
    assert_type(call.cancel(), bool)
    assert_type(call.cancelled(), bool)
    assert_type(call.done(), bool)
    assert_type(call.add_done_callback(print), None)
    assert_type(call.remove_done_callback(print), int)
    assert_type(call.get_loop(), asyncio.AbstractEventLoop)
    assert_type(call.close(), None)
