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
