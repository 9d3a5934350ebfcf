from typing import Any

import pytest

from gateway.errors import TemplateError
from gateway.templates.dtdl import Interface, Property, parse_interfaces
from gateway.templates.schema import (
    CENTRAL,
    GEOSPATIAL,
    PRIMITIVES,
    Array,
    EnumSchema,
    MapSchema,
    ObjectSchema,
    Primitive,
    Schema,
)
from tests.unit.templates.models import CONTEXT, ID, PART, component, interface, telemetry

DOUBLE = Primitive("double")
ENUM = {"@type": "Enum", "valueSchema": "integer", "enumValues": [{"name": "on", "enumValue": 1}]}


def parsed(document: Any) -> Interface:
    return parse_interfaces(document)[ID]


def schema_of(schema: Any, **more: Any) -> Schema:
    return parsed(interface(ID, telemetry(schema=schema), **more)).telemetry["value"]


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize(
    ("name", "family"),
    [(name, "dtmi:dtdl:instance:Schema") for name in sorted(PRIMITIVES)]
    + [(name, "dtmi:standard:schema:geospatial") for name in sorted(GEOSPATIAL)],
)
def test_a_standard_schema_is_known_by_its_name_and_by_its_dtmi(name: str, family: str, version: int) -> None:
    assert schema_of(name) == Primitive(name)
    assert schema_of(f"{family}:{name};{version}") == Primitive(name)


@pytest.mark.parametrize("name", sorted(CENTRAL))
def test_a_schema_of_iot_central_is_known_by_its_name_and_by_its_dtmi(name: str) -> None:
    assert schema_of(name) == CENTRAL[name]
    assert schema_of(f"dtmi:iotcentral:schema:{name};2") == CENTRAL[name]


@pytest.mark.parametrize(
    ("schema", "meaning"),
    [
        ({"@type": "Array", "elementSchema": "double"}, Array(DOUBLE)),
        ({"@type": ["Array"], "elementSchema": {"@type": "Array", "elementSchema": "double"}}, Array(Array(DOUBLE))),
        (ENUM, EnumSchema(frozenset({1}))),
        (
            {"@type": "Enum", "valueSchema": "string", "enumValues": [{"enumValue": "a"}, {"enumValue": "b"}]},
            EnumSchema(frozenset({"a", "b"})),
        ),
        ({"@type": "Enum", "valueSchema": "string"}, EnumSchema(frozenset())),
        (
            {"@type": "Map", "mapKey": {"name": "k", "schema": "string"}, "mapValue": {"name": "v", "schema": "double"}},
            MapSchema(DOUBLE),
        ),
        (
            {"@type": "Object", "fields": [{"name": "a", "schema": "double"}, {"name": "b", "schema": ENUM}]},
            ObjectSchema({"a": DOUBLE, "b": EnumSchema(frozenset({1}))}),
        ),
        ({"@type": "Object"}, ObjectSchema({})),
        ("geopoint", CENTRAL["geopoint"]),
        ("vector", CENTRAL["vector"]),
    ],
)  # fmt: skip
def test_every_kind_of_schema_is_read(schema: Any, meaning: Schema) -> None:
    assert schema_of(schema) == meaning


@pytest.mark.parametrize(
    "context",
    [
        "dtmi:dtdl:context;2", "dtmi:dtdl:context;3", "dtmi:dtdl:context;4", "dtmi:dtdl:context;4#limitless", [CONTEXT],
        ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"],
        ["dtmi:dtdl:context;3", "dtmi:dtdl:extension:quantitativeTypes;1"],
        ["dtmi:dtdl:context;2", {"unit": "dtmi:example:unit;1"}],
    ],
)  # fmt: skip
def test_the_contexts_of_dtdl_2_3_and_4_are_read(context: Any) -> None:
    assert parsed(interface(ID, telemetry(), **{"@context": context})).telemetry == {"value": DOUBLE}


