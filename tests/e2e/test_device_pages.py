"""The commands of the pages about devices do what the pages say: each block marked `executed` is run, in order."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.central import SCOPE, CentralApplication, CentralServer
from tests.support.gateway_process import run_cli
from tests.support.pages import DOCS, blocks, reader_of, sh


def printed_by(page: str, directory: Path) -> dict[str, str]:
    """What each block printed, on a set-up of the test's own."""
    with reader_of(directory) as run:
        return {name: run(script) for name, script in blocks(DOCS / page).items()}


def test_the_commands_of_the_page_about_devices(tmp_path: Path) -> None:
    printed = printed_by("devices.md", tmp_path)
    assert "site=berlin" in printed["one"]
    assert "Mill 1" in printed["one"]
    assert "hall-3" not in printed["one"]
    assert printed["many"].splitlines() == [
        "2 rows would be: 2 registered; nothing was written",
        "2 rows: 2 registered",
        "2 rows: 0 registered, 2 unchanged",
    ]
    assert '"Pump, north"' in printed["export"]
    assert printed["change"].splitlines() == [
        "blocked pump-1",
        "would be blocked: 1 device, 1 unchanged",
        "pump-2",
        "blocked 1 device, 1 unchanged",
        "unblocked 2 devices",
        "deleted 2 devices",
    ]
    assert "primaryKey" in printed["connection"]
    assert (tmp_path / "with-keys.csv").read_text().count("=,") >= 3


def test_the_commands_of_the_page_about_templates(tmp_path: Path) -> None:
    printed = printed_by("templates.md", tmp_path)
    assert "published dtmi:com:example:Mill;1, assigned to 1" in printed["publish"]
    assert "load" in printed["publish"]
    assert "assigned 1 device" in printed["versions"]
    assert printed["versions"].splitlines()[-1] == "deleted dtmi:com:example:Mill;1"


def test_the_script_of_the_page_about_migration_collects_what_the_command_takes_over(tmp_path: Path) -> None:
    for tool in ("curl", "jq"):
        if shutil.which(tool) is None:
            pytest.fail(f"the script needs {tool}: install it", pytrace=False)
    commands = blocks(DOCS / "migration.md")
    (tmp_path / "collect.sh").write_text(commands["collect"])
    with CentralServer(CentralApplication(), token="SharedAccessSignature sr=x&sig=y") as server:
        subprocess.run(
            ["sh", "collect.sh", "app", server.token, "export"], cwd=tmp_path, check=True, timeout=60,
            env={**os.environ, "CENTRAL": server.url},
        )  # fmt: skip
    assert not [
        file for file in (tmp_path / "export").rglob("*") if file.stat().st_mode & 0o077 and file.is_file()
    ]
    (tmp_path / "export" / "ca.pem").write_bytes(server.application.ca.certificate_pem)
    run_cli("init", tmp_path / "gw")
    (tmp_path / "gateway.yaml").symlink_to(tmp_path / "gw" / "gateway.yaml")
    printed = sh(commands["migrate"], tmp_path)
    dry, real = printed.split("nothing was written (--dry-run)")
    for text, made in ((dry, "WOULD BE NEW"), (real, "NEW")):
        rows = {line[:22].strip(): line[22:].split() for line in text.splitlines() if line[:6].strip()}
        assert made in text
        assert rows["devices"][:5] == ["5", "0", "0", "0", "1"]
        assert rows["individual enrollments"[:22]][:1] == ["2"]
    assert f"id_scope: {SCOPE}" in real


@pytest.mark.parametrize("page", ["devices.md", "templates.md", "migration.md"])
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", (DOCS / page).read_text()):
        assert (DOCS / target).exists(), target
