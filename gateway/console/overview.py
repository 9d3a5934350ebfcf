"""The first page: how the fleet is, and what waits for somebody."""

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Response

from gateway.console.visit import Me, Visit

__all__ = ["router"]

router = APIRouter()

_SOON_DAYS: Final = 30


@router.get("/")
async def show(me: Me) -> Response:
    """The page, with its numbers as they are now."""
    return me.page("overview.html", **await _numbers(me))


@router.get("/overview/now")
async def now(me: Me) -> Response:
    """Only what changes by the second, for the page that is open."""
    return me.page("overview_now.html", **await _numbers(me))


async def _numbers(me: Visit) -> dict[str, Any]:
    status, unassociated = await asyncio.gather(
        me.call("status"), me.call("device.list", unassociated=True, limit=100)
    )
    return {
        "status": status,
        "total": sum(status["devices"].values()),
        "unassociated": len(unassociated["devices"]),
        "unassociated_more": unassociated["next"] is not None,
        "expiring": [each for each in status["certificates"] if each["days"] < _SOON_DAYS],
    }
