"""Jobs on many devices: how far they are, what could not be done, cancel."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse, PlainTextResponse

from gateway.console.visit import Me

__all__ = ["router"]

router = APIRouter(prefix="/jobs")

_Id = Annotated[str, Path(min_length=1, max_length=40)]


@router.get("")
async def show_all(me: Me) -> Response:
    """What runs, and what ended since the gateway started."""
    return me.page("jobs.html", jobs=me.caller.context.jobs.all())


@router.get("/{job_id}")
async def show(me: Me, job_id: _Id) -> Response:
    """One job."""
    return me.page("job.html", job=me.caller.context.jobs.show(job_id))


@router.get("/{job_id}/now")
async def now(me: Me, job_id: _Id) -> Response:
    """How far it is. When it is over the page need not ask again."""
    job = me.caller.context.jobs.show(job_id)
    response = me.page("job_now.html", job=job)
    if job["state"] != "running":
        response.headers["X-Refresh"] = "no"
    return response


@router.post("/{job_id}/cancel")
async def cancel(me: Me, job_id: _Id) -> Response:
    """End it after the chunk it is in."""
    await me.form()
    await me.caller.context.jobs.cancel(job_id, by=me.caller.actor)
    return me.goto(f"/jobs/{job_id}", said="Cancelled. What it had changed stays.")


@router.get("/{job_id}/problems.csv")
async def problems(me: Me, job_id: _Id) -> Response:
    """Every row or device that could not be done."""
    file = me.caller.context.jobs.problems(job_id, by=me.caller.actor)
    if file is None:
        return PlainTextResponse("", media_type="text/csv")
    return FileResponse(file, media_type="text/csv; charset=utf-8", filename=f"problems-{job_id}.csv")
