"""Judging a device's certificate. Pure; the clock is an argument.

TLS has proved that the device holds the leaf's key. Whether the leaf is welcome is decided here, on our own data: a
chain is built from the leaf, through what the device sent, to any certificate of an enrollment group, be it a
root or an intermediate (OpenSSL calls that a partial chain). Every refusal has its reason.

This is RFC 5280 section 6.1 as far as devices' certificates go. Policies are not asked for. Name constraints are not
evaluated: a certificate that has them, or anything else critical that is not understood here, is refused.

Who is a CA is told by the key: it keeps its key when it renews its certificate, and what it has taken back stays taken
back by whichever of its certificates a chain leads.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar

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
    "Link",
    "Thumbprints",
    "TrustAnchor",
    "TrustAnchors",
    "VerifiedChain",
    "check_authority",
    "check_leaf",
    "common_name",
    "extension_of",
    "match_thumbprint",
    "proves_possession",
    "signer_of",
    "thumbprints",
    "verify_chain",
]

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_Outcome = TypeVar("_Outcome")

# Of the certificates that a device sends, this many are looked at: it bounds the length of a chain.
_MAX_INTERMEDIATES: Final = 8
# And this many signatures by them are verified at most. A chain of eight needs eight; the rest is for CAs that share a
# name, and can only be told apart by trying. A stranger would have each try every one.
_MAX_SIGNATURES: Final = 16
# NIST SP 800-131A: what is below has been disallowed since 2014. TLS 1.3 has no DSA at all.
_MIN_RSA_BITS: Final = 2048
_MIN_EC_BITS: Final = 224
# What is above makes a signature dear to verify: five milliseconds, where the usual exponent of 17 bits takes a fiftieth.
_MAX_RSA_BITS: Final = 8192
_MAX_RSA_EXPONENT_BITS: Final = 32
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
# `cryptography` reads a certificate piece by piece, and raises one of these when it comes to a broken one.
_UNREADABLE: Final = (
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbprints:
    """Upper-case hex, as certificate tools print them."""

    sha1: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustAnchor:
    """A CA certificate that some enrollment group trusts. `id` says which group and slot.

    `revoked` has the serial numbers of what it has issued and taken back. One that is not `trusted` vouches for nobody
    (yet), but what it has taken back is taken back.
    """

    id: str
    certificate: x509.Certificate
    trusted: bool = True
    revoked: frozenset[int] = frozenset()


class Link(NamedTuple):
    """One step of a chain: who signed (see `signer_of`), and the serial number of what was signed."""

    signer: bytes
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedChain:
    """The nearest anchor that vouches for the leaf.

    `depth` counts the certificates between the two. `valid_from` and `valid_until` are the unix seconds between which every
    certificate of the chain, the anchor included, is valid. `issued` has the links of the chain, the leaf's first.
    """

    anchor_id: str
    depth: int
    valid_from: float
    valid_until: float
    issued: tuple[Link, ...]


class TrustAnchors:
    """Anchors by subject. Several may share one: a CA that renewed its certificate, or got a new key.

    Those that share the key share what is revoked: a list is of who signed, not of one certificate of theirs.
    """

    def __init__(self, anchors: Iterable[TrustAnchor]) -> None:
        known = [(signer_of(anchor.certificate), anchor) for anchor in anchors]
        self._by_subject: dict[bytes, list[tuple[bytes, TrustAnchor]]] = {}
        self._revoked: dict[bytes, frozenset[int]] = {}
        for signer, anchor in known:
            if anchor.trusted:
                of_that_name = self._by_subject.setdefault(anchor.certificate.subject.public_bytes(), [])
                of_that_name.append((signer, anchor))
            if anchor.revoked:
                self._revoked[signer] = self._revoked.get(signer, frozenset()) | anchor.revoked
        self._taken_back = self._find_taken_back(known)

    def _find_taken_back(self, known: list[tuple[bytes, TrustAnchor]]) -> frozenset[str]:
        """Anchors that another CA has issued, and has taken back. A root speaks for itself by being there."""
        return frozenset(
            anchor.id
            for own, anchor in known
            for signer, ca in known
            if signer != own
            and self.has_revoked(Link(signer, anchor.certificate.serial_number))
            and _issued(anchor.certificate, ca.certificate)
        )

    def has_revoked(self, link: Link) -> bool:
        """Whether who signed has taken back what it signed."""
        return link.serial in self._revoked.get(link.signer, ())

    def has_taken_back(self, anchor_id: str) -> bool:
        """Whether the anchor is itself on the list of the CA that issued it: then it vouches for nobody."""
        return anchor_id in self._taken_back

    def issuers_of(self, certificate: x509.Certificate) -> Iterator[tuple[Link, TrustAnchor]]:
        """The anchors that did sign `certificate`; only those that may have, by their name, are tried."""
        for signer, anchor in self._by_subject.get(certificate.issuer.public_bytes(), ()):
            if _issued(certificate, anchor.certificate):
                yield Link(signer, certificate.serial_number), anchor


def common_name(certificate: x509.Certificate) -> str | None:
    """The subject's CN, if there is exactly one. Raises `ValueError` if the subject can't be read."""
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except TypeError as error:  # of a value whose type its attribute can't have
        raise ValueError(str(error)) from None
    return str(names[0].value) if len(names) == 1 else None


def signer_of(ca: x509.Certificate) -> bytes:
    """A digest of the CA's key, which says who signs, whichever of the CA's certificates this is.

    A key that nobody can read signs nothing here; its certificate stands for it.
    """
    try:
        key = ca.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _UNREADABLE:
        key = ca.public_bytes(Encoding.DER)
    return sha256(key).digest()


def thumbprints(certificate: x509.Certificate) -> Thumbprints:
    """What names a certificate: hashes over all of it."""
    return Thumbprints(
        sha1=certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - an identifier, as Azure uses it
        sha256=certificate.fingerprint(hashes.SHA256()).hex().upper(),
    )


def check_leaf(leaf: x509.Certificate, registration_id: str, *, now: float) -> Refused | None:
    """What can be said of a leaf by itself: whose it is, its dates, its purpose, its strength."""
    return _readable(lambda: _check_leaf(leaf, registration_id, now))


def check_authority(ca: x509.Certificate) -> Refused | None:
    """What speaks against a CA at all times, so that nobody whom it signed would be let in."""
    return _readable(lambda: _check_authority(ca, below=0))


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
    except _UNREADABLE:
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
        """The chain that was found for this leaf, unless it is not valid at `now`: clocks are also set back."""
        key = (evidence.fingerprint, registration_id)
        found = self._leaves.get(key)
        if found is None:
            return None
        if not found.valid_from <= now <= found.valid_until:
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
    """Run `judge`; a certificate that can't be read is refused."""
    try:
        return judge()
    except UnsupportedAlgorithm as error:
        return Refused(Reason.CERTIFICATE_WEAK, str(error)[:_MAX_DETAIL])
    except _UNREADABLE as error:
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