def test_all_that_a_device_can_say_and_do_is_read() -> None:
    read = parsed(
        interface(
            ID,
            telemetry("temperature", **{"@type": ["Telemetry", "Temperature"], "unit": "degreeCelsius"}),
            {"@type": "Property", "name": "serial", "schema": "string"},
            {"@type": ["Property", "Initialized"], "name": "target", "schema": "double", "writable": True},
            {"@type": "Command", "name": "reboot", "request": {"name": "delay", "schema": "integer"}},
            {"@type": "Relationship", "name": "near", "target": "dtmi:com:example:Other;1"},
            component("part", PART),
            displayName="Device",
            extends="dtmi:com:example:Base;1",
        )
    )
    assert read == Interface(
        id=ID,
        display_name="Device",
        telemetry={"temperature": DOUBLE},
        properties={
            "serial": Property(schema=Primitive("string"), writable=False),
            "target": Property(schema=DOUBLE, writable=True),
        },
        commands=frozenset({"reboot"}),
        components={"part": PART},
        extends=("dtmi:com:example:Base;1",),
    )
    assert read.needs == {PART, "dtmi:com:example:Base;1"}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Thermostat", "Thermostat"),
        ({"en": "Thermostat", "de": "Regler"}, "Thermostat"),
        ({"de": "Regler"}, "Regler"),
        ({"en": "", "de": "Regler"}, "Regler"),
        ("two\nlines\tof  text", "two lines of text"),
        ("x" * 600, "x" * 512),
        ("", "Device"), ("  ", "Device"), ({}, "Device"), ({"en": 5}, "Device"), (5, "Device"), (..., "Device"),
    ],
)  # fmt: skip
def test_a_model_is_shown_by_its_name_in_english_if_it_has_one(given: Any, shown: str) -> None:
    assert parsed(interface(displayName=given)).display_name == shown


def test_a_reusable_schema_of_the_interface_can_be_named() -> None:
    reusable = {
        "@id": "dtmi:com:example:Wind;1",
        "@type": "Object",
        "fields": [{"name": "speed", "schema": "double"}],
    }
    for schemas in (reusable, [reusable]):
        wind = schema_of({"@type": "Array", "elementSchema": reusable["@id"]}, schemas=schemas)
        assert wind == Array(ObjectSchema({"speed": DOUBLE}))


def test_a_schema_that_refers_to_itself_is_refused() -> None:
    loop = {"@id": "dtmi:com:example:Loop;1", "@type": "Array", "elementSchema": "dtmi:com:example:Loop;1"}
    with pytest.raises(
        TemplateError, match=r"telemetry value: the schema is nested too deep, or refers to itself"
    ):
        schema_of(loop["@id"], schemas=[loop])


def test_reusable_schemas_that_multiply_are_refused_before_they_fill_the_memory() -> None:
    schemas: list[dict[str, Any]] = [
        {
            "@id": f"dtmi:com:example:S{level};1",
            "@type": "Object",
            "fields": [{"name": f"f{n}", "schema": f"dtmi:com:example:S{level + 1};1"} for n in range(10)],
        }
        for level in range(5)
    ]
    schemas.append({"@id": "dtmi:com:example:S5;1", "@type": "Object"})
    with pytest.raises(TemplateError, match="more than 10000 schemas"):
        schema_of("dtmi:com:example:S0;1", schemas=schemas)


def test_interfaces_that_stand_inside_another_are_read_too() -> None:
    base = interface("dtmi:com:example:Base;1", telemetry("battery"), **{"@context": ...})
    part = interface(PART, component("inner", interface("dtmi:com:example:Inner;1")), **{"@context": ...})
    found = parse_interfaces(interface(ID, component("part", part), extends=[base]))
    assert list(found) == [ID, PART, "dtmi:com:example:Inner;1", "dtmi:com:example:Base;1"]
    assert found[ID].components == {"part": PART}
    assert found[ID].extends == ("dtmi:com:example:Base;1",)


def test_an_array_needs_its_context_in_the_first_interface_only() -> None:
    assert list(parse_interfaces([interface(ID), interface(PART, **{"@context": ...})])) == [ID, PART]


def test_the_same_interface_may_stand_there_twice() -> None:
    assert list(parse_interfaces([interface(ID, telemetry()), interface(ID, telemetry())])) == [ID]


def deep(levels: int) -> Any:
    schema: Any = "double"
    for _ in range(levels):
        schema = {"@type": "Array", "elementSchema": schema}
    return schema


def inside(levels: int) -> dict[str, Any]:
    document = interface("dtmi:com:example:Level0;1")
    for level in range(1, levels):
        document = interface(f"dtmi:com:example:Level{level};1", component("inner", document))
    return document


