"""One device: what it is, how it connects, what it shows in the log, and why it does not get in."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response

from gateway.console.devices import device_path
from gateway.console.forms import Form
from gateway.console.visit import Me, Visit
from gateway.errors import GatewayError, NotFoundError, OperationError

__all__ = ["router"]

router = APIRouter(prefix="/device/{device_id}")

_Id = Annotated[str, Path(min_length=1, max_length=128)]
_VERBS: Final = {"approve": "Approved", "unblock": "Unblocked"}
_ASKED_FIRST: Final = {
    "reject": ("Rejected", "It is blocked, and its session ends."),
    "block": ("Blocked", "Its session ends at once, and it can't connect until it is unblocked."),
    "delete": (
        "Deleted",
        "Its record goes. If it still has a credential, it registers itself anew when it connects.",
    ),
}


@router.get("")
async def show(me: Me, device_id: _Id) -> Response:
    """The page. Of an id that nobody registered it tells what tried to connect with it."""
    return await _page(me, device_id)


@router.get("/now")
async def now(me: Me, device_id: _Id) -> Response:
    """What changes by the second."""
    return me.page("device_now.html", **await _facts(me, device_id))


async def _facts(me: Visit, device_id: str) -> dict[str, Any]:
    try:
        device: dict[str, Any] | None = await me.call("device.show", device_id=device_id)
    except NotFoundError:
        device = None
    sent = await me.call("device.telemetry", device_id=device_id) if device is not None else {"messages": []}
    return {"id": device_id, "link": device_path(device_id), "device": device, "sent": sent["messages"],
            "why": await me.call("device.why", device_id=device_id)}  # fmt: skip


async def _page(
    me: Visit, device_id: str, *, error: GatewayError | None = None, form: Form | None = None,
    connection: dict[str, Any] | None = None, judged: dict[str, Any] | None = None,
) -> Response:  # fmt: skip
    facts = await _facts(me, device_id)
    if connection is None:
        connection = await _connection(me, device_id)
    templates = await me.call("template.list")
    values = {"connection": connection, "judged": judged, "form": form or Form(), "error": error,
              "templates": templates["templates"]} | facts  # fmt: skip
    return me.unsaved("device.html", **values) if error else me.page("device.html", **values)


async def _connection(me: Visit, device_id: str, *, keys: bool = False) -> dict[str, Any] | None:
    """None if there is no group it could come in by."""
    try:
        return await me.call("device.connection", device_id=device_id, keys=keys, svg=True)
    except OperationError:
        return None


@router.post("/keys")
async def keys(me: Me, device_id: _Id) -> Response:
    """The page with the device's keys in it: asked for by a form, so they are in no address."""
    await me.form()
    found = await me.call("device.connection", device_id=device_id, keys=True, svg=True)
    return await _page(me, device_id, connection=found)


@router.post("/edit")
async def edit(me: Me, device_id: _Id) -> Response:
    """Name, tags, template: as they are in the form."""
    form = await me.form()
    try:
        device = await me.call("device.show", device_id=device_id)
        tags = form.text("tags").replace(",", " ").split()
        template = form.given("template_id")
        await me.call(
            "device.set", device_id=device_id, name=form.given("name") or device["name"],
            template_id=template if template != device["template"] else None,
            unassociate=template is None and device["template"] is not None, if_match=form.given("etag"),
        )  # fmt: skip
        if set(tags) != set(device["tags"]):
            gone = [tag for tag in device["tags"] if tag not in tags]
            new = [tag for tag in tags if tag not in device["tags"]]
            await me.call("device.update", device_id=device_id, add_tags=new, remove_tags=gone)
    except GatewayError as error:
        return await _page(me, device_id, error=error, form=form)
    return me.goto(device_path(device_id), said="Saved.")


@router.post("/why")
async def judge(me: Me, device_id: _Id) -> Response:
    """Hold a token or a certificate against what is in force: nothing changes."""
    form = await me.form()
    shown = form.text("credential").strip()
    if not shown:
        problem = OperationError("paste a SAS token or a certificate (PEM)", argument="credential")
        return await _page(me, device_id, error=problem, form=form)
    kind = "certificate" if "-----BEGIN" in shown else "token"
    try:
        judged = await me.call("device.why", device_id=device_id, **{kind: shown})
    except GatewayError as error:
        error.argument = "credential"
        return await _page(me, device_id, error=error, form=form)
    return await _page(me, device_id, judged=judged["verdict"])


@router.post("/trace")
async def trace(me: Me, device_id: _Id) -> Response:
    """Show the device's packets in its log for ten minutes."""
    await me.form()
    await me.call("trace.start", device_id=device_id)
    return me.goto(device_path(device_id), said="Its packets are in the log below, for a while.")


@router.post("/{verb}")
async def act(me: Me, device_id: _Id, verb: str) -> Response:
    """Approve, reject, block, unblock, delete."""
    form = await me.form()
    said = _VERBS.get(verb) or _ASKED_FIRST.get(verb, ("",))[0]
    if not said:
        raise NotFoundError("there is no such page")
    if verb in _ASKED_FIRST and not form.ticked("sure"):
        return me.confirm(
            form, title=f"{verb.capitalize()} {device_id}?", text=_ASKED_FIRST[verb][1], button=verb.capitalize(),
            back=device_path(device_id),
        )  # fmt: skip
    await me.call(f"device.{verb}", device_id=device_id)
    return me.goto("/devices" if verb == "delete" else device_path(device_id), said=f"{said} {device_id}.")
