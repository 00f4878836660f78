"""The blocking client."""

from __future__ import annotations

import array
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Cluster, program

import slotkv
from slotkv import Delete, Put, errors


def test_what_is_put_comes_back_byte_for_byte(client: slotkv.Client) -> None:
    for value in [b"", b"\0", b"blank and \xff", bytes(range(256)), b"x" * 1_000_000]:
        assert client.put("key", value)
        assert client.get("key") == value
        assert client.has("key") is True
    assert client.get("absent") is None
    assert client.has("absent") is False


@pytest.mark.parametrize(
    "form", [bytes, bytearray, memoryview, lambda value: array.array("B", value), lambda value: value.decode()]
)
def test_keys_and_values_are_anything_bytes_like_or_text(client: slotkv.Client, form) -> None:  # type: ignore[no-untyped-def]
    client.put(form("schlüssel".encode()), form("größe".encode()))
    assert client.get("schlüssel") == "größe".encode()


@pytest.mark.parametrize("key", [1, None, ["a"], 1.5, object()])
def test_other_types_are_a_type_error_that_names_them(client: slotkv.Client, key: object) -> None:
    with pytest.raises(TypeError, match=f"a key is bytes-like or str, not {type(key).__name__}"):
        client.get(key)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a value is"):
        client.put("key", key)  # type: ignore[arg-type]


def test_put_and_delete_tell_what_they_did(client: slotkv.Client) -> None:
    created = client.put("key", "1")
    assert created.status == "created" and created.done
    updated = client.put("key", "2")
    assert updated == Put("updated", updated.version) and updated.version > created.version
    deleted = client.delete("key")
    assert deleted.status == "deleted" and deleted.version > updated.version
    assert client.delete("key") == Delete("not_found", 0)
    assert not client.delete("key")


def test_an_unmet_condition_is_a_result_and_changes_nothing(client: slotkv.Client) -> None:
    assert client.update_if_present("key", "0") == Put("unmet", 0)
    version = client.put_if_absent("key", "1").version
    assert client.put_if_absent("key", "2") == Put("unmet", version)
    assert client.compare_and_set("key", "3", version + 1) == Put("unmet", version)
    assert not client.delete_if_version("key", version + 1)
    assert client.get_entry("key") == slotkv.Entry(b"1", version)
    assert client.update_if_present("key", "4").status == "updated"
    swapped = client.compare_and_set("key", "5", client.get_entry("key").version)  # type: ignore[union-attr]
    assert swapped.status == "updated"
    assert client.delete_if_version("key", swapped.version).status == "deleted"
    assert client.get_entry("key") is None


def test_a_lifetime_is_told_in_seconds_and_ends(client: slotkv.Client) -> None:
    created = client.put("key", "1", ttl=3600)
    entry = client.get_entry("key")
    assert entry is not None and entry.ttl is not None and 3500 < entry.ttl <= 3600
    assert client.compare_and_set("key", "2", created.version, ttl=60).done
    assert [item.ttl is not None and 0 < item.ttl <= 60 for item in client.scan("key")] == [True]
    assert client.expire("key", 7200).status == "updated"
    assert client.increment("key") == 3
    assert client.get_entry("key").ttl > 7000  # type: ignore[union-attr,operator]
    assert client.persist("key").done and client.get_entry("key").ttl is None  # type: ignore[union-attr]
    assert client.expire("other", 1) == client.persist("other") == Put("unmet", 0)
    assert client.put_many({"key": "4", "other": "5"}, ttl=0.05)[1].done
    for key in ("key", "other"):
        while (entry := client.get_entry(key)) is not None:
            time.sleep(entry.ttl or 0)
    assert client.update_if_present("key", "6", ttl=60) == Put("unmet", 0)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError):
            client.put("key", "7", ttl=wrong)
    with pytest.raises(errors.InvalidArgumentError, match="ttl"):
        client.expire("key", 315360001)


def test_increment_counts_from_zero_and_refuses_what_is_no_number(client: slotkv.Client) -> None:
    assert client.increment("n") == 1
    assert client.increment("n", -3) == -2
    assert client.get("n") == b"-2"
    client.put("text", "abc")
    with pytest.raises(errors.NotANumberError) as caught:
        client.increment("text")
    assert isinstance(caught.value, ValueError)
    client.put("full", str(2**63 - 1))
    with pytest.raises(errors.NumberOverflowError):
        client.increment("full")
    assert client.get("full") == str(2**63 - 1).encode()


def test_many_keys_keep_their_order_and_have_a_result_each(client: slotkv.Client) -> None:
    keys = [f"key{number}" for number in range(3000)]
    assert [put.status for put in client.put_many((key, key.upper()) for key in keys)] == ["created"] * 3000
    assert client.get_many([*reversed(keys), "absent"]) == [*(key.upper().encode() for key in reversed(keys)), None]
    assert [delete.status for delete in client.delete_many(["key1", "absent"])] == ["deleted", "not_found"]
    assert client.put_many({"a": "1", b"b": b"2"})[1].done
    assert client.get_many([]) == []
    with pytest.raises(TypeError, match="iterable of keys, not str"):
        client.get_many("key")


