"""One connection over a made-up channel: what the device is sent, what the log says, when it ends."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import mqtt
from gateway.admission import Admitted, ConnectRequest
from gateway.attempts import Attempts
from gateway.edge.connection import Connection, Edge
from gateway.edge.deadlines import Deadlines
from gateway.edge.sessions import SessionTable
from gateway.edge.storm import StormControl
from gateway.enrollment.decide import Mechanism, Verified
from gateway.errors import StoreUnavailable
from gateway.refusals import Reason, Refused
from gateway.registry.device import Device, Status
from gateway.session import CloseReason, Dialect
from gateway.settings import DeviceSettings, StormSettings, TraceSettings
from gateway.trace import Traces

DEVICE = Device.new("t-1", status=Status.PROVISIONED, now=0.0)
VERIFIED = Verified(mechanism="symmetricKey", enrollment_group="G", key_slot="primary", auto_approve=True)
CONNECT = mqtt.encode(mqtt.Connect(client_id="t-1", username="u", password=b"p", keep_alive=60))
PING = mqtt.encode(mqtt.Pingreq())
ACCEPTED, UNAVAILABLE = b"\x20\x02\x00\x00", b"\x20\x02\x00\x03"


def admitted(expires_at: float | None = None, *, by: Mechanism = "symmetricKey") -> Admitted:
    return Admitted(
        dialect=Dialect.HUB, device_id="t-1", verified=VERIFIED._replace(mechanism=by), device=DEVICE,
        expires_at=expires_at,
    )  # fmt: skip


class Channel:
    """Remembers what was written and asked for; `held` is what the peer has not read."""

    def __init__(self) -> None:
        self.written = b""
        self.held = 0
        self.reading = True
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.held

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("192.0.2.1", 50000)


class StubAdmission:
    def __init__(self, decide: Callable[[], Any]) -> None:
        self._decide = decide
        self.renewed: Callable[[], Any] = decide

    def renew(self, request: ConnectRequest, *, now: float) -> Any:
        return self.renewed()

    def admit(self, request: ConnectRequest, *, now: float) -> Any:
        return self._decide()

    def holds(self, outcome: Any) -> bool:
        return True

    def knows(self, device_id: str) -> bool:
        return True


class StubSession:
    def __init__(self) -> None:
        self.published: list[str] = []
        self.ended_with: CloseReason | None = None
        self.subscriptions: dict[str, int] = {}
        self.wills = 0
        self.will_waits: bool | None = None
        self.fault: Exception | None = None
        self.fault_at_end: Exception | None = None

    def publish_received(self, topic: str, payload: bytes, **_: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self.published.append(topic)

    def grant(self, topic_filter: str, qos: int) -> int | None:
        return min(qos, 1)

    def unsubscribed(self, topic_filter: str) -> bool:
        return True

    def publish_will(self) -> None:
        self.wills += 1

    def ended(self, reason: CloseReason, *, will_waits: bool = False) -> None:
        self.ended_with, self.will_waits = reason, will_waits
        if self.fault_at_end is not None:
            raise self.fault_at_end


class Bench:
    """A connection and everything around it, on a clock that stands still until told."""

    def __init__(
        self, decide: Callable[[], Any] = admitted, *, storm: dict[str, Any] | None = None, **settings: Any
    ) -> None:
        self.now = 1000.0
        self.session, self.channel = StubSession(), Channel()
        self.traces = Traces(TraceSettings(max_packets=8), clock=lambda: self.now)
        self.attempts = Attempts(max_devices=10, max_per_device=4, max_accepted=10)
        self.edge = Edge(
            settings=DeviceSettings.model_validate({"certificate_file": "c", "key_file": "k", **settings}),
            admission=StubAdmission(decide),
            attempts=self.attempts,
            traces=self.traces,
            sessions=SessionTable(max_offline=10),
            deadlines=Deadlines(now=self.now),
            storm=StormControl(StormSettings(**storm or {}), now=self.now),
            make_session=lambda *_: self.session,
            max_connections=10,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            connections=set(),
        )
        self.connection = Connection(self.edge)
        self.connection.attach(self.channel, self.channel)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.edge.deadlines.tick(self.now)


@pytest.mark.covers(mqtt311="3.1.4-4")
async def test_an_accepted_connect_opens_a_session_and_says_so() -> None:
    bench = Bench()
    with capture_logs() as lines:
        bench.connection.data_received(CONNECT)
    assert bench.channel.written == ACCEPTED
    assert [line["event"] for line in lines] == ["session.opened"]
    assert (lines[0]["device_id"], lines[0]["peer"]) == ("t-1", "192.0.2.1:50000")
    assert bench.edge.sessions.is_connected("t-1")


@pytest.mark.covers(mqtt311="3.1.4-5 3.2.2-5")
async def test_a_refused_connect_gets_one_connack_one_line_and_leaves_nothing_behind() -> None:
    bench = Bench(lambda: Refused(Reason.TOKEN_EXPIRED, "expired 5 s ago"))
    with capture_logs() as lines:
        bench.connection.data_received(CONNECT + PING)
        bench.connection.connection_lost(None)
    assert bench.channel.written == b"\x20\x02\x00\x05"
    assert bench.channel.closed
    assert [(line["event"], line["reason"]) for line in lines] == [("connect.refused", "token_expired")]
    assert (bench.edge.sessions.count, len(bench.edge.connections), len(bench.edge.deadlines)) == (0, 0, 0)


async def test_of_an_id_that_is_too_long_to_be_one_the_log_has_the_beginning() -> None:
    bench = Bench(lambda: Refused(Reason.CLIENT_ID_INVALID))
    with capture_logs() as lines:
        bench.connection.data_received(mqtt.encode(mqtt.Connect("x" * 16_000, username="u", password=b"p")))
    assert [line["device_id"] for line in lines if line["event"] == "connect.refused"] == ["x" * 128]


async def test_a_store_that_is_down_is_server_unavailable_at_once_or_later() -> None:
    def down() -> Admitted:
        raise StoreUnavailable("disk full")

    bench = Bench(down)
    bench.connection.data_received(CONNECT)
    assert bench.channel.written == UNAVAILABLE
    commit: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
    bench = Bench(lambda: commit)
    bench.connection.data_received(CONNECT)
    commit.set_exception(StoreUnavailable("disk full"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.channel.written == UNAVAILABLE


async def test_what_comes_while_a_first_connect_waits_for_its_commit_is_kept_and_no_more_is_read() -> None:
    commit: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
    bench = Bench(lambda: commit)
    bench.connection.data_received(CONNECT + PING)
    bench.connection.data_received(PING)
    assert (bench.channel.written, bench.channel.reading) == (b"", False)
    commit.set_result(admitted())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.channel.written == ACCEPTED + b"\xd0\x00\xd0\x00"
    assert bench.channel.reading


async def test_who_hangs_up_while_admission_waits_is_not_admitted() -> None:
    commit: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
    bench = Bench(lambda: commit)
    bench.connection.data_received(CONNECT)
    bench.connection.connection_lost(None)
    commit.set_result(admitted())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.edge.sessions.count == 0


async def test_during_shutdown_a_connect_is_told_to_come_back() -> None:
    bench = Bench()
    bench.edge.shutting_down = True
    bench.connection.data_received(CONNECT)
    assert bench.channel.written == UNAVAILABLE


async def test_a_connection_that_never_says_connect_is_closed_at_the_deadline() -> None:
    bench = Bench(connect_timeout_s=10)
    bench.connection.data_received(CONNECT[:5])
    bench.wait(9)
    assert not bench.channel.closed
    with capture_logs() as lines:
        bench.wait(3)
    assert bench.channel.closed
    assert [line["reason"] for line in lines] == ["connect_timed_out"]


@pytest.mark.covers(mqtt311="3.1.2-24 3.12.4-1")
async def test_a_silent_device_is_closed_and_one_that_pings_is_not() -> None:
    bench = Bench()
    bench.connection.data_received(CONNECT)
    for _ in range(3):
        bench.wait(80)
        bench.connection.data_received(PING)
    assert not bench.channel.closed
    bench.wait(92)
    assert bench.channel.closed
    assert bench.session.ended_with is CloseReason.KEEP_ALIVE_EXPIRED


@pytest.mark.covers(mqtt311="3.1.2-24")
async def test_bytes_of_a_packet_that_never_ends_are_no_sign_of_life() -> None:
    bench = Bench()
    bench.connection.data_received(CONNECT)
    bench.connection.data_received(b"\x30\x80\x80\x10")  # the header of a PUBLISH of 256 KiB
    for _ in range(9):
        bench.wait(10)
        bench.connection.data_received(b"x")
    assert not bench.channel.closed
    bench.wait(2)
    assert bench.session.ended_with is CloseReason.KEEP_ALIVE_EXPIRED


@pytest.mark.parametrize("asked", [0, 1500, 65535], ids=["none", "too long", "the longest"])
async def test_nobody_is_silent_for_longer_than_the_longest_keep_alive(asked: int) -> None:
    bench = Bench(max_keep_alive_s=1800)
    bench.connection.data_received(
        mqtt.encode(mqtt.Connect("t-1", username="u", password=b"p", keep_alive=asked))
    )
    bench.wait(1799)
    assert not bench.channel.closed
    bench.wait(3)
    assert bench.session.ended_with is CloseReason.KEEP_ALIVE_EXPIRED


@pytest.mark.parametrize(
    ("by", "reason"),
    [("symmetricKey", CloseReason.TOKEN_EXPIRED), ("x509", CloseReason.CERTIFICATE_EXPIRED)],
)
async def test_a_session_ends_with_its_token_or_certificate_however_busy_it_is(
    by: Mechanism, reason: CloseReason
) -> None:
    bench = Bench(lambda: admitted(expires_at=1100.0, by=by))
    bench.connection.data_received(CONNECT)
    for _ in range(2):
        bench.wait(40)
        bench.connection.data_received(PING)
    assert not bench.channel.closed
    bench.wait(22)
    assert bench.session.ended_with is reason


async def test_a_device_that_does_not_read_is_cut_off() -> None:
    bench = Bench(max_send_buffer_bytes=2048)
    bench.connection.data_received(CONNECT)
    bench.channel.held = 4096
    assert bench.connection.publish("t", b"x", 0) is True
    assert bench.channel.aborted
    assert bench.session.ended_with is CloseReason.SEND_BUFFER_FULL
    assert bench.connection.publish("t", b"x", 0) is False


async def test_unacknowledged_messages_are_bounded_and_an_answer_beyond_that_goes_out_with_qos_0() -> None:
    bench = Bench(max_inflight=2)
    bench.connection.data_received(CONNECT)
    for _ in range(4):
        assert bench.connection.publish("t", b"x", 1) is True
    bench.connection.data_received(mqtt.encode(mqtt.Puback(packet_id=1)))
    assert bench.connection.publish("t", b"x", 1) is True
    decoder = mqtt.Decoder(mqtt.MQTT_3_1_1.from_server, max_packet_size=1000)
    decoder.feed(bench.channel.written.removeprefix(ACCEPTED))
    assert [each.qos for each in iter(decoder.next_packet, None)] == [1, 1, 0, 0, 1]


async def test_tls_that_answers_who_does_not_read_is_cut_off_like_the_gateway_s_own_answers() -> None:
    bench = Bench(max_send_buffer_bytes=2048)
    bench.connection.data_received(CONNECT)
    bench.channel.held = 2048
    bench.connection.tls_answered()
    assert not bench.channel.aborted
    bench.channel.held = 2049
    bench.connection.tls_answered()
    assert bench.channel.aborted
    assert bench.session.ended_with is CloseReason.SEND_BUFFER_FULL


async def test_a_closed_connection_whose_peer_does_not_read_is_cut_after_a_while() -> None:
    bench = Bench(lambda: Refused(Reason.TOKEN_EXPIRED))
    bench.channel.held = 4
    bench.connection.data_received(CONNECT)
    assert (bench.channel.closed, bench.channel.aborted) == (True, False)
    bench.wait(7)
    assert bench.channel.aborted


@pytest.mark.covers(mqtt311="4.8.0-2")
async def test_a_fault_of_the_gateway_s_own_ends_this_connection_only_and_is_one_line() -> None:
    bench = Bench()
    bench.connection.data_received(CONNECT)
    bench.session.fault = KeyError("oops")
    with capture_logs() as lines:
        bench.connection.data_received(mqtt.encode(mqtt.Publish(topic="t", payload=b"")))
    assert bench.channel.aborted
    assert [(line["event"], line["reason"], line["detail"]) for line in lines] == [
        ("session.closed", "fault", "KeyError('oops')")
    ]


async def test_a_fault_while_a_session_ends_still_closes_its_socket_and_is_told() -> None:
    bench = Bench()
    bench.connection.data_received(CONNECT)
    bench.session.fault_at_end = KeyError("oops")
    with capture_logs() as lines:
        bench.wait(100)
    assert bench.channel.closed
    assert [(line["event"], line["reason"], line["detail"]) for line in lines] == [
        ("connection.closed", "fault", "KeyError('oops')")
    ]


@pytest.mark.parametrize(
    "packet", [mqtt.Publish(topic="t", payload=b"", qos=2, packet_id=1), mqtt.Pubrel(packet_id=1)]
)
async def test_quality_of_service_2_closes_the_connection(packet: mqtt.Packet) -> None:
    bench = Bench()
    bench.connection.data_received(CONNECT)
    bench.connection.data_received(mqtt.encode(packet))
    assert bench.session.ended_with is CloseReason.QOS_UNSUPPORTED


async def test_the_closing_line_counts_what_the_session_carried() -> None:
    bench = Bench()
    bench.connection.data_received(CONNECT)
    bench.connection.data_received(mqtt.encode(mqtt.Publish(topic="t", payload=b"12345")))
    bench.connection.publish("answer", b"x", 0)
    bench.now += 12.5
    with capture_logs() as lines:
        bench.connection.data_received(mqtt.encode(mqtt.Disconnect()))
    line = lines[0]
    assert (line["event"], line["reason"], line["duration_s"]) == ("session.closed", "disconnected", 12.5)
    assert (line["messages_in"], line["messages_out"], line["log_level"]) == (1, 1, "info")
    assert line["bytes_in"] > line["bytes_out"] > 0


async def test_a_traced_device_is_shown_from_its_connect_on_refused_or_not() -> None:
    bench = Bench(lambda: Refused(Reason.TOKEN_EXPIRED))
    bench.traces.start("t-1", for_s=60, payload=False)
    with capture_logs() as lines:
        bench.connection.data_received(CONNECT)
    shown = [(line["direction"], line["packet"]) for line in lines if line["event"] == "device.traced"]
    assert shown == [("in", "CONNECT"), ("out", "CONNACK")]


async def test_packets_that_come_in_one_piece_with_the_connect_are_traced_too() -> None:
    bench = Bench()
    bench.traces.start("t-1", for_s=60, payload=False)
    with capture_logs() as lines:
        bench.connection.data_received(CONNECT + PING)
    shown = [(line["direction"], line["packet"]) for line in lines if line["event"] == "device.traced"]
    assert shown == [("in", "CONNECT"), ("out", "CONNACK"), ("in", "PINGREQ"), ("out", "PINGRESP")]


async def test_a_connected_device_is_traced_from_now_on_and_others_are_not() -> None:
    bench = Bench()
    bench.connection.data_received(CONNECT)
    trace = bench.traces.start("t-1", for_s=60, payload=False)
    bench.edge.sessions.trace("t-1", trace)
    with capture_logs() as lines:
        bench.connection.data_received(PING)
        bench.edge.sessions.trace("t-1", None)
        bench.connection.data_received(PING)
    assert [line["packet"] for line in lines] == ["PINGREQ", "PINGRESP"]
    bench.traces.stop("t-1")
    bench.traces.start("t-2", for_s=60, payload=False)
    other = Bench()
    with capture_logs() as lines:
        other.connection.data_received(CONNECT)
    assert [line["event"] for line in lines] == ["session.opened"]


async def test_what_came_of_each_connect_is_remembered_for_why() -> None:
    for outcome, kind in ((admitted, "Accepted"), (lambda: Refused(Reason.TOKEN_EXPIRED), "Refusal")):
        bench = Bench(outcome)
        bench.connection.data_received(CONNECT)
        assert [type(each).__name__ for each in bench.attempts.of("t-1")] == [kind]


def try_again(bench: Bench) -> tuple[Connection, Channel]:
    channel, connection = Channel(), Connection(bench.edge)
    connection.attach(channel, channel)
    connection.data_received(CONNECT)
    return connection, channel


async def test_the_answer_to_who_keeps_failing_is_held_back_and_a_proof_is_answered_at_once() -> None:
    outcomes: list[Any] = [Refused(Reason.TOKEN_SIGNATURE_INVALID)] * 2 + [admitted()]
    bench = Bench(lambda: outcomes.pop(0), storm={"refusals_before_delay": 1})
    bench.connection.data_received(CONNECT)
    assert bench.channel.written == b"\x20\x02\x00\x05"
    with capture_logs() as lines:
        _, second = try_again(bench)
    assert [line["event"] for line in lines] == ["connect.refused"]
    assert (second.written, second.closed, bench.edge.storm.delayed_now) == (b"", False, 1)
    _, third = try_again(bench)
    assert third.written == ACCEPTED
    bench.wait(3)
    assert (second.written, second.closed, bench.edge.storm.delayed_now) == (b"\x20\x02\x00\x05", True, 0)
    assert bench.edge.storm.queue.handshakes == 0


async def test_who_hangs_up_before_a_held_answer_leaves_nothing_behind() -> None:
    bench = Bench(lambda: Refused(Reason.TOKEN_EXPIRED), storm={"refusals_before_delay": 1})
    bench.connection.data_received(CONNECT)
    bench.connection.connection_lost(None)
    second, _ = try_again(bench)
    second.eof_received()
    second.connection_lost(None)
    storm = bench.edge.storm
    assert (storm.delayed_now, storm.queue.handshakes, len(bench.edge.deadlines)) == (0, 0, 0)


async def test_overload_is_connack_3_and_no_line_of_its_own() -> None:
    bench = Bench(lambda: Refused(Reason.OVERLOADED))
    with capture_logs() as lines:
        bench.connection.data_received(CONNECT)
    assert bench.channel.written == UNAVAILABLE
    assert lines == []
