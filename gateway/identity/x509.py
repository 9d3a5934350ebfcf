"""Judging a device's certificate. Pure; the clock is an argument.

TLS has proved that the device holds the leaf's key. Whether the leaf is welcome is decided here, on our own data: a
chain is built from the leaf, through what the device sent, to any certificate of an enrollment group, be it a
root or an intermediate (OpenSSL calls that a partial chain). Every refusal has its reason.

This is RFC 5280 section 6.1 as far as devices' certificates go. Policies are not asked for. Name constraints are not
evaluated: a certificate that has them, or anything else critical that is not understood here, is refused.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from gateway.identity.evidence import CertificateEvidence
from gateway.identity.sas import KeySlot
from gateway.refusals import Reason, Refused

__all__ = [
    "WEAK_HASHES",
    "LeafCache",
    "Thumbprints",
    "TrustAnchor",
    "TrustAnchors",
    "VerifiedChain",
    "check_leaf",
    "common_name",
    "extension_of",
    "match_thumbprint",
    "proves_possession",
    "thumbprints",
    "verify_chain",
]

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_Outcome = TypeVar("_Outcome")

# Of the certificates that a device sends, this many are looked at: it bounds both the length of a chain and, since
# each is used once, the signatures that a stranger can make us verify.
_MAX_INTERMEDIATES: Final = 8
# NIST SP 800-131A: what is below has been disallowed since 2014. TLS 1.3 has no DSA at all.
_MIN_RSA_BITS: Final = 2048
_MIN_EC_BITS: Final = 224
WEAK_HASHES: Final = (hashes.MD5, hashes.SHA1)
_CLIENT_PURPOSES: Final = frozenset(
    {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)
# RFC 5280 section 4.2: a critical extension that is not processed must refuse the certificate. Policies and subject
# alternative names count as processed: none is required, the CN alone names a device.
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
_MAX_DETAIL: Final = 120  # a stranger chooses the names that a log line quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbprints:
    """Upper-case hex, as certificate tools print them."""

    sha1: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustAnchor:
    """A CA certificate that some enrollment group trusts. `id` says which group and slot.

    `revoked` has the serial numbers of what it has issued and taken back.
    """

    id: str
    certificate: x509.Certificate
    revoked: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedChain:
    """The nearest anchor that vouches for the leaf.

    `depth` counts the certificates between the two. `valid_until` is the unix second at which the first certificate
    of the chain, the anchor included, expires. `issued` is the serial number of what the anchor itself has issued: the
    leaf, or the topmost intermediate.
    """

    anchor_id: str
    depth: int
    valid_until: float
    issued: int


class TrustAnchors:
    """Anchors by subject. Several may share one: a CA that renewed its certificate, or got a new key.

    Those that share the key share what is revoked: a list is of who signed, not of one certificate of theirs.
    """

    def __init__(self, anchors: Iterable[TrustAnchor]) -> None:
        self._by_subject: dict[bytes, list[TrustAnchor]] = {}
        self._revoked: dict[tuple[bytes, bytes], frozenset[int]] = {}
        for anchor in anchors:
            self._by_subject.setdefault(anchor.certificate.subject.public_bytes(), []).append(anchor)
            if anchor.revoked:
                signer = _signer(anchor.certificate)
                self._revoked[signer] = self._revoked.get(signer, frozenset()) | anchor.revoked

    def has_revoked(self, anchor: TrustAnchor, certificate: x509.Certificate) -> bool:
        """Whether `anchor`, which issued `certificate`, has taken it back."""
        if not self._revoked:
            return False
        return certificate.serial_number in self._revoked.get(_signer(anchor.certificate), ())

    def issuers_of(self, certificate: x509.Certificate) -> Iterator[TrustAnchor]:
        """The anchors that did sign `certificate`; only those that may have, by their name, are tried."""
        for anchor in self._by_subject.get(certificate.issuer.public_bytes(), ()):
            if _issued(certificate, anchor.certificate):
                yield anchor


def common_name(certificate: x509.Certificate) -> str | None:
    """The subject's CN, if there is exactly one. Raises `ValueError` if the subject can't be read."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else None


def thumbprints(certificate: x509.Certificate) -> Thumbprints:
    """What names a certificate: hashes over all of it."""
    return Thumbprints(
        sha1=certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - an identifier, as Azure uses it
        sha256=certificate.fingerprint(hashes.SHA256()).hex().upper(),
    )


def check_leaf(leaf: x509.Certificate, registration_id: str, *, now: float) -> Refused | None:
    """What can be said of a leaf by itself: whose it is, its dates, its purpose, its strength."""
    return _readable(lambda: _check_leaf(leaf, registration_id, now))


def verify_chain(
    evidence: CertificateEvidence, anchors: TrustAnchors, *, now: float
) -> VerifiedChain | Refused:
    """Lead the leaf to an anchor. The intermediates may have come in any order; loops and long chains end.

    The leaf itself is for `check_leaf`. If no chain holds, the refusal is of the one that came nearest.
    """
    return _readable(lambda: _verify_chain(evidence, anchors, now))


