"""The audit log: who changed what."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from gateway.console.visit import Me

__all__ = ["router"]

router = APIRouter(prefix="/audit")

_Text = Annotated[str, Query(max_length=2048)]
_PAGE = 50


@router.get("")
async def show(
    me: Me,
    actor: _Text = "",
    verb: _Text = "",
    target: _Text = "",
    before: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """A page of it, the newest first."""
    wanted = {"actor": actor.strip(), "verb": verb.strip(), "target": target.strip()}
    given: dict[str, Any] = {name: value for name, value in wanted.items() if value}
    found = await me.call("audit.list", before=before, limit=_PAGE, **given)
    records = [
        record | {"changes": _changes(record["before"], record["after"])} for record in found["records"]
    ]
    following = urlencode(given | {"before": found["next"]}) if found["next"] else ""
    return me.page("audit.html", records=records, wanted=wanted, is_search=bool(given), following=following)


def _changes(before: object, after: object) -> list[tuple[str, object, object]]:
    """What is another value after the change; nothing if one of the two is not known."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return []
    passed_over = {"etag", "updatedAt", "closedSessions"}
    return [
        (name, before.get(name), after[name])
        for name in after
        if name in before and after[name] != before[name] and name not in passed_over
    ]
