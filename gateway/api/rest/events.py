"""`GET /events/stream`: the log as it is written, as server-sent events (text/event-stream).

One message for each log event, its data the JSON line of the log. Where messages come together the last has an id, so that a
browser which reconnects goes on where it was. `event: dropped` tells how many were lost because the reader was too slow.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from gateway.api.rest.calling import Caller, Me

__all__ = ["router", "stream_log"]

router = APIRouter(prefix="/events", tags=["events"])

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}  # a proxy must not hold events back


# Not in the OpenAPI document: what is made from it waits for the end of an answer, and this one has none.
@router.get("/stream", response_class=StreamingResponse, include_in_schema=False)
async def stream(
    *,
    me: Me,
    device: Annotated[str | None, Query(max_length=128)] = None,
    event: Annotated[list[str] | None, Query(max_length=64)] = None,
    level: Annotated[str, Query(max_length=16)] = "debug",
    recent: Annotated[int, Query(ge=0, le=100_000)] = 10,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> StreamingResponse:
    """The last `recent` events, then those that come: of one device, of some names, of a level and above."""
    return await stream_log(
        me, last_event_id, device_id=device, events=event or [], level=level, recent=recent
    )


async def stream_log(caller: Caller, last_event_id: str | None, **arguments: Any) -> StreamingResponse:
    """What `log.follow` reports, as server-sent events: after the one that a browser saw last, if it did."""
    if last_event_id is not None:
        arguments |= {"since": last_event_id, "recent": 100_000}
    job = _Stream()
    await job.start(lambda: caller.context.operations.call("log.follow", arguments, job, by=caller.actor))
    return StreamingResponse(job.messages(), media_type="text/event-stream", headers=_HEADERS)


class _Stream:
    """The job `log.follow`, whose reports are messages. Who doesn't read holds the job, and the log drops for it."""

    def __init__(self) -> None:
        self._reports: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(maxsize=1)
        self._following: asyncio.Task[Any] | None = None

    async def start(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Return when the first report is there. Raises what the verb raises instead."""

        async def follow() -> None:
            try:
                await call()
            finally:
                await self._reports.put(None)

        self._following = asyncio.create_task(follow(), name="http-events")
        first = await self._reports.get()
        if first is None:
            await self._following
        self._reports.put_nowait(first)

    async def chunks(self) -> AsyncIterator[list[Any]]:
        """It is fed nothing."""
        nothing: list[list[Any]] = []
        for chunk in nothing:
            yield chunk

    async def report(self, progress: dict[str, Any]) -> None:
        await self._reports.put(progress)

    async def messages(self) -> AsyncIterator[bytes]:
        assert self._following is not None  # noqa: S101 - `start` comes first
        try:
            while (batch := await self._reports.get()) is not None:
                yield _to_messages(batch)
        finally:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following


def _to_messages(batch: dict[str, Any]) -> bytes:
    parts = []
    if batch["dropped"]:
        parts.append(b"event: dropped\ndata: %s\n\n" % orjson.dumps({"count": batch["dropped"]}))
    parts += [b"data: %s\n\n" % orjson.dumps(event) for event in batch["events"]]
    if batch["position"] is not None:
        parts[-1] = b"id: %s\n%s" % (batch["position"].encode(), parts[-1])
    return b"".join(parts) or b": alive\n\n"
