"""What Tab completes in the shell, and the shortcuts of the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess


def completed(line: str, config: str | Path) -> list[str]:
    """What bash would offer after `line`, as the script of `--install-completion` asks for it."""
    words = line.split(" ")
    env = {
        **os.environ, "_GATEWAY_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1),
        "GATEWAY_CONFIG": str(config),
    }  # fmt: skip
    script = "import sys; sys.argv = ['gateway']; from gateway.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture(scope="module")
def config(gateway: GatewayProcess) -> str:
    for device_id in ("complete-1", "complete-2"):
        gateway.cli("device", "register", device_id)
    return str(gateway.setup["config"])


def test_ids_and_names_are_those_of_the_running_gateway(config: str) -> None:
    assert completed("gateway device show complete-", config) == ["complete-1", "complete-2"]
    assert completed("gateway why complete-", config) == ["complete-1", "complete-2"]
    assert completed("gateway block complete-1", config) == ["complete-1"]
    assert completed("gateway group show SAS", config) == ["SAS-IoT-Devices"]
    assert completed("gateway device list --group X509", config) == ["X509-IoT-Devices"]


def test_commands_are_completed_too(config: str) -> None:
    assert "logs" in completed("gateway lo", config)


@pytest.mark.parametrize("text", [None, "", "plugins: []", "}{"])
def test_without_a_gateway_nothing_is_completed_and_nothing_is_said(tmp_path: Path, text: str | None) -> None:
    config = tmp_path / "gateway.yaml"
    if text is not None:
        config.write_text(text)
    assert completed("gateway device show m", config) == []


def test_a_shortcut_does_what_the_devices_verb_does(gateway: GatewayProcess, config: str) -> None:
    assert gateway.cli("block", "complete-2").stdout == "blocked complete-2\n"
    assert gateway.json("device", "show", "complete-2")["status"] == "blocked"


def test_a_command_for_the_running_gateway_imports_no_database(config: str) -> None:
    """It must answer at once: SQLAlchemy and Alembic take longer to import than the rest together."""
    script = f"""
import sys
from gateway.cli.root import run
code = run(["status", "--json", "-c", {config!r}])
heavy = [name for name in ("sqlalchemy", "alembic", "amqtt", "cryptography", "fastapi") if name in sys.modules]
sys.exit(f"{{code}} {{heavy}}" if code or heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
