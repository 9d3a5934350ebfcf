"""What Unassociated devices have sent lately: enough to write a device template from.

Only the shapes of their messages are kept, never values, for a bounded number of devices with a bounded number of fields
each; who was quiet for longest makes room. A device that has a template costs nothing here.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.templates.inference import Shape

__all__ = ["Observations", "Observed"]

MAX_FIELDS: Final = 256
"""Of one device, over all components and depths."""
MAX_COMPONENTS: Final = 32
LOOKED_AT_FIRST: Final = 200
"""Messages of a device that are all looked at; of later ones every `ONE_IN` is."""
ONE_IN: Final = 16


@dataclass(slots=True)
class Observed:
    """What one device sent. Times are unix seconds."""

    first_at: float
    last_at: float
    messages: int = 0
    others: int = 0
    """Messages that were not a JSON object, so that no telemetry has a name."""
    by_component: dict[str | None, Shape] = field(default_factory=dict)
    room: list[int] = field(default_factory=lambda: [MAX_FIELDS])


class Observations:
    """By device, at most `max_devices`."""

    def __init__(self, max_devices: int) -> None:
        self._max_devices = max_devices
        self._devices: OrderedDict[str, Observed] = OrderedDict()

    def note(self, device_id: str, component: str | None, value: Any, *, now: float) -> None:
        """Take a message's JSON in."""
        observed = self._devices.get(device_id)
        if observed is None:
            observed = self._devices[device_id] = Observed(first_at=now, last_at=now)
        self._devices.move_to_end(device_id)
        if len(self._devices) > self._max_devices:
            self._devices.popitem(last=False)
        observed.last_at = now
        observed.messages += 1
        if observed.messages > LOOKED_AT_FIRST and observed.messages % ONE_IN:
            return
        if not isinstance(value, dict):
            observed.others += 1
            return
        shape = observed.by_component.get(component)
        if shape is None:
            if len(observed.by_component) >= MAX_COMPONENTS:
                observed.others += 1
                return
            shape = observed.by_component[component] = Shape()
        shape.see(value, observed.room)

    def of(self, device_id: str) -> Observed | None:
        """What the device sent, as far as it is remembered."""
        return self._devices.get(device_id)
