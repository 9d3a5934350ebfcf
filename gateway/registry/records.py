"""Values ↔ rows: how attestations and devices stand in the database."""

import json
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.enrollment.models import (
    EnrollmentGroup,
    IndividualEnrollment,
    SigningCertificates,
    SymmetricKeys,
    ThumbprintPair,
)
from gateway.registry.device import Device, Status
from gateway.secrets import SymmetricKey

__all__ = ["device_from_row", "device_to_row", "group_from_row", "group_to_row", "individual_from_row", "individual_to_row"]

Attestation = SymmetricKeys | SigningCertificates | ThumbprintPair
_Kind = TypeVar("_Kind", SymmetricKeys | SigningCertificates, SymmetricKeys | ThumbprintPair)

_DEVICE_FIELDS = tuple(Device.__dataclass_fields__)


def device_to_row(device: Device) -> dict[str, Any]:
    return {name: getattr(device, name) for name in _DEVICE_FIELDS}


def device_from_row(row: Any) -> Device:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented way to a dict
    values["status"] = Status(values["status"])
    if values["status_before_block"] is not None:
        values["status_before_block"] = Status(values["status_before_block"])
    return Device(**values)


def group_to_row(group: EnrollmentGroup) -> dict[str, Any]:
    return {
        "id": group.id, "attestation": _dump(group.attestation), "enabled": group.enabled,
        "auto_approve": group.auto_approve, "created_at": group.created_at, "updated_at": group.updated_at,
        "etag": group.etag,
    }  # fmt: skip


def group_from_row(row: Any) -> EnrollmentGroup:
    values = dict(row._mapping)  # noqa: SLF001
    attestation = _load(values.pop("attestation"))
    assert not isinstance(attestation, ThumbprintPair)  # noqa: S101 - groups never have thumbprints
    return EnrollmentGroup(attestation=attestation, **values)


def individual_to_row(individual: IndividualEnrollment) -> dict[str, Any]:
    return {
        "registration_id": individual.registration_id, "attestation": _dump(individual.attestation),
        "enabled": individual.enabled, "created_at": individual.created_at, "updated_at": individual.updated_at,
        "etag": individual.etag,
    }  # fmt: skip


def individual_from_row(row: Any) -> IndividualEnrollment:
    values = dict(row._mapping)  # noqa: SLF001
    attestation = _load(values.pop("attestation"))
    assert not isinstance(attestation, SigningCertificates)  # noqa: S101 - individuals never have CAs
    return IndividualEnrollment(attestation=attestation, **values)


def _dump(attestation: Attestation) -> str:
    match attestation:
        case SymmetricKeys(primary=primary, secondary=secondary):
            document = {"type": "symmetricKey", "primary": primary.base64, "secondary": secondary.base64}
        case SigningCertificates(primary=ca, secondary=next_ca):
            document = {"type": "signingCertificates", "primary": _pem(ca), "secondary": next_ca and _pem(next_ca)}
        case ThumbprintPair(primary=print_, secondary=next_print):
            document = {"type": "thumbprints", "primary": print_, "secondary": next_print}
    return json.dumps(document)


def _load(text: str) -> Attestation:
    document = json.loads(text)
    primary, secondary = document["primary"], document["secondary"]
    match document["type"]:
        case "symmetricKey":
            return SymmetricKeys(
                primary=SymmetricKey.from_base64(primary), secondary=SymmetricKey.from_base64(secondary)
            )
        case "signingCertificates":
            return SigningCertificates(primary=_from_pem(primary), secondary=secondary and _from_pem(secondary))
        case _:
            return ThumbprintPair(primary=primary, secondary=secondary)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _from_pem(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())
