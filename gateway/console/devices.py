"""The list of devices: search, filters, what waits for approval, and verbs on many."""

from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request, Response

from gateway.api.rest.jobs import export_devices, import_devices
from gateway.console.forms import Form
from gateway.console.visit import CSRF_HEADER, Me, Visit
from gateway.errors import ForbiddenError, GatewayError, OperationError

__all__ = ["device_path", "router"]

router = APIRouter(prefix="/devices")

_PAGE: Final = 50
_FILTERS: Final = ("id_prefix", "status", "template_id", "group", "tag", "unassociated")
_ACTIONS: Final = {
    "approve": "Approve", "reject": "Reject", "block": "Block", "unblock": "Unblock", "assign": "Give a template",
    "delete": "Delete",
}  # fmt: skip
_CANT_BE_UNDONE: Final = {"delete", "reject", "block"}
_Text = Annotated[str, Query(max_length=2048)]


def device_path(device_id: str) -> str:
    """Ids may hold what means something in a path; and a device may be called `new`."""
    return f"/device/{quote(device_id, safe='')}"


@router.get("")
async def show(
    *,
    me: Me,
    id_prefix: _Text = "",
    status: _Text = "",
    template_id: _Text = "",
    group: _Text = "",
    tag: _Text = "",
    unassociated: _Text = "",
    after: _Text = "",
) -> Response:
    """A page of the list. Filters are in the address, so that it can be kept."""
    wanted = {
        "id_prefix": id_prefix.strip(), "status": status, "template_id": template_id, "group": group, "tag": tag.strip(),
        "unassociated": unassociated,
    }  # fmt: skip
    return await _list(me, wanted, after=after)


async def _list(
    me: Visit, wanted: dict[str, str], *, after: str = "", error: GatewayError | None = None, chosen: Any = ()
) -> Response:
    found = await me.call("device.list", **_arguments(wanted), after=after or None, limit=_PAGE)
    templates, groups = await me.call("template.list"), await me.call("group.list")
    filters = {name: value for name, value in wanted.items() if value}
    following = urlencode({**filters, "after": found["next"]}) if found["next"] else ""
    return me.page(
        "devices.html", devices=found["devices"], wanted=wanted, filters=filters, after=after, following=following,
        templates=templates["templates"], groups=groups["groups"], actions=_ACTIONS, error=error, chosen=set(chosen),
        query=urlencode(filters),
    )  # fmt: skip


def _arguments(wanted: dict[str, str]) -> dict[str, Any]:
    """The filters as the verb takes them: only those that say something."""
    given: dict[str, Any] = {
        name: value for name, value in wanted.items() if value and name != "unassociated"
    }
    return given | ({"unassociated": True} if wanted["unassociated"] else {})


@router.post("/change")
async def change(me: Me) -> Response:
    """One verb on the ticked devices, or on all that match the filters: a job."""
    form = await me.form()
    wanted = {name: form.text(name) for name in _FILTERS}
    action, ticked = form.text("action"), form.all("id")
    by_filter = form.text("which") == "all"
    try:
        _check(action, ticked, by_filter=by_filter)
        if action in _CANT_BE_UNDONE and not form.ticked("sure"):
            return _ask(me, form, action, None if by_filter else ticked, wanted)
        arguments = {"action": action} | (_arguments(wanted) if by_filter else {})
        if action == "assign":
            arguments["assign_template"] = form.text("assign_template")
        job = await me.caller.context.jobs.change_devices(
            arguments, None if by_filter else ticked, by=me.caller.actor
        )
    except ForbiddenError:
        raise
    except OperationError as error:
        return await _list(me, wanted, error=error, chosen=ticked)
    return me.goto(f"/jobs/{job['id']}")


def _check(action: str, ticked: list[str], *, by_filter: bool) -> None:
    if action not in _ACTIONS:
        raise OperationError("choose what to do", argument="action")
    if not by_filter and not ticked:
        raise OperationError("no device is ticked", hint="tick some, or choose all that match")


def _ask(me: Visit, form: Form, action: str, ticked: list[str] | None, wanted: dict[str, str]) -> Response:
    if ticked is None:
        chosen = (
            ", ".join(f"{name} {value}" for name, value in wanted.items() if value) or "every device there is"
        )
        who = f"all devices that match ({chosen})"
    else:
        shown = ", ".join(ticked[:5]) + (f" and {len(ticked) - 5} more" if len(ticked) > 5 else "")  # noqa: PLR2004
        who = f"{len(ticked)} device{'' if len(ticked) == 1 else 's'}: {shown}"
    what = {
        "delete": "Their records go; a device that still has a credential registers itself anew.",
        "reject": "They are blocked, and their sessions end.",
        "block": "Their sessions end, and they can't connect until they are unblocked.",
    }[action]
    back = "/devices?" + urlencode({name: value for name, value in wanted.items() if value})
    return me.confirm(
        form, title=f"{_ACTIONS[action]} devices", text=f"{who}. {what}", button=_ACTIONS[action], back=back
    )


@router.get("/new")
async def new(me: Me) -> Response:
    """The form that registers a device."""
    templates = await me.call("template.list")
    return me.page("device_new.html", form=Form(), error=None, templates=templates["templates"])


@router.post("/new")
async def register(me: Me) -> Response:
    """Register it, and show it."""
    form = await me.form()
    try:
        device = await me.call(
            "device.register", device_id=form.text("device_id").strip(), name=form.given("name"),
            template_id=form.given("template_id"), tags=form.text("tags").replace(",", " ").split(),
        )  # fmt: skip
    except GatewayError as error:
        templates = await me.call("template.list")
        return me.unsaved("device_new.html", error, form=form, templates=templates["templates"])
    return me.goto(device_path(device["id"]), said=f"Registered {device['id']}.")


@router.get("/import")
async def import_page(me: Me) -> Response:
    """Choose a file."""
    return me.page("import.html", error=None)


@router.post("/import/file")
async def import_file(
    me: Me, request: Request, *, atomic: bool = False, update: bool = False, dry_run: bool = False
) -> Response:
    """The file as the body, as it comes. (import.js sends it; a form would have to be held in memory.)"""
    me.require_csrf(request.headers.get(CSRF_HEADER, ""))
    job = await import_devices(me.caller, request.stream(), atomic=atomic, update=update, dry_run=dry_run)
    return Response(f"/jobs/{job['id']}", media_type="text/plain")


@router.post("/export")
async def export(me: Me) -> Response:
    """The devices of the filters as CSV; with keys only if they were asked for."""
    form = await me.form()
    wanted = {name: form.text(name) for name in _FILTERS}
    return await export_devices(me.caller, keys=form.ticked("keys"), **_arguments(wanted))
