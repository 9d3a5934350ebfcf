"""`gateway init` when it can't be finished: what it made goes again, and nothing else does."""

import threading
from pathlib import Path

import pytest

from gateway.cli import setup
from gateway.errors import ConflictError, GatewayError, OperationError

PORTS = setup._Ports(devices=1, applications=2, api=3, plain=None, device_https=None)


def test_of_two_in_one_directory_at_once_one_makes_a_whole_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_looked, refuse = threading.Barrier(2), setup._refuse_what_exists

    def look_together(directory: Path) -> None:
        refuse(directory)
        both_looked.wait(30)

    monkeypatch.setattr(setup, "_refuse_what_exists", look_together)
    outcomes: list[object] = []

    def make() -> None:
        try:
            outcomes.append(setup._make(tmp_path / "gw", (), PORTS)["config"])
        except GatewayError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {type(outcome) for outcome in outcomes} == {str, ConflictError}
    assert {file.name for file in (tmp_path / "gw").iterdir()} == set(setup._FILES)


@pytest.mark.parametrize("existed", [False, True])
def test_one_that_fails_takes_away_what_it_made_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    directory = tmp_path / "gw"
    if existed:
        directory.mkdir()
        (directory / "notes.txt").touch()

    async def full(*_: object) -> str:
        raise OperationError("the disk is full")

    monkeypatch.setattr(setup, "_fill_store", full)
    with pytest.raises(OperationError, match="the disk is full"):
        setup._make(directory, (), PORTS)
    assert directory.exists() is existed
    if existed:
        assert [file.name for file in directory.iterdir()] == ["notes.txt"]


def test_a_file_in_the_directory_s_place_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "gw").touch()
    with pytest.raises(OperationError, match="can't be made: it is not a directory"):
        setup._make(tmp_path / "gw", (), PORTS)
