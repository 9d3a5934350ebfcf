"""The log as a stream: the last events in a ring, and the new ones for whoever follows.

The log writes each event here, too (`gateway.log.FEED`): for nobody it costs one tuple in a ring. Who follows has a queue
of their own, bounded: a slow reader loses events, is told how many, and slows nobody down.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

__all__ = ["LEVELS", "Batch", "Entry", "Feed", "Filter"]

LEVELS: Final[Mapping[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_NAMES: Final = {number: name for name, number in LEVELS.items()}
_AT_ONCE: Final = 200
"""Events in one batch: what a reader gets before others have their turn."""
_ALIVE_S: Final = 15.0
"""After so long without an event there is an empty batch, so that both ends know that the other one lives."""


class Entry(NamedTuple):
    """One event. `at` is unix seconds; the fields are the log line's, without secrets, and nobody's to change."""

    at: float
    level: int
    event: str
    fields: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As a JSON log line has it."""
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        facts: dict[str, Any] = orjson.loads(orjson.dumps(self.fields, default=str))
        return {"timestamp": at, "level": _NAMES[self.level], "event": self.event, **facts}


class Filter(NamedTuple):
    """Which events are wanted. `events` are names, or beginnings that end in `*`; none are all."""

    device_id: str | None = None
    events: tuple[str, ...] = ()
    level: int = 0
    since: float = 0.0
    """Unix seconds: only what came after."""

    def wants(self, entry: Entry) -> bool:
        if entry.level < self.level or entry.at <= self.since:
            return False
        if self.device_id is not None and entry.fields.get("device_id") != self.device_id:
            return False
        if not self.events:
            return True
        return any(
            entry.event.startswith(name[:-1]) if name.endswith("*") else entry.event == name
            for name in self.events
        )


class Batch(NamedTuple):
    """Events in their order; `dropped` more were lost before them, because the reader was too slow."""

    events: list[Entry]
    dropped: int = 0


class Feed:
    """What the log writes to, and what followers read. Writing is for any thread, following for the event loop's."""

    def __init__(self, *, max_recent: int = 1000) -> None:
        # What `Entry` names, as plain tuples, which are made in a third of the time.
        self._recent: deque[tuple[float, int, str, dict[str, Any]]] = deque(maxlen=max_recent)
        self._followers: list[_Follower] = []
        self._changing = threading.Lock()

    def resize(self, max_recent: int) -> None:
        """Keep so many events, from now on."""
        if max_recent != self._recent.maxlen:
            self._recent = deque(self._recent, maxlen=max_recent)

    @property
    def followers(self) -> int:
        return len(self._followers)

    def write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        """One event. On the path of every log line."""
        plain = (time.time(), level, event, fields)
        self._recent.append(plain)
        if self._followers:
            entry = Entry._make(plain)
            for follower in tuple(self._followers):
                follower.offer(entry)

    def hang_up(self) -> None:
        """End what is followed now: the gateway stops. For the event loop's thread."""
        for follower in tuple(self._followers):
            follower.hang_up()

    def recent(self, wanted: Filter, at_most: int) -> list[Entry]:
        """The last events that are wanted, in their order."""
        found = [entry for entry in map(Entry._make, tuple(self._recent)) if wanted.wants(entry)]
        return found[-at_most:] if at_most else []

    async def follow(
        self, wanted: Filter, *, recent: int, max_backlog: int, alive_s: float = _ALIVE_S
    ) -> AsyncGenerator[Batch, None]:
        """The last `recent` events, then new ones as they come, until the caller closes the iterator.

        The first batch comes at once, be it empty.
        """
        follower = _Follower(wanted, max_backlog, asyncio.get_running_loop())
        with self._changing:
            self._followers.append(follower)
        try:
            earlier = self.recent(wanted, recent)
            for start in range(0, len(earlier) or 1, _AT_ONCE):
                yield Batch(earlier[start : start + _AT_ONCE])
            while not follower.is_over:
                yield await follower.next(alive_s)
        finally:
            with self._changing:
                self._followers.remove(follower)


class _Follower:
    """A reader's queue."""

    def __init__(self, wanted: Filter, max_backlog: int, loop: asyncio.AbstractEventLoop) -> None:
        self._wanted = wanted
        self._max_backlog = max_backlog
        self._loop = loop
        self._waiting: deque[Entry | _Gap] = deque()
        self._news = asyncio.Event()
        self._sleeping = False
        self.is_over = False

    def hang_up(self) -> None:
        self.is_over = True
        self._news.set()

    def offer(self, entry: Entry) -> None:
        if not self._wanted.wants(entry):
            return
        waiting = self._waiting
        if len(waiting) < self._max_backlog:
            waiting.append(entry)
        elif isinstance(waiting[-1], _Gap):
            waiting[-1].lost += 1
        else:
            waiting.append(_Gap())
        if self._sleeping:
            self._sleeping = False
            self._loop.call_soon_threadsafe(self._news.set)

    async def next(self, alive_s: float) -> Batch:
        """What came, at least one event; or nothing, after `alive_s`."""
        if not self._waiting and not self.is_over:
            self._news.clear()
            self._sleeping = True
            if not self._waiting:  # another thread may have written in between
                try:
                    async with asyncio.timeout(alive_s):
                        await self._news.wait()
                except TimeoutError:
                    pass
                finally:
                    self._sleeping = False
        gap = self._waiting.popleft() if self._waiting and isinstance(self._waiting[0], _Gap) else None
        events: list[Entry] = []
        while self._waiting and len(events) < _AT_ONCE and isinstance(entry := self._waiting[0], Entry):
            events.append(entry)
            self._waiting.popleft()
        return Batch(events, gap.lost if isinstance(gap, _Gap) else 0)


class _Gap:
    """Where events were lost."""

    __slots__ = ("lost",)

    def __init__(self) -> None:
        self.lost = 1
