"""The normative statements of both specifications, and what the tests say of them (docs/conformance.md).

`STATEMENTS` has their numbers, from each specification's appendix "Mandatory normative statements". What a test shows
is read from the `covers` marks of the tests and from the vectors' tags; the rest has its reason here.

`python -m tests.conformance.statements > docs/conformance.md` writes the page anew.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.conformance.mqtt.vectors import INVALID
from tests.conformance.mqtt.vectors5 import INVALID_5

__all__ = ["NOT_APPLICABLE", "STATEMENTS", "covering_tests", "page", "paho_cases"]

TESTS = Path(__file__).parents[1]

_SECTIONS_311 = """
1.5.3:3 2.2.2:2 2.3.1:7 3.1.0:2 3.1.2:24 3.1.3:11 3.1.4:5 3.2.0:1 3.2.2:6 3.3.1:12 3.3.2:3 3.3.4:1 3.3.5:2 3.6.1:1
3.8.1:1 3.8.3:4 3.8.4:6 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6 3.12.4:1 3.14.1:1 3.14.4:3 4.1.0:2 4.3.1:1 4.3.2:2 4.3.3:2
4.4.0:1 4.5.0:2 4.6.0:6 4.7.1:3 4.7.2:1 4.7.3:4 4.8.0:2 6.0.0:4 7.0.0:2 7.1.1:1 7.1.2:1
"""
_SECTIONS_5 = """
1.5.4:3 1.5.5:1 1.5.7:1 2.1.3:1 2.2.1:6 2.2.2:1 3.1.0:2 3.1.2:30 3.1.3:12 3.1.4:6 3.2.0:2 3.2.2:22 3.3.1:13 3.3.2:20
3.3.4:10 3.4.2:3 3.5.2:3 3.6.1:1 3.6.2:3 3.7.2:3 3.8.1:1 3.8.3:5 3.8.4:8 3.9.2:2 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6
3.11.2:2 3.11.3:2 3.12.4:1 3.14.0:1 3.14.1:1 3.14.2:4 3.14.4:3 3.15.1:1 3.15.2:3 4.1.0:2 4.2:1 4.3.1:1 4.3.2:5 4.3.3:13
4.4.0:2 4.5.0:2 4.6.0:6 4.7.0:1 4.7.1:2 4.7.2:1 4.7.3:4 4.8.2:6 4.9.0:3 4.12.0:7 4.12.1:2 4.13.1:1 4.13.2:1 6.0.0:4
"""
_NEVER_GIVEN = {"mqtt5": {"2.2.1-1"}}
"""Numbers that the specification leaves out."""


def _numbers(version: str, sections: str) -> tuple[str, ...]:
    pairs = (one.split(":") for one in sections.split())
    return tuple(
        number
        for section, count in pairs
        for index in range(1, int(count) + 1)
        if (number := f"{section}-{index}") not in _NEVER_GIVEN.get(version, ())
    )


STATEMENTS: Mapping[str, tuple[str, ...]] = {
    "mqtt311": _numbers("mqtt311", _SECTIONS_311),
    "mqtt5": _numbers("mqtt5", _SECTIONS_5),
}

_CLIENT = "binds clients, and shows itself in no packet that a server could refuse"
_WEBSOCKET = "MQTT over WebSocket is not offered"
_NO_CHALLENGE = "no authentication method here asks a second question"

_WHY: Mapping[str, Mapping[str, str]] = {
    "mqtt311": {
        _CLIENT: "2.3.1-2 3.1.2-23 3.14.4-1 4.5.0-2 4.6.0-2 4.6.0-3 4.6.0-4 7.1.2-1",
        _WEBSOCKET: "6.0.0-1 6.0.0-2 6.0.0-3 6.0.0-4",
        "binds servers that connect to other servers": "7.0.0-1",
        "says of an implementation that it needs no extensions; there are none": "7.0.0-2",
        "every refusal of this gateway has a return code": "3.2.2-6",
        "wildcards are supported where a filter may be subscribed to": "3.8.3-2",
        "there are no transient errors that a packet is kept for: the connection ends": "4.8.0-2",
        "the flag decides whether the field is read, so that there is no packet that breaks it;"
        " what is left over or missing breaks 3.1.2": "3.1.2-9 3.1.2-11 3.1.2-19 3.1.2-20 3.1.2-21",
    },
    "mqtt5": {
        _CLIENT: "3.1.2-20 3.1.2-30 3.2.2-4 3.2.2-5 3.3.2-10 3.3.4-8 4.5.0-2 4.6.0-2 4.6.0-3 4.6.0-4 4.12.0-3",
        _WEBSOCKET: "6.0.0-1 6.0.0-2 6.0.0-3 6.0.0-4",
        _NO_CHALLENGE: "4.12.0-2",
        "the general server sends one copy for all matching subscriptions": "3.3.4-5",
        "the flag decides whether the field is read, so that there is no packet that breaks it;"
        " what is left over or missing breaks 3.1.2": "3.1.2-9 3.1.2-17 3.1.2-18 3.1.2-19",
    },
}
"""Why no test shows a statement, and which statements that is said of."""

NOT_APPLICABLE: Mapping[str, Mapping[str, str]] = {
    version: {number: why for why, numbers in reasons.items() for number in numbers.split()}
    for version, reasons in _WHY.items()
}


# What the tests say


def _marks(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Each use of the mark `name` in the tests: the test, as pytest calls it, and the mark."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for mark in node.decorator_list:
                    if (
                        isinstance(mark, ast.Call)
                        and ast.unparse(mark.func).removeprefix("pytest.mark.") == name
                    ):
                        yield f"{path.relative_to(TESTS.parent)}::{node.name}", mark


@cache
def covering_tests() -> Mapping[str, Mapping[str, list[str]]]:
    """By version and number: the tests that show the statement."""
    found: dict[str, dict[str, list[str]]] = {version: {} for version in STATEMENTS}
    for test, mark in _marks("covers"):
        for keyword in mark.keywords:
            for number in ast.literal_eval(keyword.value).split():
                found[keyword.arg or ""].setdefault(number, []).append(test)
    in_vectors = "tests/conformance/mqtt/test_vectors.py::test_malformed_packet_is_refused_with_its_rule"
    for tag in {vector.tag for vector in (*INVALID, *INVALID_5)}:
        name, _, number = tag.partition("-")
        version = {"MQTT": "mqtt311", "MQTT5": "mqtt5"}[name]
        if number in STATEMENTS[version]:
            found[version].setdefault(number, []).insert(0, in_vectors)
    return found


def paho_cases() -> Mapping[str, Mapping[str, list[str]]]:
    """By version and case of Paho's suite: the tests that take it over."""
    found: dict[str, dict[str, list[str]]] = {"mqtt311": {}, "mqtt5": {}}
    for test, mark in _marks("paho"):
        for version, argument in zip(found, mark.args, strict=True):
            if case := ast.literal_eval(argument):
                found[version].setdefault(case, []).append(test)
    return found


