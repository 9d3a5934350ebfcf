"""The registrar: many changes, one commit.

An fsync costs the same for one row as for hundreds, so whatever arrives while a commit is under way shares the next. Who
submits gets a future that is done when its change is durable; that is what CONNACK waits for.
"""

import asyncio
from dataclasses import dataclass

from gateway.errors import StoreError, StoreUnavailable
from gateway.log import get_logger
from gateway.registry.device import Device
from gateway.registry.store import Batch, Store, TwinRecord

__all__ = ["Registrar"]

log = get_logger()


@dataclass(slots=True, kw_only=True)
class _Change:
    row: Device | TwinRecord
    done: "asyncio.Future[None]"


class Registrar:
    """One task that commits. Bounded: a full queue is "server unavailable" at once."""

    def __init__(self, store: Store, *, max_batch: int, max_queue: int) -> None:
        self._store = store
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._waiting: list[_Change] = []
        self._arrived = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.commits = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="registrar")

    async def stop(self) -> None:
        """Commit what waits, then end."""
        self._stopping = True
        self._arrived.set()
        if self._task is not None:
            await self._task
            self._task = None

    def submit(self, row: Device | TwinRecord) -> "asyncio.Future[None]":
        """Write a row with the next commit. The future fails with `StoreError` if that fails."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._stopping or len(self._waiting) >= self._max_queue:
            done.set_exception(
                StoreUnavailable("stopping" if self._stopping else "too many changes wait for a commit")
            )
            return done
        self._waiting.append(_Change(row=row, done=done))
        self._arrived.set()
        return done

    async def _run(self) -> None:
        while not (self._stopping and not self._waiting):
            await self._arrived.wait()
            changes, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            if not self._waiting and not self._stopping:
                self._arrived.clear()
            if changes:
                await self._commit(changes)

    async def _commit(self, changes: list[_Change]) -> None:
        batch = Batch()
        for change in changes:
            if isinstance(change.row, Device):
                batch.devices[change.row.id] = change.row
            else:
                batch.twins[change.row.device_id] = change.row
        failure: StoreError | None = None
        try:
            await self._store.commit(batch)
            self.commits += 1
        except StoreError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the registrar outlives whatever a driver may raise
            failure = StoreUnavailable(f"{type(error).__name__}: {error}")
        if failure is not None:
            log.error("store.failed", error=str(failure), hint=failure.hint, changes=len(changes))
        for change in changes:
            if not change.done.done():
                if failure is None:
                    change.done.set_result(None)
                else:
                    change.done.set_exception(failure)
