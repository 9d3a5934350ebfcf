"""Commands against a running gateway: what an operator does takes effect on devices that are connected."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess

THERMOSTAT = "dtmi:com:example:Thermostat;1"


@pytest.mark.parametrize(
    ("more", "group"),
    [
        ((), "SAS-IoT-Devices"),
        (("--auth", "x509"), "X509-IoT-Devices"),
        (("--plain", "--direct"), "SAS-IoT-Devices"),
    ],
    ids=["keys", "certificates", "plain and direct"],
)
def test_simulated_devices_come_in(gateway: GatewayProcess, more: tuple[str, ...], group: str) -> None:
    prefix = f"simulated-{len(more)}-{group[:3].lower()}-"
    result = gateway.json(
        "simulate", "-n", "2", "--model", THERMOSTAT, "--messages", "2", "--rate", "100", "--prefix", prefix, *more
    )  # fmt: skip
    assert (result["connected"], result["sent"], result["failed"]) == (2, 4, 0)
    shown = gateway.json("device", "show", f"{prefix}001")
    assert (shown["status"], shown["template"], shown["enrollmentGroup"]) == (
        "provisioned",
        THERMOSTAT,
        group,
    )


def test_simulated_devices_that_are_refused_are_an_error(gateway: GatewayProcess) -> None:
    gateway.cli("group", "create", "Closed")
    gateway.cli("group", "disable", "Closed")
    ended = gateway.cli(
        "simulate", "--group", "Closed", "--prefix", "closed-", "--messages", "1", check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[0].startswith("error: 1 of 1 devices failed, first closed-001: ")


def test_a_connected_device_is_shown_as_connected(gateway: GatewayProcess, fleet: Fleet) -> None:
    with fleet.hub("shown-1"):
        assert gateway.json("device", "show", "shown-1")["connected"] is True
        assert gateway.json("status")["sessions"] >= 1


def test_a_deleted_device_loses_its_session_and_may_register_anew(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with fleet.hub("deleted-1") as device:
        assert gateway.json("device", "delete", "deleted-1")["closedSessions"] == 1
        assert device.is_closed()
    gateway.wait_for("session.closed", device_id="deleted-1", reason="device_deleted")
    with fleet.hub("deleted-1"):
        assert gateway.json("device", "show", "deleted-1")["status"] == "provisioned"


def test_an_enrollment_that_is_disabled_closes_its_devices_session(
    gateway: GatewayProcess, fleet: Fleet, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(gateway.cli("device", "compute-key", "single-1").stdout)
    gateway.cli("enrollment", "create", "single-1", "--primary-key-file", key)
    with fleet.hub("single-1") as device:
        assert gateway.json("device", "show", "single-1")["enrollmentGroup"] is None
        assert gateway.json("enrollment", "disable", "single-1")["closedSessions"] == 1
        assert device.is_closed()


def test_a_template_that_is_published_finds_the_connected_devices_of_its_model(
    gateway: GatewayProcess, fleet: Fleet, tmp_path: Path
) -> None:
    model = "dtmi:com:example:LaterKnown;1"
    file = tmp_path / "model.json"
    file.write_text(
        f'{{"@context": "dtmi:dtdl:context;2", "@id": "{model}", "@type": "Interface", "contents": []}}'
    )
    with fleet.hub("early-1", model=model):
        assert gateway.json("device", "show", "early-1")["template"] is None
        assert gateway.json("template", "import", file)["associatedDevices"] == 1
        assert gateway.json("device", "show", "early-1")["template"] == model


def test_health_and_the_sockets_mode(gateway: GatewayProcess) -> None:
    assert gateway.json("health")["healthy"] is True
    socket = Path(gateway.setup["config"]).parent / "state" / "control.sock"
    assert socket.stat().st_mode & 0o777 == 0o600


def test_blocking_by_a_filter_closes_the_live_sessions(gateway: GatewayProcess, fleet: Fleet) -> None:
    with fleet.hub("bulk-1") as one, fleet.hub("bulk-2") as other, fleet.hub("apart-1") as apart:
        blocked = gateway.json("device", "block", "--prefix", "bulk-", "--yes")
        assert (blocked["changed"], blocked["closedSessions"]) == (2, 2)
        assert one.is_closed()
        assert other.is_closed()
        apart.ping()
    gateway.wait_for("session.closed", device_id="bulk-2", reason="device_blocked")
    with Device.plain(gateway.setup) as refused:
        assert refused.connect("bulk-1", *fleet.hub_login("bulk-1")) == 5
    assert gateway.json("device", "unblock", "--prefix", "bulk-", "--yes")["changed"] == 2
    with fleet.hub("bulk-1"):
        pass


def test_a_template_is_written_from_what_a_device_sends_and_is_its_own_from_then_on(
    gateway: GatewayProcess, fleet: Fleet, tmp_path: Path
) -> None:
    model, file = "dtmi:com:example:NeverPublished;1", tmp_path / "generated.json"
    topic = "devices/sender-1/messages/events/"
    with fleet.hub("sender-1", model=model) as device:
        device.publish(topic, b'{"temperature": 21, "open": false}')
        device.publish(topic, b'{"temperature": 21.5}')
        device.publish(f"{topic}%24.sub=motor", b'{"speed": 1500}')
        generated = gateway.json("template", "autogenerate", "sender-1", "-o", file)
        assert (generated["id"], generated["messages"], generated["notes"]) == (model, 3, [])
        assert gateway.json("template", "import", file)["associatedDevices"] == 1
    with fleet.hub("sender-1", model=model):
        shown = gateway.json("template", "show", gateway.json("device", "show", "sender-1")["template"])
    assert shown["telemetry"] == ["open", "temperature"]
    assert shown["components"]["motor"]["telemetry"] == ["speed"]


def test_an_import_that_is_interrupted_says_how_far_it_came(gateway: GatewayProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "device", "import", "-", "-c", gateway.setup["config"]]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as importing:
        assert importing.stdin is not None
        importing.stdin.write("IOTC_DEVICEID\n" + "".join(f"interrupted-{number}\n" for number in range(500)))
        importing.stdin.flush()  # and the next row never comes
        while len(gateway.json("device", "list", "--prefix", "interrupted-", "--limit", "500")) < 500:
            assert importing.poll() is None
        importing.send_signal(signal.SIGINT)
        _, said = importing.communicate()
    assert importing.returncode == 130
    assert said == "stopped after 500 rows: what was registered stays; give the file again\n"
    gateway.cli("device", "delete", "--prefix", "interrupted-", "--yes")
