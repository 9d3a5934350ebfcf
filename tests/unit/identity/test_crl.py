"""Which revocation lists are taken, and what they take back."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity.crl import crl_number, is_older, revoked_serials, why_not
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.x509 import Link, TrustAnchor, TrustAnchors, VerifiedChain, signer_of, verify_chain
from gateway.refusals import Reason, Refused
from tests.unit.identity.certificates import (
    DAY,
    NOW,
    Made,
    authority,
    list_said_to_be_signed_with,
    make,
    revocation_list,
    rsa_key,
    usage,
)

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


def anchor(ca: Made, *revoked: Made, slot: str = "primary", trusted: bool = True) -> TrustAnchor:
    return TrustAnchor(
        id=slot,
        certificate=ca.certificate,
        trusted=trusted,
        revoked=frozenset(each.certificate.serial_number for each in revoked),
    )


def trusting(ca: Made, *revoked: Made) -> TrustAnchors:
    return TrustAnchors([anchor(ca, *revoked)])


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


@pytest.mark.parametrize("weak_hash", ["md5", "sha1"])
def test_a_list_signed_with_a_broken_hash_is_not_taken(weak_hash: str) -> None:
    ca = authority("CA", key=rsa_key(2048))
    crl = list_said_to_be_signed_with(weak_hash, revocation_list(ca, SERIAL))
    assert why_not(crl, ca.certificate, now=NOW) == f"it is signed with {weak_hash}"


@pytest.mark.parametrize(
    ("given", "known", "older"),
    [
        ({"at": NOW - 2}, {"at": NOW - 1}, True),
        ({"at": NOW - 1}, {"at": NOW - 2}, False),
        ({"number": 6}, {"number": 7}, True),
        ({"number": 7}, {"number": 7}, False),
        ({"number": 8}, {"number": 7}, False),
        ({}, {"number": 7}, False),
        ({"number": 6}, {}, False),
    ],
)
def test_of_two_lists_of_one_second_the_lower_number_is_the_older(
    given: dict[str, int], known: dict[str, int], older: bool
) -> None:
    assert is_older(revocation_list(CA, **given), revocation_list(CA, **known)) is older


def test_a_list_past_its_next_update_is_taken() -> None:
    assert why_not(revocation_list(CA, 5, at=NOW - 300 * DAY), CA.certificate, now=NOW) is None


def test_a_revoked_leaf_is_refused_and_its_neighbour_is_not() -> None:
    anchors = trusting(CA, LEAF)

    assert reason_of(judged(LEAF, anchors=anchors)) is Reason.CERTIFICATE_REVOKED
    assert isinstance(judged(make("mill-2", CA), anchors=anchors), VerifiedChain)


def test_a_revoked_intermediate_takes_everything_below_it_along() -> None:
    line = authority("Line", CA)
    leaf = make("mill-1", line)
    chain = judged(leaf, line, anchors=trusting(CA))
    assert isinstance(chain, VerifiedChain)
    assert chain.issued == (
        Link(signer_of(line.certificate), leaf.certificate.serial_number),
        Link(signer_of(CA.certificate), line.certificate.serial_number),
    )

    assert reason_of(judged(leaf, line, anchors=trusting(CA, line))) is Reason.CERTIFICATE_REVOKED


@pytest.mark.parametrize("trusted", [True, False], ids=["verified", "not verified"])
def test_a_ca_that_renewed_its_certificate_has_one_list(trusted: bool) -> None:
    renewed = authority("CA", key=CA.key)
    anchors = TrustAnchors([anchor(renewed), anchor(CA, LEAF, slot="secondary", trusted=trusted)])
    assert reason_of(judged(LEAF, anchors=anchors)) is Reason.CERTIFICATE_REVOKED


def test_a_ca_whose_list_is_in_force_need_not_vouch_for_anybody() -> None:
    assert (
        reason_of(judged(LEAF, anchors=TrustAnchors([anchor(CA, trusted=False)])))
        is Reason.CERTIFICATE_UNTRUSTED
    )


def test_the_list_of_a_ca_of_the_same_name_and_another_key_says_nothing() -> None:
    anchors = TrustAnchors([anchor(authority("CA"), LEAF), anchor(CA, slot="secondary")])
    assert isinstance(judged(LEAF, anchors=anchors), VerifiedChain)


def test_an_intermediate_s_list_refuses_what_comes_by_another_of_its_certificates() -> None:
    line = authority("Line", CA)
    renewed = authority("Line", CA, key=line.key, key_ids=False)
    leaf = make("mill-1", renewed, key_ids=False)
    for listed in (line, authority("Line", CA, key=line.key, end=NOW - 1)):
        anchors = TrustAnchors([anchor(CA), anchor(listed, leaf, slot="secondary", trusted=False)])
        assert reason_of(judged(leaf, renewed, anchors=anchors)) is Reason.CERTIFICATE_REVOKED


def test_an_intermediate_that_its_issuer_has_taken_back_vouches_for_nobody_though_it_is_an_anchor() -> None:
    line = authority("Line", CA)
    leaf = make("mill-1", line)
    for trusted in (True, False):
        anchors = TrustAnchors([anchor(CA, line, trusted=trusted), anchor(line, slot="secondary")])
        assert anchors.has_taken_back("secondary")
        assert not anchors.has_taken_back("primary")
        for sent in ((), (line,)):
            refused = judged(leaf, *sent, anchors=anchors)
            assert reason_of(refused) is Reason.CERTIFICATE_REVOKED
    renewed = authority("Line", CA, key=line.key)
    anchors = TrustAnchors([anchor(CA, line), anchor(line, slot="b"), anchor(renewed, slot="c")])
    chain = judged(leaf, anchors=anchors)
    assert isinstance(chain, VerifiedChain)
    assert chain.anchor_id == "c"


def test_a_root_that_names_a_serial_number_of_its_own_takes_only_what_it_issued_back() -> None:
    """Roots and first leaves that were made by hand both have the number 1 now and then."""
    anchors = trusting(CA, CA)
    assert not anchors.has_taken_back("primary")
    assert isinstance(judged(LEAF, anchors=anchors), VerifiedChain)


def test_a_ca_whose_key_nobody_can_read_vouches_for_nobody_and_does_no_harm() -> None:
    der = CA.certificate.public_bytes(Encoding.DER)
    prime256v1 = bytes.fromhex("06082a8648ce3d030107")
    assert der.count(prime256v1) == 1
    strange = x509.load_der_x509_certificate(der.replace(prime256v1, prime256v1[:-1] + b"\x7f"))
    anchors = TrustAnchors(
        [TrustAnchor(id="a", certificate=strange, revoked=frozenset({SERIAL})), anchor(CA)]
    )
    assert isinstance(judged(LEAF, anchors=anchors), VerifiedChain)
