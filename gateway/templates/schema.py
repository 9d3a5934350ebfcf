"""DTDL schemas as values: what a telemetry field or a property may hold."""

from dataclasses import dataclass
from typing import Final

__all__ = [
    "CENTRAL",
    "GEOSPATIAL",
    "PRIMITIVES",
    "Array",
    "EnumSchema",
    "MapSchema",
    "ObjectSchema",
    "Primitive",
    "Schema",
]

PRIMITIVES: Final = frozenset(
    {
        "boolean", "date", "dateTime", "double", "duration", "float", "integer", "long", "string", "time",
        # v4
        "byte", "bytes", "decimal", "short", "unsignedByte", "unsignedInteger", "unsignedLong", "unsignedShort", "uuid",
        "scaledDecimal",
    }
)  # fmt: skip
GEOSPATIAL: Final = frozenset(
    {"lineString", "multiLineString", "multiPoint", "multiPolygon", "point", "polygon"}
)


@dataclass(frozen=True, slots=True)
class Primitive:
    """One of `PRIMITIVES`, or of `GEOSPATIAL` (a GeoJSON geometry)."""

    kind: str


@dataclass(frozen=True, slots=True)
class Array:
    element: "Schema"


@dataclass(frozen=True, slots=True)
class EnumSchema:
    """`values` are integers or strings."""

    values: frozenset[int | str]


@dataclass(frozen=True, slots=True)
class MapSchema:
    """Keys are strings; every value has the same schema."""

    value: "Schema"


@dataclass(frozen=True, slots=True)
class ObjectSchema:
    fields: dict[str, "Schema"]


Schema = Primitive | Array | EnumSchema | MapSchema | ObjectSchema

_DOUBLE: Final = Primitive("double")
CENTRAL: Final[dict[str, ObjectSchema]] = {
    "geopoint": ObjectSchema({"lat": _DOUBLE, "lon": _DOUBLE, "alt": _DOUBLE}),
    "vector": ObjectSchema({"x": _DOUBLE, "y": _DOUBLE, "z": _DOUBLE}),
}
"""What IoT Central adds to DTDL (`dtmi:iotcentral:context;2`)."""
