"""One worker's devices on one epoll loop: no task, no timer and no object of asyncio for a device.

A device between dialling and its outcome is *on its way*; one that was admitted and stays is *in*. Deadlines are kept
by one sweep: all attempts have the same time-out, so those on their way stand in the order of their deadlines.

The clock of an attempt starts when it is due, not when a connector is free for it: at a given rate, a gateway that
stalls is charged for everything that had to wait ("coordinated omission").
"""

import errno
import heapq
import os
import random
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from gateway.mqtt import (
    MQTT_3_1_1,
    Connack,
    Decoder,
    Disconnect,
    MalformedPacket,
    Puback,
    Publish,
    ServerPacket,
    Suback,
    Subscribe,
    encode,
)
from gateway.simulate.wire import (
    PROVISIONING_ANSWERS,
    Assigned,
    Declined,
    TryAgain,
    parse_provisioning_answer,
    provisioning_request,
)
from loadtest.devices import Population
from loadtest.plan import Plan, Route, Target
from loadtest.tally import Second, Tally, Totals
from loadtest.tls import ClientCertificate, TlsClient, TlsError, TlsStream

__all__ = ["Control", "Driver", "Outcome"]

_DISCONNECT: Final = encode(Disconnect())
_ACCEPTED: Final = (b"\x20\x02\x00\x00", b"\x20\x02\x01\x00")
_SUBSCRIBE_TO_ANSWERS: Final = encode(Subscribe(packet_id=1, filters=((PROVISIONING_ANSWERS, 1),)))
_FAILED_SUBSCRIPTION: Final = 0x80
_MAX_PACKET_BYTES: Final = 512 * 1024
_READ_BYTES: Final = 64 * 1024
_SWEEP_S: Final = 0.1
_PROGRESS_S: Final = 0.25
_MAX_STARTS: Final = 64
"""In one turn of the loop: answers are read in between, or their latency would be ours."""
_IP_BIND_ADDRESS_NO_PORT: Final = 24
"""<linux/in.h>: the port is chosen at connect(), so that one local address has as many for each destination."""

Clock = Callable[[], float]


