"""The commands of the pages about devices do what the pages say: each block marked `executed` is run, in order."""

import re
from pathlib import Path

import pytest

from tests.e2e.test_readme import sh
from tests.support.gateway_process import run_cli

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"<!-- executed: (\w+) -->\n```sh\n(.*?)```", re.DOTALL)


def printed_by(page: str, directory: Path) -> dict[str, str]:
    """What each block printed, on a set-up of the test's own."""
    run_cli("init", directory / "gw")
    (directory / "gateway.yaml").symlink_to(directory / "gw" / "gateway.yaml")
    return {name: sh(script, directory) for name, script in BLOCK.findall((DOCS / page).read_text())}


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


@pytest.mark.parametrize("page", ["devices.md", "templates.md"])
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", (DOCS / page).read_text()):
        assert (DOCS / target).exists(), target
