"""One gateway on port 8883, the only port that Microsoft's Python SDK dials, for all tests of this directory."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MODELS = ROOT / "tests" / "data" / "models"


def sdk_python() -> Path:
    """The interpreter of the virtual environment that holds the SDKs (`make setup` makes it)."""
    path = Path(os.environ.get("GATEWAY_SDK_PYTHON", ROOT / ".venv-sdk" / "bin" / "python"))
    if not path.exists():
        pytest.fail(f"{path} is missing: run `make setup`, which installs Microsoft's SDKs", pytrace=False)
    return path


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    directory = tmp_path_factory.mktemp("sdk-gateway")
    process = GatewayProcess(directory / "gw", port=8883)
    with process:
        for model in ("dtmi/com/example/thermostat-1.json", "dtmi/com/example/temperaturecontroller-1.json"):
            process.cli("template", "import", MODELS / model)
        yield process


Device = Callable[..., dict[str, Any]]


@pytest.fixture
def device(gateway: GatewayProcess) -> Device:
    """Run one SDK device to its end; returns what it saw."""

    def run(script: str = "sdk_device.py", **order: Any) -> dict[str, Any]:
        ca = Path(gateway.setup["caCertificate"])
        order = {"host": "localhost", "id_scope": gateway.setup["idScope"], "ca": ca.read_text(), **order}
        done = subprocess.run(
            [sdk_python(), HERE / script],
            input=json.dumps(order, default=str),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "SSL_CERT_FILE": str(ca)},
        )
        lines = done.stdout.strip().splitlines()
        if not lines:
            raise AssertionError(f"the device said nothing:\n{done.stderr[-3000:]}")
        seen: dict[str, Any] = json.loads(lines[-1])
        return seen

    return run
