"""What a device sees of its session: take-over, refusal, keep-alive, the topics it may use."""

import pytest

from tests.support.device import PUBLISH, Device, Fleet, packet, text
from tests.support.gateway_process import GatewayProcess

TWIN_RESPONSES = "$iothub/twin/res/#"


def test_a_wrong_password_for_a_connected_device_leaves_it_connected_and_its_subscription_alive(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with fleet.hub("victim-1", clean=False) as device:
        assert device.subscribe(TWIN_RESPONSES) == [1]
        username, token = fleet.hub_login("victim-1")
        for wrong in (token.replace("sig=", "sig=A"), "password", "", None):
            with Device.plain(gateway.setup) as intruder:
                assert intruder.connect("victim-1", username, wrong) == 5
                assert intruder.is_closed()
        answer = device.request("$iothub/twin/GET/?$rid=1")
        assert answer.topic == "$iothub/twin/res/200/?$rid=1"
    gateway.wait_for("session.closed", device_id="victim-1")  # the line that comes after all of them
    assert len(gateway.lines("connect.refused", device_id="victim-1")) == 4


@pytest.mark.covers(mqtt311="3.1.4-2")
def test_a_newer_connection_of_the_same_device_takes_over(gateway: GatewayProcess, fleet: Fleet) -> None:
    with fleet.hub("twice-1") as older, fleet.hub("twice-1") as newer:
        assert older.is_closed()
        newer.ping()
    gateway.wait_for("session.closed", device_id="twice-1", reason="taken_over")


def test_provisioning_again_leaves_the_hub_session_of_the_device_alone(fleet: Fleet) -> None:
    with fleet.hub("both-1") as hub, fleet.dps("both-1") as dps:
        assert (
            dps.request("$dps/registrations/PUT/iotdps-register/?$rid=1", b"").json()["status"] == "assigned"
        )
        hub.ping()


@pytest.mark.covers(mqtt311="3.2.2-1 3.2.2-2 3.2.2-3 3.1.2-4 3.1.2-6 3.1.4-3")
def test_session_present_is_said_only_when_subscriptions_were_kept(fleet: Fleet) -> None:
    with fleet.hub("keeper-1", clean=False) as device:
        assert device.session_present is False
        device.subscribe(TWIN_RESPONSES)
        device.disconnect()
    with fleet.hub("keeper-1", clean=False) as device:
        assert device.session_present is True
        assert device.request("$iothub/twin/GET/?$rid=9").topic == "$iothub/twin/res/200/?$rid=9"
        device.disconnect()
    with fleet.hub("keeper-1", clean=True) as device:
        assert device.session_present is False
        device.disconnect()
    with fleet.hub("keeper-1", clean=False) as device:
        assert device.session_present is False


@pytest.mark.parametrize(
    ("topic", "qos", "reason"),
    [
        ("devices/{id}/messages/events/", 2, "qos_unsupported"),
        ("devices/somebody-else/messages/events/", 1, "topic_unknown"),
        ("$iothub/unheard/of", 0, "topic_unknown"),
        ("free/topic", 1, "topic_unknown"),
        ("$dps/registrations/PUT/iotdps-register/?$rid=1", 1, "topic_unknown"),
    ],
)
@pytest.mark.covers(mqtt311="3.3.5-2")
def test_an_undocumented_publish_closes_the_connection(
    gateway: GatewayProcess, fleet: Fleet, topic: str, qos: int, reason: str
) -> None:
    device_id = f"stray-{qos}-{abs(hash(topic)) % 10_000}"
    with fleet.hub(device_id) as device:
        body = text(topic.format(id=device_id)) + (b"\x00\x01" if qos else b"") + b"{}"
        device.send(packet(3, qos << 1, body))
        assert device.is_closed()
    gateway.wait_for("session.closed", device_id=device_id, reason=reason)


@pytest.mark.covers(mqtt311="3.8.3-2")
@pytest.mark.parametrize(
    "topic_filter",
    [
        "#",
        "+/+/res/#",
        "free/topic",
        "$iothub/#",
        "$iothub/x/#",
        "$iothub/twin/+/#",
        "$iothub/twin/res/+",
        "$iothub/twin/res/1",
        "devices/#",
        "devices/other/messages/devicebound/#",
    ],
)
def test_an_undocumented_subscription_closes_the_connection(
    gateway: GatewayProcess, fleet: Fleet, topic_filter: str
) -> None:
    device_id = f"curious-{topic_filter.encode().hex()}"
    with fleet.hub(device_id) as device:
        device.send(packet(8, 2, b"\x00\x01" + text(topic_filter) + b"\x00"))
        assert device.is_closed()
    gateway.wait_for("session.closed", device_id=device_id, reason="topic_unknown")


def test_every_request_that_comes_in_one_piece_is_answered_however_late_the_answers_are_acknowledged(
    fleet: Fleet,
) -> None:
    with fleet.hub("pipelining-1") as device:
        device.subscribe(TWIN_RESPONSES)
        device.send(b"".join(packet(3, 0, text(f"$iothub/twin/GET/?$rid={n}") + b" ") for n in range(40)))
        answers = [device.receive() for _ in range(40)]
        # Those that came while sixteen waited for the store are told so (429).
        assert {each.topic.rpartition("=")[2] for each in answers} == {str(n) for n in range(40)}
        assert sum(bool(each.flags & 0b0010) for each in answers) == 16


def test_every_documented_subscription_is_granted_and_quality_of_service_2_becomes_1(fleet: Fleet) -> None:
    filters = (TWIN_RESPONSES, "$iothub/twin/PATCH/properties/desired/#", "$iothub/methods/POST/#",
               "devices/sub-1/messages/devicebound/#")  # fmt: skip
    with fleet.hub("sub-1") as device:
        assert device.subscribe(*filters, qos=2) == [1, 1, 1, 1]
        assert device.subscribe(TWIN_RESPONSES, qos=0) == [0]


def test_packets_sent_together_with_a_first_connect_are_served_after_it(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    username, token = fleet.hub_login("eager-1")
    connect = packet(
        1, 0, text("MQTT") + b"\x04\xc2\x00\x3c" + text("eager-1") + text(username) + text(token)
    )
    subscribe = packet(8, 2, b"\x00\x01" + text(TWIN_RESPONSES) + b"\x00")
    get = packet(3, 0, text("$iothub/twin/GET/?$rid=7") + b" ")
    with Device.plain(gateway.setup) as device:
        device.send(connect + subscribe + get)
        assert [device.receive().kind for _ in range(2)] == [2, 9]
        answer = device.receive()
        assert (answer.kind, answer.topic) == (PUBLISH, "$iothub/twin/res/200/?$rid=7")


def test_a_session_ends_when_its_token_expires(gateway: GatewayProcess, fleet: Fleet) -> None:
    with Device.plain(gateway.setup) as device:
        assert device.connect("short-1", *fleet.hub_login("short-1", expires_in_s=4)) == 0
        assert device.is_closed()
    gateway.wait_for("session.closed", device_id="short-1", reason="token_expired")


@pytest.mark.covers(mqtt311="3.1.2-24")
def test_a_silent_device_is_closed_after_one_and_a_half_keep_alives(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with fleet.hub("silent-1", keep_alive=1) as device:
        assert device.is_closed()
    gateway.wait_for("session.closed", device_id="silent-1", reason="keep_alive_expired")


def test_bytes_that_are_not_mqtt_close_the_connection_with_one_line(gateway: GatewayProcess) -> None:
    with Device.plain(gateway.setup) as stranger:
        stranger.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stranger.is_closed()
        peer = "{}:{}".format(*stranger.socket.getsockname())
    line = gateway.wait_for("connection.closed", peer=peer)
    assert line["reason"] == "protocol_violated"


def test_a_plain_client_on_the_tls_port_is_closed_with_one_line(gateway: GatewayProcess) -> None:
    with Device.plain({"plainPort": gateway.setup["port"]}) as stranger:
        stranger.send(packet(1, 0, text("MQTT") + b"\x04\x02\x00\x3c" + text("x")))
        stranger.socket.recv(64)  # the alert
        peer = "{}:{}".format(*stranger.socket.getsockname())
    assert gateway.wait_for("connection.closed", peer=peer)["reason"] == "tls_failed"


@pytest.mark.parametrize(
    ("client_id", "username", "code", "reason"),
    [
        ("a-1", "app", 4, "username_malformed"),
        ("a-1", "elsewhere.example/a-1/?api-version=2021-04-12", 5, "host_unknown"),
        ("a-1", "localhost/a-2/?api-version=2021-04-12", 5, "client_id_mismatch"),
        ("a-1", "0neUNKNOWN/registrations/a-1/api-version=2019-03-31", 5, "id_scope_unknown"),
        ("a_1", "localhost/a_1/?api-version=2021-04-12", 2, "client_id_invalid"),
        ("a-1", "localhost/a-1/m/?api-version=2021-04-12", 5, "module_unsupported"),
        ("a-1", "localhost/a-1/?api-version=2021-04-12", 5, "credential_missing"),
    ],
)
def test_a_login_that_makes_no_sense_is_refused_with_its_reason(
    gateway: GatewayProcess, client_id: str, username: str, code: int, reason: str
) -> None:
    with Device.plain(gateway.setup) as device:
        assert device.connect(client_id, username) == code
        assert device.is_closed()
    assert gateway.wait_for("connect.refused", reason=reason)["hint"]


@pytest.mark.covers(mqtt311="3.1.3-8 3.1.3-9")
@pytest.mark.parametrize("clean", [True, False])
def test_a_device_of_3_1_1_without_a_client_id_is_told_that_its_id_is_rejected_however_good_its_login(
    gateway: GatewayProcess, fleet: Fleet, clean: bool
) -> None:
    with Device.plain(gateway.setup) as device:
        assert device.connect("", *fleet.hub_login("nameless-1"), clean=clean) == 2
        assert not device.session_present
        assert device.is_closed()
    assert gateway.wait_for("connect.refused", device_id="")["reason"] == "client_id_invalid"


@pytest.mark.covers(mqtt311="3.1.2-2", mqtt5="3.1.2-2")
def test_a_protocol_level_that_nobody_knows_is_told_so(gateway: GatewayProcess) -> None:
    with Device.plain(gateway.setup) as device:
        device.send(packet(1, 0, text("MQTT") + b"\x06\x02\x00\x3c\x00" + text("v6")))
        answer = device.receive()
        assert (answer.kind, answer.body) == (2, b"\x00\x01")
        assert device.is_closed()


def test_blocking_a_device_closes_its_session_and_unblocking_lets_it_back(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with fleet.hub("naughty-1") as device:
        gateway.cli("device", "block", "naughty-1")
        assert device.is_closed()
    with Device.plain(gateway.setup) as device:
        assert device.connect("naughty-1", *fleet.hub_login("naughty-1")) == 5
    gateway.wait_for("connect.refused", device_id="naughty-1", reason="device_blocked")
    gateway.cli("device", "unblock", "naughty-1")
    with fleet.hub("naughty-1") as device:
        device.ping()


def test_a_device_that_waits_for_approval_is_told_to_come_back_and_gets_in_once_approved(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    gateway.cli("group", "create", "Careful", "--type", "sas", "--no-auto-approve")
    careful = Fleet(gateway.setup, gateway.json("group", "show", "Careful", "--keys")["primaryKey"])
    register = "$dps/registrations/PUT/iotdps-register/?$rid=r"
    with careful.dps("patient-1") as device:
        answer = device.request(register, b"{}")
        assert answer.topic.startswith("$dps/registrations/res/202/?$rid=r&retry-after=")
        operation = answer.json()["operationId"]
        assert answer.json() == {"operationId": operation, "status": "assigning"}
        with Device.plain(gateway.setup) as hub:
            assert hub.connect("patient-1", *careful.hub_login("patient-1")) == 3
        shown = gateway.json("device", "show", "patient-1")
        assert (shown["status"], shown["provisioned"], shown["enabled"]) == ("waiting", False, False)
        gateway.cli("device", "approve", "patient-1")
        poll = f"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=p&operationId={operation}"
        answer = device.request(poll)
        assert answer.topic == "$dps/registrations/res/200/?$rid=p"
        assert answer.json()["status"] == "assigned"
        assert answer.json()["operationId"] == operation


def test_disabling_a_group_closes_its_devices_sessions(gateway: GatewayProcess) -> None:
    gateway.cli("group", "create", "Season", "--type", "sas")
    season = Fleet(gateway.setup, gateway.json("group", "show", "Season", "--keys")["primaryKey"])
    with season.hub("summer-1") as device:
        gateway.cli("group", "disable", "Season")
        assert device.is_closed()
    with Device.plain(gateway.setup) as device:
        assert device.connect("summer-1", *season.hub_login("summer-1")) == 5
    gateway.wait_for("connect.refused", device_id="summer-1", reason="enrollment_group_disabled")
