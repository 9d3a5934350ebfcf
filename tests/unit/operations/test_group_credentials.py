"""The keys and CAs of enrollment groups: rolled over, proved and taken away while devices are connected."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import DNSName, NameConstraints
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway import pki
from gateway.errors import ChangedError, ConflictError, NotFoundError, OperationError
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.sas import KeySlot
from gateway.identity.x509 import Link, VerifiedChain, signer_of, verify_chain
from gateway.pki import IssuedCertificate
from gateway.refusals import Reason, Refused
from gateway.session import CloseReason
from tests.support.bench import NOW, Bench
from tests.unit.identity.certificates import (
    DAY,
    Made,
    authority,
    make,
    of_a_version_that_there_is_not,
    revocation_list,
    rsa_key,
    rsa_key_with_exponent,
    usage,
    with_an_extension_twice,
)
from tests.unit.identity.certificates import NOW as CERTIFICATES_NOW

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
ONLY_EXAMPLE_ORG = (NameConstraints([DNSName("example.org")], None), False)
CA = pki.create_ca("Factory", now=NOW, days=1000)
NEXT_CA = pki.create_ca("Next Factory", now=NOW, days=1000)


def pem(ca: IssuedCertificate) -> str:
    return ca.certificate_pem.decode()


def made_pem(made: Made) -> str:
    return made.certificate.public_bytes(Encoding.PEM).decode()


def signed(ca: IssuedCertificate, name: str, **more: Any) -> str:
    """A certificate of that name, signed by the CA."""
    return pki.issue_device(ca, name, now=more.get("now", NOW), days=10).certificate_pem.decode()


@pytest.fixture
async def sas(bench: Bench) -> Bench:
    await bench.call("group.create", name="G", attestation="symmetricKey")
    return bench


@pytest.fixture
async def x509(bench: Bench) -> Bench:
    await bench.call("group.create", name="G", attestation="x509", display_name="The factory")
    return bench


# Keys


@pytest.mark.parametrize("slot", ["primary", "secondary"])
async def test_a_regenerated_key_is_shown_once_and_closes_the_sessions_of_the_old_one(
    sas: Bench, slot: str
) -> None:
    before = await sas.call("group.show", name="G", keys=True)
    sessions = {which: sas.sessions.open(f"d-{which}", "G", which) for which in KeySlot}
    elsewhere = sas.sessions.open("other", "H", KeySlot(slot))
    made = await sas.call("group.regenerate_key", name="G", slot=slot)
    after = await sas.call("group.show", name="G", keys=True)
    other = {"primary": "secondary", "secondary": "primary"}[slot]
    assert after[f"{slot}Key"] == made[f"{slot}Key"] != before[f"{slot}Key"]
    assert after[f"{other}Key"] == before[f"{other}Key"]
    assert f"{other}Key" not in made
    assert made["closedSessions"] == 1
    assert sessions[KeySlot(slot)].closed is CloseReason.ENROLLMENT_CHANGED
    assert sessions[KeySlot(other)].closed is None
    assert elsewhere.closed is None


async def test_a_key_can_be_given_instead(sas: Bench) -> None:
    before = await sas.call("group.show", name="G", keys=True)
    session = sas.sessions.open("d", "G", KeySlot.SECONDARY)
    changed = await sas.call("group.update", name="G", secondary_key=KEY)
    after = await sas.call("group.show", name="G", keys=True)
    assert (after["primaryKey"], after["secondaryKey"]) == (before["primaryKey"], KEY)
    assert changed["closedSessions"] == 1
    assert session.closed is CloseReason.ENROLLMENT_CHANGED


async def test_the_same_key_again_closes_nobody(sas: Bench) -> None:
    await sas.call("group.update", name="G", primary_key=KEY)
    session = sas.sessions.open("d", "G", KeySlot.PRIMARY)
    etag = (await sas.call("group.show", name="G"))["etag"]
    assert (await sas.call("group.update", name="G", primary_key=KEY))["etag"] == etag
    assert session.closed is None


async def test_a_group_is_renamed_and_its_approval_switched(sas: Bench) -> None:
    session = sas.sessions.open("d", "G")
    changed = await sas.call("group.update", name="G", display_name="Mills", auto_approve=False)
    assert (changed["displayName"], changed["autoApprove"], changed["enabled"]) == ("Mills", False, True)
    assert session.closed is None
    await sas.call("group.update", name="G", enabled=False)
    assert session.closed is CloseReason.ENROLLMENT_CHANGED


async def test_keys_and_certificates_are_not_mixed_up(bench: Bench) -> None:
    await bench.call("group.create", name="S", attestation="symmetricKey")
    await bench.call("group.create", name="X", attestation="x509")
    for verb, arguments in (
        ("group.regenerate_key", {"name": "X", "slot": "primary"}),
        ("group.update", {"name": "X", "primary_key": KEY}),
        ("group.set_ca", {"name": "S", "slot": "primary", "certificate": pem(CA)}),
        ("group.remove_ca", {"name": "S", "slot": "primary"}),
        ("group.make_verification_code", {"name": "S", "slot": "primary"}),
        ("group.verify_ca", {"name": "S", "slot": "primary", "certificate": pem(CA)}),
    ):
        with pytest.raises(ConflictError, match=r"^the enrollment group . has (keys|certificates), not "):
            await bench.call(verb, **arguments)


# Revocation lists


def crl_pem(*revoked: int, **flaws: Any) -> str:
    return revocation_list(CA, *revoked, **flaws).public_bytes(Encoding.PEM).decode()


def chain(*links: tuple[Any, int]) -> tuple[Link, ...]:
    """What a session came in by: each CA, and the serial number of what it signed; the leaf's first."""
    return tuple(Link(signer_of(ca.certificate), serial) for ca, serial in links)


