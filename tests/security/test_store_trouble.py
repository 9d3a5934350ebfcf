"""Gate 15: the store is locked, read-only or gone under a running gateway.

Known devices are served from memory, new ones are told that the gateway is unavailable, and when the trouble is over
everything goes on without a restart. (A full disk is in `tests/integration/test_trouble.py`.)
"""

import contextlib
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from gateway.errors import StoreUnavailable
from gateway.registry.device import Device as Record
from gateway.registry.device import Status
from gateway.registry.registry import Registry
from gateway.registry.store import Batch, SqlStore
from gateway.settings import RegistrySettings
from tests.integration.conftest import fleet_of
from tests.integration.test_mqtt5 import Client
from tests.support.device import Device, Fleet
from tests.support.disks import ext4
from tests.support.gateway_process import GatewayProcess
from tests.support.https_client import HttpsClient
from tests.support.privileges import run_or_skip

SERVER_UNAVAILABLE = 3
SERVER_BUSY_5 = 0x88
REGISTER = "$dps/registrations/PUT/iotdps-register/?$rid=1"


def connect(gateway: GatewayProcess, fleet: Fleet, device_id: str) -> int:
    with Device.plain(gateway.setup) as device:
        return device.connect(device_id, *fleet.hub_login(device_id))


def state_of(gateway: GatewayProcess) -> Path:
    return Path(gateway.setup["config"]).parent / "state"


def told_by_other_roads(gateway: GatewayProcess, fleet: Fleet) -> tuple[int, tuple[int, int], str]:
    """What new devices are told over MQTT 5, over HTTPS, and by DPS: their codes."""
    paho = Client(gateway.setup, "new-5")
    _, code, _ = paho.connect(*fleet.hub_login("new-5"))
    paho.end()
    with HttpsClient(gateway.setup) as client:
        answer = client.register("new-https", fleet.dps_login("new-https")[1])
    with fleet.dps("new-dps") as device:
        failed = device.request(REGISTER, b"{}")
    assert failed.topic.startswith("$dps/registrations/res/500/?$rid=1&retry-after=")
    return code.value, (answer.status, answer.body["errorCode"]), str(failed.json()["errorCode"])


