"""What a simulated device sends, shaped by its model. Pure: the same device sends the same readings."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.simulate.sensors import HUMIDITY, TEMPERATURE, WORKING_SET, Curve, Sensor, sensor_for
from gateway.templates.template import Capabilities, DeviceTemplate

__all__ = ["Reading", "TelemetrySource", "telemetry_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One message: the component it comes from (None: the device itself) and its body."""

    component: str | None
    body: dict[str, Any]


TelemetrySource = Callable[[int], Reading]
"""The number of a message, from 0, → the message."""

_KNOWN_MODELS: Final[Mapping[str, Mapping[str | None, Mapping[str, Curve]]]] = {
    # Two models that Microsoft's samples made known; their versions differ in properties only.
    "dtmi:com:example:Thermostat": {None: {"temperature": TEMPERATURE}},
    "dtmi:com:example:TemperatureController": {
        None: {"workingSet": WORKING_SET},
        "thermostat1": {"temperature": TEMPERATURE},
        "thermostat2": {"temperature": TEMPERATURE},
    },
}
_ANY_MODEL: Final = {None: {"temperature": TEMPERATURE, "humidity": HUMIDITY}}


def telemetry_for(
    model_id: str | None, device_id: str, template: DeviceTemplate | None = None
) -> TelemetrySource:
    """What that device sends; its messages go round the components of its model that have telemetry.

    Without a template two well-known models are known by heart, and any other sends temperature and humidity.
    """
    rng = random.Random(device_id)  # noqa: S311 - readings, not secrets
    channels: list[tuple[str | None, dict[str, Sensor]]]
    if template is not None:
        parts: list[tuple[str | None, Capabilities]] = [(None, template.root), *template.components.items()]
        channels = [
            (component, {name: sensor_for(name, schema, rng) for name, schema in part.telemetry.items()})
            for component, part in parts
            if part.telemetry
        ] or [(None, {})]
    else:
        curves = _KNOWN_MODELS.get((model_id or "").partition(";")[0], _ANY_MODEL)
        channels = [
            (component, {name: curve.sensor(rng) for name, curve in fields.items()})
            for component, fields in curves.items()
        ]

    def read(number: int) -> Reading:
        component, sensors = channels[number % len(channels)]
        return Reading(component=component, body={name: measure(number) for name, measure in sensors.items()})

    return read
