"""Enrollment groups: who may let devices in, with which keys or certificate authorities."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Response

from gateway.console.forms import Form
from gateway.console.visit import Me, Visit
from gateway.errors import GatewayError, NotFoundError

__all__ = ["router"]

router = APIRouter(prefix="/groups")

_Name = Annotated[str, Path(min_length=1, max_length=255)]
_Slot = Literal["primary", "secondary"]
_ENDS: Final = {
    "regenerate": (
        "Make a new {slot} key?",
        "Devices that sign with a key derived from the old one are refused, and their sessions end.",
        "Make a new key",
    ),
    "remove_ca": (
        "Remove the {slot} CA?",
        "What it signed is refused at once, and the sessions that came in by it are closed.",
        "Remove",
    ),
}


@router.get("")
async def show_all(me: Me) -> Response:
    """The list."""
    return me.page("groups.html", **await me.call("group.list"))


@router.get("/new")
async def new(me: Me) -> Response:
    """The form that makes a group."""
    return me.page("group_new.html", form=Form(), error=None)


@router.post("/new")
async def create(me: Me) -> Response:
    """Make it, and show it."""
    form = await me.form()
    try:
        certificate = await form.file("certificate_file") or form.given("primary_certificate")
        kind = form.text("attestation")
        given: dict[str, Any] = {}
        if kind == "symmetricKey":
            given = {"primary_key": form.given("primary_key"), "secondary_key": form.given("secondary_key")}
        elif certificate is not None:
            given = {"primary_certificate": certificate, "verified": form.ticked("verified")}
        group = await me.call(
            "group.create", name=form.text("name").strip(), attestation=kind, display_name=form.given("display_name"),
            auto_approve=form.ticked("auto_approve"), **given,
        )  # fmt: skip
    except GatewayError as error:
        return me.unsaved("group_new.html", error, form=form)
    return me.goto(f"/groups/{group['id']}", said=f"Created the group {group['displayName']}.")


@router.get("/{name}")
async def show(me: Me, name: _Name) -> Response:
    """One group."""
    return await _page(me, name)


async def _page(
    me: Visit, name: str, *, keys: bool = False, error: GatewayError | None = None, code: dict[str, Any] | None = None,
    slot: str = "", form: Form | None = None,
) -> Response:  # fmt: skip
    group = await me.call("group.show", name=name, keys=keys)
    values: dict[str, Any] = {
        "group": group,
        "code": code,
        "slot": slot,
        "form": form or Form(),
        "error": error,
    }
    return me.unsaved("group.html", **values) if error else me.page("group.html", **values)


@router.post("/{name}/keys")
async def keys(me: Me, name: _Name) -> Response:
    """The page with the keys in it."""
    await me.form()
    return await _page(me, name, keys=True)


@router.post("/{name}/edit")
async def edit(me: Me, name: _Name) -> Response:
    """Its display name, and whether devices need an approval."""
    form = await me.form()
    try:
        await me.call(
            "group.update", name=name, display_name=form.given("display_name"),
            auto_approve=form.ticked("auto_approve"), if_match=form.given("etag"),
        )  # fmt: skip
    except GatewayError as error:
        return await _page(me, name, error=error, form=form)
    return me.goto(f"/groups/{name}", said="Saved.")


@router.post("/{name}/regenerate/{slot}")
async def regenerate(me: Me, name: _Name, slot: _Slot) -> Response:
    """A new key."""
    form = await me.form()
    if not form.ticked("sure"):
        return _ask(me, form, "regenerate", name, slot)
    await me.call("group.regenerate_key", name=name, slot=slot)
    return me.goto(f"/groups/{name}", said=f"The {slot} key is a new one.")


@router.post("/{name}/ca/{slot}/{verb}")
async def ca(me: Me, name: _Name, slot: _Slot, verb: str) -> Response:
    """Set, verify or remove a CA or its revocation list, or make the code that proves its possession."""
    form = await me.form()
    if verb == "remove-crl":
        await me.call("group.remove_crl", name=name, slot=slot)
        return me.goto(f"/groups/{name}", said=f"The {slot} CA has no revocation list any more.")
    if verb == "remove":
        if not form.ticked("sure"):
            return _ask(me, form, "remove_ca", name, slot)
        await me.call("group.remove_ca", name=name, slot=slot)
        return me.goto(f"/groups/{name}", said=f"The {slot} CA is removed.")
    if verb == "code":
        code = await me.call("group.make_verification_code", name=name, slot=slot)
        return await _page(me, name, code=code, slot=slot)
    if verb not in {"set", "verify", "set-crl"}:
        raise NotFoundError("there is no such page")
    try:
        if verb == "set-crl":
            crl = await form.file("crl_file") or form.text("crl")
            told = await me.call("group.set_crl", name=name, slot=slot, crl=crl)
            revoked = told[f"{slot}Certificate"]["revocationList"]["revoked"]
            said = f"{revoked} certificates of the {slot} CA are revoked; {told['closedSessions']} sessions ended."
            return me.goto(f"/groups/{name}", said=said)
        certificate = await form.file("certificate_file") or form.text("certificate")
        if verb == "set":
            await me.call(
                "group.set_ca",
                name=name,
                slot=slot,
                certificate=certificate,
                verified=form.ticked("verified"),
            )
        else:
            await me.call("group.verify_ca", name=name, slot=slot, certificate=certificate)
    except GatewayError as error:
        return await _page(me, name, error=error, slot=slot, form=form)
    return me.goto(f"/groups/{name}", said=f"The {slot} CA is {'verified' if verb == 'verify' else 'set'}.")


@router.post("/{name}/{verb}")
async def act(me: Me, name: _Name, verb: str) -> Response:
    """Enable, disable, delete."""
    form = await me.form()
    if verb not in {"enable", "disable", "delete"}:
        raise NotFoundError("there is no such page")
    if verb != "enable" and not form.ticked("sure"):
        text = {
            "disable": "Its devices are refused until it is enabled again, and their sessions end.",
            "delete": "Its devices are refused from now on, and their sessions end. Its keys are gone for good.",
        }[verb]
        return me.confirm(
            form,
            title=f"{verb.capitalize()} the group {name}?",
            text=text,
            button=verb.capitalize(),
            back=f"/groups/{name}",
        )
    await me.call(f"group.{verb}", name=name)
    return me.goto("/groups" if verb == "delete" else f"/groups/{name}", said=f"{verb.capitalize()}d {name}.")


def _ask(me: Visit, form: Form, what: str, name: str, slot: str) -> Response:
    title, text, button = _ENDS[what]
    return me.confirm(form, title=title.format(slot=slot), text=text, button=button, back=f"/groups/{name}")
