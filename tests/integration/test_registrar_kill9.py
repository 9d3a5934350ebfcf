"""Acknowledged means durable: the registrar and the store, killed in the midst of their commits."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CONCURRENT = 64

# Registers devices and has them report, as fast as it can, and prints what it was told is durable.
WRITER = textwrap.dedent(
    """
    import asyncio, itertools, json, sys
    from gateway.registry.device import Device, Status
    from gateway.registry.registry import Registry
    from gateway.registry.store import SqlStore
    from gateway.registry.twins import Twins
    from gateway.settings import RegistrySettings, TwinSettings

    async def main(url, concurrent, life):
        store = SqlStore(url)
        await store.open()
        registry = Registry(store, RegistrySettings(max_batch=50))
        twins = Twins(store, registry.registrar, TwinSettings())
        await registry.start()
        numbers = itertools.count()

        async def connect():
            while True:
                device_id = f"life-{life}-{next(numbers)}"
                # Two racing first connects of each device.
                made = [Device.new(device_id, status=Status.PROVISIONED, now=1.0) for _ in range(2)]
                one, other = await asyncio.gather(*map(registry.register, made))
                assert one is other
                print(json.dumps([device_id, one.etag, 0]), flush=True)
                version = await twins.patch_reported(device_id, {"life": life})
                print(json.dumps([device_id, one.etag, version]), flush=True)

        await asyncio.gather(*(connect() for _ in range(concurrent)))

    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    """
)


@pytest.mark.parametrize("acknowledgements", [1, 300, 3000])
def test_after_kill_9_every_acknowledged_device_is_there_once_and_as_it_was_acknowledged(
    tmp_path: Path, acknowledgements: int
) -> None:
    database = tmp_path / "gateway.db"
    devices: dict[str, str] = {}
    twins: dict[str, int] = {}
    for life in range(2):  # the second begins on what the first one's death has left
        for device_id, etag, version in written_until_killed(database, acknowledgements, life):
            devices[device_id] = etag
            twins[device_id] = max(version, twins.get(device_id, 0))
    assert len(devices) >= acknowledgements // 2

    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = dict(connection.execute("SELECT id, etag FROM devices").fetchall())
        reported = dict(connection.execute("SELECT device_id, reported_version FROM twins").fetchall())
    connection.close()
    # The one of the two racing registrations that was acknowledged, and nothing that was not asked for.
    assert {id_: etag for id_, etag in stored.items() if id_ in devices} == devices
    assert len(stored) - len(devices) <= 2 * CONCURRENT  # what each life had on its way
    assert {id_: version for id_, version in twins.items() if version}.items() <= reported.items()


def written_until_killed(database: Path, acknowledgements: int, life: int) -> list[tuple[str, str, int]]:
    """Let a process write, kill it after so many acknowledgements, and return all that it gave."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, f"sqlite+aiosqlite:///{database}", str(CONCURRENT), str(life)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    lines = []
    try:
        for line in writer.stdout:
            lines.append(line)
            if len(lines) == acknowledgements:
                os.kill(writer.pid, signal.SIGKILL)
                break
        # What it had said before it died is still in the pipe; its last line may be cut.
        lines += [line for line in writer.stdout if line.endswith("\n")]
    finally:
        writer.kill()
        writer.stdout.close()
        writer.wait()
    assert writer.returncode == -signal.SIGKILL
    assert len(lines) >= acknowledgements
    return [tuple(json.loads(line)) for line in lines]


# The same writer, which kills itself at one boundary of a commit with devices, the fifth or later; it says which they are.
_SUICIDE = textwrap.dedent(
    """
    import itertools, json, os, signal
    from gateway.registry import sqlite

    BOUNDARY, commits, transact = sys.argv[4], itertools.count(1), sqlite._transaction

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def transaction(connection, work):
        (batch,) = work.args
        if next(commits) < 5 or not batch.devices:
            return transact(connection, work)
        os.write(2, json.dumps(sorted(batch.devices)).encode())
        if BOUNDARY == "before":
            die()
        connection.set_trace_callback(lambda statement: die() if statement.startswith(BOUNDARY) else None)
        transact(connection, work)
        die()

    sqlite._transaction = transaction
    """
)


@pytest.mark.parametrize(
    ("boundary", "is_written"),
    [("before", False), ("BEGIN", False), ("INSERT", False), ("COMMIT", False), ("after", True)],
)
def test_killed_at_a_boundary_of_a_commit_the_store_has_all_of_it_or_nothing_and_what_was_acknowledged(
    tmp_path: Path, boundary: str, is_written: bool
) -> None:
    database = tmp_path / "gateway.db"
    head, _, tail = WRITER.partition("async def main")
    program = f"{head}{_SUICIDE}\nasync def main{tail}"
    writer = subprocess.run(
        [sys.executable, "-c", program, f"sqlite+aiosqlite:///{database}", str(CONCURRENT), "0", boundary],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert writer.returncode == -signal.SIGKILL
    acknowledged = {tuple(json.loads(line)[:2]) for line in writer.stdout.splitlines() if line.endswith("]")}

    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = set(connection.execute("SELECT id, etag FROM devices").fetchall())
    connection.close()
    assert acknowledged
    assert acknowledged <= stored
    killed_with = set(json.loads(writer.stderr))
    assert killed_with & {device_id for device_id, _ in stored} == (killed_with if is_written else set())
