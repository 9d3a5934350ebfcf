"""Individual enrollments: one device each, by keys, by its own certificate or by its TPM."""

from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Path, Query, Response

from gateway.console.forms import Form
from gateway.console.visit import Me, Visit
from gateway.errors import GatewayError, NotFoundError

__all__ = ["router"]

router = APIRouter()

_PAGE: Final = 50
_Id = Annotated[str, Path(min_length=1, max_length=128)]
_GIVEN_WITH: Final = {
    "symmetricKey": ("primary_key", "secondary_key"),
    "x509": ("primary_certificate", "secondary_certificate", "primary_thumbprint", "secondary_thumbprint"),
    "tpm": ("endorsement_key", "storage_root_key"),
}
_ASKED_FIRST: Final = {
    "disable": ("Disabled", "The device is refused, whatever group could let it in, and its session ends."),
    "delete": (
        "Deleted",
        "Its credential is gone for good, and its session ends. A group may still let the device in.",
    ),
    "regenerate_key": (
        "Made a new key for",
        "The device is refused until it has the new key, and its session ends.",
    ),
}


def _path(device_id: str) -> str:
    """Apart from the list's address: a device may be called `new`."""
    return f"/enrollment/{quote(device_id, safe='')}"


@router.get("/enrollments")
async def show_all(me: Me, after: Annotated[str, Query(max_length=128)] = "") -> Response:
    """A page of the list."""
    found = await me.call("enrollment.list", after=after or None, limit=_PAGE)
    following = urlencode({"after": found["next"]}) if found["next"] else ""
    return me.page("enrollments.html", enrollments=found["enrollments"], after=after, following=following)


@router.get("/enrollments/new")
async def new(me: Me, device: Annotated[str, Query(max_length=128)] = "") -> Response:
    """The form, filled with a device's id if it comes from its page."""
    return me.page("enrollment_new.html", form=Form(device_id=device), error=None)


@router.post("/enrollments/new")
async def create(me: Me) -> Response:
    """Enroll it, and show it."""
    form = await me.form()
    try:
        kind = form.text("attestation")
        given: dict[str, Any] = {name: form.given(name) for name in _GIVEN_WITH.get(kind, ())}
        if kind == "x509":
            given["primary_certificate"] = await form.file("certificate_file") or given["primary_certificate"]
        made = await me.call(
            "enrollment.create", device_id=form.text("device_id").strip(), attestation=kind,
            **{name: value for name, value in given.items() if value is not None},
        )  # fmt: skip
    except GatewayError as error:
        return me.unsaved("enrollment_new.html", error, form=form)
    return me.goto(_path(made["id"]), said=f"Enrolled {made['id']}.")


@router.get("/enrollment/{device_id}")
async def show(me: Me, device_id: _Id) -> Response:
    """One of them."""
    return await _page(me, device_id)


async def _page(me: Visit, device_id: str, *, keys: bool = False) -> Response:
    enrollment = await me.call("enrollment.show", device_id=device_id, keys=keys)
    return me.page("enrollment.html", enrollment=enrollment, link=_path(device_id))


@router.post("/enrollment/{device_id}/keys")
async def keys(me: Me, device_id: _Id) -> Response:
    """The page with the keys in it."""
    await me.form()
    return await _page(me, device_id, keys=True)


@router.post("/enrollment/{device_id}/{verb}")
async def act(me: Me, device_id: _Id, verb: str) -> Response:
    """Enable, disable, delete, a new key."""
    form = await me.form()
    if verb != "enable" and verb not in _ASKED_FIRST:
        raise NotFoundError("there is no such page")
    slot = form.given("key")
    if verb != "enable" and not form.ticked("sure"):
        title = f"Make a new {slot or 'TPM'} key for {device_id}?" if verb == "regenerate_key" else (
            f"{verb.capitalize()} the enrollment of {device_id}?"
        )  # fmt: skip
        button = "Make a new key" if verb == "regenerate_key" else verb.capitalize()
        return me.confirm(form, title=title, text=_ASKED_FIRST[verb][1], button=button, back=_path(device_id))
    arguments = {"key": slot} if verb == "regenerate_key" and slot else {}
    await me.call(f"enrollment.{verb}", device_id=device_id, **arguments)
    said = _ASKED_FIRST[verb][0] if verb in _ASKED_FIRST else "Enabled"
    return me.goto("/enrollments" if verb == "delete" else _path(device_id), said=f"{said} {device_id}.")