class _Reached(NamedTuple):
    """How far up a chain was followed: from the leaf to `top`."""

    top: x509.Certificate
    depth: int
    valid_from: float
    valid_until: float
    issued: tuple[Link, ...]

    def up_to(self, issuer: x509.Certificate, link: Link) -> "_Reached":
        """One step further, to the `issuer` of what was on top."""
        start, end = issuer.not_valid_before_utc.timestamp(), issuer.not_valid_after_utc.timestamp()
        return _Reached(
            issuer,
            self.depth + 1,
            max(self.valid_from, start),
            min(self.valid_until, end),
            (*self.issued, link),
        )


def _verify_chain(
    evidence: CertificateEvidence, anchors: TrustAnchors, now: float
) -> VerifiedChain | Refused:
    """Breadth first: the first anchor found is the nearest. Each certificate that was sent is used once."""
    leaf, refused = evidence.leaf, None
    sent = _Sent(evidence.intermediates[:_MAX_INTERMEDIATES])
    start, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    reached = deque([_Reached(leaf, 0, start, end, ())])
    while reached:
        below = reached.popleft()
        top, depth = below.top, below.depth
        for link, anchor in anchors.issuers_of(top):
            if anchors.has_revoked(link):
                return _revoked(top, depth)
            if anchors.has_taken_back(anchor.id):
                refused = refused or _revoked(anchor.certificate, depth + 1)
                continue
            unfit = _check_issuer(anchor.certificate, now=now, below=depth)
            if unfit is None:
                chain = below.up_to(anchor.certificate, link)
                return VerifiedChain(
                    anchor_id=anchor.id, depth=depth, valid_from=chain.valid_from, valid_until=chain.valid_until,
                    issued=chain.issued,
                )  # fmt: skip
            refused = refused or unfit
        for issuer in sent.issuers_of(top):
            # Nobody vouches for what was sent but the signature on it, so here its hash matters too.
            unfit = _check_issuer(issuer, now=now, below=depth) or _check_signature_hash(issuer)
            if unfit is not None:
                refused = refused or unfit
                continue
            link = Link(signer_of(issuer), top.serial_number)
            if anchors.has_revoked(link):
                return _revoked(top, depth)
            reached.append(below.up_to(issuer, link))
    if refused is None and sent.signatures_left == 0:
        refused = Refused(Reason.CERTIFICATE_UNTRUSTED, f"no anchor within {_MAX_SIGNATURES} signatures")
    return refused or Refused(
        Reason.CERTIFICATE_UNTRUSTED,
        f"no anchor is its issuer {_quoted(top.issuer)}, {depth} up from the leaf",
    )


