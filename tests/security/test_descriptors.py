"""Gate 18: no file descriptor is left, and an operator changes something meanwhile."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

from tests.integration.conftest import fleet_of
from tests.support.api import Api
from tests.support.device import Device
from tests.support.gateway_process import GatewayProcess

GROUP = "SAS-IoT-Devices"
NOT_AUTHORIZED = 5


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
                refused = gateway.cli("group", "disable", GROUP, check=False)
                assert refused.returncode == 1
                assert refused.stderr.startswith("error:")
                connected.ping()
            with waiting:
                assert waiting.connect("new-1", *fleet.hub_login("new-1")) == 0
            with Device.plain(gateway.setup) as blocked:
                assert blocked.connect("blocked-1", *fleet.hub_login("blocked-1")) != 0
        assert gateway.json("group", "show", GROUP)["enabled"] is True


def test_a_change_that_arrives_without_descriptors_is_done_and_durable_or_refused_and_nothing_is_changed(
    tmp_path: Path,
) -> None:
    with GatewayProcess(tmp_path / "gw") as gateway:
        fleet = fleet_of(gateway)
        assert gateway.process is not None
        with fleet.hub("known-1") as connected, Api(gateway) as api:
            assert api.ok("GET", f"/enrollmentGroups/{GROUP}")["enabled"] is True  # and the connection stays
            with no_descriptors(gateway.process.pid):
                answer = api.patch(f"/enrollmentGroups/{GROUP}", json={"enabled": False})
                is_done = answer.is_success
                assert is_done or answer.status_code in {500, 503}, answer.text
                if is_done:
                    assert connected.is_closed()  # before a descriptor is free again
                else:
                    connected.ping()
        shown = gateway.json("group", "show", GROUP)["enabled"]
        gateway.kill()
        gateway.start()
        assert gateway.json("group", "show", GROUP)["enabled"] is shown is not is_done
        with Device.plain(gateway.setup) as device:
            code = device.connect("known-1", *fleet.hub_login("known-1"))
            assert code == (NOT_AUTHORIZED if is_done else 0)
