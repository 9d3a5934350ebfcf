"""The verb that reads the audit log. What writes it is `Operations.call`."""

from typing import Annotated, Any

import orjson
from pydantic import Field

from gateway.audit import AuditLog
from gateway.operations.documents import timestamp
from gateway.operations.verbs import Limit
from gateway.registry.operators import AuditQuery, AuditRecord

__all__ = ["AuditOperations"]

Text = Annotated[str, Field(min_length=1, max_length=2048)]
RecordId = Annotated[int, Field(ge=1, lt=2**63)]


class AuditOperations:
    """`audit.*`"""

    def __init__(self, *, audit: AuditLog) -> None:
        self._audit = audit

    async def list(
        self,
        *,
        before: RecordId | None = None,
        limit: Limit = 100,
        actor: Text | None = None,
        verb: Text | None = None,
        target: Text | None = None,
    ) -> dict[str, Any]:
        """List what operators changed, the newest first: `next` is the `before` of the next page, or null."""
        query = AuditQuery(actor=actor, verb=verb, target=target)
        records, following = await self._audit.list(query, before=before, limit=limit)
        return {"records": [_to_json(record) for record in records], "next": following}


def _to_json(record: AuditRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "at": timestamp(record.at),
        "actor": record.actor,
        "verb": record.verb,
        "target": record.target,
        "arguments": orjson.loads(record.arguments),
        "outcome": record.outcome,
        "before": orjson.loads(record.before) if record.before is not None else None,
        "after": orjson.loads(record.after) if record.after is not None else None,
    }
