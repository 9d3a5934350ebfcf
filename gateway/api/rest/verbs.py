"""`POST /verbs/{verb}`: every verb of the table, with the arguments and the answer that the command line has.

What IoT Central's API has no place for needs no route of its own, and a new verb is served as soon as it is in the table.
Jobs are not here: they are started under `/deviceJobs`.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel

from gateway.api.rest.calling import Me
from gateway.api.rest.pages import Paging, next_link
from gateway.api.rest.shapes import Collection, Object
from gateway.errors import OperationError
from gateway.operations import VERBS

__all__ = ["audit", "router"]

router = APIRouter(prefix="/verbs", tags=["verbs"])
audit = APIRouter(prefix="/audit", tags=["audit log"])

Text = Annotated[str | None, Query(min_length=1, max_length=2048)]


def _route(verb: str, arguments: type[BaseModel]) -> Callable[..., Awaitable[Object]]:
    async def call_verb(me: Me, body: Any) -> Object:
        return await me.call(verb, **body.model_dump(exclude_unset=True))

    call_verb.__annotations__["body"] = Annotated[arguments, Body()]
    return call_verb


for _name, _verb in VERBS.items():
    if not _verb.is_job:
        router.add_api_route(
            f"/{_name}", _route(_name, _verb.arguments), methods=["POST"], response_model=Object,
            summary=_verb.summary.partition("\n")[0], description=_verb.summary, operation_id=f"verb_{_name}",
        )  # fmt: skip


@audit.get("", response_model=Collection, response_model_exclude_unset=True)
async def list_audit(
    *, me: Me, request: Request, page: Paging, actor: Text = None, verb: Text = None, target: Text = None
) -> Object:
    """What operators changed, the newest first."""
    if page.after is not None and not page.after.isdecimal():
        raise OperationError("$skipToken: not from a nextLink of this list")
    before = int(page.after) if page.after is not None else None
    found = await me.call("audit.list", before=before, limit=page.size, actor=actor, verb=verb, target=target)
    following = str(found["next"]) if found["next"] is not None else None
    return {"value": found["records"], **next_link(request, following)}
