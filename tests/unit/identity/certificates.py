"""Certificates with one flaw each, which `gateway.pki` would never make."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NOW = 1_700_000_000
DAY = 86_400

_SHA256_WITH_RSA = bytes.fromhex("2a864886f70d01010b")
WEAK_RSA_SIGNATURES = {
    "md5": bytes.fromhex("2a864886f70d010104"),
    "sha1": bytes.fromhex("2a864886f70d010105"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any


def make(
    name: str | Sequence[str],
    issuer: Made | None = None,
    *,
    ca: bool | None = None,
    path_length: int | None = None,
    start: float = NOW - DAY,
    end: float = NOW + DAY,
    key: Any = None,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    usage: x509.KeyUsage | None = None,
    key_ids: bool = True,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Made:
    """Signed by `issuer`, or by itself. `ca` None leaves basicConstraints out."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    signer = issuer.key if issuer is not None else own
    names = [name] if isinstance(name, str) else name
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(start, UTC))
        .not_valid_after(datetime.fromtimestamp(end, UTC))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    if key_ids:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False
        ).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Made(certificate=builder.sign(signer, algorithm), key=own)


def authority(name: str, issuer: Made | None = None, **flaws: Any) -> Made:
    """A CA that lasts longer than what it issues."""
    return make(name, issuer, **{"ca": True, "start": NOW - 10 * DAY, "end": NOW + 10 * DAY, **flaws})


def revocation_list(
    ca: Any,
    *revoked: int,
    issuer: x509.Name | None = None,
    signer: Any = None,
    at: float = NOW - DAY,
    number: int | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.CertificateRevocationList:
    """The CA's list of serial numbers, made at `at`; signed by another key if there is a `signer`."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer or ca.certificate.subject)
        .last_update(datetime.fromtimestamp(at, UTC))
        .next_update(datetime.fromtimestamp(at + 7 * DAY, UTC))
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        builder = builder.add_revoked_certificate(
            entry.revocation_date(datetime.fromtimestamp(at, UTC)).build()
        )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer or ca.key, hashes.SHA256())


def usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def said_to_be_signed_with(weak_hash: str, made: Made) -> x509.Certificate:
    """Rewrite the signature algorithm of an RSA-signed certificate: today's libraries won't sign with these hashes.

    The signature is no longer right, so this serves where the hash is judged before it.
    """
    der = made.certificate.public_bytes(Encoding.DER)
    assert der.count(_SHA256_WITH_RSA) == 2
    return x509.load_der_x509_certificate(der.replace(_SHA256_WITH_RSA, WEAK_RSA_SIGNATURES[weak_hash]))


def list_said_to_be_signed_with(
    weak_hash: str, crl: x509.CertificateRevocationList
) -> x509.CertificateRevocationList:
    """The same for a revocation list of a CA with an RSA key."""
    der = crl.public_bytes(Encoding.DER)
    assert der.count(_SHA256_WITH_RSA) == 2
    return x509.load_der_x509_crl(der.replace(_SHA256_WITH_RSA, WEAK_RSA_SIGNATURES[weak_hash]))


def with_an_extension_twice(der: bytes) -> bytes:
    """A certificate whose subject key identifier calls itself an authority key identifier, of which it has one."""
    subject, authority_ = bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d23")
    assert der.count(subject) == der.count(authority_) == 1
    return der.replace(subject, authority_)


def of_a_version_that_there_is_not(der: bytes) -> bytes:
    """A certificate that says 2 and not 3 of itself, with extensions for all that."""
    assert der.count(b"\xa0\x03\x02\x01\x02") == 1
    return der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01")


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def rsa_key_with_exponent(bits: int) -> rsa.RSAPrivateKey:
    """An RSA-2048 key with a public exponent of that many bits, to make its signatures dear to verify."""
    known = rsa_key(2048).private_numbers()
    p, q = known.p, known.q
    e = (1 << (bits - 1)) | 1
    while math.gcd(e, (p - 1) * (q - 1)) != 1:
        e += 2
    d = pow(e, -1, math.lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), known.iqmp, rsa.RSAPublicNumbers(e, p * q)
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


class PublicRsaKey:
    """What stands in for a key that signs nothing: a real one of so many bits takes long to find."""

    def __init__(self, bits: int) -> None:
        self._numbers = rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) | 1)

    def public_key(self) -> rsa.RSAPublicKey:
        return self._numbers.public_key()


def dsa_key() -> dsa.DSAPrivateKey:
    return dsa.generate_private_key(2048)


def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()
