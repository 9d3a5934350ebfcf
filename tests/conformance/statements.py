"""The normative statements of both specifications, and what the tests say of them (docs/conformance.md).

`STATEMENTS` has their numbers, from each specification's appendix "Mandatory normative statements". What a test shows
is read from the `covers` marks of the tests and from the vectors; *of what* it shows it, from where the test lives. The
rest has its reason here: `NOT_APPLICABLE` what no test can show, `NO_OCCASION` what the device listener never comes to,
`GAPS` what it does otherwise.

`python -m tests.conformance.statements > docs/conformance.md` writes the page anew.
"""

import ast
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.conformance.mqtt.vectors import INVALID, Sender
from tests.conformance.mqtt.vectors5 import INVALID_5

__all__ = [
    "GAPS",
    "NOT_APPLICABLE",
    "NO_OCCASION",
    "STATEMENTS",
    "Subject",
    "by_subject",
    "covering_tests",
    "page",
    "paho_cases",
]

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

_WHY: Mapping[str, Mapping[str, str]] = {
    "mqtt311": {
        _CLIENT: "2.3.1-2 3.1.2-23 3.14.4-1 4.5.0-2 7.1.2-1",
        _WEBSOCKET: "6.0.0-1 6.0.0-2 6.0.0-3 6.0.0-4",
        "binds servers that connect to other servers": "7.0.0-1",
        "says of an implementation that it needs no extensions; there are none": "7.0.0-2",
        "every refusal of this gateway has a return code": "3.2.2-6",
    },
    "mqtt5": {
        _CLIENT: "3.1.2-20 3.2.2-4 3.2.2-5 3.3.2-10 3.3.4-8 4.5.0-2 4.12.0-3",
        "binds clients; what one sends before its CONNACK is held, and served once it is accepted": "3.1.2-30",
        _WEBSOCKET: "6.0.0-1 6.0.0-2 6.0.0-3 6.0.0-4",
        "no authentication method here asks a second question": "4.12.0-2",
        "the general server sends one copy for all matching subscriptions": "3.3.4-5",
        "binds receivers that refuse a message of QoS 2 by PUBREC; none here does": "4.3.3-9",
    },
}
"""Why no test shows a statement, and which statements that is said of."""

_NEVER_AGAIN = "it sends no packet again"
_NOT_RETAINED = "nothing is retained there"
_NO_QOS_2 = "it has no QoS 2"
_ONE_FILTER = "devices do not send to each other, and one filter at most matches what the gateway sends"
_NO_SHARING = "it has no shared subscriptions"
_NOT_NAMELESS = "an empty client id is refused there"
_NO_ALIASES = "it sets no topic aliases"
_NO_IDENTIFIERS = "it takes no subscription identifiers"
_NO_EXPIRY = "messages are handed on as they come, so that none can expire"

_NEVER: Mapping[str, Mapping[str, str]] = {
    "mqtt311": {
        _NEVER_AGAIN: "2.3.1-3 3.3.1-1 3.10.4-3 4.6.0-1",
        _NOT_RETAINED: "3.1.2-7 3.1.2-16 3.3.1-6 3.3.1-7 3.3.1-8 3.3.1-10 3.3.1-11 3.3.1-12",
        _NOT_NAMELESS: "3.1.3-6 3.1.3-7",
        _NO_QOS_2: "4.3.3-1 4.6.0-3 4.6.0-4",
        _ONE_FILTER: "3.3.1-3 3.3.5-1 4.5.0-1 4.6.0-5 4.6.0-6",
    },
    "mqtt5": {
        _NEVER_AGAIN: "3.3.1-1 3.10.4-3 4.6.0-1",
        _NOT_RETAINED: "3.1.2-14 3.1.2-15 3.3.1-5 3.3.1-6 3.3.1-7 3.3.1-8 3.3.1-9 3.3.1-10 3.3.1-11 3.3.1-13 3.8.4-4",
        _NO_QOS_2: "4.3.3-1 4.3.3-2 4.3.3-3 4.3.3-4 4.3.3-5 4.3.3-6 4.3.3-7 4.3.3-8 4.3.3-10 4.3.3-11 4.3.3-12"
        " 4.3.3-13 4.6.0-3 4.6.0-4",
        _ONE_FILTER: "3.3.1-3 3.3.4-2 3.8.3-3 4.5.0-1 4.6.0-5 4.6.0-6",
        _NO_IDENTIFIERS: "3.3.4-3 3.3.4-4",
        _NO_ALIASES: "3.1.2-26 3.1.2-27 3.3.2-11",
        _NO_SHARING: "4.8.2-3 4.8.2-4 4.8.2-5 4.8.2-6",
        _NO_EXPIRY: "3.3.2-5 3.3.2-6",
    },
}
"""Why the device listener never comes to a statement that only the general server shows."""


