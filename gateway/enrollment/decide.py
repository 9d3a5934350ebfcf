"""May it come in? A credential held against the enrollments in force. Pure.

An individual enrollment wins: if a device has one, no group is asked. A disabled enrollment is told apart from a wrong
credential only to who has proved the right one. (learn.microsoft.com, iot-dps "Provisioning devices with DPS" and
"X.509 certificate attestation".)
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from gateway.enrollment.models import (
    EnrollmentGroup,
    IndividualEnrollment,
    SigningCertificates,
    SymmetricKeys,
    ThumbprintPair,
    TpmAttestation,
)
from gateway.identity import sas, x509
from gateway.identity.crl import revoked_serials
from gateway.identity.evidence import CertificateEvidence
from gateway.refusals import Reason, Refused
from gateway.secrets import SymmetricKey

__all__ = ["GroupBook", "Mechanism", "Verified", "decide"]

Mechanism = Literal["symmetricKey", "x509", "tpm"]

_DEFAULT_LEAF_CACHE: Final = 20_000


class Verified(NamedTuple):
    """A proven identity that an enrollment lets in. `expires_at` (unix seconds): when its token or certificate expires."""

    mechanism: Mechanism
    enrollment_group: str | None
    key_slot: sas.KeySlot
    auto_approve: bool
    expires_at: float | None = None
    issued: tuple[x509.Link, ...] = ()
    """How its certificate leads to the group's CA; empty for a token, and for a certificate that is enrolled itself."""


class GroupBook:
    """The enrollment groups in force, indexed. A snapshot: a change of groups makes a new one.

    With it goes the cache of verified leaves, so what a removed CA vouched for is forgotten at once.
    """

    def __init__(
        self, groups: Iterable[EnrollmentGroup] = (), *, leaf_cache_size: int = _DEFAULT_LEAF_CACHE
    ) -> None:
        self._groups = {group.id: group for group in groups}
        self._sas = [
            (group, group.attestation)
            for group in self._groups.values()
            if isinstance(group.attestation, SymmetricKeys)
        ]
        anchors = list(_anchors(self._groups.values()))
        self.anchors = x509.TrustAnchors(anchors)
        self.has_anchors = any(anchor.trusted for anchor in anchors)
        self.leaves = x509.LeafCache(leaf_cache_size)

    def get(self, group_id: str) -> EnrollmentGroup | None:
        return self._groups.get(group_id)

    def has_revoked(self, group_id: str | None, slot: sas.KeySlot, issued: tuple[x509.Link, ...]) -> bool:
        """Whether what let a device in has been taken back since: a certificate of its chain, or the group's CA."""
        return bool(issued) and (
            self.anchors.has_taken_back(_anchor_id(group_id, slot))
            or any(self.anchors.has_revoked(link) for link in issued)
        )

    def __getitem__(self, group_id: str) -> EnrollmentGroup:
        return self._groups[group_id]

    def __iter__(self) -> Iterator[EnrollmentGroup]:
        return iter(self._groups.values())

    def sas_groups(self, first: str | None) -> Sequence[tuple[EnrollmentGroup, SymmetricKeys]]:
        """Groups with symmetric keys; the one that a known device came in by comes first."""
        if first is None or len(self._sas) < 2 or self._sas[0][0].id == first:  # noqa: PLR2004 - nothing to sort
            return self._sas
        return sorted(self._sas, key=lambda pair: pair[0].id != first)


def decide(
    registration_id: str,
    evidence: sas.SasToken | CertificateEvidence,
    *,
    individual: IndividualEnrollment | None,
    groups: GroupBook,
    known_group: str | None,
    now: float,
    leeway_s: int,
    tpm_challenge: tuple[SymmetricKey, ...] | None = None,
) -> Verified | Refused:
    """Hold the evidence against the enrollments. `now` is unix seconds.

    `tpm_challenge`: the keys that a device with a TPM signs with on DPS, where it proves that it has that TPM. On the hub
    it signs with its device key.
    """
    if isinstance(evidence, sas.SasToken):
        if individual is not None:
            return _individual_by_token(evidence, individual, tpm_challenge, now=now, leeway_s=leeway_s)
        return _group_by_token(registration_id, evidence, groups, known_group, now=now, leeway_s=leeway_s)
    if individual is not None:
        return _individual_by_certificate(registration_id, evidence, individual, now=now)
    return _group_by_certificate(registration_id, evidence, groups, now=now)


