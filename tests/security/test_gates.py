"""What a hostile peer may not do: the gates of docs/security.md that no other test already holds."""

import json
import socket
import ssl
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from OpenSSL import SSL
from structlog.testing import capture_logs

from gateway import mqtt
from gateway.edge.connection import Connection
from gateway.edge.tls import TlsChannel
from gateway.refusals import Reason, Refused
from gateway.session import CloseReason
from tests.integration.conftest import fleet_of
from tests.support.device import TIMEOUT_S, Device, Fleet, packet, text
from tests.support.gateway_process import GatewayProcess
from tests.unit.edge import test_tls as tls
from tests.unit.edge.test_connection import CONNECT, Bench

EVENTS = "devices/t-1/messages/events/"


# Gate 1: one deadline for whoever is not done with CONNECT


@pytest.mark.parametrize("timeout_s", [4, 10, 17])
async def test_a_peer_that_sends_a_byte_a_second_is_closed_at_the_deadline_of_one_that_sends_none(
    timeout_s: int,
) -> None:
    bench = Bench(connect_timeout_s=timeout_s)
    with capture_logs() as lines:
        for byte in CONNECT[:timeout_s]:
            assert not bench.channel.closed
            bench.connection.data_received(bytes((byte,)))
            bench.wait(1)
        bench.wait(1)  # deadlines are kept to a second
    assert bench.channel.closed
    assert [line["reason"] for line in lines] == ["connect_timed_out"]


class TlsBench(Bench):
    """A connection over TLS, and a client in memory that says as much as it is let."""

    def __init__(self, context: SSL.Context, **settings: Any) -> None:
        super().__init__(**settings)
        self.connection.connection_lost(None)  # the one without TLS
        self.transport = tls.Transport()
        self.tls = TlsChannel(context, self._attach)
        self.tls.connection_made(self.transport)  # type: ignore[arg-type]
        self.client = SSL.Connection(tls.a_client(), None)
        self.client.set_connect_state()

    def _attach(self, channel: Any, transport: Any) -> Connection:
        self.connection = Connection(self.edge)
        self.connection.attach(channel, transport)
        return self.connection

    def next_flight(self) -> bytes:
        """What the client says to what it has heard."""
        if heard := self.transport.take():
            self.client.bio_write(heard)
        with suppress(SSL.WantReadError):
            self.client.do_handshake()
        return tls.drain(self.client)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> SSL.Context:
    return tls.a_server(tmp_path_factory.mktemp("tls"))


async def test_a_tls_hello_that_comes_a_byte_a_second_has_the_same_deadline(context: SSL.Context) -> None:
    bench = TlsBench(context, connect_timeout_s=4)
    hello = bench.next_flight()
    assert len(hello) > 6
    with capture_logs() as lines:
        for byte in hello[:4]:
            assert not bench.transport.closed
            bench.tls.data_received(bytes((byte,)))
            bench.wait(1)
        bench.tls.data_received(hello[4:5])
        bench.wait(1)
    assert bench.transport.closed
    assert [line["reason"] for line in lines] == ["connect_timed_out"]


async def test_a_slow_tls_handshake_leaves_the_connect_what_is_left_of_the_deadline(
    context: SSL.Context,
) -> None:
    bench = TlsBench(context, connect_timeout_s=4)
    bench.tls.data_received(bench.next_flight())
    bench.wait(2)
    bench.tls.data_received(bench.next_flight())
    assert bench.connection.tls is not None
    with capture_logs() as lines:
        for byte in CONNECT[:2]:
            assert not bench.transport.closed
            bench.client.send(bytes((byte,)))
            bench.tls.data_received(tls.drain(bench.client))
            bench.wait(1)
        bench.wait(1)
    assert bench.transport.closed
    assert [line["reason"] for line in lines] == ["connect_timed_out"]


def test_half_a_tls_hello_and_an_idle_socket_are_closed_within_the_connect_timeout(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("deadline") / "gw"

    def in_a_second(text: str) -> str:
        return text.replace("    devices:\n", "    devices:\n      connect_timeout_s: 1\n", 1)

    with GatewayProcess(directory, edit=in_a_second) as own:
        for half in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40)):
            with Device.plain({"plainPort": own.setup["port"]}) as peer:
                if half:
                    peer.send(half)
                assert peer.socket.recv(1) == b""
        assert own.wait_for("connection.closed", reason="connect_timed_out")


