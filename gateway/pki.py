"""A development CA: for `gateway init`, `gateway device issue-cert`, and tests. No I/O: values with PEM bytes.

Not a production PKI: keys are made where the certificates are. (RFC 5280 profiles what stands in each.)
"""

import ipaddress
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias, assert_never

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "IssuedCertificate",
    "KeyKind",
    "PrivateKey",
    "create_ca",
    "create_intermediate",
    "issue_device",
    "issue_server",
    "load_ca",
    "self_signed_device",
]

KeyKind: TypeAlias = Literal["p256", "rsa2048"]
"""P-256 unless a device can't: an RSA handshake costs the gateway and the device more."""
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# A certificate starts a little in the past, for machines whose clocks are behind.
_CLOCKS_DIFFER: Final = timedelta(minutes=5)
_MAX_COMMON_NAME: Final = 64  # RFC 5280 appendix A.1, ub-common-name


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate with its key, and the intermediates between it and its root."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """The certificate, then its intermediates: what a TLS server or a device presents."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in (self.certificate, *self.chain))

    @property
    def key_pem(self) -> bytes:
        """PKCS #8, not encrypted: for a file that only its owner can read."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def create_ca(
    name: str, *, now: float | None = None, days: int = 3650, key: KeyKind = "p256"
) -> IssuedCertificate:
    """A root CA. `now` (unix seconds, here and below) is the machine's clock if it is left out."""
    return _issue(name, None, now=now, days=days, key=key, is_ca=True)


def create_intermediate(
    ca: IssuedCertificate, name: str, *, now: float | None = None, days: int = 1825, key: KeyKind = "p256"
) -> IssuedCertificate:
    """A CA below `ca`. Like all that is issued, it ends no later than its issuer."""
    return _issue(name, ca, now=now, days=days, key=key, is_ca=True)


def issue_device(
    ca: IssuedCertificate, device_id: str, *, now: float | None = None, days: int = 365, key: KeyKind = "p256"
) -> IssuedCertificate:
    """A device's leaf: the subject CN is the device id. Raises `ValueError` beyond a CN's 64 characters."""
    return _issue(device_id, ca, now=now, days=days, key=key, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)


def issue_server(
    ca: IssuedCertificate,
    hosts: Iterable[str],
    *,
    now: float | None = None,
    days: int = 825,
    key: KeyKind = "p256",
) -> IssuedCertificate:
    """A server's certificate for DNS names and IP addresses. Raises `ValueError` if there is none."""
    names = list(hosts)
    if not names:
        raise ValueError("a server's certificate needs a host name or an address")
    return _issue(
        names[0][:_MAX_COMMON_NAME],  # for people: clients go by the alternative names
        ca,
        now=now,
        days=days,
        key=key,
        purpose=ExtendedKeyUsageOID.SERVER_AUTH,
        hosts=names,
    )


def self_signed_device(
    device_id: str, *, now: float | None = None, days: int = 365, key: KeyKind = "p256"
) -> IssuedCertificate:
    """A device's own certificate, for an individual enrollment: issuer and subject CN are the device id."""
    return _issue(device_id, None, now=now, days=days, key=key, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)


def load_ca(certificate_pem: bytes, key_pem: bytes) -> IssuedCertificate:
    """A CA from its files. Raises `ValueError` if they are not a CA's certificate and its EC or RSA key."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    try:
        key = load_pem_private_key(key_pem, password=None)
        certified = certificate.public_key()
    except (TypeError, UnsupportedAlgorithm) as error:  # TypeError: the key is encrypted
        raise ValueError("the key can't be read") from error
    if not isinstance(key, PrivateKey) or key.public_key() != certified:
        raise ValueError("the key is not the certificate's")
    if not _is_ca(certificate):
        raise ValueError("the certificate is not a CA's")
    return IssuedCertificate(certificate=certificate, key=key)


def _issue(
    name: str,
    issuer: IssuedCertificate | None,
    *,
    now: float | None,
    days: int,
    key: KeyKind,
    is_ca: bool = False,
    purpose: x509.ObjectIdentifier | None = None,
    hosts: Iterable[str] = (),
) -> IssuedCertificate:
    own_key = _new_key(key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    end = start + timedelta(days=days)
    if issuer is not None:
        end = min(end, issuer.certificate.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(own_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _CLOCKS_DIFFER)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(_usage(is_ca=is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own_key.public_key()), critical=False)
        .add_extension(_authority_key_id(issuer, own_key), critical=False)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
        )
    certificate = builder.sign(own_key if issuer is None else issuer.key, hashes.SHA256())
    return IssuedCertificate(certificate=certificate, key=own_key, chain=_chain(issuer))


def _new_key(kind: KeyKind) -> PrivateKey:
    match kind:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "rsa2048":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case _:
            assert_never(kind)


def _authority_key_id(issuer: IssuedCertificate | None, own_key: PrivateKey) -> x509.AuthorityKeyIdentifier:
    """The issuer's own key identifier: a CA from elsewhere may have computed it in another way than we do."""
    if issuer is None:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(own_key.public_key())
    try:
        identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _chain(issuer: IssuedCertificate | None) -> tuple[x509.Certificate, ...]:
    """The issuer and those above it, without the root, which the other side has."""
    if issuer is None or issuer.certificate.subject == issuer.certificate.issuer:
        return ()
    return (issuer.certificate, *issuer.chain)


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
