"""The application at the other end: an ordinary MQTT client that counts the copies of each message.

It runs in a thread with a loop of its own, so that the devices' processes, and whoever waits for them, know nothing of it.
"""

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import aiomqtt
import orjson

from gateway.errors import OperationError
from gateway.mqtt import filter_covers
from gateway.settings import TelemetrySettings
from loadtest.result import Latency
from loadtest.tally import DeviceMessages, Histogram

__all__ = ["Application", "Delivery", "Subscriber", "account", "filters_of"]

_CONNECT_TIMEOUT_S: Final = 15.0
_MANY: Final = 255
"""A byte holds how often a message came; more often is as bad."""
_TOLD: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """Who logs in where, and what it subscribes to."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    filters: tuple[str, ...]
    qos: int = 1


def filters_of(telemetry: TelemetrySettings) -> tuple[str, ...]:
    """Filters for all that devices send, none inside another: a broker may deliver once for each that matches."""
    filters: list[str] = []
    for topic in (
        telemetry.topic,
        telemetry.component_topic,
        telemetry.unassociated_topic,
        telemetry.dead_letter_topic,
    ):
        wanted = re.sub(r"\{[^{}]*\}", "+", topic)
        if not any(filter_covers(have, wanted) for have in filters):
            filters.append(wanted)
    return tuple(filters)


@dataclass(slots=True)
class Delivery:
    """What arrived."""

    copies: dict[str, bytearray] = field(default_factory=dict)
    """By device: how often its message with that number came."""
    total: int = 0
    others: int = 0
    """Messages of devices that are not ours, or that have no number."""
    validation: Counter[str] = field(default_factory=Counter)
    latencies: Histogram = field(default_factory=Histogram)
    """From when a message was due to its arrival."""
    tenths: Counter[int] = field(default_factory=Counter)
    """Copies by tenth of a unix second: where a run's seconds begin is known only later."""

    def arrived(self, device_id: str, number: int, at_ms: int | None, now: float) -> None:
        counts = self.copies.setdefault(device_id, bytearray())
        if len(counts) <= number:
            counts.extend(bytes(number + 64 - len(counts)))
        counts[number] = min(_MANY, counts[number] + 1)
        self.total += 1
        self.tenths[int(now * 10)] += 1
        if at_ms is not None:
            self.latencies.record(now - at_ms / 1000)


class Subscriber:
    """A context manager: inside it the subscription stands. Raises `OperationError` if it can't be made."""

    def __init__(self, application: Application, *, topic: str, prefix: str) -> None:
        """`topic` is what the devices publish to, with its placeholders; `prefix` is how their ids start."""
        self._application = application
        self._pattern = _pattern(topic)
        self._prefix = prefix
        self.delivery = Delivery()
        self._ready = threading.Event()
        self._problem: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="subscriber", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._problem is not None:
            raise OperationError(
                f"{self._application.host}:{self._application.port}: {self._problem}",
                hint="where do applications connect, and with which name and password?",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._loop is not None and self._task is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def wait_for(self, copies: int, *, patience_s: float) -> None:
        """Until so many came, or none for as long as that."""
        seen, since = self.delivery.total, time.monotonic()
        while self.delivery.total < copies and time.monotonic() - since < patience_s:
            time.sleep(0.02)
            if self.delivery.total != seen:
                seen, since = self.delivery.total, time.monotonic()

    def _run(self) -> None:
        try:
            asyncio.run(self._receive())
        except asyncio.CancelledError:
            return
        except (aiomqtt.MqttError, OSError) as error:
            self._problem = error
        finally:
            self._ready.set()

    async def _receive(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        application = self._application
        async with aiomqtt.Client(
            application.host,
            application.port,
            username=application.username,
            password=application.password,
            timeout=_CONNECT_TIMEOUT_S,
        ) as client:
            for topic_filter in application.filters:
                codes = await client.subscribe(topic_filter, qos=application.qos)
                granted = [code if isinstance(code, int) else int(code.value) for code in codes]
                if any(code > application.qos for code in granted):
                    raise aiomqtt.MqttError(f"the subscription to {topic_filter} was refused")
            self._ready.set()
            async for message in client.messages:
                self._count(message.topic.value, message.payload)

    def _count(self, topic: str, payload: Any) -> None:
        now = time.time()
        known = self._from_envelope(payload) or self._from_topic(topic)
        if known is None or not known[0].startswith(self._prefix):
            self.delivery.others += 1
        else:
            self.delivery.arrived(*known, now)

    def _from_envelope(self, payload: Any) -> tuple[str, int, int | None] | None:
        """The gateway's envelope (docs/telemetry.md) carries the properties that the device sent."""
        try:
            envelope = orjson.loads(payload)
            properties = envelope["properties"]
            known = envelope["device"], int(properties["number"]), int(properties["at"])
            self.delivery.validation[envelope["validation"]["status"]] += 1
        except (ValueError, KeyError, TypeError):
            return None
        return known

    def _from_topic(self, topic: str) -> tuple[str, int, int | None] | None:
        """A plain broker delivers on the topic that the device published to."""
        match = self._pattern.fullmatch(topic)
        if match is None or "number" not in match.groupdict():
            return None
        at = match.groupdict().get("at")
        return match["device"], int(match["number"]), None if at is None else int(at)


def _pattern(topic: str) -> re.Pattern[str]:
    kinds = {"device": "[^/&]+", "number": "[0-9]+", "at": "[0-9]+"}
    pattern = re.escape(topic)
    for name, kind in kinds.items():
        pattern = pattern.replace(rf"\{{{name}\}}", f"(?P<{name}>{kind})", 1)
    return re.compile(pattern)


def account(sent: Mapping[str, DeviceMessages], delivery: Delivery, *, started_at: float) -> dict[str, Any]:
    """Every message that was published is in one of once, repeated, missing and unanswered.

    `unanswered` did not arrive and was not acknowledged either: nobody promised anything. `unexpected` nobody had sent.
    """
    once = repeated = unanswered = 0
    missing: list[str] = []
    unexpected = 0
    for device_id in delivery.copies.keys() - sent.keys():
        unexpected += sum(delivery.copies[device_id])
    for device_id, messages in sent.items():
        counts = delivery.copies.get(device_id, bytearray())
        unacknowledged = set(messages.unacknowledged)
        for number in range(1, messages.sent + 1):
            copies = counts[number] if number < len(counts) else 0
            once += copies == 1
            repeated += copies > 1
            if not copies and number in unacknowledged:
                unanswered += 1
            elif not copies:
                missing.append(f"{device_id}/{number}")
        unexpected += sum(counts[messages.sent + 1 :])
    latency = Latency.of_histogram(delivery.latencies)
    seconds: Counter[int] = Counter()
    for tenth, copies in delivery.tenths.items():
        seconds[int(tenth / 10 - started_at)] += copies
    return {
        "copies": delivery.total,
        "once": once,
        "repeated": repeated,
        "missing": {"count": len(missing), "messages": missing[:_TOLD]},
        "unanswered": unanswered,
        "unexpected": unexpected,
        "ofOthers": delivery.others,
        "validation": dict(delivery.validation),
        "latencyMs": latency and latency.to_json(),
        "timeline": {str(second): n for second, n in sorted(seconds.items())},
    }
