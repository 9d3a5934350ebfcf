"""Enrollment groups and individual enrollments: who may come in, and with which credential."""

import dataclasses
import re
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509

from gateway.identity.tpm import HMAC_KEY_BYTES, StorageKey
from gateway.secrets import SymmetricKey

__all__ = [
    "EnrollmentGroup",
    "IndividualAttestation",
    "IndividualEnrollment",
    "SigningCertificate",
    "SigningCertificates",
    "SymmetricKeys",
    "ThumbprintPair",
    "TpmAttestation",
    "is_group_id",
]

_GROUP_ID: Final = re.compile(r"[A-Za-z0-9-]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SymmetricKeys:
    """Two live keys, so that one can be replaced while the other serves."""

    primary: SymmetricKey = field(repr=False)
    secondary: SymmetricKey = field(repr=False)

    @property
    def both(self) -> tuple[SymmetricKey, SymmetricKey]:
        return (self.primary, self.secondary)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningCertificate:
    """A CA, root or intermediate. It vouches for no device before it is `verified`.

    An operator says that it is theirs, or proves that they hold its key: by a certificate that it signed, whose CN is
    the `verification_code`. (learn.microsoft.com, iot-dps "How to do proof-of-possession for X.509 CA certificates".)
    """

    certificate: x509.Certificate
    verified: bool
    verification_code: str | None = None
    crl: x509.CertificateRevocationList | None = None
    """What it has taken back of what it issued, if an operator gave its list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningCertificates:
    """The CA that signs a group's leaves; a secondary one for a change of CA. Either may be missing, or both."""

    primary: SigningCertificate | None = None
    secondary: SigningCertificate | None = None

    @property
    def both(self) -> tuple[SigningCertificate | None, SigningCertificate | None]:
        return (self.primary, self.secondary)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbprintPair:
    """One device's own certificates, by SHA-1 or SHA-256 thumbprint in hex."""

    primary: str
    secondary: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmAttestation:
    """One device's TPM, by its endorsement key; by its storage root key too, if the operator gave it.

    `device_key` is what the TPM signs the hub's tokens with. It is made here, and handed out only wrapped for that TPM.
    """

    endorsement_key: StorageKey
    storage_root_key: StorageKey | None = None
    device_key: SymmetricKey = field(repr=False)

    @classmethod
    def new(cls, endorsement_key: StorageKey, storage_root_key: StorageKey | None) -> "TpmAttestation":
        return cls(
            endorsement_key=endorsement_key,
            storage_root_key=storage_root_key,
            device_key=SymmetricKey(secrets.token_bytes(HMAC_KEY_BYTES)),
        )


IndividualAttestation = SymmetricKeys | ThumbprintPair | TpmAttestation


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentGroup:
    """A credential that many devices share. `display_name` is for people. Times are unix seconds."""

    id: str
    display_name: str
    attestation: SymmetricKeys | SigningCertificates
    enabled: bool = True
    auto_approve: bool = True
    created_at: float
    updated_at: float
    etag: str

    @classmethod
    def new(
        cls,
        group_id: str,
        attestation: SymmetricKeys | SigningCertificates,
        *,
        auto_approve: bool = True,
        enabled: bool = True,
        display_name: str | None = None,
        now: float,
    ) -> "EnrollmentGroup":
        return cls(
            id=group_id, display_name=display_name or group_id, enabled=enabled, attestation=attestation,
            auto_approve=auto_approve, created_at=now, updated_at=now, etag=secrets.token_hex(8),
        )  # fmt: skip

    def replace(self, *, now: float, **changes: Any) -> "EnrollmentGroup":
        return dataclasses.replace(self, updated_at=now, etag=secrets.token_hex(8), **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndividualEnrollment:
    """A credential of one device; it wins over any group. An operator made it, so it needs no approval."""

    registration_id: str
    attestation: IndividualAttestation
    enabled: bool = True
    created_at: float
    updated_at: float
    etag: str

    @classmethod
    def new(
        cls, registration_id: str, attestation: IndividualAttestation, *, now: float
    ) -> "IndividualEnrollment":
        return cls(
            registration_id=registration_id, attestation=attestation, created_at=now, updated_at=now,
            etag=secrets.token_hex(8),
        )  # fmt: skip

    def replace(self, *, now: float, **changes: Any) -> "IndividualEnrollment":
        return dataclasses.replace(self, updated_at=now, etag=secrets.token_hex(8), **changes)


def is_group_id(text: str) -> bool:
    """IoT Central's rule: letters, digits and `-`, at most 255."""
    return _GROUP_ID.fullmatch(text) is not None
