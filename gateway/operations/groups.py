"""Verbs on enrollment groups.

Whatever takes a group's right away (disable, delete) also closes the sessions that came in by it; the result
says how many.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from cryptography import x509

from gateway.enrollment.models import EnrollmentGroup, SigningCertificates, SymmetricKeys, is_group_id
from gateway.errors import ConflictError, NotFoundError, OperationError
from gateway.groups import Groups
from gateway.log import get_logger
from gateway.operations.attestation import (
    Attestation,
    Key,
    certificate_to_json,
    keys_from,
    keys_to_json,
    load_signing_certificate,
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

    async def list(self) -> dict[str, Any]:
        """List the enrollment groups, without their keys."""
        return {"groups": [_to_json(group) for group in self._groups.list()]}

    async def show(self, *, name: GroupName, keys: bool = False) -> dict[str, Any]:
        """Show one group; its keys only if they are asked for."""
        group = self._get(name)
        shown = _to_json(group)
        if keys and isinstance(group.attestation, SymmetricKeys):
            shown |= keys_to_json(group.attestation)
        return shown

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
    ) -> dict[str, Any]:
        """Create a group with symmetric keys (generated if not given), or with the CAs that sign its devices."""
        if not is_group_id(name):
            raise OperationError(
                f"{name!r} can't name a group", hint="use letters, digits and '-' only, at most 255 of them"
            )
        now = self._clock()
        mechanism: SymmetricKeys | SigningCertificates
        if attestation == "symmetricKey":
            if primary_certificate is not None or secondary_certificate is not None:
                raise OperationError("a group with symmetric keys has no certificates")
            mechanism = keys_from(primary_key, secondary_key)
        else:
            if primary_key is not None or secondary_key is not None:
                raise OperationError("an X.509 group has no symmetric keys")
            mechanism = _certificates_from(primary_certificate, secondary_certificate, now=now)
        group = EnrollmentGroup.new(name, mechanism, auto_approve=auto_approve, now=now)
        async with self._changing:
            if self._groups.get(name) is not None:
                raise ConflictError(f"the enrollment group {name} exists already")
            self._refuse_shared_authority(mechanism)
            await self._groups.save(group)
        log.info("group.changed", group=name, change="created", mechanism=attestation)
        return _to_json(group)

    async def enable(self, *, name: GroupName) -> dict[str, Any]:
        """Let the devices of a group in again."""
        return await self._set_enabled(name, True)

    async def disable(self, *, name: GroupName) -> dict[str, Any]:
        """Refuse the devices of a group, and close their sessions."""
        return await self._set_enabled(name, False)

    async def delete(self, *, name: GroupName) -> dict[str, Any]:
        """Delete a group and close the sessions of its devices. The devices stay registered, but are refused."""
        async with self._changing:
            self._get(name)
            await self._groups.delete(name)
        closed = self._close_sessions(name)
        log.info("group.changed", group=name, change="deleted", closed_sessions=closed)
        return {"id": name, "closedSessions": closed}

    async def _set_enabled(self, name: str, enabled: bool) -> dict[str, Any]:
        async with self._changing:
            group = self._get(name)
            if group.enabled != enabled:
                group = group.replace(now=self._clock(), enabled=enabled)
                await self._groups.save(group)
        closed = 0 if enabled else self._close_sessions(name)
        log.info(
            "group.changed", group=name, change="enabled" if enabled else "disabled", closed_sessions=closed
        )
        return _to_json(group) | {"closedSessions": closed}

    def _get(self, name: str) -> EnrollmentGroup:
        group = self._groups.get(name)
        if group is None:
            raise NotFoundError(f"there is no enrollment group {name}", hint="see `gateway group list`")
        return group

    def _close_sessions(self, name: str) -> int:
        return self._sessions.close_where(
            lambda session: session.enrollment_group == name, CloseReason.ENROLLMENT_CHANGED
        )

    def _refuse_shared_authority(self, mechanism: SymmetricKeys | SigningCertificates) -> None:
        """One CA in two groups would leave it to chance which group a device comes in by."""
        if isinstance(mechanism, SymmetricKeys):
            return
        given = _authorities(mechanism)
        for group in self._groups.list():
            if isinstance(group.attestation, SigningCertificates) and given & _authorities(group.attestation):
                raise ConflictError(f"the enrollment group {group.id} has this CA already")


def _certificates_from(primary: str | None, secondary: str | None, *, now: float) -> SigningCertificates:
    if primary is None:
        raise OperationError(
            "an X.509 group needs its CA's certificate", hint="name a PEM file with --primary-ca"
        )
    return SigningCertificates(
        primary=load_signing_certificate(primary, "primary_certificate", now=now),
        secondary=None
        if secondary is None
        else load_signing_certificate(secondary, "secondary_certificate", now=now),
    )


def _authorities(mechanism: SigningCertificates) -> set[x509.Certificate]:
    return {
        certificate for certificate in (mechanism.primary, mechanism.secondary) if certificate is not None
    }


def _to_json(group: EnrollmentGroup) -> dict[str, Any]:
    """Without secrets."""
    document: dict[str, Any] = {
        "id": group.id,
        "attestation": "symmetricKey" if isinstance(group.attestation, SymmetricKeys) else "x509",
        "enabled": group.enabled,
        "autoApprove": group.auto_approve,
        "createdAt": timestamp(group.created_at),
        "updatedAt": timestamp(group.updated_at),
    }
    if isinstance(group.attestation, SigningCertificates):
        secondary = group.attestation.secondary
        document["primaryCertificate"] = certificate_to_json(group.attestation.primary)
        document["secondaryCertificate"] = certificate_to_json(secondary) if secondary is not None else None
    return document
