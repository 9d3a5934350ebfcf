"""The registrar: many changes, one commit.

An fsync costs the same for one row as for hundreds, so whatever arrives while a commit is under way shares the
next. Who submits a change is called back when it is settled: durable, or failed. That is what CONNACK waits for.

The call back comes in the same turn of the event loop in which the commit ended, before anybody else runs. So
there is no moment in which the store knows more than the caches in front of it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.counts import Histogram
from gateway.errors import StoreError, StoreUnavailable
from gateway.log import get_logger
from gateway.registry.device import Device
from gateway.registry.store import Batch, Change, Deletion, Store, Together, TwinRecord

__all__ = ["Registrar", "Settled"]

log = get_logger()

_STOP_DEADLINE_S: Final = 10.0  # SQLite's busy_timeout, twice

Settled = Callable[[StoreError | None], None]
"""Called once: with None when the change is durable, else with why it isn't."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    change: Change
    settled: Settled

    @property
    def device_ids(self) -> tuple[str, ...]:
        match self.change:
            case Device(id=device_id) | Deletion(device_id) | TwinRecord(device_id=device_id):
                return (device_id,)
            case Together(devices):
                return tuple(device.id for device in devices)


class Registrar:
    """One task that commits. Bounded: a full queue is "server unavailable" at once."""

    def __init__(self, store: Store, *, max_batch: int, max_queue: int) -> None:
        self._store = store
        self._max_batch = max_batch
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._watch_deletion: Callable[[str], Settled] | None = None
        self.max_queue = max_queue
        self.commits = 0
        self.failed = 0
        """Commits that failed."""
        self.batch_changes = Histogram((1, 2, 5, 10, 25, 50, 100, 250, 500, 1000))
        self.commit_seconds = Histogram()
        self.written = 0
        """Changes that were committed."""

    @property
    def waiting(self) -> int:
        """Changes that wait for a commit."""
        return len(self._waiting)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="registrar")

    async def stop(self, *, deadline_s: float = _STOP_DEADLINE_S) -> None:
        """Commit what waits, then end. What is not settled by the deadline fails."""
        self._stopping = True
        self._arrived.set()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait([task], timeout=deadline_s)
            task.cancel()
            await asyncio.wait([task])
        self._fail(self._take(len(self._waiting)), StoreUnavailable("the gateway stopped before the commit"))

    def submit(self, change: Change, settled: Settled) -> None:
        """Write a change with the next commit. Raises `StoreUnavailable` if too many wait already.

        The changes of one device are committed in the order in which they were submitted. If one fails, those
        of that device that wait behind it fail too: they were made on what it would have left.
        """
        if self._stopping:
            raise StoreUnavailable("the gateway is stopping")
        if len(self._waiting) >= self.max_queue:
            raise StoreUnavailable("too many changes wait for a commit")
        if isinstance(change, Deletion) and self._watch_deletion is not None:
            settled = _both(settled, self._watch_deletion(change.device_id))
        self._waiting.append(_Waiting(change, settled))
        self._arrived.set()

    def watch_deletions(self, watch: Callable[[str], Settled]) -> None:
        """Call `watch` with the id of each device whose deletion is submitted; what it returns is settled with it."""
        self._watch_deletion = watch

    async def _run(self) -> None:
        while self._waiting or not self._stopping:
            if self._waiting:
                await self._commit(self._take(self._max_batch))
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def _commit(self, batch: list[_Waiting]) -> None:
        began = time.monotonic()
        try:
            await self._store.commit(Batch.of(waiting.change for waiting in batch))
        except asyncio.CancelledError:
            self._fail(batch, StoreUnavailable("the gateway stopped before the commit was confirmed"))
            raise
        except StoreError as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - the registrar outlives whatever a driver may raise
            self._fail(batch, StoreUnavailable(f"{type(error).__name__}: {error}"))
        else:
            self.commits += 1
            self.batch_changes.observe(len(batch))
            self.commit_seconds.observe(time.monotonic() - began)
            self.written += len(batch)
            for waiting in batch:
                waiting.settled(None)

    def _fail(self, batch: list[_Waiting], error: StoreError) -> None:
        if not batch:
            return
        self.failed += 1
        failed = {device_id for waiting in batch for device_id in waiting.device_ids}
        built_on_them = [waiting for waiting in self._waiting if not failed.isdisjoint(waiting.device_ids)]
        self._waiting = [waiting for waiting in self._waiting if failed.isdisjoint(waiting.device_ids)]
        log.error("store.failed", error=str(error), hint=error.hint, changes=len(batch) + len(built_on_them))
        for waiting in (*batch, *built_on_them):
            waiting.settled(error)

    def _take(self, count: int) -> list[_Waiting]:
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken


def _both(one: Settled, other: Settled) -> Settled:
    def settled(error: StoreError | None) -> None:
        one(error)
        other(error)

    return settled
