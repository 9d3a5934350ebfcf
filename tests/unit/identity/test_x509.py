"""Which certificates let a device in, and what is said of each that doesn't."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import x509 as judge
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.sas import KeySlot
from gateway.identity.x509 import (
    TrustAnchor,
    TrustAnchors,
    VerifiedChain,
    check_leaf,
    common_name,
    match_thumbprint,
    proves_possession,
    thumbprints,
    verify_chain,
)
from gateway.refusals import Reason, Refused
from tests.unit.identity.certificates import (
    DAY,
    NOW,
    Made,
    PublicRsaKey,
    authority,
    dsa_key,
    ed25519_key,
    make,
    rsa_key,
    rsa_key_with_exponent,
    said_to_be_signed_with,
    usage,
    with_an_extension_twice,
)

CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
SOMETHING = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
ONLY_EXAMPLE_ORG = x509.NameConstraints([x509.DNSName("example.org")], None)
DEAR_KEY = rsa_key_with_exponent(33)
ROOT = authority("Root")


def trust(*authorities: Made, **named: Made) -> TrustAnchors:
    anchors = [
        TrustAnchor(id=common_name(each.certificate) or "", certificate=each.certificate)
        for each in authorities
    ]
    anchors += [TrustAnchor(id=name, certificate=each.certificate) for name, each in named.items()]
    return TrustAnchors(anchors)


def sent(leaf: Made, *intermediates: Made) -> CertificateEvidence:
    return CertificateEvidence(
        leaf=leaf.certificate, intermediates=tuple(each.certificate for each in intermediates)
    )


def reason_of(outcome: VerifiedChain | Refused | None) -> Reason:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason


def found(outcome: VerifiedChain | Refused) -> tuple[str, int]:
    assert isinstance(outcome, VerifiedChain), outcome
    return outcome.anchor_id, outcome.depth


# --- The leaf by itself


@pytest.mark.parametrize(
    "leaf",
    [
        pytest.param(lambda: make("mill-1"), id="bare"),
        pytest.param(lambda: make("mill-1", ca=False), id="end entity"),
        pytest.param(lambda: make("mill-1", purposes=[CLIENT_AUTH]), id="clientAuth"),
        pytest.param(lambda: make("mill-1", purposes=[SERVER_AUTH, CLIENT_AUTH]), id="both purposes"),
        pytest.param(
            lambda: make("mill-1", purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), id="any purpose"
        ),
        pytest.param(lambda: make("mill-1", usage=usage(digital_signature=True)), id="digitalSignature"),
        pytest.param(lambda: make("mill-1", key=rsa_key(2048)), id="RSA 2048"),
        pytest.param(lambda: make("mill-1", ROOT, key=PublicRsaKey(8192)), id="RSA 8192"),
        pytest.param(
            lambda: make("mill-1", key=rsa_key_with_exponent(32)), id="RSA with an exponent of 32 bits"
        ),
        pytest.param(lambda: make("mill-1", key=ec.generate_private_key(ec.SECP384R1())), id="P-384"),
        pytest.param(lambda: make("mill-1", key=ed25519_key()), id="Ed25519"),
        pytest.param(lambda: make("mill-1", extensions=[(SOMETHING, False)]), id="unknown extension"),
        pytest.param(
            lambda: make("mill-1", extensions=[(x509.SubjectAlternativeName([x509.DNSName("x")]), True)]),
            id="critical SAN",
        ),
        pytest.param(lambda: make("mill-1", start=NOW, end=NOW + 1), id="its first second"),
        pytest.param(lambda: make("mill-1", start=NOW - 1, end=NOW), id="its last second"),
    ],
)
def test_fit_leaf_passes(leaf) -> None:
    assert check_leaf(leaf().certificate, "mill-1", now=NOW) is None


@pytest.mark.parametrize(
    ("leaf", "reason"),
    [
        pytest.param(lambda: make("mill-2"), Reason.CERTIFICATE_NAME_MISMATCH, id="another's"),
        pytest.param(lambda: make("MILL-1"), Reason.CERTIFICATE_NAME_MISMATCH, id="another case"),
        pytest.param(lambda: make([]), Reason.CERTIFICATE_NAME_MISMATCH, id="no CN"),
        pytest.param(lambda: make(["mill-1", "mill-2"]), Reason.CERTIFICATE_NAME_MISMATCH, id="two CNs"),
        pytest.param(lambda: make(["mill-1", "mill-1"]), Reason.CERTIFICATE_NAME_MISMATCH, id="one CN twice"),
        pytest.param(lambda: make("mill-1", start=NOW + 1), Reason.CERTIFICATE_NOT_YET_VALID, id="too early"),
        pytest.param(lambda: make("mill-1", end=NOW - 1), Reason.CERTIFICATE_EXPIRED, id="too late"),
        pytest.param(lambda: make("mill-1", ca=True), Reason.CERTIFICATE_IS_CA, id="CA:TRUE"),
        pytest.param(
            lambda: make("mill-1", purposes=[SERVER_AUTH]), Reason.CERTIFICATE_PURPOSE_WRONG, id="server's"
        ),
        pytest.param(
            lambda: make("mill-1", usage=usage()), Reason.CERTIFICATE_PURPOSE_WRONG, id="may not sign"
        ),
        pytest.param(lambda: make("mill-1", key=rsa_key(1024)), Reason.CERTIFICATE_WEAK, id="RSA 1024"),
        pytest.param(
            lambda: make("mill-1", key=ec.generate_private_key(ec.SECP192R1())),
            Reason.CERTIFICATE_WEAK,
            id="P-192",
        ),
        pytest.param(
            lambda: make("mill-1", ROOT, key=PublicRsaKey(8193)), Reason.CERTIFICATE_WEAK, id="RSA 8193"
        ),
        pytest.param(
            lambda: make("mill-1", key=DEAR_KEY), Reason.CERTIFICATE_WEAK, id="RSA with a long exponent"
        ),
        pytest.param(
            lambda: make("mill-1", extensions=[(SOMETHING, True)]),
            Reason.CERTIFICATE_UNTRUSTED,
            id="unknown critical",
        ),
    ],
)
def test_unfit_leaf_is_refused_with_its_reason(leaf, reason: Reason) -> None:
    assert reason_of(check_leaf(leaf().certificate, "mill-1", now=NOW)) is reason


@pytest.mark.parametrize("weak_hash", ["md5", "sha1"])
def test_leaf_signed_with_a_broken_hash_is_refused(weak_hash: str) -> None:
    leaf = said_to_be_signed_with(weak_hash, make("mill-1", key=rsa_key(2048)))
    assert check_leaf(leaf, "mill-1", now=NOW) == Refused(Reason.CERTIFICATE_WEAK, f"signed with {weak_hash}")


def test_detail_of_a_refusal_quotes_no_more_than_a_line_of_a_strangers_name() -> None:
    refused = check_leaf(make("a\nb").certificate, "mill-1", now=NOW)
    assert refused == Refused(Reason.CERTIFICATE_NAME_MISMATCH, r"CN='a\nb'")


def test_leaf_with_an_algorithm_nobody_knows_is_refused_not_a_fault() -> None:
    der = make("mill-1").certificate.public_bytes(Encoding.DER)
    ecdsa_with_sha256 = bytes.fromhex("2a8648ce3d040302")
    leaf = x509.load_der_x509_certificate(der.replace(ecdsa_with_sha256, bytes.fromhex("2a8648ce3d04037f")))
    assert reason_of(check_leaf(leaf, "mill-1", now=NOW)) is Reason.CERTIFICATE_WEAK


def test_leaf_with_an_extension_twice_is_refused_not_a_fault() -> None:
    one, two = ObjectIdentifier("1.3.6.1.4.1.99999.1"), ObjectIdentifier("1.3.6.1.4.1.99999.2")
    extensions = [(x509.UnrecognizedExtension(oid, b"\x05\x00"), False) for oid in (one, two)]
    der = make("mill-1", extensions=extensions).certificate.public_bytes(Encoding.DER)
    arc = bytes.fromhex("2b06010401868d1f")
    assert der.count(arc + b"\x02") == 1
    leaf = x509.load_der_x509_certificate(der.replace(arc + b"\x02", arc + b"\x01"))
    assert reason_of(check_leaf(leaf, "mill-1", now=NOW)) is Reason.CERTIFICATE_MALFORMED


LEAF_DER = make("mill-1", authority("Factory"), purposes=[CLIENT_AUTH], ca=False).certificate.public_bytes(
    Encoding.DER
)


@pytest.mark.filterwarnings("ignore")  # `cryptography` warns of some of the damage
@given(st.lists(st.tuples(st.integers(0, len(LEAF_DER) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_certificate_is_refused_or_judged_never_a_fault(damage: list[tuple[int, int]]) -> None:
    der = bytearray(LEAF_DER)
    for at, byte in damage:
        der[at] = byte
    try:
        leaf = x509.load_der_x509_certificate(bytes(der))
    except (ValueError, x509.InvalidVersion):
        return  # TLS hands over no such thing
    evidence = CertificateEvidence(leaf=leaf, intermediates=(leaf,))
    anchors = trust(authority("Factory"))
    check_leaf(leaf, "mill-1", now=NOW)
    assert isinstance(verify_chain(evidence, anchors, now=NOW), Refused)
    assert not proves_possession(leaf, authority("Factory").certificate, "mill-1")


# --- The chain

FACTORY = authority("Factory", ROOT)
LINE = authority("Line", FACTORY)
LEAF = make("mill-1", LINE)


def test_leaf_of_a_root_needs_no_intermediates() -> None:
    assert found(verify_chain(sent(make("mill-1", ROOT)), trust(ROOT), now=NOW)) == ("Root", 0)


def test_leaf_leads_through_what_was_sent_to_a_root() -> None:
    assert found(verify_chain(sent(LEAF, LINE, FACTORY), trust(ROOT), now=NOW)) == ("Root", 2)


def test_certificates_may_be_sent_in_any_order_with_the_root_and_with_others() -> None:
    stranger = authority("Stranger")
    evidence = sent(LEAF, stranger, ROOT, FACTORY, LEAF, LINE)
    assert found(verify_chain(evidence, trust(ROOT), now=NOW)) == ("Root", 2)


@pytest.mark.parametrize("intermediates", [(), (LINE,), (LINE, FACTORY), (LINE, FACTORY, ROOT)])
def test_intermediate_is_an_anchor_by_itself(intermediates: tuple[Made, ...]) -> None:
    assert found(verify_chain(sent(LEAF, *intermediates), trust(LINE), now=NOW)) == ("Line", 0)


def test_nearest_anchor_wins() -> None:
    evidence = sent(LEAF, LINE, FACTORY, ROOT)
    assert found(verify_chain(evidence, trust(ROOT, FACTORY), now=NOW)) == ("Factory", 1)
    assert found(verify_chain(evidence, trust(ROOT, LINE), now=NOW)) == ("Line", 0)


def test_nearest_anchor_wins_over_a_longer_way_to_another() -> None:
    """A cross-signed intermediate: one way leads by a further CA to one anchor, the other straight to another."""
    near, far = authority("Near"), authority("Far")
    between = authority("Between", far)
    key = ec.generate_private_key(ec.SECP256R1())
    crossed = [authority("Crossed", above, key=key) for above in (between, near)]
    evidence = sent(make("mill-1", crossed[0]), crossed[0], between, crossed[1])
    assert found(verify_chain(evidence, trust(far, near), now=NOW)) == ("Near", 1)


def test_missing_intermediate_leaves_the_leaf_untrusted() -> None:
    refused = verify_chain(sent(LEAF, FACTORY), trust(ROOT), now=NOW)
    assert refused == Refused(
        Reason.CERTIFICATE_UNTRUSTED, "no anchor is its issuer 'CN=Line', 0 up from the leaf"
    )


def test_self_signed_leaf_is_in_no_group() -> None:
    assert reason_of(verify_chain(sent(make("mill-1")), trust(ROOT), now=NOW)) is Reason.CERTIFICATE_UNTRUSTED


def test_ca_with_a_trusted_name_but_another_key_vouches_for_nobody() -> None:
    for key_ids in (True, False):
        impostor = authority("Root", key_ids=key_ids)
        leaf = make("mill-1", impostor, key_ids=key_ids)
        outcome = verify_chain(sent(leaf, impostor), trust(ROOT), now=NOW)
        assert reason_of(outcome) is Reason.CERTIFICATE_UNTRUSTED


@pytest.mark.parametrize("key_ids", [True, False], ids=["key identifiers", "names only"])
def test_anchors_of_one_name_are_told_apart_by_their_keys(key_ids: bool) -> None:
    old, new = (authority("Root", key_ids=key_ids) for _ in range(2))
    anchors = trust(old=old, new=new)
    for name, ca in (("old", old), ("new", new)):
        assert found(verify_chain(sent(make("mill-1", ca, key_ids=key_ids)), anchors, now=NOW)) == (name, 0)


def test_renewed_ca_vouches_though_its_expired_certificate_is_still_an_anchor() -> None:
    expired = authority("Root", end=NOW - 1)
    renewed = authority("Root", key=expired.key)
    leaf = make("mill-1", expired)
    assert found(verify_chain(sent(leaf), trust(primary=expired, secondary=renewed), now=NOW)) == (
        "secondary",
        0,
    )
    assert reason_of(verify_chain(sent(leaf), trust(primary=expired), now=NOW)) is Reason.CERTIFICATE_EXPIRED


def test_broken_certificate_is_passed_over_if_another_way_leads_to_the_anchor() -> None:
    expired = authority("Line", FACTORY, key=LINE.key, end=NOW - 1)
    assert found(verify_chain(sent(LEAF, expired, FACTORY, LINE), trust(ROOT), now=NOW)) == ("Root", 2)


UNFIT_AUTHORITIES = [
    pytest.param({"end": NOW - 1}, Reason.CERTIFICATE_EXPIRED, id="expired"),
    pytest.param({"start": NOW + 1}, Reason.CERTIFICATE_NOT_YET_VALID, id="not yet valid"),
    pytest.param({"ca": False}, Reason.CERTIFICATE_UNTRUSTED, id="CA:FALSE"),
    pytest.param({"ca": None}, Reason.CERTIFICATE_UNTRUSTED, id="no basicConstraints"),
    pytest.param({"usage": usage(digital_signature=True)}, Reason.CERTIFICATE_UNTRUSTED, id="no keyCertSign"),
    pytest.param({"purposes": [SERVER_AUTH]}, Reason.CERTIFICATE_PURPOSE_WRONG, id="for servers only"),
    pytest.param({"key": rsa_key(1024)}, Reason.CERTIFICATE_WEAK, id="RSA 1024"),
    pytest.param({"key": DEAR_KEY}, Reason.CERTIFICATE_WEAK, id="RSA with a long exponent"),
    pytest.param({"key": dsa_key()}, Reason.CERTIFICATE_WEAK, id="DSA"),
    pytest.param({"extensions": [(SOMETHING, True)]}, Reason.CERTIFICATE_UNTRUSTED, id="unknown critical"),
    pytest.param(
        {"extensions": [(ONLY_EXAMPLE_ORG, True)]}, Reason.CERTIFICATE_UNTRUSTED, id="name constraints"
    ),
    pytest.param(
        {"extensions": [(ONLY_EXAMPLE_ORG, False)]},
        Reason.CERTIFICATE_UNTRUSTED,
        id="name constraints that are not critical",
    ),
]


@pytest.mark.parametrize(("flaw", "reason"), UNFIT_AUTHORITIES)
def test_unfit_anchor_vouches_for_nobody(flaw: dict[str, object], reason: Reason) -> None:
    ca = authority("Factory", **flaw)
    refused = verify_chain(sent(make("mill-1", ca)), trust(ca), now=NOW)
    assert reason_of(refused) is reason
    assert "issuer 'CN=Factory': " in refused.detail


@pytest.mark.parametrize(("flaw", "reason"), UNFIT_AUTHORITIES)
def test_unfit_intermediate_breaks_the_chain(flaw: dict[str, object], reason: Reason) -> None:
    ca = authority("Factory", ROOT, **flaw)
    assert reason_of(verify_chain(sent(make("mill-1", ca), ca), trust(ROOT), now=NOW)) is reason


@pytest.mark.parametrize(
    "flaw", [{"usage": usage(key_cert_sign=True)}, {"purposes": [CLIENT_AUTH]}, {"key": rsa_key(2048)}]
)
def test_fit_authorities_of_other_shapes_vouch(flaw: dict[str, object]) -> None:
    ca = authority("Factory", ROOT, **flaw)
    assert found(verify_chain(sent(make("mill-1", ca), ca), trust(ROOT), now=NOW)) == ("Root", 1)


def test_leaf_can_issue_nothing() -> None:
    """The classic: any customer's certificate used as if it were a CA."""
    forged = make("mill-2", LEAF)
    outcome = verify_chain(sent(forged, LEAF, LINE, FACTORY), trust(ROOT), now=NOW)
    assert outcome == Refused(Reason.CERTIFICATE_UNTRUSTED, "issuer 'CN=mill-1': it is no CA")


