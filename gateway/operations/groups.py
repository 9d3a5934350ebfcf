"""Verbs on enrollment groups.

Whatever takes a group's right away (disable, delete) also closes the sessions that came in by it; the result
says how many.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from gateway.enrollment.models import EnrollmentGroup, SigningCertificates, SymmetricKeys
from gateway.errors import ConflictError, NotFoundError, OperationError
from gateway.groups import Groups
from gateway.log import get_logger
from gateway.operations.attestation import (
    Attestation,
    Key,
    keys_from,
    keys_to_json,
    load_signing_certificate,
    signing_certificates_to_json,
)
from gateway.operations.documents import timestamp
from gateway.operations.sessions import Sessions
from gateway.operations.verbs import GroupName, Pem
from gateway.session import CloseReason

__all__ = ["GroupOperations"]

log = get_logger()


class GroupOperations:
    """`group.*`"""

    def __init__(self, *, groups: Groups, sessions: Sessions, clock: Callable[[], float]) -> None:
        self._groups = groups
        self._sessions = sessions
        self._clock = clock
        # Between looking and saving there is an await; two operators must not pass each other there.
        self._changing = asyncio.Lock()

    async def list(self) -> Mapping[str, Any]:
        """List the enrollment groups, without keys."""
        return {"groups": [_to_json(group) for group in self._groups.list()]}

    async def show(self, *, name: GroupName, keys: bool = False) -> Mapping[str, Any]:
        """Show one group; its keys only if they are asked for."""
        return _to_json(self._get(name), keys=keys)

    async def create(
        self,
        *,
        name: GroupName,
        attestation: Attestation,
        auto_approve: bool = True,
        primary_key: Key | None = None,
        secondary_key: Key | None = None,
        primary_certificate: Pem | None = None,
        secondary_certificate: Pem | None = None,
    ) -> Mapping[str, Any]:
        """Create a group: with SAS keys (generated if not given), or with the CAs that sign its devices' certificates."""
        now = self._clock()
        mechanism: SymmetricKeys | SigningCertificates
        if attestation == "symmetricKey":
            if primary_certificate or secondary_certificate:
                raise OperationError("a group with symmetric keys has no certificates")
            mechanism = keys_from(primary_key, secondary_key)
        else:
            if primary_key or secondary_key:
                raise OperationError("a group with certificates has no symmetric keys")
            if primary_certificate is None:
                raise OperationError(
                    "an X.509 group needs the certificate of its CA", hint="give --primary-ca FILE"
                )
            mechanism = SigningCertificates(
                primary=load_signing_certificate(primary_certificate, now=now),
                secondary=None
                if secondary_certificate is None
                else load_signing_certificate(secondary_certificate, now=now),
            )
        async with self._changing:
            if self._groups.get(name) is not None:
                raise ConflictError(f"the enrollment group {name} exists already")
            self._refuse_shared_ca(mechanism)
            group = EnrollmentGroup.new(name, mechanism, auto_approve=auto_approve, now=now)
            await self._groups.save(group)
        log.info("group.changed", group=name, change="created", mechanism=attestation)
        return _to_json(group)
