"""A run of trio as the event loop of clients.

It has those methods of asyncio's loops that a bridge calls, and `wait_for_call`, by which a trio task waits. Two system
tasks stand behind it, which end with the run: one for each watched descriptor, one for what is to be called soon.

    async with slotkv.aio.connect("slotkv://localhost:7700") as client:
        with trio.fail_after(1):
            await client.get("key")
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task

from ._slotkv import Call
from .errors import CallCancelledError

__all__ = ["TrioLoop"]


class TrioLoop:
    """See the module's documentation."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._soon: deque[tuple[Context, Callable[..., object], tuple[Any, ...]]] = deque()
        #: The task that calls what is in `_soon`, while it waits for something to be there.
        self._caller: Task | None = None
        self._watches: dict[int, trio.CancelScope] = {}
        self._is_closed = False
        trio.lowlevel.spawn_system_task(self._call_what_is_soon, name="slotkv")

    @staticmethod
    def running() -> TrioLoop:
        """That of this run."""
        try:
            return _loop.get()
        except LookupError:
            made = TrioLoop()
            _loop.set(made)
            return made

    async def wait_for_call(self, call: Call[Any]) -> Any:
        """The call's result. Cancelling the task that waits gives the call up."""
        if trio.lowlevel.current_trio_token() is not self._token:
            raise RuntimeError("a call of slotkv is awaited in another run of trio than its own")
        if call.done():
            await trio.lowlevel.checkpoint()
        else:
            task = trio.lowlevel.current_task()
            waits = True

            def ended(_: object) -> None:
                nonlocal waits
                if waits:
                    waits = False
                    trio.lowlevel.reschedule(task)

            def abort(_: RaiseCancelT) -> Abort:
                nonlocal waits
                waits = False
                call.remove_done_callback(ended)
                call.cancel()
                return Abort.SUCCEEDED

            call.add_done_callback(ended)
            await trio.lowlevel.wait_task_rescheduled(abort)
        if call.cancelled():
            raise CallCancelledError("the call was cancelled")
        return call.result()

    def add_reader(self, fd: int, callback: Callable[..., object], *arguments: Any) -> None:
        scope = self._watches[fd] = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._watch, scope, fd, callback, arguments, name="slotkv")

    def remove_reader(self, fd: int) -> None:
        scope = self._watches.pop(fd, None)
        if scope is not None and not self._is_closed:
            scope.cancel()

    def call_soon(
        self, callback: Callable[..., object], *arguments: Any, context: Context | None = None
    ) -> None:
        """In the next turn; from the run's thread only."""
        if self._is_closed:
            raise RuntimeError("the run of trio has ended")
        self._soon.append((context or copy_context(), callback, arguments))
        if self._caller is not None:
            trio.lowlevel.reschedule(self._caller)
            self._caller = None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        logging.getLogger("slotkv").error("%s", context["message"], exc_info=context.get("exception"))

    def is_closed(self) -> bool:
        return self._is_closed

    async def _watch(
        self, scope: trio.CancelScope, fd: int, callback: Callable[..., object], arguments: tuple[Any, ...]
    ) -> None:
        with scope:
            while True:
                await trio.lowlevel.wait_readable(fd)
                self._call(copy_context(), callback, arguments)

    async def _call_what_is_soon(self) -> None:
        def abort(_: RaiseCancelT) -> Abort:
            self._caller = None
            return Abort.SUCCEEDED

        try:
            while True:
                if not self._soon:
                    self._caller = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(abort)
                # What the calls themselves ask for is for the next turn.
                for _ in range(len(self._soon)):
                    self._call(*self._soon.popleft())
                await trio.lowlevel.checkpoint()
        finally:
            self._is_closed = True

    def _call(self, context: Context, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        # An error in a system task would end the run.
        try:
            context.run(callback, *arguments)
        except BaseException as error:
            self.call_exception_handler(
                {"message": "Exception in callback of a slotkv call", "exception": error}
            )


_loop: trio.lowlevel.RunVar[TrioLoop] = trio.lowlevel.RunVar("slotkv")
