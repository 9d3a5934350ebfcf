import base64
from typing import Any

import orjson
import pytest

from gateway.telemetry.envelope import (
    Body,
    DeadLetter,
    Message,
    declares_json,
    decode_body,
    is_component_name,
    render,
    render_dead_letter,
    split_properties,
)
from gateway.telemetry.validation import Issue, ValidationResult

TEMPLATE = "dtmi:com:example:Thermostat;1"
NOON = 1795436467.12  # 2026-11-23T12:21:07.120Z


def message(**changes: Any) -> Message:
    known: dict[str, Any] = {
        "device_id": "t-1", "template_id": TEMPLATE, "model_id": TEMPLATE, "component": None, "properties": {},
        "system_properties": {}, "creation_time": None, "enqueued_at": NOON, "body": decode_body(b"{}"),
    }  # fmt: skip
    return Message(**(known | changes))


def test_the_envelope_says_who_when_what_and_what_the_template_thinks_of_it() -> None:
    envelope = orjson.loads(
        render(
            message(
                component="thermostat1",
                properties={"alert": "yes", "flag": None},
                system_properties={"ct": "application/json", "ce": "utf-8"},
                creation_time="2026-11-23T12:21:00Z",
                body=decode_body(b'{"temperature": 21.5}'),
            ),
            ValidationResult(valid=True, issues=()),
        )
    )
    assert envelope == {
        "device": "t-1",
        "template": TEMPLATE,
        "modelId": TEMPLATE,
        "component": "thermostat1",
        "enqueuedTime": "2026-11-23T12:21:07.120Z",
        "creationTime": "2026-11-23T12:21:00Z",
        "properties": {"alert": "yes", "flag": None},
        "systemProperties": {"ct": "application/json", "ce": "utf-8"},
        "bodyEncoding": "json",
        "body": {"temperature": 21.5},
        "validation": {"status": "valid", "issues": []},
    }


def test_an_unassociated_devices_envelope_is_unchecked() -> None:
    envelope = orjson.loads(render(message(template_id=None, model_id=None), None))
    assert (envelope["template"], envelope["modelId"]) == (None, None)
    assert envelope["validation"] == {"status": "unchecked", "issues": []}


def test_issues_are_listed_with_their_paths() -> None:
    verdict = ValidationResult(valid=False, issues=(Issue("a.b", "not a double"),))
    envelope = orjson.loads(render(message(), verdict))
    assert envelope["validation"] == {
        "status": "invalid",
        "issues": [{"path": "a.b", "problem": "not a double"}],
    }


@pytest.mark.parametrize(
    "raw",
    [
        b'{"b": 1.50, "a":  1e2,\n "long": 12345678901234567890123}', b'{"a":1,"a":2}', b'"text"', b"5", b"null", b"[ 1 ]",
        '{"ä": "\\u00e4"}'.encode(),
    ],
)  # fmt: skip
def test_a_json_body_is_embedded_byte_for_byte(raw: bytes) -> None:
    rendered = render(message(body=decode_body(raw)), None)
    assert b'"bodyEncoding":"json","body":' + raw + b',"validation"' in rendered


@pytest.mark.parametrize(
    "raw", [b"", b"\x00\xff", b"temperature=21.5", b"{", b'{"a": NaN}', b"{'a': 1}", b'"\xff"']
)
def test_a_body_that_is_no_json_is_base64(raw: bytes) -> None:
    body = decode_body(raw)
    assert body == Body(raw=raw, is_json=False)
    envelope = orjson.loads(render(message(body=body), None))
    assert envelope["bodyEncoding"] == "base64"
    assert base64.b64decode(envelope["body"]) == raw


def test_a_property_bag_is_split_into_application_and_system_properties() -> None:
    bag = {
        "$.ct": "application/json", "$.mid": "1", "$.sub": "pump", "alert": "yes", "flag": None,
        "iothub-creation-time-utc": "2026-11-23T12:21:00Z",
    }  # fmt: skip
    assert split_properties(bag) == (
        {"alert": "yes", "flag": None},
        {"ct": "application/json", "mid": "1"},
        "pump",
        "2026-11-23T12:21:00Z",
    )


def test_an_empty_property_bag_has_nothing() -> None:
    assert split_properties({}) == ({}, {}, None, None)


@pytest.mark.parametrize(
    ("bag", "declared"),
    [
        ({"$.ct": "application/json"}, True),
        ({"$.ct": "application/json;charset=utf-8"}, True),
        ({"$.ct": "Application/JSON"}, True),
        ({"$.ct": "application%2Fjson"}, True),
        ({"$.ct": "application%2fjson"}, True),
        ({"$.ct": "text/plain"}, False),
        ({"$.ct": None}, False),
        ({"ct": "application/json"}, False),
        ({}, False),
    ],
)
def test_a_device_declares_json_by_its_content_type(bag: dict[str, str | None], declared: bool) -> None:
    assert declares_json(bag) is declared


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("pump", True), ("pump_1", True), ("P", True), ("a" * 512, True), ("", False), ("1pump", False), ("pump_", False),
        ("a/b", False), ("+", False), ("#", False), ("pump\n", False), ("pümp", False), ("a" * 513, False), ("a.b", False),
    ],
)  # fmt: skip
def test_a_component_can_not_leave_its_level_of_the_topic(text: str, good: bool) -> None:
    assert is_component_name(text) is good


def test_a_dead_letter_holds_all_that_was_sent() -> None:
    letter = orjson.loads(
        render_dead_letter(
            DeadLetter.BODY_NOT_JSON,
            "why",
            device_id="t-1",
            template_id=None,
            model_id=None,
            bag="%24.ct=application%2Fjson",
            payload=b"\x00{",
            enqueued_at=0,
        )
    )
    assert letter == {
        "device": "t-1",
        "template": None,
        "modelId": None,
        "enqueuedTime": "1970-01-01T00:00:00.000Z",
        "reason": "body_not_json",
        "detail": "why",
        "propertyBag": "%24.ct=application%2Fjson",
        "bodyEncoding": "base64",
        "body": base64.b64encode(b"\x00{").decode(),
    }
