"""python examples/python/scan.py [URI]

Keys by prefix, in slot order (cheap) and in key order (merged), and going on from a cursor.
"""

import sys

import slotkv

URI = sys.argv[1] if len(sys.argv) > 1 else "slotkv://127.0.0.1:7700"

with slotkv.connect(URI, namespace="example-scan") as client:
    people = [f"people/{number:04}".encode() for number in range(500)]
    places = [f"places/{number:04}".encode() for number in range(100)]
    client.put_many((key, key) for key in people + places)

    # Slot order: every key once, whatever is written meanwhile.
    assert client.count("people/") == 500
    scan = client.scan("people/", limit=200)
    found = [item.key for item in scan]

    # A cursor is plain bytes: another process, also in another language, can go on from it.
    found += [item.key for item in client.scan("people/", cursor=scan.cursor)]
    assert sorted(found) == people

    # Key order, keys alone.
    keys = [item.key for item in client.scan(start="people/0490", end="places/0010", ordered=True, keys_only=True)]
    assert keys == people[490:] + places[:10]

    client.delete_many(people + places)

print(f"scan: {len(found)} keys in two parts, {len(keys)} in key order")