async def test_a_revocation_list_closes_the_sessions_of_what_it_names_in_either_slot(x509: Bench) -> None:
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    line = authority("Line")
    revoked = [
        x509.sessions.open("a", "G", issued=chain((CA, 5))),
        x509.sessions.open("b", "G", KeySlot.SECONDARY, issued=chain((CA, 5))),
        x509.sessions.open("below", "G", issued=chain((line, 7), (CA, 5))),
        x509.sessions.open("f", "H", issued=chain((CA, 5), (NEXT_CA, 8))),
    ]
    others = [
        x509.sessions.open("c", "G", issued=chain((CA, 6))),
        x509.sessions.open("d", "G", KeySlot.SECONDARY, issued=chain((NEXT_CA, 5))),
        x509.sessions.open("e", "G"),
    ]

    told = await x509.call("group.set_crl", name="G", slot="primary", crl=crl_pem(5, number=3))

    assert told["closedSessions"] == 4
    assert [one.closed for one in revoked] == [CloseReason.ENROLLMENT_CHANGED] * 4
    assert [one.closed for one in others] == [None] * 3
    shown = (await x509.call("group.show_ca", name="G", slot="primary"))["revocationList"]
    assert (shown["revoked"], shown["number"]) == (1, 3)


async def test_an_intermediate_on_a_root_s_list_is_not_trusted_in_any_slot_and_its_sessions_close(
    x509: Bench,
) -> None:
    root = authority("Root", start=NOW - DAY, end=NOW + DAY)
    line = authority("Line", root, start=NOW - DAY, end=NOW + DAY)
    leaf = make("mill-1", line, start=NOW - DAY, end=NOW + DAY)
    await x509.call("group.create", name="H", attestation="x509", secondary_certificate=made_pem(line))
    await x509.call("group.set_ca", name="G", slot="primary", certificate=made_pem(root))
    revoked = x509.sessions.open(
        "mill-1", "H", KeySlot.SECONDARY, issued=chain((line, leaf.certificate.serial_number))
    )
    others = [
        x509.sessions.open("mill-2", "H", issued=chain((CA, 1))),
        x509.sessions.open("mill-3", "G", KeySlot.SECONDARY, issued=chain((CA, 1))),
        x509.sessions.open("mill-4", "H", KeySlot.SECONDARY),
    ]

    crl = revocation_list(root, line.certificate.serial_number).public_bytes(Encoding.PEM).decode()
    told = await x509.call("group.set_crl", name="G", slot="primary", crl=crl)

    assert told["closedSessions"] == 1
    assert revoked.closed is CloseReason.ENROLLMENT_CHANGED
    assert [one.closed for one in others] == [None] * 3
    evidence = CertificateEvidence(leaf=leaf.certificate, intermediates=())
    refused = verify_chain(evidence, x509.groups.book.anchors, now=NOW)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.CERTIFICATE_REVOKED
    await x509.call("group.remove_crl", name="G", slot="primary")
    assert isinstance(verify_chain(evidence, x509.groups.book.anchors, now=NOW), VerifiedChain)


