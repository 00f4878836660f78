"""The records of a JSON Lines file, as `slotkv import` reads them, and what the demo's clients print."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

#: Records of a chunk, unless their values are large.
CHUNK_RECORDS = 2000
#: Bytes of values of a chunk.
CHUNK_BYTES = 16 << 20

Record = tuple[bytes, bytes]


def chunks(file: str) -> Iterator[list[Record]]:
    """The records, in chunks bounded by count and by bytes."""
    chunk: list[Record] = []
    size = 0
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            if "slotkv_export" in fields:
                continue
            record = (_bytes(fields, "key"), _bytes(fields, "value"))
            chunk.append(record)
            size += len(record[1])
            if len(chunk) == CHUNK_RECORDS or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


def _bytes(fields: dict[str, str], name: str) -> bytes:
    text = fields.get(name)
    return base64.b64decode(fields[f"{name}_base64"]) if text is None else text.encode()


class Tally:
    """What was found, and the time spent in the client."""

    def __init__(self) -> None:
        self.done = 0
        self.records = 0
        self.different = 0
        self.seconds = 0.0

    def compare(self, chunk: list[Record], values: list[bytes | None]) -> None:
        """Counts the keys that exist and those whose value is another."""
        for (_, expected), value in zip(chunk, values, strict=True):
            if value is not None:
                self.records += 1
                self.different += value != expected

    def progress(self, chunk: list[Record]) -> None:
        """For the progress bar of `cargo xtask demo`."""
        self.done += len(chunk)
        print(json.dumps({"done": self.done}), flush=True)

    def finish(self) -> None:
        """The last line."""
        print(json.dumps({"records": self.records, "different": self.different, "seconds": self.seconds}))
