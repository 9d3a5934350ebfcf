"""Gate 18: no file descriptor is left, and an operator changes something meanwhile."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

from tests.integration.conftest import fleet_of
from tests.support.device import Device
from tests.support.gateway_process import GatewayProcess


@contextlib.contextmanager
def no_descriptors(pid: int) -> Iterator[None]:
    """The process can open nothing any more."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    lowest_free = next(number for number in range(hard) if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_devices_stay_the_old_policy_holds_and_everything_goes_on_afterwards(
    tmp_path: Path,
) -> None:
    with GatewayProcess(tmp_path / "gw") as gateway:
        fleet = fleet_of(gateway)
        assert gateway.process is not None
        with fleet.hub("blocked-1"):
            pass
        gateway.cli("device", "block", "blocked-1")
        with fleet.hub("known-1") as connected:
            with no_descriptors(gateway.process.pid):
                connected.publish("devices/known-1/messages/events/", b"{}")
                waiting = Device.plain(gateway.setup)  # the kernel has it; the gateway can't take it yet
                refused = gateway.cli("group", "disable", "SAS-IoT-Devices", check=False)
                assert refused.returncode == 1
                assert refused.stderr.startswith("error:")
                connected.ping()
            with waiting:
                assert waiting.connect("new-1", *fleet.hub_login("new-1")) == 0
            with Device.plain(gateway.setup) as blocked:
                assert blocked.connect("blocked-1", *fleet.hub_login("blocked-1")) != 0
        assert gateway.json("group", "show", "SAS-IoT-Devices")["enabled"] is True
