"""What operators give as credentials, and what they are shown of them.

Keys and certificates are checked here, when they are given, so that a mistake is the operator's to see at once
and not a device's to fail on later.
"""

import base64
import string
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from cryptography import x509
from pydantic import Field

from gateway.enrollment.models import (
    IndividualAttestation,
    SigningCertificate,
    SymmetricKeys,
    ThumbprintPair,
    TpmAttestation,
)
from gateway.errors import OperationError
from gateway.identity.crl import crl_number
from gateway.identity.tpm import StorageKey, TpmError
from gateway.identity.x509 import check_authority, check_leaf, common_name, thumbprints
from gateway.operations.documents import timestamp
from gateway.operations.verbs import SECRET
from gateway.refusals import answer_for
from gateway.secrets import SymmetricKey

__all__ = [
    "Attestation",
    "GivenCredential",
    "IndividualMechanism",
    "Key",
    "crl_to_json",
    "keys_from",
    "keys_to_json",
    "load_certificate",
    "load_crl",
    "load_signing_certificate",
    "mechanism_of",
    "signing_to_json",
    "takes_away",
]

Attestation = Literal["symmetricKey", "x509"]
"""The attestation mechanisms of groups, as the provisioning service names them."""
IndividualMechanism = Literal["symmetricKey", "x509", "tpm"]
"""Those of individual enrollments."""
Key = Annotated[str, Field(min_length=1, max_length=200), SECRET]
"""A symmetric key in base64."""

_PEM: Final = b"-----BEGIN"
_HEX_DIGITS: Final = frozenset(string.hexdigits)
_THUMBPRINT_LENGTHS: Final = (40, 64)
"""SHA-1 and SHA-256, in hex digits."""


