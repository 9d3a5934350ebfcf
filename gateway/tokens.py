"""API tokens: what a program shows to operate the gateway over HTTP.

A token's secret is 256 random bits, shown once. What is kept is its SHA-256: a slow password hash defends guessable
secrets against whoever stole the hashes, and 2**256 guesses need no defence; a fast one costs each request nothing.
For the same reason a look-up by digest gives nothing away by the time it takes: who could steer a digest
towards a stored one would have broken SHA-256.

It is written as IoT Central writes its API tokens, `SharedAccessSignature sr=…&sig=…&skn=…&se=…`: the gateway's ID
scope, the secret, the token's name, and its expiry in unix *milliseconds*. `Bearer {sig}` is the same token.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote

from gateway.registry.operators import OperatorStore, TokenRecord
from gateway.roles import Actor, Role

__all__ = ["MAX_TOKENS", "ApiToken", "Tokens", "read_authorization"]

MAX_TOKENS: Final = 1000
"""They are all in memory."""
_SECRET_BYTES: Final = 32
_MAX_FIELDS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token without its secret. Times are unix seconds."""

    id: str
    role: Role
    digest: str
    """SHA-256 of the secret, in hex."""
    created_at: float
    expires_at: float

    @property
    def actor(self) -> Actor:
        return Actor(name=f"token/{self.id}", role=self.role)


class Tokens:
    """The tokens in force. The store is written first, the memory after it."""

    def __init__(self, store: OperatorStore, *, id_scope: str) -> None:
        self._store = store
        self._id_scope = id_scope
        self._tokens: dict[str, ApiToken] = {}
        self._by_digest: dict[str, ApiToken] = {}

    async def load(self) -> None:
        """Read every token. Raises `StoreError`."""
        self._tokens = {record.id: _from_record(record) for record in await self._store.load_tokens()}
        self._by_digest = {token.digest: token for token in self._tokens.values()}

    def get(self, token_id: str) -> ApiToken | None:
        return self._tokens.get(token_id)

    def list(self) -> tuple[ApiToken, ...]:
        return tuple(self._tokens[token_id] for token_id in sorted(self._tokens))

    async def create(
        self, token_id: str, role: Role, *, now: float, expires_at: float
    ) -> tuple[ApiToken, str]:
        """A new token in force, and its text, which nobody can show again. Raises `StoreError`."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        token = ApiToken(
            id=token_id, role=role, digest=_digest(secret), created_at=now, expires_at=expires_at
        )
        await self._store.save_token(_to_record(token))
        self._tokens[token_id] = token
        self._by_digest[token.digest] = token
        return token, self._text(token, secret)

    async def delete(self, token_id: str) -> None:
        """Raises `StoreError`. Deleting what is not there does nothing."""
        await self._store.delete_token(token_id)
        token = self._tokens.pop(token_id, None)
        if token is not None:
            del self._by_digest[token.digest]

    def authenticate(self, authorization: str, *, now: float) -> ApiToken | None:
        """The token that an `Authorization` header shows, if it is one of ours and has not expired."""
        secret = read_authorization(authorization)
        token = self._by_digest.get(_digest(secret)) if secret else None
        return token if token is not None and now < token.expires_at else None

    def _text(self, token: ApiToken, secret: str) -> str:
        # The secret and the names need no escaping, but whoever takes it apart unescapes.
        fields = (
            ("sr", self._id_scope), ("sig", secret), ("skn", token.id), ("se", str(round(token.expires_at * 1000))),
        )  # fmt: skip
        return "SharedAccessSignature " + "&".join(
            f"{name}={quote(value, safe='')}" for name, value in fields
        )


def read_authorization(header: str) -> str | None:
    """The secret in an `Authorization` header: `sig` of a shared access signature, or what follows `Bearer`."""
    scheme, _, rest = header.strip().partition(" ")
    match scheme.lower():
        case "bearer" if rest.lstrip().lower().startswith("sharedaccesssignature "):
            return read_authorization(rest)  # a whole token, pasted after the other scheme's name
        case "bearer":
            return rest.strip() or None
        case "sharedaccesssignature":
            try:
                fields = dict(parse_qsl(rest.strip(), max_num_fields=_MAX_FIELDS))
            except ValueError:
                return None
            return fields.get("sig")
        case _:
            return None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _to_record(token: ApiToken) -> TokenRecord:
    return TokenRecord(
        id=token.id, role=token.role.value, digest=token.digest, created_at=token.created_at, expires_at=token.expires_at
    )  # fmt: skip


def _from_record(record: TokenRecord) -> ApiToken:
    return ApiToken(
        id=record.id, role=Role(record.role), digest=record.digest, created_at=record.created_at,
        expires_at=record.expires_at,
    )  # fmt: skip
