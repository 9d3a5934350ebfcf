"""Device templates: what devices send and accept; import, and a model from what an Unassociated device has sent."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response

from gateway.console.devices import device_path
from gateway.console.forms import Form
from gateway.console.visit import Me
from gateway.errors import GatewayError, OperationError
from gateway.templates.outline import outline

__all__ = ["router"]

router = APIRouter(prefix="/templates")

_Dtmi = Annotated[str, Query(alias="id", min_length=1, max_length=2048)]


@router.get("")
async def show_all(me: Me) -> Response:
    """The list."""
    return me.page("templates.html", **await me.call("template.list"))


@router.get("/show")
async def show(me: Me, template_id: _Dtmi) -> Response:
    """One template as a tree. (Its id has no place in a path: it has colons and a semicolon.)"""
    template = await me.call("template.show", template_id=template_id)
    versions = await me.call("template.versions", model=template_id)
    exported = await me.call("template.export", template_id=template_id)
    model = outline(exported["document"], template_id)
    return me.page("template.html", template=template, model=model, versions=versions["versions"])


@router.get("/export")
async def export(me: Me, template_id: _Dtmi) -> Response:
    """Its DTDL, to download."""
    found = await me.call("template.export", template_id=template_id)
    headers = {"Content-Disposition": 'attachment; filename="template.json"'}
    text = orjson.dumps(found["document"], option=orjson.OPT_INDENT_2)
    return Response(text, media_type="application/json", headers=headers)


@router.post("/delete")
async def delete(me: Me, template_id: _Dtmi) -> Response:
    """If no device has it."""
    form = await me.form()
    if not form.ticked("sure"):
        return me.confirm(
            form, title="Delete the template?", text=f"{template_id} is deleted, if no device has it.", button="Delete",
            back="/templates",
        )  # fmt: skip
    await me.call("template.delete", template_id=template_id)
    return me.goto("/templates", said=f"Deleted {template_id}.")


@router.get("/new")
async def new(me: Me, device: Annotated[str, Query(max_length=128)] = "") -> Response:
    """The form; with `device`, filled with what that device's telemetry says, for review."""
    if not device:
        return me.page("template_new.html", form=Form(), error=None, device="", notes=[])
    made = await me.call("template.autogenerate", device_id=device)
    text = orjson.dumps(made["document"], option=orjson.OPT_INDENT_2).decode()
    return me.page(
        "template_new.html", form=Form(content=text), error=None, device=device, notes=made.get("notes", [])
    )


@router.post("/new")
async def publish(me: Me) -> Response:
    """Publish it; Unassociated devices that announced the model get it."""
    form = await me.form()
    device = form.text("device")
    try:
        content = await form.file("file") or form.text("content")
        if not content.strip():
            raise OperationError("choose a file, or paste DTDL", argument="content")
        made: dict[str, Any] = await me.call("template.import", content=content)
        if device:
            await _give_to(me, device, made["id"])
    except GatewayError as error:
        return me.unsaved("template_new.html", error, form=form, device=device, notes=[])
    said = f"Published {made['id']}."
    return me.goto(device_path(device) if device else f"/templates/show?id={made['id']}", said=said)


async def _give_to(me: Me, device_id: str, template_id: str) -> None:
    """The device that it was made from, if it announced no model of its own."""
    shown = await me.call("device.show", device_id=device_id)
    if shown["template"] is None:
        await me.call("device.assign", device_id=device_id, template_id=template_id)