def content(**content: Any) -> dict[str, Any]:
    return interface(ID, content)


def schema(schema: Any) -> dict[str, Any]:
    return interface(ID, telemetry(schema=schema))


def object_of(*fields: Any) -> dict[str, Any]:
    return schema({"@type": "Object", "fields": list(fields)})


def enum_of(**enum: Any) -> dict[str, Any]:
    return schema({"@type": "Enum"} | enum)


NO_DOCUMENT = "a DTDL document is a JSON object, or an array of them"
NO_TYPE = f"{ID}, value: @type is none of Telemetry, Property, Command, Component, Relationship"
MISSING = f"{ID}, telemetry value: the schema is missing"
ENUM_KIND = f"{ID}, telemetry value: an enum's valueSchema is integer or string"
HUGE = 10**5000


@pytest.mark.parametrize(
    ("document", "line"),
    [
        (None, NO_DOCUMENT), ("Interface", NO_DOCUMENT), (5, NO_DOCUMENT), ([[]], NO_DOCUMENT), ([None], NO_DOCUMENT),
        ({}, "the document: @context is not DTDL's"),
        (interface(ID, **{"@context": ...}), f"{ID}: @context is not DTDL's"),
        (interface(ID, **{"@context": "dtmi:dtdl:context;1"}), f"{ID}: @context is not DTDL's"),
        (interface(ID, **{"@context": {"a": []}}), f"{ID}: @context is not DTDL's"),
        (interface(ID, **{"@context": []}), f"{ID}: @context is not DTDL's"),
        ([interface(), interface(PART, **{"@context": "schema.org"})], f"{PART}: @context is not DTDL's"),
        (interface(ID, **{"@id": ...}), "@id nothing is not the DTMI of an interface"),
        (interface(ID, **{"@id": "Device"}), "@id 'Device' is not the DTMI of an interface"),
        (interface(ID, **{"@id": "two\nlines"}), r"@id 'two\nlines' is not the DTMI of an interface"),
        (interface(ID, **{"@id": HUGE}), "@id a number is not the DTMI of an interface"),
        (interface(ID, **{"@id": [ID]}), "@id an array is not the DTMI of an interface"),
        (interface(ID, **{"@type": ...}), f"{ID}: @type is not Interface"),
        (interface(ID, **{"@type": "Telemetry"}), f"{ID}: @type is not Interface"),
        (interface(ID, **{"@type": {"Interface": 1}}), f"{ID}: @type is not Interface"),
        ([interface(ID), interface(ID, telemetry())], f"{ID} is there twice, and not the same"),
        (interface(contents=["x"]), f"{ID}: what stands in contents is not an object"),
        (interface(contents=True), f"{ID}: what stands in contents is not an object"),
        (content(**{"@type": "Telemetry", "schema": "double"}), f"{ID}: nothing is not a name for a content"),
        (content(**telemetry("")), f"{ID}: '' is not a name for a content"),
        (content(**telemetry("2x")), f"{ID}: '2x' is not a name for a content"),
        (content(**telemetry("a b")), f"{ID}: 'a b' is not a name for a content"),
        (content(**telemetry("a_")), f"{ID}: 'a_' is not a name for a content"),
        (content(**telemetry("a/#")), f"{ID}: 'a/#' is not a name for a content"),
        (content(**telemetry("a\n")), rf"{ID}: 'a\n' is not a name for a content"),
        (content(**telemetry("a" * 513)), f"{ID}: {'a' * 140!r} is not a name for a content"),
        (content(**telemetry() | {"name": True}), f"{ID}: true is not a name for a content"),
        (interface(ID, telemetry("x"), telemetry("x")), f"{ID}: two contents are named x"),
        (interface(contents=[telemetry(f"t{n}") for n in range(10_001)]), f"{ID}: more than 10000 contents"),
        (content(name="value", schema="double"), NO_TYPE),
        (content(**telemetry() | {"@type": "Sensor"}), NO_TYPE),
        (content(**telemetry() | {"@type": ["Telemetry", "Property"]}), NO_TYPE),
        (content(**telemetry() | {"@type": {"Telemetry": {}}}), NO_TYPE),
        (schema(None), MISSING), (schema(HUGE), MISSING), (schema(["double"]), MISSING), (schema(False), MISSING),
        (schema({"@type": "Array"}), MISSING), (schema({"@type": "Map"}), MISSING),
        (schema({"@type": "Map", "mapValue": "double"}), MISSING),
        (content(**{"@type": "Property", "name": "p"}), f"{ID}, property p: the schema is missing"),
        (schema("Double"), f"{ID}, telemetry value: the schema 'Double' is unknown"),
        (schema("dtmi:com:example:Wind;1"), f"{ID}, telemetry value: the schema 'dtmi:com:example:Wind;1' is unknown"),
        (
            schema("dtmi:standard:schema:geospatial:circle;2"),
            f"{ID}, telemetry value: the schema 'dtmi:standard:schema:geospatial:circle;2' is unknown",
        ),
        (schema({}), f"{ID}, telemetry value: a schema's @type can't be nothing"),
        (schema({"@type": "Tuple\n"}), rf"{ID}, telemetry value: a schema's @type can't be 'Tuple\n'"),
        (schema({"@type": []}), f"{ID}, telemetry value: a schema's @type can't be an array"),
        (schema(deep(13)), f"{ID}, telemetry value: the schema is nested too deep, or refers to itself"),
        (object_of("x"), f"{ID}, telemetry value: a field of an object has no usable name"),
        (object_of({"schema": "double"}), f"{ID}, telemetry value: a field of an object has no usable name"),
        (object_of({"name": "a.b", "schema": "double"}), f"{ID}, telemetry value: a field of an object has no usable name"),
        (object_of({"name": "a"}), f"{ID}, telemetry value.a: the schema is missing"),
        (object_of(*[{"name": "a", "schema": "double"}] * 2), f"{ID}, telemetry value: two fields are named a"),
        (enum_of(), ENUM_KIND), (enum_of(valueSchema="double"), ENUM_KIND), (enum_of(valueSchema=["string"]), ENUM_KIND),
        (enum_of(valueSchema="integer", enumValues=[1]), f"{ID}, telemetry value: an enum's value nothing is no integer"),
        (
            enum_of(valueSchema="integer", enumValues=[{"enumValue": True}]),
            f"{ID}, telemetry value: an enum's value true is no integer",
        ),
        (
            enum_of(valueSchema="integer", enumValues=[{"enumValue": 1.5}]),
            f"{ID}, telemetry value: an enum's value a number is no integer",
        ),
        (
            enum_of(valueSchema="string", enumValues=[{"enumValue": 1}]),
            f"{ID}, telemetry value: an enum's value a number is no string",
        ),
        (
            enum_of(valueSchema="string", enumValues=[{"enumValue": ["a"]}]),
            f"{ID}, telemetry value: an enum's value an array is no string",
        ),
        (interface(schemas="dtmi:a;1"), f"{ID}, schemas: each has an @id"),
        (interface(schemas=[{"@type": "Object"}]), f"{ID}, schemas: each has an @id"),
        (interface(schemas=[{"@id": ["a"]}]), f"{ID}, schemas: each has an @id"),
        (interface(ID, component("c", "Part")), f"{ID}, component c: 'Part' is not the DTMI of an interface"),
        (interface(ID, component("c", None)), f"{ID}, component c: nothing is not the DTMI of an interface"),
        (interface(ID, component("c", [PART])), f"{ID}, component c: an array is not the DTMI of an interface"),
        (interface(ID, component("c", {})), "@id nothing is not the DTMI of an interface"),
        (interface(extends="Base"), f"{ID}, extends: 'Base' is not the DTMI of an interface"),
        (interface(extends=[HUGE]), f"{ID}, extends: a number is not the DTMI of an interface"),
        (interface(extends=[False]), f"{ID}, extends: false is not the DTMI of an interface"),
        (inside(2000), "the document is nested too deep"),
        ([interface(f"dtmi:a:b{n};1") for n in range(1001)], "more than 1000 interfaces"),
    ],
)  # fmt: skip
def test_a_malformed_document_is_refused_in_one_line_that_names_the_element(document: Any, line: str) -> None:
    with pytest.raises(TemplateError) as refused:
        parse_interfaces(document)
    assert str(refused.value) == line
    assert "\n" not in refused.value.hint
