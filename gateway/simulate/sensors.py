"""Values that look measured, for every schema that DTDL knows. Pure."""

import base64
import math
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, assert_never

from gateway.templates.schema import Array, EnumSchema, MapSchema, ObjectSchema, Primitive, Schema

__all__ = ["HUMIDITY", "TEMPERATURE", "WORKING_SET", "Curve", "Sensor", "sensor_for"]

Sensor = Callable[[int], Any]
"""The number of a message, from 0, → a value in it."""

_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Simulated clocks start here, so that a reading depends on its number only."""
_CLOCKS: Final[Mapping[str, str]] = {
    "dateTime": "%Y-%m-%dT%H:%M:%SZ",
    "date": "%Y-%m-%d",
    "time": "%H:%M:%S",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """A number that swings around a middle, a little differently for each device."""

    middle: float
    swing: float
    digits: int = 1

    def sensor(self, rng: random.Random) -> Sensor:
        phase, period = rng.uniform(0, math.tau), rng.uniform(20, 60)

        def measure(number: int) -> float:
            wave = math.sin(phase + number * math.tau / period)
            noise = math.sin(number * number + phase) / 20
            return round(self.middle + self.swing * (wave + noise), self.digits)

        return measure


TEMPERATURE: Final = Curve(22, 4)
HUMIDITY: Final = Curve(55, 15)
WORKING_SET: Final = Curve(48, 6)
_ANY_NUMBER: Final = Curve(50, 20)
"""Within the range of even the smallest of DTDL's integers."""

_BY_NAME: Final[Mapping[str, Curve]] = {
    "temperature": TEMPERATURE,
    "humidity": HUMIDITY,
    "workingset": WORKING_SET,
    "pressure": Curve(1013, 12),
    "voltage": Curve(230, 3),
}
"""Names that many models use, with values that a person believes."""

_INTEGERS: Final = frozenset(
    {"byte", "integer", "long", "short", "unsignedByte", "unsignedInteger", "unsignedLong", "unsignedShort"}
)
_POINT: Final = [8.55, 47.37]
_LINE: Final = [_POINT, [8.56, 47.38]]
_RING: Final = [_POINT, [8.56, 47.37], [8.56, 47.38], _POINT]
_COORDINATES: Final[Mapping[str, Any]] = {
    "point": _POINT,
    "multiPoint": _LINE,
    "lineString": _LINE,
    "multiLineString": [_LINE],
    "polygon": [_RING],
    "multiPolygon": [[_RING]],
}


def sensor_for(name: str, schema: Schema, rng: random.Random) -> Sensor:
    """What fits the schema and, if the name is a common one, makes sense for it."""
    match schema:
        case Primitive(kind=kind):
            return _primitive(name, kind, rng)
        case Array(element=element):
            parts = [sensor_for(name, element, rng) for _ in range(2)]
            return lambda number: [part(number) for part in parts]
        case EnumSchema(values=values):
            ordered = sorted(values, key=str)
            return lambda number: ordered[number % len(ordered)] if ordered else None
        case MapSchema(value=value):
            entry = sensor_for(name, value, rng)
            return lambda number: {"entry": entry(number)}
        case ObjectSchema(fields=fields):
            sensors = {field: sensor_for(field, inner, rng) for field, inner in fields.items()}
            return lambda number: {field: sensor(number) for field, sensor in sensors.items()}
        case _:
            assert_never(schema)


def _primitive(name: str, kind: str, rng: random.Random) -> Sensor:
    if kind in _COORDINATES:
        shape = {"type": kind[0].upper() + kind[1:], "coordinates": _COORDINATES[kind]}
        return lambda _: shape
    if kind in _INTEGERS:
        measure = _ANY_NUMBER.sensor(rng)
        return lambda number: round(measure(number))
    if kind in _CLOCKS:
        return lambda number: f"{_EPOCH + timedelta(seconds=number):{_CLOCKS[kind]}}"
    match kind:
        case "boolean":
            return lambda number: number % 10 < 5  # noqa: PLR2004 - half of the time
        case "string":
            return lambda number: f"{name} {number}"
        case "duration":
            return lambda number: f"PT{number}S"
        case "scaledDecimal":
            measure = _ANY_NUMBER.sensor(rng)
            return lambda number: {"scale": 0, "value": str(round(measure(number)))}
        case "uuid":
            identifier = str(uuid.UUID(int=rng.getrandbits(128), version=4))
            return lambda _: identifier
        case "bytes":
            return lambda number: base64.b64encode(f"{name} {number}".encode()).decode()
        case _:  # double, float, decimal
            return _BY_NAME.get(name.lower(), _ANY_NUMBER).sensor(rng)
