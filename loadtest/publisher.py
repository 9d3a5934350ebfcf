"""What held devices publish: one after the other, at a rate, each message with a number and exactly accounted for."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.mqtt import Publish, encode
from loadtest.device import Device, Stage
from loadtest.plan import Messages
from loadtest.tally import DeviceMessages, Tally, Totals

__all__ = ["Publisher"]

_MAX_PACKET_ID: Final = 0xFFFF
_MAX_AT_ONCE: Final = 256
"""In one turn of the loop: answers are read in between."""


class Publisher:
    """The messages of one worker out of several."""

    def __init__(
        self,
        plan: Messages,
        *,
        worker: int,
        processes: int,
        device_id: Callable[[int], str],
        send: Callable[[Device, bytes], None],
        tally: Tally,
        totals: Totals,
    ) -> None:
        self._plan = plan
        self._worker, self._processes = worker, processes
        self._device_id = device_id
        self._send = send
        self._tally, self._totals = tally, totals
        self._turns: deque[Device] = deque()
        self._with_a_turn: set[Device] = set()
        self._next = worker
        """The number of the next message, among those of all workers."""
        self._end = plan.total
        self._unacknowledged = 0
        self._start_s = 0.0
        self._wall_s = 0.0
        self._began = False

    def begin(self, now: float) -> None:
        """From here on messages are due."""
        self._start_s, self._wall_s = now, time.time()
        self._began = True

    def stop(self) -> None:
        """No more are due."""
        self._end = 0

    @property
    def is_quiet(self) -> bool:
        """All that were due are sent, and acknowledged if they are to be."""
        return self._next >= self._end and not self._unacknowledged

    def admitted(self, device: Device) -> None:
        if device not in self._with_a_turn:
            self._with_a_turn.add(device)
            self._turns.append(device)

    def due_s(self) -> float | None:
        """When the next message is due, on the driver's clock."""
        if not self._began or self._next >= self._end:
            return None
        return self._start_s + self._next / self._plan.rate_per_s

    def publish_due(self, now: float, elapsed_s: float) -> None:
        for _ in range(_MAX_AT_ONCE):
            due = self.due_s()
            if due is None or due > now:
                return
            self._next += self._processes
            device = self._whose_turn()
            if device is None:
                self._tally.unsent += 1
            else:
                self._publish(device, due, elapsed_s)

    def _whose_turn(self) -> Device | None:
        for _ in range(len(self._turns)):
            device = self._turns.popleft()
            if device.stage is Stage.IN:  # else it comes in again, and then has a turn again
                self._turns.append(device)
                return device
            self._with_a_turn.discard(device)
        return None

    def _publish(self, device: Device, due: float, elapsed_s: float) -> None:
        device.messages += 1
        sent = self._tally.messages.get(device.number)
        if sent is None:
            sent = self._tally.messages[device.number] = DeviceMessages()
        sent.sent += 1
        packet_id = None
        if self._plan.qos:
            packet_id = device.packet_id = device.packet_id % _MAX_PACKET_ID + 1
            if device.pending is None:
                device.pending = {}
            device.pending[packet_id] = (device.messages, due)
            self._unacknowledged += 1
        at = int((self._wall_s + due - self._start_s) * 1000)
        topic = self._plan.topic.format(device=self._device_id(device.number), number=device.messages, at=at)
        self._tally.at(elapsed_s).published += 1
        self._totals.published += 1
        packet = Publish(topic=topic, payload=self._plan.body, qos=self._plan.qos, packet_id=packet_id)
        self._send(device, encode(packet))

    def acknowledged(self, device: Device, packet_id: int, now: float, elapsed_s: float) -> None:
        """A PUBACK came."""
        pending = device.pending.pop(packet_id, None) if device.pending else None
        if pending is None:
            return
        self._unacknowledged -= 1
        second = self._tally.at(elapsed_s)
        second.acknowledged += 1
        second.pubacks.record(now - pending[1])
        self._totals.acknowledged += 1

    def disconnected(self, device: Device) -> None:
        """What is not acknowledged now will never be."""
        if device.pending:
            numbers = [number for number, _ in device.pending.values()]
            self._tally.messages[device.number].unacknowledged += numbers
            self._unacknowledged -= len(numbers)
            device.pending = None
