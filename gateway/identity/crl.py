"""Certificate revocation lists (RFC 5280 section 5): what a CA has taken back of what it issued. Pure.

A list is taken from the CA that issued the certificates, whole: no deltas, and none that speaks for another CA or
for a part of what was issued. Fetching lists is the operator's: a gateway that asks the network on a CONNECT would
be as slow, and as available, as what it asks.
"""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from gateway.identity.x509 import WEAK_HASHES, extension_of

__all__ = ["crl_number", "is_older", "revoked_serials", "why_not"]


def why_not(crl: x509.CertificateRevocationList, ca: x509.Certificate, *, now: float) -> str | None:
    """Why `crl` can't be taken as the list of `ca` at `now` (unix seconds); None if it can."""
    try:
        return _fault(crl, ca, datetime.fromtimestamp(now, UTC))
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType) as error:
        return f"it can't be read: {error}"


def revoked_serials(crl: x509.CertificateRevocationList) -> frozenset[int]:
    """The serial numbers in the list, whatever the reason: one that is on hold is not good either."""
    return frozenset(entry.serial_number for entry in crl)


def crl_number(crl: x509.CertificateRevocationList) -> int | None:
    """Which of its CA's lists it is: they count up (RFC 5280 section 5.2.3)."""
    number = extension_of(crl, x509.CRLNumber)
    return None if number is None else number.crl_number


def is_older(given: x509.CertificateRevocationList, known: x509.CertificateRevocationList) -> bool:
    """Whether `given` came before `known`, by their dates; of one second, by their numbers if both have one."""
    if given.last_update_utc != known.last_update_utc:
        return given.last_update_utc < known.last_update_utc
    numbers = crl_number(given), crl_number(known)
    return numbers[0] is not None and numbers[1] is not None and numbers[0] < numbers[1]


def _fault(crl: x509.CertificateRevocationList, ca: x509.Certificate, now: datetime) -> str | None:
    if crl.issuer != ca.subject:
        return f"it is the list of {crl.issuer.rfc4514_string()!r}, and the CA is {ca.subject.rfc4514_string()!r}"
    if isinstance(crl.signature_hash_algorithm, WEAK_HASHES):
        return f"it is signed with {crl.signature_hash_algorithm.name}"
    if not crl.is_signature_valid(ca.public_key()):  # type: ignore[arg-type] # TypeError for what signs no list
        return "the CA's key did not sign it"
    usage = extension_of(ca, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        return "the CA's key usage lacks cRLSign"
    if crl.last_update_utc > now:
        return f"it is from the future, {crl.last_update_utc:%Y-%m-%d %H:%M}Z"
    # A delta's indicator and an issuing distribution point are critical by definition.
    strange = [extension.oid.dotted_string for extension in crl.extensions if extension.critical]
    if strange:
        return f"its critical extension {strange[0]} is not understood: give the CA's whole list, no delta or part"
    return None