def match_thumbprint(leaf: x509.Certificate, primary: str | None, secondary: str | None) -> KeySlot | Refused:
    """Which of an individual enrollment's thumbprints the leaf has.

    SHA-1 or SHA-256, in hex of either case; colons and spaces, as tools put between the bytes, don't count.
    """
    own = thumbprints(leaf)
    for slot, enrolled in ((KeySlot.PRIMARY, primary), (KeySlot.SECONDARY, secondary)):
        if enrolled and enrolled.replace(":", "").replace(" ", "").upper() in (own.sha1, own.sha256):
            return slot
    return Refused(Reason.CERTIFICATE_THUMBPRINT_UNKNOWN, f"SHA-256 {own.sha256}")


def proves_possession(proof: x509.Certificate, ca: x509.Certificate, code: str) -> bool:
    """Whether `proof` was signed by the CA's key and its CN is the verification code."""
    try:
        return common_name(proof) == code and _issued(proof, ca)
    except ValueError:
        return False


class LeafCache:
    """Leaves that were verified, so that a known device's certificate costs a look-up and a date check.

    An entry is for a fingerprint *and* the name that was checked against it. The least recently seen is dropped
    beyond `capacity`. Whoever changes the anchors must `forget_all()`, or start a new cache.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._leaves: OrderedDict[tuple[bytes, str], VerifiedChain] = OrderedDict()

    def __len__(self) -> int:
        return len(self._leaves)

    def get(self, evidence: CertificateEvidence, registration_id: str, *, now: float) -> VerifiedChain | None:
        """The chain that was found for this leaf, unless a certificate of it has expired since."""
        key = (evidence.fingerprint, registration_id)
        found = self._leaves.get(key)
        if found is None:
            return None
        if now > found.valid_until:
            del self._leaves[key]
            return None
        self._leaves.move_to_end(key)
        return found

    def put(self, evidence: CertificateEvidence, registration_id: str, chain: VerifiedChain) -> None:
        """Remember a leaf that passed `check_leaf` for this id, and its chain."""
        key = (evidence.fingerprint, registration_id)
        self._leaves[key] = chain
        self._leaves.move_to_end(key)
        if len(self._leaves) > self._capacity:
            self._leaves.popitem(last=False)

    def valid_until(self) -> list[float]:
        """When each leaf's chain ends, in unix seconds: for a forecast."""
        return [chain.valid_until for chain in self._leaves.values()]

    def forget_all(self) -> None:
        """What was verified against anchors that are no longer in force."""
        self._leaves.clear()


def _readable(judge: Callable[[], _Outcome]) -> _Outcome | Refused:
    """Run `judge`. `cryptography` reads a certificate piece by piece, and complains when it comes to a broken one."""
    try:
        return judge()
    except UnsupportedAlgorithm as error:
        return Refused(Reason.CERTIFICATE_WEAK, str(error)[:_MAX_DETAIL])
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        return Refused(Reason.CERTIFICATE_MALFORMED, str(error)[:_MAX_DETAIL])


def _check_leaf(leaf: x509.Certificate, registration_id: str, now: float) -> Refused | None:
    name = common_name(leaf)
    if name != registration_id:
        return Refused(Reason.CERTIFICATE_NAME_MISMATCH, f"CN={(name or '')[:_MAX_DETAIL]!r}")
    return (
        _check_dates(leaf, now)
        or _check_end_entity(leaf)
        or _check_purpose(leaf)
        or _check_signature_hash(leaf)
        or _check_key(leaf)
        or _check_critical(leaf)
    )


def _verify_chain(
    evidence: CertificateEvidence, anchors: TrustAnchors, now: float
) -> VerifiedChain | Refused:
    """Breadth first: the first anchor found is the nearest. Each certificate that was sent is used once."""
    refused: Refused | None = None
    unused = list(evidence.intermediates[:_MAX_INTERMEDIATES])
    top = evidence.leaf
    reached = deque([(top, 0, top.not_valid_after_utc.timestamp())])
    while reached:
        top, depth, valid_until = reached.popleft()
        for anchor in anchors.issuers_of(top):
            if anchors.has_revoked(anchor, top):
                return Refused(
                    Reason.CERTIFICATE_REVOKED, f"serial {top.serial_number:X}, {depth} up from the leaf"
                )
            unfit = _check_issuer(anchor.certificate, now=now, below=depth)
            if unfit is None:
                valid_until = min(valid_until, anchor.certificate.not_valid_after_utc.timestamp())
                return VerifiedChain(
                    anchor_id=anchor.id, depth=depth, valid_until=valid_until, issued=top.serial_number
                )
            refused = refused or unfit
        for issuer in unused.copy():
            if not _issued(top, issuer):
                continue
            unused.remove(issuer)
            # Nobody vouches for what was sent but the signature on it, so here its hash matters too.
            unfit = _check_issuer(issuer, now=now, below=depth) or _check_signature_hash(issuer)
            if unfit is None:
                until = min(valid_until, issuer.not_valid_after_utc.timestamp())
                reached.append((issuer, depth + 1, until))
            refused = refused or unfit
    return refused or Refused(
        Reason.CERTIFICATE_UNTRUSTED,
        f"no anchor is its issuer {_quoted(top.issuer)}, {depth} up from the leaf",
    )


