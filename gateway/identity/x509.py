"""Judging a device's certificate. Pure; the clock is an argument.

TLS has proved that the device holds the leaf's key. Whether the leaf is welcome is decided here, on our own data: a
chain is built from the leaf, through what the device sent, to any certificate of an enrollment group, be it a
root or an intermediate (OpenSSL calls that a partial chain). Every refusal has its reason.
(RFC 5280 section 6.1, as far as devices' certificates go: no policies, no name constraints.)
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.identity.evidence import CertificateEvidence
from gateway.identity.sas import KeySlot
from gateway.refusals import Reason, Refused

__all__ = [
    "LeafCache", "Thumbprints", "TrustAnchor", "TrustAnchors", "VerifiedChain", "check_leaf", "common_name",
    "match_thumbprint", "proves_possession", "thumbprints", "verify_chain",
]  # fmt: skip

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_MAX_DEPTH: Final = 8
_MIN_RSA_BITS: Final = 2048
_WEAK_HASHES: Final = (hashes.MD5, hashes.SHA1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbprints:
    """Upper-case hex, as certificate tools print them."""

    sha1: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustAnchor:
    """A CA certificate that some enrollment group trusts. `id` says which group and slot."""

    id: str
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedChain:
    """The nearest anchor that vouches for the leaf; `depth` counts the certificates between them."""

    anchor_id: str
    depth: int
    valid_until: datetime
    """When the first certificate of the chain expires."""


class TrustAnchors:
    """Anchors by subject: two may share a name (a CA that got a new key), so each name has a list."""

    def __init__(self, anchors: Iterable[TrustAnchor]) -> None:
        self._by_subject: dict[bytes, list[TrustAnchor]] = {}
        for anchor in anchors:
            self._by_subject.setdefault(anchor.certificate.subject.public_bytes(), []).append(anchor)

    def named(self, issuer: x509.Name) -> Sequence[TrustAnchor]:
        return self._by_subject.get(issuer.public_bytes(), ())


def common_name(certificate: x509.Certificate) -> str | None:
    """The subject's CN, if there is exactly one."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else None


def thumbprints(certificate: x509.Certificate) -> Thumbprints:
    return Thumbprints(
        sha1=certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - an identifier, as Azure uses it
        sha256=certificate.fingerprint(hashes.SHA256()).hex().upper(),
    )


def check_leaf(leaf: x509.Certificate, registration_id: str, *, now: float) -> Refused | None:
    """What can be said of a leaf by itself: whose it is, its dates, its purpose, its strength."""
    try:
        name = common_name(leaf)
        if name != registration_id:
            return Refused(Reason.CERTIFICATE_NAME_MISMATCH, f"CN={(name or '')[:64]!r}")
        dates = _check_dates(leaf, now)
        if dates is not None:
            return dates
        if _is_ca(leaf):
            return Refused(Reason.CERTIFICATE_IS_CA)
        purposes = _extension(leaf, x509.ExtendedKeyUsage)
        if purposes is not None and not {
            ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        } & set(purposes):  # fmt: skip
            return Refused(Reason.CERTIFICATE_PURPOSE_WRONG, "its extended key usage lacks clientAuth")
        return _check_strength(leaf)
    except ValueError as error:
        return Refused(Reason.CERTIFICATE_MALFORMED, str(error)[:120])


def verify_chain(evidence: CertificateEvidence, anchors: TrustAnchors, *, now: float) -> VerifiedChain | Refused:
    """Lead the leaf to an anchor. Certificates sent in any order are used; loops and long chains end."""
    try:
        return _build(evidence.leaf, evidence.intermediates, anchors, now=now, depth=0)
    except ValueError as error:
        return Refused(Reason.CERTIFICATE_MALFORMED, str(error)[:120])


def match_thumbprint(leaf: x509.Certificate, primary: str | None, secondary: str | None) -> KeySlot | Refused:
    """Which of an individual enrollment's thumbprints (SHA-1 or SHA-256, hex) the leaf has."""
    own = thumbprints(leaf)
    for slot, enrolled in ((KeySlot.PRIMARY, primary), (KeySlot.SECONDARY, secondary)):
        if enrolled and enrolled.replace(":", "").replace(" ", "").upper() in (own.sha1, own.sha256):
            return slot
    return Refused(Reason.CERTIFICATE_THUMBPRINT_UNKNOWN, f"SHA-256 {own.sha256}")


