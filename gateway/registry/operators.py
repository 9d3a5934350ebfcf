"""What survives of those who operate the gateway: their API tokens, and the audit log of what they did.

It lives in the same database as the registry; `SqlStore` hands over its connections.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.registry import schema

__all__ = ["AuditQuery", "AuditRecord", "OperatorStore", "SqlOperatorStore", "TokenRecord"]

_Connect = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """An API token as stored. Times are unix seconds."""

    id: str
    role: str
    digest: str
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One write. `arguments`, `before` and `after` are JSON text without secrets; `at` is unix seconds."""

    id: int = 0
    """The store numbers them."""
    at: float
    actor: str
    verb: str
    target: str | None
    arguments: str
    outcome: str
    before: str | None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which writes to list; None means any."""

    actor: str | None = None
    verb: str | None = None
    target: str | None = None


class OperatorStore(Protocol):
    """Every method raises `StoreError` if the store can't answer."""

    async def load_tokens(self) -> list[TokenRecord]: ...
    async def save_token(self, token: TokenRecord) -> None: ...
    async def delete_token(self, token_id: str) -> None: ...
    async def append_audit(self, record: AuditRecord, *, keep: int, keep_since: float) -> int: ...
    async def finish_audit(
        self, record_id: int, *, outcome: str, target: str | None, after: str | None
    ) -> None: ...
    async def list_audit(self, query: AuditQuery, *, before: int | None, limit: int) -> list[AuditRecord]: ...


class SqlOperatorStore:
    """On an SQL database. `reading` and `writing` open a connection, the latter with a transaction."""

    def __init__(self, *, reading: _Connect, writing: _Connect) -> None:
        self._reading = reading
        self._writing = writing

    async def load_tokens(self) -> list[TokenRecord]:
        async with self._reading() as connection:
            found = await connection.execute(select(schema.api_tokens).order_by("id"))
            return [TokenRecord(**row._mapping) for row in found]  # noqa: SLF001 - SQLAlchemy's way to a dict

    async def save_token(self, token: TokenRecord) -> None:
        """Store a new token."""
        async with self._writing() as connection:
            await connection.execute(insert(schema.api_tokens), [_to_row(token)])

    async def delete_token(self, token_id: str) -> None:
        async with self._writing() as connection:
            await connection.execute(delete(schema.api_tokens).where(schema.api_tokens.c.id == token_id))

    async def append_audit(self, record: AuditRecord, *, keep: int, keep_since: float) -> int:
        """Store a record; drop all but the newest `keep` and what is older than `keep_since`. Returns its number."""
        table = schema.audit
        row = _to_row(record)
        del row["id"]
        async with self._writing() as connection:
            appended = await connection.execute(insert(table).values(row))
            key = appended.inserted_primary_key
            number = int(key[0]) if key else 0
            # Both follow an index to what is old, which is next to nothing each time.
            await connection.execute(delete(table).where(table.c.id <= number - keep))
            await connection.execute(delete(table).where(table.c.at < keep_since))
            return number

    async def finish_audit(
        self, record_id: int, *, outcome: str, target: str | None, after: str | None
    ) -> None:
        table = schema.audit
        done = {"outcome": outcome, "target": func.coalesce(table.c.target, target), "after": after}
        async with self._writing() as connection:
            await connection.execute(update(table).where(table.c.id == record_id).values(done))

    async def list_audit(self, query: AuditQuery, *, before: int | None, limit: int) -> list[AuditRecord]:
        """A page of records, the newest first."""
        columns = schema.audit.c
        statement = select(schema.audit).order_by(columns.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(columns.id < before)
        for column, value in (
            (columns.actor, query.actor), (columns.verb, query.verb), (columns.target, query.target),
        ):  # fmt: skip
            if value is not None:
                statement = statement.where(column == value)
        async with self._reading() as connection:
            found = await connection.execute(statement)
            return [AuditRecord(**row._mapping) for row in found]  # noqa: SLF001


def _to_row(record: TokenRecord | AuditRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}
