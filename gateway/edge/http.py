"""One HTTPS connection of a device: bytes to requests by h11, and each request to the handler.

Why not the server that operators' HTTP runs on: that one does not hand a client's certificate to the application, and lets
TLS refuse whatever no loaded CA vouches for. This connection stands on the same `TlsChannel` as MQTT's, with the same
limits and the same wheel of deadlines (docs/decisions/0010-devices-https-on-their-own-listener.md).

A connection answers one request at a time. It has no task and no timer of its own.

Who has not proved a device's identity is where an MQTT peer is before its CONNECT: it has one deadline, from accept on, and
keeps its place among the handshakes, however often it is answered. So a TPM may be challenged and prove itself on
one connection, and a stranger holds no more, and for no longer, than over MQTT.
"""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final

import h11

from gateway.edge.connection import FAULTS_OF_THE_PEER, Edge, next_connection_id
from gateway.edge.tls import Channel
from gateway.exchange import HttpExchange, HttpHandler, HttpResponse
from gateway.identity.evidence import CertificateEvidence
from gateway.log import get_logger
from gateway.session import CloseReason

__all__ = ["HttpConnection", "http_connections"]

log = get_logger()

_MAX_HEADER_BYTES: Final = 16 * 1024
_LINGER_S: Final = 5.0
_MAX_REQUESTS: Final = 100
"""On one connection: who wants more passes the door again, where storm control is."""
_BAD_REQUEST, _TOO_LARGE, _INTERNAL_ERROR = 400, 413, 500
_ORDINARY: Final = frozenset(
    {CloseReason.DISCONNECTED, CloseReason.CONNECTION_LOST, CloseReason.KEEP_ALIVE_EXPIRED}
)
"""Ends that are no news: the requests themselves were logged."""


def http_connections(handler: HttpHandler) -> "Callable[[Edge], HttpConnection]":
    """What a listener makes its connections with."""
    return lambda edge: HttpConnection(edge, handler)


