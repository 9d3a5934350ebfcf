"""Verbs on API tokens: what programs show to operate the gateway over HTTP."""

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from gateway.errors import ConflictError, NotFoundError, OperationError
from gateway.log import get_logger
from gateway.operations.documents import timestamp
from gateway.roles import Role
from gateway.tokens import MAX_TOKENS, ApiToken, Tokens

__all__ = ["TokenOperations"]

log = get_logger()

TokenName = Annotated[str, Field(min_length=1, max_length=255)]
RoleName = Literal["viewer", "operator", "builder", "administrator"]
_MAX_DAYS: Final = 3660
Days = Annotated[float, Field(gt=0, le=_MAX_DAYS)]

_TOKEN_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,255}")
_DAY_S: Final = 86_400


class TokenOperations:
    """`token.*`"""

    def __init__(self, *, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._clock = clock
        # Between looking and saving there is an await; two operators must not pass each other there.
        self._changing = asyncio.Lock()

    async def list(self) -> dict[str, Any]:
        """List the API tokens, without their secrets: nobody has those but who was shown them."""
        return {"tokens": [self._to_json(token) for token in self._tokens.list()]}

    async def show(self, *, name: TokenName) -> dict[str, Any]:
        """Show what an API token may do, and until when."""
        return self._to_json(self._get(name))

    async def create(
        self, *, name: TokenName, role: RoleName, days: Days = 365.0, expires_at: float | None = None
    ) -> dict[str, Any]:
        """Make an API token, good for so many days or until `expires_at`, in unix seconds.

        Its text is in the answer, and can't be shown again.
        """
        if _TOKEN_NAME.fullmatch(name) is None:
            raise OperationError(
                f"{name!r} can't name a token", hint="use letters, digits and '-' only, at most 255 of them"
            )
        now = self._clock()
        until = now + days * _DAY_S if expires_at is None else expires_at
        if not now < until <= now + _MAX_DAYS * _DAY_S:
            raise OperationError(f"an API token expires in the future, in {_MAX_DAYS} days at most")
        async with self._changing:
            if self._tokens.get(name) is not None:
                raise ConflictError(
                    f"the API token {name} exists already", hint="delete it first, or choose another name"
                )
            if len(self._tokens.list()) >= MAX_TOKENS:
                raise ConflictError(f"there are {MAX_TOKENS} API tokens already", hint="delete some")
            token, text = await self._tokens.create(name, Role(role), now=now, expires_at=until)
        log.info("token.changed", token_id=name, change="created", role=role)
        return self._to_json(token) | {"token": text}

    async def delete(self, *, name: TokenName) -> dict[str, Any]:
        """Delete an API token: it is refused from now on."""
        async with self._changing:
            self._get(name)
            await self._tokens.delete(name)
        log.info("token.changed", token_id=name, change="deleted")
        return {"id": name}

    def _get(self, name: str) -> ApiToken:
        token = self._tokens.get(name)
        if token is None:
            raise NotFoundError(f"there is no API token {name}", hint="see `gateway token list`")
        return token

    def _to_json(self, token: ApiToken) -> dict[str, Any]:
        return {
            "id": token.id,
            "role": token.role.value,
            "createdAt": timestamp(token.created_at),
            "expiresAt": timestamp(token.expires_at),
            "expired": self._clock() >= token.expires_at,
        }