@contextlib.contextmanager
def locked(gateway: GatewayProcess) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(state_of(gateway) / "gateway.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def moved_away(gateway: GatewayProcess) -> Iterator[None]:
    database = state_of(gateway) / "gateway.db"
    elsewhere = database.rename(database.with_name("elsewhere.db"))
    yield
    elsewhere.rename(database)


@contextlib.contextmanager
def replaced(gateway: GatewayProcess) -> Iterator[None]:
    with moved_away(gateway):
        database = state_of(gateway) / "gateway.db"
        database.write_bytes((database.with_name("elsewhere.db")).read_bytes())
        yield
        database.unlink()


@pytest.mark.parametrize(
    ("trouble", "says", "can_be_read"),
    [
        (locked, "locked", True),
        (moved_away, "removed or moved away under the running gateway", False),
        (replaced, "another file is in its place", False),
    ],
    ids=["locked", "gone", "another file"],
)
def test_known_devices_are_served_new_ones_come_back_later_and_nothing_needs_a_restart(
    tmp_path: Path,
    trouble: Callable[[GatewayProcess], contextlib.AbstractContextManager[None]],
    says: str,
    can_be_read: bool,
) -> None:
    with GatewayProcess(tmp_path / "gw", https=True) as gateway:
        fleet = fleet_of(gateway)
        told: list[subprocess.CompletedProcess[str]] = []
        others_told: list[tuple[int, tuple[int, int], str]] = []
        with fleet.hub("known-1") as connected:
            with trouble(gateway):
                connected.publish("devices/known-1/messages/events/", b'{"temperature": 1}')
                assert connect(gateway, fleet, "known-1") == 0  # it reconnects: from memory
                operator = Thread(
                    target=lambda: told.append(gateway.cli("group", "create", "Later", check=False))
                )
                operator.start()  # beside the devices: a locked database is waited for, five seconds each
                others = Thread(target=lambda: others_told.append(told_by_other_roads(gateway, fleet)))
                others.start()
                assert connect(gateway, fleet, "new-1") == SERVER_UNAVAILABLE
                line = gateway.wait_for("connect.refused", device_id="new-1")
                assert line["reason"] == "store_unavailable"
                assert says in line["detail"]
                assert line["hint"]
                operator.join()
                (refused,) = told
                assert refused.returncode == 1
                assert says in refused.stderr
                others.join()
                assert others_told == [(SERVER_BUSY_5, (500, 500001), "500001")]
                # Where nothing can be read either, "from memory" has been shown above.
                asked = gateway.cli("enrollment", "list", check=False)
                assert (asked.returncode == 0) is can_be_read
            assert connect(gateway, fleet, "new-1") == 0
            gateway.cli("group", "create", "Later")
        gateway.kill()
        with contextlib.closing(sqlite3.connect(state_of(gateway) / "gateway.db")) as database:
            stored = {row[0] for row in database.execute("SELECT id FROM devices")}
        assert {"known-1", "new-1"} <= stored  # what was acknowledged is where the next start looks
        assert "Traceback" not in "\n".join(gateway.output)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with ext4(tmp_path / "disk", image=tmp_path / "image", megabytes=32) as directory:
        yield directory


def test_a_database_that_can_t_be_written_for_a_while_is_written_again_without_a_restart(disk: Path) -> None:
    with GatewayProcess(disk / "gw") as gateway:
        fleet = fleet_of(gateway)
        with fleet.hub("known-1") as connected:
            files = [str(state_of(gateway) / name) for name in ("gateway.db", "gateway.db-wal")]
            run_or_skip("chattr", "+i", *files, right="to make a file immutable")
            try:
                assert connect(gateway, fleet, "new-1") == SERVER_UNAVAILABLE
                assert gateway.wait_for("connect.refused", device_id="new-1")["reason"] == "store_unavailable"
                connected.ping()
                assert connect(gateway, fleet, "known-1") == 0
            finally:
                subprocess.run(["chattr", "-i", *files], check=True)
            assert connect(gateway, fleet, "new-1") == 0
            gateway.cli("group", "create", "Later")
        gateway.kill()
        with contextlib.closing(sqlite3.connect(state_of(gateway) / "gateway.db")) as database:
            assert {row[0] for row in database.execute("SELECT id FROM devices")} == {"known-1", "new-1"}
        assert "Traceback" not in "\n".join(gateway.output)


def test_on_a_file_system_that_went_read_only_known_devices_are_served_and_new_ones_told_to_come_back(
    disk: Path,
) -> None:
    gateway = GatewayProcess(disk / "gw").start()
    try:
        fleet = fleet_of(gateway)
        with fleet.hub("known-1") as connected:
            # What the kernel does by itself when a disk fails (errors=remount-ro).
            subprocess.run(["mount", "-o", "remount,abort", disk], check=False, capture_output=True)
            with pytest.raises(OSError, match="Read-only"):
                (disk / "probe").touch()

            assert connect(gateway, fleet, "new-1") == SERVER_UNAVAILABLE
            line = gateway.wait_for("connect.refused", device_id="new-1")
            assert (line["reason"], bool(line["hint"])) == ("store_unavailable", True)
            connected.ping()
            assert connect(gateway, fleet, "known-1") == 0
    finally:
        gateway.stop()
    assert "Traceback" not in "\n".join(gateway.output)


def test_a_damaged_enrollment_refuses_its_own_device_for_now_and_nobody_else(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "gw").start()
    try:
        fleet = fleet_of(gateway)
        gateway.cli("enrollment", "create", "damaged-1")
        for device_id in ("known-1", "known-2"):
            assert connect(gateway, fleet, device_id) == 0
        gateway.stop()
        with contextlib.closing(sqlite3.connect(state_of(gateway) / "gateway.db")) as database:
            database.execute(
                "UPDATE individual_enrollments SET attestation = replace(attestation, 'sealed', 'seared')"
            )
            database.commit()

        gateway.start()
        line = gateway.wait_for("store.damaged", device_id="damaged-1")
        assert "individual enrollment 'damaged-1' can't be read" in line["error"]
        assert line["hint"]
        # Its token is of the group's key: without its enrollment the group would let it in.
        assert connect(gateway, fleet, "damaged-1") == SERVER_UNAVAILABLE
        refused = gateway.wait_for("connect.refused", device_id="damaged-1")
        assert "individual enrollment 'damaged-1' can't be read" in refused["detail"]
        for device_id in ("known-1", "known-2", "new-1"):
            assert connect(gateway, fleet, device_id) == 0
        shown = gateway.cli("enrollment", "show", "damaged-1", check=False)
        assert (shown.returncode, "gateway enrollment delete" in shown.stderr) == (1, True)

        gateway.cli("enrollment", "delete", "damaged-1")
        assert connect(gateway, fleet, "damaged-1") == 0
    finally:
        gateway.stop()
    assert "Traceback" not in "\n".join(gateway.output)


async def test_a_store_that_is_read_only_for_a_while_is_written_again_without_a_restart(
    tmp_path: Path,
) -> None:
    store = SqlStore(f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}")
    await store.open()
    registry = Registry(store, RegistrySettings())
    await registry.start()
    try:
        writer = store._sqlite_writer
        assert writer is not None
        await registry.register(Record.new("known", status=Status.PROVISIONED, now=1.0))
        await writer.read(lambda connection: connection.execute("PRAGMA query_only=ON"))

        with pytest.raises(StoreUnavailable, match="readonly"):
            await registry.register(Record.new("new", status=Status.PROVISIONED, now=1.0))
        known = registry.peek("known")
        assert known is not None
        assert known.device is not None

        await writer.read(lambda connection: connection.execute("PRAGMA query_only=OFF"))
        await registry.register(Record.new("new", status=Status.PROVISIONED, now=1.0))
        assert set(await store.load_all_entries(at_most=10) or {}) == {"known", "new"}
    finally:
        await registry.stop()
        await store.close()


async def test_a_file_that_is_removed_under_the_gateway_takes_no_more_acknowledgements_and_is_not_made_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gateway.db"
    store = SqlStore(f"sqlite+aiosqlite:///{path}")
    await store.open()
    assert await store.load_all_entries(at_most=10) == {}  # so that the connection for look-ups is there
    path.unlink()
    for ask in (store.load_groups, lambda: store.load_entries(["d"]), store.load_templates):
        with pytest.raises(StoreUnavailable, match="removed or moved away"):
            await ask()
    with pytest.raises(StoreUnavailable, match="removed or moved away"):
        await store.commit(Batch.of([Record.new("d", status=Status.PROVISIONED, now=1.0)]))
    assert not path.exists()
    await store.close()