class _Stage(Enum):
    """What a device waits for."""

    PROVISIONING = auto()
    """CONNACK of the provisioning service"""
    ANSWERS = auto()
    """SUBACK of the topic of its answers"""
    ASSIGNMENT = auto()
    HUB = auto()
    """CONNACK of the hub"""
    SUBSCRIPTION = auto()
    IN = auto()
    AWAY = auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of an attempt that was not admitted. Only a refusal and a failure have a cause."""

    kind: str
    cause: str = ""


_TIMED_OUT: Final = Outcome("timed out")


class _Device:
    """One device of this worker: its packets, and its connection if it has one."""

    __slots__ = (
        "certificate", "connect", "decoder", "due", "failures", "fd", "first_due", "number", "packet_id", "sock", "stage",
        "started", "tls", "unsent",
    )  # fmt: skip

    def __init__(self, number: int, connect: bytes, certificate: ClientCertificate | None) -> None:
        self.number = number
        self.connect = connect
        """The first packet of an attempt."""
        self.certificate = certificate
        self.stage = _Stage.AWAY
        self.sock: socket.socket | None = None
        self.fd = -1
        self.tls: TlsStream | None = None
        self.unsent = b""
        self.decoder: Decoder[ServerPacket] | None = None
        """Only if something came that is not one of the packets known by their bytes."""
        self.due = self.started = 0.0
        self.first_due = -1.0
        self.failures = 0
        self.packet_id = 0


class Control(Protocol):
    """What a driver hears from, and tells, whoever runs it."""

    def fileno(self) -> int:
        """Readable when there is a command."""

    def command(self) -> str:
        """`stop`: offer no more. `leave`: all devices disconnect, and the run is over."""

    def tell(self, totals: Totals) -> None: ...

    def settled(self) -> None:
        """Each attempt has its outcome, and no more will be offered."""


class Driver:
    """The devices of one worker. `prepare`, then `run`, with `stop` or `leave` in between from the loop itself."""

    def __init__(
        self,
        target: Target,
        population: Population,
        plan: Plan,
        *,
        worker: int = 0,
        processes: int = 1,
        certificate_of: Callable[[int], ClientCertificate] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._target = target
        self._family = socket.AF_INET6 if ":" in target.address[0] else socket.AF_INET
        self._population = population
        self._plan = plan.share(worker, processes)
        self._worker, self._processes = worker, processes
        self._tls = TlsClient(target) if target.ca_file is not None else None
        self._certificate_of = certificate_of
        self._clock = clock
        self._epoll = select.epoll()
        self._devices: list[_Device] = []
        self._by_fd: dict[int, _Device] = {}
        self._on_their_way: dict[_Device, None] = {}
        self._in: dict[_Device, None] = {}
        self._agenda: list[tuple[float, int, Callable[[_Device], None], _Device]] = []
        """What is to be done later (a heap): retries, and polls of the provisioning service."""
        self._entries = 0
        self._returning: deque[_Device] = deque()
        """Those whose pause is over."""
        self._start_s = 0.0
        self.tally = Tally()
        self.totals = Totals()
        self._stopped = False

    def prepare(self) -> None:
        """Make the packets of all devices."""
        first = (
            self._population.provisioning_connect
            if self._plan.path is Route.DPS
            else self._population.hub_connect
        )
        for number in range(self._worker, self._population.count, self._processes):
            certificate = self._certificate_of(number) if self._certificate_of is not None else None
            self._devices.append(_Device(number, first(number), certificate))

    # The loop

    def run(self, started: float, control: Control) -> None:
        """Offer every device, and go on until the control says to leave. `started` is in the clock's seconds."""
        self._start_s = started
        by_number = {device.number: device for device in self._devices}
        queue = self._plan.offers(list(by_number), self._worker, self._processes)
        self._offers = ((by_number[number], due) for number, due in queue)
        self._next: tuple[_Device, float | None] | None = next(self._offers, None)
        self._epoll.register(control.fileno(), select.EPOLLIN)
        swept = told = self._clock()
        cpu_s = time.process_time()
        settled = False
        while True:
            pause_s = self._begin_what_is_due()
            for fd, event in self._epoll.poll(pause_s, 1024):
                device = self._by_fd.get(fd)
                if device is not None:
                    self._ready(device, event)
                elif fd == control.fileno() and not self._obey(control):
                    return
            now = self._clock()
            if now - swept >= _SWEEP_S:
                swept = now
                self._sweep(now)
            if now - told >= _PROGRESS_S:
                told = now
                control.tell(self.totals)
            if not settled and self._is_settled():
                settled = True
                self.tally.cpu_s = time.process_time() - cpu_s
                control.tell(self.totals)
                control.settled()

    def _obey(self, control: Control) -> bool:
        match control.command():
            case "stop":
                self._stop()
                return True
            case _:
                self._leave()
                return False

    def _stop(self) -> None:
        """Offer no more, but wait for those on their way."""
        self._next = None
        self._stopped = True
        self._returning.clear()
        self._agenda = [entry for entry in self._agenda if entry[3] in self._on_their_way]
        heapq.heapify(self._agenda)

    def _is_settled(self) -> bool:
        return self._next is None and not (self._on_their_way or self._agenda or self._returning)

    def _leave(self) -> None:
        """All devices disconnect in order."""
        for device in list(self._in):
            self._send(device, _DISCONNECT)
            self._close(device)
        for device in list(self._on_their_way):
            self._end(device, Outcome("failed", "interrupted"))
        self.totals.sessions = 0

    def _begin_what_is_due(self) -> float:
        """Start attempts, and return how long there is nothing to start, at most a sweep's pause."""
        started = 0
        now = self._clock()
        while self._agenda and self._agenda[0][0] <= now:
            _, _, action, device = heapq.heappop(self._agenda)
            action(device)
        limit = self._plan.connectors
        while self._next is not None or self._returning:
            if limit is not None and len(self._on_their_way) >= limit:
                return self._until_agenda(now)
            if started >= _MAX_STARTS:
                return 0.0
            started += 1
            if self._returning:
                device = self._returning.popleft()
                self._begin(device, device.due, self._clock())
                continue
            assert self._next is not None
            device, after = self._next
            now = self._clock()
            due = now if after is None else self._start_s + after
            if due > now:
                return min(due - now, self._until_agenda(now))
            if device.stage is not _Stage.AWAY:  # its round before is not over
                return self._until_agenda(now)
            self._next = next(self._offers, None)
            self._begin(device, due, now)
        return self._until_agenda(now)

    def _until_agenda(self, now: float) -> float:
        return min(_SWEEP_S, max(0.0, self._agenda[0][0] - now)) if self._agenda else _SWEEP_S

    def _later(self, when: float, action: Callable[[_Device], None], device: _Device) -> None:
        self._entries += 1
        heapq.heappush(self._agenda, (when, self._entries, action, device))

    def _sweep(self, now: float) -> None:
        late = now - self._plan.timeout_s
        overdue: list[_Device] = []
        for device in self._on_their_way:
            if device.started > late:
                break
            overdue.append(device)
        for device in overdue:
            self._end(device, _TIMED_OUT)

    # An attempt

    def _begin(self, device: _Device, due: float, now: float) -> None:
        second = self.tally.at(now - self._start_s)
        second.offered += 1
        self.totals.offered += 1
        self.tally.latest_start_s = max(self.tally.latest_start_s, now - due)
        device.due, device.started = due, now
        if device.first_due < 0:
            device.first_due = due
        self._on_their_way[device] = None
        stage = _Stage.PROVISIONING if self._plan.path is Route.DPS else _Stage.HUB
        self._dial(device, device.connect, stage)

    def _dial(self, device: _Device, connect: bytes, stage: _Stage) -> None:
        sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        device.sock, device.fd, device.stage = sock, sock.fileno(), stage
        device.decoder = None
        device.packet_id = 1
        if self._target.sources:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((self._target.sources[device.number % len(self._target.sources)], 0))
        problem = sock.connect_ex(self._target.address)
        self._by_fd[device.fd] = device
        self._epoll.register(device.fd, select.EPOLLIN)
        if problem not in {0, errno.EINPROGRESS}:
            self._fail(device, _plain(problem))
            return
        if self._tls is None:
            self._write(device, connect)
            return
        device.tls = self._tls.stream(connect, device.certificate)
        self._write(device, device.tls.start())

    def _write(self, device: _Device, data: bytes) -> None:
        """Send as it is. On loopback a connection usually stands before `connect` returns, so this tries at once."""
        sock = device.sock
        if sock is None:
            return
        if device.unsent:
            device.unsent += data
            return
        try:
            sent = sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(device, _plain(error.errno))
            return
        if sent < len(data):
            device.unsent = data[sent:]
            self._epoll.modify(device.fd, select.EPOLLIN | select.EPOLLOUT)

    def _send(self, device: _Device, packet: bytes) -> None:
        self._write(device, packet if device.tls is None else device.tls.seal(packet))

    def _ready(self, device: _Device, event: int) -> None:
        if event & select.EPOLLOUT and not event & (select.EPOLLERR | select.EPOLLHUP):
            data, device.unsent = device.unsent, b""
            self._epoll.modify(device.fd, select.EPOLLIN)
            self._write(device, data)
        if event & ~select.EPOLLOUT and device.sock is not None:
            self._read(device, device.sock)

    def _read(self, device: _Device, sock: socket.socket) -> None:
        try:
            data = sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(device, _plain(error.errno))
            return
        if not data:
            in_handshake = device.tls is not None and not device.tls.established
            self._fail(
                device, "connection closed in the TLS handshake" if in_handshake else "connection closed"
            )
            return
        if device.tls is not None:
            try:
                data, answer = device.tls.receive(data)
            except TlsError as error:
                self._fail(device, f"TLS: {error}")
                return
            if answer:
                self._write(device, answer)
            if not data or device.sock is not sock:
                return
        if data in _ACCEPTED and device.decoder is None:
            self._accepted(device)
        else:
            self._decode(device, data)

    def _decode(self, device: _Device, data: bytes) -> None:
        """The general way; CONNACK 0 has its own."""
        decoder = device.decoder
        if decoder is None:
            decoder = device.decoder = Decoder(MQTT_3_1_1.from_server, max_packet_size=_MAX_PACKET_BYTES)
        decoder.feed(data)
        try:
            while device.decoder is decoder and (packet := decoder.next_packet()) is not None:
                self._received(device, packet)
        except MalformedPacket:
            self._fail(device, "malformed packet")

    def _received(self, device: _Device, packet: ServerPacket) -> None:
        match packet:
            case Connack(code=0):
                self._accepted(device)
            case Connack(code=code):
                self._end(device, Outcome("refused", f"connack {code}"))
            case Suback(codes=codes) if _FAILED_SUBSCRIPTION in codes:
                self._end(device, Outcome("refused", "suback 128"))
            case Suback() if device.stage is _Stage.ANSWERS:
                device.stage = _Stage.ASSIGNMENT
                self._ask(device, None)
            case Suback() if device.stage is _Stage.SUBSCRIPTION:
                self._admit(device)
            case Publish():
                if packet.packet_id is not None:
                    self._send(device, encode(Puback(packet_id=packet.packet_id)))
                if device.stage is _Stage.ASSIGNMENT:
                    self._answered(device, packet)
            case _:
                pass

    def _accepted(self, device: _Device) -> None:
        """CONNACK 0."""
        if device.stage is _Stage.PROVISIONING:
            device.stage = _Stage.ANSWERS
            self._send(device, _SUBSCRIBE_TO_ANSWERS)
        elif device.stage is _Stage.HUB and self._plan.subscribe:
            device.stage = _Stage.SUBSCRIPTION
            topic = f"devices/{self._population.device_id(device.number)}/messages/devicebound/#"
            self._send(device, encode(Subscribe(packet_id=1, filters=((topic, 1),))))
        elif device.stage is _Stage.HUB:
            self._admit(device)
        else:
            self._fail(device, "malformed packet")

    # The provisioning service

    def _ask(self, device: _Device, operation_id: str | None) -> None:
        if device.stage is not _Stage.ASSIGNMENT:
            return
        device_id = self._population.device_id(device.number)
        topic, body = provisioning_request(device_id, self._population.model_id, operation_id)
        device.packet_id += 1
        self._send(device, encode(Publish(topic=topic, payload=body, qos=1, packet_id=device.packet_id)))

    def _answered(self, device: _Device, packet: Publish) -> None:
        match parse_provisioning_answer(packet.topic, packet.payload):
            case Assigned(hub=hub):
                self._send(device, _DISCONNECT)
                self._close(device)
                self._dial(device, self._population.hub_connect(device.number, hub), _Stage.HUB)
            case TryAgain(after_s=after_s, operation_id=operation_id):
                self._later(self._clock() + after_s, lambda device: self._ask(device, operation_id), device)
            case Declined(code=code):
                self._end(device, Outcome("refused", f"dps {code}"))

    # How an attempt, and a session, ends

    def _admit(self, device: _Device) -> None:
        now = self._clock()
        del self._on_their_way[device]
        second = self._outcome(now)
        second.admitted += 1
        second.latencies_s.append(now - device.due)
        self.totals.admitted += 1
        device.failures = 0
        if self._plan.stay:
            device.stage = _Stage.IN
            self._in[device] = None
            self.totals.sessions += 1
        else:
            self._send(device, _DISCONNECT)
            self._close(device)

    def _outcome(self, now: float) -> Second:
        elapsed_s = now - self._start_s
        self.tally.finished_s = elapsed_s
        return self.tally.at(elapsed_s)

    def _fail(self, device: _Device, cause: str) -> None:
        """The connection is gone: the attempt failed or, after it, the session is lost."""
        if device.stage is _Stage.IN:
            self._close(device)
            self.tally.at(self._clock() - self._start_s).lost += 1
            self.totals.lost += 1
            self.totals.sessions -= 1
        elif device in self._on_their_way:
            self._end(device, Outcome("failed", cause))

    def _end(self, device: _Device, outcome: Outcome) -> None:
        """The attempt is over without admission."""
        now = self._clock()
        self._close(device)
        del self._on_their_way[device]
        second = self._outcome(now)
        match outcome.kind:
            case "refused":
                second.refused[outcome.cause] += 1
                self.totals.refused += 1
            case "timed out":
                second.timed_out += 1
                self.totals.timed_out += 1
            case _:
                second.failed[outcome.cause] += 1
                self.totals.failed += 1
        if self._plan.retry is not None and not self._stopped:
            device.failures += 1
            pause_s = self._plan.retry.pause_s(device.failures, random.random())  # noqa: S311 - spreads load
            device.due = now + pause_s
            self._later(device.due, self._come_back, device)

    def _come_back(self, device: _Device) -> None:
        self._returning.append(device)

    def _close(self, device: _Device) -> None:
        if device.sock is None:
            return
        del self._by_fd[device.fd]
        self._in.pop(device, None)
        device.sock.close()
        device.sock = device.tls = device.decoder = None
        device.unsent = b""
        device.stage = _Stage.AWAY


def _plain(number: int | None) -> str:
    """`connection refused`"""
    return os.strerror(number).lower() if number else "no answer"