def test_a_failed_key_among_many_loses_no_other_result(client: slotkv.Client) -> None:
    client.put("a", "1")
    keys = ["a", "x" * 40_000, "absent"]
    with pytest.raises(errors.ManyError, match="1 of 3 keys failed") as caught:
        client.get_many(keys)
    assert caught.value.results[0] == b"1" and caught.value.results[2] is None
    assert isinstance(caught.value.errors[1], errors.TooLargeError)
    assert (caught.value.kind, caught.value.outcome) == ("TOO_LARGE", "failed")
    results = client.get_many(keys, return_errors=True)
    assert results[0] == b"1" and isinstance(results[1], errors.TooLargeError)


def test_scans_see_every_key_once_and_resume_from_any_item(client: slotkv.Client) -> None:
    keys = {f"user:{number:04}".encode() for number in range(2500)}
    client.put_many((key, b"v") for key in keys)
    client.put("other", "v")
    assert {item.key for item in client.scan("user:")} == keys
    assert [item.key for item in client.scan("user:", ordered=True)] == sorted(keys)
    assert client.count("user:") == 2500
    assert client.count() == 2501
    assert client.count(start="user:0100", end="user:0200") == 100

    seen: list[bytes] = []
    cursor = None
    while True:
        scan = client.scan("user:", page_items=100, limit=333, cursor=cursor)
        assert scan.cursor == cursor
        items = [item.key for item in scan]
        if not items:
            break
        assert len(items) <= 333
        seen += items
        cursor = scan.cursor
    assert len(seen) == 2500 and set(seen) == keys

    first = next(client.scan("user:", ordered=True, keys_only=True))
    assert (first.key, first.value, first.slot) == (b"user:0000", b"", client.slot("user:0000"))
    with pytest.raises(errors.RequestError):
        next(client.scan("user:", cursor=b"nonsense"))
    with pytest.raises(errors.InvalidArgumentError, match="another range"):
        next(client.scan("other", cursor=cursor))
    assert [item.key for item in client.dump("user:000")] == sorted(keys)[:10]


def test_namespaces_do_not_see_one_another(client: slotkv.Client) -> None:
    one = client.namespace("one")
    two = client.namespace("two")
    one.put("key", "1")
    two.put("key", "2")
    assert (one.get("key"), two.get("key"), client.get("key")) == (b"1", b"2", None)
    assert client.namespace("one").count() == 1
    with pytest.raises(errors.SlotkvError):
        client.namespace("x" * 1000)


def test_a_deadline_is_a_timeout_error_that_says_whether_the_write_may_be_there(
    cluster: Cluster, client: slotkv.Client
) -> None:
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError):
            client.get("key", deadline=wrong)
    client.put("key", "value")
    with cluster.paused():
        with pytest.raises(TimeoutError) as caught:
            client.put("key", "other", deadline=0.1)
        assert isinstance(caught.value, errors.DeadlineError)
        assert (caught.value.code, caught.value.outcome, caught.value.retryable) == (20, "unknown", False)
        with pytest.raises(errors.DeadlineError) as caught:
            client.with_deadline(0.1).get("key")
        assert caught.value.outcome == "failed"
        with pytest.raises(errors.DeadlineError) as caught:
            client.with_deadline(0.1).status()
        assert caught.value.outcome == "failed"
    assert client.get("key", deadline=30) in (b"value", b"other")


def test_the_outcome_of_a_write_that_was_not_answered_is_asked_for(cluster: Cluster, uri: str) -> None:
    with slotkv.connect(uri) as client, slotkv.connect(uri) as other:
        client.put("key", "value")
        with cluster.paused(), pytest.raises(errors.DeadlineError) as caught:
            client.put("key", "other", deadline=0.1)
        token = caught.value.token
        assert isinstance(token, bytes)
        outcome = other.outcome(token, deadline=30)
        assert outcome.status in ("updated", "not_applied")
        assert outcome.applied == bool(outcome) == (outcome.status == "updated")
        assert client.get("key", deadline=30) == (b"other" if outcome else b"value")
        assert client.outcome(token) == outcome
        with pytest.raises(errors.InvalidArgumentError) as caught_too:
            client.outcome(b"nonsense"[:0])
        assert caught_too.value.token is None
        with pytest.raises(errors.UnsupportedError):
            client.outcome(b"\x02nonsense")


