"""python examples/python/many.py [URI]

Thousands of keys at once. The client sends each key to its owner, many in one frame; every key has its own result, in
the order of the keys.
"""

import sys

import slotkv

URI = sys.argv[1] if len(sys.argv) > 1 else "slotkv://127.0.0.1:7700"

with slotkv.connect(URI, namespace="example-many") as client:
    records = {f"user:{number}".encode(): f"value {number}".encode() for number in range(10_000)}
    client.delete_many(records)

    puts = client.put_many(records)
    assert all(put.status == "created" for put in puts)
    assert client.get_many(records) == list(records.values())

    # One key past its limit spoils nothing for the others.
    puts_or_errors = client.put_many(
        [("short", "a"), ("x" * 40_000, "b"), ("also short", "c")], return_errors=True
    )
    first, error, last = puts_or_errors
    assert not isinstance(first, slotkv.SlotkvError) and not isinstance(last, slotkv.SlotkvError)
    assert isinstance(error, slotkv.SlotkvError)
    assert (error.kind, error.outcome) == ("TOO_LARGE", "failed")
    print(f"refused: {error}")

    client.delete_many([*records, "short", "also short"])

print(f"many: {len(records)} keys written, read and deleted")
