"""docs/conformance.md says what the tests show, and every statement is shown or has its reason."""

import re
from pathlib import Path

import pytest

from tests.conformance import statements
from tests.conformance.statements import Subject

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
VERSIONS = list(statements.STATEMENTS)


def test_the_page_is_what_the_tests_say_today() -> None:
    assert PAGE.read_text(encoding="utf-8") == statements.page(), (
        "write it anew: python -m tests.conformance.statements > docs/conformance.md"
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_every_statement_is_shown_by_a_test_or_has_a_reason(version: str) -> None:
    known = set(statements.STATEMENTS[version])
    shown = set(statements.covering_tests()[version])
    excused = set(statements.NOT_APPLICABLE[version])

    assert shown <= known
    assert excused <= known
    assert shown & excused == set(), "a test shows it: take its reason away"
    assert known - shown - excused == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_test_that_shows_a_statement_exists(version: str) -> None:
    named = {test for tests in statements.covering_tests()[version].values() for test in tests}

    for test in named:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (statements.TESTS.parent / path).read_text(encoding="utf-8"), test


@pytest.mark.parametrize("version", VERSIONS)
def test_what_only_the_general_server_shows_is_what_the_device_listener_has_not_or_does_not_keep(
    version: str,
) -> None:
    subjects = {
        number: set(statements.by_subject(tests))
        for number, tests in statements.covering_tests()[version].items()
    }
    only_general = {number for number, shown in subjects.items() if shown == {Subject.GENERAL}}
    never = set(statements.NO_OCCASION[version])
    gaps = {number for gap in statements.GAPS for number in gap.numbers(version)}

    assert gaps <= set(statements.STATEMENTS[version])
    assert only_general - gaps == never
    assert never & gaps == set()


def test_the_sources_name_no_statement_that_does_not_exist() -> None:
    sources = Path(__file__).parents[2] / "gateway"
    named = {
        ("mqtt5" if tag == "MQTT5" else "mqtt311", number)
        for path in sources.rglob("*.py")
        for tag, number in re.findall(r"\b(MQTT5?)-(\d[\d.]*-\d+)", path.read_text(encoding="utf-8"))
    }

    assert len(named) > 90
    assert {one for one in named if one[1] not in statements.STATEMENTS[one[0]]} == set()
