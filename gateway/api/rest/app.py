"""The REST API as an application of its own, to be mounted at `/api`: it has its own form of errors."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import __version__
from gateway.api.control import MAX_REQUEST_BYTES
from gateway.api.rest import devices, events, groups, jobs, templates, tokens, unserved, verbs
from gateway.api.rest.calling import Context
from gateway.api.rest.errors import (
    ERROR_SCHEMA,
    answer_error,
    on_fault,
    on_gateway_error,
    on_http_error,
    on_invalid_request,
)
from gateway.errors import GatewayError

__all__ = ["make_rest_app"]

_ROUTERS: Final = (
    jobs.router, devices.router, devices.own, templates.router, groups.router, tokens.router, tokens.roles,
    verbs.router, verbs.audit, events.router, unserved.router,
)  # fmt: skip
_ERROR: Final[dict[int | str, dict[str, Any]]] = {
    "default": {"description": "An error.", "content": {"application/json": {"schema": ERROR_SCHEMA}}}
}


def make_rest_app(context: Context) -> FastAPI:
    """The application. It is served under `/api`, with its OpenAPI document at `/api/openapi.json`."""
    app = FastAPI(
        title="gateway",
        version=__version__,
        description="IoT Central's data plane (2022-07-31) on this gateway, and the gateway's own verbs beside it.",
        docs_url=None,
        redoc_url=None,
        responses=_ERROR,
        separate_input_output_schemas=False,
    )
    app.state.context = context
    app.add_exception_handler(GatewayError, on_gateway_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_middleware(_Guard)
    for router in _ROUTERS:
        app.include_router(router)
    return app


class _Guard:
    """Bounds what a request may send, and answers what nobody expected.

    A fault in one request must not end the gateway. uvicorn would go on, too, but with an answer in another form.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"].endswith(jobs.UPLOAD_PATH)
        most = jobs.MAX_UPLOAD_BYTES if is_upload else MAX_REQUEST_BYTES
        body = _BoundedBody(receive, most)
        answered = False

        async def answer(message: Message) -> None:
            nonlocal answered
            if not body.is_too_large:  # what the application makes of half a body is not the answer
                answered = True
                await send(message)

        fault: Exception | None = None
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > most:
            body.is_too_large = True
        else:
            try:
                await self._app(scope, body.receive, answer)
            except Exception as error:  # noqa: BLE001 - see above
                fault = error
        if body.is_too_large:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            said = f"a request has at most {most} bytes"
            await answer_error(status, "PayloadTooLarge", said)(scope, receive, send)
        elif fault is not None:
            response = on_fault(Request(scope), fault)
            if not answered:
                await response(scope, receive, send)


class _BoundedBody:
    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._read = 0
        self.is_too_large = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            self.is_too_large = True
            return {"type": "http.disconnect"}
        return message
