"""Whose key signed a token, and who stands behind a certificate: for operators, after the fact. Pure.

`decide` asks one question, whether the credential is the right one, and a wrong one tells it nothing more. Here the usual
mistakes are tried one by one: another device's key, the group's own key, a key used as text, a resource that was
encoded anew. Costs many times what `decide` does, so it is never on a device's path.
"""

import base64
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final
from urllib.parse import quote, quote_plus

from cryptography import x509

from gateway.enrollment.decide import GroupBook
from gateway.enrollment.models import (
    IndividualEnrollment,
    SigningCertificate,
    SigningCertificates,
    SymmetricKeys,
    TpmAttestation,
)
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.sas import KeySlot, SasToken
from gateway.identity.x509 import TrustAnchor, TrustAnchors, VerifiedChain, verify_chain

__all__ = ["Owner", "Signer", "Vouching", "find_signer", "find_vouching", "named_device", "namesakes"]

_MAX_GROUPS: Final = 500
"""Groups that are tried: 500 take about 50 ms."""
_MAX_NAME: Final = 128


class Owner(StrEnum):
    """Whose key it is."""

    INDIVIDUAL = "individual"
    """Of the device's individual enrollment."""
    DERIVED = "derived"
    """Derived from a group's key, for one device."""
    GROUP = "group"
    """A group's own key, which no device should have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """The key that signed a token. `group` is None for an individual enrollment's.

    `as_text`: the base64 text of the key was used, not the bytes it stands for. `other_resource`: what was signed is not
    the `sr` that was sent, but the same in another encoding.
    """

    owner: Owner
    slot: KeySlot
    group: str | None
    device_id: str
    as_text: bool = False
    other_resource: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouching:
    """The group whose CA vouches for a certificate, and which of its two CAs."""

    group: str
    slot: KeySlot


def named_device(token: SasToken) -> str | None:
    """The device that the token's resource names: `…/registrations/ID` of DPS, or `…/devices/ID` of the hub."""
    parts = token.resource.split("/")
    for noun in ("registrations", "devices"):
        if noun in parts[1:-1]:
            return parts[parts.index(noun, 1) + 1][:_MAX_NAME] or None
    return None


def find_signer(
    token: SasToken, device_id: str, *, individual: IndividualEnrollment | None, groups: GroupBook
) -> Signer | None:
    """The key that signed the token, of all that the gateway knows; None if it is another one's.

    The simplest explanation comes first. Whether the enrollment is enabled, and the token expired, does not matter.
    """
    ids = _unique(device_id, named_device(token), device_id.lower())
    candidates = list(_candidates(ids, individual, groups))
    for number, resource in enumerate(_resources(token)):
        text = f"{resource}\n{token.expiry_as_sent}".encode()
        for as_text in (False, True):
            for owner, slot, group, of, key in candidates:
                used = base64.b64encode(key) if as_text else key
                if hmac.compare_digest(hmac.digest(used, text, "sha256"), token.signature):
                    return Signer(
                        owner=owner, slot=slot, group=group, device_id=of, as_text=as_text, other_resource=number > 0
                    )  # fmt: skip
    return None


def find_vouching(evidence: CertificateEvidence, groups: GroupBook, *, now: float) -> Vouching | None:
    """The group that would vouch for the certificate, were its name and enrollment right."""
    chain = verify_chain(evidence, groups.anchors, now=now)
    if not isinstance(chain, VerifiedChain):
        return None
    group, _, slot = chain.anchor_id.rpartition("/")
    return Vouching(group=group, slot=KeySlot(slot))


def namesakes(certificate: x509.Certificate, groups: GroupBook) -> list[Vouching]:
    """CAs that have the issuer's name and not its key: remade, or of another factory."""
    return [
        each
        for each, ca in _issuers_by_name(certificate, groups)
        if not _has_signed(ca.certificate, certificate)
    ]


def find_unverified(certificate: x509.Certificate, groups: GroupBook) -> Vouching | None:
    """The CA that did sign the certificate, and vouches for nobody as it is not verified yet."""
    for each, ca in _issuers_by_name(certificate, groups):
        if not ca.verified and _has_signed(ca.certificate, certificate):
            return each
    return None


def _issuers_by_name(
    certificate: x509.Certificate, groups: GroupBook
) -> Iterator[tuple[Vouching, SigningCertificate]]:
    for group in groups:
        if not isinstance(group.attestation, SigningCertificates):
            continue
        for slot, ca in zip(KeySlot, group.attestation.both, strict=True):
            if ca is not None and ca.certificate.subject == certificate.issuer:
                yield Vouching(group=group.id, slot=slot), ca


def _has_signed(ca: x509.Certificate, certificate: x509.Certificate) -> bool:
    anchors = TrustAnchors([TrustAnchor(id="it", certificate=ca)])
    return any(anchors.issuers_of(certificate))


Candidate = tuple[Owner, KeySlot, str | None, str, bytes]


def _candidates(
    ids: list[str], individual: IndividualEnrollment | None, groups: GroupBook
) -> Iterator[Candidate]:
    if individual is not None and isinstance(individual.attestation, SymmetricKeys):
        for slot, key in zip(KeySlot, individual.attestation.both, strict=True):
            yield Owner.INDIVIDUAL, slot, None, individual.registration_id, key.raw
    elif individual is not None and isinstance(individual.attestation, TpmAttestation):
        key = individual.attestation.device_key
        yield Owner.INDIVIDUAL, KeySlot.PRIMARY, None, individual.registration_id, key.raw
    for group, keys in islice(groups.sas_groups(None), _MAX_GROUPS):
        for slot, key in zip(KeySlot, keys.both, strict=True):
            for device_id in ids:
                derived = hmac.digest(key.raw, device_id.encode(), "sha256")
                yield Owner.DERIVED, slot, group.id, device_id, derived
            yield Owner.GROUP, slot, group.id, ids[0], key.raw


def _resources(token: SasToken) -> list[str]:
    """What may have been signed: the resource as it was sent; decoded; encoded as the SDKs do it."""
    encoded = quote(token.resource, safe="")
    return _unique(
        token.resource_as_sent,
        token.resource,
        encoded,
        encoded.replace("%2F", "%2f"),
        quote_plus(token.resource),
    )


def _unique(*texts: str | None) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))