def test_a_session_goes_on_where_its_token_stands(client: slotkv.Client, uri: str) -> None:
    session = client.with_session_token(b"")
    session.put("key", "value")
    with slotkv.connect(uri) as elsewhere:
        assert elsewhere.with_session_token(session.session_token()).get("key") == b"value"
    for view in (client.with_read_level("session"), client.with_read_level("linearizable"), client.with_staleness(60)):
        assert view.get("key") == b"value"
        assert view.get_many(["key"]) == [b"value"]
        assert view.count() == 1
    assert client.with_read_level("stale").has("key")
    with pytest.raises(ValueError, match="eventual"):
        client.with_read_level("eventual")  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgumentError):
        client.with_session_token(b"\x01nonsense")
    with pytest.raises(errors.UnsupportedError, match="format 2"):
        client.with_session_token(b"\x02")


def test_limits_are_errors_that_name_them(client: slotkv.Client) -> None:
    with pytest.raises(errors.InvalidArgumentError):
        client.get("")
    with pytest.raises(errors.TooLargeError, match=r"\d"):
        client.put("x" * 40_000, "")
    with pytest.raises(errors.TooLargeError, match=r"\d"):
        client.put("key", bytes(17 << 20))
    assert client.get("key") is None


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("http://localhost:1", errors.InvalidArgumentError),
        ("slotkv://localhost:notaport", errors.InvalidArgumentError),
        ("slotkv://localhost:1?colour=red", errors.InvalidArgumentError),
        ("slotkvs://localhost:1", errors.UnsupportedError),
        ("slotkv://127.0.0.1:1", errors.NoMasterError),
    ],
)
def test_a_wrong_uri_is_refused_by_name(wrong: str, error: type[errors.SlotkvError]) -> None:
    with pytest.raises(error) as caught:
        slotkv.connect(wrong, connect_timeout=0.5)
    assert caught.value.outcome == "failed"
    assert str(caught.value)


def test_a_closed_client_says_so(uri: str) -> None:
    with slotkv.connect(uri) as client:
        client.put("key", "value")
        view = client.namespace("other")
        assert not client.closed
    assert client.closed and view.closed
    client.close()
    for call in (client.get, view.get):
        with pytest.raises(errors.ClosedError):
            call("key")


def test_what_a_client_tells_about_itself(client: slotkv.Client) -> None:
    client.put("foo", "bar")
    assert client.explain("foo").hash_slot == 12182
    assert client.explain("{tag}.x").tag == b"tag"
    assert client.slot("{tag}.x") == client.slot("tag")
    explained = client.explain("foo")
    assert explained.connected and explained.shard is not None and explained.address
    stats = client.stats()
    assert stats.calls >= 1 and stats.calls_ok >= 1 and stats.members[0].address
    # A master learns a moment later than clients who leads.
    end = time.monotonic() + 30
    while {shard.state for shard in client.status().shards} != {"leader"}:
        assert time.monotonic() < end
    status = client.status()
    assert status.cluster_id == explained.cluster_id and len(status.shards) == 3
    assert sum(shard.slots for shard in status.shards) == status.slot_count
    for shard in status.shards:
        assert (shard.replicas, shard.reason, shard.loss_epoch, shard.recover) == (1, "", 0, "")
        assert shard.preferred == shard.primary
        (copy,) = shard.copies
        assert (copy.name, copy.live, copy.in_isr, [copy.name]) == (shard.primary, True, True, shard.isr)
        assert copy.state.startswith("leader") and copy.since_ms > 1.6e12 and copy.zone == ""
        assert copy.address in [member.address for member in status.members if member.name == copy.name]
    assert pickle.loads(pickle.dumps(status)) == status


def test_threads_share_a_client(client: slotkv.Client) -> None:
    def work(number: int) -> None:
        for round in range(50):
            key = f"{number}-{round}"
            client.put(key, key)
            assert client.get(key) == key.encode()
            client.increment("sum")

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))
    assert client.get("sum") == b"1600"


def test_threads_that_share_a_scan_get_every_item_once(client: slotkv.Client) -> None:
    keys = [f"{number:04}".encode() for number in range(1000)]
    client.put_many((key, b"") for key in keys)
    scan = client.scan(page_items=50)
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(lambda _: [item.key for item in scan], range(8))
    assert sorted(key for part in parts for key in part) == keys


def test_a_steady_stream_of_calls_stays_on_its_thread(client: slotkv.Client) -> None:
    client.put("key", "value")
    before = client._counters()
    for _ in range(2000):
        client.get("key")
    after = client._counters()
    assert after["calls"] - before["calls"] == 2000
    # A test machine may stop us for longer than the keeper's grace now and then.
    assert after["interruptions"] - before["interruptions"] <= 20


def test_the_interpreter_goes_on_during_a_call(client: slotkv.Client) -> None:
    # With the interpreter held, neither thread could let the other one go on.
    started, done = threading.Event(), threading.Event()

    def other() -> None:
        started.set()
        while not done.is_set():
            client.increment("n")

    thread = threading.Thread(target=other)
    thread.start()
    started.wait()
    for _ in range(200):
        client.increment("m")
    done.set()
    thread.join()
    assert client.get("m") == b"200"


