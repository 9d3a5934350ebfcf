"""IoT Central's form of an error, and which HTTP status an error has.

`{"error": {"code", "message", "requestId", "time"}}`, and the code again in the header `x-ms-error-code`
(Azure/azure-rest-api-specs, iotcentral data plane 2022-07-31, `Error`). `time` is RFC 1123, as in the header `Date`. Our
`hint`, the next step, ends the message.
"""

import secrets
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.errors import (
    ChangedError,
    ConflictError,
    ForbiddenError,
    GatewayError,
    NotFoundError,
    OperationError,
    StoreError,
    TemplateError,
)
from gateway.log import get_logger

__all__ = ["ERROR_SCHEMA", "UnauthorizedError", "UnservedError", "answer_error", "on_fault", "on_gateway_error",
           "on_http_error", "on_invalid_request"]  # fmt: skip

log = get_logger()

_REQUEST_ID_BYTES: Final = 8

ERROR_SCHEMA: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "requestId", "time"],
            "properties": {name: {"type": "string"} for name in ("code", "message", "requestId", "time")},
        }
    },
}


class UnauthorizedError(OperationError):
    """The request shows no API token that is in force."""


class UnservedError(OperationError):
    """IoT Central has it, this gateway does not (yet)."""


# The most special class comes first: `isinstance` takes the first that fits.
_ANSWERS: Final[tuple[tuple[type[GatewayError], HTTPStatus, str], ...]] = (
    (UnauthorizedError, HTTPStatus.UNAUTHORIZED, "Unauthorized"),
    (ForbiddenError, HTTPStatus.FORBIDDEN, "Forbidden"),
    (UnservedError, HTTPStatus.NOT_IMPLEMENTED, "NotImplemented"),
    (NotFoundError, HTTPStatus.NOT_FOUND, "NotFound"),
    (ChangedError, HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed"),
    (ConflictError, HTTPStatus.CONFLICT, "Conflict"),
    (OperationError, HTTPStatus.BAD_REQUEST, "BadRequest"),
    (TemplateError, HTTPStatus.BAD_REQUEST, "InvalidTemplate"),
    (StoreError, HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable"),
    (GatewayError, HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError"),
)
_CODES: Final = {
    HTTPStatus.BAD_REQUEST: "InvalidBody",  # FastAPI says so of a body in no known encoding
    HTTPStatus.NOT_FOUND: "NotFound",
    HTTPStatus.METHOD_NOT_ALLOWED: "MethodNotAllowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "PayloadTooLarge",
    HTTPStatus.GATEWAY_TIMEOUT: "Timeout",
}


def answer_error(
    status: int, code: str, message: str, headers: "dict[str, str] | None" = None
) -> JSONResponse:
    """An error in IoT Central's form."""
    error = {
        "code": code,
        "message": message,
        "requestId": secrets.token_hex(_REQUEST_ID_BYTES),
        "time": formatdate(usegmt=True),
    }
    return JSONResponse(
        {"error": error}, status_code=status, headers={"x-ms-error-code": code, **(headers or {})}
    )


async def on_gateway_error(request: Request, error: Exception) -> JSONResponse:
    """What a verb raised."""
    assert isinstance(error, GatewayError)  # noqa: S101 - registered for this class
    _, status, code = next(answer for answer in _ANSWERS if isinstance(error, answer[0]))
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        peer = request.client.host if request.client is not None else ""
        log.warning(
            "api.refused", peer=peer, method=request.method, path=request.url.path[:200], reason=code.lower(),
            detail=error.message,
        )  # fmt: skip
    challenge = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    return answer_error(status, code, message, challenge)


async def on_http_error(_request: Request, error: Exception) -> JSONResponse:
    """No such path, or not with that method."""
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers) if error.headers else None
    return answer_error(status, _CODES.get(status, status.phrase.replace(" ", "")), error.detail, headers)


async def on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    """A body or a parameter that is not what the route takes: the first problem, without its value (it may be a key)."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    where, *names = (str(part) for part in first["loc"])
    name = ".".join(names)
    code = "InvalidBody" if where == "body" else "InvalidParameter"
    problem = "is not JSON" if first["type"] == "json_invalid" else first["msg"].removeprefix("Value error, ")
    said = (
        f"{where} {name}: {problem}" if name and first["type"] != "json_invalid" else f"the {where} {problem}"
    )
    return answer_error(HTTPStatus.BAD_REQUEST, code, said)


def on_fault(request: Request, error: Exception) -> JSONResponse:
    """A fault of the gateway's own must not end it, nor show what it was about."""
    log.error("operation.failed", verb=f"{request.method} {request.url.path[:200]}", error=repr(error))
    return answer_error(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "InternalServerError",
        "the request failed; the gateway's log has the reason",
    )
