"""What operators give as credentials, and what they are shown of them.

Keys and certificates are checked here, when they are given, so that a mistake is the operator's to see at once
and not a device's to fail on later.
"""

import base64
import string
from typing import Annotated, Any, Final, Literal

from cryptography import x509
from pydantic import Field

from gateway.enrollment.models import SigningCertificate, SymmetricKeys
from gateway.errors import OperationError
from gateway.identity.x509 import check_leaf, common_name, thumbprints
from gateway.operations.documents import timestamp
from gateway.operations.verbs import SECRET
from gateway.refusals import answer_for
from gateway.secrets import SymmetricKey

__all__ = [
    "Attestation",
    "Key",
    "keys_from",
    "keys_to_json",
    "load_certificate",
    "load_signing_certificate",
    "signing_to_json",
    "thumbprint_from",
]

Attestation = Literal["symmetricKey", "x509"]
"""The attestation mechanisms, as the provisioning service names them."""
Key = Annotated[str, Field(min_length=1, max_length=200), SECRET]
"""A symmetric key in base64."""

_PEM: Final = b"-----BEGIN"
_HEX_DIGITS: Final = frozenset(string.hexdigits)
_THUMBPRINT_LENGTHS: Final = (40, 64)
"""SHA-1 and SHA-256, in hex digits."""


def keys_from(primary: str | None, secondary: str | None) -> SymmetricKeys:
    """The keys that were given; what was not is generated. Raises `OperationError`."""
    return SymmetricKeys(primary=_key(primary, "primary_key"), secondary=_key(secondary, "secondary_key"))


def keys_to_json(keys: SymmetricKeys) -> dict[str, Any]:
    """Both keys in base64: only for who asked for them."""
    return {"primaryKey": keys.primary.base64, "secondaryKey": keys.secondary.base64}


def load_signing_certificate(pem: str, argument: str, *, now: float) -> x509.Certificate:
    """A CA's certificate, root or intermediate, that can vouch for devices at `now`. Raises `OperationError`."""
    certificate = load_certificate(pem, argument)
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        is_ca = False
    if not is_ca:
        raise OperationError(
            f"{argument}: not a CA's certificate",
            hint="a group takes the CA that signs its devices; enroll one device's own certificate individually",
        )
    if certificate.not_valid_after_utc.timestamp() <= now:
        raise OperationError(f"{argument}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    return certificate


def thumbprint_from(
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
    certificate = signing.certificate
    own = thumbprints(certificate)
    return {
        "verified": signing.verified,
        "subject": common_name(certificate) or certificate.subject.rfc4514_string(),
        "sha1Thumbprint": own.sha1,
        "sha256Thumbprint": own.sha256,
        "notAfter": timestamp(certificate.not_valid_after_utc.timestamp()),
    }


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
    except ValueError:  # binascii.Error is one
        raise OperationError(
            f"{argument}: not a certificate in PEM form", hint="it begins with -----BEGIN CERTIFICATE-----"
        ) from None