# Gate 2: how large a packet may be


@pytest.mark.parametrize("size", [16 * 1024 + 1, 100_000, 268_435_455])
async def test_an_unauthenticated_packet_over_16_kib_is_refused_by_its_header_alone(size: int) -> None:
    bench = Bench()
    length, remaining = b"", size
    while True:
        remaining, digit = divmod(remaining, 128)
        length += bytes((digit | (0x80 if remaining else 0),))
        if not remaining:
            break
    with capture_logs() as lines:
        bench.connection.data_received(b"\x10" + length)
    assert bench.channel.closed
    assert "16384 are allowed" in lines[0]["detail"]


@pytest.mark.parametrize(("size", "is_read"), [(16_384, True), (16_385, False)])
async def test_a_connect_may_have_16_kib_with_its_header_and_not_a_byte_more(
    size: int, is_read: bool
) -> None:
    def connect(password: int) -> bytes:
        return mqtt.encode(mqtt.Connect(client_id="t-1", username="u", password=bytes(password)))

    packet = connect(10_000)
    packet = connect(10_000 + size - len(packet))
    assert len(packet) == size
    bench = Bench()
    bench.connection.data_received(packet)
    assert bench.edge.sessions.is_connected("t-1") is is_read
    assert bench.channel.closed is not is_read


@pytest.mark.parametrize(("size", "is_read"), [(270_336, True), (270_337, False)])
async def test_an_authenticated_packet_may_have_256_kib_and_8_more_for_its_header_and_not_a_byte_more(
    size: int, is_read: bool
) -> None:
    bench = Bench()
    bench.connection.data_received(CONNECT)
    packet = mqtt.encode(mqtt.Publish(topic=EVENTS, payload=bytes(size - 4 - 2 - len(EVENTS))))
    assert len(packet) == size
    bench.connection.data_received(packet)
    assert bench.session.published == ([EVENTS] if is_read else [])
    assert bench.session.ended_with is (None if is_read else CloseReason.PROTOCOL_VIOLATED)


# Gate 3: a bad login leaves nothing


async def test_a_refused_login_with_a_will_leaves_no_session_no_will_and_no_memory_but_its_attempt() -> None:
    will = mqtt.Will(topic=EVENTS, payload=b"gotcha")
    bench = Bench(lambda: Refused(Reason.TOKEN_SIGNATURE_INVALID))
    bench.connection.data_received(
        mqtt.encode(mqtt.Connect("t-1", username="u", password=b"p", clean_session=False, will=will))
    )
    bench.connection.connection_lost(None)
    edge = bench.edge
    assert (edge.sessions.count, len(edge.connections), len(edge.deadlines)) == (0, 0, 0)
    assert edge.sessions.resume("t-1", keeps=True, now=bench.now) is None
    assert bench.session.ended_with is None
    assert bench.session.wills == 0


# Gate 6: ids that mean something elsewhere


@pytest.mark.parametrize(
    "device_id",
    ["a+b", "a#", "#", "+", "a/b", "../etc", "$SYS", "a b", "a\tb", "a\u202eb", "ä", "a" * 129, "a\n1"],
    ids=ascii,
)
def test_an_id_with_a_wildcard_a_slash_or_a_control_character_is_refused_and_registers_nothing(
    gateway: GatewayProcess, fleet: Fleet, device_id: str
) -> None:
    with Device.plain(gateway.setup) as device:
        assert device.connect(device_id, *fleet.hub_login(device_id)) in {2, 4, 5}
        assert device.is_closed()
    assert gateway.cli("device", "show", "--", device_id, check=False).returncode != 0


@pytest.mark.parametrize(
    "raw", [b"a\x00b", b"a\xffb", b"a\xed\xa0\x80"], ids=["NUL", "no UTF-8", "surrogate"]
)
def test_an_id_that_is_no_text_closes_the_connection(gateway: GatewayProcess, raw: bytes) -> None:
    with Device.plain(gateway.setup) as device:
        device.send(packet(1, 0, text("MQTT") + b"\x04\xc2\x00\x3c" + text(raw) + text("u") + text("p")))
        assert device.is_closed()


# Gate 8: nothing more is taken from a device that lost its right


async def test_what_a_blocked_device_had_on_its_way_is_not_taken() -> None:
    bench = Bench()
    bench.connection.data_received(CONNECT)
    bench.connection.close(CloseReason.DEVICE_BLOCKED)
    bench.connection.data_received(mqtt.encode(mqtt.Publish(topic=EVENTS, payload=b"late")))
    assert bench.session.published == []
    assert bench.connection.publish("t", b"x", 1) is False


