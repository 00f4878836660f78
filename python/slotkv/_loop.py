"""The event loop that runs here: asyncio's, or trio's behind the few methods of asyncio's that are needed."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._trio import TrioLoop

__all__ = ["running"]


def running() -> asyncio.AbstractEventLoop | TrioLoop:
    """Raises RuntimeError if none runs."""
    trio = sys.modules.get("trio")
    # Asked first: trio may itself be a guest of an asyncio loop.
    if trio is not None and trio.lowlevel.in_trio_task():
        from ._trio import TrioLoop

        return TrioLoop.running()
    return asyncio.get_running_loop()
