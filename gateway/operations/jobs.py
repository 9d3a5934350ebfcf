"""Verbs that work through many things: they are fed by the chunk, and tell how far they are.

A verb that has a parameter `job` is one. It takes the next chunk when it has done with the one before it, so whoever feeds
it, from a file or over a socket, never gets ahead of the store. It reports after each chunk, and what went wrong with single
things goes into the reports, so that neither side has to keep it. To end a job early is to cancel it: what it has
changed by then is durable and stays.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol

__all__ = ["CHUNK", "Job", "LocalJob"]

CHUNK = 500
"""Things in one chunk: about what shares a commit."""


class Job(Protocol):
    """What a job is given by whoever asked for it."""

    def chunks(self) -> AsyncIterator[list[Any]]:
        """The things to work through, JSON values, as they come. Bounded: a chunk has at most `CHUNK`."""
        ...

    async def report(self, progress: dict[str, Any]) -> None:
        """Tell how far it is: a JSON object."""
        ...


class LocalJob:
    """A job within this process."""

    def __init__(
        self,
        chunks: Iterable[list[Any]] = (),
        on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self._chunks = chunks
        self._on_progress = on_progress

    async def chunks(self) -> AsyncIterator[list[Any]]:
        for chunk in self._chunks:
            yield chunk

    async def report(self, progress: dict[str, Any]) -> None:
        self._on_progress(progress)
