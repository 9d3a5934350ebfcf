"""From a device's publish to the topic of its template.

The router is synchronous from end to end: a message is decoded, held against its template, rendered and handed to
every sink before `route` returns. That keeps each device's order without a queue, and it is what PUBACK
promises: *the message was handed to every sink*. A sink may only refuse for want of room, never block; what it
refuses is counted and logged once per second.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from gateway.hub.grammar import PropertyBagError, decode_property_bag
from gateway.log import get_logger
from gateway.settings import TelemetrySettings
from gateway.telemetry.envelope import (
    DeadLetter,
    Message,
    declares_json,
    decode_body,
    is_component_name,
    render,
    render_dead_letter,
    split_properties,
)
from gateway.telemetry.last import LastMessages
from gateway.telemetry.observations import Observations
from gateway.telemetry.validation import ValidationResult, Validator
from gateway.templates.template import DeviceTemplate

__all__ = ["Sender", "Sink", "TelemetryRouter"]

log = get_logger()

UNASSOCIATED: Final = "_unassociated"
_MAX_VALIDATORS: Final = 1000


class Sender(Protocol):
    """What the router needs of a registry `Device`."""

    @property
    def id(self) -> str: ...
    @property
    def template_id(self) -> str | None: ...
    @property
    def model_id(self) -> str | None: ...


class Sink(Protocol):
    """Where telemetry leaves the gateway."""

    def take_lost(self) -> int:
        """How many copies were taken and have been lost on their way since the last call."""
        ...

    @property
    def backlog(self) -> int:
        """Copies that are on their way."""
        ...

    def deliver(self, topic: str, payload: bytes, qos: int) -> int:
        """Take a message. Never blocks, never raises. Returns how many copies had to be dropped for want of room."""
        ...


class TelemetryRouter:
    """Routes messages to topics. `find_template` is the catalog's look-up in memory.

    `observations` remember what Unassociated devices send, `last_messages` the newest of each device.
    """

    def __init__(
        self,
        settings: TelemetrySettings,
        *,
        find_template: Callable[[str], DeviceTemplate | None],
        sinks: tuple[Sink, ...],
        observations: Observations | None = None,
        last_messages: LastMessages | None = None,
    ) -> None:
        self._settings = settings
        self._last_messages = last_messages
        self._observations = observations
        self._find_template = find_template
        self._sinks = sinks
        self._validators: OrderedDict[str, tuple[DeviceTemplate, Validator]] = OrderedDict()
        self._dropped: Counter[str] = Counter()
        self.routed = 0
        self.buried: Counter[DeadLetter] = Counter()
        self.drops: Counter[tuple[str, str]] = Counter()
        """Copies dropped so far, by sink and cause; updated once a second."""

    def route(
        self,
        sender: Sender,
        bag: str,
        payload: bytes,
        *,
        qos: int,
        now: float,
        retain: bool = False,
        beside: dict[str, str | None] | None = None,
    ) -> None:
        """Route one message. `bag` is the topic after `messages/events/`, as sent; `beside` are properties that came
        with it otherwise, and count more."""
        try:
            properties_sent = decode_property_bag(bag, max_properties=self._settings.max_properties)
            if beside:
                properties_sent = self._joined(properties_sent, beside)
        except PropertyBagError as error:
            self._bury(DeadLetter.PROPERTIES_MALFORMED, str(error), sender, bag, payload, qos=qos, now=now)
            return
        properties, system, component, creation_time = split_properties(properties_sent)
        if component is not None and not is_component_name(component):
            self._bury(
                DeadLetter.COMPONENT_MALFORMED,
                "`$.sub` is not a component's name",
                sender, bag, payload, qos=qos, now=now,
            )  # fmt: skip
            return
        body = decode_body(payload)
        if not body.is_json and declares_json(properties_sent):
            self._bury(
                DeadLetter.BODY_NOT_JSON,
                "`$.ct` says JSON, the body is not",
                sender, bag, payload, qos=qos, now=now,
            )  # fmt: skip
            return
        if retain:
            properties["mqtt-retain"] = "true"
        message = Message(
            device_id=sender.id,
            template_id=sender.template_id,
            model_id=sender.model_id,
            component=component,
            properties=properties,
            system_properties=system,
            creation_time=creation_time,
            enqueued_at=now,
            body=body,
        )
        rendered = render(
            message, self._validate(sender.template_id, component, body.value, is_json=body.is_json)
        )
        if sender.template_id is None and body.is_json and self._observations is not None:
            self._observations.note(sender.id, component, body.value, now=now)
        self.routed += 1
        self._hand_over(sender, self._topic(sender, component), rendered, qos=qos, now=now)

    def _joined(self, bag: dict[str, str | None], beside: dict[str, str | None]) -> dict[str, str | None]:
        if "" in beside:
            raise PropertyBagError("a property has no name")
        joined = bag | beside
        if len(joined) > self._settings.max_properties:
            raise PropertyBagError(f"more than {self._settings.max_properties} properties")
        return joined

    @property
    def dead_lettered(self) -> int:
        return self.buried.total()

    @property
    def dropped(self) -> int:
        return self.drops.total() + self._dropped.total()

    def report_drops(self) -> None:
        """Log what was dropped since the last call, one line per sink and cause. Called once a second."""
        for sink in self._sinks:
            name = type(sink).__name__
            lost = sink.take_lost()
            for cause, count in (("no_room", self._dropped.pop(name, 0)), ("not_acknowledged", lost)):
                if count:
                    self.drops[name, cause] += count
                    log.warning("telemetry.dropped", sink=name, cause=cause, count=count)

    def _topic(self, sender: Sender, component: str | None) -> str:
        settings = self._settings
        if sender.template_id is None:
            return settings.unassociated_topic.replace("{device}", sender.id)
        pattern = settings.topic if component is None else settings.component_topic
        return (
            pattern.replace("{template}", sender.template_id)
            .replace("{device}", sender.id)
            .replace("{component}", component or "")
        )

    def _validate(
        self, template_id: str | None, component: str | None, value: Any, *, is_json: bool
    ) -> ValidationResult | None:
        if template_id is None or not is_json:
            return None
        validator = self._validator(template_id)
        return None if validator is None else validator.check(component, value)

    def _validator(self, template_id: str) -> Validator | None:
        template = self._find_template(template_id)
        if template is None:
            return None
        known = self._validators.get(template_id)
        if known is not None and known[0] is template:
            self._validators.move_to_end(template_id)
            return known[1]
        validator = Validator(template, max_issues=self._settings.max_issues)
        self._validators[template_id] = (template, validator)
        if len(self._validators) > _MAX_VALIDATORS:
            self._validators.popitem(last=False)
        return validator

    def _bury(
        self,
        reason: DeadLetter,
        detail: str,
        sender: Sender,
        bag: str,
        payload: bytes,
        *,
        qos: int,
        now: float,
    ) -> None:
        self.buried[reason] += 1
        topic = self._settings.dead_letter_topic.replace("{template}", sender.template_id or UNASSOCIATED)
        topic = topic.replace("{device}", sender.id)
        log.warning(
            "telemetry.dead_lettered",
            device_id=sender.id,
            reason=reason,
            detail=detail,
            topic=topic,
            bytes=len(payload),
        )
        letter = render_dead_letter(
            reason,
            detail,
            device_id=sender.id,
            template_id=sender.template_id,
            model_id=sender.model_id,
            bag=bag,
            payload=payload,
            enqueued_at=now,
        )
        self._hand_over(sender, topic, letter, qos=qos, now=now)

    def _hand_over(self, sender: Sender, topic: str, payload: bytes, *, qos: int, now: float) -> None:
        if self._last_messages is not None:
            self._last_messages.note(sender.id, topic, payload, now)
        for sink in self._sinks:
            dropped = sink.deliver(topic, payload, qos)
            if dropped:
                self._dropped[type(sink).__name__] += dropped
