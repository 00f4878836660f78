"""A turn of an asyncio loop in which calls have come to their end.

This is Python, so that tasks which go on do so without a Rust frame below them: an interpreter that ends may kill the
thread in the middle of them.
"""

from __future__ import annotations

from ._slotkv import Bridge

__all__ = ["turn"]


def turn(bridge: Bridge) -> None:
    """Called by the loop when there are completions."""
    ended = iter(bridge.take())
    try:
        for context, callback, call in ended:
            try:
                context.run(callback, call)
            except (KeyboardInterrupt, SystemExit):
                # The loop is about to be left; whoever runs it again goes on there.
                for context, callback, call in ended:
                    bridge.event_loop.call_soon(callback, call, context=context)
                raise
            except BaseException as error:
                bridge.event_loop.call_exception_handler(
                    {"message": "Exception in callback of a slotkv call", "exception": error}
                )
    finally:
        # What the tasks asked for meanwhile goes out as one batch.
        bridge.ring()