async def test_a_ca_that_renews_its_certificate_keeps_its_list_and_its_code(x509: Bench) -> None:
    old = authority("CA", start=NOW - DAY, end=NOW + DAY)
    renewed = authority("CA", key=old.key, start=NOW - DAY, end=NOW + 2 * DAY)
    await x509.call("group.set_ca", name="G", slot="primary", certificate=made_pem(old), verified=False)
    code = (await x509.call("group.make_verification_code", name="G", slot="primary"))["verificationCode"]
    crl = revocation_list(old, 5).public_bytes(Encoding.PEM).decode()
    await x509.call("group.set_crl", name="G", slot="primary", crl=crl)

    for certificate in (made_pem(old), made_pem(renewed)):
        told = await x509.call("group.set_ca", name="G", slot="primary", certificate=certificate)
        assert told["primaryCertificate"]["verified"] is False
        assert told["primaryCertificate"]["revocationList"]["revoked"] == 1
    proof = made_pem(make(code, old, start=NOW - DAY, end=NOW + DAY))
    told = await x509.call("group.verify_ca", name="G", slot="primary", certificate=proof)
    assert told["primaryCertificate"]["verified"] is True

    session = x509.sessions.open("mill-1", "G")
    told = await x509.call("group.set_ca", name="G", slot="primary", certificate=made_pem(old), verified=True)
    assert told["primaryCertificate"]["revocationList"]["revoked"] == 1
    assert session.closed is CloseReason.ENROLLMENT_CHANGED
    assert x509.groups.book.anchors.has_revoked(*chain((old, 5)))


async def test_a_ca_that_is_said_to_be_ours_afterwards_keeps_its_list(x509: Bench) -> None:
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA))
    await x509.call("group.set_crl", name="G", slot="primary", crl=crl_pem(5))
    told = await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    shown = told["primaryCertificate"]
    assert (shown["verified"], shown["revocationList"]["revoked"], told["closedSessions"]) == (True, 1, 0)


async def test_the_list_of_a_ca_that_is_not_verified_is_in_force_where_that_ca_is(x509: Bench) -> None:
    renewed = authority("Factory", key=CA.key, start=NOW - DAY, end=NOW + DAY)
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    await x509.call("group.set_ca", name="G", slot="secondary", certificate=made_pem(renewed))
    session = x509.sessions.open("mill-1", "G", issued=chain((CA, 5)))
    told = await x509.call("group.set_crl", name="G", slot="secondary", crl=crl_pem(5))
    assert (told["closedSessions"], session.closed) == (1, CloseReason.ENROLLMENT_CHANGED)
    assert x509.groups.book.anchors.has_revoked(*chain((CA, 5)))


