"""`log.follow`: the log of the running gateway, as it is written.

It is a job that is fed nothing and reports each batch of events, over the control socket or, as server-sent events,
over HTTP. It ends when the caller hangs up.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.errors import ConflictError, OperationError
from gateway.feed import LEVELS, Batch, Feed, Filter
from gateway.operations.jobs import Job
from gateway.operations.verbs import DeviceId
from gateway.settings import LogSettings

__all__ = ["EventOperations"]

EventName = Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]*)?\*?$", max_length=64)]
Level = Literal["debug", "info", "warning", "error"]


class EventOperations:
    """`log.*`"""

    def __init__(self, *, feed: Feed | None, settings: LogSettings) -> None:
        self._feed = feed
        self._settings = settings

    async def follow(
        self,
        job: Job,
        *,
        device_id: DeviceId | None = None,
        events: Annotated[list[EventName], Field(max_length=50)] | None = None,
        level: Level = "debug",
        recent: Annotated[int, Field(ge=0, le=100_000)] = 10,
        since: Annotated[str, Field(max_length=40)] | None = None,
        follow: bool = True,
    ) -> dict[str, Any]:
        """The last `recent` log events, then new ones as they come (unless `follow` is false), in reports.

        Only those of one device, of some names (`connect.refused`, `session.*`), of a level and above, after a time.
        """
        wanted = Filter(device_id, tuple(events or ()), LEVELS[level], _unix(since))
        feed = self._running()
        if not follow:
            found = feed.recent(wanted, recent)
            await job.report(_to_json(Batch(found)))
            return {"shown": len(found)}
        shown = 0
        async with aclosing(self.stream(wanted, recent=recent)) as batches:
            async for batch in batches:
                shown += len(batch.events)
                await job.report(_to_json(batch))
        return {"shown": shown}

    def stream(self, wanted: Filter, *, recent: int) -> AsyncGenerator[Batch, None]:
        """The same for a caller in this process. Raises `ConflictError` if too many follow already."""
        feed = self._running()
        if feed.followers >= self._settings.max_followers:
            raise ConflictError(
                f"{feed.followers} follow the log already", hint="see log.max_followers in gateway.yaml"
            )
        return feed.follow(wanted, recent=recent, max_backlog=self._settings.max_follower_backlog)

    def _running(self) -> Feed:
        if self._feed is None:
            raise OperationError(
                "no gateway runs, so there is no log to follow", hint="start it: gateway serve"
            )
        return self._feed


def _to_json(batch: Batch) -> dict[str, Any]:
    """`position` is the `since` of whoever goes on later: more exact than a timestamp, which is to the millisecond."""
    position = repr(batch.events[-1].at) if batch.events else None
    return {
        "events": [entry.to_json() for entry in batch.events], "dropped": batch.dropped, "position": position,
    }  # fmt: skip


def _unix(text: str | None) -> float:
    if text is None:
        return 0.0
    """Of an ISO 8601 time, or of a position."""
    try:
        return (
            float(text) if text.replace(".", "", 1).isdecimal() else datetime.fromisoformat(text).timestamp()
        )
    except ValueError:
        raise OperationError(
            f"since: not a time: {text!r}", hint="write it like 2026-11-24T02:30:00Z"
        ) from None