def _by_number(reasons: Mapping[str, str]) -> Mapping[str, str]:
    return {number: why for why, numbers in reasons.items() for number in numbers.split()}


NOT_APPLICABLE: Mapping[str, Mapping[str, str]] = {
    version: _by_number(reasons) for version, reasons in _WHY.items()
}
NO_OCCASION: Mapping[str, Mapping[str, str]] = {
    version: _by_number(reasons) for version, reasons in _NEVER.items()
}


class Gap(NamedTuple):
    """Statements that the device listener does not keep, or not wholly; `instead`: what it does, and why."""

    mqtt311: str
    mqtt5: str
    instead: str

    def numbers(self, version: str) -> tuple[str, ...]:
        return tuple(getattr(self, version).split())


GAPS = (
    Gap(
        "3.1.2-5 4.1.0-1 4.4.0-1",
        "3.1.2-5 3.1.2-23 4.4.0-1",
        "Of a session only the subscriptions are kept. An answer that a device did not acknowledge before its connection"
        " ended is not sent again: the device repeats its request. Nor is one that found `max_inflight` others"
        " unacknowledged, and so went out with QoS 0.",
    ),
    Gap(
        "4.1.0-1",
        "3.1.2-23",
        "Kept sessions are in memory: a restart forgets them, and beyond `max_offline_sessions` the oldest is forgotten. The"
        " session of a device that is blocked, or whose enrollment changed, is over. The next CONNACK says so.",
    ),
    Gap(
        "3.1.2-5 4.1.0-1",
        "",
        "On provisioning no session is kept, whatever a device of 3.1.1 asks for; one of MQTT 5 is told so (Session Expiry"
        " Interval 0).",
    ),
    Gap(
        "3.1.2-17 3.3.1-5",
        "",
        "Nothing is retained. A message's RETAIN becomes its property `mqtt-retain`, as at IoT Hub; a will's is left out. A"
        " device of MQTT 5 is told (Retain Available 0).",
    ),
    Gap(
        "3.3.4-1 4.3.3-2",
        "",
        "A message of QoS 2 ends the connection, as at IoT Hub: 3.1.1 has no word to announce it. MQTT 5 has (Maximum QoS"
        " 1).",
    ),
    Gap(
        "3.8.4-1 3.8.4-5",
        "",
        "A filter that is none of the hub's ends the connection without a SUBACK, as at IoT Hub; in MQTT 5 it is answered"
        " with 0x8F.",
    ),
    Gap(
        "3.1.2-8",
        "3.1.2-7 3.1.2-8",
        "A will becomes telemetry of its device. One to any other topic is dropped (`telemetry.dropped` in the log), though"
        " the CONNECT is accepted; so is one on provisioning. A will that finds no room to wait for its delay"
        " (`max_offline_sessions`) comes at once, and so do those that wait when the gateway ends.",
    ),
    Gap(
        "",
        "3.1.3-10 3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-17 3.3.2-18 3.3.2-20",
        "Applications get an envelope in JSON and no PUBLISH of the device's: user properties by their names, of two with"
        " one name the last; content type and correlation data, if it is text; response topic and payload format not at"
        " all.",
    ),
)
"""The statements that the device listener does not keep."""


# What the tests say


class Subject(StrEnum):
    """What a test shows a statement of."""

    ENGINE = "engine"
    LISTENER = "device listener"
    GENERAL = "general server"


_SUBJECTS: Mapping[str, Subject] = {
    "tests/conformance/mqtt/": Subject.ENGINE,
    "tests/unit/mqtt/": Subject.ENGINE,
    "tests/unit/edge/": Subject.LISTENER,
    "tests/integration/": Subject.LISTENER,
    "tests/security/": Subject.LISTENER,
    "tests/conformance/interop/": Subject.GENERAL,
}
"""By where a test lives."""


_OF_VECTORS: Mapping[str, tuple[Sender, ...]] = {
    "tests/unit/edge/test_rules.py::test_who_breaks_a_rule_is_closed_and_the_log_names_the_rule": (
        Sender.CLIENT,
    ),
    "tests/conformance/mqtt/test_vectors.py::test_malformed_packet_is_refused_with_its_rule": tuple(Sender),
}
"""The tests that go through all vectors that break a rule, and whose."""


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
    for version, vectors in (("mqtt311", INVALID), ("mqtt5", INVALID_5)):
        for test, senders in _OF_VECTORS.items():
            sent = [vector for vector in vectors if vector.sender in senders]
            broken = {vector.tag.partition("-")[2] for vector in sent} | {vector.shows for vector in sent}
            for number in broken & set(STATEMENTS[version]):
                found[version].setdefault(number, []).insert(0, test)
    return found


