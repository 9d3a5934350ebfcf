"""Connects and refusals as they happen: the log, in a browser."""

from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Response

from gateway.api.rest.events import stream_log
from gateway.console.visit import Me

__all__ = ["router"]

router = APIRouter()

_CONNECTS: Final = ("session.*", "connect.*", "registration.*", "device.*", "template.*")


@router.get("/live")
async def show(me: Me) -> Response:
    """The page; its script follows `/live/events`."""
    return me.page("live.html", status=await me.call("status"))


@router.get("/live/now")
async def now(me: Me) -> Response:
    """Rates and reasons, for the page that is open."""
    return me.page("live_now.html", status=await me.call("status"))


@router.get("/live/events")
async def events(
    me: Me,
    device: Annotated[str | None, Query(max_length=128)] = None,
    recent: Annotated[int, Query(ge=0, le=1000)] = 50,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> Response:
    """Server-sent events: of one device all of them, else those that are about devices."""
    wanted = [] if device is not None else list(_CONNECTS)
    return await stream_log(me.caller, last_event_id, device_id=device, events=wanted, recent=recent)
