"""What operators give as credentials, and what they are shown of them.

Keys and certificates are checked here, when they are given, so that a typing error is the operator's to see
and not a device's to fail on.
"""

from typing import Annotated, Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field

from gateway.enrollment.models import SigningCertificates, SymmetricKeys
from gateway.errors import OperationError
from gateway.identity.x509 import common_name, thumbprints
from gateway.operations.documents import timestamp
from gateway.secrets import SymmetricKey

__all__ = [
    "Attestation",
    "Key",
    "certificate_to_json",
    "keys_from",
    "keys_to_json",
    "load_certificate",
    "load_signing_certificate",
    "to_pem",
]

Attestation = Literal["symmetricKey", "x509"]
"""The attestation mechanisms, as the provisioning service names them."""
Key = Annotated[str, Field(min_length=1, max_length=200)]
"""A symmetric key in base64."""


def keys_from(primary: str | None, secondary: str | None) -> SymmetricKeys:
    """The keys that were given; what was not is generated. Raises `OperationError`."""
    return SymmetricKeys(primary=_key(primary, "primary_key"), secondary=_key(secondary, "secondary_key"))


def _key(text: str | None, name: str) -> SymmetricKey:
    if text is None:
        return SymmetricKey.generate()
    try:
        return SymmetricKey.from_base64(text)
    except ValueError as error:
        raise OperationError(f"{name}: {error}") from None


def keys_to_json(keys: SymmetricKeys) -> dict[str, Any]:
    """Both keys in base64: only for who asked for them."""
    return {"primaryKey": keys.primary.base64, "secondaryKey": keys.secondary.base64}


def load_certificate(pem: str, name: str) -> x509.Certificate:
    """The one certificate of a PEM text. Raises `OperationError` that names the argument."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise OperationError(
            f"{name}: not a certificate in PEM form", hint="it begins with -----BEGIN CERTIFICATE-----"
        ) from None
    if len(found) != 1:
        raise OperationError(f"{name}: one certificate is expected, there are {len(found)}")
    return found[0]


def load_signing_certificate(pem: str, name: str, *, now: float) -> x509.Certificate:
    """A CA's certificate, root or intermediate, that can vouch for devices at `now`. Raises `OperationError`."""
    certificate = load_certificate(pem, name)
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_ca = constraints.ca
    except (x509.ExtensionNotFound, ValueError):
        is_ca = False
    if not is_ca:
        raise OperationError(
            f"{name}: not a CA's certificate",
            hint="a group takes the CA that signs devices' certificates; one device's own is an individual enrollment",
        )
    if certificate.not_valid_after_utc.timestamp() <= now:
        raise OperationError(f"{name}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    return certificate


def certificate_to_json(certificate: x509.Certificate) -> dict[str, Any]:
    """What tells an operator which certificate it is."""
    prints = thumbprints(certificate)
    return {
        "subject": common_name(certificate) or certificate.subject.rfc4514_string(),
        "sha1Thumbprint": prints.sha1,
        "sha256Thumbprint": prints.sha256,
        "notAfter": timestamp(certificate.not_valid_after_utc.timestamp()),
    }


def to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
