"""What devices with a TPM sign with: the key of a challenge for provisioning, and their device key for the hub.

Either reaches the device only wrapped for its TPM. A challenge leaves nothing behind here (`TpmChallenges`), so nobody
can fill anything by asking for one. What is remembered, bounded, is the storage root key of a device that has proved
itself: a poll does not say it again.
"""

import secrets
from typing import Final

from gateway.enrollment.models import TpmAttestation
from gateway.identity.tpm import StorageKey, TpmChallenges, make_activation_blob
from gateway.refusals import Reason, Refused
from gateway.registry.cache import LruCache
from gateway.registry.registry import Registry
from gateway.secrets import SymmetricKey
from gateway.settings import Settings

__all__ = ["TpmKeys"]

_SECRET_BYTES: Final = 32


class TpmKeys:
    """For one run of the gateway: after a restart, devices ask for a new challenge."""

    def __init__(self, *, settings: Settings, registry: Registry) -> None:
        self._registry = registry
        self._id_scope = settings.id_scope
        self._hub_host = settings.hosts[0]
        self._challenges = TpmChallenges(
            secrets.token_bytes(_SECRET_BYTES), period_s=settings.provisioning.tpm_challenge_period_s
        )
        self._storage_roots: LruCache[StorageKey] = LruCache(settings.provisioning.max_tpm_operations)

    def accepted(
        self, registration_id: str, attestation: TpmAttestation, *, now: float
    ) -> tuple[SymmetricKey, SymmetricKey]:
        """The keys of the challenges that are good at `now` (unix seconds)."""
        return self._challenges.accepted(registration_id, attestation.endorsement_key, now=now)

    async def challenge(
        self, registration_id: str, endorsement: StorageKey, storage_root: StorageKey, *, now: float
    ) -> bytes | Refused:
        """The activation blob of a challenge, if this TPM is the one that is enrolled. Raises `StoreError`."""
        attestation = await self._attestation(registration_id)
        if isinstance(attestation, Refused):
            return attestation
        if endorsement != attestation.endorsement_key:
            return Refused(
                Reason.TPM_UNKNOWN, f"its default registration id is {endorsement.registration_id}"
            )
        if not _may_wrap_for(attestation, storage_root):
            return Refused(Reason.TPM_UNKNOWN, "the storage root key is not the enrolled one")
        return make_activation_blob(
            self._challenges.current(registration_id, endorsement, now=now),
            endorsement=endorsement,
            storage_root=storage_root,
            resource=f"{self._id_scope}/registrations/{registration_id}",
        )

    def proved(self, registration_id: str, storage_root: StorageKey) -> None:
        """The device has signed with a challenge's key, and shown this storage root key."""
        self._storage_roots.put(registration_id, storage_root)

    def has_proved(self, registration_id: str) -> bool:
        """Whether the storage root key is known, so that the device key can be wrapped."""
        return self._storage_roots.get(registration_id) is not None

    async def device_key(self, registration_id: str) -> bytes | Refused:
        """The activation blob of the device key, for a device that `has_proved`. Raises `StoreError`."""
        attestation = await self._attestation(registration_id)
        if isinstance(attestation, Refused):
            return attestation
        storage_root = self._storage_roots.get(registration_id)
        if storage_root is None or not _may_wrap_for(attestation, storage_root):
            return Refused(Reason.TPM_UNKNOWN, "the storage root key is not the enrolled one")
        return make_activation_blob(
            attestation.device_key,
            endorsement=attestation.endorsement_key,
            storage_root=storage_root,
            resource=f"{self._hub_host}/devices/{registration_id}",
        )

    async def _attestation(self, registration_id: str) -> TpmAttestation | Refused:
        entry = self._registry.peek(registration_id)
        if entry is None:
            entry = await self._registry.fetch(registration_id)
        if entry.individual is None:
            return Refused(Reason.ENROLLMENT_MISSING, "a TPM needs an individual enrollment")
        attestation = entry.individual.attestation
        if not isinstance(attestation, TpmAttestation):
            return Refused(
                Reason.ATTESTATION_MISMATCH, "the individual enrollment is not a TPM's, a TPM came"
            )
        return attestation


def _may_wrap_for(attestation: TpmAttestation, storage_root: StorageKey) -> bool:
    return attestation.storage_root_key in (None, storage_root)
