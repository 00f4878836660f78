"""What a load took: time, CPU of this process and of the servers, latency percentiles."""

from __future__ import annotations

import json
import os
import time

#: Process ids of the servers, comma-separated; `cargo xtask bench` sets it.
SERVERS_VARIABLE = "BENCH_SERVER_PIDS"

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Measure:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._servers = [int(pid) for pid in os.environ.get(SERVERS_VARIABLE, "").split(",") if pid]
        self._servers_start = self._servers_seconds()
        self._client_start = time.process_time()
        self._start = time.perf_counter()

    def report(self, latencies: list[float]) -> str:
        """One line of JSON; `latencies` in seconds, one per operation."""
        seconds = time.perf_counter() - self._start
        client = time.process_time() - self._client_start
        servers = self._servers_seconds() - self._servers_start
        ordered = sorted(latencies)
        return json.dumps(
            {
                "operations": len(ordered),
                "seconds": seconds,
                "client_cpu_seconds": client,
                "servers_cpu_seconds": servers,
                "p50_us": ordered[len(ordered) // 2] * 1e6,
                "p99_us": ordered[len(ordered) * 99 // 100] * 1e6,
            }
        )

    def _servers_seconds(self) -> float:
        return sum(_ticks(pid) for pid in self._servers) / _TICKS_PER_SECOND


def _ticks(pid: int) -> int:
    """User and system time, fields 14 and 15; the name in field 2 may hold blanks."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
