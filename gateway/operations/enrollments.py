"""Verbs on individual enrollments.

An individual enrollment wins over every group: making one takes the device away from the groups, disabling it refuses the
device whatever group could let it in, and deleting it leaves the device to the groups. All three close its session, and
so does whatever ends a credential: a regenerated key, a replaced certificate, another TPM.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.enrollment.models import (
    IndividualAttestation,
    IndividualEnrollment,
    SymmetricKeys,
    ThumbprintPair,
    TpmAttestation,
)
from gateway.errors import ConflictError, NotFoundError, OperationError, StoreCorrupt
from gateway.log import get_logger
from gateway.operations.attestation import (
    GivenCredential,
    IndividualMechanism,
    Key,
    keys_to_json,
    mechanism_of,
    takes_away,
)
from gateway.operations.devices import check_device_id
from gateway.operations.documents import refuse_changed, timestamp
from gateway.operations.sessions import Sessions
from gateway.operations.verbs import DeviceId, Etag, Limit, Pem
from gateway.registry.registry import Registry
from gateway.secrets import SymmetricKey
from gateway.session import CloseReason
from gateway.settings import ProvisioningSettings

__all__ = ["EnrollmentOperations"]

log = get_logger()

Thumbprint = Annotated[str, Field(min_length=40, max_length=100)]
"""SHA-1 or SHA-256 in hex, with or without colons."""
TpmPublic = Annotated[str, Field(min_length=1, max_length=1400)]
"""A TPM2B_PUBLIC in base64. It is public."""
KeySlot = Literal["primary", "secondary"]


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
        attestation: IndividualMechanism,
        primary_key: Key | None = None,
        secondary_key: Key | None = None,
        primary_certificate: Pem | None = None,
        secondary_certificate: Pem | None = None,
        primary_thumbprint: Thumbprint | None = None,
        secondary_thumbprint: Thumbprint | None = None,
        endorsement_key: TpmPublic | None = None,
        storage_root_key: TpmPublic | None = None,
    ) -> dict[str, Any]:
        """Enroll one device, which then needs no approval.

        By keys (generated if not given), by its own certificate, or by its TPM's endorsement key. What it came in by before,
        as a group's key, is not good for it any more: its session is closed.
        """
        check_device_id(device_id, extended=self._extended_ids)
        now = self._clock()
        given = GivenCredential(
            primary_key=primary_key,
            secondary_key=secondary_key,
            primary_certificate=primary_certificate,
            secondary_certificate=secondary_certificate,
            primary_thumbprint=primary_thumbprint,
            secondary_thumbprint=secondary_thumbprint,
            endorsement_key=endorsement_key,
            storage_root_key=storage_root_key,
        )
        enrollment = IndividualEnrollment.new(
            device_id, given.create(attestation, device_id, now=now), now=now
        )
        closed = await self.add(enrollment)
        return _to_json(enrollment) | {"closedSessions": closed}

    async def add(self, enrollment: IndividualEnrollment) -> int:
        """How many sessions it closed. Raises `ConflictError` if the device is enrolled already."""
        device_id = enrollment.registration_id
        async with self._changing:
            if await self._find(device_id) is not None:
                raise ConflictError(f"{device_id} has an individual enrollment already")
            await self._registry.save_individual(enrollment)
        closed = self._sessions.close_device(device_id, CloseReason.ENROLLMENT_CHANGED)
        log.info(
            "enrollment.changed", device_id=device_id, change="created", mechanism=mechanism_of(enrollment.attestation),
            closed_sessions=closed,
        )  # fmt: skip
        return closed

    async def update(
        self,
        *,
        device_id: DeviceId,
        attestation: IndividualMechanism | None = None,
        primary_key: Key | None = None,
        secondary_key: Key | None = None,
        primary_certificate: Pem | None = None,
        secondary_certificate: Pem | None = None,
        primary_thumbprint: Thumbprint | None = None,
        secondary_thumbprint: Thumbprint | None = None,
        remove_secondary: bool = False,
        endorsement_key: TpmPublic | None = None,
        storage_root_key: TpmPublic | None = None,
        if_match: Etag | None = None,
    ) -> dict[str, Any]:
        """Change the credential. What is not given stays, unless `attestation` names another mechanism.

        `remove_secondary` drops the second certificate. If a credential is not good any more after the change, the
        device's session is closed.
        """
        given = GivenCredential(
            primary_key=primary_key,
            secondary_key=secondary_key,
            primary_certificate=primary_certificate,
            secondary_certificate=secondary_certificate,
            primary_thumbprint=primary_thumbprint,
            secondary_thumbprint=secondary_thumbprint,
            endorsement_key=endorsement_key,
            storage_root_key=storage_root_key,
        )
        now = self._clock()

        def changed(old: IndividualAttestation) -> IndividualAttestation:
            if attestation is not None and attestation != mechanism_of(old):
                if remove_secondary:
                    raise OperationError("remove_secondary does not go with another mechanism")
                return given.create(attestation, device_id, now=now)
            return given.change(old, device_id, remove_secondary=remove_secondary, now=now)

        return await self._change(device_id, changed, "updated", now=now, if_match=if_match)

    async def regenerate_key(self, *, device_id: DeviceId, key: KeySlot | None = None) -> dict[str, Any]:
        """Replace the primary or the secondary key by a new one, and close the device's session.

        A device with a TPM has one key: it gets the new one when it provisions itself again.
        """

        def regenerated(old: IndividualAttestation) -> IndividualAttestation:
            match old:
                case SymmetricKeys():
                    if key is None:
                        raise OperationError("key is missing", hint="say primary or secondary")
                    return dataclasses.replace(old, **{key: SymmetricKey.generate()})
                case TpmAttestation():
                    if key is not None:
                        raise OperationError("a device with a TPM has one key", hint="leave `key` out")
                    return TpmAttestation.new(old.endorsement_key, old.storage_root_key)
                case ThumbprintPair():
                    raise OperationError(
                        "an X.509 enrollment has no keys here", hint="give the device a new certificate"
                    )

        return await self._change(device_id, regenerated, "key_regenerated", now=self._clock())

    async def enable(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Let the device in again."""
        return await self._set_enabled(device_id, True)

    async def disable(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Refuse the device, and close its session."""
        return await self._set_enabled(device_id, False)

    async def delete(self, *, device_id: DeviceId, if_match: Etag | None = None) -> dict[str, Any]:
        """Delete the enrollment and close the device's session. The device may come in by a group."""
        async with self._changing:
            try:
                _refuse_changed(await self._get(device_id), if_match)
            except StoreCorrupt:
                if if_match is not None:
                    raise
                # Damaged: to delete it is what brings the device back.
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

    async def _change(
        self,
        device_id: str,
        change: Callable[[IndividualAttestation], IndividualAttestation],
        verb: str,
        *,
        now: float,
        if_match: str | None = None,
    ) -> dict[str, Any]:
        """Put a changed credential in force; a session that may rest on what is gone is closed after that."""
        async with self._changing:
            old = await self._get(device_id)
            _refuse_changed(old, if_match)
            attestation = change(old.attestation)
            enrollment = old
            if attestation != old.attestation:
                enrollment = old.replace(now=now, attestation=attestation)
                await self._registry.save_individual(enrollment)
        closed = 0
        if takes_away(old.attestation, attestation):
            closed = self._sessions.close_device(device_id, CloseReason.ENROLLMENT_CHANGED)
        log.info(
            "enrollment.changed", device_id=device_id, change=verb, mechanism=mechanism_of(attestation),
            closed_sessions=closed,
        )  # fmt: skip
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


def _refuse_changed(enrollment: IndividualEnrollment, if_match: str | None) -> None:
    refuse_changed(f"the individual enrollment of {enrollment.registration_id}", enrollment.etag, if_match)


def _to_json(enrollment: IndividualEnrollment) -> dict[str, Any]:
    """Without secrets."""
    document: dict[str, Any] = {
        "id": enrollment.registration_id,
        "attestation": mechanism_of(enrollment.attestation),
        "enabled": enrollment.enabled,
        "createdAt": timestamp(enrollment.created_at),
        "updatedAt": timestamp(enrollment.updated_at),
        "etag": enrollment.etag,
    }
    match enrollment.attestation:
        case ThumbprintPair(primary=primary, secondary=secondary):
            document["primaryThumbprint"], document["secondaryThumbprint"] = primary, secondary
        case TpmAttestation(endorsement_key=endorsement_key, storage_root_key=storage_root_key):
            document["endorsementKey"] = endorsement_key.base64
            document["storageRootKey"] = storage_root_key.base64 if storage_root_key is not None else None
        case SymmetricKeys():
            pass
    return document