async def test_a_revocation_list_is_kept_over_a_restart_and_goes_with_its_ca(x509: Bench) -> None:
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    await x509.call("group.set_crl", name="G", slot="primary", crl=crl_pem(5))
    await x509.groups.load()
    assert (await x509.call("group.show_ca", name="G", slot="primary"))["revocationList"]["revoked"] == 1

    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(NEXT_CA), verified=True)
    assert (await x509.call("group.show_ca", name="G", slot="primary"))["revocationList"] is None


async def test_an_older_list_does_not_take_the_place_of_a_newer_one(x509: Bench) -> None:
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    await x509.call("group.set_crl", name="G", slot="primary", crl=crl_pem(5, 6))
    with pytest.raises(ConflictError, match="has a newer list") as failed:
        await x509.call("group.set_crl", name="G", slot="primary", crl=crl_pem(at=CERTIFICATES_NOW - 9 * DAY))
    assert "remove-crl" in failed.value.hint

    await x509.call("group.remove_crl", name="G", slot="primary")
    await x509.call("group.set_crl", name="G", slot="primary", crl=crl_pem(at=CERTIFICATES_NOW - 9 * DAY))


async def test_of_two_lists_of_one_second_the_lower_number_does_not_take_the_place_of_the_higher(
    x509: Bench,
) -> None:
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    await x509.call("group.set_crl", name="G", slot="primary", crl=crl_pem(5, number=7))
    with pytest.raises(ConflictError, match="has a newer list"):
        await x509.call("group.set_crl", name="G", slot="primary", crl=crl_pem(number=6))
    await x509.call("group.set_crl", name="G", slot="primary", crl=crl_pem(number=8))


@pytest.mark.parametrize(
    ("text", "says"),
    [("no list", "not a revocation list in PEM form"), (None, "it is the list of 'CN=Other'")],
    ids=["no list", "another CA's"],
)
async def test_what_is_no_list_of_this_ca_is_said_in_one_line(
    x509: Bench, text: str | None, says: str
) -> None:
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    foreign = revocation_list(authority("Other")).public_bytes(Encoding.PEM).decode()
    with pytest.raises(OperationError) as failed:
        await x509.call("group.set_crl", name="G", slot="primary", crl=text or foreign)
    assert says in failed.value.message
    assert failed.value.hint


async def test_there_is_no_list_without_a_ca_and_none_to_remove_that_was_not_given(x509: Bench) -> None:
    with pytest.raises(NotFoundError, match="no primary CA"):
        await x509.call("group.set_crl", name="G", slot="primary", crl=crl_pem())
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    with pytest.raises(NotFoundError, match="has no revocation list"):
        await x509.call("group.remove_crl", name="G", slot="primary")


# Proof of possession


async def test_a_ca_vouches_for_devices_when_possession_of_its_key_is_proved(x509: Bench) -> None:
    given = await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA))
    assert given["primaryCertificate"]["verified"] is False
    assert not x509.groups.book.has_anchors
    code = (await x509.call("group.make_verification_code", name="G", slot="primary"))["verificationCode"]
    assert len(code) == 48
    proved = await x509.call("group.verify_ca", name="G", slot="primary", certificate=signed(CA, code))
    assert proved["primaryCertificate"]["verified"] is True
    assert x509.groups.book.has_anchors


async def test_only_the_newest_code_signed_by_that_ca_and_valid_now_is_a_proof(x509: Bench) -> None:
    await x509.call("group.set_ca", name="G", slot="secondary", certificate=pem(CA))
    with pytest.raises(ConflictError, match="has no verification code"):
        await x509.call("group.verify_ca", name="G", slot="secondary", certificate=signed(CA, "x"))
    old = (await x509.call("group.make_verification_code", name="G", slot="secondary"))["verificationCode"]
    code = (await x509.call("group.make_verification_code", name="G", slot="secondary"))["verificationCode"]
    assert old != code
    for certificate, message in (
        (signed(CA, old), "does not prove possession"),
        (signed(NEXT_CA, code), "does not prove possession"),
        (pki.self_signed_device(code, now=NOW).certificate_pem.decode(), "does not prove possession"),
        (signed(CA, code, now=NOW - 20 * 86_400), "not valid now"),
        ("junk", "not a certificate"),
    ):
        with pytest.raises(OperationError, match=message):
            await x509.call("group.verify_ca", name="G", slot="secondary", certificate=certificate)
    shown = await x509.call("group.show", name="G")
    assert shown["secondaryCertificate"]["verified"] is False
    await x509.call("group.verify_ca", name="G", slot="secondary", certificate=signed(CA, code))
    with pytest.raises(ConflictError, match="has no verification code"):
        await x509.call("group.verify_ca", name="G", slot="secondary", certificate=signed(CA, code))


