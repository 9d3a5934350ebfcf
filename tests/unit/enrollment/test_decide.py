"""Who may come in: each kind of credential against each kind of enrollment."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.enrollment.decide import GroupBook, Verified, decide
from gateway.enrollment.models import (
    EnrollmentGroup,
    IndividualAttestation,
    IndividualEnrollment,
    SigningCertificate,
    SigningCertificates,
    SymmetricKeys,
    ThumbprintPair,
    TpmAttestation,
)
from gateway.identity import sas
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.tpm import StorageKey
from gateway.identity.x509 import Link, signer_of, thumbprints
from gateway.refusals import Reason, Refused
from gateway.secrets import SymmetricKey
from tests.unit.identity.certificates import DAY, NOW, Made, authority, make, revocation_list
from tests.unit.identity.tpm_keys import ENDORSEMENT_KEY

EXPIRY = NOW + 3600
NOBODY_S_KEY = SymmetricKey(b"nobody's key 0123456789")


def keys(label: str) -> SymmetricKeys:
    return SymmetricKeys(
        primary=SymmetricKey(f"{label} primary key".ljust(32).encode()),
        secondary=SymmetricKey(f"{label} secondary key".ljust(32).encode()),
    )


def group(name: str, attestation: SymmetricKeys | SigningCertificates, **facts: Any) -> EnrollmentGroup:
    made = EnrollmentGroup.new(name, attestation, auto_approve=facts.pop("auto_approve", True), now=NOW)
    return dataclasses.replace(made, **facts)


def individual(attestation: IndividualAttestation, *, enabled: bool = True) -> IndividualEnrollment:
    return dataclasses.replace(IndividualEnrollment.new("mill-1", attestation, now=NOW), enabled=enabled)


def signed(key: SymmetricKey, *, expiry: int = EXPIRY) -> sas.SasToken:
    token = sas.SasToken.parse(sas.sign(sas.dps_resource("0ne00ABCDEF", "mill-1"), key, expiry))
    assert isinstance(token, sas.SasToken)
    return token


def device_token(group_key: SymmetricKey, device_id: str = "mill-1", **facts: Any) -> sas.SasToken:
    return signed(sas.derive_device_key(group_key, device_id), **facts)


def ask(
    evidence: sas.SasToken | CertificateEvidence, *groups: EnrollmentGroup, **facts: Any
) -> Verified | Refused:
    facts = {"individual": None, "known_group": None, "now": NOW, "leeway_s": 0, **facts}
    book = facts.pop("book", None) or GroupBook(groups)
    return decide("mill-1", evidence, groups=book, **facts)


def reason(outcome: Verified | Refused) -> Reason:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason


PLANT, LAB = keys("plant"), keys("lab")
PLANT_GROUP, LAB_GROUP = group("plant", PLANT), group("lab", LAB)


# A SAS token, by a group


@pytest.mark.parametrize("slot", ["primary", "secondary"])
def test_a_device_of_a_sas_group_comes_in_with_either_key(slot: str) -> None:
    verified = ask(device_token(getattr(PLANT, slot)), PLANT_GROUP)
    assert verified == Verified(
        mechanism="symmetricKey",
        enrollment_group="plant",
        key_slot=sas.KeySlot(slot),
        auto_approve=True,
        expires_at=EXPIRY,
    )


@pytest.mark.parametrize("known_group", [None, "plant", "lab", "deleted since"])
def test_a_device_s_group_is_found_whichever_group_it_came_in_by_before(known_group: str | None) -> None:
    for group_keys, name in ((PLANT, "plant"), (LAB, "lab")):
        verified = ask(device_token(group_keys.secondary), PLANT_GROUP, LAB_GROUP, known_group=known_group)
        assert isinstance(verified, Verified)
        assert verified.enrollment_group == name


def test_a_known_device_s_own_group_is_asked_first() -> None:
    same_keys = group("copy", PLANT)
    verified = ask(device_token(PLANT.primary), PLANT_GROUP, same_keys, known_group="copy")
    assert isinstance(verified, Verified)
    assert verified.enrollment_group == "copy"


def test_a_group_without_auto_approve_says_so() -> None:
    verified = ask(device_token(PLANT.primary), group("plant", PLANT, auto_approve=False))
    assert isinstance(verified, Verified)
    assert not verified.auto_approve


def test_another_device_s_key_is_refused() -> None:
    token = device_token(PLANT.primary, "mill-2")
    assert reason(ask(token, PLANT_GROUP)) is Reason.TOKEN_SIGNATURE_INVALID


def test_the_group_s_own_key_is_refused() -> None:
    assert reason(ask(signed(PLANT.primary), PLANT_GROUP)) is Reason.TOKEN_SIGNATURE_INVALID


def test_an_expired_token_is_refused_unless_the_leeway_covers_it() -> None:
    token = device_token(PLANT.primary, expiry=NOW)
    assert reason(ask(token, PLANT_GROUP)) is Reason.TOKEN_EXPIRED
    verified = ask(token, PLANT_GROUP, leeway_s=60)
    assert isinstance(verified, Verified)
    assert verified.expires_at == NOW + 60


def test_without_any_sas_group_a_token_finds_no_enrollment() -> None:
    assert reason(ask(device_token(PLANT.primary))) is Reason.ENROLLMENT_MISSING
    assert reason(ask(device_token(PLANT.primary), X509_GROUP)) is Reason.ENROLLMENT_MISSING


def test_a_disabled_group_refuses_its_devices_and_says_so() -> None:
    disabled = group("plant", PLANT, enabled=False)
    refused = ask(device_token(PLANT.secondary), disabled, LAB_GROUP)
    assert refused == Refused(Reason.ENROLLMENT_GROUP_DISABLED, "group plant")


def test_a_disabled_group_is_not_betrayed_to_a_wrong_key() -> None:
    disabled = group("plant", PLANT, enabled=False)
    assert reason(ask(signed(NOBODY_S_KEY), disabled)) is Reason.TOKEN_SIGNATURE_INVALID
    assert reason(ask(device_token(PLANT.primary, expiry=NOW - 1), disabled)) is Reason.TOKEN_EXPIRED


# A SAS token, by an individual enrollment


@pytest.mark.parametrize("slot", ["primary", "secondary"])
def test_an_individually_enrolled_device_comes_in_with_either_key_and_needs_no_approval(slot: str) -> None:
    verified = ask(signed(getattr(LAB, slot)), individual=individual(LAB))
    assert verified == Verified(
        mechanism="symmetricKey",
        enrollment_group=None,
        key_slot=sas.KeySlot(slot),
        auto_approve=True,
        expires_at=EXPIRY,
    )


def test_an_individual_enrollment_wins_over_a_group_that_would_let_the_device_in() -> None:
    token = device_token(PLANT.primary)
    assert reason(ask(token, PLANT_GROUP, individual=individual(LAB))) is Reason.TOKEN_SIGNATURE_INVALID
    by_certificate = individual(ThumbprintPair(primary="00" * 32))
    assert reason(ask(token, PLANT_GROUP, individual=by_certificate)) is Reason.ATTESTATION_MISMATCH


def test_a_disabled_individual_enrollment_refuses_even_what_a_group_would_let_in() -> None:
    refused = ask(signed(LAB.primary), PLANT_GROUP, individual=individual(LAB, enabled=False))
    assert refused == Refused(Reason.ENROLLMENT_DISABLED, "individual enrollment mill-1")


def test_a_disabled_individual_enrollment_is_not_betrayed_to_a_wrong_key() -> None:
    refused = ask(signed(NOBODY_S_KEY), individual=individual(LAB, enabled=False))
    assert reason(refused) is Reason.TOKEN_SIGNATURE_INVALID


# A certificate, by a group


def trusted(made: Made, *, verified: bool = True) -> SigningCertificate:
    return SigningCertificate(certificate=made.certificate, verified=verified)


ROOT = authority("Root")
NEXT_ROOT = authority("Next Root")
FACTORY = authority("Factory", ROOT)
X509_GROUP = group("x509", SigningCertificates(primary=trusted(ROOT), secondary=trusted(NEXT_ROOT)))


def shown(made: Made, *intermediates: Made) -> CertificateEvidence:
    return CertificateEvidence(
        leaf=made.certificate, intermediates=tuple(each.certificate for each in intermediates)
    )


@pytest.mark.parametrize(("issuer", "slot"), [(ROOT, "primary"), (NEXT_ROOT, "secondary")])
def test_a_leaf_of_either_ca_of_a_group_comes_in(issuer: Made, slot: str) -> None:
    leaf = make("mill-1", issuer)
    verified = ask(shown(leaf), X509_GROUP)
    assert verified == Verified(
        mechanism="x509", enrollment_group="x509", key_slot=sas.KeySlot(slot), auto_approve=True, expires_at=NOW + DAY,
        issued=(Link(signer_of(issuer.certificate), leaf.certificate.serial_number),),
    )  # fmt: skip


def test_a_leaf_is_let_in_until_the_first_certificate_of_its_chain_expires() -> None:
    factory = authority("Factory", ROOT, end=NOW + 60)
    verified = ask(shown(make("mill-1", factory), factory), X509_GROUP)
    assert isinstance(verified, Verified)
    assert verified.expires_at == NOW + 60


def test_a_ca_whose_possession_is_not_proved_vouches_for_nobody() -> None:
    unproved = group("x509", SigningCertificates(primary=trusted(ROOT, verified=False)))
    assert reason(ask(shown(make("mill-1", ROOT)), unproved)) is Reason.ENROLLMENT_MISSING
    other = group("other", SigningCertificates(secondary=trusted(NEXT_ROOT)))
    assert reason(ask(shown(make("mill-1", ROOT)), unproved, other)) is Reason.CERTIFICATE_UNTRUSTED


def test_the_group_of_the_nearest_ca_lets_a_leaf_in() -> None:
    factory_group = group("factory", SigningCertificates(primary=trusted(FACTORY)))
    leaf = shown(make("mill-1", FACTORY), FACTORY)
    verified = ask(leaf, X509_GROUP, factory_group)
    assert isinstance(verified, Verified)
    assert verified.enrollment_group == "factory"
    verified = ask(leaf, X509_GROUP)
    assert isinstance(verified, Verified)
    assert verified.enrollment_group == "x509"


def test_a_leaf_that_no_group_s_ca_signed_is_refused() -> None:
    assert reason(ask(shown(make("mill-1", authority("Else"))), X509_GROUP)) is Reason.CERTIFICATE_UNTRUSTED


def test_a_leaf_with_another_name_is_refused() -> None:
    assert reason(ask(shown(make("mill-2", ROOT)), X509_GROUP)) is Reason.CERTIFICATE_NAME_MISMATCH


def test_without_any_x509_group_a_certificate_finds_no_enrollment() -> None:
    assert reason(ask(shown(make("mill-1", ROOT)), PLANT_GROUP)) is Reason.ENROLLMENT_MISSING


def test_a_disabled_x509_group_refuses_its_devices_and_is_not_betrayed_to_others() -> None:
    disabled = dataclasses.replace(X509_GROUP, enabled=False)
    leaf = shown(make("mill-1", ROOT))
    assert ask(leaf, disabled) == Refused(Reason.ENROLLMENT_GROUP_DISABLED, "group x509")
    expired = shown(make("mill-1", ROOT, end=NOW - 1))
    assert reason(ask(expired, disabled)) is Reason.CERTIFICATE_EXPIRED


def test_a_leaf_seen_before_is_not_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    book, leaf = GroupBook([X509_GROUP]), shown(make("mill-1", ROOT))
    first = ask(leaf, book=book)
    monkeypatch.setattr("gateway.identity.x509.verify_chain", None)
    monkeypatch.setattr("gateway.identity.x509.check_leaf", None)
    assert ask(leaf, book=book) == first


def test_a_leaf_seen_before_is_refused_when_it_expires() -> None:
    book, leaf = GroupBook([X509_GROUP]), shown(make("mill-1", ROOT, end=NOW + DAY))
    assert isinstance(ask(leaf, book=book), Verified)
    assert reason(ask(leaf, book=book, now=NOW + DAY + 1)) is Reason.CERTIFICATE_EXPIRED


def test_what_let_a_device_in_may_be_taken_back_in_whatever_slot_the_list_is() -> None:
    leaf = make("mill-1", FACTORY)
    verified = ask(shown(leaf, FACTORY), X509_GROUP)
    assert isinstance(verified, Verified)

    def is_gone(*groups: EnrollmentGroup) -> bool:
        return GroupBook(groups).has_revoked("x509", verified.key_slot, verified.issued)

    def listing(ca: Made, revoked: Made, **more: Any) -> SigningCertificate:
        crl = revocation_list(ca, revoked.certificate.serial_number)
        return SigningCertificate(certificate=ca.certificate, crl=crl, **{"verified": True, **more})

    assert not is_gone(X509_GROUP)
    assert is_gone(group("x509", SigningCertificates(primary=listing(ROOT, FACTORY))))
    assert is_gone(
        group("x509", SigningCertificates(primary=trusted(ROOT), secondary=listing(FACTORY, leaf)))
    )
    assert is_gone(X509_GROUP, group("other", SigningCertificates(primary=listing(FACTORY, leaf))))
    unproved = listing(FACTORY, leaf, verified=False)
    assert is_gone(X509_GROUP, group("other", SigningCertificates(primary=unproved)))
    assert not is_gone(X509_GROUP, group("other", SigningCertificates(primary=listing(NEXT_ROOT, leaf))))


def test_what_no_ca_let_in_is_on_no_list() -> None:
    """A token, or a certificate that is enrolled itself: its thumbprint is an operator's word."""
    made = make("mill-1", ROOT)
    crl = revocation_list(ROOT, made.certificate.serial_number)
    listing = SigningCertificate(certificate=ROOT.certificate, verified=True, crl=crl)
    book = GroupBook([group("x509", SigningCertificates(primary=listing))])
    enrolled = individual(ThumbprintPair(primary=thumbprints(made.certificate).sha256))
    verified = ask(shown(made), book=book, individual=enrolled)
    assert isinstance(verified, Verified)
    assert not book.has_revoked(verified.enrollment_group, verified.key_slot, verified.issued)
    assert reason(ask(shown(made), book=book)) is Reason.CERTIFICATE_REVOKED