@pytest.mark.parametrize("weak_hash", ["md5", "sha1"])
def test_hash_of_an_intermediate_matters_and_that_of_an_anchor_does_not(weak_hash: str) -> None:
    root = authority("Root", key=rsa_key(2048))
    factory = authority("Factory", root)
    weak = Made(certificate=said_to_be_signed_with(weak_hash, factory), key=factory.key)
    leaf = make("mill-1", factory)
    assert reason_of(verify_chain(sent(leaf, weak), trust(root), now=NOW)) is Reason.CERTIFICATE_WEAK
    assert found(verify_chain(sent(leaf), trust(weak), now=NOW)) == ("Factory", 0)


def test_path_length_counts_the_authorities_below() -> None:
    for allowed, depth in ((0, 0), (1, 1), (2, 2)):
        root = authority("Root", path_length=allowed)
        chain = [root]
        for level in range(depth):
            chain.append(authority(f"Level {level}", chain[-1]))
        fits = sent(make("mill-1", chain[-1]), *chain[1:])
        assert found(verify_chain(fits, trust(root), now=NOW)) == ("Root", depth)
        chain.append(authority("Too deep", chain[-1]))
        too_long = sent(make("mill-1", chain[-1]), *chain[1:])
        assert reason_of(verify_chain(too_long, trust(root), now=NOW)) is Reason.CERTIFICATE_UNTRUSTED


