"""Whose key it was: each of the usual mistakes is told apart."""

import base64
import hmac
from urllib.parse import quote

import pytest

from gateway.enrollment.decide import GroupBook
from gateway.enrollment.explain import (
    Owner,
    Signer,
    find_signer,
    find_unverified,
    find_vouching,
    named_device,
    namesakes,
)
from gateway.enrollment.models import SigningCertificates
from gateway.identity import sas
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.sas import KeySlot
from gateway.secrets import SymmetricKey
from tests.unit.enrollment.test_decide import NOBODY_S_KEY, group, individual, keys, trusted
from tests.unit.identity.certificates import NOW, authority, make

ONE, TWO = group("One", keys("one")), group("Two", keys("two"), enabled=False)
BOOK = GroupBook([ONE, TWO])
OWN = individual(keys("own"))
RESOURCE = "0ne00ABCDEF/registrations/mill-1"


def token(key: bytes, *, signed: str | None = None, sent: str | None = None) -> sas.SasToken:
    """A token that sends one spelling of the resource and may sign another."""
    sent = sent or quote(RESOURCE, safe="")
    signature = hmac.digest(key, f"{signed or sent}\n2000000000".encode(), "sha256")
    sig = quote(base64.b64encode(signature), safe="")
    parsed = sas.SasToken.parse(f"SharedAccessSignature sr={sent}&sig={sig}&se=2000000000")
    assert isinstance(parsed, sas.SasToken)
    return parsed


def derived(key: SymmetricKey, device_id: str = "mill-1") -> bytes:
    return sas.derive_device_key(key, device_id).raw


def signer(made: sas.SasToken, device_id: str = "mill-1") -> Signer | None:
    return find_signer(made, device_id, individual=OWN, groups=BOOK)


def signed_by(owner: Owner, slot: KeySlot, of: str | None, device_id: str = "mill-1", **more: bool) -> Signer:
    return Signer(owner=owner, slot=slot, group=of, device_id=device_id, **more)


def test_its_own_key_of_a_group_is_found_in_both_slots_enabled_or_not() -> None:
    primary, secondary = keys("two").both
    assert signer(token(derived(primary))) == signed_by(Owner.DERIVED, KeySlot.PRIMARY, "Two")
    assert signer(token(derived(secondary))) == signed_by(Owner.DERIVED, KeySlot.SECONDARY, "Two")


def test_the_individual_enrollments_key_is_found() -> None:
    assert signer(token(keys("own").secondary.raw)) == signed_by(Owner.INDIVIDUAL, KeySlot.SECONDARY, None)


def test_the_groups_own_key_is_told_apart_from_a_devices() -> None:
    assert signer(token(keys("one").primary.raw)) == signed_by(Owner.GROUP, KeySlot.PRIMARY, "One")


def test_the_key_of_the_device_that_the_token_names_is_found() -> None:
    made = token(derived(keys("one").primary, "mill-2"), sent="host%2Fdevices%2Fmill-2")
    assert named_device(made) == "mill-2"
    assert signer(made) == signed_by(Owner.DERIVED, KeySlot.PRIMARY, "One", "mill-2")


def test_a_key_derived_from_the_id_in_lower_case_is_found() -> None:
    made = token(derived(keys("one").primary, "mill-1"), sent="host%2Fdevices%2FMill-1")
    assert signer(made, "Mill-1") == signed_by(Owner.DERIVED, KeySlot.PRIMARY, "One", "mill-1")


def test_a_key_that_was_used_as_text_is_found() -> None:
    made = token(base64.b64encode(derived(keys("one").primary)))
    assert signer(made) == signed_by(Owner.DERIVED, KeySlot.PRIMARY, "One", as_text=True)


@pytest.mark.parametrize("signed", [RESOURCE, quote(RESOURCE, safe="").replace("%2F", "%2f")])
def test_another_spelling_of_what_was_signed_is_found(signed: str) -> None:
    made = token(derived(keys("one").primary), signed=signed)
    assert signer(made) == signed_by(Owner.DERIVED, KeySlot.PRIMARY, "One", other_resource=True)


def test_a_key_of_nobody_here_is_nobodys() -> None:
    assert signer(token(NOBODY_S_KEY.raw)) is None
    assert (
        find_signer(token(derived(keys("one").primary)), "mill-1", individual=None, groups=GroupBook())
        is None
    )


@pytest.mark.parametrize("resource", ["registrations", "host", "host%2Fdevices", "host%2Fdevices%2F"])
def test_a_resource_without_a_device_names_none(resource: str) -> None:
    assert named_device(token(NOBODY_S_KEY.raw, sent=resource)) is None


def test_the_ca_that_vouches_is_named_with_its_slot() -> None:
    old, new = authority("Old"), authority("New")
    book = GroupBook([group("F", SigningCertificates(primary=trusted(old), secondary=trusted(new)))])
    found = find_vouching(CertificateEvidence(leaf=make("mill-1", new).certificate), book, now=NOW)
    assert found is not None
    assert (found.group, found.slot) == ("F", KeySlot.SECONDARY)
    stranger = CertificateEvidence(leaf=make("mill-1", authority("Else")).certificate)
    assert find_vouching(stranger, book, now=NOW) is None


def test_a_ca_of_the_same_name_and_another_key_is_a_namesake() -> None:
    old, remade = authority("Factory", key_ids=False), authority("Factory", key_ids=False)
    book = GroupBook([group("F", SigningCertificates(primary=trusted(old)))])
    leaf = make("mill-1", remade).certificate
    assert [(each.group, each.slot) for each in namesakes(leaf, book)] == [("F", KeySlot.PRIMARY)]
    assert namesakes(make("mill-1", old).certificate, book) == []


def test_a_ca_that_signed_it_and_is_not_verified_yet_is_found() -> None:
    ours = authority("Factory")
    leaf = make("mill-1", ours).certificate
    for verified in (True, False):
        book = GroupBook([group("F", SigningCertificates(secondary=trusted(ours, verified=verified)))])
        found = find_unverified(leaf, book)
        assert (found is not None) is not verified
        assert namesakes(leaf, book) == []
