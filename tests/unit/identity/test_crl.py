"""Which revocation lists are taken, and what they take back."""

import pytest
from cryptography import x509

from gateway.identity.crl import crl_number, revoked_serials, why_not
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.x509 import TrustAnchor, TrustAnchors, VerifiedChain, verify_chain
from gateway.refusals import Reason, Refused
from tests.unit.identity.certificates import DAY, NOW, Made, authority, make, revocation_list, usage

CA = authority("CA")
LEAF = make("mill-1", CA)
SERIAL = LEAF.certificate.serial_number
PART = x509.IssuingDistributionPoint(
    full_name=None,
    relative_name=None,
    only_contains_user_certs=True,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)


def judged(leaf: Made, *intermediates: Made, anchors: TrustAnchors) -> VerifiedChain | Refused:
    chain = tuple(each.certificate for each in intermediates)
    return verify_chain(CertificateEvidence(leaf=leaf.certificate, intermediates=chain), anchors, now=NOW)


def trusting(ca: Made, *revoked: int) -> TrustAnchors:
    return TrustAnchors([TrustAnchor(id="primary", certificate=ca.certificate, revoked=frozenset(revoked))])


def reason_of(outcome: VerifiedChain | Refused) -> Reason:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason


def test_the_list_of_a_ca_is_taken_and_tells_what_is_revoked() -> None:
    crl = revocation_list(CA, SERIAL, 5, number=17)

    assert why_not(crl, CA.certificate, now=NOW) is None
    assert revoked_serials(crl) == {SERIAL, 5}
    assert crl_number(crl) == 17
    assert crl_number(revocation_list(CA)) is None


@pytest.mark.parametrize(
    ("crl", "says"),
    [
        (lambda: revocation_list(authority("Other"), 5), "it is the list of 'CN=Other'"),
        (lambda: revocation_list(CA, 5, signer=authority("x").key), "the CA's key did not sign it"),
        (lambda: revocation_list(CA, 5, at=NOW + 60), "it is from the future"),
        (lambda: revocation_list(CA, 5, extensions=[(x509.DeltaCRLIndicator(3), True)]), "no delta or part"),
        (lambda: revocation_list(CA, 5, extensions=[(PART, True)]), "no delta or part"),
    ],
    ids=["another CA's", "another key", "future", "delta", "part"],
)
def test_a_list_that_is_not_the_whole_list_of_this_ca_is_not_taken(crl, says: str) -> None:
    told = why_not(crl(), CA.certificate, now=NOW)
    assert told is not None
    assert says in told


def test_a_ca_whose_key_usage_does_not_allow_it_signs_no_list() -> None:
    ca = authority("CA", usage=usage(key_cert_sign=True))
    assert why_not(revocation_list(ca), ca.certificate, now=NOW) == "the CA's key usage lacks cRLSign"


def test_a_list_past_its_next_update_is_taken() -> None:
    assert why_not(revocation_list(CA, 5, at=NOW - 300 * DAY), CA.certificate, now=NOW) is None


def test_a_revoked_leaf_is_refused_and_its_neighbour_is_not() -> None:
    anchors = trusting(CA, SERIAL)

    assert reason_of(judged(LEAF, anchors=anchors)) is Reason.CERTIFICATE_REVOKED
    assert isinstance(judged(make("mill-2", CA), anchors=anchors), VerifiedChain)


def test_a_revoked_intermediate_takes_everything_below_it_along() -> None:
    line = authority("Line", CA)
    leaf = make("mill-1", line)
    chain = judged(leaf, line, anchors=trusting(CA))
    assert isinstance(chain, VerifiedChain)
    assert chain.issued == line.certificate.serial_number

    revoked = trusting(CA, line.certificate.serial_number)
    assert reason_of(judged(leaf, line, anchors=revoked)) is Reason.CERTIFICATE_REVOKED


def test_a_ca_that_renewed_its_certificate_has_one_list() -> None:
    renewed = authority("CA", key=CA.key)
    anchors = TrustAnchors(
        [
            TrustAnchor(id="primary", certificate=renewed.certificate),
            TrustAnchor(id="secondary", certificate=CA.certificate, revoked=frozenset({SERIAL})),
        ]
    )
    assert reason_of(judged(LEAF, anchors=anchors)) is Reason.CERTIFICATE_REVOKED


def test_the_list_of_a_ca_of_the_same_name_and_another_key_says_nothing() -> None:
    namesake = authority("CA")
    anchors = TrustAnchors(
        [
            TrustAnchor(id="primary", certificate=namesake.certificate, revoked=frozenset({SERIAL})),
            TrustAnchor(id="secondary", certificate=CA.certificate),
        ]
    )
    assert isinstance(judged(LEAF, anchors=anchors), VerifiedChain)