async def test_messages_that_came_in_one_piece_with_the_one_that_ended_the_session_are_not_taken() -> None:
    bench = Bench()
    bench.connection.data_received(CONNECT)
    wrong = mqtt.encode(mqtt.Publish(topic=EVENTS, payload=b"", qos=2, packet_id=1))
    bench.connection.data_received(wrong + mqtt.encode(mqtt.Publish(topic=EVENTS, payload=b"late")))
    assert bench.session.published == []


# Gate 11: who does not read is cut off


def test_a_device_that_asks_and_asks_and_never_reads_is_cut_off_and_others_are_served(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("unread") / "gw"

    def with_a_small_buffer(text: str) -> str:
        return text.replace("    devices:\n", "    devices:\n      max_send_buffer_bytes: 65536\n", 1)

    with GatewayProcess(directory, edit=with_a_small_buffer) as own:
        fleet = fleet_of(own)
        raw = socket.socket()
        raw.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
        )  # before the handshake: so small is the window
        raw.settimeout(TIMEOUT_S)
        raw.connect(("127.0.0.1", own.setup["port"]))
        trusting = ssl.create_default_context(cafile=own.setup["caCertificate"])
        with Device(trusting.wrap_socket(raw, server_hostname="localhost")) as deaf:
            assert deaf.connect("deaf-1", *fleet.hub_login("deaf-1")) == 0
            deaf.subscribe("$iothub/twin/res/#", qos=0)
            questions = packet(3, 0, text("$iothub/twin/GET/?$rid=1") + b" ") + b"\xc0\x00" * 100
            with suppress(OSError):  # reset or a broken pipe, as the system likes
                for _ in range(1000):  # 45 MB of answers; the system's own buffers take four or so
                    deaf.send(questions * 100)
        closed = own.wait_for("session.closed", device_id="deaf-1")
        assert closed["reason"] == "send_buffer_full"
        with fleet.hub("fine-1", tls=True) as other:
            other.ping()


# Gate 20: log injection

FORGED = 'x\n{"event":"session.opened","device_id":"forged"}\r\x1b[2J\x9b31m\x85y\u2028\u202ez\x7f'


def test_what_a_stranger_writes_into_ids_names_and_models_stays_on_one_line_of_the_log(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with Device.plain(gateway.setup) as device:
        assert device.connect(FORGED, f"localhost/{FORGED}/?api-version=2021-04-12", "p") in {2, 4, 5}
    with Device.plain(gateway.setup) as device:
        assert device.connect("x" * 16_000, "u", "p") in {2, 4, 5}
    with Device.plain(gateway.setup) as device:
        username, token = fleet.hub_login("inject-1", model=quote(FORGED))
        assert device.connect("inject-1", username, token) == 0
    gateway.wait_for("session.opened", device_id="inject-1")
    gateway.wait_for("connect.refused", device_id=FORGED)
    gateway.wait_for("connect.refused", device_id="x" * 128)
    assert not gateway.lines("session.opened", device_id="forged")
    for line in gateway.output:
        assert json.loads(line)["event"]
        assert line.isprintable()


def test_what_a_stranger_writes_into_ids_names_and_models_steers_no_operator_s_terminal(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with Device.plain(gateway.setup) as device:
        assert device.connect(FORGED, f"localhost/{FORGED}/?api-version=2021-04-12", "p") in {2, 4, 5}
    with Device.plain(gateway.setup) as device:
        username, token = fleet.hub_login("inject-2", model=quote(FORGED))
        assert device.connect("inject-2", username, token) == 0
    with Device.plain(gateway.setup) as device:
        username, token = fleet.hub_login("inject-2", model=quote(FORGED))
        assert device.connect("inject-2", username, token + "x") in {4, 5}
    assert gateway.json("device", "show", "inject-2")["modelId"] is None
    for command in (
        ("device", "list"), ("device", "show", "inject-2"), ("why", FORGED), ("why", FORGED, "--json"),
        ("why", "inject-2"), ("logs", "-n", "500"), ("logs", "-n", "500", "--json"),
    ):  # fmt: skip
        shown = gateway.cli(*command).stdout
        assert shown, command
        assert all(line.isprintable() for line in shown.split("\n")), command
