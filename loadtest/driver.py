"""One worker's devices on one loop: no task, no timer and no object of asyncio for a device.

A device between dialling and its outcome is *on its way*; one that was admitted and stays is *in*. Deadlines are kept
by one sweep: all attempts have the same time-out, so those on their way stand in the order of their deadlines.

The clock of an attempt starts when it is due, not when a connector is free for it: at a given rate, a gateway that
stalls is charged for everything that had to wait ("coordinated omission").
"""

import heapq
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol, assert_never

from gateway.mqtt import (
    Connack,
    Disconnect,
    Pingreq,
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
from loadtest.device import INTERRUPTED, TIMED_OUT, Device, Kind, Outcome, Stage
from loadtest.devices import KEEP_ALIVE_S, Population
from loadtest.links import Links
from loadtest.plan import Plan, Route, Target
from loadtest.publisher import Publisher
from loadtest.tally import Second, Tally, Totals
from loadtest.tls import ClientCertificate

__all__ = ["Control", "Driver"]

_DISCONNECT: Final = encode(Disconnect())
_PINGREQ: Final = encode(Pingreq())
_SUBSCRIBE_TO_ANSWERS: Final = encode(Subscribe(packet_id=1, filters=((PROVISIONING_ANSWERS, 1),)))
_FAILED_SUBSCRIPTION: Final = 0x80
_SWEEP_S: Final = 0.1
_PING_S: Final = KEEP_ALIVE_S / 2
_PROGRESS_S: Final = 0.25
_MAX_STARTS: Final = 64
"""In one turn of the loop: answers are read in between, or their latency would be ours."""
Clock = Callable[[], float]


class Control(Protocol):
    """What a driver hears from, and tells, whoever runs it."""

    def fileno(self) -> int:
        """Readable when there is a command."""

    def command(self) -> str:
        """One of

        - `hold`: all are in; publish, and let devices leave and come back, as planned.
        - `quiet`: that is over; `quiet` is answered when all messages and attempts have their outcome.
        - `stop`: offer and publish nothing more.
        - `leave`: all devices disconnect, and the run is over.
        """

    def tell(self, totals: Totals) -> None: ...

    def settled(self) -> None:
        """Each attempt has its outcome, and no more will be offered."""

    def quiet(self) -> None: ...


class Driver:
    """The devices of one worker: `prepare`, then `run`."""

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
        self._population = population
        self._plan = plan.share(worker, processes)
        self._worker, self._processes = worker, processes
        self._links = Links(target, self)
        self._certificate_of = certificate_of
        self._clock = clock
        self._devices: list[Device] = []
        self._on_their_way: dict[Device, None] = {}
        self._in: dict[Device, None] = {}
        self._agenda: list[tuple[float, int, Callable[[Device], None], Device]] = []
        """What is to be done later (a heap): retries, and polls of the provisioning service."""
        self._entries = 0
        self._returning: deque[Device] = deque()
        """Those that come back as soon as a connector is free."""
        self._pings: deque[tuple[float, Device, int]] = deque()
        self._renewals: deque[tuple[float, Device, int]] = deque()
        """(when, whose, in which of its sessions): first in, first due."""
        self._start_s = 0.0
        self._held_s: float | None = None
        self._churned = 0
        self._coming_back = True
        self._signs_late = plan.renew_after_s is not None
        """Short-lived tokens are signed when they are needed."""
        self.tally = Tally()
        self.totals = Totals()
        self._publisher = (
            None
            if self._plan.messages is None
            else Publisher(
                self._plan.messages,
                worker=worker,
                processes=processes,
                device_id=population.device_id,
                send=self._links.send,
                tally=self.tally,
                totals=self.totals,
            )
        )

    def prepare(self) -> None:
        """Make the packets of all devices."""
        for number in range(self._worker, self._population.count, self._processes):
            certificate = self._certificate_of(number) if self._certificate_of is not None else None
            bad = self._population.is_bad(number)
            device = Device(number, certificate, bad=bad)
            self._make_first_packet(device)
            self._devices.append(device)

    def _make_first_packet(self, device: Device) -> None:
        if self._plan.path is Route.DPS and device.hub is None:
            device.connect = self._population.provisioning_connect(device.number)
            device.first_stage = Stage.PROVISIONING
        else:
            device.connect = self._population.hub_connect(device.number, device.hub)
            device.first_stage = Stage.HUB

    # The loop

    def run(self, started: float, control: Control) -> None:
        """Offer every device, and go on until the control says to leave. `started` is in the clock's seconds."""
        self._start_s = started
        by_number = {device.number: device for device in self._devices}
        queue = self._plan.offers(list(by_number), self._worker, self._processes)
        self._offers = ((by_number[number], due) for number, due in queue)
        self._next: tuple[Device, float | None] | None = next(self._offers, None)
        self._links.watch(control.fileno())
        swept = told = self._clock()
        cpu_s = time.process_time()
        settled = quiet = False
        self._to_be_quiet = False
        while True:
            pause_s = self._begin_what_is_due()
            if self._links.poll(pause_s) and not self._obey(control.command()):
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
            if self._to_be_quiet and not quiet and self._is_quiet():
                quiet = True
                control.tell(self.totals)
                control.quiet()

    def _obey(self, command: str) -> bool:
        match command:
            case "hold":
                self._held_s = self._clock()
                if self._publisher is not None:
                    self._publisher.begin(self._held_s)
            case "quiet":
                self._to_be_quiet = True
                self._let_all_stay()
            case "stop":
                self._stop()
            case _:
                self._leave()
                return False
        return True

    def _stop(self) -> None:
        """Offer no more, but wait for those on their way."""
        self._next = None
        self._let_all_stay()
        self._coming_back = False
        self._returning.clear()
        self._agenda = [entry for entry in self._agenda if entry[3] in self._on_their_way]
        heapq.heapify(self._agenda)
        if self._publisher is not None:
            self._publisher.stop()

    def _let_all_stay(self) -> None:
        """No churn, and no new tokens."""
        self._plan = replace(self._plan, churn_per_s=0.0, renew_after_s=None)

    def _is_settled(self) -> bool:
        return self._next is None and not (self._on_their_way or self._agenda or self._returning)

    def _is_quiet(self) -> bool:
        return self._is_settled() and (self._publisher is None or self._publisher.is_quiet)

    def _leave(self) -> None:
        """All devices disconnect in order."""
        self._coming_back = False
        self.tally.sessions = len(self._in)
        for device in list(self._in):
            self._links.send(device, _DISCONNECT)
            self._close(device)
        for device in list(self._on_their_way):
            self._end(device, INTERRUPTED)

    def _begin_what_is_due(self) -> float:
        """Do what is due now, and return for how long nothing is: at most a sweep's pause."""
        now = self._clock()
        while self._agenda and self._agenda[0][0] <= now:
            _, _, action, device = heapq.heappop(self._agenda)
            action(device)
        pause_s = min(_SWEEP_S, self._agenda[0][0] - now) if self._agenda else _SWEEP_S
        if self._publisher is not None:
            self._publisher.publish_due(now, now - self._start_s)
            due = self._publisher.due_s()
            if due is not None:
                pause_s = min(pause_s, due - now)
        return max(0.0, min(pause_s, self._begin_attempts()))

    def _begin_attempts(self) -> float:
        """Start those that are due, as far as there are connectors for them."""
        limit = self._plan.connectors
        for _ in range(_MAX_STARTS):
            if limit is not None and len(self._on_their_way) >= limit:
                return _SWEEP_S
            now = self._clock()
            if self._returning:
                device = self._returning.popleft()
                self._begin(device, device.due, now)
            elif self._next is None:
                return _SWEEP_S
            else:
                device, after = self._next
                due = now if after is None else self._start_s + after
                if due > now:
                    return due - now
                if device.stage is not Stage.AWAY:  # its round before is not over
                    return _SWEEP_S
                self._next = next(self._offers, None)
                self.tally.offered_until_s = now - self._start_s
                self._begin(device, due, now)
        return 0.0

    def _later(self, when: float, action: Callable[[Device], None], device: Device) -> None:
        self._entries += 1
        heapq.heappush(self._agenda, (when, self._entries, action, device))

    def _sweep(self, now: float) -> None:
        late = now - self._plan.timeout_s
        overdue: list[Device] = []
        for device in self._on_their_way:
            if device.started > late:
                break
            overdue.append(device)
        for device in overdue:
            self._end(device, TIMED_OUT)
        self._upkeep(now)

    # While they are held

    def _upkeep(self, now: float) -> None:
        """Pings, new tokens, and devices that leave and come back."""
        while self._pings and self._pings[0][0] <= now:
            _, device, session = self._pings.popleft()
            if device.stage is Stage.IN and device.session == session:
                self._links.send(device, _PINGREQ)
                self._pings.append((now + _PING_S, device, session))
        while self._renewals and self._renewals[0][0] <= now and self._plan.renew_after_s is not None:
            due, device, session = self._renewals.popleft()
            if device.stage is Stage.IN and device.session == session:
                self._leave_and_come_back(device, due)
        if self._held_s is not None and self._plan.churn_per_s:
            wanted = int((now - self._held_s) * self._plan.churn_per_s)
            while self._churned < wanted and self._in:
                self._churned += 1
                self._leave_and_come_back(next(iter(self._in)), now)

    def _leave_and_come_back(self, device: Device, due: float) -> None:
        self._links.send(device, _DISCONNECT)
        if device.stage is Stage.IN:
            self._close(device)
            self._come_back(device, due)

    def _come_back(self, device: Device, due: float) -> None:
        """Straight to its hub if it was assigned one, and with a new token."""
        device.due = due
        if not self._signs_late:
            self._make_first_packet(device)
        self._returning.append(device)

    # An attempt

    def _begin(self, device: Device, due: float, now: float) -> None:
        self.tally.at(now - self._start_s).offered += 1
        self.totals.offered += 1
        self.tally.bad_offered += device.bad
        self.tally.latest_start_s = max(self.tally.latest_start_s, now - due)
        device.due, device.started = due, now
        if device.first_due is None:
            device.first_due = due
        self._on_their_way[device] = None
        if self._signs_late:
            self._make_first_packet(device)
        device.stage = device.first_stage
        self._links.dial(device, device.connect)

    # What the server says

    def received(self, device: Device, packet: ServerPacket) -> None:
        match packet:
            case Connack(code=0):
                self.accepted(device)
            case Connack(code=code):
                self._end(device, Outcome(Kind.REFUSED, f"connack {code}"))
            case Suback(codes=codes) if _FAILED_SUBSCRIPTION in codes:
                self._end(device, Outcome(Kind.REFUSED, "suback 128"))
            case Suback() if device.stage is Stage.ANSWERS:
                device.stage = Stage.ASSIGNMENT
                self._ask(device, None)
            case Suback() if device.stage is Stage.SUBSCRIPTION:
                self._admit(device)
            case Publish():
                if packet.packet_id is not None:
                    self._links.send(device, encode(Puback(packet_id=packet.packet_id)))
                if device.stage is Stage.ASSIGNMENT:
                    self._answered(device, packet)
            case Puback(packet_id=packet_id):
                self.acknowledged(device, packet_id)
            case _:
                pass

    def acknowledged(self, device: Device, packet_id: int) -> None:
        if self._publisher is not None:
            now = self._clock()
            self._publisher.acknowledged(device, packet_id, now, now - self._start_s)

    def accepted(self, device: Device) -> None:
        """CONNACK 0."""
        if device.stage is Stage.PROVISIONING:
            device.stage = Stage.ANSWERS
            self._links.send(device, _SUBSCRIBE_TO_ANSWERS)
        elif device.stage is Stage.HUB and self._plan.subscribe:
            device.stage = Stage.SUBSCRIPTION
            topic = f"devices/{self._population.device_id(device.number)}/messages/devicebound/#"
            self._links.send(device, encode(Subscribe(packet_id=1, filters=((topic, 1),))))
        elif device.stage is Stage.HUB:
            self._admit(device)
        else:
            self.failed(device, "malformed packet")

    # The provisioning service

    def _ask(self, device: Device, operation_id: str | None) -> None:
        if device.stage is not Stage.ASSIGNMENT:
            return
        device_id = self._population.device_id(device.number)
        topic, body = provisioning_request(device_id, self._population.model_id, operation_id)
        device.packet_id += 1
        self._links.send(
            device, encode(Publish(topic=topic, payload=body, qos=1, packet_id=device.packet_id))
        )

    def _answered(self, device: Device, packet: Publish) -> None:
        match parse_provisioning_answer(packet.topic, packet.payload):
            case Assigned(hub=hub):
                device.hub = hub
                self.tally.registered.add(device.number)
                self._links.send(device, _DISCONNECT)
                self._close(device)
                device.stage = Stage.HUB
                self._links.dial(device, self._population.hub_connect(device.number, hub))
            case TryAgain(after_s=after_s, operation_id=operation_id):
                self.tally.at(self._clock() - self._start_s).deferred += operation_id is None
                self._ask_later(device, after_s, operation_id)
            case Declined(code=code):
                self._end(device, Outcome(Kind.REFUSED, f"dps {code}"))

    def _ask_later(self, device: Device, after_s: float, operation_id: str | None) -> None:
        started = device.started

        def ask(device: Device) -> None:
            if device.started == started:  # else that attempt is over, and this is another
                self._ask(device, operation_id)

        self._later(self._clock() + after_s, ask, device)

    # How an attempt, and a session, ends

    def _admit(self, device: Device) -> None:
        now = self._clock()
        del self._on_their_way[device]
        second = self._outcome(now)
        second.admitted += 1
        second.latencies_s.append(now - device.due)
        self.totals.admitted += 1
        self.tally.registered.add(device.number)
        if device.bad:
            self.tally.bad_admitted.add(device.number)
        device.failures = 0
        device.session += 1
        if device.session == 1:
            self._first_time(device, now)
        if self._plan.stay:
            self._stay(device, now)
        else:
            self._links.send(device, _DISCONNECT)
            self._close(device)

    def _first_time(self, device: Device, now: float) -> None:
        assert device.first_due is not None
        self.tally.times_to_in_s.append(now - device.first_due)
        self.tally.everybody_in_s = now - self._start_s

    def _stay(self, device: Device, now: float) -> None:
        device.stage = Stage.IN
        self._in[device] = None
        self.totals.sessions += 1
        self._pings.append((now + _PING_S, device, device.session))
        if self._plan.renew_after_s is not None:
            self._renewals.append((now + self._plan.renew_after_s, device, device.session))
        if self._publisher is not None:
            self._publisher.admitted(device)

    def _outcome(self, now: float) -> Second:
        elapsed_s = now - self._start_s
        if self._held_s is None:
            self.tally.finished_s = elapsed_s
        return self.tally.at(elapsed_s)

    def failed(self, device: Device, cause: str) -> None:
        """The connection is gone: the attempt failed or, after it, the session is lost."""
        if device.stage is Stage.IN:
            now = self._clock()
            self._close(device)
            self.tally.at(now - self._start_s).lost += 1
            self.totals.lost += 1
            self._try_again(device, now)
        elif device in self._on_their_way:
            self._end(device, Outcome(Kind.FAILED, cause))

    def _end(self, device: Device, outcome: Outcome) -> None:
        """The attempt is over without admission."""
        now = self._clock()
        self._close(device)
        del self._on_their_way[device]
        second = self._outcome(now)
        match outcome.kind:
            case Kind.REFUSED:
                second.refused[outcome.cause] += 1
                self.totals.refused += 1
            case Kind.TIMED_OUT:
                second.timed_out += 1
                self.totals.timed_out += 1
                self.tally.unsure.add(device.number)
            case Kind.FAILED:
                second.failed[outcome.cause] += 1
                self.totals.failed += 1
                self.tally.unsure.add(device.number)
            case _:
                assert_never(outcome.kind)
        self._try_again(device, now)

    def _try_again(self, device: Device, now: float) -> None:
        """A device with somebody else's credential does not: it would never come in."""
        if self._plan.retry is None or not self._coming_back or device.bad:
            return
        if not device.failures:
            device.failing_since = now
        elif now - device.failing_since > self._plan.retry.give_up_s:
            return
        device.failures += 1
        due = now + self._plan.retry.pause_s(device.failures, random.random())  # noqa: S311 - spreads load
        self._later(due, lambda device: self._come_back(device, due), device)

    def _close(self, device: Device) -> None:
        if device.sock is None:
            return
        if device.stage is Stage.IN:
            del self._in[device]
            self.totals.sessions -= 1
        if self._publisher is not None:
            self._publisher.disconnected(device)
        self._links.close(device)
        device.stage = Stage.AWAY