INTERRUPTED = """
import signal, socket, threading
import slotkv

# Who runs in the background of a shell inherits that the signal is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A master that takes connections and never answers. Whoever is connected to it waits in a call.
server = socket.create_server(("127.0.0.1", 0))

def accept():
    connection = server.accept()
    print("waiting", flush=True)
    threading.Event().wait()

threading.Thread(target=accept, daemon=True).start()
try:
    slotkv.connect("slotkv://127.0.0.1:%d" % server.getsockname()[1], connect_timeout=100)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_control_c_ends_a_call_that_blocks() -> None:
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted\n"
    assert process.wait() == 0


BLOCKED = """
import os, signal, sys, threading
import slotkv
from slotkv import errors

signal.signal(signal.SIGINT, signal.default_int_handler)
client = slotkv.connect(sys.argv[1])
client.put("key", "value")
scan = client.scan(deadline=100)

def interrupt(number):
    # As soon as a call is under way.
    def wait():
        while client.stats().in_flight == 0:
            pass
        os.kill(os.getpid(), number)

    threading.Thread(target=wait).start()

def expect(error, body):
    try:
        body()
    except error:
        return
    raise AssertionError(f"no {error}")

print("ready", flush=True)
sys.stdin.readline()
try:
{body}
except KeyboardInterrupt:
    print("interrupted", flush=True)
# The cluster goes on.
sys.stdin.readline()
{after}
"""

BLOCKS = {
    "a get": ("""
    interrupt(signal.SIGINT)
    client.get("key", deadline=100)
""", "assert client.get('key', deadline=30) == b'value'"),
    "a page of a scan": ("""
    interrupt(signal.SIGINT)
    next(scan)
""", "assert [item.key for item in scan] == [b'key']"),
    "a handler that uses the client and the scan": ("""
    def handler(*_):
        assert scan.cursor is None
        expect(ValueError, lambda: next(scan))
        expect(errors.DeadlineError, lambda: client.get("key", deadline=0.1))
        assert client.stats().calls > 0
        raise KeyboardInterrupt

    signal.signal(signal.SIGUSR1, handler)
    interrupt(signal.SIGUSR1)
    next(scan)
""", "assert [item.key for item in scan] == [b'key']"),
    "the first call in a child": ("""
    child = os.fork()
    if child > 0:
        assert os.waitpid(child, 0)[1] == 0
        raise KeyboardInterrupt

    def handler(*_):
        try:
            client.get("key", deadline=0.1)
        except errors.DeadlineError:
            # Before the call below: the next one finds it.
            return
        except errors.UnavailableError:
            os._exit(0)

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    client.get("key", deadline=100)
    os._exit(1)
""", "assert client.get('key', deadline=30) == b'value'"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("what", BLOCKS)
def test_signals_reach_their_handlers_during(cluster: Cluster, uri: str, what: str) -> None:
    body, after = BLOCKS[what]
    text = BLOCKED.replace("{body}", body).replace("{after}", after)
    process = subprocess.Popen(
        [sys.executable, "-c", text, uri],
        env={**os.environ, "PYTHONPATH": str(Path(slotkv.__file__).resolve().parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        with process.stdin as told, process.stdout as said:
            assert said.readline() == "ready\n"
            with cluster.paused():
                print("paused", file=told, flush=True)
                assert said.readline() == "interrupted\n"
            print("going on", file=told, flush=True)
            assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            # Its child as well.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_traceparent_goes_with_the_calls_of_its_view(client: slotkv.Client) -> None:
    traced = client.with_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    traced.namespace("other").put("key", "value")
    assert client.namespace("other").get("key") == b"value"
    with pytest.raises(errors.TooLargeError, match="traceparent"):
        client.with_traceparent("0" * 1000).get("key")
    # That of a call goes before its client's.
    assert client.with_traceparent("0" * 1000).get("key", traceparent="00-1-2-01") is None
    for call in (client.get, client.has, client.delete, client.increment):
        with pytest.raises(errors.TooLargeError, match="traceparent"):
            call("key", traceparent="0" * 1000)
    with pytest.raises(errors.TooLargeError, match="traceparent"):
        next(client.scan(traceparent="0" * 1000))


def test_a_client_that_nobody_closes_goes_with_its_last_reference(uri: str) -> None:
    finished = program(
        """
import sys, threading, slotkv
client = slotkv.connect(sys.argv[1])
client.put("key", "value")
del client
client = slotkv.connect(sys.argv[1])
client.put("key", "value")
print("end")
""",
        uri,
    )
    assert (finished.returncode, finished.stdout) == (0, "end\n"), finished.stderr