class HttpConnection:
    """Stands above a `TlsChannel` (see `gateway.edge.tls.Receiver`)."""

    __slots__ = (
        "_answered", "_body", "_certificate", "_channel", "_close_reason", "_connection_id", "_edge", "_handler",
        "_handshake", "_held_answer", "_http",
        "_is_waiting", "_peer", "_request", "_tls", "bucket",
    )  # fmt: skip

    def __init__(self, edge: Edge, handler: HttpHandler) -> None:
        self._edge = edge
        self._handler = handler
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)
        self._connection_id = next_connection_id()
        self._channel: Channel
        self._peer = ""
        self._tls: str | None = None
        self._certificate: CertificateEvidence | None = None
        self._request: h11.Request | None = None
        self._body = b""
        self._handshake: str | None = None
        self._held_answer: HttpResponse | None = None
        self._is_waiting = False
        self._answered = 0
        self._close_reason: CloseReason | None = None
        self.bucket = 0

    # The TLS channel calls these

    def attach(self, channel: Channel, transport: Any) -> None:
        """`channel` is what we write to; `transport` knows the peer's address."""
        self._channel = channel
        peer = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if peer else "unknown"
        self._edge.connections.add(self)
        self._handshake = self._edge.storm.began(peer[0] if peer else "")
        self._watch(self._edge.settings.connect_timeout_s)

    def tls_established(self, version: str, certificate: CertificateEvidence | None) -> None:
        self._tls = version
        self._certificate = certificate

    def tls_failed(self, detail: str) -> None:
        reason = CloseReason.TLS_FAILED if self._tls is None else CloseReason.CONNECTION_LOST
        if self._tls is None:
            self._edge.counts.tls_failed += 1
        self._end(reason, detail, abort=True)

    def data_received(self, data: bytes) -> None:
        if self._close_reason is None:
            self._go_on_with(data)

    def _go_on_with(self, data: bytes, *, answer: HttpResponse | None = None) -> None:
        try:
            if answer is not None:
                self._decided(answer)
            if data:  # to h11, none is the end of the stream
                self._http.receive_data(data)
            self._go_on()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours ends this connection, in one line, and no other
            self._end(CloseReason.FAULT, repr(error), abort=True)

    def eof_received(self) -> bool | None:
        self._end(CloseReason.DISCONNECTED)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._end(CloseReason.CONNECTION_LOST, str(error) if error else "")
        self._edge.deadlines.forget(self)
        self._edge.connections.discard(self)

    def tls_answered(self) -> None:
        """See `gateway.edge.tls.Receiver`."""
        if self._channel.get_write_buffer_size() > self._edge.settings.max_send_buffer_bytes:
            self._end(CloseReason.SEND_BUFFER_FULL, abort=True)

    def pause_writing(self) -> None:
        """An answer is small, and there are at most `_MAX_REQUESTS` of them to hold."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    # The edge calls these

    def close(self, reason: CloseReason, detail: str = "") -> None:
        self._end(reason, detail)

    def deadline_reached(self, now: float) -> float | None:
        """See `gateway.edge.deadlines`: no whole request came, or an answer was held back, or not taken."""
        if self._close_reason is not None:
            self._channel.abort()
        elif self._held_answer is not None:
            try:
                self._answer(self._held_answer)
            except Exception as error:  # noqa: BLE001 - the wheel turns for all connections
                self._end(CloseReason.FAULT, repr(error), abort=True)
        elif self._answered and self._request is None:
            self._end(CloseReason.KEEP_ALIVE_EXPIRED)
        else:
            self._end(CloseReason.CONNECT_TIMED_OUT)
        return None

    # HTTP

    def _go_on(self) -> None:
        """Handle what has been received, as far as it is whole."""
        while self._close_reason is None and not self._is_waiting:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    self._send(h11.InformationalResponse(status_code=100, headers=[]))
                return
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.Request):
                self._request = event
                self._body = b""
                if self._handshake is None:
                    self._watch(self._edge.settings.connect_timeout_s)
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > self._edge.settings.max_request_bytes:
                    self._refuse(_TOO_LARGE, "the body is too large")
            elif isinstance(event, h11.EndOfMessage):
                self._request_received()

    def _request_received(self) -> None:
        request = self._request
        if request is None:
            raise RuntimeError("a body without a request")
        exchange = HttpExchange(
            method=request.method.decode("ascii"),
            target=request.target.decode("ascii"),
            authorization=_authorization(request),
            body=self._body,
            certificate=self._certificate,
            peer=self._peer,
            tls=self._tls,
            connection_id=self._connection_id,
        )
        self._body = b""
        answer = self._handler.answer(exchange, shutting_down=self._edge.shutting_down)
        if isinstance(answer, asyncio.Future):
            self._is_waiting = True
            self._channel.pause_reading()
            answer.add_done_callback(self._answer_decided)
        else:
            self._decided(answer)

    def _answer_decided(self, future: "asyncio.Future[HttpResponse]") -> None:
        self._is_waiting = False
        if self._close_reason is not None:
            return
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or error is not None:
            self._end(CloseReason.FAULT, repr(error), abort=True)
            return
        self._go_on_with(b"", answer=future.result())
        if self._close_reason is None and not self._is_waiting:
            self._channel.resume_reading()

    def _decided(self, response: HttpResponse) -> None:
        """Answer, unless this peer keeps failing: then its answer is held back for a while."""
        if self._handshake is not None and (response.refused is not None or response.device_id is not None):
            delay_s = self._leave_door(self._handshake, response)
            self._handshake = None
            if delay_s:
                self._held_answer = response
                self._is_waiting = True
                self._channel.pause_reading()
                self._watch(delay_s)
                return
        self._answer(response)

    def _leave_door(self, handshake: str, response: HttpResponse) -> float:
        """Who is there is decided: tell storm control. Returns for how long to hold back the answer."""
        storm, now = self._edge.storm, self._edge.monotonic()
        if response.refused is not None:
            return storm.refused(handshake, response.device_id, response.refused, now)
        if response.device_id is not None:
            storm.admitted(handshake, response.device_id, response.group, now)
        return 0.0

    def _answer(self, response: HttpResponse) -> None:
        # Who was refused passes the door again to try another credential.
        if response.refused is not None:
            self._edge.counts.refused[response.refused] += 1
        if response.refused is not None or self._answered + 1 >= _MAX_REQUESTS:
            response = response._replace(headers=(*response.headers, ("Connection", "close")))
        self._respond(response)
        self._answered += 1
        self._request = None
        if self._http.our_state is h11.MUST_CLOSE:
            self._end(CloseReason.DISCONNECTED)
            return
        self._http.start_next_cycle()
        if self._handshake is None:
            self._watch(self._edge.settings.https_idle_timeout_s)

    def _refuse(self, status: int, why: str) -> None:
        """What is no HTTP request that we take: said so if that can be said, then the end."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = b'{"message":"not a request that is served here"}'
            self._respond(HttpResponse(status, body, (("Connection", "close"),)))
        self._end(CloseReason.PROTOCOL_VIOLATED, why)

    def _respond(self, response: HttpResponse) -> None:
        headers = [
            ("Content-Type", "application/json; charset=utf-8"),
            ("Content-Length", str(len(response.body))),
            ("Date", formatdate(self._edge.clock(), usegmt=True)),
            *response.headers,
        ]
        self._send(h11.Response(status_code=response.status, headers=headers))
        is_head = self._request is not None and self._request.method == b"HEAD"
        if response.body and not is_head:
            self._send(h11.Data(data=response.body))
        self._send(h11.EndOfMessage())

    def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._channel.write(data)

    # Ending

    def _watch(self, seconds: float) -> None:
        self._edge.deadlines.watch(self, self._edge.monotonic() + seconds)

    def _end(self, reason: CloseReason, detail: str = "", *, abort: bool = False) -> None:
        if self._close_reason is not None:
            return
        self._close_reason = reason
        self._edge.counts.closed[reason] += 1
        if self._handshake is not None:
            self._edge.storm.broke_off(
                self._handshake, self._edge.monotonic(), is_fault_of_peer=reason in FAULTS_OF_THE_PEER
            )
            self._handshake = None
        elif self._held_answer is not None:
            self._edge.storm.answered_late()
        if reason not in _ORDINARY:
            emit = log.error if reason is CloseReason.FAULT else log.info
            emit(
                "connection.closed", reason=reason, detail=detail, device_id=None, peer=self._peer, tls=self._tls,
                connection_id=self._connection_id, transport="https",
            )  # fmt: skip
        if abort:
            self._channel.abort()
        else:
            self._channel.close()
            self._watch(_LINGER_S)


def _authorization(request: h11.Request) -> str | None:
    """The header's value, if there is exactly one."""
    values = [value for name, value in request.headers if name == b"authorization"]
    return values[0].decode("latin-1") if len(values) == 1 else None
