"""Logins that prove nothing, or something else: they change nothing of what a device has, live or away.

The gateway is whole but for its sockets (`tests.support.wired`).
"""

import dataclasses
import time
from collections.abc import Callable

import pytest

from gateway import mqtt
from gateway.identity import sas
from gateway.secrets import SymmetricKey
from tests.support.wired import Peer, WiredGateway, hub_connect, hub_token, hub_username

FILTER = "$iothub/twin/res/#"
WILL = mqtt.Will(
    topic="devices/d-1/messages/events/",
    payload=b'{"gone": true}',
    properties=mqtt.Properties(will_delay_interval=600),
)
MISSING = SymmetricKey(bytes(range(64)))


@pytest.fixture
async def key(wired: WiredGateway) -> SymmetricKey:
    return await wired.make_group("G")


async def let_in(wired: WiredGateway, connect: mqtt.Connect) -> Peer:
    peer = wired.peer(level=connect.protocol_level)
    peer.dial(connect)
    await peer.answer()
    assert peer.is_accepted
    return peer


async def refused(wired: WiredGateway, connect: mqtt.Connect) -> Peer:
    peer = wired.peer(level=connect.protocol_level)
    peer.dial(connect)
    await peer.answer()
    assert not peer.is_accepted
    assert peer.channel.closed
    peer.connection.connection_lost(None)
    return peer


def with_token(token: bytes, *, client_id: str = "d-1", device_id: str = "d-1") -> mqtt.Connect:
    return mqtt.Connect(client_id, username=hub_username(device_id), password=token)


BAD_LOGINS: dict[str, Callable[[SymmetricKey], mqtt.Connect]] = {
    "a foreign key": lambda _: hub_connect("d-1", MISSING),
    "a foreign key over MQTT 5": lambda _: hub_connect("d-1", MISSING, level=mqtt.MQTT_5_LEVEL),
    "the device's own token, expired": lambda key: with_token(
        hub_token("d-1", key, now=time.time() - 200_000)
    ),
    "another device's good token": lambda key: with_token(hub_token("d-2", key)),
    "another device's good login, but for the client id": lambda key: with_token(
        hub_token("d-2", key), device_id="d-2"
    ),
    "its own good token under another name": lambda key: with_token(hub_token("d-1", key), device_id="d-2"),
    "no credential": lambda _: mqtt.Connect("d-1", username=hub_username("d-1")),
    "a will, and a foreign key": lambda _: hub_connect("d-1", MISSING)._replace(
        will=mqtt.Will(topic="devices/d-1/messages/events/", payload=b"gotcha")
    ),
    "a clean session, and a foreign key": lambda _: hub_connect("d-1", MISSING)._replace(clean_session=True),
}
each_bad_login = pytest.mark.parametrize("login", BAD_LOGINS.values(), ids=BAD_LOGINS)


# Gate 3: a bad login leaves nothing, and takes nothing


@each_bad_login
async def test_a_bad_login_takes_nothing_from_a_device_that_is_away(
    wired: WiredGateway, key: SymmetricKey, login: Callable[[SymmetricKey], mqtt.Connect]
) -> None:
    connect = hub_connect("d-1", key, level=mqtt.MQTT_5_LEVEL)
    kept = dataclasses.replace(connect.properties, session_expiry_interval=3600)
    connect = connect._replace(clean_session=False, will=WILL, properties=kept)
    device = await let_in(wired, connect)
    device.send(mqtt.Subscribe(packet_id=1, filters=((FILTER, 1),)))
    device.connection.connection_lost(None)
    sessions = wired.gateway.sessions
    await refused(wired, login(key))

    assert wired.sink.messages == []  # its will waits
    assert sessions.count == 0
    again = await let_in(wired, connect)
    first = again.answers[0]
    assert isinstance(first, mqtt.Connack)
    assert first.session_present
    assert wired.sink.messages == []


@each_bad_login
async def test_a_bad_login_registers_nobody(
    wired: WiredGateway, key: SymmetricKey, login: Callable[[SymmetricKey], mqtt.Connect]
) -> None:
    await refused(wired, login(key))
    assert (await wired.call("device.list"))["devices"] == []
    assert wired.gateway.sessions.count == 0
    assert wired.sink.messages == []


# Gate 4: nor does it touch a live session


@each_bad_login
async def test_a_bad_login_leaves_the_device_that_it_names_connected_and_served(
    wired: WiredGateway, key: SymmetricKey, login: Callable[[SymmetricKey], mqtt.Connect]
) -> None:
    device = await let_in(wired, hub_connect("d-1", key))
    device.send(mqtt.Subscribe(packet_id=1, filters=((FILTER, 1),)))
    await refused(wired, login(key))
    assert not device.channel.closed
    answer = await device.ask(mqtt.Publish("$iothub/twin/GET/?$rid=1", b""))
    assert isinstance(answer, mqtt.Publish)
    assert answer.topic.startswith("$iothub/twin/res/200/")