def test_path_length_of_an_intermediate_counts_too() -> None:
    for allowed, depth in ((0, 0), (1, 1)):
        chain = [authority("Limited", ROOT, path_length=allowed)]
        for level in range(depth):
            chain.append(authority(f"Level {level}", chain[-1]))
        fits = sent(make("mill-1", chain[-1]), *chain)
        assert found(verify_chain(fits, trust(ROOT), now=NOW)) == ("Root", depth + 1)
        chain.append(authority("Too deep", chain[-1]))
        too_long = sent(make("mill-1", chain[-1]), *chain)
        assert verify_chain(too_long, trust(ROOT), now=NOW) == Refused(
            Reason.CERTIFICATE_UNTRUSTED, "issuer 'CN=Limited': the chain below it is longer than it allows"
        )


@pytest.mark.parametrize(("between", "fits"), [(8, True), (9, False)])
def test_eight_intermediates_are_looked_at_and_no_more(between: int, fits: bool) -> None:
    chain = [ROOT]
    for level in range(between):
        chain.append(authority(f"Level {level}", chain[-1]))
    outcome = verify_chain(sent(make("mill-1", chain[-1]), *reversed(chain[1:])), trust(ROOT), now=NOW)
    assert isinstance(outcome, VerifiedChain) is fits


