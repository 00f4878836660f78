"""What a driver is told, and how answers look as text: the twin of `src/step.rs` and `src/text.rs`."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import slotkv

SHOWN_BYTES_MAX = 256

Argument = bytes | int


@dataclass
class Step:
    operation: str
    arguments: list[Argument] = field(default_factory=list)
    options: dict[str, Argument] = field(default_factory=dict)

    def bytes(self, name: str) -> bytes | None:
        value = self.options.get(name)
        return value if isinstance(value, bytes) else None

    def number(self, name: str) -> int | None:
        value = self.options.get(name)
        return value if isinstance(value, int) else None

    def key(self) -> bytes:
        return self._bytes_at(0)

    def value(self) -> bytes:
        return self._bytes_at(1)

    def number_at(self, at: int) -> int:
        value = self.arguments[at]
        assert isinstance(value, int)
        return value

    def all(self) -> list[bytes]:
        return [argument for argument in self.arguments if isinstance(argument, bytes)]

    def _bytes_at(self, at: int) -> bytes:
        value = self.arguments[at]
        assert isinstance(value, bytes)
        return value


def parse(line: str) -> Step:
    operation, *words = line.split(" ")
    step = Step(operation)
    for word in words:
        name, colon, value = word.partition(":")
        if colon:
            step.options[name] = _argument(value)
        else:
            step.arguments.append(_argument(word))
    return step


def _argument(word: str) -> Argument:
    match word[0]:
        case "=":
            return bytes.fromhex(word[1:])
        case "*":
            byte, count = word[1:].split("*")
            return bytes.fromhex(byte) * int(count)
        case "#":
            return int(word[1:])
    raise ValueError(word)


def of_bytes(value: bytes) -> str:
    if len(value) <= SHOWN_BYTES_MAX:
        return f"={value.hex()}"
    return f"~{len(value)}:{zlib.crc32(value):08x}"


def of_value(value: bytes | None) -> str:
    return "none" if value is None else f"value {of_bytes(value)}"


def of_entry(entry: slotkv.Entry | None) -> str:
    return "none" if entry is None else f"entry {entry.version} {of_bytes(entry.value)}"


def of_put(put: slotkv.Put) -> str:
    return f"{put.status} {put.version}"


def of_delete(delete: slotkv.Delete) -> str:
    return "not_found" if delete.status == "not_found" else f"{delete.status} {delete.version}"


def of_error(error: slotkv.SlotkvError) -> str:
    return f"error {error.code} {error.kind} {error.outcome} {error.retry}"


def of_many(results: Iterable[str]) -> str:
    return f"many[{';'.join(results)}]"


def of_items(items: Sequence[slotkv.Item], end: str) -> str:
    texts = (f"{item.version} {of_bytes(item.key)} {of_bytes(item.value)}" for item in items)
    return f"items[{';'.join(texts)}] {end}"
