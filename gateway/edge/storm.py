"""Storm control at the door: who may begin a handshake, who waits, who is turned away. Pure; the clock is an argument.

A connect storm is more offered work than one event loop has time for. What a connection costs grows at each
step (an accept and a close are tens of microseconds, a TLS handshake hundreds), so the decision is made at the
first one, where only the peer's address is known:

    accepted ─ a handshake is free ──────────────→ ENTER      handshakes: bounded, and per address
             └ there is room to wait in ─────────→ WAIT       room: bounded by number and by time
             └ there is not ─────────────────────→ TURN_AWAY  closed before TLS; bounded per second
                                                              (who is not even accepted stays in the kernel's backlog)

`HandshakeQueue` holds the places and the room. `Reputation` remembers what came from an address, which decides the
order in the room, and how long the answer to a wrong credential takes. Neither ever bans: a record only orders those
who wait, and delays refusals; whoever proves an identity is admitted as fast as anybody. `StormControl` is both of
them with their counters, as the edge knows them (docs/decisions/0009-storm-control.md).
"""

import socket
from collections import OrderedDict, deque
from collections.abc import Iterator
from enum import Enum, IntEnum
from typing import Final, Generic, TypeVar

from gateway.refusals import Reason
from gateway.settings import StormSettings

__all__ = ["HandshakeQueue", "Reputation", "Standing", "StormControl", "Verdict", "address_prefix"]

T = TypeVar("T")

_IPV6_PREFIX_BYTES: Final = 8
"""An IPv6 subscriber has a /64 and can take any address in it (RFC 6177)."""


def address_prefix(address: str) -> str:
    """What one peer can't easily change: its IPv4 address, or the /64 of its IPv6 address."""
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return address
    return packed[:_IPV6_PREFIX_BYTES].hex()


_LONGEST_ID: Final = 128
"""A longer one is no device id, so what follows need not be remembered."""


class Standing(IntEnum):
    """What is remembered of an address, best first."""

    PROVEN = 0
    """Devices have proved their identity there."""
    UNKNOWN = 1
    SUSPECT = 2
    """Several identities failed there and few were proved."""


_WEIGHTS: Final = {Standing.PROVEN: 8, Standing.UNKNOWN: 4, Standing.SUSPECT: 1}
"""Of thirteen that are let in while all three wait, this many are of each."""


class Verdict(Enum):
    """What becomes of a connection that was accepted."""

    ENTER = "enter"
    WAIT = "wait"
    TURN_AWAY = "turn_away"


class _Flow(Generic[T]):
    """Who waits at one address, oldest first."""

    __slots__ = ("address", "group", "standing", "visitors")

    def __init__(self, address: str, standing: Standing, group: str | None) -> None:
        self.address = address
        self.standing = standing
        self.group = group
        self.visitors: deque[_Visitor[T]] = deque()


class _Visitor(Generic[T]):
    __slots__ = ("flow", "is_waiting", "item", "since")

    def __init__(self, item: T, flow: _Flow[T], since: float) -> None:
        self.item = item
        self.flow = flow
        self.since = since
        self.is_waiting = True


_Ring = OrderedDict[str | None, OrderedDict[str, _Flow[T]]]
"""Enrollment group → address → flow: whoever had a turn goes to the end."""


