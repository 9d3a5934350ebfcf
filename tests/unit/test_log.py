import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from gateway import log
from gateway.errors import StartError
from gateway.secrets import SymmetricKey
from gateway.settings import LogSettings


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def written(format_: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    log.configure(LogSettings.model_validate({"format": format_, "level": level}), stream)
    return stream


def test_a_json_line_has_the_event_its_level_its_time_and_its_fields() -> None:
    stream = written("json")
    log.get_logger().info("session.opened", device_id="t-1", attempts=2)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["device_id"], line["attempts"]) == (
        "session.opened",
        "info",
        "t-1",
        2,
    )
    assert line["timestamp"].endswith("Z")


def test_a_console_line_is_for_people() -> None:
    stream = written("console")
    log.get_logger().warning("connect.refused", device_id="t-1", hint="sign a new token", detail="")
    text = stream.getvalue()
    assert text.split()[1:] == [
        "warning",
        "connect.refused",
        "device_id=t-1",
        'hint="sign',
        "a",
        "new",
        'token"',
    ]
    assert "\x1b" not in text


_STEERS = "x\u009b31mEVIL\u0085line\u2028sep\u2029\u202ertl\x7f\x1b[2J\r\n\U000e0041\ufeffä"
"""C1's CSI, line ends that JSON leaves as they are, a turn of direction, DEL, ESC, a tag, and a letter that is harmless."""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
@pytest.mark.parametrize("format_", ["json", "console"])
def test_nothing_in_a_line_steers_a_terminal_or_ends_the_line(
    format_: str, stream: type[io.StringIO]
) -> None:
    out = stream()
    log.configure(LogSettings.model_validate({"format": format_}), out)
    log.get_logger().warning("connect.refused", device_id=_STEERS, detail="\x7f")
    text = re.sub(r"\x1b\[\d+m", "", out.getvalue())  # our own colours
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert r"x\u009b31mEVIL\u0085line" in text
    assert "ä" in text
    if format_ == "json":
        assert json.loads(text)["device_id"] == _STEERS


def test_an_ascii_line_with_a_del_in_it_is_escaped_too() -> None:
    stream = written("json")
    log.get_logger().warning("connect.refused", device_id="a\x7fb")
    assert r'"a\u007fb"' in stream.getvalue()


@pytest.mark.parametrize("format_", ["json", "console"])
def test_secrets_never_print(format_: str) -> None:
    stream = written(format_)
    key = SymmetricKey.generate()
    log.get_logger().info(
        "session.opened", password="hunter2", primary_key=key.base64, value=key,
        detail="SharedAccessSignature sr=x&sig=c2VjcmV0&se=1",
    )  # fmt: skip
    text = stream.getvalue()
    assert "hunter2" not in text
    assert key.base64 not in text
    assert "c2VjcmV0" not in text
    assert "sr=x" in text


def test_a_message_of_the_broker_is_one_line_without_a_traceback() -> None:
    stream = written("json")
    logging.getLogger("amqtt.broker").error("startup failed\nsecond line", exc_info=OSError("no"))
    line = json.loads(stream.getvalue())
    assert (line["event"], line["message"], line["error"]) == ("broker.reported", "startup failed", "no")


def test_a_failure_says_what_to_do() -> None:
    stream = written("json")
    log.report_failure(StartError("port 8883 is taken", hint="stop the other program"))
    line = json.loads(stream.getvalue())
    assert (line["event"], line["error"], line["hint"]) == (
        "gateway.failed",
        "port 8883 is taken",
        "stop the other program",
    )


def test_debug_lines_are_left_out_unless_asked_for() -> None:
    stream = written("json", level="info")
    log.get_logger().debug("session.opened")
    assert stream.getvalue() == ""


async def test_lines_of_one_turn_of_the_loop_are_written_together_and_in_order() -> None:
    writes: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    log.configure(LogSettings.model_validate({"format": "json"}), Stream())
    for number in range(3):
        log.get_logger().info("session.opened", number=number)
    assert writes == []
    await asyncio.sleep(0)
    assert [json.loads(line)["number"] for line in "".join(writes).splitlines()] == [0, 1, 2]
    assert len(writes) == 1


async def test_a_log_that_nobody_reads_any_more_stops_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log.configure(LogSettings(), Gone())
    log.get_logger().info("session.opened")
    await asyncio.sleep(0)
