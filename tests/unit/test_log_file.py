"""The log in a file: rotated by size, or reopened when logrotate has renamed it."""

import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from gateway import log
from gateway.errors import StartError
from gateway.log_file import LogFile
from gateway.settings import LogSettings


@pytest.fixture
def _own_log() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for file in log._files.values():
        file.close()
    log._files.clear()


def test_a_full_file_is_renamed_and_so_many_are_kept(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "gateway.log", max_bytes=20, keep=2)
    for number in range(5):
        file.write(f"line {number} 123456\n")
    file.flush()
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "gateway.log",
        "gateway.log.1",
        "gateway.log.2",
    ]
    assert (tmp_path / "gateway.log").read_text() == "line 4 123456\n"
    assert (tmp_path / "gateway.log.2").read_text() == "line 2 123456\n"


def test_a_line_longer_than_a_file_is_written_all_the_same(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "gateway.log", max_bytes=5, keep=1)
    file.write("a long line\n")
    file.close()
    assert (tmp_path / "gateway.log").read_text() == "a long line\n"


def test_it_is_for_its_owner_and_group_and_goes_on_where_it_was(tmp_path: Path) -> None:
    for text in ("one\n", "two\n"):
        file = LogFile(tmp_path / "gateway.log", max_bytes=0, keep=1)
        file.write(text)
        file.close()
    assert (tmp_path / "gateway.log").read_text() == "one\ntwo\n"
    assert not stat.S_IMODE((tmp_path / "gateway.log").stat().st_mode) & 0o137


def test_a_file_that_can_not_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartError) as caught:
        LogFile(tmp_path / "missing" / "gateway.log", max_bytes=0, keep=1)
    assert caught.value.message.endswith("missing/gateway.log: can't be opened: No such file or directory")


@pytest.mark.usefixtures("_own_log")
def test_after_a_rename_and_a_reopen_lines_go_to_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    settings = LogSettings(format="json", file=path, max_file_bytes=0)
    log.configure(settings)
    log.configure(settings)  # `gateway serve`, then the plugin: one file
    log.get_logger().info("session.opened", device_id="mill-1")
    path.rename(tmp_path / "gateway.log.old")
    log.reopen()
    log.get_logger().info("session.closed", device_id="mill-1")
    assert json.loads((tmp_path / "gateway.log.old").read_text())["event"] == "session.opened"
    assert json.loads(path.read_text())["event"] == "session.closed"


@pytest.mark.usefixtures("_own_log")
def test_a_disk_that_fails_stops_nobody_and_is_tried_again(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    log.configure(LogSettings(format="json", file=directory / "gateway.log", max_file_bytes=1))
    log.get_logger().info("session.opened")
    directory.rename(tmp_path / "away")
    log.get_logger().info("session.closed")
    directory.mkdir()
    log.get_logger().info("connect.refused")
    assert json.loads((directory / "gateway.log").read_text())["event"] == "connect.refused"
