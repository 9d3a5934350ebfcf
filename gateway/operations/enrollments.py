"""Verbs on individual enrollments.

An individual enrollment wins over every group, so disabling one refuses its device whatever group could let
it in; deleting it leaves the device to the groups. Both close its session.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from gateway.enrollment.models import IndividualEnrollment, SymmetricKeys, ThumbprintPair
from gateway.errors import ConflictError, NotFoundError, OperationError
from gateway.log import get_logger
from gateway.operations.attestation import Attestation, Key, keys_from, keys_to_json, thumbprint_from
from gateway.operations.devices import check_device_id
from gateway.operations.documents import timestamp
from gateway.operations.sessions import Sessions
from gateway.operations.verbs import DeviceId, Limit, Pem
from gateway.registry.registry import Registry
from gateway.session import CloseReason
from gateway.settings import ProvisioningSettings

__all__ = ["EnrollmentOperations"]

log = get_logger()

Thumbprint = Annotated[str, Field(min_length=40, max_length=100)]
"""SHA-1 or SHA-256 in hex, with or without colons."""


class EnrollmentOperations:
    """`enrollment.*`"""

    def __init__(
        self,
        *,
        registry: Registry,
        sessions: Sessions,
        provisioning: ProvisioningSettings,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._sessions = sessions
        self._extended_ids = provisioning.extended_device_ids
        self._clock = clock
        # Between looking and saving there is an await; two operators must not pass each other there.
        self._changing = asyncio.Lock()

    async def list(self, *, after: DeviceId | None = None, limit: Limit = 100) -> dict[str, Any]:
        """List individual enrollments by id, a page at a time: `next` is the `after` of the next page, or null."""
        found = await self._registry.list_individuals(after=after, limit=limit)
        return {
            "enrollments": [_to_json(enrollment) for enrollment in found],
            "next": found[-1].registration_id if len(found) == limit else None,
        }

    async def show(self, *, device_id: DeviceId, keys: bool = False) -> dict[str, Any]:
        """Show one individual enrollment; its keys only if they are asked for."""
        enrollment = await self._get(device_id)
        shown = _to_json(enrollment)
        if keys and isinstance(enrollment.attestation, SymmetricKeys):
            shown |= keys_to_json(enrollment.attestation)
        return shown

    async def create(
        self,
        *,
        device_id: DeviceId,
        attestation: Attestation,
        primary_key: Key | None = None,
        secondary_key: Key | None = None,
        primary_certificate: Pem | None = None,
        secondary_certificate: Pem | None = None,
        primary_thumbprint: Thumbprint | None = None,
        secondary_thumbprint: Thumbprint | None = None,
    ) -> dict[str, Any]:
        """Enroll one device, by keys (generated if not given) or by its own certificate. It needs no approval."""
        check_device_id(device_id, extended=self._extended_ids)
        now = self._clock()
        primary = thumbprint_from(primary_certificate, primary_thumbprint, device_id, "primary", now=now)
        secondary = thumbprint_from(
            secondary_certificate, secondary_thumbprint, device_id, "secondary", now=now
        )
        mechanism: SymmetricKeys | ThumbprintPair
        if attestation == "symmetricKey":
            if primary is not None or secondary is not None:
                raise OperationError("an enrollment with symmetric keys has no certificates")
            mechanism = keys_from(primary_key, secondary_key)
        else:
            if primary_key is not None or secondary_key is not None:
                raise OperationError("an X.509 enrollment has no symmetric keys")
            if primary is None:
                raise OperationError(
                    "an X.509 enrollment needs the device's certificate",
                    hint="name a PEM file with --certificate",
                )
            mechanism = ThumbprintPair(primary=primary, secondary=secondary)
        enrollment = IndividualEnrollment.new(device_id, mechanism, now=now)
        async with self._changing:
            if await self._find(device_id) is not None:
                raise ConflictError(f"{device_id} has an individual enrollment already")
            await self._registry.save_individual(enrollment)
        log.info("enrollment.changed", device_id=device_id, change="created", mechanism=attestation)
        return _to_json(enrollment)

    async def enable(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Let the device in again."""
        return await self._set_enabled(device_id, True)

    async def disable(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Refuse the device, and close its session."""
        return await self._set_enabled(device_id, False)

    async def delete(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Delete the enrollment and close the device's session. The device may come in by a group."""
        async with self._changing:
            await self._get(device_id)
            await self._registry.delete_individual(device_id)
        closed = self._sessions.close_device(device_id, CloseReason.ENROLLMENT_CHANGED)
        log.info("enrollment.changed", device_id=device_id, change="deleted", closed_sessions=closed)
        return {"id": device_id, "closedSessions": closed}

    async def _set_enabled(self, device_id: str, enabled: bool) -> dict[str, Any]:
        async with self._changing:
            enrollment = await self._get(device_id)
            if enrollment.enabled != enabled:
                enrollment = enrollment.replace(now=self._clock(), enabled=enabled)
                await self._registry.save_individual(enrollment)
        closed = 0 if enabled else self._sessions.close_device(device_id, CloseReason.ENROLLMENT_CHANGED)
        change = "enabled" if enabled else "disabled"
        log.info("enrollment.changed", device_id=device_id, change=change, closed_sessions=closed)
        return _to_json(enrollment) | {"closedSessions": closed}

    async def _find(self, device_id: str) -> IndividualEnrollment | None:
        entry = self._registry.peek(device_id) or await self._registry.fetch(device_id)
        return entry.individual

    async def _get(self, device_id: str) -> IndividualEnrollment:
        enrollment = await self._find(device_id)
        if enrollment is None:
            raise NotFoundError(
                f"there is no individual enrollment of {device_id}", hint="see `gateway enrollment list`"
            )
        return enrollment


def _to_json(enrollment: IndividualEnrollment) -> dict[str, Any]:
    """Without secrets."""
    document: dict[str, Any] = {
        "id": enrollment.registration_id,
        "attestation": "symmetricKey" if isinstance(enrollment.attestation, SymmetricKeys) else "x509",
        "enabled": enrollment.enabled,
        "createdAt": timestamp(enrollment.created_at),
        "updatedAt": timestamp(enrollment.updated_at),
    }
    if isinstance(enrollment.attestation, ThumbprintPair):
        document["primaryThumbprint"] = enrollment.attestation.primary
        document["secondaryThumbprint"] = enrollment.attestation.secondary
    return document