# Gate 5: who may take a session over


async def test_ids_that_differ_in_case_are_two_devices(wired: WiredGateway, key: SymmetricKey) -> None:
    lower = await let_in(wired, hub_connect("twice-1", key))
    upper = await let_in(wired, hub_connect("TWICE-1", key))
    assert not lower.channel.closed
    assert not upper.channel.closed
    assert wired.gateway.sessions.count == 2


async def test_a_device_takes_over_by_whatever_enrollment_vouches_for_its_id(
    wired: WiredGateway, key: SymmetricKey
) -> None:
    before = await let_in(wired, hub_connect("d-1", key))
    other = await wired.make_group("H")
    await let_in(wired, hub_connect("d-1", other))
    assert before.channel.closed
    assert (await wired.call("device.show", device_id="d-1"))["enrollmentGroup"] == "H"


async def test_a_groups_key_does_not_take_over_a_device_with_an_enrollment_of_its_own(
    wired: WiredGateway, key: SymmetricKey
) -> None:
    await wired.call("enrollment.create", device_id="d-1", attestation="symmetricKey")
    shown = await wired.call("enrollment.show", device_id="d-1", keys=True)
    own = SymmetricKey.from_base64(shown["primaryKey"])
    token = sas.sign("localhost%2Fdevices%2Fd-1", own, 4_000_000_000).encode()
    device = await let_in(wired, with_token(token))
    await refused(wired, hub_connect("d-1", key))
    assert not device.channel.closed


# Gate 6: ids that mean something elsewhere, by the road of the provisioning service


@pytest.mark.parametrize(
    "raw",
    ["a+b", "a#", "a/b", "../etc", "$SYS", "a b", "a%2Fb", "a%00b", "a%0Ab", "a\u202eb", "ä", "a" * 129],
    ids=ascii,
)
async def test_an_id_that_means_something_elsewhere_is_refused_by_the_provisioning_service_too(
    wired: WiredGateway, key: SymmetricKey, raw: str
) -> None:
    resource = f"{wired.settings.id_scope}/registrations/{raw}"
    own = sas.derive_device_key(key, raw)
    token = sas.sign(resource.replace("%", "%25").replace("/", "%2F"), own, 4_000_000_000)
    peer = wired.peer()
    peer.dial(
        mqtt.Connect(
            raw, username=f"{resource}/api-version=2019-03-31", password=token.encode("ascii", "replace")
        )
    )
    answer = await peer.answer()
    assert isinstance(answer, mqtt.Connack)
    assert answer.code in {2, 4, 5}
    assert (await wired.call("device.list"))["devices"] == []


# Gate 7: what takes a right away closes every session that rests on it, before it returns


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("device.block", {"device_id": "d-1"}),
        ("device.delete", {"device_id": "d-1"}),
        ("group.disable", {"name": "G"}),
        ("group.delete", {"name": "G"}),
        ("group.regenerate_key", {"name": "G", "slot": "primary"}),
    ],
)
async def test_both_sessions_of_a_device_are_closed_when_the_operators_command_returns(
    wired: WiredGateway, key: SymmetricKey, verb: str, arguments: dict[str, str]
) -> None:
    hub = await let_in(wired, hub_connect("d-1", key))
    resource = f"{wired.settings.id_scope}/registrations/d-1"
    token = sas.sign(resource.replace("/", "%2F"), sas.derive_device_key(key, "d-1"), 4_000_000_000)
    dps = await let_in(
        wired, mqtt.Connect("d-1", username=f"{resource}/api-version=2019-03-31", password=token.encode())
    )
    other = await let_in(wired, hub_connect("d-2", await wired.make_group("H")))
    await wired.call(verb, **arguments)
    assert (hub.channel.closed, dps.channel.closed) == (True, True)
    assert not other.channel.closed


@pytest.mark.parametrize("level", [4, mqtt.MQTT_5_LEVEL])
async def test_a_device_that_was_blocked_while_it_was_connected_finds_no_old_session(
    wired: WiredGateway, key: SymmetricKey, level: int
) -> None:
    connect = hub_connect("d-1", key, level=level)._replace(clean_session=False)
    if level == mqtt.MQTT_5_LEVEL:
        kept = dataclasses.replace(connect.properties, session_expiry_interval=3600)
        connect = connect._replace(properties=kept)
    device = await let_in(wired, connect)
    device.send(mqtt.Subscribe(packet_id=1, filters=((FILTER, 1),)))
    await wired.call("device.block", device_id="d-1")
    device.connection.connection_lost(None)
    await wired.call("device.unblock", device_id="d-1")
    first = (await let_in(wired, connect)).answers[0]
    assert isinstance(first, mqtt.Connack)
    assert not first.session_present