async def test_an_operator_may_vouch_for_a_ca(x509: Bench) -> None:
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    assert x509.groups.book.has_anchors
    unproved = await x509.call(
        "group.create", name="H", attestation="x509", primary_certificate=pem(NEXT_CA), verified=False
    )
    assert unproved["primaryCertificate"]["verified"] is False


async def test_the_same_ca_again_stays_verified(x509: Bench) -> None:
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    session = x509.sessions.open("d", "G", KeySlot.PRIMARY)
    again = await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA))
    assert again["primaryCertificate"]["verified"] is True
    assert session.closed is None


@pytest.mark.parametrize("encoding", ["pem", "base64 of pem", "base64 of der"])
async def test_a_certificate_is_taken_in_the_forms_that_scripts_send(x509: Bench, encoding: str) -> None:
    der = base64.b64decode("".join(pem(CA).splitlines()[1:-1]))
    forms = {
        "pem": pem(CA),
        "base64 of pem": base64.b64encode(pem(CA).encode()).decode(),
        "base64 of der": base64.b64encode(der).decode(),
    }
    await x509.call("group.set_ca", name="G", slot="primary", certificate=forms[encoding])
    assert (await x509.call("group.show_ca", name="G", slot="primary"))["certificate"] == pem(CA)


def broken(break_it: Callable[[bytes], bytes], made: Made) -> str:
    return base64.b64encode(break_it(made.certificate.public_bytes(Encoding.DER))).decode()


@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        (
            lambda: broken(of_a_version_that_there_is_not, authority("CA")),
            "certificate: its version is neither",
        ),
        (
            lambda: broken(with_an_extension_twice, authority("CA")),
            "for devices: Duplicate 2.5.29.35 extension",
        ),
        (lambda: made_pem(authority("CA", key=rsa_key(1024))), "for devices: RSA with 1024 bits"),
        (lambda: made_pem(authority("CA", key=rsa_key_with_exponent(33))), "public exponent of 33 bits"),
        (lambda: made_pem(authority("CA", purposes=[SERVER_AUTH])), "extended key usage lacks clientAuth"),
        (lambda: made_pem(authority("CA", usage=usage())), "its key usage lacks keyCertSign"),
        (
            lambda: made_pem(authority("CA", extensions=[ONLY_EXAMPLE_ORG])),
            "name constraints are not evaluated",
        ),
    ],
    ids=["version", "extension twice", "weak", "dear", "for servers", "may not sign", "name constraints"],
)
async def test_a_ca_that_could_never_vouch_for_a_device_is_the_operators_to_see_at_once(
    x509: Bench, certificate: Callable[[], str], says: str
) -> None:
    for verb, arguments in (
        ("group.set_ca", {"name": "G", "slot": "primary", "certificate": certificate()}),
        ("group.create", {"name": "H", "attestation": "x509", "primary_certificate": certificate()}),
    ):
        with pytest.raises(OperationError, match=says) as failed:
            await x509.call(verb, **arguments)
        assert "\n" not in failed.value.message


