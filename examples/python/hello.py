"""python examples/python/hello.py [URI]

Put, get and delete, and what they answer.
"""

import sys

import slotkv

URI = sys.argv[1] if len(sys.argv) > 1 else "slotkv://127.0.0.1:7700"

with slotkv.connect(URI) as client:
    client.delete("hello")

    assert client.put("hello", "world").status == "created"
    assert client.put("hello", "slotkv").status == "updated"

    assert client.get("hello") == b"slotkv"
    assert client.get("nobody") is None

    # Any bytes will do, as a key and as a value; str stands for its UTF-8, and a value may be empty.
    client.put(b"\x00\xff key", b"")
    assert client.get(b"\x00\xff key") == b""
    client.delete(b"\x00\xff key")

    assert client.delete("hello").status == "deleted"
    assert client.delete("hello").status == "not_found"

print("hello: created, updated, read, deleted")
