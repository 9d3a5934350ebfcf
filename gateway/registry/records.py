"""Values ↔ rows: how devices, groups and individual enrollments stand in the database, their keys encrypted.

Reading raises `StoreCorrupt` for a row that this gateway can't have written, and names it.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Table

from gateway.enrollment.models import (
    EnrollmentGroup,
    IndividualEnrollment,
    SigningCertificate,
    SigningCertificates,
    SymmetricKeys,
    ThumbprintPair,
    TpmAttestation,
)
from gateway.errors import StoreCorrupt
from gateway.identity.tpm import StorageKey
from gateway.registry import schema
from gateway.registry.device import Device, Status
from gateway.registry.keyring import Keyring, place_of
from gateway.secrets import SymmetricKey

__all__ = [
    "device_from_row",
    "device_to_row",
    "group_from_row",
    "group_to_row",
    "individual_from_row",
    "individual_to_row",
    "tags_to_text",
]

Attestation = SymmetricKeys | SigningCertificates | ThumbprintPair | TpmAttestation
_Value = TypeVar("_Value")

_DEVICE_FIELDS = tuple(Device.__dataclass_fields__)
_device_values = attrgetter(*_DEVICE_FIELDS)


def device_to_row(device: Device) -> dict[str, Any]:
    row = dict(zip(_DEVICE_FIELDS, _device_values(device), strict=True))
    row["tags"] = tags_to_text(device.tags)
    return row


def tags_to_text(tags: tuple[str, ...]) -> str:
    """` a b `: the space around each makes a whole tag findable by one `LIKE`."""
    return f" {' '.join(tags)} " if tags else ""


def device_from_row(row: Mapping[str, Any]) -> Device:
    return _read(_device, row, "device")


def group_to_row(group: EnrollmentGroup, keyring: Keyring) -> dict[str, Any]:
    attestation = _dump(group.attestation, partial(_seal, keyring, schema.enrollment_groups, group.id))
    return {
        "id": group.id, "display_name": group.display_name, "attestation": attestation,
        "enabled": group.enabled, "auto_approve": group.auto_approve, "created_at": group.created_at,
        "updated_at": group.updated_at, "etag": group.etag,
    }  # fmt: skip


def group_from_row(row: Mapping[str, Any], keyring: Keyring) -> EnrollmentGroup:
    return _read(partial(_group, keyring), row, "enrollment group")


def individual_to_row(individual: IndividualEnrollment, keyring: Keyring) -> dict[str, Any]:
    registration_id = individual.registration_id
    seal = partial(_seal, keyring, schema.individual_enrollments, registration_id)
    return {
        "registration_id": registration_id, "attestation": _dump(individual.attestation, seal),
        "enabled": individual.enabled, "created_at": individual.created_at, "updated_at": individual.updated_at,
        "etag": individual.etag,
    }  # fmt: skip


def individual_from_row(row: Mapping[str, Any], keyring: Keyring) -> IndividualEnrollment:
    return _read(
        partial(_individual, keyring), row, "individual enrollment",
        hint="delete it (gateway enrollment delete) and enroll the device anew, or restore the database from a backup",
    )  # fmt: skip


def _seal(keyring: Keyring, table: Table, row_id: str, field: str, key: SymmetricKey) -> str:
    return keyring.seal(key.base64, place_of(table, row_id, field))


def _unseal(keyring: Keyring, table: Table, row_id: str, field: str, stored: str) -> SymmetricKey:
    return SymmetricKey.from_base64(keyring.unseal(stored, place_of(table, row_id, field)))


def _read(
    convert: Callable[[dict[str, Any]], _Value],
    row: Mapping[str, Any],
    noun: str,
    *,
    hint: str = "restore the database from a backup",
) -> _Value:
    try:
        return convert(dict(row))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # The text of `error` may quote the row, and rows hold keys: its type has to do.
        raise StoreCorrupt(
            f"the row of the {noun} {next(iter(row.values()))!r} can't be read ({type(error).__name__})",
            hint=hint,
        ) from None


def _device(values: dict[str, Any]) -> Device:
    values["status"] = Status(values["status"])
    if values["status_before_block"] is not None:
        values["status_before_block"] = Status(values["status_before_block"])
    values["tags"] = tuple(values["tags"].split())
    return Device(**values)


def _group(keyring: Keyring, values: dict[str, Any]) -> EnrollmentGroup:
    unseal = partial(_unseal, keyring, schema.enrollment_groups, values["id"])
    attestation = _load(values.pop("attestation"), unseal)
    values["display_name"] = values["display_name"] or values["id"]
    if isinstance(attestation, ThumbprintPair | TpmAttestation):
        raise TypeError("a group has neither thumbprints nor a TPM")
    return EnrollmentGroup(attestation=attestation, **values)


def _individual(keyring: Keyring, values: dict[str, Any]) -> IndividualEnrollment:
    unseal = partial(_unseal, keyring, schema.individual_enrollments, values["registration_id"])
    attestation = _load(values.pop("attestation"), unseal)
    values["enabled"] = bool(values["enabled"])  # SQLite's own driver gives 0 or 1
    if isinstance(attestation, SigningCertificates):
        raise TypeError("an individual enrollment has no CA")
    return IndividualEnrollment(attestation=attestation, **values)


def _dump(attestation: Attestation, seal: Callable[[str, SymmetricKey], str]) -> str:
    document: dict[str, Any]
    match attestation:
        case SymmetricKeys(primary=primary, secondary=secondary):
            document = {
                "type": "symmetricKey",
                "primary": seal("primary", primary),
                "secondary": seal("secondary", secondary),
            }
        case SigningCertificates(primary=first, secondary=second):
            document = {
                "type": "signingCertificates",
                "primary": _dump_ca(first),
                "secondary": _dump_ca(second),
            }
        case ThumbprintPair(primary=thumbprint, secondary=other):
            document = {"type": "thumbprints", "primary": thumbprint, "secondary": other}
        case TpmAttestation(endorsement_key=endorsement, storage_root_key=storage_root, device_key=key):
            document = {
                "type": "tpm",
                "endorsementKey": endorsement.base64,
                "storageRootKey": storage_root.base64 if storage_root is not None else None,
                "deviceKey": seal("deviceKey", key),
            }
    return json.dumps(document)


def _load_tpm(document: dict[str, Any], unseal: Callable[[str, str], SymmetricKey]) -> TpmAttestation:
    storage_root_key = document["storageRootKey"]
    return TpmAttestation(
        endorsement_key=StorageKey.from_base64(document["endorsementKey"]),
        storage_root_key=StorageKey.from_base64(storage_root_key) if storage_root_key is not None else None,
        device_key=unseal("deviceKey", document["deviceKey"]),
    )


def _load(text: str, unseal: Callable[[str, str], SymmetricKey]) -> Attestation:
    document = json.loads(text)
    if document["type"] == "tpm":
        return _load_tpm(document, unseal)
    primary, secondary = document["primary"], document["secondary"]
    match document["type"]:
        case "symmetricKey":
            return SymmetricKeys(primary=unseal("primary", primary), secondary=unseal("secondary", secondary))
        case "signingCertificates":
            return SigningCertificates(primary=_load_ca(primary), secondary=_load_ca(secondary))
        case "thumbprints":
            return ThumbprintPair(primary=primary, secondary=secondary)
        case kind:
            raise ValueError(f"unknown attestation {kind!r}")


def _dump_ca(signing: SigningCertificate | None) -> dict[str, Any] | None:
    if signing is None:
        return None
    return {
        "certificate": _to_pem(signing.certificate),
        "verified": signing.verified,
        "code": signing.verification_code,
        "crl": None if signing.crl is None else signing.crl.public_bytes(Encoding.PEM).decode(),
    }


def _load_ca(stored: Any) -> SigningCertificate | None:
    match stored:
        case None:
            return None
        case str():  # schema 0003 and before: an operator's word was all that there was
            return SigningCertificate(certificate=_from_pem(stored), verified=True)
        case _:
            crl = stored.get("crl")  # it came after schema 0004
            return SigningCertificate(
                certificate=_from_pem(stored["certificate"]), verified=stored["verified"],
                verification_code=stored["code"],
                crl=None if crl is None else x509.load_pem_x509_crl(crl.encode()),
            )  # fmt: skip


def _to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _from_pem(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())