async def test_a_proof_or_a_list_of_a_version_that_there_is_not_is_said_in_one_line(x509: Bench) -> None:
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA))
    await x509.call("group.make_verification_code", name="G", slot="primary")
    proof = broken(of_a_version_that_there_is_not, authority("CA"))
    with pytest.raises(OperationError, match=r"^certificate: its version is neither 1 nor 3$"):
        await x509.call("group.verify_ca", name="G", slot="primary", certificate=proof)
    crl = revocation_list(CA, 5).public_bytes(Encoding.DER).replace(b"\x02\x01\x01", b"\x02\x01\x05", 1)
    with pytest.raises(OperationError, match=r"^crl: its version is neither 1 nor 2$"):
        await x509.call("group.set_crl", name="G", slot="primary", crl=base64.b64encode(crl).decode())


# A CA goes


async def test_a_removed_ca_s_sessions_close_and_its_leaves_are_forgotten(x509: Bench) -> None:
    for slot, ca in (("primary", CA), ("secondary", NEXT_CA)):
        await x509.call("group.set_ca", name="G", slot=slot, certificate=pem(ca), verified=True)
    old = x509.sessions.open("old", "G", KeySlot.PRIMARY)
    new = x509.sessions.open("new", "G", KeySlot.SECONDARY)
    book = x509.groups.book
    removed = await x509.call("group.remove_ca", name="G", slot="primary")
    assert (removed["primaryCertificate"], removed["closedSessions"]) == (None, 1)
    assert old.closed is CloseReason.ENROLLMENT_CHANGED
    assert new.closed is None
    assert x509.groups.book is not book  # and with the snapshot went the cache of its leaves
    assert len(x509.groups.book.leaves) == 0
    with pytest.raises(NotFoundError, match="has no primary CA"):
        await x509.call("group.remove_ca", name="G", slot="primary")


async def test_a_replaced_ca_is_a_removed_one(x509: Bench) -> None:
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(CA), verified=True)
    session = x509.sessions.open("d", "G", KeySlot.PRIMARY)
    await x509.call("group.set_ca", name="G", slot="primary", certificate=pem(NEXT_CA), verified=True)
    assert session.closed is CloseReason.ENROLLMENT_CHANGED


async def test_one_ca_is_not_given_to_two_groups(x509: Bench) -> None:
    await x509.call("group.create", name="H", attestation="x509", primary_certificate=pem(CA))
    renewed = authority("Factory", key=CA.key, start=NOW - DAY, end=NOW + DAY)
    for certificate in (pem(CA), made_pem(renewed)):
        with pytest.raises(ConflictError, match="the enrollment group H has this CA already"):
            await x509.call("group.set_ca", name="G", slot="primary", certificate=certificate)
        with pytest.raises(ConflictError, match="the enrollment group H has this CA already"):
            await x509.call("group.create", name="I", attestation="x509", secondary_certificate=certificate)
    await x509.call("group.set_ca", name="H", slot="secondary", certificate=made_pem(renewed))
    leaf = signed(CA, "mill-1")
    with pytest.raises(OperationError, match="not a CA's certificate"):
        await x509.call("group.set_ca", name="G", slot="primary", certificate=leaf)


# Etags


async def test_who_read_an_older_state_is_told_and_nothing_changes(sas: Bench) -> None:
    read = (await sas.call("group.show", name="G"))["etag"]
    changed = await sas.call("group.update", name="G", display_name="Mills", if_match=read)
    for verb, arguments in (
        ("group.update", {"display_name": "Late"}),
        ("group.regenerate_key", {"slot": "primary"}),
        ("group.delete", {}),
    ):
        with pytest.raises(ChangedError, match="the enrollment group G has changed since you read it"):
            await sas.call(verb, name="G", if_match=read, **arguments)
    assert (await sas.call("group.show", name="G"))["etag"] == changed["etag"]


async def test_of_two_who_read_the_same_state_one_wins(sas: Bench) -> None:
    read = (await sas.call("group.show", name="G"))["etag"]
    outcomes = await asyncio.gather(
        *(sas.call("group.update", name="G", display_name=f"by {n}", if_match=read) for n in range(5)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ChangedError"] * 4 + ["dict"]