def test_a_refused_leaf_is_not_remembered() -> None:
    book = GroupBook([X509_GROUP])
    ask(shown(make("mill-1", authority("Else"))), book=book)
    ask(shown(make("mill-2", ROOT)), book=book)
    assert len(book.leaves) == 0


# A certificate, by an individual enrollment


def test_a_self_signed_certificate_comes_in_by_its_thumbprint() -> None:
    old, new = make("mill-1"), make("mill-1")
    enrolled = individual(
        ThumbprintPair(
            primary=thumbprints(old.certificate).sha256, secondary=thumbprints(new.certificate).sha1.lower()
        )
    )
    for made, slot in ((old, sas.KeySlot.PRIMARY), (new, sas.KeySlot.SECONDARY)):
        verified = ask(shown(made), individual=enrolled)
        assert verified == Verified(
            mechanism="x509", enrollment_group=None, key_slot=slot, auto_approve=True, expires_at=NOW + DAY
        )


def test_an_individually_enrolled_device_needs_that_very_certificate_whatever_its_ca() -> None:
    enrolled = individual(ThumbprintPair(primary=thumbprints(make("mill-1").certificate).sha256))
    leaf = shown(make("mill-1", ROOT))
    assert reason(ask(leaf, X509_GROUP, individual=enrolled)) is Reason.CERTIFICATE_THUMBPRINT_UNKNOWN
    assert reason(ask(leaf, X509_GROUP, individual=individual(LAB))) is Reason.ATTESTATION_MISMATCH


