"""The console as an application of its own, to be mounted at `/`: it answers errors as pages."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from gateway.api.rest.calling import Context
from gateway.console import (
    audit,
    device,
    devices,
    enrollments,
    groups,
    jobs,
    live,
    overview,
    sign_in,
    templates,
    tokens,
)
from gateway.console.sign_in import Key, NotSignedInError
from gateway.console.visit import answer_error
from gateway.errors import ForbiddenError, GatewayError, NotFoundError, StoreError
from gateway.log import get_logger

__all__ = ["make_console_app"]

log = get_logger()

_ROUTERS: Final = (
    sign_in.router, overview.router, live.router, devices.router, device.router, jobs.router, groups.router,
    enrollments.router, templates.router, audit.router, tokens.router,
)  # fmt: skip
_STATIC: Final = Path(__file__).parent / "static"
_HEADERS: Final = {
    # No script and no style in a page, nothing from elsewhere, no page of ours in another's frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def make_console_app(context: Context, key: Key, *, secure_cookies: bool) -> FastAPI:
    """The application. `key` signs its cookies, which browsers send over TLS only if `secure_cookies`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, default_response_class=Response)
    app.state.context = context
    app.state.key = key
    app.state.secure_cookies = secure_cookies
    app.add_exception_handler(NotSignedInError, _to_sign_in)
    app.add_exception_handler(GatewayError, _on_gateway_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.middleware("http")(_guard)
    for router in _ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """The headers of every answer; and a fault in one request must not end the gateway."""
    try:
        response = await call_next(request)
    except Exception as error:  # noqa: BLE001 - see above
        log.error("operation.failed", verb=f"{request.method} {request.url.path[:200]}", error=repr(error))
        response = answer_error(
            request,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "The request failed",
            "The gateway's log has the reason.",
        )
    response.headers.update(_HEADERS)
    # What a page shows may be secret. Scripts and styles are not: browsers ask again, and are told "not modified".
    static = request.url.path.startswith("/static/")
    response.headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
    return response


async def _to_sign_in(request: Request, _error: Exception) -> Response:
    """Somebody without a session is asked to sign in, and comes back to the page that was wanted."""
    if request.method == "GET":
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    else:  # back to the page with the form, where console.js puts in again what was typed
        form = urlsplit(request.headers.get("referer", ""))
        is_ours = form.netloc == request.url.netloc
        wanted = (form.path + (f"?{form.query}" if form.query else "") or "/") if is_ours else "/"
    return RedirectResponse(sign_in.link(wanted), status_code=HTTPStatus.SEE_OTHER)


async def _on_gateway_error(request: Request, error: Exception) -> Response:
    """What a verb raised and the page's own form did not show."""
    assert isinstance(error, GatewayError)  # noqa: S101 - registered for this class
    status, title = next(
        (status, title) for kind, status, title in _ERRORS if isinstance(error, kind)
    )  # the last fits every one
    return answer_error(request, status, title, error.message, error.hint)


_ERRORS: Final = (
    (ForbiddenError, HTTPStatus.FORBIDDEN, "Your role does not allow it"),
    (NotFoundError, HTTPStatus.NOT_FOUND, "Not found"),
    (StoreError, HTTPStatus.SERVICE_UNAVAILABLE, "The store does not answer"),
    (GatewayError, HTTPStatus.BAD_REQUEST, "That was not possible"),
)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == HTTPStatus.NOT_FOUND:
        return answer_error(request, HTTPStatus.NOT_FOUND, "Not found", "There is no such page.")
    return answer_error(
        request, HTTPStatus(error.status_code), HTTPStatus(error.status_code).phrase, str(error.detail)
    )


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    """A query that no page of ours asks."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return answer_error(request, HTTPStatus.BAD_REQUEST, "That was not possible", f"{name}: {first['msg']}")
