"""An operator takes a right away while a device waits to be let in: nobody comes in by what was in force before.

A CONNECT waits for a model repository, for a commit, or for a look-up; a register request and a renewal wait too. The
session that is about to open is not among those that the operator's act closes.
"""

import asyncio
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway import mqtt
from gateway.catalog import TemplateCatalog
from gateway.dps.service import DpsService
from gateway.edge.storm import _NOT_THE_PEERS_FAULT
from gateway.exchange import HttpExchange
from gateway.identity import sas
from gateway.identity.evidence import CertificateEvidence
from gateway.refusals import Reason
from gateway.registry.registry import Registry
from gateway.secrets import SymmetricKey
from tests.support.wired import WiredGateway, hub_connect, hub_token, hub_username
from tests.unit.identity.certificates import DAY, authority, make, revocation_list

MODEL = "dtmi:com:example:Slow;1"
GROUP = "G"
TAKEN_AWAY = {
    "the group is disabled": ("group.disable", {"name": GROUP}),
    "its key is regenerated": ("group.regenerate_key", {"name": GROUP, "slot": "primary"}),
    "the group is deleted": ("group.delete", {"name": GROUP}),
    "the device gets an enrollment of its own": (
        "enrollment.create", {"device_id": "d-1", "attestation": "symmetricKey"}
    ),
}  # fmt: skip
each_act = pytest.mark.parametrize(("verb", "arguments"), TAKEN_AWAY.values(), ids=TAKEN_AWAY)


@pytest.fixture
async def key(wired: WiredGateway) -> SymmetricKey:
    return await wired.make_group(GROUP)


@pytest.fixture
async def look_up(wired: WiredGateway, monkeypatch: pytest.MonkeyPatch) -> "asyncio.Future[None]":
    """The model repository's answer, for which everybody waits who announces a model."""
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(TemplateCatalog, "discover", lambda *_, **__: answer)
    return answer


async def registered(wired: WiredGateway) -> list[str]:
    return [device["id"] for device in (await wired.call("device.list"))["devices"]]


@each_act
async def test_a_new_device_that_waits_is_refused_and_not_registered(
    wired: WiredGateway, key: SymmetricKey, look_up: Any, verb: str, arguments: dict[str, Any]
) -> None:
    peer = wired.peer()
    peer.dial(hub_connect("d-1", key, model=MODEL))
    assert not peer.channel.written
    await wired.call(verb, **arguments)
    look_up.set_result(None)
    assert await peer.answer() == mqtt.Connack(session_present=False, code=5)
    assert not wired.is_connected("d-1")
    assert await registered(wired) == []


async def test_a_new_device_whose_certificate_is_taken_back_while_it_waits_is_refused(
    wired: WiredGateway, look_up: Any
) -> None:
    now = time.time()
    ca = authority("Factory", start=now - DAY, end=now + DAY)
    leaf = make("d-1", ca, start=now - DAY, end=now + DAY).certificate
    pem = ca.certificate.public_bytes(Encoding.PEM).decode()
    await wired.call("group.create", name="X", attestation="x509")
    await wired.call("group.set_ca", name="X", slot="primary", certificate=pem, verified=True)
    peer = wired.peer()
    peer.dial(mqtt.Connect("d-1", username=hub_username("d-1", model=MODEL)), CertificateEvidence(leaf=leaf))
    crl = revocation_list(ca, leaf.serial_number, at=now).public_bytes(Encoding.PEM).decode()
    await wired.call("group.set_crl", name="X", slot="primary", crl=crl)
    look_up.set_result(None)
    assert await peer.answer() == mqtt.Connack(session_present=False, code=5)
    assert await registered(wired) == []


async def test_a_change_that_takes_nothing_away_lets_the_waiting_device_in(
    wired: WiredGateway, key: SymmetricKey, look_up: Any
) -> None:
    peer = wired.peer()
    peer.dial(hub_connect("d-1", key, model=MODEL))
    await wired.call("group.update", name=GROUP, display_name="The mills")
    look_up.set_result(None)
    assert await peer.answer() == mqtt.Connack(session_present=False, code=0)
    assert await registered(wired) == ["d-1"]


async def test_a_known_device_that_is_blocked_while_it_waits_is_refused(
    wired: WiredGateway, key: SymmetricKey, look_up: Any
) -> None:
    before = wired.peer()
    before.dial(hub_connect("d-1", key))
    assert await before.answer() == mqtt.Connack(session_present=False, code=0)
    peer = wired.peer(level=mqtt.MQTT_5_LEVEL)
    peer.dial(hub_connect("d-1", key, model=MODEL, level=mqtt.MQTT_5_LEVEL))
    await wired.call("device.block", device_id="d-1")
    assert before.channel.closed
    look_up.set_result(None)
    answer = await peer.answer()
    assert isinstance(answer, mqtt.Connack)
    assert (answer.code, answer.properties.reason_string) == (0x8A, "device blocked")


