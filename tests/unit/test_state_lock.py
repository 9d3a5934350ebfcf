"""One process at a time may write a state directory."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import StartError
from gateway.state_lock import StateLock


def test_a_second_gateway_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    with (
        StateLock(tmp_path / "gateway.lock"),
        pytest.raises(StartError, match=f"another gateway runs on {tmp_path} \\(process {os.getpid()}\\)"),
        StateLock(tmp_path / "gateway.lock"),
    ):
        pytest.fail("two processes hold one lock")


def test_the_lock_can_be_taken_again_after_its_release(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "gateway.lock")
    for _ in range(2):
        with lock:
            assert not StateLock(tmp_path / "gateway.lock").try_acquire()


def test_the_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "gateway.lock"
    program = (
        "import sys, time, pathlib\n"
        "from gateway.state_lock import StateLock\n"
        "StateLock(pathlib.Path(sys.argv[1])).acquire()\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        lock = StateLock(path)
        assert not lock.try_acquire()
        assert lock.holder() == process.pid
        process.kill()
        process.wait()
        assert lock.try_acquire()
        lock.release()


def test_a_missing_state_directory_is_made_private(tmp_path: Path) -> None:
    with StateLock(tmp_path / "state" / "gateway.lock"):
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "state" / "gateway.lock").stat().st_mode) == 0o600


def test_an_unusable_state_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(
        StartError, match=r"state/gateway.lock: can't be opened: (Not a directory|File exists)"
    ):
        StateLock(tmp_path / "state" / "gateway.lock").acquire()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "gateway.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match="can't be opened"):
        StateLock(tmp_path / "gateway.lock").acquire()
    assert not (tmp_path / "elsewhere").exists()
