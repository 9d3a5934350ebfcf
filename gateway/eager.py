"""Run a coroutine at once, and make a future of it only if it has to wait.

Admitting a known device needs nothing but memory, yet the same decision may wait for a look-up or a commit when the
device is new. `run_eagerly` lets one `async def` serve both: it is stepped right here, without a task, and
if it ends without waiting, its result is simply returned. If it awaits a pending future, it goes on when
that future is done. (Python 3.12 has the idea as `asyncio.eager_task_factory`; we support 3.11.)

Such a coroutine may await asyncio futures and nothing else: no `asyncio.timeout`, no `sleep`.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run_eagerly"]

T = TypeVar("T")


def run_eagerly(coroutine: Coroutine[Any, Any, T]) -> "T | asyncio.Future[T]":
    """The result, if `coroutine` had nothing to wait for; else a future of it. Its exceptions come the same way."""
    try:
        waiting_for = coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    return _Continuation(coroutine, waiting_for).outcome


class _Continuation:
    """The rest of a coroutine that is waiting."""

    __slots__ = ("_coroutine", "outcome")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waiting_for: Any) -> None:
        self._coroutine = coroutine
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._wait(waiting_for)

    def _wait(self, waiting_for: Any) -> None:
        # A future that is awaited yields itself and marks itself so that a Task can tell it from a bare
        # `yield`; whoever drives the coroutine must clear the mark (asyncio.futures, `Future.__await__`).
        waiting_for._asyncio_future_blocking = False  # noqa: SLF001
        waiting_for.add_done_callback(self._go_on)

    def _go_on(self, _done: "asyncio.Future[Any]") -> None:
        try:
            waiting_for = self._coroutine.send(None)
        except StopIteration as end:
            if not self.outcome.done():
                self.outcome.set_result(end.value)
        except asyncio.CancelledError:
            self.outcome.cancel()
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the outcome
            if not self.outcome.done():
                self.outcome.set_exception(error)
        else:
            self._wait(waiting_for)
