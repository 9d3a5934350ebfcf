"""Operators' verbs on a real store in a directory of the test's own, with a double for the live sessions."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import pki
from gateway.errors import ConflictError, GatewayError, NotFoundError, OperationError, TemplateError
from gateway.operations import VERBS, NullSessions
from gateway.registry.device import Status
from gateway.registry.store import Batch, DeviceEntry
from gateway.session import CloseReason
from tests.support.bench import NOW, ROOT, Bench, open_bench

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
THERMOSTAT = {
    "@context": "dtmi:dtdl:context;2",
    "@id": "dtmi:com:example:Thermostat;1",
    "@type": "Interface",
    "displayName": "Thermostat",
    "contents": [
        {"@type": "Telemetry", "name": "temperature", "schema": "double"},
        {"@type": "Property", "name": "target", "schema": "double", "writable": True},
        {"@type": "Command", "name": "reset"},
    ],
}
CONTROLLER = {
    "@context": "dtmi:dtdl:context;2",
    "@id": "dtmi:com:example:Controller;1",
    "@type": "Interface",
    "contents": [{"@type": "Component", "name": "left", "schema": "dtmi:com:example:Thermostat;1"}],
}


@pytest.fixture
def more_settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def bench(tmp_path: Path, more_settings: dict[str, Any]) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, **more_settings) as opened:
        yield opened


# The table of verbs


def test_every_verb_has_a_summary_and_a_closed_argument_model() -> None:
    for name, verb in VERBS.items():
        assert verb.summary, name
        assert verb.arguments.model_config["extra"] == "forbid", name
        assert verb.arguments.model_json_schema()["type"] == "object", name


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("device.show", {}, "device_id is missing"),
        ("device.show", {"device_id": 7}, "device_id: should be a valid string"),
        ("device.show", {"device_id": "x" * 129}, "device_id: String should have at most 128 characters"),
        ("device.show", {"device_id": "x", "colour": "red"}, "colour is not an argument of this verb"),
        ("device.list", {"limit": 0}, "limit: should be greater than or equal to 1"),
        ("device.list", {"limit": True}, "limit: should be a valid integer"),
        (
            "device.list",
            {"status": "odd"},
            "status: should be 'waiting', 'registered', 'provisioned' or 'blocked'",
        ),
        (
            "group.create",
            {"name": "G", "attestation": "tpm"},
            "attestation: should be 'symmetricKey' or 'x509'",
        ),
    ],
)
async def test_a_wrong_argument_is_one_line(
    bench: Bench, verb: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(OperationError) as caught:
        await bench.operations.call(verb, arguments, by=ROOT)
    assert caught.value.message == message


async def test_an_unknown_verb_is_told_the_nearest_one(bench: Bench) -> None:
    with pytest.raises(NotFoundError) as caught:
        await bench.operations.call("device.shwo", {}, by=ROOT)
    assert caught.value.hint == "did you mean device.show?"


async def test_a_wrong_key_is_refused_without_being_repeated(bench: Bench) -> None:
    with pytest.raises(OperationError) as caught:
        await bench.call("group.create", name="G", attestation="symmetricKey", primary_key="not-a-key!")
    assert caught.value.message == "primary_key: a symmetric key is standard base64"
    with pytest.raises(OperationError) as caught:
        await bench.call("group.create", name="G", attestation="symmetricKey", primary_key="S" * 300)
    assert "SSS" not in caught.value.message


# Enrollment groups


async def test_a_created_group_is_in_force_and_its_keys_are_shown_on_request(bench: Bench) -> None:
    created = await bench.call("group.create", name="G", attestation="symmetricKey", auto_approve=False)
    assert created == {
        "id": "G", "displayName": "G", "attestation": "symmetricKey", "enabled": True, "autoApprove": False,
        "createdAt": "2027-01-15T08:00:00.000Z", "updatedAt": "2027-01-15T08:00:00.000Z", "etag": created["etag"],
    }  # fmt: skip
    assert bench.groups.book.get("G") is not None
    assert await bench.call("group.show", name="G") == created
    shown = await bench.call("group.show", name="G", keys=True)
    assert shown.keys() - created.keys() == {"primaryKey", "secondaryKey"}
    assert await bench.call("group.list") == {"groups": [created]}


async def test_given_keys_are_kept(bench: Bench) -> None:
    await bench.call(
        "group.create", name="G", attestation="symmetricKey", primary_key=KEY, secondary_key=KEY[:44]
    )
    shown = await bench.call("group.show", name="G", keys=True)
    assert (shown["primaryKey"], shown["secondaryKey"]) == (KEY, KEY[:44])


async def test_two_operators_can_not_create_one_group_twice(bench: Bench) -> None:
    creating = [bench.call("group.create", name="G", attestation="symmetricKey") for _ in range(2)]
    outcomes = await asyncio.gather(*creating, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [dict, ConflictError]


@pytest.mark.parametrize("name", ["a b", "ä", "a/b", "a_b"])
async def test_a_group_name_is_letters_digits_and_hyphens(bench: Bench, name: str) -> None:
    with pytest.raises(OperationError, match="can't name a group"):
        await bench.call("group.create", name=name, attestation="symmetricKey")


@pytest.mark.parametrize(("verb", "enabled"), [("group.disable", False), ("group.delete", None)])
async def test_taking_a_groups_right_away_closes_its_sessions_only(
    bench: Bench, verb: str, enabled: bool | None
) -> None:
    for name in ("G", "H"):
        await bench.call("group.create", name=name, attestation="symmetricKey")
    ours, theirs = bench.sessions.open("a", "G"), bench.sessions.open("b", "H")
    assert (await bench.call(verb, name="G"))["closedSessions"] == 1
    assert (ours.closed, theirs.closed) == (CloseReason.ENROLLMENT_CHANGED, None)
    group = bench.groups.book.get("G")
    assert (None if group is None else group.enabled) is enabled


async def test_enabling_a_group_closes_nothing(bench: Bench) -> None:
    await bench.call("group.create", name="G", attestation="symmetricKey")
    await bench.call("group.disable", name="G")
    session = bench.sessions.open("a", "G")
    assert (await bench.call("group.enable", name="G"))["enabled"] is True
    assert session.closed is None


@pytest.mark.parametrize("verb", ["group.show", "group.enable", "group.disable", "group.delete"])
async def test_an_unknown_group_is_not_found(bench: Bench, verb: str) -> None:
    with pytest.raises(NotFoundError, match="there is no enrollment group G"):
        await bench.call(verb, name="G")


async def test_a_change_of_a_group_is_logged_without_its_keys(bench: Bench) -> None:
    with capture_logs() as lines:
        await bench.call("group.create", name="G", attestation="symmetricKey", primary_key=KEY)
    assert {
        "event": "group.changed",
        "group": "G",
        "change": "created",
        "mechanism": "symmetricKey",
    }.items() <= lines[0].items()
    assert KEY not in str(lines)


async def test_an_x509_group_shows_which_ca_it_trusts(bench: Bench) -> None:
    ca = pki.create_ca("Factory", now=NOW, days=10)
    created = await bench.call(
        "group.create", name="X", attestation="x509", primary_certificate=ca.certificate_pem.decode()
    )
    assert created["primaryCertificate"]["subject"] == "Factory"
    assert len(created["primaryCertificate"]["sha1Thumbprint"]) == 40
    assert created["secondaryCertificate"] is None
    assert bench.groups.book.has_anchors


async def test_an_x509_group_takes_a_living_ca_that_no_other_group_has(bench: Bench) -> None:
    ca = pki.create_ca("Factory", now=NOW, days=10)
    pem = ca.certificate_pem.decode()
    leaf = pki.issue_device(ca, "mill-1", now=NOW, days=1).certificate_pem.decode()
    old = pki.create_ca("Old", now=NOW - 20 * 86400, days=10).certificate_pem.decode()
    await bench.call("group.create", name="X", attestation="x509", primary_certificate=pem)
    for arguments, error, message in (
        ({"primary_certificate": "junk"}, OperationError, "not a certificate in PEM form"),
        ({"primary_certificate": leaf}, OperationError, "not a CA's certificate"),
        ({"primary_certificate": old}, OperationError, "primary_certificate: expired on 20"),
        ({"primary_certificate": pem}, ConflictError, "the enrollment group X has this CA already"),
        ({"primary_certificate": pem, "primary_key": KEY}, OperationError, "has no symmetric keys"),
    ):
        with pytest.raises(error, match=message):
            await bench.call("group.create", name="Y", attestation="x509", **arguments)


# Individual enrollments


async def test_an_individual_enrollment_by_keys(bench: Bench) -> None:
    created = await bench.call(
        "enrollment.create", device_id="a", attestation="symmetricKey", primary_key=KEY
    )
    assert (created["id"], created["attestation"], created["enabled"]) == ("a", "symmetricKey", True)
    assert (await bench.call("enrollment.show", device_id="a", keys=True))["primaryKey"] == KEY
    assert "primaryKey" not in await bench.call("enrollment.show", device_id="a")
    with pytest.raises(ConflictError, match="a has an individual enrollment already"):
        await bench.call("enrollment.create", device_id="a", attestation="symmetricKey")


async def test_an_individual_enrollment_by_certificate_or_by_thumbprint(bench: Bench) -> None:
    leaf = pki.self_signed_device("a", now=NOW)
    created = await bench.call(
        "enrollment.create", device_id="a", attestation="x509", primary_certificate=leaf.certificate_pem.decode(),
        secondary_thumbprint=":".join(["ab"] * 20),
    )  # fmt: skip
    assert len(created["primaryThumbprint"]) == 64
    assert created["secondaryThumbprint"] == "AB" * 20


async def test_a_certificate_that_would_be_refused_can_not_be_enrolled(bench: Bench) -> None:
    other = pki.self_signed_device("b", now=NOW).certificate_pem.decode()
    for arguments, message in (
        ({"primary_certificate": other}, r"primary_certificate: certificate_name_mismatch \(CN='b'\)"),
        ({"primary_certificate": other, "primary_thumbprint": "A" * 40}, "not both"),
        ({"primary_thumbprint": "G" * 40}, "not a SHA-1 or SHA-256 thumbprint"),
        ({"primary_thumbprint": "A" * 41}, "not a SHA-1 or SHA-256 thumbprint"),
        ({}, "needs the device's certificate"),
        ({"primary_thumbprint": "A" * 40, "primary_key": KEY}, "an X.509 enrollment has no primary_key"),
    ):
        with pytest.raises(OperationError, match=message):
            await bench.call("enrollment.create", device_id="a", attestation="x509", **arguments)


@pytest.mark.parametrize("verb", ["enrollment.disable", "enrollment.delete"])
async def test_taking_an_enrollment_away_closes_the_devices_session(bench: Bench, verb: str) -> None:
    await bench.call("enrollment.create", device_id="a", attestation="symmetricKey")
    session = bench.sessions.open("a")
    assert (await bench.call(verb, device_id="a"))["closedSessions"] == 1
    assert session.closed is CloseReason.ENROLLMENT_CHANGED
    entry = await bench.registry.fetch("a")
    assert entry.individual is None or not entry.individual.enabled


async def test_enrollments_are_listed_by_the_page(bench: Bench) -> None:
    for device_id in ("c", "a", "b"):
        await bench.call("enrollment.create", device_id=device_id, attestation="symmetricKey")
    first = await bench.call("enrollment.list", limit=2)
    assert ([entry["id"] for entry in first["enrollments"]], first["next"]) == (["a", "b"], "b")
    rest = await bench.call("enrollment.list", limit=2, after="b")
    assert ([entry["id"] for entry in rest["enrollments"]], rest["next"]) == (["c"], None)


@pytest.mark.parametrize(
    "verb",
    [
        "enrollment.show",
        "enrollment.update",
        "enrollment.regenerate_key",
        "enrollment.enable",
        "enrollment.disable",
        "enrollment.delete",
    ],
)
async def test_an_unknown_enrollment_is_not_found(bench: Bench, verb: str) -> None:
    with pytest.raises(NotFoundError, match="there is no individual enrollment of a"):
        await bench.call(verb, device_id="a")


# Devices


async def test_a_device_registered_in_advance_needs_no_approval(bench: Bench) -> None:
    assert await bench.call("device.register", device_id="a", name="The mill") == {
        "id": "a", "name": "The mill", "status": "registered", "template": None, "tags": [], "modelId": None,
        "enrollmentGroup": None, "provisioned": False, "enabled": True, "connected": False,
        "createdAt": "2027-01-15T08:00:00.000Z", "updatedAt": "2027-01-15T08:00:00.000Z", "assignedAt": None,
        "etag": (await bench.call("device.show", device_id="a"))["etag"],
    }  # fmt: skip
    with pytest.raises(ConflictError, match="the device a exists already"):
        await bench.call("device.register", device_id="a")


async def test_two_operators_register_one_device_once(bench: Bench) -> None:
    registering = [bench.call("device.register", device_id="a") for _ in range(2)]
    outcomes = await asyncio.gather(*registering, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConflictError", "dict"]


@pytest.mark.parametrize("device_id", ["a/b", "a b", "a.b", "ä"])
async def test_what_no_device_may_be_called_is_refused(bench: Bench, device_id: str) -> None:
    for verb, arguments in (
        ("device.register", {}),
        ("device.compute_key", {}),
        ("enrollment.create", {"attestation": "symmetricKey"}),
    ):
        with pytest.raises(OperationError, match="is not a device id"):
            await bench.call(verb, device_id=device_id, **arguments)


@pytest.mark.parametrize("more_settings", [{"provisioning": {"extended_device_ids": True}}])
async def test_the_setting_for_longer_ids_holds_for_operators_too(bench: Bench) -> None:
    assert (await bench.call("device.register", device_id="a.b"))["id"] == "a.b"


async def test_a_waiting_device_is_approved(bench: Bench) -> None:
    await bench.device("a", status=Status.WAITING)
    assert (await bench.call("device.show", device_id="a"))["enabled"] is False
    assert (await bench.call("device.approve", device_id="a"))["status"] == "registered"
    with pytest.raises(ConflictError, match="a is registered: it can't be approved"):
        await bench.call("device.approve", device_id="a")


@pytest.mark.parametrize("verb", ["block", "delete"])
async def test_a_change_is_answered_when_it_is_durable_and_not_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    await bench.device("mill-1")
    commit, asked, may_commit = bench.store.commit, asyncio.Event(), asyncio.Event()

    async def held(batch: Batch) -> None:
        asked.set()
        await may_commit.wait()
        await commit(batch)

    monkeypatch.setattr(bench.store, "commit", held)
    answered = asyncio.create_task(bench.call(f"device.{verb}", device_id="mill-1"))
    await asked.wait()
    await turns()
    assert not answered.done()
    device = bench.registry.peek("mill-1")
    assert device is not None
    assert device.device is not None
    assert device.device.status is Status.PROVISIONED  # what is not durable is not in force either
    may_commit.set()
    await answered
    stored = (await bench.store.load_entries(["mill-1"]))["mill-1"]
    assert isinstance(stored, DeviceEntry)
    assert (stored.device.status if stored.device else None) == (Status.BLOCKED if verb == "block" else None)


async def turns() -> None:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_blocking_closes_the_session_after_the_block_is_durable(bench: Bench) -> None:
    await bench.device("a")
    session = bench.sessions.open("a")
    blocked = await bench.call("device.block", device_id="a")
    assert (blocked["status"], blocked["enabled"], blocked["provisioned"]) == ("blocked", False, True)
    assert blocked["closedSessions"] == 1
    assert session.closed is CloseReason.DEVICE_BLOCKED
    assert (await bench.call("device.unblock", device_id="a"))["status"] == "provisioned"


async def test_deleting_forgets_the_device_and_closes_its_session(bench: Bench) -> None:
    await bench.device("a")
    session = bench.sessions.open("a")
    assert await bench.call("device.delete", device_id="a") == {"id": "a", "closedSessions": 1}
    assert session.closed is CloseReason.DEVICE_DELETED
    with pytest.raises(NotFoundError):
        await bench.call("device.show", device_id="a")


@pytest.mark.parametrize(
    "verb", ["device.show", "device.approve", "device.block", "device.unblock", "device.delete"]
)
async def test_an_unknown_device_is_not_found(bench: Bench, verb: str) -> None:
    with pytest.raises(NotFoundError, match="there is no device a"):
        await bench.call(verb, device_id="a")


async def test_devices_are_listed_by_filter_and_page(bench: Bench) -> None:
    await bench.device("a", enrollment_group="G", model_id="dtmi:x;1")
    await bench.device("b", status=Status.WAITING, template_id="dtmi:y;1")
    await bench.device("c", enrollment_group="G")

    async def ids(**filters: Any) -> list[str]:
        return [device["id"] for device in (await bench.call("device.list", **filters))["devices"]]

    assert await ids() == ["a", "b", "c"]
    assert await ids(group="G") == ["a", "c"]
    assert await ids(status="waiting") == ["b"]
    assert await ids(model_id="dtmi:x;1") == ["a"]
    assert await ids(template_id="dtmi:y;1") == ["b"]
    assert await ids(unassociated=True) == ["a", "c"]
    assert (await bench.call("device.list", limit=2))["next"] == "b"
    assert await ids(limit=2, after="b") == ["c"]


async def test_a_connected_device_is_shown_as_such(bench: Bench) -> None:
    await bench.device("a")
    bench.sessions.open("a")
    assert (await bench.call("device.show", device_id="a"))["connected"] is True


async def test_a_device_key_is_the_documented_one(bench: Bench) -> None:
    await bench.call("group.create", name="A", attestation="symmetricKey")
    await bench.call("group.create", name="SAS-IoT-Devices", attestation="symmetricKey", primary_key=KEY)
    computed = await bench.call("device.compute_key", device_id="thermostat-001")
    assert computed["enrollmentGroup"] == "SAS-IoT-Devices"
    assert computed["primaryKey"] == "aQpAiAZrJbAmQOJePbtIhddrHcjLagLwGpnPkZyejRY="
    assert (await bench.call("device.compute_key", device_id="x", group="A"))["enrollmentGroup"] == "A"


async def test_a_device_key_needs_a_group_with_keys(bench: Bench) -> None:
    with pytest.raises(NotFoundError, match="no enrollment group has symmetric keys"):
        await bench.call("device.compute_key", device_id="a")
    ca = pki.create_ca("Factory", now=NOW, days=10).certificate_pem.decode()
    await bench.call("group.create", name="X", attestation="x509", primary_certificate=ca)
    with pytest.raises(OperationError, match="has certificates, not keys"):
        await bench.call("device.compute_key", device_id="a", group="X")
    with pytest.raises(NotFoundError, match="there is no enrollment group Y"):
        await bench.call("device.compute_key", device_id="a", group="Y")


# Device templates


async def test_an_imported_template_is_published_and_shown(bench: Bench) -> None:
    imported = await bench.call("template.import", content=json.dumps(THERMOSTAT))
    assert imported == {
        "id": "dtmi:com:example:Thermostat;1", "displayName": "Thermostat", "source": "published",
        "associatedDevices": 0,
    }  # fmt: skip
    shown = await bench.call("template.show", template_id=imported["id"])
    assert (shown["telemetry"], shown["properties"], shown["commands"]) == (
        ["temperature"],
        ["target"],
        ["reset"],
    )
    assert [template["id"] for template in (await bench.call("template.list"))["templates"]] == [
        imported["id"]
    ]
    assert (await bench.call("template.export", template_id=imported["id"]))["document"] == [THERMOSTAT]


async def test_publishing_associates_the_devices_that_announced_the_model(bench: Bench) -> None:
    model = THERMOSTAT["@id"]
    await bench.device("mine", model_id=model, model_announced_by="dps")
    await bench.device("other", model_id="dtmi:com:example:Other;1")
    await bench.device("assigned", model_id=model, template_id="dtmi:z;1", template_assigned_by="operator")
    assert (await bench.call("template.import", content=json.dumps(THERMOSTAT)))["associatedDevices"] == 1
    templates = {
        device["id"]: device["template"] for device in (await bench.call("device.list"))["devices"]
    }  # fmt: skip
    assert templates == {"mine": model, "other": None, "assigned": "dtmi:z;1"}


async def test_more_devices_than_a_page_are_associated(bench: Bench) -> None:
    await asyncio.gather(*(bench.device(f"d-{n:04}", model_id=THERMOSTAT["@id"]) for n in range(1203)))
    assert (await bench.call("template.import", content=json.dumps(THERMOSTAT)))["associatedDevices"] == 1203
    assert (await bench.call("device.list", unassociated=True))["devices"] == []


async def test_the_model_is_the_interface_that_no_other_one_needs(bench: Bench) -> None:
    imported = await bench.call("template.import", content=json.dumps([THERMOSTAT, CONTROLLER]))
    assert imported["id"] == CONTROLLER["@id"]
    shown = await bench.call("template.show", template_id=imported["id"])
    assert shown["components"]["left"]["telemetry"] == ["temperature"]


async def test_what_a_model_depends_on_may_be_published_already(bench: Bench) -> None:
    with pytest.raises(TemplateError, match="needs dtmi:com:example:Thermostat;1"):
        await bench.call("template.import", content=json.dumps(CONTROLLER))
    await bench.call("template.import", content=json.dumps(THERMOSTAT))
    imported = await bench.call("template.import", content=json.dumps(CONTROLLER))
    exported = await bench.call("template.export", template_id=imported["id"])
    assert exported["document"] == [CONTROLLER, THERMOSTAT]


async def test_two_models_in_one_text_need_a_choice(bench: Bench) -> None:
    other = THERMOSTAT | {"@id": "dtmi:com:example:Other;1"}
    content = json.dumps([THERMOSTAT, other])
    with pytest.raises(TemplateError, match="2 interfaces could be the model") as caught:
        await bench.call("template.import", content=content)
    assert caught.value.hint == "name it with --root"
    assert (await bench.call("template.import", content=content, root=other["@id"]))["id"] == other["@id"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "7", "{}", '{"@id": 1}', '\ufeff{"@type":"Interface"}', "[[]]"]
)
async def test_a_malformed_model_is_one_line_and_publishes_nothing(bench: Bench, content: str) -> None:
    with pytest.raises(TemplateError) as caught:
        await bench.call("template.import", content=content)
    assert "\n" not in caught.value.message
    assert (await bench.call("template.list"))["templates"] == []


async def test_an_operators_assignment_needs_a_published_template(bench: Bench) -> None:
    await bench.device("a")
    with pytest.raises(NotFoundError, match="there is no device template"):
        await bench.call("device.assign", device_id="a", template_id=THERMOSTAT["@id"])
    with pytest.raises(NotFoundError, match="there is no device template"):
        await bench.call("device.register", device_id="b", template_id=THERMOSTAT["@id"])
    await bench.call("template.import", content=json.dumps(THERMOSTAT))
    assigned = await bench.call("device.assign", device_id="a", template_id=THERMOSTAT["@id"])
    assert assigned["template"] == THERMOSTAT["@id"]
    device = (await bench.registry.fetch("a")).device
    assert device is not None
    assert device.template_assigned_by == "operator"


# Status


async def test_status_counts_what_there_is(bench: Bench) -> None:
    await bench.device("a")
    await bench.device("b", status=Status.WAITING)
    bench.sessions.open("a")
    status = await bench.call("status")
    assert status["devices"] == {"waiting": 1, "registered": 0, "provisioned": 1, "blocked": 0}
    assert (status["running"], status["sessions"], status["idScope"]) == (True, 1, "0ne00TEST")
    assert (status["groups"], status["templates"]) == (0, 0)


def test_without_a_gateway_nobody_is_connected() -> None:
    nobody = NullSessions()
    assert nobody.count == 0
    assert not nobody.is_connected("a")
    assert nobody.close_device("a", CloseReason.DEVICE_BLOCKED) == 0
    assert nobody.close_where(lambda _: True, CloseReason.ENROLLMENT_CHANGED) == 0


def test_every_verb_fails_with_a_gateway_error() -> None:
    """The control socket relies on it."""
    for error in (NotFoundError, ConflictError, OperationError, TemplateError):
        assert issubclass(error, GatewayError)