def proves_possession(proof: x509.Certificate, ca: x509.Certificate, code: str) -> bool:
    """Whether `proof` was signed by the CA's key and names the verification code."""
    return common_name(proof) == code and _issued(proof, ca)


class LeafCache:
    """Leaves that were verified, by fingerprint: a known device's certificate costs a look-up and a date check."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._leaves: OrderedDict[tuple[bytes, str], VerifiedChain] = OrderedDict()

    def get(self, evidence: CertificateEvidence, registration_id: str, *, now: float) -> VerifiedChain | None:
        found = self._leaves.get((evidence.fingerprint, registration_id))
        if found is None or datetime.fromtimestamp(now, UTC) > found.valid_until:
            return None
        return found

    def put(self, evidence: CertificateEvidence, registration_id: str, chain: VerifiedChain) -> None:
        if self._capacity == 0:
            return
        self._leaves[(evidence.fingerprint, registration_id)] = chain
        if len(self._leaves) > self._capacity:
            self._leaves.popitem(last=False)

    def forget_all(self) -> None:
        self._leaves.clear()


def _build(
    certificate: x509.Certificate, sent: tuple[x509.Certificate, ...], anchors: TrustAnchors, *, now: float, depth: int
) -> VerifiedChain | Refused:
    for anchor in anchors.named(certificate.issuer):
        if _issued(certificate, anchor.certificate):
            unfit = _check_issuer(anchor.certificate, now=now, below=depth)
            if unfit is not None:
                return unfit
            until = min(certificate.not_valid_after_utc, anchor.certificate.not_valid_after_utc)
            return VerifiedChain(anchor_id=anchor.id, depth=depth, valid_until=until)
    if depth >= _MAX_DEPTH:
        return Refused(Reason.CERTIFICATE_UNTRUSTED, "the chain is too long")
    refused = Refused(Reason.CERTIFICATE_UNTRUSTED, f"issuer {certificate.issuer.rfc4514_string()[:120]!r}")
    for index, issuer in enumerate(sent):
        if issuer.subject != certificate.issuer or not _issued(certificate, issuer):
            continue
        unfit = _check_issuer(issuer, now=now, below=depth)
        if unfit is not None:
            refused = unfit
            continue
        rest = sent[:index] + sent[index + 1 :]  # each is used once: a loop runs out of certificates
        outcome = _build(issuer, rest, anchors, now=now, depth=depth + 1)
        if isinstance(outcome, VerifiedChain):
            until = min(certificate.not_valid_after_utc, outcome.valid_until)
            return dataclasses.replace(outcome, valid_until=until)
        refused = outcome
    return refused


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _check_issuer(issuer: x509.Certificate, *, now: float, below: int) -> Refused | None:
    """Whether a certificate may have issued another, with `below` CAs between it and the leaf."""
    constraints = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        return Refused(Reason.CERTIFICATE_UNTRUSTED, "an issuer in the chain is no CA")
    if constraints.path_length is not None and constraints.path_length < below:
        return Refused(Reason.CERTIFICATE_UNTRUSTED, "the chain is longer than its CA allows")
    return _check_dates(issuer, now) or _check_strength(issuer)


def _check_dates(certificate: x509.Certificate, now: float) -> Refused | None:
    at = datetime.fromtimestamp(now, UTC)
    if at < certificate.not_valid_before_utc:
        return Refused(Reason.CERTIFICATE_NOT_YET_VALID, f"from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M}Z")
    if at > certificate.not_valid_after_utc:
        return Refused(Reason.CERTIFICATE_EXPIRED, f"until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M}Z")
    return None


def _check_strength(certificate: x509.Certificate) -> Refused | None:
    # A root's own signature proves nothing, so its hash does not matter.
    self_signed = certificate.subject == certificate.issuer
    if not self_signed and isinstance(certificate.signature_hash_algorithm, _WEAK_HASHES):
        return Refused(Reason.CERTIFICATE_WEAK, f"signed with {certificate.signature_hash_algorithm.name}")
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        return Refused(Reason.CERTIFICATE_WEAK, f"RSA with {key.key_size} bits")
    return None


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
