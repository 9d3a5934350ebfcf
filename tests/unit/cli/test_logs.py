"""One event of the log, for people."""

import re
from typing import Any

import pytest

from gateway.cli.logs import format_event

REFUSED: dict[str, Any] = {
    "timestamp": "2026-11-24T02:51:03.250Z",
    "level": "warning",
    "event": "connect.refused",
    "device_id": "mill-1",
    "peer": "192.0.2.1:50000",
    "detail": "expired 7200 s ago",
    "reason": "token_expired",
    "hint": "sign a new token; check the device's clock",
    "tls": None,
}


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_every_line_fits_the_terminal_and_says_everything(width: int) -> None:
    lines = plain(format_event(REFUSED, width=width, colours=True)).splitlines()
    assert all(len(line) <= width for line in lines)
    together = " ".join(" ".join(lines).split())
    for shown in ("warning", "connect.refused", "mill-1", "reason=token_expired", '"expired 7200 s ago"',
                  "→ sign a new token", "peer=192.0.2.1:50000"):  # fmt: skip
        assert shown in together
    assert "tls" not in together


def test_the_reason_comes_before_what_ties_lines_together() -> None:
    text = format_event(REFUSED, width=None, colours=False)
    assert text.index("reason=") < text.index("detail=") < text.index("hint=") < text.index("peer=")


def test_a_pipe_gets_one_line_without_colours() -> None:
    text = format_event(REFUSED, width=None, colours=False)
    assert "\n" not in text
    assert "\x1b" not in text


def test_what_a_stranger_chose_cannot_steer_the_terminal() -> None:
    event = REFUSED | {"device_id": "\x1b[2J", "detail": "a\nb\x9b", "hint": "\x07"}
    for width in (None, 80):
        text = format_event(event, width=width, colours=False)
        assert text.isprintable() or width == 80
        assert not set(text) & {"\x1b", "\x9b", "\x07"}
