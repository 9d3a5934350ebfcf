"""A development CA: for `gateway init`, `gateway device issue-cert`, and tests. No I/O: values with PEM bytes.

Not a production PKI: keys are made where the certificates are. (RFC 5280 profiles what stands in each.)
"""

import ipaddress
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "IssuedCertificate",
    "create_ca",
    "create_intermediate",
    "issue_device",
    "issue_server",
    "load_ca",
    "self_signed_device",
]

_CLOCKS_DIFFER: Final = timedelta(minutes=5)
_MAX_COMMON_NAME: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate with its key, and the intermediates between it and its root."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
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
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def create_ca(name: str, *, now: float | None = None, days: int = 3650) -> IssuedCertificate:
    """A root CA."""
    return _issue(name, None, now=now, days=days, is_ca=True)


def create_intermediate(
    ca: IssuedCertificate, name: str, *, now: float | None = None, days: int = 1825
) -> IssuedCertificate:
    """A CA below `ca`."""
    return _issue(name, ca, now=now, days=days, is_ca=True)


def issue_device(
    ca: IssuedCertificate, device_id: str, *, now: float | None = None, days: int = 365
) -> IssuedCertificate:
    """A device's leaf: the subject CN is the device id. Raises `ValueError` if a CN can't hold it."""
    return _issue(device_id, ca, now=now, days=days, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)


def issue_server(
    ca: IssuedCertificate, hosts: Iterable[str], *, now: float | None = None, days: int = 825
) -> IssuedCertificate:
    """A server's certificate for names and addresses."""
    names = list(hosts)
    return _issue(
        names[0][:_MAX_COMMON_NAME], ca, now=now, days=days, purpose=ExtendedKeyUsageOID.SERVER_AUTH, hosts=names
    )


def self_signed_device(device_id: str, *, now: float | None = None, days: int = 365) -> IssuedCertificate:
    """A device's own certificate, for an individual enrollment: issuer and subject CN are the device id."""
    return _issue(device_id, None, now=now, days=days, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)


def load_ca(certificate_pem: bytes, key_pem: bytes) -> IssuedCertificate:
    """A CA from its files. Raises `ValueError` if they are not a certificate and its EC key."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    key = load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("the key is not the certificate's")
    return IssuedCertificate(certificate=certificate, key=key)


def _issue(
    name: str,
    issuer: IssuedCertificate | None,
    *,
    now: float | None,
    days: int,
    is_ca: bool = False,
    purpose: x509.ObjectIdentifier | None = None,
    hosts: Iterable[str] = (),
) -> IssuedCertificate:
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _CLOCKS_DIFFER)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(_usage(is_ca=is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
        )
    certificate = builder.sign(signer, hashes.SHA256())
    return IssuedCertificate(certificate=certificate, key=key, chain=_chain(issuer))


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
