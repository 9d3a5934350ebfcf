"""One HTTPS connection over a made-up channel: what is answered, what ends it, what the log says."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.edge.http import HttpConnection
from gateway.exchange import HttpExchange, HttpResponse
from gateway.refusals import Reason
from gateway.session import CloseReason
from tests.unit.edge import test_connection

REQUEST = b"PUT /s/registrations/a/register?api-version=1 HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}"
OK = HttpResponse(200, b'{"status":"assigned"}', (("x-ms-request-id", "4.1"),), device_id="a", group="G")
CHALLENGE = HttpResponse(401, b'{"keyName":"registration"}')
"""Says nothing of who is there; a 404 is the same to the edge."""


class Handler:
    """Answers what it was given, and remembers what it was asked."""

    def __init__(self, answer: Any = OK) -> None:
        self.exchanges: list[HttpExchange] = []
        self.next: Any = answer

    def answer(self, request: HttpExchange, *, shutting_down: bool) -> Any:
        self.exchanges.append(request)
        if isinstance(self.next, Exception):
            raise self.next
        return self.next


class Bench(test_connection.Bench):
    """A connection that stands still in time until told."""

    def __init__(self, answer: Any = OK, **settings: Any) -> None:
        super().__init__(**settings)
        self.handler = Handler(answer)
        self.channel = test_connection.Channel()
        self.connection.connection_lost(None)  # the one of MQTT
        self.http = HttpConnection(self.edge, self.handler)
        self.http.attach(self.channel, self.channel)
        self.http.tls_established("TLSv1.3", None)

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.edge.deadlines.tick(self.now)

    @property
    def statuses(self) -> list[int]:
        return [int(part[:3]) for part in self.channel.written.split(b"HTTP/1.1 ")[1:]]


def test_a_request_is_handed_on_whole_and_answered() -> None:
    bench = Bench()
    for at in range(0, len(REQUEST), 7):
        bench.http.data_received(REQUEST[at : at + 7])
    (exchange,) = bench.handler.exchanges
    assert (exchange.method, exchange.target) == ("PUT", "/s/registrations/a/register?api-version=1")
    assert (exchange.body, exchange.authorization, exchange.tls) == (b"{}", None, "TLSv1.3")
    head, _, body = bench.channel.written.partition(b"\r\n\r\n")
    assert body == OK.body
    for header in (b"Content-Length: 21", b"x-ms-request-id: 4.1", b"Date: Thu, 01 Jan 1970"):
        assert header in head


def test_a_connection_takes_one_request_after_the_other_also_if_they_came_together() -> None:
    bench = Bench()
    bench.http.data_received(REQUEST * 3)
    assert bench.statuses == [200, 200, 200]
    assert not bench.channel.closed


def test_who_asks_to_close_is_closed_after_the_answer() -> None:
    bench = Bench()
    bench.http.data_received(REQUEST.replace(b"Host: gw\r\n", b"Host: gw\r\nConnection: close\r\n"))
    assert (bench.statuses, bench.channel.closed) == ([200], True)


def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    bench = Bench()
    head, _, body = REQUEST.replace(b"Host: gw\r\n", b"Host: gw\r\nExpect: 100-continue\r\n").partition(
        b"\r\n\r\n"
    )
    bench.http.data_received(head + b"\r\n\r\n")
    assert bench.statuses == [100]
    bench.http.data_received(body)
    assert bench.statuses == [100, 200]


def test_an_authorization_that_is_sent_twice_is_none() -> None:
    bench = Bench()
    once = REQUEST.replace(b"Host: gw\r\n", b"Host: gw\r\nAuthorization: SharedAccessSignature x\r\n")
    bench.http.data_received(once)
    bench.http.data_received(once.replace(b"Host: gw\r\n", b"Host: gw\r\nAuthorization: other\r\n"))
    assert [each.authorization for each in bench.handler.exchanges] == ["SharedAccessSignature x", None]


async def test_nothing_more_is_read_until_an_answer_that_takes_time_has_gone_out() -> None:
    decided: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
    bench = Bench(decided)
    bench.http.data_received(REQUEST * 2)
    assert (len(bench.handler.exchanges), bench.channel.reading) == (1, False)
    bench.handler.next = OK
    decided.set_result(OK)
    await asyncio.sleep(0)
    assert (bench.statuses, bench.channel.reading) == ([200, 200], True)


async def test_an_answer_that_comes_after_the_device_has_gone_goes_nowhere() -> None:
    decided: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
    bench = Bench(decided)
    bench.http.data_received(REQUEST)
    bench.http.connection_lost(None)
    decided.set_result(OK)
    await asyncio.sleep(0)
    assert bench.channel.written == b""
    assert not bench.edge.connections
    assert not len(bench.edge.deadlines)


async def test_a_fault_ends_this_connection_in_one_line() -> None:
    failing: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
    for bench in (Bench(RuntimeError("a bug")), Bench(failing)):
        with capture_logs() as lines:
            bench.http.data_received(REQUEST)
            if bench.handler.next is failing:
                failing.set_exception(RuntimeError("a bug"))
            await asyncio.sleep(0)
        assert [(line["event"], line["reason"]) for line in lines] == [
            ("connection.closed", CloseReason.FAULT)
        ]
        assert bench.channel.aborted


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 what is this\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: gw\r\nX: " + b"x" * 20_000, 431),
        (b"PUT / HTTP/1.1\r\nHost: gw\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000), 413),
        (b"PUT / HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_or_too_large_is_refused_and_ended(sent: bytes, status: int) -> None:
    bench = Bench()
    with capture_logs() as lines:
        bench.http.data_received(sent)
    assert (bench.statuses, bench.channel.closed) == ([status], True)
    assert lines[0]["reason"] is CloseReason.PROTOCOL_VIOLATED
    assert not bench.handler.exchanges
    bench.http.data_received(REQUEST)
    assert not bench.handler.exchanges


def test_a_connection_without_a_whole_request_times_out_and_says_so() -> None:
    bench = Bench(connect_timeout_s=10)
    bench.http.data_received(REQUEST[:-1])
    with capture_logs() as lines:
        bench.after(12)
    assert bench.channel.closed
    assert lines[0]["reason"] is CloseReason.CONNECT_TIMED_OUT


def test_a_request_that_comes_a_byte_a_second_has_one_deadline_for_its_head_and_its_body() -> None:
    bench = Bench(connect_timeout_s=4)
    head, _, body = REQUEST.partition(b"\r\n\r\n")
    for piece in (head[:20], head[20:] + b"\r\n\r\n", body[:1]):
        bench.http.data_received(piece)
        bench.after(1)
        assert not bench.channel.closed
    with capture_logs() as lines:
        bench.after(2)
    assert bench.channel.closed
    assert lines[0]["reason"] is CloseReason.CONNECT_TIMED_OUT


def test_a_slow_tls_handshake_leaves_the_request_what_is_left_of_the_deadline() -> None:
    bench = Bench(connect_timeout_s=4)
    fresh, channel = HttpConnection(bench.edge, bench.handler), test_connection.Channel()
    fresh.attach(channel, channel)
    bench.after(3)
    fresh.tls_established("TLSv1.3", None)
    fresh.data_received(REQUEST[:30])
    bench.after(2)
    assert channel.closed


def test_a_whole_request_of_a_proved_device_has_a_deadline_of_its_own() -> None:
    bench = Bench(connect_timeout_s=4, https_idle_timeout_s=60)
    bench.http.data_received(REQUEST)
    bench.after(50)
    bench.http.data_received(REQUEST[:-1])
    bench.after(3)
    assert not bench.channel.closed
    bench.after(2)
    assert bench.channel.closed


def test_tls_that_answers_who_does_not_read_is_cut_off() -> None:
    bench = Bench(max_send_buffer_bytes=2048)
    bench.http.tls_answered()
    assert not bench.channel.aborted
    bench.channel.held = 4096
    with capture_logs() as lines:
        bench.http.tls_answered()
    assert bench.channel.aborted
    assert lines[0]["reason"] is CloseReason.SEND_BUFFER_FULL


def test_an_idle_connection_is_closed_without_a_word() -> None:
    bench = Bench(connect_timeout_s=10, https_idle_timeout_s=60)
    bench.http.data_received(REQUEST)
    bench.after(59)
    assert not bench.channel.closed
    with capture_logs() as lines:
        bench.after(3)
    assert bench.channel.closed
    assert lines == []


def test_a_peer_that_does_not_take_the_end_is_cut_off() -> None:
    bench = Bench()
    bench.http.close(CloseReason.SHUTTING_DOWN)
    assert bench.channel.closed
    bench.after(7)
    assert bench.channel.aborted


def test_a_failed_handshake_is_one_line() -> None:
    bench = Bench()
    fresh = HttpConnection(bench.edge, bench.handler)
    fresh.attach(bench.channel, bench.channel)
    with capture_logs() as lines:
        fresh.tls_failed("unsupported protocol")
    assert [(line["reason"], line["detail"]) for line in lines] == [
        (CloseReason.TLS_FAILED, "unsupported protocol")
    ]


# Storm control


@pytest.mark.parametrize(
    "answer", [OK, HttpResponse(401, b"{}", device_id="a", refused=Reason.TOKEN_EXPIRED)]
)
def test_a_handshakes_place_is_free_when_an_identity_is_proved_or_refused(answer: HttpResponse) -> None:
    bench = Bench(answer)
    assert bench.edge.storm.queue.handshakes == 1
    bench.http.data_received(REQUEST * 2)
    assert bench.edge.storm.queue.handshakes == 0
    assert bench.statuses[0] == answer.status


def test_who_proves_nothing_keeps_its_place_at_the_door_and_its_first_deadline_however_often_it_asks() -> (
    None
):
    bench = Bench(CHALLENGE, connect_timeout_s=4, https_idle_timeout_s=60)
    for _ in range(3):
        bench.http.data_received(REQUEST)
        bench.after(1)
        assert bench.edge.storm.queue.handshakes == 1
    bench.http.data_received(REQUEST[:-1])  # one more is on its way
    assert (bench.statuses, bench.channel.closed) == ([401] * 3, False)
    bench.after(2)
    assert bench.channel.closed
    assert bench.edge.storm.queue.handshakes == 0


def test_who_was_challenged_may_prove_itself_on_the_same_connection_and_then_has_time() -> None:
    bench = Bench(CHALLENGE, connect_timeout_s=4, https_idle_timeout_s=60)
    bench.http.data_received(REQUEST)
    bench.after(3)
    bench.handler.next = OK
    bench.http.data_received(REQUEST)
    assert (bench.statuses, bench.edge.storm.queue.handshakes) == ([401, 200], 0)
    bench.after(58)
    assert not bench.channel.closed


def test_a_challenge_that_nobody_answers_ends_without_a_word_and_counts_against_nobody() -> None:
    bench = Bench(CHALLENGE, connect_timeout_s=4)
    bench.http.data_received(REQUEST)
    with capture_logs() as lines:
        bench.after(6)
    assert (bench.channel.closed, lines, len(bench.edge.storm.reputation)) == (True, [], 0)


def test_a_handshakes_place_is_free_when_the_connection_ends_before_a_request() -> None:
    bench = Bench()
    bench.http.connection_lost(None)
    assert bench.edge.storm.queue.handshakes == 0


def test_who_was_refused_is_closed_and_has_to_knock_again() -> None:
    bench = Bench(HttpResponse(401, b"{}", device_id="a", refused=Reason.TOKEN_EXPIRED))
    bench.http.data_received(REQUEST * 2)
    assert (bench.statuses, bench.channel.closed) == ([401], True)


def test_who_keeps_failing_is_answered_later() -> None:
    bench = Bench(HttpResponse(401, b"{}", device_id="a", refused=Reason.TOKEN_EXPIRED))
    for _ in range(100):
        bench.edge.storm.reputation.failed("192.0.2.1", "a", bench.now)
    bench.http.data_received(REQUEST)
    assert (bench.statuses, bench.edge.storm.delayed_now) == ([], 1)
    bench.after(60)
    assert (bench.statuses, bench.edge.storm.delayed_now) == ([401], 0)
    assert bench.channel.closed


def test_a_connection_takes_a_hundred_requests() -> None:
    bench = Bench()
    bench.http.data_received(REQUEST * 101)
    assert (bench.statuses, bench.channel.closed) == ([200] * 100, True)
