"""Who calls, with which API version, and the way from a route to a verb."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Query, Request
from fastapi.security import APIKeyHeader

from gateway.api.control import REQUEST_TIMEOUT_S, Dispatcher
from gateway.api.jobs import Jobs
from gateway.api.rest.errors import UnauthorizedError
from gateway.errors import NotFoundError, OperationError, StoreUnavailable
from gateway.roles import Actor, Role
from gateway.tokens import Tokens

__all__ = ["API_VERSIONS", "ApiVersion", "Caller", "Context", "IfMatch", "Me", "etag_meant", "quoted"]

API_VERSIONS: Final = ("2022-07-31", "2022-06-30-preview")
"""The second is what the Azure CLI's `az iot central device list` asks with; it gets the same shapes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the routes need of the gateway."""

    operations: Dispatcher
    tokens: Tokens
    jobs: Jobs
    id_scope: str
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and the one way to a verb."""

    actor: Actor
    context: Context

    async def call(self, verb: str, /, **arguments: Any) -> dict[str, Any]:
        """The verb's result. Raises what the verb raises, and `StoreUnavailable` if it takes too long."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                result: dict[str, Any] = await self.context.operations.call(verb, arguments, by=self.actor)
        except TimeoutError:
            raise StoreUnavailable(f"{verb} took longer than {REQUEST_TIMEOUT_S:g} seconds") from None
        return result

    def has(self, role: Role) -> bool:
        return self.actor.role.includes(role)


_AUTHORIZATION = APIKeyHeader(
    name="Authorization",
    auto_error=False,
    description="An API token, whole: `SharedAccessSignature sr=…&sig=…&skn=…&se=…`; or `Bearer` and its `sig`.",
)


async def _caller(request: Request, authorization: Annotated[str | None, Depends(_AUTHORIZATION)]) -> Caller:
    context: Context = request.app.state.context
    token = context.tokens.authenticate(authorization, now=context.clock()) if authorization else None
    if token is None:
        raise UnauthorizedError(
            "no API token that is in force" if authorization else "an API token is missing",
            hint="send the header `Authorization: SharedAccessSignature …`; `gateway token list` shows which expired",
        )
    return Caller(actor=token.actor, context=context)


async def _api_version(
    version: Annotated[str | None, Query(alias="api-version", examples=[API_VERSIONS[0]])] = None,
) -> None:
    if version is None:
        raise NotFoundError("the api-version is missing", hint=f"add ?api-version={API_VERSIONS[0]}")
    if version not in API_VERSIONS:
        raise NotFoundError(f'"{version[:40]}" is not a valid API version', hint=f"use {API_VERSIONS[0]}")


async def _if_match(header: Annotated[str | None, Header(alias="If-Match")] = None) -> str | None:
    """The etag that the caller read, as our verbs take it; `*` is any."""
    return unquoted(header)


Me = Annotated[Caller, Depends(_caller)]
ApiVersion: Final = Depends(_api_version)
IfMatch = Annotated[str | None, Depends(_if_match)]

_MAX_ETAG: Final = 64


def unquoted(etag: str | None) -> str | None:
    """`"e1"`, `W/"e1"` or `e1` → `e1`. Raises `OperationError`."""
    if etag is None or etag.strip() == "*":
        return None
    bare = etag.strip().removeprefix("W/").strip('"')
    if not 0 < len(bare) <= _MAX_ETAG:
        raise OperationError("If-Match: not an etag of this gateway", hint="send the `etag` that you read")
    return bare


def quoted(etag: str) -> str:
    """An etag as IoT Central shows it: with its quotes."""
    return f'"{etag}"'


def etag_meant(header: str | None, body: str | None) -> str | None:
    """The etag of the header, else that of the body: IoT Central's clients send it there."""
    return header if header is not None else unquoted(body)
