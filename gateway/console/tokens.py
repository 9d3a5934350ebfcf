"""API tokens: who may operate the gateway, and how far."""

from fastapi import APIRouter, Response

from gateway.console.forms import Form
from gateway.console.visit import Me, Visit
from gateway.errors import GatewayError, OperationError

__all__ = ["router"]

router = APIRouter(prefix="/tokens")

_DAYS = 365


@router.get("")
async def show_all(me: Me) -> Response:
    """The list, and the form for one more."""
    return await _page(me)


async def _page(
    me: Visit, *, error: GatewayError | None = None, form: Form | None = None, made: str = ""
) -> Response:
    listed = await me.call("token.list")
    values = {"tokens": listed["tokens"], "form": form or Form(days=str(_DAYS)), "made": made, "error": error}
    return me.unsaved("tokens.html", **values) if error else me.page("tokens.html", **values)


@router.post("")
async def create(me: Me) -> Response:
    """Make it. Its text is on the page that answers, and nowhere afterwards."""
    form = await me.form()
    try:
        days = form.text("days").strip()
        if not days.isdecimal():
            raise OperationError("write a number of days", argument="days")
        made = await me.call(
            "token.create", name=form.text("name").strip(), role=form.text("role"), days=float(days)
        )
    except GatewayError as error:
        return await _page(me, error=error, form=form)
    return await _page(me, made=made["token"])


@router.post("/delete")
async def delete(me: Me) -> Response:
    """Whoever shows it is refused from then on; sessions that it signed in end."""
    form = await me.form()
    name = form.text("name")
    if not form.ticked("sure"):
        return me.confirm(
            form, title=f"Delete the token {name}?", text="Whoever uses it is refused from now on.",
            button="Delete", back="/tokens",
        )  # fmt: skip
    await me.call("token.delete", name=name)
    return me.goto("/tokens", said=f"Deleted {name}.")