_GIVEN_FOR: Final[dict[IndividualMechanism, tuple[str, frozenset[str]]]] = {
    "symmetricKey": ("an enrollment with symmetric keys", frozenset({"primary_key", "secondary_key"})),
    "x509": (
        "an X.509 enrollment",
        frozenset(
            {"primary_certificate", "secondary_certificate", "primary_thumbprint", "secondary_thumbprint"}
        ),
    ),
    "tpm": ("a TPM enrollment", frozenset({"endorsement_key", "storage_root_key"})),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenCredential:
    """What an operator gave for one device's enrollment, still unchecked. Its names are the verbs' arguments."""

    primary_key: str | None = None
    secondary_key: str | None = None
    primary_certificate: str | None = None
    secondary_certificate: str | None = None
    primary_thumbprint: str | None = None
    secondary_thumbprint: str | None = None
    endorsement_key: str | None = None
    storage_root_key: str | None = None

    def __repr__(self) -> str:
        return f"GivenCredential({', '.join(sorted(self._names()))})"

    def create(self, mechanism: IndividualMechanism, device_id: str, *, now: float) -> IndividualAttestation:
        """A new credential; keys that were not given are generated. Raises `OperationError`."""
        self._refuse_foreign(mechanism)
        match mechanism:
            case "symmetricKey":
                return keys_from(self.primary_key, self.secondary_key)
            case "x509":
                primary, secondary = self._thumbprints(device_id, now=now)
                if primary is None:
                    raise OperationError(
                        "an X.509 enrollment needs the device's certificate",
                        hint="name a PEM file with --certificate",
                    )
                return ThumbprintPair(primary=primary, secondary=secondary)
            case "tpm":
                if self.endorsement_key is None:
                    raise OperationError(
                        "a TPM enrollment needs the TPM's endorsement key",
                        hint="name its file with --endorsement-key; `tpm2_createek -u FILE` writes one",
                    )
                return TpmAttestation.new(
                    _storage_key(self.endorsement_key, "endorsement_key"), self._storage_root_key()
                )

    def change(
        self, old: IndividualAttestation, device_id: str, *, remove_secondary: bool, now: float
    ) -> IndividualAttestation:
        """`old` with what was given in its place; what was not stays. Raises `OperationError`."""
        self._refuse_foreign(mechanism_of(old))
        if remove_secondary and not isinstance(old, ThumbprintPair):
            raise OperationError("only an X.509 enrollment can be without a secondary")
        match old:
            case SymmetricKeys():
                return SymmetricKeys(
                    primary=_key(self.primary_key, "primary_key") if self.primary_key else old.primary,
                    secondary=_key(self.secondary_key, "secondary_key")
                    if self.secondary_key
                    else old.secondary,
                )
            case ThumbprintPair():
                primary, secondary = self._thumbprints(device_id, now=now)
                if remove_secondary and secondary is not None:
                    raise OperationError("give a secondary certificate or remove it, not both")
                kept = None if remove_secondary else old.secondary
                return ThumbprintPair(primary=primary or old.primary, secondary=secondary or kept)
            case TpmAttestation():
                return self._change_tpm(old)

    def _change_tpm(self, old: TpmAttestation) -> TpmAttestation:
        storage_root = self._storage_root_key()
        if self.endorsement_key is None:
            return TpmAttestation(
                endorsement_key=old.endorsement_key,
                storage_root_key=storage_root or old.storage_root_key,
                device_key=old.device_key,
            )
        endorsement = _storage_key(self.endorsement_key, "endorsement_key")
        if endorsement != old.endorsement_key:  # another TPM: what the old one holds must not do
            return TpmAttestation.new(endorsement, storage_root)
        return TpmAttestation(
            endorsement_key=endorsement, storage_root_key=storage_root, device_key=old.device_key
        )

    def _thumbprints(self, device_id: str, *, now: float) -> tuple[str | None, str | None]:
        return (
            _thumbprint(self.primary_certificate, self.primary_thumbprint, device_id, "primary", now=now),
            _thumbprint(
                self.secondary_certificate, self.secondary_thumbprint, device_id, "secondary", now=now
            ),
        )

    def _storage_root_key(self) -> StorageKey | None:
        if self.storage_root_key is None:
            return None
        return _storage_key(self.storage_root_key, "storage_root_key")

    def _names(self) -> set[str]:
        return {name for name in self.__dataclass_fields__ if getattr(self, name) is not None}

    def _refuse_foreign(self, mechanism: IndividualMechanism) -> None:
        noun, own = _GIVEN_FOR[mechanism]
        foreign = sorted(self._names() - own)
        if foreign:
            raise OperationError(f"{noun} has no {foreign[0]}")


def mechanism_of(attestation: IndividualAttestation) -> IndividualMechanism:
    """The name of an enrollment's attestation mechanism."""
    match attestation:
        case SymmetricKeys():
            return "symmetricKey"
        case ThumbprintPair():
            return "x509"
        case TpmAttestation():
            return "tpm"


def takes_away(old: IndividualAttestation, new: IndividualAttestation) -> bool:
    """Whether a credential that was good is not any more."""
    return not _credentials(old) <= _credentials(new)


def _credentials(attestation: IndividualAttestation) -> set[object]:
    match attestation:
        case SymmetricKeys():
            return set(attestation.both)
        case ThumbprintPair():
            return {attestation.primary, attestation.secondary or attestation.primary}
        case TpmAttestation():
            return {attestation}


def keys_from(primary: str | None, secondary: str | None) -> SymmetricKeys:
    """The keys that were given; what was not is generated. Raises `OperationError`."""
    return SymmetricKeys(primary=_key(primary, "primary_key"), secondary=_key(secondary, "secondary_key"))


def keys_to_json(keys: SymmetricKeys) -> dict[str, Any]:
    """Both keys in base64: only for who asked for them."""
    return {"primaryKey": keys.primary.base64, "secondaryKey": keys.secondary.base64}


def load_signing_certificate(pem: str, argument: str, *, now: float) -> x509.Certificate:
    """A CA's certificate, root or intermediate, that can vouch for devices at `now`. Raises `OperationError`."""
    certificate = load_certificate(pem, argument)
    unfit = check_authority(certificate)
    if unfit is not None:
        raise OperationError(
            f"{argument}: not a CA's certificate that can vouch for devices: {unfit.detail}",
            hint="a group takes the CA that signs its devices; enroll one device's own certificate individually",
        )
    if certificate.not_valid_after_utc.timestamp() <= now:
        raise OperationError(f"{argument}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    return certificate


def _thumbprint(
    pem: str | None, thumbprint: str | None, device_id: str, slot: str, *, now: float
) -> str | None:
    """The thumbprint of a device's own certificate, given as a certificate or as itself; None if neither is.

    A certificate that would be refused at `now` is refused here. Raises `OperationError`.
    """
    if pem is not None:
        if thumbprint is not None:
            raise OperationError(f"give {slot}_certificate or {slot}_thumbprint, not both")
        certificate = load_certificate(pem, f"{slot}_certificate")
        unfit = check_leaf(certificate, device_id, now=now)
        if unfit is not None:
            detail = f" ({unfit.detail})" if unfit.detail else ""
            raise OperationError(
                f"{slot}_certificate: {unfit.reason}{detail}", hint=answer_for(unfit.reason).hint
            )
        return thumbprints(certificate).sha256
    if thumbprint is None:
        return None
    digits = thumbprint.replace(":", "").replace(" ", "").upper()
    if len(digits) not in _THUMBPRINT_LENGTHS or not _HEX_DIGITS.issuperset(digits):
        raise OperationError(f"{slot}_thumbprint: not a SHA-1 or SHA-256 thumbprint in hex")
    return digits


def signing_to_json(signing: SigningCertificate | None) -> dict[str, Any] | None:
    """What tells an operator which CA it is, and whether it vouches for devices."""
    if signing is None:
        return None
    certificate, crl = signing.certificate, signing.crl
    own = thumbprints(certificate)
    return {
        "verified": signing.verified,
        "subject": common_name(certificate) or certificate.subject.rfc4514_string(),
        "sha1Thumbprint": own.sha1,
        "sha256Thumbprint": own.sha256,
        "notAfter": timestamp(certificate.not_valid_after_utc.timestamp()),
        "revocationList": None if crl is None else crl_to_json(crl),
    }


def crl_to_json(crl: x509.CertificateRevocationList) -> dict[str, Any]:
    """How much a revocation list takes back, and of when it is. `number` and `nextUpdate` are null if it has none."""
    end = crl.next_update_utc
    return {
        "revoked": len(crl),
        "number": crl_number(crl),
        "thisUpdate": timestamp(crl.last_update_utc.timestamp()),
        "nextUpdate": None if end is None else timestamp(end.timestamp()),
    }


def load_crl(text: str, argument: str) -> x509.CertificateRevocationList:
    """A revocation list in PEM form, or in base64 of DER. Raises `OperationError`."""
    try:
        content = text.encode()
        if _PEM in content:
            return x509.load_pem_x509_crl(content)
        return x509.load_der_x509_crl(base64.b64decode(content, validate=True))
    except x509.InvalidVersion:
        raise OperationError(f"{argument}: its version is neither 1 nor 2") from None
    except ValueError:  # binascii.Error is one
        raise OperationError(
            f"{argument}: not a revocation list in PEM form",
            hint="it begins with -----BEGIN X509 CRL-----; `openssl crl -inform DER -in FILE` makes one of DER",
        ) from None


def _storage_key(text: str, argument: str) -> StorageKey:
    try:
        return StorageKey.from_base64(text)
    except TpmError as error:
        raise OperationError(
            f"{argument}: {error}", hint="give the TPM2B_PUBLIC of an RSA-2048 storage key in base64"
        ) from None


def _key(text: str | None, argument: str) -> SymmetricKey:
    if text is None:
        return SymmetricKey.generate()
    try:
        return SymmetricKey.from_base64(text)
    except ValueError as error:
        raise OperationError(f"{argument}: {error}") from None


def load_certificate(text: str, argument: str) -> x509.Certificate:
    """A certificate in PEM form, or in base64 of PEM or DER, as IoT Central takes it. Raises `OperationError`."""
    try:
        content = text.encode()
        if _PEM not in content:
            content = base64.b64decode(content, validate=True)
        if _PEM not in content:
            return x509.load_der_x509_certificate(content)
        # The first is the one that is meant, as everywhere in TLS; a chain may follow it.
        return x509.load_pem_x509_certificates(content)[0]
    except x509.InvalidVersion:
        raise OperationError(f"{argument}: its version is neither 1 nor 3") from None
    except ValueError:  # binascii.Error is one
        raise OperationError(
            f"{argument}: not a certificate in PEM form", hint="it begins with -----BEGIN CERTIFICATE-----"
        ) from None
