"""What a simulated device measures, shaped by its model. Pure: the same device sends the same readings."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Reading", "TelemetrySource", "telemetry_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One message: the component it comes from (None: the device itself) and its body."""

    component: str | None
    body: dict[str, Any]


TelemetrySource = Callable[[int], Reading]
"""The number of a message, from 0, → the message."""

_Sensor = Callable[[int], Any]
"""The number of a message → one value in it."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """A value that swings around a middle, a little differently for each device."""

    middle: float
    swing: float
    digits: int = 1

    def sensor(self, rng: random.Random) -> _Sensor:
        phase, period = rng.uniform(0, math.tau), rng.uniform(20, 60)

        def measure(number: int) -> float:
            wave = math.sin(phase + number * math.tau / period)
            noise = math.sin(number * number + phase) / 20
            return round(self.middle + self.swing * (wave + noise), self.digits)

        return measure


_Channels = Mapping[str | None, Mapping[str, _Curve]]
"""Component → name → what it measures. A device's messages go round its channels."""

_TEMPERATURE: Final = _Curve(22, 4)
_HUMIDITY: Final = _Curve(55, 15)

_KNOWN_MODELS: Final[Mapping[str, _Channels]] = {
    # Two models that Microsoft's samples made known; their versions differ in properties only.
    "dtmi:com:example:Thermostat": {None: {"temperature": _TEMPERATURE}},
    "dtmi:com:example:TemperatureController": {
        None: {"workingSet": _Curve(48, 6)},
        "thermostat1": {"temperature": _TEMPERATURE},
        "thermostat2": {"temperature": _TEMPERATURE},
    },
}
_ANY_MODEL: Final[_Channels] = {None: {"temperature": _TEMPERATURE, "humidity": _HUMIDITY}}


def telemetry_for(model_id: str | None, device_id: str) -> TelemetrySource:
    """What that device sends. A model that is not known here sends temperature and humidity."""
    family = (model_id or "").partition(";")[0]
    rng = random.Random(device_id)  # noqa: S311 - readings, not secrets
    channels = [
        (component, {name: curve.sensor(rng) for name, curve in curves.items()})
        for component, curves in _KNOWN_MODELS.get(family, _ANY_MODEL).items()
    ]

    def read(number: int) -> Reading:
        component, sensors = channels[number % len(channels)]
        return Reading(component=component, body={name: measure(number) for name, measure in sensors.items()})

    return read