def test_loop_of_authorities_ends() -> None:
    first, second = authority("A"), authority("B")
    a, b = authority("A", second, key=first.key), authority("B", first, key=second.key)
    outcome = verify_chain(sent(make("mill-1", a), a, b, a, b), trust(ROOT), now=NOW)
    assert reason_of(outcome) is Reason.CERTIFICATE_UNTRUSTED


def test_authorities_that_all_issued_each_other_cost_a_bounded_number_of_signatures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verified = counted_signatures(monkeypatch)
    key = ec.generate_private_key(ec.SECP256R1())
    tangle = [authority("Tangle", key=key) for _ in range(30)]
    outcome = verify_chain(sent(make("mill-1", tangle[0]), *tangle), trust(ROOT), now=NOW)
    assert reason_of(outcome) is Reason.CERTIFICATE_UNTRUSTED
    assert len(verified) == 8


def test_authorities_of_one_name_sent_in_the_worst_order_cost_a_bounded_number_of_signatures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing but trying tells which of them has signed: the fitting one comes last each time."""
    verified = counted_signatures(monkeypatch)
    chain = [authority("Namesake", key_ids=False)]
    for _ in range(7):
        chain.append(authority("Namesake", chain[-1], key_ids=False))
    evidence = sent(make("mill-1", chain[-1], key_ids=False), *chain)
    assert verify_chain(evidence, trust(ROOT), now=NOW) == Refused(
        Reason.CERTIFICATE_UNTRUSTED, "no anchor within 16 signatures"
    )
    assert len(verified) == 16


def test_a_key_that_makes_signatures_dear_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    verified = counted_signatures(monkeypatch)
    dear = authority("Factory", ROOT, key=DEAR_KEY)
    refused = verify_chain(sent(make("mill-1", dear), *[dear] * 8), trust(ROOT), now=NOW)
    assert refused == Refused(
        Reason.CERTIFICATE_WEAK, "issuer 'CN=Factory': RSA with a public exponent of 33 bits"
    )
    assert not verified


def counted_signatures(monkeypatch: pytest.MonkeyPatch) -> list[x509.Certificate]:
    """The certificates whose signatures are verified from here on."""
    verified: list[x509.Certificate] = []
    real = judge._has_signed

    def counting(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
        verified.append(certificate)
        return real(issuer, certificate)

    monkeypatch.setattr(judge, "_has_signed", counting)
    return verified


def test_chain_is_valid_while_all_of_its_certificates_are() -> None:
    root, factory = authority("Root", start=NOW - 50, end=NOW + 50), authority("Factory", ROOT, end=NOW + 40)
    cases = [
        (sent(make("mill-1", root, end=NOW + 60)), trust(root), NOW - 50, NOW + 50),
        (sent(make("mill-1", root, start=NOW - 40, end=NOW + 30)), trust(root), NOW - 40, NOW + 30),
        (sent(make("mill-1", factory, end=NOW + 60), factory), trust(ROOT), NOW - DAY, NOW + 40),
    ]
    for evidence, anchors, since, until in cases:
        outcome = verify_chain(evidence, anchors, now=NOW)
        assert isinstance(outcome, VerifiedChain)
        assert (outcome.valid_from, outcome.valid_until) == (since, until)


def test_one_of_many_anchors_is_found() -> None:
    authorities = [authority(f"Factory {n}") for n in range(30)]
    anchors = trust(*authorities)
    for n in (0, 17, 29):
        outcome = verify_chain(sent(make("mill-1", authorities[n])), anchors, now=NOW)
        assert found(outcome) == (f"Factory {n}", 0)


def test_no_anchors_vouch_for_nobody() -> None:
    assert (
        reason_of(verify_chain(sent(LEAF, LINE), TrustAnchors(()), now=NOW)) is Reason.CERTIFICATE_UNTRUSTED
    )


@given(st.data())
def test_a_chain_is_found_exactly_if_no_link_of_it_is_missing(data: st.DataObject) -> None:
    ladder = [LINE, FACTORY, ROOT]
    shown = data.draw(st.lists(st.sampled_from(ladder), max_size=5))
    trusted = data.draw(st.lists(st.sampled_from(ladder), unique_by=id))
    expected = None
    for depth, ca in enumerate(ladder):
        if ca in trusted:
            expected = (common_name(ca.certificate), depth)
            break
        if ca not in shown:
            break
    outcome = verify_chain(sent(LEAF, *shown), trust(*trusted), now=NOW)
    assert (found(outcome) if isinstance(outcome, VerifiedChain) else None) == expected


# --- Individual enrollments


def test_leaf_is_known_by_either_thumbprint_however_it_is_written() -> None:
    leaf = make("mill-1").certificate
    for print_ in (thumbprints(leaf).sha1, thumbprints(leaf).sha256):
        pairs = [print_[i : i + 2] for i in range(0, len(print_), 2)]
        for written in (print_, print_.lower(), ":".join(pairs), " ".join(pairs).lower()):
            assert match_thumbprint(leaf, written, None) is KeySlot.PRIMARY
            assert match_thumbprint(leaf, "00" * 20, written) is KeySlot.SECONDARY
            assert match_thumbprint(leaf, None, written) is KeySlot.SECONDARY


def test_thumbprints_are_the_hashes_that_tools_print() -> None:
    leaf = make("mill-1").certificate
    own = thumbprints(leaf)
    assert (len(own.sha1), len(own.sha256)) == (40, 64)
    assert own.sha1 == own.sha1.upper()
    assert bytes.fromhex(own.sha256) == CertificateEvidence(leaf=leaf).fingerprint


@pytest.mark.parametrize("enrolled", [None, "", "00" * 20, "00" * 32, "not hex"])
def test_leaf_that_is_not_enrolled_is_refused_with_its_thumbprint(enrolled: str | None) -> None:
    leaf = make("mill-1").certificate
    refused = match_thumbprint(leaf, enrolled, enrolled)
    assert refused == Refused(Reason.CERTIFICATE_THUMBPRINT_UNKNOWN, f"SHA-256 {thumbprints(leaf).sha256}")


def test_prefix_of_a_thumbprint_is_not_enough() -> None:
    leaf = make("mill-1").certificate
    assert isinstance(match_thumbprint(leaf, thumbprints(leaf).sha256[:40], None), Refused)


# --- Proof of possession


def test_ca_is_proved_by_a_certificate_that_it_signed_for_the_code() -> None:
    assert proves_possession(make("CODE", ROOT).certificate, ROOT.certificate, "CODE")


def test_ca_is_not_proved_by_another_code_another_key_or_itself() -> None:
    assert not proves_possession(make("OTHER", ROOT).certificate, ROOT.certificate, "CODE")
    assert not proves_possession(make("CODE", authority("Root")).certificate, ROOT.certificate, "CODE")
    assert not proves_possession(make("CODE").certificate, ROOT.certificate, "CODE")
    assert not proves_possession(ROOT.certificate, ROOT.certificate, "CODE")


def test_ca_is_not_proved_by_a_certificate_that_has_an_extension_twice() -> None:
    der = make("CODE", ROOT).certificate.public_bytes(Encoding.DER)
    assert not proves_possession(
        x509.load_der_x509_certificate(with_an_extension_twice(der)), ROOT.certificate, "CODE"
    )


# --- Names


def test_common_name_is_the_only_one() -> None:
    assert common_name(make("mill-1").certificate) == "mill-1"
    assert common_name(make([]).certificate) is None
    assert common_name(make(["a", "b"]).certificate) is None