def by_subject(tests: list[str]) -> Mapping[Subject, list[str]]:
    """`tests` by what they show a statement of. Raises `KeyError` for one that lives where nobody has said."""
    found: dict[Subject, list[str]] = {}
    for test in tests:
        (subject,) = (_SUBJECTS[home] for home in _SUBJECTS if test.startswith(home))
        found.setdefault(subject, []).append(test)
    return {subject: found[subject] for subject in Subject if subject in found}


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

Three things are spoken of here, and only the first two are the gateway:

- the **engine**, `gateway/mqtt`: packets and their rules in MQTT 3.1.1 and MQTT 5, bytes in and bytes out, without sockets;
- the **device listener**, `gateway/edge`, which stands on it. It is no general broker: it has the topics of a hub, QoS 0
  and 1, nothing retained, and devices that do not send to each other;
- the **general server**, `tests/conformance/interop/general_server.py`: code of the tests that stands on the engine too,
  with clients that send to each other, retained messages, QoS 2, shared subscriptions, aliases both ways. What is shown only
  of it says that the engine can carry such a server, and nothing of the gateway, which has no such thing or does otherwise.

## Eclipse Paho's interoperability cases

Each case of the suite (github.com/eclipse/paho.mqtt.testing, `interoperability/`) is taken over in our own words, with
clients and a clock in memory, against the general server: it asks for what a general broker does. The suite itself,
unmodified, runs against the general server with `PAHO_TESTING=DIR make interop`, where DIR is a checkout of it: 10 of 10
cases of 3.1.1 and 27 of 27 of MQTT 5 passed on 27 November 2026 (the suite's `will_message_test` has a name that its own
runner leaves out).
"""
_STATEMENTS_HEAD = """
## Normative statements

Every statement of the specifications' appendix "Mandatory normative statements", by its number: what it is shown of and by
which test (the first, for the engine and for the device listener), or why none can. Vectors are packets in bytes
(`tests/conformance/mqtt`). A statement may be shown of both the engine and the device listener ("either" counts it once);
beside one that only the general server shows stands why the device listener never comes to it, or that it does not keep it.
"""
_GAPS_HEAD = """
### What the device listener does not keep

These statements bind a server, and the device listener keeps them in part or not at all.

| MQTT 3.1.1 | MQTT 5 | instead |
| --- | --- | --- |"""


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
    yield from _summary()
    yield _GAPS_HEAD
    for gap in GAPS:
        yield f"| {', '.join(gap.numbers('mqtt311'))} | {', '.join(gap.numbers('mqtt5'))} | {gap.instead} |"
    for version, numbers in STATEMENTS.items():
        yield f"\n### {_TITLES[version]}\n\n| statement | shown of | by, or why not |\n| --- | --- | --- |"
        for number in numbers:
            yield f"| MQTT-{number} | {_row(version, number)} |"
    yield ""


def _summary() -> Iterator[str]:
    yield (
        "| | statements | engine | device listener | either | only the general server | not applicable | missing |"
        "\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for version, numbers in STATEMENTS.items():
        shown = [set(by_subject(tests)) for tests in covering_tests()[version].values()]
        engine, listener = (
            sum(subject in subjects for subjects in shown) for subject in (Subject.ENGINE, Subject.LISTENER)
        )
        only_general = shown.count({Subject.GENERAL})
        excused = len(NOT_APPLICABLE[version].keys() - covering_tests()[version].keys())
        yield (
            f"| {_TITLES[version]} | {len(numbers)} | {engine} | {listener} | {len(shown) - only_general}"
            f" | {only_general} | {excused} | {len(numbers) - len(shown) - excused} |"
        )


def _row(version: str, number: str) -> str:
    """What one statement is shown of, and by what."""
    subjects = by_subject(covering_tests()[version].get(number, []))
    if not subjects:
        why = NOT_APPLICABLE[version].get(number)
        return f"not applicable | {why}" if why else "**missing** | "
    if set(subjects) == {Subject.GENERAL}:
        shown = f"only the {Subject.GENERAL} | {_first(subjects[Subject.GENERAL])}"
        why = NO_OCCASION[version].get(number)
        if why is not None:
            return f"{shown}. Not the device listener: {why}"
    else:
        of_gateway = [subject for subject in subjects if subject is not Subject.GENERAL]
        shown = f"{', '.join(of_gateway)} | {'; '.join(_first(subjects[one]) for one in of_gateway)}"
    is_gap = any(number in gap.numbers(version) for gap in GAPS)
    return f"{shown}. **The device listener keeps it in part or not at all**, see above" if is_gap else shown


def _first(tests: list[str]) -> str:
    more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
    return f"`{_short(tests[0])}`{more}"


def _short(test: str) -> str:
    path, _, name = test.partition("::")
    return f"{path.rsplit('/', 1)[-1].removesuffix('.py')}::{name}"


if __name__ == "__main__":
    print(page(), end="")
