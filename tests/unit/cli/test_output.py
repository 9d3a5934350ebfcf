"""What commands print: whatever a device, a model or a certificate is called, it does not steer the terminal."""

import json

import pytest

from gateway.cli.output import print_error, print_fields, print_json, print_table
from gateway.errors import OperationError

_STEERS = "a\x1b[2Jb\x9b31mc\x7fd\u202ee\u2028f"


def _is_harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_columns_and_fields_have_nothing_that_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ID", "MODEL"), [("t-1", _STEERS)], empty="none")
    print_fields({"id": "t-1", "modelId": _STEERS, "tags": [_STEERS], "more": {"name": _STEERS}})
    printed = capsys.readouterr().out
    assert r"a\x1b[2Jb\x9b31mc" in printed
    assert _is_harmless(printed)


def test_json_has_nothing_that_steers_the_terminal_and_means_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"id": "t-1", "modelId": _STEERS, "name": "Kühlhaus"})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"id": "t-1", "modelId": _STEERS, "name": "Kühlhaus"}
    assert _is_harmless(printed)
    assert "Kühlhaus" in printed


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_has_nothing_that_steers_the_terminal(
    capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    print_error(OperationError(f"no device {_STEERS}", hint=_STEERS), as_json=as_json)
    assert _is_harmless(capsys.readouterr().err)