def test_an_enrolled_certificate_must_still_be_a_fit_one() -> None:
    expired = make("mill-1", start=NOW - 2 * DAY, end=NOW - DAY)
    enrolled = individual(ThumbprintPair(primary=thumbprints(expired.certificate).sha256))
    assert reason(ask(shown(expired), individual=enrolled)) is Reason.CERTIFICATE_EXPIRED


def test_a_disabled_individual_certificate_is_refused_and_not_betrayed_to_others() -> None:
    made = make("mill-1")
    enrolled = individual(ThumbprintPair(primary=thumbprints(made.certificate).sha256), enabled=False)
    assert reason(ask(shown(made), individual=enrolled)) is Reason.ENROLLMENT_DISABLED
    other = ask(shown(make("mill-1")), individual=enrolled)
    assert reason(other) is Reason.CERTIFICATE_THUMBPRINT_UNKNOWN


# Everything at once

TOKENS = {
    "plant": device_token(PLANT.primary),
    "plant, expired": device_token(PLANT.primary, expiry=NOW - 1),
    "lab": device_token(LAB.secondary),
    "own key": signed(LAB.primary),
    "nobody": signed(NOBODY_S_KEY),
}


@given(
    token=st.sampled_from(sorted(TOKENS)),
    plant_enabled=st.booleans(),
    has_lab=st.booleans(),
    enrolled=st.sampled_from([None, True, False]),
    known_group=st.sampled_from([None, "plant", "lab", "gone"]),
)
def test_only_a_proven_credential_of_an_enabled_enrollment_comes_in(
    token: str, plant_enabled: bool, has_lab: bool, enrolled: bool | None, known_group: str | None
) -> None:
    groups = [group("plant", PLANT, enabled=plant_enabled), *([LAB_GROUP] if has_lab else [])]
    outcome = ask(
        TOKENS[token],
        *groups,
        individual=individual(LAB, enabled=enrolled) if enrolled is not None else None,
        known_group=known_group,
    )
    if enrolled is not None:
        comes_in = token == "own key" and enrolled
    else:
        comes_in = (token == "plant" and plant_enabled) or (token == "lab" and has_lab)
    assert isinstance(outcome, Verified) == comes_in


