"""Signing in with an API token, and the session that follows.

The session is in the browser: a signed cookie that names the token, not the token itself. It is good while the token is in
force and at most `SESSION_S` seconds, also across restarts of the gateway; whoever deletes the token ends its sessions.
The key that signs is in the state directory, so that a stolen database makes nobody an operator.
"""

import hmac
import os
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from itsdangerous import BadSignature, URLSafeTimedSerializer

from gateway.api.rest.calling import Context
from gateway.console.forms import read_form
from gateway.console.rendering import render
from gateway.errors import OperationError, StartError
from gateway.log import get_logger
from gateway.tokens import ApiToken

__all__ = [
    "COOKIE",
    "SESSION_S",
    "Key",
    "NotSignedInError",
    "Session",
    "link",
    "load_key",
    "router",
    "session_of",
]

log = get_logger()

router = APIRouter()

COOKIE: Final = "gateway_session"
SESSION_S: Final = 12 * 60 * 60
"""A working day."""
_KEY_BYTES: Final = 32
_MAX_COOKIE: Final = 1024

Key = bytes


class NotSignedInError(OperationError):
    """The request has no session that is good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who signed in. `csrf` is in each of their forms."""

    token: ApiToken
    csrf: str


def load_key(file: Path) -> Key:
    """The key that signs, made when there is none (mode 0600). Raises `StartError`."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise StartError(f"{file}: can't be written: {error.strerror}") from None
    else:
        with os.fdopen(descriptor, "wb") as new:
            new.write(secrets.token_bytes(_KEY_BYTES))
    try:
        key = file.read_bytes()
    except OSError as error:
        raise StartError(f"{file}: can't be read: {error.strerror}") from None
    if len(key) != _KEY_BYTES:
        raise StartError(
            f"{file}: not a key of {_KEY_BYTES} bytes", hint="delete it: whoever was signed in signs in again"
        )
    return key


def session_of(request: Request) -> Session:
    """The session that the request's cookie shows. Raises `NotSignedInError`."""
    context: Context = request.app.state.context
    cookie = request.cookies.get(COOKIE, "")
    try:
        shown: dict[str, Any] = _serializer(request).loads(cookie[:_MAX_COOKIE], max_age=SESSION_S)
    except BadSignature:
        raise NotSignedInError("nobody is signed in") from None
    token = context.tokens.get(shown["token"])
    # The name may be another token's by now.
    if (
        token is None
        or not hmac.compare_digest(_mark(token), shown["mark"])
        or context.clock() >= token.expires_at
    ):
        raise NotSignedInError("the API token of this session is no longer in force")
    return Session(token=token, csrf=shown["csrf"])


def link(wanted: str) -> str:
    """The way to the sign-in page, and from there to the page that was wanted."""
    return "/sign-in" if wanted == "/" else f"/sign-in?next={quote(wanted, safe='')}"


@router.get("/sign-in")
async def show(
    request: Request, next_: Annotated[str, Query(alias="next", max_length=2000)] = "/"
) -> Response:
    """The form."""
    try:
        session_of(request)
    except NotSignedInError:
        return _form(request, next_)
    return RedirectResponse(_local(next_), status_code=HTTPStatus.SEE_OTHER)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Take a token, whole or only its secret, and give a session for it."""
    form = await read_form(request)
    context: Context = request.app.state.context
    shown, wanted = form.text("token").strip(), form.text("next") or "/"
    if not shown:
        return _form(request, wanted, problem="Paste an API token.")
    token = context.tokens.authenticate(shown, now=context.clock()) or context.tokens.authenticate(
        f"Bearer {shown}", now=context.clock()
    )
    if token is None:
        peer = request.client.host if request.client is not None else ""
        log.warning(
            "api.refused", peer=peer, method="POST", path="/sign-in", reason="unauthorized",
            detail="no API token that is in force",
        )  # fmt: skip
        return _form(request, wanted, problem="This is not an API token that is in force here.")
    session = {"token": token.id, "mark": _mark(token), "csrf": secrets.token_urlsafe(16)}
    response = RedirectResponse(_local(wanted), status_code=HTTPStatus.SEE_OTHER)
    response.set_cookie(
        COOKIE,
        _serializer(request).dumps(session),
        max_age=SESSION_S,
        httponly=True,
        secure=request.app.state.secure_cookies,
        samesite="strict",
    )
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """End the session in this browser. (SameSite: no other site's page can.)"""
    response = RedirectResponse("/sign-in", status_code=HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, httponly=True, secure=request.app.state.secure_cookies, samesite="strict")
    return response


def _form(request: Request, wanted: str, *, problem: str = "") -> Response:
    status = HTTPStatus.UNAUTHORIZED if problem else HTTPStatus.OK
    return render(request, "sign_in.html", http_status=status, wanted=_local(wanted), problem=problem)


def _serializer(request: Request) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(request.app.state.key, salt="console session")


def _mark(token: ApiToken) -> str:
    """Which of the tokens that ever had this name. (A digest of a secret; its first half gives nothing away.)"""
    return token.digest[:32]


def _local(path: str) -> str:
    """A path of ours, or `/`: nobody is sent to another site after signing in."""
    parts = urlsplit(path)
    is_local = path.startswith("/") and not path.startswith("//") and not parts.netloc and "\\" not in path
    return path if is_local else "/"
