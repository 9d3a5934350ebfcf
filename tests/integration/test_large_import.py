"""A hundred thousand devices from a CSV file, while devices that nobody knows connect for the first time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import fleet_of
from tests.support.gateway_process import GatewayProcess

ROWS = 100_000
MAX_GROWTH_KB = 64 * 1024
"""Of the gateway's resident memory, with a cache of 1,000 devices. 100,000 held rows would be twice as much."""
MAX_COMMAND_KB = 160 * 1024

pytestmark = [pytest.mark.slow, pytest.mark.load]


def resident_kb(pid: int) -> int:
    """The most that the process ever had in memory; 0 if it has just ended.

    `wait4` says so too, but what this process had in memory when it started the other counts there.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


def few_in_memory(config: str) -> str:
    return config.replace("    registry:\n", "    registry:\n      cache_size: 1000\n", 1)


def test_devices_connect_while_a_hundred_thousand_are_imported_in_bounded_memory(tmp_path: Path) -> None:
    file = tmp_path / "devices.csv"
    with file.open("w") as target:
        target.write("IOTC_DEVICEID,IOTC_DEVICENAME,TAGS\n")
        target.writelines(f'dev-{number:06},"Mill, {number}",site=berlin mill\n' for number in range(ROWS))
    with GatewayProcess(tmp_path / "gw", edit=few_in_memory) as gateway:
        fleet = fleet_of(gateway)
        with fleet.hub("before"):
            pass
        before = resident_kb(gateway.pid)
        command = [
            sys.executable,
            "-m",
            "gateway",
            "device",
            "import",
            str(file),
            "-c",
            gateway.setup["config"],
        ]
        connected = most = 0
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as importing:
            while os.waitid(os.P_PID, importing.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                most = max(most, resident_kb(importing.pid))
                with fleet.hub(f"meanwhile-{connected}"):
                    connected += 1
            assert importing.stdout is not None
            printed = importing.stdout.read()
            importing.wait()
        assert (importing.returncode, printed) == (0, "100,000 rows: 100,000 registered\n")
        assert connected > 0
        assert resident_kb(gateway.pid) - before < MAX_GROWTH_KB
        assert 0 < most < MAX_COMMAND_KB
        counted = gateway.json("status")["devices"]
        assert (counted["registered"], counted["provisioned"]) == (ROWS, connected + 1)
        with fleet.hub("dev-099999"):
            assert gateway.json("device", "show", "dev-099999")["name"] == "Mill, 99999"


def test_a_killed_gateway_has_all_of_an_atomic_import_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "devices.csv"
    file.write_text("IOTC_DEVICEID\n" + "".join(f"dev-{number:06}\n" for number in range(50_000)))
    with GatewayProcess(tmp_path / "gw") as gateway:
        command = [
            sys.executable,
            "-m",
            "gateway",
            "device",
            "import",
            "--atomic",
            str(file),
            "-c",
            gateway.setup["config"],
        ]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as importing:
            journal = Path(gateway.setup["config"]).parent / "state" / "gateway.db-wal"
            # The transaction is several MB: when the first of them is written, it is on its way and not yet committed.
            enough = journal.stat().st_size + 1_000_000
            while journal.stat().st_size < enough and importing.poll() is None:
                pass
            assert gateway.process is not None
            gateway.process.kill()
            importing.communicate()
        gateway.process.wait()
        assert gateway.json("status")["devices"]["registered"] in (0, 50_000)
