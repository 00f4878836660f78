"""What a driver is told, and how answers look as text: the twin of `src/step.rs` and `src/text.rs`."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import slotkv

SHOWN_BYTES_MAX = 256

#: What stands for `!name`.
ODD: dict[str, Any] = {
    "none": None,
    "number": 7,
    "fraction": 1.5,
    "nan": float("nan"),
    "text": "7",
    "flag": True,
    "zero": 0,
    "negative": -1,
    "huge": 2**64,
    "list": [b"key"],
    "object": object(),
    "broken_text": "\ud800",
}


@dataclass
class Step:
    operation: str
    #: Bytes, numbers, and things of wrong types.
    arguments: list[Any] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    #: The names of options that are of a wrong type, and "" if an argument is.
    odd: set[str] = field(default_factory=set)

    def option(self, name: str) -> Any:
        return self.options.get(name)

    def flag(self, name: str) -> Any:
        value = self.options.get(name)
        return value if name in self.odd else value == 1

    def all(self) -> Any:
        return self.options.get("whole", self.arguments)


def parse(line: str) -> Step:
    operation, *words = line.split(" ")
    step = Step(operation)
    for word in words:
        name, colon, value = word.rpartition(":")
        if value[0] == "!":
            step.odd.add(name)
        if colon:
            step.options[name] = _argument(value)
        else:
            step.arguments.append(_argument(word))
    return step


def _argument(word: str) -> Any:
    match word[0]:
        case "=":
            return bytes.fromhex(word[1:])
        case "*":
            byte, count = word[1:].split("*")
            return bytes.fromhex(byte) * int(count)
        case "#":
            return int(word[1:])
        case "!":
            return ODD[word[1:]]
    raise ValueError(word)


def of_bytes(value: bytes) -> str:
    if len(value) <= SHOWN_BYTES_MAX:
        return f"={value.hex()}"
    return f"~{len(value)}:{zlib.crc32(value):08x}"


def of_value(value: bytes | None) -> str:
    return "none" if value is None else f"value {of_bytes(value)}"


def of_ttl(ttl: float | None) -> str:
    """In hours, so that it is the same for all who ask within some minutes."""
    return "" if ttl is None else f" ttl {round(ttl / 3600)}"


def of_entry(entry: slotkv.Entry | None) -> str:
    return "none" if entry is None else f"entry {entry.version} {of_bytes(entry.value)}{of_ttl(entry.ttl)}"


def of_put(put: slotkv.Put) -> str:
    return f"{put.status} {put.version}"


def of_delete(delete: slotkv.Delete) -> str:
    return "not_found" if delete.status == "not_found" else f"{delete.status} {delete.version}"


def of_error(error: slotkv.SlotkvError) -> str:
    return f"error {error.code} {error.kind} {error.outcome} {error.retry}"


def of_many(results: Iterable[str]) -> str:
    return f"many[{';'.join(results)}]"


def of_items(items: Sequence[slotkv.Item], end: str) -> str:
    texts = (
        f"{item.version} {of_bytes(item.key)} {of_bytes(item.value)}{of_ttl(item.ttl)}" for item in items
    )
    return f"items[{';'.join(texts)}] {end}"