def _individual_by_token(
    token: sas.SasToken,
    individual: IndividualEnrollment,
    tpm_challenge: tuple[SymmetricKey, ...] | None,
    *,
    now: float,
    leeway_s: int,
) -> Verified | Refused:
    attestation = individual.attestation
    mechanism: Mechanism = "symmetricKey"
    if isinstance(attestation, SymmetricKeys):
        keys: tuple[SymmetricKey, ...] = attestation.both
    elif isinstance(attestation, TpmAttestation):
        mechanism = "tpm"
        keys = (attestation.device_key,) if tpm_challenge is None else tpm_challenge
    else:
        return Refused(
            Reason.ATTESTATION_MISMATCH, "the individual enrollment wants a certificate, a token came"
        )
    slot = sas.verify(token, keys, now=now, leeway_s=leeway_s)
    if isinstance(slot, Refused):
        return slot
    if not individual.enabled:
        return Refused(Reason.ENROLLMENT_DISABLED, f"individual enrollment {individual.registration_id}")
    return Verified(
        mechanism=mechanism, enrollment_group=None, key_slot=slot, auto_approve=True,
        expires_at=token.expiry + leeway_s,
    )  # fmt: skip


def _group_by_token(
    registration_id: str,
    token: sas.SasToken,
    groups: GroupBook,
    known_group: str | None,
    *,
    now: float,
    leeway_s: int,
) -> Verified | Refused:
    refused = Refused(Reason.ENROLLMENT_MISSING, "no enrollment group has symmetric keys")
    for group, keys in groups.sas_groups(known_group):
        slot = sas.verify_derived(token, keys.both, registration_id, now=now, leeway_s=leeway_s)
        if isinstance(slot, Refused):
            refused = slot
            if slot.reason is Reason.TOKEN_SIGNATURE_INVALID:
                continue
            return slot
        if not group.enabled:
            return Refused(Reason.ENROLLMENT_GROUP_DISABLED, f"group {group.id}")
        return Verified("symmetricKey", group.id, slot, group.auto_approve, token.expiry + leeway_s)
    return refused


def _individual_by_certificate(
    registration_id: str, evidence: CertificateEvidence, individual: IndividualEnrollment, *, now: float
) -> Verified | Refused:
    # What is wrong with the certificate itself comes first: the answer is then the same with and without an enrollment.
    unfit = x509.check_leaf(evidence.leaf, registration_id, now=now)
    if unfit is not None:
        return unfit
    if not isinstance(individual.attestation, ThumbprintPair):
        return Refused(
            Reason.ATTESTATION_MISMATCH, "the individual enrollment wants a token, a certificate came"
        )
    slot = x509.match_thumbprint(
        evidence.leaf, individual.attestation.primary, individual.attestation.secondary
    )
    if isinstance(slot, Refused):
        return slot
    if not individual.enabled:
        return Refused(Reason.ENROLLMENT_DISABLED, f"individual enrollment {individual.registration_id}")
    return Verified(
        mechanism="x509", enrollment_group=None, key_slot=slot, auto_approve=True,
        expires_at=evidence.leaf.not_valid_after_utc.timestamp(),
    )  # fmt: skip


def _group_by_certificate(
    registration_id: str, evidence: CertificateEvidence, groups: GroupBook, *, now: float
) -> Verified | Refused:
    chain = groups.leaves.get(evidence, registration_id, now=now) or _new_leaf(
        registration_id, evidence, groups, now=now
    )
    if isinstance(chain, Refused):
        return chain
    group_id, _, slot = chain.anchor_id.rpartition("/")
    group = groups[group_id]
    if not group.enabled:
        return Refused(Reason.ENROLLMENT_GROUP_DISABLED, f"group {group.id}")
    return Verified(
        mechanism="x509",
        enrollment_group=group.id,
        key_slot=sas.KeySlot(slot),
        auto_approve=group.auto_approve,
        expires_at=chain.valid_until,
        issued=chain.issued,
    )


def _new_leaf(
    registration_id: str, evidence: CertificateEvidence, groups: GroupBook, *, now: float
) -> x509.VerifiedChain | Refused:
    """Judge a leaf that was not seen before, and remember it if it is good."""
    unfit = x509.check_leaf(evidence.leaf, registration_id, now=now)
    if unfit is not None:
        return unfit
    if not groups.has_anchors:
        return Refused(Reason.ENROLLMENT_MISSING, "no enrollment group has a CA certificate")
    chain = x509.verify_chain(evidence, groups.anchors, now=now)
    if isinstance(chain, x509.VerifiedChain):
        groups.leaves.put(evidence, registration_id, chain)
    return chain


def _anchors(groups: Iterable[EnrollmentGroup]) -> Iterator[x509.TrustAnchor]:
    for group in groups:
        if isinstance(group.attestation, SigningCertificates):
            for slot, signing in zip(sas.KeySlot, group.attestation.both, strict=True):
                if signing is not None:
                    yield x509.TrustAnchor(
                        id=_anchor_id(group.id, slot),
                        certificate=signing.certificate,
                        trusted=signing.verified,
                        revoked=frozenset() if signing.crl is None else revoked_serials(signing.crl),
                    )


def _anchor_id(group_id: str | None, slot: sas.KeySlot) -> str:
    return f"{group_id}/{slot}"
