"""One request of somebody who is signed in: who asks, the way to the verbs, and what is answered."""

import hmac
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse
from itsdangerous import BadSignature, URLSafeTimedSerializer

from gateway.api.rest.calling import Caller, Context
from gateway.console.forms import Form, read_form
from gateway.console.rendering import render
from gateway.console.sign_in import NotSignedInError, Session, session_of
from gateway.errors import ForbiddenError, GatewayError
from gateway.roles import Role

__all__ = ["Me", "Visit", "answer_error"]

CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"
"""Of what a script sends instead of a form."""
_SAID_COOKIE: Final = "gateway_said"
_SAID_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request by a session. Whatever a page shows or changes goes through `call`."""

    request: Request
    session: Session
    caller: Caller

    async def call(self, verb: str, /, **arguments: Any) -> dict[str, Any]:
        """The verb's result. Raises what the verb raises."""
        return await self.caller.call(verb, **arguments)

    def may(self, role: str) -> bool:
        """Whether this operator's role includes `role`: pages hide what is not allowed. (The verb refuses it anyway.)"""
        return self.caller.has(Role(role))

    async def form(self) -> Form:
        """What the page's form sent. Raises `ForbiddenError` if it is not from a page of this session."""
        form = await read_form(self.request)
        shown = self.request.headers.get(CSRF_HEADER) or form.text(CSRF_FIELD)
        self.require_csrf(shown)
        return form

    def require_csrf(self, shown: str) -> None:
        """Raise `ForbiddenError` unless it is this session's CSRF token."""
        if not hmac.compare_digest(shown.encode(), self.session.csrf.encode()):
            raise ForbiddenError(
                "this form is not from a page of your session", hint="open the page again, and repeat it"
            )

    def page(self, page: str, *, http_status: HTTPStatus = HTTPStatus.OK, **values: Any) -> Response:
        """A page under `pages/`, with what was said by the request before (`goto`)."""
        said = _read_said(self.request)
        response = render(self.request, page, http_status=http_status, me=self, said=said, **values)
        if said:
            response.delete_cookie(_SAID_COOKIE)
        return response

    def unsaved(self, page: str, error: GatewayError, **values: Any) -> Response:
        """The form again, with what was typed (in `values`), and `error` at its head or beside its field."""
        return self.page(page, http_status=HTTPStatus.BAD_REQUEST, error=error, **values)

    def confirm(self, form: Form, *, title: str, text: str, button: str, back: str) -> Response:
        """Ask before what can't be undone: the same form once more, with `sure` (`form.ticked("sure")`)."""
        fields = [field for field in form.texts() if field[0] != "sure"]
        return self.page("confirm.html", title=title, text=text, button=button, back=back, fields=fields)

    def goto(self, path: str, *, said: str = "") -> Response:
        """After a form: on to a page of ours, which tells in one sentence what was done."""
        response = RedirectResponse(path, status_code=HTTPStatus.SEE_OTHER)
        if said:
            response.set_cookie(
                _SAID_COOKIE, _said_serializer(self.request).dumps(said), max_age=_SAID_S, httponly=True,
                secure=self.request.app.state.secure_cookies, samesite="strict",
            )  # fmt: skip
        return response

    @property
    def now(self) -> float:
        """Unix seconds, for `… | ago(me.now)`."""
        return self.caller.context.clock()


def answer_error(request: Request, status: HTTPStatus, title: str, message: str, hint: str = "") -> Response:
    """A page that says what went wrong and what to do; in the frame of the console if somebody is signed in."""
    try:
        me: Visit | None = _visit(request)
    except NotSignedInError:
        me = None
    return render(
        request, "error.html", http_status=status, me=me, said="", title=title, message=message, hint=hint
    )


def _visit(request: Request) -> Visit:
    context: Context = request.app.state.context
    session = session_of(request)
    return Visit(request=request, session=session, caller=Caller(actor=session.token.actor, context=context))


def _said_serializer(request: Request) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(request.app.state.key, salt="console said")


def _read_said(request: Request) -> str:
    try:
        said = _said_serializer(request).loads(request.cookies.get(_SAID_COOKIE, ""), max_age=_SAID_S)
    except BadSignature:
        return ""
    return str(said)


async def _me(request: Request) -> Visit:
    return _visit(request)


Me = Annotated[Visit, Depends(_me)]