# A TPM, by an individual enrollment


TPM = TpmAttestation.new(StorageKey.parse(ENDORSEMENT_KEY), None)
CHALLENGE = (SymmetricKey(b"the challenge of these minutes"), SymmetricKey(b"the challenge before it"))


def test_a_device_with_a_tpm_signs_for_the_hub_with_its_device_key() -> None:
    verified = ask(signed(TPM.device_key), PLANT_GROUP, individual=individual(TPM))
    assert isinstance(verified, Verified)
    assert (verified.mechanism, verified.enrollment_group, verified.auto_approve) == ("tpm", None, True)
    assert reason(ask(signed(CHALLENGE[0]), individual=individual(TPM))) is Reason.TOKEN_SIGNATURE_INVALID


@pytest.mark.parametrize("key", CHALLENGE)
def test_for_provisioning_it_signs_with_the_key_of_a_challenge(key: SymmetricKey) -> None:
    verified = ask(signed(key), individual=individual(TPM), tpm_challenge=CHALLENGE)
    assert isinstance(verified, Verified)
    assert verified.mechanism == "tpm"


def test_for_provisioning_the_device_key_does_not_do() -> None:
    refused = ask(signed(TPM.device_key), individual=individual(TPM), tpm_challenge=CHALLENGE)
    assert reason(refused) is Reason.TOKEN_SIGNATURE_INVALID


def test_a_certificate_is_no_tpm() -> None:
    leaf = CertificateEvidence(leaf=make("mill-1").certificate)
    assert reason(ask(leaf, individual=individual(TPM))) is Reason.ATTESTATION_MISMATCH


def test_a_disabled_tpm_enrollment_is_told_only_to_that_tpm() -> None:
    disabled = individual(TPM, enabled=False)
    assert reason(ask(signed(TPM.device_key), individual=disabled)) is Reason.ENROLLMENT_DISABLED
    assert reason(ask(signed(NOBODY_S_KEY), individual=disabled)) is Reason.TOKEN_SIGNATURE_INVALID
