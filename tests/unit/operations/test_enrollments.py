"""Individual enrollments of every kind: what an operator may give, change and take away, and whose session that closes."""

import base64
from typing import Any

import pytest

from gateway import pki
from gateway.enrollment.models import TpmAttestation
from gateway.errors import ConflictError, OperationError
from gateway.session import CloseReason
from tests.support.bench import NOW, Bench
from tests.unit.identity.tpm_keys import ENDORSEMENT_KEY, STORAGE_ROOT_KEY

EK = base64.b64encode(ENDORSEMENT_KEY).decode()
OTHER_EK = base64.b64encode(ENDORSEMENT_KEY[:-2] + b"\x00\x01").decode()
SRK = base64.b64encode(STORAGE_ROOT_KEY).decode()
KEY = base64.b64encode(bytes(range(32))).decode()
THUMBPRINT, NEXT_THUMBPRINT = "A1" * 20, "B2" * 32


async def create(bench: Bench, attestation: str, **given: Any) -> dict[str, Any]:
    created: dict[str, Any] = await bench.call(
        "enrollment.create", device_id="a", attestation=attestation, **given
    )
    return created


async def keys_of(bench: Bench) -> tuple[str, str]:
    shown = await bench.call("enrollment.show", device_id="a", keys=True)
    return shown["primaryKey"], shown["secondaryKey"]


async def tpm_of(bench: Bench) -> TpmAttestation:
    entry = await bench.registry.fetch("a")
    assert entry.individual is not None
    assert isinstance(entry.individual.attestation, TpmAttestation)
    return entry.individual.attestation


# TPM


async def test_a_tpm_is_enrolled_by_its_endorsement_key_and_its_device_key_is_never_shown(
    bench: Bench,
) -> None:
    created = await create(bench, "tpm", endorsement_key=EK, storage_root_key=SRK)
    assert (created["attestation"], created["endorsementKey"], created["storageRootKey"]) == ("tpm", EK, SRK)
    shown = await bench.call("enrollment.show", device_id="a", keys=True)
    assert (await tpm_of(bench)).device_key.base64 not in str(shown)
    assert (await bench.call("device.connection", device_id="a", keys=True))["attestation"] == "tpm"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "needs the TPM's endorsement key"),
        ({"endorsement_key": "not base64"}, "endorsement_key: not base64"),
        ({"endorsement_key": SRK[:40]}, "endorsement_key: the public area is cut short"),
        ({"endorsement_key": EK, "storage_root_key": "AAAA"}, "storage_root_key: "),
        ({"endorsement_key": EK, "primary_key": KEY}, "a TPM enrollment has no primary_key"),
    ],
)
async def test_what_is_no_tpm_is_the_operators_to_see_at_once(
    bench: Bench, given: dict[str, str], complaint: str
) -> None:
    with pytest.raises(OperationError, match=complaint):
        await create(bench, "tpm", **given)


async def test_another_tpm_gets_another_device_key_and_a_storage_root_key_changes_nothing_of_it(
    bench: Bench,
) -> None:
    await create(bench, "tpm", endorsement_key=EK)
    first = await tpm_of(bench)
    session = bench.sessions.open("a")
    await bench.call("enrollment.update", device_id="a", storage_root_key=SRK)
    pinned = await tpm_of(bench)
    assert (pinned.device_key, pinned.storage_root_key is None) == (first.device_key, False)
    await bench.call("enrollment.update", device_id="a", endorsement_key=EK)
    assert (await tpm_of(bench)) == first
    await bench.call("enrollment.update", device_id="a", endorsement_key=OTHER_EK)
    assert (await tpm_of(bench)).device_key != first.device_key
    assert session.closed is CloseReason.ENROLLMENT_CHANGED


async def test_a_tpms_device_key_is_regenerated_without_saying_which(bench: Bench) -> None:
    await create(bench, "tpm", endorsement_key=EK)
    first = await tpm_of(bench)
    session = bench.sessions.open("a")
    await bench.call("enrollment.regenerate_key", device_id="a")
    assert (await tpm_of(bench)).device_key != first.device_key
    assert session.closed is CloseReason.ENROLLMENT_CHANGED
    with pytest.raises(OperationError, match="one key"):
        await bench.call("enrollment.regenerate_key", device_id="a", key="primary")


# Keys


@pytest.mark.parametrize(("slot", "kept"), [("primary", 1), ("secondary", 0)])
async def test_one_key_is_regenerated_the_other_stays_and_the_session_is_closed(
    bench: Bench, slot: str, kept: int
) -> None:
    await create(bench, "symmetricKey")
    before = await keys_of(bench)
    session = bench.sessions.open("a")
    result = await bench.call("enrollment.regenerate_key", device_id="a", key=slot)
    assert (result["closedSessions"], session.closed) == (1, CloseReason.ENROLLMENT_CHANGED)
    after = await keys_of(bench)
    assert [old == new for old, new in zip(before, after, strict=True)] == [kept == 0, kept == 1]


