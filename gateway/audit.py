"""The audit log: who changed what, when, and how it looked before and after.

A record is written *before* its change, with the outcome `begun`, and completed after it. So there is no change
without a record: a store that can't take the record refuses the change, and a gateway that is killed in between
leaves a record that says `begun`. Secrets are not in it. How many records are kept, how long, and how large
one may be are settings.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import orjson

from gateway.errors import StoreError
from gateway.log import get_logger
from gateway.registry.operators import AuditQuery, AuditRecord, OperatorStore
from gateway.roles import Actor
from gateway.secrets import REDACTED
from gateway.settings import AuditSettings

__all__ = ["AuditLog", "Entry", "Outcome"]

log = get_logger()

Outcome = Literal["begun", "done", "refused", "failed", "cancelled"]
"""`refused`: nothing was changed. `failed`: a fault stopped it midway."""

_DAY_S: Final = 86_400
_SECRET_NAMES: Final = frozenset(
    {"primaryKey", "secondaryKey", "primary_key", "secondary_key", "symmetricKey", "token", "password"}
)  # fmt: skip
_Document = Mapping[str, Any]


class Entry:
    """A change that has begun. Complete it once, with `done` or `stopped`."""

    def __init__(self, log: "AuditLog", record_id: int) -> None:
        self._log = log
        self._record_id = record_id

    async def done(self, *, target: str | None, after: _Document | None) -> None:
        """The change is durable; `target` says what it was made to, if that was not known when it began."""
        await self._log.complete(self._record_id, "done", target=target, after=after)

    async def stopped(self, outcome: Literal["refused", "failed", "cancelled"]) -> None:
        """It ended early. Of a job that failed or was cancelled, what it had committed by then stays."""
        await self._log.complete(self._record_id, outcome, target=None, after=None)


class AuditLog:
    """Appends and lists records. `clock` returns unix seconds."""

    def __init__(self, store: OperatorStore, settings: AuditSettings, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock

    async def begin(
        self, actor: Actor, verb: str, *, target: str | None, arguments: _Document, before: _Document | None
    ) -> Entry:
        """Record that a change begins. Raises `StoreError`: then it must not be made."""
        now = self._clock()
        record = AuditRecord(
            at=now,
            actor=actor.name,
            verb=verb,
            target=target,
            arguments=self._text(arguments),
            outcome="begun",
            before=self._text(before) if before is not None else None,
        )
        record_id = await self._store.append_audit(
            record, keep=self._settings.max_records, keep_since=now - self._settings.max_age_days * _DAY_S
        )
        return Entry(self, record_id)

    async def complete(
        self, record_id: int, outcome: Outcome, *, target: str | None, after: _Document | None
    ) -> None:
        """Say how it ended. The change is made by now, so a store that fails here is only logged."""
        text = self._text(after) if after is not None else None
        try:
            await self._store.finish_audit(record_id, outcome=outcome, target=target, after=text)
        except StoreError as error:
            log.error("audit.failed", record=record_id, outcome=outcome, error=error.message)

    async def list(
        self, query: AuditQuery, *, before: int | None, limit: int
    ) -> "tuple[list[AuditRecord], int | None]":
        """A page, the newest first, and the `before` of the next page, if there may be one."""
        records = await self._store.list_audit(query, before=before, limit=limit)
        return records, records[-1].id if len(records) == limit else None

    def _text(self, document: _Document) -> str:
        text = orjson.dumps(_without_secrets(document))
        if len(text) > self._settings.max_document_bytes:
            summary = {"omittedBytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
            text = orjson.dumps(summary)
        return text.decode()


def _without_secrets(value: Any) -> Any:
    """A second line of defence: what is called a secret is none of the audit log's business, wherever it stands."""
    match value:
        case Mapping():
            return {
                str(name): REDACTED if name in _SECRET_NAMES and isinstance(part, str) else _without_secrets(part)
                for name, part in value.items()
            }  # fmt: skip
        case list() | tuple():
            return [_without_secrets(part) for part in value]
        case _:
            return value
