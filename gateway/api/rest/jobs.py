"""Work on many devices: a CSV file in, one verb on a list or a filter, a CSV file out.

IoT Central has no such routes (its `jobs` set properties, and are another thing), so these are the gateway's own: under
`/deviceJobs`, answered with 202 and a job to look at.
"""

import csv
import io
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse

from gateway.api.rest.calling import Caller, Me
from gateway.api.rest.shapes import DeviceChangeBody, Object
from gateway.errors import OperationError
from gateway.operations.device_csv import EXPORT_COLUMNS, export_row

__all__ = ["MAX_UPLOAD_BYTES", "UPLOAD_PATH", "export_devices", "import_devices", "router"]

router = APIRouter(prefix="/deviceJobs", tags=["jobs on devices"])

UPLOAD_PATH: Final = "/deviceJobs/import"
MAX_UPLOAD_BYTES: Final = 256 * 1024 * 1024
"""A million rows have room in it."""
_CSV: Final = "text/csv; charset=utf-8"
_EXPORT_PAGE: Final = 500
_Id = Annotated[str, Path(min_length=1, max_length=40)]
_Text = Annotated[str | None, Query(min_length=1, max_length=2048)]
_Accepted: Final[dict[str, Any]] = {"status_code": HTTPStatus.ACCEPTED, "response_model": Object}
_FILE: Final = {
    "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}
}  # the route reads it as it comes, so FastAPI can't know


@router.post("/import", **_Accepted, openapi_extra=_FILE)
async def start_import(
    *,
    me: Me,
    request: Request,
    response: Response,
    atomic: Annotated[bool, Query(description="All rows, or none.")] = False,
    update: Annotated[bool, Query(description="Change devices that are there already.")] = False,
    dry_run: Annotated[bool, Query(alias="dryRun", description="Check every row; write nothing.")] = False,
) -> Object:
    """Register the devices of a CSV file (IOTC_DEVICEID, IOTC_DEVICENAME, TEMPLATE, TAGS), which is the body."""
    started = await import_devices(me, request.stream(), atomic=atomic, update=update, dry_run=dry_run)
    return _started(response, started)


async def import_devices(caller: Caller, body: AsyncIterator[bytes], **arguments: bool) -> dict[str, Any]:
    """Start the import of a file that is still coming in."""
    upload = caller.context.jobs.receive()
    try:
        async for data in body:
            upload.write(data)
    except BaseException:
        upload.discard()
        raise
    return await caller.context.jobs.import_devices(upload, arguments, by=caller.actor)


@router.post("/change", **_Accepted)
async def start_change(me: Me, response: Response, body: Annotated[DeviceChangeBody, Body()]) -> Object:
    """Approve, reject, block, unblock, delete or assign a template to many devices: a list, or what a filter matches."""
    arguments = body.model_dump(exclude={"device_ids"}, exclude_unset=True)
    if body.device_ids is None and not arguments.keys() - {"action", "assign_template", "dry_run"}:
        raise OperationError(
            "neither device_ids nor a filter is given",
            hint="name the devices, or say status, group, tag, id_prefix, …",
        )
    return _started(response, await me.context.jobs.change_devices(arguments, body.device_ids, by=me.actor))


@router.get("")
async def list_jobs(me: Me) -> Object:
    """What is running and what ended since the gateway started, the newest first."""
    return {"value": me.context.jobs.all()}


@router.get("/export", response_class=PlainTextResponse)
async def export(
    *,
    me: Me,
    keys: Annotated[bool, Query(description="Add the SAS keys. They are secrets.")] = False,
    keys_of: Annotated[str | None, Query(alias="keysOf", min_length=1, max_length=255)] = None,
    status: _Text = None,
    template: _Text = None,
    group: _Text = None,
    tag: _Text = None,
    unassociated: bool = False,
    id_prefix: Annotated[str | None, Query(alias="idPrefix", min_length=1, max_length=128)] = None,
) -> Response:
    """Devices as CSV, with thumbprints, and with `keys` their SAS keys: a file that can be imported again."""
    return await export_devices(
        me, keys=keys or keys_of is not None, keys_of=keys_of, status=status, template_id=template, group=group, tag=tag,
        unassociated=unassociated, id_prefix=id_prefix,
    )  # fmt: skip


@router.get("/{job_id}")
async def show_job(me: Me, job_id: _Id) -> Object:
    """How far a job is: `state`, `done` of `total`, the counts, and the first problems."""
    return me.context.jobs.show(job_id)


@router.post("/{job_id}/cancel")
async def cancel_job(me: Me, job_id: _Id) -> Object:
    """End it after the chunk it is in. What it has changed stays."""
    return await me.context.jobs.cancel(job_id, by=me.actor)


@router.get("/{job_id}/problems", response_class=PlainTextResponse)
async def read_problems(me: Me, job_id: _Id) -> Response:
    """Every row or device that could not be done, as CSV."""
    file = me.context.jobs.problems(job_id, by=me.actor)
    if file is None:
        return PlainTextResponse("", media_type=_CSV)
    return FileResponse(file, media_type=_CSV, filename=f"problems-{job_id}.csv")


async def export_devices(caller: Caller, **arguments: Any) -> Response:
    """The file, page by page. Raises what the first page raises, before anything is sent."""
    first = await caller.call("device.export", limit=_EXPORT_PAGE, **arguments)

    async def lines() -> AsyncIterator[str]:
        yield _to_csv([list(EXPORT_COLUMNS)])
        page = first
        while True:
            yield _to_csv([export_row(device) for device in page["devices"]])
            if page["next"] is None:
                return
            page = await caller.call("device.export", limit=_EXPORT_PAGE, after=page["next"], **arguments)

    headers = {"Content-Disposition": 'attachment; filename="devices.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(lines(), media_type=_CSV, headers=headers)


def _to_csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _started(response: Response, job: dict[str, Any]) -> dict[str, Any]:
    response.headers["Location"] = f"/api/deviceJobs/{job['id']}"
    return job