def _signer(ca: x509.Certificate) -> tuple[bytes, bytes]:
    """Name and key: who signs, whichever of their certificates it is."""
    key = ca.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return ca.subject.public_bytes(), key


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer`'s name and key are those that signed `certificate`. Names first: signatures are dear."""
    if certificate.issuer != issuer.subject or _key_ids_differ(certificate, issuer):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _key_ids_differ(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Key identifiers tell CAs of one name apart, where both certificates have them (RFC 5280 section 4.2.1.1)."""
    authority = extension_of(certificate, x509.AuthorityKeyIdentifier)
    if authority is None or authority.key_identifier is None:
        return False
    subject = extension_of(issuer, x509.SubjectKeyIdentifier)
    return subject is not None and subject.digest != authority.key_identifier


def _check_issuer(issuer: x509.Certificate, *, now: float, below: int) -> Refused | None:
    """Whether a certificate may have issued another, with `below` CAs between it and the leaf."""
    unfit = (
        _check_authority(issuer, below)
        or _check_dates(issuer, now)
        or _check_purpose(issuer)
        or _check_key(issuer)
        or _check_critical(issuer)
    )
    if unfit is None:
        return None
    return Refused(unfit.reason, f"issuer {_quoted(issuer.subject)}: {unfit.detail}")


def _check_end_entity(leaf: x509.Certificate) -> Refused | None:
    if _is_ca(leaf):
        return Refused(Reason.CERTIFICATE_IS_CA)
    # What TLS does with a client's key is sign. (RFC 8446 section 4.4.2.2; RFC 5246 section 7.4.6.)
    usage = extension_of(leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        return Refused(Reason.CERTIFICATE_PURPOSE_WRONG, "its key usage lacks digitalSignature")
    return None


def _check_authority(issuer: x509.Certificate, below: int) -> Refused | None:
    if not _is_ca(issuer):
        return Refused(Reason.CERTIFICATE_UNTRUSTED, "it is no CA")
    usage = extension_of(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        return Refused(Reason.CERTIFICATE_UNTRUSTED, "its key usage lacks keyCertSign")
    # RFC 5280 does not count self-issued certificates; to count them is simpler, and strict.
    constraints = extension_of(issuer, x509.BasicConstraints)
    if constraints is not None and constraints.path_length is not None and constraints.path_length < below:
        return Refused(Reason.CERTIFICATE_UNTRUSTED, "the chain below it is longer than it allows")
    return None


def _check_dates(certificate: x509.Certificate, now: float) -> Refused | None:
    """Both ends belong to the validity (RFC 5280 section 4.1.2.5)."""
    at = datetime.fromtimestamp(now, UTC)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if at < start:
        return Refused(Reason.CERTIFICATE_NOT_YET_VALID, f"from {start:%Y-%m-%d %H:%M}Z")
    if at > end:
        return Refused(Reason.CERTIFICATE_EXPIRED, f"until {end:%Y-%m-%d %H:%M}Z")
    return None


def _check_purpose(certificate: x509.Certificate) -> Refused | None:
    """An extended key usage, where there is one, must allow clients; a CA's limits what it issues."""
    purposes = extension_of(certificate, x509.ExtendedKeyUsage)
    if purposes is None or not _CLIENT_PURPOSES.isdisjoint(purposes):
        return None
    return Refused(Reason.CERTIFICATE_PURPOSE_WRONG, "its extended key usage lacks clientAuth")


def _check_signature_hash(certificate: x509.Certificate) -> Refused | None:
    algorithm = certificate.signature_hash_algorithm
    if isinstance(algorithm, WEAK_HASHES):
        return Refused(Reason.CERTIFICATE_WEAK, f"signed with {algorithm.name}")
    return None


def _check_key(certificate: x509.Certificate) -> Refused | None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        return Refused(Reason.CERTIFICATE_WEAK, f"RSA with {key.key_size} bits")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < _MIN_EC_BITS:
        return Refused(Reason.CERTIFICATE_WEAK, f"an elliptic curve of {key.key_size} bits")
    if isinstance(key, dsa.DSAPublicKey):
        return Refused(Reason.CERTIFICATE_WEAK, "a DSA key")
    return None


def _check_critical(certificate: x509.Certificate) -> Refused | None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            return Refused(
                Reason.CERTIFICATE_UNTRUSTED,
                f"its critical extension {extension.oid.dotted_string} is not understood",
            )
    return None


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = extension_of(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def extension_of(
    of: x509.Certificate | x509.CertificateRevocationList, kind: type[_Extension]
) -> _Extension | None:
    """The extension of that kind, if there is one."""
    try:
        return of.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _quoted(name: x509.Name) -> str:
    return repr(name.rfc4514_string()[:_MAX_DETAIL])
