"""The keys that the Python loads ask for: those which `slotkv bench` and redis-benchmark wrote."""

from __future__ import annotations

import random

#: Keys of one task; it goes round them, and memory stays small beside the million that exist.
KEYS_PER_TASK = 2_000

# `slotkv bench` spreads index over number so (server/daemon/src/bench/data.rs).
_SPREAD = 618_033_988_749_894_849
_DIGITS = 12


class Keys:
    """A source of existing keys, uniform over all of them."""

    def __init__(self, records: int, tags: list[bytes]) -> None:
        self._records = records
        self._tags = tags

    @staticmethod
    def of(client: str, to: str, records: int) -> Keys:
        """Keys follow from their number; those of Redis begin with one of the three tags that redis-benchmark uses."""
        return Keys(records, [] if client == "slotkv" else _redis_tags(int(to)))

    def some(self, seed: int) -> list[bytes]:
        """Keys for one task, the same for the same seed."""
        chance = random.Random(seed)
        return [self._key(chance.randrange(self._records)) for _ in range(KEYS_PER_TASK)]

    def _key(self, number: int) -> bytes:
        if self._tags:
            number, tag = divmod(number, len(self._tags))
            return self._tags[tag] + b"%0*d" % (_DIGITS, number)
        return b"user%0*d" % (_DIGITS, number * _SPREAD % 10**_DIGITS)


def _redis_tags(port: int) -> list[bytes]:
    """The tag of each master, seen on any of its keys."""
    from redis.cluster import RedisCluster

    client = RedisCluster(host="127.0.0.1", port=port)
    keys = [client.randomkey(target_nodes=master) for master in client.get_primaries()]
    client.close()
    return [key[:5] for key in keys]