async def test_of_a_storm_of_first_connects_nobody_stays_whose_group_is_disabled_meanwhile(
    wired: WiredGateway, key: SymmetricKey
) -> None:
    for turns in range(12):
        peers = {f"d-{turns}-{number}": wired.peer() for number in range(40)}
        for device_id, peer in peers.items():
            peer.dial(hub_connect(device_id, key))
        for _ in range(turns):
            await asyncio.sleep(0)
        await wired.call("group.disable", name=GROUP)
        assert not any(wired.is_connected(device_id) for device_id in peers)
        for peer in peers.values():
            await peer.answer()
        assert not any(wired.is_connected(device_id) for device_id in peers)
        await wired.call("group.enable", name=GROUP)


async def test_what_came_behind_the_connect_of_a_device_that_is_refused_then_is_not_taken(
    wired: WiredGateway, key: SymmetricKey, look_up: Any
) -> None:
    peer = wired.peer()
    peer.dial(hub_connect("d-1", key, model=MODEL))
    peer.send(mqtt.Publish("devices/d-1/messages/events/", b"{}", 1, packet_id=1))
    await wired.call("group.disable", name=GROUP)
    look_up.set_result(None)
    await peer.answer()
    assert peer.answers == [mqtt.Connack(session_present=False, code=5)]


@each_act
async def test_a_register_request_that_waits_registers_nobody(
    wired: WiredGateway, key: SymmetricKey, look_up: Any, verb: str, arguments: dict[str, Any]
) -> None:
    peer = wired.peer()
    resource = f"{wired.settings.id_scope}/registrations/d-1"
    token = sas.sign(resource.replace("/", "%2F"), sas.derive_device_key(key, "d-1"), 4_000_000_000)
    username = f"{resource}/api-version=2019-03-31"
    peer.dial(mqtt.Connect("d-1", username=username, password=token.encode()))
    assert await peer.answer() == mqtt.Connack(session_present=False, code=0)
    peer.send(mqtt.Subscribe(packet_id=1, filters=(("$dps/registrations/res/#", 1),)))
    payload = json.dumps({"payload": {"modelId": MODEL}}).encode()
    peer.send(mqtt.Publish("$dps/registrations/PUT/iotdps-register/?$rid=1", payload, 1, packet_id=2))
    closed = (await wired.call(verb, **arguments)).get("closedSessions")
    assert closed in {1, None}
    look_up.set_result(None)
    await asyncio.sleep(0)
    await wired.core.registry.stop()  # what waits is committed
    answers = [answer.topic for answer in peer.answers if isinstance(answer, mqtt.Publish)]
    assert not [topic for topic in answers if topic.startswith("$dps/registrations/res/200")]
    assert await registered(wired) == []


@each_act
async def test_a_request_over_https_that_waits_registers_nobody_and_is_told_to_come_again(
    wired: WiredGateway, key: SymmetricKey, look_up: Any, verb: str, arguments: dict[str, Any]
) -> None:
    resource = f"{wired.settings.id_scope}/registrations/d-1"
    token = sas.sign(
        resource.replace("/", "%2F"), sas.derive_device_key(key, "d-1"), 4_000_000_000, "registration"
    )
    exchange = HttpExchange(
        method="PUT",
        target=f"/{resource}/register?api-version=2021-06-01",
        body=json.dumps({"registrationId": "d-1", "payload": {"modelId": MODEL}}).encode(),
        authorization=token,
        certificate=None,
        peer="192.0.2.1:50000",
        tls="TLSv1.3",
        connection_id=1,
    )
    service = DpsService(
        admission=wired.core.admission, tpm_keys=wired.core.tpm_keys, attempts=wired.gateway.attempts,
        settings=wired.settings, clock=time.time,
    )  # fmt: skip
    answer = service.answer(exchange, shutting_down=False)
    assert isinstance(answer, asyncio.Future)
    await wired.call(verb, **arguments)
    look_up.set_result(None)
    assert (await answer).status == 500
    assert await registered(wired) == []


async def test_a_renewal_that_waits_for_the_store_is_judged_by_the_key_that_is_in_force_then(
    wired: WiredGateway, key: SymmetricKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = wired.peer(level=mqtt.MQTT_5_LEVEL)
    peer.dial(hub_connect("d-1", key, level=mqtt.MQTT_5_LEVEL))
    await peer.answer()
    entry = wired.core.registry.peek("d-1")
    asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    secondary = (await wired.call("group.show", name=GROUP, keys=True))["secondaryKey"]
    token = hub_token("d-1", SymmetricKey.from_base64(secondary))
    words = mqtt.Properties(authentication_method="SAS", authentication_data=token)
    peer.channel.answered.clear()
    with monkeypatch.context() as full_cache:
        full_cache.setattr(Registry, "peek", lambda *_: None)
        full_cache.setattr(Registry, "fetch", lambda *_: asked)
        peer.send(mqtt.Auth(reason=0x19, properties=words))
    await wired.call("group.regenerate_key", name=GROUP, slot="secondary")
    assert not peer.channel.answered.is_set()
    asked.set_result(entry)
    await peer.channel.answered.wait()
    last = peer.answers[-1]
    assert isinstance(last, mqtt.Disconnect)
    assert last.properties.reason_string == "the credential is not accepted"
    assert not wired.is_connected("d-1")


def test_a_device_is_not_blamed_for_it() -> None:
    """Such a refusal does not hold back the device's next answer, as wrong credentials do."""
    assert Reason.ENROLLMENT_CHANGED in _NOT_THE_PEERS_FAULT
