"""The README's commands do what it says: each block that is marked `executed` is run, as it stands."""

import re
import subprocess
import threading
from pathlib import Path

from tests.support.gateway_process import free_port
from tests.support.pages import ROOT, blocks, environment, sh


def test_the_commands_of_the_readme_work_in_their_order(tmp_path: Path) -> None:
    commands = blocks(ROOT / "README.md")
    assert set(commands) == {"setup", "operate", "load"}
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    init, serve = commands["setup"].splitlines()
    # The usual ports may be taken where tests run; everything else is as a reader types it.
    sh(f"{init} --port {free_port()} --app-port {free_port()} --http-port {free_port()}", tmp_path)
    with subprocess.Popen(
        serve.split(), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as gateway:  # fmt: skip
        assert gateway.stdout is not None
        try:
            for line in gateway.stdout:
                if "gateway.started" in line:
                    break
            else:
                raise AssertionError("the gateway ended by itself")
            lines: list[str] = []
            reader = threading.Thread(
                target=lines.extend, args=(gateway.stdout,)
            )  # a full pipe would stop it
            reader.start()
            printed = sh(commands["operate"], tmp_path)
            stormed = sh(commands["load"], tmp_path)
        finally:
            gateway.terminate()
            reader.join()
    rest = "".join(lines)
    assert gateway.returncode == 0, rest
    for shown in (
        "simulated-001",
        "simulated-003",
        "thermostat-002",
        '"provisioned": true',
        "SAS-IoT-Devices",
    ):
        assert shown in printed
    assert "template.associated" in rest
    assert "registry  holds each of the 100 devices that were told so, once" in stormed
    assert "Storm: 100 devices" in (tmp_path / "storm.html").read_text()


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 200
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / target).exists(), target
