"""What an operator is told of a device that does not get in."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.attempts import Presented, read_password
from gateway.enrollment.decide import Verified
from gateway.errors import OperationError
from gateway.identity import sas
from gateway.refusals import Reason, Refused
from gateway.registry.device import Status
from gateway.secrets import SymmetricKey
from gateway.session import Dialect
from tests.support.bench import NOW, Bench
from tests.unit.identity.certificates import DAY, Made, make

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
GROUP_KEY = SymmetricKey.from_base64(KEY)
HUB = "localhost%2Fdevices%2F{}"
DPS = "0ne00TEST%2Fregistrations%2F{}"


def signed(
    device_id: str = "mill-1",
    *,
    key: SymmetricKey | None = None,
    resource: str = HUB,
    expires_in_s: int = 3600,
) -> str:
    key = key or sas.derive_device_key(GROUP_KEY, device_id)
    return sas.sign(resource.format(device_id), key, int(NOW) + expires_in_s)


async def with_group(bench: Bench, **facts: Any) -> None:
    await bench.call("group.create", name="G", attestation="symmetricKey", primary_key=KEY, **facts)


def refuse(bench: Bench, token: str, reason: Reason, device_id: str = "mill-1") -> None:
    presented = Presented(
        device_id, f"localhost/{device_id}/?api-version=2021-04-12", read_password(token.encode()), None
    )
    bench.attempts.refused(
        device_id,
        Refused(reason),
        known=True,
        at=NOW - 5,
        peer="192.0.2.1:9",
        tls="TLSv1.3",
        presented=presented,
    )


def commands(told: dict[str, Any]) -> list[str]:
    return [remedy["command"] for remedy in told["verdict"]["remedies"]]


def pem(made: Made) -> str:
    return made.certificate.public_bytes(Encoding.PEM).decode()


def certificate(name: str = "mill-1", issuer: Made | None = None, **flaws: Any) -> Made:
    return make(name, issuer, **{"start": NOW - DAY, "end": NOW + DAY, **flaws})


def ca(name: str = "Factory") -> Made:
    return make(name, ca=True, start=NOW - DAY, end=NOW + 9 * DAY)


async def test_an_id_that_never_tried_and_that_nobody_knows(bench: Bench) -> None:
    told = await bench.call("device.why", device_id="mill-1")
    assert (told["device"], told["attempts"], told["verdict"]) == (None, [], None)


async def test_the_key_of_another_device_is_named_and_the_command_for_its_own_is_given(bench: Bench) -> None:
    await with_group(bench)
    token = signed("mill-1", key=sas.derive_device_key(GROUP_KEY, "mill-2"))
    refuse(bench, token.replace("mill-1", "mill-1"), Reason.TOKEN_SIGNATURE_INVALID)
    told = await bench.call("device.why", device_id="mill-1")
    verdict = told["verdict"]
    assert (verdict["of"], verdict["outcome"], verdict["reason"]) == (
        "attempt", "refused", "token_signature_invalid",
    )  # fmt: skip
    assert commands(told) == ["gateway device compute-key mill-1 --group G"]
    assert verdict["evidence"]["token"]["names"] == "mill-1"
    assert told["attempts"][0]["connack"] == 5
    assert told["attempts"][0]["givesUp"] is True


async def test_what_has_been_mended_since_is_said(bench: Bench) -> None:
    await with_group(bench)
    await bench.call("group.disable", name="G")
    refuse(bench, signed(), Reason.ENROLLMENT_GROUP_DISABLED)
    told = await bench.call("device.why", device_id="mill-1")
    assert commands(told) == ["gateway group enable G"]
    await bench.call("group.enable", name="G")
    verdict = (await bench.call("device.why", device_id="mill-1"))["verdict"]
    assert (verdict["outcome"], verdict["enrollmentGroup"], verdict["keySlot"]) == (
        "accepted",
        "G",
        "primary",
    )
    assert verdict["registers"] is True
    assert verdict["remedies"] == []


MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "the group's own key": (
        {"key": GROUP_KEY},
        "the primary key of group G itself, not the device's own",
        "put its own key of group G on the device",
    ),
    "another gateway's key": (
        {"key": SymmetricKey(b"another gateway's key")},
        "a key that is not of the group of this gateway",
        "put its own key of group G on the device",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_wrong_key_is_explained(bench: Bench, name: str) -> None:
    facts, words, remedy = MISTAKES[name]
    await with_group(bench)
    told = await bench.call("device.why", device_id="mill-1", token=signed(**facts))
    assert told["verdict"]["evidence"]["token"]["signedWith"] == words
    assert told["verdict"]["remedies"][0] == {
        "do": remedy, "command": "gateway device compute-key mill-1 --group G",
    }  # fmt: skip


async def test_an_individual_enrollment_that_wins_over_the_right_group_key_is_said(bench: Bench) -> None:
    await with_group(bench)
    await bench.call("enrollment.create", device_id="mill-1", attestation="symmetricKey")
    told = await bench.call("device.why", device_id="mill-1", token=signed())
    assert told["individualEnrollment"] == {"attestation": "symmetricKey", "enabled": True}
    assert commands(told) == ["gateway enrollment delete mill-1", "gateway enrollment show mill-1 --keys"]


async def test_a_late_clock_is_measured(bench: Bench) -> None:
    await with_group(bench)
    told = await bench.call("device.why", device_id="mill-1", token=signed(expires_in_s=-300))
    assert told["verdict"]["reason"] == "token_expired"
    first, second = told["verdict"]["remedies"]
    assert "its clock is late by 5 min or more" in first["do"]
    assert "provisioning.token_leeway_s to 360" in second["do"]


async def test_a_dry_run_of_a_token_is_for_dps_or_the_hub_as_the_token_says(bench: Bench) -> None:
    await with_group(bench)
    for resource, dialect in ((HUB, "hub"), (DPS, "dps")):
        told = await bench.call("device.why", device_id="mill-1", token=signed(resource=resource))
        assert (told["verdict"]["outcome"], told["verdict"]["dialect"]) == ("accepted", dialect)


async def test_a_dry_run_registers_nobody_and_is_no_attempt(bench: Bench) -> None:
    await with_group(bench)
    assert (await bench.call("device.why", device_id="mill-1", token=signed()))["verdict"]["of"] == "given"
    assert (await bench.call("device.list"))["devices"] == []
    assert bench.attempts.of("mill-1") == []
    assert (await bench.call("audit.list"))["records"][0]["verb"] == "group.create"


async def test_approval_is_foreseen_and_asked_for(bench: Bench) -> None:
    await with_group(bench, auto_approve=False)
    told = await bench.call("device.why", device_id="mill-1", token=signed())
    assert (told["verdict"]["reason"], commands(told)) == (
        "approval_pending",
        ["gateway device register mill-1"],
    )
    await bench.device("mill-1", status=Status.WAITING, enrollment_group="G")
    told = await bench.call("device.why", device_id="mill-1", token=signed())
    assert commands(told) == ["gateway device approve mill-1"]


async def test_a_blocked_device_is_told_without_any_attempt(bench: Bench) -> None:
    await bench.device("mill-1", status=Status.BLOCKED)
    told = await bench.call("device.why", device_id="mill-1")
    assert (told["verdict"]["of"], told["verdict"]["reason"]) == ("status", "device_blocked")
    assert commands(told) == ["gateway device unblock mill-1"]


async def test_an_accepted_attempt_is_shown_with_what_let_it_in(bench: Bench) -> None:
    verified = Verified("symmetricKey", "G", sas.KeySlot.SECONDARY, True, NOW + 60)
    bench.attempts.accepted(("mill-1", NOW - 1, "192.0.2.1:9", "TLSv1.3", Dialect.HUB, verified))
    told = await bench.call("device.why", device_id="mill-1")
    assert told["attempts"] == [
        {
            "at": "2027-01-15T07:59:59.000Z", "peer": "192.0.2.1:9", "outcome": "accepted", "tls": "TLSv1.3",
            "dialect": "hub", "mechanism": "symmetricKey", "enrollmentGroup": "G", "keySlot": "secondary",
        }
    ]  # fmt: skip
    assert told["verdict"] is None


async def test_a_certificate_whose_ca_is_trusted_would_get_in(bench: Bench) -> None:
    factory = ca()
    await bench.call("group.create", name="F", attestation="x509", primary_certificate=pem(factory))
    told = await bench.call("device.why", device_id="mill-1", certificate=pem(certificate(issuer=factory)))
    assert (told["verdict"]["outcome"], told["verdict"]["enrollmentGroup"]) == ("accepted", "F")
    shown = told["verdict"]["evidence"]["certificate"]
    assert (shown["subject"], shown["issuer"], shown["vouchedBy"]) == (
        "CN=mill-1", "CN=Factory", {"group": "F", "keySlot": "primary"},
    )  # fmt: skip
    assert len(shown["sha256Thumbprint"]) == 64


async def test_a_ca_that_was_made_anew_is_suspected(bench: Bench) -> None:
    await bench.call("group.create", name="F", attestation="x509", primary_certificate=pem(ca()))
    told = await bench.call("device.why", device_id="mill-1", certificate=pem(certificate(issuer=ca())))
    assert told["verdict"]["reason"] == "certificate_untrusted"
    assert "was the CA made anew?" in told["verdict"]["remedies"][0]["do"]
    assert commands(told)[1] == "gateway group create NAME --primary-ca CA.pem"


async def test_a_ca_that_is_not_verified_yet_has_to_be(bench: Bench) -> None:
    factory = ca()
    await bench.call(
        "group.create", name="F", attestation="x509", primary_certificate=pem(factory), verified=False
    )
    told = await bench.call("device.why", device_id="mill-1", certificate=pem(certificate(issuer=factory)))
    assert commands(told) == ["gateway group ca verify F primary PROOF.crt"]


async def test_a_self_signed_certificate_can_only_be_enrolled(bench: Bench) -> None:
    await bench.call("group.create", name="F", attestation="x509", primary_certificate=pem(ca()))
    made = certificate()
    told = await bench.call("device.why", device_id="mill-1", certificate=pem(made))
    thumbprint = told["verdict"]["evidence"]["certificate"]["sha256Thumbprint"]
    assert commands(told) == [f"gateway enrollment create mill-1 --thumbprint {thumbprint}"]
    await bench.call(
        "enrollment.create", device_id="mill-1", attestation="x509", primary_thumbprint=thumbprint
    )
    told = await bench.call("device.why", device_id="mill-1", certificate=pem(made))
    assert told["verdict"]["outcome"] == "accepted"


async def test_a_chain_may_be_given_with_the_certificate(bench: Bench) -> None:
    factory = ca()
    line = make("Line 7", factory, ca=True, start=NOW - DAY, end=NOW + DAY)
    await bench.call("group.create", name="F", attestation="x509", primary_certificate=pem(factory))
    leaf = pem(certificate(issuer=line))
    alone = await bench.call("device.why", device_id="mill-1", certificate=leaf)
    assert alone["verdict"]["reason"] == "certificate_untrusted"
    chained = await bench.call("device.why", device_id="mill-1", certificate=leaf, chain=pem(line))
    assert chained["verdict"]["outcome"] == "accepted"
    assert chained["verdict"]["evidence"]["certificate"]["chain"][0]["subject"] == "CN=Line 7"


async def test_a_certificate_where_a_token_is_wanted_is_said(bench: Bench) -> None:
    await bench.call("enrollment.create", device_id="mill-1", attestation="symmetricKey")
    told = await bench.call("device.why", device_id="mill-1", certificate=pem(certificate()))
    assert told["verdict"]["reason"] == "attestation_mismatch"
    assert (
        told["verdict"]["remedies"][0]["do"]
        == "let the device show a SAS token, as its individual enrollment wants it"
    )


@pytest.mark.parametrize("reason", Reason)
async def test_every_refusal_has_a_next_step_even_if_what_was_shown_was_not_kept(
    bench: Bench, reason: Reason
) -> None:
    bench.attempts.refused("mill-1", Refused(reason), known=True, at=NOW, peer="p", tls=None, presented=None)
    told = await bench.call("device.why", device_id="mill-1")
    assert told["verdict"]["reason"] == reason
    assert told["verdict"]["remedies"][0]["do"]


async def test_the_answer_has_neither_key_nor_signature(bench: Bench) -> None:
    await with_group(bench)
    token = signed()
    refuse(bench, token, Reason.TOKEN_SIGNATURE_INVALID)
    text = json.dumps(
        [
            await bench.call("device.why", device_id="mill-1"),
            await bench.call("device.why", device_id="mill-1", token=token),
        ]
    )
    assert KEY not in text
    assert token.partition("sig=")[2].partition("&")[0] not in text
    assert "sig=" not in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"token": "t", "certificate": "c"}, "give a token or a certificate, not both"),
        ({"username": "u"}, "give a token or a certificate to judge"),
        ({"certificate": "nonsense"}, "certificate: not a certificate in PEM form"),
        ({"certificate": "", "chain": ""}, "certificate: not a certificate in PEM form"),
    ],
)
async def test_what_cannot_be_judged_is_one_line(bench: Bench, given: dict[str, str], message: str) -> None:
    with pytest.raises(OperationError) as caught:
        await bench.call("device.why", device_id="mill-1", **given)
    assert caught.value.message == message


async def test_a_given_password_that_is_no_token_is_judged_as_one(bench: Bench) -> None:
    told = await bench.call("device.why", device_id="mill-1", token="hunter2")
    assert told["verdict"]["reason"] == "token_malformed"
    assert "hunter2" not in json.dumps(told)