# The page

_TITLES = {"mqtt311": "MQTT 3.1.1", "mqtt5": "MQTT 5"}
_SUITES = {"mqtt311": "client_test.py", "mqtt5": "client_test5.py"}
_HEAD = """\
# Conformance

Written by `python -m tests.conformance.statements`, from the tests themselves; a test holds this page to them.

The device listener is no general broker: it has the topics of a hub, QoS 0 and 1, and no retained messages. What it
stands on, `gateway/mqtt`, speaks all of MQTT 3.1.1 and MQTT 5. To hold that against what others expect of MQTT there is
a general server for tests only (`tests/conformance/interop/general_server.py`): clients that send to each other,
retained messages, QoS 2, shared subscriptions, aliases both ways.

## Eclipse Paho's interoperability cases

Each case of the suite (github.com/eclipse/paho.mqtt.testing, `interoperability/`) is taken over in our own words, with
clients and a clock in memory. The suite itself, unmodified, runs against the general server with
`PAHO_TESTING=DIR make interop`, where DIR is a checkout of it: 10 of 10 cases of 3.1.1 and 27 of 27 of MQTT 5 passed on
24 November 2026 (the suite's `will_message_test` has a name that its own runner leaves out).
"""
_STATEMENTS_HEAD = """
## Normative statements

Every statement of the specifications' appendix "Mandatory normative statements", by its number: the first test that
shows it, or why none can. Vectors are packets in bytes (`tests/conformance/mqtt`).
"""


def page() -> str:
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD
    for version, cases in paho_cases().items():
        yield f"### {_TITLES[version]}: `{_SUITES[version]}`\n\n| case | shown by |\n| --- | --- |"
        for case, tests in sorted(cases.items()):
            yield f"| `{case}` | {', '.join(f'`{_short(test)}`' for test in tests)} |"
        yield ""
    yield _STATEMENTS_HEAD
    covered = covering_tests()
    yield "| | statements | shown by tests | not applicable | missing |\n| --- | ---: | ---: | ---: | ---: |"
    for version, numbers in STATEMENTS.items():
        shown = len(covered[version])
        excused = len(NOT_APPLICABLE[version].keys() - covered[version].keys())
        yield f"| {_TITLES[version]} | {len(numbers)} | {shown} | {excused} | {len(numbers) - shown - excused} |"
    for version, numbers in STATEMENTS.items():
        prefix = "MQTT-"
        yield f"\n### {_TITLES[version]}\n\n| statement | | shown by, or why not |\n| --- | --- | --- |"
        for number in numbers:
            tests = covered[version].get(number)
            if tests:
                more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
                yield f"| {prefix}{number} | covered | `{_short(tests[0])}`{more} |"
            elif why := NOT_APPLICABLE[version].get(number):
                yield f"| {prefix}{number} | not applicable | {why} |"
            else:
                yield f"| {prefix}{number} | **missing** | |"
    yield ""


def _short(test: str) -> str:
    path, _, name = test.partition("::")
    return f"{path.rsplit('/', 1)[-1].removesuffix('.py')}::{name}"


if __name__ == "__main__":
    print(page(), end="")