class HandshakeQueue(Generic[T]):
    """The handshakes in progress, and the room before them.

    From the room they are let in by turns: of the better standing more, of each standing every enrollment group
    alike, of each group every address alike, of each address who came first. So nobody's turn is lost, and who
    floods the room waits behind himself.

    While somebody waits, the number of handshakes is what ends within the target time at the rate of the moment (Little's
    law). So it grows while they take less than the target, as with peers far away, and shrinks while they take more,
    as on a busy core, where more of them at once would only make each one slower.
    """

    _MEASURE_S: Final = 0.25
    _SMALLEST_ROOM: Final = 16
    _FIRST_LIMIT: Final = 128
    _SMALLEST_LIMIT: Final = 32
    _FREE_SHARE: Final = 4
    """One address may hold four times as many places in the room as stay free: at most four fifths of it."""

    def __init__(self, settings: StormSettings, reputation: "Reputation", *, now: float) -> None:
        self._max_handshakes = settings.max_handshakes
        self._target_s = settings.target_handshake_s
        self._share = settings.per_address_share
        self.limit = 0
        self._limit_to(self._FIRST_LIMIT)
        self._max_waiting = settings.max_waiting
        self._max_wait_s = settings.max_wait_s
        self._reputation = reputation
        self._ration = _Ration(settings.max_turned_away_per_s, now)
        self._in_progress: dict[str, int] = {}
        self._flows: dict[str, _Flow[T]] = {}
        self._rings: dict[Standing, _Ring[T]] = {standing: OrderedDict() for standing in Standing}
        self._turns = dict(_WEIGHTS)
        self._arrivals: deque[_Visitor[T]] = deque()
        self.handshakes = 0
        self.waiting = 0
        # How fast handshakes come to a decision while somebody waits: how many there may be, and how many may wait.
        self._decided = 0
        self._measured_decided = 0
        self._measured_at: float | None = None
        self._rate_per_s: float | None = None

    def arrive(self, item: T, address: str, now: float) -> Verdict:
        """Decide on a connection. On ENTER the caller calls `begin`; on WAIT, `item` comes back from `next`."""
        if (
            not self.waiting
            and self.handshakes < self.limit
            and self._in_progress.get(address, 0) < self._max_per_address
        ):
            return Verdict.ENTER
        self._measure(now)
        flow = self._flows.get(address)
        queued = len(flow.visitors) if flow is not None else 0
        if queued >= self._FREE_SHARE * (self._room() - self.waiting):
            self._ration.take()
            return Verdict.TURN_AWAY
        if flow is None:
            flow = self._flows[address] = _Flow(address, *self._reputation.of(address, now))
            self._line_up(flow)
        visitor = _Visitor(item, flow, now)
        flow.visitors.append(visitor)
        self._arrivals.append(visitor)
        self.waiting += 1
        return Verdict.WAIT

    def begin(self, address: str) -> None:
        """A handshake has begun."""
        self.handshakes += 1
        self._in_progress[address] = self._in_progress.get(address, 0) + 1

    def end(self, address: str, *, decided: bool = True) -> None:
        """It ended: its place is free. Not `decided` if it broke off."""
        self.handshakes -= 1
        self._decided += decided
        left = self._in_progress[address] - 1
        if left:
            self._in_progress[address] = left
        else:
            del self._in_progress[address]
        if self.waiting and (flow := self._flows.get(address)) is not None:
            self._line_up(flow)

    def next(self) -> T | None:
        """Who may enter now, or None. The caller calls `begin` for it before it asks again."""
        if not self.waiting or self.handshakes >= self.limit:
            return None
        while (ring := self._next_ring()) is not None:
            group, flows = ring.popitem(last=False)
            _, flow = flows.popitem(last=False)
            if flows:
                ring[group] = flows
            if self._in_progress.get(flow.address, 0) < self._max_per_address:
                visitor = flow.visitors[0]
                self._leave(visitor)
                return visitor.item
            # It has no turns until one of its handshakes ends.
        return None  # everybody who waits is at an address with all its handshakes in progress

    def overdue(self, now: float) -> T | None:
        """One who has waited for too long and is to be turned away; None if there is none."""
        if self.waiting:
            self._measure(now)
        arrivals = self._arrivals
        while arrivals and not arrivals[0].is_waiting:
            arrivals.popleft()
        if not arrivals or now - arrivals[0].since < self._max_wait_s:
            return None
        # The oldest in the room is also the oldest of its flow.
        visitor = arrivals.popleft()
        self._step_out(visitor.flow)
        self._leave(visitor)
        return visitor.item

    def is_spent(self, now: float) -> bool:
        """Whether enough have been turned away for now: the others stay in the kernel's backlog."""
        return self._ration.is_spent(self._decided, now)

    def clear(self) -> Iterator[T]:
        """Everybody who waits, taken out of the room."""
        while self._arrivals:
            visitor = self._arrivals.popleft()
            if visitor.is_waiting:
                self._step_out(visitor.flow)
                self._leave(visitor)
                yield visitor.item

    def _measure(self, now: float) -> None:
        """Over one generation of handshakes, as long as they are scarce: their decisions come in waves."""
        if self._measured_at is None:
            self._measured_at, self._measured_decided = now, self._decided
            return
        elapsed, decided = now - self._measured_at, self._decided - self._measured_decided
        if elapsed < self._MEASURE_S or (decided < self.limit and elapsed < 2 * self._target_s):
            return
        if decided:
            rate = decided / elapsed
            self._rate_per_s = rate if self._rate_per_s is None else (self._rate_per_s + rate) / 2
            wanted = self._rate_per_s * self._target_s
            self._limit_to(min(2 * self.limit, max(self.limit // 2, wanted)))
        else:
            # All of them are silent: more of them do no harm, and the next ones may not be.
            self._limit_to(2 * self.limit)
        self._measured_at, self._measured_decided = now, self._decided

    def _limit_to(self, limit: float) -> None:
        self.limit = min(self._max_handshakes, max(self._SMALLEST_LIMIT, round(limit)))
        self._max_per_address = max(1, int(self.limit * self._share))

    def _room(self) -> int:
        """How many may wait: no more than can be let in within the longest wait, at the rate of the moment."""
        if self._rate_per_s is None:
            return self._max_waiting
        return min(self._max_waiting, max(self._SMALLEST_ROOM, int(self._rate_per_s * self._max_wait_s)))

    def _line_up(self, flow: _Flow[T]) -> None:
        """Let `flow` have turns, if it does not have them already."""
        flows = self._rings[flow.standing].setdefault(flow.group, OrderedDict())
        flows.setdefault(flow.address, flow)

    def _step_out(self, flow: _Flow[T]) -> None:
        ring = self._rings[flow.standing]
        flows = ring.get(flow.group)
        if flows is not None and flows.pop(flow.address, None) is not None and not flows:
            del ring[flow.group]

    def _next_ring(self) -> "_Ring[T] | None":
        rings = [standing for standing, ring in self._rings.items() if ring]
        if not rings:
            return None
        for standing in rings:
            if self._turns[standing] > 0:
                break
        else:
            self._turns = dict(_WEIGHTS)
            standing = rings[0]
        self._turns[standing] -= 1
        return self._rings[standing]

    def _leave(self, visitor: _Visitor[T]) -> None:
        """`visitor`, the first of its flow, leaves the room, and the flow, which is in no ring, gets a new turn."""
        flow = visitor.flow
        flow.visitors.popleft()
        visitor.is_waiting = False
        self.waiting -= 1
        if flow.visitors:
            self._line_up(flow)
        else:
            del self._flows[flow.address]
        if not self.waiting:
            self._arrivals.clear()
            self._measured_at = self._rate_per_s = None
        elif len(self._arrivals) > 2 * self.waiting + 64:
            self._arrivals = deque(each for each in self._arrivals if each.is_waiting)


class _Ration:
    """How many may be turned away: a token bucket of a tenth of a second, filled at a rate of so many a second.

    On a slow or busy machine the rate is less: eight for each handshake that was decided, and four hundred a second. So
    turning away takes less than a fifth of the time that TLS handshakes take, whatever the machine. It may be overdrawn,
    by one at a time.
    """

    __slots__ = ("_burst", "_decided", "_filled_at", "_rate_per_s", "_tokens")

    _PER_DECISION: Final = 8
    _AT_LEAST_PER_S: Final = 400

    def __init__(self, rate_per_s: float, now: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = max(1.0, rate_per_s / 10)
        self._tokens = self._burst
        self._filled_at = now
        self._decided = 0

    def take(self) -> None:
        self._tokens -= 1

    def is_spent(self, decided: int, now: float) -> bool:
        """`decided` is the number of handshakes that came to a decision, since the start."""
        elapsed = max(0.0, now - self._filled_at)
        deserved = self._PER_DECISION * (decided - self._decided) + self._AT_LEAST_PER_S * elapsed
        self._tokens = min(self._burst, self._tokens + min(deserved, elapsed * self._rate_per_s))
        self._filled_at, self._decided = now, decided
        return self._tokens < 1


class _Record:
    __slots__ = ("at", "failures_in_a_row", "group", "trust")

    def __init__(self, now: float) -> None:
        self.trust = 0
        self.failures_in_a_row = 0
        self.group: str | None = None
        self.at = now


class Reputation:
    """What came from each address, and from each (address, identity). Bounded: the longest unseen is forgotten.

    An identity alone has no record, so nobody can spoil one by using its name from somewhere else. And of one identity
    only the first failure counts against its address: a device with a wrong key does not spoil it for its neighbours
    behind the same router, while trying many identities does.
    """

    _MOST_TRUST: Final = 16
    _PROOF: Final = 1
    _FAILURE: Final = 4
    _SUSPECT_AT: Final = -8
    _MANY_IN_A_ROW: Final = 64
    """So many failures at one address with no proof between them are guessing: each answer takes a second."""

    def __init__(self, settings: StormSettings) -> None:
        self._max_records = settings.max_records
        self._forget_after_s = settings.forget_after_s
        self._free_failures = settings.refusals_before_delay
        self._max_delay_s = settings.max_delay_s
        self._addresses: OrderedDict[str, _Record] = OrderedDict()
        self._pairs: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return max(len(self._addresses), len(self._pairs))

    def of(self, address: str, now: float) -> tuple[Standing, str | None]:
        """An address's standing, and the enrollment group of the device that was last proved there."""
        record = self._addresses.get(address)
        if record is None or now - record.at > self._forget_after_s:
            return Standing.UNKNOWN, None
        if record.trust > 0:
            return Standing.PROVEN, record.group
        return Standing.SUSPECT if record.trust <= self._SUSPECT_AT else Standing.UNKNOWN, record.group

    def proved(self, address: str, device_id: str, group: str | None, now: float) -> None:
        """A device proved its identity."""
        record = self._addresses.get(address)
        if record is None or now - record.at > self._forget_after_s:
            record = self._record(address, now)
        else:
            self._addresses.move_to_end(address)
        if record.trust < self._MOST_TRUST:
            record.trust += self._PROOF
        record.failures_in_a_row = 0
        record.group = group
        record.at = now
        if self._pairs:
            self._pairs.pop((address, device_id), None)

    def failed(self, address: str, device_id: str | None, now: float) -> float:
        """Somebody did not. Returns for how long to hold back the answer, in seconds."""
        record = self._record(address, now)
        record.failures_in_a_row += 1
        failures = self._count(address, device_id, now) if device_id is not None else 1
        if failures == 1:
            record.trust = max(-self._MOST_TRUST, record.trust - self._FAILURE)
        doublings = failures - self._free_failures - 1
        delay = min(self._max_delay_s, 2.0 ** min(doublings, 16)) if doublings >= 0 else 0.0
        if record.failures_in_a_row > self._MANY_IN_A_ROW:
            delay = max(delay, min(1.0, self._max_delay_s))
        return delay

    def _count(self, address: str, device_id: str, now: float) -> int:
        pair = (address, device_id[:_LONGEST_ID])
        failures, at = self._pairs.pop(pair, (0, now))
        if now - at > self._forget_after_s:
            failures = 0
        self._pairs[pair] = (failures + 1, now)
        if len(self._pairs) > self._max_records:
            self._pairs.popitem(last=False)
        return failures + 1

    def _record(self, address: str, now: float) -> _Record:
        """The address's record, made if need be, and made anew if it is old."""
        record = self._addresses.pop(address, None)
        if record is None or now - record.at > self._forget_after_s:
            record = _Record(now)
        record.at = now
        self._addresses[address] = record
        if len(self._addresses) > self._max_records:
            self._addresses.popitem(last=False)
        return record


_NOT_THE_PEERS_FAULT: Final = frozenset(
    {
        Reason.ENROLLMENT_CHANGED,
        Reason.APPROVAL_PENDING,
        Reason.STORE_UNAVAILABLE,
        Reason.OVERLOADED,
        Reason.SHUTTING_DOWN,
    }
)


class StormControl(Generic[T]):
    """The queue and the reputation of one gateway, with their counters (since the start)."""

    def __init__(self, settings: StormSettings, *, now: float) -> None:
        self._max_delayed = settings.max_delayed
        self.reputation = Reputation(settings)
        self.queue: HandshakeQueue[T] = HandshakeQueue(settings, self.reputation, now=now)
        self.turned_away = 0
        """Closed before TLS: there was no room to wait in."""
        self.gave_up = 0
        """Closed before TLS after the longest wait."""
        self.delayed = 0
        """Refusals whose answer was held back."""
        self.delayed_now = 0
        self._reported = (0, 0, 0)

    def began(self, address: str) -> str:
        """A handshake begins. Returns the address prefix, which is what the other methods take."""
        prefix = address_prefix(address)
        self.queue.begin(prefix)
        return prefix

    def admitted(self, prefix: str, device_id: str, group: str | None, now: float) -> None:
        """A handshake ended in a session."""
        self.queue.end(prefix)
        self.reputation.proved(prefix, device_id, group, now)

    def refused(self, prefix: str, device_id: str | None, reason: Reason, now: float) -> float:
        """A handshake ended in a refusal. Returns for how long to hold back the answer, in seconds."""
        self.queue.end(prefix)
        if reason in _NOT_THE_PEERS_FAULT:
            return 0.0
        delay = self.reputation.failed(prefix, device_id, now)
        if not delay or self.delayed_now >= self._max_delayed:
            return 0.0
        self.delayed += 1
        self.delayed_now += 1
        return delay

    def broke_off(self, prefix: str, now: float, *, is_fault_of_peer: bool) -> None:
        """A handshake ended without a decision."""
        self.queue.end(prefix, decided=False)
        if is_fault_of_peer:
            self.reputation.failed(prefix, None, now)

    def answered_late(self) -> None:
        """A refusal that was held back is over."""
        self.delayed_now -= 1

    def report(self) -> dict[str, int]:
        """What was shed since the last report, by cause; empty if nothing was."""
        counts = (self.turned_away, self.gave_up, self.delayed)
        before, self._reported = self._reported, counts
        names = ("turned_away", "gave_up", "delayed")
        return {
            name: now - then for name, now, then in zip(names, counts, before, strict=True) if now != then
        }
