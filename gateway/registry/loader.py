"""Look-ups by the batch: whoever asks while a query runs is answered by the next one.

Ten thousand cold devices that connect at once are then tens of queries. Everybody who asks for one key in the
meantime shares the answer, yet each has a future of their own, so that who gives up takes nobody along.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from gateway.errors import StoreCorrupt, StoreUnavailable

__all__ = ["BatchLoader"]

T = TypeVar("T")

# Below SQLite's oldest bound on the variables of one statement, 999; more gains nothing.
_MAX_BATCH: Final = 500
_DRAIN_DEADLINE_S: Final = 10.0


class BatchLoader(Generic[T]):
    """`load` gets keys and returns a value for each of them, or why that one has none; its exception goes to all who asked.

    `keep` is called with each value before it is handed out. Who waits is bounded by who may ask: connections and
    operators are.
    """

    def __init__(
        self,
        load: Callable[[Sequence[str]], Awaitable[Mapping[str, T | StoreCorrupt]]],
        *,
        keep: Callable[[str, T], object],
        name: str,
    ) -> None:
        self._load = load
        self._keep = keep
        self._name = name
        self._wanted: dict[str, list[asyncio.Future[T]]] = {}
        self._outdated: set[str] = set()
        self.queries = 0
        self._task: asyncio.Task[None] | None = None

    def get(self, key: str) -> "asyncio.Future[T]":
        """A future of the key's value, of the caller's own."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(key, []).append(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=self._name)
        return future

    def outdate(self, key: str) -> None:
        """The key's value changes just now: a query that is under way must be asked again."""
        if key in self._wanted:
            self._outdated.add(key)

    async def drain(self, *, deadline_s: float = _DRAIN_DEADLINE_S) -> None:
        """Return when nobody waits any more; after a deadline, fail those who do."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=deadline_s)
            self._task.cancel()
            await asyncio.wait([self._task])
        self._fail(list(self._wanted), StoreUnavailable("the gateway stopped before the store answered"))

    async def _run(self) -> None:
        while self._wanted:
            keys = list(self._wanted)[:_MAX_BATCH]
            self._outdated.difference_update(keys)
            self.queries += 1
            try:
                found = await self._load(keys)
                for key in keys:
                    if key in self._outdated:
                        continue
                    value = found[key]
                    if isinstance(value, StoreCorrupt):
                        self._fail((key,), value)
                    else:
                        self._answer(key, value)
            except Exception as error:  # noqa: BLE001 - each of those who asked gets it
                self._fail(keys, error)

    def _answer(self, key: str, value: T) -> None:
        self._keep(key, value)
        for future in self._wanted.pop(key):
            if not future.done():
                future.set_result(value)

    def _fail(self, keys: Iterable[str], error: Exception) -> None:
        for key in keys:
            for future in self._wanted.pop(key, ()):
                if not future.done():
                    future.set_exception(error)