async def test_a_given_key_takes_the_place_of_one_and_leaves_the_other(bench: Bench) -> None:
    await create(bench, "symmetricKey")
    _, secondary = await keys_of(bench)
    await bench.call("enrollment.update", device_id="a", primary_key=KEY)
    assert await keys_of(bench) == (KEY, secondary)


async def test_which_key_to_regenerate_has_to_be_said(bench: Bench) -> None:
    await create(bench, "symmetricKey")
    with pytest.raises(OperationError, match="key is missing"):
        await bench.call("enrollment.regenerate_key", device_id="a")


# Certificates


async def test_a_second_certificate_is_added_without_closing_the_session(bench: Bench) -> None:
    await create(bench, "x509", primary_thumbprint=THUMBPRINT)
    session = bench.sessions.open("a")
    leaf = pki.self_signed_device("a", now=NOW).certificate_pem.decode()
    changed = await bench.call("enrollment.update", device_id="a", secondary_certificate=leaf)
    assert (changed["primaryThumbprint"], len(changed["secondaryThumbprint"])) == (THUMBPRINT, 64)
    assert (changed["closedSessions"], session.closed) == (0, None)


async def test_rolling_over_to_the_second_certificate_closes_the_session(bench: Bench) -> None:
    await create(bench, "x509", primary_thumbprint=THUMBPRINT, secondary_thumbprint=NEXT_THUMBPRINT)
    bench.sessions.open("a")
    changed = await bench.call(
        "enrollment.update", device_id="a", primary_thumbprint=NEXT_THUMBPRINT, remove_secondary=True
    )
    assert (changed["primaryThumbprint"], changed["secondaryThumbprint"]) == (NEXT_THUMBPRINT, None)
    assert changed["closedSessions"] == 1


async def test_an_x509_enrollment_has_no_key_to_regenerate(bench: Bench) -> None:
    await create(bench, "x509", primary_thumbprint=THUMBPRINT)
    with pytest.raises(OperationError, match="has no keys here"):
        await bench.call("enrollment.regenerate_key", device_id="a", key="primary")


# All of them


@pytest.mark.parametrize(
    ("attestation", "given"),
    [("symmetricKey", {}), ("x509", {"primary_thumbprint": THUMBPRINT}), ("tpm", {"endorsement_key": EK})],
)
async def test_a_device_that_came_in_by_a_group_s_key_has_to_come_again_by_its_own_enrollment(
    bench: Bench, attestation: str, given: dict[str, str]
) -> None:
    session, other = bench.sessions.open("a", "G"), bench.sessions.open("b", "G")
    created = await create(bench, attestation, **given)
    assert (created["closedSessions"], session.closed) == (1, CloseReason.ENROLLMENT_CHANGED)
    assert other.closed is None


async def test_an_enrollment_that_is_not_made_closes_nothing(bench: Bench) -> None:
    await create(bench, "symmetricKey")
    session = bench.sessions.open("a")
    with pytest.raises(ConflictError):
        await create(bench, "symmetricKey")
    assert session.closed is None


async def test_a_device_may_change_to_another_mechanism(bench: Bench) -> None:
    await create(bench, "symmetricKey")
    session = bench.sessions.open("a")
    changed = await bench.call("enrollment.update", device_id="a", attestation="tpm", endorsement_key=EK)
    assert (changed["attestation"], session.closed) == ("tpm", CloseReason.ENROLLMENT_CHANGED)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"primary_thumbprint": THUMBPRINT}, "an enrollment with symmetric keys has no primary_thumbprint"),
        ({"remove_secondary": True}, "only an X.509 enrollment can be without a secondary"),
        ({"attestation": "x509"}, "needs the device's certificate"),
        ({"attestation": "tpm", "endorsement_key": EK, "remove_secondary": True}, "does not go with"),
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(
    bench: Bench, given: dict[str, Any], complaint: str
) -> None:
    await create(bench, "symmetricKey")
    before = await keys_of(bench)
    session = bench.sessions.open("a")
    with pytest.raises(OperationError, match=complaint):
        await bench.call("enrollment.update", device_id="a", **given)
    assert (await keys_of(bench), session.closed) == (before, None)


async def test_a_change_that_changes_nothing_closes_nothing(bench: Bench) -> None:
    await create(bench, "symmetricKey", primary_key=KEY)
    bench.sessions.open("a")
    changed = await bench.call("enrollment.update", device_id="a", primary_key=KEY)
    assert changed["closedSessions"] == 0