class _Sent:
    """The certificates that came with a leaf: each is used once, and only so many signatures of theirs are verified."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._unused = list(certificates)
        self.signatures_left = _MAX_SIGNATURES

    def issuers_of(self, certificate: x509.Certificate) -> Iterator[x509.Certificate]:
        """Those that signed `certificate`. One whose key is refused anyway is believed by its name: that costs less."""
        for issuer in self._unused.copy():
            if not _may_have_issued(certificate, issuer):
                continue
            if _check_key(issuer) is None:
                if self.signatures_left == 0:
                    return
                self.signatures_left -= 1
                if not _has_signed(issuer, certificate):
                    continue
            self._unused.remove(issuer)
            yield issuer


def _revoked(certificate: x509.Certificate, depth: int) -> Refused:
    return Refused(
        Reason.CERTIFICATE_REVOKED, f"serial {certificate.serial_number:X}, {depth} up from the leaf"
    )


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer`'s name and key are those that signed `certificate`; of two that can be read."""
    try:
        return _may_have_issued(certificate, issuer) and _has_signed(issuer, certificate)
    except _UNREADABLE:
        return False


def _may_have_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """By the names: signatures are dear."""
    return certificate.issuer == issuer.subject and not _key_ids_differ(certificate, issuer)


def _has_signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE):
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
    unfit = _check_authority(issuer, below) or _check_dates(issuer, now)
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
    return (
        _check_may_issue(issuer, below)
        or _check_purpose(issuer)
        or _check_key(issuer)
        or _check_critical(issuer)
    )


def _check_may_issue(issuer: x509.Certificate, below: int) -> Refused | None:
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
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm as error:
        return Refused(Reason.CERTIFICATE_WEAK, str(error)[:_MAX_DETAIL])
    if isinstance(key, rsa.RSAPublicKey):
        if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
            return Refused(Reason.CERTIFICATE_WEAK, f"RSA with {key.key_size} bits")
        exponent_bits = key.public_numbers().e.bit_length()
        if exponent_bits > _MAX_RSA_EXPONENT_BITS:
            return Refused(Reason.CERTIFICATE_WEAK, f"RSA with a public exponent of {exponent_bits} bits")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < _MIN_EC_BITS:
        return Refused(Reason.CERTIFICATE_WEAK, f"an elliptic curve of {key.key_size} bits")
    if isinstance(key, dsa.DSAPublicKey):
        return Refused(Reason.CERTIFICATE_WEAK, "a DSA key")
    return None


def _check_critical(certificate: x509.Certificate) -> Refused | None:
    for extension in certificate.extensions:
        # Name constraints have to be critical (RFC 5280 section 4.2.1.10), and not every CA marks them so.
        if extension.oid == ExtensionOID.NAME_CONSTRAINTS:
            return Refused(Reason.CERTIFICATE_UNTRUSTED, "its name constraints are not evaluated here")
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
